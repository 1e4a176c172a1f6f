//! The evaluator of SEMANTICS K: one flow, every gate on its way.

use std::net::IpAddr;

use crate::flow::{Flow, SourceKind};
use crate::id::RuleId;
use crate::net::PortRange;
use crate::prediction::{
    Denial, Gate, Place, Prediction, Step, StepOutcome, UnknownReason, Verdict,
};
use crate::snapshot::{Direction, InterfaceEntry, Key, Snapshot};

use endpoint::Destination;
use route::{Hop, Path};
use security_group::Admission;

mod endpoint;
mod exemption;
mod gates;
mod network_acl;
mod outside;
mod policy;
mod reply;
mod return_route;
mod route;
mod security_group;
mod survey;
mod transit_gateway;
mod way;

pub(crate) use endpoint::same_host;
pub(crate) use exemption::exempt_addresses;
pub(crate) use gates::{Doubt, Doubts, Fixed, Gates, walk};
pub(crate) use network_acl::{AclAnswer, ask};
pub(crate) use route::never_forwarded;
pub use survey::stops;
pub(crate) use survey::{Ends, survey};
pub use way::RouteTaken;

pub(crate) use way::{Said, Way};

/// A gate that stops a flow, or some of its source ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// What stops it; of a list that only some replies pass, the entry that denies the lowest denied port.
    pub denial: Denial,
    /// Source ports that pass this gate all the same: of reply lists alone; sorted, disjoint, not adjacent.
    pub open_ports: Vec<PortRange>,
}

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
    let mut walk = Walk::new(snapshot, flow, Notes::Nothing);
    let route = walk.route_of_ends().ok()?;
    walk.endpoints(&route).ok()?;
    (route.sender.address != flow.source).then_some(route.sender.address)
}

/// Returns whether the answer may depend on whether a host or a pod sends: the CNI translates what a pod sends along
/// `flow`, or nobody can tell whether it does (E.1).
pub(crate) fn depends_on_source_kind(snapshot: &Snapshot, flow: &Flow) -> bool {
    let as_pod = Flow {
        source_kind: SourceKind::Pod,
        ..flow.clone()
    };
    let mut walk = Walk::new(snapshot, &as_pod, Notes::Nothing);
    match walk.source_interface() {
        Ok(Some(key)) => {
            let sender = walk.sender(key);
            !matches!(walk.translated(sender), Ok(None))
        }
        Ok(None) | Err(_) => false,
    }
}

/// A flow on its way.
struct Walk<'s> {
    snapshot: &'s Snapshot,
    flow: &'s Flow,
    notes: Notes,
    doubts: Doubts,
    partial: Option<Verdict>,
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

    fn take_outcomes(&mut self) -> Vec<(Gate, StepOutcome)> {
        match self {
            Self::Outcomes(outcomes) => std::mem::take(outcomes),
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
    /// The side that receives, where the way leads to one.
    fn receiver(&self) -> Option<Receiver<'s>> {
        match &self.destination {
            Destination::One(receiver) => Some(*receiver),
            Destination::Nobody | Destination::Elsewhere => None,
        }
    }

    /// The interface that receives, where the way leads to one.
    fn receiving(&self) -> Option<&'s InterfaceEntry> {
        self.receiver().map(|receiver| receiver.entry)
    }
}

/// One flow on its way through the gates.
struct OneFlow<'w, 's> {
    walk: &'w mut Walk<'s>,
    route: Route<'s>,
    egress: Admission,
    ingress: Admission,
}

impl OneFlow<'_, '_> {
    /// What the gates so far say, in a word.
    fn alone(&self) -> &'static str {
        let is_admitted = |admission: &Admission| matches!(admission, Admission::By(_));
        let is_known =
            self.walk.doubts.is_empty() && is_admitted(&self.egress) && is_admitted(&self.ingress);
        match (is_known, &self.walk.partial) {
            (false, _) => "unknown",
            (true, Some(_)) => "partial",
            (true, None) => "allow",
        }
    }
}

impl Gates for OneFlow<'_, '_> {
    type End = Verdict;

    fn fixed(&mut self, gate: Fixed) -> Result<(), Verdict> {
        if gate == Fixed::NetworkPolicy {
            let alone = self.alone();
            self.walk.network_policies(alone);
            return Ok(());
        }
        self.walk.fixed(gate, &self.route)
    }

    fn rules(&mut self, direction: Direction) -> Result<(), Verdict> {
        let admission = self.walk.security_group(&self.route, direction)?;
        match direction {
            Direction::Egress => self.egress = admission,
            Direction::Ingress => self.ingress = admission,
        }
        Ok(())
    }

    fn entries(&mut self, direction: Direction) -> Result<(), Verdict> {
        self.walk.network_acl(&self.route, direction)
    }
}

impl<'s> Walk<'s> {
    fn new(snapshot: &'s Snapshot, flow: &'s Flow, notes: Notes) -> Self {
        Self {
            snapshot,
            flow,
            notes,
            doubts: Doubts::default(),
            partial: None,
        }
    }

    fn verdict(&mut self) -> Verdict {
        match self.walk() {
            Ok(verdict) | Err(verdict) => verdict,
        }
    }

    /// The list of K, from top to bottom; an `Err` ends the walk early.
    fn walk(&mut self) -> Result<Verdict, Verdict> {
        let route = self.route_of_ends()?;
        let mut one = OneFlow {
            walk: self,
            route,
            egress: Admission::NoGroups,
            ingress: Admission::NoGroups,
        };
        walk(&mut one)?;
        let OneFlow {
            egress, ingress, ..
        } = one;
        Ok(self.conclusion(egress, ingress))
    }

    /// Asks a gate without ports.
    fn fixed(&mut self, gate: Fixed, route: &Route<'s>) -> Result<(), Verdict> {
        match gate {
            Fixed::Endpoints => self.endpoints(route),
            Fixed::SourceDestCheck => self.source_dest_check(route),
            Fixed::Route => self.route(route),
            Fixed::Receiver => self.receiver(route),
            Fixed::Replies => self.answered(route, Self::replies),
            Fixed::ReturnRoute => {
                self.note_forward_only(route);
                self.answered(route, Self::return_route)
            }
            // Policies select pods, not ways: whoever knows the pods asks.
            Fixed::NetworkPolicy => Ok(()),
        }
    }

    /// Whether a reply is judged that a router takes back: tcp, udp and ICMP echo, unless both ends are in one subnet.
    fn has_routed_reply(&self, route: &Route<'s>) -> bool {
        self.flow.protocol.has_reply() && !route.hop.path.is_same_subnet()
    }

    /// Says that answers to other protocols are not judged (K.1 "ICMP echo").
    fn note_forward_only(&mut self, route: &Route<'s>) {
        if self.flow.protocol.has_reply() || route.receiver().is_none() {
            return;
        }
        let protocol = self.flow.protocol;
        let place = Place::RouteTable {
            subnet: route.sender.entry.interface.subnet.clone(),
            table: None,
        };
        self.note(Gate::ReturnRoute, place, StepOutcome::Skipped, |_| {
            format!("{protocol} is judged forward only: whatever answers it is not looked at")
        });
    }

    /// Asks a gate of the replies, where there are any.
    fn answered(
        &mut self,
        route: &Route<'s>,
        gate: impl FnOnce(&mut Self, &Route<'s>, Receiver<'s>) -> Result<(), Verdict>,
    ) -> Result<(), Verdict> {
        match route.receiver() {
            Some(receiver) if self.has_routed_reply(route) => gate(self, route, receiver),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the far side can be judged at all (K: `de unknown`, `path ∈ {nat,igw,vgw,other}`).
    fn receiver(&mut self, route: &Route<'s>) -> Result<(), Verdict> {
        let reason = match (&route.destination, &route.hop.path) {
            (Destination::Nobody, _) => UnknownReason::DstOutsideModel,
            (_, Path::Nat) => UnknownReason::Nat,
            (_, Path::InternetGateway) => UnknownReason::Igw,
            (_, Path::VpnGateway) => UnknownReason::Vgw,
            (_, Path::Other | Path::Unread) => UnknownReason::Other,
            (_, Path::Conflict) => UnknownReason::Conflict,
            (Destination::Elsewhere, _) => UnknownReason::DstOutsideModel,
            (Destination::One(_), _) => return Ok(()),
        };
        if self.has_routed_reply(route) {
            self.own_reply_list(route)?;
        }
        let detail = endpoint::words::unreachable(&reason, self.flow.destination);
        self.note(
            Gate::Endpoints,
            Place::Flow,
            StepOutcome::Unknown(reason.clone()),
            |_| detail,
        );
        Err(Verdict::Unknown(reason))
    }

    /// Nothing denies: the first thing that is not known, else the ports, else an allow.
    fn conclusion(&mut self, egress: Admission, ingress: Admission) -> Verdict {
        let rules = admitted(self.snapshot, egress, ingress);
        self.doubts.add_if(rules.is_err(), Doubt::Rules);
        let doubt = self.doubts.settle();
        match (doubt.and_then(Doubt::reason), rules) {
            (Some(reason), _) | (None, Err(reason)) => Verdict::Unknown(reason),
            (None, Ok((egress, ingress))) => {
                let partial = self.partial.take();
                partial.unwrap_or(Verdict::Allow { egress, ingress })
            }
        }
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
fn admitted(
    snapshot: &Snapshot,
    egress: Admission,
    ingress: Admission,
) -> Result<(RuleId, RuleId), UnknownReason> {
    match (egress, ingress) {
        (Admission::By(egress), Admission::By(ingress)) => Ok((egress, ingress)),
        (Admission::Unresolved(mut rules), Admission::Unresolved(more)) => {
            rules.extend(more);
            Err(snapshot.unresolved(rules))
        }
        (Admission::Unresolved(rules), Admission::By(_) | Admission::NoGroups)
        | (Admission::By(_), Admission::Unresolved(rules)) => Err(snapshot.unresolved(rules)),
        (Admission::NoGroups, _) | (Admission::By(_), Admission::NoGroups) => {
            Err(UnknownReason::NoGroups)
        }
    }
}
