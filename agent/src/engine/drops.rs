//! Packets that this host dropped itself.

use std::time::{Duration, Instant};

/// Tells whether connection tracking of this network namespace dropped packets because its table was full.
///
/// A SYN that is dropped so never leaves the host, and connect() says nothing: the silence is ours, not the network's.
/// The kernel counts drops for the whole namespace. One that another program met counts as one of ours, since nobody can
/// tell them apart.
#[derive(Debug)]
pub(super) struct Drops {
    /// None where the kernel does not count.
    counted: Option<u64>,
    looked_at: Instant,
    /// When the counter was last found to have risen.
    rose_at: Option<Instant>,
}

/// Where the kernel counts (`nf_conntrack_standalone.c`): a line of names, then one of hexadecimal numbers for each core.
const COUNTERS: &str = "/proc/net/stat/nf_conntrack";

/// Name of the counter.
const COLUMN: &str = "drop";

/// Shortest time between two looks, for a sweep in which thousands of attempts end within a second.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Drops {
    /// Counts from `now` on.
    pub(super) fn new(now: Instant) -> Drops {
        Drops {
            counted: counted(),
            looked_at: now,
            rose_at: None,
        }
    }

    /// Whether there may have been a drop between `start` and `now`.
    pub(super) fn since(&mut self, start: Instant, now: Instant) -> bool {
        if self.looked_at <= start || self.looked_at + LOOK_AGAIN <= now {
            self.look(counted(), now);
        }
        self.rose_at.is_some_and(|at| at >= start)
    }

    /// Takes the state of the counter at `now`.
    fn look(&mut self, counted: Option<u64>, now: Instant) {
        if counted > self.counted {
            self.rose_at = Some(now);
        }
        (self.counted, self.looked_at) = (counted, now);
    }
}

/// The counter as it is; none where there is none.
fn counted() -> Option<u64> {
    sum(&std::fs::read_to_string(COUNTERS).ok()?)
}

/// The sum over all cores.
fn sum(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    let column = lines
        .next()?
        .split_whitespace()
        .position(|name| name == COLUMN)?;
    lines
        .map(|line| {
            let number = line.split_whitespace().nth(column)?;
            u64::from_str_radix(number, 16).ok()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drops_of_all_cores_count() {
        let text = "entries  clashres found insert_failed drop early_drop\n\
                    00000002  00000000 00000009 00000000 0000000a 00000007\n\
                    00000002  00000000 00000009 00000000 00000001 00000007\n";
        assert_eq!(sum(text), Some(11));
        assert_eq!(sum("entries found\n0 1\n"), None);
        assert_eq!(sum(""), None);
    }

    #[test]
    fn a_drop_counts_for_the_attempts_that_began_before_it_was_seen() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut drops = Drops {
            counted: Some(5),
            looked_at: begin,
            rose_at: None,
        };
        drops.look(Some(5), at(1));
        assert_eq!(drops.rose_at, None);
        drops.look(Some(6), at(3));
        drops.look(Some(6), at(5));
        assert_eq!(drops.rose_at, Some(at(3)));
    }

    #[test]
    fn a_counter_that_is_gone_tells_nothing() {
        let now = Instant::now();
        let mut drops = Drops {
            counted: Some(5),
            looked_at: now,
            rose_at: None,
        };
        drops.look(None, now);
        assert_eq!(drops.rose_at, None);
    }
}
