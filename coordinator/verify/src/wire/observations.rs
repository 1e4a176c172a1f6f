//! A batch of attempts, from columns back to attempts.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reachproof_model::observation::{
    Attempt, CertificateFault, IcmpError, Identification, Outcome, QueryFailure,
};
use reachproof_model::plan::ProbeId;
use reachproof_proto::column::{Entries, zigzag_from_wire};
use reachproof_proto::net::{Proof, address_from_wire, bytes_from_wire, port_from_wire};
use reachproof_proto::v1;
use rustls_pki_types::CertificateDer;

use super::{ADDRESSES_MAX, InvalidMessage, address, count};
use crate::certificate::Chain;

/// Most attempts in one batch (`control.proto`).
pub const ATTEMPTS_PER_BATCH_MAX: usize = 1_000;

/// Most chains of certificates in one batch (`control.proto`).
pub const CHAINS_PER_BATCH_MAX: usize = 16;

/// Most certificates of one chain (`control.proto`).
pub const CERTIFICATES_PER_CHAIN_MAX: usize = 8;

/// Most bytes of one chain (`control.proto`).
pub const CHAIN_BYTES_MAX: usize = 16 * 1_024;

/// Largest response code of DNS (RFC 1035).
const DNS_CODE_MAX: u8 = 15;

/// One attempt as an agent reports it; who answered is not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedAttempt {
    /// Probe that the attempt belongs to.
    pub probe: ProbeId,
    /// The attempt, with [`Identification::NotAsked`] and without the time when it was received.
    pub attempt: Attempt,
    /// What the peer said.
    pub identity: ReportedIdentity,
}

/// What the peer of one attempt said, unchecked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportedIdentity {
    /// Nothing was asked.
    NotAsked,
    /// The call failed with this gRPC status code.
    Failed(u32),
    /// A resolver answered a DNS query with this response code.
    Resolver(u8),
    /// A DNS query got no answer on its connection.
    NoResolver(QueryFailure),
    /// It completed a TLS handshake and proved the key of the first of these certificates.
    Session(Chain),
    /// It was asked for a TLS session and there is none.
    NoSession(CertificateFault),
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
    for error in &batch.icmp_errors {
        let row = row_of(&mut read, "icmp_errors.index", error.index)?;
        icmp_error(error, &mut row.attempt.outcome)?;
    }
    let chains = chains(&batch.chains)?;
    for identification in &batch.identifications {
        let row = row_of(&mut read, "identifications.index", identification.index)?;
        row.identity = identity(identification, &chains)?;
    }
    Ok(read)
}

/// The row with a number.
fn row_of<'a>(
    rows: &'a mut [ReportedAttempt],
    field: &'static str,
    index: u32,
) -> Result<&'a mut ReportedAttempt, InvalidMessage> {
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    let row = rows.get_mut(index);
    row.ok_or(InvalidMessage::Range { field, index })
}

/// Reads the ICMP error of an attempt; the attempt must have ended by one.
fn icmp_error(wire: &v1::IcmpError, outcome: &mut Outcome) -> Result<(), InvalidMessage> {
    let index = usize::try_from(wire.index).unwrap_or(usize::MAX);
    let byte =
        |field, value: u32| u8::try_from(value).map_err(|_| InvalidMessage::Range { field, index });
    let Outcome::Unreachable { icmp, .. } = outcome else {
        return Err(InvalidMessage::Range {
            field: "icmp_errors.index",
            index,
        });
    };
    *icmp = Some(IcmpError {
        icmp_type: byte("icmp_errors.type", wire.r#type)?,
        code: byte("icmp_errors.code", wire.code)?,
        from: match wire.from.as_slice() {
            [] => None,
            bytes => Some(address("icmp_errors.from", bytes)?),
        },
    });
    Ok(())
}

/// Reads the chains of a batch. What is in a certificate is the peer's affair, and judged elsewhere.
fn chains(wire: &[v1::CertificateChain]) -> Result<Vec<Chain>, InvalidMessage> {
    count("chains", wire.len(), 0, CHAINS_PER_BATCH_MAX)?;
    wire.iter().map(chain).collect()
}

/// Reads one chain.
fn chain(wire: &v1::CertificateChain) -> Result<Chain, InvalidMessage> {
    let bytes = wire.certificates.iter().map(Vec::len).sum();
    let length = wire.certificates.len();
    count("chains.certificates", length, 1, CERTIFICATES_PER_CHAIN_MAX)?;
    count("chains.certificates", bytes, 1, CHAIN_BYTES_MAX)?;
    let certificates = wire.certificates.iter().cloned();
    Ok(certificates.map(CertificateDer::from).collect())
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
fn identity(
    wire: &v1::Identification,
    chains: &[Chain],
) -> Result<ReportedIdentity, InvalidMessage> {
    let index = usize::try_from(wire.index).unwrap_or(usize::MAX);
    match &wire.result {
        Some(v1::identification::Result::FailedCode(code)) => Ok(ReportedIdentity::Failed(*code)),
        Some(v1::identification::Result::Answer(answer)) => Ok(answered(answer)),
        Some(v1::identification::Result::DnsCode(code)) => match u8::try_from(*code) {
            Ok(code) if code <= DNS_CODE_MAX => Ok(ReportedIdentity::Resolver(code)),
            Ok(_) | Err(_) => Err(InvalidMessage::Range {
                field: "identifications.dns_code",
                index,
            }),
        },
        Some(v1::identification::Result::DnsFailure(failure)) => {
            query_failure(*failure).map(ReportedIdentity::NoResolver)
        }
        Some(v1::identification::Result::TlsChain(number)) => {
            let place = usize::try_from(*number).unwrap_or(usize::MAX);
            let chain = chains.get(place).cloned();
            chain
                .map(ReportedIdentity::Session)
                .ok_or(InvalidMessage::Range {
                    field: "identifications.tls_chain",
                    index,
                })
        }
        Some(v1::identification::Result::TlsFailure(failure)) => {
            tls_failure(*failure).map(ReportedIdentity::NoSession)
        }
        None => Err(InvalidMessage::Range {
            field: "identifications.result",
            index,
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

/// Reads why there is no session.
fn tls_failure(value: i32) -> Result<CertificateFault, InvalidMessage> {
    match v1::TlsFailure::try_from(value) {
        Ok(v1::TlsFailure::Silent) => Ok(CertificateFault::Silent),
        Ok(v1::TlsFailure::Closed) => Ok(CertificateFault::Closed),
        Ok(v1::TlsFailure::Malformed) => Ok(CertificateFault::Malformed),
        Ok(v1::TlsFailure::Key) => Ok(CertificateFault::Key),
        Ok(v1::TlsFailure::Chain) => Ok(CertificateFault::Chain),
        Ok(v1::TlsFailure::Unspecified) | Err(_) => Err(InvalidMessage::Unknown {
            field: "identifications.tls_failure",
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
