//! What the cluster says of itself: conditions in the status of its objects, and leases (control-plane.md, "Free evidence").

use std::time::Duration;

/// A condition in the status of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StatusCondition {
    /// `True`, `False` or `Unknown`; raw text.
    pub status: String,
    /// Why, in a word; empty where nobody says so; raw text.
    pub reason: String,
    /// Why, in a sentence; empty where nobody says so; raw text.
    pub message: String,
}

/// The lease of a node, which its kubelet renews at an API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeLease {
    /// How long before the latest renewal of any node it was renewed last. Nobody's clock is asked.
    pub behind: Duration,
    /// How long a renewal lasts.
    pub lasts: Duration,
}

impl NodeLease {
    /// Returns whether it was renewed in time, as far as other nodes show it.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.behind <= self.lasts
    }
}
