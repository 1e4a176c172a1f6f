//! What could open one gate, best first.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::NoRepair;
use super::change::{Change, NewEntry, NewPeer, NewRoute, NewRule, NewTarget, Replaces};
use crate::flow::{Flow, FlowProtocol};
use crate::id::{NetworkAclId, NetworkInterfaceId, SecurityGroupId, VpcId};
use crate::net::PortRange;
use crate::predict::{Ends, Stop};
use crate::prediction::{Denial, Gate};
use crate::snapshot::{
    AclAction, Direction, FINAL_RULE_NUMBER_V4, IcmpRange, InterfaceEntry, NetworkAcl, Readable,
    RouteDestination, Snapshot, Traffic,
};

/// Distance between the numbers of entries that people write (B.1).
const NUMBER_STEP: u32 = 100;

/// What is better comes first: a reference before a network, and the user's groups before the cluster's, whose default
/// rules EKS keeps (D.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tier {
    by_network: Order,
    in_cluster_group: Order,
    of_cluster_group: Order,
}

/// Which of two comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    First,
    Second,
}

impl Order {
    fn second_if(fact: bool) -> Self {
        if fact { Self::Second } else { Self::First }
    }
}

impl Tier {
    const ONLY: Self = Self {
        by_network: Order::First,
        in_cluster_group: Order::First,
        of_cluster_group: Order::First,
    };
}

/// One gate that stops a flow, with all that a change needs to know.
pub(super) struct Site<'a, 's> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) flow: &'a Flow,
    pub(super) ends: &'a Ends<'s>,
    /// The other ends of all flows that shall pass there.
    pub(super) remotes: &'a BTreeSet<IpAddr>,
}

impl Site<'_, '_> {
    /// Finds what could open the gate, in tiers; changes of one tier are ranked by what else they open.
    pub(super) fn candidates(&self, stop: &Stop) -> Result<Vec<(Tier, Change)>, NoRepair> {
        match &stop.denial {
            Denial::SecurityGroup { gate, at } => self.rules(*gate, at),
            Denial::SourceDestCheck { at } => Err(NoRepair::SourceDestCheck { at: at.clone() }),
            Denial::NetworkAcl {
                gate,
                at,
                rule_number,
                ..
            } => self.entries(*gate, at, *rule_number),
            Denial::Route { gate, .. } => self.routes(*gate),
        }
    }

    /// The address at the other side of a gate.
    pub(super) fn remote(&self, gate: Gate) -> IpAddr {
        match gate {
            Gate::SgEgress | Gate::NaclOut | Gate::NaclReturnIn | Gate::Route => {
                self.flow.destination
            }
            Gate::SgIngress
            | Gate::NaclIn
            | Gate::NaclReturnOut
            | Gate::ReturnRoute
            | Gate::Endpoints
            | Gate::SourceDestCheck
            | Gate::NetworkPolicy => self.ends.source,
        }
    }

    fn rules(&self, gate: Gate, at: &NetworkInterfaceId) -> Result<Vec<(Tier, Change)>, NoRepair> {
        let (direction, other) = if gate == Gate::SgEgress {
            (Direction::Egress, self.ends.receiver)
        } else {
            (Direction::Ingress, self.ends.sender)
        };
        let interface = self.snapshot.network_interface(at);
        let carried = interface.map_or(&[][..], |found| found.groups.as_slice());
        let own: Vec<&SecurityGroupId> = carried
            .iter()
            .filter(|id| self.snapshot.security_group(id).is_some())
            .collect();
        if own.is_empty() {
            return Err(NoRepair::NoGroup { at: at.clone() });
        }
        let peers = self.peers(gate, other);
        let cluster = self
            .snapshot
            .cluster()
            .and_then(|found| found.cluster_group.as_ref());
        let mut found = Vec::new();
        for group in own {
            for peer in &peers {
                let (by_network, of_cluster) = match peer {
                    NewPeer::Network(_) => (true, false),
                    NewPeer::Group(id, _) => (false, Some(id) == cluster),
                };
                let tier = Tier {
                    by_network: Order::second_if(by_network),
                    in_cluster_group: Order::second_if(Some(group) == cluster),
                    of_cluster_group: Order::second_if(of_cluster),
                };
                let rule = NewRule {
                    group: group.clone(),
                    direction,
                    traffic: traffic(self.flow.protocol),
                    peer: self.peer_for(group, peer),
                };
                found.push((tier, Change::Rule(rule)));
            }
        }
        found.sort_by_key(|(tier, _)| *tier);
        Ok(found)
    }

    /// The groups of the other end, each as a reference, then its address or network.
    fn peers(&self, gate: Gate, other: Option<&InterfaceEntry>) -> Vec<NewPeer> {
        let carried = other.map_or(&[][..], |entry| entry.interface.groups.as_slice());
        let groups = carried.iter().map(|id| NewPeer::Group(id.clone(), None));
        let network = self.network(self.remote(gate));
        groups.chain([NewPeer::Network(network)]).collect()
    }

    /// A reference names the account of a group that is not the rule's.
    fn peer_for(&self, group: &SecurityGroupId, peer: &NewPeer) -> NewPeer {
        match peer {
            NewPeer::Network(network) => NewPeer::Network(*network),
            NewPeer::Group(id, _) => {
                let owner = |id| {
                    self.snapshot
                        .security_group(id)
                        .and_then(|found| found.owner.clone())
                };
                let account = owner(id).filter(|other| Some(other) != owner(group).as_ref());
                NewPeer::Group(id.clone(), account)
            }
        }
    }

    /// The network of an address: of several that shall pass and share a subnet its network, else the address alone.
    fn network(&self, address: IpAddr) -> IpNet {
        let subnet = subnet_network(self.snapshot, address);
        match subnet {
            Some(network)
                if self
                    .remotes
                    .iter()
                    .filter(|other| network.contains(*other))
                    .count()
                    > 1 =>
            {
                network
            }
            Some(_) | None => IpNet::from(address),
        }
    }

    fn entries(
        &self,
        gate: Gate,
        at: &NetworkAclId,
        rule_number: u32,
    ) -> Result<Vec<(Tier, Change)>, NoRepair> {
        let direction = if matches!(gate, Gate::NaclOut | Gate::NaclReturnOut) {
            Direction::Egress
        } else {
            Direction::Ingress
        };
        let none = || NoRepair::NoNumber { acl: at.clone() };
        let acl = self.snapshot.network_acl(at).ok_or_else(none)?;
        let remote = self.remote(gate);
        let wanted = if matches!(gate, Gate::NaclReturnOut | Gate::NaclReturnIn) {
            replies(self.flow.protocol, self.ends.ports)
        } else {
            traffic(self.flow.protocol)
        };
        let before = lowest_denying(acl, direction, &wanted, remote).unwrap_or(rule_number);
        let number = free_number(acl, direction, before.min(rule_number)).ok_or_else(none)?;
        let entry = NewEntry {
            acl: at.clone(),
            direction,
            rule_number: number,
            traffic: wanted,
            network: self.network(remote),
        };
        Ok(vec![(Tier::ONLY, Change::Entry(entry))])
    }

    fn routes(&self, gate: Gate) -> Result<Vec<(Tier, Change)>, NoRepair> {
        let is_back = gate == Gate::ReturnRoute;
        let near = if is_back {
            self.ends.receiver
        } else {
            self.ends.sender
        };
        let address = self.remote(gate);
        let unowned = NoRepair::Unowned { address };
        let near = near.ok_or_else(|| unowned.clone())?;
        let far = if is_back {
            self.ends.sender.map(|entry| entry.interface.vpc.clone())
        } else {
            owner_vpc(self.snapshot, address)
        };
        let far = far.ok_or(unowned)?;
        let no_way = || NoRepair::NoWay {
            from: near.interface.vpc.clone(),
            to: far.clone(),
        };
        let table = self
            .snapshot
            .route_table_of(&near.interface.subnet)
            .ok_or_else(no_way)?;
        let destination = subnet_network(self.snapshot, address).unwrap_or(IpNet::from(address));
        let is_same = |route: &crate::snapshot::Route| {
            route.destination == RouteDestination::Network(destination)
        };
        let replaces = if table.routes.iter().any(is_same) {
            Replaces::Route
        } else {
            Replaces::Nothing
        };
        let targets = targets(self.snapshot, &near.interface.vpc, &far);
        if targets.is_empty() {
            return Err(no_way());
        }
        let route = |target| {
            Change::Route(NewRoute {
                table: table.id.clone(),
                destination,
                target,
                replaces,
            })
        };
        Ok(targets
            .into_iter()
            .map(|target| (Tier::ONLY, route(target)))
            .collect())
    }
}

/// The VPC of whoever owns an address, where all owners are in one.
fn owner_vpc(snapshot: &Snapshot, address: IpAddr) -> Option<VpcId> {
    let owners = snapshot.addresses.owners(address);
    let vpcs: BTreeSet<_> = owners
        .iter()
        .map(|key| snapshot.interfaces.at(*key).interface.vpc.clone())
        .collect();
    vpcs.first().filter(|_| vpcs.len() == 1).cloned()
}

/// The network of the subnet of whoever owns an address.
fn subnet_network(snapshot: &Snapshot, address: IpAddr) -> Option<IpNet> {
    let owners = snapshot.addresses.owners(address);
    let entry = snapshot.interfaces.at(*owners.first()?);
    let subnet = snapshot.subnet(&entry.interface.subnet)?;
    let mut networks = subnet.networks.iter();
    networks.find(|network| network.contains(&address)).copied()
}

/// What joins two VPCs: active peerings, then transit gateways to which both are attached.
fn targets(snapshot: &Snapshot, near: &VpcId, far: &VpcId) -> Vec<NewTarget> {
    let joins = |peering: &&crate::snapshot::Peering| {
        peering.is_active()
            && peering.far_side(near).and_then(|side| side.vpc.as_ref()) == Some(far)
    };
    let peerings = snapshot.peerings.values().filter(joins);
    let peerings = peerings.map(|peering| NewTarget::Peering(peering.id.clone()));
    let attached = |vpc: &VpcId| -> BTreeSet<_> {
        let attachments = snapshot.attachments.iter();
        let own = attachments.filter(|attachment| attachment.vpc == *vpc);
        own.map(|attachment| attachment.gateway.clone()).collect()
    };
    let gateways = attached(near)
        .intersection(&attached(far))
        .cloned()
        .collect::<Vec<_>>();
    let is_other = near != far;
    peerings
        .chain(gateways.into_iter().map(NewTarget::TransitGateway))
        .filter(|_| is_other)
        .collect()
}

/// What a rule or entry must say to let a packet pass, and no more than its type allows.
fn traffic(protocol: FlowProtocol) -> Traffic {
    let icmp = |kind| {
        Readable::Is(IcmpRange {
            kind: Some(kind),
            code: None,
        })
    };
    match protocol {
        FlowProtocol::Tcp { port } => Traffic::Tcp(Readable::Is(PortRange::between(port, port))),
        FlowProtocol::Udp { port } => Traffic::Udp(Readable::Is(PortRange::between(port, port))),
        FlowProtocol::Icmp { kind, .. } => Traffic::Icmp(icmp(kind)),
        FlowProtocol::IcmpV6 { kind, .. } => Traffic::IcmpV6(icmp(kind)),
        FlowProtocol::Other(number) => Traffic::Protocol(number),
    }
}

/// What an entry must say to let all replies pass (B.3).
fn replies(protocol: FlowProtocol, ports: PortRange) -> Traffic {
    match protocol {
        FlowProtocol::Udp { .. } => Traffic::Udp(Readable::Is(ports)),
        FlowProtocol::Tcp { .. } => Traffic::Tcp(Readable::Is(ports)),
        FlowProtocol::Icmp { .. } | FlowProtocol::IcmpV6 { .. } | FlowProtocol::Other(_) => {
            traffic(protocol.echo_reply().unwrap_or(protocol))
        }
    }
}

/// The lowest number of an entry that may drop any of the packets.
fn lowest_denying(
    acl: &NetworkAcl,
    direction: Direction,
    wanted: &Traffic,
    remote: IpAddr,
) -> Option<u32> {
    let meets = |ports: &Readable<PortRange>, wanted: &Readable<PortRange>| match (ports, wanted) {
        (Readable::Is(one), Readable::Is(other)) => one.intersection(*other).is_some(),
        (Readable::Unread, _) | (_, Readable::Unread) => true,
    };
    let entries = acl.entries(direction).iter().filter(|entry| {
        let is_there = match entry.remote {
            Readable::Is(network) => network.contains(&remote),
            Readable::Unread => true,
        };
        let is_met = match (&entry.traffic, wanted) {
            (Traffic::Tcp(one), Traffic::Tcp(other)) | (Traffic::Udp(one), Traffic::Udp(other)) => {
                meets(one, other)
            }
            (Traffic::All | Traffic::Unread, _) => true,
            (one, other) => one.protocol_number() == other.protocol_number(),
        };
        is_there && is_met && entry.action != Readable::Is(AclAction::Allow)
    });
    entries.filter_map(|entry| entry.rule_number).min()
}

/// A number that no entry of the direction has, before `before`; behind the last one where no entry matches.
fn free_number(acl: &NetworkAcl, direction: Direction, before: u32) -> Option<u32> {
    let taken: BTreeSet<u32> = acl
        .entries(direction)
        .iter()
        .filter_map(|entry| entry.rule_number)
        .filter(|number| *number < FINAL_RULE_NUMBER_V4)
        .collect();
    if before >= FINAL_RULE_NUMBER_V4 {
        let last = taken.last().copied().unwrap_or(0);
        let next = last
            .checked_div(NUMBER_STEP)?
            .checked_add(1)?
            .checked_mul(NUMBER_STEP)?;
        if next < FINAL_RULE_NUMBER_V4 {
            return Some(next);
        }
    }
    let before = before.min(FINAL_RULE_NUMBER_V4);
    let last = taken.range(..before).last().copied().unwrap_or(0);
    let middle = last.checked_add(before.checked_sub(last)?.checked_div(2)?)?;
    let round = middle.checked_sub(middle.checked_rem(10)?)?;
    [round, middle]
        .into_iter()
        .find(|number| *number > last && *number < before)
        .or_else(|| (1..before).rev().find(|number| !taken.contains(number)))
}
