//! Details of SEMANTICS K and K.1 that no shared vector pins.
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
use reachproof_model::prediction::Gate;
use reachproof_model::snapshot::Direction;
use serde_json::{Value, json};

/// A route of a table.
fn route(destination: &str, target: &str, id: &str) -> Value {
    json!({"DestinationCidrBlock": destination, target: id, "State": "active", "Origin": "CreateRoute"})
}

/// An ICMP flow between the nodes.
fn icmp(kind: u8, code: u8) -> Value {
    json!({"source": NODE_A, "destination": NODE_B, "protocol": "icmp", "icmp_type": kind, "icmp_code": code})
}

// A: rules

#[test]
fn numeric_protocol_6_is_tcp() {
    let rule = json!([{"IpProtocol": "6", "FromPort": 8080, "ToPort": 8080, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}]);
    assert_eq!(
        World::base().ingress(D, rule).tcp(NODE_A, NODE_B),
        allowed()
    );
}

#[test]
fn other_protocol_numbers_admit_all_ports_whatever_range_is_present() {
    let rule = json!([{"IpProtocol": "50", "FromPort": 1, "ToPort": 2, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}]);
    let flow = json!({"source": NODE_A, "destination": NODE_B, "protocol": 50});
    let world = World::base().ingress(D, rule);
    assert_eq!(world.says(flow), allowed());
    let other = json!({"source": NODE_A, "destination": NODE_B, "protocol": 51});
    assert_eq!(world.says(other), denied("sg-ingress", N2));
}

#[test]
fn icmp_without_type_admits_every_type() {
    let rule = json!([{"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}]);
    assert_eq!(World::base().ingress(D, rule).says(icmp(13, 5)), allowed());
}

#[test]
fn protocol_1_never_matches_58() {
    let rule = json!([{"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}]);
    let flow = json!({"source": NODE_A, "destination": NODE_B, "protocol": 58});
    assert_eq!(
        World::base().ingress(D, rule).says(flow),
        denied("sg-ingress", N2)
    );
}

#[test]
fn icmpv6_may_lack_its_range() {
    let v6 = json!({"source": "2600:1f14:abc:1::20", "destination": "2600:1f14:abc:2::10", "protocol": "icmpv6"});
    let rule = json!([{"IpProtocol": "icmpv6", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}]);
    let world = World::base()
        .egress(S, rule.clone())
        .ingress("sg-6353b41bb00d2de67", rule);
    assert_eq!(world.says(v6)["verdict"], "allow");
}

#[test]
fn an_unreadable_list_does_not_matter_where_another_rule_admits() {
    let list = json!({"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080, "PrefixListIds": [{"PrefixListId": "pl-x"}]});
    let world = World::base().ingress(D, json!([list, network("10.0.0.0/16")]));
    let expected =
        json!({"verdict": "allow", "rules": [format!("{S}.out[0]"), format!("{D}.in[1]")]});
    assert_eq!(world.tcp(NODE_A, NODE_B), expected);
}

#[test]
fn several_matching_rules_name_the_lowest_id() {
    let named = |id: &str, cidr: &str| {
        json!({"SecurityGroupRuleId": id, "GroupId": D, "IsEgress": false, "IpProtocol": "tcp",
            "FromPort": 8080, "ToPort": 8080, "CidrIpv4": cidr})
    };
    let world = World::base()
        .ingress(D, json!([network("10.0.0.0/16"), network("10.0.1.0/24")]))
        .file(
            "describe-security-group-rules",
            json!({"SecurityGroupRules": [named("sgr-b", "10.0.0.0/16"), named("sgr-a", "10.0.1.0/24")]}),
        );
    assert_eq!(world.tcp(NODE_A, NODE_B)["rules"][1], "sgr-a");
}

#[test]
fn egress_and_ingress_unknowns_are_named_in_that_order() {
    let list = json!([{"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080,
        "PrefixListIds": [{"PrefixListId": "pl-x"}, {"PrefixListId": "pl-y"}]}]);
    let world = World::base().egress(S, list.clone()).ingress(D, list);
    let rules = [
        format!("{S}.out[0]"),
        format!("{S}.out[1]"),
        format!("{D}.in[0]"),
        format!("{D}.in[1]"),
    ];
    let rules: Vec<_> = rules.iter().map(String::as_str).collect();
    assert_eq!(world.tcp(NODE_A, NODE_B), unresolved(&rules));
}

#[test]
fn port_65979_is_not_port_443() {
    let rule = json!([{"IpProtocol": "tcp", "FromPort": 65979, "ToPort": 65979, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}]);
    let flow = json!({"source": NODE_A, "destination": NODE_B, "protocol": "tcp", "port": 443});
    let world = World::base().ingress(D, rule);
    assert_eq!(world.says(flow), unresolved(&[&format!("{D}.in[0]")]));
    let udp = json!({"source": NODE_A, "destination": NODE_B, "protocol": "udp", "port": 443});
    assert_eq!(world.says(udp), denied("sg-ingress", N2));
}

#[test]
fn a_group_that_is_not_described_is_named_as_unresolved() {
    let world = World::base().carries(N2, &["sg-elsewhere"]);
    assert_eq!(world.tcp(NODE_A, NODE_B), unresolved(&["sg-elsewhere"]));
    let both = World::base().carries(N2, &["sg-elsewhere", D]);
    assert_eq!(both.tcp(NODE_A, NODE_B), allowed());
}

// B: references

#[test]
fn two_interfaces_of_one_group_need_a_rule() {
    let world = World::base().carries(N2, &[S]);
    assert_eq!(world.tcp(NODE_A, NODE_B), denied("sg-ingress", N2));
}

#[test]
fn references_are_not_transitive() {
    let world = World::base()
        .ingress(D, json!([group(POD)]))
        .ingress(POD, json!([group(S)]));
    assert_eq!(world.tcp(NODE_A, NODE_B), denied("sg-ingress", N2));
}

#[test]
fn a_reference_over_a_peering_that_is_gone_is_stale() {
    for status in ["deleted", "expired", "rejected"] {
        let pair = json!([{"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080,
            "UserIdGroupPairs": [{"GroupId": S, "UserId": "111122223333", "PeeringStatus": status}]}]);
        let world = World::base().ingress(D, pair);
        assert_eq!(
            world.tcp(NODE_A, NODE_B),
            denied("sg-ingress", N2),
            "{status}"
        );
    }
}

#[test]
fn a_group_of_another_account_is_unknown() {
    let pair = json!([{"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080,
        "UserIdGroupPairs": [{"GroupId": "sg-theirs", "UserId": "999900001111"}]}]);
    let world = World::base().ingress(D, pair);
    assert_eq!(
        world.tcp(NODE_A, NODE_B),
        unresolved(&[&format!("{D}.in[0]")])
    );
}

#[test]
fn a_group_that_is_gone_has_no_members() {
    let ours = World::base().ingress(D, json!([group("sg-gone")]));
    assert_eq!(ours.tcp(NODE_A, NODE_B), denied("sg-ingress", N2));
    let nobodys = json!([{"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080,
        "UserIdGroupPairs": [{"GroupId": "sg-gone"}]}]);
    assert_eq!(
        World::base().ingress(D, nobodys).tcp(NODE_A, NODE_B),
        denied("sg-ingress", N2)
    );
}

#[test]
fn a_described_group_needs_no_account() {
    let pair = json!([{"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080, "UserIdGroupPairs": [{"GroupId": S}]}]);
    assert_eq!(
        World::base().ingress(D, pair).tcp(NODE_A, NODE_B),
        allowed()
    );
}

#[test]
fn an_ingress_reference_crosses_a_transit_gateway() {
    let world = World::base().ingress(D, json!([group(S)]));
    assert_eq!(world.tcp(NODE_A, BEHIND_TGW), allowed());
}

#[test]
fn a_transit_gateway_can_switch_references_off() {
    let off = json!({"DefaultRouteTableAssociation": "enable", "DefaultRouteTablePropagation": "enable",
        "SecurityGroupReferencingSupport": "disable"});
    let world = World::base().ingress(D, json!([group(S)])).set(
        "describe-transit-gateways",
        TGW,
        "Options",
        off,
    );
    assert_eq!(world.tcp(NODE_A, BEHIND_TGW), denied("sg-ingress", T1));
}

#[test]
fn an_attachment_can_switch_references_off() {
    let stem = "describe-transit-gateway-vpc-attachments";
    let off = json!({"SecurityGroupReferencingSupport": "disable"});
    let world = World::base().ingress(D, json!([group(S)])).set(
        stem,
        "tgw-attach-e69a0b81ba68c4464",
        "Options",
        off,
    );
    assert_eq!(world.tcp(NODE_A, BEHIND_TGW), denied("sg-ingress", T1));
}

#[test]
fn without_the_gateways_a_reference_over_one_is_unknown() {
    let world = World::base()
        .ingress(D, json!([group(S)]))
        .without("describe-transit-gateways");
    assert_eq!(world.tcp(NODE_A, BEHIND_TGW), unknown("tgw"));
    let world = World::base()
        .ingress(D, json!([]))
        .without("describe-transit-gateways");
    assert_eq!(world.tcp(NODE_A, BEHIND_TGW), denied("sg-ingress", T1));
}

// C: bypass and exemption

#[test]
fn the_same_address_is_loopback() {
    let expected = json!({"verdict": "bypass", "reason": "loopback"});
    assert_eq!(World::base().tcp(NODE_A, NODE_A), expected);
    assert_eq!(World::base().tcp("192.0.2.1", "127.0.0.1"), expected);
}

#[test]
fn exemptions_come_before_everything() {
    let exempt = json!({"verdict": "exempt", "reason": "link-local"});
    for service in [
        "169.254.169.253",
        "169.254.169.123",
        "169.254.170.2",
        "169.254.169.254",
    ] {
        assert_eq!(World::base().tcp("192.0.2.1", service), exempt, "{service}");
    }
    let v6 = World::base().tcp("2600:1f14:abc:1::20", "fd00:ec2::253");
    assert_eq!(v6, exempt);
}

#[test]
fn the_resolver_is_that_of_the_sources_vpc() {
    let exempt = json!({"verdict": "exempt", "reason": "vpc-dns"});
    assert_eq!(World::base().tcp(PEERED, "10.1.0.2"), exempt);
    assert_eq!(
        World::base().tcp(NODE_A, "10.1.0.2"),
        unknown("dst-outside-model")
    );
}

#[test]
fn link_local_networks_are_never_forwarded() {
    assert_eq!(
        World::base().tcp(NODE_A, "169.254.170.9"),
        no_way("route", "none")
    );
}

#[test]
fn two_addresses_of_one_interface_are_one_host() {
    let expected = json!({"verdict": "bypass", "reason": "same-host"});
    assert_eq!(World::base().tcp(NODE_A, "10.0.1.21"), expected);
}

#[test]
fn a_standard_branch_pod_with_equal_groups_bypasses() {
    let world = World::base().carries(BR1, &[S]);
    assert_eq!(world.tcp(NODE_A, "10.0.1.90")["verdict"], "bypass");
}

#[test]
fn a_branch_interface_without_a_visible_trunk_is_its_own_host() {
    let world = World::base()
        .set("describe-network-interfaces", BR1, "TagSet", json!([]))
        .ingress(POD, json!([network("10.0.0.0/16")]));
    assert_eq!(world.tcp(NODE_A, "10.0.1.90")["verdict"], "allow");
}

#[test]
fn branch_pods_are_strict_by_default() {
    let world = World::base().without("aws-node");
    assert_eq!(world.tcp(NODE_A, "10.0.1.90"), denied("sg-ingress", BR1));
}

#[test]
fn an_instance_that_lists_the_interface_is_its_host() {
    let world = World::base()
        .unset("describe-network-interfaces", N1, "Attachment")
        .unset("describe-network-interfaces", N1B, "Attachment");
    assert_eq!(world.tcp(NODE_A, "10.0.1.31")["verdict"], "bypass");
}

#[test]
fn the_source_destination_check_drops_foreign_addresses() {
    let flow = json!({"source": "10.0.1.40", "destination": NODE_B, "protocol": "tcp", "port": 8080,
        "source_interface": N1});
    let expected = json!({"verdict": "deny", "gate": "src-dst-check", "at": N1});
    assert_eq!(World::base().says(flow.clone()), expected);
    let off = World::base().set(
        "describe-network-interfaces",
        N1,
        "SourceDestCheck",
        json!(false),
    );
    assert_eq!(off.says(flow.clone()), allowed());
    let unread = World::base().unset("describe-network-interfaces", N1, "SourceDestCheck");
    assert_eq!(unread.says(flow), unknown("other"));
}

#[test]
fn an_unknown_source_interface_is_outside_the_model() {
    let flow = json!({"source": NODE_A, "destination": NODE_B, "protocol": "tcp", "port": 8080,
        "source_interface": "eni-nowhere"});
    assert_eq!(World::base().says(flow), unknown("src-outside-model"));
}

#[test]
fn an_address_with_two_owners_is_ambiguous() {
    let twice = json!([{"PrivateIpAddress": "10.0.1.20"}]);
    let world = World::base().set(
        "describe-network-interfaces",
        N2,
        "PrivateIpAddresses",
        twice,
    );
    assert_eq!(world.tcp(NODE_A, PEERED), unknown("ambiguous-address"));
    assert_eq!(world.tcp("10.0.1.40", NODE_A), unknown("ambiguous-address"));
    // Exemptions come first (K.1): whoever emits is in the VPC of this resolver.
    let exempt = json!({"verdict": "exempt", "reason": "vpc-dns"});
    assert_eq!(world.tcp(NODE_A, "10.0.0.2"), exempt);
}

#[test]
fn the_clusters_vpc_is_asked_first() {
    let twice = json!([{"PrivateIpAddress": "10.0.1.20"}]);
    let stem = "describe-network-interfaces";
    let world = World::base().set(stem, W1, "PrivateIpAddresses", twice);
    assert_eq!(world.tcp(NODE_A, NODE_B), allowed());
    let equal = world.without("describe-cluster");
    assert_eq!(equal.tcp(NODE_A, NODE_B), unknown("ambiguous-address"));
}

// D: network ACLs

#[test]
fn entries_are_taken_by_number_not_by_place() {
    let entries = json!([
        entry(Direction::Ingress, 100, "deny", (8080, 8080)),
        entry(Direction::Ingress, 90, "allow", (8080, 8080)),
        all(Direction::Egress, 100, "allow")
    ]);
    assert_eq!(
        World::base().acl(A2, entries).tcp(NODE_A, NODE_B),
        allowed()
    );
}

#[test]
fn an_egress_entry_of_the_senders_subnet_denies() {
    let entries = json!([
        all(Direction::Ingress, 100, "allow"),
        entry(Direction::Egress, 50, "deny", (8000, 9000)),
        all(Direction::Egress, 100, "allow")
    ]);
    let expected = json!({"verdict": "deny", "gate": "nacl-out", "at": format!("acl-of-{A1}"), "subnet": A1,
        "rule_number": 50});
    assert_eq!(World::base().acl(A1, entries).tcp(NODE_A, NODE_B), expected);
}

#[test]
fn replies_are_denied_into_the_senders_subnet() {
    let entries = json!([
        entry(Direction::Ingress, 100, "allow", (443, 443)),
        all(Direction::Egress, 100, "allow")
    ]);
    let expected = json!({"verdict": "deny", "gate": "nacl-return-in", "at": format!("acl-of-{A1}"),
        "subnet": A1, "rule_number": 32767});
    assert_eq!(World::base().acl(A1, entries).tcp(NODE_A, NODE_B), expected);
}

#[test]
fn two_reply_lists_without_a_common_port_deny_at_the_receiver() {
    let out = json!([
        all(Direction::Ingress, 100, "allow"),
        entry(Direction::Egress, 100, "allow", (32768, 40000))
    ]);
    let back = json!([
        entry(Direction::Ingress, 100, "allow", (40001, 60999)),
        all(Direction::Egress, 100, "allow")
    ]);
    let expected = json!({"verdict": "deny", "gate": "nacl-return-out", "at": format!("acl-of-{A2}"),
        "subnet": A2, "rule_number": 32767});
    assert_eq!(
        World::base().acl(A2, out).acl(A1, back).tcp(NODE_A, NODE_B),
        expected
    );
}

#[test]
fn the_entry_of_the_lowest_denied_port_is_named() {
    let out = json!([
        all(Direction::Ingress, 100, "allow"),
        entry(Direction::Egress, 100, "deny", (40000, 65535)),
        entry(Direction::Egress, 110, "deny", (30000, 39999))
    ]);
    assert_eq!(
        World::base().acl(A2, out).tcp(NODE_A, NODE_B)["rule_number"],
        110
    );
}

#[test]
fn some_reply_ports_into_the_senders_subnet_are_partial() {
    let back = json!([
        entry(Direction::Ingress, 100, "allow", (1024, 50000)),
        all(Direction::Egress, 100, "allow")
    ]);
    let expected = json!({"verdict": "partial", "gate": "nacl-return-in", "at": format!("acl-of-{A1}"), "subnet": A1});
    assert_eq!(World::base().acl(A1, back).tcp(NODE_A, NODE_B), expected);
}

#[test]
fn source_ports_after_snat_start_at_1024() {
    let back = json!([
        entry(Direction::Ingress, 100, "allow", (32768, 60999)),
        all(Direction::Egress, 100, "allow")
    ]);
    let world = World::base().acl(A1, back);
    assert_eq!(world.tcp("10.0.1.31", PEERED), allowed());
    assert_eq!(world.says(pod("10.0.1.31", PEERED))["verdict"], "partial");
}

#[test]
fn an_echo_is_judged_there_and_back_and_other_icmp_forward_only() {
    let entries = json!([all(Direction::Ingress, 100, "allow")]);
    let rule = json!([{"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}]);
    let world = World::base().acl(A2, entries).ingress(D, rule);
    assert_eq!(world.says(icmp(8, 0))["gate"], "nacl-return-out");
    assert_eq!(world.says(icmp(13, 0)), allowed());
}

#[test]
fn icmp_entries_compare_type_and_code() {
    let allow = json!({"RuleNumber": 10, "Protocol": "1", "RuleAction": "allow", "Egress": false,
        "CidrBlock": "0.0.0.0/0", "IcmpTypeCode": {"Type": 8, "Code": -1}});
    let rule = json!([{"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}]);
    let reply = json!({"RuleNumber": 10, "Protocol": "1", "RuleAction": "allow", "Egress": true,
        "CidrBlock": "0.0.0.0/0", "IcmpTypeCode": {"Type": 0, "Code": 3}});
    let world = World::base()
        .acl(A2, json!([allow, reply]))
        .ingress(D, rule);
    assert_eq!(world.says(icmp(8, 3)), allowed());
    // The reply has the code of the request.
    assert_eq!(world.says(icmp(8, 4))["gate"], "nacl-return-out");
    assert_eq!(world.says(icmp(13, 0))["rule_number"], 32767);
}

#[test]
fn a_58_entry_with_an_ipv4_network_covers_all_types() {
    let allow = json!({"RuleNumber": 10, "Protocol": "58", "RuleAction": "allow", "Egress": false,
        "CidrBlock": "0.0.0.0/0", "IcmpTypeCode": {"Type": 8, "Code": 0}});
    let rule = json!([{"IpProtocol": "58", "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}]);
    let flow = json!({"source": NODE_A, "destination": NODE_B, "protocol": 58, "icmp_type": 1});
    assert_eq!(
        World::base()
            .acl(A2, json!([allow]))
            .ingress(D, rule)
            .says(flow),
        allowed()
    );
}

#[test]
fn ipv6_ends_at_the_final_entry_32768() {
    let v6 = json!({"source": "2600:1f14:abc:1::20", "destination": "2600:1f14:abc:2::10", "protocol": "tcp", "port": 443});
    let all_v6 = json!([{"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}]);
    let world = World::base()
        .acl(
            A2,
            json!([
                all(Direction::Ingress, 100, "allow"),
                all(Direction::Egress, 100, "allow")
            ]),
        )
        .egress(S, all_v6.clone())
        .ingress("sg-6353b41bb00d2de67", all_v6);
    assert_eq!(world.says(v6)["rule_number"], 32768);
}

#[test]
fn the_default_list_holds_for_subnets_that_name_none() {
    let mut world = World::base();
    world.item("describe-network-acls", OPEN)["Associations"] = json!([]);
    assert_eq!(world.tcp(NODE_A, NODE_B), unknown("other"));
    world.item("describe-network-acls", OPEN)["IsDefault"] = json!(true);
    assert_eq!(world.tcp(NODE_A, NODE_B), allowed());
}

// E: routes

#[test]
fn a_blackhole_and_a_filtered_route_deny() {
    for state in ["blackhole", "filtered"] {
        let mut dead = route("10.1.0.0/16", "VpcPeeringConnectionId", PCX);
        dead["State"] = json!(state);
        let world = World::base().routes(RT_V, json!([dead]));
        assert_eq!(world.tcp(NODE_A, PEERED), no_way("route", state));
    }
}

#[test]
fn a_reply_list_that_cannot_be_read_is_unknown_among_the_steps() {
    let mut unread = all(Direction::Egress, 100, "allow");
    unread["CidrBlock"] = json!("not a network");
    let entries = |egress| json!([all(Direction::Ingress, 100, "allow"), egress]);
    for (egress, outcome) in [
        (unread, "unknown"),
        (all(Direction::Egress, 100, "allow"), "pass"),
        (all(Direction::Egress, 100, "deny"), "drop"),
    ] {
        let world = World::base().acl(A2, entries(egress));
        let flow = Flow::from_json(&tcp(NODE_A, NODE_B)).unwrap();
        let prediction = predict(&world.decoded().snapshot, &flow);
        let answer = serde_json::to_value(prediction).unwrap();
        let steps = answer["steps"].as_array().unwrap();
        let found = steps.iter().find(|step| step["gate"] == "nacl-return-out");
        assert_eq!(found.unwrap()["outcome"], outcome, "{answer}");
    }
}

#[test]
fn routes_of_one_rank_that_say_different_things_decide_nothing() {
    let to_peer = route("10.1.0.0/16", "VpcPeeringConnectionId", PCX);
    let elsewhere = route("10.1.0.0/16", "NatGatewayId", "nat-1");
    let mut dead = to_peer.clone();
    dead["State"] = json!("blackhole");
    for other in [elsewhere, dead] {
        for routes in [json!([to_peer, other]), json!([other, to_peer])] {
            let world = World::base().routes(RT_V, routes);
            assert_eq!(world.tcp(NODE_A, PEERED), unknown("other"), "{other}");
        }
    }
    let world = World::base().routes(RT_V, json!([to_peer, to_peer]));
    assert_eq!(world.tcp(NODE_A, PEERED)["verdict"], "allow");
}

#[test]
fn no_egress_rule_is_named_before_a_dead_route() {
    let world = World::base().egress(S, json!([])).routes(RT_V, json!([]));
    assert_eq!(world.tcp(NODE_A, PEERED), denied("sg-egress", N1));
}

#[test]
fn a_reference_is_judged_as_local_where_the_way_ends() {
    let world = World::base()
        .egress(S, json!([group(D)]))
        .routes(RT_V, json!([]));
    assert_eq!(world.tcp(NODE_A, PEERED), no_way("route", "none"));
}

#[test]
fn replies_over_nat_or_the_internet_do_not_arrive() {
    for (target, id, reason) in [
        ("NatGatewayId", "nat-1", "nat"),
        ("GatewayId", "igw-1", "igw"),
        ("GatewayId", "vgw-1", "other"),
    ] {
        let world = World::base().routes(RT_W, json!([route("0.0.0.0/0", target, id)]));
        assert_eq!(
            world.tcp(NODE_A, PEERED),
            no_way("return-route", reason),
            "{id}"
        );
    }
}

#[test]
fn a_cloud_wan_is_unknown_there_and_back() {
    let cloud_wan = json!([route("0.0.0.0/0", "CoreNetworkArn", "arn:1")]);
    let back = World::base().routes(RT_W, cloud_wan);
    assert_eq!(back.tcp(NODE_A, PEERED), unknown("other"));
    let there = World::base().routes(
        RT_V,
        json!([route(&format!("{PEERED}/32"), "CoreNetworkArn", "arn:1")]),
    );
    assert_eq!(there.tcp(NODE_A, PEERED), unknown("other"));
}

#[test]
fn an_appliance_on_the_way_back_is_unknown() {
    let world = World::base().routes(
        RT_W,
        json!([route("10.0.0.0/16", "NetworkInterfaceId", "eni-fw")]),
    );
    assert_eq!(world.tcp(NODE_A, PEERED), unknown("return-middlebox"));
}

#[test]
fn a_return_peering_to_another_vpc_is_far_side() {
    let other = json!({"VpcPeeringConnectionId": "pcx-other", "Status": {"Code": "active"},
        "RequesterVpcInfo": {"VpcId": W}, "AccepterVpcInfo": {"VpcId": "vpc-else"}});
    let world = World::base()
        .push(
            "describe-vpc-peering-connections",
            "VpcPeeringConnections",
            other,
        )
        .routes(
            RT_W,
            json!([route("10.0.0.0/16", "VpcPeeringConnectionId", "pcx-other")]),
        );
    assert_eq!(
        world.tcp(NODE_A, PEERED),
        no_way("return-route", "far-side")
    );
}

#[test]
fn a_peering_that_is_not_active_is_far_side() {
    let pending = json!({"Code": "pending-acceptance"});
    let world = World::base().set("describe-vpc-peering-connections", PCX, "Status", pending);
    assert_eq!(world.tcp(NODE_A, PEERED), no_way("route", "far-side"));
}

#[test]
fn a_peering_that_is_not_in_the_snapshot_is_unknown() {
    let world = World::base().without("describe-vpc-peering-connections");
    assert_eq!(world.tcp(NODE_A, PEERED), unknown("other"));
}

#[test]
fn the_region_of_a_peering_may_come_from_the_zones() {
    let side = |vpc: &str| json!({"VpcId": vpc, "CidrBlock": "10.9.0.0/16"});
    let stem = "describe-vpc-peering-connections";
    let world = World::base()
        .set(stem, PCX, "RequesterVpcInfo", side(V))
        .set(stem, PCX, "AccepterVpcInfo", side(W))
        .ingress(D, json!([group(S)]));
    assert_eq!(world.tcp(NODE_A, PEERED), allowed());
    let far = world.set(
        "describe-subnets",
        "subnet-efe989f1f09540647",
        "AvailabilityZone",
        json!("eu-west-1a"),
    );
    assert_eq!(far.tcp(NODE_A, PEERED), denied("sg-ingress", W1));
}

#[test]
fn a_transit_gateway_needs_a_subnet_in_the_zone() {
    let stem = "describe-transit-gateway-vpc-attachments";
    let world = World::base().set(stem, V, "SubnetIds", json!([A2]));
    assert_eq!(world.tcp(NODE_A, BEHIND_TGW), no_way("route", "tgw-zone"));
    let far = World::base().set(
        stem,
        "tgw-attach-e69a0b81ba68c4464",
        "SubnetIds",
        json!([A2]),
    );
    assert_eq!(
        far.tcp(NODE_A, BEHIND_TGW),
        no_way("return-route", "tgw-zone")
    );
}

#[test]
fn a_vpc_without_an_attachment_is_unknown() {
    let world = World::base().without("describe-transit-gateway-vpc-attachments");
    assert_eq!(world.tcp(NODE_A, BEHIND_TGW), unknown("tgw"));
}

#[test]
fn tables_that_are_neither_default_nor_known_are_unknown() {
    let options = json!({"DefaultRouteTableAssociation": "disable", "DefaultRouteTablePropagation": "enable"});
    let world = World::base().set("describe-transit-gateways", TGW, "Options", options);
    assert_eq!(world.tcp(NODE_A, BEHIND_TGW), unknown("tgw"));
}

#[test]
fn the_tables_of_a_transit_gateway_decide_where_they_are_known() {
    let to = |cidr: &str, attachment: &str, state: &str| {
        json!({"DestinationCidrBlock": cidr, "State": state, "Type": "propagated",
            "TransitGatewayAttachments": [{"TransitGatewayAttachmentId": attachment}]})
    };
    let tables = json!({"TransitGatewayRouteTables": [{"TransitGatewayRouteTableId": "tgw-rtb-1",
        "TransitGatewayId": TGW, "DefaultAssociationRouteTable": true}]});
    let routes = |state: &str| {
        json!({"Routes": [to("10.2.0.0/16", "tgw-attach-e69a0b81ba68c4464", state),
            to("10.0.0.0/16", "tgw-attach-1e8eaa6bcef06732e", "active")]})
    };
    let world = World::base()
        .file("describe-transit-gateway-route-tables", tables)
        .file("search-transit-gateway-routes.tgw-rtb-1", routes("active"));
    assert_eq!(world.tcp(NODE_A, BEHIND_TGW), allowed());
    let world = world.file(
        "search-transit-gateway-routes.tgw-rtb-1",
        routes("blackhole"),
    );
    assert_eq!(world.tcp(NODE_A, BEHIND_TGW), unknown("tgw"));
    let mut truncated = routes("active");
    truncated["AdditionalRoutesAvailable"] = json!(true);
    let world = world.file("search-transit-gateway-routes.tgw-rtb-1", truncated);
    assert_eq!(world.tcp(NODE_A, BEHIND_TGW), unknown("tgw"));
}

#[test]
fn the_internet_is_outside_the_model() {
    assert_eq!(
        World::base().tcp(NODE_A, "198.51.100.1"),
        unknown("dst-outside-model")
    );
}

#[test]
fn other_ways_to_a_known_address_are_named() {
    for (target, id, reason) in [
        ("GatewayId", "igw-1", "igw"),
        ("EgressOnlyInternetGatewayId", "eigw-1", "igw"),
        ("GatewayId", "vgw-1", "vgw"),
        ("CarrierGatewayId", "cagw-1", "other"),
        ("LocalGatewayId", "lgw-1", "other"),
        ("OdbNetworkArn", "arn:1", "other"),
    ] {
        let world = World::base().routes(RT_V, json!([route("10.1.0.0/16", target, id)]));
        assert_eq!(world.tcp(NODE_A, PEERED), unknown(reason), "{id}");
    }
}

#[test]
fn a_load_balancer_endpoint_is_a_middlebox() {
    let world = World::base().routes(RT_V, json!([route("10.0.2.0/24", "GatewayId", "vpce-1")]));
    assert_eq!(world.tcp(NODE_A, NODE_B), unknown("middlebox"));
}

#[test]
fn a_static_route_beats_a_prefix_list_and_that_a_propagated_one() {
    let list = |id: &str| json!({"DestinationPrefixListId": "pl-w", "NatGatewayId": id, "State": "active", "Origin": "CreateRoute"});
    let mut propagated = route("10.1.0.0/16", "GatewayId", "vgw-1");
    propagated["Origin"] = json!("EnableVgwRoutePropagation");
    let fixed = route("10.1.0.0/16", "VpcPeeringConnectionId", PCX);
    let entries = json!({"Entries": [{"Cidr": "10.1.0.0/16"}]});
    let world = |routes: Value| {
        World::base()
            .file("get-managed-prefix-list-entries.pl-w", entries.clone())
            .routes(RT_V, routes)
    };
    let all = json!([propagated.clone(), list("nat-1"), fixed]);
    assert_eq!(world(all).tcp(NODE_A, PEERED), allowed());
    assert_eq!(
        world(json!([propagated, list("nat-1")])).tcp(NODE_A, PEERED),
        unknown("nat")
    );
}

#[test]
fn an_unreadable_list_makes_the_default_route_unknown() {
    let list =
        json!({"DestinationPrefixListId": "pl-unread", "TransitGatewayId": TGW, "State": "active"});
    let default = route("0.0.0.0/0", "NatGatewayId", "nat-1");
    let world = World::base().routes(RT_V, json!([list, default.clone()]));
    assert_eq!(world.tcp(NODE_A, PEERED), unknown("other"));
    assert_eq!(world.tcp(NODE_A, NODE_B), allowed());
    let gateway =
        json!({"DestinationPrefixListId": "pl-unread", "GatewayId": "vpce-s3", "State": "active"});
    let world = World::base().routes(RT_V, json!([gateway, default]));
    assert_eq!(world.tcp(NODE_A, PEERED), unknown("nat"));
}

#[test]
fn a_subnet_without_a_table_is_unknown() {
    let world = World::base().set("describe-route-tables", RT_V, "Associations", json!([]));
    assert_eq!(world.tcp(NODE_A, NODE_B), unknown("other"));
    let references = world.egress(S, json!([group(D)]));
    assert_eq!(references.tcp(NODE_A, NODE_B), unknown("other"));
}

// F: EKS

#[test]
fn excluded_cidrs_keep_the_pods_address() {
    let world = World::base()
        .ingress(D, json!([network("10.0.1.31/32")]))
        .cni(
            "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS",
            "192.168.0.0/16, 10.1.0.0/16",
        );
    assert_eq!(world.says(pod("10.0.1.31", PEERED)), allowed());
}

#[test]
fn go_spellings_of_truth_switch_snat_off() {
    for word in ["1", "t", "TRUE", "True"] {
        let world = World::base()
            .ingress(D, json!([network("10.0.1.31/32")]))
            .cni("AWS_VPC_K8S_CNI_EXTERNALSNAT", word);
        assert_eq!(world.says(pod("10.0.1.31", PEERED)), allowed(), "{word}");
    }
}

#[test]
fn a_pod_inside_the_vpc_keeps_its_address() {
    let world = World::base().ingress(D, json!([network("10.0.1.31/32")]));
    assert_eq!(world.says(pod("10.0.1.31", NODE_B)), allowed());
}

#[test]
fn a_fargate_pod_is_not_translated() {
    let cl = "sg-b626d80a0de38e17b";
    let world = World::base().ingress(D, json!([network("10.0.2.50/32")]));
    let answer = world.says(pod("10.0.2.50", PEERED));
    assert_eq!(
        answer,
        json!({"verdict": "allow", "rules": [format!("{cl}.out[0]"), format!("{D}.in[0]")]})
    );
}

#[test]
fn an_instance_without_a_visible_primary_cannot_translate() {
    let world = World::base().set(
        "describe-network-interfaces",
        N1,
        "Attachment",
        json!({"InstanceId": "i-other", "DeviceIndex": 0}),
    );
    assert_eq!(
        world.says(pod("10.0.1.31", PEERED)),
        unknown("src-outside-model")
    );
}

#[test]
fn a_network_policy_that_selects_a_pod_is_unknown() {
    let policy = json!({"items": [{"metadata": {"namespace": "shop", "name": "only-db"},
        "spec": {"podSelector": {"matchLabels": {"app": "db"}}}}]});
    let pods = |labels: Value, spec: Value| {
        json!({"items": [{"metadata": {"namespace": "shop", "name": "db-0", "labels": labels}, "spec": spec,
            "status": {"phase": "Running", "podIP": "10.0.2.21", "podIPs": [{"ip": "10.0.2.21"}]}}]})
    };
    let world = |pods: Value| {
        World::base()
            .file("networkpolicies", policy.clone())
            .file("pods", pods)
    };
    let selected = world(pods(json!({"app": "db"}), json!({})));
    assert_eq!(selected.tcp(NODE_A, "10.0.2.21"), unknown("networkpolicy"));
    assert_eq!(selected.tcp("10.0.2.21", NODE_A), denied("sg-egress", N2));
    let host = world(pods(json!({"app": "db"}), json!({"hostNetwork": true})));
    assert_eq!(host.tcp(NODE_A, "10.0.2.21"), allowed());
    let other = world(pods(json!({"app": "web"}), json!({})));
    assert_eq!(other.tcp(NODE_A, "10.0.2.21"), allowed());
    let fargate = world(pods(
        json!({"app": "db"}),
        json!({"nodeName": "fargate-ip-10-0-2-21"}),
    ));
    assert_eq!(fargate.tcp(NODE_A, "10.0.2.21"), allowed());
}

#[test]
fn a_pod_without_a_policy_is_unknown_where_the_cni_denies_by_default() {
    let pods = json!({"items": [{"metadata": {"namespace": "shop", "name": "db-0"}, "spec": {},
        "status": {"phase": "Running", "podIP": "10.0.2.21", "podIPs": [{"ip": "10.0.2.21"}]}}]});
    let world = |mode: &str| {
        World::base()
            .cni("NETWORK_POLICY_ENFORCING_MODE", mode)
            .file("pods", pods.clone())
    };
    assert_eq!(world("standard").tcp(NODE_A, "10.0.2.21"), allowed());
    for mode in ["strict", "severe"] {
        let answer = world(mode).tcp(NODE_A, "10.0.2.21");
        assert_eq!(answer, unknown("networkpolicy"), "{mode}");
    }
    let strict = world("strict");
    assert_eq!(strict.tcp(NODE_A, NODE_B), allowed());
    // What the groups deny stays a deny.
    assert_eq!(strict.tcp("10.0.2.21", NODE_A), denied("sg-egress", N2));
    let flow = Flow::from_json(&tcp(NODE_A, "10.0.2.21")).unwrap();
    let prediction = predict(&strict.decoded().snapshot, &flow);
    let said = prediction.steps.last().unwrap();
    assert_eq!(said.gate, Gate::NetworkPolicy);
    assert!(
        said.detail
            .starts_with("security groups: allow; no policy selects the destination, "),
        "{}",
        said.detail
    );
    // An address of a node that no pod claims may be a pod's.
    let unlisted = World::base().cni("NETWORK_POLICY_ENFORCING_MODE", "strict");
    assert_eq!(unlisted.tcp(NODE_A, "10.0.2.21"), unknown("networkpolicy"));
}

#[test]
fn unknown_gates_come_in_the_order_of_k() {
    let middlebox = json!([route("10.0.2.0/24", "NetworkInterfaceId", "eni-fw")]);
    let list = json!([{"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": "pl-x"}]}]);
    let world = World::base().routes(RT_V, middlebox).ingress(D, list);
    assert_eq!(world.tcp(NODE_A, NODE_B), unknown("middlebox"));
    let nobody = World::base()
        .carries(N1, &[])
        .carries(N2, &["sg-elsewhere"]);
    assert_eq!(nobody.tcp(NODE_A, NODE_B), unknown("no-groups"));
}

#[test]
fn control_plane_interfaces_are_found_by_exact_description() {
    let decoded = World::base()
        .set("describe-network-interfaces", N2, "Description", json!("Amazon EKS demo-2"))
        .file("endpointslices", json!({"items": [{"metadata": {"namespace": "default", "name": "kubernetes",
            "labels": {"kubernetes.io/service-name": "kubernetes"}}, "endpoints": [{"addresses": ["10.0.1.10"]}]}]}))
        .decoded();
    let found: Vec<_> = decoded
        .snapshot
        .control_plane_interfaces()
        .into_iter()
        .map(|found| {
            (
                found.interface.primary_address().unwrap().to_string(),
                format!("{:?}", found.endpoint),
            )
        })
        .collect();
    let expected = [("10.0.2.10", "Unlisted"), ("10.0.1.10", "Listed")];
    let expected: Vec<_> = expected
        .iter()
        .map(|(one, other)| (one.to_string(), other.to_string()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn port_edges_have_their_neighbours() {
    let world = World::base();
    let snapshot = world.decoded().snapshot;
    let edges = snapshot.port_edges(NODE_A.parse().unwrap(), NODE_B.parse().unwrap());
    assert_eq!(edges, [8079, 8080, 8081]);
}
