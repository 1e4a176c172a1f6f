//! VPCs, subnets, peerings and transit gateways.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Match;

use crate::id::{
    AttachmentId, PeeringId, SubnetId, TransitGatewayId, TransitGatewayRouteTableId, VpcId,
    ZoneName,
};

/// A VPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vpc {
    /// Its id.
    pub id: VpcId,
    /// Its `Name` tag.
    pub name: Option<String>,
    /// The primary IPv4 network: its resolver is at the base plus two (A.5).
    pub primary: Option<IpNet>,
    /// All associated networks, both families; of contradicting views those on which they agree.
    pub networks: Vec<IpNet>,
    /// Whether all networks are known.
    pub completeness: Completeness,
    /// Whether all who describe it say the same.
    pub views: Views,
    /// What contradicting views say is the primary network.
    pub disputed_primaries: Vec<IpNet>,
}

/// Whether all descriptions of a thing say the same (K.1 "Two views of one thing").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Views {
    /// They do, or there is one.
    #[default]
    Agree,
    /// They contradict each other.
    Contradict,
}

impl Vpc {
    /// Returns whether an address lies in one of the VPC's networks.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }
}

/// Whether a list is known to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Completeness {
    /// It is.
    #[default]
    Complete,
    /// Something in it could not be read, or it is not in the snapshot.
    Incomplete,
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// Its id.
    pub id: SubnetId,
    /// VPC in which it is.
    pub vpc: Option<VpcId>,
    /// Its `Name` tag.
    pub name: Option<String>,
    /// Its networks, both families.
    pub networks: Vec<IpNet>,
    /// Its availability zone, as its account names it.
    pub zone: Option<ZoneName>,
    /// Its availability zone, as all accounts name it (`AvailabilityZoneId`).
    pub zone_id: Option<ZoneName>,
}

impl Subnet {
    /// Returns whether two subnets are in one availability zone: by id where both have one, else by name (K.1 "Route table
    /// associations").
    #[must_use]
    pub fn shares_zone(&self, other: &Self) -> Match {
        let named = |one: &Option<ZoneName>, other: &Option<ZoneName>| {
            let both = one.as_ref().zip(other.as_ref());
            both.map(|(one, other)| Match::from(one == other))
        };
        named(&self.zone_id, &other.zone_id)
            .or_else(|| named(&self.zone, &other.zone))
            .unwrap_or(Match::Unsure)
    }
}

/// A VPC peering connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peering {
    /// Its id.
    pub id: PeeringId,
    /// State word of the API; only `active` carries traffic. Empty where absent.
    pub status: String,
    /// The VPC that asked.
    pub requester: PeeringSide,
    /// The VPC that accepted.
    pub accepter: PeeringSide,
}

impl Peering {
    /// Returns whether the peering carries traffic.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == "active"
    }

    /// Returns the other side, seen from a VPC; none if the VPC is not part of the peering.
    #[must_use]
    pub fn far_side(&self, vpc: &VpcId) -> Option<&PeeringSide> {
        if self.requester.vpc.as_ref() == Some(vpc) {
            Some(&self.accepter)
        } else if self.accepter.vpc.as_ref() == Some(vpc) {
            Some(&self.requester)
        } else {
            None
        }
    }
}

/// One side of a peering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeeringSide {
    /// The VPC.
    pub vpc: Option<VpcId>,
    /// Its Region.
    pub region: Option<String>,
    /// Its networks as the peering shows them, only of an active one.
    pub networks: Vec<IpNet>,
}

/// A transit gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitGateway {
    /// Its id.
    pub id: TransitGatewayId,
    /// Whether references to groups may cross it (A.3).
    pub references: ReferenceSupport,
    /// Whether new attachments use and fill the default table.
    pub default_tables: DefaultTables,
    /// Default table for associations, where the answer names it.
    pub default_association: Option<TransitGatewayRouteTableId>,
}

/// Whether references to groups cross a transit gateway or an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferenceSupport {
    /// Not switched off.
    Enabled,
    /// `SecurityGroupReferencingSupport` is `disable`.
    Disabled,
}

/// Whether all attachments of a transit gateway reach each other by default (K).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultTables {
    /// Default association and propagation are both on.
    Both,
    /// At least one is off or not said.
    NotBoth,
}

/// Attachment of a VPC to a transit gateway that is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VpcAttachment {
    /// Its id.
    pub id: AttachmentId,
    /// The transit gateway.
    pub gateway: TransitGatewayId,
    /// The VPC.
    pub vpc: VpcId,
    /// One subnet for each zone that it serves.
    pub subnets: Vec<SubnetId>,
    /// Whether references to groups may cross it.
    pub references: ReferenceSupport,
    /// Route table that is associated with it, where the answer says so.
    pub table: Option<TransitGatewayRouteTableId>,
}

/// A route table of a transit gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitGatewayRouteTable {
    /// Its id.
    pub id: TransitGatewayRouteTableId,
    /// The transit gateway.
    pub gateway: Option<TransitGatewayId>,
    /// Whether attachments without an association of their own use it.
    pub role: TableRole,
    /// Attachments that it names as associated.
    pub attachments: Vec<AttachmentId>,
    /// Its routes; absent where they could not be read to the end.
    pub routes: Option<Vec<TransitGatewayRoute>>,
}

/// Role of a transit gateway's route table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableRole {
    /// The default for associations.
    Default,
    /// One of the others.
    Ordinary,
}

/// A route of a transit gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitGatewayRoute {
    /// Addresses for which it is.
    pub destination: IpNet,
    /// Whether it can be used.
    pub state: super::route_table::RouteState,
    /// Whether somebody wrote it or an attachment propagated it; the former wins ties.
    pub origin: super::route_table::RouteOrigin,
    /// Attachments to which it leads.
    pub attachments: Vec<AttachmentId>,
    /// What kind of attachments those are.
    pub leads: RouteLead,
}

/// What kind of attachment a route of a transit gateway leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteLead {
    /// A VPC, or anything else that hands packets on.
    Attachment,
    /// A network function, which may drop them (K.1 "Newer routes").
    NetworkFunction,
}
