//! Which attempts are made once more (F.2 "repeated"): those that do not count, and those from a third of the source ports
//! that stayed silent while others were answered.

use super::Comparison;
use super::conditions::{SILENT_ATTEMPTS_MIN, repeated};
use super::summary::ProbeSummary;
use crate::finding::{Basis, ConditionState};
use crate::flow::FlowProtocol;
use crate::observation::{Outcome, ProbeId, RunEvidence};
use crate::plan::{PlannedFlow, PlannedProbe, ProbePlan, Roster, SourcePorts, Spread};
use crate::prediction::Prediction;

/// Returns the probes whose last stage is to be made, and where its source ports lie, after the other stages have ended.
///
/// Whether a probe is among them depends on its own attempts and on who was heard around them, never on its prediction.
#[must_use]
pub fn replacements(
    plan: &ProbePlan,
    predictions: &[Prediction],
    roster: &Roster,
    evidence: &RunEvidence,
) -> Vec<(ProbeId, Spread)> {
    let comparison = Comparison::new(plan, predictions, roster, evidence);
    let flows = plan.flows.iter();
    flows
        .filter_map(|flow| {
            let [probe] = flow.probes.as_slice() else {
                return None;
            };
            Some((probe.id, comparison.replacement(flow, probe)?))
        })
        .collect()
}

impl Comparison<'_> {
    /// What is to be made once more of a probe.
    fn replacement(&self, flow: &PlannedFlow, probe: &PlannedProbe) -> Option<Spread> {
        let is_tcp = matches!(flow.flow.protocol, FlowProtocol::Tcp { .. });
        if !is_tcp || probe.source_ports != SourcePorts::Spread {
            return None;
        }
        match self.summary(flow, probe) {
            ProbeSummary::Nothing | ProbeSummary::NotEvidence(_) => self.spoiled_alone(probe),
            ProbeSummary::Answered(answered) => answered
                .silent_third
                .filter(|third| {
                    let counted = self.counted_attempts(flow, probe, Some(*third));
                    counted.len() < SILENT_ATTEMPTS_MIN
                })
                .map(Spread::Third),
            ProbeSummary::Silent if self.is_hopeless(flow, probe) => None,
            ProbeSummary::Silent => {
                let counted = self.counted_attempts(flow, probe, None);
                let basis = repeated(flow, probe, &counted, None);
                (basis.state() == ConditionState::Failed).then_some(Spread::Thirds)
            }
        }
    }

    /// Whether an end of a silent probe was never heard in this run: then more silence carries nothing either.
    fn is_hopeless(&self, flow: &PlannedFlow, probe: &PlannedProbe) -> bool {
        let silent = self.silent_attempts(flow, probe, None).into_iter();
        silent
            .flat_map(|attempt| self.attempt_conditions(flow, probe, attempt).conditions)
            .any(|condition| condition.basis == Basis::NeverHeard)
    }

    /// A probe of which the agent itself spoiled every attempt is made again.
    fn spoiled_alone(&self, probe: &PlannedProbe) -> Option<Spread> {
        let attempts = self.attempts(probe);
        let spoiled = attempts.iter().all(|attempt| match attempt.outcome {
            Outcome::Starved | Outcome::LocalError { .. } => true,
            Outcome::Connected { .. }
            | Outcome::Refused { .. }
            | Outcome::TimedOut { .. }
            | Outcome::Unreachable { .. }
            | Outcome::RefusedByPolicy
            | Outcome::NotDialled { .. } => false,
        });
        (spoiled && !attempts.is_empty()).then_some(Spread::Thirds)
    }
}
