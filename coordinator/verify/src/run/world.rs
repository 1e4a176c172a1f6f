//! The readings of the world: one at the start, one after the settle time, one after the probes.

use std::sync::Arc;
use std::time::Duration;

use reachproof_model::describe::Described;
use reachproof_model::plan::ProbePlan;
use reachproof_model::prediction::Prediction;
use reachproof_model::snapshot::{Decoded, Snapshot};
use reachproof_model::stability::{Passing, Reading, Readings, Stability, stability};
use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::record::reading_record;
use crate::error::RunError;
use crate::inbox::Inbox;
use crate::progress::Progress;
use crate::report::ReadingRecord;
use crate::source::WorldSource;

/// One reading of the world.
pub(super) struct World {
    pub(super) described: Described,
    pub(super) decoded: Decoded,
    cost: ReadingRecord,
    passed: Vec<Passing>,
    ended: Instant,
}

impl World {
    /// Reads and decodes the snapshot, off the threads that serve agents.
    pub(super) async fn read(source: &Arc<dyn WorldSource>) -> Result<Self, RunError> {
        let source = Arc::clone(source);
        let read = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let reading = source.read()?;
            let ended = Instant::now();
            let cost = reading_record(&reading, ended.saturating_duration_since(began));
            let decoded = Snapshot::decode(&reading.described)?;
            Ok(Self {
                described: reading.described,
                decoded,
                cost,
                passed: reading.passed,
                ended,
            })
        });
        read.await.map_err(|_| RunError::Interrupted)?
    }

    /// The reading as the model takes it.
    fn reading(&self) -> Reading<'_> {
        Reading {
            described: &self.described,
            snapshot: &self.decoded.snapshot,
        }
    }
}

/// The readings before the probes.
pub(super) struct Worlds {
    /// What the predictions are made from.
    pub(super) before: World,
    /// The reading at the start, if the world has changed since.
    earlier: Option<World>,
    /// What the readings cost.
    costs: Vec<ReadingRecord>,
}

impl Worlds {
    /// Reads the world once more when the settle time after `first` is over; agents are heard meanwhile.
    ///
    /// Without a settle time `first` is all there is.
    ///
    /// # Errors
    /// [`RunError`] when the world cannot be read again, or somebody ends the run.
    pub(super) async fn settled(
        world: &Arc<dyn WorldSource>,
        first: World,
        settle: Duration,
        inbox: &mut Inbox<'_>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Self, RunError> {
        let mut costs = vec![first.cost];
        if settle.is_zero() {
            return Ok(Self {
                before: first,
                earlier: None,
                costs,
            });
        }
        let over = first.ended + settle;
        let wait = over.saturating_duration_since(Instant::now());
        if wait > Duration::ZERO {
            progress(Progress::Settling { wait });
        }
        let second = inbox.meanwhile(async {
            sleep_until(over).await;
            World::read(world).await
        });
        let second = second.await??;
        costs.push(second.cost);
        let is_changed = first.described != second.described;
        Ok(Self {
            before: second,
            earlier: is_changed.then_some(first),
            costs,
        })
    }

    /// Compares the readings before the probes with that after them; one that failed counts as none.
    pub(super) fn compare(
        &self,
        after: Option<&World>,
        plan: &ProbePlan,
        predictions: &[Prediction],
    ) -> Stability {
        let readings = Readings {
            earlier: self.earlier.as_ref().map(World::reading),
            before: self.before.reading(),
            after: after.map(World::reading),
            passed: &after.unwrap_or(&self.before).passed,
        };
        let stability = stability(&readings, plan, predictions);
        info!(state = ?stability.state, touched = stability.touched.len(), "readings compared");
        stability
    }

    /// What the readings cost that came about, in their order.
    pub(super) fn costs(&self, after: Option<&World>) -> Vec<ReadingRecord> {
        let after = after.map(|world| world.cost);
        self.costs.iter().copied().chain(after).collect()
    }
}
