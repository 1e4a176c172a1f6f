//! A gap touches the flows that rest on it, and no other.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    dead_code,
    reason = "a test says what it expects by failing; other tests use the rest of the common module"
)]

mod common;

use common::*;
use reachproof_model::flow::Flow;
use reachproof_model::predict::predict;
use reachproof_model::relevance::touches;
use serde_json::{Value, json};

/// The gaps of a world that touch a flow, a line each.
fn touching(world: &World, flow: Value) -> Vec<String> {
    let decoded = world.decoded();
    let prediction = predict(&decoded.snapshot, &Flow::from_json(&flow).unwrap());
    let gaps = decoded.gaps.iter();
    gaps.filter(|gap| touches(&decoded.snapshot, &prediction, gap))
        .map(|gap| format!("{}: {}", gap.file, gap.kind))
        .collect()
}

/// The base world in which nothing on the way from N1 to N2 is left unsaid.
fn whole() -> World {
    let named = reachproof_model::describe::parse(
        &std::fs::read_to_string(format!(
            "{}/../../tests/vectors/A01.json",
            env!("CARGO_MANIFEST_DIR")
        ))
        .unwrap(),
    )
    .unwrap();
    let rules = named["snapshot"]["describe-security-group-rules"].clone();
    World::base().file("describe-security-group-rules", rules)
}

#[test]
fn a_flow_that_rests_on_no_gap_shows_none() {
    let world = whole()
        .without("aws-node")
        .without("describe-stale-security-groups")
        .without("describe-vpc-peering-connections")
        .without("describe-transit-gateways");
    assert!(world.decoded().gaps.len() > 4);
    assert_eq!(touching(&world, tcp("10.0.1.20", "10.0.2.20")), [""; 0]);
}

#[test]
fn an_absent_peering_touches_the_flow_over_it() {
    let world = whole().without("describe-vpc-peering-connections");
    assert_eq!(
        touching(&world, tcp("10.0.1.20", "10.1.0.5")),
        ["describe-vpc-peering-connections: file is absent"]
    );
}

#[test]
fn an_absent_transit_gateway_touches_the_flow_over_it() {
    let world = whole().without("describe-transit-gateways");
    let lines = touching(&world, tcp("10.0.1.20", "10.2.0.5"));
    assert!(
        lines.contains(&"describe-transit-gateways: file is absent".to_owned()),
        "{lines:?}"
    );
    assert_eq!(touching(&world, tcp("10.0.1.20", "10.1.0.5")), [""; 0]);
}

#[test]
fn the_cni_touches_pods() {
    let world = whole().without("aws-node");
    let lines = touching(&world, pod("10.0.1.31", "10.1.0.5"));
    assert!(
        lines.contains(&"aws-node: file is absent".to_owned()),
        "{lines:?}"
    );
}

#[test]
fn absent_policies_touch_what_could_be_a_pod() {
    let gap = "networkpolicies: file is absent".to_owned();
    assert!(touching(&whole(), tcp("10.0.1.20", "10.0.2.21")).contains(&gap));
    assert!(!touching(&whole(), tcp("10.0.1.20", "10.0.2.20")).contains(&gap));
}

#[test]
fn rules_without_names_touch_answers_that_name_them() {
    let lines = touching(&World::base(), tcp("10.0.1.20", "10.0.2.20"));
    assert_eq!(lines, ["describe-security-group-rules: file is absent"]);
}

#[test]
fn an_unreadable_rule_touches_the_flow_that_only_it_could_admit() {
    let broken = json!({"IpProtocol": "tcp", "FromPort": "8080", "ToPort": 8080,
        "IpRanges": [{"CidrIp": "10.0.0.0/16"}]});
    let gap = "describe-security-groups: expected an integer, found `\"8080\"`".to_owned();
    let alone = whole().ingress(D, json!([broken]));
    assert!(touching(&alone, tcp("10.0.1.20", "10.0.2.20")).contains(&gap));
    let beside = whole().ingress(D, json!([broken, network("10.0.0.0/16")]));
    assert!(!touching(&beside, tcp("10.0.1.20", "10.0.2.20")).contains(&gap));
    assert!(!touching(&alone, tcp("10.0.2.20", "10.0.1.20")).contains(&gap));
}

#[test]
fn an_unreadable_interface_touches_its_own_flows_and_those_of_nobody() {
    let world = whole().unset("describe-network-interfaces", N2, "SubnetId");
    let gap = "describe-network-interfaces: field is missing".to_owned();
    assert!(touching(&world, tcp("10.0.1.20", "10.0.2.20")).contains(&gap));
    assert!(!touching(&world, tcp("10.0.1.20", "10.1.0.5")).contains(&gap));
}
