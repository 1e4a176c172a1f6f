//! Which targets were reached from where: what the conditions of F.2 look up.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::{Saying, saying};
use crate::flow::FlowProtocol;
use crate::observation::{AgentName, Attempt, Evidence, Identification, RunEvidence};
use crate::plan::{PlannedFlow, ProbePlan};
use crate::prediction::{Prediction, Verdict};

/// One flow that was answered by its intended target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    pub(super) agent: &'a AgentName,
    pub(super) source: IpAddr,
    pub(super) target: SocketAddr,
    pub(super) filtered: Filtered,
}

/// Whether the packets of an answered flow met security groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filtered {
    /// They did, so the answer is a control.
    Yes,
    /// They did not (bypass, exempt), or nobody knows, or others than those of TCP: the answer shows life, not a path.
    No,
}

/// The answered flows by target and by source, and the targets that somebody else seems to hold.
#[derive(Debug)]
pub(super) struct Reached<'a> {
    answers: Vec<Answer<'a>>,
    /// Places in `answers`.
    by_target: HashMap<IpAddr, Vec<usize>>,
    /// Places in `answers`.
    by_source: HashMap<IpAddr, Vec<usize>>,
    disputed: BTreeSet<IpAddr>,
    plan: &'a ProbePlan,
    evidence: &'a RunEvidence,
    /// Sockets whose connections were answered, by target: made when the first of them is in question.
    explained: OnceCell<HashMap<IpAddr, HashSet<SocketAddr>>>,
}

impl<'a> Reached<'a> {
    /// Collects the answers of a run.
    pub(super) fn new(
        plan: &'a ProbePlan,
        predictions: &[Prediction],
        evidence: &'a RunEvidence,
    ) -> Self {
        let mut reached = Self {
            answers: Vec::with_capacity(plan.flows.len()),
            by_target: HashMap::new(),
            by_source: HashMap::new(),
            disputed: disputed(plan, evidence),
            plan,
            evidence,
            explained: OnceCell::new(),
        };
        for (flow, prediction) in plan.flows.iter().zip(predictions) {
            if reached.is_disputed(flow.flow.destination) {
                continue;
            }
            for probe in &flow.probes {
                if let Saying::Answered(_) = saying(flow, probe, evidence.attempts(probe.id)) {
                    reached.add(flow, prediction);
                }
            }
        }
        reached
    }

    /// Notes that `flow` was answered.
    fn add(&mut self, flow: &'a PlannedFlow, prediction: &Prediction) {
        let Some(port) = flow.flow.protocol.port() else {
            return;
        };
        let answer = Answer {
            agent: &flow.source,
            source: flow.flow.source,
            target: SocketAddr::new(flow.flow.destination, port),
            filtered: filtered(flow.flow.protocol, &prediction.verdict),
        };
        let place = self.answers.len();
        self.answers.push(answer);
        let target = self.by_target.entry(answer.target.ip()).or_default();
        target.push(place);
        let source = self.by_source.entry(answer.source).or_default();
        source.push(place);
    }

    /// Whether somebody who is not the intended agent answered at `target` in this run.
    pub(super) fn is_disputed(&self, target: IpAddr) -> bool {
        self.disputed.contains(&target)
    }

    /// Whether a connection from `peer` that `target` saw is one that its source knows to have been answered.
    pub(super) fn explains(&self, target: IpAddr, peer: SocketAddr) -> bool {
        let explained = self
            .explained
            .get_or_init(|| explained(self.plan, self.evidence));
        explained
            .get(&target)
            .is_some_and(|sockets| sockets.contains(&peer))
    }

    /// The answers of `target`.
    pub(super) fn at(&self, target: IpAddr) -> impl Iterator<Item = &Answer<'a>> {
        self.placed(self.by_target.get(&target))
    }

    /// The answers to `source`.
    pub(super) fn from(&self, source: IpAddr) -> impl Iterator<Item = &Answer<'a>> {
        self.placed(self.by_source.get(&source))
    }

    /// The answers at these places.
    fn placed<'b>(
        &'b self,
        places: Option<&'b Vec<usize>>,
    ) -> impl Iterator<Item = &'b Answer<'a>> {
        let places = places.into_iter().flatten();
        places.filter_map(|place| self.answers.get(*place))
    }
}

/// All attempts that were answered, each with the target of its flow.
fn answered_attempts<'a>(
    plan: &'a ProbePlan,
    evidence: &'a RunEvidence,
) -> impl Iterator<Item = (IpAddr, &'a Attempt)> {
    let probes = plan.flows.iter().flat_map(|flow| {
        let target = flow.flow.destination;
        flow.probes.iter().map(move |probe| (target, probe))
    });
    let attempts = probes.flat_map(|(target, probe)| {
        let attempts = evidence.attempts(probe.id).iter();
        attempts.map(move |attempt| (target, attempt))
    });
    attempts.filter(|(_, attempt)| attempt.outcome.evidence() == Evidence::Answer)
}

/// The targets that somebody else seems to hold.
fn disputed(plan: &ProbePlan, evidence: &RunEvidence) -> BTreeSet<IpAddr> {
    answered_attempts(plan, evidence)
        .filter(|(_, attempt)| attempt.identification == Identification::Mismatch)
        .map(|(target, _)| target)
        .collect()
}

/// From which sockets each target was connected to, as their owners and the target's agent saw them.
fn explained(plan: &ProbePlan, evidence: &RunEvidence) -> HashMap<IpAddr, HashSet<SocketAddr>> {
    let mut explained: HashMap<IpAddr, HashSet<SocketAddr>> = HashMap::new();
    for (target, attempt) in answered_attempts(plan, evidence) {
        let sockets = explained.entry(target).or_default();
        sockets.extend(attempt.local);
        if let Identification::Verified { observed } = attempt.identification {
            sockets.insert(observed);
        }
    }
    explained
}

/// Whether the packets of a flow with this verdict met security groups. Rules for UDP say nothing about TCP.
fn filtered(protocol: FlowProtocol, verdict: &Verdict) -> Filtered {
    if !matches!(protocol, FlowProtocol::Tcp { .. }) {
        return Filtered::No;
    }
    match verdict {
        Verdict::Allow { .. } | Verdict::Deny(_) | Verdict::Partial { .. } => Filtered::Yes,
        Verdict::Unknown(_) | Verdict::Bypass(_) | Verdict::Exempt(_) => Filtered::No,
    }
}
