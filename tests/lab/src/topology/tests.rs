//! What is drawn for the vectors' world, as text: readable without a kernel.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a missing part of the drawing fails the test"
)]

use std::fs;

use serde_json::{Map, Value, json};

use super::*;
use crate::lab::draw as draw_plan;
use crate::plan::{Endpoint, EndpointKind, LabPlan};

/// The snapshot of a vector.
fn snapshot(vector: &str) -> Map<String, Value> {
    let path = format!("{}/../vectors/{vector}.json", env!("CARGO_MANIFEST_DIR"));
    let mut file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    file["snapshot"]
        .as_object_mut()
        .map(std::mem::take)
        .unwrap()
}

/// The id of the interface whose primary address is `address`.
fn interface(snapshot: &Map<String, Value>, address: &str) -> String {
    let interfaces = snapshot["describe-network-interfaces"]["NetworkInterfaces"]
        .as_array()
        .unwrap();
    let found = interfaces
        .iter()
        .find(|interface| interface["PrivateIpAddress"] == address)
        .unwrap();
    found["NetworkInterfaceId"].as_str().unwrap().to_owned()
}

/// The id of the subnet of `cidr`.
fn subnet(snapshot: &Map<String, Value>, cidr: &str) -> String {
    let subnets = snapshot["describe-subnets"]["Subnets"].as_array().unwrap();
    let found = subnets
        .iter()
        .find(|subnet| subnet["CidrBlock"] == cidr)
        .unwrap();
    found["SubnetId"].as_str().unwrap().to_owned()
}

/// The blueprint of a snapshot with one pod at 10.0.1.31.
fn blueprint(snapshot: &Map<String, Value>) -> Blueprint {
    let pod = Endpoint {
        name: "pod".to_owned(),
        addresses: vec!["10.0.1.31".parse().unwrap()],
        kind: EndpointKind::Pod,
    };
    let plan = LabPlan {
        snapshot: snapshot.clone(),
        enforced: None,
        endpoints: vec![pod],
        ..LabPlan::default()
    };
    draw_plan(&plan).unwrap().0
}

/// The wire's filter of the interface at `address`.
fn wire(snapshot: &Map<String, Value>, address: &str) -> String {
    let name = wire_name(&interface(snapshot, address));
    blueprint(snapshot).namespaces[&name].nft.clone()
}

#[test]
fn a_reference_becomes_the_addresses_and_prefixes_of_the_members() {
    insta::assert_snapshot!(wire(&snapshot("F04"), "10.0.2.10"));
}

#[test]
fn acl_entries_come_in_the_order_of_their_numbers_and_spare_the_own_subnet() {
    let snapshot = snapshot("D01");
    let id = subnet(&snapshot, "10.0.2.0/24");
    insta::assert_snapshot!(blueprint(&snapshot).namespaces[&id].nft);
}

#[test]
fn a_host_routes_by_source_and_translates_what_its_pods_send_out_of_the_vpc() {
    let snapshot = snapshot("F19");
    let blueprint = blueprint(&snapshot);
    let host = blueprint
        .namespaces
        .iter()
        .find(|(name, namespace)| {
            name.starts_with("i-") && namespace.devices.contains(&"pod0".to_owned())
        })
        .unwrap()
        .1;
    insta::assert_snapshot!(format!("{}\n\n{}", host.lines.join("\n"), host.nft));
}

#[test]
fn a_subnet_knows_its_wires_first_and_its_route_table_last() {
    let snapshot = snapshot("B09");
    let id = subnet(&snapshot, "10.0.1.0/24");
    insta::assert_snapshot!(blueprint(&snapshot).namespaces[&id].lines.join("\n"));
}

#[test]
fn an_inter_region_reference_has_no_members() {
    assert!(!wire(&snapshot("B11"), "10.1.0.5").contains("tcp dport 8080"));
    assert!(wire(&snapshot("B09"), "10.1.0.5").contains("tcp dport 8080"));
}

#[test]
fn an_outbound_reference_over_a_transit_gateway_has_no_members() {
    let filter = wire(&snapshot("B13"), "10.0.1.20");
    assert!(!filter.contains("10.2.0.5"), "{filter}");
}

#[test]
fn what_a_rule_says_is_not_lost_in_text() {
    let mut snapshot = snapshot("A01");
    let rules = json!([
        { "IpProtocol": "17", "FromPort": 53, "ToPort": 53, "IpRanges": [{ "CidrIp": "10.0.1.77/24" }] },
        { "IpProtocol": "50", "FromPort": 1, "ToPort": 2, "IpRanges": [{ "CidrIp": "10.0.0.0/16" }] },
        { "IpProtocol": "icmp", "FromPort": 3, "ToPort": 4, "IpRanges": [{ "CidrIp": "10.0.0.0/16" }] },
        { "IpProtocol": "icmpv6", "Ipv6Ranges": [{ "CidrIpv6": "::/0" }] },
        { "IpProtocol": "tcp", "FromPort": 9, "ToPort": 8, "IpRanges": [{ "CidrIp": "10.0.0.0/16" }] },
    ]);
    for group in snapshot["describe-security-groups"]["SecurityGroups"]
        .as_array_mut()
        .unwrap()
    {
        group["IpPermissions"] = rules.clone();
    }
    let filter = wire(&snapshot, "10.0.2.20");
    let ingress = filter.split("chain ingress").nth(1).unwrap();
    let rules: Vec<&str> = ingress
        .lines()
        .filter_map(|line| line.trim().split(" accept comment").next())
        .collect();
    for rule in [
        "ip saddr 10.0.1.0/24 udp dport 53",
        "ip saddr 10.0.0.0/16 meta l4proto 50",
        "ip saddr 10.0.0.0/16 icmp type 3 icmp code 4",
        "meta nfproto ipv6 meta l4proto 58",
    ] {
        assert!(rules.contains(&rule), "{rule} in {ingress}");
    }
    assert!(!ingress.contains("tcp"), "{ingress}");
}

#[test]
fn an_unknown_protocol_is_an_error_that_names_the_group() {
    let mut snapshot = snapshot("A01");
    let groups = snapshot["describe-security-groups"]["SecurityGroups"]
        .as_array_mut()
        .unwrap();
    for group in groups {
        group["IpPermissions"] = json!([{ "IpProtocol": "carrier-pigeon" }]);
    }
    let plan = LabPlan {
        snapshot,
        ..LabPlan::default()
    };
    let error = draw_plan(&plan).unwrap_err().to_string();
    assert!(
        error.contains("`carrier-pigeon`") && error.contains("`sg-"),
        "{error}"
    );
}

#[test]
fn endpoints_that_contradict_the_snapshot_are_named() {
    let endpoint = |name: &str, addresses: &[&str]| Endpoint {
        name: name.to_owned(),
        addresses: addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect(),
        kind: EndpointKind::Node,
    };
    for (endpoints, says) in [
        (
            vec![endpoint("lost", &["192.0.2.1"])],
            "`192.0.2.1` of endpoint `lost`",
        ),
        (
            vec![endpoint("empty", &[])],
            "endpoint `empty` has no address",
        ),
        (
            vec![endpoint("torn", &["10.0.1.20", "10.0.2.20"])],
            "endpoint `torn` are owned",
        ),
        (
            vec![endpoint("a", &["10.0.1.20"]), endpoint("b", &["10.0.1.21"])],
            "endpoint `b` claims",
        ),
        (vec![endpoint("x/y", &["10.0.1.20"])], "`x/y` cannot name"),
        (
            vec![endpoint("a", &["10.0.1.20"]), endpoint("a", &["10.0.2.20"])],
            "`a` is used twice",
        ),
    ] {
        let plan = LabPlan {
            snapshot: snapshot("A01"),
            endpoints,
            ..LabPlan::default()
        };
        let error = draw_plan(&plan).unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
}

#[test]
fn a_snapshot_without_a_required_answer_is_refused() {
    for stem in crate::REQUIRED_ANSWERS {
        let mut snapshot = snapshot("A01");
        snapshot.remove(stem);
        let error = draw_plan(&LabPlan {
            snapshot,
            ..LabPlan::default()
        })
        .unwrap_err()
        .to_string();
        assert!(error.contains(stem), "{stem}: {error}");
    }
}
