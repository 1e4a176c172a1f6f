//! API servers as a source: what is planned for them, and what follows from what they came to.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reachproof_model::dial::DialFailure;
use reachproof_model::finding::{Finding, FindingKind, FindingReason, Note, Strength};
use reachproof_model::flow::{EPHEMERAL_PORTS_DEFAULT, Flow};
use reachproof_model::id::NodeName;
use reachproof_model::observation::{Attempt, Identification, Observation, Outcome, ProbeId};
use reachproof_model::plan::{
    AgentKind, CLOSED_EDGES_PER_SERVER_MAX, DIAL_INTERVAL, Depth, DialPod, Dialling, FileState,
    PlannedFlow, PlannedProbe, PolicyFact, ProbeKind, ProbePlan, Purpose, Roster, RosterAgent,
    Scope, SourcePorts, Target, Until, add_dials, api_servers, plan,
};
use reachproof_model::predict::predict;
use reachproof_model::prediction::{Prediction, Verdict};
use reachproof_model::snapshot::Snapshot;
use reachproof_model::vantage::Vantage;

use judging::{CONTROL_PLANE, Run, address, allow, connected, deny, name, of, partial, refused};
use serde_json::json;
use world::{described, snapshot};

mod judging;
mod world;

/// Where the first silent dial begins.
const BEGIN: Duration = Duration::from_secs(5);

/// An attempt of an API server.
fn attempt(number: u32, started: Duration, outcome: Outcome) -> Attempt {
    let after = match outcome {
        Outcome::TimedOut { after } => after,
        Outcome::Connected { .. }
        | Outcome::Refused { .. }
        | Outcome::Unreachable { .. }
        | Outcome::LocalError { .. }
        | Outcome::Starved
        | Outcome::RefusedByPolicy
        | Outcome::NotDialled { .. } => Duration::from_millis(5),
    };
    Attempt {
        number,
        local: None,
        started,
        received: started + after,
        outcome,
        syn_retransmissions: 0,
        identification: Identification::NotAsked,
    }
}

/// The same with the proof of the agent that was dialled, which saw it come from `source`.
fn proven(number: u32, started: Duration, source: &str) -> Attempt {
    let observed = SocketAddr::new(address(source), 40_000 + u16::try_from(number).unwrap());
    Attempt {
        local: Some(observed),
        identification: Identification::Verified { observed },
        ..attempt(number, started, connected())
    }
}

/// The same in a kubelet's words.
fn kubelet(number: u32) -> Attempt {
    Attempt {
        identification: Identification::Kubelet,
        ..attempt(number, BEGIN, connected())
    }
}

/// The API server's own time-out.
fn timed_out() -> Outcome {
    Outcome::TimedOut {
        after: Duration::from_secs(30),
    }
}

fn failed(failure: DialFailure) -> Outcome {
    Outcome::NotDialled { failure }
}

/// Three dials with these outcomes, as far apart as the plan says.
fn dials(outcomes: [Outcome; 3]) -> Vec<Attempt> {
    let spread = |(number, outcome)| attempt(number, BEGIN + DIAL_INTERVAL * number, outcome);
    (0..).zip(outcomes).map(spread).collect()
}

/// Adds a dial to `agent` before the flows that are there.
fn dial(
    mut run: Run,
    (agent, port): (&str, u16),
    kind: ProbeKind,
    verdict: Verdict,
    attempts: Vec<Attempt>,
) -> Run {
    let flow = Flow::from_api_server(address(CONTROL_PLANE), of(agent), port);
    let id = ProbeId(u32::try_from(run.evidence.observations.len()).unwrap());
    run.evidence.observations.push(Observation { attempts });
    run.predictions.insert(
        0,
        Prediction {
            flow: flow.clone(),
            verdict,
            steps: Vec::new(),
        },
    );
    if kind == ProbeKind::Identify {
        run.plan.listens.get_mut(&name(agent)).unwrap().insert(port);
    }
    run.plan.flows.insert(
        0,
        PlannedFlow {
            flow,
            source: Vantage::ApiServer(address(CONTROL_PLANE)),
            target: Target::Agent(name(agent)),
            purposes: BTreeSet::from([Purpose::Required]),
            policy: PolicyFact::NoneSelects,
            translated: None,
            relay: None,
            probes: vec![PlannedProbe {
                id,
                kind,
                source_ports: SourcePorts::Unchosen,
                until: Until::Last,
            }],
        },
    );
    run
}

/// A run in which the API server reaches `b` on 7500 every 3 s.
fn heard() -> Run {
    let calls = (0..20).map(|number| {
        proven(
            number,
            Duration::from_secs(3 * u64::from(number)),
            CONTROL_PLANE,
        )
    });
    let calls = calls.collect();
    dial(
        Run::new(),
        ("b", 7_500),
        ProbeKind::Identify,
        allow(),
        calls,
    )
}

/// The finding of a dial to `b` on 9443, with the API server heard all the while.
fn judged(verdict: Verdict, attempts: Vec<Attempt>) -> Finding {
    dial(
        heard(),
        ("b", 9_443),
        ProbeKind::Identify,
        verdict,
        attempts,
    )
    .first()
}

fn said(finding: &Finding) -> (FindingKind, Option<FindingReason>) {
    (finding.kind, finding.reason.clone())
}

fn inconclusive(reason: FindingReason) -> (FindingKind, Option<FindingReason>) {
    (FindingKind::Inconclusive, Some(reason))
}

#[test]
fn what_an_agent_proves_through_an_api_server_is_proven() {
    let finding = heard().first();
    assert_eq!(finding.kind, FindingKind::ConfirmedAllow);
    assert_eq!(finding.strength, Some(Strength::Proven));
    let json = serde_json::to_value(&finding).unwrap();
    assert_eq!(json["source_control_plane"], CONTROL_PLANE);
    assert_eq!(json["source_agent"], serde_json::Value::Null);
}

#[test]
fn three_time_outs_of_the_dial_itself_confirm_or_contradict() {
    let silent = dials([timed_out(); 3]);
    assert_eq!(
        judged(deny(), silent.clone()).kind,
        FindingKind::ConfirmedDeny
    );
    assert_eq!(
        judged(allow(), silent).kind,
        FindingKind::ContradictionClosed
    );
}

#[test]
fn silence_needs_dials_that_are_ten_seconds_apart() {
    let mut close = dials([timed_out(); 3]);
    close[1].started = close[0].started + Duration::from_secs(5);
    let finding = judged(deny(), close);
    assert_eq!(said(&finding), inconclusive(FindingReason::NotRepeated));
    let two = dials([timed_out(); 3]).into_iter().take(2).collect();
    let finding = judged(deny(), two);
    assert_eq!(said(&finding), inconclusive(FindingReason::NotRepeated));
}

#[test]
fn silence_of_an_api_server_that_was_not_heard_around_it_carries_nothing() {
    for gone in [3..60, 0..8, 33..60] {
        let mut run = dial(
            heard(),
            ("b", 9_443),
            ProbeKind::Identify,
            deny(),
            dials([timed_out(); 3]),
        );
        // The control was made first.
        run.evidence.observations[0]
            .attempts
            .retain(|attempt| !gone.contains(&attempt.started.as_secs()));
        let finding = run.first();
        assert_eq!(finding.kind, FindingKind::Inconclusive, "{gone:?}");
    }
    let alone = dial(
        Run::new(),
        ("b", 9_443),
        ProbeKind::Identify,
        deny(),
        dials([timed_out(); 3]),
    );
    assert_eq!(
        said(&alone.first()),
        inconclusive(FindingReason::AddressUnshown)
    );
}

#[test]
fn a_fault_of_the_way_of_asking_is_never_silence() {
    for failure in [
        DialFailure::ApiForbidden,
        DialFailure::ApiNotFound,
        DialFailure::ApiThrottled,
        DialFailure::ApiCertificate,
        DialFailure::ApiUnreachable,
        DialFailure::ApiNoAnswer,
        DialFailure::TooSoon,
        DialFailure::Reused,
    ] {
        for verdict in [allow(), deny()] {
            let all = judged(verdict.clone(), dials([failed(failure); 3]));
            assert_eq!(said(&all), inconclusive(FindingReason::Dial(failure)));
            // The API server was stopped in the middle.
            let rest = judged(
                verdict,
                dials([timed_out(), failed(failure), failed(failure)]),
            );
            assert_eq!(said(&rest), inconclusive(FindingReason::Dial(failure)));
        }
    }
}

#[test]
fn a_reject_is_neither_an_answer_nor_silence() {
    let unreachable = Outcome::Unreachable {
        errno: 113,
        icmp: None,
    };
    for verdict in [allow(), deny()] {
        let finding = judged(verdict.clone(), dials([unreachable; 3]));
        assert_eq!(said(&finding), inconclusive(FindingReason::Unreachable));
        // With a reset, at a port that the agent has open: somebody else sent it.
        let finding = judged(verdict.clone(), dials([refused(); 3]));
        assert_eq!(said(&finding), inconclusive(FindingReason::Unproven));
        // A proxy that answers in its own words.
        let finding = judged(verdict, dials([connected(); 3]));
        assert_eq!(said(&finding), inconclusive(FindingReason::Unproven));
    }
}

#[test]
fn a_listener_that_saw_another_source_spoils_everything_of_its_api_server() {
    let mut run = dial(
        heard(),
        ("b", 9_443),
        ProbeKind::Identify,
        deny(),
        dials([timed_out(); 3]),
    );
    run = dial(
        run,
        ("c", 7_500),
        ProbeKind::Identify,
        allow(),
        vec![proven(0, BEGIN, "10.0.9.9")],
    );
    for finding in run.findings() {
        assert_eq!(
            said(&finding),
            inconclusive(FindingReason::SourceTranslated)
        );
    }
}

#[test]
fn a_kubelet_is_proven_by_its_words_where_a_listener_saw_who_asks() {
    let words = vec![kubelet(0), kubelet(1), kubelet(2)];
    let finding = dial(
        heard(),
        ("b", 10_250),
        ProbeKind::Kubelet,
        allow(),
        words.clone(),
    )
    .first();
    assert_eq!(finding.kind, FindingKind::ConfirmedAllow);
    assert_eq!(finding.strength, Some(Strength::Proven));
    // Without a listener it answers, and nothing is proved by it.
    let finding = dial(
        Run::new(),
        ("b", 10_250),
        ProbeKind::Kubelet,
        allow(),
        words,
    )
    .first();
    assert_eq!(finding.kind, FindingKind::ConfirmedAllow);
    assert_eq!(finding.strength, Some(Strength::Unproven));
    // Whoever answers otherwise is no kubelet.
    for run in [heard(), Run::new()] {
        for outcome in [connected(), refused()] {
            for kind in [ProbeKind::Kubelet, ProbeKind::KubeletLog] {
                let seen = dials([outcome; 3]);
                let finding = dial(run.clone(), ("b", 10_250), kind, allow(), seen);
                assert_eq!(
                    said(&finding.first()),
                    inconclusive(FindingReason::Unproven)
                );
            }
        }
    }
}

#[test]
fn a_log_over_a_connection_that_may_have_been_there_shows_nothing() {
    let log = |attempts| {
        dial(
            heard(),
            ("b", 10_250),
            ProbeKind::KubeletLog,
            allow(),
            attempts,
        )
    };
    let first = attempt(0, BEGIN, failed(DialFailure::Reused));
    let alone = log(vec![first.clone()]).first();
    assert_eq!(
        said(&alone),
        inconclusive(FindingReason::Dial(DialFailure::Reused))
    );
    let more = [1, 2, 3].map(kubelet);
    let finding = log([vec![first], more.to_vec()].concat()).first();
    assert_eq!(finding.kind, FindingKind::ConfirmedAllow);
    assert_eq!(finding.strength, Some(Strength::Proven));
}

#[test]
fn the_log_of_an_agent_proves_that_its_kubelet_is_reached_though_no_agent_has_that_address() {
    let host = address("10.0.9.9");
    let of_kubelet = |run: Run, seen: Vec<Attempt>| {
        let mut run = dial(run, ("b", 10_250), ProbeKind::KubeletLog, allow(), seen);
        run.plan.flows[0].flow.destination = host;
        run.plan.flows[0].target = Target::Kubelet(name("b"));
        run.predictions[0].flow.destination = host;
        run.first()
    };
    let logs = || [1, 2, 3].map(kubelet).to_vec();
    let finding = of_kubelet(heard(), logs());
    assert_eq!(finding.kind, FindingKind::ConfirmedAllow);
    assert_eq!(finding.strength, Some(Strength::Proven));
    // Without a listener nobody knows where the API server comes from.
    let finding = of_kubelet(Run::new(), logs());
    assert_eq!(finding.strength, Some(Strength::Unproven));
    // A firewall's reset is no log, and whoever answers without it is somebody else.
    for outcome in [refused(), connected()] {
        let finding = of_kubelet(heard(), dials([outcome; 3]));
        assert_eq!(said(&finding), inconclusive(FindingReason::Unproven));
    }
}

#[test]
fn an_accept_of_a_silent_dial_is_no_deny() {
    let mut run = dial(
        heard(),
        ("b", 9_443),
        ProbeKind::Identify,
        deny(),
        dials([timed_out(); 3]),
    );
    run.accepted("b", 9_443, SocketAddr::new(address(CONTROL_PLANE), 50_000));
    assert_eq!(
        said(&run.first()),
        inconclusive(FindingReason::SeenByTarget)
    );
}

#[test]
fn dials_of_which_some_are_silent_say_nothing_of_a_rule() {
    let mut mixed = dials([timed_out(); 3]);
    mixed[1] = proven(1, mixed[1].started, CONTROL_PLANE);
    for verdict in [allow(), deny()] {
        let finding = judged(verdict, mixed.clone());
        assert_eq!(said(&finding), inconclusive(FindingReason::SomeSourcePorts));
        assert!(finding.notes.contains(&Note::Lossy { silent: 2 }));
    }
    // Nobody chooses the source ports by which a partial verdict would be judged.
    let finding = judged(partial(), mixed);
    assert_eq!(said(&finding), inconclusive(FindingReason::Partial));
}

/// Agents of the base world of SEMANTICS J, with pods.
fn fleet() -> (
    Roster,
    BTreeMap<reachproof_model::observation::AgentName, DialPod>,
) {
    let agents = [
        ("n1", AgentKind::Node, "10.0.1.20"),
        ("n2", AgentKind::Node, "10.0.2.20"),
        ("n3", AgentKind::Node, "10.0.1.40"),
        ("pod", AgentKind::Pod, "10.0.1.31"),
        ("fargate", AgentKind::Fargate, "10.0.2.50"),
    ];
    let pods = agents.map(|(agent, _, own)| {
        let pod = DialPod {
            namespace: "reachproof".to_owned(),
            name: agent.to_owned(),
            address: address(own),
            log: false,
        };
        (name(agent), pod)
    });
    let roster = agents.map(|(agent, kind, own)| RosterAgent {
        name: name(agent),
        node: None,
        kind,
        addresses: vec![address(own)],
        ephemeral_ports: EPHEMERAL_PORTS_DEFAULT,
        stream_address: None,
    });
    (Roster::new(roster), pods.into_iter().collect())
}

/// The plan of the base world with dials.
fn planned(snapshot: &Snapshot, depth: Depth, servers: BTreeSet<IpAddr>) -> ProbePlan {
    let (roster, pods) = fleet();
    let scope = Scope {
        network_policies: FileState::Read,
        flows_max: 10_000,
        depth,
        seed: 1,
    };
    let mut plan = plan(snapshot, &roster, &scope);
    let dialling = Dialling { servers, pods };
    add_dials(&mut plan, snapshot, &roster, &scope, &dialling);
    plan
}

#[test]
fn every_kubelet_with_an_agent_is_dialled_from_every_api_server() {
    let snapshot = snapshot("A01");
    let servers: BTreeSet<IpAddr> = api_servers(&snapshot)
        .into_iter()
        .filter(IpAddr::is_ipv4)
        .collect();
    assert!(servers.len() >= 2, "{servers:?}");
    let plan = planned(&snapshot, Depth::Mesh, servers.clone());
    let kubelets = plan
        .flows
        .iter()
        .filter(|flow| flow.probes[0].kind == ProbeKind::Kubelet);
    let kubelets: BTreeSet<(IpAddr, IpAddr)> = kubelets
        .map(|flow| (flow.flow.source, flow.flow.destination))
        .collect();
    let hosts = ["10.0.1.20", "10.0.2.20", "10.0.1.40", "10.0.2.50"].map(address);
    let all = servers
        .iter()
        .flat_map(|server| hosts.map(|host| (*server, host)));
    assert_eq!(kubelets, all.collect());
    // What is asked at an agent's port, the agent opens.
    for flow in &plan.flows {
        let (Vantage::ApiServer(_), Target::Agent(agent)) = (&flow.source, &flow.target) else {
            continue;
        };
        let port = flow.flow.protocol.port().unwrap();
        if flow.probes[0].kind == ProbeKind::Identify {
            assert!(plan.listens[agent].contains(&port), "{agent} {port}");
        }
    }
}

/// The kubelets that the plan of the base world asks for a log, with the agent by which it does.
fn by_log(without_hosts: bool, log: bool) -> BTreeSet<(IpAddr, String)> {
    let mut world = described("A01");
    let node = json!({
        "metadata": {"name": "n1"},
        "status": {"addresses": [{"type": "InternalIP", "address": "10.0.1.20"}]},
    });
    world.insert("nodes", json!({"kind": "NodeList", "items": [node]}));
    let snapshot = Snapshot::decode(&world).unwrap().snapshot;
    let (roster, mut pods) = fleet();
    let agents = roster.agents().cloned().map(|agent| RosterAgent {
        node: (agent.kind == AgentKind::Pod).then(|| NodeName::from("n1")),
        ..agent
    });
    let roster = Roster::new(agents);
    pods.retain(|agent, _| !without_hosts || agent.as_str() == "pod");
    pods.values_mut().for_each(|pod| pod.log = log);
    let scope = Scope {
        network_policies: FileState::Read,
        flows_max: 10_000,
        depth: Depth::Mesh,
        seed: 1,
    };
    let mut plan = plan(&snapshot, &roster, &scope);
    let servers = BTreeSet::from([address(CONTROL_PLANE)]);
    let dialling = Dialling { servers, pods };
    add_dials(&mut plan, &snapshot, &roster, &scope, &dialling);
    let logs = plan.flows.iter().filter_map(|flow| match &flow.target {
        Target::Kubelet(agent) => {
            assert_eq!(flow.probes[0].kind, ProbeKind::KubeletLog);
            assert_eq!(flow.flow.protocol.port(), Some(10_250));
            Some((flow.flow.destination, agent.as_str().to_owned()))
        }
        Target::Agent(_) | Target::ControlPlane(_) | Target::Pod => None,
    });
    logs.collect()
}

#[test]
fn a_kubelet_that_no_agent_stands_beside_is_reached_by_the_log_of_a_pod_on_its_node() {
    let kubelet = (address("10.0.1.20"), "pod".to_owned());
    assert_eq!(by_log(true, true), BTreeSet::from([kubelet]));
    // An agent with the node's address is asked by a connection that is new for sure.
    assert_eq!(by_log(false, true), BTreeSet::new());
    assert_eq!(by_log(true, false), BTreeSet::new());
}

#[test]
fn numbers_stay_without_gaps_and_fewer_dials_suffice_where_classes_do() {
    let snapshot = snapshot("A01");
    let servers = api_servers(&snapshot);
    let (mesh, rules) = (
        planned(&snapshot, Depth::Mesh, servers.clone()),
        planned(&snapshot, Depth::Rules, servers),
    );
    for plan in [&mesh, &rules] {
        let probes = plan.flows.iter().flat_map(|flow| &flow.probes);
        let mut ids: Vec<u32> = probes.map(|probe| probe.id.0).collect();
        ids.extend(plan.pulses.iter().map(|pulse| pulse.id.0));
        ids.sort_unstable();
        assert!((0..).zip(&ids).all(|(place, id)| place == *id), "{ids:?}");
        let first = plan
            .flows
            .iter()
            .position(|flow| flow.source.control_plane().is_some())
            .unwrap();
        let after = &plan.flows[first..];
        assert!(
            after
                .iter()
                .all(|flow| flow.source.control_plane().is_some())
        );
    }
    let dials = |plan: &ProbePlan| {
        let flows = plan.flows.iter();
        flows
            .filter(|flow| flow.source.control_plane().is_some())
            .count()
    };
    assert!(dials(&rules) <= dials(&mesh) && dials(&rules) > 0);
    // Silence takes long: flows that the model calls closed are few, edges give way to what is required.
    for plan in [&mesh, &rules] {
        for server in api_servers(&snapshot) {
            let own = plan.flows.iter().filter(|flow| {
                flow.source.control_plane() == Some(server)
                    && matches!(predict(&snapshot, &flow.flow).verdict, Verdict::Deny(_))
            });
            let is_required = |flow: &&PlannedFlow| flow.purposes.contains(&Purpose::Required);
            let (required, edges): (Vec<_>, Vec<_>) = own.partition(is_required);
            let room = CLOSED_EDGES_PER_SERVER_MAX.saturating_sub(required.len());
            assert!(
                edges.len() <= room,
                "{} beside {}",
                edges.len(),
                required.len()
            );
        }
    }
}

#[test]
fn without_api_servers_or_pods_nothing_is_added() {
    let snapshot = snapshot("A01");
    let plan = planned(&snapshot, Depth::Mesh, BTreeSet::new());
    assert!(
        plan.flows
            .iter()
            .all(|flow| flow.source.control_plane().is_none())
    );
}
