//! One pass over every pair of classes and every port interval.

use std::collections::BTreeMap;

use super::Matrix;
use super::answer::{Pair, VerdictKind};
use super::ports::size;
use crate::class::{ClassId, Policed, number};

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

/// What is left of the cells of a pair.
#[derive(Default)]
struct Tally {
    deny: u64,
    unknown: u64,
    rest: u64,
}

impl Matrix<'_> {
    /// Counts the verdicts of every pair of classes and every port interval.
    #[must_use]
    pub fn count(&self) -> Counts {
        let mut counts = Counts::default();
        let classes = number(self.classes.len());
        for source in (0..classes).map(ClassId) {
            let mut sum = [0; 4];
            for destination in (0..classes).map(ClassId) {
                let Some(pair) = self.pair(source, destination) else {
                    continue;
                };
                let tally = self.tally(&pair);
                let [allow, deny, partial, unknown] = &mut sum;
                *deny += tally.deny;
                *unknown += tally.unknown;
                let rest = if pair.way.partial.is_some() {
                    partial
                } else {
                    allow
                };
                *rest += tally.rest;
            }
            let [allow, deny, partial, unknown] = sum;
            counts.note(VerdictKind::Allow, allow);
            counts.note(VerdictKind::Deny, deny);
            counts.note(VerdictKind::Partial, partial);
            counts.note(VerdictKind::Unknown, unknown);
        }
        counts
    }

    /// Counts the cells of a pair with ANDs of whole rows: the order of the walk, for all intervals at once.
    fn tally(&self, pair: &Pair<'_>) -> Tally {
        let way = pair.way;
        let all = number_of(self.ports.len());
        if way.endpoints.is_some() {
            return Tally {
                unknown: all,
                ..Tally::default()
            };
        }
        let (egress, egress_unsure) = self.groups.bits(pair.egress);
        let is_lost = way.route.is_some();
        let is_unjudged = way.receiver.is_some();
        if is_lost {
            return Tally {
                deny: all,
                ..Tally::default()
            };
        }
        let (out, out_unsure, back, back_unsure) = match pair.acls {
            None => (&[][..], &[][..], &[][..], &[][..]),
            Some((out, back)) => {
                let (out, back) = (self.acls.bits(out), self.acls.bits(back));
                (out.0, out.1, back.0, back.1)
            }
        };
        let leaving = Lanes::new(egress, egress_unsure).and(out, out_unsure);
        if is_unjudged {
            let unknown = leaving.possible();
            return Tally {
                deny: all - unknown,
                unknown,
                rest: 0,
            };
        }
        let (ingress, ingress_unsure) = self.groups.bits(pair.ingress);
        let arriving = Lanes::new(ingress, ingress_unsure).and(back, back_unsure);
        let (possible, sure) = leaving.meet(arriving);
        if way.replies.is_some() || way.return_route.is_some() {
            return Tally {
                deny: all,
                ..Tally::default()
            };
        }
        let is_unknown =
            way.before_rules.is_some() || way.after_rules.is_some() || pair.policed == Policed::Yes;
        let rest = if is_unknown { 0 } else { sure };
        Tally {
            deny: all - possible,
            unknown: possible - rest,
            rest,
        }
    }
}

impl Matrix<'_> {
    /// Words of what is not denied between two classes, and of what passes: equal words mean equal verdicts.
    pub(super) fn kind_words<'m>(
        &'m self,
        pair: Pair<'m>,
        (egress, ingress): (Row<'m>, Row<'m>),
    ) -> impl Iterator<Item = (u64, u64)> + 'm {
        let way = pair.way;
        let is_lost = way.route.is_some() || way.replies.is_some() || way.return_route.is_some();
        let is_open = way.endpoints.is_none() && way.receiver.is_none();
        let is_sure = is_open
            && way.before_rules.is_none()
            && way.after_rules.is_none()
            && pair.policed == Policed::No;
        let ((out, out_unsure), (back, back_unsure)) = match pair.acls {
            None => ((&[][..], &[][..]), (&[][..], &[][..])),
            Some((out, back)) => (self.acls.bits(out), self.acls.bits(back)),
        };
        let leaving = Lanes::new(egress.0, egress.1).and(out, out_unsure);
        let arriving = Lanes::new(ingress.0, ingress.1).and(back, back_unsure);
        let is_known = way.endpoints.is_none();
        leaving
            .into_words()
            .zip(arriving.into_words())
            .map(move |(one, other)| {
                let far = if is_open { other } else { (u64::MAX, u64::MAX) };
                let possible = one.0 & far.0;
                match (is_known, is_lost) {
                    (false, _) => (u64::MAX, 0),
                    (true, true) => (0, 0),
                    (true, false) => (possible, if is_sure { one.1 & far.1 } else { 0 }),
                }
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

/// A security group row and an ACL row that stand behind each other.
struct Lanes<'m> {
    sure: &'m [u64],
    unsure: &'m [u64],
    /// Empty: there is no list.
    passing: &'m [u64],
    passing_unsure: &'m [u64],
}

impl<'m> Lanes<'m> {
    fn new(sure: &'m [u64], unsure: &'m [u64]) -> Self {
        Self {
            sure,
            unsure,
            passing: &[],
            passing_unsure: &[],
        }
    }

    fn and(mut self, passing: &'m [u64], unsure: &'m [u64]) -> Self {
        self.passing = passing;
        self.passing_unsure = unsure;
        self
    }

    /// Words of what may pass and of what passes for certain.
    fn into_words(self) -> impl Iterator<Item = (u64, u64)> + 'm {
        let lists = self.passing.iter().zip(self.passing_unsure);
        let lists = lists.map(|(sure, unsure)| (sure | unsure, *sure));
        let lists = lists.chain(std::iter::repeat((u64::MAX, u64::MAX)));
        let groups = self.sure.iter().zip(self.unsure);
        groups
            .zip(lists)
            .map(|((sure, unsure), list)| ((sure | unsure) & list.0, sure & list.1))
    }

    fn possible(self) -> u64 {
        size(self.into_words().map(|(possible, _)| possible))
    }

    /// Counts what may pass both and what passes both for certain.
    fn meet(self, other: Self) -> (u64, u64) {
        let mut counts = (0, 0);
        for (one, other) in self.into_words().zip(other.into_words()) {
            counts.0 += u64::from((one.0 & other.0).count_ones());
            counts.1 += u64::from((one.1 & other.1).count_ones());
        }
        counts
    }
}
