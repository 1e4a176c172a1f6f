//! From answers to a snapshot.
//!
//! Every quirk of an API is handled below this module. Decoding goes on past whatever it cannot read: the place goes
//! into the gaps, and the thing stays, marked, so that flows which depend on it are unknown. A rule, an entry or a
//! route is never dropped, since a dropped rule looks like a deny.

use std::collections::HashMap;

use serde_json::Value;
use thiserror::Error;

use super::{Consequence, Gap, GapKind, Snapshot};
use crate::describe::{Described, Fault, Node, REQUIRED};

mod cluster;
mod kubernetes;
mod link;
mod network_acl;
mod network_interface;
mod prefix_list;
mod protocol;
mod route_table;
mod rule_names;
mod security_group;
mod transit_gateway;
mod vpc;

/// A snapshot with what it does not say.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The world.
    pub snapshot: Snapshot,
    /// What is absent, unreadable or assumed, sorted by place.
    pub gaps: Vec<Gap>,
}

/// Answers that are no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// A file without which nothing can be said is absent.
    #[error("`{stem}` is missing, write it with `aws ec2 {stem} --output json`")]
    FileMissing {
        /// Stem of the file.
        stem: &'static str,
    },
    /// A file is not the answer that its name says.
    #[error("`{stem}` has no {wanted}, it is not the answer of that command")]
    WrongShape {
        /// Stem of the file.
        stem: String,
        /// What the answer should have on top.
        wanted: String,
    },
    /// A file is one page of several.
    #[error("`{stem}` is incomplete, it has a `{field}`: read the following pages, too")]
    Incomplete {
        /// Stem of the file.
        stem: String,
        /// The field that says so.
        field: &'static str,
    },
}

impl Snapshot {
    /// Decodes the answers of the APIs.
    ///
    /// The order of lists in the answers does not matter, except where rules are named by position. Unknown fields
    /// are ignored.
    ///
    /// # Errors
    /// [`DecodeError`] if a required file is absent, if a file is not the answer that its name says, or if a file is
    /// one page of several. Everything else is a [`Gap`].
    pub fn decode(described: &Described) -> Result<Decoded, DecodeError> {
        check(described)?;
        let mut decoder = Decoder {
            described,
            snapshot: Snapshot::default(),
            gaps: Vec::new(),
            groups_named: HashMap::new(),
        };
        decoder.note_files();
        decoder.vpcs();
        decoder.subnets();
        decoder.peerings();
        decoder.transit_gateways();
        decoder.prefix_lists();
        decoder.security_groups();
        decoder.instances();
        decoder.network_interfaces();
        decoder.network_acls();
        decoder.route_tables();
        decoder.cluster();
        decoder.kubernetes();
        decoder.link();
        let mut gaps = decoder.gaps;
        gaps.sort();
        gaps.dedup();
        Ok(Decoded {
            snapshot: decoder.snapshot,
            gaps,
        })
    }
}

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
const OPTIONAL: [(&str, Consequence); 12] = [
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
fn command(stem: &str) -> &str {
    stem.split_once('.').map_or(stem, |(command, _)| command)
}

fn check(described: &Described) -> Result<(), DecodeError> {
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

/// A thing of an answer with its id; several descriptions of it only when they differ.
struct Item<'a> {
    id: &'a str,
    descriptions: Vec<Node<'a>>,
}

impl<'a> Item<'a> {
    /// The description that counts, unless there are several.
    fn sole(&self) -> Option<&Node<'a>> {
        match self.descriptions.as_slice() {
            [one] => Some(one),
            [] | [_, _, ..] => None,
        }
    }
}

/// Takes answers apart, one kind after the other.
struct Decoder<'a> {
    described: &'a Described,
    snapshot: Snapshot,
    gaps: Vec<Gap>,
    /// Names of security group rules by what they say.
    groups_named: HashMap<rule_names::RuleKey, String>,
}

impl<'a> Decoder<'a> {
    fn note(&mut self, fault: Fault, consequence: Consequence) {
        self.gaps.push(fault.gap(consequence));
    }

    /// The value, or nothing and a gap.
    fn read<T>(&mut self, result: Result<T, Fault>, consequence: Consequence) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(fault) => {
                self.note(fault, consequence);
                None
            }
        }
    }

    /// A text that may be absent; an unreadable one is a gap without consequence.
    fn plain_text(&mut self, node: &Node<'a>, name: &str) -> Option<&'a str> {
        self.read(node.text(name), Consequence::None).flatten()
    }

    fn note_files(&mut self) {
        for (stem, consequence) in OPTIONAL {
            if self.described.family(stem).next().is_none() {
                self.gaps.push(Gap {
                    file: stem.to_owned(),
                    path: String::new(),
                    id: None,
                    kind: GapKind::FileAbsent,
                    consequence,
                });
            }
        }
        for (stem, answer) in self.described.iter() {
            let name = command(stem);
            let known = LISTS.iter().chain(&SINGLES).any(|shape| shape.stem == name)
                || KUBERNETES.contains(&name)
                || UNASKED.contains(&name);
            if !known {
                let kind = GapKind::UnknownWord {
                    found: name.to_owned(),
                };
                let fault = Node::file(stem, answer).fault(kind);
                self.gaps.push(fault.gap(Consequence::None));
            }
        }
    }

    /// The items of a list in all files of a stem; a list that is none was refused before.
    fn rows(&mut self, stem: &'a str, list: &str) -> Vec<Node<'a>> {
        let mut rows = Vec::new();
        for file in self.described.family(stem) {
            match file.list(list) {
                Ok(items) => rows.extend(items),
                Err(fault) => self.gaps.push(fault.gap(Consequence::None)),
            }
        }
        rows
    }

    /// The things of a list by id, sorted by id, equal descriptions merged; whether all of them have an id.
    fn things(
        &mut self,
        rows: Vec<Node<'a>>,
        id_field: &str,
        consequence: Consequence,
    ) -> (Vec<Item<'a>>, super::Completeness) {
        let mut completeness = super::Completeness::Complete;
        let mut found: std::collections::BTreeMap<&'a str, Vec<Node<'a>>> = Default::default();
        for row in rows {
            match row.required(id_field) {
                Ok(id) => {
                    let row = row.named(id);
                    let descriptions = found.entry(id).or_default();
                    if descriptions
                        .iter()
                        .all(|known| known.value() != row.value())
                    {
                        descriptions.push(row);
                    }
                }
                Err(fault) => {
                    completeness = super::Completeness::Incomplete;
                    self.note(fault, consequence);
                }
            }
        }
        let items: Vec<_> = found
            .into_iter()
            .map(|(id, descriptions)| Item { id, descriptions })
            .collect();
        for item in &items {
            if item.sole().is_none()
                && let Some(second) = item.descriptions.get(1)
            {
                self.gaps
                    .push(second.fault(GapKind::Conflict).gap(consequence));
            }
        }
        (items, completeness)
    }

    /// Value of a tag in `Tags` or `TagSet`.
    fn tag(&mut self, node: &Node<'a>, key: &str) -> Option<&'a str> {
        self.tags(node)
            .into_iter()
            .find_map(|(name, value)| (name == key).then_some(value))
    }

    /// Tags as key and value; unreadable ones are gaps without consequence.
    fn tags(&mut self, node: &Node<'a>) -> Vec<(&'a str, &'a str)> {
        let mut tags = Vec::new();
        for list in ["Tags", "TagSet"] {
            let items = self.read(node.list(list), Consequence::None);
            for tag in items.unwrap_or_default() {
                let key = self.plain_text(&tag, "Key");
                let value = self.plain_text(&tag, "Value");
                tags.extend(key.zip(value));
            }
        }
        tags
    }
}
