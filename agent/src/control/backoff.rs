//! How long to wait before the next dial.

use std::time::Duration;

use crate::{
    environment::Rng,
    limits::{RECONNECT_FIRST, RECONNECT_MAX, RECONNECT_WINDOW_MAX},
};

/// Why there is no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setback {
    /// A stream ended that had lived for a while. Its end may be that of all streams, so that dials are spread.
    Lost {
        /// Over how long, as the coordinator said.
        window: Duration,
    },
    /// There was no stream, or it ended at once.
    Failed,
    /// The coordinator, or its certificate, refused this agent: only a change by somebody else helps.
    Refused,
}

impl Setback {
    /// A lost stream whose coordinator gave this window, cut to what is followed.
    pub(super) fn lost(window: Duration) -> Setback {
        Setback::Lost {
            window: window.min(RECONNECT_WINDOW_MAX),
        }
    }
}

/// Waits between dials: full jitter after a lost stream; after failed dials 1 s, doubled each time up to 60 s; after a
/// refusal 60 s. The latter two vary by half in both directions.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts a setback and says how long to wait.
    pub(super) fn after(&mut self, setback: Setback, rng: &dyn Rng) -> Duration {
        match setback {
            Setback::Lost { window } => {
                self.failures = 0;
                part(window, rng)
            }
            Setback::Failed => {
                let doubled = 2_u32.saturating_pow(self.failures);
                self.failures = self.failures.saturating_add(1);
                vary(
                    RECONNECT_FIRST.saturating_mul(doubled).min(RECONNECT_MAX),
                    rng,
                )
            }
            Setback::Refused => vary(RECONNECT_MAX, rng),
        }
    }
}

/// Half of a duration up to one and a half of it.
fn vary(duration: Duration, rng: &dyn Rng) -> Duration {
    duration / 2 + part(duration, rng)
}

/// A random part of a duration, in milliseconds; less than the whole.
fn part(duration: Duration, rng: &dyn Rng) -> Duration {
    let whole = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let drawn = (u128::from(rng.draw()) * u128::from(whole)) >> u64::BITS;
    Duration::from_millis(u64::try_from(drawn).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Always draws the same.
    struct Fixed(u64);

    impl Rng for Fixed {
        fn draw(&self) -> u64 {
            self.0
        }
    }

    const LOW: Fixed = Fixed(0);
    const HIGH: Fixed = Fixed(u64::MAX);

    #[test]
    fn failed_dials_wait_longer_each_time_up_to_a_minute() {
        let mut low = Backoff::default();
        let mut high = Backoff::default();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let base = Duration::from_secs(seconds);
            assert_eq!(low.after(Setback::Failed, &LOW), base / 2);
            assert_eq!(
                high.after(Setback::Failed, &HIGH),
                base * 3 / 2 - Duration::from_millis(1)
            );
        }
    }

    #[test]
    fn a_lost_stream_is_dialled_again_anywhere_in_the_window() {
        let window = Duration::from_secs(120);
        let mut backoff = Backoff::default();
        assert_eq!(
            backoff.after(Setback::Lost { window }, &LOW),
            Duration::ZERO
        );
        assert_eq!(
            backoff.after(Setback::Lost { window }, &HIGH),
            window - Duration::from_millis(1)
        );
        assert_eq!(
            backoff.after(
                Setback::Lost {
                    window: Duration::ZERO
                },
                &HIGH
            ),
            Duration::ZERO
        );
    }

    #[test]
    fn a_lost_stream_forgets_failures() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.after(Setback::Failed, &LOW);
        }
        backoff.after(
            Setback::Lost {
                window: Duration::ZERO,
            },
            &LOW,
        );
        assert_eq!(backoff.after(Setback::Failed, &LOW), RECONNECT_FIRST / 2);
    }

    #[test]
    fn a_refusal_is_retried_slowly_but_never_given_up() {
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            assert_eq!(backoff.after(Setback::Refused, &LOW), RECONNECT_MAX / 2);
        }
    }
}
