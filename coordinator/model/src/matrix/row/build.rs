//! Making the rows of a snapshot.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::atom::{Atoms, Matching, examples};
use super::super::ports::{Ports, add, covered, members};
use super::{
    CROSSINGS, GroupRows, NO_GROUPS, NOBODY, RowId, Rule, Table, answer, crossing_number,
    direction_number,
};
use crate::class::{Classes, GroupSet, index, number};
use crate::id::RuleId;
use crate::predict::Way;
use crate::snapshot::{Direction, GroupEntry, GroupState, Key, Match, Snapshot};

impl GroupRows {
    pub(in crate::matrix) fn new(
        snapshot: &Snapshot,
        classes: &Classes,
        ports: &Ports,
        ways: &[Way],
    ) -> Self {
        let mut atoms = Atoms::default();
        let rules = rules(snapshot, classes, ports, &mut atoms);
        let examples = examples(classes);
        let zones = examples
            .iter()
            .map(|example| example.map(|address| atoms.of_address(snapshot, address)))
            .collect();
        let of_groups = |set, crossing| atoms.of_groups(snapshot, set, crossing);
        let sets = CROSSINGS
            .iter()
            .map(|crossing| {
                classes
                    .sets
                    .iter()
                    .map(|set| of_groups(set, *crossing))
                    .collect()
            })
            .collect();
        let own = classes.iter().map(|(_, class)| class.facts);
        let exits = classes.exits.iter().filter_map(|exit| exit.primary.ok());
        let facts = own.chain(exits);
        let mut rows = Self {
            rules,
            words: ports.words(),
            intervals: ports.len(),
            bits: Vec::new(),
            decide: Vec::new(),
            decides: Vec::new(),
            doubts: BTreeMap::new(),
            tables: (0..2 * CROSSINGS.len()).map(|_| Table::default()).collect(),
            peers: facts.map(|facts| (facts.zone, facts.set)).collect(),
            examples,
            zones,
            sets,
        };
        rows.decides = vec![false; rows.rules.len()];
        rows.push_no_groups();
        for crossing in CROSSINGS {
            for direction in [Direction::Ingress, Direction::Egress] {
                if ways.iter().any(|way| crossing == way.crossing(direction)) {
                    rows.add_table(classes, (direction, crossing));
                }
            }
        }
        rows
    }

    /// Adds the rows of one direction over paths that references cross in one way.
    fn add_table(&mut self, classes: &Classes, (direction, crossing): (Direction, Option<Match>)) {
        let zones = std::mem::take(&mut self.zones);
        let number = crossing_number(crossing);
        let sets = self
            .sets
            .get_mut(number)
            .map(std::mem::take)
            .unwrap_or_default();
        let peers = std::mem::take(&mut self.peers);
        let mut table = Table {
            zones: zones.len(),
            sets: sets.len(),
            ..Table::default()
        };
        for set in &classes.sets {
            self.add_set(&mut table, (set, direction), (&zones, &sets), &peers);
        }
        if let Some(slot) = self
            .tables
            .get_mut(2 * number + direction_number(direction))
        {
            *slot = table;
        }
        self.zones = zones;
        self.peers = peers;
        if let Some(slot) = self.sets.get_mut(number) {
            *slot = sets;
        }
    }

    fn push_no_groups(&mut self) {
        let mut unsure = vec![0; self.words];
        (0..self.intervals).for_each(|interval| add(&mut unsure, interval));
        self.bits.extend(vec![0; self.words]);
        self.bits.extend(unsure);
        self.decide.extend(vec![NOBODY; self.intervals]);
    }

    /// Adds the rows of a set for every peer that there is.
    fn add_set(
        &mut self,
        table: &mut Table,
        (set, direction): (&GroupSet, Direction),
        (zones, sets): (&[Option<Matching>], &[Matching]),
        peers: &BTreeSet<(u32, u32)>,
    ) {
        let base = table.rows.len();
        if set.groups.is_empty() || !set.is_read {
            table.zone.extend(zones.iter().map(|_| number(base)));
            table.peer.extend(sets.iter().map(|_| 0));
            table.rows.push(NO_GROUPS);
            return;
        }
        let own = self.own(set, direction);
        let mut mask = vec![0; sets.first().map_or(0, |matching| matching.sure.len())];
        for rule in own.iter().filter_map(|place| self.rules.get(index(*place))) {
            add(&mut mask, rule.atom);
        }
        let (zone, of_zone) = kinds(zones.iter().map(Option::as_ref), &mask);
        let (peer, of_peer) = kinds(sets.iter().map(Some), &mask);
        let mut rows = vec![NOBODY; of_zone.len() * of_peer.len()];
        for (zone_id, set_id) in peers {
            let (Some(zone), Some(peer)) = (zone.get(index(*zone_id)), peer.get(index(*set_id)))
            else {
                continue;
            };
            let place = index(*zone) * of_peer.len() + index(*peer);
            let kinds = of_zone.get(index(*zone)).zip(of_peer.get(index(*peer)));
            if let (Some(slot), Some((zone, peer))) = (rows.get_mut(place), kinds)
                && *slot == NOBODY
            {
                *slot = self.push(&own, [zone, peer]);
            }
        }
        let stretch = |kind: &u32| match *kind {
            NOBODY => NOBODY,
            kind => number(base + index(kind) * of_peer.len()),
        };
        table.zone.extend(zone.iter().map(stretch));
        table.peer.extend(peer);
        table.rows.extend(rows);
    }

    /// The rules of a set in one direction, sorted by name.
    pub(super) fn own(&self, set: &GroupSet, direction: Direction) -> Vec<u32> {
        (0..)
            .zip(&self.rules)
            .filter(|(_, rule)| rule.direction == direction && set.groups.contains(&rule.group))
            .map(|(place, _)| place)
            .collect()
    }

    /// Adds the row of some rules for a peer that matches so.
    fn push(&mut self, own: &[u32], matching: [&Matching; 2]) -> RowId {
        let row = number(self.len());
        let (mut sure, mut unsure) = (vec![0; self.words], vec![0; self.words]);
        let mut decide = vec![NOBODY; self.intervals];
        let mut doubts = Vec::new();
        for place in own {
            let Some(rule) = self.rules.get(index(*place)) else {
                continue;
            };
            let answer = answer(rule, matching);
            if answer == Match::Yes {
                // Rules come in the order of their names: the first that admits is named.
                let news: Vec<u64> = rule
                    .sure
                    .iter()
                    .zip(&sure)
                    .map(|(rule, known)| rule & !known)
                    .collect();
                if news.iter().any(|word| *word != 0)
                    && let Some(decides) = self.decides.get_mut(index(*place))
                {
                    *decides = true;
                }
                for interval in members(&news) {
                    if let Some(slot) = decide.get_mut(interval) {
                        *slot = *place;
                    }
                }
                join(&mut sure, &news);
                join(&mut unsure, &rule.unsure);
                if rule.unsure.iter().any(|word| *word != 0) {
                    doubts.push(*place);
                }
            } else if answer == Match::Unsure {
                join(&mut unsure, &rule.sure);
                join(&mut unsure, &rule.unsure);
                doubts.push(*place);
            }
        }
        for (unsure, sure) in unsure.iter_mut().zip(&sure) {
            *unsure &= !sure;
        }
        self.bits.extend(sure);
        self.bits.extend(unsure);
        self.decide.extend(decide);
        if !doubts.is_empty() {
            self.doubts.insert(row, doubts);
        }
        row
    }
}

/// Sorts peers by what a mask shows of them: the kind of each, and the kinds.
fn kinds<'m>(
    all: impl Iterator<Item = Option<&'m Matching>>,
    mask: &[u64],
) -> (Vec<u32>, Vec<Matching>) {
    let mut kinds: Vec<Matching> = Vec::new();
    let mut known: HashMap<Matching, u32> = HashMap::new();
    let mut of = Vec::new();
    for matching in all {
        let Some(matching) = matching else {
            of.push(NOBODY);
            continue;
        };
        let kind = *known
            .entry(matching.within(mask))
            .or_insert_with_key(|kind| {
                kinds.push(kind.clone());
                number(kinds.len() - 1)
            });
        of.push(kind);
    }
    (of, kinds)
}

fn join(words: &mut [u64], more: &[u64]) {
    for (word, more) in words.iter_mut().zip(more) {
        *word |= more;
    }
}

/// The rules of every group that somebody carries, sorted by name.
fn rules(snapshot: &Snapshot, classes: &Classes, ports: &Ports, atoms: &mut Atoms) -> Vec<Rule> {
    let carried: BTreeSet<Key<GroupEntry>> = classes
        .sets
        .iter()
        .flat_map(|set| set.groups.iter().copied())
        .collect();
    let mut rules = Vec::new();
    for group in carried {
        let entry = snapshot.groups.at(group);
        for direction in [Direction::Ingress, Direction::Egress] {
            if entry.state != GroupState::Described {
                let mut all = vec![0; ports.words()];
                (0..ports.len()).for_each(|interval| add(&mut all, interval));
                rules.push(Rule {
                    id: RuleId::from(entry.group.id.as_str()),
                    group,
                    direction,
                    atom: atoms.unread(),
                    unsure: vec![0; all.len()],
                    sure: all,
                });
                continue;
            }
            for rule in entry.group.rules(direction) {
                let (sure, unsure) = covered(&rule.traffic, ports);
                rules.push(Rule {
                    id: rule.id.clone(),
                    group,
                    direction,
                    atom: atoms.intern(&rule.peer),
                    sure,
                    unsure,
                });
            }
        }
    }
    rules.sort_by(|one, other| one.id.cmp(&other.id));
    rules
}
