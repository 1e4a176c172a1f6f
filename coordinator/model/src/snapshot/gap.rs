//! What the snapshot does not say, and what follows.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::net::Printable;
use crate::words::read;

pub use fold::{FoldedGap, folded};

mod fold;

/// Something that is absent, unreadable or assumed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Gap {
    /// Stem of the file, as in ARCHITECTURE, "Snapshot".
    pub file: String,
    /// Place in the file, like `SecurityGroups[3].IpPermissions[0].FromPort`; empty for the file as a whole.
    pub path: String,
    /// Id of the thing that it belongs to, where it has one.
    pub id: Option<String>,
    /// What is wrong.
    pub kind: GapKind,
    /// What follows for predictions.
    pub consequence: Consequence,
}

/// What is wrong with a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum GapKind {
    /// The file is not in the snapshot.
    FileAbsent,
    /// The field is not there.
    Missing,
    /// The value is not of the kind that the API has there.
    Malformed {
        /// What the field should hold.
        wanted: &'static str,
        /// The value as JSON, shortened.
        found: String,
    },
    /// The word is not one that the model knows.
    UnknownWord {
        /// The word.
        found: String,
    },
    /// The id names nothing in the snapshot.
    Dangling {
        /// The id.
        id: String,
    },
    /// Nothing that could be read holds for it: neither one list of its own nor a default one.
    NoneHolds,
    /// Two descriptions under one id contradict each other.
    Conflict,
    /// Two descriptions under one id contradict each other in a field.
    Differs(Box<FieldDifference>),
    /// Two things claim the same addresses.
    Overlap {
        /// The other thing.
        with: String,
    },
    /// The API server answered with an error instead of objects.
    Refused {
        /// What it said.
        message: String,
    },
    /// The answer says that there is more.
    Truncated,
    /// A default stands in for what is not said.
    Assumed {
        /// The default.
        value: String,
    },
    /// What a report tells of it: its words are all that was kept.
    Told {
        /// The words.
        text: String,
    },
}

/// A field in which two descriptions of one thing contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldDifference {
    /// Path to the field.
    pub field: String,
    /// What one description has there, shortened.
    pub one: String,
    /// What the other has.
    pub other: String,
}

/// What follows from a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consequence {
    /// Nothing that the model asks.
    None,
    /// Flows that only the rule could admit are unknown.
    RuleUnresolved,
    /// Flows of the interface are unknown.
    InterfaceUnknown,
    /// References to groups may miss members: what they do not match is unknown.
    MembersUnknown,
    /// Flows that reach the entry are unknown.
    EntryUnknown,
    /// Flows that the route could carry are unknown.
    RouteUnknown,
    /// Flows of the group's interfaces are unknown unless another rule admits them.
    GroupUnknown,
    /// Flows over the peering are unknown.
    PeeringUnknown,
    /// Flows over the transit gateway are unknown.
    TransitGatewayUnknown,
    /// Flows that depend on the VPC's networks are unknown.
    VpcUnknown,
    /// Flows that leave the subnet are unknown.
    SubnetUnknown,
    /// Rules and routes with the list are unknown where the list decides.
    PrefixListUnknown,
    /// Addresses with several owners are unknown.
    AddressAmbiguous,
    /// Rules are named by group and position.
    RulesNamedByPosition,
    /// Stale references count as fresh.
    StaleUnknown,
    /// Interfaces are those that instances list; others may have any address and any group.
    InterfacesFromInstances,
    /// Hosts are known from attachments alone.
    HostsFromAttachments,
    /// There is no cluster: no control plane, and all VPCs are equal.
    NoCluster,
    /// Defaults of the VPC CNI are assumed.
    CniAssumed,
    /// Flows for which a setting of the VPC CNI decides are unknown.
    CniUnread,
    /// Nodes and pods have no names, and network policies select nobody.
    NoKubernetes,
    /// The policy counts as selecting every pod of its namespace.
    PolicySelectsAll,
    /// The object may own any address of its node that could be a pod's and that no other pod claims.
    AddressUnread,
}

impl Consequence {
    /// Every consequence.
    const ALL: [Self; 23] = [
        Self::None,
        Self::RuleUnresolved,
        Self::InterfaceUnknown,
        Self::MembersUnknown,
        Self::EntryUnknown,
        Self::RouteUnknown,
        Self::GroupUnknown,
        Self::PeeringUnknown,
        Self::TransitGatewayUnknown,
        Self::VpcUnknown,
        Self::SubnetUnknown,
        Self::PrefixListUnknown,
        Self::AddressAmbiguous,
        Self::RulesNamedByPosition,
        Self::StaleUnknown,
        Self::InterfacesFromInstances,
        Self::HostsFromAttachments,
        Self::NoCluster,
        Self::CniAssumed,
        Self::CniUnread,
        Self::NoKubernetes,
        Self::PolicySelectsAll,
        Self::AddressUnread,
    ];

    /// Returns the words for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "no prediction depends on it",
            Self::RuleUnresolved => "flows that only this rule could admit are unknown",
            Self::InterfaceUnknown => "flows of this interface are unknown",
            Self::MembersUnknown => "flows that only a group reference could admit are unknown",
            Self::EntryUnknown => "flows that reach this entry are unknown",
            Self::RouteUnknown => "flows that this route could carry are unknown",
            Self::GroupUnknown => {
                "flows of the group's interfaces are unknown unless another group admits them"
            }
            Self::PeeringUnknown => "flows over the peering are unknown",
            Self::TransitGatewayUnknown => "flows over the transit gateway are unknown",
            Self::VpcUnknown => "flows that depend on the networks of the VPC are unknown",
            Self::SubnetUnknown => "flows that leave the subnet are unknown",
            Self::PrefixListUnknown => "flows for which the prefix list decides are unknown",
            Self::AddressAmbiguous => "flows of an address with several owners are unknown",
            Self::RulesNamedByPosition => "rules are named by group and position",
            Self::StaleUnknown => {
                "references count as fresh unless the rule or the peering says otherwise"
            }
            Self::InterfacesFromInstances => {
                "interfaces are those that instances list: flows of control plane, Fargate and load balancers are unknown"
            }
            Self::HostsFromAttachments => "hosts are known from attachments alone",
            Self::NoCluster => "no control-plane interfaces are known, and all VPCs are equal",
            Self::CniAssumed => "defaults of the VPC CNI are assumed",
            Self::CniUnread => "flows for which a setting of the VPC CNI decides are unknown",
            Self::NoKubernetes => "Kubernetes objects of this kind count as absent",
            Self::AddressUnread => {
                "it may own any address of its node that could be a pod's and that no pod claims"
            }
            Self::PolicySelectsAll => "the policy counts as selecting every pod of its namespace",
        }
    }
}

impl<'de> Deserialize<'de> for Consequence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(&Self::ALL, |it| it.as_str(), deserializer)
    }
}

impl<'de> Deserialize<'de> for GapKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::Told { text })
    }
}

impl Serialize for Consequence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for GapKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for GapKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileAbsent => formatter.write_str("file is absent"),
            Self::Missing => formatter.write_str("field is missing"),
            Self::Malformed { wanted, found } => {
                write!(formatter, "expected {wanted}, found `{}`", Printable(found))
            }
            Self::UnknownWord { found } => write!(formatter, "unknown word `{}`", Printable(found)),
            Self::Dangling { id } => {
                write!(formatter, "`{}` is not in the snapshot", Printable(id))
            }
            Self::NoneHolds => {
                formatter.write_str("neither one list of its own nor one default list holds")
            }
            Self::Conflict => formatter.write_str("two descriptions contradict each other"),
            Self::Differs(difference) => write!(
                formatter,
                "two descriptions contradict each other: `{}` is `{}` in one and `{}` in the other",
                Printable(&difference.field),
                Printable(&difference.one),
                Printable(&difference.other)
            ),
            Self::Overlap { with } => write!(formatter, "overlaps `{}`", Printable(with)),
            Self::Refused { message } => {
                write!(
                    formatter,
                    "the API server answered with an error, `{}`",
                    Printable(message)
                )
            }
            Self::Truncated => formatter.write_str("the answer says that there is more"),
            Self::Assumed { value } => write!(formatter, "assumed `{}`", Printable(value)),
            Self::Told { text } => write!(formatter, "{}", Printable(text)),
        }
    }
}

impl fmt::Display for Gap {
    /// Writes one line: place, problem and consequence.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", Printable(&self.file))?;
        if !self.path.is_empty() {
            write!(formatter, ": {}", Printable(&self.path))?;
        }
        if let Some(id) = &self.id {
            write!(formatter, " of `{}`", Printable(id))?;
        }
        write!(formatter, ": {}; {}", self.kind, self.consequence.as_str())
    }
}
