//! What an attempt ended with, and which errno means what.

use std::{net::IpAddr, time::Duration};

/// An error number of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Errno(pub i32);

impl Errno {
    /// An argument that the agent or the kernel does not take.
    pub const INVALID: Errno = Errno(libc::EINVAL);

    /// No room for a packet: what a host that drops its own packets would say if connect() were told.
    pub const NO_ROOM: Errno = Errno(libc::ENOBUFS);

    /// Takes the number out of an error; one without a number counts as [`Errno::INVALID`].
    pub fn of(error: &std::io::Error) -> Errno {
        error.raw_os_error().map_or(Errno::INVALID, Errno)
    }
}

/// An ICMP error, or one of ICMPv6 where the attempt was over IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpError {
    /// Its type, as on the wire.
    pub kind: u8,
    /// Its code, as on the wire.
    pub code: u8,
    /// Who sent it; none where the kernel does not say.
    pub from: Option<IpAddr>,
}

/// What the kernel said about one attempt. Says nothing about *why* (SEMANTICS F.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The handshake completed, also when a reset came after it.
    Connected {
        /// Round trip by `TCP_INFO`, or by the monotonic clock where the kernel has none.
        handshake: Duration,
    },
    /// A reset answered.
    Refused {
        /// By the monotonic clock: an upper bound of the round trip.
        after: Duration,
    },
    /// No answer within the deadline.
    TimedOut {
        /// How long it was waited.
        after: Duration,
    },
    /// An ICMP error, a port unreachable among them, or the local routes said that there is no way. Who says so is no answer
    /// of the far end, whatever address it sends from.
    Unreachable {
        /// By the monotonic clock; 0 where nothing was sent.
        after: Duration,
        /// What the kernel said.
        errno: Errno,
        /// The ICMP error; none where there was none, or the kernel did not keep it.
        icmp: Option<IcmpError>,
    },
    /// The attempt could not be made, or this host may have dropped its packets.
    LocalError {
        /// What the kernel said, or [`Errno::NO_ROOM`] for packets that were dropped without a word.
        errno: Errno,
    },
    /// The agent ran late, so that its silence proves nothing.
    Starved {
        /// How long it was waited.
        after: Duration,
    },
    /// The agent's own policy forbids the target: no socket was made.
    RefusedByPolicy,
}

/// How far an attempt was when an error came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A system call failed: nothing was on the network.
    Starting,
    /// The socket reported it later, so that the network said it, or the kernel for it.
    Waiting,
}

impl Outcome {
    /// Whether the far end answered, which ends the attempts of a probe (SEMANTICS F.2).
    pub fn is_answer(self) -> bool {
        match self {
            Outcome::Connected { .. } | Outcome::Refused { .. } => true,
            Outcome::TimedOut { .. }
            | Outcome::Unreachable { .. }
            | Outcome::LocalError { .. }
            | Outcome::Starved { .. }
            | Outcome::RefusedByPolicy => false,
        }
    }

    /// The word for people and metrics (ARCHITECTURE, "Words").
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Connected { .. } => "open",
            Outcome::Refused { .. } => "refused",
            Outcome::TimedOut { .. } => "timeout",
            Outcome::Unreachable { .. } => "unreachable",
            Outcome::LocalError { .. } => "error",
            Outcome::Starved { .. } => "starved",
            Outcome::RefusedByPolicy => "policy",
        }
    }

    /// From connect() to the outcome; 0 where nothing was sent.
    pub fn elapsed(self) -> Duration {
        match self {
            Outcome::Connected { handshake } => handshake,
            Outcome::Refused { after }
            | Outcome::TimedOut { after }
            | Outcome::Unreachable { after, .. }
            | Outcome::Starved { after } => after,
            Outcome::LocalError { .. } | Outcome::RefusedByPolicy => Duration::ZERO,
        }
    }

    /// What the kernel said about an attempt that failed; none where it said nothing.
    pub fn errno(self) -> Option<Errno> {
        match self {
            Outcome::Refused { .. } => Some(Errno(libc::ECONNREFUSED)),
            Outcome::Unreachable { errno, .. } | Outcome::LocalError { errno } => Some(errno),
            Outcome::Connected { .. }
            | Outcome::TimedOut { .. }
            | Outcome::Starved { .. }
            | Outcome::RefusedByPolicy => None,
        }
    }

    /// The ICMP error that ended an attempt; none where it was none.
    pub fn icmp(self) -> Option<IcmpError> {
        match self {
            Outcome::Unreachable { icmp, .. } => icmp,
            Outcome::Connected { .. }
            | Outcome::Refused { .. }
            | Outcome::TimedOut { .. }
            | Outcome::LocalError { .. }
            | Outcome::Starved { .. }
            | Outcome::RefusedByPolicy => None,
        }
    }

    /// Reads an error without an ICMP error as an outcome, as SEMANTICS F.1 maps them [LNX `icmp_err_convert`,
    /// `icmpv6_err_convert`].
    ///
    /// ECONNRESET and EPIPE prove a handshake: a reset in answer to a SYN is ECONNREFUSED. An EACCES that comes later is an
    /// ICMPv6 "administratively prohibited"; one that comes at once is a local route.
    pub fn of_errno(errno: Errno, stage: Stage, after: Duration) -> Outcome {
        match (errno.0, stage) {
            (libc::ECONNRESET | libc::EPIPE, Stage::Waiting) => {
                Outcome::Connected { handshake: after }
            }
            (libc::ECONNREFUSED, _) => Outcome::Refused { after },
            // The kernel gave up by itself, after fewer SYNs than the deadline has room for (net.ipv4.tcp_syn_retries).
            (libc::ETIMEDOUT, Stage::Waiting) => Outcome::TimedOut { after },
            (libc::EHOSTUNREACH | libc::ENETUNREACH, _)
            | (
                libc::EHOSTDOWN
                | libc::ENONET
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::EACCES,
                Stage::Waiting,
            ) => Outcome::Unreachable {
                after,
                errno,
                icmp: None,
            },
            (_, Stage::Starting | Stage::Waiting) => Outcome::LocalError { errno },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_millis(7);

    fn waiting(errno: i32) -> Outcome {
        Outcome::of_errno(Errno(errno), Stage::Waiting, AFTER)
    }

    fn starting(errno: i32) -> Outcome {
        Outcome::of_errno(Errno(errno), Stage::Starting, Duration::ZERO)
    }

    #[test]
    fn a_reset_after_the_handshake_is_connected() {
        for errno in [libc::ECONNRESET, libc::EPIPE] {
            assert_eq!(waiting(errno), Outcome::Connected { handshake: AFTER });
        }
    }

    #[test]
    fn a_refused_connection_is_an_answer() {
        assert_eq!(
            waiting(libc::ECONNREFUSED),
            Outcome::Refused { after: AFTER }
        );
        assert!(waiting(libc::ECONNREFUSED).is_answer());
    }

    #[test]
    fn no_way_there_is_unreachable_and_no_answer() {
        for errno in [
            libc::EHOSTUNREACH,
            libc::ENETUNREACH,
            libc::EHOSTDOWN,
            libc::EACCES,
        ] {
            let outcome = waiting(errno);
            assert_eq!(
                outcome,
                Outcome::Unreachable {
                    after: AFTER,
                    errno: Errno(errno),
                    icmp: None,
                }
            );
            assert!(!outcome.is_answer());
        }
        let after = Duration::ZERO;
        assert_eq!(
            starting(libc::ENETUNREACH),
            Outcome::Unreachable {
                after,
                errno: Errno(libc::ENETUNREACH),
                icmp: None,
            }
        );
    }

    #[test]
    fn a_timeout_of_the_kernel_is_silence() {
        assert_eq!(waiting(libc::ETIMEDOUT), Outcome::TimedOut { after: AFTER });
    }

    #[test]
    fn everything_else_is_a_local_error_with_its_number() {
        for errno in [
            libc::EADDRNOTAVAIL,
            libc::EADDRINUSE,
            libc::EMFILE,
            libc::ENOBUFS,
            libc::EACCES,
            4095,
        ] {
            assert_eq!(
                starting(errno),
                Outcome::LocalError {
                    errno: Errno(errno)
                }
            );
        }
    }
}
