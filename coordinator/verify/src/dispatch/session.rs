//! TLS handshakes at one control-plane interface, which must stay rare (F.2 "Pulses"): each is reserved before it starts.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Most handshakes in any [`SESSION_WINDOW`] at one interface.
pub const SESSIONS_MAX: usize = 2;

/// The time in which there may be so many.
pub const SESSION_WINDOW: Duration = Duration::from_secs(1);

/// The handshakes that one interface has to expect.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions(BTreeMap<Instant, usize>);

impl Sessions {
    /// Whether one more at each of `times` leaves at most `most` in any window.
    pub(super) fn have_room(&self, times: impl IntoIterator<Item = Instant>, most: usize) -> bool {
        times.into_iter().all(|time| self.has_room(time, most))
    }

    fn has_room(&self, time: Instant, most: usize) -> bool {
        let first = time.checked_sub(SESSION_WINDOW).unwrap_or(time);
        let near = self.0.range(first..time + SESSION_WINDOW);
        let mut times: Vec<Instant> = near
            .flat_map(|(at, count)| std::iter::repeat_n(*at, *count))
            .chain([time])
            .collect();
        times.sort_unstable();
        // One too many, if some window holds the first and the last of `most + 1`.
        let is_full = |group: &[Instant]| match (group.first(), group.last()) {
            (Some(first), Some(last)) => *last < *first + SESSION_WINDOW,
            (_, _) => false,
        };
        !times.windows(most + 1).any(is_full)
    }

    /// Reserves one at each of `times`.
    pub(super) fn reserve(&mut self, times: impl IntoIterator<Item = Instant>) {
        for time in times {
            *self.0.entry(time).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_one_has_no_room_within_a_window() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let mut sessions = Sessions::default();
        sessions.reserve([at(5_000), at(6_000)]);
        for (ms, most, has_room) in [
            (5_500, 2, true),
            (4_999, 2, true),
            (6_999, 1, false),
            (7_000, 1, true),
            (4_000, 1, true),
            (4_001, 1, false),
        ] {
            assert_eq!(sessions.have_room([at(ms)], most), has_room, "{ms}");
        }
        sessions.reserve([at(5_500)]);
        for (ms, has_room) in [
            (5_499, false),
            (6_499, false),
            (6_500, true),
            (4_500, true),
            (4_501, false),
        ] {
            assert_eq!(sessions.have_room([at(ms)], 2), has_room, "{ms}");
        }
        assert!(!sessions.have_room([at(0), at(5_600)], 2));
    }
}
