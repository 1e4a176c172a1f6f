//! Hands the plan out to the agents and collects what they report, each attempt once.
//!
//! Listens first, then lets pulses go, and probes last: no probe starts before the targets' ports are open or have failed
//! to open. Probes are handed out turn by turn, so that no target has more attempts a second than it may, over all agents
//! (security.md, "Limits of probing").

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use reachproof_model::observation::{AgentName, AgentRecord, Observation, Presence, RunEvidence};
use reachproof_model::plan::{
    ATTEMPT_DEADLINE, ATTEMPT_INTERVAL, ATTEMPTS, PlannedFlow, PlannedProbe, ProbeId, ProbeKind,
    ProbePlan, Spread, Stage,
};
use reachproof_proto::net::ProofKey;
use reachproof_proto::v1;
use reachproof_proto::v1::coordinator_message::Body as Reply;
use tokio::time::Instant;

use pace::{Load, Pace, Paced, Turn};
use ping::Pings;
use probe::{Piece, ProbeState, Probes, StageState};
use pulse::{CALLS_MAX, Pulses};

use crate::certificate::CertificateJudge;
use crate::clock::Clock;
use crate::random::{Random, RandomError, drawn};
use crate::registry::{Member, Registry};
use crate::wire::assignment::makes_all;

pub use intake::TOO_SOON_TOLERANCE;
pub use pace::{AGENT_ATTEMPTS_PER_SECOND_MAX, TARGET_ATTEMPTS_PER_SECOND, TURN};
pub use ping::PING_INTERVAL;
pub use session::{SESSION_WINDOW, SESSIONS_MAX};

mod hand_out;
mod intake;
mod pace;
mod ping;
mod probe;
mod pulse;
mod session;

/// Longest time that probing may take (security.md, "Limits of probing"): what was not tried by then is not observed.
pub const PROBING_MAX: Duration = Duration::from_secs(30 * 60);

/// From the start of a silent stage's first attempt to the end of its last. The second stage ends before the first.
pub const ATTEMPTS_SPAN: Duration = ATTEMPT_INTERVAL
    .saturating_mul(ATTEMPTS - 1)
    .saturating_add(ATTEMPT_DEADLINE);

/// Generation of the assignment that asks for listening ports.
const LISTEN_GENERATION: u32 = 1;

/// Number of the one fence of a run.
const FENCE_NUMBER: u32 = 1;

/// On what terms a run is done.
#[derive(Debug)]
pub struct Terms {
    /// Name of the run.
    pub run: String,
    /// When it began: zero of its clock.
    pub began: Instant,
    /// How much longer than its own attempts need probing may take, so that a cut stream can come back.
    pub slack: Duration,
    /// Judges what control-plane interfaces show.
    pub judge: CertificateJudge,
    /// Probes that are most likely silent, so that a TLS handshake is not to be expected of them. Decides when they are
    /// handed out, and nothing else.
    pub likely_silent: BTreeSet<ProbeId>,
}

/// What one agent does in the run.
struct Part {
    keys: BTreeMap<u16, ProofKey>,
    /// Number of its last assignment.
    generation: u32,
    /// What it was given, by assignment.
    given: BTreeMap<u32, Vec<Piece>>,
    /// Assignments that it is to be given again: its stream may have been cut before they came.
    again: BTreeSet<u32>,
    listening: bool,
    /// Whether it has said that everything is reported.
    fenced: bool,
    lost_before: u64,
    restarts: u64,
    pings: Pings,
}

/// A plan on its way.
pub struct Dispatch<'plan> {
    terms: Terms,
    plan: &'plan ProbePlan,
    probes: Probes,
    pulses: Pulses<'plan>,
    parts: BTreeMap<AgentName, Part>,
    /// Who has an address, as far as agents say.
    holders: BTreeMap<IpAddr, AgentName>,
    pace: Pace,
    silence: Duration,
    /// How long something else goes on beside the probes.
    beside: Duration,
    next_turn: Option<Instant>,
    fencing: bool,
    /// Stages that are to be made, and those that ended.
    total: usize,
    finished: usize,
    evidence: RunEvidence,
}

impl<'plan> Dispatch<'plan> {
    /// Draws keys and nonces for `plan`.
    ///
    /// # Errors
    /// [`RandomError`] when they cannot be drawn.
    pub fn new(
        terms: Terms,
        plan: &'plan ProbePlan,
        registry: &Registry,
        random: &dyn Random,
    ) -> Result<Self, RandomError> {
        let members = registry.members();
        let rates = members.iter().map(|(name, member)| (name, rate(member)));
        let rates: BTreeMap<_, _> = rates.map(|(name, rate)| (name.clone(), rate)).collect();
        let mut dispatch = Self {
            terms,
            plan,
            probes: Probes::default(),
            pulses: Pulses::default(),
            parts: BTreeMap::new(),
            holders: holders(registry),
            pace: Pace::new(rates.clone()),
            silence: Duration::ZERO,
            beside: Duration::ZERO,
            next_turn: None,
            fencing: false,
            total: 0,
            finished: 0,
            evidence: RunEvidence::default(),
        };
        dispatch.draw(random)?;
        dispatch.take_parts(registry, random)?;
        dispatch.silence = dispatch.longest(Pace::new(rates));
        Ok(dispatch)
    }

    /// Draws a nonce for each probe and each pulse.
    fn draw(&mut self, random: &dyn Random) -> Result<(), RandomError> {
        for (index, flow) in self.plan.flows.iter().enumerate() {
            let Some(agent) = flow.source.agent() else {
                continue;
            };
            for planned in &flow.probes {
                self.probes.push(ProbeState {
                    agent: agent.clone(),
                    flow: index,
                    planned: planned.clone(),
                    nonce: drawn(random)?,
                    stages: Vec::new(),
                });
            }
        }
        for planned in &self.plan.pulses {
            self.pulses.push(planned, drawn(random)?);
        }
        let nothing = Observation::default();
        self.evidence.observations = vec![nothing.clone(); self.probes.len()];
        self.evidence.pulses = vec![nothing; self.plan.pulses.len()];
        Ok(())
    }

    /// Gives every agent of the plan its part, and draws the keys of its ports.
    fn take_parts(&mut self, registry: &Registry, random: &dyn Random) -> Result<(), RandomError> {
        let plan = self.plan;
        let sources = plan.flows.iter().filter_map(|flow| flow.source.agent());
        let callers = plan.pulses.iter().map(|pulse| &pulse.agent);
        for agent in sources.chain(callers) {
            self.part(agent, registry);
        }
        for (agent, ports) in &plan.listens {
            let part = self.part(agent, registry);
            for port in ports {
                part.keys.insert(*port, drawn(random)?);
            }
        }
        Ok(())
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

    /// Lets the pulses wait for their turn.
    pub fn pulse(&mut self) {
        for pulse in &self.plan.pulses {
            self.pace.add(Paced {
                piece: Piece {
                    id: pulse.id,
                    first: 0,
                },
                agent: &pulse.agent,
                target: pulse.target.ip(),
                attempts: calls(self.longest_run(), pulse.interval),
                interval: pulse.interval,
                load: pulse_load(pulse.kind),
                turn: Turn::Beside,
            });
        }
    }

    /// Whether every caller and every target of a pulse was part of a call that has ended.
    pub fn pulsing(&self) -> bool {
        let attempts = |place: usize| {
            let observation = self.evidence.pulses.get(place);
            observation.map_or(0, |observation| observation.attempts.len())
        };
        self.pulses.have_begun(attempts)
    }

    /// Lets the first stage of every probe wait for its turn.
    ///
    /// Those go first that are few a second at their target: of them those that an answer ends, since silence takes longest.
    pub fn begin(&mut self) {
        let mut firsts: Vec<(u8, ProbeId)> = Vec::with_capacity(self.probes.len());
        for probe in self.probes.iter() {
            let order = match self.load(&probe.planned, Stage::First) {
                Load::Session => 0,
                Load::Sessions | Load::Pulse => 1,
                Load::Connections => 2,
            };
            firsts.push((order, probe.planned.id));
        }
        firsts.sort_by_key(|(order, _)| *order);
        for (_, id) in firsts {
            self.add_stage(id, Stage::First);
        }
    }

    /// Begins with every probe as if it had been handed out `at` this time: for results that were recorded before.
    pub fn begin_recorded(&mut self, at: Instant) {
        self.begin();
        for planned in self.plan.flows.iter().flat_map(|flow| &flow.probes) {
            let probe = self.probes.get_mut(planned.id);
            for state in probe.into_iter().flat_map(|probe| &mut probe.stages) {
                state.handed_out = Some(at);
            }
        }
    }

    /// Lets the last stage of these probes wait for its turn, with source ports that lie so.
    pub fn replace(&mut self, probes: &[(ProbeId, Spread)]) {
        for (id, spread) in probes {
            self.add_stage(*id, Stage::Replacement(*spread));
        }
    }

    /// Lets a stage of a probe wait for its turn.
    fn add_stage(&mut self, id: ProbeId, stage: Stage) {
        let Some(probe) = self.probes.get_mut(id) else {
            return;
        };
        probe.stages.push(StageState {
            stage,
            handed_out: None,
        });
        let flow = self.plan.flows.get(probe.flow);
        if let Some(paced) = flow.and_then(|flow| self.paced(flow, id, stage)) {
            self.total += 1;
            self.pace.add(paced);
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

    /// How many stages of probes ended.
    pub fn finished(&self) -> usize {
        self.finished
    }

    /// How many stages of probes are to be made, as far as that is known.
    pub fn total(&self) -> usize {
        self.total
    }

    /// How many probes there are.
    pub fn probes(&self) -> usize {
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

    /// Reckons with something that goes on beside the probes for so long: ports stay open and pulses go on.
    pub fn reckon_with(&mut self, beside: Duration) {
        self.beside = self.beside.max(beside);
    }

    /// The key that the listener of an agent has at a port.
    #[must_use]
    pub fn key(&self, agent: &AgentName, port: u16) -> Option<ProofKey> {
        self.parts.get(agent)?.keys.get(&port).copied()
    }

    /// Longest time that ports are open and pulses go on: with a last stage, and while cut streams come back.
    fn longest_run(&self) -> Duration {
        (self.silence.max(self.beside) + ATTEMPTS_SPAN + self.terms.slack).saturating_mul(2)
    }

    /// What [`Self::silence`] says, by a pace that has nothing to do yet.
    fn longest(&self, mut pace: Pace) -> Duration {
        for probe in self.probes.iter() {
            let Some(flow) = self.plan.flows.get(probe.flow) else {
                continue;
            };
            let second = Some(Stage::Second).filter(|_| probe.may_be_staged(&flow.flow));
            for stage in [Stage::First].into_iter().chain(second) {
                if let Some(paced) = self.paced(flow, probe.planned.id, stage) {
                    pace.add(paced);
                }
            }
        }
        (ATTEMPTS_SPAN + pace.longest()).min(PROBING_MAX)
    }

    /// What a stage of a probe needs to be paced; absent for a probe that is not of this flow.
    fn paced<'flow>(
        &self,
        flow: &'flow PlannedFlow,
        id: ProbeId,
        stage: Stage,
    ) -> Option<Paced<'flow>> {
        let planned = flow.probes.iter().find(|planned| planned.id == id)?;
        Some(Paced {
            piece: Piece {
                id,
                first: stage.first_attempt(),
            },
            agent: flow.source.agent()?,
            target: flow.flow.destination,
            attempts: ATTEMPTS,
            interval: stage.interval(),
            load: self.load(planned, stage),
            turn: Turn::Paced,
        })
    }

    /// What a stage is to its target.
    fn load(&self, planned: &PlannedProbe, stage: Stage) -> Load {
        let is_likely_silent = self.terms.likely_silent.contains(&planned.id);
        match planned.kind {
            ProbeKind::Certify if makes_all(planned, stage) && !is_likely_silent => Load::Sessions,
            ProbeKind::Certify => Load::Session,
            ProbeKind::Connect
            | ProbeKind::Identify
            | ProbeKind::Resolve
            | ProbeKind::Kubelet
            | ProbeKind::KubeletLog => Load::Connections,
        }
    }

    /// Ends the run at every agent.
    pub fn cancel(&self, registry: &mut Registry) {
        for agent in self.parts.keys() {
            let run = self.terms.run.clone();
            registry.send(agent, Reply::Cancel(v1::Cancel { run }));
        }
    }

    /// What was seen so far.
    pub fn so_far(&mut self, registry: &Registry) -> &RunEvidence {
        for (agent, part) in &self.parts {
            let record = self.evidence.records.entry(agent.clone()).or_default();
            part.sum_up(registry.members().get(agent), record);
        }
        &self.evidence
    }

    /// What was seen. Who has not said that everything is reported counts as lost.
    pub fn evidence(mut self, registry: &Registry) -> RunEvidence {
        self.so_far(registry);
        self.evidence
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
                pings: Pings::default(),
            }
        })
    }
}

impl Part {
    /// Writes down what is known of the agent as a whole.
    ///
    /// The clock of a process that began anew says nothing about what its predecessor reported, so it counts as unknown.
    fn sum_up(&self, member: Option<&Member>, record: &mut AgentRecord) {
        let lost = member.map_or(0, |member| member.results_lost + member.batches_lost);
        record.presence = if self.fenced {
            Presence::HeardToTheEnd
        } else {
            Presence::Lost
        };
        record.stream_address = member.and_then(|member| member.remote);
        record.results_lost = lost.saturating_sub(self.lost_before) + self.restarts;
        let clock = Some(self.pings.clock()).filter(|_| self.restarts == 0);
        record.clock = clock.and_then(Clock::offset);
    }
}

/// What a pulse is to its target.
fn pulse_load(kind: ProbeKind) -> Load {
    match kind {
        ProbeKind::Certify => Load::Pulse,
        ProbeKind::Connect
        | ProbeKind::Identify
        | ProbeKind::Resolve
        | ProbeKind::Kubelet
        | ProbeKind::KubeletLog => Load::Connections,
    }
}

/// How many calls of a pulse fill so much time.
fn calls(time: Duration, interval: Duration) -> u32 {
    let whole = time.as_millis() / interval.as_millis().max(1) + 1;
    u32::try_from(whole).unwrap_or(u32::MAX).min(CALLS_MAX)
}

/// Who has an address, as far as agents say.
fn holders(registry: &Registry) -> BTreeMap<IpAddr, AgentName> {
    let members = registry.members().values().map(Member::roster_agent);
    members
        .flat_map(|agent| {
            let name = agent.name;
            let addresses = agent.addresses.into_iter();
            addresses.map(move |address| (address, name.clone()))
        })
        .collect()
}

/// Attempts that an agent starts per second at most.
fn rate(member: &Member) -> u32 {
    member.greeting.attempts_per_second_max
}
