//! What the network showed: attempts, accepted connections, and who was there to see it.
//!
//! Nothing in here judges. The words are those of the network (STYLE 3): an [`Outcome`] never says allow or deny.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::cluster_endpoint::EndpointResolution;

/// Names an agent: unique in the cluster. Cheap to clone: every flow names two.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct AgentName(Arc<str>);

/// Longest name of an agent in bytes: that of a Kubernetes object (RFC 1123 subdomain).
pub const AGENT_NAME_LENGTH_MAX: usize = 253;

/// A text that names no agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the name of an agent has {length} bytes, needs 1 to {AGENT_NAME_LENGTH_MAX} without control characters"
)]
pub struct InvalidAgentName {
    /// Length of the text in bytes.
    pub length: usize,
}

impl AgentName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for AgentName {
    type Error = InvalidAgentName;

    fn try_from(name: &str) -> Result<Self, InvalidAgentName> {
        let fits = (1..=AGENT_NAME_LENGTH_MAX).contains(&name.len());
        if fits && !name.chars().any(char::is_control) {
            return Ok(Self(Arc::from(name)));
        }
        Err(InvalidAgentName { length: name.len() })
    }
}

impl std::fmt::Display for AgentName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What one attempt ended with (F.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The handshake completed, also when a reset or an end of stream came after it. Over UDP: the query was answered.
    Connected {
        /// From `connect()` to the end of the handshake; the round trip by `TCP_INFO` where the kernel has it. Over UDP: from
        /// the query to its answer.
        #[serde(rename = "handshake_us", serialize_with = "microseconds")]
        handshake: Duration,
    },
    /// `ECONNREFUSED`: the target host answered that nobody listens.
    Refused {
        /// From `connect()` to the answer.
        #[serde(rename = "after_us", serialize_with = "microseconds")]
        after: Duration,
    },
    /// No answer within the deadline.
    TimedOut {
        /// How long the agent waited.
        #[serde(rename = "after_us", serialize_with = "microseconds")]
        after: Duration,
    },
    /// `EHOSTUNREACH` or `ENETUNREACH`: says nothing about the groups on the way (F.1).
    Unreachable {
        /// errno.
        errno: u32,
    },
    /// The attempt could not be made.
    LocalError {
        /// errno.
        errno: u32,
    },
    /// The agent ran late, so that silence proves nothing.
    Starved,
    /// The agent's own policy forbids the target.
    RefusedByPolicy,
}

/// What an outcome is worth as evidence (F.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// The target host answered: the path is open in both directions.
    Answer,
    /// Something dropped a packet somewhere.
    Silence,
    /// Neither.
    Nothing,
}

impl Outcome {
    /// What the outcome is worth as evidence.
    pub fn evidence(&self) -> Evidence {
        match self {
            Self::Connected { .. } | Self::Refused { .. } => Evidence::Answer,
            Self::TimedOut { .. } => Evidence::Silence,
            Self::Unreachable { .. }
            | Self::LocalError { .. }
            | Self::Starved
            | Self::RefusedByPolicy => Evidence::Nothing,
        }
    }
}

/// Who answered, as far as the attempt asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Identification {
    /// The attempt did not ask, or was not connected.
    NotAsked,
    /// The intended agent answered; its proof holds.
    Verified {
        /// Source that the peer saw. Another one than the attempt's own reveals SNAT or a proxy.
        observed: SocketAddr,
    },
    /// Somebody answered, but the proof does not hold.
    Mismatch,
    /// The call failed after the handshake.
    Failed {
        /// gRPC status code.
        code: u32,
    },
    /// A resolver answered the query.
    Resolver {
        /// Response code of DNS, 0 to 15.
        code: u8,
    },
    /// The connection was made, and the query on it got no answer.
    NoResolver {
        /// What came instead.
        failure: QueryFailure,
    },
}

/// Why a connection gave no answer to a DNS query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryFailure {
    /// Nothing came within the deadline.
    Silent,
    /// The connection was closed or reset.
    Closed,
    /// What came is no answer to the query.
    Malformed,
}

/// One attempt of one probe: a socket of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// Number within its probe, from 0.
    pub number: u32,
    /// Local address by `getsockname`; absent where no socket was bound.
    pub local: Option<SocketAddr>,
    /// Start by the agent's monotonic clock, since the agent started. Only differences mean anything.
    #[serde(rename = "started_us", serialize_with = "microseconds")]
    pub started: Duration,
    /// What the kernel said.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// SYN retransmissions by `TCP_INFO`.
    pub syn_retransmissions: u32,
    /// Who answered.
    pub identification: Identification,
}

/// Everything that one agent saw of one probe, in the order of the attempts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Observation {
    /// Attempts made; empty when nothing was reported.
    pub attempts: Vec<Attempt>,
}

/// A connection that an agent's listener accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Accept {
    /// Address and port that were connected to.
    pub local: SocketAddr,
    /// Source by `getpeername`.
    pub peer: SocketAddr,
}

/// How an agent that took part ended the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It said, after the last probe had ended, that it had reported everything up to then.
    HeardToTheEnd,
    /// It did not say that it had reported everything, as when its stream was cut and did not come back: what it still
    /// held is not known.
    #[default]
    Lost,
}

/// What is known of an agent that took part, beside its attempts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct AgentRecord {
    /// How it ended the run.
    pub presence: Presence,
    /// Source address of its control stream, as the coordinator saw it.
    pub stream_address: Option<IpAddr>,
    /// Connections that its listeners accepted, without duplicates.
    pub accepts: BTreeSet<Accept>,
    /// Accepted connections that are not in the list.
    pub accepts_dropped: u64,
    /// Results that it had to drop.
    pub results_lost: u64,
    /// Ports that it was asked to listen on and could not, with errno.
    pub ports_refused: BTreeMap<u16, u32>,
    /// Connections that its kernel dropped during the run because a queue of accepted connections was full; absent where
    /// nobody can tell, as on a node.
    pub accept_queue_drops: Option<u64>,
    /// What its host says about the name of the cluster endpoint; absent where it was given none.
    pub endpoint: Option<EndpointResolution>,
}

impl AgentRecord {
    /// The connections that its listener at `address` and `port` accepted.
    pub fn accepts_at(&self, address: IpAddr, port: u16) -> impl Iterator<Item = &Accept> {
        let first = Accept {
            local: SocketAddr::new(address, port),
            peer: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        };
        let from_there = self.accepts.range(first..);
        from_there
            .take_while(move |Accept { local, .. }| local.ip() == address && local.port() == port)
    }

    /// Whether the list of accepted connections is complete.
    pub fn accepts_complete(&self) -> bool {
        self.presence == Presence::HeardToTheEnd
            && self.accepts_dropped == 0
            && self.results_lost == 0
    }
}

/// Everything that the agents reported in one run, each attempt once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunEvidence {
    /// What was seen of each probe, in the order of their numbers. Of probes beyond its end nothing was reported.
    pub observations: Vec<Observation>,
    /// What is known of each agent that took part.
    pub records: BTreeMap<AgentName, AgentRecord>,
}

impl RunEvidence {
    /// The attempts of a probe; none when nothing was reported.
    pub fn attempts(&self, probe: ProbeId) -> &[Attempt] {
        self.observations
            .get(probe.index())
            .map_or(&[], |observation| &observation.attempts)
    }
}

/// Names a probe within a run: its number in the plan, from 0 and without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ProbeId(pub u32);

impl ProbeId {
    /// The number as a place in a list of all probes.
    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Writes a duration as whole microseconds.
fn microseconds<S: serde::Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn only_an_answer_of_the_target_host_is_an_answer() {
        let after = Duration::from_secs(3);
        let table = [
            (Outcome::Connected { handshake: after }, Evidence::Answer),
            (Outcome::Refused { after }, Evidence::Answer),
            (Outcome::TimedOut { after }, Evidence::Silence),
            (Outcome::Unreachable { errno: 113 }, Evidence::Nothing),
            (Outcome::LocalError { errno: 99 }, Evidence::Nothing),
            (Outcome::Starved, Evidence::Nothing),
            (Outcome::RefusedByPolicy, Evidence::Nothing),
        ];
        for (outcome, evidence) in table {
            assert_eq!(outcome.evidence(), evidence, "{outcome:?}");
        }
    }

    #[test]
    fn accepted_connections_are_found_by_address_and_port() {
        let at = |local: &str| Accept {
            local: local.parse().unwrap(),
            peer: "10.0.1.20:40000".parse().unwrap(),
        };
        let all = [
            "10.0.1.1:7500",
            "10.0.1.1:7501",
            "10.0.1.2:7500",
            "[::1]:7500",
        ];
        let record = AgentRecord {
            accepts: all.map(at).into_iter().collect(),
            ..AgentRecord::default()
        };
        for local in all {
            let socket: SocketAddr = local.parse().unwrap();
            let found: Vec<_> = record.accepts_at(socket.ip(), socket.port()).collect();
            assert_eq!(found, [&at(local)], "{local}");
        }
        let elsewhere = record.accepts_at("10.0.1.1".parse().unwrap(), 7499);
        assert_eq!(elsewhere.count(), 0);
    }

    #[test]
    fn a_name_is_neither_empty_nor_too_long_nor_holds_control_characters() {
        assert!(AgentName::try_from("node-a").is_ok());
        assert!(AgentName::try_from("a".repeat(253).as_str()).is_ok());
        for bad in ["", "a\u{1b}[31m", "a\nb", "a".repeat(254).as_str()] {
            assert!(AgentName::try_from(bad).is_err(), "{bad:?}");
        }
    }
}
