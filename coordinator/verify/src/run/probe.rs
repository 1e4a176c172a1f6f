//! Letting the agents probe what the plan says, and collecting what they saw.

use std::time::Duration;

use reachproof_model::observation::RunEvidence;
use reachproof_model::plan::{ProbePlan, Roster};
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::Run;
use crate::dispatch::{Dispatch, TURN};
use crate::error::RunError;
use crate::progress::Progress;
use crate::registry::Registry;

/// How long agents may take to open their ports.
pub const LISTEN_WAIT: Duration = Duration::from_secs(10);

/// How late a turn is when the process did not run: far above what a busy machine does.
const PAUSE: Duration = Duration::from_secs(5);

impl Run<'_> {
    /// Lets the agents probe what `plan` says, and returns what they saw.
    pub(super) async fn probe(
        &mut self,
        plan: &ProbePlan,
        roster: &Roster,
    ) -> Result<RunEvidence, RunError> {
        let (fleet, order) = (self.fleet, self.order);
        let mut dispatch = Dispatch::new(
            self.name.clone(),
            order.resume_wait,
            plan,
            &fleet.registry(),
            order.random.as_ref(),
        )?;
        (self.progress)(Progress::Planned {
            flows: dispatch.flows(),
            probes: dispatch.total(),
            agents: roster.len(),
            silence: dispatch.silence(),
        });
        let probed = self.probed(&mut dispatch).await;
        dispatch.cancel(&mut fleet.registry());
        probed?;
        Ok(dispatch.evidence(&fleet.registry()))
    }

    /// Lets every agent listen, then probe, collects what they report, and waits until each says that it has reported everything.
    async fn probed(&mut self, dispatch: &mut Dispatch<'_>) -> Result<(), RunError> {
        let (fleet, progress, resume_wait) = (self.fleet, self.progress, self.order.resume_wait);
        dispatch.listen(&mut fleet.registry());
        let deadline = Instant::now() + LISTEN_WAIT;
        self.collect(dispatch, deadline, |dispatch, _| dispatch.listening())
            .await?;

        let deadline = Instant::now() + dispatch.silence() + resume_wait;
        let (mut shown, mut next) = (0, Instant::now());
        self.collect(dispatch, deadline, |dispatch, registry| {
            let now = Instant::now();
            if now >= next {
                dispatch.turn(now, registry);
                next = now + TURN;
            }
            let (finished, total) = (dispatch.finished(), dispatch.total());
            if finished != shown {
                shown = finished;
                progress(Progress::Probing { finished, total });
            }
            finished == total
        })
        .await?;

        progress(Progress::Comparing);
        dispatch.fence(&mut fleet.registry());
        let deadline = Instant::now() + resume_wait;
        self.collect(dispatch, deadline, |dispatch, _| dispatch.fenced())
            .await
    }

    /// Takes news until `is_done` says so, which is asked at least once a turn, or until the deadline. What was counted is
    /// acknowledged.
    ///
    /// Time in which this process did not run (it was paused, or the machine was) does not count: agents had nobody to report
    /// to, and have to dial again first.
    async fn collect(
        &mut self,
        dispatch: &mut Dispatch<'_>,
        mut deadline: Instant,
        mut is_done: impl FnMut(&mut Dispatch<'_>, &mut Registry) -> bool,
    ) -> Result<(), RunError> {
        while !is_done(dispatch, &mut self.fleet.registry()) {
            let look = (Instant::now() + TURN).min(deadline);
            let letter = timeout_at(look, self.inbox.next()).await;
            let late = Instant::now().saturating_duration_since(look);
            if late >= PAUSE {
                warn!(paused_ms = %late.as_millis(), "this process did not run for a while");
                deadline += late;
            }
            match letter {
                Ok(letter) => {
                    let letter = letter?;
                    let mut registry = self.fleet.registry();
                    dispatch.take(letter.news, &mut registry);
                    if let Some(receipt) = letter.receipt {
                        registry.acknowledge(receipt);
                    }
                }
                Err(_) if Instant::now() >= deadline => {
                    warn!("a deadline passed before every agent had reported");
                    break;
                }
                Err(_) => {}
            }
        }
        Ok(())
    }
}
