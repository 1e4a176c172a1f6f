//! What the cluster needs, and what becomes of it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;

use reachproof_model::describe::Described;
use reachproof_model::expectation::judge::Judge;
use reachproof_model::expectation::members::{NodeBasis, cluster_members};
use reachproof_model::expectation::sign::Speaks;
use reachproof_model::expectation::{
    Expectation, ExpectationName, ExpectationState, Requirement, Wanted, requirements,
};
use reachproof_model::finding::{Finding, FindingKind, FindingReason, Strength};
use reachproof_model::flow::{EPHEMERAL_PORTS_DEFAULT, Flow, SourceKind};
use reachproof_model::observation::Observation;
use reachproof_model::plan::{
    AgentKind, Depth, FileState, ProbeKind, Purpose, Roster, RosterAgent, Scope, plan,
};
use reachproof_model::prediction::{Prediction, Verdict};
use reachproof_model::snapshot::Snapshot;
use reachproof_model::vantage::Vantage;
use serde_json::{Value, json};

use judging::{address, allow, bypass, deny, name, partial, unknown};
use world::{described, snapshot};

mod judging;
mod world;

/// Decodes a world.
fn decoded(world: &Described) -> Snapshot {
    Snapshot::decode(world).unwrap().snapshot
}

/// A Kubernetes list.
fn list(items: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// A pod of kube-system or default.
fn pod(namespace: &str, pod_name: &str, ip: &str, labels: Value) -> Value {
    json!({
        "metadata": {"namespace": namespace, "name": pod_name, "labels": labels},
        "spec": {"nodeName": "n2"},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]},
    })
}

/// The world of A01 with CoreDNS and one more pod on n2.
fn with_pods() -> Described {
    let mut world = described("A01");
    let dns = pod(
        "kube-system",
        "coredns-1",
        "10.0.2.21",
        json!({"k8s-app": "kube-dns"}),
    );
    let web = pod("default", "web", "10.0.2.70", json!({}));
    world.insert("pods", list(json!([dns, web])));
    world
}

/// The flows of one expectation, as `source destination protocol`.
fn flows(snapshot: &Snapshot, roster: &Roster, name: ExpectationName) -> BTreeSet<String> {
    let all = requirements(snapshot, roster).requirements;
    let expectation = all.into_iter().find(|requirement| requirement.name == name);
    expectation
        .map(|requirement| requirement.flows.iter().map(ToString::to_string).collect())
        .unwrap_or_default()
}

/// A finding of a flow.
fn finding(
    port: u16,
    verdict: Verdict,
    kind: FindingKind,
    reason: Option<FindingReason>,
) -> Finding {
    let flow = Flow::tcp(address("10.0.1.20"), address("10.0.1.10"), port);
    Finding {
        kind,
        flow: flow.clone(),
        source: Vantage::Model,
        destination_agent: None,
        prediction: Prediction {
            flow,
            verdict,
            steps: Vec::new(),
        },
        observation: Observation::default(),
        strength: Some(Strength::Proven),
        reason,
        conditions: Vec::new(),
        attempt_conditions: Vec::new(),
        notes: Vec::new(),
    }
}

/// Judges an expectation that rests on these findings, in the world of A01.
fn judged(findings: &[Finding]) -> Expectation {
    judged_as(ExpectationName::NodeToControlPlane, findings)
}

/// Judges the expectation of that name, which rests on these findings, in the world of A01.
fn judged_as(name: ExpectationName, findings: &[Finding]) -> Expectation {
    judged_in(&snapshot("A01"), name, findings)
}

/// Judges the expectation of that name, which rests on these findings.
fn judged_in(snapshot: &Snapshot, name: ExpectationName, findings: &[Finding]) -> Expectation {
    let requirement = Requirement {
        subject: None,
        wanted: Wanted::Open,
        why: None,
        name,
        flows: findings
            .iter()
            .map(|finding| finding.flow.clone())
            .collect(),
        left_out: 0,
    };
    let places = (0..findings.len()).collect();
    Judge::new(snapshot, findings).judge(&requirement, NodeBasis::Kubernetes, places)
}

#[test]
fn a_flow_that_should_be_closed_is_met_by_silence_that_counts_and_broken_by_every_answer() {
    use ExpectationState::{Broken, Met, Predicted, Unverified};
    use FindingKind::{
        Bypass, ConfirmedAllow, ConfirmedDeny, ContradictionClosed, ContradictionOpen,
        Inconclusive, NotObserved,
    };
    let alone = Some(FindingReason::NoVantagePoint);
    let unstable = Some(FindingReason::Unstable);
    for (verdict, kind, reason, expected) in [
        (deny(), ConfirmedDeny, None, Met),
        (deny(), NotObserved, alone.clone(), Predicted),
        (
            deny(),
            Inconclusive,
            Some(FindingReason::NoControl),
            Unverified,
        ),
        (deny(), ContradictionOpen, None, Broken),
        (allow(), ConfirmedAllow, None, Broken),
        (allow(), ContradictionClosed, None, Broken),
        (allow(), NotObserved, alone, Broken),
        (allow(), Inconclusive, unstable, Unverified),
        (bypass(), Bypass, None, Broken),
    ] {
        let told = format!("{verdict} {kind:?}");
        let requirement = Requirement {
            wanted: Wanted::Closed,
            why: None,
            name: ExpectationName::Own("closed".into()),
            subject: None,
            flows: Vec::new(),
            left_out: 0,
        };
        let findings = [finding(443, verdict, kind, reason)];
        let snapshot = snapshot("A01");
        let judge = Judge::new(&snapshot, &findings);
        let judged = judge.judge(&requirement, NodeBasis::Kubernetes, vec![0]);
        assert_eq!(judged.state, expected, "{told}");
    }
}

#[test]
fn what_the_cluster_says_itself_is_named_and_decides_nothing() {
    let alone = Some(FindingReason::NoVantagePoint);
    let no_control = Some(FindingReason::NoControl);
    let in_world = |status: &str, finding: &Finding| {
        let mut world = described("A01");
        let node = json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n1"},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.1.20"}],
                       "conditions": [{"type": "Ready", "status": status, "reason": "X"}]}});
        world.insert("nodes", list(json!([node])));
        let name = ExpectationName::NodeToControlPlane;
        judged_in(&decoded(&world), name, std::slice::from_ref(finding))
    };
    for finding in [
        finding(443, allow(), FindingKind::ConfirmedAllow, None),
        finding(443, allow(), FindingKind::Inconclusive, no_control),
        finding(443, allow(), FindingKind::NotObserved, alone),
        finding(443, deny(), FindingKind::ConfirmedDeny, None),
        finding(443, allow(), FindingKind::ContradictionClosed, None),
    ] {
        let (heard, lost) = (in_world("True", &finding), in_world("Unknown", &finding));
        assert_eq!(heard.signs[0].speaks, Speaks::For);
        assert_eq!(lost.signs[0].speaks, Speaks::Against);
        assert_eq!(lost.signs[0].to_string(), "node n1: Ready is Unknown (X)");
        let unsigned = |expectation: Expectation| Expectation {
            signs: Vec::new(),
            ..expectation
        };
        assert_eq!(unsigned(heard), unsigned(lost));
    }
}

#[test]
fn what_nobody_tried_from_a_node_that_goes_is_predicted_and_broken_where_the_model_denies() {
    let node = |spec: Value| {
        let mut world = described("A01");
        let node = json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n1"},
            "spec": spec,
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.1.20"}]}});
        world.insert("nodes", list(json!([node])));
        decoded(&world)
    };
    let alone = Some(FindingReason::NoVantagePoint);
    let untried = finding(443, allow(), FindingKind::NotObserved, alone.clone());
    let denied = finding(443, deny(), FindingKind::NotObserved, alone);
    let state = |spec: Value, finding: &Finding| {
        let name = ExpectationName::NodeToControlPlane;
        judged_in(&node(spec), name, std::slice::from_ref(finding)).state
    };
    let cordoned = || json!({"unschedulable": true});
    assert_eq!(state(json!({}), &untried), ExpectationState::Unverified);
    assert_eq!(state(cordoned(), &untried), ExpectationState::Predicted);
    assert_eq!(state(cordoned(), &denied), ExpectationState::Broken);
}

#[test]
fn each_finding_of_a_wished_flow_gives_the_state_of_f_3() {
    use ExpectationState::{Broken, Met, Unverified};
    use FindingKind::{
        Bypass, ConfirmedAllow, ConfirmedDeny, ConfirmedPartial, ContradictionClosed,
        ContradictionOpen, Inconclusive, NotObserved,
    };
    let alone = Some(FindingReason::NoVantagePoint);
    let no_control = Some(FindingReason::NoControl);
    let rows = [
        (allow(), ConfirmedAllow, None, Met),
        (bypass(), Bypass, None, Met),
        (allow(), ContradictionClosed, None, Broken),
        (deny(), ContradictionOpen, None, Broken),
        (deny(), ConfirmedDeny, None, Broken),
        (deny(), Inconclusive, no_control.clone(), Broken),
        (partial(), ConfirmedPartial, None, Broken),
        (allow(), Inconclusive, no_control, Unverified),
        (
            bypass(),
            Inconclusive,
            Some(FindingReason::BypassSilent),
            Unverified,
        ),
        (
            deny(),
            Inconclusive,
            Some(FindingReason::Unstable),
            Unverified,
        ),
        (
            allow(),
            NotObserved,
            Some(FindingReason::NotReported),
            Unverified,
        ),
        (allow(), NotObserved, alone.clone(), Unverified),
        (bypass(), NotObserved, alone.clone(), Unverified),
        (deny(), NotObserved, alone.clone(), Broken),
        (unknown(), NotObserved, alone, Unverified),
    ];
    for (verdict, kind, reason, state) in rows {
        let what = format!("{verdict:?} {kind:?} {reason:?}");
        let expectation = judged(&[finding(443, verdict, kind, reason)]);
        assert_eq!(expectation.state, state, "{what}");
        let unverified = usize::from(state == Unverified);
        assert_eq!(expectation.unverified(), unverified, "{what}");
    }
}

#[test]
fn an_answer_without_a_proof_confirms_the_flow_and_meets_no_wish() {
    let unproven = Finding {
        strength: Some(Strength::Unproven),
        ..finding(443, allow(), FindingKind::ConfirmedAllow, None)
    };
    let expectation = judged(&[unproven]);
    assert_eq!(expectation.state, ExpectationState::Unverified);
    assert_eq!(expectation.inconclusive, 1);
}

#[test]
fn what_nobody_can_try_is_predicted_where_the_model_says_as_wished() {
    use ExpectationState::{Broken, Predicted, Unverified};
    let rows = [
        (allow(), Predicted),
        (bypass(), Predicted),
        (deny(), Broken),
        (partial(), Broken),
        (unknown(), Unverified),
    ];
    for (verdict, state) in rows {
        let alone = Some(FindingReason::NoVantagePoint);
        let finding = finding(443, verdict, FindingKind::NotObserved, alone);
        let expectation = judged_as(ExpectationName::ControlPlaneToKubelet, &[finding]);
        assert_eq!(expectation.state, state);
    }
}

/// A finding from another source to the same destination.
fn from(source: &str, finding: Finding) -> Finding {
    let mut finding = finding;
    finding.flow.source = address(source);
    finding
}

#[test]
fn a_flow_that_nobody_tried_is_met_by_another_one_between_the_same_classes() {
    let alone = || Some(FindingReason::NoVantagePoint);
    let untried = |verdict| finding(443, verdict, FindingKind::NotObserved, alone());
    let met = finding(443, allow(), FindingKind::ConfirmedAllow, None);
    // 10.0.1.21 is a second address of the interface that has 10.0.1.20; 10.0.2.20 is in another subnet.
    let by_class = judged(&[met.clone(), from("10.0.1.21", untried(allow()))]);
    assert_eq!(by_class.state, ExpectationState::Met);
    assert_eq!((by_class.met, by_class.by_class), (1, 1));

    let other_class = from("10.0.2.20", untried(allow()));
    let other_verdict = from("10.0.1.21", untried(bypass()));
    let doubt = finding(
        443,
        allow(),
        FindingKind::Inconclusive,
        Some(FindingReason::Starved),
    );
    let tried = from("10.0.1.21", doubt);
    for other in [other_class, other_verdict, tried] {
        let expectation = judged(&[met.clone(), other]);
        assert_eq!(expectation.state, ExpectationState::Unverified);
        assert_eq!((expectation.met, expectation.by_class), (1, 0));
    }
}

#[test]
fn a_pod_that_nobody_translates_is_met_by_its_node() {
    let snapshot = decoded(&with_pods());
    let towards = |destination: &str, finding: Finding| {
        let mut finding = finding;
        finding.flow.destination = address(destination);
        finding
    };
    // 10.0.2.20 is the node of CoreDNS at 10.0.2.21; 10.1.0.5 is outside their VPC, where nodes translate pods.
    for (destination, state) in [
        ("10.0.1.10", ExpectationState::Met),
        ("10.1.0.5", ExpectationState::Unverified),
    ] {
        let met = finding(443, allow(), FindingKind::ConfirmedAllow, None);
        let alone = Some(FindingReason::NoVantagePoint);
        let untried = finding(443, allow(), FindingKind::NotObserved, alone);
        let mut pod = from("10.0.2.21", untried);
        pod.flow.source_kind = SourceKind::Pod;
        let findings = [from("10.0.2.20", met), pod].map(|finding| towards(destination, finding));
        let name = ExpectationName::PodToControlPlane;
        let expectation = judged_in(&snapshot, name, &findings);
        assert_eq!(expectation.state, state, "{destination}");
    }
}

#[test]
fn one_agent_that_saw_nothing_verifies_nothing() {
    let snapshot = decoded(&with_pods());
    let findings: Vec<Finding> = requirements(&snapshot, &Roster::default())
        .requirements
        .into_iter()
        .flat_map(|requirement| requirement.flows)
        .map(|flow| Finding {
            flow,
            ..finding(
                443,
                allow(),
                FindingKind::NotObserved,
                Some(FindingReason::NoVantagePoint),
            )
        })
        .collect();
    for name in [
        ExpectationName::NodeToControlPlane,
        ExpectationName::PodToControlPlane,
        ExpectationName::PodToCoreDns,
    ] {
        let expectation = judged_as(name, &findings);
        assert_eq!(expectation.state, ExpectationState::Unverified);
        assert_eq!(expectation.unverified(), findings.len());
    }
}

#[test]
fn the_worst_flow_decides_and_a_wish_without_flows_is_unverified() {
    let met = finding(443, allow(), FindingKind::ConfirmedAllow, None);
    let doubt = finding(
        443,
        allow(),
        FindingKind::Inconclusive,
        Some(FindingReason::Starved),
    );
    let broken = finding(443, deny(), FindingKind::ConfirmedDeny, None);
    assert_eq!(
        judged(&[met.clone(), doubt.clone()]).state,
        ExpectationState::Unverified
    );
    assert_eq!(
        judged(&[doubt, broken, met]).state,
        ExpectationState::Broken
    );
    assert_eq!(judged(&[]).state, ExpectationState::Unverified);
}

#[test]
fn without_a_list_of_nodes_every_running_instance_counts_and_says_so() {
    let snapshot = snapshot("A01");
    let members = cluster_members(&snapshot, &Roster::default());
    assert_eq!(members.basis, NodeBasis::EveryInstance);
    let flows = flows(
        &snapshot,
        &Roster::default(),
        ExpectationName::NodeToControlPlane,
    );
    assert!(
        flows.contains("10.0.1.20 -> 10.0.2.10 tcp/443"),
        "{flows:?}"
    );
    assert!(
        !flows.iter().any(|flow| flow.starts_with("10.1.")),
        "a peered VPC has no nodes"
    );
}

#[test]
fn tags_that_name_the_cluster_tell_nodes_from_other_instances() {
    let mut world = described("A01");
    let mut instances = world.get("describe-instances").unwrap().clone();
    let instance = &mut instances["Reservations"][0]["Instances"][0];
    instance["Tags"] = json!([{"Key": "eks:cluster-name", "Value": "demo"}]);
    world.insert("describe-instances", instances);
    let snapshot = decoded(&world);
    let members = cluster_members(&snapshot, &Roster::default());
    assert_eq!(members.basis, NodeBasis::InstanceTags);
    assert_eq!(members.nodes.len(), 1);
}

#[test]
fn the_nodes_file_rules_over_tags() {
    let mut world = described("A01");
    let node = json!({
        "metadata": {"name": "ip-10-0-2-20"},
        "spec": {},
        "status": {"addresses": [{"type": "InternalIP", "address": "10.0.2.20"}]},
    });
    world.insert("nodes", list(json!([node])));
    let snapshot = decoded(&world);
    let members = cluster_members(&snapshot, &Roster::default());
    assert_eq!(members.basis, NodeBasis::Kubernetes);
    let flows = flows(
        &snapshot,
        &Roster::default(),
        ExpectationName::ControlPlaneToKubelet,
    );
    let expected = [
        "10.0.1.10 -> 10.0.2.20 tcp/10250",
        "10.0.2.10 -> 10.0.2.20 tcp/10250",
    ];
    assert_eq!(flows, expected.map(str::to_owned).into());
}

#[test]
fn pods_need_core_dns_over_tcp_and_udp_and_core_dns_does_not_need_itself() {
    let snapshot = decoded(&with_pods());
    let flows = flows(&snapshot, &Roster::default(), ExpectationName::PodToCoreDns);
    let expected = [
        "10.0.2.70 -> 10.0.2.21 tcp/53 (pod)",
        "10.0.2.70 -> 10.0.2.21 udp/53 (pod)",
    ];
    assert_eq!(flows, expected.map(str::to_owned).into());
}

#[test]
fn a_plan_tries_what_pods_need_of_core_dns_over_both_protocols_and_what_is_tried_is_what_is_wished()
{
    let snapshot = decoded(&with_pods());
    let agent = RosterAgent {
        name: name("web"),
        node: None,
        kind: AgentKind::Pod,
        addresses: vec![address("10.0.2.70")],
        ephemeral_ports: EPHEMERAL_PORTS_DEFAULT,
        stream_address: None,
    };
    let roster = Roster::new([agent]);
    let scope = Scope {
        network_policies: FileState::Read,
        flows_max: 1_000,
        depth: Depth::Required,
        seed: 1,
    };
    let planned = plan(&snapshot, &roster, &scope);
    let to_dns = planned.flows.iter();
    let to_dns = to_dns.filter(|planned| planned.flow.destination == address("10.0.2.21"));
    let mut tried = BTreeSet::new();
    for planned in to_dns {
        assert!(planned.purposes.contains(&Purpose::Required));
        assert_eq!(planned.probes.len(), 1);
        assert_eq!(planned.probes[0].kind, ProbeKind::Resolve);
        tried.insert(planned.flow.to_string());
    }
    assert_eq!(
        tried,
        flows(&snapshot, &roster, ExpectationName::PodToCoreDns)
    );
    assert_eq!(tried.len(), 2);
}

#[test]
fn where_an_agent_runs_the_wish_is_about_the_flow_that_it_tries() {
    let mut world = described("A01");
    let node = json!({
        "metadata": {"name": "n1"},
        "spec": {},
        "status": {"addresses": [{"type": "InternalIP", "address": "10.0.1.21"}]},
    });
    world.insert("nodes", list(json!([node])));
    let agent = RosterAgent {
        name: name("n1"),
        node: None,
        kind: AgentKind::Node,
        addresses: vec![address("10.0.1.20")],
        ephemeral_ports: reachproof_model::net::PortRange::between(1_024, 2_048),
        stream_address: None,
    };
    let snapshot = decoded(&world);
    let expectations = requirements(&snapshot, &Roster::new([agent])).requirements;
    let flow = &expectations[0].flows[0];
    assert_eq!(
        flow.source,
        address("10.0.1.20"),
        "another address of the same host"
    );
    assert_eq!(flow.ephemeral_ports.last(), 2_048);
}

#[test]
fn a_snapshot_without_a_cluster_has_no_wishes() {
    let whole = described("A01");
    let mut world = Described::default();
    for (stem, answer) in whole.iter().filter(|(stem, _)| *stem != "describe-cluster") {
        world.insert(stem, answer.clone());
    }
    let expectations = requirements(&decoded(&world), &Roster::default());
    assert!(expectations.requirements.is_empty());
}
