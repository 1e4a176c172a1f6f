//! Whether the world stood still, in one line.

use crate::report::StabilityRecord;
use reachproof_model::stability::StabilityState;

/// What happened to the world, if anything did.
pub(super) fn unrest(stability: &StabilityRecord) -> Option<&'static str> {
    match stability.state {
        StabilityState::Stable => None,
        StabilityState::Changed if !stability.changed.is_empty() => {
            Some("the snapshot changed while the probes ran")
        }
        StabilityState::Changed if !stability.settling.is_empty() => {
            Some("the snapshot changed shortly before the probes, or a node group is being updated")
        }
        StabilityState::Changed => Some("objects came and went while the probes ran"),
        StabilityState::ClusterNotActive => {
            Some("the cluster was not ACTIVE, so nothing is confirmed")
        }
        StabilityState::ClusterUpdated => {
            Some("the cluster was updated during the run, so nothing is confirmed")
        }
        StabilityState::NotReadAgain => {
            Some("the snapshot could not be read again, so nothing is confirmed")
        }
    }
}
