//! Small inputs from the field that the model once answered wrongly, each with the right answer: `tests/field`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test says what it expects by failing"
)]

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use reachproof_model::change::{AnswerChange, Comparison, Concern, Difference, Packets, Party};
use reachproof_model::describe::{Described, parse};
use reachproof_model::flow::{Flow, FlowProtocol, SourceKind};
use reachproof_model::matrix::{Filter, Matrix, VerdictKind};
use reachproof_model::net::PortRange;
use reachproof_model::predict::predict;
use reachproof_model::prediction::{Gate, Prediction};
use reachproof_model::snapshot::Snapshot;
use serde_json::{Value, json};

/// A file of `tests/field`.
fn file(name: &str) -> Value {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/field");
    parse(&fs::read_to_string(directory.join(name)).unwrap()).unwrap()
}

/// The snapshot of a file.
fn snapshot(name: &str) -> Snapshot {
    let answers = file(name).as_object().unwrap().clone();
    Snapshot::decode(&Described::from(answers))
        .unwrap()
        .snapshot
}

/// A flow as `explain` asks about it: what the snapshot lists as a pod is one.
fn flow(snapshot: &Snapshot, source: &str, destination: &str, protocol: FlowProtocol) -> Flow {
    let source: IpAddr = source.parse().unwrap();
    let mut flow = Flow::tcp(source, destination.parse().unwrap(), 0);
    flow.protocol = protocol;
    flow.source_kind = snapshot.source_kind(source);
    flow
}

/// What the model says of a TCP flow.
fn tcp(name: &str, source: &str, destination: &str, port: u16) -> Prediction {
    let snapshot = snapshot(name);
    let flow = flow(&snapshot, source, destination, FlowProtocol::Tcp { port });
    predict(&snapshot, &flow)
}

/// What a step of a gate says in words.
fn detail(prediction: &Prediction, gate: Gate) -> String {
    let step = prediction.steps.iter().find(|step| step.gate == gate);
    step.unwrap().detail.clone()
}

#[test]
fn an_address_of_a_service_is_unknown_and_its_endpoints_are_named() {
    let bare = tcp("clusterip-deny.json", "192.168.18.171", "10.100.0.1", 443);
    assert_eq!(bare.verdict.to_string(), "unknown (service-address)");
    assert!(detail(&bare, Gate::Endpoints).contains("ask about the endpoints of the service"));
    let named = tcp(
        "defect-clusterip-egress.json",
        "10.40.1.20",
        "172.20.0.1",
        443,
    );
    assert_eq!(named.verdict.to_string(), "unknown (service-address)");
    let detail = detail(&named, Gate::Endpoints);
    assert!(detail.contains("default/kubernetes"), "{detail}");
    assert!(detail.contains("ask about its endpoints 10."), "{detail}");
}

#[test]
fn an_address_that_could_be_an_unread_pods_is_unknown_where_there_are_policies() {
    for name in [
        "pod-one-unreadable-address.json",
        "policies-with-pods-of-one-namespace.json",
    ] {
        let prediction = tcp(name, "10.0.1.10", "10.0.1.21", 5432);
        assert_eq!(
            prediction.verdict.to_string(),
            "unknown (networkpolicy)",
            "{name}"
        );
        let detail = detail(&prediction, Gate::NetworkPolicy);
        assert!(detail.starts_with("security groups: allow; "), "{detail}");
        assert!(detail.contains("the destination"), "{detail}");
    }
}

#[test]
fn a_ping_without_a_return_route_is_lost() {
    let snapshot = snapshot("icmp-echo-without-return-route.json");
    let mut ping = flow(
        &snapshot,
        "10.4.1.10",
        "10.5.3.10",
        FlowProtocol::Icmp { kind: 8, code: 0 },
    );
    let verdict = predict(&snapshot, &ping).verdict;
    assert_eq!(verdict.to_string(), "deny (return-route: none)");
    ping.protocol = FlowProtocol::Icmp { kind: 13, code: 0 };
    let forward = predict(&snapshot, &ping);
    assert_eq!(forward.verdict.as_str(), "allow");
    assert!(
        detail(&forward, Gate::ReturnRoute).contains("forward"),
        "{:?}",
        forward.steps
    );
}

#[test]
fn tags_of_two_accounts_do_not_make_a_peering_contradict_itself() {
    let prediction = tcp(
        "peering-two-accounts-tags.json",
        "10.4.1.10",
        "10.5.3.10",
        22,
    );
    assert_eq!(
        prediction.verdict.as_str(),
        "allow",
        "{:?}",
        prediction.steps
    );
}

#[test]
fn a_listed_pod_is_translated_outside_the_vpc() {
    let prediction = tcp(
        "defect-kind-false-allow.json",
        "100.64.0.11",
        "10.90.1.50",
        5432,
    );
    assert_eq!(prediction.flow.source_kind, SourceKind::Pod);
    assert_eq!(
        prediction.verdict.as_str(),
        "deny",
        "{:?}",
        prediction.steps
    );
    let as_host = Flow {
        source_kind: SourceKind::Host,
        ..prediction.flow
    };
    let snapshot = snapshot("defect-kind-false-allow.json");
    assert_eq!(predict(&snapshot, &as_host).verdict.as_str(), "allow");
}

#[test]
fn the_matrix_answers_for_a_pod_as_a_pod() {
    let snapshot = snapshot("matrix-pod-snat.snapshot.json");
    let matrix = Matrix::new(&snapshot);
    let class = |text: &str| matrix.classes().of(text.parse().unwrap()).unwrap();
    let filter = Filter {
        sources: Some(vec![class("10.0.1.31")]),
        destinations: Some(vec![class("10.1.0.5")]),
        ports: Some(PortRange::between(8080, 8080)),
    };
    let kinds: Vec<VerdictKind> = matrix
        .relation(&filter)
        .map(|entry| entry.verdict)
        .collect();
    assert_eq!(kinds, [VerdictKind::Deny]);
    let asked = flow(
        &snapshot,
        "10.0.1.31",
        "10.1.0.5",
        FlowProtocol::Tcp { port: 8080 },
    );
    assert_eq!(predict(&snapshot, &asked).verdict.as_str(), "deny");
}

#[test]
fn a_route_over_an_unreadable_prefix_list_makes_the_path_unknown() {
    let snapshot = snapshot("pl-route.snapshot.json");
    for asked in file("pl-route.flows.json").as_array().unwrap() {
        let prediction = predict(&snapshot, &Flow::from_json(asked).unwrap());
        assert_eq!(
            json!(prediction.verdict),
            json!({"verdict": "unknown", "reason": "other"})
        );
    }
}

/// What `diff` finds between the two snapshots of a name.
fn difference(name: &str) -> Difference {
    let before = snapshot(&format!("defect-diff-{name}-before.json"));
    let after = snapshot(&format!("defect-diff-{name}-after.json"));
    Comparison::new(&before, &after).difference()
}

#[test]
fn dns_over_udp_that_is_lost_is_a_change() {
    let difference = difference("udp");
    assert!(difference.is_change());
    let lost = difference.answers.iter().find(|change| {
        change.packets == Packets::Udp(PortRange::between(53, 53))
            && change.kinds() == (VerdictKind::Allow, VerdictKind::Deny)
    });
    let lost = lost.unwrap();
    assert_eq!(lost.concern, Concern::Expectation, "{lost:?}");
    assert!(!lost.is_outside());
}

#[test]
fn a_setting_of_the_cni_changes_what_pods_reach() {
    let difference = difference("snat");
    assert!(difference.is_change());
    let pods: Vec<&AnswerChange> = difference
        .answers
        .iter()
        .filter(|change| change.source_kind == SourceKind::Pod)
        .collect();
    assert!(!pods.is_empty());
    for change in pods {
        assert!(
            change.responsible.contains(&"CNI setting".to_owned()),
            "{change:?}"
        );
    }
    let lines = difference.lines.iter().map(ToString::to_string);
    assert!(lines.filter(|line| line.contains("CNI setting")).count() >= 2);
}

#[test]
fn rolled_nodes_that_lost_their_group_lost_the_api() {
    let difference = difference("roll");
    assert!(difference.is_change());
    assert!(difference.gone.is_empty() && difference.novel.is_empty());
    let is_replaced = |party: &Party| match party {
        Party::Inside { before, after, .. } => before != after,
        Party::Outside { .. } => false,
    };
    let lost = difference.answers.iter().find(|change| {
        change.concern == Concern::Expectation
            && is_replaced(&change.source)
            && change
                .packets
                .ports()
                .is_some_and(|ports| ports.contains(443))
            && change.packets.protocol() == "tcp"
            && change.kinds() == (VerdictKind::Allow, VerdictKind::Deny)
    });
    let lost = lost.unwrap();
    let (Party::Inside { before, after, .. }, Party::Inside { after: api, .. }) =
        (lost.source, lost.destination)
    else {
        panic!("{lost:?}");
    };
    assert_ne!(before, after);
    let after = snapshot("defect-diff-roll-after.json");
    let is_api = after
        .control_plane_interfaces()
        .iter()
        .any(|found| found.interface.owns(api));
    assert!(is_api, "{api}");
}

#[test]
fn nodes_that_come_back_in_another_subnet_are_the_same_nodes() {
    let before = snapshot("defect-diff-roll-before.json");
    let mut world = file("defect-diff-roll-after.json");
    let enis = world["describe-network-interfaces"]["NetworkInterfaces"]
        .as_array_mut()
        .unwrap();
    // Of the two new nodes one is left, in a subnet of its own kind alone: the other's predecessor has none in its subnet.
    enis.retain(|eni| eni["PrivateIpAddress"] != "10.40.1.120");
    let after = Snapshot::decode(&Described::from(world.as_object().unwrap().clone()));
    let after = after.unwrap().snapshot;
    let difference = Comparison::new(&before, &after).difference();
    assert!(difference.gone.is_empty(), "{:?}", difference.gone);
    let is_laid = |party: &Party| match party {
        Party::Inside { before, after, .. } => {
            (before.to_string(), after.to_string()) == ("10.40.1.20".into(), "10.40.2.120".into())
        }
        Party::Outside { .. } => false,
    };
    let lost = difference.answers.iter().find(|change| {
        is_laid(&change.source)
            && change.concern == Concern::Expectation
            && change.kinds() == (VerdictKind::Allow, VerdictKind::Deny)
    });
    assert!(lost.is_some(), "{:#?}", difference.answers);
    // Nothing takes the place of nodes that are only gone.
    let mut world = file("defect-diff-roll-before.json");
    let enis = world["describe-network-interfaces"]["NetworkInterfaces"]
        .as_array_mut()
        .unwrap();
    enis.retain(|eni| eni["PrivateIpAddress"] != "10.40.1.20");
    let after = Snapshot::decode(&Described::from(world.as_object().unwrap().clone()));
    let after = after.unwrap().snapshot;
    let difference = Comparison::new(&before, &after).difference();
    assert_eq!(difference.gone.len(), 1);
}

#[test]
fn an_interface_that_is_only_new_is_no_change() {
    let before = file("defect-diff-udp-before.json");
    let mut after = before.clone();
    let enis = after["describe-network-interfaces"]["NetworkInterfaces"]
        .as_array_mut()
        .unwrap();
    let is_free = |eni: &&Value| {
        eni["Description"]
            .as_str()
            .unwrap()
            .starts_with("Amazon EKS")
    };
    let mut one = enis.iter().find(is_free).unwrap().clone();
    let address = one["PrivateIpAddress"].as_str().unwrap().to_owned();
    let (stem, _) = address.rsplit_once('.').unwrap();
    one["NetworkInterfaceId"] = json!("eni-00000000000000001");
    one["PrivateIpAddress"] = json!(format!("{stem}.234"));
    one["PrivateIpAddresses"] =
        json!([{"PrivateIpAddress": format!("{stem}.234"), "Primary": true}]);
    enis.push(one);
    let decode = |answers: &Value| {
        let answers = Described::from(answers.as_object().unwrap().clone());
        Snapshot::decode(&answers).unwrap().snapshot
    };
    let (before, after) = (decode(&before), decode(&after));
    let difference = Comparison::new(&before, &after).difference();
    assert_eq!(difference.appeared.len(), 1);
    assert!(!difference.is_change(), "{difference:?}");
    // The other way round somebody is gone.
    let back = Comparison::new(&after, &before).difference();
    assert!(back.is_change() && back.gone.len() == 1);
}
