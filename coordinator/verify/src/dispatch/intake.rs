//! What agents say while their parts are under way, each attempt once.

use reachproof_model::observation::{AgentName, Attempt};
use reachproof_model::plan::{ATTEMPTS, Target};
use tracing::warn;

use super::probe::identified;
use super::{Dispatch, FENCE_NUMBER};
use crate::registry::{News, Registry};
use crate::wire::observations::ReportedAttempt;

impl Dispatch<'_> {
    /// Takes news of an agent; what belongs to another run or another agent's probes is dropped.
    pub fn take(&mut self, news: News, registry: &mut Registry) {
        match news {
            News::Arrived(_) | News::Heard(_) => {}
            News::Resumed(agent) => {
                self.give_all_again(&agent, registry);
                self.fence_again(&agent, registry);
            }
            News::Restarted(agent) => {
                self.forget_unfinished(&agent);
                self.send_listen(&agent, registry);
                self.fence_again(&agent, registry);
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
            News::Fenced {
                agent,
                run,
                number,
                queue_drops,
            } => {
                let ours = run == self.run && number == FENCE_NUMBER && self.fencing;
                if let (true, Some(part)) = (ours, self.parts.get_mut(&agent)) {
                    part.fenced = true;
                    part.record.accept_queue_drops = queue_drops;
                }
            }
            News::Endpoint {
                agent,
                run,
                resolution,
            } => {
                if let (true, Some(part)) = (run == self.run, self.parts.get_mut(&agent)) {
                    part.record.endpoint = Some(resolution);
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

    /// Counts one attempt: of a planned probe, by the agent that was asked, once.
    fn attempt(&mut self, agent: &AgentName, reported: ReportedAttempt) {
        let Some(probe) = self.probes.get_mut(reported.probe) else {
            return warn!(agent = %agent, "attempt of an unknown probe dropped");
        };
        if probe.agent != *agent || reported.attempt.number >= ATTEMPTS {
            return warn!(agent = %agent, "attempt of a foreign probe dropped");
        }
        let flow = self.plan.flows.get(probe.flow);
        let parts = &self.parts;
        let key = flow.and_then(|flow| match &flow.target {
            Target::Agent(target) => {
                let port = flow.flow.protocol.port()?;
                parts.get(target)?.keys.get(&port)
            }
            Target::ControlPlane(_) | Target::Pod => None,
        });
        let identification = identified(probe, key, reported.identity);
        let before = probe.finished();
        probe.add(Attempt {
            identification,
            ..reported.attempt
        });
        if !before && probe.finished() {
            self.finished += 1;
        }
    }
}
