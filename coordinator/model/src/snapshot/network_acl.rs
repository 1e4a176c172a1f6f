//! Network ACLs (B).

use std::fmt;

use ipnet::IpNet;

use super::security_group::Direction;
use super::traffic::{Readable, Traffic};
use crate::id::{NetworkAclId, SubnetId, VpcId};

/// Number of the final entry for IPv4, which denies \[VPC-NACL\].
pub const FINAL_RULE_NUMBER_V4: u32 = 32_767;
/// Number of the final entry for IPv6, which denies \[VPC-NACL\].
pub const FINAL_RULE_NUMBER_V6: u32 = 32_768;

/// A network ACL: two ordered lists at the edge of its subnets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkAcl {
    /// Its id.
    pub id: NetworkAclId,
    /// VPC in which it is.
    pub vpc: Option<VpcId>,
    /// Subnets that name it; the default list of a VPC also holds for those that name none.
    pub subnets: Vec<SubnetId>,
    /// Entries for packets that enter the subnet, by number.
    pub ingress: Vec<NetworkAclEntry>,
    /// Entries for packets that leave the subnet, by number.
    pub egress: Vec<NetworkAclEntry>,
}

impl NetworkAcl {
    /// Returns the entries of one direction, lowest number first.
    #[must_use]
    pub fn entries(&self, direction: Direction) -> &[NetworkAclEntry] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// An entry of a list: the first one that matches decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkAclEntry {
    /// Place in the list; an unread one may be anywhere and is sorted first.
    pub rule_number: Option<u32>,
    /// What it does.
    pub action: Readable<AclAction>,
    /// The other side: source of what enters, destination of what leaves (B.5).
    pub remote: Readable<IpNet>,
    /// Protocols and destination ports.
    pub traffic: Traffic,
}

/// What an entry does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AclAction {
    /// Lets the packet pass.
    Allow,
    /// Drops the packet.
    Deny,
}

impl fmt::Display for AclAction {
    /// Writes the word of the API.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}
