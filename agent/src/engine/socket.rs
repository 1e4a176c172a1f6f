//! One socket of one attempt.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{
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
    /// By getsockname.
    pub(super) local: SocketAddr,
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

/// Opens a new socket from the probe's source address and sends the SYN.
///
/// A random port is one that is not among `used`, as far as a few draws give one: a port that was used before may meet
/// a tracked connection (SEMANTICS A.4).
pub(super) fn start(
    probe: &Probe,
    port: Option<u16>,
    used: &[u16],
) -> Result<Started, StartFailure> {
    let (socket, local) = bound(probe, port, used)?;
    match socket.connect(&probe.target.into()) {
        Ok(()) => Ok(Started { socket, local }),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
            Ok(Started { socket, local })
        }
        Err(error) => Err(StartFailure::Other {
            errno: Errno::of(&error),
            local: Some(local),
        }),
    }
}

/// A socket that is bound to the probe's source address and a port.
fn bound(
    probe: &Probe,
    port: Option<u16>,
    used: &[u16],
) -> Result<(Socket, SocketAddr), StartFailure> {
    let other = |error: io::Error| StartFailure::Other {
        errno: Errno::of(&error),
        local: None,
    };
    let mut draws = 0;
    loop {
        let socket = open(probe, port).map_err(other)?;
        if let Err(error) = socket.bind(&SocketAddr::new(probe.source, port.unwrap_or(0)).into()) {
            let busy = port.is_some() && error.raw_os_error() == Some(libc::EADDRINUSE);
            return Err(if busy {
                StartFailure::PortBusy(Errno::of(&error))
            } else {
                other(error)
            });
        }
        let local = local_address(&socket).map_err(other)?;
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
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new_raw(domain, kind, Some(Protocol::TCP))?;
    if port.is_some() {
        // An earlier connection from this port may be in TIME_WAIT.
        socket.set_reuse_address(true)?;
    }
    match probe.kind {
        // The handshake is the evidence: a reset leaves no TIME_WAIT behind (PERFORMANCE A, trap 2).
        ProbeKind::TcpConnect => socket.set_linger(Some(Duration::ZERO))?,
        ProbeKind::Peer { .. } => socket.set_tcp_nodelay(true)?,
    }
    Ok(socket)
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
}

/// Asks the kernel how the handshake went.
pub(super) fn judge(socket: &Socket, after: Duration) -> Judged {
    let error = socket.take_error();
    let status = tcp_status(socket);
    let syn_retransmissions = status.as_ref().map_or(0, |status| status.retransmissions);
    let round_trip = status.as_ref().ok().and_then(|status| status.round_trip);
    let outcome = match (error, status) {
        (Ok(Some(error)) | Err(error), _) => {
            Some(Outcome::of_errno(Errno::of(&error), Stage::Waiting, after))
        }
        (Ok(None), Err(error)) => Some(Outcome::LocalError {
            errno: Errno::of(&error),
        }),
        (Ok(None), Ok(status)) => match status.handshake {
            Handshake::Pending => None,
            Handshake::Over => Some(Outcome::Connected { handshake: after }),
        },
    };
    let outcome = match (outcome, round_trip) {
        // The application's clock is late by all that the loop did before (PERFORMANCE A, timing error).
        (Some(Outcome::Connected { .. }), Some(handshake)) => {
            Some(Outcome::Connected { handshake })
        }
        (outcome, _) => outcome,
    };
    Judged {
        outcome,
        syn_retransmissions,
    }
}
