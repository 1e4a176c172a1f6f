//! Classes of the base world of SEMANTICS J.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod second;

use std::net::IpAddr;

use reachproof_model::class::{Class, ClassId, Classes, HostRole, Policed};
use reachproof_model::matrix::Matrix;
use reachproof_model::net::PortRange;
use reachproof_model::snapshot::Snapshot;
use serde_json::{Map, Value, json};

/// The answers of the base world with a rule that admits from the VPC.
fn answers() -> Map<String, Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/A01.json");
    let vector: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    vector["snapshot"].as_object().unwrap().clone()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The interface of the answers that has a primary address.
fn interface<'a>(answers: &'a mut Map<String, Value>, primary: &str) -> &'a mut Value {
    answers["describe-network-interfaces"]["NetworkInterfaces"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .find(|eni| eni["PrivateIpAddress"] == primary)
        .unwrap()
}

/// The class of an address.
fn class<'c>(classes: &'c Classes, text: &str) -> &'c Class {
    classes.class(classes.of(address(text)).unwrap())
}

/// Names of the classes of some addresses.
fn name(snapshot: &Snapshot, text: &str) -> String {
    class(&Classes::new(snapshot), text).name(snapshot)
}

#[test]
fn addresses_that_the_model_cannot_tell_apart_are_one_class() {
    let snapshot = second::decode(&answers());
    let classes = Classes::new(&snapshot);
    let of = |text: &str| classes.of(address(text)).unwrap();
    // Primary, secondary and delegated addresses, and another interface with the same group in the same subnet.
    assert_eq!(of("10.0.1.20"), of("10.0.1.21"));
    assert_eq!(of("10.0.1.20"), of("10.0.1.64"));
    assert_eq!(of("10.0.1.20"), of("10.0.1.79"));
    assert_eq!(of("10.0.1.20"), of("10.0.1.31"));
    let class = class(&classes, "10.0.1.20");
    assert_eq!(class.addresses, 2 + 16 + 2);
    assert_eq!(class.members.len(), 2);
    assert_eq!(class.example, address("10.0.1.20"));
    assert_eq!(class.network.unwrap().to_string(), "10.0.1.0/24");
    assert_eq!(class.policed, Policed::No);
    // Another group, another role, another subnet, another family.
    for other in ["10.0.1.40", "10.0.1.90", "10.0.2.20", "2600:1f14:abc:1::20"] {
        assert_ne!(of("10.0.1.20"), of(other), "{other}");
    }
}

#[test]
fn a_network_of_256_addresses_is_cut_where_rules_tell_them_apart_and_a_larger_one_is_in_no_class() {
    let mut answers = answers();
    let networks = ["10.0.8.0/24", "10.0.10.0/23", "10.0.16.0/20"];
    interface(&mut answers, "10.0.1.20")["Ipv4Prefixes"] =
        json!(networks.map(|network| json!({"Ipv4Prefix": network})));
    let groups = answers["describe-security-groups"]["SecurityGroups"].as_array_mut();
    groups.unwrap()[0]["IpPermissions"] = json!([{"IpProtocol": "-1", "IpRanges": [
        {"CidrIp": "10.0.8.7/32"}, {"CidrIp": "10.0.10.7/32"},
    ]}]);
    let snapshot = second::decode(&answers);
    let classes = Classes::new(&snapshot);
    let of = |text: &str| classes.of(address(text));
    assert!(of("10.0.8.7").is_some() && of("10.0.8.8").is_some());
    assert_ne!(of("10.0.8.7"), of("10.0.8.8"));
    assert_eq!(of("10.0.8.8"), of("10.0.8.255"));
    // Too many addresses to cut; none to cut.
    assert_eq!((of("10.0.10.7"), of("10.0.11.255")), (None, None));
    assert!(of("10.0.16.0").is_some());
    assert_eq!(of("10.0.16.0"), of("10.0.31.255"));
}

#[test]
fn a_class_has_the_number_of_its_place() {
    let snapshot = second::decode(&answers());
    let classes = Classes::new(&snapshot);
    let places: Vec<usize> = classes.iter().map(|(id, _)| id.place()).collect();
    assert_eq!(places, (0..classes.len()).collect::<Vec<_>>());
    assert!(classes.len() > 8 && !classes.is_empty());
    for (id, class) in classes.iter() {
        assert_eq!(classes.class(id), class);
        assert_eq!(classes.of(class.example), Some(id));
        for member in &class.members {
            assert_eq!(classes.of(member.address), Some(id));
        }
    }
}

#[test]
fn roles_are_told_apart() {
    let snapshot = second::decode(&answers());
    let classes = Classes::new(&snapshot);
    let role = |text: &str| class(&classes, text).role;
    assert_eq!(role("10.0.1.10"), HostRole::ControlPlane);
    assert_eq!(role("10.0.1.20"), HostRole::Node);
    assert_eq!(role("10.0.1.90"), HostRole::Branch);
    assert_eq!(role("10.0.2.50"), HostRole::Alone);
}

#[test]
fn a_snapshot_without_interfaces_has_no_class() {
    let mut answers = answers();
    answers["describe-network-interfaces"]["NetworkInterfaces"] = json!([]);
    let snapshot = second::decode(&answers);
    let classes = Classes::new(&snapshot);
    assert!(classes.is_empty());
    assert_eq!(classes.of(address("10.0.1.20")), None);
    let matrix = Matrix::new(&snapshot);
    assert_eq!(matrix.count().total(), 0);
}

#[test]
fn what_nobody_owns_and_what_is_exempt_is_of_no_class() {
    let mut answers = answers();
    interface(&mut answers, "10.0.1.20")["PrivateIpAddresses"]
        .as_array_mut()
        .unwrap()
        .push(json!({"PrivateIpAddress": "10.0.0.2", "Primary": false}));
    let snapshot = second::decode(&answers);
    let classes = Classes::new(&snapshot);
    for text in ["10.0.1.200", "10.0.0.2", "169.254.169.254", "2001:db8::1"] {
        assert_eq!(classes.of(address(text)), None, "{text}");
    }
}

#[test]
fn what_two_interfaces_own_is_of_no_class_and_what_one_owns_beside_it_is() {
    let mut answers = answers();
    // The neighbour claims the last address of the delegated prefix, and one IPv6 address of another prefix.
    let neighbour = interface(&mut answers, "10.0.1.40");
    neighbour["PrivateIpAddresses"]
        .as_array_mut()
        .unwrap()
        .push(json!({"PrivateIpAddress": "10.0.1.79", "Primary": false}));
    neighbour["Ipv6Addresses"] = json!([{"Ipv6Address": "2600:1f14:abc:1:aaaa::7"}]);
    let snapshot = second::decode(&answers);
    let classes = Classes::new(&snapshot);
    assert_eq!(classes.of(address("10.0.1.79")), None);
    assert_eq!(
        classes.of(address("10.0.1.78")),
        classes.of(address("10.0.1.20"))
    );
    assert_eq!(classes.of(address("2600:1f14:abc:1:aaaa::7")), None);
}

#[test]
fn a_prefix_is_cut_where_a_rule_cuts_it() {
    let mut answers = answers();
    answers["describe-security-groups"]["SecurityGroups"][0]["IpPermissions"] = json!([{
        "IpProtocol": "tcp", "FromPort": 1, "ToPort": 1,
        "IpRanges": [{"CidrIp": "10.0.1.72/30"}],
    }]);
    let snapshot = second::decode(&answers);
    let classes = Classes::new(&snapshot);
    let of = |text: &str| classes.of(address(text)).unwrap();
    assert_eq!(of("10.0.1.72"), of("10.0.1.75"));
    assert_eq!(of("10.0.1.71"), of("10.0.1.76"));
    assert_ne!(of("10.0.1.71"), of("10.0.1.72"));
    assert_eq!(class(&classes, "10.0.1.72").addresses, 4);
    assert_eq!(class(&classes, "10.0.1.71").addresses, 16);
}

#[test]
fn a_prefix_too_large_to_be_cut_is_apart_and_one_that_is_not_cut_is_a_class() {
    let mut answers = answers();
    interface(&mut answers, "10.0.1.20")["Ipv4Prefixes"] =
        json!([{"Ipv4Prefix": "10.0.16.0/20"}, {"Ipv4Prefix": "10.0.128.0/17"}]);
    let uncut = second::decode(&answers);
    let uncut = Classes::new(&uncut);
    assert_eq!(class(&uncut, "10.0.31.255").addresses, 4096);
    // Addresses of networks shorter than /20 are not written one by one.
    assert_eq!(uncut.of(address("10.0.128.1")), None);
    answers["describe-security-groups"]["SecurityGroups"][0]["IpPermissions"] = json!([{
        "IpProtocol": "tcp", "FromPort": 1, "ToPort": 1,
        "IpRanges": [{"CidrIp": "10.0.17.0/24"}],
    }]);
    let cut = second::decode(&answers);
    assert_eq!(Classes::new(&cut).of(address("10.0.17.1")), None);
}

#[test]
fn a_pod_that_a_policy_selects_has_a_class_of_its_own() {
    let mut answers = answers();
    answers.insert(
        "pods".to_owned(),
        json!({"items": [
            {
                "metadata": {"namespace": "shop", "name": "web", "labels": {"app": "web"}},
                "spec": {"nodeName": "n"},
                "status": {"phase": "Running", "podIP": "10.0.1.70"},
            },
            {
                "metadata": {"namespace": "shop", "name": "db", "labels": {"app": "db"}},
                "spec": {"nodeName": "n"},
                "status": {"phase": "Running", "podIP": "10.0.1.71"},
            },
        ]}),
    );
    answers.insert(
        "networkpolicies".to_owned(),
        json!({"items": [{
            "metadata": {"namespace": "shop", "name": "deny"},
            "spec": {"podSelector": {"matchLabels": {"app": "web"}}},
        }]}),
    );
    let snapshot = second::decode(&answers);
    let classes = Classes::new(&snapshot);
    assert_eq!(class(&classes, "10.0.1.70").policed, Policed::Yes);
    assert_eq!(class(&classes, "10.0.1.70").addresses, 1);
    assert_eq!(class(&classes, "10.0.1.71").policed, Policed::No);
    // No pod claims it: one that started since may have it.
    assert_eq!(class(&classes, "10.0.1.72").policed, Policed::Yes);
    assert_eq!(class(&classes, "10.0.1.20").policed, Policed::No);
}

#[test]
fn an_interface_with_unread_groups_is_not_one_without_groups() {
    let mut answers = answers();
    interface(&mut answers, "10.0.1.20")["Groups"] = json!([]);
    interface(&mut answers, "10.0.1.40")["Groups"] = json!("broken");
    let snapshot = second::decode(&answers);
    let classes = Classes::new(&snapshot);
    assert_ne!(
        classes.of(address("10.0.1.20")),
        classes.of(address("10.0.1.40"))
    );
}

#[test]
fn classes_are_called_by_what_people_know() {
    let mut answers = answers();
    answers["describe-instances"]["Reservations"][0]["Instances"][0]["Tags"] =
        json!([{"Key": "eks:nodegroup-name", "Value": "workers"}]);
    answers["describe-instances"]["Reservations"][1]["Instances"][0]["Tags"] =
        json!([{"Key": "karpenter.sh/nodepool", "Value": "spot"}]);
    answers.insert(
        "pods".to_owned(),
        json!({"items": [{
            "metadata": {
                "namespace": "shop", "name": "web",
                "labels": {"eks.amazonaws.com/fargate-profile": "batch"},
            },
            "spec": {"nodeName": "fargate-ip-10-0-2-50"},
            "status": {"phase": "Running", "podIP": "10.0.2.50"},
        }]}),
    );
    let snapshot = second::decode(&answers);
    let cluster = "eks-cluster-sg-demo-1234567890";
    assert_eq!(name(&snapshot, "10.0.1.20"), "node group workers [S] in A1");
    assert_eq!(name(&snapshot, "10.0.2.20"), "node pool spot [D] in A2");
    assert_eq!(
        name(&snapshot, "10.0.1.10"),
        format!("control plane [CP+{cluster}] in A1")
    );
    assert_eq!(
        name(&snapshot, "10.0.2.50"),
        format!("Fargate profile batch [{cluster}] in A2")
    );
    assert_eq!(
        name(&snapshot, "10.0.1.90"),
        "pods with groups of their own [POD] in A1"
    );
    assert_eq!(
        name(&snapshot, "2600:1f14:abc:1::20"),
        "node group workers [S] in A1, IPv6"
    );
}

#[test]
fn an_interface_without_instance_is_called_by_its_text_or_kind() {
    let mut answers = answers();
    let fargate = interface(&mut answers, "10.0.2.50");
    fargate["Description"] = json!("my appliance");
    fargate["Groups"] = json!([]);
    let other = interface(&mut answers, "10.1.0.5");
    other["Description"] = json!("");
    other["InterfaceType"] = json!("nat_gateway");
    other.as_object_mut().unwrap().shift_remove("Attachment");
    answers["describe-instances"] = json!({"Reservations": []});
    let snapshot = second::decode(&answers);
    assert_eq!(
        name(&snapshot, "10.0.2.50"),
        "my appliance [no groups] in A2"
    );
    assert!(name(&snapshot, "10.1.0.5").starts_with("nat_gateway [D] in"));
}

#[test]
fn entries_of_two_families_are_none() {
    let snapshot = second::decode(&answers());
    let matrix = Matrix::new(&snapshot);
    let classes = matrix.classes();
    let of = |text: &str| -> ClassId { classes.of(address(text)).unwrap() };
    let entries = matrix.entries(of("10.0.1.20"), of("2600:1f14:abc:2::10"), PortRange::ALL);
    assert!(entries.is_empty());
    assert!(matrix.rows() > 1);
}
