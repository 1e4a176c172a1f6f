//! What is to be tried, and what one attempt gave.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use reachproof_proto::net::Nonce;

use crate::{dns::QueryFailure, outcome::Outcome};

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
}

impl ProbeKind {
    /// The id of the query of an attempt, counted from 0; none for kinds that send none.
    pub fn query_id(self, attempt: u32) -> Option<u16> {
        let (ProbeKind::DnsUdp { id } | ProbeKind::DnsTcp { id }) = self else {
            return None;
        };
        // Invariant: a probe has at most ATTEMPTS_MAX attempts.
        Some(id.wrapping_add(u16::try_from(attempt).unwrap_or(u16::MAX)))
    }
}

/// How often a flow is tried, and from which source ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempts {
    /// From a new random port of the ephemeral range each time, until one is answered.
    Random {
        /// At most so often, 1 to [`ATTEMPTS_MAX`](crate::limits::ATTEMPTS_MAX).
        most: u32,
    },
    /// Once from each of these ports, in this order, also after an answer.
    Ports(Vec<u16>),
}

impl Probe {
    /// Most attempts that this probe makes.
    pub fn attempts_max(&self) -> u32 {
        match &self.attempts {
            Attempts::Random { most } => *most,
            // Invariant: the wire bounds the list by ATTEMPTS_MAX.
            Attempts::Ports(ports) => u32::try_from(ports.len()).unwrap_or(u32::MAX),
        }
    }

    /// The source port that is planned for an attempt, counted from 0; none where it is random.
    pub fn planned_port(&self, attempt: u32) -> Option<u16> {
        match &self.attempts {
            Attempts::Random { .. } => None,
            Attempts::Ports(ports) => usize::try_from(attempt)
                .ok()
                .and_then(|at| ports.get(at))
                .copied(),
        }
    }

    /// Whether another attempt follows the one with this number and outcome.
    pub fn goes_on_after(&self, attempt: u32, outcome: Outcome) -> bool {
        if outcome == Outcome::RefusedByPolicy {
            return false;
        }
        let left = attempt.saturating_add(1) < self.attempts_max();
        match &self.attempts {
            Attempts::Random { .. } => left && !outcome.is_answer(),
            Attempts::Ports(_) => left,
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
}
