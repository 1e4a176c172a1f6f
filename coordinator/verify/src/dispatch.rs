//! Hands the plan out to the agents and collects what they report, each attempt once.
//!
//! Listens first and probes second: no probe starts before the targets' ports are open or have failed to open.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reachproof_model::observation::{AgentName, AgentRecord, Observation, Presence, RunEvidence};
use reachproof_model::plan::{ATTEMPT_DEADLINE, ATTEMPT_INTERVAL, ATTEMPTS, ProbeId, ProbePlan};
use reachproof_proto::net::ProofKey;
use reachproof_proto::v1;
use reachproof_proto::v1::coordinator_message::Body as Reply;
use tracing::warn;

use probe::ProbeState;

use crate::random::{Random, RandomError};
use crate::registry::{Member, Registry};
use crate::wire::assignment::{listens, milliseconds, probe as wire_probe};

mod intake;
mod probe;

/// Most probes in one assignment (`control.proto`).
pub const PROBES_PER_ASSIGNMENT_MAX: usize = 10_000;

/// Generation of the assignment that asks for listening ports.
const LISTEN_GENERATION: u32 = 1;

/// Number of the one fence of a run.
const FENCE_NUMBER: u32 = 1;

/// What one agent does in the run.
struct Part {
    keys: BTreeMap<u16, ProofKey>,
    probes: BTreeSet<ProbeId>,
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
    probes: BTreeMap<ProbeId, ProbeState>,
    parts: BTreeMap<AgentName, Part>,
    probing: bool,
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
        let mut dispatch = Self {
            run,
            slack,
            plan,
            probes: BTreeMap::new(),
            parts: BTreeMap::new(),
            probing: false,
            fencing: false,
            finished: 0,
        };
        for (agent, ports) in &plan.listens {
            let part = dispatch.part(agent, registry);
            for port in ports {
                part.keys.insert(*port, drawn(random)?);
            }
        }
        for (index, flow) in plan.flows.iter().enumerate() {
            for planned in &flow.probes {
                let state = ProbeState {
                    agent: flow.source.clone(),
                    flow: index,
                    planned: planned.clone(),
                    nonce: drawn(random)?,
                    attempts: Vec::new(),
                };
                dispatch.probes.insert(planned.id, state);
                dispatch
                    .part(&flow.source, registry)
                    .probes
                    .insert(planned.id);
            }
        }
        Ok(dispatch)
    }

    /// Asks every agent to listen.
    pub fn listen(&self, registry: &mut Registry) {
        for (agent, part) in &self.parts {
            self.send_listen(agent, part, registry);
        }
    }

    /// Whether every agent that shall listen has said what it opened.
    pub fn listening(&self) -> bool {
        self.parts
            .values()
            .all(|part| part.listening || part.keys.is_empty())
    }

    /// Asks every agent to probe.
    pub fn probe(&mut self, registry: &mut Registry) {
        self.probing = true;
        for (agent, part) in &self.parts {
            self.send_probes(agent, part, registry);
        }
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

    /// Longest time that the probes take when every agent lives: all attempts silent, at each agent's own pace.
    pub fn silence(&self, registry: &Registry) -> Duration {
        let attempts = ATTEMPT_INTERVAL * (ATTEMPTS - 1) + ATTEMPT_DEADLINE;
        let pace = self.parts.iter().map(|(agent, part)| {
            let rate = registry.members().get(agent).map_or(1, rate);
            let probes = u32::try_from(part.probes.len()).unwrap_or(u32::MAX);
            Duration::from_secs(1) * (probes / rate.max(1)) * ATTEMPTS
        });
        attempts + pace.max().unwrap_or_default()
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
        let observations = self
            .probes
            .into_iter()
            .map(|(id, probe)| {
                let attempts = probe.attempts;
                (id, Observation { attempts })
            })
            .collect();
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
            observations,
            records,
        }
    }

    /// The part of `agent`, made at first use.
    fn part(&mut self, agent: &AgentName, registry: &Registry) -> &mut Part {
        self.parts.entry(agent.clone()).or_insert_with(|| {
            let member = registry.members().get(agent);
            Part {
                keys: BTreeMap::new(),
                probes: BTreeSet::new(),
                listening: false,
                fenced: false,
                lost_before: member.map_or(0, |member| member.results_lost + member.batches_lost),
                restarts: 0,
                record: AgentRecord::default(),
            }
        })
    }

    /// Sends everything again to an agent that came back: the same generations, which it ignores if it has them.
    fn send_again(&self, agent: &AgentName, registry: &mut Registry) {
        if let Some(part) = self.parts.get(agent) {
            self.send_listen(agent, part, registry);
            if self.probing {
                self.send_probes(agent, part, registry);
            }
            if self.fencing && !part.fenced {
                self.send_fence(agent, registry);
            }
        }
    }

    /// Asks one agent to say when it has reported everything.
    fn send_fence(&self, agent: &AgentName, registry: &mut Registry) {
        let fence = v1::Fence {
            run: self.run.clone(),
            number: FENCE_NUMBER,
        };
        registry.send(agent, Reply::Fence(fence));
    }

    /// Forgets the attempts of probes that a process began and did not end, since its successor begins anew.
    fn forget_unfinished(&mut self, agent: &AgentName) {
        warn!(agent = %agent, "agent restarted in the middle of a run");
        if let Some(part) = self.parts.get_mut(agent) {
            part.restarts += 1;
            part.lost_before = 0;
        }
        for probe in self.probes.values_mut() {
            if probe.agent == *agent && !probe.finished() {
                probe.attempts.clear();
            }
        }
    }

    /// Sends the assignment that asks for listening ports.
    fn send_listen(&self, agent: &AgentName, part: &Part, registry: &mut Registry) {
        if !part.keys.is_empty() {
            let assignment = v1::Assignment {
                run: self.run.clone(),
                generation: LISTEN_GENERATION,
                listen: listens(&part.keys),
                probes: Vec::new(),
                expires_after_ms: self.expires_after(registry),
            };
            registry.send(agent, Reply::Assignment(assignment));
        }
    }

    /// Sends the unfinished probes of `agent`, in assignments of at most [`PROBES_PER_ASSIGNMENT_MAX`].
    ///
    /// Which probe is in which generation depends on the plan alone, so that an agent may ignore what it has.
    fn send_probes(&self, agent: &AgentName, part: &Part, registry: &mut Registry) {
        let ids: Vec<ProbeId> = part.probes.iter().copied().collect();
        let expires_after_ms = self.expires_after(registry);
        for (generation, chunk) in
            (LISTEN_GENERATION + 1..).zip(ids.chunks(PROBES_PER_ASSIGNMENT_MAX))
        {
            let probes = chunk
                .iter()
                .filter_map(|id| self.probes.get(id))
                .filter(|probe| !probe.finished())
                .filter_map(|probe| {
                    wire_probe(
                        self.plan.flows.get(probe.flow)?,
                        &probe.planned,
                        &probe.nonce,
                    )
                })
                .collect();
            let assignment = v1::Assignment {
                run: self.run.clone(),
                generation,
                listen: Vec::new(),
                probes,
                expires_after_ms,
            };
            registry.send(agent, Reply::Assignment(assignment));
        }
    }

    /// Milliseconds after which an agent starts nothing new.
    fn expires_after(&self, registry: &Registry) -> u32 {
        milliseconds(self.silence(registry) + self.slack)
    }
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
