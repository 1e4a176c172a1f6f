//! One socket of one attempt.

use std::{
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    ops::RangeInclusive,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{
    Evidence,
    icmp::{self, Keep},
    queue::Running,
};
use crate::{
    dns::{answer, query},
    environment::Rng,
    limits::{DATAGRAMS_PER_LOOK_MAX, DNS_MESSAGE_MAX, PORT_DRAWS_MAX},
    outcome::{Errno, IcmpError, Outcome, Stage},
    probe::{Probe, ProbeKind, SourcePort},
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
        outcome: Outcome,
        /// By getsockname, when the socket was bound.
        local: Option<SocketAddr>,
    },
}

/// Opens a new socket from the probe's source address and sends the SYN, or the query over UDP.
///
/// A random port is one that the probe has not used yet, in the ephemeral range as far as a few draws give one: a port that was
/// used before may meet a tracked connection (SEMANTICS A.4). Without a source address the kernel chooses both when it connects: ports are then
/// used again for other targets, so that their range is no limit.
pub(super) fn start(
    running: &Running,
    evidence: Evidence,
    rng: &dyn Rng,
) -> Result<Started, StartFailure> {
    let probe = &running.probe;
    let (socket, bound) = match (probe.source, probe.source_port(running.made)) {
        (None, SourcePort::Ephemeral) => (open(probe).map_err(unbound)?, None),
        (source, port) => {
            let source = source.unwrap_or_else(|| any(probe.target));
            let (socket, local) = match port {
                SourcePort::Ephemeral => bind_any(probe, source, &running.ports_used)?,
                SourcePort::Planned(port) => bind_planned(probe, SocketAddr::new(source, port))?,
                SourcePort::Within(range) => {
                    let ports = drawn(range, &running.ports_used, rng.draw());
                    bind_first(probe, source, ports)?
                }
            };
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
    if let (ProbeKind::DnsUdp { .. }, Some(id)) =
        (probe.kind, probe.kind.query_id(running.number()))
    {
        socket
            .send(&query(id))
            .map_err(|error| unsent(&socket, &error, bound))?;
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
        outcome: at_once(Errno::of(error)),
        local,
    }
}

/// A query that could not be sent. Where a firewall of this host rejects it, its ICMP error tells more than the call does.
fn unsent(socket: &Socket, error: &io::Error, local: Option<SocketAddr>) -> StartFailure {
    match icmp::take(socket) {
        Some(found) => StartFailure::Other {
            outcome: unreachable(found, Duration::ZERO),
            local,
        },
        None => failed(error, local),
    }
}

/// What an attempt ends with when a system call fails.
pub(super) fn at_once(errno: Errno) -> Outcome {
    Outcome::of_errno(errno, Stage::Starting, Duration::ZERO)
}

/// The address of no host, in the family of `target`.
fn any(target: SocketAddr) -> IpAddr {
    match target {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// A socket that is bound to a random port of the ephemeral range.
fn bind_any(
    probe: &Probe,
    source: IpAddr,
    used: &[u16],
) -> Result<(Socket, SocketAddr), StartFailure> {
    let mut draws = 0;
    loop {
        let socket = open(probe).map_err(unbound)?;
        socket
            .bind(&SocketAddr::new(source, 0).into())
            .map_err(unbound)?;
        let local = local_address(&socket).map_err(unbound)?;
        draws += 1;
        if draws == DRAWS_MAX || !used.contains(&local.port()) {
            return Ok((socket, local));
        }
    }
}

/// A socket that is bound to a planned port.
fn bind_planned(probe: &Probe, source: SocketAddr) -> Result<(Socket, SocketAddr), StartFailure> {
    let socket = open(probe).map_err(unbound)?;
    if !probe.kind.is_udp() {
        // An earlier connection from this port may be in TIME_WAIT.
        socket.set_reuse_address(true).map_err(unbound)?;
    }
    socket.bind(&source.into()).map_err(|error| busy(&error))?;
    Ok((socket, source))
}

/// A socket that is bound to the first of `ports` that is free.
fn bind_first(
    probe: &Probe,
    source: IpAddr,
    ports: impl Iterator<Item = u16>,
) -> Result<(Socket, SocketAddr), StartFailure> {
    let socket = open(probe).map_err(unbound)?;
    let mut last = StartFailure::PortBusy(Errno(libc::EADDRINUSE));
    for port in ports {
        let local = SocketAddr::new(source, port);
        match socket.bind(&local.into()).map_err(|error| busy(&error)) {
            Ok(()) => return Ok((socket, local)),
            Err(failure @ StartFailure::PortBusy(_)) => last = failure,
            Err(failure @ StartFailure::Other { .. }) => return Err(failure),
        }
    }
    Err(last)
}

/// Ports of `range` that were not used, a few in a row from a random one on; the last is followed by the first.
fn drawn(range: &RangeInclusive<u16>, used: &[u16], draw: u64) -> impl Iterator<Item = u16> {
    let count = u64::try_from(range.len()).unwrap_or(u64::MAX);
    let first = draw.checked_rem(count).unwrap_or(0);
    let place = move |step| usize::try_from((first + step) % count).unwrap_or(usize::MAX);
    (0..count)
        .filter_map(move |step| range.clone().nth(place(step)))
        .filter(|port| !used.contains(port))
        .take(PORT_DRAWS_MAX)
}

/// An error of bind to a certain port.
fn busy(error: &io::Error) -> StartFailure {
    if error.raw_os_error() == Some(libc::EADDRINUSE) {
        StartFailure::PortBusy(Errno::of(error))
    } else {
        failed(error, None)
    }
}

/// A non-blocking socket with the options of this probe.
fn open(probe: &Probe) -> io::Result<Socket> {
    let domain = match probe.target.ip() {
        IpAddr::V4(_) => Domain::IPV4,
        IpAddr::V6(_) => Domain::IPV6,
    };
    let (kind, protocol) = if probe.kind.is_udp() {
        (Type::DGRAM, Protocol::UDP)
    } else {
        (Type::STREAM, Protocol::TCP)
    };
    let socket = Socket::new_raw(domain, kind.nonblocking().cloexec(), Some(protocol))?;
    icmp::keep(&socket, probe.target.ip(), Keep::Errors)?;
    match probe.kind {
        ProbeKind::TcpConnect | ProbeKind::DnsUdp { .. } => {}
        ProbeKind::Peer { .. } | ProbeKind::DnsTcp { .. } | ProbeKind::Tls => {
            socket.set_tcp_nodelay(true)?;
        }
    }
    Ok(socket)
}

/// Makes a connection ready for a conversation, which an ICMP error must not end.
pub(super) fn converse(socket: Socket, target: SocketAddr) -> TcpStream {
    // One that cannot be told so is talked on all the same.
    let _ = icmp::keep(&socket, target.ip(), Keep::Nothing);
    TcpStream::from(socket)
}

/// Closes a socket whose handshake was the evidence, but for a connection: that is ready to be closed.
///
/// A connection ends with a reset, which leaves no TIME_WAIT behind (ARCHITECTURE, "The instrument"). What is none has
/// nothing to reset, so that a silent or refused attempt costs one system call less.
pub(super) fn close(socket: Socket, kind: ProbeKind, outcome: Outcome) -> Option<Socket> {
    match outcome {
        // Nothing ends over UDP.
        Outcome::Connected { .. } if kind.is_udp() => None,
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
        // Also while the SYN is unanswered: an error that came during connect() is kept until it is asked for.
        News::Failed | News::None => failure(socket, news, after),
    };
    let handshake = status.as_ref().map(|status| status.handshake);
    let outcome = match (failure, news, handshake) {
        // Whatever came later: the handshake is the evidence.
        (_, _, Some(Handshake::Done)) => Some(Outcome::Connected { handshake: after }),
        (Some(outcome), ..) => Some(outcome),
        (None, _, Some(Handshake::Pending)) | (None, News::None, None) => None,
        (None, _, Some(Handshake::Over)) | (None, News::Writable | News::Failed, None) => {
            Some(Outcome::Connected { handshake: after })
        }
    };
    let round_trip = status.as_ref().and_then(|status| status.round_trip);
    let outcome = match (outcome, round_trip) {
        // The application's clock is late by all that the loop did before (ARCHITECTURE, "The instrument").
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

/// Reads what came for the query with this id, sent `after` ago. Datagrams that do not answer it are passed over; an answer
/// that is there counts, whatever error came before it.
pub(super) fn judge_query(socket: &Socket, id: u16, after: Duration) -> Judged {
    let judged = |outcome, dns_code| Judged {
        outcome,
        syn_retransmissions: 0,
        dns_code,
    };
    let mut datagram = vec![0; DNS_MESSAGE_MAX];
    let mut failed = None;
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
            Err(error) => failed = failed.or(Some(said(socket, Errno::of(&error), after))),
        }
    }
    judged(failed, None)
}

/// What the kernel says about a socket that failed; none when there is no error.
fn failure(socket: &Socket, news: News, after: Duration) -> Option<Outcome> {
    let error = match socket.take_error() {
        Ok(error) => error,
        Err(error) => Some(error),
    };
    match (error, news) {
        (Some(error), _) => Some(said(socket, Errno::of(&error), after)),
        (None, News::Failed) => icmp::take(socket).map(|found| unreachable(found, after)),
        (None, News::Writable | News::None) => None,
    }
}

/// What an error that a socket reported means: an ICMP error, if one is behind it.
fn said(socket: &Socket, errno: Errno, after: Duration) -> Outcome {
    match icmp::take(socket) {
        Some(found) => unreachable(found, after),
        None => Outcome::of_errno(errno, Stage::Waiting, after),
    }
}

/// What an ICMP error means, whichever it is.
fn unreachable((errno, icmp): (Errno, IcmpError), after: Duration) -> Outcome {
    Outcome::Unreachable {
        after,
        errno,
        icmp: Some(icmp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_drawn_within_the_range_and_none_twice() {
        let range = 40_000..=40_003;
        for draw in 0..8 {
            let mut ports: Vec<u16> = drawn(&range, &[40_002], draw).collect();
            ports.sort_unstable();
            assert_eq!(ports, [40_000, 40_001, 40_003]);
        }
        assert_eq!(drawn(&range, &[], 5).next(), Some(40_001));
        assert_eq!(
            drawn(&(65_535..=65_535), &[], u64::MAX).next(),
            Some(65_535)
        );
        assert_eq!(
            drawn(&(1_024..=65_535), &[], u64::MAX).count(),
            PORT_DRAWS_MAX
        );
    }
}
