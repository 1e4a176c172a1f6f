//! Things that are due at a time each, until they are taken.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Instant,
};

use slab::Slab;

/// When an entry is due, its number in the order of additions, and where it is.
type Due = (Instant, u64, usize);

/// Entries in the order of their times; in the order of their addition where it is the same time.
///
/// Most are added in the order in which they are due, since most wait equally long: these stand in a line, which costs
/// nothing to keep in order. Only the others go into a heap.
#[derive(Debug)]
pub(super) struct Timed<T> {
    entries: Slab<(u64, T)>,
    /// Invariant: in order.
    line: VecDeque<Due>,
    rest: BinaryHeap<Reverse<Due>>,
    /// Counts additions, so that a time whose entry was taken is known to be stale.
    serial: u64,
}

impl<T> Default for Timed<T> {
    fn default() -> Self {
        Timed {
            entries: Slab::new(),
            line: VecDeque::new(),
            rest: BinaryHeap::new(),
            serial: 0,
        }
    }
}

impl<T> Timed<T> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Where the next one that is added will be.
    pub(super) fn next_key(&self) -> usize {
        self.entries.vacant_key()
    }

    /// Adds one that is due at `at`.
    pub(super) fn add(&mut self, at: Instant, entry: T) {
        self.serial += 1;
        let due = (at, self.serial, self.entries.insert((self.serial, entry)));
        if self.line.back().is_none_or(|last| *last < due) {
            self.line.push_back(due);
        } else {
            self.rest.push(Reverse(due));
        }
    }

    /// The one at `key`, unless it was taken.
    pub(super) fn find(&self, key: usize) -> Option<&T> {
        self.entries.get(key).map(|(_, entry)| entry)
    }

    /// Takes the one at `key`, unless it was taken.
    pub(super) fn take(&mut self, key: usize) -> Option<T> {
        self.entries.try_remove(key).map(|(_, entry)| entry)
    }

    /// When and where the first is due; none when there is none.
    pub(super) fn first(&mut self) -> Option<(Instant, usize)> {
        loop {
            let line = self.line.front().copied();
            let rest = self.rest.peek().map(|Reverse(due)| *due);
            let (due, in_line) = match (line, rest) {
                (Some(line), Some(rest)) => (line.min(rest), line < rest),
                (Some(line), None) => (line, true),
                (None, Some(rest)) => (rest, false),
                (None, None) => return None,
            };
            let (at, serial, key) = due;
            let current = self.entries.get(key);
            if current.is_some_and(|(current, _)| *current == serial) {
                return Some((at, key));
            }
            if in_line {
                self.line.pop_front();
            } else {
                self.rest.pop();
            }
        }
    }

    /// Keeps those for which `keep` says so.
    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.entries.retain(|_, (_, entry)| keep(entry));
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|(_, (_, entry))| entry)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// Takes what is first, until nothing is left.
    fn drain(timed: &mut Timed<usize>) -> Vec<usize> {
        std::iter::from_fn(|| {
            let (_, key) = timed.first()?;
            timed.take(key)
        })
        .collect()
    }

    #[test]
    fn a_place_that_is_used_again_is_due_at_its_new_time() {
        let now = Instant::now();
        let mut timed = Timed::default();
        timed.add(now, 0);
        assert_eq!(timed.take(0), Some(0));
        timed.add(now + Duration::from_secs(1), 1);
        assert_eq!(timed.first(), Some((now + Duration::from_secs(1), 0)));
    }

    proptest! {
        #[test]
        fn all_come_in_the_order_of_time_and_then_of_addition(waits in prop::collection::vec(0_u64..20, 0..50)) {
            let now = Instant::now();
            let mut timed = Timed::default();
            for (number, wait) in waits.iter().enumerate() {
                timed.add(now + Duration::from_secs(*wait), number);
            }
            let mut expected: Vec<usize> = (0..waits.len()).collect();
            expected.sort_by_key(|number| waits.get(*number));
            prop_assert_eq!(drain(&mut timed), expected);
        }

        #[test]
        fn what_is_dropped_never_comes(waits in prop::collection::vec(0_u64..20, 0..50)) {
            let now = Instant::now();
            let mut timed = Timed::default();
            for (number, wait) in waits.iter().enumerate() {
                timed.add(now + Duration::from_secs(*wait), number);
            }
            timed.retain(|number| number % 2 == 0);
            let left = drain(&mut timed);
            prop_assert_eq!(left.len(), waits.len().div_ceil(2));
            prop_assert!(left.iter().all(|number| number % 2 == 0));
        }
    }
}
