//! Every limit of the agent, with its unit and its reason.
//!
//! Hard caps are compiled in: neither flags nor the coordinator go beyond them (security.md, "Limits of probing").

use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use thiserror::Error;

/// Attempts in flight unless the flags say otherwise: few enough for any node's connection tracking.
pub const IN_FLIGHT_DEFAULT: u32 = 64;

/// Hard cap of attempts in flight.
pub const IN_FLIGHT_CAP: u32 = 256;

/// Attempts started per second unless the flags say otherwise.
pub const STARTS_PER_SECOND_DEFAULT: u32 = 20;

/// Hard cap of attempts started per second.
pub const STARTS_PER_SECOND_CAP: u32 = 100;

/// Attempts that may start at once after a pause, so that a small plan is not stretched.
pub const STARTS_BURST: u32 = 50;

/// Most probes of one assignment, as in `control.proto`.
pub const PROBES_MAX: usize = 10_000;

/// Most probes that wait or run at once, over all runs: a coordinator cannot fill the memory with generations.
pub const PROBES_WAITING_MAX: usize = 20_000;

/// Most attempts of one probe, as in `control.proto`: half an hour of one each 2 s.
pub const ATTEMPTS_MAX: u32 = 1_024;

/// Most attempts that start a second beside the pace of all others, as in `control.proto`.
pub const CALLS_PER_SECOND_MAX: u32 = 16;

/// Most attempts of one probe by hand.
pub const HAND_ATTEMPTS_MAX: u32 = 16;

/// Most source ports, or ranges of them, that a probe plans, as in `control.proto`.
pub const SOURCE_PORTS_MAX: usize = 16;

/// Highest number of a first attempt, as in `control.proto`.
pub const FIRST_ATTEMPT_MAX: u32 = 4_096;

/// Ports of a range that are tried for one attempt: when so many in a row are taken, it waits.
pub const PORT_DRAWS_MAX: usize = 16;

/// Longest wait for an answer, as in `control.proto`: the kernel gives up by itself after about two minutes.
pub const DEADLINE_MAX: Duration = Duration::from_secs(60);

/// Longest time between the starts of two attempts: a plan that waits longer belongs into two.
pub const INTERVAL_MAX: Duration = Duration::from_secs(600);

/// Longest life of an assignment: the longest run (security.md, "Limits of probing").
pub const EXPIRY_MAX: Duration = Duration::from_secs(6 * 60 * 60);

/// Longest name of a run, in bytes, as in `control.proto`.
pub const RUN_NAME_MAX: usize = 64;

/// Most runs whose assignments are remembered at once; a service has few at a time.
pub const RUNS_MAX: usize = 64;

/// Most ports that one assignment opens: the peer ports of ARCHITECTURE, "Agents and ports" are ten, and rule edges add
/// some.
pub const LISTEN_MAX: usize = 256;

/// How long ports stay open after their assignment expired, for attempts that started just before: their longest wait.
pub const LISTEN_GRACE: Duration = DEADLINE_MAX;

/// Backlog of a listening socket: above what is in flight towards one agent, since a full queue looks like a drop
/// (ARCHITECTURE, "The instrument"). The kernel cuts it to `net.core.somaxconn`.
pub const BACKLOG: i32 = 4096;

/// Most connections that are served at once, over all ports: as many as one peer may have in flight. Further ones are
/// reported and closed.
pub const CONNECTIONS_MAX: u32 = IN_FLIGHT_CAP;

/// Longest life of a served connection, also of a silent one: a peer check takes milliseconds.
pub const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(10);

/// How long accepting rests after an error of the host, such as no free descriptor, that would repeat at once.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often a loop shows that it runs while somebody depends on it: several times within the 250 ms that matter
/// (SEMANTICS F.2), and seldom enough to cost nothing.
pub const TICK: Duration = Duration::from_millis(50);

/// Most listening sockets whose drops are reported, as in `control.proto`.
pub const LISTEN_DROPS_MAX: usize = 1_024;

/// Largest HTTP/1.1 head in bytes: a probe request has one short line.
pub const HTTP_HEAD_MAX: usize = 16 * 1024;

/// Most streams at once on one served HTTP/2 connection: a peer makes one call.
pub const PEER_STREAMS_MAX: u32 = 4;

/// Largest message of the coordinator in bytes: 10,000 probes fit (security.md, "Limits of probing").
pub const MESSAGE_MAX: usize = 1024 * 1024;

/// Largest answer of a peer in bytes: an address, a port and a proof take less than 100.
pub const PEER_MESSAGE_MAX: usize = 1024;

/// Largest answer of a resolver over TCP in bytes; over UDP it is cut there. An answer to our question takes less than 512.
pub const DNS_MESSAGE_MAX: usize = 4096;

/// Most certificates of a peer that are reported, as in `control.proto`.
pub const CHAIN_CERTIFICATES_MAX: usize = 8;

/// Largest chain of a peer's certificates that is reported, in bytes, as in `control.proto`.
pub const CHAIN_BYTES_MAX: usize = 16 * 1024;

/// Longest wait for the end of a TLS session by the peer: it answers ours within a round trip.
pub const TLS_END_MAX: Duration = Duration::from_millis(500);

/// Most chains in one batch, as in `control.proto`.
pub const BATCH_CHAINS_MAX: usize = 16;

/// Bytes of chains in one batch, so that it stays below 256 KiB with everything else.
pub const BATCH_CHAIN_BYTES_MAX: usize = 96 * 1024;

/// Datagrams that are looked at when a resolver's socket has news: a flood must not hold the loop up.
pub const DATAGRAMS_PER_LOOK_MAX: usize = 16;

/// Longest wait for the resolver of the host: as long as it waits itself for two servers.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Most addresses of the cluster endpoint that are reported, as in `control.proto`.
pub const ENDPOINT_ADDRESSES_MAX: usize = 32;

/// Longest text of a failure that is reported, in bytes, as in `control.proto`.
pub const FAILURE_TEXT_MAX: usize = 128;

/// Attempts in one batch, as in `control.proto`.
pub const BATCH_ATTEMPTS_MAX: usize = 1_000;

/// Accepted connections in one batch: as many as attempts.
pub const BATCH_ACCEPTS_MAX: usize = 1_000;

/// Longest time that a result waits for others before it is sent.
pub const BATCH_WAIT: Duration = Duration::from_millis(200);

/// Sent batches that wait for their acknowledgement: what is not sent has no number yet and can be dropped without a gap.
pub const BATCHES_UNACKNOWLEDGED_MAX: usize = 4;

/// Results in the spool: ten batches.
pub const SPOOL_RESULTS_MAX: usize = 10_000;

/// Size of the spool in bytes.
pub const SPOOL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Accepted connections that wait to be reported; further ones are only counted.
pub const SPOOL_ACCEPTS_MAX: usize = 10_000;

/// Longest wait for the coordinator's TCP handshake, and again for its TLS handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait for `Welcome`: the coordinator may have to ask an API server about the token first.
pub const WELCOME_TIMEOUT: Duration = Duration::from_secs(15);

/// Silence after which HTTP/2 asks whether the coordinator is still there.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Longest wait for that answer; with the interval a dead stream is noticed within 30 s (ARCHITECTURE, "The wire").
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Messages that wait in the outbound stream; a coordinator that reads slower loses the stream, not a message.
pub const OUTBOUND_MAX: usize = 64;

/// Shortest heartbeat interval that is followed.
pub const HEARTBEAT_MIN: Duration = Duration::from_millis(100);

/// Longest heartbeat interval that is followed.
pub const HEARTBEAT_MAX: Duration = Duration::from_secs(300);

/// Longest window over which the first dial after a lost stream is spread.
pub const RECONNECT_WINDOW_MAX: Duration = Duration::from_secs(600);

/// First wait after a dial that failed.
pub const RECONNECT_FIRST: Duration = Duration::from_secs(1);

/// Longest wait after dials that failed, before it is varied by half.
pub const RECONNECT_MAX: Duration = Duration::from_secs(60);

/// Longest wait, at the end, for the acknowledgement of what was sent.
pub const DRAIN_MAX: Duration = Duration::from_secs(2);

/// Largest CA or token file in bytes.
pub const CREDENTIAL_MAX: u64 = 1024 * 1024;

/// Connection-tracking entries that attempts leave behind at once: a small node's table has room for several times as many
/// (ARCHITECTURE, "The instrument").
pub const TRACKED_DEFAULT: usize = 20_000;

/// How long connection tracking keeps an unanswered SYN, or the end of an orderly closed connection
/// (`nf_conntrack_tcp_timeout_syn_sent`, `_time_wait`).
pub const TRACKED_SILENT: Duration = Duration::from_secs(120);

/// How long connection tracking keeps a connection that was reset (`nf_conntrack_tcp_timeout_close`).
pub const TRACKED_ANSWERED: Duration = Duration::from_secs(10);

/// Kernel memory of one attempt in flight, in bytes, which counts against the memory limit (ARCHITECTURE, "The
/// instrument").
pub const SOCKET_BYTES: u64 = 8 * 1024;

/// Bytes of a memory limit that attempts leave to the rest of the agent: twice what it takes at rest.
const MEMORY_RESERVED: u64 = 16 * 1024 * 1024;

/// Most attempts in flight by hand: with what waits they stay below [`PROBES_WAITING_MAX`].
pub const HAND_IN_FLIGHT_CAP: u32 = 16_384;

/// Targets by hand given to the engine at once.
pub const HAND_CHUNK: usize = 1_024;

/// Answers by hand that are printed at once. So many targets wait beyond those in flight, so that the engine never does.
pub const HAND_LOT: usize = HAND_CHUNK / 2;

/// Longest time that an answer by hand waits for others before it is printed: below what a person notices.
pub const HAND_OUTPUT_WAIT: Duration = Duration::from_millis(20);

/// Connections of ended attempts by hand that wait to be closed, where the limit on open files leaves room.
pub const HAND_CLOSING_MAX: usize = HAND_LOT;

/// Descriptors that probes by hand leave to standard streams and event queues.
pub const HAND_DESCRIPTORS_RESERVED: u64 = 32;

/// Descriptors that attempts leave to everything else: listeners, served connections, the stream, the event loops.
const DESCRIPTORS_RESERVED: u64 = 128;

/// What the agent can take at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Attempts in flight, 1 to [`IN_FLIGHT_CAP`].
    pub in_flight_max: u32,
    /// Attempts started per second, 1 to [`STARTS_PER_SECOND_CAP`].
    pub starts_per_second_max: u32,
}

/// What the agent can take at once on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// For attempts.
    pub attempts: Limits,
    /// Connections that are served, 1 to [`CONNECTIONS_MAX`].
    pub connections_max: u32,
    /// Entries that attempts leave in connection tracking at once.
    pub tracked_max: usize,
}

/// What the host lets an agent have. Absent: it sets no limit, or does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// RLIMIT_NOFILE, soft.
    pub descriptors: u64,
    /// The memory limit of the control group, in bytes.
    pub memory: Option<u64>,
    /// Entries that are free in the connection tracking of this network namespace.
    pub tracked_free: Option<usize>,
}

/// Limits that cannot be had.
#[derive(Debug, Error)]
pub enum LimitsError {
    /// The limit on open files could not be read.
    #[error("cannot read the limit on open files")]
    Unreadable(#[source] std::io::Error),
    /// Too few files may be open.
    #[error(
        "the limit on open files is {limit}, needs more than {DESCRIPTORS_RESERVED}: raise it with `ulimit -n`"
    )]
    TooFewFiles {
        /// RLIMIT_NOFILE, soft.
        limit: u64,
    },
}

impl Limits {
    /// Cuts what was asked for to the hard caps and to what this host has.
    ///
    /// # Errors
    /// [`LimitsError`] when the limit on open files is unreadable or leaves no descriptor.
    pub fn within_host(asked: Limits) -> Result<Allowance, LimitsError> {
        asked.within(Host::read()?)
    }

    /// Cuts to the hard caps, to half of the descriptors that are free for attempts (the other half is for connections
    /// that are served), to the sockets for which there is memory, and to half of the connection tracking that is free.
    ///
    /// # Errors
    /// [`LimitsError::TooFewFiles`] when there is no descriptor left.
    pub fn within(self, host: Host) -> Result<Allowance, LimitsError> {
        let limit = host.descriptors;
        let free = limit.saturating_sub(DESCRIPTORS_RESERVED).div_ceil(2);
        if free == 0 {
            return Err(LimitsError::TooFewFiles { limit });
        }
        let free = u32::try_from(free).unwrap_or(IN_FLIGHT_CAP);
        let attempts = Limits {
            in_flight_max: self
                .in_flight_max
                .min(IN_FLIGHT_CAP)
                .min(free)
                .min(host.sockets_in_memory())
                .max(1),
            starts_per_second_max: self.starts_per_second_max.clamp(1, STARTS_PER_SECOND_CAP),
        };
        let tracked_free = host.tracked_free.map_or(TRACKED_DEFAULT, |free| free / 2);
        Ok(Allowance {
            attempts,
            connections_max: free.min(CONNECTIONS_MAX),
            tracked_max: tracked_free.clamp(1, TRACKED_DEFAULT),
        })
    }
}

impl Host {
    /// Asks the kernel.
    ///
    /// # Errors
    /// [`LimitsError::Unreadable`] when the limit on open files cannot be read; whatever else is not told sets no limit.
    pub fn read() -> Result<Host, LimitsError> {
        let (descriptors, _hard) = getrlimit(Resource::RLIMIT_NOFILE)
            .map_err(|errno| LimitsError::Unreadable(errno.into()))?;
        let tracked =
            |name: &str| number_in(&format!("/proc/sys/net/netfilter/nf_conntrack_{name}"));
        let tracked_free = tracked("max")
            .zip(tracked("count"))
            .and_then(|(most, count)| usize::try_from(most.saturating_sub(count)).ok());
        Ok(Host {
            descriptors,
            memory: MEMORY_LIMITS.into_iter().find_map(number_in),
            tracked_free,
        })
    }

    /// Sockets for which the memory limit has room.
    fn sockets_in_memory(self) -> u32 {
        self.memory.map_or(u32::MAX, |limit| {
            u32::try_from(limit.saturating_sub(MEMORY_RESERVED) / SOCKET_BYTES).unwrap_or(u32::MAX)
        })
    }
}

/// Where a container finds its memory limit: control groups of version 2 and 1.
const MEMORY_LIMITS: [&str; 2] = [
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
];

/// The number that a file holds; none when it holds something else, such as `max`, or is not there.
fn number_in(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const GREEDY: Limits = Limits {
        in_flight_max: 1_000_000,
        starts_per_second_max: 1_000_000,
    };

    /// A host that sets no limit that matters.
    const PLENTY: Host = Host {
        descriptors: 1_000_000,
        memory: None,
        tracked_free: None,
    };

    #[test]
    fn a_memory_limit_leaves_room_for_so_many_sockets() {
        let host = Host {
            memory: Some(MEMORY_RESERVED + 100 * SOCKET_BYTES),
            ..PLENTY
        };
        assert_eq!(GREEDY.within(host).unwrap().attempts.in_flight_max, 100);
        let host = Host {
            memory: Some(1),
            ..PLENTY
        };
        assert_eq!(GREEDY.within(host).unwrap().attempts.in_flight_max, 1);
    }

    #[test]
    fn attempts_take_at_most_half_of_the_connection_tracking_that_is_free() {
        for (free, tracked_max) in [(1_000, 500), (0, 1), (1_000_000, TRACKED_DEFAULT)] {
            let host = Host {
                tracked_free: Some(free),
                ..PLENTY
            };
            assert_eq!(GREEDY.within(host).unwrap().tracked_max, tracked_max);
        }
    }

    #[test]
    fn hard_caps_hold_whatever_is_asked_for() {
        let Allowance {
            attempts: limits,
            connections_max,
            tracked_max,
        } = GREEDY.within(PLENTY).unwrap();
        assert_eq!(
            (connections_max, tracked_max),
            (CONNECTIONS_MAX, TRACKED_DEFAULT)
        );
        assert_eq!(limits.in_flight_max, IN_FLIGHT_CAP);
        assert_eq!(limits.starts_per_second_max, STARTS_PER_SECOND_CAP);
    }

    #[test]
    fn attempts_and_served_connections_share_the_open_files() {
        let host = Host {
            descriptors: 148,
            ..PLENTY
        };
        let allowance = GREEDY.within(host).unwrap();
        assert_eq!(
            (allowance.attempts.in_flight_max, allowance.connections_max),
            (10, 10)
        );
    }

    #[test]
    fn too_few_open_files_are_an_error() {
        let host = Host {
            descriptors: 128,
            ..PLENTY
        };
        let error = GREEDY.within(host).unwrap_err();
        assert!(matches!(error, LimitsError::TooFewFiles { limit: 128 }));
    }
}
