//! What is to be tried, and what one attempt gave.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use reachproof_proto::net::Nonce;

use crate::{
    dns::QueryFailure,
    outcome::Outcome,
    tls::{Chain, TlsFailure},
};

/// Name of a run, 1 to [`RUN_NAME_MAX`](crate::limits::RUN_NAME_MAX) bytes; shared by all that belongs to the run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunName(Arc<str>);

impl RunName {
    /// Takes a name as it is; its length is checked where it comes from the wire.
    pub fn new(name: &str) -> RunName {
        RunName(Arc::from(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RunName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One flow to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Names the probe within its run.
    pub id: u32,
    /// Where to connect to.
    pub target: SocketAddr,
    /// Address to connect from, one of this host; none: as the routes say.
    pub source: Option<IpAddr>,
    /// What to do once connected.
    pub kind: ProbeKind,
    /// How often, and from which ports.
    pub attempts: Attempts,
    /// How long an attempt waits, above 0, at most [`DEADLINE_MAX`](crate::limits::DEADLINE_MAX).
    pub deadline: Duration,
    /// Time between the starts of two attempts, at least the deadline.
    pub interval: Duration,
}

/// What a probe does once it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeKind {
    /// Closes without a byte.
    TcpConnect,
    /// Asks who is there, on the same connection.
    Peer {
        /// What the peer has to put into its proof.
        nonce: Nonce,
    },
    /// Asks one DNS query over UDP: there is no handshake, so that only an answer shows a path.
    DnsUdp {
        /// Id of the first query; each further attempt has the next.
        id: u16,
    },
    /// Asks one DNS query on the connection.
    DnsTcp {
        /// Id of the first query; each further attempt has the next.
        id: u16,
    },
    /// Makes a TLS handshake and ends the session, so that the peer shows its certificates and proves its key.
    Tls,
}

impl ProbeKind {
    /// Whether it is made over UDP, where nothing opens or ends a connection.
    pub fn is_udp(self) -> bool {
        match self {
            ProbeKind::DnsUdp { .. } => true,
            ProbeKind::TcpConnect
            | ProbeKind::Peer { .. }
            | ProbeKind::DnsTcp { .. }
            | ProbeKind::Tls => false,
        }
    }

    /// The id of the query of the attempt with this number; none for kinds that send none.
    pub fn query_id(self, attempt: u32) -> Option<u16> {
        let (ProbeKind::DnsUdp { id } | ProbeKind::DnsTcp { id }) = self else {
            return None;
        };
        // Invariant: the numbers of attempts are below FIRST_ATTEMPT_MAX + ATTEMPTS_MAX.
        Some(id.wrapping_add(u16::try_from(attempt).unwrap_or(u16::MAX)))
    }
}

/// How often a flow is tried, and from which source ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempts {
    /// Number of the first: those before were made by an earlier assignment.
    pub first: u32,
    /// At most so many, 1 to [`ATTEMPTS_MAX`](crate::limits::ATTEMPTS_MAX).
    pub most: u32,
    /// What an answer changes.
    pub after_answer: AfterAnswer,
    /// Whether they keep the pace of all others.
    pub turn: Turn,
    /// Where the source ports come from.
    pub ports: SourcePorts,
}

/// What an answer changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterAnswer {
    /// It ends the attempts.
    End,
    /// Nothing: all attempts are made.
    GoOn,
}

/// Whether attempts keep the pace of all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// They do.
    Paced,
    /// They start when they are due: few calls that show who is there.
    Beside,
}

/// Where source ports come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourcePorts {
    /// A new random port of the ephemeral range each time.
    Ephemeral,
    /// One for each attempt, in this order.
    Planned(Vec<u16>),
    /// A new random port out of one of these for each attempt, in this order and then from the first again.
    Within(Vec<RangeInclusive<u16>>),
}

/// Where the source port of one attempt comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourcePort<'a> {
    /// The ephemeral range.
    Ephemeral,
    /// This one.
    Planned(u16),
    /// One out of these.
    Within(&'a RangeInclusive<u16>),
}

impl Attempts {
    /// From random ports until one is answered, at most `most` times.
    pub fn until_answered(most: u32) -> Attempts {
        Attempts {
            first: 0,
            most,
            after_answer: AfterAnswer::End,
            turn: Turn::Paced,
            ports: SourcePorts::Ephemeral,
        }
    }

    /// Once from each of these ports, also after an answer.
    pub fn from_ports(ports: Vec<u16>) -> Attempts {
        Attempts {
            first: 0,
            // Invariant: the wire bounds the list.
            most: u32::try_from(ports.len()).unwrap_or(u32::MAX),
            after_answer: AfterAnswer::GoOn,
            turn: Turn::Paced,
            ports: SourcePorts::Planned(ports),
        }
    }
}

impl Probe {
    /// Where the source port comes from of the attempt that is made after `made` others.
    pub fn source_port(&self, made: u32) -> SourcePort<'_> {
        let made = usize::try_from(made).unwrap_or(usize::MAX);
        match &self.attempts.ports {
            SourcePorts::Ephemeral => SourcePort::Ephemeral,
            SourcePorts::Planned(ports) => ports
                .get(made)
                .map_or(SourcePort::Ephemeral, |port| SourcePort::Planned(*port)),
            SourcePorts::Within(ranges) => made
                .checked_rem(ranges.len())
                .and_then(|at| ranges.get(at))
                .map_or(SourcePort::Ephemeral, SourcePort::Within),
        }
    }

    /// The number of the attempt that is made after `made` others.
    pub fn number(&self, made: u32) -> u32 {
        self.attempts.first.saturating_add(made)
    }

    /// Whether another attempt follows one with this outcome, which was made after `made` others.
    pub fn goes_on_after(&self, made: u32, outcome: Outcome) -> bool {
        let left = made.saturating_add(1) < self.attempts.most;
        left && outcome != Outcome::RefusedByPolicy
            && match self.attempts.after_answer {
                AfterAnswer::End => !outcome.is_answer(),
                AfterAnswer::GoOn => true,
            }
    }
}

/// Probes of one assignment.
#[derive(Debug, Clone)]
pub struct Work {
    /// The run they belong to.
    pub run: RunName,
    /// What to try.
    pub probes: Vec<Probe>,
    /// When nothing new is started any more.
    pub expires_at: Instant,
}

/// One finished attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The run it belongs to.
    pub run: RunName,
    /// Id of its probe.
    pub probe: u32,
    /// Number of the attempt within its probe, from 0.
    pub attempt: u32,
    /// What the kernel said.
    pub outcome: Outcome,
    /// Source address and port by getsockname; none where no socket was bound.
    pub local: Option<SocketAddr>,
    /// When it started.
    pub started_at: Instant,
    /// SYN retransmissions by `TCP_INFO`.
    pub syn_retransmissions: u32,
    /// What the peer said; none where it was not asked.
    pub identification: Option<Identification>,
}

impl Finished {
    /// The certificates that the peer showed; none where it proved no key.
    pub fn chain(&self) -> Option<&Chain> {
        match self.identification.as_ref()? {
            Identification::Certified { chain } => Some(chain),
            Identification::Answer { .. }
            | Identification::Failed { .. }
            | Identification::Resolver { .. }
            | Identification::NoResolver { .. }
            | Identification::NoSession { .. } => None,
        }
    }
}

/// What asking a peer who it is gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identification {
    /// It answered. Unchecked: only the coordinator holds the key.
    Answer {
        /// Source address that the peer saw, as it was on the wire.
        observed_address: Vec<u8>,
        /// Source port that the peer saw, as it was on the wire.
        observed_port: u32,
        /// The proof, as it was on the wire.
        proof: Vec<u8>,
    },
    /// The call failed, with this gRPC status code.
    Failed {
        /// A number of [`tonic::Code`].
        code: u32,
    },
    /// A resolver answered the query, with this response code.
    Resolver {
        /// 0 to 15.
        code: u8,
    },
    /// The connection was made, but the query got no answer.
    NoResolver {
        /// What came instead.
        failure: QueryFailure,
    },
    /// The peer proved in a TLS handshake that it holds the key of its certificate. Nothing else about it was checked.
    Certified {
        /// What it showed, its own first.
        chain: Chain,
    },
    /// The connection was made, but no TLS session.
    NoSession {
        /// What came instead.
        failure: TlsFailure,
    },
}
