//! Broken snapshots and flows: each gives the error or the gap that it deserves, and no deny that the break made.
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
use reachproof_model::describe::{Described, parse};
use reachproof_model::flow::Flow;
use reachproof_model::snapshot::Snapshot;
use serde_json::{Value, json};

/// Text of the error with which a world is refused.
fn refused(world: World) -> String {
    Snapshot::decode(&world.described())
        .unwrap_err()
        .to_string()
}

/// The gaps of a world, a line each, and what the model says about tcp/8080 from 10.0.1.20 to 10.0.2.20.
fn gaps(world: &World) -> (String, Value) {
    let lines: Vec<_> = world
        .decoded()
        .gaps
        .iter()
        .map(ToString::to_string)
        .collect();
    (lines.join("\n"), world.tcp("10.0.1.20", "10.0.2.20"))
}

/// Text of the error with which a flow is refused.
fn bad_flow(field: &str, value: Value) -> String {
    let mut flow = tcp("10.0.1.20", "10.0.2.20");
    flow[field] = value;
    Flow::from_json(&flow).unwrap_err().to_string()
}

/// One test for each broken text of a file.
macro_rules! unreadable {
    ($($name:ident: $text:expr => $error:expr;)+) => {$(
        #[test]
        fn $name() {
            let text: &str = $text;
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains($error), "{error}");
        }
    )+};
}

/// One test for each world that is refused.
macro_rules! refusals {
    ($($name:ident: $world:expr => $error:expr;)+) => {$(
        #[test]
        fn $name() {
            assert_eq!(refused($world), $error);
        }
    )+};
}

/// One test for each world with a gap: a part of its line, and the verdict.
macro_rules! holes {
    ($($name:ident: $world:expr => $gap:expr, $verdict:expr;)+) => {$(
        #[test]
        fn $name() {
            let (lines, verdict) = gaps(&$world);
            let gap: &str = &$gap;
            assert!(lines.contains(gap), "no gap `{gap}` in:\n{lines}");
            assert_eq!(verdict, $verdict);
        }
    )+};
}

/// One test for each bad flow: field, value (null: absent), text.
macro_rules! bad_flows {
    ($($name:ident: $field:expr, $value:expr => $error:expr;)+) => {$(
        #[test]
        fn $name() {
            assert_eq!(bad_flow($field, $value), $error);
        }
    )+};
}

/// D with one permission.
fn rule(permission: Value) -> World {
    World::base().ingress(D, json!([permission]))
}

/// An ACL of A2 that lets everything pass behind one entry.
fn behind(entry: Value) -> World {
    let open = [
        all(Direction::Ingress, 100, "allow"),
        all(Direction::Egress, 100, "allow"),
    ];
    World::base().acl(A2, json!([entry, open[0], open[1]]))
}

/// D's only rule, unresolved.
fn rule_unresolved() -> Value {
    unresolved(&[&format!("{D}.in[0]")])
}

use reachproof_model::snapshot::Direction;

unreadable! {
    a_truncated_file_is_refused: r#"{"Vpcs": [{"VpcId": "vpc-1"}"# => "EOF while parsing";
    an_empty_file_is_refused: "" => "EOF while parsing a value at line 1 column 0";
    a_file_that_is_no_json_is_refused: "<html>" => "expected value at line 1 column 1";
    a_repeated_key_is_refused_by_name: r#"{"Vpcs": [], "Vpcs": []}"# => "key `Vpcs` appears twice in one object, keep one of them at line 1";
    two_documents_are_refused: "{}\n{}" => "trailing characters at line 2 column 1";
    a_repeated_key_deep_inside_is_refused: r#"{"a": [{"FromPort": 1, "FromPort": 2}]}"# => "key `FromPort` appears twice";
    an_unpaired_surrogate_is_refused: r#"{"a": "\ud800"}"# => "unexpected end of hex escape";
}

refusals! {
    a_missing_file_is_named: World::base().without("describe-route-tables")
        => "`describe-route-tables` is missing, write it with `aws ec2 describe-route-tables --output json`";
    a_page_of_several_is_refused: World::base().file("describe-vpcs", json!({"Vpcs": [], "NextToken": "abc"}))
        => "`describe-vpcs` is incomplete, it has a `NextToken`: read the following pages, too";
    a_page_of_pods_is_refused: World::base().file("pods", json!({"items": [], "metadata": {"continue": "abc"}}))
        => "`pods` is incomplete, it has a `metadata.continue`: read the following pages, too";
    a_page_of_an_optional_file_is_refused: World::base()
        .file("describe-instances", json!({"Reservations": [], "NextToken": "abc"}))
        => "`describe-instances` is incomplete, it has a `NextToken`: read the following pages, too";
    a_list_instead_of_an_answer_is_refused: World::base().file("describe-subnets", json!([]))
        => "`describe-subnets` has no list `Subnets`, it is not the answer of that command";
    the_answer_of_another_command_is_refused: World::base().file("describe-subnets", json!({"Vpcs": []}))
        => "`describe-subnets` has no list `Subnets`, it is not the answer of that command";
    an_object_instead_of_a_list_is_refused: World::base().file("describe-vpcs", json!({"Vpcs": {}}))
        => "`describe-vpcs` has no list `Vpcs`, it is not the answer of that command";
    a_cluster_that_is_none_is_refused: World::base().file("describe-cluster", json!({"clusters": ["demo"]}))
        => "`describe-cluster` has no object `cluster`, it is not the answer of that command";
}

holes! {
    an_empty_next_token_is_no_page: World::base()
        .file("describe-instances", json!({"Reservations": [], "NextToken": ""}))
        => "pods: file is absent", allowed();
    a_port_beyond_65535_never_narrows: rule(json!({"IpProtocol": "tcp", "FromPort": 65979, "ToPort": 65979,
        "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}))
        => format!("IpPermissions[0].FromPort of `{D}`: expected a port from 0 to 65535, found `65979`; flows that only this rule could admit are unknown"),
        rule_unresolved();
    a_port_that_is_text_is_unresolved: rule(json!({"IpProtocol": "tcp", "FromPort": "8080", "ToPort": 8080,
        "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}))
        => format!("IpPermissions[0].FromPort of `{D}`: expected an integer, found `\"8080\"`"), rule_unresolved();
    a_rule_without_ports_is_unresolved: rule(json!({"IpProtocol": "tcp", "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}))
        => format!("IpPermissions[0].FromPort of `{D}`: field is missing"), rule_unresolved();
    ports_upside_down_are_unresolved: rule(json!({"IpProtocol": "tcp", "FromPort": 9000, "ToPort": 8000,
        "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}))
        => "expected the lower port first", rule_unresolved();
    an_unknown_protocol_is_unresolved: rule(json!({"IpProtocol": "quic", "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}))
        => "expected a protocol name or a number from -1 to 255, found `\"quic\"`", rule_unresolved();
    a_protocol_beyond_255_is_unresolved: rule(json!({"IpProtocol": "262", "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}))
        => "found `\"262\"`", rule_unresolved();
    a_network_that_is_none_is_unresolved: rule(network("10.0.0.0/33"))
        => "IpRanges[0].CidrIp of `sg-14a6709cdfea6b7c6`: expected an IPv4 network, found `\"10.0.0.0/33\"`",
        rule_unresolved();
    a_peer_without_its_network_is_unresolved: rule(json!({"IpProtocol": "-1", "IpRanges": [{}]}))
        => "IpRanges[0].CidrIp of `sg-14a6709cdfea6b7c6`: field is missing", rule_unresolved();
    peers_that_are_no_list_are_unresolved: rule(json!({"IpProtocol": "-1", "IpRanges": "10.0.0.0/16"}))
        => "IpPermissions[0].IpRanges of `sg-14a6709cdfea6b7c6`: expected a list", rule_unresolved();
    a_permission_that_is_text_is_unresolved: rule(json!("all"))
        => "IpPermissions[0] of `sg-14a6709cdfea6b7c6`: expected a permission with its peers, found `\"all\"`", rule_unresolved();
    permissions_that_are_missing_are_unresolved: World::base().unset("describe-security-groups", D, "IpPermissions")
        => "SecurityGroups[5].IpPermissions of `sg-14a6709cdfea6b7c6`: field is missing", rule_unresolved();
    contradicting_groups_are_a_conflict: World::base().push("describe-security-groups", "SecurityGroups",
        json!({"GroupId": D, "IpPermissions": [], "IpPermissionsEgress": []}))
        => "of `sg-14a6709cdfea6b7c6`: two descriptions contradict each other: `IpPermissions` is", unknown("conflict");
    a_group_that_is_dangling_is_unresolved: World::base().carries(N2, &["sg-nowhere"])
        => "of `eni-2214d974d6ac558dc`: `sg-nowhere` is not in the snapshot", unresolved(&["sg-nowhere"]);
    a_prefix_list_that_is_dangling_is_unresolved: rule(json!({"IpProtocol": "-1",
        "PrefixListIds": [{"PrefixListId": "pl-nowhere"}]}))
        => "`pl-nowhere` is not in the snapshot; flows for which the prefix list decides are unknown",
        rule_unresolved();
    a_prefix_list_with_a_bad_entry_is_unresolved: rule(json!({"IpProtocol": "-1",
        "PrefixListIds": [{"PrefixListId": "pl-bad"}]}))
        .file("get-managed-prefix-list-entries.pl-bad", json!({"Entries": [{"Cidr": "10.0.1.0/24"}, {"Cidr": 5}]}))
        => "get-managed-prefix-list-entries.pl-bad: Entries[1].Cidr of `pl-bad`: expected a text, found `5`",
        rule_unresolved();
    interfaces_that_are_none_are_outside: World::base()
        .file("describe-network-interfaces", json!({"NetworkInterfaces": []}))
        => "pods: file is absent", unknown("src-outside-model");
    an_interface_without_id_is_outside: World::base().unset("describe-network-interfaces", N2, "NetworkInterfaceId")
        => "NetworkInterfaces[4].NetworkInterfaceId: field is missing; flows of this interface are unknown",
        unknown("dst-outside-model");
    an_interface_without_subnet_is_outside: World::base().unset("describe-network-interfaces", N2, "SubnetId")
        => "NetworkInterfaces[4].SubnetId of `eni-2214d974d6ac558dc`: field is missing", unknown("dst-outside-model");
    an_interface_in_no_described_subnet_is_unknown: World::base()
        .set("describe-network-interfaces", N2, "SubnetId", json!("subnet-nowhere"))
        => "of `eni-2214d974d6ac558dc`: `subnet-nowhere` is not in the snapshot; flows that leave the subnet are unknown",
        unknown("other");
    groups_that_are_missing_are_no_groups: World::base().unset("describe-network-interfaces", N2, "Groups")
        => "NetworkInterfaces[4].Groups of `eni-2214d974d6ac558dc`: field is missing", unknown("no-groups");
    contradicting_interfaces_are_a_conflict: World::base().push("describe-network-interfaces", "NetworkInterfaces",
        json!({"NetworkInterfaceId": N2, "VpcId": V, "SubnetId": A2, "Groups": []}))
        => "NetworkInterfaces[10] of `eni-2214d974d6ac558dc`: two descriptions contradict each other: `Groups` is",
        unknown("conflict");
    an_attachment_that_is_text_is_doubtful: World::base()
        .set("describe-network-interfaces", N2, "Attachment", json!("attached"))
        => "NetworkInterfaces[4].Attachment of `eni-2214d974d6ac558dc`: expected an object", unknown("ambiguous-address");
    two_owners_are_ambiguous: World::base()
        .set("describe-network-interfaces", N2, "Ipv4Prefixes", json!([{"Ipv4Prefix": "10.0.1.16/28"}]))
        => "of `eni-26badc5944ee168e8`: overlaps `eni-2214d974d6ac558dc`", unknown("ambiguous-address");
    an_unknown_interface_type_is_kept: World::base()
        .set("describe-network-interfaces", N2, "InterfaceType", json!("quantum_link"))
        => "pods: file is absent", allowed();
    overlapping_vpcs_are_noted: World::base().set("describe-vpcs", W, "CidrBlockAssociationSet",
        json!([{"CidrBlock": "10.0.0.0/8", "CidrBlockState": {"State": "associated"}}]))
        => "describe-vpcs of `vpc-36e2460f9affa94f3`: overlaps `vpc-ef6281a96b43e9e5c`", allowed();
    an_entry_with_an_unknown_action_is_unknown: behind(json!({"RuleNumber": 50, "Protocol": "-1", "RuleAction": "maybe",
        "Egress": false, "CidrBlock": "0.0.0.0/0"}))
        => "Entries[0].RuleAction of `acl-of-subnet-e8939e979649a582e`: expected `allow` or `deny`, found `\"maybe\"`; flows that reach this entry are unknown",
        unknown("other");
    an_entry_without_number_may_be_anywhere: behind(json!({"Protocol": "-1", "RuleAction": "deny", "Egress": false,
        "CidrBlock": "0.0.0.0/0"}))
        => "Entries[0].RuleNumber of `acl-of-subnet-e8939e979649a582e`: field is missing", unknown("other");
    an_entry_without_direction_counts_both_ways: behind(json!({"RuleNumber": 50, "Protocol": "-1", "RuleAction": "deny",
        "CidrBlock": "0.0.0.0/0"}))
        => "Entries[0].Egress of `acl-of-subnet-e8939e979649a582e`: field is missing", unknown("other");
    an_entry_with_port_65979_is_unknown: behind(json!({"RuleNumber": 50, "Protocol": "6", "RuleAction": "deny",
        "Egress": false, "CidrBlock": "0.0.0.0/0", "PortRange": {"From": 65979, "To": 65979}}))
        => "Entries[0].PortRange.From of `acl-of-subnet-e8939e979649a582e`: expected a port from 0 to 65535, found `65979`",
        unknown("other");
    an_unread_entry_that_agrees_does_not_matter: behind(json!({"RuleNumber": 50, "Protocol": "6", "RuleAction": "allow",
        "Egress": false, "CidrBlock": "0.0.0.0/0", "PortRange": {"From": 65979, "To": 65979}}))
        => "found `65979`", allowed();
    entries_that_are_missing_are_unknown: World::base().unset("describe-network-acls", OPEN, "Entries")
        => "NetworkAcls[0].Entries of `acl-15dc45697764cfea9`: field is missing", unknown("other");
    two_lists_of_one_subnet_are_none: World::base().push("describe-network-acls", "NetworkAcls",
        json!({"NetworkAclId": "acl-2", "VpcId": V, "Entries": [], "Associations": [{"SubnetId": A2}]}))
        => "describe-network-acls of `subnet-e8939e979649a582e`: neither one list of its own nor one default list holds; flows that leave the subnet are unknown",
        unknown("other");
    a_route_with_a_bad_network_is_unknown: World::base().routes(RT_V, json!([
        {"DestinationCidrBlock": "10.300.0.0/16", "NatGatewayId": "nat-1", "State": "active"}]))
        => "Routes[2].DestinationCidrBlock of `rtb-82dfeec2d7cd50ffa`: expected an IPv4 network, found `\"10.300.0.0/16\"`; flows that this route could carry are unknown",
        unknown("other");
    a_route_with_an_unknown_state_is_unknown: World::base().routes(RT_V, json!([
        {"DestinationCidrBlock": "10.0.2.0/24", "GatewayId": "local", "State": "sleeping"}]))
        => "Routes[2] of `rtb-82dfeec2d7cd50ffa`: unknown word `sleeping`", unknown("other");
    a_route_without_target_is_unknown: World::base().routes(RT_V, json!([
        {"DestinationCidrBlock": "10.0.2.0/24", "State": "active"}]))
        => "Routes[2].GatewayId of `rtb-82dfeec2d7cd50ffa`: field is missing", unknown("other");
    a_subnet_in_no_vpc_has_no_main_table: World::base().unset("describe-subnets", A2, "VpcId")
        => "Subnets[1].VpcId of `subnet-e8939e979649a582e`: field is missing", unknown("other");
    a_cni_setting_of_another_kind_is_unread: World::base().cni("AWS_VPC_K8S_CNI_EXTERNALSNAT", "yes please")
        => "found `{\"name\":\"AWS_VPC_K8S_CNI_EXTERNALSNAT\",\"value\":\"yes please\"}`; flows for which a setting of the VPC CNI decides are unknown", allowed();
    an_unknown_file_is_noted: World::base().file("describe-instance", json!({}))
        => "describe-instance: unknown word `describe-instance`; no prediction depends on it", allowed();
    a_file_that_is_absent_has_its_consequence: World::base().without("describe-stale-security-groups")
        => "describe-stale-security-groups: file is absent; references count as fresh unless the rule or the peering says otherwise",
        allowed();
    a_pod_with_a_bad_address_is_noted: World::base().file("pods", json!({"items": [
        {"metadata": {"namespace": "a", "name": "b"}, "status": {"podIP": "10.0.2"}}]}))
        => "pods: items[0].status.podIP: expected an IP address, found `\"10.0.2\"`", allowed();
}

bad_flows! {
    a_flow_to_port_65979_is_refused: "port", json!(65979)
        => "field `port` must be a port from 0 to 65535, found `65979`";
    a_flow_without_port_is_refused: "port", Value::Null => "field `port` is missing";
    a_flow_to_a_negative_port_is_refused: "port", json!(-1)
        => "field `port` must be a port from 0 to 65535, found `-1`";
    a_flow_to_half_a_port_is_refused: "port", json!(80.5)
        => "field `port` must be a port from 0 to 65535, found `80.5`";
    a_flow_without_source_is_refused: "source", Value::Null => "field `source` is missing";
    a_flow_from_a_name_is_refused: "source", json!("node-a")
        => "field `source` must be an IP address, found `\"node-a\"`";
    mixed_families_are_refused: "destination", json!("::1")
        => "field `destination` must be of the same address family as `source`, found `::1` for `10.0.1.20`";
    an_unknown_protocol_of_a_flow_is_refused: "protocol", json!("sctp")
        => "field `protocol` must be `tcp`, `udp`, `icmp`, `icmpv6` or a number from 0 to 255, found `\"sctp\"`";
    a_protocol_beyond_255_is_refused: "protocol", json!(256)
        => "field `protocol` must be `tcp`, `udp`, `icmp`, `icmpv6` or a number from 0 to 255, found `256`";
    ephemeral_ports_upside_down_are_refused: "ephemeral_ports", json!([60999, 32768])
        => "field `ephemeral_ports` must be a list of two ports, the lower one first, found `[60999,32768]`";
    an_unknown_source_kind_is_refused: "source_kind", json!("vm")
        => "field `source_kind` must be `host` or `pod`, found `\"vm\"`";
    an_unknown_field_is_refused: "dport", json!(1)
        => "field `dport` is unknown, a flow has source, destination, protocol, port, icmp_type, icmp_code, source_kind, ephemeral_ports, source_interface";
}

#[test]
fn an_empty_world_answers_unknown() {
    let mut described = Described::default();
    for (stem, list) in [
        ("describe-vpcs", "Vpcs"),
        ("describe-subnets", "Subnets"),
        ("describe-network-interfaces", "NetworkInterfaces"),
        ("describe-security-groups", "SecurityGroups"),
        ("describe-route-tables", "RouteTables"),
        ("describe-network-acls", "NetworkAcls"),
    ] {
        described.insert(stem, json!({list: []}));
    }
    let decoded = Snapshot::decode(&described).unwrap();
    let flow = Flow::from_json(&tcp("10.0.1.20", "10.0.2.20")).unwrap();
    let verdict = reachproof_model::predict::verdict(&decoded.snapshot, &flow);
    assert_eq!(verdict.to_string(), "unknown (src-outside-model)");
    assert_eq!(decoded.gaps.len(), 12);
}

#[test]
fn a_member_that_could_not_be_read_does_not_make_a_deny() {
    let world = rule(group(POD)).unset("describe-network-interfaces", N1, "SubnetId");
    let flow =
        json!({"source": "10.0.1.40", "destination": "10.0.2.20", "protocol": "tcp", "port": 8080});
    assert_eq!(
        world.says(flow),
        denied("sg-egress", "eni-cba6f0033911a1208")
    );
    let world = World::base().egress(S, json!([group(D)])).unset(
        "describe-network-interfaces",
        N2,
        "SubnetId",
    );
    assert_eq!(
        world.tcp("10.0.1.20", "10.0.2.20"),
        unknown("dst-outside-model")
    );
}

#[test]
fn unread_settings_of_the_cni_make_pods_unknown_and_hosts_not() {
    let world = World::base().cni("AWS_VPC_K8S_CNI_EXTERNALSNAT", "perhaps");
    assert_eq!(world.says(pod("10.0.1.31", "10.1.0.5")), unknown("other"));
    assert_eq!(world.tcp("10.0.1.31", "10.1.0.5"), allowed());
    let world = World::base().cni("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "10.1.0.0/16, all");
    assert_eq!(world.says(pod("10.0.1.31", "10.1.0.5")), unknown("other"));
    let world = World::base().cni("POD_SECURITY_GROUP_ENFORCING_MODE", "lax");
    assert_eq!(
        world.tcp("10.0.1.20", "10.0.1.90"),
        unknown("same-host-branch")
    );
    assert_eq!(world.says(pod("10.0.1.90", "10.1.0.5")), unknown("other"));
}

#[test]
fn an_empty_setting_of_the_cni_is_the_default() {
    let world = World::base().cni("AWS_VPC_K8S_CNI_EXTERNALSNAT", "");
    let rule = json!([network("10.0.1.31/32")]);
    assert_eq!(
        world.ingress(D, rule).says(pod("10.0.1.31", "10.1.0.5")),
        denied("sg-ingress", W1)
    );
}

#[test]
fn an_unknown_state_of_a_peering_is_no_deny() {
    let world = World::base().set(
        "describe-vpc-peering-connections",
        PCX,
        "Status",
        json!({"Code": "dreaming"}),
    );
    assert_eq!(world.tcp("10.0.1.20", "10.1.0.5"), unknown("other"));
}

#[test]
fn an_absent_setting_of_the_cni_is_noted_as_an_assumption() {
    let mut world = World::base();
    *world.variables() = json!([]);
    let (lines, _) = gaps(&world);
    assert!(
        lines.contains("aws-node: assumed `POD_SECURITY_GROUP_ENFORCING_MODE=strict`"),
        "{lines}"
    );
    assert!(
        lines.contains("aws-node: assumed `AWS_VPC_K8S_CNI_EXTERNALSNAT=false`"),
        "{lines}"
    );
}
