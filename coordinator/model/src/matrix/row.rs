//! Rows of security groups: for a set of groups and a kind of peer, which ports are admitted and by which rule.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::atom::{Atoms, Matching};
use super::ports::{WORD, has};
use crate::class::{Classes, Facts, SetId, ZoneId, index};
use crate::id::RuleId;
use crate::snapshot::{Direction, GroupEntry, Key, Match, RulePeer, Snapshot};

mod build;

/// What an edit of a group makes of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Overlay {
    pub(super) sure: Vec<u64>,
    pub(super) unsure: Vec<u64>,
    /// Intervals at which the row says something else than before.
    pub(super) touched: Vec<u64>,
}

/// Number of a row.
pub(super) type RowId = u32;

/// What references may do on a path.
pub(super) const CROSSINGS: [Option<Match>; 4] =
    [Some(Match::Yes), Some(Match::No), Some(Match::Unsure), None];

fn crossing_number(crossing: Option<Match>) -> usize {
    match crossing {
        Some(Match::Yes) => 0,
        Some(Match::No) => 1,
        Some(Match::Unsure) => 2,
        None => 3,
    }
}

fn direction_number(direction: Direction) -> usize {
    match direction {
        Direction::Ingress => 0,
        Direction::Egress => 1,
    }
}

/// A rule, or a group that nobody described, in the order of their names.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: RuleId,
    pub(super) group: Key<GroupEntry>,
    pub(super) direction: Direction,
    atom: usize,
    sure: Vec<u64>,
    unsure: Vec<u64>,
}

/// The rows of all sets of groups in one direction, over paths that references cross in one way.
///
/// A set sees zones and groups only as far as its rules mention them: as kinds. A row is for a kind of zone and a kind
/// of groups; `rows` holds the rows of a set behind each other, a stretch for each kind of zone.
#[derive(Debug, Default)]
struct Table {
    zones: usize,
    sets: usize,
    /// Where the stretch of a zone begins, set after set.
    zone: Vec<u32>,
    /// Place within a stretch of who carries a set of groups, set after set.
    peer: Vec<u32>,
    rows: Vec<RowId>,
}

/// All rows of security groups.
#[derive(Debug)]
pub(super) struct GroupRows {
    pub(super) rules: Vec<Rule>,
    words: usize,
    intervals: usize,
    /// Words of sure and of unsure intervals, row after row.
    bits: Vec<u64>,
    /// The rule that decides, interval after interval, row after row.
    decide: Vec<u32>,
    /// Whether a rule decides anywhere, by its place.
    decides: Vec<bool>,
    /// Rules that nobody can resolve, by row.
    doubts: BTreeMap<RowId, Vec<u32>>,
    /// By crossing and direction; empty where no way crosses so.
    tables: Vec<Table>,
    /// Zone and set of groups of all classes: the peers that there are.
    pub(super) peers: BTreeSet<(ZoneId, SetId)>,
    examples: Vec<Option<IpAddr>>,
    zones: Vec<Option<Matching>>,
    /// What references see of every set, by crossing.
    sets: Vec<Vec<Matching>>,
}

/// A peer: its zone and its set of groups, and how references cross on the way.
pub(super) type End = (ZoneId, SetId, Option<Match>);

/// Row of a set without groups: nothing is known.
pub(super) const NO_GROUPS: RowId = 0;
/// No rule.
const NOBODY: u32 = u32::MAX;

impl GroupRows {
    /// Returns how many rows there are.
    pub(super) fn len(&self) -> usize {
        self.bits.len() / (2 * self.words.max(1))
    }

    /// Returns the row of a class for a peer, where references work as `crossing` says.
    pub(super) fn row(
        &self,
        (class, direction): (&Facts, Direction),
        peer: &Facts,
        crossing: Option<Match>,
    ) -> RowId {
        self.row_at(direction, class.set, (peer.zone, peer.set), crossing)
            .unwrap_or(NO_GROUPS)
    }

    /// Returns the row of a set for a zone and a set of groups; absent if no path crosses so.
    pub(super) fn row_at(
        &self,
        direction: Direction,
        set: SetId,
        (zone, peer): (ZoneId, SetId),
        crossing: Option<Match>,
    ) -> Option<RowId> {
        let place = 2 * crossing_number(crossing) + direction_number(direction);
        let table = self.tables.get(place)?;
        let stretch = table.zone.get(index(set) * table.zones + index(zone))?;
        let offset = table.peer.get(index(set) * table.sets + index(peer))?;
        table.rows.get(index(*stretch) + index(*offset)).copied()
    }

    /// Returns the rules of a set in one direction, by place.
    pub(super) fn own_of(&self, classes: &Classes, set: SetId, direction: Direction) -> Vec<u32> {
        let set = classes.sets.get(index(set));
        set.map_or_else(Vec::new, |set| self.own(set, direction))
    }

    /// The peers of rules that an end matches.
    fn matching(&self, (zone, set, crossing): End) -> Option<[&Matching; 2]> {
        let zone = self.zones.get(index(zone))?.as_ref()?;
        let sets = self.sets.get(crossing_number(crossing))?;
        Some([zone, sets.get(index(set))?])
    }

    /// Returns whether a rule matches an end, for certain or perhaps.
    pub(super) fn matched(&self, rule: u32, end: End) -> bool {
        let rule = self.rules.get(index(rule));
        rule.zip(self.matching(end))
            .is_some_and(|(rule, matching)| answer(rule, matching) != Match::No)
    }

    /// Returns whether a peer that no rule may have yet matches an end.
    pub(super) fn peer_matches(
        &self,
        snapshot: &Snapshot,
        classes: &Classes,
        peer: &RulePeer,
        (zone, set, crossing): End,
    ) -> Match {
        let example = self.examples.get(index(zone)).copied().flatten();
        let ends = example.zip(classes.sets.get(index(set)));
        ends.map_or(Match::No, |(address, set)| {
            Atoms::peer(snapshot, peer, (address, set), crossing)
        })
    }

    /// Returns what some rules admit for an end.
    pub(super) fn overlay(&self, own: &[u32], end: End) -> Overlay {
        let mut overlay = Overlay {
            sure: vec![0; self.words],
            unsure: vec![0; self.words],
            touched: Vec::new(),
        };
        let Some(matching) = self.matching(end) else {
            return overlay;
        };
        for rule in own.iter().filter_map(|place| self.rules.get(index(*place))) {
            overlay.admit(&rule.sure, &rule.unsure, answer(rule, matching));
        }
        overlay
    }

    /// Returns the words of the sure and of the unsure intervals of a row.
    pub(super) fn bits(&self, row: RowId) -> (&[u64], &[u64]) {
        let start = 2 * self.words * index(row);
        let words = self
            .bits
            .get(start..start + 2 * self.words)
            .unwrap_or_default();
        words.split_at_checked(self.words).unwrap_or_default()
    }

    /// Returns what a row says of one interval.
    pub(super) fn answer(&self, row: RowId, interval: usize) -> Match {
        match self.lanes(row, interval) {
            (1, _) => Match::Yes,
            (_, 0) => Match::No,
            (_, _) => Match::Unsure,
        }
    }

    /// Returns whether an interval is admitted for certain, and whether it may be: 1 or 0, to be joined without branches.
    pub(super) fn lanes(&self, row: RowId, interval: usize) -> (u64, u64) {
        let sure = 2 * self.words * index(row) + interval / WORD;
        let bit = |place: usize| {
            self.bits
                .get(place)
                .map_or(0, |word| word >> (interval % WORD) & 1)
        };
        let (sure, unsure) = (bit(sure), bit(sure + self.words));
        (sure, sure | unsure)
    }

    /// Returns the place of the rule that admits an interval.
    pub(super) fn deciding(&self, row: RowId, interval: usize) -> Option<u32> {
        let place = *self.decide.get(index(row) * self.intervals + interval)?;
        (place != NOBODY).then_some(place)
    }

    /// Returns whether a rule decides any interval of any row.
    pub(super) fn decides(&self, place: u32) -> bool {
        self.decides.get(index(place)).copied().unwrap_or(false)
    }

    /// Returns a rule by its place.
    pub(super) fn rule(&self, place: u32) -> Option<&Rule> {
        self.rules.get(index(place))
    }

    /// Returns the names of the rules that nobody can resolve at an interval, sorted.
    pub(super) fn unresolved(&self, row: RowId, interval: usize) -> Vec<RuleId> {
        let doubts = self.doubts.get(&row).into_iter().flatten();
        let mut names: Vec<RuleId> = doubts
            .filter_map(|place| self.rules.get(index(*place)))
            .filter(|rule| has(&rule.sure, interval) || has(&rule.unsure, interval))
            .map(|rule| rule.id.clone())
            .collect();
        names.dedup();
        names
    }
}

/// Whether a rule's peer matches.
fn answer(rule: &Rule, matching: [&Matching; 2]) -> Match {
    let is_in =
        |words: fn(&Matching) -> &Vec<u64>| matching.iter().any(|peer| has(words(peer), rule.atom));
    if is_in(|peer| &peer.sure) {
        Match::Yes
    } else if is_in(|peer| &peer.unsure) {
        Match::Unsure
    } else {
        Match::No
    }
}
