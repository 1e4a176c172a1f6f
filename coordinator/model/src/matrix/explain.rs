//! Why: what decides at every gate of one flow, borrowed from the relation.

use crate::class::{Endpoint, Policed};
use crate::flow::Flow;
use crate::id::{NetworkAclId, RouteTableId, RuleId, SubnetId};
use crate::net::PortRange;
use crate::predict::{RouteTaken, Way};
use crate::prediction::{Gate, StepOutcome, UnknownReason, Verdict};
use crate::snapshot::{InterfaceEntry, Match, NetworkInterface};

use super::Matrix;
use super::acl::AclRowId;
use super::answer::{Cell, Pair, VerdictKind};
use super::row::{NO_GROUPS, RowId};

/// Most gates that one flow meets: all of [`Gate`].
const GATES_MAX: usize = 11;

/// A verdict with the elements that decide at the gates with ports, for one line of the relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision<'m> {
    pub(super) kind: VerdictKind,
    /// Gate that decides a deny or a partial.
    pub(super) gate: Option<Gate>,
    /// Word of a route denial or of an unknown.
    pub(super) reason: Option<&'static str>,
    /// Rule that admits at the sender; absent where none does.
    pub(super) egress: Option<&'m RuleId>,
    /// Rule that admits at the receiver; absent where none does.
    pub(super) ingress: Option<&'m RuleId>,
    /// Number of the entry of the sender's subnet that decides; absent inside a subnet and where nobody can tell.
    pub(super) entry_out: Option<u32>,
    /// Number of the entry of the receiver's subnet that decides.
    pub(super) entry_in: Option<u32>,
    pub(super) route: Option<&'m RouteTaken>,
}

/// A verdict with every gate that the flow meets, in the order of the walk, up to the one that ends it.
///
/// The gates, their places and what they say are those of [`crate::predict::predict`], without its sentences: nothing
/// is copied out of the relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation<'m> {
    /// The verdict.
    pub kind: VerdictKind,
    /// Gate that decides a deny or a partial.
    pub gate: Option<Gate>,
    /// Word of a route denial, an unknown or a bypass.
    pub reason: Option<&'static str>,
    /// The gates.
    pub gates: Vec<GateAnswer<'m>>,
}

/// What one gate says, and by which element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateAnswer<'m> {
    /// Which filter.
    pub gate: Gate,
    /// Where it is.
    pub site: Site<'m>,
    /// What it says.
    pub answer: Answer<'m>,
}

/// Where a gate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site<'m> {
    /// The flow as a whole.
    Flow,
    /// An interface with its groups.
    NetworkInterface(&'m NetworkInterface),
    /// A network ACL on a subnet's edge; absent where the snapshot has none for the subnet.
    NetworkAcl(&'m SubnetId, Option<&'m NetworkAclId>),
    /// A subnet's route table; absent inside the subnet, and where the snapshot has none.
    RouteTable(&'m SubnetId, Option<&'m RouteTableId>),
}

/// What a gate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'m> {
    /// The flow passes.
    Pass(Element<'m>),
    /// The flow is dropped.
    Drop(Element<'m>),
    /// Only these source ports pass: sorted, disjoint, not adjacent.
    Partly(&'m [PortRange]),
    /// The gate cannot be judged: the reason in a word.
    Unknown(&'static str),
    /// The gate is not met.
    Skipped,
}

/// The element that decides at a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element<'m> {
    /// No single one.
    Whole,
    /// A rule of a security group.
    Rule(&'m RuleId),
    /// The entry of a network ACL with this number; 32767 (IPv4) or 32768 (IPv6) where none matches.
    Entry(u32),
    /// A route.
    Route(&'m RouteTaken),
}

/// The gates met so far.
struct Met<'m> {
    gates: Vec<GateAnswer<'m>>,
}

impl<'m> Met<'m> {
    fn note(&mut self, gate: Gate, site: Site<'m>, answer: Answer<'m>) {
        self.gates.push(GateAnswer { gate, site, answer });
    }

    /// Notes a gate that ends the walk where it drops.
    fn pass(&mut self, gate: Gate, site: Site<'m>, answer: Answer<'m>) -> Option<()> {
        self.note(gate, site, answer);
        match answer {
            Answer::Drop(_) => None,
            Answer::Pass(_) | Answer::Partly(_) | Answer::Unknown(_) | Answer::Skipped => Some(()),
        }
    }
}

impl<'s> Matrix<'s> {
    /// Returns the verdict of a flow with every gate that it meets; absent of flows that the relation does not cover,
    /// which [`crate::predict::predict`] explains.
    #[must_use]
    pub fn explain(&self, flow: &Flow) -> Option<Explanation<'_>> {
        let (from, to, port) = self.ends(flow)?;
        if let Some(verdict) = self.same_host(from, to) {
            return Some(beside(&verdict));
        }
        let pair = self.pair(from.class, to.class)?;
        let interval = self.ports.of(port);
        let cell = self.cell(&pair, interval);
        let mut met = Met {
            gates: Vec::with_capacity(GATES_MAX),
        };
        // Where the walk ends makes no difference here: the last gate says it.
        let _ended = self.meet(&mut met, &pair, (from, to), interval);
        Some(Explanation {
            kind: cell.kind(),
            gate: cell.gate(),
            reason: self.reason(&pair, cell, interval),
            gates: met.gates,
        })
    }

    /// Meets the gates in the order of the walk; nothing where one of them ends it.
    fn meet<'m>(
        &'m self,
        met: &mut Met<'m>,
        pair: &Pair<'m>,
        (from, to): (&Endpoint, &Endpoint),
        interval: usize,
    ) -> Option<()> {
        let way = pair.way;
        let sender = self.snapshot.interfaces.at(from.owner);
        let receiver = self.snapshot.interfaces.at(to.owner);
        let endpoints = way.endpoints.as_ref().map(unknown);
        let is_open = endpoints.is_none();
        let whole = Answer::Pass(Element::Whole);
        met.note(Gate::Endpoints, Site::Flow, endpoints.unwrap_or(whole));
        is_open.then_some(())?;
        let rules = |row| self.rules(row, interval);
        let groups = Site::NetworkInterface(&sender.interface);
        met.pass(Gate::SgEgress, groups, rules(pair.egress))?;
        let table = self.table(sender, way);
        met.pass(Gate::Route, table, said(way, Gate::Route)?)?;
        if let Some((out, _)) = pair.acls {
            met.pass(Gate::NaclOut, self.list(sender), self.entry(out, interval))?;
        }
        if let Some(verdict) = &way.receiver {
            met.note(Gate::Endpoints, Site::Flow, unknown(verdict));
            return None;
        }
        if let Some((_, back)) = pair.acls {
            met.pass(
                Gate::NaclIn,
                self.list(receiver),
                self.entry(back, interval),
            )?;
        }
        let groups = Site::NetworkInterface(&receiver.interface);
        met.pass(Gate::SgIngress, groups, rules(pair.ingress))?;
        if !way.is_same_subnet {
            let lists = [
                (Gate::NaclReturnOut, receiver),
                (Gate::NaclReturnIn, sender),
            ];
            for (gate, entry) in lists {
                said(way, gate)
                    .into_iter()
                    .for_each(|answer| met.note(gate, self.list(entry), answer));
            }
            // One list alone does not end the walk: what it lets pass the other may take, or nobody can tell.
            way.replies.is_none().then_some(())?;
            let table = self.table(receiver, way);
            met.pass(Gate::ReturnRoute, table, said(way, Gate::ReturnRoute)?)?;
        }
        if pair.policed == Policed::Yes {
            let reason = UnknownReason::NetworkPolicy.as_str();
            met.note(Gate::NetworkPolicy, Site::Flow, Answer::Unknown(reason));
        }
        Some(())
    }

    fn list<'m>(&'m self, entry: &'m InterfaceEntry) -> Site<'m> {
        let list = self.snapshot.subnets.at(entry.subnet).acl;
        let id = list.map(|key| &self.snapshot.network_acls.at(key).id);
        Site::NetworkAcl(&entry.interface.subnet, id)
    }

    fn table<'m>(&'m self, entry: &'m InterfaceEntry, way: &Way) -> Site<'m> {
        let table = self.snapshot.subnets.at(entry.subnet).table;
        let asked = table.filter(|_| !way.is_same_subnet);
        let id = asked.map(|key| &self.snapshot.route_tables.at(key).id);
        Site::RouteTable(&entry.interface.subnet, id)
    }

    fn rules(&self, row: RowId, interval: usize) -> Answer<'_> {
        match self.groups.answer(row, interval) {
            Match::Yes => Answer::Pass(
                self.deciding(row, interval)
                    .map_or(Element::Whole, Element::Rule),
            ),
            Match::No => Answer::Drop(Element::Whole),
            Match::Unsure if row == NO_GROUPS => Answer::Unknown(UnknownReason::NoGroups.as_str()),
            Match::Unsure => Answer::Unknown(unresolved_rule()),
        }
    }

    fn entry(&self, row: AclRowId, interval: usize) -> Answer<'_> {
        let element = Element::Entry(self.acls.deciding(row, interval));
        match self.acls.answer(row, interval) {
            Match::Yes => Answer::Pass(element),
            Match::No => Answer::Drop(element),
            Match::Unsure => Answer::Unknown(UnknownReason::Other.as_str()),
        }
    }

    /// The rule that admits an interval.
    fn deciding(&self, row: RowId, interval: usize) -> Option<&RuleId> {
        let place = self.groups.deciding(row, interval)?;
        self.groups.rule(place).map(|rule| &rule.id)
    }

    /// Everything that decides one cell.
    pub(super) fn decide<'m>(&'m self, pair: &Pair<'m>, interval: usize) -> Decision<'m> {
        let cell = self.cell(pair, interval);
        let entry = |row| Some(self.acls.deciding(row, interval)).filter(|number| *number != 0);
        Decision {
            kind: cell.kind(),
            gate: cell.gate(),
            reason: self.reason(pair, cell, interval),
            egress: self.deciding(pair.egress, interval),
            ingress: self.deciding(pair.ingress, interval),
            entry_out: pair.acls.and_then(|(out, _)| entry(out)),
            entry_in: pair.acls.and_then(|(_, back)| entry(back)),
            route: pair.way.route_taken.as_ref(),
        }
    }

    fn reason(&self, pair: &Pair<'_>, cell: Cell<'_>, interval: usize) -> Option<&'static str> {
        match cell {
            Cell::Way(verdict) => verdict.reason(),
            Cell::Path(reason) => Some(reason.as_str()),
            Cell::Rules if self.lacks_groups(pair, interval) => {
                Some(UnknownReason::NoGroups.as_str())
            }
            Cell::Rules => Some(unresolved_rule()),
            Cell::Other => Some(UnknownReason::Other.as_str()),
            Cell::Policy => Some(UnknownReason::NetworkPolicy.as_str()),
            Cell::SgEgress | Cell::SgIngress | Cell::NaclOut(_) | Cell::NaclIn(_) | Cell::Allow => {
                None
            }
        }
    }
}

/// Two addresses of one host.
fn beside<'m>(verdict: &Verdict) -> Explanation<'m> {
    let answer = match verdict {
        Verdict::Unknown(reason) => Answer::Unknown(reason.as_str()),
        Verdict::Bypass(_)
        | Verdict::Allow { .. }
        | Verdict::Deny(_)
        | Verdict::Partial { .. }
        | Verdict::Exempt(_) => Answer::Skipped,
    };
    Explanation {
        kind: VerdictKind::from(verdict),
        gate: None,
        reason: verdict.reason(),
        gates: vec![GateAnswer {
            gate: Gate::Endpoints,
            site: Site::Flow,
            answer,
        }],
    }
}

/// A verdict of the endpoints that nobody can tell more about.
fn unknown<'m>(verdict: &Verdict) -> Answer<'m> {
    Answer::Unknown(verdict.reason().unwrap_or(UnknownReason::Other.as_str()))
}

/// The word of rules that could not be resolved; their names are in the verdict.
fn unresolved_rule() -> &'static str {
    UnknownReason::UnresolvedRule { rules: Vec::new() }.as_str()
}

/// What a gate without ports said on the way, if the way met it.
fn said(way: &Way, gate: Gate) -> Option<Answer<'_>> {
    let route = way.route_taken.as_ref().filter(|_| gate == Gate::Route);
    let element = route.map_or(Element::Whole, Element::Route);
    let (_, outcome) = way.outcomes.iter().find(|said| said.0 == gate)?;
    Some(match outcome {
        StepOutcome::Pass { .. } => Answer::Pass(element),
        StepOutcome::Drop => Answer::Drop(element),
        StepOutcome::Partly { open_ports } => Answer::Partly(open_ports),
        StepOutcome::Unknown(reason) => Answer::Unknown(reason.as_str()),
        StepOutcome::Skipped => Answer::Skipped,
    })
}
