//! Sources outside the model: the destination's own gates, with the address as given (K.1 "Ends outside the model").

use std::net::IpAddr;

use super::reply::OneList;
use super::route::{Path, hop};
use super::{Fixed, Gates, Receiver, Walk, transit_gateway, walk};
use crate::prediction::{Denial, Gate, Place, RouteReason, StepOutcome, UnknownReason, Verdict};
use crate::snapshot::{Completeness, Direction, Match};

/// A packet from outside on its way through the gates of its destination.
pub(super) struct Arrival<'w, 's> {
    walk: &'w mut Walk<'s>,
    pub(super) receiver: Receiver<'s>,
    /// The source is an address of the destination's subnet: no router is on the way.
    is_same_subnet: bool,
}

impl<'s> Walk<'s> {
    /// A deny by a gate of the destination, else unknown: nobody knows what happens before.
    pub(super) fn arriving(&mut self) -> Verdict {
        let unknown = self.unknown(UnknownReason::SrcOutsideModel);
        let Some(mut arrival) = self.arrival() else {
            return unknown;
        };
        match walk(&mut arrival) {
            Err(denied) => denied,
            Ok(()) => unknown,
        }
    }

    /// The way in; absent where the destination has no gates that are known, or where the source may have an owner.
    pub(super) fn arrival(&mut self) -> Option<Arrival<'_, 's>> {
        if self.flow.source_interface.is_some()
            || self.snapshot.addresses_read == Completeness::Incomplete
        {
            return None;
        }
        let owners = self.snapshot.source_owners(self.flow.destination);
        let [key] = owners.as_slice() else {
            return None;
        };
        let entry = self.snapshot.interfaces.at(*key);
        if entry.interface.reading.is_doubtful() {
            return None;
        }
        let hop = hop(self.snapshot, entry, self.flow.source);
        Some(Arrival {
            receiver: Receiver {
                entry,
                address: self.flow.destination,
            },
            is_same_subnet: hop.path.is_same_subnet(),
            walk: self,
        })
    }

    /// The gate `return-route`, towards an address that nobody owns.
    fn route_outside(&mut self, receiver: Receiver<'s>) -> Result<(), Verdict> {
        let source = self.flow.source;
        let hop = hop(self.snapshot, receiver.entry, source);
        let reason = match &hop.path {
            Path::None => Some(RouteReason::None),
            Path::Blackhole => Some(RouteReason::Blackhole),
            Path::Filtered => Some(RouteReason::Filtered),
            Path::FarSide => Some(RouteReason::FarSide),
            Path::Nat => Some(RouteReason::Nat),
            // An internet gateway carries replies to public addresses only.
            Path::InternetGateway if !is_public(source) => Some(RouteReason::Igw),
            Path::TransitGateway(gateway) => {
                let crossing =
                    transit_gateway::crossing(self.snapshot, gateway, receiver.entry, None, source);
                self.remember_crossing(crossing)
            }
            Path::SameSubnet
            | Path::Local
            | Path::Middlebox
            | Path::Peering { .. }
            | Path::InternetGateway
            | Path::VpnGateway
            | Path::Other
            | Path::Unread
            | Path::Conflict => None,
        };
        let outcome = match (reason, &hop.path) {
            (Some(_), _) => StepOutcome::Drop,
            (None, Path::Local | Path::InternetGateway | Path::Peering { .. }) => {
                StepOutcome::Pass { rule: None }
            }
            (None, _) => StepOutcome::Unknown(UnknownReason::Other),
        };
        let place = Place::RouteTable {
            subnet: receiver.entry.interface.subnet.clone(),
            table: hop.table.map(|table| table.id.clone()),
        };
        self.note(Gate::ReturnRoute, place, outcome, |_| {
            super::route::words::hop(&hop, source, reason)
        });
        match reason {
            Some(reason) => Err(Verdict::Deny(Denial::Route {
                gate: Gate::ReturnRoute,
                reason,
            })),
            None => Ok(()),
        }
    }
}

impl Gates for Arrival<'_, '_> {
    type End = Verdict;

    fn fixed(&mut self, gate: Fixed) -> Result<(), Verdict> {
        if self.is_same_subnet || !self.walk.flow.protocol.has_reply() {
            return Ok(());
        }
        match gate {
            Fixed::Replies => self.walk.one_reply_list(&OneList {
                gate: Gate::NaclReturnOut,
                entry: self.receiver.entry,
                direction: Direction::Egress,
                remote: self.walk.flow.source,
                ports: self.walk.flow.ephemeral_ports,
            }),
            Fixed::ReturnRoute => self.walk.route_outside(self.receiver),
            Fixed::Endpoints
            | Fixed::SourceDestCheck
            | Fixed::Route
            | Fixed::Receiver
            | Fixed::NetworkPolicy => Ok(()),
        }
    }

    fn rules(&mut self, direction: Direction) -> Result<(), Verdict> {
        match direction {
            Direction::Egress => Ok(()),
            Direction::Ingress => {
                let (entry, source) = (self.receiver.entry, self.walk.flow.source);
                let reference = Some(Match::Yes);
                let admitted = self.walk.groups_of((entry, direction), source, reference);
                admitted.map(|_| ())
            }
        }
    }

    fn entries(&mut self, direction: Direction) -> Result<(), Verdict> {
        match direction {
            Direction::Ingress if !self.is_same_subnet => {
                let source = self.walk.flow.source;
                self.walk
                    .list_of(Gate::NaclIn, self.receiver.entry, direction, source)
            }
            Direction::Egress | Direction::Ingress => Ok(()),
        }
    }
}

/// Whether an address may be one of the internet: neither private, shared, link-local nor unique local.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            let is_shared = first == 100 && second & 0b1100_0000 == 64;
            !(address.is_private() || address.is_link_local() || is_shared)
        }
        IpAddr::V6(address) => !(address.is_unique_local() || address.is_unicast_link_local()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_and_shared_addresses_are_not_of_the_internet() {
        let is_public = |text: &str| text.parse().is_ok_and(is_public);
        assert!(is_public("203.0.113.5") && is_public("100.128.0.1") && is_public("2600::1"));
        for text in [
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.1.1",
        ] {
            assert!(!is_public(text), "{text}");
        }
        assert!(!is_public("fd00::1") && !is_public("fe80::1"));
    }
}
