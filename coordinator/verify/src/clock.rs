//! How an agent's monotonic clock stands to the coordinator's, from pings and the heartbeats that answer them (F.2
//! "clock").
//!
//! An agent says when it answered; that lies between the sending of the ping and the arrival of the answer. So each
//! exchange bounds the offset from both sides, and the quickest one best.

use std::time::Duration;

use reachproof_model::observation::ClockOffset;

/// How far two exchanges of one process may be apart; beyond that one of its clocks does not go as a clock does.
pub const CONTRADICTION: Duration = Duration::from_secs(1);

/// The exchanges with one process of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clock {
    /// What bounds the offset, from every exchange together.
    bounds: Option<Bounds>,
    /// The exchange with the shortest round trip.
    best: Option<Bounds>,
    contradicted: bool,
}

/// The offset is not below `low` and not above `high`, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    low: i64,
    high: i64,
}

impl Bounds {
    fn width(self) -> i64 {
        self.high.saturating_sub(self.low)
    }
}

impl Clock {
    /// Takes one exchange: a ping `sent` and its answer `received` by the coordinator's clock, and the time of the answer
    /// by the agent's.
    pub fn exchange(&mut self, sent: Duration, answered: Duration, received: Duration) {
        let at = microseconds(answered);
        let new = Bounds {
            low: at.saturating_sub(microseconds(received)),
            high: at.saturating_sub(microseconds(sent)),
        };
        let known = self.bounds.get_or_insert(new);
        known.low = known.low.max(new.low);
        known.high = known.high.min(new.high);
        self.contradicted |= known.low.saturating_sub(known.high) > microseconds(CONTRADICTION);
        if self.best.is_none_or(|best| new.width() < best.width()) {
            self.best = Some(new);
        }
    }

    /// The offset by the best exchange; absent if there was none, or if two contradict each other.
    #[must_use]
    pub fn offset(&self) -> Option<ClockOffset> {
        let best = self.best.filter(|_| !self.contradicted)?;
        let half = best.width() / 2;
        let uncertainty = u64::try_from(best.width().saturating_sub(half)).unwrap_or_default();
        Some(ClockOffset {
            offset_us: best.low.saturating_add(half),
            uncertainty: Duration::from_micros(uncertainty),
        })
    }
}

/// Whole microseconds; more than the number holds is the most that it holds.
fn microseconds(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A clock after exchanges, in milliseconds: sent, answered, received.
    fn clock(exchanges: &[(u32, u32, u32)]) -> Clock {
        let mut clock = Clock::default();
        for (sent, answered, received) in exchanges {
            clock.exchange(MS * *sent, MS * *answered, MS * *received);
        }
        clock
    }

    #[test]
    fn the_quickest_exchange_decides_and_says_how_sure_it_is() {
        assert_eq!(clock(&[]).offset(), None);
        let offset = clock(&[(1_000, 61_050, 1_900), (3_000, 63_004, 3_010)]).offset();
        let offset = offset.unwrap();
        assert_eq!(offset.offset_us, 59_999_000);
        assert_eq!(offset.uncertainty, MS * 5);
    }

    #[test]
    fn an_agent_that_started_later_has_a_negative_offset() {
        let offset = clock(&[(5_000, 1_000, 5_002)]).offset().unwrap();
        assert_eq!(offset.offset_us, -4_001_000);
        assert_eq!(offset.uncertainty, MS);
    }

    #[test]
    fn exchanges_that_contradict_each_other_leave_the_clock_unknown() {
        // The second says that the clock went ahead by 1.2 s, at least 1.1 s.
        let jumped = clock(&[(1_000, 61_000, 1_050), (3_000, 64_200, 3_050)]);
        assert_eq!(jumped.offset(), None);
        // By 1 s and no more: within what is allowed.
        let drifted = clock(&[(1_000, 61_000, 1_000), (3_000, 64_000, 3_000)]);
        assert!(drifted.offset().is_some());
        // A slow exchange says little and contradicts nothing.
        let slow = clock(&[(1_000, 61_000, 1_050), (3_000, 64_200, 4_500)]);
        assert_eq!(slow.offset().unwrap().uncertainty, MS * 25);
    }
}
