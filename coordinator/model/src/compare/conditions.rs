//! The six conditions under which silence carries a verdict (F.2), each with how it was met.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::reached::{Answer, Filtered};
use super::{Comparison, is_own_socket};
use crate::finding::{Basis, Condition, ConditionName, FindingReason};
use crate::observation::{AgentName, Attempt, Evidence, Presence};
use crate::plan::{ATTEMPTS, PlannedFlow, PlannedProbe, PolicyFact, SourcePorts, Target};
use crate::prediction::{Prediction, StepOutcome};
use crate::snapshot::EndpointListing;

/// Shortest time between the starts of the first and the last silent attempt (F.2.6).
pub(super) const SILENCE_SPREAD_MIN: Duration = Duration::from_secs(10);

/// Fewest silent attempts (F.2.6).
pub(super) const SILENT_ATTEMPTS_MIN: usize = 3;

// The plan makes as many attempts as silence needs.
const _: () = assert!(ATTEMPTS >= 3);

/// The reason of a finding whose first failing condition is `failed`.
pub(super) fn reason(failed: &Condition) -> FindingReason {
    match (failed.name, &failed.basis) {
        (ConditionName::Alive, _) => FindingReason::NotAlive,
        (ConditionName::Unseen, Basis::ReportIncomplete { .. }) => {
            FindingReason::TargetReportIncomplete
        }
        (ConditionName::Unseen, Basis::QueueFull { .. }) => FindingReason::AcceptQueueFull,
        (ConditionName::Unseen, _) => FindingReason::SeenByTarget,
        (ConditionName::Known, _) => FindingReason::UnknownGate,
        (ConditionName::NoPolicy, _) => FindingReason::NetworkPolicy,
        (ConditionName::Control, _) => FindingReason::NoControl,
        (ConditionName::Repeated, _) => FindingReason::NotRepeated,
    }
}

impl Comparison<'_> {
    /// All six: what a confirmed deny needs.
    pub(super) fn conditions_for_deny(
        &self,
        flow: &PlannedFlow,
        probe: &PlannedProbe,
        prediction: &Prediction,
    ) -> Vec<Condition> {
        let mut conditions = self.conditions_but_unseen(flow, probe, prediction);
        let unseen = Condition::new(ConditionName::Unseen, self.unseen(flow, probe));
        conditions.insert(1, unseen);
        conditions
    }

    /// Those without "unseen": what a contradiction to an allow needs. There, a connection that the target's agent saw
    /// speaks of the way back, not against the silence; but a target that had no room for connections is silent by itself.
    pub(super) fn conditions_against_allow(
        &self,
        flow: &PlannedFlow,
        probe: &PlannedProbe,
        prediction: &Prediction,
    ) -> Vec<Condition> {
        let mut conditions = self.conditions_but_unseen(flow, probe, prediction);
        let full = self.queue_full(flow);
        if let Some(full) = full.map(|full| Condition::new(ConditionName::Unseen, full)) {
            conditions.insert(1, full);
        }
        conditions
    }

    /// All but the second.
    fn conditions_but_unseen(
        &self,
        flow: &PlannedFlow,
        probe: &PlannedProbe,
        prediction: &Prediction,
    ) -> Vec<Condition> {
        vec![
            Condition::new(ConditionName::Alive, self.alive(flow)),
            Condition::new(ConditionName::Known, known(prediction)),
            Condition::new(ConditionName::NoPolicy, no_policy(flow.policy)),
            Condition::new(ConditionName::Control, self.control(flow)),
            Condition::new(
                ConditionName::Repeated,
                repeated(flow.flow.source, probe, self.attempts(probe)),
            ),
        ]
    }

    /// F.2.1: the target was there.
    fn alive(&self, flow: &PlannedFlow) -> Basis {
        let target = flow.flow.destination;
        if let Some(agent) = self.roster.holder(target)
            && let Some(record) = self.evidence.records.get(&agent.name)
            && record.presence == Presence::HeardToTheEnd
        {
            return Basis::Heartbeat {
                agent: agent.name.clone(),
            };
        }
        if let Some(answer) = self.reached.at(target).next() {
            return Basis::AnsweredProbe {
                agent: answer.agent.clone(),
                port: answer.target.port(),
            };
        }
        match flow.target {
            Target::ControlPlane(EndpointListing::Listed) => Basis::EndpointSlice,
            Target::ControlPlane(EndpointListing::Unlisted | EndpointListing::Unsaid)
            | Target::Agent(_)
            | Target::Pod => Basis::NothingHeard,
        }
    }

    /// F.2.2: the target's agent accepted nothing of this flow.
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
            own() || (from && !self.reached.explains(target, accept.peer))
        });
        match seen {
            Some(accept) => Basis::Accepted {
                agent,
                peer: accept.peer,
            },
            None if !record.accepts_complete() => Basis::ReportIncomplete { agent },
            None => self.queue_full(flow).unwrap_or(Basis::NoAccept { agent }),
        }
    }

    /// That the target's kernel dropped connections for want of room, where its agent says so.
    fn queue_full(&self, flow: &PlannedFlow) -> Option<Basis> {
        let agent = self.roster.holder(flow.flow.destination)?;
        let record = self.evidence.records.get(&agent.name)?;
        let drops = record.accept_queue_drops.filter(|drops| *drops > 0)?;
        Some(Basis::QueueFull {
            agent: agent.name.clone(),
            drops,
        })
    }

    /// F.2.5: source and target can talk otherwise.
    fn control(&self, flow: &PlannedFlow) -> Basis {
        let target = flow.flow.destination;
        let source = flow.flow.source;
        let port = flow.flow.protocol.port();
        let to_target = || self.reached.at(target).filter(is_control);
        if let Some(other) =
            to_target().find(|answer| answer.source == source && Some(answer.target.port()) != port)
        {
            return Basis::OtherPort {
                port: other.target.port(),
            };
        }
        let elsewhere = self
            .reached
            .from(source)
            .filter(is_control)
            .find(|answer| answer.target.ip() != target)
            .map(|answer| answer.target);
        let Some(elsewhere) = elsewhere else {
            return Basis::NoControlAnswered;
        };
        if let Some(other) =
            to_target().find(|answer| answer.source != source && Some(answer.target.port()) == port)
        {
            return Basis::OtherSourceAndTarget {
                agent: other.agent.clone(),
                target: elsewhere,
            };
        }
        match self.streaming_agent(target) {
            Some(agent) => Basis::TargetStream {
                agent,
                target: elsewhere,
            },
            None => Basis::NoControlAnswered,
        }
    }

    /// The agent at `target`, if its control stream comes from that very address and was there to the end.
    fn streaming_agent(&self, target: IpAddr) -> Option<AgentName> {
        let agent = self.roster.holder(target)?;
        let record = self.evidence.records.get(&agent.name)?;
        let through =
            record.stream_address == Some(target) && record.presence == Presence::HeardToTheEnd;
        through.then(|| agent.name.clone())
    }
}

/// Whether the packets of an answer met security groups.
fn is_control(answer: &&Answer<'_>) -> bool {
    answer.filtered == Filtered::Yes
}

/// F.2.3: the model knows every gate on the way.
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

/// F.2.4: no NetworkPolicy selects either end.
fn no_policy(fact: PolicyFact) -> Basis {
    match fact {
        PolicyFact::NoneSelects => Basis::NoPolicySelects,
        PolicyFact::Selects(address) => Basis::PolicySelects { address },
        PolicyFact::Unread => Basis::PoliciesUnread,
    }
}

/// F.2.6: enough silent attempts, far enough apart, each with a source port of its own (where the plan leaves it open).
pub(super) fn repeated(source: IpAddr, probe: &PlannedProbe, attempts: &[Attempt]) -> Basis {
    let silent: Vec<&Attempt> = attempts
        .iter()
        .filter(|attempt| {
            attempt.outcome.evidence() == Evidence::Silence && is_own_socket(source, attempt)
        })
        .collect();
    let counted = match probe.source_ports {
        SourcePorts::Random => {
            let ports: BTreeSet<_> = silent.iter().filter_map(|attempt| attempt.local).collect();
            ports.len()
        }
        SourcePorts::Fixed(port) => silent
            .iter()
            .filter(|attempt| attempt.local.is_some_and(|local| local.port() == port))
            .count(),
    };
    let first = silent.iter().map(|attempt| attempt.started).min();
    let last = silent.iter().map(|attempt| attempt.started).max();
    let spread = last
        .unwrap_or_default()
        .saturating_sub(first.unwrap_or_default());
    let spread_ms = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX);
    // Every attempt must be one of those: a single one that is not leaves a doubt.
    let all = silent.len() == attempts.len() && counted == attempts.len();
    if all && counted >= SILENT_ATTEMPTS_MIN && spread >= SILENCE_SPREAD_MIN {
        return Basis::SilentAttempts {
            attempts: counted,
            spread_ms,
        };
    }
    Basis::TooFewAttempts {
        attempts: counted,
        spread_ms,
    }
}
