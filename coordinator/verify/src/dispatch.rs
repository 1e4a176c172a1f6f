//! Hands the plan out to the agents and collects what they report, each attempt once.
//!
//! Listens first and probes second: no probe starts before the targets' ports are open or have failed to open. Probes are
//! handed out turn by turn, so that no target has more attempts a second than it may, over all agents (SECURITY D.3).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reachproof_model::observation::{AgentName, AgentRecord, Presence, RunEvidence};
use reachproof_model::plan::{ATTEMPT_DEADLINE, ATTEMPT_INTERVAL, ATTEMPTS, ProbeId, ProbePlan};
use reachproof_proto::net::ProofKey;
use reachproof_proto::v1;
use reachproof_proto::v1::coordinator_message::Body as Reply;

use pace::{Pace, Paced};
use probe::{ProbeState, Probes};

use crate::random::{Random, RandomError};
use crate::registry::{Member, Registry};

pub use pace::{AGENT_ATTEMPTS_PER_SECOND_MAX, TARGET_ATTEMPTS_PER_SECOND, TURN};

mod hand_out;
mod intake;
mod pace;
mod probe;

/// Longest time that probing may take (SECURITY D.3): what was not tried by then is not observed.
pub const PROBING_MAX: Duration = Duration::from_secs(30 * 60);

/// From the start of a silent probe's first attempt to the end of its last.
const ATTEMPTS_SPAN: Duration = ATTEMPT_INTERVAL
    .saturating_mul(ATTEMPTS - 1)
    .saturating_add(ATTEMPT_DEADLINE);

/// Generation of the assignment that asks for listening ports.
const LISTEN_GENERATION: u32 = 1;

/// Number of the one fence of a run.
const FENCE_NUMBER: u32 = 1;

/// What one agent does in the run.
struct Part {
    keys: BTreeMap<u16, ProofKey>,
    /// Number of its last assignment.
    generation: u32,
    /// Probes that it was given, by assignment.
    given: BTreeMap<u32, Vec<ProbeId>>,
    /// Assignments that it is to be given again: its stream may have been cut before they came.
    again: BTreeSet<u32>,
    listening: bool,
    /// Whether it has said that everything is reported.
    fenced: bool,
    lost_before: u64,
    restarts: u64,
    record: AgentRecord,
}

/// A plan on its way.
pub struct Dispatch<'plan> {
    run: String,
    slack: Duration,
    plan: &'plan ProbePlan,
    probes: Probes,
    parts: BTreeMap<AgentName, Part>,
    pace: Pace,
    silence: Duration,
    fencing: bool,
    finished: usize,
}

impl<'plan> Dispatch<'plan> {
    /// Draws keys and nonces for `plan`. Probing may take `slack` longer than its own attempts need, so that a cut stream
    /// can come back.
    ///
    /// # Errors
    /// [`RandomError`] when they cannot be drawn.
    pub fn new(
        run: String,
        slack: Duration,
        plan: &'plan ProbePlan,
        registry: &Registry,
        random: &dyn Random,
    ) -> Result<Self, RandomError> {
        let mut probes = Probes::default();
        for (index, flow) in plan.flows.iter().enumerate() {
            for planned in &flow.probes {
                probes.push(ProbeState {
                    agent: flow.source.clone(),
                    flow: index,
                    planned: planned.clone(),
                    nonce: drawn(random)?,
                    attempts: Vec::new(),
                });
            }
        }
        let pace = Pace::new(paced(plan), |agent| {
            registry.members().get(agent).map_or(1, rate)
        });
        let mut dispatch = Self {
            run,
            slack,
            plan,
            probes,
            parts: BTreeMap::new(),
            silence: (ATTEMPTS_SPAN + pace.longest()).min(PROBING_MAX),
            pace,
            fencing: false,
            finished: 0,
        };
        for flow in &plan.flows {
            dispatch.part(&flow.source, registry);
        }
        for (agent, ports) in &plan.listens {
            let part = dispatch.part(agent, registry);
            for port in ports {
                part.keys.insert(*port, drawn(random)?);
            }
        }
        Ok(dispatch)
    }

    /// Asks every agent to listen.
    pub fn listen(&self, registry: &mut Registry) {
        for agent in self.parts.keys() {
            self.send_listen(agent, registry);
        }
    }

    /// Whether every agent that shall listen has said what it opened.
    pub fn listening(&self) -> bool {
        self.parts
            .values()
            .all(|part| part.listening || part.keys.is_empty())
    }

    /// Asks every agent to say when it has reported everything up to now: connections that it accepted, and attempts.
    pub fn fence(&mut self, registry: &mut Registry) {
        self.fencing = true;
        for agent in self.parts.keys() {
            self.send_fence(agent, registry);
        }
    }

    /// Whether every agent has said so.
    pub fn fenced(&self) -> bool {
        self.parts.values().all(|part| part.fenced)
    }

    /// How many probes ended.
    pub fn finished(&self) -> usize {
        self.finished
    }

    /// How many probes there are.
    pub fn total(&self) -> usize {
        self.probes.len()
    }

    /// How many flows there are.
    pub fn flows(&self) -> usize {
        self.plan.flows.len()
    }

    /// Longest time that the probes take when every agent lives: all attempts silent, at the pace of agents and targets,
    /// and never more than [`PROBING_MAX`].
    pub fn silence(&self) -> Duration {
        self.silence
    }

    /// Ends the run at every agent.
    pub fn cancel(&self, registry: &mut Registry) {
        for agent in self.parts.keys() {
            let run = self.run.clone();
            registry.send(agent, Reply::Cancel(v1::Cancel { run }));
        }
    }

    /// What was seen. Who has not said that everything is reported counts as lost.
    pub fn evidence(self, registry: &Registry) -> RunEvidence {
        let records = self
            .parts
            .into_iter()
            .map(|(agent, part)| {
                let member = registry.members().get(&agent);
                let lost = member.map_or(0, |member| member.results_lost + member.batches_lost);
                let record = AgentRecord {
                    presence: if part.fenced {
                        Presence::HeardToTheEnd
                    } else {
                        Presence::Lost
                    },
                    stream_address: member.and_then(|member| member.remote),
                    results_lost: lost.saturating_sub(part.lost_before) + part.restarts,
                    ..part.record
                };
                (agent, record)
            })
            .collect();
        RunEvidence {
            pulses: Vec::new(),
            observations: self.probes.into_observations(),
            records,
        }
    }

    /// The part of `agent`, made at first use.
    fn part(&mut self, agent: &AgentName, registry: &Registry) -> &mut Part {
        self.parts.entry(agent.clone()).or_insert_with(|| {
            let member = registry.members().get(agent);
            Part {
                keys: BTreeMap::new(),
                generation: LISTEN_GENERATION,
                given: BTreeMap::new(),
                again: BTreeSet::new(),
                listening: false,
                fenced: false,
                lost_before: member.map_or(0, |member| member.results_lost + member.batches_lost),
                restarts: 0,
                record: AgentRecord::default(),
            }
        })
    }
}

/// The probes of a plan with their agents and targets.
fn paced(plan: &ProbePlan) -> impl Iterator<Item = Paced<'_>> {
    plan.flows.iter().flat_map(|flow| {
        flow.probes.iter().map(|planned| Paced {
            probe: planned.id,
            agent: &flow.source,
            target: flow.flow.destination,
        })
    })
}

/// Attempts that an agent starts per second at most.
fn rate(member: &Member) -> u32 {
    member.greeting.attempts_per_second_max
}

/// Draws bytes.
fn drawn<const N: usize>(random: &dyn Random) -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    random.fill(&mut bytes)?;
    Ok(bytes)
}
