//! How late the loop ran.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Longest lag of the loop within a window that reaches back to any start.
///
/// Silence while the loop was late proves nothing: the answer may have waited for us (ARCHITECTURE, "The instrument").
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// Invariant: times rise and lags fall from front to back, so that the first entry of a window is its longest.
    entries: VecDeque<(Instant, Duration)>,
}

/// Lags below this are the kernel's timer granularity and are not noted.
const NOISE: Duration = Duration::from_millis(2);

impl Lag {
    /// Notes that at `now` the loop was late by `lag`, and forgets what is older than `window`.
    pub(super) fn note(&mut self, now: Instant, lag: Duration, window: Duration) {
        while self
            .entries
            .front()
            .is_some_and(|(at, _)| *at + window < now)
        {
            self.entries.pop_front();
        }
        if lag < NOISE {
            return;
        }
        while self
            .entries
            .back()
            .is_some_and(|(_, shorter)| *shorter <= lag)
        {
            self.entries.pop_back();
        }
        self.entries.push_back((now, lag));
    }

    /// Longest lag since `start`.
    pub(super) fn since(&self, start: Instant) -> Duration {
        let first = self.entries.partition_point(|(at, _)| *at < start);
        self.entries
            .get(first)
            .map_or(Duration::ZERO, |(_, lag)| *lag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    #[test]
    fn the_longest_lag_since_a_start_counts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let ms = Duration::from_millis;
        let mut lag = Lag::default();
        lag.note(at(1), ms(500), WINDOW);
        lag.note(at(2), ms(100), WINDOW);
        lag.note(at(3), ms(200), WINDOW);
        assert_eq!(lag.since(at(0)), ms(500));
        assert_eq!(lag.since(at(2)), ms(200));
        assert_eq!(lag.since(at(4)), Duration::ZERO);
    }

    #[test]
    fn what_no_attempt_can_reach_is_forgotten() {
        let start = Instant::now();
        let mut lag = Lag::default();
        lag.note(start, Duration::from_secs(1), WINDOW);
        lag.note(
            start + WINDOW + Duration::from_secs(1),
            Duration::ZERO,
            WINDOW,
        );
        assert_eq!(lag.since(start), Duration::ZERO);
        assert!(lag.entries.is_empty());
    }
}
