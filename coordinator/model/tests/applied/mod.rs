//! Changes of a proposal, applied to the answers of the APIs as the commands of the AWS CLI would.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "every target uses its own part, and a test fails by panicking"
)]

use ipnet::IpNet;
use reachproof_model::repair::{Change, NewEntry, NewPeer, NewRoute, NewRule, NewTarget};
use reachproof_model::snapshot::{Direction, IcmpRange, Readable, Traffic};
use serde_json::{Map, Value, json};

/// Applies one change.
pub(crate) fn apply(files: &mut Map<String, Value>, change: &Change) {
    match change {
        Change::Rule(rule) => rule_of(files, rule),
        Change::Entry(entry) => entry_of(files, entry),
        Change::Route(route) => route_of(files, route),
    }
}

/// The thing with an id in the list of an answer.
fn thing<'v>(
    files: &'v mut Map<String, Value>,
    (stem, list): (&str, &str),
    (field, id): (&str, &str),
) -> &'v mut Value {
    let items = files[stem][list].as_array_mut().unwrap();
    let mut found = items.iter_mut().filter(|item| item[field] == id);
    found.next().unwrap_or_else(|| panic!("{stem} has no {id}"))
}

/// Protocol word and number, first and last port or ICMP type and code.
fn words(traffic: &Traffic) -> (String, String, Option<(i64, i64)>) {
    let ports = |range: &Readable<reachproof_model::net::PortRange>| match range {
        Readable::Is(range) => Some((i64::from(range.first()), i64::from(range.last()))),
        Readable::Unread => panic!("a proposal is readable"),
    };
    let icmp = |range: &Readable<IcmpRange>| match range {
        Readable::Is(range) => Some((
            range.kind.map_or(-1, i64::from),
            range.code.map_or(-1, i64::from),
        )),
        Readable::Unread => panic!("a proposal is readable"),
    };
    match traffic {
        Traffic::Tcp(range) => ("tcp".to_owned(), "6".to_owned(), ports(range)),
        Traffic::Udp(range) => ("udp".to_owned(), "17".to_owned(), ports(range)),
        Traffic::Icmp(range) => ("icmp".to_owned(), "1".to_owned(), icmp(range)),
        Traffic::IcmpV6(range) => ("icmpv6".to_owned(), "58".to_owned(), icmp(range)),
        Traffic::Protocol(number) => (number.to_string(), number.to_string(), None),
        Traffic::All | Traffic::Unread => panic!("a proposal names its protocol"),
    }
}

fn rule_of(files: &mut Map<String, Value>, rule: &NewRule) {
    let (word, _, ports) = words(&rule.traffic);
    let mut permission = json!({ "IpProtocol": word });
    if let Some((first, last)) = ports {
        permission["FromPort"] = json!(first);
        permission["ToPort"] = json!(last);
    }
    match &rule.peer {
        NewPeer::Group(group, account) => {
            let own = thing(
                files,
                ("describe-security-groups", "SecurityGroups"),
                ("GroupId", rule.group.as_str()),
            );
            let account = account
                .as_ref()
                .map_or(own["OwnerId"].clone(), |id| json!(id));
            permission["UserIdGroupPairs"] = json!([{"GroupId": group, "UserId": account}]);
        }
        NewPeer::Network(network @ IpNet::V4(_)) => {
            permission["IpRanges"] = json!([{ "CidrIp": network }]);
        }
        NewPeer::Network(network @ IpNet::V6(_)) => {
            permission["Ipv6Ranges"] = json!([{ "CidrIpv6": network }]);
        }
    }
    let list = match rule.direction {
        Direction::Ingress => "IpPermissions",
        Direction::Egress => "IpPermissionsEgress",
    };
    let group = thing(
        files,
        ("describe-security-groups", "SecurityGroups"),
        ("GroupId", rule.group.as_str()),
    );
    match group[list].as_array_mut() {
        Some(rules) => rules.push(permission),
        None => group[list] = json!([permission]),
    }
}

fn entry_of(files: &mut Map<String, Value>, entry: &NewEntry) {
    let (_, number, ports) = words(&entry.traffic);
    let mut made = json!({
        "Egress": entry.direction == Direction::Egress, "Protocol": number,
        "RuleAction": "allow", "RuleNumber": entry.rule_number,
    });
    match (&entry.traffic, ports) {
        (Traffic::Icmp(_) | Traffic::IcmpV6(_), Some((kind, code))) => {
            made["IcmpTypeCode"] = json!({"Type": kind, "Code": code});
        }
        (_, Some((first, last))) => made["PortRange"] = json!({"From": first, "To": last}),
        (_, None) => {}
    }
    match entry.network {
        IpNet::V4(_) => made["CidrBlock"] = json!(entry.network),
        IpNet::V6(_) => made["Ipv6CidrBlock"] = json!(entry.network),
    }
    let acl = thing(
        files,
        ("describe-network-acls", "NetworkAcls"),
        ("NetworkAclId", entry.acl.as_str()),
    );
    let entries = acl["Entries"].as_array_mut().unwrap();
    let is_taken = |other: &Value| {
        other["RuleNumber"] == made["RuleNumber"] && other["Egress"] == made["Egress"]
    };
    assert!(
        !entries.iter().any(is_taken),
        "{entry:?} has the number of another"
    );
    entries.push(made);
}

fn route_of(files: &mut Map<String, Value>, route: &NewRoute) {
    let (key, target) = match &route.target {
        NewTarget::Peering(id) => ("VpcPeeringConnectionId", id.as_str()),
        NewTarget::TransitGateway(id) => ("TransitGatewayId", id.as_str()),
    };
    let field = match route.destination {
        IpNet::V4(_) => "DestinationCidrBlock",
        IpNet::V6(_) => "DestinationIpv6CidrBlock",
    };
    let mut made = json!({"State": "active", "Origin": "CreateRoute"});
    made[key] = json!(target);
    made[field] = json!(route.destination);
    let table = thing(
        files,
        ("describe-route-tables", "RouteTables"),
        ("RouteTableId", route.table.as_str()),
    );
    let routes = table["Routes"].as_array_mut().unwrap();
    routes.retain(|other| {
        other[field] != made[field] || other["Origin"] == "EnableVgwRoutePropagation"
    });
    routes.push(made);
}
