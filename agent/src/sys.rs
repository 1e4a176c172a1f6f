//! The one system call that no crate wraps: `getsockopt(TCP_INFO)`.
#![expect(
    unsafe_code,
    reason = "neither socket2 nor nix nor rustix reads TCP_INFO"
)]

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

/// What the kernel knows about a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpStatus {
    /// Whether the SYN is still unanswered.
    pub handshake: Handshake,
    /// Smoothed round trip; none before the first sample.
    pub round_trip: Option<Duration>,
    /// Segments sent again since the socket exists; before any byte was sent these are SYNs.
    pub retransmissions: u32,
}

/// How far the opening handshake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// SYN sent, nothing came back.
    Pending,
    /// It ended, well or with an error that `SO_ERROR` gives.
    Over,
}

/// `TCP_SYN_SENT` of the kernel's `tcp_states.h`.
const TCP_SYN_SENT: u8 = 2;

/// Reads `TCP_INFO` of a TCP socket.
///
/// Kernels before 2.6.3 lack the later fields, which then read as 0.
///
/// # Errors
/// What getsockopt says, such as ENOPROTOOPT for a socket that is not TCP.
pub fn tcp_status(socket: &impl AsFd) -> io::Result<TcpStatus> {
    // SAFETY: tcp_info is plain numbers, for which all zeroes is a value.
    let mut raw: libc::tcp_info = unsafe { mem::zeroed() };
    let mut length =
        libc::socklen_t::try_from(size_of::<libc::tcp_info>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is borrowed and thus open; the kernel writes at most `length` bytes to `raw`, which is that long.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut raw).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(TcpStatus {
        handshake: if raw.tcpi_state == TCP_SYN_SENT {
            Handshake::Pending
        } else {
            Handshake::Over
        },
        round_trip: (raw.tcpi_rtt > 0).then(|| Duration::from_micros(raw.tcpi_rtt.into())),
        retransmissions: raw.tcpi_total_retrans,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn an_open_connection_has_a_round_trip() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let status = tcp_status(&stream).unwrap();
        assert_eq!(status.handshake, Handshake::Over);
        assert!(status.round_trip.unwrap() < Duration::from_secs(1));
        assert_eq!(status.retransmissions, 0);
    }

    #[test]
    fn a_socket_that_is_not_tcp_is_an_error() {
        assert!(tcp_status(&UdpSocket::bind("127.0.0.1:0").unwrap()).is_err());
    }
}
