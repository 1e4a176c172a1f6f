//! What agents say while their parts are under way, each attempt once.

use std::net::SocketAddr;
use std::time::Duration;

use reachproof_model::observation::{AgentName, AgentRecord, Attempt, Implausible};
use reachproof_model::plan::{
    ATTEMPT_DEADLINE, PULSE_DEADLINE, PlannedFlow, ProbeId, Stage, Target,
};
use reachproof_proto::net::ProofKey;
use tokio::time::Instant;
use tracing::warn;

use super::probe::{Piece, Question, keep, least_duration};
use super::{Dispatch, FENCE_NUMBER};
use crate::registry::{News, Registry};
use crate::wire::observations::ReportedAttempt;
use crate::wire::signs::Drops;

/// How much sooner than its attempts can have taken a result may arrive: clocks that go at other rates, and event loops
/// that wait in whole milliseconds.
pub const TOO_SOON_TOLERANCE: Duration = Duration::from_millis(50);

impl Dispatch<'_> {
    /// Takes news of an agent that came `at` this time; what belongs to another run or another agent's probes is dropped.
    pub fn take(&mut self, news: News, at: Instant, registry: &mut Registry) {
        match news {
            News::Arrived(_) | News::Heard(_) => {}
            News::Beat { agent, from, beat } => self.beat(&agent, from, beat, at),
            News::Resumed(agent) => {
                self.give_all_again(&agent, registry);
                self.fence_again(&agent, registry);
            }
            News::Restarted(agent) => {
                self.forget_unfinished(&agent, at);
                self.send_listen(&agent, registry);
                self.fence_again(&agent, registry);
            }
            News::Attempts {
                agent,
                run,
                attempts,
            } => {
                if run == self.terms.run {
                    for attempt in attempts {
                        if !self.attempt(&agent, attempt, at) {
                            registry.drop_unasked();
                        }
                    }
                }
            }
            News::Accepts {
                agent,
                run,
                accepts,
                dropped,
            } => {
                if let Some(record) = self.record_of(&agent, &run) {
                    record.accepts.extend(accepts);
                    record.accepts_dropped += dropped;
                }
            }
            News::Fenced {
                agent,
                run,
                number,
                drops,
            } => self.take_fence(&agent, (&run, number), drops),
            News::Endpoint {
                agent,
                run,
                resolution,
            } => {
                if let Some(record) = self.record_of(&agent, &run) {
                    record.endpoint = Some(resolution);
                }
            }
            News::Listening {
                agent,
                run,
                failures,
            } => {
                self.listens(&agent, &run, failures);
            }
        }
    }

    /// An agent listens, but for these ports.
    fn listens(&mut self, agent: &AgentName, run: &str, refused: Vec<(u16, u32)>) {
        let Some(record) = self.record_of(agent, run) else {
            return;
        };
        record.ports_refused.extend(refused);
        if let Some(part) = self.parts.get_mut(agent) {
            part.listening = true;
        }
    }

    /// What is known of an agent that takes part, if it speaks of this run.
    fn record_of(&mut self, agent: &AgentName, run: &str) -> Option<&mut AgentRecord> {
        let is_ours = run == self.terms.run && self.parts.contains_key(agent);
        is_ours.then(|| self.evidence.records.entry(agent.clone()).or_default())
    }

    /// Takes what an agent says when it has reported everything.
    fn take_fence(&mut self, agent: &AgentName, (run, number): (&str, u32), drops: Drops) {
        if number != FENCE_NUMBER || !self.fencing {
            return;
        }
        if let Some(record) = self.record_of(agent, run) {
            record.accept_queue_drops = drops.accept_queues;
            record.listen_drops = drops.sockets;
            if let Some(part) = self.parts.get_mut(agent) {
                part.fenced = true;
            }
        }
    }

    /// Counts one attempt: of a planned probe or pulse, by the agent that was asked, once. Says whether it was asked for.
    fn attempt(&mut self, agent: &AgentName, reported: ReportedAttempt, at: Instant) -> bool {
        let (id, number) = (reported.probe, reported.attempt.number);
        let Some(asked) = self.asked(id, number).filter(|asked| asked.agent == agent) else {
            warn!(agent = %agent, "an attempt that nobody asked for was dropped");
            return false;
        };
        let earliest = asked.due + least_duration(&reported.attempt.outcome, asked.deadline);
        let identification = asked.question.check(reported.identity);
        let is_pulse = asked.is_pulse;
        let by = earliest.saturating_duration_since(at);
        if by > TOO_SOON_TOLERANCE {
            self.doubt(
                agent,
                Implausible::TooSoon {
                    probe: id,
                    number,
                    by,
                },
            );
        }
        let attempt = Attempt {
            identification,
            received: at.saturating_duration_since(self.terms.began),
            ..reported.attempt
        };
        if is_pulse {
            let place = self.pulses.place(id);
            let observation = place.and_then(|place| self.evidence.pulses.get_mut(place));
            observation
                .into_iter()
                .for_each(|observation| keep(&mut observation.attempts, attempt.clone()));
        } else {
            self.keep_attempt(id, attempt, at);
        }
        true
    }

    /// What was asked for by an attempt; absent if nothing was.
    fn asked(&self, id: ProbeId, number: u32) -> Option<Asked<'_>> {
        if let Some(pulse) = self.pulses.get(id) {
            return Some(Asked {
                agent: &pulse.planned.agent,
                due: pulse.due(number)?,
                deadline: PULSE_DEADLINE,
                question: Question {
                    kind: pulse.planned.kind,
                    nonce: &pulse.nonce,
                    key: self.key_at(pulse.planned.target),
                    judge: &self.terms.judge,
                },
                is_pulse: true,
            });
        }
        let probe = self.probes.get(id)?;
        let state = probe.stage_of(number)?;
        let before = number.checked_sub(state.stage.first_attempt())?;
        let flow = self.plan.flows.get(probe.flow)?;
        Some(Asked {
            agent: &probe.agent,
            due: state.handed_out? + state.stage.interval().saturating_mul(before),
            deadline: ATTEMPT_DEADLINE,
            question: Question {
                kind: probe.planned.kind,
                nonce: &probe.nonce,
                key: self.key_of(flow),
                judge: &self.terms.judge,
            },
            is_pulse: false,
        })
    }

    /// Keeps an attempt of a probe, and lets its second stage wait if it needs one.
    fn keep_attempt(&mut self, id: ProbeId, attempt: Attempt, at: Instant) {
        let Some(probe) = self.probes.get(id) else {
            return;
        };
        let Some(state) = probe.stage_of(attempt.number) else {
            return;
        };
        let Some(observation) = self.evidence.observations.get_mut(id.index()) else {
            return;
        };
        let before = probe.is_over(state.stage, &observation.attempts);
        keep(&mut observation.attempts, attempt);
        if !before && probe.is_over(state.stage, &observation.attempts) {
            self.finished += 1;
            let first = state.stage.first_attempt();
            self.pace.ended(Piece { id, first }, at);
        }
        let flow = self.plan.flows.get(probe.flow);
        let needs = flow.is_some_and(|flow| probe.needs_second(&flow.flow, &observation.attempts));
        if needs {
            self.add_stage(id, Stage::Second);
        }
    }

    /// Notes that an agent reported what cannot be; the first time says enough.
    fn doubt(&mut self, agent: &AgentName, doubt: Implausible) {
        let record = self.evidence.records.entry(agent.clone()).or_default();
        if record.implausible.is_none() {
            warn!(agent = %agent, ?doubt, "an agent reported what cannot be, nothing of it counts");
            record.implausible = Some(doubt);
        }
    }

    /// Key of the listener that a flow leads to.
    fn key_of(&self, flow: &PlannedFlow) -> Option<&ProofKey> {
        match &flow.target {
            Target::Agent(target) => {
                let port = flow.flow.protocol.port()?;
                self.parts.get(target)?.keys.get(&port)
            }
            Target::Kubelet(_) | Target::ControlPlane(_) | Target::Pod => None,
        }
    }

    /// Key of the listener at an address.
    fn key_at(&self, target: SocketAddr) -> Option<&ProofKey> {
        let holder = self.holders.get(&target.ip())?;
        self.parts.get(holder)?.keys.get(&target.port())
    }
}

/// What an attempt was asked for.
struct Asked<'a> {
    agent: &'a AgentName,
    /// When it could start at the earliest.
    due: Instant,
    /// How long it waits.
    deadline: Duration,
    question: Question<'a>,
    is_pulse: bool,
}
