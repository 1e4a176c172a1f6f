//! The evaluator of SEMANTICS K: one flow, every gate on its way.

use std::net::IpAddr;

use crate::flow::{Flow, FlowProtocol};
use crate::id::RuleId;
use crate::net::PortRange;
use crate::prediction::{Gate, Place, Prediction, Step, StepOutcome, UnknownReason, Verdict};
use crate::snapshot::{Direction, InterfaceEntry, Key, Snapshot};

use endpoint::Destination;
use route::{Hop, Path};
use security_group::Admission;

mod endpoint;
mod exemption;
mod network_acl;
mod policy;
mod reply;
mod return_route;
mod route;
mod security_group;
mod transit_gateway;
mod way;
mod words;

pub(crate) use exemption::exempt_addresses;
pub(crate) use network_acl::{AclAnswer, ask};
pub(crate) use route::never_forwarded;
pub use way::RouteTaken;
pub(crate) use way::Way;

/// Predicts what the VPC does with a new connection along `flow`.
///
/// Walks the gates in the order of SEMANTICS K; the first that denies decides. What the snapshot does not know gives
/// [`Verdict::Unknown`] with the reason, never a deny. The order of lists in the snapshot does not matter, except
/// where rules are named by position.
///
/// Only the opening handshake is modelled: established connections may outlive a rule (A.4).
///
/// Source: VPC-SGR (A.1), VPC-NACL (B), VPC-RT (C), SEMANTICS K and K.1.
#[must_use]
pub fn predict(snapshot: &Snapshot, flow: &Flow) -> Prediction {
    let mut walk = Walk::new(snapshot, flow, Notes::Steps(Vec::new()));
    let verdict = walk.verdict();
    Prediction {
        flow: flow.clone(),
        verdict,
        steps: walk.notes.into_steps(),
    }
}

/// Predicts like [`predict`], without saying which gates were walked: for those who ask often.
#[must_use]
pub fn verdict(snapshot: &Snapshot, flow: &Flow) -> Verdict {
    Walk::new(snapshot, flow, Notes::Nothing).verdict()
}

/// Returns the source address that the destination sees, where the VPC CNI translates it (E.1); absent where it does
/// not, or where the ends of the flow are not known.
#[must_use]
pub fn translated_source(snapshot: &Snapshot, flow: &Flow) -> Option<IpAddr> {
    let route = Walk::new(snapshot, flow, Notes::Nothing).endpoints().ok()?;
    (route.sender.address != flow.source).then_some(route.sender.address)
}

/// A flow on its way.
struct Walk<'s> {
    snapshot: &'s Snapshot,
    flow: &'s Flow,
    notes: Notes,
    remembered: Remembered,
}

/// Gates met so far, as far as somebody wants them.
enum Notes {
    /// The verdict is enough.
    Nothing,
    /// What each gate says.
    Outcomes(Vec<(Gate, StepOutcome)>),
    /// Everything, in words.
    Steps(Vec<Step>),
}

impl Notes {
    fn is_wanted(&self) -> bool {
        !matches!(self, Self::Nothing)
    }

    fn into_outcomes(self) -> Vec<(Gate, StepOutcome)> {
        match self {
            Self::Outcomes(outcomes) => outcomes,
            Self::Nothing | Self::Steps(_) => Vec::new(),
        }
    }

    fn into_steps(self) -> Vec<Step> {
        match self {
            Self::Steps(steps) => steps,
            Self::Nothing | Self::Outcomes(_) => Vec::new(),
        }
    }
}

/// What is not known, kept until it is clear that nothing denies: DENY beats UNKNOWN beats PARTIAL beats ALLOW.
#[derive(Default)]
struct Remembered {
    transit_gateway: Option<UnknownReason>,
    return_middlebox: Option<UnknownReason>,
    other: Option<UnknownReason>,
    network_policy: Option<UnknownReason>,
    partial: Option<Verdict>,
}

/// The side that sends, as the network sees it: after SNAT.
#[derive(Clone, Copy)]
struct Sender<'s> {
    key: Key<InterfaceEntry>,
    entry: &'s InterfaceEntry,
    address: IpAddr,
    ports: PortRange,
}

/// The side that receives.
#[derive(Clone, Copy)]
struct Receiver<'s> {
    entry: &'s InterfaceEntry,
    address: IpAddr,
}

/// Both sides with the way between them.
struct Route<'s> {
    sender: Sender<'s>,
    hop: Hop<'s>,
    destination: Destination<'s>,
}

impl<'s> Route<'s> {
    /// The interface that receives, where the way leads to one.
    fn receiving(&self) -> Option<&'s InterfaceEntry> {
        match &self.destination {
            Destination::One(receiver) => Some(receiver.entry),
            Destination::Nobody | Destination::Elsewhere => None,
        }
    }
}

impl<'s> Walk<'s> {
    fn new(snapshot: &'s Snapshot, flow: &'s Flow, notes: Notes) -> Self {
        Self {
            snapshot,
            flow,
            notes,
            remembered: Remembered::default(),
        }
    }

    fn verdict(&mut self) -> Verdict {
        match self.walk() {
            Ok(verdict) | Err(verdict) => verdict,
        }
    }

    /// The list of K, from top to bottom; an `Err` ends the walk early.
    fn walk(&mut self) -> Result<Verdict, Verdict> {
        let route = self.endpoints()?;
        self.source_dest_check(&route)?;
        let egress = self.security_group(&route, Direction::Egress)?;
        self.route(&route)?;
        self.nacl_out(&route)?;
        let receiver = self.receiver(&route)?;
        self.nacl_in(&route, receiver)?;
        let ingress = self.security_group(&route, Direction::Ingress)?;
        if matches!(
            self.flow.protocol,
            FlowProtocol::Tcp { .. } | FlowProtocol::Udp { .. }
        ) && !route.hop.path.is_same_subnet()
        {
            self.replies(&route, receiver)?;
            self.return_route(&route, receiver)?;
        }
        self.network_policies();
        Ok(self.conclusion(&route.hop.path, egress, ingress))
    }

    /// Who receives, and whether the far side can be judged at all (K: `de unknown`, `path ∈ {nat,igw,vgw,other}`).
    fn receiver(&mut self, route: &Route<'s>) -> Result<Receiver<'s>, Verdict> {
        let reason = match (&route.destination, &route.hop.path) {
            (Destination::Nobody, _) => UnknownReason::DstOutsideModel,
            (_, Path::Nat) => UnknownReason::Nat,
            (_, Path::InternetGateway) => UnknownReason::Igw,
            (_, Path::VpnGateway) => UnknownReason::Vgw,
            (_, Path::Other | Path::Unread) => UnknownReason::Other,
            (Destination::Elsewhere, _) => UnknownReason::DstOutsideModel,
            (Destination::One(receiver), _) => return Ok(*receiver),
        };
        let detail = words::unreachable(&reason, self.flow.destination);
        self.note(
            Gate::Endpoints,
            Place::Flow,
            StepOutcome::Unknown(reason.clone()),
            |_| detail,
        );
        Err(Verdict::Unknown(reason))
    }

    /// Nothing denies: the first thing that is not known, else the ports, else an allow.
    fn conclusion(&mut self, path: &Path<'_>, egress: Admission, ingress: Admission) -> Verdict {
        if matches!(path, Path::Middlebox) {
            return Verdict::Unknown(UnknownReason::Middlebox);
        }
        let remembered = std::mem::take(&mut self.remembered);
        let early = remembered.transit_gateway.or(remembered.return_middlebox);
        if let Some(reason) = early {
            return Verdict::Unknown(reason);
        }
        let rules = match admitted(egress, ingress) {
            Ok(rules) => rules,
            Err(reason) => return Verdict::Unknown(reason),
        };
        if let Some(reason) = remembered.other.or(remembered.network_policy) {
            return Verdict::Unknown(reason);
        }
        remembered.partial.unwrap_or(Verdict::Allow {
            egress: rules.0,
            ingress: rules.1,
        })
    }

    /// Writes a step down, where somebody wants it.
    fn note(
        &mut self,
        gate: Gate,
        place: Place,
        outcome: StepOutcome,
        detail: impl FnOnce(&'s Snapshot) -> String,
    ) {
        match &mut self.notes {
            Notes::Nothing => {}
            Notes::Outcomes(outcomes) => outcomes.push((gate, outcome)),
            Notes::Steps(steps) => steps.push(Step {
                gate,
                place,
                outcome,
                detail: detail(self.snapshot),
            }),
        }
    }
}

/// The two deciding rules, or what is not known about them: egress first (K.1 "Naming rules").
fn admitted(egress: Admission, ingress: Admission) -> Result<(RuleId, RuleId), UnknownReason> {
    match (egress, ingress) {
        (Admission::By(egress), Admission::By(ingress)) => Ok((egress, ingress)),
        (Admission::Unresolved(mut rules), Admission::Unresolved(more)) => {
            rules.extend(more);
            Err(UnknownReason::UnresolvedRule { rules })
        }
        (Admission::Unresolved(rules), Admission::By(_) | Admission::NoGroups)
        | (Admission::By(_), Admission::Unresolved(rules)) => {
            Err(UnknownReason::UnresolvedRule { rules })
        }
        (Admission::NoGroups, _) | (Admission::By(_), Admission::NoGroups) => {
            Err(UnknownReason::NoGroups)
        }
    }
}
