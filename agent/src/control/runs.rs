//! Which assignments the agent has taken.

use std::collections::BTreeMap;

use reachproof_proto::v1::{EndpointReport, ListenReport};
use tokio::time::Instant;

use crate::{limits::RUNS_MAX, probe::RunName};

/// Runs that the agent takes part in.
#[derive(Debug, Default)]
pub(super) struct Runs {
    runs: BTreeMap<RunName, Run>,
}

/// What the agent remembers of one run.
#[derive(Debug)]
struct Run {
    /// Highest generation that was taken.
    generation: u32,
    /// What was said about ports, by generation: said again on each stream, since the one before may have been cut.
    reports: BTreeMap<u32, ListenReport>,
    /// What the cluster endpoint resolved to; none while that is not known.
    endpoint: Option<EndpointReport>,
    /// When nothing is under way any more.
    ends_at: Instant,
}

/// What to do with an assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is new: do it.
    Take,
    /// It came before.
    Known,
    /// Too many runs are under way.
    Full,
}

impl Runs {
    /// Decides about an assignment, and remembers it if it is to be taken.
    pub(super) fn decide(&mut self, run: &RunName, generation: u32, ends_at: Instant) -> Decision {
        self.forget(Instant::now());
        if let Some(known) = self.runs.get_mut(run) {
            if generation <= known.generation {
                return Decision::Known;
            }
            known.generation = generation;
            known.ends_at = known.ends_at.max(ends_at);
            return Decision::Take;
        }
        if self.runs.len() >= RUNS_MAX {
            return Decision::Full;
        }
        let reports = BTreeMap::new();
        self.runs.insert(
            run.clone(),
            Run {
                generation,
                reports,
                endpoint: None,
                ends_at,
            },
        );
        Decision::Take
    }

    /// Remembers what is said about the ports of an assignment.
    pub(super) fn remember(&mut self, run: &RunName, report: ListenReport) {
        if let Some(run) = self.runs.get_mut(run) {
            run.reports.insert(report.generation, report);
        }
    }

    /// What was said about the ports of one assignment.
    pub(super) fn report(&self, run: &RunName, generation: u32) -> Option<ListenReport> {
        self.runs.get(run)?.reports.get(&generation).cloned()
    }

    /// What was said about all ports of all runs.
    pub(super) fn reports(&self) -> Vec<ListenReport> {
        self.runs
            .values()
            .flat_map(|run| run.reports.values().cloned())
            .collect()
    }

    /// Remembers what the cluster endpoint resolved to, if the run still goes on.
    pub(super) fn remember_endpoint(&mut self, report: &EndpointReport) {
        if let Some(run) = self.runs.get_mut(&RunName::new(&report.run)) {
            run.endpoint = Some(report.clone());
        }
    }

    /// What the cluster endpoint resolved to, for all runs.
    pub(super) fn endpoints(&self) -> Vec<EndpointReport> {
        self.runs
            .values()
            .filter_map(|run| run.endpoint.clone())
            .collect()
    }

    /// Whether this is the first assignment of its run.
    pub(super) fn is_new(&self, run: &RunName) -> bool {
        !self.runs.contains_key(run)
    }

    /// Forgets a run that was cancelled.
    pub(super) fn cancel(&mut self, run: &RunName) {
        self.runs.remove(run);
    }

    /// Forgets the runs that ended.
    fn forget(&mut self, now: Instant) {
        self.runs.retain(|_, run| now < run.ends_at);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A report without failures.
    fn report(generation: u32) -> ListenReport {
        ListenReport {
            run: "r".to_owned(),
            generation,
            failures: Vec::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_assignment_is_taken_once_and_a_higher_generation_adds() {
        let mut runs = Runs::default();
        let run = RunName::new("r");
        let end = Instant::now() + Duration::from_secs(60);
        assert_eq!(runs.decide(&run, 1, end), Decision::Take);
        assert_eq!(runs.decide(&run, 1, end), Decision::Known);
        assert_eq!(runs.decide(&run, 3, end), Decision::Take);
        assert_eq!(runs.decide(&run, 2, end), Decision::Known);
    }

    #[tokio::test(start_paused = true)]
    async fn reports_are_remembered_until_the_run_is_cancelled() {
        let mut runs = Runs::default();
        let run = RunName::new("r");
        runs.decide(&run, 1, Instant::now() + Duration::from_secs(60));
        runs.remember(&run, report(1));
        assert_eq!(runs.report(&run, 1), Some(report(1)));
        assert_eq!(runs.reports(), [report(1)]);
        runs.cancel(&run);
        assert_eq!(runs.reports(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn runs_that_ended_make_room() {
        let mut runs = Runs::default();
        let end = Instant::now() + Duration::from_secs(60);
        for number in 0..RUNS_MAX {
            assert_eq!(
                runs.decide(&RunName::new(&number.to_string()), 1, end),
                Decision::Take
            );
        }
        let late = RunName::new("late");
        assert_eq!(runs.decide(&late, 1, end), Decision::Full);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(
            runs.decide(&late, 1, Instant::now() + Duration::from_secs(60)),
            Decision::Take
        );
    }
}
