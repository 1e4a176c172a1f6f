//! Entries that attempts leave in connection tracking.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    limits::{TRACKED_ANSWERED, TRACKED_SILENT},
    outcome::Outcome,
    probe::ProbeKind,
};

/// Counts the entries that are still there because of finished attempts, so that nobody's table fills up.
///
/// A budget of entries and not a rate: a full table drops other people's packets (ARCHITECTURE, "The instrument").
#[derive(Debug)]
pub(super) struct Tracked {
    /// Most entries at once; none: not counted.
    most: Option<usize>,
    /// When the entries of silent attempts and of orderly closed connections go, in order.
    long: VecDeque<Instant>,
    /// When the entries of reset connections go, in order.
    short: VecDeque<Instant>,
}

/// How the attempt's connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing was sent.
    Nothing,
    /// A reset went one way or the other.
    Reset,
    /// A SYN without an answer, or a FIN.
    Lasting,
}

impl Left {
    /// What an attempt of this kind and outcome leaves when its socket closes, a connected one with a reset.
    pub(super) fn by(kind: ProbeKind, outcome: Outcome) -> Left {
        let answered = match kind {
            ProbeKind::TcpConnect
            | ProbeKind::Peer { .. }
            | ProbeKind::DnsTcp { .. }
            | ProbeKind::Tls => Left::Reset,
            // UDP has no end: its entry goes when nothing came for a while.
            ProbeKind::DnsUdp { .. } => Left::Lasting,
        };
        match outcome {
            Outcome::Connected { .. } | Outcome::Refused { .. } => answered,
            Outcome::TimedOut { .. } | Outcome::Starved { .. } | Outcome::Unreachable { .. } => {
                Left::Lasting
            }
            Outcome::LocalError { .. } | Outcome::RefusedByPolicy => Left::Nothing,
        }
    }
}

impl Tracked {
    /// No entries yet; `most` at once.
    pub(super) fn new(most: Option<usize>) -> Tracked {
        Tracked {
            most,
            long: VecDeque::new(),
            short: VecDeque::new(),
        }
    }

    /// Counts what an attempt that ended at `now` left.
    pub(super) fn note(&mut self, left: Left, now: Instant) {
        if self.most.is_none() {
            return;
        }
        match left {
            Left::Nothing => {}
            Left::Reset => self.short.push_back(now + TRACKED_ANSWERED),
            Left::Lasting => self.long.push_back(now + TRACKED_SILENT),
        }
    }

    /// When there is room for another entry beside `in_flight` attempts; none when there is room at `now`.
    pub(super) fn full_until(&mut self, now: Instant, in_flight: usize) -> Option<Instant> {
        let most = self.most?;
        for entries in [&mut self.long, &mut self.short] {
            while entries.front().is_some_and(|gone_at| *gone_at <= now) {
                entries.pop_front();
            }
        }
        if self.long.len() + self.short.len() + in_flight < most {
            return None;
        }
        let first = [self.long.front(), self.short.front()];
        // With nothing but attempts in flight the end of one of them is an event of its own.
        Some(
            first
                .into_iter()
                .flatten()
                .min()
                .copied()
                .unwrap_or(now + Duration::from_millis(100)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_attempts_fill_the_budget_for_two_minutes_and_answered_ones_for_ten_seconds() {
        let now = Instant::now();
        let mut tracked = Tracked::new(Some(3));
        tracked.note(Left::Lasting, now);
        tracked.note(Left::Reset, now);
        assert_eq!(tracked.full_until(now, 0), None);
        assert_eq!(tracked.full_until(now, 1), Some(now + TRACKED_ANSWERED));
        assert_eq!(tracked.full_until(now + TRACKED_ANSWERED, 1), None);
        tracked.note(Left::Reset, now + TRACKED_ANSWERED);
        tracked.note(Left::Reset, now + TRACKED_ANSWERED);
        assert!(tracked.full_until(now + TRACKED_ANSWERED, 0).is_some());
        assert_eq!(tracked.full_until(now + TRACKED_SILENT, 2), None);
    }

    #[test]
    fn what_never_left_the_host_leaves_nothing() {
        let now = Instant::now();
        let mut tracked = Tracked::new(Some(1));
        tracked.note(
            Left::by(ProbeKind::TcpConnect, Outcome::RefusedByPolicy),
            now,
        );
        assert_eq!(tracked.full_until(now, 0), None);
        assert!(tracked.full_until(now, 1).is_some());
    }

    #[test]
    fn without_a_budget_there_is_always_room() {
        let now = Instant::now();
        let mut tracked = Tracked::new(None);
        tracked.note(Left::Lasting, now);
        assert_eq!(tracked.full_until(now, usize::MAX), None);
    }
}
