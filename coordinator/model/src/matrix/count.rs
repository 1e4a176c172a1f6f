//! One pass over every pair of classes and every port interval.

use std::collections::BTreeMap;

use super::Matrix;
use super::answer::{Pair, VerdictKind};
use crate::class::{ClassId, Policed, number};
use crate::predict::{Fixed, Gates, walk};
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

/// A word of intervals of a pair on its way through the gates.
struct Word<'w> {
    pair: Pair<'w>,
    egress: Lane,
    ingress: Lane,
    out: Lane,
    back: Lane,
    /// Intervals that nothing denied.
    possible: u64,
    /// Intervals that pass for certain.
    sure: u64,
}

/// Sure and unsure intervals of a word of a row.
type Lane = (u64, u64);

impl Word<'_> {
    fn admit(&mut self, (sure, unsure): Lane) {
        self.possible &= sure | unsure;
        self.sure &= sure;
    }

    /// Walks the gates; returns what is not denied, and what passes for certain.
    fn walked(mut self) -> (u64, u64) {
        // Where the walk ends is in the words already.
        let _ended = walk(&mut self);
        if !self.pair.way.doubts.is_empty() {
            self.sure = 0;
        }
        (self.possible, self.sure)
    }
}

impl Gates for Word<'_> {
    type End = ();

    fn fixed(&mut self, gate: Fixed) -> Result<(), ()> {
        if gate == Fixed::NetworkPolicy && self.pair.policed == Policed::Yes {
            self.sure = 0;
        }
        match &self.pair.way.end {
            Some((at, verdict)) if *at == gate => {
                self.sure = 0;
                if matches!(verdict, Verdict::Deny(_)) {
                    self.possible = 0;
                }
                Err(())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn rules(&mut self, direction: Direction) -> Result<(), ()> {
        self.admit(match direction {
            Direction::Egress => self.egress,
            Direction::Ingress => self.ingress,
        });
        Ok(())
    }

    fn entries(&mut self, direction: Direction) -> Result<(), ()> {
        self.admit(match direction {
            Direction::Egress => self.out,
            Direction::Ingress => self.back,
        });
        Ok(())
    }
}

impl Matrix<'_> {
    /// Words of what is not denied between two classes, and of what passes: equal words mean equal verdicts.
    pub(super) fn kind_words<'m>(
        &'m self,
        pair: Pair<'m>,
        (egress, ingress): (Row<'m>, Row<'m>),
    ) -> impl Iterator<Item = (u64, u64)> + 'm {
        let (out, back) = match pair.acls {
            None => ((&[][..], &[][..]), (&[][..], &[][..])),
            Some((out, back)) => (self.acls.bits(out), self.acls.bits(back)),
        };
        lanes(egress)
            .zip(lanes(ingress))
            .zip(list_lanes(out).zip(list_lanes(back)))
            .zip(self.ports.whole())
            .map(move |(((egress, ingress), (out, back)), whole)| {
                Word {
                    pair,
                    egress,
                    ingress,
                    out,
                    back,
                    possible: whole,
                    sure: whole,
                }
                .walked()
            })
    }

    /// The same for the rows that the relation has, with whether what passes is partial.
    pub(crate) fn kinds(
        &self,
        source: ClassId,
        destination: ClassId,
    ) -> impl Iterator<Item = (u64, u64, bool)> + '_ {
        let pair = self.pair(source, destination);
        pair.into_iter().flat_map(|pair| {
            let rows = (
                self.groups.bits(pair.egress),
                self.groups.bits(pair.ingress),
            );
            let is_partial = pair.way.partial.is_some();
            self.kind_words(pair, rows)
                .map(move |words| (words.0, words.1, is_partial))
        })
    }
}

/// Sure and unsure words of a row.
pub(super) type Row<'m> = (&'m [u64], &'m [u64]);

fn number_of(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The words of a row.
fn lanes((sure, unsure): Row<'_>) -> impl Iterator<Item = Lane> {
    sure.iter().copied().zip(unsure.iter().copied())
}

/// The words of a list's row; where there is no list, everything passes.
fn list_lanes(row: Row<'_>) -> impl Iterator<Item = Lane> {
    lanes(row).chain(std::iter::repeat((u64::MAX, 0)))
}
