//! The options of a socket that no crate reads: `TCP_INFO` and `SO_MEMINFO`.
#![expect(
    unsafe_code,
    reason = "neither socket2 nor nix nor rustix reads TCP_INFO or SO_MEMINFO"
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
    /// The connection is open.
    Done,
    /// It ended, well or with an error that `SO_ERROR` gives.
    Over,
}

/// `TCP_ESTABLISHED` of the kernel's `tcp_states.h`.
const TCP_ESTABLISHED: u8 = 1;

/// `TCP_SYN_SENT`, from there, too.
const TCP_SYN_SENT: u8 = 2;

/// Reads `TCP_INFO` of a TCP socket.
///
/// Kernels before 2.6.3 lack the later fields, which then read as 0.
///
/// # Errors
/// What getsockopt says, such as ENOPROTOOPT for a socket that is not TCP.
pub fn tcp_status(socket: &impl AsFd) -> io::Result<TcpStatus> {
    // SAFETY: tcp_info is plain numbers, for which all zeroes is a value.
    let raw: libc::tcp_info = unsafe { mem::zeroed() };
    // SAFETY: any bytes are a tcp_info.
    let (raw, _) = unsafe { read_option(socket, (libc::IPPROTO_TCP, libc::TCP_INFO), raw)? };
    Ok(TcpStatus {
        handshake: match raw.tcpi_state {
            TCP_SYN_SENT => Handshake::Pending,
            TCP_ESTABLISHED => Handshake::Done,
            _ => Handshake::Over,
        },
        round_trip: (raw.tcpi_rtt > 0).then(|| Duration::from_micros(raw.tcpi_rtt.into())),
        retransmissions: raw.tcpi_total_retrans,
    })
}

/// Numbers of `SO_MEMINFO` up to the last that is read here [LNX `sock_diag.h`].
const MEMINFO_LENGTH: usize = 9;

/// Packets that the kernel dropped at a socket since it exists, by `SO_MEMINFO`.
///
/// At a listening socket these are connections that found its queue full, among others [LNX `tcp_listendrop`]. The number is
/// of 32 bits and begins again after the last.
///
/// # Errors
/// What getsockopt says: ENOPROTOOPT before kernel 4.12. ENODATA where the kernel does not count drops.
pub fn socket_drops(socket: &impl AsFd) -> io::Result<u32> {
    let raw = [0_u32; MEMINFO_LENGTH];
    // SAFETY: any bytes are numbers.
    let (raw, length) = unsafe { read_option(socket, (libc::SOL_SOCKET, libc::SO_MEMINFO), raw)? };
    let [.., drops] = raw;
    if length < size_of_val(&raw) {
        return Err(io::Error::from_raw_os_error(libc::ENODATA));
    }
    Ok(drops)
}

/// Reads an option into `value`, and says how many bytes of it the kernel wrote.
///
/// # Safety
/// `T` must be a value whatever bytes it is made of.
unsafe fn read_option<T>(
    socket: &impl AsFd,
    (level, option): (libc::c_int, libc::c_int),
    mut value: T,
) -> io::Result<(T, usize)> {
    let mut length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is borrowed and thus open; the kernel writes at most `length` bytes to `value`, which is that long.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let length = usize::try_from(length).map_err(io::Error::other)?;
    Ok((value, length))
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
        assert_eq!(status.handshake, Handshake::Done);
        assert!(status.round_trip.unwrap() < Duration::from_secs(1));
        assert_eq!(status.retransmissions, 0);
    }

    #[test]
    fn a_socket_that_is_not_tcp_is_an_error() {
        assert!(tcp_status(&UdpSocket::bind("127.0.0.1:0").unwrap()).is_err());
    }

    #[test]
    fn a_full_queue_is_counted_at_its_own_socket() {
        let full =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let loopback: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
        full.bind(&loopback.into()).unwrap();
        full.listen(0).unwrap();
        let address = full.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(socket_drops(&full).unwrap(), 0);
        let wait = Duration::from_millis(200);
        let held: Vec<TcpStream> =
            std::iter::from_fn(|| TcpStream::connect_timeout(&address, wait).ok()).collect();
        assert!(!held.is_empty());
        assert!(socket_drops(&full).unwrap() > 0);
        let other = TcpListener::bind(loopback).unwrap();
        assert_eq!(socket_drops(&other).unwrap(), 0);
    }
}
