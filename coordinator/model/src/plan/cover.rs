//! The flows that show every decisive tuple, with as few probes as there are agents and ports.
//!
//! First each agent is paired with another once a port, in both roles; where the model denies, partners are exchanged.
//! Then every tuple that this does not show gets a flow of its own, between the members that have the fewest, and a
//! control where it denies. Last come both sides of the edges of every rule that decides.

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
const WITNESSES_MAX: usize = 4;
/// Most agents that are asked for a control of one denied tuple.
const CONTROLS_MAX: usize = 64;

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
    let mut seen = Seen::new(matrix, ports.len());
    fleet.sweep(ports, sequence, &mut seen);
    fleet.tuples(ports, sequence, &mut seen);
    fleet.edges(sequence);
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
        let (from, to) = (self.members.get(from)?, self.members.get(to)?);
        if from.host == to.host {
            return None;
        }
        let flow = super::build::flow_from(from.agent, from.address, to.address, port);
        Some(self.matrix.kind(&flow))
    }

    fn layer(&self, from: usize, to: usize, port: u16) -> Option<Layer> {
        let (one, other) = (self.members.get(from)?, self.members.get(to)?);
        self.matrix
            .layer(one.class, other.class, self.matrix.interval(port))
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

    /// Pairs every member with another once a port, in both roles.
    fn sweep(&mut self, ports: &[u16], sequence: &mut Sequence, seen: &mut Seen) {
        for family in [true, false] {
            let all = self.members.iter().enumerate();
            let all = all.filter(|(_, member)| member.address.is_ipv4() == family);
            let places: Vec<usize> = all.map(|(place, _)| place).collect();
            for (number, port) in ports.iter().enumerate() {
                let sources = sequence.shuffle(places.clone());
                let targets = self.partners(&sources, *port, sequence);
                for (from, to) in sources.into_iter().zip(targets) {
                    let kind = self.kind(from, to, *port);
                    if kind.is_none_or(|kind| kind == VerdictKind::Bypass) {
                        continue;
                    }
                    self.add((from, to, *port), Purpose::Rule);
                    // A deny counts only with its control, which comes with its tuple.
                    if kind == Some(VerdictKind::Allow)
                        && let Some(layer) = self.layer(from, to, *port)
                    {
                        seen.settle(number, layer);
                    }
                }
            }
        }
    }

    /// A partner for every source: the next one in a turned list, exchanged where the model does not allow it.
    fn partners(&self, sources: &[usize], port: u16, sequence: &mut Sequence) -> Vec<usize> {
        let count = sources.len();
        if count < 2 {
            return Vec::new();
        }
        let mut targets = sources.to_vec();
        targets.rotate_left(1 + sequence.below(count - 1));
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

    /// Adds a flow for every tuple that none shows, and its control where it denies.
    fn tuples(&mut self, ports: &[u16], sequence: &mut Sequence, seen: &mut Seen) {
        let live: Vec<ClassId> = sequence.shuffle(self.by_class.keys().copied().collect());
        let mut missing: BTreeMap<(usize, Layer), Vec<(ClassId, ClassId)>> = BTreeMap::new();
        self.matrix
            .decisive((&live, &self.lone), ports, seen, |port, layer, pair| {
                missing.entry((port, layer)).or_default().push(pair);
            });
        // Tuples with few pairs first: they have no choice.
        let mut missing: Vec<_> = missing.into_iter().collect();
        missing.sort_by_key(|(_, pairs)| pairs.len());
        for ((number, layer), pairs) in missing {
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

    /// Adds what shows that both ends of a denied flow can talk otherwise (F.2.5).
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
        let rules: Vec<(u32, PortRange)> = self
            .matrix
            .rules_with_edges()
            .filter_map(|(place, _, range)| Some((place, range?)))
            .collect();
        let mut tried: BTreeSet<(usize, usize, u16)> = BTreeSet::new();
        for (rule, range) in rules {
            let mut pairs = Vec::new();
            for _ in 0..WITNESSES_MAX {
                let turn = sequence.below(1 << 16);
                pairs.extend(self.matrix.witness(&live, rule, (range.first(), turn)));
                if pairs.is_empty() {
                    break;
                }
            }
            let Some((from, to)) = self.least_loaded(&pairs, sequence) else {
                continue;
            };
            let inside = [Some(range.first()), Some(range.last())];
            let outside = [range.first().checked_sub(1), range.last().checked_add(1)];
            for port in inside
                .into_iter()
                .chain(outside)
                .flatten()
                .filter(|port| *port != 0)
            {
                if tried.insert((from, to, port)) {
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
