//! What two accounts or Regions say of one thing, where they contradict each other (K.1 "Two views of one thing").
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
use reachproof_model::flow::{Flow, SourceKind};
use reachproof_model::matrix::{Ends, Filter, Matrix, VerdictKind};
use reachproof_model::predict::verdict;
use serde_json::{Value, json};

/// The base world as two accounts see it: the second has other words in some fields of a thing.
fn seen_twice(stem: &str, id: &str, changes: &[(&str, Value)]) -> World {
    let mut world = open();
    let mut view = world.item(stem, id).clone();
    for (field, value) in changes {
        view[*field] = value.clone();
    }
    world.list(stem).push(view);
    world
}

/// A world in which everything passes.
fn open() -> World {
    let all = json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]);
    World::base().ingress(D, all)
}

fn unknown(reason: &str) -> Value {
    json!({"verdict": "unknown", "reason": reason})
}

/// Asserts that a gap of the world has all of these texts.
fn assert_gap(world: &World, texts: &[&str]) {
    let gaps = world.decoded().gaps;
    let lines: Vec<String> = gaps.iter().map(ToString::to_string).collect();
    let is_meant = |line: &String| texts.iter().all(|text| line.contains(text));
    assert!(lines.iter().any(is_meant), "{texts:?} in {lines:#?}");
}

/// Asserts that the relation says the same as the walk, for all pairs of endpoints.
fn assert_agrees(world: &World) {
    let snapshot = world.decoded().snapshot;
    let addresses: Vec<_> = snapshot
        .network_interfaces()
        .flat_map(|interface| interface.addresses.clone())
        .collect();
    let matrix = Matrix::new(&snapshot);
    for source in &addresses {
        for destination in &addresses {
            if source.is_ipv4() != destination.is_ipv4() {
                continue;
            }
            let mut flow = Flow::tcp(*source, *destination, 8080);
            assert_eq!(matrix.verdict(&flow), verdict(&snapshot, &flow), "{flow}");
            flow.source_kind = SourceKind::Pod;
            assert_eq!(matrix.verdict(&flow), verdict(&snapshot, &flow), "{flow}");
        }
    }
    for kind in [SourceKind::Host, SourceKind::Pod] {
        let matrix = Matrix::with_source_kind(&snapshot, Some(kind));
        for listed in matrix.listing(&Filter::default(), Ends::default()) {
            let entry = &listed.entry;
            let mut flow = Flow::tcp(listed.source, listed.destination, entry.ports.first());
            flow.source_kind = kind;
            let predicted = verdict(&snapshot, &flow);
            let said = (entry.verdict, entry.tuple.reason);
            assert_eq!(
                said,
                (VerdictKind::from(&predicted), predicted.reason()),
                "{flow}"
            );
        }
    }
}

#[test]
fn contradicting_vpcs_matter_where_their_networks_decide() {
    let world = seen_twice("describe-vpcs", V, &[("CidrBlock", json!("10.8.0.0/16"))]);
    assert_gap(
        &world,
        &[
            "describe-vpcs",
            V,
            "`CidrBlock` is `10.0.0.0/16` in one and `10.8.0.0/16` in the other",
        ],
    );
    assert_eq!(world.tcp(NODE_A, NODE_B)["verdict"], "allow");
    // Whether the node translates the pod depends on the networks; on which both views agree, it does not.
    assert_eq!(world.says(pod("10.0.1.31", PEERED)), unknown("conflict"));
    assert_eq!(world.says(pod("10.0.1.31", NODE_B))["verdict"], "allow");
    for resolver in ["10.0.0.2", "10.8.0.2"] {
        assert_eq!(
            world.tcp(NODE_A, resolver),
            unknown("conflict"),
            "{resolver}"
        );
    }
    assert_agrees(&world);
}

#[test]
fn contradicting_subnets_matter_to_all_their_interfaces() {
    let views = [("CidrBlock", json!("10.0.3.0/24"))];
    let world = seen_twice("describe-subnets", A2, &views);
    assert_gap(
        &world,
        &[
            "describe-subnets",
            A2,
            "`CidrBlock` is `10.0.2.0/24` in one and `10.0.3.0/24` in the other",
        ],
    );
    assert_eq!(world.tcp(NODE_A, NODE_B), unknown("conflict"));
    assert_eq!(world.tcp(NODE_B, NODE_A)["verdict"], "deny");
    assert_eq!(world.tcp(NODE_A, PEERED)["verdict"], "allow");
    assert_agrees(&world);
}

#[test]
fn contradicting_lists_matter_where_a_router_is_on_the_way() {
    let world = seen_twice("describe-network-acls", OPEN, &[("Entries", json!([]))]);
    assert_gap(&world, &["describe-network-acls", OPEN, "`Entries` is"]);
    assert_eq!(world.tcp(NODE_A, NODE_B), unknown("conflict"));
    let inside = |world: &World| world.tcp("10.0.2.20", "10.0.2.50");
    assert_eq!(inside(&world), inside(&open()));
    // A list that one view takes away from a subnet may hold for it all the same.
    let moved = json!([{"SubnetId": A2}]);
    let world = seen_twice("describe-network-acls", OPEN, &[("Associations", moved)]);
    assert_eq!(world.tcp(NODE_A, NODE_B), unknown("conflict"));
    assert_agrees(&world);
}

#[test]
fn contradicting_transit_gateways_matter_to_what_they_carry() {
    assert_eq!(open().tcp(NODE_A, BEHIND_TGW)["verdict"], "allow");
    let gateway = seen_twice(
        "describe-transit-gateways",
        TGW,
        &[(
            "Options",
            json!({"DefaultRouteTableAssociation": "disable"}),
        )],
    );
    assert_gap(
        &gateway,
        &[
            "describe-transit-gateways",
            TGW,
            "`Options.DefaultRouteTableAssociation` is `enable` in one and `disable`",
        ],
    );
    let attachment = "tgw-attach-e69a0b81ba68c4464";
    let attachment = seen_twice(
        "describe-transit-gateway-vpc-attachments",
        attachment,
        &[("State", json!("deleted"))],
    );
    let table = json!({"TransitGatewayRouteTableId": "tgw-rtb-1", "TransitGatewayId": TGW});
    let mut other = table.clone();
    other["DefaultAssociationRouteTable"] = json!(true);
    let mut table = table;
    table["DefaultAssociationRouteTable"] = json!(false);
    let table = open().file(
        "describe-transit-gateway-route-tables",
        json!({"TransitGatewayRouteTables": [table, other]}),
    );
    for world in [gateway, attachment, table] {
        assert_eq!(world.tcp(NODE_A, BEHIND_TGW), unknown("conflict"));
        assert_eq!(world.tcp(NODE_A, NODE_B)["verdict"], "allow");
        assert_agrees(&world);
    }
}

#[test]
fn counts_of_free_addresses_do_not_contradict() {
    let mut world = open();
    let view = world.item("describe-subnets", A2).clone();
    let counted = |count: u32| {
        let mut view = view.clone();
        view["AvailableIpAddressCount"] = json!(count);
        json!({"Subnets": [view]})
    };
    world
        .list("describe-subnets")
        .retain(|subnet| subnet["SubnetId"] != A2);
    let world = world
        .file("describe-subnets.111122223333", counted(200))
        .file("describe-subnets.444455556666", counted(199));
    assert_eq!(world.tcp(NODE_A, NODE_B)["verdict"], "allow");
}
