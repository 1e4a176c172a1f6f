//! What a report says of the run itself.

use std::collections::BTreeMap;
use std::time::Duration;

use reachproof_model::claim::Wire;
use reachproof_model::cluster_endpoint::endpoint_path;
use reachproof_model::describe::Described;
use reachproof_model::observation::{AgentRecord, Presence, RunEvidence};
use reachproof_model::plan::{ATTEMPT_DEADLINE, ATTEMPT_INTERVAL, ATTEMPTS, Depth, Roster};
use reachproof_model::snapshot::Snapshot;
use ring::digest::{SHA256, digest};
use serde_json::Value;

use crate::calendar::{unix_ms, whole_ms};
use crate::config::{Order, SnapshotContent};
use crate::credentials::hexadecimal;
use crate::registry::Registry;
use crate::report::{
    PresentAgent, ReadingRecord, ResolvedEndpoint, RunRecord, SnapshotRecord, VoidAgent,
};
use crate::source::WorldReading;
use crate::wire::assignment::milliseconds;

/// Those who took part, with what is known of each.
pub(super) fn present(
    snapshot: &Snapshot,
    roster: &Roster,
    registry: &Registry,
    evidence: &RunEvidence,
) -> Vec<PresentAgent> {
    roster
        .agents()
        .map(|agent| {
            let record = evidence.records.get(&agent.name);
            let member = registry.members().get(&agent.name);
            PresentAgent {
                name: agent.name.clone(),
                kind: agent.kind,
                addresses: agent.addresses.clone(),
                version: member.map_or_else(String::new, |member| member.greeting.version.clone()),
                presence: record.map_or(Presence::Lost, |record| record.presence),
                results_lost: record.map_or(0, |record| record.results_lost),
                ports_refused: record
                    .map(|record| record.ports_refused.keys().copied().collect())
                    .unwrap_or_default(),
                accept_queue_drops: record.and_then(|record| record.accept_queue_drops),
                listen_drops: record
                    .map_or_else(BTreeMap::new, |record| record.listen_drops.clone()),
                clock: record.and_then(|record| record.clock),
                heartbeats: record.map_or(0, |record| record.heartbeats.len()),
                late_max_us: record.and_then(late_max_us),
                endpoint: record
                    .and_then(|record| record.endpoint.clone())
                    .map(|resolution| ResolvedEndpoint {
                        leads_to: endpoint_path(snapshot, &resolution),
                        resolution,
                    }),
            }
        })
        .collect()
}

/// Longest that a loop of an agent was late.
fn late_max_us(record: &AgentRecord) -> Option<u64> {
    let longest = record.lateness.iter().map(|lateness| lateness.late_max);
    let micros = longest.max()?.as_micros();
    Some(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// Those of which nothing counts.
pub(super) fn void(evidence: &RunEvidence) -> Vec<VoidAgent> {
    let records = evidence.records.iter();
    records
        .filter_map(|(name, record)| {
            Some(VoidAgent {
                name: name.clone(),
                reason: record.implausible?,
            })
        })
        .collect()
}

/// When and how a run was done.
pub(super) fn run_record(
    (order, snapshot): (&Order, &Snapshot),
    (id, depth): (String, Depth),
    took: Duration,
    readings: Vec<ReadingRecord>,
) -> RunRecord {
    RunRecord {
        id,
        cluster: cluster_name(snapshot),
        wire: Wire::Network,
        started_at_unix_ms: unix_ms(order.started_at),
        duration_ms: whole_ms(took),
        readings,
        version: env!("CARGO_PKG_VERSION").into(),
        scope: depth.as_str().into(),
        seed: order.seed,
        attempts: ATTEMPTS,
        deadline_ms: milliseconds(ATTEMPT_DEADLINE),
        interval_ms: milliseconds(ATTEMPT_INTERVAL),
    }
}

/// Name of the cluster, where the snapshot names it.
fn cluster_name(snapshot: &Snapshot) -> Option<String> {
    let name = snapshot.cluster().map(|cluster| cluster.name.clone());
    name.filter(|name| !name.is_empty())
}

/// What a reading cost.
pub(super) fn reading_record(reading: &WorldReading, took: Duration) -> ReadingRecord {
    ReadingRecord {
        calls: reading.calls,
        pages: reading.pages,
        duration_ms: whole_ms(took),
    }
}

/// The world with its digest.
pub(super) fn snapshot_record(described: &Described, content: SnapshotContent) -> SnapshotRecord {
    let world = described.to_json();
    SnapshotRecord {
        sha256: sha256(&world),
        content: match content {
            SnapshotContent::Included => Some(world),
            SnapshotContent::LeftOut => None,
        },
    }
}

/// SHA-256 of a world as compact JSON, in hexadecimal.
pub fn sha256(world: &Value) -> String {
    hexadecimal(digest(&SHA256, world.to_string().as_bytes()).as_ref())
}
