//! Lays prediction and observation side by side: the table of F.3, under the rules of F.2.
//!
//! **Invariant.** Nothing is confirmed or contradicted on doubt: every condition that does not hold, and every outcome
//! that is no evidence, ends as [`FindingKind::Inconclusive`] with its reason.
//!
//! | module | what |
//! |---|---|
//! | `summary` | what the attempts of one probe say together, and what an answer is worth |
//! | `heard` | who was heard when: answered attempts, pulses, signs of life |
//! | `silence` | the conditions of one silent attempt |
//! | `conditions` | the conditions of a silent probe |
//! | `partial` | a verdict source port by source port |
//! | `replacement` | which attempts are to be made once more |

use crate::finding::{
    AttemptConditions, Condition, Finding, FindingKind, FindingReason, Note, Strength,
};
use crate::flow::FlowProtocol;
use crate::observation::{Attempt, Evidence, Observation, RunEvidence};
use crate::plan::{PlannedFlow, PlannedProbe, ProbePlan, Roster};
use crate::prediction::{Prediction, Verdict};
use crate::stability::Stability;
use crate::vantage::Vantage;

use conditions::SilenceJudgement;
use heard::Heard;
use summary::{Answered, ProbeSummary};

pub use replacement::replacements;

mod conditions;
mod heard;
mod partial;
mod replacement;
mod silence;
mod summary;

/// Judges every flow of `plan`, in its order, by what a run knows.
///
/// `predictions` belong to the flows of `plan`, one each, in the same order; they and the attempts go into the findings as
/// they are.
#[must_use]
pub fn compare(
    plan: &ProbePlan,
    predictions: Vec<Prediction>,
    roster: &Roster,
    mut evidence: RunEvidence,
    stability: &Stability,
) -> Vec<Finding> {
    let comparison = Comparison::new(plan, &predictions, roster, &evidence);
    let judgements: Vec<Judgement> = (0..)
        .zip(plan.flows.iter().zip(&predictions))
        .map(|(index, (flow, prediction))| {
            if stability.touched.contains(&index) && comparison.is_reported(flow) {
                return Judgement::inconclusive(FindingReason::Unstable);
            }
            comparison.judge(flow, prediction)
        })
        .collect();
    plan.flows
        .iter()
        .zip(predictions)
        .zip(judgements)
        .map(|((flow, prediction), judgement)| Finding {
            kind: judgement.kind,
            flow: flow.flow.clone(),
            source: flow.source.clone(),
            destination_agent: roster
                .holder(flow.flow.destination)
                .map(|agent| agent.name.clone()),
            prediction,
            observation: taken(&mut evidence, flow),
            strength: judgement.strength,
            reason: judgement.reason,
            conditions: judgement.conditions,
            attempt_conditions: judgement.attempts,
            notes: judgement.notes,
        })
        .collect()
}

/// Takes all attempts of a flow out, probe by probe.
fn taken(evidence: &mut RunEvidence, flow: &PlannedFlow) -> Observation {
    let mut probes = flow.probes.iter().map(|probe| {
        let observation = evidence.observations.get_mut(probe.id.index());
        observation.map(std::mem::take).unwrap_or_default()
    });
    let mut all = probes.next().unwrap_or_default();
    for more in probes {
        all.attempts.extend(more.attempts);
    }
    all
}

/// Everything that one run knows, indexed for the questions of F.2.
#[derive(Debug)]
struct Comparison<'a> {
    plan: &'a ProbePlan,
    roster: &'a Roster,
    evidence: &'a RunEvidence,
    heard: Heard<'a>,
}

/// What follows from an observation, before it is written down as a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Judgement {
    kind: FindingKind,
    strength: Option<Strength>,
    reason: Option<FindingReason>,
    conditions: Vec<Condition>,
    attempts: Vec<AttemptConditions>,
    notes: Vec<Note>,
}

impl Judgement {
    /// A judgement that needs no condition.
    fn plain(kind: FindingKind) -> Self {
        Self {
            kind,
            strength: None,
            reason: None,
            conditions: Vec::new(),
            attempts: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// A judgement that the evidence does not carry.
    fn inconclusive(reason: FindingReason) -> Self {
        Self {
            reason: Some(reason),
            ..Self::plain(FindingKind::Inconclusive)
        }
    }

    /// Nobody reported anything.
    fn not_reported() -> Self {
        Self {
            reason: Some(FindingReason::NotReported),
            ..Self::plain(FindingKind::NotObserved)
        }
    }

    /// `kind` if every condition of the silence holds, else inconclusive with the reason of the first that fails.
    fn of_silence(kind: FindingKind, silence: SilenceJudgement) -> Self {
        let plain = match silence.failure {
            None => Self::plain(kind),
            Some(reason) => Self::inconclusive(reason),
        };
        Self {
            conditions: silence.conditions,
            attempts: silence.attempts,
            ..plain
        }
    }
}

impl<'a> Comparison<'a> {
    /// Collects who was heard when.
    fn new(
        plan: &'a ProbePlan,
        predictions: &[Prediction],
        roster: &'a Roster,
        evidence: &'a RunEvidence,
    ) -> Self {
        Self {
            plan,
            roster,
            evidence,
            heard: Heard::new(plan, predictions, evidence),
        }
    }

    /// The attempts of one probe.
    fn attempts(&self, probe: &PlannedProbe) -> &'a [Attempt] {
        self.evidence.attempts(probe.id)
    }

    /// Whether anything was reported of a flow.
    fn is_reported(&self, flow: &PlannedFlow) -> bool {
        flow.probes
            .iter()
            .any(|probe| !self.attempts(probe).is_empty())
    }

    /// The table of F.3.
    fn judge(&self, flow: &PlannedFlow, prediction: &Prediction) -> Judgement {
        if !self.is_reported(flow) {
            return Judgement::not_reported();
        }
        if let Some(reason) = self.spoiled(flow, prediction) {
            return Judgement::inconclusive(reason);
        }
        let is_udp = matches!(flow.flow.protocol, FlowProtocol::Udp { .. });
        if let (Verdict::Partial { .. }, true) = (&prediction.verdict, is_udp) {
            // Judging port by port needs silence, which says nothing here.
            return Judgement::inconclusive(FindingReason::Partial);
        }
        let is_unchosen = flow.source.control_plane().is_some();
        if let (Verdict::Partial { .. }, true) = (&prediction.verdict, is_unchosen) {
            // Nobody chooses the source ports of an API server.
            return Judgement::inconclusive(FindingReason::Partial);
        }
        if let Verdict::Partial { open_ports, .. } = &prediction.verdict {
            return self.judge_partial(flow, prediction, open_ports);
        }
        let [probe] = flow.probes.as_slice() else {
            // Only a partial verdict is judged over several probes.
            return Judgement::inconclusive(FindingReason::Partial);
        };
        match self.summary(flow, probe) {
            ProbeSummary::Nothing => Judgement::not_reported(),
            ProbeSummary::NotEvidence(reason) => Judgement::inconclusive(reason),
            ProbeSummary::Answered(answered) if self.is_mixed(flow, probe) => Judgement {
                notes: answered.notes,
                ..Judgement::inconclusive(FindingReason::SomeSourcePorts)
            },
            ProbeSummary::Answered(answered) => self.answered(flow, probe, prediction, answered),
            // A query or its answer may be lost, and no resolver need answer: silence alone proves nothing.
            ProbeSummary::Silent if is_udp => Judgement::inconclusive(FindingReason::UdpSilent),
            ProbeSummary::Silent => self.silent(flow, probe, prediction),
        }
    }

    /// Whether some dials of an API server were answered and others were silent: nobody chooses its source ports, so what a
    /// filter on them does cannot be told from what a lossy way does.
    fn is_mixed(&self, flow: &PlannedFlow, probe: &PlannedProbe) -> bool {
        let is_silent = |attempt: &Attempt| attempt.outcome.evidence() == Evidence::Silence;
        flow.source.control_plane().is_some() && self.attempts(probe).iter().any(is_silent)
    }

    /// Why a flow cannot be judged whatever its attempts say.
    fn spoiled(&self, flow: &PlannedFlow, prediction: &Prediction) -> Option<FindingReason> {
        let ends = [flow.flow.source, flow.flow.destination];
        if let Verdict::Unknown(reason) = &prediction.verdict {
            return Some(FindingReason::Model(reason.clone()));
        }
        if ends.iter().any(|end| self.roster.is_disputed(*end)) {
            return Some(FindingReason::AddressDisputed);
        }
        let is_implausible = |end| {
            let agent = self.roster.holder(end)?;
            self.evidence.records.get(&agent.name)?.implausible
        };
        if ends.into_iter().find_map(is_implausible).is_some() {
            return Some(FindingReason::Implausible);
        }
        if self.heard.is_foreign(flow.flow.destination) {
            return Some(FindingReason::PeerMismatch);
        }
        match flow.source {
            // Whose interface it is nobody disputes; without a listener its answers are unproven.
            Vantage::ApiServer(_) => {
                let is_translated = self.heard.is_translated(&flow.source);
                is_translated.then_some(FindingReason::SourceTranslated)
            }
            Vantage::Agent(_) | Vantage::Model => {
                let is_unshown = !self.heard.is_shown(flow.flow.source);
                (is_unshown && !self.is_silent_alone(flow)).then_some(FindingReason::AddressUnshown)
            }
        }
    }

    /// Whether no attempt of a flow was answered: then "address" is one of its conditions.
    fn is_silent_alone(&self, flow: &PlannedFlow) -> bool {
        flow.probes
            .iter()
            .all(|probe| match self.summary(flow, probe) {
                ProbeSummary::Answered(_) => false,
                ProbeSummary::Nothing | ProbeSummary::NotEvidence(_) | ProbeSummary::Silent => true,
            })
    }

    /// The column "answered" of F.3, but for a partial verdict.
    fn answered(
        &self,
        flow: &PlannedFlow,
        probe: &PlannedProbe,
        prediction: &Prediction,
        answered: Answered,
    ) -> Judgement {
        let kind = match &prediction.verdict {
            Verdict::Allow { .. } => FindingKind::ConfirmedAllow,
            Verdict::Deny(_) => FindingKind::ContradictionOpen,
            Verdict::Bypass(_) | Verdict::Exempt(_) => FindingKind::Bypass,
            Verdict::Partial { .. } | Verdict::Unknown(_) => FindingKind::Inconclusive,
        };
        let judgement = match (kind, answered.silent_third, &answered.doubt) {
            // A filter on source ports: part of an allow is closed. What is open stays open all the same.
            (FindingKind::ConfirmedAllow, Some(third), _) => {
                self.some_source_ports(flow, probe, prediction, third)
            }
            (FindingKind::ConfirmedAllow, None, Some(reason)) => {
                Judgement::inconclusive(reason.clone())
            }
            (_, _, _) => Judgement::plain(kind),
        };
        Judgement {
            strength: Some(answered.strength),
            notes: answered.notes,
            ..judgement
        }
    }

    /// Some source ports of a predicted allow are answered, and one third of them is not.
    fn some_source_ports(
        &self,
        flow: &PlannedFlow,
        probe: &PlannedProbe,
        prediction: &Prediction,
        third: u8,
    ) -> Judgement {
        let silence = self.silence_against_allow(flow, probe, prediction, Some(third));
        let judgement = Judgement::of_silence(FindingKind::ContradictionClosed, silence);
        let reason = match judgement.reason {
            None | Some(FindingReason::NotRepeated) => FindingReason::SomeSourcePorts,
            // Nobody heard of an end meanwhile, say: that says more than which ports it was.
            Some(reason) => reason,
        };
        Judgement {
            reason: Some(reason),
            ..judgement
        }
    }

    /// The column "silent" of F.3, but for a partial verdict.
    fn silent(
        &self,
        flow: &PlannedFlow,
        probe: &PlannedProbe,
        prediction: &Prediction,
    ) -> Judgement {
        match &prediction.verdict {
            Verdict::Allow { .. } => Judgement::of_silence(
                FindingKind::ContradictionClosed,
                self.silence_against_allow(flow, probe, prediction, None),
            ),
            Verdict::Deny(_) => Judgement::of_silence(
                FindingKind::ConfirmedDeny,
                self.silence_for_deny(flow, probe, prediction),
            ),
            Verdict::Bypass(_) | Verdict::Exempt(_) => {
                Judgement::inconclusive(FindingReason::BypassSilent)
            }
            Verdict::Partial { .. } => Judgement::inconclusive(FindingReason::Partial),
            Verdict::Unknown(reason) => {
                Judgement::inconclusive(FindingReason::Model(reason.clone()))
            }
        }
    }
}
