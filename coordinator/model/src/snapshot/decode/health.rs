//! Conditions in the status of objects, and the leases of nodes. What cannot be read is as if nobody said it: no prediction
//! rests on it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::Decoder;
use crate::describe::{Fault, Node};
use crate::snapshot::{NodeLease, StatusCondition};

/// Namespace of the leases of nodes.
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// How long a renewal lasts where the lease does not say it: the kubelet's default
/// (<https://kubernetes.io/docs/concepts/architecture/leases/>).
const LEASE_DEFAULT: Duration = Duration::from_secs(40);

/// The condition of this type in an object's status.
pub(super) fn condition(object: &Node<'_>, kind: &str) -> Option<StatusCondition> {
    let status = object.field("status")?;
    let conditions = status.list("conditions").ok()?;
    let is_of_kind = |one: &&Node<'_>| one.text("type").ok().flatten() == Some(kind);
    let found = conditions.iter().find(is_of_kind)?;
    let text = |name| {
        found
            .text(name)
            .ok()
            .flatten()
            .unwrap_or_default()
            .to_owned()
    };
    Some(StatusCondition {
        status: text("status"),
        reason: text("reason"),
        message: text("message"),
    })
}

/// A lease as the answer has it: whose, when it was renewed after 1970, and how long that lasts.
struct Renewal {
    node: String,
    at: Duration,
    lasts: Duration,
}

impl Decoder<'_> {
    /// The leases of nodes, after nodes.
    pub(super) fn leases(&mut self) {
        let objects = self.objects("leases");
        let renewals = objects
            .iter()
            .filter_map(|lease| renewal(lease).ok().flatten());
        let renewals: Vec<Renewal> = renewals.collect();
        let Some(latest) = renewals.iter().map(|renewal| renewal.at).max() else {
            return;
        };
        let mut leases: BTreeMap<&str, NodeLease> = BTreeMap::new();
        for renewal in &renewals {
            let lease = NodeLease {
                behind: latest.saturating_sub(renewal.at),
                lasts: renewal.lasts,
            };
            leases.insert(&renewal.node, lease);
        }
        for node in &mut self.snapshot.nodes {
            node.lease = leases.get(node.name.as_str()).copied();
        }
    }
}

/// The lease of a node; nothing of one that was never renewed, or is not a node's.
fn renewal(object: &Node<'_>) -> Result<Option<Renewal>, Fault> {
    let (Some(metadata), Some(spec)) = (object.field("metadata"), object.field("spec")) else {
        return Ok(None);
    };
    let of_node = metadata.text("namespace")? == Some(LEASE_NAMESPACE);
    let Some(at) = spec
        .text("renewTime")?
        .filter(|_| of_node)
        .and_then(after_1970)
    else {
        return Ok(None);
    };
    let lasts = spec.integer("leaseDurationSeconds")?;
    let lasts = lasts.and_then(|seconds| u64::try_from(seconds).ok());
    Ok(Some(Renewal {
        node: metadata.required("name")?.to_owned(),
        at,
        lasts: lasts.map_or(LEASE_DEFAULT, Duration::from_secs),
    }))
}

/// Time from 1970 to a moment as Kubernetes writes it, `2026-01-31T23:59:58.123456Z`.
fn after_1970(text: &str) -> Option<Duration> {
    let moment: Timestamp = text.parse().ok()?;
    Duration::try_from(moment.as_duration()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_counted_from_1970() {
        for (text, time) in [
            ("1970-01-01T00:00:00Z", Some((0, 0))),
            ("2000-02-29T12:00:00.000001Z", Some((951_825_600, 1))),
            (
                "2026-11-30T08:40:01.999999Z",
                Some((1_796_028_001, 999_999)),
            ),
            ("1969-12-31T23:59:59Z", None),
            ("2026-11-30 08:40:01", None),
            ("2026-13-30T08:40:01Z", None),
            ("soon", None),
        ] {
            let time = time.map(|(seconds, micros)| Duration::new(seconds, micros * 1_000));
            assert_eq!(after_1970(text), time, "{text}");
        }
    }
}
