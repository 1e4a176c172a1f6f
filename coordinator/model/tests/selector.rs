//! Who is meant by a name: each kind of it, names of several things and of none.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test reads a file and fails by panicking"
)]

use std::collections::BTreeSet;

use common::{A1, BR1, D, N1, N1B, N2, NODE_A, NODE_B, POD, S, World};
use reachproof_model::class::Classes;
use reachproof_model::selector::{Question, Selector, SelectorError, pairs};
use reachproof_model::snapshot::Snapshot;
use serde_json::{Value, json};

#[allow(dead_code, reason = "shared with other tests")]
mod common;

/// Instance of host h1, which holds N1 and N1B.
const H1: &str = "i-c1bf4e50fcbf150f2";
/// Instance of host h2, which holds N2.
const H2: &str = "i-5da424fabaa4f3f8f";

fn pod(name: &str, phase: &str, address: &str) -> Value {
    json!({"kind": "Pod", "metadata": {"namespace": "shop", "name": name},
        "spec": {}, "status": {"phase": phase, "podIPs": [{"ip": address}]}})
}

fn node(name: &str, zone: &str, instance: &str, address: &str) -> Value {
    json!({"kind": "Node", "metadata": {"name": name},
        "spec": {"providerID": format!("aws:///{zone}/{instance}")},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]}})
}

fn service(name: &str, cluster_ip: &str) -> Value {
    json!({"kind": "Service", "metadata": {"namespace": "shop", "name": name}, "spec": {"clusterIP": cluster_ip}})
}

fn slice(service: &str, address: &str) -> Value {
    json!({"kind": "EndpointSlice", "metadata": {"namespace": "shop", "name": format!("{service}-1"),
        "labels": {"kubernetes.io/service-name": service}},
        "ports": [{"port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}]})
}

fn list(items: &[Value]) -> Value {
    json!({"kind": "List", "items": items})
}

/// The base world with two nodes of node group `web`, pods, Services and a second group called D.
fn world() -> Snapshot {
    let mut world = World::base()
        .file("nodes", list(&[
            node("ip-10-0-1-20", "us-east-1a", H1, NODE_A),
            node("ip-10-0-2-20", "us-east-1b", H2, NODE_B),
        ]))
        .file("pods", list(&[
            pod("web-1", "Running", "10.0.1.21"),
            pod("web-2", "Running", "10.0.2.70"),
            pod("job", "Succeeded", "10.0.2.21"),
            pod("cart", "Running", "10.0.2.71"),
        ]))
        .file("services", list(&[
            service("web", "172.20.0.9"),
            service("headless", "None"),
            service("cart", "172.20.0.8"),
            service("idle", "172.20.0.7"),
        ]))
        .file("endpointslices", list(&[
            slice("web", "10.0.1.21"),
            slice("headless", "10.0.2.70"),
            slice("cart", "10.0.2.71"),
        ]))
        .push("describe-security-groups", "SecurityGroups", json!({
            "GroupId": "sg-other", "GroupName": "D", "VpcId": common::W, "IpPermissions": [], "IpPermissionsEgress": [],
        }));
    for reservation in world.list("describe-instances") {
        for instance in reservation["Instances"].as_array_mut().unwrap() {
            if [H1, H2].contains(&instance["InstanceId"].as_str().unwrap()) {
                instance["Tags"] = json!([
                    {"Key": "eks:nodegroup-name", "Value": "web"},
                    {"Key": "Name", "Value": "worker"},
                ]);
            }
        }
    }
    world.decoded().snapshot
}

fn error(word: &str) -> SelectorError {
    let snapshot = world();
    let selector: Result<Selector, _> = word.parse();
    selector.and_then(|it| it.resolve(&snapshot)).unwrap_err()
}

/// The addresses of the ends that a word selects, each once.
fn ends(word: &str) -> Vec<String> {
    let snapshot = world();
    let classes = Classes::new(&snapshot);
    let selector: Selector = word.parse().unwrap();
    let ends = selector.resolve(&snapshot).unwrap();
    let found: BTreeSet<_> = ends
        .by_class(&snapshot, &classes)
        .into_iter()
        .flat_map(|end| end.addresses)
        .collect();
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn an_address_is_meant_whether_or_not_anybody_has_it() {
    assert_eq!(ends("10.0.1.20"), ["10.0.1.20"]);
    assert_eq!(ends("192.0.2.1"), ["192.0.2.1"]);
    assert_eq!(ends("2600:1f14:abc:1::20"), ["2600:1f14:abc:1::20"]);
}

#[test]
fn a_network_means_the_addresses_that_are_known_in_it() {
    assert_eq!(
        ends("10.0.2.0/24"),
        [
            "10.0.2.10",
            "10.0.2.20",
            "10.0.2.21",
            "10.0.2.50",
            "10.0.2.70",
            "10.0.2.71"
        ]
    );
    assert!(matches!(error("10.9.0.0/16"), SelectorError::NoEnds { .. }));
}

#[test]
fn the_control_plane_is_all_its_interfaces() {
    let all = [
        "10.0.1.10",
        "10.0.2.10",
        "2600:1f14:abc:1::10",
        "2600:1f14:abc:2::10",
    ];
    assert_eq!(ends("control plane"), all);
    assert_eq!(ends("control-plane"), all);
}

#[test]
fn a_node_is_its_own_address_by_name_and_by_instance() {
    assert_eq!(ends("ip-10-0-1-20"), [NODE_A]);
    assert_eq!(ends("node/ip-10-0-1-20"), [NODE_A]);
    assert_eq!(ends(H1), [NODE_A, "2600:1f14:abc:1::20"]);
}

#[test]
fn a_node_group_is_its_nodes_without_their_pods() {
    let nodes = [NODE_A, NODE_B, "2600:1f14:abc:1::20"];
    assert_eq!(ends("nodegroup/web"), nodes);
    assert_eq!(ends("node group web"), nodes);
    assert_eq!(ends("web"), nodes);
}

#[test]
fn pods_and_services_are_namespace_and_name() {
    assert_eq!(ends("shop/web-1"), ["10.0.1.21"]);
    assert_eq!(ends("pod/shop/web-1"), ["10.0.1.21"]);
    assert_eq!(ends("shop/web"), ["10.0.1.21"]);
    assert_eq!(ends("svc/shop/web"), ["10.0.1.21"]);
    assert_eq!(ends("shop/headless"), ["10.0.2.70"]);
}

#[test]
fn a_pod_that_has_finished_is_nobody() {
    assert!(matches!(error("shop/job"), SelectorError::Unknown { .. }));
}

#[test]
fn a_service_without_endpoints_has_no_address() {
    assert_eq!(
        error("svc/shop/idle").to_string(),
        "`svc/shop/idle` has no address in the snapshot"
    );
}

#[test]
fn interfaces_groups_and_subnets_go_by_id_and_by_name() {
    assert_eq!(ends(BR1), ["10.0.1.90"]);
    assert_eq!(ends(POD), ["10.0.1.90"]);
    assert_eq!(ends("sg/POD"), ["10.0.1.90"]);
    assert_eq!(ends("pod"), ["10.0.1.90"], "capital letters do not matter");
    let of_group = ends(S);
    for address in [NODE_A, "10.0.1.30", "2600:1f14:abc:1::20"] {
        assert!(of_group.contains(&address.to_owned()), "{of_group:?}");
    }
    let of_subnet = ends(A1);
    assert!(of_subnet.contains(&"10.0.1.90".to_owned()), "{of_subnet:?}");
    assert!(
        !of_subnet.iter().any(|it| it.starts_with("10.0.2.")),
        "{of_subnet:?}"
    );
}

#[test]
fn wildcards_mean_everything_that_fits() {
    assert_eq!(ends("pod/shop/web-*"), ["10.0.1.21", "10.0.2.70"]);
    assert_eq!(ends("node/ip-10-0-?-20"), [NODE_A, NODE_B]);
    assert_eq!(ends("instance/worker*"), ends("nodegroup/web"));
    assert!(matches!(error("pod/zzz*"), SelectorError::Unknown { .. }));
}

#[test]
fn a_name_of_several_things_is_an_error_that_tells_them_apart() {
    assert_eq!(
        error("shop/cart").to_string(),
        "`shop/cart` stands for 2: `pod/shop/cart`, `svc/shop/cart`; take one of them, or `*` for all"
    );
    let SelectorError::Ambiguous { candidates, .. } = error("D") else {
        unreachable!("two groups have that name");
    };
    assert_eq!(candidates, [format!("{D} (D)"), "sg-other (D)".to_owned()]);
    let SelectorError::Ambiguous { candidates, .. } = error("worker") else {
        unreachable!("two instances have that name");
    };
    assert_eq!(
        candidates,
        [format!("{H2} (worker)"), format!("{H1} (worker)")]
    );
    for candidate in ["pod/shop/cart", "svc/shop/cart", D] {
        assert!(!ends(candidate).is_empty());
    }
}

#[test]
fn a_name_of_nothing_is_an_error_that_lists_what_is_near() {
    assert_eq!(
        error("shop/wep-1").to_string(),
        "nothing is called `shop/wep-1`; near it: `pod/shop/web-1`, `pod/shop/web-2`, `svc/shop/web`"
    );
    let SelectorError::Unknown { near, .. } = error("node/ip-10-0-1") else {
        unreachable!("no node has that name");
    };
    assert_eq!(near[0], "node/ip-10-0-1-20");
    assert_eq!(
        error("zzzzzzzz").to_string(),
        "nothing is called `zzzzzzzz`"
    );
    let text = error("eni-26badc5944ee168e9").to_string();
    assert!(text.contains(N1), "{text}");
    let text = error("nodegroup/*zzz*").to_string();
    assert_eq!(text, "nothing is called `nodegroup/*zzz*`");
    let text = error("pod/shop/zzzzzzzzzz").to_string();
    assert!(
        text.ends_with("near it: `pod/shop/cart`, `pod/shop/web-1`, `pod/shop/web-2`"),
        "{text}"
    );
}

#[test]
fn what_looks_like_an_address_and_is_none_says_so() {
    for word in ["10.0.1.300", "10.0.0.0/33", "10.0.1"] {
        assert_eq!(
            error(word).to_string(),
            format!("`{word}` is no IP address and no network")
        );
    }
    assert_eq!(error("  ").to_string(), "an empty name selects nothing");
}

#[test]
fn an_address_in_no_class_has_neighbours() {
    let selector: Selector = "10.0.1.22".parse().unwrap();
    let text = selector.in_no_class(&world()).to_string();
    assert!(
        text.starts_with(
            "`10.0.1.22` has no address in the snapshot; near it: `10.0.1.20`, `10.0.1.21`,"
        ),
        "{text}"
    );
}

#[test]
fn hostile_names_stay_text_in_an_error() {
    let mut world = World::base();
    world.item("describe-security-groups", D)["GroupName"] = json!("evil\u{1b}[2J");
    let snapshot = world.decoded().snapshot;
    let selector: Selector = "evil".parse().unwrap();
    let text = selector.resolve(&snapshot).unwrap_err().to_string();
    assert!(text.contains("evil?[2J"), "{text}");
}

#[test]
fn a_pair_stands_for_all_that_the_model_cannot_tell_apart() {
    let snapshot = world();
    let classes = Classes::new(&snapshot);
    let of = |word: &str| {
        let selector: Selector = word.parse().unwrap();
        selector.resolve(&snapshot).unwrap()
    };
    let found = pairs(&snapshot, &classes, (&of(S), &of(N2)));
    for pair in &found {
        assert_eq!(pair.source.is_ipv4(), pair.destination.is_ipv4());
    }
    // N1 and N1B send alike, and are two.
    let first = found.iter().find(|pair| pair.sources == 2).unwrap();
    assert_eq!(
        snapshot.owner(first.source),
        snapshot.owner(NODE_A.parse().unwrap())
    );
    // Of one host's two interfaces a pair is made all the same; an address with itself only where it is asked for.
    let beside = pairs(&snapshot, &classes, (&of(N1), &of(N1B)));
    assert!(beside.iter().all(|pair| pair.source != pair.destination));
    assert!(!beside.is_empty());
    let itself = pairs(&snapshot, &classes, (&of(NODE_A), &of(NODE_A)));
    assert_eq!(itself.len(), 1);
    assert_eq!(itself[0].source, itself[0].destination);
    let mixed = pairs(
        &snapshot,
        &classes,
        (&of(NODE_A), &of("2600:1f14:abc:1::10")),
    );
    assert!(mixed.is_empty());
    let question =
        Question::from_words(NODE_A, "2600:1f14:abc:1::10", (None, Some("443"))).unwrap();
    assert_eq!(
        question.pairs(&snapshot, &classes).unwrap_err().to_string(),
        "no end of `10.0.1.20` and no end of `2600:1f14:abc:1::10` have one address family"
    );
}

#[test]
fn names_of_an_address_select_it() {
    let snapshot = world();
    let classes = Classes::new(&snapshot);
    for (address, words) in [
        (
            NODE_A,
            vec![
                NODE_A,
                "10.0.1.0/24",
                "ip-10-0-1-20",
                H1,
                N1,
                S,
                "sg/S",
                "nodegroup/web",
                A1,
            ],
        ),
        (
            "10.0.1.21",
            vec!["shop/web-1", "svc/shop/web", S, N1, "pod/shop/*"],
        ),
        ("10.0.1.10", vec!["control plane", "10.0.1.0/24"]),
        ("10.0.1.90", vec![BR1, POD]),
    ] {
        let address = address.parse().unwrap();
        let names = snapshot.end_names(address);
        for word in words {
            let selector: Selector = word.parse().unwrap();
            assert!(selector.means(address, &names), "{word} {address}");
            // An interface is shown by one address of each class.
            let ends = selector.resolve(&snapshot).unwrap();
            let class = classes.of(address).unwrap();
            assert!(
                ends.classes(&snapshot, &classes).contains(&class),
                "{word} {address}"
            );
        }
        for word in [
            "svc/shop/idle",
            "shop/cart",
            "10.9.0.0/16",
            "nodegroup/other",
            N2,
        ] {
            let selector: Selector = word.parse().unwrap();
            assert!(!selector.means(address, &names), "{word} {address}");
        }
    }
}
