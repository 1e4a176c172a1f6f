//! What goes out to the agents: ports to listen on, and pulses and probes turn by turn.

use std::collections::{BTreeMap, BTreeSet};

use reachproof_model::observation::{AgentName, Attempt};
use reachproof_model::plan::ProbeId;
use reachproof_proto::v1;
use reachproof_proto::v1::coordinator_message::Body as Reply;
use tokio::time::Instant;
use tracing::warn;

use super::pace::{Load, Paced, Turn};
use super::probe::{Piece, holds};
use super::pulse::SINGLE_CALLS_FIRST;
use super::{ATTEMPTS_SPAN, Dispatch, FENCE_NUMBER, LISTEN_GENERATION, TURN, calls};
use crate::registry::Registry;
use crate::wire::assignment::{listens, milliseconds, probe as wire_probe};

/// Most assignments that an agent is given again in one turn: few enough that its queue does not fill up.
const AGAIN_PER_TURN: usize = 4;

impl Dispatch<'_> {
    /// Does what is due: a turn, pings.
    pub fn tick(&mut self, now: Instant, registry: &mut Registry) {
        if self.next_turn.is_none_or(|next| now >= next) {
            self.turn(now, registry);
            self.next_turn = Some(now + TURN);
        }
        self.ping(now, registry);
    }

    /// Hands out what agents and targets can take now; to be called once a [`TURN`], at most.
    pub fn turn(&mut self, now: Instant, registry: &mut Registry) {
        self.give_again(registry);
        let mut pace = std::mem::take(&mut self.pace);
        let parts = &self.parts;
        let out = pace.turn(
            now,
            |piece| self.is_over(piece),
            |agent| {
                registry.is_attached(agent)
                    && parts.get(agent).is_some_and(|part| part.again.is_empty())
            },
        );
        self.pace = pace;
        let mut by_agent: BTreeMap<AgentName, Vec<Piece>> = BTreeMap::new();
        for piece in out {
            if let Some(agent) = self.hand_out(piece, now) {
                by_agent.entry(agent).or_default().push(piece);
            }
        }
        for (agent, pieces) in by_agent {
            let Some(part) = self.parts.get_mut(&agent) else {
                continue;
            };
            let generation = part.generation + 1;
            part.generation = generation;
            part.given.insert(generation, pieces);
            self.send_pieces(&agent, generation, registry);
        }
    }

    /// Notes when a piece is handed out, and says whose it is.
    fn hand_out(&mut self, piece: Piece, now: Instant) -> Option<AgentName> {
        if let Some(pulse) = self.pulses.get_mut(piece.id) {
            pulse.hand_out(piece, now);
            return Some(pulse.planned.agent.clone());
        }
        let probe = self.probes.get_mut(piece.id)?;
        let stage = probe.stage_mut(piece.first)?;
        stage.handed_out.get_or_insert(now);
        Some(probe.agent.clone())
    }

    /// Asks for one call more of each pulse, and for a sign of life of each agent, now that everything else has ended.
    pub fn ask_once_more(&mut self, now: Instant, registry: &mut Registry) {
        for (piece, agent) in self.pulses.ask_once_more() {
            let Some(pulse) = self.pulses.get(piece.id) else {
                continue;
            };
            self.pace.add(Paced {
                piece,
                agent: &agent,
                target: pulse.planned.target.ip(),
                attempts: 1,
                interval: pulse.planned.interval,
                load: match super::pulse_load(pulse.planned.kind) {
                    Load::Pulse => Load::Session,
                    other @ (Load::Connections | Load::Session | Load::Sessions) => other,
                },
                turn: Turn::Beside,
            });
        }
        self.ping_all(now, registry);
    }

    /// Whether all that has come, of agents that are there.
    pub fn heard_once_more(&self, registry: &Registry) -> bool {
        let are_heard = self
            .parts
            .iter()
            .all(|(agent, part)| part.pings.is_heard_again() || !registry.is_attached(agent));
        let pulses = self.pulses.iter().enumerate();
        let is_called = |place: usize, single: u32| {
            let observation = self.evidence.pulses.get(place);
            let attempts = observation.map_or(&[][..], |observation| &observation.attempts);
            attempts.iter().any(|attempt| attempt.number == single)
        };
        let are_called = pulses
            .filter(|(_, pulse)| registry.is_attached(&pulse.planned.agent))
            .all(|(place, pulse)| {
                let single = pulse.last_single();
                single.is_none_or(|single| is_called(place, single))
            });
        are_heard && are_called
    }

    /// Whether nothing more is to come of a piece.
    pub(super) fn is_over(&self, piece: Piece) -> bool {
        if let Some(place) = self.pulses.place(piece.id) {
            let attempts = self.evidence.pulses.get(place);
            let attempts = attempts.map_or(&[][..], |observation| &observation.attempts);
            return piece.first >= SINGLE_CALLS_FIRST
                && attempts.iter().any(|attempt| attempt.number == piece.first);
        }
        let Some(probe) = self.probes.get(piece.id) else {
            return true;
        };
        let stage = probe.stage_of(piece.first);
        stage.is_none_or(|state| probe.is_over(state.stage, self.attempts(piece.id)))
    }

    /// What was reported of a probe.
    pub(super) fn attempts(&self, id: ProbeId) -> &[Attempt] {
        self.evidence.attempts(id)
    }

    /// Whether nothing was reported of a piece.
    fn is_unanswered(&self, piece: Piece) -> bool {
        match self.pulses.place(piece.id) {
            // The time that it goes on is paid for when it comes.
            Some(_) => false,
            None => {
                let mut attempts = self.attempts(piece.id).iter();
                !attempts.any(|attempt| attempt.number >= piece.first)
            }
        }
    }

    /// Gives agents that came back the next assignments that they may have missed, oldest first.
    fn give_again(&mut self, registry: &mut Registry) {
        let mut due: Vec<(AgentName, u32)> = Vec::new();
        for (agent, part) in &mut self.parts {
            for _ in 0..AGAIN_PER_TURN {
                let generation = part.again.pop_first();
                due.extend(generation.map(|generation| (agent.clone(), generation)));
            }
        }
        for (agent, generation) in due {
            let given = self.parts.get(&agent);
            let given = given.and_then(|part| part.given.get(&generation));
            let unanswered: BTreeSet<Piece> = given
                .into_iter()
                .flatten()
                .copied()
                .filter(|piece| self.is_unanswered(*piece))
                .collect();
            self.pace.again(&unanswered);
            self.send_pieces(&agent, generation, registry);
        }
    }

    /// Asks an agent that came back to listen, and lets what it did not finish be given to it again: the same
    /// generations, which it ignores if it has them.
    pub(super) fn give_all_again(&mut self, agent: &AgentName, registry: &mut Registry) {
        self.send_listen(agent, registry);
        let given = self.parts.get(agent).map(|part| &part.given);
        let open = given.into_iter().flatten().filter(|(_, pieces)| {
            let mut pieces = pieces.iter();
            pieces.any(|piece| !self.is_over(*piece))
        });
        let again = open.map(|(generation, _)| *generation).collect();
        if let Some(part) = self.parts.get_mut(agent) {
            part.again = again;
            part.pings.cut();
        }
    }

    /// Forgets the attempts of stages that a process began and did not end, since its successor begins anew.
    pub(super) fn forget_unfinished(&mut self, agent: &AgentName, now: Instant) {
        warn!(agent = %agent, "agent restarted in the middle of a run");
        let mut lost = BTreeSet::new();
        if let Some(part) = self.parts.get_mut(agent) {
            part.restarts += 1;
            part.lost_before = 0;
            part.again.clear();
            part.pings.restart();
            lost.extend(std::mem::take(&mut part.given).into_values().flatten());
        }
        if let Some(record) = self.evidence.records.get_mut(agent) {
            record.lateness.clear();
        }
        lost.retain(|piece| !self.is_over(*piece));
        for piece in &lost {
            self.forget(*piece);
        }
        self.pace.lost(&lost, now);
    }

    /// Forgets what was reported of a piece that begins anew.
    fn forget(&mut self, piece: Piece) {
        if let Some(place) = self.pulses.place(piece.id) {
            let observation = self.evidence.pulses.get(place);
            let attempts = observation.map_or(&[][..], |observation| &observation.attempts);
            if let Some(pulse) = self.pulses.get_mut(piece.id) {
                pulse.forget(attempts);
            }
            return;
        }
        let state = self.probes.get_mut(piece.id);
        let state = state.and_then(|probe| probe.stage_mut(piece.first));
        let observation = self.evidence.observations.get_mut(piece.id.index());
        if let (Some(state), Some(observation)) = (state, observation) {
            state.handed_out = None;
            let stage = state.stage;
            observation
                .attempts
                .retain(|attempt| !holds(stage, attempt.number));
        }
    }

    /// Asks an agent that came back to say when it has reported everything, if it was asked and has not.
    pub(super) fn fence_again(&self, agent: &AgentName, registry: &mut Registry) {
        let open = self.parts.get(agent).is_some_and(|part| !part.fenced);
        if self.fencing && open {
            self.send_fence(agent, registry);
        }
    }

    /// Asks one agent to say when it has reported everything.
    pub(super) fn send_fence(&self, agent: &AgentName, registry: &mut Registry) {
        let fence = v1::Fence {
            run: self.terms.run.clone(),
            number: FENCE_NUMBER,
        };
        registry.send(agent, Reply::Fence(fence));
    }

    /// Sends the assignment that asks for listening ports.
    pub(super) fn send_listen(&self, agent: &AgentName, registry: &mut Registry) {
        let Some(part) = self.parts.get(agent).filter(|part| !part.keys.is_empty()) else {
            return;
        };
        let assignment = v1::Assignment {
            run: self.terms.run.clone(),
            generation: LISTEN_GENERATION,
            listen: listens(&part.keys),
            probes: Vec::new(),
            expires_after_ms: milliseconds(self.longest_run()),
        };
        registry.send(agent, Reply::Assignment(assignment));
    }

    /// Sends what is not over of one assignment of `agent`. Nothing new is started once its attempts must be over.
    fn send_pieces(&self, agent: &AgentName, generation: u32, registry: &mut Registry) {
        let given = self.parts.get(agent);
        let given = given.and_then(|part| part.given.get(&generation));
        let open: Vec<Piece> = given
            .into_iter()
            .flatten()
            .copied()
            .filter(|piece| !self.is_over(*piece))
            .collect();
        let has_pulse = open.iter().any(|piece| self.pulses.get(piece.id).is_some());
        let attempts = if has_pulse {
            self.longest_run()
        } else {
            ATTEMPTS_SPAN + self.terms.slack
        };
        let assignment = v1::Assignment {
            run: self.terms.run.clone(),
            generation,
            listen: Vec::new(),
            probes: open
                .into_iter()
                .filter_map(|piece| self.to_wire(piece))
                .collect(),
            expires_after_ms: milliseconds(attempts),
        };
        registry.send(agent, Reply::Assignment(assignment));
    }

    /// Writes a piece.
    fn to_wire(&self, piece: Piece) -> Option<v1::Probe> {
        if let Some(pulse) = self.pulses.get(piece.id) {
            let calls = calls(self.longest_run(), pulse.planned.interval);
            return pulse.to_wire(piece, calls);
        }
        let probe = self.probes.get(piece.id)?;
        let flow = self.plan.flows.get(probe.flow)?;
        let state = probe.stage_of(piece.first)?;
        wire_probe(flow, &probe.planned, state.stage, &probe.nonce)
    }
}
