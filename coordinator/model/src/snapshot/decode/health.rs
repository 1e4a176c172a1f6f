//! Conditions in the status of objects, and the leases of nodes. What cannot be read is as if nobody said it: no prediction
//! rests on it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Decoder;
use crate::describe::{Fault, Node};
use crate::snapshot::{NodeLease, StatusCondition};

/// Namespace of the leases of nodes.
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// How long a renewal lasts where the lease does not say it: the kubelet's default
/// (<https://kubernetes.io/docs/concepts/architecture/leases/>).
const LEASE_DEFAULT: Duration = Duration::from_secs(40);

/// Days from March of the year 0 to 1970-01-01.
const DAYS_TO_1970: u64 = 719_468;

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

/// Time from 1970 to a moment as Kubernetes writes it, `2026-01-31T23:59:58.123456Z`: always in UTC; parts of a second are
/// left out.
fn after_1970(text: &str) -> Option<Duration> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, mark: char| -> Option<[u64; 3]> {
        let parts: Result<Vec<u64>, _> = text.split(mark).map(str::parse).collect();
        parts.ok()?.try_into().ok()
    };
    let [year, month, day] = numbers(date, '-')?;
    let whole = time.split('.').next()?;
    let [hours, minutes, seconds] = numbers(whole, ':')?;
    let is_possible = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hours < 24
        && minutes < 60
        && seconds <= 60;
    if !is_possible {
        return None;
    }
    // Years that begin in March have the leap day at their end.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let days = days.checked_sub(DAYS_TO_1970)?;
    Some(Duration::from_secs(
        ((days * 24 + hours) * 60 + minutes) * 60 + seconds,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_counted_from_1970() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00.000001Z", Some(951_825_600)),
            ("2026-11-30T08:40:01.999999Z", Some(1_796_028_001)),
            ("2026-12-01T00:00:00Z", Some(1_796_083_200)),
            ("2026-11-30 08:40:01", None),
            ("2026-13-30T08:40:01Z", None),
            ("2026-11-30T08:40Z", None),
            ("soon", None),
        ] {
            assert_eq!(after_1970(text), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
