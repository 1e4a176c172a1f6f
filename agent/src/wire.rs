//! Translation between messages and the agent's own types.

mod assignment;

use std::{
    net::IpAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use reachproof_proto::{
    column::{column_to_wire, zigzag},
    net::address_to_wire,
    v1,
};

pub use self::assignment::{Assigned, InvalidAssignment, InvalidProbe, listen_report};
use crate::{
    dns::QueryFailure,
    listener::{Accepted, SocketDrops},
    outcome::{Errno, IcmpError, Outcome},
    probe::{Finished, Identification},
    tls::{Chain, TlsFailure},
};

/// When the agent started, by both clocks: times on the wire count from here.
#[derive(Debug, Clone, Copy)]
pub struct Epoch {
    /// By the clock that never goes back.
    pub monotonic: Instant,
    /// By the calendar.
    pub calendar: SystemTime,
}

impl Epoch {
    /// Microseconds between the start of the agent and `at`.
    pub(crate) fn since_start_us(&self, at: Instant) -> u64 {
        micros(at.saturating_duration_since(self.monotonic))
    }

    /// Microseconds between 1970 and `at`.
    fn unix_us(&self, at: Instant) -> u64 {
        let start = self.calendar.duration_since(UNIX_EPOCH).unwrap_or_default();
        micros(start).saturating_add(self.since_start_us(at))
    }
}

/// Finished attempts of one run as columns, in the order of their starts. At most 1,000 are given, with chains of certificates
/// within the bounds of a batch, which stay below 256 KiB.
pub fn batch_to_wire(epoch: &Epoch, sequence: u64, attempts: &[Finished]) -> v1::ObservationBatch {
    let mut rows: Vec<&Finished> = attempts.iter().collect();
    // Silent attempts end long after those that started with them: in the order of starts all steps are short.
    rows.sort_by_key(|row| row.started_at);
    let (addresses, local_address) = local_addresses(&rows);
    let chains = distinct_chains(&rows);
    let mut batch = v1::ObservationBatch {
        sequence,
        local_addresses: addresses.into_iter().map(address_to_wire).collect(),
        probe_id_step: column(probe_id_steps(&rows).into_iter()),
        attempt: column(rows.iter().map(|row| row.attempt)),
        outcome: column(rows.iter().map(|row| outcome_to_wire(row.outcome))),
        local_ports: local_ports(&rows),
        errno: column(
            rows.iter()
                .map(|row| row.outcome.errno().map_or(0, errno_to_wire)),
        ),
        syn_retransmissions: column(rows.iter().map(|row| row.syn_retransmissions)),
        local_address: column(local_address.into_iter()),
        identifications: (0..)
            .zip(&rows)
            .filter_map(|(index, row)| {
                identification_to_wire(index, row.identification.as_ref()?, &chains)
            })
            .collect(),
        icmp_errors: (0..)
            .zip(&rows)
            .filter_map(|(index, row)| Some(icmp_error_to_wire(index, row.outcome.icmp()?)))
            .collect(),
        ..v1::ObservationBatch::default()
    };
    batch.chains = chains
        .iter()
        .map(|chain| v1::CertificateChain {
            certificates: chain.to_vec(),
        })
        .collect();
    if let Some(first) = rows.first() {
        first.run.as_str().clone_into(&mut batch.run);
        batch.first_start_unix_us = epoch.unix_us(first.started_at);
        batch.first_start_us = epoch.since_start_us(first.started_at);
    }
    (batch.start_pace_us, batch.start_step_us) = start_steps(epoch, &rows);
    (batch.elapsed_floor_us, batch.elapsed_us) = elapsed(&rows);
    batch
}

/// A column; none where all entries are 0.
fn column(entries: impl Iterator<Item = u32> + Clone) -> Option<v1::Column> {
    let column = column_to_wire(entries);
    (column != v1::Column::default()).then_some(column)
}

/// The difference of each probe id to the one before.
fn probe_id_steps(rows: &[&Finished]) -> Vec<u32> {
    let mut before = 0;
    rows.iter()
        .map(|row| {
            let step = row.probe.wrapping_sub(before).cast_signed();
            before = row.probe;
            zigzag(step)
        })
        .collect()
}

/// Source ports; 0 where no socket was bound.
fn local_ports(rows: &[&Finished]) -> Vec<u8> {
    let port = |row: &&Finished| row.local.map_or(0, |local| local.port());
    rows.iter()
        .flat_map(|row| port(row).to_be_bytes())
        .collect()
}

/// The usual time between two starts, and how far each start but the first is from it.
fn start_steps(epoch: &Epoch, rows: &[&Finished]) -> (u64, Vec<i64>) {
    let starts = rows.iter().map(|row| epoch.since_start_us(row.started_at));
    let steps: Vec<u64> = starts
        .clone()
        .zip(starts.skip(1))
        .map(|(before, start)| start.saturating_sub(before))
        .collect();
    let mut sorted = steps.clone();
    sorted.sort_unstable();
    let pace = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
    let less_pace = |step: u64| step.wrapping_sub(pace).cast_signed();
    (pace, steps.into_iter().map(less_pace).collect())
}

/// The shortest time to an outcome, and how much longer each took.
fn elapsed(rows: &[&Finished]) -> (u32, Vec<u32>) {
    let elapsed =
        |row: &&Finished| u32::try_from(row.outcome.elapsed().as_micros()).unwrap_or(u32::MAX);
    let floor = rows.iter().map(elapsed).min().unwrap_or(0);
    let above = |row| elapsed(row).saturating_sub(floor);
    (floor, rows.iter().map(above).collect())
}

/// The addresses of a batch, and for each attempt where its own is among them.
fn local_addresses(rows: &[&Finished]) -> (Vec<IpAddr>, Vec<u32>) {
    let mut addresses = Vec::new();
    let mut index = |row: &&Finished| {
        row.local
            .map_or(0, |local| index_of(local.ip(), &mut addresses))
    };
    let indices = rows.iter().map(&mut index).collect();
    (addresses, indices)
}

/// Where an address is in a list; it is added when it is not there.
fn index_of(address: IpAddr, addresses: &mut Vec<IpAddr>) -> u32 {
    let index = addresses
        .iter()
        .position(|known| *known == address)
        .unwrap_or_else(|| {
            addresses.push(address);
            addresses.len() - 1
        });
    // Invariant: at most one address for each of 1,000 attempts.
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// The number of the wire for an outcome.
fn outcome_to_wire(outcome: Outcome) -> u32 {
    let word = match outcome {
        Outcome::Connected { .. } => v1::Outcome::Connected,
        Outcome::Refused { .. } => v1::Outcome::Refused,
        Outcome::TimedOut { .. } => v1::Outcome::TimedOut,
        Outcome::Unreachable { .. } => v1::Outcome::Unreachable,
        Outcome::LocalError { .. } => v1::Outcome::LocalError,
        Outcome::Starved { .. } => v1::Outcome::Starved,
        Outcome::RefusedByPolicy => v1::Outcome::RefusedByPolicy,
    };
    i32::from(word).cast_unsigned()
}

/// The ICMP error that ended the attempt at `index` of a batch.
fn icmp_error_to_wire(index: u32, error: IcmpError) -> v1::IcmpError {
    v1::IcmpError {
        index,
        r#type: error.kind.into(),
        code: error.code.into(),
        from: error.from.map(address_to_wire).unwrap_or_default(),
    }
}

/// The chains of a batch, each once.
fn distinct_chains<'a>(rows: &[&'a Finished]) -> Vec<&'a Chain> {
    let mut chains = Vec::new();
    for chain in rows.iter().filter_map(|row| row.chain()) {
        if !chains.contains(&chain) {
            chains.push(chain);
        }
    }
    chains
}

/// What a peer said about the attempt at `index` of a batch.
fn identification_to_wire(
    index: u32,
    identification: &Identification,
    chains: &[&Chain],
) -> Option<v1::Identification> {
    let result = match identification {
        Identification::Answer {
            observed_address,
            observed_port,
            proof,
        } => v1::identification::Result::Answer(v1::IdentificationAnswer {
            observed_address: observed_address.clone(),
            observed_port: *observed_port,
            proof: proof.clone(),
        }),
        Identification::Failed { code } => v1::identification::Result::FailedCode(*code),
        Identification::Resolver { code } => v1::identification::Result::DnsCode(u32::from(*code)),
        Identification::NoResolver { failure } => {
            v1::identification::Result::DnsFailure(query_failure_to_wire(*failure).into())
        }
        Identification::Certified { chain } => {
            let at = chains.iter().position(|known| *known == chain)?;
            v1::identification::Result::TlsChain(u32::try_from(at).ok()?)
        }
        Identification::NoSession { failure } => {
            v1::identification::Result::TlsFailure(tls_failure_to_wire(*failure).into())
        }
    };
    Some(v1::Identification {
        index,
        result: Some(result),
    })
}

/// The word of the wire for a query without an answer.
fn query_failure_to_wire(failure: QueryFailure) -> v1::DnsFailure {
    match failure {
        QueryFailure::Silent => v1::DnsFailure::Silent,
        QueryFailure::Closed => v1::DnsFailure::Closed,
        QueryFailure::Malformed => v1::DnsFailure::Malformed,
    }
}

/// The word of the wire for a connection without a session.
fn tls_failure_to_wire(failure: TlsFailure) -> v1::TlsFailure {
    match failure {
        TlsFailure::Silent => v1::TlsFailure::Silent,
        TlsFailure::Closed => v1::TlsFailure::Closed,
        TlsFailure::Malformed => v1::TlsFailure::Malformed,
        TlsFailure::Key => v1::TlsFailure::Key,
        TlsFailure::Chain => v1::TlsFailure::Chain,
    }
}

/// One accepted connection.
pub fn accept_to_wire(epoch: &Epoch, accepted: &Accepted) -> v1::Accept {
    v1::Accept {
        local_port: accepted.local.port().into(),
        local_address: address_to_wire(accepted.local.ip()),
        peer_address: address_to_wire(accepted.peer.ip()),
        peer_port: accepted.peer.port().into(),
        at_unix_us: epoch.unix_us(accepted.accepted_at),
    }
}

/// What was dropped at one listening socket.
pub(crate) fn listen_drops_to_wire(drops: &SocketDrops) -> v1::ListenDrops {
    v1::ListenDrops {
        address: address_to_wire(drops.address.ip()),
        port: drops.address.port().into(),
        drops: drops.drops.into(),
    }
}

/// Error numbers are positive.
fn errno_to_wire(errno: Errno) -> u32 {
    u32::try_from(errno.0).unwrap_or(0)
}

/// Microseconds; more than half a million years do not occur.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
