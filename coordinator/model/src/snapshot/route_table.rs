//! Route tables (C).

use std::fmt;

use ipnet::IpNet;

use crate::id::{PeeringId, PrefixListId, RouteTableId, SubnetId, TransitGatewayId, VpcId};

/// A route table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTable {
    /// Its id.
    pub id: RouteTableId,
    /// VPC in which it is.
    pub vpc: Option<VpcId>,
    /// Subnets that name it; the main table of a VPC also holds for those that name none.
    pub subnets: Vec<SubnetId>,
    /// Routes in the order of the answer, which means nothing.
    pub routes: Vec<Route>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Addresses for which it is.
    pub destination: RouteDestination,
    /// Where it leads.
    pub target: RouteTarget,
    /// Whether it can be used.
    pub state: RouteState,
    /// Where it comes from: decides ties of equal prefixes (K.1 "Path from a route").
    pub origin: RouteOrigin,
}

/// Addresses for which a route is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteDestination {
    /// A network.
    Network(IpNet),
    /// The networks of a managed prefix list.
    PrefixList(PrefixListId),
    /// Nobody can tell: the route may cover any address.
    Unread,
    /// Two descriptions of the table contradict each other: as unread.
    Conflict,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteTarget {
    /// The VPC itself.
    Local,
    /// An interface, an instance or a gateway load balancer endpoint, by its id.
    Middlebox(String),
    /// A VPC peering connection.
    Peering(PeeringId),
    /// A transit gateway.
    TransitGateway(TransitGatewayId),
    /// A NAT gateway, by its id.
    Nat(String),
    /// An internet gateway or an egress-only internet gateway, by its id.
    InternetGateway(String),
    /// A virtual private gateway, by its id.
    VpnGateway(String),
    /// A gateway endpoint of an AWS service, by its id.
    GatewayEndpoint(String),
    /// A target that the model does not follow, by its id.
    Other(String),
    /// A target of which the model does not know what it does to a packet, by its id: a Cloud WAN, a route server's next
    /// hop, an internet gateway with a firewall (K.1 "Newer routes"). Absence of knowledge, so it denies nothing.
    Unfollowed(String),
    /// Nobody can tell.
    Unread,
}

impl RouteTarget {
    /// Returns what people call the target: its id, or `local`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Local => "local",
            Self::Peering(id) => id.as_str(),
            Self::TransitGateway(id) => id.as_str(),
            Self::Middlebox(id)
            | Self::Nat(id)
            | Self::InternetGateway(id)
            | Self::VpnGateway(id)
            | Self::GatewayEndpoint(id)
            | Self::Unfollowed(id)
            | Self::Other(id) => id,
            Self::Unread => "?",
        }
    }
}

/// Whether a route can be used (C.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteState {
    /// It can.
    Active,
    /// Its target is gone.
    Blackhole,
    /// It is filtered.
    Filtered,
    /// The word is not known.
    Unread,
}

impl fmt::Display for RouteState {
    /// Writes the word of the API; `?` stands for one that is not known.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Active => "active",
            Self::Blackhole => "blackhole",
            Self::Filtered => "filtered",
            Self::Unread => "?",
        })
    }
}

/// Where a route comes from, the stronger one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteOrigin {
    /// Somebody wrote it, or it came with the table.
    Static,
    /// Somebody wrote it, for a prefix list.
    PrefixList,
    /// A gateway or a route server propagated it.
    Propagated,
}
