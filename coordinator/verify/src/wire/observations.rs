//! A batch of attempts, from columns back to attempts.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reachproof_model::observation::{Attempt, Identification, Outcome};
use reachproof_model::plan::ProbeId;
use reachproof_proto::net::{Proof, address_from_wire, bytes_from_wire, port_from_wire};
use reachproof_proto::v1;

use super::{InvalidMessage, address, count};

/// Most attempts in one batch (`control.proto`).
pub const ATTEMPTS_PER_BATCH_MAX: usize = 1_000;

/// One attempt as an agent reports it; who answered is not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedAttempt {
    /// Probe that the attempt belongs to.
    pub probe: ProbeId,
    /// The attempt, with [`Identification::NotAsked`].
    pub attempt: Attempt,
    /// What the peer said.
    pub identity: ReportedIdentity,
}

/// What the peer of one attempt said, unchecked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportedIdentity {
    /// Nothing was asked.
    NotAsked,
    /// The call failed with this gRPC status code.
    Failed(u32),
    /// It answered something that is no answer of an agent.
    Unreadable,
    /// It answered.
    Answered {
        /// Source that it saw.
        observed: SocketAddr,
        /// Proof to check.
        proof: Proof,
    },
}

/// Reads the attempts of a batch.
///
/// # Errors
/// [`InvalidMessage`] for the first column that does not fit; then no attempt of the batch counts.
pub fn attempts(batch: &v1::ObservationBatch) -> Result<Vec<ReportedAttempt>, InvalidMessage> {
    let columns = Columns::new(batch)?;
    let mut rows = Vec::with_capacity(columns.length);
    let mut position = Position::default();
    for index in 0..columns.length {
        rows.push(columns.row(index, &mut position)?);
    }
    for identification in &batch.identifications {
        let index = usize::try_from(identification.index).unwrap_or(usize::MAX);
        let row = rows.get_mut(index).ok_or(InvalidMessage::Range {
            field: "identifications.index",
            index,
        })?;
        row.identity = identity(identification)?;
    }
    Ok(rows)
}

/// Where the running sums of the delta columns stand.
#[derive(Default)]
struct Position {
    probe: i64,
    started_us: i64,
}

/// A batch whose columns all have the length of `outcome`, or are sparse.
struct Columns<'a> {
    batch: &'a v1::ObservationBatch,
    length: usize,
    addresses: Vec<IpAddr>,
}

impl<'a> Columns<'a> {
    fn new(batch: &'a v1::ObservationBatch) -> Result<Self, InvalidMessage> {
        let length = batch.outcome.len();
        count("outcome", length, 0, ATTEMPTS_PER_BATCH_MAX)?;
        for (field, found) in [
            ("probe_id_delta", batch.probe_id_delta.len()),
            ("start_delta_us", batch.start_delta_us.len()),
            ("elapsed_us", batch.elapsed_us.len()),
        ] {
            count(field, found, length, length)?;
        }
        count(
            "local_ports",
            batch.local_ports.len(),
            2 * length,
            2 * length,
        )?;
        for (field, found) in [
            ("attempt", batch.attempt.len()),
            ("errno", batch.errno.len()),
            ("syn_retransmissions", batch.syn_retransmissions.len()),
            ("local_address", batch.local_address.len()),
        ] {
            if found != 0 {
                count(field, found, length, length)?;
            }
        }
        let addresses = batch
            .local_addresses
            .iter()
            .map(|bytes| address("local_addresses", bytes))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            batch,
            length,
            addresses,
        })
    }

    /// Reads row `index`; `position` carries the delta columns.
    fn row(
        &self,
        index: usize,
        position: &mut Position,
    ) -> Result<ReportedAttempt, InvalidMessage> {
        let batch = self.batch;
        let delta = dense(&batch.probe_id_delta, index, "probe_id_delta")?;
        position.probe += i64::from(delta);
        let probe = u32::try_from(position.probe).map_err(|_| InvalidMessage::Range {
            field: "probe_id_delta",
            index,
        })?;
        let started = self.started(index, position)?;
        let elapsed = dense(&batch.elapsed_us, index, "elapsed_us")?;
        let attempt = Attempt {
            number: sparse(&batch.attempt, index),
            local: self.local(index)?,
            started,
            outcome: outcome(
                dense(&batch.outcome, index, "outcome")?,
                Duration::from_micros(u64::from(elapsed)),
                sparse(&batch.errno, index),
            )?,
            syn_retransmissions: sparse(&batch.syn_retransmissions, index),
            identification: Identification::NotAsked,
        };
        Ok(ReportedAttempt {
            probe: ProbeId(probe),
            attempt,
            identity: ReportedIdentity::NotAsked,
        })
    }

    /// Start of row `index` since the agent started.
    fn started(&self, index: usize, position: &mut Position) -> Result<Duration, InvalidMessage> {
        let range = InvalidMessage::Range {
            field: "start_delta_us",
            index,
        };
        let delta = dense(&self.batch.start_delta_us, index, "start_delta_us")?;
        position.started_us = position
            .started_us
            .checked_add(delta)
            .ok_or_else(|| range.clone())?;
        let started = self
            .batch
            .first_start_us
            .checked_add_signed(position.started_us)
            .ok_or(range)?;
        Ok(Duration::from_micros(started))
    }

    /// Local socket address of row `index`, absent where no socket was bound.
    fn local(&self, index: usize) -> Result<Option<SocketAddr>, InvalidMessage> {
        let bytes = self.batch.local_ports.get(2 * index..2 * index + 2);
        let Some(&[high, low]) = bytes else {
            return Err(InvalidMessage::Range {
                field: "local_ports",
                index,
            });
        };
        let port = u16::from_be_bytes([high, low]);
        if port == 0 {
            return Ok(None);
        }
        let place = usize::try_from(sparse(&self.batch.local_address, index)).unwrap_or(usize::MAX);
        let address = self.addresses.get(place).ok_or(InvalidMessage::Range {
            field: "local_address",
            index,
        })?;
        Ok(Some(SocketAddr::new(*address, port)))
    }
}

/// Entry of a column that has one for every row.
fn dense<T: Copy>(column: &[T], index: usize, field: &'static str) -> Result<T, InvalidMessage> {
    column
        .get(index)
        .copied()
        .ok_or(InvalidMessage::Range { field, index })
}

/// Entry of a column that is empty when all its entries are 0.
fn sparse(column: &[u32], index: usize) -> u32 {
    column.get(index).copied().unwrap_or(0)
}

/// Reads one outcome.
fn outcome(value: i32, elapsed: Duration, errno: u32) -> Result<Outcome, InvalidMessage> {
    let unknown = InvalidMessage::Unknown {
        field: "outcome",
        value,
    };
    match v1::Outcome::try_from(value) {
        Ok(v1::Outcome::Connected) => Ok(Outcome::Connected { handshake: elapsed }),
        Ok(v1::Outcome::Refused) => Ok(Outcome::Refused { after: elapsed }),
        Ok(v1::Outcome::TimedOut) => Ok(Outcome::TimedOut { after: elapsed }),
        Ok(v1::Outcome::Unreachable) => Ok(Outcome::Unreachable { errno }),
        Ok(v1::Outcome::LocalError) => Ok(Outcome::LocalError { errno }),
        Ok(v1::Outcome::Starved) => Ok(Outcome::Starved),
        Ok(v1::Outcome::RefusedByPolicy) => Ok(Outcome::RefusedByPolicy),
        Ok(v1::Outcome::Unspecified) | Err(_) => Err(unknown),
    }
}

/// Reads what a peer said.
///
/// The peer may be anybody: an answer that cannot be read is its fault, not the agent's, and invalidates nothing else.
fn identity(wire: &v1::Identification) -> Result<ReportedIdentity, InvalidMessage> {
    match &wire.result {
        Some(v1::identification::Result::FailedCode(code)) => Ok(ReportedIdentity::Failed(*code)),
        Some(v1::identification::Result::Answer(answer)) => Ok(answered(answer)),
        None => Err(InvalidMessage::Range {
            field: "identifications.result",
            index: usize::try_from(wire.index).unwrap_or(usize::MAX),
        }),
    }
}

/// Reads a peer's answer.
fn answered(answer: &v1::IdentificationAnswer) -> ReportedIdentity {
    let address = address_from_wire(&answer.observed_address).ok();
    let port = port_from_wire(answer.observed_port).ok();
    let proof = bytes_from_wire(&answer.proof).ok();
    match (address, port, proof) {
        (Some(address), Some(port), Some(proof)) => ReportedIdentity::Answered {
            observed: SocketAddr::new(address, port),
            proof,
        },
        _ => ReportedIdentity::Unreadable,
    }
}
