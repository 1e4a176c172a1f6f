//! Node groups that an update is in progress in, and which flows that could touch.

use std::net::IpAddr;

use serde_json::Value;

use super::Reading;
use crate::class::NODE_GROUP;
use crate::flow::Flow;
use crate::snapshot::{Owner, Snapshot};

/// States of a node group in which EKS starts and ends instances \[EKSM NodegroupStatus\].
const IN_PROGRESS: [&str; 3] = ["CREATING", "UPDATING", "DELETING"];

/// A node group that an update is in progress in.
pub(super) struct Updating {
    /// Stem of its file.
    pub(super) file: String,
    name: String,
}

impl Updating {
    /// Those of one reading.
    pub(super) fn of(reading: Reading<'_>) -> impl Iterator<Item = Self> {
        let groups = reading.described.iter().filter_map(|(stem, answer)| {
            let group = stem
                .starts_with("describe-nodegroup.")
                .then(|| answer.get("nodegroup"))?;
            let text = |key: &str| group?.get(key).and_then(Value::as_str);
            let name = text("nodegroupName").map(str::to_owned)?;
            let file = stem.to_owned();
            let is_updating = text("status").is_some_and(|status| IN_PROGRESS.contains(&status));
            is_updating.then_some(Self { file, name })
        });
        groups.collect::<Vec<_>>().into_iter()
    }

    /// Whether one of the ends of `flow` is on an instance of the group.
    pub(super) fn could_touch(&self, snapshot: &Snapshot, flow: &Flow) -> bool {
        let ends = [flow.source, flow.destination];
        ends.into_iter().any(|end| self.holds(snapshot, end))
    }

    fn holds(&self, snapshot: &Snapshot, address: IpAddr) -> bool {
        let owners = match snapshot.owner(address) {
            Owner::Nobody => Vec::new(),
            Owner::One(interface) => vec![interface],
            Owner::Several(interfaces) => interfaces,
        };
        let mut instances = owners
            .into_iter()
            .filter_map(|interface| snapshot.instance(interface.instance.as_ref()?));
        instances.any(|instance| {
            let mut tags = instance.tags.iter();
            tags.any(|(key, value)| key == NODE_GROUP && *value == self.name)
        })
    }
}
