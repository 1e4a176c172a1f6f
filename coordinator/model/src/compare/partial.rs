//! Judges a partial verdict source port by source port (F.3).

use std::collections::BTreeSet;

use super::{Comparison, Judgement, Saying, saying};
use crate::finding::{Basis, Condition, ConditionName, FindingKind, FindingReason};
use crate::net::PortRange;
use crate::plan::{PlannedFlow, PlannedProbe, SourcePorts, judged_ports};
use crate::prediction::Prediction;

/// What one source port showed, against what the model says of it.
struct PortJudgement {
    kind: PortKind,
    conditions: Vec<Condition>,
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
        let doubt = judged.iter().find_map(|port| match &port.kind {
            PortKind::Doubtful(reason) => Some((reason.clone(), port.conditions.clone())),
            PortKind::Confirmed | PortKind::Open | PortKind::Closed => None,
        });
        if let Some((reason, conditions)) = doubt {
            return Judgement {
                conditions,
                ..Judgement::inconclusive(reason)
            };
        }
        let conditions = judged
            .into_iter()
            .map(|port| port.conditions)
            .find(|conditions| !conditions.is_empty())
            .unwrap_or_default();
        Judgement {
            conditions,
            ..Judgement::plain(FindingKind::ConfirmedPartial)
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
        let plain = |kind| PortJudgement {
            kind,
            conditions: Vec::new(),
        };
        match (saying(flow, probe, self.attempts(probe)), predicted) {
            (Saying::Nothing, _) => plain(PortKind::Doubtful(FindingReason::Partial)),
            (Saying::Worthless(reason), _) => plain(PortKind::Doubtful(reason)),
            (Saying::Answered(_), Predicted::Open) => plain(PortKind::Confirmed),
            (Saying::Answered(_), Predicted::Closed) => plain(PortKind::Open),
            (Saying::Silent, Predicted::Open) => {
                let conditions = self.conditions_against_allow(flow, probe, prediction);
                self.silent_port(PortKind::Closed, flow, conditions)
            }
            (Saying::Silent, Predicted::Closed) => {
                let conditions = self.conditions_for_deny(flow, probe, prediction);
                self.silent_port(PortKind::Confirmed, flow, conditions)
            }
        }
    }

    /// `kind` if every condition holds for a silent port, else a doubt.
    fn silent_port(
        &self,
        kind: PortKind,
        flow: &PlannedFlow,
        mut conditions: Vec<Condition>,
    ) -> PortJudgement {
        self.control_by_own_port(flow, &mut conditions);
        let failed = conditions.iter().find(|condition| !condition.holds());
        let kind = match failed {
            None => kind,
            Some(failed) => PortKind::Doubtful(super::conditions::reason(failed)),
        };
        PortJudgement { kind, conditions }
    }

    /// An answer to another source port of the very same flow is a closer control than another port of the target.
    fn control_by_own_port(&self, flow: &PlannedFlow, conditions: &mut [Condition]) {
        let answered = flow.probes.iter().find_map(|probe| {
            let SourcePorts::Fixed(port) = probe.source_ports else {
                return None;
            };
            match saying(flow, probe, self.attempts(probe)) {
                Saying::Answered(_) => Some(port),
                Saying::Nothing | Saying::Silent | Saying::Worthless(_) => None,
            }
        });
        let control = conditions
            .iter_mut()
            .find(|condition| condition.name == ConditionName::Control && !condition.holds());
        if let (Some(port), Some(control)) = (answered, control) {
            *control = Condition::new(ConditionName::Control, Basis::OtherSourcePort { port });
        }
    }
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
        conditions: port.conditions.clone(),
        ..Judgement::plain(kind)
    })
}
