//! How attempts end: by an answer, or because their deadline is over.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use super::{
    super::{
        PeerConnection, Place,
        flight::Attempt,
        queue::Running,
        report::finished,
        socket::{Judged, News, close, converse},
        tracked::Left,
    },
    EventLoop, STARVED_PART,
};
use crate::{
    close::Close,
    outcome::{Errno, Outcome},
    probe::{Finished, Identification, SourcePorts},
};

impl EventLoop {
    /// Takes the answer of an attempt that the kernel has news about.
    pub(super) fn answered(&mut self, key: usize, news: News) {
        let now = self.clock.now();
        let Some(attempt) = self.flight.find(key) else {
            return;
        };
        let judged = attempt.judge(news, now, self.evidence);
        if judged.outcome.is_some() {
            self.end(key, judged, now);
        }
    }

    /// Ends the attempts whose deadline was over before the kernel was asked for news the last time.
    pub(super) fn end_overdue(&mut self) {
        let now = self.clock.now();
        while let Some((at, key)) = self.flight.first_deadline()
            && at <= self.asked_at
            && let Some(attempt) = self.flight.find(key)
        {
            let start = attempt.started_at;
            let after = now.saturating_duration_since(start);
            let judged = attempt.judge(News::None, now, self.evidence);
            // Silence that is our own proves nothing.
            let silent = if self.lag.since(start) > attempt.running.probe.deadline / STARVED_PART {
                Outcome::Starved { after }
            } else if self.drops.since(start, now) {
                Outcome::LocalError {
                    errno: Errno::NO_ROOM,
                }
            } else {
                Outcome::TimedOut { after }
            };
            let outcome = Some(judged.outcome.unwrap_or(silent));
            self.end(key, Judged { outcome, ..judged }, now);
        }
    }

    /// Takes an attempt out of flight and hands it on.
    fn end(&mut self, key: usize, judged: Judged, now: Instant) {
        let Some(outcome) = judged.outcome else {
            return;
        };
        let Some(attempt) = self.flight.take(key) else {
            return;
        };
        let Attempt {
            running,
            socket,
            local,
            started_at,
        } = attempt;
        let finished = Finished {
            syn_retransmissions: judged.syn_retransmissions,
            identification: judged
                .dns_code
                .map(|code| Identification::Resolver { code }),
            ..finished(&running, outcome, local, started_at)
        };
        match (running.ask(), outcome) {
            (Some(ask), Outcome::Connected { .. }) if self.flight.unwatch(&socket).is_ok() => {
                let close = match running.probe.attempts.ports {
                    SourcePorts::Ephemeral | SourcePorts::Within(_) => Close::Normal,
                    SourcePorts::Planned(_) => Close::Reset,
                };
                self.tracked.note(Left::Lasting, now);
                self.sink.connected(PeerConnection {
                    stream: converse(socket, running.probe.target),
                    target: running.probe.target,
                    attempt: finished,
                    ask,
                    deadline: running.probe.deadline,
                    close,
                    place: self.take_place(),
                });
            }
            (Some(_) | None, _) => {
                let kind = running.probe.kind;
                if let Some(connection) = close(socket, kind, outcome) {
                    self.sink.over(connection.into());
                }
                self.tracked.note(Left::by(kind, outcome), now);
                self.sink.finished(finished);
            }
        }
        self.go_on(running, outcome, started_at, now);
    }

    /// Takes a place for a connection that others complete.
    fn take_place(&self) -> Place {
        self.handed_over.fetch_add(1, Ordering::AcqRel);
        Place {
            taken: Arc::clone(&self.handed_over),
            waker: Arc::clone(&self.waker),
        }
    }

    /// Queues the next attempt of a probe, if there is one.
    pub(super) fn go_on(
        &mut self,
        mut running: Box<Running>,
        outcome: Outcome,
        started_at: Instant,
        now: Instant,
    ) {
        if !running.probe.goes_on_after(running.made, outcome) {
            return;
        }
        let due = (started_at + running.probe.interval).max(now);
        running.made += 1;
        running.port_waits = 0;
        self.wait_until(running, due);
    }
}
