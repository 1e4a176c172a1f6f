//! Why: what decides at every gate of one flow, borrowed from the relation.

use crate::class::Policed;
use crate::flow::Flow;
use crate::id::{NetworkAclId, RouteTableId, RuleId, SubnetId};
use crate::net::PortRange;
use crate::predict::{Fixed, Gates, RouteTaken, Said, Way, walk};
use crate::prediction::{Gate, StepOutcome, UnknownReason, Verdict};
use crate::snapshot::{Direction, InterfaceEntry, NetworkInterface};

use super::Matrix;
use super::acl::AclRowId;
use super::answer::{Cell, OneCell, Pair, VerdictKind};
use super::row::{NO_GROUPS, RowId};

/// Most gates that one flow meets: all of [`Gate`].
const GATES_MAX: usize = 11;

/// A verdict with the elements that decide at the gates with ports, for one line of the relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision<'m> {
    pub(crate) kind: VerdictKind,
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

/// One port interval of a pair on its way through the gates, with what each of them says.
struct Met<'w, 'm, 's> {
    one: OneCell<'w, 'm, 's>,
    sender: &'m InterfaceEntry,
    receiver: &'m InterfaceEntry,
    /// What the way said at gates that are still to be met, in the order of the walk.
    said: &'m [Said],
    gates: Vec<GateAnswer<'m>>,
}

impl<'m> Met<'_, 'm, '_> {
    #[inline]
    fn note(&mut self, gate: Gate, site: Site<'m>, answer: Answer<'m>) {
        self.gates.push(GateAnswer { gate, site, answer });
    }

    /// Notes what the way said at a gate without ports.
    fn note_said(&mut self, said: &'m Said) {
        let answer = answer(self.one.pair.way, said.gate, &said.outcome);
        self.note(said.gate, self.site(said.gate), answer);
    }

    /// Where a gate is that needs no port.
    fn site(&self, gate: Gate) -> Site<'m> {
        let (matrix, way) = (self.one.matrix, self.one.pair.way);
        match gate {
            Gate::Endpoints | Gate::NetworkPolicy => Site::Flow,
            Gate::SourceDestCheck | Gate::SgEgress => {
                Site::NetworkInterface(&self.sender.interface)
            }
            Gate::SgIngress => Site::NetworkInterface(&self.receiver.interface),
            Gate::NaclOut | Gate::NaclReturnIn => matrix.list(self.sender),
            Gate::NaclIn | Gate::NaclReturnOut => matrix.list(self.receiver),
            Gate::Route => matrix.table(self.sender, way),
            Gate::ReturnRoute => matrix.table(self.receiver, way),
        }
    }
}

impl<'m> Gates for Met<'_, 'm, '_> {
    type End = Cell<'m>;

    #[expect(
        clippy::inline_always,
        reason = "once for each gate without ports: as calls they are a tenth of an explanation"
    )]
    #[inline(always)]
    fn fixed(&mut self, gate: Fixed) -> Result<(), Cell<'m>> {
        while let [said, rest @ ..] = self.said
            && said.at == gate
        {
            self.said = rest;
            self.note_said(said);
        }
        if gate == Fixed::NetworkPolicy && self.one.pair.policed == Policed::Yes {
            let reason = UnknownReason::NetworkPolicy.as_str();
            self.note(Gate::NetworkPolicy, Site::Flow, Answer::Unknown(reason));
        }
        self.one.fixed(gate)
    }

    #[inline]
    fn rules(&mut self, direction: Direction) -> Result<(), Cell<'m>> {
        let (gate, entry) = match direction {
            Direction::Egress => (Gate::SgEgress, self.sender),
            Direction::Ingress => (Gate::SgIngress, self.receiver),
        };
        let (row, lanes) = self.one.rule_lanes(direction);
        let answer = self.one.matrix.rules(row, self.one.interval, lanes);
        self.note(gate, Site::NetworkInterface(&entry.interface), answer);
        self.one.admit(direction, lanes)
    }

    #[inline]
    fn entries(&mut self, direction: Direction) -> Result<(), Cell<'m>> {
        let Some((row, lanes)) = self.one.entry_lanes(direction) else {
            return Ok(());
        };
        let (gate, entry) = match direction {
            Direction::Egress => (Gate::NaclOut, self.sender),
            Direction::Ingress => (Gate::NaclIn, self.receiver),
        };
        let answer = self.one.matrix.entry(row, self.one.interval, lanes);
        self.note(gate, self.one.matrix.list(entry), answer);
        self.one.pass(direction, row, lanes)
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
        let pair = self.pair_of_hosts(from.class, to.class)?;
        let interval = self.ports.of(port);
        let mut met = Met {
            one: OneCell::new(self, &pair, interval),
            sender: self.snapshot.interfaces.at(from.owner),
            receiver: self.snapshot.interfaces.at(to.owner),
            said: &pair.way.said,
            gates: Vec::with_capacity(GATES_MAX),
        };
        let walked = walk(&mut met);
        let cell = met.one.settle(walked);
        Some(Explanation {
            kind: cell.kind(),
            gate: cell.gate(),
            reason: self.reason(&pair, cell, interval),
            gates: met.gates,
        })
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

    fn rules(&self, row: RowId, interval: usize, lanes: (u64, u64)) -> Answer<'_> {
        match lanes {
            (1, _) => Answer::Pass(
                self.deciding(row, interval)
                    .map_or(Element::Whole, Element::Rule),
            ),
            (_, 0) => Answer::Drop(Element::Whole),
            (_, _) if row == NO_GROUPS => Answer::Unknown(UnknownReason::NoGroups.as_str()),
            (_, _) => Answer::Unknown(unresolved_rule()),
        }
    }

    fn entry(&self, row: AclRowId, interval: usize, lanes: (u64, u64)) -> Answer<'_> {
        let element = || Element::Entry(self.acls.deciding(row, interval));
        match lanes {
            (1, _) => Answer::Pass(element()),
            (_, 0) => Answer::Drop(element()),
            (_, _) => Answer::Unknown(UnknownReason::Other.as_str()),
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
            Cell::Doubt(doubt) => Some(match doubt.reason() {
                Some(reason) => reason.as_str(),
                None => self.unresolved(pair, interval).as_str(),
            }),
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

/// The word of rules that could not be resolved; their names are in the verdict.
fn unresolved_rule() -> &'static str {
    UnknownReason::UnresolvedRule { rules: Vec::new() }.as_str()
}

/// What a gate without ports said on the way.
fn answer<'m>(way: &'m Way, gate: Gate, outcome: &'m StepOutcome) -> Answer<'m> {
    let element = || match &way.route_taken {
        Some(route) if gate == Gate::Route => Element::Route(route),
        Some(_) | None => Element::Whole,
    };
    match outcome {
        StepOutcome::Pass { .. } => Answer::Pass(element()),
        StepOutcome::Drop => Answer::Drop(element()),
        StepOutcome::Partly { open_ports } => Answer::Partly(open_ports),
        StepOutcome::Unknown(reason) => Answer::Unknown(reason.as_str()),
        StepOutcome::Skipped => Answer::Skipped,
    }
}
