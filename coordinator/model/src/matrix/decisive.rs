//! Decisive tuples: what settles a flow, over all pairs of some classes at some ports.

use std::collections::{BTreeMap, BTreeSet};

use self::columns::Settled;
use super::Matrix;
use super::answer::Cell;
use crate::class::{ClassId, SetId, ZoneId, index};
use crate::id::RuleId;
use crate::net::PortRange;
use crate::prediction::Verdict;
use crate::snapshot::{Direction, Readable, Traffic};

mod columns;

/// What settles flows between classes at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Layer {
    /// These two rules admit, by place.
    Admitted {
        /// Rule of the sender.
        egress: u32,
        /// Rule of the receiver.
        ingress: u32,
    },
    /// No rule of a set of groups admits.
    Refused(Direction, SetId),
    /// An entry of a list denies: the list, and the number of the entry.
    Entry(Direction, u32, u32),
    /// A gate without ports decides: the number of the way.
    Way(u32),
}

/// Pairs of classes that are kept for one layer at a port: enough to choose who probes.
const PAIRS_MAX: usize = 4;

/// How often layers were seen, port after port, up to [`PAIRS_MAX`].
#[derive(Debug)]
pub(crate) struct Seen {
    /// What a rule adds to the number of a pair of rules, by its place.
    parts: Vec<u32>,
    /// By port, then by how often: a bit for every pair of rules.
    admitted: Vec<u64>,
    words: usize,
    /// By port, then by direction and set of groups.
    refused: Vec<[Vec<usize>; 2]>,
    others: Vec<BTreeMap<Layer, usize>>,
}

impl Seen {
    pub(crate) fn new(matrix: &Matrix<'_>, ports: usize) -> Self {
        let sets = matrix.classes.sets.len();
        let ingress = |rule: &&super::row::Rule| rule.direction == Direction::Ingress;
        let ingress_rules = matrix.groups.rules.iter().filter(ingress).count();
        let egress_rules = matrix.groups.rules.len() - ingress_rules;
        let mut next = [0, 0];
        let mut parts = Vec::new();
        for rule in &matrix.groups.rules {
            let [ingress, egress] = &mut next;
            let (next, step) = match rule.direction {
                Direction::Ingress => (ingress, 1),
                Direction::Egress => (egress, crate::class::number(ingress_rules)),
            };
            parts.push(*next);
            *next += step;
        }
        let words = (ingress_rules * egress_rules).div_ceil(64);
        Self {
            parts,
            admitted: vec![0; ports * PAIRS_MAX * words],
            words,
            refused: vec![[vec![0; sets], vec![0; sets]]; ports],
            others: vec![BTreeMap::new(); ports],
        }
    }

    /// Notes a layer at the place of a port; returns whether another pair is wanted for it.
    #[inline]
    fn note(&mut self, port: usize, layer: Layer) -> bool {
        let count = match layer {
            Layer::Admitted { egress, ingress } => {
                let part = |rule: u32| self.parts.get(index(rule)).copied().unwrap_or(0);
                return self.admit(port, part(egress) + part(ingress));
            }
            Layer::Refused(direction, set) => {
                let both = self.refused.get_mut(port);
                let sets = both.and_then(|both| both.get_mut(side(direction)));
                sets.and_then(|sets| sets.get_mut(index(set)))
            }
            Layer::Entry(..) | Layer::Way(_) => self
                .others
                .get_mut(port)
                .map(|others| others.entry(layer).or_default()),
        };
        count.is_some_and(|count| {
            *count += 1;
            *count <= PAIRS_MAX
        })
    }

    #[inline]
    fn admit(&mut self, port: usize, place: u32) -> bool {
        let place = index(place);
        let (bit, last) = (1 << (place % 64), PAIRS_MAX - 1);
        let word = |level: usize| (port * PAIRS_MAX + level) * self.words + place / 64;
        let is_set = |level: usize| {
            self.admitted
                .get(word(level))
                .is_none_or(|it| it & bit != 0)
        };
        if is_set(last) {
            return false;
        }
        let level = (0..last).find(|level| !is_set(*level)).unwrap_or(last);
        let word = word(level);
        self.admitted
            .get_mut(word)
            .into_iter()
            .for_each(|word| *word |= bit);
        true
    }
}

fn side(direction: Direction) -> usize {
    match direction {
        Direction::Ingress => 0,
        Direction::Egress => 1,
    }
}

impl Matrix<'_> {
    /// Visits every layer that decides, with the place of the port and up to [`PAIRS_MAX`] pairs of classes.
    ///
    /// Pairs come diagonal by diagonal, so that the pairs that are found are spread over all classes. Of a class on one
    /// `lone` host nobody can probe another member.
    pub(crate) fn decisive(
        &self,
        (live, lone): (&[ClassId], &BTreeSet<ClassId>),
        ports: &[u16],
        seen: &mut Seen,
        mut found: impl FnMut(usize, Layer, (ClassId, ClassId)),
    ) {
        let columns = self.columns(ports, seen);
        for shift in 0..live.len() {
            let targets = live.iter().cycle().skip(shift);
            for (source, destination) in live.iter().zip(targets) {
                if shift == 0 && lone.contains(source) {
                    continue;
                }
                let (from, to) = (
                    self.classes.facts(*source),
                    self.classes.facts(*destination),
                );
                let Some(brief) = self.brief(from, to) else {
                    continue;
                };
                let is_translated = self.exit(from, to).is_some();
                let egress = self.groups.row((from, Direction::Egress), to, brief.egress);
                let ingress = (to, Direction::Ingress);
                let ingress = self.groups.row(ingress, from, brief.ingress);
                let rows = columns.rows((egress, ingress), brief);
                for (port, interval) in columns.intervals.iter().enumerate() {
                    let is_new = match rows.settled((from, to), port) {
                        _ if !brief.is_plain || is_translated => {
                            let layer = self.layer(*source, *destination, *interval);
                            layer.is_some_and(|layer| seen.note(port, layer))
                        }
                        Settled::Admitted(place) => seen.admit(port, place),
                        Settled::Otherwise(layer) => seen.note(port, layer),
                        Settled::Unknown => false,
                    };
                    // Seldom: what is new is looked up again, with its names.
                    if is_new && let Some(layer) = self.layer(*source, *destination, *interval) {
                        found(port, layer, (*source, *destination));
                    }
                }
            }
        }
    }

    /// What settles one cell; absent where nobody can tell.
    pub(crate) fn layer(
        &self,
        source: ClassId,
        destination: ClassId,
        interval: usize,
    ) -> Option<Layer> {
        let (own, to) = (self.classes.facts(source), self.classes.facts(destination));
        let pair = self.pair(source, destination)?;
        let exit = self.exit(own, to);
        let (from, brief) = match &exit {
            Some((sender, brief)) => (sender, Some(*brief)),
            None => (own, self.brief(own, to)),
        };
        match self.cell(&pair, interval) {
            Cell::Way(Verdict::Unknown(_) | Verdict::Bypass(_) | Verdict::Exempt(_))
            | Cell::Doubt(_) => None,
            Cell::Way(Verdict::Allow { .. } | Verdict::Deny(_) | Verdict::Partial { .. }) => {
                brief.map(|brief| Layer::Way(brief.way))
            }
            Cell::SgEgress => Some(Layer::Refused(Direction::Egress, from.set)),
            Cell::SgIngress => Some(Layer::Refused(Direction::Ingress, to.set)),
            Cell::NaclOut(number) => Some(Layer::Entry(Direction::Egress, from.acl, number)),
            Cell::NaclIn(number) => Some(Layer::Entry(Direction::Ingress, to.acl, number)),
            Cell::Allow => Some(Layer::Admitted {
                egress: self.groups.deciding(pair.egress, interval)?,
                ingress: self.groups.deciding(pair.ingress, interval)?,
            }),
        }
    }

    /// Returns the interval of a port.
    pub(crate) fn interval(&self, port: u16) -> usize {
        self.ports.of(port)
    }

    /// Visits every rule of a described group that somebody carries: place, name, and TCP ports if it is for some only.
    pub(crate) fn rules_with_edges(
        &self,
    ) -> impl Iterator<Item = (u32, &RuleId, Option<PortRange>)> {
        (0..).zip(&self.groups.rules).filter_map(|(place, rule)| {
            let group = self
                .snapshot
                .security_group(&self.snapshot.groups.at(rule.group).group.id)?;
            let known = group
                .rules(rule.direction)
                .iter()
                .find(|known| known.id == rule.id)?;
            let range = match &known.traffic {
                Traffic::Tcp(Readable::Is(range)) if *range != PortRange::ALL => Some(*range),
                Traffic::Tcp(_)
                | Traffic::All
                | Traffic::Udp(_)
                | Traffic::Icmp(_)
                | Traffic::IcmpV6(_)
                | Traffic::Protocol(_)
                | Traffic::Unread => None,
            };
            Some((place, &rule.id, range))
        })
    }

    /// Finds up to `count` pairs of classes between which a rule decides at a port; `turn` says where the search begins.
    pub(crate) fn witnesses(
        &self,
        live: &Live,
        rule: u32,
        (port, turn): (u16, usize),
        count: usize,
    ) -> Vec<(ClassId, ClassId)> {
        let mut found = Vec::new();
        let interval = self.ports.of(port);
        let known = self.groups.rule(rule).filter(|_| self.groups.decides(rule));
        let Some(known) = known else {
            return found;
        };
        let carries = |set: &SetId| {
            let set = self.classes.sets.get(index(*set));
            set.is_some_and(|set| set.groups.contains(&known.group))
        };
        for (set, own) in turned(&live.by_set, turn).filter(|(set, _)| carries(set)) {
            for (peer, others) in turned(&live.by_peer, turn) {
                if found.len() >= count {
                    return found;
                }
                if !self.decides_at(rule, (known.direction, *set, *peer), interval) {
                    continue;
                }
                // One pair of each kind is enough: the others would be asked the same.
                let pairs = turned(own, turn + found.len());
                let mut pairs =
                    pairs.flat_map(|one| turned(others, turn).map(move |it| (*one, *it)));
                found.extend(pairs.find_map(|(one, other)| {
                    let pair = match known.direction {
                        Direction::Egress => (one, other),
                        Direction::Ingress => (other, one),
                    };
                    let is_lone = one == other && live.lone.contains(&one);
                    (!is_lone && self.admits(rule, pair, interval)).then_some(pair)
                }));
            }
        }
        found
    }

    /// Whether a rule decides the row of a set for a peer, over whatever path.
    fn decides_at(
        &self,
        rule: u32,
        (direction, set, peer): (Direction, SetId, (ZoneId, SetId)),
        interval: usize,
    ) -> bool {
        super::row::CROSSINGS
            .iter()
            .filter_map(|crossing| self.groups.row_at(direction, set, peer, *crossing))
            .any(|row| self.groups.deciding(row, interval) == Some(rule))
    }

    /// Whether a rule is one of the two that admit between two classes.
    fn admits(&self, rule: u32, pair: (ClassId, ClassId), interval: usize) -> bool {
        match self.layer(pair.0, pair.1, interval) {
            Some(Layer::Admitted { egress, ingress }) => egress == rule || ingress == rule,
            Some(Layer::Refused(..) | Layer::Entry(..) | Layer::Way(_)) | None => false,
        }
    }
}

/// Distance between two entries that [`turned`] visits one after the other: a prime, so that it visits all of them.
const STRIDE: usize = 7_919;

/// All entries of a list, neighbours far from each other, beginning where `turn` says.
///
/// Zones and sets are sorted: whoever walked them in order would always meet the same entry first.
fn turned<T>(list: &[T], turn: usize) -> impl Iterator<Item = &T> {
    let count = list.len();
    let stride = if count.is_multiple_of(STRIDE) {
        1
    } else {
        STRIDE
    };
    (0..count).filter_map(move |step| {
        let place = turn.wrapping_add(step.wrapping_mul(stride));
        list.get(place % count)
    })
}

/// Classes in which somebody can probe, by what they are to rules.
#[derive(Debug, Default)]
pub(crate) struct Live {
    by_set: Vec<(SetId, Vec<ClassId>)>,
    by_peer: Vec<((ZoneId, SetId), Vec<ClassId>)>,
    lone: BTreeSet<ClassId>,
}

impl Live {
    /// Sorts the classes; in `lone` ones there is one host only.
    pub(crate) fn new(matrix: &Matrix<'_>, live: &[ClassId], lone: &BTreeSet<ClassId>) -> Self {
        let mut by_set: BTreeMap<SetId, Vec<ClassId>> = BTreeMap::new();
        let mut by_peer: BTreeMap<(ZoneId, SetId), Vec<ClassId>> = BTreeMap::new();
        for id in live {
            let facts = matrix.classes.facts(*id);
            by_set.entry(facts.set).or_default().push(*id);
            by_peer
                .entry((facts.zone, facts.set))
                .or_default()
                .push(*id);
        }
        Self {
            by_set: by_set.into_iter().collect(),
            by_peer: by_peer.into_iter().collect(),
            lone: lone.clone(),
        }
    }
}
