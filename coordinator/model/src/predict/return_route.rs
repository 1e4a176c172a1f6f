//! The way back: from the receiver's subnet to the source (K, K.1 "Path from a route").

use super::route::{Path, routed};
use super::{Doubt, Receiver, Route, Walk, transit_gateway};
use crate::id::PeeringId;
use crate::prediction::{Denial, Gate, Place, RouteReason, StepOutcome, Verdict};
use crate::snapshot::RouteTarget;

/// What the way back does to a flow.
enum Return {
    /// It leads back.
    Open,
    /// It does not.
    Closed(RouteReason),
    /// Nobody can tell, which is remembered.
    Unknown(Doubt),
}

impl<'s> Walk<'s> {
    /// The gate `return-route`.
    pub(super) fn return_route(
        &mut self,
        route: &Route<'s>,
        receiver: Receiver<'s>,
    ) -> Result<(), Verdict> {
        let source = route.sender.address;
        let subnet = self.snapshot.subnets.at(receiver.entry.subnet);
        let hop = routed(self.snapshot, subnet, source);
        let found = match (&hop.path, hop.route) {
            (Path::FarSide, Some((_, RouteTarget::Peering(id)))) => {
                self.return_peering(id, route, receiver)
            }
            (Path::TransitGateway(gateway), _) => {
                let to = Some(&route.sender.entry.interface.vpc);
                let crossing =
                    transit_gateway::crossing(self.snapshot, gateway, receiver.entry, to, source);
                match self.remember_crossing(crossing) {
                    Some(reason) => Return::Closed(reason),
                    None => Return::Open,
                }
            }
            (Path::Local, _) if route.sender.entry.vpc == receiver.entry.vpc => Return::Open,
            (path, _) => return_path(path),
        };
        let (outcome, reason) = match &found {
            Return::Open => (StepOutcome::Pass { rule: None }, None),
            Return::Closed(reason) => (StepOutcome::Drop, Some(*reason)),
            Return::Unknown(doubt) => (doubt.outcome(), None),
        };
        let place = Place::RouteTable {
            subnet: receiver.entry.interface.subnet.clone(),
            table: hop.table.map(|table| table.id.clone()),
        };
        self.note(Gate::ReturnRoute, place, outcome, |_| {
            super::route::words::hop(&hop, source, reason)
        });
        self.settle_return(found)
    }

    fn settle_return(&mut self, found: Return) -> Result<(), Verdict> {
        match found {
            Return::Open => Ok(()),
            Return::Closed(reason) => Err(Verdict::Deny(Denial::Route {
                gate: Gate::ReturnRoute,
                reason,
            })),
            Return::Unknown(doubt) => {
                self.doubts.add(doubt);
                Ok(())
            }
        }
    }

    /// A peering must be active and join the sender's VPC; one that is not in the snapshot is not known.
    fn return_peering(&self, id: &PeeringId, route: &Route<'s>, receiver: Receiver<'s>) -> Return {
        let Some(peering) = self.snapshot.peerings.get(id) else {
            let is_contradicted = self.snapshot.contradicted_peerings.contains(id);
            return Return::Unknown(if is_contradicted {
                Doubt::Conflict
            } else {
                Doubt::Other
            });
        };
        let far = peering
            .far_side(&receiver.entry.interface.vpc)
            .and_then(|side| side.vpc.as_ref());
        if peering.is_active() && far == Some(&route.sender.entry.interface.vpc) {
            Return::Open
        } else {
            Return::Closed(RouteReason::FarSide)
        }
    }
}

/// What a path means that is neither a peering nor a transit gateway, nor local to a VPC that both sides share.
fn return_path(path: &Path<'_>) -> Return {
    match path {
        Path::SameSubnet => Return::Open,
        Path::Local | Path::FarSide => Return::Closed(RouteReason::FarSide),
        Path::None => Return::Closed(RouteReason::None),
        Path::Blackhole => Return::Closed(RouteReason::Blackhole),
        Path::Filtered => Return::Closed(RouteReason::Filtered),
        Path::Nat => Return::Closed(RouteReason::Nat),
        Path::InternetGateway => Return::Closed(RouteReason::Igw),
        Path::VpnGateway | Path::Other => Return::Closed(RouteReason::Other),
        Path::Middlebox => Return::Unknown(Doubt::ReturnMiddlebox),
        Path::Peering { .. } | Path::TransitGateway(_) => Return::Open,
        Path::Unread => Return::Unknown(Doubt::Other),
        Path::Conflict => Return::Unknown(Doubt::Conflict),
    }
}
