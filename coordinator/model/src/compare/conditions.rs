//! The conditions under which silence carries a verdict (F.2), each with how it was met.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::Comparison;
use super::summary::is_own;
use crate::finding::{
    AttemptConditions, Basis, Condition, ConditionName, ConditionState, DropCounter, FindingReason,
};
use crate::observation::{Attempt, Evidence, Outcome};
use crate::plan::{ATTEMPTS, PlannedFlow, PlannedProbe, PolicyFact, SourcePorts, third_of};
use crate::prediction::{Prediction, StepOutcome};

/// Shortest time between the starts of the first and the last silent attempt (F.2 "repeated").
pub(super) const SILENCE_SPREAD_MIN: Duration = Duration::from_secs(10);

/// Fewest silent attempts that count (F.2 "repeated").
pub(super) const SILENT_ATTEMPTS_MIN: usize = 3;

// A stage makes as many attempts as silence needs.
const _: () = assert!(ATTEMPTS >= 3);

/// The conditions of single attempts, in the order in which they are reported.
const OF_ATTEMPTS: [ConditionName; 5] = [
    ConditionName::Clock,
    ConditionName::SourceHeard,
    ConditionName::TargetHeard,
    ConditionName::SourceOnTime,
    ConditionName::TargetOnTime,
];

/// What the conditions of a silent probe say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SilenceJudgement {
    /// The conditions of the probe.
    pub(super) conditions: Vec<Condition>,
    /// The conditions of each silent attempt.
    pub(super) attempts: Vec<AttemptConditions>,
    /// Why the silence carries nothing; absent when all holds.
    pub(super) failure: Option<FindingReason>,
}

/// The reason of a finding whose first failing condition is `failed`.
fn reason(failed: &Condition) -> FindingReason {
    match (failed.name, &failed.basis) {
        (ConditionName::Address, _) => FindingReason::AddressUnshown,
        (ConditionName::Clock, _) => FindingReason::Clock,
        (ConditionName::SourceHeard | ConditionName::TargetHeard, Basis::NeverHeard) => {
            FindingReason::NoControl
        }
        (ConditionName::SourceHeard, _) => FindingReason::SourceUnheard,
        (ConditionName::TargetHeard, _) => FindingReason::TargetUnheard,
        (ConditionName::SourceOnTime, _) => FindingReason::SourceLate,
        (ConditionName::TargetOnTime, _) => FindingReason::TargetLate,
        (ConditionName::Unseen, Basis::ReportIncomplete { .. }) => {
            FindingReason::TargetReportIncomplete
        }
        (ConditionName::Unseen, _) => FindingReason::SeenByTarget,
        (ConditionName::AcceptQueue, _) => FindingReason::AcceptQueue,
        (ConditionName::Known, _) => FindingReason::UnknownGate,
        (ConditionName::NoPolicy, Basis::PoliciesUnread) => FindingReason::PoliciesUnread,
        (ConditionName::NoPolicy, _) => FindingReason::NetworkPolicy,
        (ConditionName::Repeated, _) => FindingReason::NotRepeated,
    }
}

impl Comparison<'_> {
    /// All conditions: what a confirmed deny needs.
    pub(super) fn silence_for_deny(
        &self,
        flow: &PlannedFlow,
        probe: &PlannedProbe,
        prediction: &Prediction,
    ) -> SilenceJudgement {
        let unseen = Condition::new(ConditionName::Unseen, self.unseen(flow, probe));
        self.silence(flow, probe, prediction, (Some(unseen), None))
    }

    /// Those without "unseen": what a contradiction to an allow needs. There, a connection that the target's agent saw
    /// speaks of the way back, not against the silence; but a target that had no room for connections is silent by itself.
    ///
    /// With `third` the attempts from that third of the source ports alone.
    pub(super) fn silence_against_allow(
        &self,
        flow: &PlannedFlow,
        probe: &PlannedProbe,
        prediction: &Prediction,
        third: Option<u8>,
    ) -> SilenceJudgement {
        self.silence(flow, probe, prediction, (None, third))
    }

    /// Judges the silence of a probe, or of the attempts from one third of its source ports.
    fn silence(
        &self,
        flow: &PlannedFlow,
        probe: &PlannedProbe,
        prediction: &Prediction,
        (unseen, third): (Option<Condition>, Option<u8>),
    ) -> SilenceJudgement {
        let silent = self.silent_attempts(flow, probe, third);
        let attempts: Vec<AttemptConditions> = silent
            .iter()
            .map(|attempt| self.attempt_conditions(flow, probe, attempt))
            .collect();
        let counted: Vec<&Attempt> = silent
            .iter()
            .zip(&attempts)
            .filter(|(_, conditions)| conditions.counts)
            .map(|(attempt, _)| *attempt)
            .collect();
        let repeated = repeated(flow, probe, &counted, third);
        let is_repeated = repeated.state() != ConditionState::Failed;
        let address = self.heard.address(flow.flow.source);
        let mut conditions = vec![Condition::new(ConditionName::Address, address)];
        conditions.extend(summed_up(&attempts, is_repeated));
        conditions.extend(unseen);
        conditions.extend([
            Condition::new(ConditionName::AcceptQueue, self.accept_queue(flow)),
            Condition::new(ConditionName::Known, known(prediction)),
            Condition::new(ConditionName::NoPolicy, no_policy(flow.policy)),
            Condition::new(ConditionName::Repeated, repeated),
        ]);
        let failed = conditions.iter().find(|condition| !condition.holds());
        let failure = failed.map(|failed| match failed.name {
            ConditionName::Repeated => self.spoiled_attempt(probe).unwrap_or(reason(failed)),
            ConditionName::Address
            | ConditionName::Clock
            | ConditionName::SourceHeard
            | ConditionName::TargetHeard
            | ConditionName::SourceOnTime
            | ConditionName::TargetOnTime
            | ConditionName::Unseen
            | ConditionName::AcceptQueue
            | ConditionName::Known
            | ConditionName::NoPolicy => reason(failed),
        });
        SilenceJudgement {
            conditions,
            attempts,
            failure,
        }
    }

    /// The silent attempts of a probe, in their order; with `third` those from that third of the source ports.
    pub(super) fn silent_attempts(
        &self,
        flow: &PlannedFlow,
        probe: &PlannedProbe,
        third: Option<u8>,
    ) -> Vec<&Attempt> {
        let range = flow.flow.ephemeral_ports;
        let lies_there = |attempt: &&Attempt| {
            let port = attempt.local.map(|local| local.port());
            third.is_none() || port.and_then(|port| third_of(range, port)) == third
        };
        self.attempts(probe)
            .iter()
            .filter(|attempt| attempt.outcome.evidence() == Evidence::Silence)
            .filter(|attempt| is_own(flow, attempt))
            .filter(lies_there)
            .collect()
    }

    /// The silent attempts of a probe that count.
    pub(super) fn counted_attempts(
        &self,
        flow: &PlannedFlow,
        probe: &PlannedProbe,
        third: Option<u8>,
    ) -> Vec<&Attempt> {
        let silent = self.silent_attempts(flow, probe, third).into_iter();
        silent
            .filter(|attempt| self.attempt_conditions(flow, probe, attempt).counts)
            .collect()
    }

    /// Why an attempt of a probe is neither answer nor silence, if one is.
    fn spoiled_attempt(&self, probe: &PlannedProbe) -> Option<FindingReason> {
        let outcomes = self.attempts(probe).iter().map(|attempt| attempt.outcome);
        outcomes.into_iter().find_map(|outcome| match outcome {
            Outcome::Starved => Some(FindingReason::Starved),
            Outcome::LocalError { .. } => Some(FindingReason::LocalError),
            Outcome::NotDialled { failure } => Some(FindingReason::Dial(failure)),
            Outcome::Connected { .. }
            | Outcome::Refused { .. }
            | Outcome::TimedOut { .. }
            | Outcome::Unreachable { .. }
            | Outcome::RefusedByPolicy => None,
        })
    }

    /// The target's agent accepted nothing of this flow.
    fn unseen(&self, flow: &PlannedFlow, probe: &PlannedProbe) -> Basis {
        let target = flow.flow.destination;
        let Some(agent) = self.roster.holder(target) else {
            return Basis::NoTargetAgent;
        };
        let agent = agent.name.clone();
        let Some(record) = self.evidence.records.get(&agent) else {
            return Basis::ReportIncomplete { agent };
        };
        let attempts = self.attempts(probe);
        let port = flow.flow.protocol.port().into_iter();
        let mut accepts = port.flat_map(|port| record.accepts_at(target, port));
        let seen = accepts.find(|accept| {
            let from =
                accept.peer.ip() == flow.flow.source || Some(accept.peer.ip()) == flow.translated;
            let own = || {
                attempts
                    .iter()
                    .any(|attempt| attempt.local == Some(accept.peer))
            };
            own() || (from && !self.heard.explains(target, accept.peer))
        });
        match seen {
            Some(accept) => Basis::Accepted {
                agent,
                peer: accept.peer,
            },
            None if !record.accepts_complete() => Basis::ReportIncomplete { agent },
            None => Basis::NoAccept { agent },
        }
    }

    /// The target's kernel dropped nothing for want of room; what nobody counted is not zero.
    fn accept_queue(&self, flow: &PlannedFlow) -> Basis {
        let target = flow.flow.destination;
        let Some(agent) = self.roster.holder(target) else {
            return Basis::NoTargetAgent;
        };
        let agent = agent.name.clone();
        let record = self.evidence.records.get(&agent);
        let of_socket = record.and_then(|record| {
            let socket = SocketAddr::new(target, flow.flow.protocol.port()?);
            record.listen_drops.get(&socket).copied()
        });
        let of_namespace = || record.and_then(|record| record.accept_queue_drops);
        // Both bound from above what was dropped for want of room: the socket also counts repeated SYNs that it answered
        // again (tcp_v4_rcv, `discard_and_relse`), the namespace counts its other sockets. So the lower one is nearer.
        let counted = [
            of_socket.map(|drops| (drops, DropCounter::Socket)),
            of_namespace().map(|drops| (drops, DropCounter::Namespace)),
        ];
        let counted = counted
            .into_iter()
            .flatten()
            .min_by_key(|(drops, _)| *drops);
        match counted {
            None => Basis::DropsUnknown { agent },
            Some((0, counter)) => Basis::NoDrops { counter },
            Some((drops, counter)) => Basis::QueueFull {
                agent,
                drops,
                counter,
            },
        }
    }
}

/// One condition for each kind that attempts have: if enough attempts count, the weakest of theirs, else the first that
/// fails.
fn summed_up(attempts: &[AttemptConditions], is_repeated: bool) -> Vec<Condition> {
    let named = |name: ConditionName| {
        let looked_at = attempts
            .iter()
            .filter(move |attempt| attempt.counts || !is_repeated);
        looked_at
            .flat_map(|attempt| &attempt.conditions)
            .filter(move |condition| condition.name == name)
    };
    let of_state = |name, state| named(name).find(move |condition| condition.state == state);
    OF_ATTEMPTS
        .into_iter()
        .filter_map(|name| {
            of_state(name, ConditionState::Failed)
                .or_else(|| of_state(name, ConditionState::MetWeakly))
                .or_else(|| of_state(name, ConditionState::Met))
        })
        .cloned()
        .collect()
}

/// The model knows every gate on the way.
fn known(prediction: &Prediction) -> Basis {
    let unknown = prediction
        .steps
        .iter()
        .find(|step| matches!(step.outcome, StepOutcome::Unknown(_)));
    match unknown {
        Some(step) => Basis::GateUnknown { gate: step.gate },
        None => Basis::EveryGateKnown,
    }
}

/// No NetworkPolicy selects either end.
fn no_policy(fact: PolicyFact) -> Basis {
    match fact {
        PolicyFact::NoneSelects => Basis::NoPolicySelects,
        PolicyFact::Selects(address) => Basis::PolicySelects { address },
        PolicyFact::Unread => Basis::PoliciesUnread,
    }
}

/// How many of an API server's dials begin [`SILENCE_SPREAD_MIN`] or more after the one before (G.2b "Silence").
fn spaced(counted: &[&Attempt]) -> usize {
    let mut starts: Vec<Duration> = counted.iter().map(|attempt| attempt.started).collect();
    starts.sort_unstable();
    let mut last: Option<Duration> = None;
    starts.retain(|start| {
        let is_apart = last.is_none_or(|last| start.saturating_sub(last) >= SILENCE_SPREAD_MIN);
        if is_apart {
            last = Some(*start);
        }
        is_apart
    });
    starts.len()
}

/// Enough silent attempts that count, far enough apart, each with a source port of its own (where the plan leaves it
/// open), and one from every third of them, unless one third alone is in question.
pub(super) fn repeated(
    flow: &PlannedFlow,
    probe: &PlannedProbe,
    counted: &[&Attempt],
    third: Option<u8>,
) -> Basis {
    let ports: BTreeSet<u16> = counted
        .iter()
        .filter_map(|attempt| attempt.local)
        .map(|local| local.port())
        .collect();
    let (attempts, is_spread) = match probe.source_ports {
        SourcePorts::Spread => {
            let thirds: BTreeSet<u8> = ports
                .iter()
                .filter_map(|port| third_of(flow.flow.ephemeral_ports, *port))
                .collect();
            (ports.len(), third.is_some() || thirds.len() == 3)
        }
        SourcePorts::Unchosen => (spaced(counted), true),
        SourcePorts::Fixed(port) => {
            let own = counted.iter().filter_map(|attempt| attempt.local);
            let own = own.filter(|local| local.port() == port).count();
            (own, own == counted.len())
        }
    };
    let starts = || counted.iter().map(|attempt| attempt.started);
    let first = starts().min().unwrap_or_default();
    let spread = starts().max().unwrap_or_default().saturating_sub(first);
    let spread_ms = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX);
    if is_spread && attempts >= SILENT_ATTEMPTS_MIN && spread >= SILENCE_SPREAD_MIN {
        return Basis::SilentAttempts {
            attempts,
            spread_ms,
        };
    }
    Basis::TooFewAttempts {
        attempts,
        spread_ms,
    }
}
