//! What one gate says.

use super::{Gate, UnknownReason};
use crate::id::{
    NetworkAclId, NetworkInterfaceId, RouteTableId, RuleId, SecurityGroupId, SubnetId,
};
use crate::net::PortRange;

/// One gate that the walk met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which filter.
    pub gate: Gate,
    /// Where it is.
    pub place: Place,
    /// What it says.
    pub outcome: StepOutcome,
    /// What decided, in words for people; text from the snapshot in it is raw.
    pub detail: String,
}

/// Where a gate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The flow as a whole.
    Flow,
    /// A network interface, with its groups where they are what is asked.
    NetworkInterface {
        /// The interface.
        interface: NetworkInterfaceId,
        /// Its groups, sorted.
        groups: Vec<SecurityGroupId>,
    },
    /// A network ACL on a subnet's edge.
    NetworkAcl {
        /// The subnet.
        subnet: SubnetId,
        /// Its list; absent where the snapshot has none for it.
        acl: Option<NetworkAclId>,
    },
    /// A subnet's route table.
    RouteTable {
        /// The subnet.
        subnet: SubnetId,
        /// Its table; absent where the snapshot has none for it, or no table is asked.
        table: Option<RouteTableId>,
    },
}

/// What one gate says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StepOutcome {
    /// The gate lets the flow pass.
    Pass {
        /// Rule that says so, where it is a security group's.
        rule: Option<RuleId>,
    },
    /// The gate drops the flow.
    Drop,
    /// The gate lets only some source ports pass.
    Partly {
        /// Those that pass every reply list: sorted, disjoint, not adjacent.
        open_ports: Vec<PortRange>,
    },
    /// The gate cannot be judged.
    Unknown(UnknownReason),
    /// The gate is not met.
    Skipped,
}

impl StepOutcome {
    /// Returns the word of the JSON form.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pass { .. } => "pass",
            Self::Drop => "drop",
            Self::Partly { .. } => "partly",
            Self::Unknown(_) => "unknown",
            Self::Skipped => "skipped",
        }
    }
}
