//! Judges a partial verdict source port by source port (F.3).

use std::collections::BTreeSet;

use super::conditions::SilenceJudgement;
use super::summary::ProbeSummary;
use super::{Comparison, Judgement};
use crate::finding::{FindingKind, FindingReason, Strength};
use crate::net::PortRange;
use crate::plan::{PlannedFlow, PlannedProbe, SourcePorts, judged_ports};
use crate::prediction::Prediction;

/// What one source port showed, against what the model says of it.
struct PortJudgement {
    kind: PortKind,
    strength: Option<Strength>,
    silence: Option<SilenceJudgement>,
}

/// How one source port stands.
enum PortKind {
    /// As predicted.
    Confirmed,
    /// Answered, predicted silent.
    Open,
    /// Silent, predicted to answer.
    Closed,
    /// The evidence does not carry it.
    Doubtful(FindingReason),
}

impl Comparison<'_> {
    /// Judges a flow of which the model says that only `open_ports` work.
    ///
    /// Confirmed only if the ports at both ends of the ephemeral range and on both sides of every edge were tried, and
    /// each did as predicted for it. One port that did the opposite is a contradiction; one in doubt makes it all
    /// inconclusive.
    pub(super) fn judge_partial(
        &self,
        flow: &PlannedFlow,
        prediction: &Prediction,
        open_ports: &[PortRange],
    ) -> Judgement {
        let mut tried = BTreeSet::new();
        let mut judged = Vec::new();
        for probe in &flow.probes {
            let SourcePorts::Fixed(port) = probe.source_ports else {
                return Judgement::inconclusive(FindingReason::Partial);
            };
            tried.insert(port);
            judged.push(self.judge_port(flow, probe, prediction, is_open(open_ports, port)));
        }
        if let Some(contradiction) = contradiction(&judged) {
            return contradiction;
        }
        let wanted = judged_ports(flow.flow.ephemeral_ports, open_ports);
        if wanted.is_empty() || !wanted.is_subset(&tried) {
            return Judgement::inconclusive(FindingReason::Partial);
        }
        let strength = weakest(&judged);
        let doubt = judged.iter().find_map(|port| match &port.kind {
            PortKind::Doubtful(reason) => Some((reason.clone(), port.silence.clone())),
            PortKind::Confirmed | PortKind::Open | PortKind::Closed => None,
        });
        let judgement = match doubt {
            Some((reason, silence)) => with(Judgement::inconclusive(reason), silence),
            None => {
                let silence = judged.into_iter().find_map(|port| port.silence);
                with(Judgement::plain(FindingKind::ConfirmedPartial), silence)
            }
        };
        Judgement {
            strength,
            ..judgement
        }
    }

    /// Judges one source port.
    fn judge_port(
        &self,
        flow: &PlannedFlow,
        probe: &PlannedProbe,
        prediction: &Prediction,
        predicted: Predicted,
    ) -> PortJudgement {
        let plain = |kind, strength| PortJudgement {
            kind,
            strength,
            silence: None,
        };
        match (self.summary(flow, probe), predicted) {
            (ProbeSummary::Nothing, _) => plain(PortKind::Doubtful(FindingReason::Partial), None),
            (ProbeSummary::NotEvidence(reason), _) => plain(PortKind::Doubtful(reason), None),
            (ProbeSummary::Answered(answered), Predicted::Open) => {
                plain(PortKind::Confirmed, Some(answered.strength))
            }
            (ProbeSummary::Answered(answered), Predicted::Closed) => {
                plain(PortKind::Open, Some(answered.strength))
            }
            (ProbeSummary::Silent, Predicted::Open) => silent_port(
                PortKind::Closed,
                self.silence_against_allow(flow, probe, prediction, None),
            ),
            (ProbeSummary::Silent, Predicted::Closed) => silent_port(
                PortKind::Confirmed,
                self.silence_for_deny(flow, probe, prediction),
            ),
        }
    }
}

/// `kind` if every condition holds for a silent port, else a doubt.
fn silent_port(kind: PortKind, silence: SilenceJudgement) -> PortJudgement {
    PortJudgement {
        kind: match &silence.failure {
            None => kind,
            Some(reason) => PortKind::Doubtful(reason.clone()),
        },
        strength: None,
        silence: Some(silence),
    }
}

/// A judgement with the conditions of one silent port.
fn with(judgement: Judgement, silence: Option<SilenceJudgement>) -> Judgement {
    match silence {
        None => judgement,
        Some(silence) => Judgement {
            conditions: silence.conditions,
            attempts: silence.attempts,
            ..judgement
        },
    }
}

/// What the answers of all ports are worth together.
fn weakest(judged: &[PortJudgement]) -> Option<Strength> {
    judged.iter().filter_map(|port| port.strength).max()
}

/// What the model says of one source port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Predicted {
    /// It works.
    Open,
    /// Its replies are dropped.
    Closed,
}

/// What the model says of `port`.
fn is_open(open_ports: &[PortRange], port: u16) -> Predicted {
    if open_ports.iter().any(|range| range.contains(port)) {
        Predicted::Open
    } else {
        Predicted::Closed
    }
}

/// The contradiction among the ports: an answer where silence was predicted outweighs silence where an answer was.
fn contradiction(judged: &[PortJudgement]) -> Option<Judgement> {
    let open = judged
        .iter()
        .find(|port| matches!(port.kind, PortKind::Open))
        .map(|port| (FindingKind::ContradictionOpen, port));
    let closed = || {
        judged
            .iter()
            .find(|port| matches!(port.kind, PortKind::Closed))
            .map(|port| (FindingKind::ContradictionClosed, port))
    };
    let (kind, port) = open.or_else(closed)?;
    Some(Judgement {
        strength: port.strength,
        ..with(Judgement::plain(kind), port.silence.clone())
    })
}
