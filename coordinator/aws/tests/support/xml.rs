//! The JSON of the AWS CLI as the XML of EC2, and back-to-front names where EC2 has others than its CLI.

use serde_json::Value;

/// Writes one answer of `action`, such as `DescribeVpcs`.
pub fn answer(action: &str, fields: &Value) -> String {
    let mut text = format!("<{action}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">");
    text.push_str("<requestId>00000000-0000-0000-0000-000000000000</requestId>");
    write(action, fields, &mut text);
    text.push_str(&format!("</{action}Response>\n"));
    text
}

/// Writes an error of EC2.
pub fn error(code: &str, message: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code>\
         <Message>{message}</Message></Error></Errors><RequestID>0</RequestID></Response>"
    )
}

fn write(parent: &str, value: &Value, text: &mut String) {
    match value {
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) => text.push_str(&value.to_string()),
        Value::String(plain) => {
            text.push_str(
                &plain
                    .replace('&', "&amp;")
                    .replace('<', "&lt;")
                    .replace('>', "&gt;"),
            );
        }
        Value::Array(items) => {
            for item in items {
                text.push_str("<item>");
                write(parent, item, text);
                text.push_str("</item>");
            }
        }
        Value::Object(fields) => {
            for (key, field) in fields {
                let tag = tag(parent, key);
                text.push_str(&format!("<{tag}>"));
                write(key, field, text);
                text.push_str(&format!("</{tag}>"));
            }
        }
    }
}

/// The element for `key` of an object that lies under `parent`: the key with a small first letter, except where EC2
/// calls it otherwise [EC2M, `locationName`].
fn tag(parent: &str, key: &str) -> String {
    let name = match (parent, key) {
        ("DescribeSecurityGroups", "SecurityGroups") => "securityGroupInfo",
        ("SecurityGroups", "Description") => "groupDescription",
        (
            "DescribeStaleSecurityGroups"
            | "DescribeTransitGatewayVpcAttachments"
            | "DescribeTransitGatewayRouteTables",
            _,
        ) => {
            return small(key);
        }
        ("NetworkAcls", "IsDefault") => "default",
        ("Instances", "State") => "instanceState",
        (_, "UserIdGroupPairs") => "groups",
        (_, "Groups" | "SecurityGroups") => "groupSet",
        (_, "Ipv6Addresses") => "ipv6AddressesSet",
        (_, "PrivateIpAddresses") => "privateIpAddressesSet",
        (_, "Ipv4Prefixes") => "ipv4PrefixSet",
        (_, "Ipv6Prefixes") => "ipv6PrefixSet",
        (_, "Instances") => "instancesSet",
        (_, "Tags") => "tagSet",
        ("DescribeDhcpOptions", "DhcpOptions") => "dhcpOptionsSet",
        (
            "NetworkAcls" | "RouteTables",
            "Associations" | "Entries" | "Routes" | "PropagatingVgws",
        )
        | (_, "DhcpConfigurations" | "Values" | "NetworkInterfaces" | "SecurityGroupRules")
        | (
            _,
            "SecurityGroupVpcAssociations"
            | "NetworkAcls"
            | "RouteTables"
            | "Subnets"
            | "Vpcs"
            | "PrefixLists"
            | "Entries"
            | "VpcPeeringConnections"
            | "Reservations"
            | "TransitGateways"
            | "Routes",
        ) => return singular(key),
        _ => return small(key),
    };
    name.to_owned()
}

/// `RouteTables` is `routeTableSet`.
fn singular(key: &str) -> String {
    let stem = match key.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => key.strip_suffix('s').unwrap_or(key).to_owned(),
    };
    small(&format!("{stem}Set"))
}

fn small(key: &str) -> String {
    let mut letters = key.chars();
    letters
        .next()
        .map(|first| first.to_lowercase().chain(letters).collect())
        .unwrap_or_default()
}
