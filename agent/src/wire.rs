//! Translation between messages and the agent's own types.

mod assignment;

use std::{
    net::IpAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use reachproof_proto::{net::address_to_wire, v1};

pub use self::assignment::{Assigned, InvalidAssignment, InvalidProbe, listen_report};
use crate::{
    listener::Accepted,
    outcome::{Errno, Outcome},
    probe::{Finished, Identification},
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
    fn since_start_us(&self, at: Instant) -> u64 {
        micros(at.saturating_duration_since(self.monotonic))
    }

    /// Microseconds between 1970 and `at`.
    fn unix_us(&self, at: Instant) -> u64 {
        let start = self.calendar.duration_since(UNIX_EPOCH).unwrap_or_default();
        micros(start).saturating_add(self.since_start_us(at))
    }
}

/// Finished attempts of one run as columns. At most 1,000 are given, which stay below 256 KiB.
pub fn batch_to_wire(epoch: &Epoch, sequence: u64, attempts: &[Finished]) -> v1::ObservationBatch {
    let mut batch = v1::ObservationBatch {
        sequence,
        ..v1::ObservationBatch::default()
    };
    if let Some(first) = attempts.first() {
        first.run.as_str().clone_into(&mut batch.run);
        batch.first_start_unix_us = epoch.unix_us(first.started_at);
        batch.first_start_us = epoch.since_start_us(first.started_at);
    }
    let mut probe_before = 0;
    let mut start_before = batch.first_start_us;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for (index, attempt) in (0..).zip(attempts) {
        let start = epoch.since_start_us(attempt.started_at);
        batch
            .probe_id_delta
            .push(attempt.probe.wrapping_sub(probe_before).cast_signed());
        batch.attempt.push(attempt.attempt);
        batch.outcome.push(outcome_to_wire(attempt.outcome).into());
        batch
            .local_ports
            .extend(attempt.local.map_or(0, |local| local.port()).to_be_bytes());
        batch
            .start_delta_us
            .push(start.wrapping_sub(start_before).cast_signed());
        batch
            .elapsed_us
            .push(u32::try_from(attempt.outcome.elapsed().as_micros()).unwrap_or(u32::MAX));
        batch
            .errno
            .push(attempt.outcome.errno().map_or(0, errno_to_wire));
        batch.syn_retransmissions.push(attempt.syn_retransmissions);
        batch.local_address.push(
            attempt
                .local
                .map_or(0, |local| index_of(local.ip(), &mut addresses)),
        );
        batch.identifications.extend(identification_to_wire(
            index,
            attempt.identification.as_ref(),
        ));
        (probe_before, start_before) = (attempt.probe, start);
    }
    batch.local_addresses = addresses.into_iter().map(address_to_wire).collect();
    let sparse = [
        &mut batch.attempt,
        &mut batch.errno,
        &mut batch.syn_retransmissions,
        &mut batch.local_address,
    ];
    for column in sparse {
        if column.iter().all(|entry| *entry == 0) {
            column.clear();
        }
    }
    batch
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

/// The word of the wire for an outcome.
fn outcome_to_wire(outcome: Outcome) -> v1::Outcome {
    match outcome {
        Outcome::Connected { .. } => v1::Outcome::Connected,
        Outcome::Refused { .. } => v1::Outcome::Refused,
        Outcome::TimedOut { .. } => v1::Outcome::TimedOut,
        Outcome::Unreachable { .. } => v1::Outcome::Unreachable,
        Outcome::LocalError { .. } => v1::Outcome::LocalError,
        Outcome::Starved { .. } => v1::Outcome::Starved,
        Outcome::RefusedByPolicy => v1::Outcome::RefusedByPolicy,
    }
}

/// What a peer said about the attempt at `index` of a batch; none where it was not asked.
fn identification_to_wire(
    index: u32,
    identification: Option<&Identification>,
) -> Option<v1::Identification> {
    let result = match identification? {
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
    };
    Some(v1::Identification {
        index,
        result: Some(result),
    })
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

/// Error numbers are positive.
fn errno_to_wire(errno: Errno) -> u32 {
    u32::try_from(errno.0).unwrap_or(0)
}

/// Microseconds; more than half a million years do not occur.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
