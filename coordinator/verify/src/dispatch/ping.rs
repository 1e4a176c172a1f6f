//! Pings: who is there, and how its clock goes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use reachproof_model::observation::{AgentName, Heartbeat, Lateness};
use tokio::time::Instant;

use super::Dispatch;
use crate::clock::Clock;
use crate::registry::Registry;
use crate::wire::signs::Beat;

/// Time between two pings to one agent while a run is on: two of them fit into each margin of a silence (F.2).
pub const PING_INTERVAL: Duration = Duration::from_secs(2);

/// The first pings follow each other faster, so that its clock is known before the first probe.
const FIRST_PING_INTERVAL: Duration = Duration::from_millis(250);

/// How many do.
const FIRST_PINGS: u32 = 4;

/// The pings to one agent.
#[derive(Debug, Clone, Default)]
pub(super) struct Pings {
    /// Those that are not answered, with the times when they were sent.
    open: BTreeMap<u64, Instant>,
    sent: u32,
    due: Option<Instant>,
    /// The last one that it must answer before it counts as heard again.
    awaited: Option<u64>,
    clock: Clock,
}

impl Pings {
    /// How the agent's clock goes.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Whether the ping that was waited for is answered.
    pub(super) fn is_heard_again(&self) -> bool {
        self.awaited.is_none()
    }

    /// The stream was cut: what was asked over it is not answered any more.
    pub(super) fn cut(&mut self) {
        self.open.clear();
        self.awaited = None;
        self.due = None;
    }

    /// The agent is another process: its clock begins anew.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }

    /// Takes the answer to a ping.
    fn answered(&mut self, number: u64, answered: Duration, began: Instant, at: Instant) {
        let Some(sent) = self.open.remove(&number) else {
            return;
        };
        // Answers come in the order of the pings.
        self.open = self.open.split_off(&number);
        if self.awaited.is_some_and(|awaited| awaited <= number) {
            self.awaited = None;
        }
        let since = |time: Instant| time.saturating_duration_since(began);
        self.clock.exchange(since(sent), answered, since(at));
    }
}

impl Dispatch<'_> {
    /// Pings every agent of the run whose turn it is.
    pub fn ping(&mut self, now: Instant, registry: &mut Registry) {
        for (agent, part) in &mut self.parts {
            let pings = &mut part.pings;
            if pings.due.is_some_and(|due| now < due) {
                continue;
            }
            let Some(number) = registry.ping(agent) else {
                continue;
            };
            pings.open.insert(number, now);
            pings.sent = pings.sent.saturating_add(1);
            let is_first = pings.sent < FIRST_PINGS;
            let pause = if is_first {
                FIRST_PING_INTERVAL
            } else {
                PING_INTERVAL
            };
            pings.due = Some(now + pause);
        }
    }

    /// Pings every agent now, and waits for its answer: see [`Pings::is_heard_again`].
    pub(super) fn ping_all(&mut self, now: Instant, registry: &mut Registry) {
        for part in self.parts.values_mut() {
            part.pings.due = None;
        }
        self.ping(now, registry);
        for part in self.parts.values_mut() {
            let last = part.pings.open.last_key_value();
            part.pings.awaited = last.map(|(number, _)| *number);
        }
    }

    /// Takes a sign of life.
    pub(super) fn beat(
        &mut self,
        agent: &AgentName,
        from: Option<IpAddr>,
        beat: Beat,
        at: Instant,
    ) {
        let began = self.terms.began;
        let Some(part) = self.parts.get_mut(agent) else {
            return;
        };
        if let Some(number) = beat.ping {
            part.pings.answered(number, beat.sent, began, at);
        }
        let record = self.evidence.records.entry(agent.clone()).or_default();
        let at = at.saturating_duration_since(began);
        record.heartbeats.push(Heartbeat { at, from });
        if let Some(lateness) = beat.lateness {
            append(&mut record.lateness, lateness);
        }
    }
}

/// Appends what is later than all before.
fn append(known: &mut Vec<Lateness>, new: Lateness) {
    let end = known.last().map_or(Duration::ZERO, |last| last.to);
    if new.to > end {
        let from = new.from.max(end);
        known.push(Lateness { from, ..new });
    }
}
