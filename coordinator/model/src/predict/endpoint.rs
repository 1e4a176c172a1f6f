//! Who sends and who receives: owners, hosts, SNAT, source/destination check.

pub(super) mod words;

use std::net::IpAddr;

use super::route::{Path, hop};
use super::{Doubt, Receiver, Route, Sender, Walk};
use crate::flow::{EPHEMERAL_PORTS_AFTER_SNAT, SourceKind};
use crate::prediction::{BypassReason, Denial, Gate, Place, StepOutcome, UnknownReason, Verdict};
use crate::snapshot::{
    Completeness, EnforcingMode, Host, InterfaceEntry, IpFamily, Key, OtherFamily, Reading,
    Snapshot, Snat, SnatPorts, SourceDestCheck, Views, Vpc,
};

/// Who owns the destination, as far as the way leads there.
pub(super) enum Destination<'s> {
    /// Nobody.
    Nobody,
    /// Somebody to whom the way does not lead.
    Elsewhere,
    /// This interface.
    One(Receiver<'s>),
}

/// An address that several interfaces own.
struct Ambiguous;

/// Why nobody can tell which interface emits: several own the source.
pub(super) struct AmbiguousSource<'s> {
    /// The VPC that all of them are in; absent where they are in several.
    vpc: Option<&'s Vpc>,
}

/// The verdict of two interfaces of one host that do not meet over the VPC; absent where they do, as a strict branch pod
/// does with everybody (E.3, E.4).
pub(crate) fn same_host(
    snapshot: &Snapshot,
    one: &InterfaceEntry,
    other: &InterfaceEntry,
) -> Option<Verdict> {
    if one.host != other.host {
        return None;
    }
    let has_branch = one.interface.is_branch() || other.interface.is_branch();
    let differ = one.interface.groups != other.interface.groups;
    match snapshot.cni.enforcing_mode {
        EnforcingMode::Strict if has_branch => None,
        EnforcingMode::Unread if has_branch => {
            Some(Verdict::Unknown(UnknownReason::SameHostBranch))
        }
        EnforcingMode::Standard if has_branch && differ => {
            Some(Verdict::Unknown(UnknownReason::SameHostBranch))
        }
        EnforcingMode::Strict | EnforcingMode::Standard | EnforcingMode::Unread => {
            Some(Verdict::Bypass(BypassReason::SameHost))
        }
    }
}

impl<'s> Walk<'s> {
    /// Everything before the first gate: exemptions, owners, hosts and SNAT.
    pub(super) fn route_of_ends(&mut self) -> Result<Route<'s>, Verdict> {
        let owner = self.source_interface();
        let vpc = match &owner {
            Ok(key) => key.map(|key| self.vpc_of(key)),
            Err(AmbiguousSource { vpc }) => *vpc,
        };
        self.exemptions(vpc)?;
        let key = match owner {
            Ok(Some(key)) => key,
            Ok(None) => return Err(self.arriving()),
            Err(AmbiguousSource { .. }) => {
                return Err(self.unknown(UnknownReason::AmbiguousAddress));
            }
        };
        let sender = self.sender(key);
        let mut route = self.resolve_destination(sender)?;
        self.same_host(&route)?;
        if let Some(sender) = self.translated(sender)? {
            route = self.resolve_destination(sender)?;
        }
        Ok(route)
    }

    /// The side that sends as the flow says, before any SNAT.
    pub(super) fn sender(&self, key: Key<InterfaceEntry>) -> Sender<'s> {
        Sender {
            key,
            entry: self.snapshot.interfaces.at(key),
            address: self.flow.source,
            ports: self.flow.ephemeral_ports,
        }
    }

    /// The gate of the endpoints: whoever owns the destination may not have been readable; then nothing about it can
    /// be judged, not even egress.
    pub(super) fn endpoints(&mut self, route: &Route<'s>) -> Result<(), Verdict> {
        if matches!(route.destination, Destination::Nobody)
            && self.snapshot.addresses_read == Completeness::Incomplete
        {
            return Err(self.unknown(UnknownReason::DstOutsideModel));
        }
        self.contradictions(route);
        self.note_endpoints(route);
        Ok(())
    }

    /// Remembers contradicting views of the subnets of both ends, and of their lists where a router is on the way (K.1 "Two
    /// views of one thing").
    fn contradictions(&mut self, route: &Route<'s>) {
        let is_routed = !route.hop.path.is_same_subnet();
        let ends = [Some(route.sender.entry), route.receiving()];
        let is_contradicted = ends.into_iter().flatten().any(|entry| {
            let subnet = self.snapshot.subnets.at(entry.subnet);
            subnet.views == Views::Contradict
                || (is_routed && subnet.acl_views == Views::Contradict)
        });
        self.doubts.add_if(is_contradicted, Doubt::Conflict);
    }

    /// The interface that emits: as the flow says, else the owner of the source (K.1 "Owners and VPCs").
    pub(super) fn source_interface(
        &self,
    ) -> Result<Option<Key<InterfaceEntry>>, AmbiguousSource<'s>> {
        if let Some(id) = &self.flow.source_interface {
            return Ok(self.snapshot.interface_keys.get(id).copied());
        }
        match self.snapshot.source_owners(self.flow.source).as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            [first, others @ ..] => {
                let vpc = |key: &Key<InterfaceEntry>| self.snapshot.interfaces.at(*key).vpc;
                let is_one = others.iter().all(|other| vpc(other) == vpc(first));
                Err(AmbiguousSource {
                    vpc: is_one.then(|| self.vpc_of(*first)),
                })
            }
        }
    }

    fn vpc_of(&self, key: Key<InterfaceEntry>) -> &'s Vpc {
        self.snapshot.vpcs.at(self.snapshot.interfaces.at(key).vpc)
    }

    /// Follows the route of a sender and finds who is at its end.
    pub(super) fn resolve_destination(&mut self, sender: Sender<'s>) -> Result<Route<'s>, Verdict> {
        let hop = hop(self.snapshot, sender.entry, self.flow.destination);
        let destination = self.destination(sender, &hop.path);
        let Ok(destination) = destination else {
            return Err(self.unknown(UnknownReason::AmbiguousAddress));
        };
        let receiving = match &destination {
            Destination::One(receiver) => Some(receiver.entry.interface.reading),
            Destination::Nobody | Destination::Elsewhere => None,
        };
        let readings = [Some(sender.entry.interface.reading), receiving];
        if readings.contains(&Some(Reading::Doubtful)) {
            return Err(self.unknown(UnknownReason::AmbiguousAddress));
        }
        if readings.contains(&Some(Reading::Conflict)) {
            return Err(self.unknown(UnknownReason::Conflict));
        }
        Ok(Route {
            sender,
            hop,
            destination,
        })
    }

    /// The owner of the destination in the VPC to which the path leads (K.1 "Owners and VPCs").
    fn destination(
        &self,
        sender: Sender<'s>,
        path: &Path<'s>,
    ) -> Result<Destination<'s>, Ambiguous> {
        let owners = self.snapshot.addresses.owners(self.flow.destination);
        let within = |wanted: &dyn Fn(&InterfaceEntry) -> bool| -> Vec<_> {
            owners
                .iter()
                .copied()
                .filter(|key| wanted(self.snapshot.interfaces.at(*key)))
                .collect()
        };
        let own = |entry: &InterfaceEntry| entry.vpc == sender.entry.vpc;
        let found = match path {
            Path::Peering { far, .. } => within(&|entry| entry.interface.vpc == **far),
            Path::TransitGateway(gateway) => {
                let attached =
                    within(&|entry| self.is_attached(&entry.interface.vpc, Some(gateway)));
                if attached.is_empty() {
                    within(&|entry| !self.is_attached(&entry.interface.vpc, None))
                } else {
                    attached
                }
            }
            Path::SameSubnet
            | Path::Local
            | Path::Middlebox
            | Path::None
            | Path::Blackhole
            | Path::Filtered
            | Path::FarSide
            | Path::Nat
            | Path::InternetGateway
            | Path::VpnGateway
            | Path::Other
            | Path::Unread
            | Path::Conflict => within(&own),
        };
        match found.as_slice() {
            [] if path.may_lead_anywhere() && !owners.is_empty() => Ok(Destination::Elsewhere),
            [] => Ok(Destination::Nobody),
            [key] => Ok(Destination::One(Receiver {
                entry: self.snapshot.interfaces.at(*key),
                address: self.flow.destination,
            })),
            [_, _, ..] => Err(Ambiguous),
        }
    }

    /// Ends the walk for two addresses of one host, unless a strict branch pod is one of them (E.3, E.4).
    fn same_host(&mut self, route: &Route<'s>) -> Result<(), Verdict> {
        let Destination::One(receiver) = &route.destination else {
            return Ok(());
        };
        let entry = route.sender.entry;
        match same_host(self.snapshot, entry, receiver.entry) {
            None => Ok(()),
            Some(Verdict::Unknown(reason)) => Err(self.unknown(reason)),
            Some(verdict) => {
                let host = self.snapshot.hosts.at(entry.host).to_string();
                self.note(Gate::Endpoints, Place::Flow, StepOutcome::Skipped, |_| {
                    format!("both addresses are on {host}: packets never leave the host")
                });
                Err(verdict)
            }
        }
    }

    /// The sender after the SNAT of the VPC CNI, where it applies (E.1, K.1 "Pods of the other family").
    pub(super) fn translated(&mut self, sender: Sender<'s>) -> Result<Option<Sender<'s>>, Verdict> {
        let Host::Instance(_) = self.snapshot.hosts.at(sender.entry.host) else {
            return Ok(None);
        };
        if self.flow.source_kind == SourceKind::Host {
            return Ok(None);
        }
        let other = match (self.flow.destination, self.snapshot.ip_family()) {
            (IpAddr::V4(_), IpFamily::V4) => return self.leaves_vpc(sender),
            (IpAddr::V6(_), IpFamily::V6) => return Ok(None),
            (IpAddr::V4(_), IpFamily::V6) => self.snapshot.cni.v4_egress,
            (IpAddr::V6(_), IpFamily::V4) => self.snapshot.cni.v6_egress,
        };
        match other {
            OtherFamily::Translated => self.primary(sender).map(Some),
            OtherFamily::Absent => Ok(None),
            OtherFamily::Unread => Err(self.unknown(UnknownReason::Other)),
        }
    }

    /// The SNAT of pods' IPv4 addresses towards destinations outside the VPC.
    fn leaves_vpc(&mut self, sender: Sender<'s>) -> Result<Option<Sender<'s>>, Verdict> {
        let cni = &self.snapshot.cni;
        let is_branch = sender.entry.interface.is_branch();
        let is_strict_branch = is_branch && cni.enforcing_mode == EnforcingMode::Strict;
        if cni.snat == Snat::External || is_strict_branch {
            return Ok(None);
        }
        let vpc = self.vpc_of(sender.key);
        let destination = self.flow.destination;
        let is_excluded = |network: &ipnet::IpNet| network.contains(&destination);
        if vpc.contains(destination) || cni.snat_excluded.iter().any(is_excluded) {
            return Ok(None);
        }
        if vpc.views == Views::Contradict {
            return Err(self.unknown(UnknownReason::Conflict));
        }
        if vpc.completeness == Completeness::Incomplete
            || cni.snat == Snat::Unread
            || (is_branch && cni.enforcing_mode == EnforcingMode::Unread)
        {
            return Err(self.unknown(UnknownReason::Other));
        }
        self.primary(sender).map(Some)
    }

    /// The primary interface of the sender's host, with its first address of the destination's family.
    fn primary(&mut self, sender: Sender<'s>) -> Result<Sender<'s>, Verdict> {
        let primary = self.snapshot.primaries.get(&sender.entry.host);
        let ports = match self.snapshot.cni.snat_ports {
            SnatPorts::Random => EPHEMERAL_PORTS_AFTER_SNAT,
            SnatPorts::Kept => self.flow.ephemeral_ports,
        };
        let found = primary.and_then(|key| {
            let entry = self.snapshot.interfaces.at(*key);
            let family = IpFamily::of(self.flow.destination);
            let address = entry.interface.emitting_address(family);
            Some(Sender {
                key: *key,
                entry,
                address: address?,
                ports,
            })
        });
        found.ok_or_else(|| self.unknown(UnknownReason::SrcOutsideModel))
    }

    /// Drops packets whose source the interface does not own (A.6).
    pub(super) fn source_dest_check(&mut self, route: &Route<'s>) -> Result<(), Verdict> {
        let interface = &route.sender.entry.interface;
        let source = route.sender.address;
        if interface.owns(source) {
            return Ok(());
        }
        let place = Place::NetworkInterface {
            interface: interface.id.clone(),
            groups: Vec::new(),
        };
        let gate = Gate::SourceDestCheck;
        match (interface.source_dest_check, interface.reading) {
            (SourceDestCheck::Off, _) => {
                self.note(gate, place, StepOutcome::Pass { rule: None }, |_| {
                    "the check is off".to_owned()
                });
                Ok(())
            }
            (SourceDestCheck::On, Reading::Whole | Reading::GroupsUnread) => {
                self.note(gate, place, StepOutcome::Drop, |_| {
                    format!("the check is on and {source} is not an address of the interface")
                });
                Err(Verdict::Deny(Denial::SourceDestCheck {
                    at: interface.id.clone(),
                }))
            }
            (
                SourceDestCheck::On,
                Reading::AddressesUnread | Reading::Doubtful | Reading::Conflict,
            )
            | (SourceDestCheck::Unread, _) => {
                self.doubts.add(Doubt::Other);
                let outcome = StepOutcome::Unknown(UnknownReason::Other);
                self.note(gate, place, outcome, |_| {
                    "the check or the addresses of the interface could not be read".to_owned()
                });
                Ok(())
            }
        }
    }

    /// Ends the walk among the endpoints.
    pub(super) fn unknown(&mut self, reason: UnknownReason) -> Verdict {
        let flow = self.flow;
        let word = reason.clone();
        self.note(
            Gate::Endpoints,
            Place::Flow,
            StepOutcome::Unknown(reason.clone()),
            |_| words::outside(&word, flow),
        );
        Verdict::Unknown(reason)
    }

    /// Notes who sends and who receives. A gate may yet deny what nobody owns (K), but on what was read: silence under a
    /// step that is unknown proves nothing (F.2 "known").
    fn note_endpoints(&mut self, route: &Route<'s>) {
        let flow = self.flow;
        let sender = route.sender;
        let receiver = route.receiving();
        let is_owned =
            receiver.is_some() || !self.snapshot.addresses.owners(flow.destination).is_empty();
        let outcome = if is_owned {
            StepOutcome::Pass { rule: None }
        } else {
            StepOutcome::Unknown(UnknownReason::DstOutsideModel)
        };
        self.note(Gate::Endpoints, Place::Flow, outcome, |snapshot| {
            words::endpoints(snapshot, flow, sender, receiver)
        });
    }
}
