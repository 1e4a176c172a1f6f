//! Labels of what is printed.

use std::collections::BTreeMap;

use reachproof_verify::audience::{INSTANCE_LABEL, RELEASE};

/// Label that tells the agents of one DaemonSet or Deployment from the others.
pub(super) const PLACE_LABEL: &str = "reachproof/agents";

/// Labels of everything that belongs to runs on a schedule; the Service finds the pod of the run by them.
pub(super) fn schedule_labels() -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "reachproof-coordinator"),
        ("app.kubernetes.io/part-of", "reachproof"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// Labels of everything that belongs to the agents.
pub(super) fn standard_labels() -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "reachproof-agent"),
        (INSTANCE_LABEL, RELEASE),
        ("app.kubernetes.io/part-of", "reachproof"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}
