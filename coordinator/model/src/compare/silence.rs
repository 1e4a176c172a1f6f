//! The conditions of one silent attempt (F.2 "Silence"): each has the time of that attempt.

use std::net::IpAddr;
use std::time::Duration;

use super::Comparison;
use super::heard::{End, Window, clock, micros};
use crate::finding::{AttemptConditions, Basis, Condition, ConditionName};
use crate::observation::{AgentName, AgentRecord, Attempt, ClockOffset, Outcome};
use crate::plan::{PlannedFlow, PlannedProbe};

/// Latest that a loop of an agent may run in a silence (F.2 "unseen").
pub(super) const LATE_MAX: Duration = Duration::from_millis(250);

impl Comparison<'_> {
    /// The conditions of a silent attempt.
    pub(super) fn attempt_conditions(
        &self,
        flow: &PlannedFlow,
        probe: &PlannedProbe,
        attempt: &Attempt,
    ) -> AttemptConditions {
        let agent = flow.source.agent();
        let of_agent = |agent| self.evidence.records.get(agent).and_then(clock);
        let conditions = match (agent, agent.map_or(Some(ClockOffset::OWN), of_agent)) {
            (_, Some(offset)) => self.timed(flow, attempt, offset),
            (Some(agent), None) => vec![Condition::new(
                ConditionName::Clock,
                Basis::ClockUnknown {
                    agent: agent.clone(),
                },
            )],
            (None, None) => Vec::new(),
        };
        AttemptConditions {
            number: attempt.number,
            probe: probe.id,
            counts: conditions.iter().all(Condition::holds),
            conditions,
        }
    }

    /// The conditions of an attempt whose clock stands so.
    fn timed(&self, flow: &PlannedFlow, attempt: &Attempt, offset: ClockOffset) -> Vec<Condition> {
        let agent = flow.source.agent();
        let window = window(agent, attempt, offset);
        let (source, target) = (flow.flow.source, flow.flow.destination);
        let holder = self.holder(target);
        let heard = |end, address, holder| self.heard.around((end, address), holder, window);
        [
            (ConditionName::Clock, self.clocks(offset, holder)),
            (
                ConditionName::SourceHeard,
                heard(End::Source, source, agent),
            ),
            (
                ConditionName::TargetHeard,
                heard(End::Target, target, holder),
            ),
            (
                ConditionName::SourceOnTime,
                match agent {
                    Some(_) => self.on_time(agent, window),
                    None => dial_limit(attempt),
                },
            ),
            (ConditionName::TargetOnTime, self.on_time(holder, window)),
        ]
        .into_iter()
        .map(|(name, basis)| Condition::new(name, basis))
        .collect()
    }

    /// The agent that holds an address.
    fn holder(&self, address: IpAddr) -> Option<&AgentName> {
        self.roster.holder(address).map(|agent| &agent.name)
    }

    /// Whether the clocks of both agents are known; the source's stands so.
    fn clocks(&self, source: ClockOffset, target: Option<&AgentName>) -> Basis {
        let mut worst = source.uncertainty;
        if let Some(agent) = target {
            let record = self.evidence.records.get(agent);
            match record.and_then(clock) {
                Some(offset) => worst = worst.max(offset.uncertainty),
                None => {
                    return Basis::ClockUnknown {
                        agent: agent.clone(),
                    };
                }
            }
        }
        Basis::ClockKnown {
            uncertainty_us: u64::try_from(worst.as_micros()).unwrap_or(u64::MAX),
        }
    }

    /// How late the loops of an agent were in a window. A target without an agent has none that could be late.
    fn on_time(&self, agent: Option<&AgentName>, window: Window<'_>) -> Basis {
        let Some(agent) = agent else {
            return Basis::NoTargetAgent;
        };
        let record = self.evidence.records.get(agent);
        let late = record.and_then(|record| {
            let offset = clock(record)?;
            let doubt = if Some(agent) == window.clock {
                0
            } else {
                window.uncertainty + micros(offset.uncertainty)
            };
            let from = window.from + offset.offset_us - doubt;
            latest(record, (from, window.to + offset.offset_us + doubt))
        });
        let late_max_ms = |late: Duration| u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
        match late {
            None => Basis::LatenessUnknown,
            Some(late) if late > LATE_MAX => Basis::Late {
                late_max_ms: late_max_ms(late),
            },
            Some(late) => Basis::OnTime {
                late_max_ms: late_max_ms(late),
            },
        }
    }
}

/// How an API server's dial ended: who gave it the time to end by its own limit did not end it late.
fn dial_limit(attempt: &Attempt) -> Basis {
    let after = attempt.received.saturating_sub(attempt.started);
    Basis::DialLimit {
        after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
    }
}

/// The window of an attempt by the coordinator's clock.
fn window<'a>(clock: Option<&'a AgentName>, attempt: &Attempt, offset: ClockOffset) -> Window<'a> {
    let from = micros(attempt.started) - offset.offset_us;
    let waited = match attempt.outcome {
        Outcome::TimedOut { after } => after,
        Outcome::Connected { .. }
        | Outcome::Refused { .. }
        | Outcome::Unreachable { .. }
        | Outcome::LocalError { .. }
        | Outcome::Starved
        | Outcome::RefusedByPolicy
        | Outcome::NotDialled { .. } => Duration::ZERO,
    };
    Window {
        clock,
        from,
        to: from + micros(waited),
        uncertainty: micros(offset.uncertainty),
    }
}

/// Longest that a loop was late between two times of the agent's clock; absent where some of that time was not measured.
/// A stretch shorter than [`LATE_MAX`] hides nothing.
fn latest(record: &AgentRecord, (from, to): (i64, i64)) -> Option<Duration> {
    let (mut known_to, mut latest) = (from, Duration::ZERO);
    let touching = record
        .lateness
        .iter()
        .filter(|lateness| micros(lateness.to) >= from && micros(lateness.from) <= to);
    for lateness in touching {
        if micros(lateness.from) > known_to + micros(LATE_MAX) {
            return None;
        }
        known_to = known_to.max(micros(lateness.to));
        latest = latest.max(lateness.late_max);
    }
    (known_to + micros(LATE_MAX) >= to).then_some(latest)
}
