//! What changed in reachability between two snapshots, and which rules did it.
//!
//! TCP between classes is compared as relations: both are cut by the networks and ports of both snapshots, so that their
//! cells can be laid on each other. Endpoints are followed by interface and address: one that changed its groups moves from
//! one class to another. Everything else that the model answers is compared by asking it (`answers`): UDP, ICMP and other
//! protocols, pods as pods, addresses outside, two endpoints on one host, interfaces that others replaced.
//!
//! **Invariant.** [`Difference::is_change`] is false only if no answer of the model changed for addresses of both snapshots.

use std::collections::{BTreeSet, HashMap, HashSet};

use answers::Questions;
use content::Contents;
use end::Ends;

use crate::class::{ClassId, HostRole, Zones};
use crate::expectation::members::{API_SERVER_PORT, DNS_PORT, KUBELET_PORT, core_dns};
use crate::id::NetworkInterfaceId;
use crate::matrix::{Cells, Decision, Matrix, Ports, VerdictKind, members};
use crate::net::PortRange;
use crate::prediction::Gate;
use crate::snapshot::{InterfaceEntry, Key, Snapshot};

pub use answer::{AnswerChange, Packets, Party};
pub use edit::{ChangedPair, NotCovered};
pub use line::{LineChange, LineKind};
pub use told::{PartyLabel, ToldChange, change_word, outside_word};

pub(crate) use atom::Mentioned;

mod answer;
mod answers;
mod atom;
mod content;
mod edit;
mod end;
mod kin;
mod line;
mod told;

/// Two relations over the same networks and ports.
#[derive(Debug)]
pub struct Comparison<'s> {
    before: Matrix<'s>,
    after: Matrix<'s>,
}

/// The classes of an endpoint before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Move {
    /// Its class before.
    pub before: ClassId,
    /// Its class after.
    pub after: ClassId,
}

/// Whether a change concerns a flow that the cluster needs (ARCHITECTURE, "Expectations").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Concern {
    /// It does: to the API server, to the kubelet, or to CoreDNS.
    Expectation,
    /// It does not.
    Other,
}

/// Ports between two kinds of endpoints whose verdict changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowChange {
    /// Whether the cluster needs such flows.
    pub concern: Concern,
    /// Endpoints that send.
    pub source: Move,
    /// Endpoints that receive.
    pub destination: Move,
    /// The ports, both ends inclusive.
    pub ports: PortRange,
    /// The verdict before.
    pub before: VerdictKind,
    /// The verdict after.
    pub after: VerdictKind,
    /// What is responsible: names of rules, `ACL#ENTRY`, or the word of a gate.
    pub responsible: Vec<String>,
}

/// Everything that changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// TCP between classes whose verdict changed, what the cluster needs first.
    pub flows: Vec<FlowChange>,
    /// The same between classes of which no two endpoints are on two hosts: no flow of today.
    pub latent: Vec<FlowChange>,
    /// Other answers that changed between endpoints of the snapshots, what the cluster needs first.
    pub answers: Vec<AnswerChange>,
    /// Answers that changed towards or from addresses that no interface owns.
    pub outside: Vec<AnswerChange>,
    /// Interfaces that are new.
    pub appeared: BTreeSet<NetworkInterfaceId>,
    /// Interfaces with an address of a kind that was not there before, and that replaces nothing.
    pub novel: BTreeSet<NetworkInterfaceId>,
    /// Interfaces that are gone, and that no other one replaces.
    pub gone: BTreeSet<NetworkInterfaceId>,
    /// Interfaces that are gone, and those that took their place: the same kind of interface in the same subnet.
    pub replaced: BTreeSet<NetworkInterfaceId>,
    /// Interfaces that lost an address of a kind that is no more.
    pub shrunk: BTreeSet<NetworkInterfaceId>,
    /// Rules, entries, routes, settings and memberships that are written differently.
    pub lines: Vec<LineChange>,
    /// Whether all answers were compared, and all changes are listed.
    pub coverage: Coverage,
}

/// How much was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Coverage {
    /// Every answer of the model, and everything that changed is listed.
    #[default]
    Whole,
    /// Every answer that was compared is listed, but some were not: nobody can say that nothing changed.
    Bounded,
    /// More changed than is listed.
    Shortened,
}

impl Difference {
    /// Returns whether any answer differs, or may differ where the comparison met a bound. Lines alone do not count, nor
    /// do interfaces that are only new, of a kind that was there.
    #[must_use]
    pub fn is_change(&self) -> bool {
        let interfaces = [&self.novel, &self.gone, &self.shrunk];
        self.coverage != Coverage::Whole
            || !self.flows.is_empty()
            || !self.answers.is_empty()
            || !self.outside.is_empty()
            || interfaces.iter().any(|list| !list.is_empty())
    }
}

impl<'s> Comparison<'s> {
    /// Builds both relations.
    #[must_use]
    pub fn new(before: &'s Snapshot, after: &'s Snapshot) -> Self {
        let zones = Zones::new([before, after]);
        let ports = Ports::new([before, after]);
        Self {
            before: Matrix::with(before, zones.clone(), ports.clone()),
            after: Matrix::with(after, zones, ports),
        }
    }

    /// The same between some interfaces alone, of two snapshots that have the same interfaces: see [`crate::class::Classes::of_some`].
    pub(crate) fn among(
        before: &'s Snapshot,
        after: &'s Snapshot,
        wanted: &BTreeSet<Key<InterfaceEntry>>,
    ) -> Self {
        let (zones, ports) = (Zones::new([before, after]), Ports::new([before, after]));
        let [before, after] = [before, after].map(|snapshot| {
            let cuts = (zones.clone(), ports.clone());
            Matrix::among(snapshot, cuts, |key| wanted.contains(&key))
        });
        Self { before, after }
    }

    /// Returns the relation before.
    #[must_use]
    pub fn before(&self) -> &Matrix<'s> {
        &self.before
    }

    /// Returns the relation after.
    #[must_use]
    pub fn after(&self) -> &Matrix<'s> {
        &self.after
    }

    /// Compares everything: TCP between classes, and by asking what the relations do not hold.
    #[must_use]
    pub fn difference(&self) -> Difference {
        self.rest(self.flows())
    }

    /// Lays both relations on each other: TCP between classes, what the cluster needs first.
    #[must_use]
    pub fn flows(&self) -> Vec<FlowChange> {
        self.flows_between(|_, _| true)
    }

    /// The same between some classes before alone.
    pub(crate) fn flows_between(
        &self,
        is_wanted: impl Fn(ClassId, ClassId) -> bool,
    ) -> Vec<FlowChange> {
        let moves = self.moves();
        let concerns = Concerns::new(&self.before, &self.after);
        let mut flows = Vec::new();
        for source in &moves {
            for destination in &moves {
                if is_wanted(source.before, destination.before) {
                    self.compare((*source, *destination), &concerns, &mut flows);
                }
            }
        }
        flows.sort_by_key(|flow| (flow.concern, flow.source, flow.destination, flow.ports));
        flows
    }

    /// What is compared by asking, around what the relations say.
    fn rest(&self, flows: Vec<FlowChange>) -> Difference {
        let snapshots = [self.before.snapshot(), self.after.snapshot()];
        let [before, after] = snapshots;
        let contents = Contents::both(snapshots);
        let ends = Ends::new(before, after, &contents);
        let answers = Questions::new([&self.before, &self.after], &ends, &contents).ask();
        let coverage = match (answers.is_whole, answers.is_cut) {
            (true, false) => Coverage::Whole,
            (_, true) => Coverage::Shortened,
            (false, false) => Coverage::Bounded,
        };
        let is_listed = self.cells(&answers.changes, &flows);
        // Beyond a bound nobody knows whether there are such endpoints.
        let (flows, latent) = if coverage == Coverage::Whole {
            let is_met = |flow: &FlowChange| is_listed.flows.contains(&flow.cell());
            flows.into_iter().partition(is_met)
        } else {
            (flows, Vec::new())
        };
        let changes = answers.changes.into_iter().enumerate();
        let mut changes: Vec<_> = changes
            .filter(|(place, _)| !is_listed.answers.contains(place))
            .map(|(_, change)| change)
            .collect();
        changes.sort_by_key(AnswerChange::order);
        let (outside, answers) = changes.into_iter().partition(AnswerChange::is_outside);
        let (former, present) = (interfaces(&self.before), interfaces(&self.after));
        let gone = former.difference(&present);
        Difference {
            flows,
            latent,
            answers,
            outside,
            appeared: present.difference(&former).cloned().collect(),
            gone: gone
                .filter(|id| !ends.replaced.contains(*id))
                .cloned()
                .collect(),
            novel: ends.novel,
            replaced: ends.replaced,
            shrunk: ends.shrunk,
            lines: line::lines(before, after),
            coverage,
        }
    }

    /// Which changes of TCP both the relations and the answers have.
    fn cells(&self, changes: &[AnswerChange], flows: &[FlowChange]) -> Common {
        let mut by_pair: HashMap<(Move, Move), Vec<&FlowChange>> = HashMap::new();
        for flow in flows {
            let pair = (flow.source, flow.destination);
            by_pair.entry(pair).or_default().push(flow);
        }
        let step = |party: &Party| match party {
            Party::Inside { before, after, .. } if before == after => Some(Move {
                before: self.before.classes().of(*before)?,
                after: self.after.classes().of(*after)?,
            }),
            Party::Inside { .. } | Party::Outside { .. } => None,
        };
        let mut common = Common::default();
        for (place, change) in changes.iter().enumerate() {
            let Packets::Tcp(ports) = change.packets else {
                continue;
            };
            let pair = step(&change.source).zip(step(&change.destination));
            let Some(flows) = pair.and_then(|pair| by_pair.get(&pair)) else {
                continue;
            };
            if change.on_one_host {
                continue;
            }
            for flow in flows {
                if flow.ports.intersection(ports).is_some()
                    && (flow.before, flow.after) == change.kinds()
                {
                    common.answers.insert(place);
                    common.flows.insert(flow.cell());
                }
            }
        }
        common
    }

    /// The classes of every endpoint that is in both.
    fn moves(&self) -> BTreeSet<Move> {
        let (before, after) = (self.before.classes(), self.after.classes());
        let forward = before.iter().flat_map(|(id, class)| {
            let there = class
                .members
                .iter()
                .filter_map(|member| after.of(member.address));
            there.map(move |after| Move { before: id, after })
        });
        let backward = after.iter().flat_map(|(id, class)| {
            let there = class
                .members
                .iter()
                .filter_map(|member| before.of(member.address));
            there.map(move |before| Move { before, after: id })
        });
        forward.chain(backward).collect()
    }

    /// The ports of a pair whose verdict differs; neighbours with one tuple on either side are one change.
    fn compare(
        &self,
        (source, destination): (Move, Move),
        concerns: &Concerns,
        flows: &mut Vec<FlowChange>,
    ) {
        let before = self.before.cells_between(source.before, destination.before);
        let after = self.after.cells_between(source.after, destination.after);
        let Some((before, after)) = before.zip(after) else {
            return;
        };
        let mut last: Option<(usize, Decision<'_>, Decision<'_>)> = None;
        for (interval, ports) in self.differing(&before, &after) {
            let (was, is) = (before.decide(interval), after.decide(interval));
            if was.kind == is.kind {
                continue;
            }
            let known = last.as_ref().is_some_and(|(place, one, other)| {
                place.checked_add(1) == Some(interval) && (one, other) == (&was, &is)
            });
            match flows.last_mut() {
                Some(flow) if known => {
                    flow.ports = PortRange::between(flow.ports.first(), ports.last());
                }
                Some(_) | None => flows.push(FlowChange {
                    concern: Concern::Other,
                    source,
                    destination,
                    ports,
                    before: was.kind,
                    after: is.kind,
                    responsible: responsible((&before, &was), (&after, &is)),
                }),
            }
            if let Some(flow) = flows.last_mut() {
                flow.concern = concerns.of(source, destination, flow.ports);
            }
            last = Some((interval, was, is));
        }
    }

    /// The intervals at which two cells may have different verdicts, with their ports, lowest first.
    fn differing(&self, before: &Cells<'_>, after: &Cells<'_>) -> Vec<(usize, PortRange)> {
        let is_told = before.are_told_by_words() && after.are_told_by_words();
        let words = before.kinds().zip(after.kinds()).map(|(one, other)| {
            let partly = if one.2 == other.2 { 0 } else { u64::MAX };
            let differs = (one.0 ^ other.0) | (one.1 ^ other.1) | ((one.1 | other.1) & partly);
            if is_told { differs } else { u64::MAX }
        });
        let words: Vec<u64> = words.collect();
        let intervals = self.before.port_intervals();
        let at = |interval: usize| Some((interval, *intervals.get(interval)?));
        members(&words).filter_map(at).collect()
    }
}

/// Changes that are found both ways.
#[derive(Debug, Default)]
struct Common {
    flows: HashSet<(Move, Move, PortRange)>,
    /// Places of answers.
    answers: HashSet<usize>,
}

impl FlowChange {
    fn cell(&self) -> (Move, Move, PortRange) {
        (self.source, self.destination, self.ports)
    }
}

fn interfaces(matrix: &Matrix<'_>) -> BTreeSet<NetworkInterfaceId> {
    let all = matrix.snapshot().network_interfaces();
    all.map(|interface| interface.id.clone()).collect()
}

/// Who is to blame: the side whose gate closed a flow that was open, or opened one that was closed.
fn responsible(
    before: (&Cells<'_>, &Decision<'_>),
    after: (&Cells<'_>, &Decision<'_>),
) -> Vec<String> {
    let (closed, open) = if after.1.kind == VerdictKind::Allow {
        (before, after)
    } else {
        (after, before)
    };
    let [closed, open] = [closed, open].map(|(cells, decision)| cells.tuple(decision));
    let entry = |entry: &Option<(crate::id::NetworkAclId, u32)>| {
        entry
            .as_ref()
            .map(|(acl, number)| format!("{acl}#{number}"))
    };
    let found = match closed.gate {
        Some(Gate::SgEgress) => open.egress.as_ref().map(ToString::to_string),
        Some(Gate::SgIngress) => open.ingress.as_ref().map(ToString::to_string),
        Some(Gate::NaclOut) => entry(&closed.entry_out),
        Some(Gate::NaclIn) => entry(&closed.entry_in),
        Some(Gate::Route) => {
            let route = open.route.as_ref().or(closed.route.as_ref());
            route.map(|(table, route)| format!("{table}: {route}"))
        }
        Some(
            gate @ (Gate::NaclReturnOut
            | Gate::NaclReturnIn
            | Gate::ReturnRoute
            | Gate::SourceDestCheck
            | Gate::Endpoints
            | Gate::NetworkPolicy),
        ) => Some(gate.to_string()),
        None => closed.reason.map(str::to_owned),
    };
    found.into_iter().collect()
}

/// Which flows the cluster needs.
struct Concerns {
    core_dns: BTreeSet<ClassId>,
    control_plane: BTreeSet<ClassId>,
    nodes: BTreeSet<ClassId>,
}

impl Concerns {
    fn new(before: &Matrix<'_>, after: &Matrix<'_>) -> Self {
        let classes = after.classes();
        let of_role = |role| {
            let all = classes.iter().filter(move |(_, class)| class.role == role);
            all.map(|(id, _)| id).collect()
        };
        let resolvers = core_dns(after.snapshot()).into_iter();
        let former = core_dns(before.snapshot()).into_iter();
        Self {
            core_dns: resolvers
                .chain(former)
                .filter_map(|address| classes.of(address))
                .collect(),
            control_plane: of_role(HostRole::ControlPlane),
            nodes: of_role(HostRole::Node),
        }
    }

    fn of(&self, source: Move, destination: Move, ports: PortRange) -> Concern {
        let to_control_plane = self.control_plane.contains(&destination.after);
        let from_control_plane = self.control_plane.contains(&source.after);
        let is_needed = (to_control_plane && ports.contains(API_SERVER_PORT))
            || (from_control_plane
                && ports.contains(KUBELET_PORT)
                && self.nodes.contains(&destination.after))
            || (self.core_dns.contains(&destination.after) && ports.contains(DNS_PORT));
        if is_needed {
            Concern::Expectation
        } else {
            Concern::Other
        }
    }
}
