//! What goes out to the agents: ports to listen on, and probes turn by turn.

use std::collections::{BTreeMap, BTreeSet};

use reachproof_model::observation::AgentName;
use reachproof_model::plan::ProbeId;
use reachproof_proto::v1;
use reachproof_proto::v1::coordinator_message::Body as Reply;
use tokio::time::Instant;
use tracing::warn;

use super::{ATTEMPTS_SPAN, Dispatch, FENCE_NUMBER, LISTEN_GENERATION};
use crate::registry::Registry;
use crate::wire::assignment::{listens, milliseconds, probe as wire_probe};

/// Most assignments that an agent is given again in one turn: few enough that its queue does not fill up.
const AGAIN_PER_TURN: usize = 4;

impl Dispatch<'_> {
    /// Hands out what agents and targets can take now; to be called once a [`super::TURN`], at most.
    pub fn turn(&mut self, now: Instant, registry: &mut Registry) {
        self.give_again(registry);
        let (probes, parts) = (&self.probes, &self.parts);
        let out = self.pace.turn(
            now,
            |probe| probes.get(probe).is_none_or(|probe| probe.finished()),
            |agent| {
                registry.is_attached(agent)
                    && parts.get(agent).is_some_and(|part| part.again.is_empty())
            },
        );
        let mut by_agent: BTreeMap<AgentName, Vec<ProbeId>> = BTreeMap::new();
        for id in out {
            if let Some(probe) = self.probes.get(id) {
                by_agent.entry(probe.agent.clone()).or_default().push(id);
            }
        }
        for (agent, probes) in by_agent {
            let Some(part) = self.parts.get_mut(&agent) else {
                continue;
            };
            let generation = part.generation + 1;
            part.generation = generation;
            part.given.insert(generation, probes);
            self.send_probes(&agent, generation, registry);
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
            let unanswered: BTreeSet<ProbeId> = given
                .into_iter()
                .flatten()
                .copied()
                .filter(|id| {
                    let probe = self.probes.get(*id);
                    probe.is_some_and(|probe| probe.attempts.is_empty())
                })
                .collect();
            self.pace.again(&unanswered);
            self.send_probes(&agent, generation, registry);
        }
    }

    /// Asks an agent that came back to listen, and lets what it did not finish be given to it again: the same
    /// generations, which it ignores if it has them.
    pub(super) fn give_all_again(&mut self, agent: &AgentName, registry: &mut Registry) {
        self.send_listen(agent, registry);
        let Some(part) = self.parts.get_mut(agent) else {
            return;
        };
        let is_open = |id: &ProbeId| {
            let probe = self.probes.get(*id);
            probe.is_some_and(|probe| !probe.finished())
        };
        let open = part.given.iter().filter(|(_, ids)| ids.iter().any(is_open));
        part.again = open.map(|(generation, _)| *generation).collect();
    }

    /// Forgets the attempts of probes that a process began and did not end, since its successor begins anew.
    pub(super) fn forget_unfinished(&mut self, agent: &AgentName) {
        warn!(agent = %agent, "agent restarted in the middle of a run");
        let mut lost = BTreeSet::new();
        if let Some(part) = self.parts.get_mut(agent) {
            part.restarts += 1;
            part.lost_before = 0;
            part.again.clear();
            lost.extend(std::mem::take(&mut part.given).into_values().flatten());
        }
        lost.retain(|id| {
            let probe = self.probes.get_mut(*id).filter(|probe| !probe.finished());
            probe.map(|probe| probe.attempts.clear()).is_some()
        });
        self.pace.lost(&lost);
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
            run: self.run.clone(),
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
            run: self.run.clone(),
            generation: LISTEN_GENERATION,
            listen: listens(&part.keys),
            probes: Vec::new(),
            expires_after_ms: milliseconds(self.silence() + self.slack),
        };
        registry.send(agent, Reply::Assignment(assignment));
    }

    /// Sends the unfinished probes of one assignment of `agent`. Nothing new is started once their attempts must be over.
    fn send_probes(&self, agent: &AgentName, generation: u32, registry: &mut Registry) {
        let given = self.parts.get(agent);
        let given = given.and_then(|part| part.given.get(&generation));
        let states = given
            .into_iter()
            .flatten()
            .filter_map(|id| self.probes.get(*id));
        let probes = states
            .filter(|probe| !probe.finished())
            .filter_map(|probe| {
                let flow = self.plan.flows.get(probe.flow)?;
                wire_probe(flow, &probe.planned, &probe.nonce)
            })
            .collect();
        let assignment = v1::Assignment {
            run: self.run.clone(),
            generation,
            listen: Vec::new(),
            probes,
            expires_after_ms: milliseconds(ATTEMPTS_SPAN + self.slack),
        };
        registry.send(agent, Reply::Assignment(assignment));
    }
}
