//! Lays prediction and observation side by side: the table of F.3, under the conditions of F.2.
//!
//! **Invariant.** Nothing is confirmed or contradicted on doubt: every condition that does not hold, and every outcome
//! that is no evidence, ends as [`FindingKind::Inconclusive`] with its reason.

use std::net::IpAddr;

use crate::finding::{Condition, Finding, FindingKind, FindingReason, Note};
use crate::flow::FlowProtocol;
use crate::observation::{Attempt, Evidence, Identification, Observation, Outcome, RunEvidence};
use crate::plan::{PlannedFlow, PlannedProbe, ProbeKind, ProbePlan, Roster};
use crate::prediction::{Prediction, Verdict};
use crate::stability::Stability;

use reached::Reached;

mod conditions;
mod partial;
mod reached;

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
    let comparison = Comparison {
        reached: Reached::new(plan, &predictions, &evidence),
        roster,
        evidence: &evidence,
        stability,
    };
    let judgements: Vec<Judgement> = (0..)
        .zip(plan.flows.iter().zip(&predictions))
        .map(|(index, (flow, prediction))| comparison.judge(index, flow, prediction))
        .collect();
    plan.flows
        .iter()
        .zip(predictions)
        .zip(judgements)
        .map(|((flow, prediction), judgement)| Finding {
            kind: judgement.kind,
            flow: flow.flow.clone(),
            source_agent: Some(flow.source.clone()),
            destination_agent: roster
                .holder(flow.flow.destination)
                .map(|agent| agent.name.clone()),
            prediction,
            observation: taken(&mut evidence, flow),
            reason: judgement.reason,
            conditions: judgement.conditions,
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
    roster: &'a Roster,
    evidence: &'a RunEvidence,
    stability: &'a Stability,
    reached: Reached<'a>,
}

/// What follows from an observation, before it is written down as a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Judgement {
    kind: FindingKind,
    reason: Option<FindingReason>,
    conditions: Vec<Condition>,
    notes: Vec<Note>,
}

impl Judgement {
    /// A judgement that needs no condition.
    fn plain(kind: FindingKind) -> Self {
        Self {
            kind,
            reason: None,
            conditions: Vec::new(),
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
}

/// What the attempts of one probe say together.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Saying {
    /// Nothing was reported.
    Nothing,
    /// The target answered.
    Answered(Vec<Note>),
    /// Every attempt was silent.
    Silent,
    /// The attempts are no evidence, for this reason.
    Worthless(FindingReason),
}

impl<'a> Comparison<'a> {
    /// The attempts of one probe.
    fn attempts(&self, probe: &PlannedProbe) -> &'a [Attempt] {
        self.evidence.attempts(probe.id)
    }

    /// The table of F.3.
    fn judge(&self, index: usize, flow: &PlannedFlow, prediction: &Prediction) -> Judgement {
        if flow
            .probes
            .iter()
            .all(|probe| self.attempts(probe).is_empty())
        {
            return Judgement {
                reason: Some(FindingReason::NotReported),
                ..Judgement::plain(FindingKind::NotObserved)
            };
        }
        if self.stability.touched.contains(&index) {
            return Judgement::inconclusive(FindingReason::Unstable);
        }
        if let Verdict::Unknown(reason) = &prediction.verdict {
            return Judgement::inconclusive(FindingReason::Model(reason.clone()));
        }
        if self.reached.is_disputed(flow.flow.destination) {
            return Judgement::inconclusive(FindingReason::PeerMismatch);
        }
        let is_udp = matches!(flow.flow.protocol, FlowProtocol::Udp { .. });
        if let (Verdict::Partial { .. }, true) = (&prediction.verdict, is_udp) {
            // Judging port by port needs silence, which says nothing here.
            return Judgement::inconclusive(FindingReason::Partial);
        }
        if let Verdict::Partial { open_ports, .. } = &prediction.verdict {
            return self.judge_partial(flow, prediction, open_ports);
        }
        let [probe] = flow.probes.as_slice() else {
            // Only a partial verdict is judged over several probes.
            return Judgement::inconclusive(FindingReason::Partial);
        };
        match saying(flow, probe, self.attempts(probe)) {
            Saying::Nothing => Judgement {
                reason: Some(FindingReason::NotReported),
                ..Judgement::plain(FindingKind::NotObserved)
            },
            Saying::Worthless(reason) => Judgement::inconclusive(reason),
            Saying::Answered(notes) => Judgement {
                notes,
                ..Judgement::plain(answered(&prediction.verdict))
            },
            // A query or its answer may be lost, and no resolver need answer: silence alone proves nothing.
            Saying::Silent if is_udp => Judgement::inconclusive(FindingReason::UdpSilent),
            Saying::Silent => self.silent(flow, probe, prediction),
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
            Verdict::Allow { .. } => self.under_conditions(
                FindingKind::ContradictionClosed,
                self.conditions_against_allow(flow, probe, prediction),
            ),
            Verdict::Deny(_) => self.under_conditions(
                FindingKind::ConfirmedDeny,
                self.conditions_for_deny(flow, probe, prediction),
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

    /// `kind` if every condition holds, else inconclusive with the first that fails.
    fn under_conditions(&self, kind: FindingKind, conditions: Vec<Condition>) -> Judgement {
        let failed = conditions.iter().find(|condition| !condition.holds());
        match failed {
            None => Judgement {
                conditions,
                ..Judgement::plain(kind)
            },
            Some(failed) => Judgement {
                reason: Some(conditions::reason(failed)),
                conditions,
                ..Judgement::plain(FindingKind::Inconclusive)
            },
        }
    }
}

/// The column "answered" of F.3.
fn answered(verdict: &Verdict) -> FindingKind {
    match verdict {
        Verdict::Allow { .. } => FindingKind::ConfirmedAllow,
        Verdict::Deny(_) => FindingKind::ContradictionOpen,
        Verdict::Bypass(_) | Verdict::Exempt(_) => FindingKind::Bypass,
        Verdict::Partial { .. } | Verdict::Unknown(_) => FindingKind::Inconclusive,
    }
}

/// Sums the attempts of one probe up.
///
/// An answer of the intended target outweighs silence before it; an answer of anybody else, and whatever is neither
/// answer nor silence, is worth nothing.
fn saying(flow: &PlannedFlow, probe: &PlannedProbe, attempts: &[Attempt]) -> Saying {
    if attempts.is_empty() {
        return Saying::Nothing;
    }
    let foreign = |attempt: &&Attempt| !is_own_socket(flow.flow.source, attempt);
    if attempts
        .iter()
        .filter(has_socket)
        .any(|attempt| foreign(&attempt))
    {
        return Saying::Worthless(FindingReason::SourceTranslated);
    }
    let mut notes = Vec::new();
    let answer = attempts
        .iter()
        .find(|attempt| attempt.outcome.evidence() == Evidence::Answer);
    if let Some(answer) = answer {
        match trust(flow, probe, answer) {
            Err(reason) => return Saying::Worthless(reason),
            Ok(note) => notes.extend(note),
        }
        let silent = count(attempts, Evidence::Silence);
        if silent > 0 {
            notes.insert(0, Note::Lossy { silent });
        }
        return Saying::Answered(notes);
    }
    match attempts
        .iter()
        .find_map(|attempt| worthless(&attempt.outcome))
    {
        Some(reason) => Saying::Worthless(reason),
        None => Saying::Silent,
    }
}

/// Whether an attempt got as far as a bound socket.
fn has_socket(attempt: &&Attempt) -> bool {
    attempt.local.is_some()
}

/// Whether the socket of an attempt had the address that the plan says.
fn is_own_socket(source: IpAddr, attempt: &Attempt) -> bool {
    attempt.local.is_some_and(|local| local.ip() == source)
}

/// How many attempts are evidence of this kind.
fn count(attempts: &[Attempt], evidence: Evidence) -> usize {
    attempts
        .iter()
        .filter(|attempt| attempt.outcome.evidence() == evidence)
        .count()
}

/// Whether an answer came from the intended target, and to the source that the model reckons with.
fn trust(
    flow: &PlannedFlow,
    probe: &PlannedProbe,
    answer: &Attempt,
) -> Result<Option<Note>, FindingReason> {
    // A refusal came from the target's own kernel: there is nobody to ask, and nobody needs to (DESIGN 3).
    let connected = matches!(answer.outcome, Outcome::Connected { .. });
    match (probe.kind, flow.flow.protocol) {
        (_, _) if !connected => return Ok(None),
        // Over UDP there is no handshake: only an answer to the query is one.
        (ProbeKind::Resolve, FlowProtocol::Udp { .. }) => {
            return match answer.identification {
                Identification::Resolver { .. } => Ok(None),
                Identification::NotAsked
                | Identification::Verified { .. }
                | Identification::Mismatch
                | Identification::Failed { .. }
                | Identification::NoResolver { .. } => Err(FindingReason::PeerMismatch),
            };
        }
        (ProbeKind::Connect | ProbeKind::Resolve, _) => return Ok(None),
        (ProbeKind::Identify, _) => {}
    }
    let observed = match answer.identification {
        Identification::Verified { observed } => observed,
        Identification::NotAsked
        | Identification::Mismatch
        | Identification::Failed { .. }
        | Identification::Resolver { .. }
        | Identification::NoResolver { .. } => return Err(FindingReason::PeerMismatch),
    };
    match flow.translated {
        Some(expected) if observed.ip() == expected => Ok(Some(Note::Translated { observed })),
        None if Some(observed) == answer.local => Ok(None),
        Some(_) | None => Err(FindingReason::SourceTranslated),
    }
}

/// Why an outcome is no evidence; nothing for an answer and for silence.
fn worthless(outcome: &Outcome) -> Option<FindingReason> {
    match outcome {
        Outcome::Connected { .. } | Outcome::Refused { .. } | Outcome::TimedOut { .. } => None,
        Outcome::Unreachable { .. } => Some(FindingReason::Unreachable),
        Outcome::LocalError { .. } => Some(FindingReason::LocalError),
        Outcome::Starved => Some(FindingReason::Starved),
        Outcome::RefusedByPolicy => Some(FindingReason::RefusedByPolicy),
    }
}
