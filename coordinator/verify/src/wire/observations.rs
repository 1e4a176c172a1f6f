//! A batch of attempts, from columns back to attempts.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reachproof_model::observation::{Attempt, Identification, Outcome, QueryFailure};
use reachproof_model::plan::ProbeId;
use reachproof_proto::column::{Entries, zigzag_from_wire};
use reachproof_proto::net::{Proof, address_from_wire, bytes_from_wire, port_from_wire};
use reachproof_proto::v1;

use super::{ADDRESSES_MAX, InvalidMessage, address, count};

/// Most attempts in one batch (`control.proto`).
pub const ATTEMPTS_PER_BATCH_MAX: usize = 1_000;

/// Largest response code of DNS (RFC 1035).
const DNS_CODE_MAX: u8 = 15;

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
    /// A resolver answered a DNS query with this response code.
    Resolver(u8),
    /// A DNS query got no answer on its connection.
    NoResolver(QueryFailure),
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
    let mut rows = Rows::new(batch)?;
    let mut read = Vec::with_capacity(rows.length);
    for index in 0..rows.length {
        read.push(rows.row(index)?);
    }
    rows.end()?;
    for identification in &batch.identifications {
        let index = usize::try_from(identification.index).unwrap_or(usize::MAX);
        let row = read.get_mut(index).ok_or(InvalidMessage::Range {
            field: "identifications.index",
            index,
        })?;
        row.identity = identity(identification)?;
    }
    Ok(read)
}

/// A batch that is read row by row.
struct Rows<'a> {
    batch: &'a v1::ObservationBatch,
    /// Attempts: as many as there are source ports.
    length: usize,
    addresses: Vec<IpAddr>,
    probe_id_step: Entries<'a>,
    attempt: Entries<'a>,
    outcome: Entries<'a>,
    errno: Entries<'a>,
    syn_retransmissions: Entries<'a>,
    local_address: Entries<'a>,
    /// Probe of the row before.
    probe: u32,
    /// Start of the row before, in microseconds since the agent started.
    started_us: u64,
}

impl<'a> Rows<'a> {
    /// Checks that the columns fit each other.
    fn new(batch: &'a v1::ObservationBatch) -> Result<Self, InvalidMessage> {
        let bytes = batch.local_ports.len();
        let length = bytes / 2;
        count("local_ports", bytes, 0, 2 * ATTEMPTS_PER_BATCH_MAX)?;
        count("local_ports", bytes, 2 * length, 2 * length)?;
        let steps = length.saturating_sub(1);
        count("start_step_us", batch.start_step_us.len(), steps, steps)?;
        count("elapsed_us", batch.elapsed_us.len(), length, length)?;
        count(
            "local_addresses",
            batch.local_addresses.len(),
            0,
            ADDRESSES_MAX,
        )?;
        let addresses = batch
            .local_addresses
            .iter()
            .map(|bytes| address("local_addresses", bytes))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            batch,
            length,
            addresses,
            probe_id_step: column("probe_id_step", batch.probe_id_step.as_ref())?,
            attempt: column("attempt", batch.attempt.as_ref())?,
            outcome: column("outcome", batch.outcome.as_ref())?,
            errno: column("errno", batch.errno.as_ref())?,
            syn_retransmissions: column("syn_retransmissions", batch.syn_retransmissions.as_ref())?,
            local_address: column("local_address", batch.local_address.as_ref())?,
            probe: 0,
            started_us: batch.first_start_us,
        })
    }

    /// Reads row `index`; the rows before were read.
    fn row(&mut self, index: usize) -> Result<ReportedAttempt, InvalidMessage> {
        let step = zigzag_from_wire(self.probe_id_step.take_next());
        self.probe = self.probe.wrapping_add_signed(step);
        let started = self.started(index)?;
        let elapsed = self.elapsed(index)?;
        let outcome = outcome(self.outcome.take_next(), elapsed, self.errno.take_next())?;
        Ok(ReportedAttempt {
            probe: ProbeId(self.probe),
            attempt: Attempt {
                number: self.attempt.take_next(),
                local: self.local(index)?,
                started,
                // Who takes the batch knows when it came.
                received: Duration::ZERO,
                outcome,
                syn_retransmissions: self.syn_retransmissions.take_next(),
                identification: Identification::NotAsked,
            },
            identity: ReportedIdentity::NotAsked,
        })
    }

    /// Checks that no column is longer than the batch.
    fn end(&self) -> Result<(), InvalidMessage> {
        for (field, entries) in [
            ("probe_id_step", &self.probe_id_step),
            ("attempt", &self.attempt),
            ("outcome", &self.outcome),
            ("errno", &self.errno),
            ("syn_retransmissions", &self.syn_retransmissions),
            ("local_address", &self.local_address),
        ] {
            entries
                .end()
                .map_err(|source| InvalidMessage::Column { field, source })?;
        }
        Ok(())
    }

    /// Start of row `index` since the agent started: the first as the batch says, each other a step after the one before.
    fn started(&mut self, index: usize) -> Result<Duration, InvalidMessage> {
        let step = match index.checked_sub(1) {
            Some(before) => self.batch.start_step_us.get(before),
            None => return Ok(Duration::from_micros(self.started_us)),
        };
        let range = InvalidMessage::Range {
            field: "start_step_us",
            index,
        };
        self.started_us = step
            .and_then(|step| self.batch.start_pace_us.checked_add_signed(*step))
            .and_then(|step| self.started_us.checked_add(step))
            .ok_or(range)?;
        Ok(Duration::from_micros(self.started_us))
    }

    /// Time from connect() to the outcome of row `index`.
    fn elapsed(&self, index: usize) -> Result<Duration, InvalidMessage> {
        let range = InvalidMessage::Range {
            field: "elapsed_us",
            index,
        };
        let above = self.batch.elapsed_us.get(index);
        let elapsed = above.and_then(|above| self.batch.elapsed_floor_us.checked_add(*above));
        Ok(Duration::from_micros(elapsed.ok_or(range)?.into()))
    }

    /// Local socket address of row `index`, absent where no socket was bound.
    fn local(&mut self, index: usize) -> Result<Option<SocketAddr>, InvalidMessage> {
        let place = usize::try_from(self.local_address.take_next()).unwrap_or(usize::MAX);
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
        let address = self.addresses.get(place).ok_or(InvalidMessage::Range {
            field: "local_address",
            index,
        })?;
        Ok(Some(SocketAddr::new(*address, port)))
    }
}

/// The entries of a column.
fn column<'a>(
    field: &'static str,
    column: Option<&'a v1::Column>,
) -> Result<Entries<'a>, InvalidMessage> {
    Entries::new(column).map_err(|source| InvalidMessage::Column { field, source })
}

/// Reads one outcome.
fn outcome(number: u32, elapsed: Duration, errno: u32) -> Result<Outcome, InvalidMessage> {
    let value = number.cast_signed();
    let unknown = InvalidMessage::Unknown {
        field: "outcome",
        value,
    };
    match v1::Outcome::try_from(value) {
        Ok(v1::Outcome::Connected) => Ok(Outcome::Connected { handshake: elapsed }),
        Ok(v1::Outcome::Refused) => Ok(Outcome::Refused { after: elapsed }),
        Ok(v1::Outcome::TimedOut) => Ok(Outcome::TimedOut { after: elapsed }),
        Ok(v1::Outcome::Unreachable) => Ok(Outcome::Unreachable { errno, icmp: None }),
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
        Some(v1::identification::Result::DnsCode(code)) => match u8::try_from(*code) {
            Ok(code) if code <= DNS_CODE_MAX => Ok(ReportedIdentity::Resolver(code)),
            Ok(_) | Err(_) => Err(InvalidMessage::Range {
                field: "identifications.dns_code",
                index: usize::try_from(wire.index).unwrap_or(usize::MAX),
            }),
        },
        Some(v1::identification::Result::DnsFailure(failure)) => {
            query_failure(*failure).map(ReportedIdentity::NoResolver)
        }
        // Nothing asks for a session yet.
        Some(
            v1::identification::Result::TlsChain(_) | v1::identification::Result::TlsFailure(_),
        ) => Ok(ReportedIdentity::Unreadable),
        None => Err(InvalidMessage::Range {
            field: "identifications.result",
            index: usize::try_from(wire.index).unwrap_or(usize::MAX),
        }),
    }
}

/// Reads why a query got no answer.
fn query_failure(value: i32) -> Result<QueryFailure, InvalidMessage> {
    match v1::DnsFailure::try_from(value) {
        Ok(v1::DnsFailure::Silent) => Ok(QueryFailure::Silent),
        Ok(v1::DnsFailure::Closed) => Ok(QueryFailure::Closed),
        Ok(v1::DnsFailure::Malformed) => Ok(QueryFailure::Malformed),
        Ok(v1::DnsFailure::Unspecified) | Err(_) => Err(InvalidMessage::Unknown {
            field: "identifications.dns_failure",
            value,
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
