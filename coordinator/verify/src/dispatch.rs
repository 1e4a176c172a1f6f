//! Hands the plan out to the agents and collects what they report, each attempt once.
//!
//! Listens first and probes second: no probe starts before the targets' ports are open or have failed to open. Probes are
//! handed out turn by turn, so that no target has more attempts a second than it may, over all agents (SECURITY D.3).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reachproof_model::observation::{AgentName, AgentRecord, Observation, Presence, RunEvidence};
use reachproof_model::plan::{
    ATTEMPT_DEADLINE, ATTEMPT_INTERVAL, ATTEMPTS, ProbeId, ProbePlan, Target,
};
use reachproof_proto::net::ProofKey;
use reachproof_proto::v1;
use reachproof_proto::v1::coordinator_message::Body as Reply;
use tracing::warn;

use pace::{Pace, Paced};
use probe::{ProbeState, identified};

use crate::random::{Random, RandomError};
use crate::registry::{Member, News, Registry};
use crate::wire::observations::ReportedAttempt;

pub use pace::{AGENT_ATTEMPTS_PER_SECOND_MAX, TARGET_ATTEMPTS_PER_SECOND, TURN};

mod hand_out;
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
    pace: Pace,
    silence: Duration,
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
        let mut probes = BTreeMap::new();
        for (index, flow) in plan.flows.iter().enumerate() {
            for planned in &flow.probes {
                let state = ProbeState {
                    agent: flow.source.clone(),
                    flow: index,
                    planned: planned.clone(),
                    nonce: drawn(random)?,
                    attempts: BTreeMap::new(),
                };
                probes.insert(planned.id, state);
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

    /// Takes news of an agent; what belongs to another run or another agent's probes is dropped.
    pub fn take(&mut self, news: News, registry: &mut Registry) {
        match news {
            News::Arrived(_) | News::Heard(_) => {}
            News::Resumed(agent) => self.give_all_again(&agent, registry),
            News::Restarted(agent) => {
                self.forget_unfinished(&agent);
                self.send_listen(&agent, registry);
            }
            News::Attempts {
                agent,
                run,
                attempts,
            } => {
                if run == self.run {
                    for attempt in attempts {
                        self.attempt(&agent, attempt);
                    }
                }
            }
            News::Accepts {
                agent,
                run,
                accepts,
                dropped,
            } => {
                if let (true, Some(part)) = (run == self.run, self.parts.get_mut(&agent)) {
                    part.record.accepts.extend(accepts);
                    part.record.accepts_dropped += dropped;
                }
            }
            News::Listening {
                agent,
                run,
                failures,
            } => {
                if let (true, Some(part)) = (run == self.run, self.parts.get_mut(&agent)) {
                    part.listening = true;
                    part.record.ports_refused.extend(failures);
                }
            }
        }
    }

    /// Ends the run at every agent.
    pub fn cancel(&self, registry: &mut Registry) {
        for agent in self.parts.keys() {
            let run = self.run.clone();
            registry.send(agent, Reply::Cancel(v1::Cancel { run }));
        }
    }

    /// What was seen. `presence` tells for each agent whether it was heard to the end.
    pub fn evidence(
        self,
        registry: &Registry,
        presence: impl Fn(Option<&Member>) -> Presence,
    ) -> RunEvidence {
        let observations = self
            .probes
            .into_iter()
            .map(|(id, probe)| {
                let attempts = probe.attempts.into_values().collect();
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
                    presence: presence(member),
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
                generation: LISTEN_GENERATION,
                given: BTreeMap::new(),
                again: BTreeSet::new(),
                listening: false,
                lost_before: member.map_or(0, |member| member.results_lost + member.batches_lost),
                restarts: 0,
                record: AgentRecord::default(),
            }
        })
    }

    /// Counts one attempt: of a planned probe, by the agent that was asked, once.
    fn attempt(&mut self, agent: &AgentName, reported: ReportedAttempt) {
        let keys = |target: &AgentName, port: u16| {
            self.parts
                .get(target)
                .and_then(|part| part.keys.get(&port))
                .copied()
        };
        let Some(probe) = self.probes.get(&reported.probe) else {
            return warn!(agent = %agent, "attempt of an unknown probe dropped");
        };
        let number = reported.attempt.number;
        if probe.agent != *agent || number >= ATTEMPTS {
            return warn!(agent = %agent, "attempt of a foreign probe dropped");
        }
        let flow = self.plan.flows.get(probe.flow);
        let key = flow.and_then(|flow| match &flow.target {
            Target::Agent(target) => keys(target, flow.flow.protocol.port()?),
            Target::ControlPlane(_) | Target::Pod => None,
        });
        let mut attempt = reported.attempt;
        attempt.identification = identified(probe, key.as_ref(), reported.identity);
        if let Some(probe) = self.probes.get_mut(&reported.probe) {
            let before = probe.finished();
            probe.attempts.entry(number).or_insert(attempt);
            if !before && probe.finished() {
                self.finished += 1;
            }
        }
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
