//! Columns in which most entries are the same, and numbers of either sign in them.

use thiserror::Error;

use crate::v1::Column;

/// A column whose parts do not fit each other, or that is longer than its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidColumn {
    /// Gaps and entries come in pairs.
    #[error("a column has {gaps} gaps for {others} entries")]
    Unpaired {
        /// Gaps.
        gaps: usize,
        /// Entries.
        others: usize,
    },
    /// There are entries beyond the end of the batch.
    #[error("a column has {left} entries beyond the end of its batch")]
    TooLong {
        /// Entries that belong to no row.
        left: usize,
    },
}

/// Writes `entries`, of which the most frequent is said once if more than half of them are it.
pub fn column_to_wire(entries: impl Iterator<Item = u32> + Clone) -> Column {
    let usual = majority(entries.clone()).unwrap_or(0);
    let mut column = Column {
        usual,
        ..Column::default()
    };
    let mut gap = 0;
    for entry in entries {
        if entry == usual {
            gap += 1;
        } else {
            column.gap.push(gap);
            column.other.push(entry);
            gap = 0;
        }
    }
    column
}

/// The entry that more than half of all are, or any one of them; none of none (the vote of Boyer and Moore).
fn majority(entries: impl Iterator<Item = u32>) -> Option<u32> {
    let mut candidate = None;
    let mut votes = 0_usize;
    for entry in entries {
        if votes == 0 {
            candidate = Some(entry);
            votes = 1;
        } else if candidate == Some(entry) {
            votes += 1;
        } else {
            votes -= 1;
        }
    }
    candidate
}

/// The entries of a column, one after the other, without an end: a batch knows how many it has.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    usual: u32,
    gaps: std::slice::Iter<'a, u32>,
    others: std::slice::Iter<'a, u32>,
    /// Usual entries before the next other one.
    before_next: u32,
}

impl<'a> Entries<'a> {
    /// The entries of `column`; all are 0 where there is none.
    ///
    /// # Errors
    /// [`InvalidColumn::Unpaired`] when there is a gap without an entry, or an entry without a gap.
    pub fn new(column: Option<&'a Column>) -> Result<Self, InvalidColumn> {
        let (usual, gaps, others): (u32, &[u32], &[u32]) = column.map_or((0, &[], &[]), |column| {
            (column.usual, &column.gap, &column.other)
        });
        if gaps.len() != others.len() {
            return Err(InvalidColumn::Unpaired {
                gaps: gaps.len(),
                others: others.len(),
            });
        }
        let mut gaps = gaps.iter();
        let before_next = gaps.next().copied().unwrap_or(0);
        Ok(Self {
            usual,
            gaps,
            others: others.iter(),
            before_next,
        })
    }

    /// The next entry.
    pub fn take_next(&mut self) -> u32 {
        if self.before_next > 0 {
            self.before_next -= 1;
            return self.usual;
        }
        match self.others.next() {
            Some(other) => {
                self.before_next = self.gaps.next().copied().unwrap_or(0);
                *other
            }
            None => self.usual,
        }
    }

    /// Checks that nothing is left after the last row of a batch.
    ///
    /// # Errors
    /// [`InvalidColumn::TooLong`] when something is.
    pub fn end(&self) -> Result<(), InvalidColumn> {
        match self.others.len() {
            0 => Ok(()),
            left => Err(InvalidColumn::TooLong { left }),
        }
    }
}

/// Writes a number of either sign so that those near 0 stay small: 0, -1, 1, -2 are 0, 1, 2, 3.
pub fn zigzag(number: i32) -> u32 {
    ((number << 1) ^ (number >> 31)).cast_unsigned()
}

/// Reads what [`zigzag`] wrote.
pub fn zigzag_from_wire(number: u32) -> i32 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn the_usual_entry_is_said_once() {
        let column = column_to_wire([1, 1, 2, 1, 1, 1, 3].into_iter());
        assert_eq!(column.usual, 1);
        assert_eq!((column.gap, column.other), (vec![2, 3], vec![2, 3]));
    }

    #[test]
    fn an_absent_column_is_all_zeroes() {
        let mut entries = Entries::new(None).unwrap();
        assert_eq!([entries.take_next(), entries.take_next()], [0, 0]);
        assert_eq!(entries.end(), Ok(()));
    }

    #[test]
    fn a_gap_without_an_entry_is_refused() {
        let column = Column {
            gap: vec![1, 2],
            other: vec![7],
            ..Column::default()
        };
        let error = Entries::new(Some(&column)).unwrap_err();
        assert_eq!(error, InvalidColumn::Unpaired { gaps: 2, others: 1 });
    }

    #[test]
    fn an_entry_beyond_the_last_row_is_refused() {
        for gap in [2, u32::MAX] {
            let column = Column {
                gap: vec![gap],
                other: vec![7],
                ..Column::default()
            };
            let mut entries = Entries::new(Some(&column)).unwrap();
            assert_eq!([entries.take_next(), entries.take_next()], [0, 0]);
            assert_eq!(entries.end(), Err(InvalidColumn::TooLong { left: 1 }));
        }
    }

    proptest! {
        #[test]
        fn any_column_comes_back(entries in vec(prop_oneof![Just(5), 0..3_u32, any::<u32>()], 0..60)) {
            let column = column_to_wire(entries.iter().copied());
            let mut read = Entries::new(Some(&column)).unwrap();
            let back: Vec<u32> = entries.iter().map(|_| read.take_next()).collect();
            prop_assert_eq!(back, entries);
            prop_assert_eq!(read.end(), Ok(()));
        }

        #[test]
        fn any_number_comes_back(number in any::<i32>()) {
            prop_assert_eq!(zigzag_from_wire(zigzag(number)), number);
        }

        #[test]
        fn numbers_near_zero_stay_small(number in -64..64_i32) {
            prop_assert!(zigzag(number) < 128);
        }
    }
}
