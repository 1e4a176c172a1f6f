//! Which files a snapshot has, and what is on top of each (DESIGN 5).

use serde_json::Value;

use super::DecodeError;
use crate::describe::{Described, REQUIRED};
use crate::snapshot::Consequence;

/// Where the items of an answer are.
struct Shape {
    stem: &'static str,
    list: &'static str,
}

/// Files that hold a list, with the name of the list.
const LISTS: [Shape; 17] = [
    Shape {
        stem: "describe-vpcs",
        list: "Vpcs",
    },
    Shape {
        stem: "describe-subnets",
        list: "Subnets",
    },
    Shape {
        stem: "describe-network-interfaces",
        list: "NetworkInterfaces",
    },
    Shape {
        stem: "describe-security-groups",
        list: "SecurityGroups",
    },
    Shape {
        stem: "describe-route-tables",
        list: "RouteTables",
    },
    Shape {
        stem: "describe-network-acls",
        list: "NetworkAcls",
    },
    Shape {
        stem: "describe-instances",
        list: "Reservations",
    },
    Shape {
        stem: "describe-security-group-rules",
        list: "SecurityGroupRules",
    },
    Shape {
        stem: "describe-stale-security-groups",
        list: "StaleSecurityGroupSet",
    },
    Shape {
        stem: "describe-security-group-vpc-associations",
        list: "SecurityGroupVpcAssociations",
    },
    Shape {
        stem: "describe-vpc-peering-connections",
        list: "VpcPeeringConnections",
    },
    Shape {
        stem: "describe-managed-prefix-lists",
        list: "PrefixLists",
    },
    Shape {
        stem: "get-managed-prefix-list-entries",
        list: "Entries",
    },
    Shape {
        stem: "describe-transit-gateways",
        list: "TransitGateways",
    },
    Shape {
        stem: "describe-transit-gateway-vpc-attachments",
        list: "TransitGatewayVpcAttachments",
    },
    Shape {
        stem: "describe-transit-gateway-route-tables",
        list: "TransitGatewayRouteTables",
    },
    Shape {
        stem: "search-transit-gateway-routes",
        list: "Routes",
    },
];

/// Files that hold one thing, with its name.
const SINGLES: [Shape; 3] = [
    Shape {
        stem: "describe-cluster",
        list: "cluster",
    },
    Shape {
        stem: "describe-nodegroup",
        list: "nodegroup",
    },
    Shape {
        stem: "describe-fargate-profile",
        list: "fargateProfile",
    },
];

/// Files of Kubernetes objects.
const KUBERNETES: [&str; 12] = [
    "nodes",
    "pods",
    "services",
    "endpointslices",
    "aws-node",
    "networkpolicies",
    "securitygrouppolicies",
    "eniconfigs",
    "cninodes",
    "validatingwebhookconfigurations",
    "mutatingwebhookconfigurations",
    "apiservices",
];

/// Files that DESIGN section 5 names and the model does not ask.
const UNASKED: [&str; 2] = ["describe-dhcp-options", "describe-vpc-attribute"];

/// Optional files that the model asks, with what follows when they are absent.
pub(super) const OPTIONAL: [(&str, Consequence); 12] = [
    ("describe-instances", Consequence::HostsFromAttachments),
    (
        "describe-security-group-rules",
        Consequence::RulesNamedByPosition,
    ),
    ("describe-stale-security-groups", Consequence::StaleUnknown),
    (
        "describe-vpc-peering-connections",
        Consequence::PeeringUnknown,
    ),
    (
        "describe-transit-gateways",
        Consequence::TransitGatewayUnknown,
    ),
    (
        "describe-transit-gateway-vpc-attachments",
        Consequence::TransitGatewayUnknown,
    ),
    ("describe-cluster", Consequence::NoCluster),
    ("aws-node", Consequence::CniAssumed),
    ("nodes", Consequence::NoKubernetes),
    ("pods", Consequence::NoKubernetes),
    ("endpointslices", Consequence::NoKubernetes),
    ("networkpolicies", Consequence::NoKubernetes),
];

/// Stem of a file without its id.
pub(super) fn command(stem: &str) -> &str {
    stem.split_once('.').map_or(stem, |(command, _)| command)
}

/// Whether DESIGN section 5 names the file.
pub(super) fn is_known(name: &str) -> bool {
    LISTS.iter().chain(&SINGLES).any(|shape| shape.stem == name)
        || KUBERNETES.contains(&name)
        || UNASKED.contains(&name)
}

/// Refuses what is no snapshot: a required file absent, an answer of another command, one page of several.
pub(super) fn check(described: &Described) -> Result<(), DecodeError> {
    for stem in REQUIRED {
        if described.family(stem).next().is_none() {
            return Err(DecodeError::FileMissing { stem });
        }
    }
    for (stem, answer) in described.iter() {
        check_pages(stem, answer)?;
        check_shape(stem, answer)?;
    }
    Ok(())
}

fn check_pages(stem: &str, answer: &Value) -> Result<(), DecodeError> {
    let says_more = |value: Option<&Value>| match value {
        None | Some(Value::Null) => false,
        Some(Value::String(token)) => !token.is_empty(),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => true,
    };
    for field in ["NextToken", "nextToken"] {
        if says_more(answer.get(field)) {
            let stem = stem.to_owned();
            return Err(DecodeError::Incomplete { stem, field });
        }
    }
    if says_more(answer.pointer("/metadata/continue")) {
        return Err(DecodeError::Incomplete {
            stem: stem.to_owned(),
            field: "metadata.continue",
        });
    }
    Ok(())
}

fn check_shape(stem: &str, answer: &Value) -> Result<(), DecodeError> {
    let name = command(stem);
    let list = LISTS.iter().find(|shape| shape.stem == name);
    let single = SINGLES.iter().find(|shape| shape.stem == name);
    let (fits, wanted) = match (list, single) {
        (Some(shape), _) => (
            answer.get(shape.list).is_some_and(Value::is_array),
            format!("list `{}`", shape.list),
        ),
        (None, Some(shape)) => (
            answer.get(shape.list).is_some_and(Value::is_object),
            format!("object `{}`", shape.list),
        ),
        (None, None) if KUBERNETES.contains(&name) => (
            answer.get("items").is_some_and(Value::is_array)
                || answer.get("metadata").is_some_and(Value::is_object)
                    && answer.get("items").is_none(),
            "list `items`".to_owned(),
        ),
        (None, None) => (true, String::new()),
    };
    if fits {
        return Ok(());
    }
    Err(DecodeError::WrongShape {
        stem: stem.to_owned(),
        wanted,
    })
}
