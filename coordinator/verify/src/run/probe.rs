//! Letting the agents probe what the plan says, and collecting what they saw.

use std::collections::BTreeSet;
use std::time::Duration;

use reachproof_model::compare::replacements;
use reachproof_model::observation::RunEvidence;
use reachproof_model::plan::{Dialling, ProbeId, ProbePlan, Roster, Spread, Target};
use reachproof_model::prediction::{Prediction, Verdict};
use tokio::time::Instant;
use tracing::warn;

use super::Run;
use super::dial::Dials;
use crate::certificate::CertificateJudge;
use crate::dispatch::{Dispatch, TURN, Terms};
use crate::error::RunError;
use crate::letter::Letter;
use crate::progress::Progress;
use crate::registry::Registry;

/// How long agents may take to open their ports.
pub const LISTEN_WAIT: Duration = Duration::from_secs(10);

/// How late a turn is when the process did not run: far above what a busy machine does.
const PAUSE: Duration = Duration::from_secs(5);

/// How long the first pulses may take: those that are answered need no more.
const PULSE_WAIT: Duration = Duration::from_secs(2);

/// How long the last pulses and signs of life may take: as long as they count for silence before them (F.2).
const HEARD_WAIT: Duration = Duration::from_secs(5);

/// What is probed, and what was predicted of it.
#[derive(Clone, Copy)]
pub(super) struct Sealed<'a> {
    pub(super) plan: &'a ProbePlan,
    pub(super) predictions: &'a [Prediction],
    pub(super) roster: &'a Roster,
    pub(super) dialling: &'a Dialling,
}

impl Sealed<'_> {
    /// Probes of flows that are predicted to be denied.
    fn denied(self) -> BTreeSet<ProbeId> {
        let flows = self.plan.flows.iter().zip(self.predictions);
        flows
            .filter(|(_, prediction)| matches!(prediction.verdict, Verdict::Deny(_)))
            .flat_map(|(flow, _)| flow.probes.iter().map(|probe| probe.id))
            .collect()
    }

    /// Which probes need attempts once more.
    fn replacements(self, evidence: &RunEvidence) -> Vec<(ProbeId, Spread)> {
        replacements(self.plan, self.predictions, self.roster, evidence)
    }
}

impl Run<'_> {
    /// Lets the agents probe what the plan says, and returns what they saw.
    pub(super) async fn probe(
        &mut self,
        sealed: Sealed<'_>,
        judge: CertificateJudge,
    ) -> Result<RunEvidence, RunError> {
        let (fleet, order) = (self.fleet, self.order);
        let terms = Terms {
            run: self.name.clone(),
            began: self.began,
            slack: order.resume_wait,
            judge,
            likely_silent: sealed.denied(),
        };
        let random = order.random.as_ref();
        let mut dispatch = Dispatch::new(terms, sealed.plan, &fleet.registry(), random)?;
        (self.progress)(Progress::Planned {
            flows: dispatch.flows(),
            probes: dispatch.probes(),
            agents: sealed.roster.len(),
            silence: dispatch.silence(),
        });
        let mut dials = self.dials(&mut dispatch, sealed)?;
        let probed = self.probed((&mut dispatch, &mut dials), sealed).await;
        dispatch.cancel(&mut fleet.registry());
        probed?;
        let mut evidence = dispatch.evidence(&fleet.registry());
        dials.take_seen(&mut evidence);
        Ok(evidence)
    }

    /// What API servers are to be asked, if anybody can ask them; agents' ports stay open as long.
    fn dials(&self, dispatch: &mut Dispatch<'_>, sealed: Sealed<'_>) -> Result<Dials, RunError> {
        let Some(control_plane) = &self.order.control_plane else {
            return Ok(Dials::default());
        };
        let key = |target: &Target, port| match target {
            Target::Agent(agent) => dispatch.key(agent, port),
            Target::Kubelet(_) | Target::ControlPlane(_) | Target::Pod => None,
        };
        let random = self.order.random.as_ref();
        let what = (sealed.plan, sealed.dialling);
        let dials = Dials::of(control_plane, what, key, (&self.name, self.began, random))?;
        dispatch.reckon_with(dials.longest());
        Ok(dials)
    }

    /// Lets every agent listen, then call and probe, collects what they report, and waits until each says that it has
    /// reported everything.
    async fn probed(
        &mut self,
        (dispatch, dials): (&mut Dispatch<'_>, &mut Dials),
        sealed: Sealed<'_>,
    ) -> Result<(), RunError> {
        let (fleet, resume_wait) = (self.fleet, self.order.resume_wait);
        dispatch.listen(&mut fleet.registry());
        self.collect(dispatch, LISTEN_WAIT, |dispatch, _| dispatch.listening())
            .await?;
        dispatch.pulse();
        dispatch.tick(Instant::now(), &mut fleet.registry());
        self.collect(dispatch, PULSE_WAIT, |dispatch, _| dispatch.pulsing())
            .await?;
        dials.begin();
        dispatch.begin();
        let longest = dispatch.silence() + resume_wait;
        self.probe_to_the_end(dispatch, longest).await?;
        let again = sealed.replacements(dispatch.so_far(&fleet.registry()));
        if !again.is_empty() {
            dispatch.replace(&again);
            self.probe_to_the_end(dispatch, longest).await?;
        }
        let rest = dials.longest();
        if !rest.is_zero() {
            self.collect(dispatch, rest, |_, _| dials.have_ended())
                .await?;
            self.hear_once_more(dispatch).await?;
        }
        (self.progress)(Progress::Comparing);
        dispatch.fence(&mut fleet.registry());
        self.collect(dispatch, resume_wait, |dispatch, _| dispatch.fenced())
            .await
    }

    /// Waits until every stage that was begun has ended, and until everybody was heard after it.
    async fn probe_to_the_end(
        &mut self,
        dispatch: &mut Dispatch<'_>,
        longest: Duration,
    ) -> Result<(), RunError> {
        let progress = self.progress;
        let mut shown = 0;
        self.collect(dispatch, longest, |dispatch, _| {
            let (finished, total) = (dispatch.finished(), dispatch.total());
            if finished != shown {
                shown = finished;
                progress(Progress::Probing { finished, total });
            }
            finished == total
        })
        .await?;
        self.hear_once_more(dispatch).await
    }

    /// Waits until everybody was heard after what has ended.
    async fn hear_once_more(&mut self, dispatch: &mut Dispatch<'_>) -> Result<(), RunError> {
        dispatch.ask_once_more(Instant::now(), &mut self.fleet.registry());
        self.collect(dispatch, HEARD_WAIT, |dispatch, registry| {
            dispatch.heard_once_more(registry)
        })
        .await
    }

    /// Takes news until `is_done` says so, which is asked at least once a turn, or until so much time is over. What was
    /// counted is acknowledged.
    ///
    /// Time in which this process did not run (it was paused, or the machine was) does not count: agents had nobody to report
    /// to, and have to dial again first.
    async fn collect(
        &mut self,
        dispatch: &mut Dispatch<'_>,
        longest: Duration,
        mut is_done: impl FnMut(&Dispatch<'_>, &Registry) -> bool,
    ) -> Result<(), RunError> {
        let mut deadline = Instant::now() + longest;
        let mut is_over = false;
        while !self.is_done(dispatch, &mut is_done) {
            if is_over {
                warn!("a deadline passed before every agent had reported");
                break;
            }
            let look = (Instant::now() + TURN).min(deadline);
            let letters = self.inbox.until(look).await?;
            let late = Instant::now().saturating_duration_since(look);
            if late >= PAUSE {
                warn!(paused_ms = %late.as_millis(), "this process did not run for a while");
                deadline += late;
            }
            // In a large fleet letters come faster than it is looked at: there are always some.
            is_over = Instant::now() >= deadline;
            for Letter { news, at, receipt } in letters {
                let mut registry = self.fleet.registry();
                dispatch.take(news, at, &mut registry);
                if let Some(receipt) = receipt {
                    registry.acknowledge(receipt);
                }
            }
        }
        Ok(())
    }

    /// Does what is due, and asks whether there is more.
    fn is_done(
        &self,
        dispatch: &mut Dispatch<'_>,
        is_done: &mut impl FnMut(&Dispatch<'_>, &Registry) -> bool,
    ) -> bool {
        let mut registry = self.fleet.registry();
        dispatch.tick(Instant::now(), &mut registry);
        is_done(dispatch, &registry)
    }
}
