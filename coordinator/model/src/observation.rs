//! What the network showed: attempts, accepted connections, and who was there to see it.
//!
//! Nothing in here judges. The words are those of the network (ARCHITECTURE, "Words"): an [`Outcome`] never says allow
//! or deny.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster_endpoint::EndpointResolution;
use crate::dial::DialFailure;

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

impl<'de> Deserialize<'de> for AgentName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::try_from(name.as_str()).map_err(serde::de::Error::custom)
    }
}

impl std::fmt::Display for AgentName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What one attempt ended with (F.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The handshake completed, also when a reset or an end of stream came after it. Over UDP: the query was answered.
    Connected {
        /// From `connect()` to the end of the handshake; the round trip by `TCP_INFO` where the kernel has it. Over UDP: from
        /// the query to its answer.
        #[serde(rename = "handshake_us", with = "micros")]
        handshake: Duration,
    },
    /// A reset in answer to the SYN. Whose it is cannot be seen: the target's, a firewall's or the own host's (F.2).
    Refused {
        /// From `connect()` to the answer.
        #[serde(rename = "after_us", with = "micros")]
        after: Duration,
    },
    /// No answer within the deadline.
    TimedOut {
        /// How long the agent waited.
        #[serde(rename = "after_us", with = "micros")]
        after: Duration,
    },
    /// An ICMP error, or the host's own neighbour table or routes: says nothing about the groups on the way (F.1, F.2).
    Unreachable {
        /// errno.
        errno: u32,
        /// The ICMP error; absent where the host itself said it.
        #[serde(skip_serializing_if = "Option::is_none")]
        icmp: Option<IcmpError>,
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
    /// An API server was asked to connect, and nothing is known of a dial (G.2b).
    NotDialled {
        /// Why.
        failure: DialFailure,
    },
}

/// An ICMP error that ended an attempt. It is never an answer of the target (F.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IcmpError {
    /// Type, of ICMP or ICMPv6 by the family of the flow.
    #[serde(rename = "type")]
    pub icmp_type: u8,
    /// Code.
    pub code: u8,
    /// Who sent it; absent where the kernel does not say.
    pub from: Option<IpAddr>,
}

/// What an outcome is worth as evidence (F.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// Somebody answered. Whether it was the target is another question (F.2).
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
            | Self::RefusedByPolicy
            | Self::NotDialled { .. } => Evidence::Nothing,
        }
    }
}

/// Who answered, as far as the attempt asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The peer proved the key of a certificate that the cluster's CA signed for the API server.
    Certified,
    /// The peer was asked for a TLS session and did not show that it is the API server.
    Uncertified {
        /// What it lacks.
        fault: CertificateFault,
    },
    /// The call failed after the handshake, or got no reply.
    Failed {
        /// gRPC status code.
        code: u32,
    },
    /// A resolver answered the query.
    Resolver {
        /// Response code of DNS, 0 to 15.
        code: u8,
    },
    /// The kubelet's own words came back to an API server that spoke plain HTTP to its port, or from it the log of an agent, in
    /// which this run is named (G.2b).
    Kubelet,
    /// The connection was made, and the query on it got no answer.
    NoResolver {
        /// What came instead.
        failure: QueryFailure,
    },
}

/// Why a TLS session does not show that the peer is the cluster's API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateFault {
    /// Nothing came within the deadline.
    Silent,
    /// The connection was closed or reset before the session stood.
    Closed,
    /// What came is no TLS 1.3.
    Malformed,
    /// The peer did not prove that it holds the key.
    Key,
    /// The chain was longer than is reported, or could not be read.
    Chain,
    /// The chain does not lead to the cluster's CA.
    Authority,
    /// No certificate names the endpoint's host or `kubernetes.default.svc`.
    Name,
    /// The certificate is not valid now.
    Expired,
    /// The snapshot has no CA of the cluster: nothing can be proved.
    NoAuthority,
}

/// Why a connection gave no answer to a DNS query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Number within its probe, from 0.
    pub number: u32,
    /// Local address by `getsockname`; absent where no socket was bound. Of an API server's connection: what its target says
    /// that it saw, as far as it said anything.
    pub local: Option<SocketAddr>,
    /// Start by the agent's monotonic clock, since the agent started; [`AgentRecord::clock`] leads to the coordinator's. Of an
    /// API server's: when it was asked, by the coordinator's clock, since the run began.
    #[serde(rename = "started_us", with = "micros")]
    pub started: Duration,
    /// When its result arrived, by the coordinator's clock, since the run began.
    #[serde(rename = "received_us", with = "micros")]
    pub received: Duration,
    /// What the kernel said.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// SYN retransmissions by `TCP_INFO`.
    pub syn_retransmissions: u32,
    /// Who answered.
    pub identification: Identification,
}

/// Everything that one agent saw of one probe, in the order of the attempts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Observation {
    /// Attempts made; empty when nothing was reported.
    pub attempts: Vec<Attempt>,
}

/// A connection that an agent's listener accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Accept {
    /// Address and port that were connected to.
    pub local: SocketAddr,
    /// Source by `getpeername`.
    pub peer: SocketAddr,
}

/// How an agent's monotonic clock stands to the coordinator's (F.2 "clock").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockOffset {
    /// The agent's time since it started, less the coordinator's since the run began, in microseconds.
    pub offset_us: i64,
    /// How far the truth may be from that, either way.
    #[serde(rename = "uncertainty_us", with = "micros")]
    pub uncertainty: Duration,
}

impl ClockOffset {
    /// The coordinator's own clock.
    pub const OWN: Self = Self {
        offset_us: 0,
        uncertainty: Duration::ZERO,
    };
}

/// A sign of life that came over an agent's control stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// When it arrived, by the coordinator's clock, since the run began.
    pub at: Duration,
    /// Address that the stream came from.
    pub from: Option<IpAddr>,
}

/// How late the loops of an agent were in some time, by the agent's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lateness {
    /// Begin of that time.
    pub from: Duration,
    /// End of that time.
    pub to: Duration,
    /// Longest that a loop was late in it.
    pub late_max: Duration,
}

/// Why nothing counts that an agent reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum Implausible {
    /// A result arrived sooner than its attempts can have taken, by the coordinator's clock.
    TooSoon {
        /// Probe.
        probe: ProbeId,
        /// Number of the attempt.
        number: u32,
        /// How much too soon.
        #[serde(rename = "by_us", with = "micros")]
        by: Duration,
    },
}

/// How an agent that took part ended the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
    /// Connections that the kernel dropped in its network namespace during the run because a queue of accepted connections
    /// was full, on whatever port; absent where nobody can tell.
    pub accept_queue_drops: Option<u64>,
    /// What the kernel dropped at each of its listening sockets, as far as that can be told.
    pub listen_drops: BTreeMap<SocketAddr, u64>,
    /// How its clock stands to the coordinator's; absent where that is not known.
    pub clock: Option<ClockOffset>,
    /// Signs of life over its stream, in the order of their arrival.
    pub heartbeats: Vec<Heartbeat>,
    /// How late its loops were, in the order of time, without overlaps.
    pub lateness: Vec<Lateness>,
    /// Why nothing of it counts; absent for an agent whose results are possible.
    pub implausible: Option<Implausible>,
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
    /// What was seen of each pulse of the plan, in their order. Of pulses beyond its end nothing was reported.
    pub pulses: Vec<Observation>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProbeId(pub u32);

impl ProbeId {
    /// The number as a place in a list of all probes.
    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// A duration as whole microseconds.
pub(crate) mod micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
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
            (
                Outcome::Unreachable {
                    errno: 113,
                    icmp: None,
                },
                Evidence::Nothing,
            ),
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
