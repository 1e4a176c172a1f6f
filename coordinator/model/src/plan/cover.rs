//! The flows that show every decisive tuple, with as few probes as there are agents and ports.
//!
//! First every tuple gets a flow between the members that have the fewest, and a control where it denies; then both
//! sides of the edges of every rule that decides. Last come the agents that were not yet source or not yet target at a
//! port: they are paired, and where the model denies, partners are exchanged.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::build::{Candidate, candidate};
use super::seed::Sequence;
use super::{Purpose, Roster, RosterAgent, Target};
use crate::class::ClassId;
use crate::coverage::live_classes;
use crate::matrix::{Layer, Live, Matrix, Seen, VerdictKind};
use crate::net::PortRange;

/// Most partners that are tried in exchange for one that the model denies.
const EXCHANGES_MAX: usize = 16;
/// Pairs that are looked for to try the edges of a rule: the one with the least to do is taken.
const WITNESSES_MAX: usize = 8;
/// Most agents that are asked for a control of one denied tuple.
const CONTROLS_MAX: usize = 64;

/// A tuple at the place of a port, with a pair of classes that show it.
type Found = (usize, Layer, (ClassId, ClassId));

/// An agent as an end of flows.
#[derive(Debug, Clone, Copy)]
struct Member<'r> {
    agent: &'r RosterAgent,
    address: IpAddr,
    class: ClassId,
    host: u32,
}

/// The agents that the relation knows, with what they have to do so far.
struct Fleet<'r, 'm> {
    matrix: &'m Matrix<'m>,
    members: Vec<Member<'r>>,
    by_class: BTreeMap<ClassId, Vec<usize>>,
    /// Classes with one host.
    lone: BTreeSet<ClassId>,
    sends: Vec<u32>,
    receives: Vec<u32>,
    flows: BTreeMap<(usize, usize, u16), Purpose>,
}

/// The flows that a plan needs beyond the required ones.
pub(super) fn cover(
    matrix: &Matrix<'_>,
    roster: &Roster,
    ports: &[u16],
    sequence: &mut Sequence,
) -> Vec<(Candidate, Purpose)> {
    let mut fleet = Fleet::new(matrix, roster);
    fleet.tuples(ports, sequence);
    fleet.edges(sequence);
    fleet.sweep(ports, sequence);
    fleet.candidates()
}

impl<'r, 'm> Fleet<'r, 'm> {
    fn new(matrix: &'m Matrix<'_>, roster: &'r Roster) -> Self {
        let mut members: Vec<Member<'r>> = Vec::new();
        for agent in roster.agents() {
            members.extend(agent.vantage_points().filter_map(|address| {
                let (class, host) = matrix.classes().endpoint(address)?;
                Some(Member {
                    agent,
                    address,
                    class,
                    host,
                })
            }));
        }
        let mut by_class: BTreeMap<ClassId, Vec<usize>> = BTreeMap::new();
        for (place, member) in members.iter().enumerate() {
            by_class.entry(member.class).or_default().push(place);
        }
        Self {
            matrix,
            lone: live_classes(matrix, roster).1,
            sends: vec![0; members.len()],
            receives: vec![0; members.len()],
            members,
            by_class,
            flows: BTreeMap::new(),
        }
    }

    fn kind(&self, from: usize, to: usize, port: u16) -> Option<VerdictKind> {
        if !self.are_apart(from, to) {
            return None;
        }
        let (from, to) = (self.members.get(from)?, self.members.get(to)?);
        let flow = super::build::flow_from(from.agent, from.address, to.address, port);
        Some(self.matrix.kind(&flow))
    }

    fn add(&mut self, (from, to, port): (usize, usize, u16), purpose: Purpose) {
        if self.flows.insert((from, to, port), purpose).is_some() {
            return;
        }
        for (loads, place) in [(&mut self.sends, from), (&mut self.receives, to)] {
            if let Some(load) = loads.get_mut(place) {
                *load += 1;
            }
        }
    }

    /// Pairs the members that were not yet source with those that were not yet target, port by port.
    fn sweep(&mut self, ports: &[u16], sequence: &mut Sequence) {
        for family in [true, false] {
            let all = self.members.iter().enumerate();
            let all = all.filter(|(_, member)| member.address.is_ipv4() == family);
            let places: Vec<usize> = all.map(|(place, _)| place).collect();
            if places.len() < 2 {
                continue;
            }
            for port in ports {
                let (sources, targets) = self.idle(&places, *port, sequence);
                let targets = self.partners(&sources, targets, *port, sequence);
                for pair in sources.into_iter().zip(targets) {
                    self.meet(pair, (&places, *port), sequence);
                }
            }
        }
    }

    /// Adds a flow between two members; two on one host, whom nothing separates, get others instead.
    fn meet(
        &mut self,
        (from, to): (usize, usize),
        (places, port): (&[usize], u16),
        sequence: &mut Sequence,
    ) {
        if self.are_apart(from, to) {
            self.add((from, to, port), Purpose::Rule);
            return;
        }
        let turn = sequence.below(places.len());
        let turned = || places.iter().cycle().skip(turn).take(places.len());
        let other_target = turned()
            .find(|other| self.are_apart(from, **other))
            .copied();
        let other_source = turned().find(|other| self.are_apart(**other, to)).copied();
        if let (Some(target), Some(source)) = (other_target, other_source) {
            self.add((from, target, port), Purpose::Rule);
            self.add((source, to, port), Purpose::Rule);
        }
    }

    /// Whether two members are on different hosts.
    fn are_apart(&self, from: usize, to: usize) -> bool {
        let ends = self.members.get(from).zip(self.members.get(to));
        ends.is_some_and(|(from, to)| from.host != to.host)
    }

    /// Members that were not yet source and those that were not yet target at a port, as many of each.
    fn idle(
        &self,
        places: &[usize],
        port: u16,
        sequence: &mut Sequence,
    ) -> (Vec<usize>, Vec<usize>) {
        let at_port = self.flows.keys().filter(|(_, _, other)| *other == port);
        let (sent, received): (BTreeSet<usize>, BTreeSet<usize>) =
            at_port.map(|(from, to, _)| (*from, *to)).unzip();
        let without = |used: &BTreeSet<usize>| -> Vec<usize> {
            places
                .iter()
                .copied()
                .filter(|place| !used.contains(place))
                .collect()
        };
        let mut sources = sequence.shuffle(without(&sent));
        let mut targets = sequence.shuffle(without(&received));
        let length = sources.len().max(targets.len());
        for list in [&mut sources, &mut targets] {
            let more = length - list.len();
            list.extend(sequence.shuffle(places.to_vec()).into_iter().take(more));
        }
        (sources, targets)
    }

    /// A partner for every source out of the targets, exchanged where the model does not allow it.
    fn partners(
        &self,
        sources: &[usize],
        mut targets: Vec<usize>,
        port: u16,
        sequence: &mut Sequence,
    ) -> Vec<usize> {
        let count = sources.len();
        for place in 0..count {
            let allows = |from: usize, to: usize, targets: &[usize]| {
                let ends = sources.get(from).copied().zip(targets.get(to).copied());
                ends.and_then(|(from, to)| self.kind(from, to, port)) == Some(VerdictKind::Allow)
            };
            if allows(place, place, &targets) {
                continue;
            }
            for _ in 0..EXCHANGES_MAX {
                let other = sequence.below(count);
                let is_better = allows(place, other, &targets)
                    && (allows(other, place, &targets) || !allows(other, other, &targets));
                if is_better {
                    targets.swap(place, other);
                    break;
                }
            }
        }
        targets
    }

    /// Adds a flow for every decisive tuple, and its control where it denies.
    fn tuples(&mut self, ports: &[u16], sequence: &mut Sequence) {
        let mut seen = Seen::new(self.matrix, ports.len());
        let live: Vec<ClassId> = sequence.shuffle(self.by_class.keys().copied().collect());
        let mut found: Vec<Found> = Vec::new();
        let live = (live.as_slice(), &self.lone);
        self.matrix
            .decisive(live, ports, &mut seen, |port, layer, pair| {
                found.push((port, layer, pair));
            });
        found.sort_unstable();
        let mut tuples: Vec<&[Found]> = found
            .chunk_by(|one, other| (one.0, one.1) == (other.0, other.1))
            .collect();
        // Tuples with few pairs first: they have no choice.
        tuples.sort_by_key(|pairs| pairs.len());
        for pairs in tuples {
            let Some((number, layer, _)) = pairs.first().copied() else {
                continue;
            };
            let pairs: Vec<(ClassId, ClassId)> = pairs.iter().map(|found| found.2).collect();
            let Some(port) = ports.get(number).copied() else {
                continue;
            };
            let Some((from, to)) = self.least_loaded(&pairs, sequence) else {
                continue;
            };
            self.add((from, to, port), Purpose::Rule);
            match layer {
                Layer::Admitted { .. } => {}
                Layer::Refused(..) | Layer::Entry(..) | Layer::Way(_) => {
                    self.control((from, to, port), ports, sequence);
                }
            }
        }
    }

    /// The members with the least to do, of the pairs of classes that would do.
    fn least_loaded(
        &self,
        pairs: &[(ClassId, ClassId)],
        sequence: &mut Sequence,
    ) -> Option<(usize, usize)> {
        let load = |(from, to): &(usize, usize)| {
            let (sends, receives) = (self.sends.get(*from), self.receives.get(*to));
            sends.copied().max(receives.copied())
        };
        let ends = pairs.iter().filter_map(|pair| self.ends(*pair, sequence));
        ends.min_by_key(load)
    }

    /// The members of two classes with the least to do, on different hosts.
    fn ends(&self, pair: (ClassId, ClassId), sequence: &mut Sequence) -> Option<(usize, usize)> {
        let turn = sequence.below(1 << 16);
        let least = |class: ClassId, loads: &[u32], not: Option<usize>| {
            let places = self.by_class.get(&class)?;
            let turned = places
                .iter()
                .cycle()
                .skip(turn % places.len())
                .take(places.len());
            let other = not.and_then(|place| self.members.get(place));
            turned
                .filter(|place| {
                    let member = self.members.get(**place);
                    other
                        .zip(member)
                        .is_none_or(|(one, two)| one.host != two.host)
                })
                .min_by_key(|place| loads.get(**place).copied())
                .copied()
        };
        let from = least(pair.0, &self.sends, None)?;
        let to = least(pair.1, &self.receives, Some(from))?;
        Some((from, to))
    }

    /// Adds what shows that both ends of a denied flow can talk otherwise (F.2 "Silence", 1 and 2).
    fn control(
        &mut self,
        (from, to, port): (usize, usize, u16),
        ports: &[u16],
        sequence: &mut Sequence,
    ) {
        let allows =
            |fleet: &Self, from, to, port| fleet.kind(from, to, port) == Some(VerdictKind::Allow);
        // The same pair at another port.
        if let Some(other) = ports.iter().find(|other| allows(self, from, to, **other)) {
            self.add((from, to, *other), Purpose::Control);
            return;
        }
        // Another source at the same target and port; the sweep let the source reach somebody, if anybody at all.
        for _ in 0..CONTROLS_MAX {
            let other = sequence.below(self.members.len().max(1));
            if other != from && allows(self, other, to, port) {
                self.add((other, to, port), Purpose::Control);
                return;
            }
        }
    }

    /// Adds both sides of the edges of every rule that decides somewhere.
    fn edges(&mut self, sequence: &mut Sequence) {
        let classes: Vec<ClassId> = sequence.shuffle(self.by_class.keys().copied().collect());
        let live = Live::new(self.matrix, &classes, &self.lone);
        let mut rules: Vec<(PortRange, Vec<(ClassId, ClassId)>)> = Vec::new();
        for (rule, _, range) in self.matrix.rules_with_edges() {
            let Some(range) = range else {
                continue;
            };
            let from = (range.first(), sequence.below(1 << 16));
            rules.push((
                range,
                self.matrix.witnesses(&live, rule, from, WITNESSES_MAX),
            ));
        }
        // Rules that decide between few first: they have no choice.
        rules.sort_by_key(|(_, pairs)| pairs.len());
        for (range, pairs) in rules {
            // The two edges need not be tried between the same two, each needs both of its sides.
            let sides = [
                [range.first().checked_sub(1), Some(range.first())],
                [Some(range.last()), range.last().checked_add(1)],
            ];
            for sides in sides {
                let Some((from, to)) = self.least_loaded(&pairs, sequence) else {
                    continue;
                };
                for port in sides.into_iter().flatten().filter(|port| *port != 0) {
                    self.add((from, to, port), Purpose::Edge);
                }
            }
        }
    }

    fn candidates(self) -> Vec<(Candidate, Purpose)> {
        let members = &self.members;
        self.flows
            .into_iter()
            .filter_map(|((from, to, port), purpose)| {
                let (from, to) = (members.get(from)?, members.get(to)?);
                let target = (to.address, Target::Agent(to.agent.name.clone()));
                Some((candidate(from.agent, target, port)?, purpose))
            })
            .collect()
    }
}
