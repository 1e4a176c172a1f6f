//! One phase of a run, as the line shows it.

use std::time::{Duration, Instant};

use crate::progress::Progress;

/// What goes on, since when, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Phase {
    name: &'static str,
    begun: Instant,
    count: Option<Count>,
    end: End,
}

/// How many of something are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    done: usize,
    /// Absent where nobody knows.
    all: Option<usize>,
    one: &'static str,
    several: &'static str,
}

/// When a phase ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nobody knows.
    Open,
    /// So long after it began at the latest, whatever is done.
    Within(Duration),
    /// With the last that is done, so long after it began at the latest where that is known.
    WithTheLast(Option<Duration>),
}

impl Phase {
    /// The phase after `progress`; the same one where it only went on.
    pub(super) fn after(before: Option<Self>, progress: &Progress, now: Instant) -> Option<Self> {
        let fresh = |name, count, end| {
            Some(Self {
                name,
                begun: now,
                count,
                end,
            })
        };
        let counted = |done, all, one, several| {
            Some(Count {
                done,
                all,
                one,
                several,
            })
        };
        match progress {
            Progress::Reading { answers } => {
                let count = counted(*answers, None, "answer", "answers");
                let fresh = fresh("reading the cluster", count, End::Open);
                going_on(before, fresh)
            }
            Progress::Decoded { .. } => None,
            Progress::Gathering { expected, wait } => {
                let count = counted(0, Some(*expected), "agent", "agents");
                fresh("waiting for agents", count, End::Within(*wait))
            }
            Progress::AgentArrived { present, .. } => before.map(|phase| phase.with(*present)),
            Progress::Settling { wait } => {
                let name = "watching whether the cluster changes";
                fresh(name, None, End::Within(*wait))
            }
            Progress::Planned {
                probes, silence, ..
            } => {
                let count = counted(0, Some(*probes), "probe", "probes");
                fresh("probing", count, End::WithTheLast(Some(*silence)))
            }
            Progress::Probing { finished, total } => {
                let count = counted(*finished, Some(*total), "probe", "probes");
                going_on(before, fresh("probing", count, End::WithTheLast(None)))
            }
            Progress::Comparing => fresh("comparing", None, End::Open),
        }
    }

    fn with(mut self, done: usize) -> Self {
        if let Some(count) = &mut self.count {
            count.done = done;
        }
        self
    }

    /// The line, without an end of line.
    pub(super) fn line(&self, now: Instant) -> String {
        let gone = now.saturating_duration_since(self.begun);
        let mut parts = Vec::new();
        parts.extend(self.count.map(|count| count.text()));
        parts.extend(self.left(gone));
        if parts.is_empty() {
            return self.name.to_owned();
        }
        format!("{}: {}", self.name, parts.join(", "))
    }

    /// The time that is left, or the time that is gone where nobody knows the end.
    fn left(&self, gone: Duration) -> Option<String> {
        match self.end {
            End::Open => (gone.as_secs() > 0).then(|| format!("{} s", gone.as_secs())),
            End::Within(wait) => {
                let left = wait.saturating_sub(gone);
                Some(format!("at most {} s left", seconds(left)))
            }
            End::WithTheLast(at_most) => {
                let count = self.count?;
                let (done, all) = (
                    u32::try_from(count.done).ok()?,
                    u32::try_from(count.all?).ok()?,
                );
                if done == 0 {
                    let left = at_most?.saturating_sub(gone);
                    return Some(format!("at most {} s left", seconds(left)));
                }
                let pace = gone.checked_div(done)?;
                let mut left = pace.saturating_mul(all.saturating_sub(done));
                if let Some(at_most) = at_most {
                    left = left.min(at_most.saturating_sub(gone));
                }
                Some(format!("about {} s left", seconds(left)))
            }
        }
    }
}

impl Count {
    fn text(self) -> String {
        let Self {
            done,
            all,
            one,
            several,
        } = self;
        let name = if all.unwrap_or(done) == 1 {
            one
        } else {
            several
        };
        match all {
            Some(all) => format!("{done} of {all} {name}"),
            None => format!("{done} {name}"),
        }
    }
}

/// The phase before with the count of the next, if both are the same one.
fn going_on(before: Option<Phase>, next: Option<Phase>) -> Option<Phase> {
    match (before, next) {
        (Some(before), Some(next)) if before.name == next.name => Some(Phase {
            count: next.count,
            ..before
        }),
        (_, next) => next,
    }
}

/// Whole seconds, rounded up: zero is said when it is over.
fn seconds(left: Duration) -> u64 {
    left.as_millis()
        .div_ceil(1_000)
        .try_into()
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const fn after(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn waiting_for_agents_says_who_is_here_and_how_long_it_may_last() {
        let now = Instant::now();
        let gathering = Progress::Gathering {
            expected: 8,
            wait: after(60),
        };
        let phase = Phase::after(None, &gathering, now);
        let arrived = Progress::AgentArrived {
            name: "node-1".to_owned(),
            present: 3,
        };
        let phase = Phase::after(phase, &arrived, now + after(5)).unwrap();
        assert_eq!(
            phase.line(now + after(18)),
            "waiting for agents: 3 of 8 agents, at most 42 s left"
        );
    }

    #[test]
    fn probing_that_gets_no_answer_ends_with_the_silence_that_was_planned() {
        let now = Instant::now();
        let planned = Progress::Planned {
            flows: 1,
            probes: 10,
            agents: 2,
            silence: after(30),
        };
        let phase = Phase::after(None, &planned, now);
        let line = phase.as_ref().unwrap().line(now + after(10));
        assert_eq!(line, "probing: 0 of 10 probes, at most 20 s left");
        let one = Progress::Probing {
            finished: 1,
            total: 10,
        };
        let phase = Phase::after(phase, &one, now + after(20)).unwrap();
        assert_eq!(
            phase.line(now + after(20)),
            "probing: 1 of 10 probes, about 10 s left"
        );
    }

    #[test]
    fn one_of_something_is_not_several() {
        let now = Instant::now();
        let reading = |answers| Progress::Reading { answers };
        let phase = Phase::after(None, &reading(1), now);
        assert_eq!(
            phase.as_ref().unwrap().line(now),
            "reading the cluster: 1 answer"
        );
        let phase = Phase::after(phase, &reading(2), now + after(1)).unwrap();
        assert_eq!(
            phase.line(now + after(3)),
            "reading the cluster: 2 answers, 3 s"
        );
    }
}
