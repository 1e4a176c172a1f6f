//! A plan over a large roster: every tuple once, nobody twice as much as the others.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod second;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use reachproof_model::class::Classes;
use reachproof_model::coverage::{RelationCoverage, relation_coverage};
use reachproof_model::flow::{EPHEMERAL_PORTS_DEFAULT, Flow, FlowProtocol, SourceKind};
use reachproof_model::matrix::{Matrix, VerdictKind};
use reachproof_model::observation::AgentName;
use reachproof_model::plan::{
    AgentKind, Depth, FLOWS_PER_RUN_MAX, FileState, ProbePlan, Purpose, Roster, RosterAgent, Scope,
    plan, plan_rules,
};
use reachproof_model::predict::predict;
use reachproof_model::prediction::Verdict;
use reachproof_model::snapshot::Snapshot;
use second::cluster::{PROBED_PORTS, Shape, agents, cluster};
use second::random::Size;

/// A cluster of a few hundred nodes.
const SHAPE: Shape = Shape {
    nodes: 2_500,
    sets: 20,
    subnets: 6,
    groups: 20,
    prefixes: 1,
};

/// What the plans are made with.
fn scope(seed: u64) -> Scope {
    Scope {
        network_policies: FileState::Read,
        flows_max: FLOWS_PER_RUN_MAX,
        depth: Depth::Rules,
        seed,
    }
}

/// The cluster with its agents.
fn world() -> (Snapshot, Roster) {
    let files = cluster(5, SHAPE);
    (second::decode(&files), agents(&files))
}

/// Flows of a plan that are not required anyway.
fn chosen(plan: &ProbePlan) -> Vec<&Flow> {
    let of_rules = plan
        .flows
        .iter()
        .filter(|flow| !flow.purposes.contains(&Purpose::Required));
    of_rules.map(|flow| &flow.flow).collect()
}

/// Flows of a plan by purpose.
fn with(plan: &ProbePlan, purpose: Purpose) -> impl Iterator<Item = &Flow> {
    let wanted = plan
        .flows
        .iter()
        .filter(move |flow| flow.purposes.contains(&purpose));
    wanted.map(|flow| &flow.flow)
}

fn coverage(matrix: &Matrix<'_>, roster: &Roster, plan: &ProbePlan) -> RelationCoverage {
    let flows = plan.flows.iter().map(|planned| &planned.flow);
    relation_coverage(matrix, roster, &PROBED_PORTS, flows)
}

#[test]
fn every_decisive_tuple_is_tried_with_few_probes() {
    let (snapshot, roster) = world();
    let matrix = Matrix::new(&snapshot);
    for seed in 0..3 {
        let plan = plan_rules(&matrix, &roster, &scope(seed), &PROBED_PORTS);
        assert_eq!(plan.left_out, 0);
        let found = coverage(&matrix, &roster, &plan);
        assert!(found.tuples.all > 200, "only {:?}", found.tuples);
        assert_eq!(found.tuples.shown, found.tuples.all);
        assert_eq!(found.sources.shown, roster.len());
        assert_eq!(found.targets.shown, roster.len());
        assert!(found.rules.missing.is_empty(), "{:?}", found.rules.missing);
        assert!(!found.rules.shown.is_empty());
        // Each node once a port, and three probes for a tuple or a side of an edge beyond.
        let swept = roster.len() * PROBED_PORTS.len();
        let edges = with(&plan, Purpose::Edge).count();
        let most = swept + 3 * found.tuples.all;
        assert!(chosen(&plan).len() - edges <= most);
    }
}

/// An agent at every owned address of a world that has a class.
fn everybody(snapshot: &Snapshot, addresses: &[String]) -> Roster {
    let classes = Classes::new(snapshot);
    let known = addresses.iter().filter_map(|text| {
        let address = text.parse().ok()?;
        classes.of(address).map(|_| address)
    });
    Roster::new(known.map(|address: IpAddr| RosterAgent {
        name: AgentName::try_from(address.to_string().replace(':', "-").as_str()).unwrap(),
        node: None,
        kind: AgentKind::Node,
        addresses: vec![address],
        ephemeral_ports: EPHEMERAL_PORTS_DEFAULT,
        stream_address: None,
    }))
}

/// Every flow between two agents at some ports that a run could judge.
fn every_flow(snapshot: &Snapshot, roster: &Roster, ports: &[u16]) -> Vec<Flow> {
    let addresses: Vec<IpAddr> = roster.agents().map(|agent| agent.addresses[0]).collect();
    let mut flows = Vec::new();
    for source in &addresses {
        for destination in addresses
            .iter()
            .filter(|one| one.is_ipv4() == source.is_ipv4())
        {
            flows.extend(ports.iter().map(|port| Flow {
                source: *source,
                destination: *destination,
                protocol: FlowProtocol::Tcp { port: *port },
                source_kind: SourceKind::Host,
                ephemeral_ports: EPHEMERAL_PORTS_DEFAULT,
                source_interface: None,
            }));
        }
    }
    // Of the others no run says anything: they meet no gate, or nobody can tell.
    flows.retain(|flow| match predict(snapshot, flow).verdict {
        Verdict::Allow { .. } | Verdict::Deny(_) | Verdict::Partial { .. } => true,
        Verdict::Bypass(_) | Verdict::Exempt(_) | Verdict::Unknown(_) => false,
    });
    flows
}

#[test]
fn no_flow_shows_a_tuple_that_is_not_among_the_decisive_ones() {
    let mut tuples = 0;
    let small = |seed| second::random::world(seed, Size::SMALL);
    let worlds = (0..120).map(small).chain((0..12).map(second::random::wide));
    for (place, world) in worlds.enumerate() {
        let snapshot = second::decode(&world.snapshot);
        let matrix = Matrix::new(&snapshot);
        let roster = everybody(&snapshot, &world.addresses);
        let ports = [443, 8_080, 20_050, 20_201, 20_333];
        let flows = every_flow(&snapshot, &roster, &ports);
        let none = relation_coverage(&matrix, &roster, &ports, []);
        let all = relation_coverage(&matrix, &roster, &ports, &flows);
        assert_eq!(none.tuples.all, all.tuples.all, "world {place}");
        tuples += all.tuples.all;
    }
    assert!(tuples > 1_000, "only {tuples} tuples");
}

#[test]
fn rules_that_decide_nothing_are_named_and_not_counted() {
    let (snapshot, roster) = world();
    let matrix = Matrix::new(&snapshot);
    let plan = plan_rules(&matrix, &roster, &scope(1), &PROBED_PORTS);
    let rules = coverage(&matrix, &roster, &plan).rules;
    assert!(!rules.cannot_decide.is_empty());
    assert!(rules.cannot_decide.is_disjoint(&rules.shown));
    // Nothing that any flow of the plan passes through is among them.
    for flow in chosen(&plan) {
        for rule in matrix.verdict(flow).rules() {
            assert!(
                !rules.cannot_decide.contains(&rule),
                "{rule} decides {flow}"
            );
        }
    }
}

#[test]
fn both_sides_of_the_edges_of_a_deciding_rule_are_tried() {
    let (snapshot, roster) = world();
    let matrix = Matrix::new(&snapshot);
    let plan = plan_rules(&matrix, &roster, &scope(1), &PROBED_PORTS);
    let mut ports: BTreeMap<_, BTreeSet<u16>> = BTreeMap::new();
    for flow in with(&plan, Purpose::Edge) {
        let pair = (flow.source, flow.destination);
        ports.entry(pair).or_default().extend(flow.protocol.port());
    }
    let inside = ports
        .values()
        .filter(|ports| ports.iter().any(|port| ports.contains(&(port + 1))));
    assert!(inside.count() > 20);
}

#[test]
fn the_load_is_spread() {
    let (snapshot, roster) = world();
    let matrix = Matrix::new(&snapshot);
    let plan = plan_rules(&matrix, &roster, &scope(1), &PROBED_PORTS);
    let flows = chosen(&plan);
    for end in [|flow: &Flow| flow.source, |flow: &Flow| flow.destination] {
        let mut loads: BTreeMap<_, usize> = BTreeMap::new();
        for flow in &flows {
            *loads.entry(end(flow)).or_default() += 1;
        }
        let most = loads.values().max().unwrap();
        assert!(
            most * roster.len() <= 2 * flows.len(),
            "{most} of {}",
            flows.len()
        );
    }
}

#[test]
fn a_denied_tuple_comes_with_a_control() {
    let (snapshot, roster) = world();
    let matrix = Matrix::new(&snapshot);
    let plan = plan_rules(&matrix, &roster, &scope(1), &PROBED_PORTS);
    assert!(with(&plan, Purpose::Control).count() > 0);
    for flow in with(&plan, Purpose::Control) {
        assert_eq!(matrix.kind(flow), VerdictKind::Allow, "{flow}");
    }
}

#[test]
fn one_seed_gives_one_plan_and_another_turns_the_members() {
    let (snapshot, roster) = world();
    let matrix = Matrix::new(&snapshot);
    let plan = |seed| plan_rules(&matrix, &roster, &scope(seed), &PROBED_PORTS);
    assert_eq!(plan(1), plan(1));
    let (one, other) = (plan(1), plan(2));
    let pairs = |plan: &ProbePlan| -> BTreeSet<_> {
        chosen(plan)
            .iter()
            .map(|flow| (flow.source, flow.destination))
            .collect()
    };
    let (one, other) = (pairs(&one), pairs(&other));
    assert!(one.intersection(&other).count() * 4 < one.len());
}

#[test]
fn the_depth_decides_how_much_is_tried() {
    let (snapshot, roster) = world();
    let planned = |depth| plan(&snapshot, &roster, &Scope { depth, ..scope(1) });
    let (required, rules) = (planned(Depth::Required), planned(Depth::Rules));
    assert!(required.flows.iter().all(|flow| {
        flow.purposes.contains(&Purpose::Required) || flow.purposes.contains(&Purpose::Control)
    }));
    assert!(required.flows.len() < rules.flows.len());
    assert!(rules.left_out == 0 && rules.flows.len() < 40 * roster.len());
}
