//! Things that are due at a time each, until they are taken.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Instant,
};

use slab::Slab;

/// When an entry is due, its number in the order of additions, and its place.
type Due = (Instant, u64, usize);

/// Bits of a key that say the place of an entry; the others say the lower bits of its number.
const PLACE_BITS: u32 = usize::BITS / 2;

/// The key of the entry with this number at this place: of no other entry, unless 2^32 are added in between.
///
/// A place is soon used again, and news of what was there before may still come.
fn key(number: u64, place: usize) -> usize {
    let number = usize::try_from(number & (u64::MAX >> PLACE_BITS)).unwrap_or(0);
    number << PLACE_BITS | place
}

/// The place that a key says.
fn place(key: usize) -> usize {
    key & (usize::MAX >> PLACE_BITS)
}

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

    /// The key of the next one that is added.
    pub(super) fn next_key(&self) -> usize {
        key(self.serial + 1, self.entries.vacant_key())
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

    /// The one with this key, unless it was taken.
    pub(super) fn find(&self, of: usize) -> Option<&T> {
        let place = place(of);
        let (number, entry) = self.entries.get(place)?;
        (key(*number, place) == of).then_some(entry)
    }

    /// Takes the one with this key, unless it was taken.
    pub(super) fn take(&mut self, of: usize) -> Option<T> {
        self.find(of)?;
        self.entries.try_remove(place(of)).map(|(_, entry)| entry)
    }

    /// When the first is due, and its key; none when there is none.
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
            let (at, serial, place) = due;
            let current = self.entries.get(place);
            if current.is_some_and(|(current, _)| *current == serial) {
                return Some((at, key(serial, place)));
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
        let (_, first) = timed.first().unwrap();
        assert_eq!(timed.take(first), Some(0));
        timed.add(now + Duration::from_secs(1), 1);
        assert_eq!(timed.first().unwrap().0, now + Duration::from_secs(1));
    }

    #[test]
    fn the_key_of_what_was_taken_finds_nothing_in_its_place() {
        let now = Instant::now();
        let mut timed = Timed::default();
        let first = timed.next_key();
        timed.add(now, 'a');
        assert_eq!(timed.find(first), Some(&'a'));
        assert_eq!(timed.take(first), Some('a'));
        let second = timed.next_key();
        timed.add(now, 'b');
        assert_eq!(place(first), place(second));
        assert_eq!(timed.find(first), None);
        assert_eq!(timed.take(first), None);
        assert_eq!(timed.take(second), Some('b'));
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
