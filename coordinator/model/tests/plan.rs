//! What a plan holds, over the base world of SEMANTICS J.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use reachproof_model::coverage::relation_coverage;
use reachproof_model::describe::Described;
use reachproof_model::flow::{EPHEMERAL_PORTS_DEFAULT, Flow, SourceKind};
use reachproof_model::matrix::Matrix;
use reachproof_model::plan::{
    AgentKind, Besides, Depth, FLOWS_PER_RUN_MAX, FileState, PEER_PORT, PlannedFlow, PolicyFact,
    ProbeKind, ProbePlan, Purpose, Roster, RosterAgent, Scope, SourcePorts, Target, Until,
    WHOLE_MESH_MAX, judged_ports, plan, plan_with,
};
use reachproof_model::predict::predict;
use reachproof_model::prediction::Verdict;
use reachproof_model::snapshot::Snapshot;
use serde_json::json;

use judging::{address, name};
use world::{described, snapshot};

mod judging;
mod world;

/// What most tests plan with: every pair, so that what is said of a pair can be looked up.
const SCOPE: Scope = Scope {
    network_policies: FileState::Read,
    flows_max: FLOWS_PER_RUN_MAX,
    depth: Depth::Mesh,
    seed: 1,
};

/// What is planned when nobody asks for more.
const RULES: Scope = Scope {
    depth: Depth::Rules,
    ..SCOPE
};

/// An agent.
fn agent(text: &str, kind: AgentKind, addresses: &[&str]) -> RosterAgent {
    RosterAgent {
        name: name(text),
        node: None,
        kind,
        addresses: addresses.iter().map(|text| address(text)).collect(),
        ephemeral_ports: EPHEMERAL_PORTS_DEFAULT,
        stream_address: None,
    }
}

/// Agents on the hosts of the base world.
fn roster() -> Roster {
    Roster::new([
        agent("n1", AgentKind::Node, &["10.0.1.20", "2600:1f14:abc:1::20"]),
        agent("n2", AgentKind::Node, &["10.0.2.20", "2600:1f14:abc:2::20"]),
        agent("n3", AgentKind::Node, &["10.0.1.40"]),
        agent("pod", AgentKind::Pod, &["10.0.1.31"]),
        agent("fargate", AgentKind::Fargate, &["10.0.2.50"]),
    ])
}

/// The flow of a plan between two addresses.
fn flow<'a>(plan: &'a ProbePlan, from: &str, to: &str, port: u16) -> Option<&'a PlannedFlow> {
    plan.flows.iter().find(|planned| {
        planned.flow.source == address(from)
            && planned.flow.destination == address(to)
            && planned.flow.protocol.port() == Some(port)
    })
}

/// Sources, destinations and ports of the flows that the model allows.
fn allowed(snapshot: &Snapshot, plan: &ProbePlan) -> BTreeSet<(IpAddr, IpAddr, u16)> {
    plan.flows
        .iter()
        .filter(|planned| {
            matches!(
                predict(snapshot, &planned.flow).verdict,
                Verdict::Allow { .. }
            )
        })
        .map(|planned| {
            let port = planned.flow.protocol.port().unwrap();
            (planned.flow.source, planned.flow.destination, port)
        })
        .collect()
}

#[test]
fn two_plans_with_one_seed_are_equal_and_another_seed_changes_their_order_only() {
    let snapshot = snapshot("A01");
    let first = plan(&snapshot, &roster(), &SCOPE);
    assert_eq!(first, plan(&snapshot, &roster(), &SCOPE));
    let second = plan(&snapshot, &roster(), &Scope { seed: 2, ..SCOPE });
    assert_ne!(first, second);
    let flows = |plan: &ProbePlan| -> BTreeSet<_> {
        plan.flows
            .iter()
            .map(|planned| planned.flow.clone())
            .collect()
    };
    assert_eq!(flows(&first), flows(&second));
}

#[test]
fn every_agent_tries_every_control_plane_interface_on_443_without_a_byte() {
    let plan = plan(&snapshot("A01"), &roster(), &SCOPE);
    for source in [
        "10.0.1.20",
        "10.0.2.20",
        "10.0.1.40",
        "10.0.1.31",
        "10.0.2.50",
    ] {
        for target in ["10.0.1.10", "10.0.2.10"] {
            let planned = flow(&plan, source, target, 443).unwrap();
            assert!(planned.purposes.contains(&Purpose::Required));
            assert_eq!(planned.probes[0].kind, ProbeKind::Connect);
        }
    }
    let dual = flow(&plan, "2600:1f14:abc:1::20", "2600:1f14:abc:2::10", 443);
    assert!(
        dual.is_some(),
        "both families are tried where both ends have both"
    );
}

#[test]
fn an_interface_that_the_endpoint_slice_does_not_list_is_not_tried() {
    let mut world = described("A01");
    world.insert(
        "endpointslices",
        json!({"apiVersion": "v1", "kind": "List", "items": [{
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "kubernetes", "namespace": "default",
                "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "endpoints": [{"addresses": ["10.0.1.10"], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": 443, "protocol": "TCP"}],
        }]}),
    );
    let snapshot = Snapshot::decode(&world).unwrap().snapshot;
    let plan = plan(&snapshot, &roster(), &SCOPE);
    assert!(flow(&plan, "10.0.1.20", "10.0.1.10", 443).is_some());
    assert!(flow(&plan, "10.0.1.20", "10.0.2.10", 443).is_none());
}

#[test]
fn agents_try_each_other_on_the_peer_port_and_at_the_edges_of_the_rules() {
    let plan = plan(&snapshot("A01"), &roster(), &SCOPE);
    let peer = flow(&plan, "10.0.1.20", "10.0.2.20", PEER_PORT).unwrap();
    assert_eq!(peer.probes[0].kind, ProbeKind::Identify);
    assert_eq!(peer.target, Target::Agent(name("n2")));
    for edge in [8_079, 8_080, 8_081] {
        let planned = flow(&plan, "10.0.1.20", "10.0.2.20", edge).unwrap();
        assert!(planned.purposes.contains(&Purpose::Edge));
        assert_eq!(planned.probes[0].kind, ProbeKind::Identify);
    }
    let everyone: BTreeSet<_> = roster().agents().map(|agent| agent.name.clone()).collect();
    assert_eq!(
        plan.listens.keys().cloned().collect::<BTreeSet<_>>(),
        everyone
    );
}

/// Counts the predicted denies of a plan; fails if one lacks a control that its source and target could give.
fn denies_with_control(vector: &str, scope: &Scope) -> usize {
    let snapshot = snapshot(vector);
    let possible = allowed(&snapshot, &plan(&snapshot, &roster(), &SCOPE));
    let plan = plan(&snapshot, &roster(), scope);
    let allowed = allowed(&snapshot, &plan);
    let mut denies = 0;
    for planned in &plan.flows {
        let (source, target) = (planned.flow.source, planned.flow.destination);
        let port = planned.flow.protocol.port().unwrap();
        let denied = matches!(predict(&snapshot, &planned.flow).verdict, Verdict::Deny(_));
        let reaches = possible.iter().any(|(from, _, _)| *from == source);
        let target_reached = possible
            .iter()
            .any(|(_, to, on)| *to == target && *on == port);
        let same = allowed
            .iter()
            .any(|(from, to, _)| *from == source && *to == target);
        if denied && reaches && (target_reached || same) {
            denies += 1;
            let other = allowed
                .iter()
                .any(|(from, to, on)| *from != source && *to == target && *on == port);
            let elsewhere = allowed
                .iter()
                .any(|(from, to, _)| *from == source && *to != target);
            assert!(same || (other && elsewhere), "{vector}: {}", planned.flow);
        }
    }
    denies
}

/// Worlds in which something is denied.
const DENYING: [&str; 7] = ["A01", "B01", "B03", "D06", "F05", "F07", "F16"];

#[test]
fn every_deny_whose_source_reaches_anything_has_a_control() {
    for (scope, least) in [(&SCOPE, 20), (&RULES, 10)] {
        let denies: usize = DENYING
            .iter()
            .map(|vector| denies_with_control(vector, scope))
            .sum();
        assert!(denies > least, "only {denies} denies at {:?}", scope.depth);
    }
}

#[test]
fn a_small_fleet_shows_every_tuple_and_has_everybody_in_both_roles() {
    let roster = roster();
    for vector in DENYING {
        let snapshot = snapshot(vector);
        let matrix = Matrix::new(&snapshot);
        for seed in 0..4 {
            let plan = plan(&snapshot, &roster, &Scope { seed, ..RULES });
            let flows = plan.flows.iter().map(|planned| &planned.flow);
            let found = relation_coverage(&matrix, &roster, &[PEER_PORT], flows);
            assert!(found.tuples.all > 0);
            assert_eq!(found.tuples.shown, found.tuples.all, "{vector}");
            assert_eq!(found.rules.missing, BTreeSet::new(), "{vector}");
            assert_eq!(found.sources.shown, roster.len(), "{vector}");
            for agent in roster.agents() {
                let meets = |one: fn(&PlannedFlow) -> IpAddr| {
                    plan.flows.iter().any(|planned| {
                        planned.flow.protocol.port() == Some(PEER_PORT)
                            && agent.addresses.contains(&one(planned))
                    })
                };
                assert!(meets(|planned| planned.flow.source), "{}", agent.name);
                assert!(meets(|planned| planned.flow.destination), "{}", agent.name);
            }
        }
    }
}

#[test]
fn a_small_fleet_is_tried_pair_by_pair_when_nobody_says_how_much() {
    assert_eq!(Depth::fitting(1), Depth::Mesh);
    assert_eq!(Depth::fitting(WHOLE_MESH_MAX), Depth::Mesh);
    assert_eq!(Depth::fitting(WHOLE_MESH_MAX + 1), Depth::Rules);
}

#[test]
fn a_rule_that_admits_to_the_control_plane_is_missing_until_a_flow_shows_it() {
    let snapshot = snapshot("F05");
    let (matrix, roster) = (Matrix::new(&snapshot), roster());
    let plan = plan(&snapshot, &roster, &RULES);
    let coverage = |purpose: fn(&PlannedFlow) -> bool| {
        let flows = plan.flows.iter().filter(|planned| purpose(planned));
        let flows = flows.map(|planned| &planned.flow);
        relation_coverage(&matrix, &roster, &[PEER_PORT], flows).rules
    };
    let required = |planned: &PlannedFlow| planned.purposes.contains(&Purpose::Required);
    let admitting: BTreeSet<_> = plan
        .flows
        .iter()
        .filter(|planned| required(planned))
        .flat_map(|planned| predict(&snapshot, &planned.flow).verdict.rules())
        .collect();
    assert!(!admitting.is_empty());
    let (with, without) = (
        coverage(|_| true),
        coverage(|planned| !planned.purposes.contains(&Purpose::Required)),
    );
    assert!(admitting.is_subset(&with.shown));
    assert!(admitting.is_disjoint(&without.cannot_decide));
    assert!(!admitting.is_disjoint(&without.missing));
}

#[test]
fn rules_try_both_sides_of_an_edge_between_some_two_and_no_more_pairs_than_needed() {
    let snapshot = snapshot("A01");
    let (rules, mesh) = (
        plan(&snapshot, &roster(), &RULES),
        plan(&snapshot, &roster(), &SCOPE),
    );
    for edge in [8_079, 8_080, 8_081] {
        let tried = rules.flows.iter().any(|planned| {
            planned.flow.protocol.port() == Some(edge) && planned.purposes.contains(&Purpose::Edge)
        });
        assert!(tried, "{edge}");
    }
    assert!(rules.flows.len() < mesh.flows.len());
}

#[test]
fn what_an_earlier_run_tried_is_tried_again_where_no_rule_names_its_port_any_more() {
    let snapshot = snapshot("A01");
    let earlier = [
        Flow::tcp(address("10.0.1.20"), address("10.0.2.20"), 9_999),
        Flow::tcp(address("10.0.1.20"), address("10.0.2.10"), 443),
        Flow::tcp(address("10.9.9.9"), address("10.0.2.20"), 9_999),
    ];
    for scope in [SCOPE, RULES] {
        let besides = Besides {
            earlier: &earlier,
            ..Besides::default()
        };
        let before = plan(&snapshot, &roster(), &scope);
        assert!(flow(&before, "10.0.1.20", "10.0.2.20", 9_999).is_none());
        let now = plan_with(&snapshot, &roster(), &scope, besides);
        let again = flow(&now, "10.0.1.20", "10.0.2.20", 9_999).unwrap();
        assert_eq!(again.purposes, BTreeSet::from([Purpose::Earlier]));
        assert_eq!(again.probes[0].kind, ProbeKind::Identify);
        let known = flow(&now, "10.0.1.20", "10.0.2.10", 443).unwrap();
        assert!(known.purposes.contains(&Purpose::Required));
        // Nobody is at the third one's source any more.
        assert!(flow(&now, "10.9.9.9", "10.0.2.20", 9_999).is_none());
    }
}

#[test]
fn a_control_is_added_where_no_other_flow_gives_one() {
    // n1 and n2 carry G, which admits everything from itself; n3 may send to 9999 alone. So 9999 is an edge for n3 and
    // for nobody else, and only a control probe of n1 shows that n2 can be reached on it.
    let mut world = described("B01");
    let mut groups = world.get("describe-security-groups").unwrap().clone();
    for group in groups["SecurityGroups"].as_array_mut().unwrap() {
        if group["Description"] == "D" {
            group["IpPermissionsEgress"] = json!([{"IpProtocol": "tcp", "FromPort": 9_999,
                "ToPort": 9_999, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]);
        }
    }
    world.insert("describe-security-groups", groups);
    let snapshot = Snapshot::decode(&world).unwrap().snapshot;
    let plan = plan(&snapshot, &roster(), &SCOPE);
    let denied = flow(&plan, "10.0.1.40", "10.0.2.20", 9_999).unwrap();
    assert!(matches!(
        predict(&snapshot, &denied.flow).verdict,
        Verdict::Deny(_)
    ));
    let control = flow(&plan, "10.0.1.20", "10.0.2.20", 9_999).unwrap();
    assert_eq!(control.purposes, BTreeSet::from([Purpose::Control]));
    assert!(matches!(
        predict(&snapshot, &control.flow).verdict,
        Verdict::Allow { .. }
    ));
}

#[test]
fn co_located_agents_are_planned_and_predicted_as_bypass() {
    let snapshot = snapshot("A01");
    let plan = plan(&snapshot, &roster(), &SCOPE);
    let planned = flow(&plan, "10.0.1.31", "10.0.1.20", PEER_PORT).unwrap();
    assert_eq!(planned.flow.source_kind, SourceKind::Pod);
    assert!(matches!(
        predict(&snapshot, &planned.flow).verdict,
        Verdict::Bypass(_)
    ));
}

#[test]
fn a_partial_is_planned_source_port_by_source_port() {
    let mut found = 0;
    for vector in ["D03", "D04", "D06", "D12", "D13"] {
        let snapshot = snapshot(vector);
        for planned in plan(&snapshot, &roster(), &SCOPE).flows {
            let Verdict::Partial { open_ports, .. } = predict(&snapshot, &planned.flow).verdict
            else {
                continue;
            };
            found += 1;
            let tried: BTreeSet<_> = planned
                .probes
                .iter()
                .map(|probe| match probe.source_ports {
                    SourcePorts::Fixed(port) => port,
                    SourcePorts::Spread | SourcePorts::Unchosen => {
                        panic!("{} is tried from other ports", planned.flow)
                    }
                })
                .collect();
            let wanted = judged_ports(planned.flow.ephemeral_ports, &open_ports);
            assert!(wanted.len() >= 2);
            assert_eq!(tried, wanted, "{vector}: {}", planned.flow);
        }
    }
    assert!(found > 0);
}

#[test]
fn probes_are_numbered_in_their_order_without_gaps() {
    let plan = plan(&snapshot("D12"), &roster(), &SCOPE);
    let probes = plan.flows.iter().flat_map(|planned| &planned.probes);
    let numbers: Vec<u32> = probes.map(|probe| probe.id.0).collect();
    assert!(numbers.len() > plan.flows.len());
    assert!(numbers.iter().copied().eq((0..).take(numbers.len())));
}

#[test]
fn a_pod_that_is_denied_by_default_is_as_one_that_a_policy_selects() {
    let mut world = described("A01");
    world.insert(
        "aws-node",
        json!({"kind": "DaemonSet", "metadata": {"name": "aws-node"},
        "spec": {"template": {"spec": {"containers": [{"name": "aws-node", "env": [
            {"name": "NETWORK_POLICY_ENFORCING_MODE", "value": "strict"},
        ]}]}}}}),
    );
    let policies = |world: &Described| {
        let snapshot = Snapshot::decode(world).unwrap().snapshot;
        let plan = plan(&snapshot, &roster(), &SCOPE);
        let policy = |from, to| flow(&plan, from, to, PEER_PORT).unwrap().policy;
        (
            policy("10.0.2.20", "10.0.1.31"),
            policy("10.0.1.20", "10.0.2.20"),
        )
    };
    assert_eq!(
        policies(&world),
        (PolicyFact::Unread, PolicyFact::NoneSelects)
    );
    let pod = json!({"metadata": {"namespace": "default", "name": "probe"}, "spec": {},
        "status": {"phase": "Running", "podIP": "10.0.1.31"}});
    world.insert("pods", json!({"items": [pod]}));
    let selected = PolicyFact::Selects(address("10.0.1.31"));
    assert_eq!(policies(&world), (selected, PolicyFact::NoneSelects));
}

#[test]
fn policies_that_were_not_read_matter_for_pods_alone() {
    let scope = Scope {
        network_policies: FileState::Absent,
        ..SCOPE
    };
    let plan = plan(&snapshot("A01"), &roster(), &scope);
    let policy = |from, to| flow(&plan, from, to, PEER_PORT).unwrap().policy;
    assert_eq!(policy("10.0.1.20", "10.0.2.20"), PolicyFact::NoneSelects);
    assert_eq!(policy("10.0.1.20", "10.0.2.50"), PolicyFact::NoneSelects);
    assert_eq!(policy("10.0.1.31", "10.0.2.20"), PolicyFact::Unread);
    assert_eq!(policy("10.0.2.20", "10.0.1.31"), PolicyFact::Unread);
}

#[test]
fn the_address_after_snat_is_part_of_the_plan() {
    let snapshot = snapshot("F19");
    let roster = Roster::new([
        agent("pod", AgentKind::Pod, &["10.0.1.31"]),
        agent("peered", AgentKind::Node, &["10.1.0.5"]),
        agent("n2", AgentKind::Node, &["10.0.2.20"]),
    ]);
    let plan = plan(&snapshot, &roster, &SCOPE);
    let translated = |to| flow(&plan, "10.0.1.31", to, PEER_PORT).unwrap().translated;
    assert_eq!(translated("10.1.0.5"), Some(address("10.0.1.20")));
    assert_eq!(translated("10.0.2.20"), None);
}

#[test]
fn a_plan_stays_within_its_limit_and_says_what_it_left_out() {
    let agents = (1..=30_u32).map(|index| {
        let place = IpAddr::from((0xac10_0000 + index).to_be_bytes());
        agent(
            &format!("agent-{index}"),
            AgentKind::Node,
            &[&place.to_string()],
        )
    });
    let scope = Scope {
        flows_max: 200,
        ..SCOPE
    };
    // Each agent gets 6 flows: 2 to the control plane and 4 to others.
    let plan = plan(&snapshot("A01"), &Roster::new(agents), &scope);
    assert_eq!(plan.flows.len(), 30 * 6);
    assert_eq!(plan.left_out, 30 * (29 - 4));
    let sources: BTreeSet<_> = plan.flows.iter().map(|planned| &planned.source).collect();
    assert_eq!(sources.len(), 30, "every agent is a source");
}

/// A world whose cluster has a CA, so that the control plane can prove who it is.
fn with_authority(vector: &str) -> Snapshot {
    let mut world = described(vector);
    let mut cluster = world.get("describe-cluster").unwrap().clone();
    cluster["cluster"]["certificateAuthority"] = json!({"data": "cHVibGlj"});
    world.insert("describe-cluster", cluster);
    Snapshot::decode(&world).unwrap().snapshot
}

#[test]
fn the_control_plane_is_asked_for_its_certificate_where_the_snapshot_has_the_ca() {
    let plan = plan(&with_authority("A01"), &roster(), &SCOPE);
    let planned = flow(&plan, "10.0.1.20", "10.0.1.10", 443).unwrap();
    assert_eq!(planned.probes[0].kind, ProbeKind::Certify);
    assert_eq!(planned.probes[0].until, Until::Last);
}

#[test]
fn an_agent_opens_every_port_that_is_probed_at_it_from_1024_up() {
    let plan = plan(&snapshot("A01"), &roster(), &SCOPE);
    for planned in &plan.flows {
        let (Target::Agent(agent), Some(port)) = (&planned.target, planned.flow.protocol.port())
        else {
            continue;
        };
        let is_open = plan.listens[agent].contains(&port);
        assert_eq!(is_open, port >= 1024, "{agent} {port}");
        let asks = planned.probes[0].kind == ProbeKind::Identify;
        assert_eq!(asks, is_open, "{agent} {port}");
    }
}

#[test]
fn every_end_of_a_denied_flow_is_called_or_calls_while_the_model_allows_anybody() {
    let snapshot = with_authority("A01");
    for scope in [SCOPE, RULES] {
        let plan = plan(&snapshot, &roster(), &scope);
        assert!(!plan.pulses.is_empty());
        let ends: BTreeSet<IpAddr> = plan
            .pulses
            .iter()
            .flat_map(|pulse| [pulse.source, pulse.target.ip()])
            .collect();
        for (from, to, _) in allowed(&snapshot, &plan) {
            assert!(ends.contains(&from), "{from} calls nobody");
            assert!(ends.contains(&to), "{to} is called by nobody");
        }
        for pulse in &plan.pulses {
            let call = Flow::tcp(pulse.source, pulse.target.ip(), pulse.target.port());
            let verdict = predict(&snapshot, &call).verdict;
            assert!(matches!(verdict, Verdict::Allow { .. }), "{pulse:?}");
        }
    }
}

#[test]
fn a_peer_tells_the_address_of_every_source_also_where_only_what_is_required_is_tried() {
    let snapshot = with_authority("F01");
    let scope = Scope {
        depth: Depth::Required,
        ..SCOPE
    };
    let agents = [
        agent("n1", AgentKind::Node, &["10.0.1.20"]),
        agent("n2", AgentKind::Node, &["10.0.2.20"]),
        agent("n3", AgentKind::Node, &["10.0.1.40"]),
    ];
    let plan = plan(&snapshot, &Roster::new(agents), &scope);
    let flows = plan.flows.iter();
    let sources: BTreeSet<IpAddr> = flows.map(|planned| planned.flow.source).collect();
    let pulses = plan.pulses.iter();
    let told = pulses.filter(|pulse| pulse.kind == ProbeKind::Identify);
    let told: BTreeSet<IpAddr> = told.map(|pulse| pulse.source).collect();
    assert_eq!(sources.len(), 3);
    assert_eq!(told, sources);
}

#[test]
fn a_port_that_the_network_closes_silences_nobody_who_has_another() {
    let snapshot = with_authority("A01");
    let plan = plan(&snapshot, &roster(), &SCOPE);
    let open = allowed(&snapshot, &plan);
    // What agents answer by name: below 1024 only control-plane interfaces do.
    let open = || {
        open.iter()
            .filter(|(_, _, port)| *port >= 1024 || *port == 443)
    };
    let mut looked_at = 0;
    for (_, _, closed) in open() {
        let others = |flow: &&(IpAddr, IpAddr, u16)| flow.2 != *closed;
        let pulses = plan.pulses.iter();
        let pulses = pulses.filter(|pulse| pulse.target.port() != *closed);
        let heard: BTreeSet<IpAddr> = pulses
            .flat_map(|pulse| [pulse.source, pulse.target.ip()])
            .collect();
        for (from, to, _) in open().filter(others) {
            assert!(heard.contains(from), "{from} without {closed}");
            let callers: BTreeSet<IpAddr> = open()
                .filter(|flow| flow.1 == *to)
                .map(|flow| flow.0)
                .collect();
            assert!(
                callers.len() < 2 || heard.contains(to),
                "{to} without {closed}"
            );
            looked_at += 1;
        }
    }
    assert!(looked_at > 10, "{looked_at}");
}

#[test]
fn a_control_plane_interface_is_called_by_two_sources_every_4_s() {
    let plan = plan(&with_authority("A01"), &roster(), &SCOPE);
    let called = plan
        .pulses
        .iter()
        .filter(|pulse| pulse.kind == ProbeKind::Certify);
    let mut callers: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for pulse in called {
        assert_eq!(pulse.interval, Duration::from_secs(4));
        *callers.entry(pulse.target.ip()).or_default() += 1;
    }
    assert!(!callers.is_empty());
    assert!(callers.values().all(|callers| *callers <= 2), "{callers:?}");
}

#[test]
fn pulses_are_numbered_behind_the_probes() {
    let plan = plan(&snapshot("A01"), &roster(), &SCOPE);
    let probes: usize = plan.flows.iter().map(|planned| planned.probes.len()).sum();
    let numbers: Vec<usize> = plan.pulses.iter().map(|pulse| pulse.id.index()).collect();
    let expected: Vec<usize> = (probes..probes + plan.pulses.len()).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn a_pod_with_a_service_mesh_is_found_by_the_names_of_its_containers() {
    for list in ["containers", "initContainers"] {
        let mut world = described("A01");
        let mut pod = json!({"metadata": {"namespace": "shop", "name": "web"},
            "spec": {"nodeName": "node-1"},
            "status": {"phase": "Running", "podIP": "10.0.1.31"}});
        pod["spec"][list] = json!([{"name": "app"}, {"name": "istio-proxy"}]);
        world.insert("pods", json!({"kind": "List", "items": [pod]}));
        let snapshot = Snapshot::decode(&world).unwrap().snapshot;
        let plan = plan(&snapshot, &roster(), &SCOPE);
        let meshed = flow(&plan, "10.0.1.31", "10.0.2.20", PEER_PORT).unwrap();
        assert_eq!(meshed.relay, Some(address("10.0.1.31")), "{list}");
        let plain = flow(&plan, "10.0.1.20", "10.0.2.20", PEER_PORT).unwrap();
        assert_eq!(plain.relay, None);
    }
}
