//! Which targets were reached from where: what the conditions of F.2 look up.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::{Saying, saying};
use crate::flow::FlowProtocol;
use crate::observation::{AgentName, Attempt, Evidence, Identification, RunEvidence};
use crate::plan::{PlannedFlow, ProbePlan};
use crate::prediction::{Prediction, Verdict};

/// One flow that was answered by its intended target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) agent: AgentName,
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
#[derive(Debug, Default)]
pub(super) struct Reached {
    by_target: HashMap<IpAddr, Vec<Answer>>,
    by_source: HashMap<IpAddr, Vec<Answer>>,
    disputed: BTreeSet<IpAddr>,
    explained: HashMap<IpAddr, HashSet<SocketAddr>>,
}

impl Reached {
    /// Collects the answers of a run.
    pub(super) fn new(
        plan: &ProbePlan,
        predictions: &[Prediction],
        evidence: &RunEvidence,
    ) -> Self {
        let mut reached = Self::default();
        for (flow, prediction) in plan.flows.iter().zip(predictions) {
            for probe in &flow.probes {
                let Some(observation) = evidence.observations.get(&probe.id) else {
                    continue;
                };
                for attempt in &observation.attempts {
                    reached.note(flow.flow.destination, attempt);
                }
                if let Saying::Answered(_) = saying(flow, probe, &observation.attempts) {
                    reached.add(flow, prediction);
                }
            }
        }
        reached.drop_disputed();
        reached
    }

    /// Notes who answered an attempt, and from which sockets its target was connected to.
    fn note(&mut self, target: IpAddr, attempt: &Attempt) {
        if attempt.outcome.evidence() != Evidence::Answer {
            return;
        }
        let explained = self.explained.entry(target).or_default();
        explained.extend(attempt.local);
        match attempt.identification {
            Identification::Verified { observed } => drop(explained.insert(observed)),
            Identification::Mismatch => drop(self.disputed.insert(target)),
            Identification::NotAsked
            | Identification::Failed { .. }
            | Identification::Resolver { .. }
            | Identification::NoResolver { .. } => {}
        }
    }

    /// Notes that `flow` was answered.
    fn add(&mut self, flow: &PlannedFlow, prediction: &Prediction) {
        let Some(port) = flow.flow.protocol.port() else {
            return;
        };
        let answer = Answer {
            agent: flow.source.clone(),
            source: flow.flow.source,
            target: SocketAddr::new(flow.flow.destination, port),
            filtered: filtered(flow.flow.protocol, &prediction.verdict),
        };
        let target = self.by_target.entry(answer.target.ip()).or_default();
        target.push(answer.clone());
        self.by_source
            .entry(answer.source)
            .or_default()
            .push(answer);
    }

    /// Forgets the answers of targets that somebody else seems to hold.
    fn drop_disputed(&mut self) {
        let disputed = &self.disputed;
        self.by_target
            .retain(|target, _| !disputed.contains(target));
        for answers in self.by_source.values_mut() {
            answers.retain(|answer| !disputed.contains(&answer.target.ip()));
        }
    }

    /// Whether somebody who is not the intended agent answered at `target` in this run.
    pub(super) fn is_disputed(&self, target: IpAddr) -> bool {
        self.disputed.contains(&target)
    }

    /// Whether a connection from `peer` that `target` saw is one that its source knows to have been answered.
    pub(super) fn explains(&self, target: IpAddr, peer: SocketAddr) -> bool {
        self.explained
            .get(&target)
            .is_some_and(|sockets| sockets.contains(&peer))
    }

    /// The answers of `target`.
    pub(super) fn at(&self, target: IpAddr) -> &[Answer] {
        self.by_target.get(&target).map_or(&[], Vec::as_slice)
    }

    /// The answers to `source`.
    pub(super) fn from(&self, source: IpAddr) -> &[Answer] {
        self.by_source.get(&source).map_or(&[], Vec::as_slice)
    }
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
