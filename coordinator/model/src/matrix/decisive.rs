//! Decisive tuples: what settles a flow, over all pairs of some classes at some ports.

use std::collections::{BTreeMap, BTreeSet};

use super::answer::Cell;
use super::row::RowId;
use super::{Brief, Matrix};
use crate::class::{ClassId, Facts, SetId, ZoneId, index};
use crate::id::RuleId;
use crate::net::PortRange;
use crate::prediction::Verdict;
use crate::snapshot::{Direction, Match, Readable, Traffic};

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
    rules: usize,
    /// By port, then by how often: a bit for every pair of rules.
    admitted: Vec<[Vec<u64>; PAIRS_MAX]>,
    /// By port, then by direction and set of groups.
    refused: Vec<[Vec<usize>; 2]>,
    others: Vec<BTreeMap<Layer, usize>>,
}

/// Nobody can tell, in a column.
const UNSURE: u32 = u32::MAX - 1;
/// No rule admits, in a column.
const NOBODY: u32 = u32::MAX;

/// One interval of all rows, close together.
struct Column {
    interval: usize,
    groups: Vec<u32>,
    acls: Vec<u32>,
}

impl Seen {
    pub(crate) fn new(matrix: &Matrix<'_>, ports: usize) -> Self {
        let rules = matrix.groups.rules.len();
        let sets = matrix.classes.sets.len();
        let bits = || vec![0; (rules * rules).div_ceil(64)];
        Self {
            rules,
            admitted: (0..ports)
                .map(|_| std::array::from_fn(|_| bits()))
                .collect(),
            refused: vec![[vec![0; sets], vec![0; sets]]; ports],
            others: vec![BTreeMap::new(); ports],
        }
    }

    /// Notes a layer at the place of a port; returns whether another pair is wanted for it.
    fn note(&mut self, port: usize, layer: Layer) -> bool {
        let count = match layer {
            Layer::Admitted { egress, ingress } => return self.admit(port, egress, ingress),
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

    fn admit(&mut self, port: usize, egress: u32, ingress: u32) -> bool {
        let place = index(egress) * self.rules + index(ingress);
        let Some(levels) = self.admitted.get_mut(port) else {
            return false;
        };
        let (word, bit) = (place / 64, 1 << (place % 64));
        let is_full = |level: &Vec<u64>| level.get(word).is_none_or(|word| word & bit != 0);
        if levels.last().is_none_or(is_full) {
            return false;
        }
        match levels.iter_mut().find(|level| !is_full(level)) {
            Some(level) => {
                level
                    .get_mut(word)
                    .into_iter()
                    .for_each(|word| *word |= bit);
                true
            }
            None => false,
        }
    }

    /// Notes that no pair is wanted for a layer any more.
    pub(crate) fn settle(&mut self, port: usize, layer: Layer) {
        for _ in 0..PAIRS_MAX {
            self.note(port, layer);
        }
    }
}

fn side(direction: Direction) -> usize {
    match direction {
        Direction::Ingress => 0,
        Direction::Egress => 1,
    }
}

impl Matrix<'_> {
    /// Visits every layer that is not settled, with the place of the port and up to [`PAIRS_MAX`] pairs of classes.
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
        let columns: Vec<Column> = ports
            .iter()
            .map(|port| self.column(self.ports.of(*port)))
            .collect();
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
                let egress = self.groups.row((from, Direction::Egress), to, brief.egress);
                let ingress = self
                    .groups
                    .row((to, Direction::Ingress), from, brief.ingress);
                for (port, column) in columns.iter().enumerate() {
                    let layer = if brief.is_plain {
                        column.layer((from, to), brief, (egress, ingress))
                    } else {
                        self.layer(*source, *destination, column.interval)
                    };
                    if let Some(layer) = layer
                        && seen.note(port, layer)
                    {
                        found(port, layer, (*source, *destination));
                    }
                }
            }
        }
    }

    fn column(&self, interval: usize) -> Column {
        let rows = (0..).take(self.groups.len());
        let groups = rows
            .map(|row| match self.groups.answer(row, interval) {
                Match::Yes => self.groups.deciding(row, interval).unwrap_or(UNSURE),
                Match::Unsure => UNSURE,
                Match::No => NOBODY,
            })
            .collect();
        let rows = (0..).take(self.acls.len());
        let acls = rows
            .map(|row| match self.acls.answer(row, interval) {
                Match::Yes => 0,
                Match::Unsure => UNSURE,
                Match::No => self.acls.deciding(row, interval),
            })
            .collect();
        Column {
            interval,
            groups,
            acls,
        }
    }

    /// What settles one cell; absent where nobody can tell.
    pub(crate) fn layer(
        &self,
        source: ClassId,
        destination: ClassId,
        interval: usize,
    ) -> Option<Layer> {
        let (from, to) = (self.classes.facts(source), self.classes.facts(destination));
        let pair = self.pair(source, destination)?;
        match self.cell(&pair, interval) {
            Cell::Way(Verdict::Unknown(_) | Verdict::Bypass(_) | Verdict::Exempt(_))
            | Cell::Path(_)
            | Cell::Rules
            | Cell::Other
            | Cell::Policy => None,
            Cell::Way(Verdict::Allow { .. } | Verdict::Deny(_) | Verdict::Partial { .. }) => {
                self.brief(from, to).map(|brief| Layer::Way(brief.way))
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

    /// Visits every rule of a described group that somebody wears: place, name, and TCP ports if it is for some only.
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

    /// Finds a pair of classes between which a rule decides at a port; `turn` says where the search begins.
    pub(crate) fn witness(
        &self,
        live: &Live,
        rule: u32,
        (port, turn): (u16, usize),
    ) -> Option<(ClassId, ClassId)> {
        let interval = self.ports.of(port);
        let known = self.groups.rule(rule)?;
        for (set, own) in turned(&live.by_set, turn) {
            let set_of = self.classes.sets.get(index(*set))?;
            if !set_of.groups.contains(&known.group) {
                continue;
            }
            for ((zone, peer), others) in turned(&live.by_peer, turn) {
                let end = (*zone, *peer);
                let rows = super::row::CROSSINGS.iter().filter_map(|crossing| {
                    self.groups.row_at(known.direction, *set, end, *crossing)
                });
                if !rows
                    .into_iter()
                    .any(|row| self.groups.deciding(row, interval) == Some(rule))
                {
                    continue;
                }
                let pairs = own.iter().cycle().skip(turn % own.len()).take(own.len());
                let pairs = pairs.flat_map(|one| others.iter().map(move |other| (*one, *other)));
                for (one, other) in pairs {
                    if one == other && live.lone.contains(&one) {
                        continue;
                    }
                    let pair = match known.direction {
                        Direction::Egress => (one, other),
                        Direction::Ingress => (other, one),
                    };
                    if let Some(Layer::Admitted { egress, ingress }) =
                        self.layer(pair.0, pair.1, interval)
                        && (egress == rule || ingress == rule)
                    {
                        return Some(pair);
                    }
                }
            }
        }
        None
    }
}

/// The entries of a map from some place on, then those before.
fn turned<K, V>(map: &BTreeMap<K, V>, turn: usize) -> impl Iterator<Item = (&K, &V)> {
    map.iter()
        .cycle()
        .skip(turn % map.len().max(1))
        .take(map.len())
}

/// Classes in which somebody can probe, by what they are to rules.
#[derive(Debug, Default)]
pub(crate) struct Live {
    by_set: BTreeMap<SetId, Vec<ClassId>>,
    by_peer: BTreeMap<(ZoneId, SetId), Vec<ClassId>>,
    lone: BTreeSet<ClassId>,
}

impl Live {
    /// Sorts the classes; in `lone` ones there is one host only.
    pub(crate) fn new(matrix: &Matrix<'_>, live: &[ClassId], lone: &BTreeSet<ClassId>) -> Self {
        let mut classes = Self {
            lone: lone.clone(),
            ..Self::default()
        };
        for id in live {
            let facts = matrix.classes.facts(*id);
            classes.by_set.entry(facts.set).or_default().push(*id);
            classes
                .by_peer
                .entry((facts.zone, facts.set))
                .or_default()
                .push(*id);
        }
        classes
    }
}

impl Column {
    /// What settles a cell on a plain way.
    fn layer(
        &self,
        (from, to): (&Facts, &Facts),
        brief: &Brief,
        (egress, ingress): (RowId, RowId),
    ) -> Option<Layer> {
        let group = |row: RowId| self.groups.get(index(row)).copied().unwrap_or(UNSURE);
        let list = |row: u32| match brief.is_same_subnet {
            true => 0,
            false => self.acls.get(index(row)).copied().unwrap_or(UNSURE),
        };
        let (egress, ingress) = (group(egress), group(ingress));
        if egress == NOBODY {
            return Some(Layer::Refused(Direction::Egress, from.set));
        }
        let (out, back) = (list(brief.acls.0), list(brief.acls.1));
        if out != 0 && out != UNSURE {
            return Some(Layer::Entry(Direction::Egress, from.acl, out));
        }
        if back != 0 && back != UNSURE {
            return Some(Layer::Entry(Direction::Ingress, to.acl, back));
        }
        if ingress == NOBODY {
            return Some(Layer::Refused(Direction::Ingress, to.set));
        }
        let is_known = egress != UNSURE && ingress != UNSURE && out == 0 && back == 0;
        let is_policed = from.policed.max(to.policed) == crate::class::Policed::Yes;
        (is_known && !is_policed).then_some(Layer::Admitted { egress, ingress })
    }
}
