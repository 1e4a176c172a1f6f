//! Waiting for the agents that are expected, and until the world has settled.

use reachproof_model::observation::AgentName;
use reachproof_model::plan::Roster;
use reachproof_model::snapshot::Snapshot;
use tokio::time::{Instant, timeout_at};

use super::world::{World, Worlds};
use super::{Run, dialled_in};
use crate::error::RunError;
use crate::inventory::{expected_count, is_complete, missing};
use crate::progress::Progress;
use crate::registry::News;

impl Run<'_> {
    /// Waits for the agents that are expected, at most as long as the order says; one must have come.
    pub(super) async fn gather(&mut self, snapshot: &Snapshot) -> Result<(), RunError> {
        let (fleet, order) = (self.fleet, self.order);
        (self.progress)(Progress::Gathering {
            expected: expected_count(&order.expected, snapshot),
            wait: order.wait,
        });
        let deadline = Instant::now() + order.wait;
        while !is_complete(&order.expected, snapshot, &dialled_in(fleet)) {
            let Ok(arrived) = timeout_at(deadline, self.arrival()).await else {
                break;
            };
            (self.progress)(Progress::AgentArrived {
                name: arrived?.to_string(),
                present: fleet.registry().members().len(),
            });
        }
        let roster = Roster::new(dialled_in(fleet));
        if roster.is_empty() {
            return Err(RunError::NoAgents {
                wait_s: order.wait.as_secs(),
                address: fleet.address(),
                missing: missing(&order.expected, snapshot, &roster, fleet.address()),
            });
        }
        Ok(())
    }

    /// Waits until the world has settled.
    pub(super) async fn settle(&mut self, first: World) -> Result<Worlds, RunError> {
        let (world, settle) = (self.world, self.order.settle);
        Worlds::settled(world, first, settle, &mut self.inbox, self.progress).await
    }

    /// Waits for an agent that was not here before.
    async fn arrival(&mut self) -> Result<AgentName, RunError> {
        loop {
            let letter = self.inbox.next().await?;
            if let News::Arrived(name) = letter.news {
                return Ok(name);
            }
        }
    }
}
