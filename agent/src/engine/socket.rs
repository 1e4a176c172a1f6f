//! One socket of one attempt.

use std::{
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{Evidence, queue::Running};
use crate::{
    dns::{answer, query},
    limits::{DATAGRAMS_PER_LOOK_MAX, DNS_MESSAGE_MAX},
    outcome::{Errno, Outcome, Stage},
    probe::{Probe, ProbeKind},
    sys::{Handshake, tcp_status},
};

/// How often another random port is drawn when the kernel gives one that this probe had before.
const DRAWS_MAX: u32 = 8;

/// A socket whose SYN is on its way.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) socket: Socket,
    /// By getsockname; none where it is not recorded.
    pub(super) local: Option<SocketAddr>,
}

/// Why an attempt could not be started.
#[derive(Debug)]
pub(super) enum StartFailure {
    /// The planned port is held by a socket of another attempt or program, and may be free again soon.
    PortBusy(Errno),
    /// Something else failed.
    Other {
        errno: Errno,
        /// By getsockname, when the socket was bound.
        local: Option<SocketAddr>,
    },
}

/// Opens a new socket from the probe's source address and sends the SYN, or the query over UDP.
///
/// A random port is one that the probe has not used yet, as far as a few draws give one: a port that was used before may meet
/// a tracked connection (SEMANTICS A.4). Without a source address the kernel chooses both when it connects: ports are then
/// used again for other targets, so that their range is no limit.
pub(super) fn start(running: &Running, evidence: Evidence) -> Result<Started, StartFailure> {
    let (probe, attempt) = (&running.probe, running.attempt);
    let port = probe.planned_port(attempt);
    let (socket, bound) = match (probe.source, port) {
        (None, None) => (open(probe, port).map_err(unbound)?, None),
        (source, port) => {
            let source = source.unwrap_or_else(|| any(probe.target));
            let (socket, local) = bind(
                probe,
                SocketAddr::new(source, port.unwrap_or(0)),
                &running.ports_used,
            )?;
            (socket, Some(local))
        }
    };
    match socket.connect(&probe.target.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => {
            return Err(failed(&error, bound));
        }
    }
    if let (ProbeKind::DnsUdp { .. }, Some(id)) = (probe.kind, probe.kind.query_id(attempt)) {
        socket
            .send(&query(id))
            .map_err(|error| failed(&error, bound))?;
    }
    let local = match (bound, evidence) {
        (Some(local), _) => Some(local),
        (None, Evidence::Outcome) => None,
        (None, Evidence::Full) => Some(local_address(&socket).map_err(unbound)?),
    };
    Ok(Started { socket, local })
}

/// An error before the socket had an address.
fn unbound(error: io::Error) -> StartFailure {
    failed(&error, None)
}

/// An error of a socket with this address.
fn failed(error: &io::Error, local: Option<SocketAddr>) -> StartFailure {
    StartFailure::Other {
        errno: Errno::of(error),
        local,
    }
}

/// The address of no host, in the family of `target`.
fn any(target: SocketAddr) -> IpAddr {
    match target {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// A socket that is bound to `source`; port 0 is a random one.
fn bind(
    probe: &Probe,
    source: SocketAddr,
    used: &[u16],
) -> Result<(Socket, SocketAddr), StartFailure> {
    let port = Some(source.port()).filter(|port| *port != 0);
    let mut draws = 0;
    loop {
        let socket = open(probe, port).map_err(unbound)?;
        if let Err(error) = socket.bind(&source.into()) {
            let busy = port.is_some() && error.raw_os_error() == Some(libc::EADDRINUSE);
            return Err(if busy {
                StartFailure::PortBusy(Errno::of(&error))
            } else {
                unbound(error)
            });
        }
        let local = local_address(&socket).map_err(unbound)?;
        draws += 1;
        if port.is_some() || draws == DRAWS_MAX || !used.contains(&local.port()) {
            return Ok((socket, local));
        }
    }
}

/// A non-blocking socket with the options of this probe.
fn open(probe: &Probe, port: Option<u16>) -> io::Result<Socket> {
    let domain = match probe.target.ip() {
        IpAddr::V4(_) => Domain::IPV4,
        IpAddr::V6(_) => Domain::IPV6,
    };
    let (kind, protocol) = match probe.kind {
        ProbeKind::TcpConnect | ProbeKind::Peer { .. } | ProbeKind::DnsTcp { .. } => {
            (Type::STREAM, Protocol::TCP)
        }
        ProbeKind::DnsUdp { .. } => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new_raw(domain, kind.nonblocking().cloexec(), Some(protocol))?;
    if port.is_some() && protocol == Protocol::TCP {
        // An earlier connection from this port may be in TIME_WAIT.
        socket.set_reuse_address(true)?;
    }
    match probe.kind {
        ProbeKind::TcpConnect | ProbeKind::DnsUdp { .. } => {}
        ProbeKind::Peer { .. } | ProbeKind::DnsTcp { .. } => socket.set_tcp_nodelay(true)?,
    }
    Ok(socket)
}

/// Closes a socket whose handshake was the evidence, but for a connection: that is ready to be closed.
///
/// A connection ends with a reset, which leaves no TIME_WAIT behind (PERFORMANCE A, trap 2). What is none has nothing to
/// reset, so that a silent or refused attempt costs one system call less.
pub(super) fn close(socket: Socket, kind: ProbeKind, outcome: Outcome) -> Option<Socket> {
    match outcome {
        // Nothing ends over UDP.
        Outcome::Connected { .. } if matches!(kind, ProbeKind::DnsUdp { .. }) => None,
        Outcome::Connected { .. } => {
            // One that cannot be reset is closed in the ordinary way.
            let _ = socket.set_linger(Some(Duration::ZERO));
            Some(socket)
        }
        Outcome::Refused { .. }
        | Outcome::TimedOut { .. }
        | Outcome::Unreachable { .. }
        | Outcome::LocalError { .. }
        | Outcome::Starved { .. }
        | Outcome::RefusedByPolicy => None,
    }
}

/// By getsockname.
fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    socket
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}

/// What the kernel says about a socket whose SYN was sent `after` ago.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged {
    /// None while the SYN is unanswered.
    pub(super) outcome: Option<Outcome>,
    pub(super) syn_retransmissions: u32,
    /// Response code of the answer to a query over UDP.
    pub(super) dns_code: Option<u8>,
}

/// What is known of a socket before the kernel is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// An event said that it can be written to, and nothing of an error: the handshake is done.
    Writable,
    /// An event said that there is an error, or that it is closed.
    Failed,
    /// There was no event, although the kernel was asked after the deadline.
    None,
}

/// Asks the kernel how the handshake went, with as few system calls as `news` and `evidence` let it.
pub(super) fn judge(socket: &Socket, news: News, after: Duration, evidence: Evidence) -> Judged {
    let status = match evidence {
        Evidence::Outcome => None,
        Evidence::Full => tcp_status(socket).ok(),
    };
    let failure = match news {
        News::Writable => None,
        // Also while the SYN is unanswered: an ICMP error that came during connect() is kept here and nowhere else.
        News::Failed | News::None => failure(socket, after),
    };
    let handshake = status.as_ref().map(|status| status.handshake);
    let outcome = match (failure, news, handshake) {
        (Some(outcome), ..) => Some(outcome),
        (None, _, Some(Handshake::Pending)) | (None, News::None, None) => None,
        (None, _, Some(Handshake::Over)) | (None, News::Writable | News::Failed, None) => {
            Some(Outcome::Connected { handshake: after })
        }
    };
    let round_trip = status.as_ref().and_then(|status| status.round_trip);
    let outcome = match (outcome, round_trip) {
        // The application's clock is late by all that the loop did before (PERFORMANCE A, timing error).
        (Some(Outcome::Connected { .. }), Some(handshake)) => {
            Some(Outcome::Connected { handshake })
        }
        (outcome, _) => outcome,
    };
    Judged {
        outcome,
        syn_retransmissions: status.map_or(0, |status| status.retransmissions),
        dns_code: None,
    }
}

/// Reads what came for the query with this id, sent `after` ago. Datagrams that do not answer it are passed over.
pub(super) fn judge_query(socket: &Socket, id: u16, after: Duration) -> Judged {
    let judged = |outcome, dns_code| Judged {
        outcome,
        syn_retransmissions: 0,
        dns_code,
    };
    let mut datagram = vec![0; DNS_MESSAGE_MAX];
    for _ in 0..DATAGRAMS_PER_LOOK_MAX {
        // Through `Read`, which takes a slice that is initialised.
        match (&*socket).read(&mut datagram) {
            Ok(length) => {
                let code = datagram
                    .get(..length)
                    .and_then(|message| answer(message, id));
                if code.is_some() {
                    return judged(Some(Outcome::Connected { handshake: after }), code);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => {
                let outcome = Outcome::of_errno(Errno::of(&error), Stage::Waiting, after);
                return judged(Some(outcome), None);
            }
        }
    }
    judged(None, None)
}

/// What `SO_ERROR` says; none when there is no error.
fn failure(socket: &Socket, after: Duration) -> Option<Outcome> {
    let error = match socket.take_error() {
        Ok(error) => error?,
        Err(error) => error,
    };
    Some(Outcome::of_errno(Errno::of(&error), Stage::Waiting, after))
}
