//! VPCs, subnets and peerings.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{Decoder, Item};
use crate::describe::Node;
use crate::id::{PeeringId, SubnetId, VpcId, ZoneName};
use crate::net::{network_v4, network_v6};
use crate::snapshot::{
    Completeness, Consequence, GapKind, Key, Peering, PeeringSide, Subnet, SubnetEntry, Views, Vpc,
};

/// States of a peering [EC2M VpcPeeringConnectionStateReasonCode].
const PEERING_STATES: [&str; 9] = [
    "initiating-request",
    "pending-acceptance",
    "provisioning",
    "active",
    "deleting",
    "deleted",
    "rejected",
    "failed",
    "expired",
];

/// States of an associated network in which it carries no traffic [EC2M VpcCidrBlockState, SubnetCidrBlockState].
const UNASSOCIATED: [&str; 4] = ["disassociating", "disassociated", "failing", "failed"];

impl<'a> Decoder<'a> {
    pub(super) fn vpcs(&mut self) {
        let rows = self.rows("describe-vpcs", "Vpcs");
        let (items, _) = self.things(rows, "VpcId", Consequence::VpcUnknown);
        for item in items {
            let vpc = self.vpc(&item);
            let id = vpc.id.clone();
            let key = self.snapshot.vpcs.push(vpc);
            self.snapshot.vpc_keys.insert(id, key);
        }
        self.note_overlapping_vpcs();
    }

    fn vpc(&mut self, item: &Item<'a>) -> Vpc {
        let mut vpc = Vpc {
            id: VpcId::from(item.id),
            name: None,
            primary: None,
            networks: Vec::new(),
            completeness: Completeness::Complete,
            views: Views::Agree,
            disputed_primaries: Vec::new(),
        };
        let mut of_views: Vec<Vec<IpNet>> = Vec::new();
        let mut primaries = BTreeSet::new();
        for node in &item.descriptions {
            vpc.name = self.tag(node, "Name").map(str::to_owned);
            vpc.primary = self.vpc_network(node, "CidrBlock", &mut vpc);
            self.vpc_associations(node, &mut vpc);
            primaries.insert(vpc.primary);
            of_views.push(std::mem::take(&mut vpc.networks));
        }
        vpc.networks = agreed(of_views);
        if item.sole().is_none() {
            vpc.views = Views::Contradict;
            vpc.completeness = Completeness::Incomplete;
        }
        if primaries.len() > 1 {
            vpc.primary = None;
            vpc.disputed_primaries = primaries.into_iter().flatten().collect();
        }
        if vpc.networks.is_empty() {
            vpc.completeness = Completeness::Incomplete;
        }
        vpc.networks.sort();
        vpc.networks.dedup();
        vpc
    }

    fn vpc_network(&mut self, node: &Node<'a>, name: &str, vpc: &mut Vpc) -> Option<IpNet> {
        let parsed = node.parsed(name, "an IPv4 network", network_v4);
        match self.read(parsed, Consequence::VpcUnknown) {
            Some(network) => {
                vpc.networks.extend(network);
                network
            }
            None => {
                vpc.completeness = Completeness::Incomplete;
                None
            }
        }
    }

    fn vpc_associations(&mut self, node: &Node<'a>, vpc: &mut Vpc) {
        let v4 = self.associated_networks(
            node,
            ["CidrBlockAssociationSet", "CidrBlock", "CidrBlockState"],
            Consequence::VpcUnknown,
        );
        let v6 = self.associated_networks(
            node,
            [
                "Ipv6CidrBlockAssociationSet",
                "Ipv6CidrBlock",
                "Ipv6CidrBlockState",
            ],
            Consequence::VpcUnknown,
        );
        for associated in [v4, v6] {
            match associated {
                Some(networks) => vpc.networks.extend(networks),
                None => vpc.completeness = Completeness::Incomplete,
            }
        }
    }

    /// Networks of an association set in which they are in use; nothing if one of them is unreadable.
    fn associated_networks(
        &mut self,
        node: &Node<'a>,
        [set, field, state]: [&str; 3],
        consequence: Consequence,
    ) -> Option<Vec<IpNet>> {
        let items = self.read(node.list(set), consequence)?;
        let mut networks = Vec::new();
        let mut complete = true;
        for item in items {
            let word = item
                .field(state)
                .and_then(|state| state.text("State").ok().flatten());
            if word.is_some_and(|word| UNASSOCIATED.contains(&word)) {
                continue;
            }
            let parsed = item.parsed(field, "a network", crate::net::network);
            let network = self.read(parsed, consequence).flatten();
            complete &= network.is_some();
            networks.extend(network);
        }
        complete.then_some(networks)
    }

    fn note_overlapping_vpcs(&mut self) {
        let vpcs: Vec<_> = self.snapshot.vpcs.iter().collect();
        let mut found = Vec::new();
        for (place, one) in vpcs.iter().enumerate() {
            for other in vpcs.iter().skip(place.saturating_add(1)) {
                if overlap(&one.networks, &other.networks) {
                    found.push((one.id.to_string(), other.id.to_string()));
                }
            }
        }
        self.note_overlaps("describe-vpcs", found);
    }

    fn note_overlaps(&mut self, file: &str, found: Vec<(String, String)>) {
        for (id, with) in found {
            self.gaps.push(crate::snapshot::Gap {
                file: file.to_owned(),
                path: String::new(),
                id: Some(id),
                kind: GapKind::Overlap { with },
                consequence: Consequence::AddressAmbiguous,
            });
        }
    }

    pub(super) fn subnets(&mut self) {
        let rows = self.rows("describe-subnets", "Subnets");
        let (items, _) = self.things(rows, "SubnetId", Consequence::SubnetUnknown);
        for item in items {
            let subnet = self.subnet(&item);
            let key = self.add_subnet(subnet);
            if item.sole().is_none() {
                self.snapshot.subnets.at_mut(key).views = Views::Contradict;
            }
        }
        self.note_overlapping_subnets();
    }

    fn add_subnet(&mut self, subnet: Subnet) -> Key<SubnetEntry> {
        let id = subnet.id.clone();
        let key = self.snapshot.subnets.push(SubnetEntry {
            subnet,
            acl: None,
            table: None,
            views: Views::Agree,
            acl_views: Views::Agree,
        });
        self.snapshot.subnet_keys.insert(id, key);
        key
    }

    /// The subnet of that id; one that nobody described is added without networks.
    pub(super) fn subnet_key(&mut self, id: &str, vpc: &VpcId) -> Key<SubnetEntry> {
        match self.snapshot.subnet_keys.get(id) {
            Some(key) => *key,
            None => self.add_subnet(Subnet {
                id: SubnetId::from(id),
                vpc: Some(vpc.clone()),
                name: None,
                networks: Vec::new(),
                zone: None,
                zone_id: None,
            }),
        }
    }

    /// The VPC of that id; one that nobody described is added without networks.
    pub(super) fn vpc_key(&mut self, id: &VpcId) -> Key<Vpc> {
        if let Some(key) = self.snapshot.vpc_keys.get(id) {
            return *key;
        }
        let key = self.snapshot.vpcs.push(Vpc {
            id: id.clone(),
            name: None,
            primary: None,
            networks: Vec::new(),
            completeness: Completeness::Incomplete,
            views: Views::Agree,
            disputed_primaries: Vec::new(),
        });
        self.snapshot.vpc_keys.insert(id.clone(), key);
        key
    }

    fn subnet(&mut self, item: &Item<'a>) -> Subnet {
        let mut subnet = Subnet {
            id: SubnetId::from(item.id),
            vpc: None,
            name: None,
            networks: Vec::new(),
            zone: None,
            zone_id: None,
        };
        for node in &item.descriptions {
            subnet.name = self.tag(node, "Name").map(str::to_owned);
            subnet.vpc = self
                .read(node.required("VpcId"), Consequence::SubnetUnknown)
                .map(VpcId::from);
            subnet.zone = self
                .plain_text(node, "AvailabilityZone")
                .map(ZoneName::from);
            subnet.zone_id = self
                .plain_text(node, "AvailabilityZoneId")
                .map(ZoneName::from);
            let parsed = node.parsed("CidrBlock", "an IPv4 network", network_v4);
            let network = self.read(parsed, Consequence::SubnetUnknown).flatten();
            subnet.networks.extend(network);
            let v6 = self.associated_networks(
                node,
                [
                    "Ipv6CidrBlockAssociationSet",
                    "Ipv6CidrBlock",
                    "Ipv6CidrBlockState",
                ],
                Consequence::SubnetUnknown,
            );
            subnet.networks.extend(v6.unwrap_or_default());
        }
        if item.sole().is_none() {
            subnet.zone = None;
            subnet.zone_id = None;
            subnet.vpc = None;
        }
        subnet
    }

    fn note_overlapping_subnets(&mut self) {
        let subnets: Vec<_> = self
            .snapshot
            .subnets
            .iter()
            .map(|entry| &entry.subnet)
            .collect();
        let mut found = Vec::new();
        for (place, one) in subnets.iter().enumerate() {
            for other in subnets.iter().skip(place.saturating_add(1)) {
                if one.vpc == other.vpc && overlap(&one.networks, &other.networks) {
                    found.push((one.id.to_string(), other.id.to_string()));
                }
            }
        }
        self.note_overlaps("describe-subnets", found);
    }

    pub(super) fn peerings(&mut self) {
        let rows = self.rows("describe-vpc-peering-connections", "VpcPeeringConnections");
        let consequence = Consequence::PeeringUnknown;
        let (items, _) = self.things(rows, "VpcPeeringConnectionId", consequence);
        for item in items {
            let Some(node) = item.sole() else {
                let id = PeeringId::from(item.id);
                self.snapshot.contradicted_peerings.insert(id);
                continue;
            };
            let status = node.field("Status").map(|status| status.required("Code"));
            let status = status.and_then(|code| self.read(code, consequence));
            let sides = (
                self.peering_side(node, "RequesterVpcInfo"),
                self.peering_side(node, "AccepterVpcInfo"),
            );
            let status = status.filter(|word| self.is_peering_status(node, word));
            // Without its state or a side a peering is as good as absent: UNKNOWN(other), K.1.
            let (Some(status), (Some(requester), Some(accepter))) = (status, sides) else {
                self.note(
                    node.malformed("a peering with its state and both sides"),
                    consequence,
                );
                continue;
            };
            let id = PeeringId::from(item.id);
            self.snapshot.peerings.insert(
                id.clone(),
                Peering {
                    id,
                    status: status.to_owned(),
                    requester,
                    accepter,
                },
            );
        }
    }

    /// Whether a state is one that the API has; another one is noted.
    fn is_peering_status(&mut self, node: &Node<'a>, word: &str) -> bool {
        let is_known = PEERING_STATES.contains(&word);
        if !is_known {
            let kind = GapKind::UnknownWord {
                found: word.to_owned(),
            };
            self.note(node.fault(kind), Consequence::PeeringUnknown);
        }
        is_known
    }

    fn peering_side(&mut self, node: &Node<'a>, name: &str) -> Option<PeeringSide> {
        let consequence = Consequence::PeeringUnknown;
        let side = node.field(name)?;
        let vpc = self.read(side.required("VpcId"), consequence)?;
        let mut networks = Vec::new();
        let single = side.parsed("CidrBlock", "an IPv4 network", network_v4);
        networks.extend(self.read(single, consequence)?);
        for (set, field) in [
            ("CidrBlockSet", "CidrBlock"),
            ("Ipv6CidrBlockSet", "Ipv6CidrBlock"),
        ] {
            for item in self.read(side.list(set), consequence)? {
                let parsed = if set == "CidrBlockSet" {
                    item.parsed(field, "an IPv4 network", network_v4)
                } else {
                    item.parsed(field, "an IPv6 network", network_v6)
                };
                networks.extend(self.read(parsed, consequence)?);
            }
        }
        Some(PeeringSide {
            vpc: Some(VpcId::from(vpc)),
            region: self.plain_text(&side, "Region").map(str::to_owned),
            networks,
        })
    }
}

/// The networks that are in every list.
fn agreed(lists: Vec<Vec<IpNet>>) -> Vec<IpNet> {
    let mut lists = lists.into_iter();
    let mut networks = lists.next().unwrap_or_default();
    for list in lists {
        networks.retain(|network| list.contains(network));
    }
    networks
}

fn overlap(ones: &[IpNet], others: &[IpNet]) -> bool {
    ones.iter().any(|one| {
        others
            .iter()
            .any(|other| one.contains(other) || other.contains(one))
    })
}
