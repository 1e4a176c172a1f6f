//! How fast attempts start.

use std::time::{Duration, Instant};

use super::Pacing;

/// Spreads starts evenly: at most so many a second, and a burst after a pause.
///
/// Bursts make answers late and look like an attack (ARCHITECTURE, "The instrument").
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Time between two starts.
    gap: Duration,
    /// How far the theoretical time may run ahead: the burst.
    ahead: Duration,
    /// When the next start would be due if all starts were `gap` apart.
    next: Instant,
}

/// Lateness of a start that is made good by the next ones: the kernel's timers wait whole milliseconds.
const LATE: Duration = Duration::from_millis(2);

impl Pace {
    /// Starts as `pacing` says; without a pace the gap is nothing.
    pub(super) fn new(pacing: Pacing, now: Instant) -> Pace {
        let (gap, burst) = match pacing {
            Pacing::Unpaced => (Duration::ZERO, 1),
            Pacing::Even { per_second, burst } => {
                (Duration::from_secs(1) / per_second.max(1), burst)
            }
        };
        Pace {
            gap,
            ahead: gap * burst.max(1).saturating_sub(1),
            next: now,
        }
    }

    /// Earliest time of the next start; in the past when one may start now.
    pub(super) fn earliest(&self) -> Instant {
        self.next.checked_sub(self.ahead).unwrap_or(self.next)
    }

    /// Counts a start.
    pub(super) fn count(&mut self, now: Instant) {
        let made_good = now.checked_sub(LATE).unwrap_or(now);
        self.next = self.next.max(made_good) + self.gap;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An even pace.
    fn even(per_second: u32, burst: u32) -> Pacing {
        Pacing::Even { per_second, burst }
    }

    /// Starts as many as the pace allows until `after` and counts them.
    fn starts(pace: &mut Pace, begin: Instant, after: Duration) -> u32 {
        let mut count = 0;
        let mut now = begin;
        while now <= begin + after {
            while pace.earliest() <= now {
                pace.count(now);
                count += 1;
            }
            now += Duration::from_millis(1);
        }
        count
    }

    #[test]
    fn a_burst_is_followed_by_even_starts() {
        let now = Instant::now();
        let mut pace = Pace::new(even(20, 50), now);
        assert_eq!(starts(&mut pace, now, Duration::ZERO), 50);
        assert_eq!(starts(&mut pace, now, Duration::from_secs(1)), 20);
    }

    #[test]
    fn a_pause_gives_back_no_more_than_the_burst() {
        let now = Instant::now();
        let mut pace = Pace::new(even(20, 5), now);
        assert_eq!(starts(&mut pace, now, Duration::ZERO), 5);
        let later = now + Duration::from_secs(3600);
        assert_eq!(starts(&mut pace, later, Duration::ZERO), 5);
    }

    #[test]
    fn timers_that_are_late_do_not_slow_the_pace_down() {
        let now = Instant::now();
        let mut pace = Pace::new(even(1_000, 1), now);
        let mut count = 0;
        let mut tick = now;
        while tick < now + Duration::from_secs(1) {
            while pace.earliest() <= tick {
                pace.count(tick);
                count += 1;
            }
            tick += Duration::from_micros(1_300);
        }
        assert!((998..=1_002).contains(&count), "{count} starts");
    }

    #[test]
    fn a_burst_of_one_never_starts_two_within_a_gap() {
        let now = Instant::now();
        let mut pace = Pace::new(even(10, 1), now);
        assert_eq!(starts(&mut pace, now, Duration::from_millis(99)), 1);
    }
}
