//! Whether the world stood still while the probes ran (H.3).

use std::collections::BTreeSet;

use serde::Serialize;

use crate::describe::Described;
use crate::plan::ProbePlan;
use crate::predict::predict;
use crate::prediction::Prediction;
use crate::snapshot::Snapshot;

/// Life cycle word of a cluster that nothing is being done to.
const CLUSTER_ACTIVE: &str = "ACTIVE";

/// What happened between the two readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StabilityState {
    /// Both readings say the same.
    Stable,
    /// They differ.
    Changed,
    /// The cluster was not `ACTIVE` at one of them: its interfaces may be replaced at any moment (D.1).
    ClusterNotActive,
    /// The second reading failed, so nobody knows.
    NotReadAgain,
}

/// What changed between the two readings, and which flows that could touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stability {
    /// What happened.
    pub state: StabilityState,
    /// Files that differ, sorted.
    pub changed: BTreeSet<String>,
    /// Flows of the plan that a change could touch, by their place in it. JSON: how many.
    #[serde(rename = "flows_touched", serialize_with = "count")]
    pub touched: BTreeSet<usize>,
}

/// Writes how many there are.
fn count<S: serde::Serializer>(
    touched: &BTreeSet<usize>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    touched.len().serialize(serializer)
}

/// Compares two readings of one world.
///
/// A change touches a flow when the prediction over the second reading differs in anything: verdict, deciding rule, or
/// any gate on the way. While the cluster is not `ACTIVE`, or when there is no second reading, every flow is touched.
#[must_use]
pub fn stability(
    before: Reading<'_>,
    after: Option<Reading<'_>>,
    plan: &ProbePlan,
    predictions: &[Prediction],
) -> Stability {
    let every = || (0..plan.flows.len()).collect();
    let Some(after) = after else {
        return Stability {
            state: StabilityState::NotReadAgain,
            changed: BTreeSet::new(),
            touched: every(),
        };
    };
    let changed = changed_files(before.described, after.described);
    if !(is_active(before.snapshot) && is_active(after.snapshot)) {
        return Stability {
            state: StabilityState::ClusterNotActive,
            changed,
            touched: every(),
        };
    }
    if changed.is_empty() {
        return Stability {
            state: StabilityState::Stable,
            changed,
            touched: BTreeSet::new(),
        };
    }
    let touched = predictions
        .iter()
        .enumerate()
        .filter(|(_, prediction)| predict(after.snapshot, &prediction.flow) != **prediction)
        .map(|(index, _)| index)
        .collect();
    Stability {
        state: StabilityState::Changed,
        changed,
        touched,
    }
}

/// One reading of the world.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// The answers.
    pub described: &'a Described,
    /// What was decoded from them.
    pub snapshot: &'a Snapshot,
}

/// Whether nothing is being done to the cluster; without a cluster, or without its status, there is nothing to wait for.
fn is_active(snapshot: &Snapshot) -> bool {
    snapshot
        .cluster()
        .is_none_or(|cluster| cluster.status.is_empty() || cluster.status == CLUSTER_ACTIVE)
}

/// Stems of the answers that differ or are in one reading only.
fn changed_files(before: &Described, after: &Described) -> BTreeSet<String> {
    let stems = before.iter().chain(after.iter()).map(|(stem, _)| stem);
    stems
        .filter(|stem| before.get(stem) != after.get(stem))
        .map(str::to_owned)
        .collect()
}
