//! One pass over every pair of classes and every port interval.

use std::collections::BTreeMap;

use super::Matrix;
use super::answer::{Pair, VerdictKind};
use crate::class::{ClassId, Policed, number};
use crate::predict::{Fixed, Gates, Way, walk};
use crate::prediction::Verdict;
use crate::snapshot::Direction;

/// How many cells have which verdict; a cell is a pair of classes of one family at a port interval.
///
/// Pairs count as if their members were on different hosts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts(BTreeMap<VerdictKind, u64>);

impl Counts {
    /// Returns the cells with a verdict.
    #[must_use]
    pub fn of(&self, kind: VerdictKind) -> u64 {
        self.0.get(&kind).copied().unwrap_or(0)
    }

    /// Returns all cells.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    fn note(&mut self, kind: VerdictKind, cells: u64) {
        *self.0.entry(kind).or_default() += cells;
    }
}

/// How many cells of a pair are not denied, and how many pass for certain.
#[derive(Default)]
struct Tally {
    possible: u64,
    sure: u64,
}

impl Matrix<'_> {
    /// Counts the verdicts of every pair of classes and every port interval.
    #[must_use]
    pub fn count(&self) -> Counts {
        let mut counts = Counts::default();
        let all = number_of(self.ports.len());
        let classes = number(self.classes.len());
        for source in (0..classes).map(ClassId) {
            let mut sum = [0; 4];
            for destination in (0..classes).map(ClassId) {
                let Some(pair) = self.pair(source, destination) else {
                    continue;
                };
                let tally = self.tally(pair);
                let [allow, deny, partial, unknown] = &mut sum;
                *deny += all - tally.possible;
                *unknown += tally.possible - tally.sure;
                let rest = if pair.way.partial.is_some() {
                    partial
                } else {
                    allow
                };
                *rest += tally.sure;
            }
            let [allow, deny, partial, unknown] = sum;
            counts.note(VerdictKind::Allow, allow);
            counts.note(VerdictKind::Deny, deny);
            counts.note(VerdictKind::Partial, partial);
            counts.note(VerdictKind::Unknown, unknown);
        }
        counts
    }

    /// Counts the cells of a pair, a word of intervals at a time.
    fn tally(&self, pair: Pair<'_>) -> Tally {
        let rows = (
            self.groups.bits(pair.egress),
            self.groups.bits(pair.ingress),
        );
        let mut tally = Tally::default();
        for (possible, sure) in self.kind_words(pair, rows) {
            tally.possible += u64::from(possible.count_ones());
            tally.sure += u64::from(sure.count_ones());
        }
        tally
    }
}

/// Rows of the four gates with ports, in the order of the walk.
#[derive(Clone, Copy)]
struct Rows<'m> {
    egress: Row<'m>,
    out: Row<'m>,
    back: Row<'m>,
    ingress: Row<'m>,
}

/// All intervals of a pair on their way through the gates.
struct Word<'m> {
    way: &'m Way,
    /// What the gates say.
    rows: Rows<'m>,
    /// What those said that were met; everything passes at the others.
    met: Rows<'m>,
}

impl<'m> Gates for Word<'m> {
    type End = &'m Verdict;

    fn fixed(&mut self, gate: Fixed) -> Result<(), &'m Verdict> {
        match &self.way.end {
            Some((at, verdict)) if *at == gate => Err(verdict),
            Some(_) | None => Ok(()),
        }
    }

    fn rules(&mut self, direction: Direction) -> Result<(), &'m Verdict> {
        match direction {
            Direction::Egress => self.met.egress = self.rows.egress,
            Direction::Ingress => self.met.ingress = self.rows.ingress,
        }
        Ok(())
    }

    fn entries(&mut self, direction: Direction) -> Result<(), &'m Verdict> {
        match direction {
            Direction::Egress => self.met.out = self.rows.out,
            Direction::Ingress => self.met.back = self.rows.back,
        }
        Ok(())
    }
}

impl Matrix<'_> {
    /// Words of what is not denied between two classes, and of what passes: equal words mean equal verdicts.
    ///
    /// The gates are walked once for all words: what a row denies is denied whatever stands behind it.
    pub(super) fn kind_words<'m>(
        &'m self,
        pair: Pair<'m>,
        (egress, ingress): (Row<'m>, Row<'m>),
    ) -> impl Iterator<Item = (u64, u64)> + 'm {
        let everything = (self.ports.whole(), self.ports.none());
        let (out, back) = match pair.acls {
            None => (everything, everything),
            Some((out, back)) => (self.acls.bits(out), self.acls.bits(back)),
        };
        let mut word = Word {
            way: pair.way,
            rows: Rows {
                egress,
                out,
                back,
                ingress,
            },
            met: Rows {
                egress: everything,
                out: everything,
                back: everything,
                ingress: everything,
            },
        };
        let is_known = pair.way.doubts.is_empty() && pair.policed == Policed::No;
        // Which intervals may pass at all, and which may pass for certain.
        let (possible, sure) = match walk(&mut word) {
            Ok(()) if is_known => (u64::MAX, u64::MAX),
            Err(Verdict::Deny(_)) => (0, 0),
            Ok(()) | Err(_) => (u64::MAX, 0),
        };
        let met = word.met;
        lanes(met.egress)
            .zip(lanes(met.out))
            .zip(lanes(met.back).zip(lanes(met.ingress)))
            .zip(self.ports.whole())
            .map(move |(((egress, out), (back, ingress)), whole)| {
                let all = (egress.0 | egress.1) & (out.0 | out.1) & (back.0 | back.1);
                let all = all & (ingress.0 | ingress.1) & whole;
                let certain = egress.0 & out.0 & back.0 & ingress.0 & whole;
                (all & possible, certain & sure)
            })
    }
}

/// Sure and unsure words of a row.
pub(super) type Row<'m> = (&'m [u64], &'m [u64]);

/// Sure and unsure intervals of a word of a row.
type Lane = (u64, u64);

fn number_of(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The words of a row.
fn lanes((sure, unsure): Row<'_>) -> impl Iterator<Item = Lane> {
    sure.iter().copied().zip(unsure.iter().copied())
}
