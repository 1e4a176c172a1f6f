//! ICMP errors: whether one ended an attempt, and who sent it.
//!
//! `SO_ERROR` says ECONNREFUSED for a reset as well as for an ICMP port unreachable, which a firewall sends in the name of a host
//! that it protects. The kernel keeps the ICMP error itself for a socket that asks for it [ip(7) `IP_RECVERR`]; for a TCP handshake
//! since 5.8 [LNX `tcp_v4_err`, `tcp_v6_err`, commit 45af29ca761c]. On an older one a port unreachable passes for a reset.

use std::{
    io::IoSliceMut,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd,
};

use nix::{
    cmsg_space,
    sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt},
};
use socket2::Socket;

use crate::outcome::{Errno, IcmpError};

/// Errors of one socket that are looked at: one ends an attempt, and few come after it.
const ERRORS_PER_LOOK_MAX: usize = 8;

/// Whether ICMP errors are kept for a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// They are kept, and end a connection that is open.
    Errors,
    /// They are not, and a connection that is open outlives them.
    Nothing,
}

/// Says whether ICMP errors are to be kept for a socket of the family of `target`.
///
/// # Errors
/// What setsockopt says.
pub(super) fn keep(socket: &Socket, target: IpAddr, keep: Keep) -> nix::Result<()> {
    let errors = match keep {
        Keep::Errors => true,
        Keep::Nothing => false,
    };
    match target {
        IpAddr::V4(_) => setsockopt(socket, sockopt::Ipv4RecvErr, &errors),
        IpAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvErr, &errors),
    }
}

/// Takes the first ICMP error that was kept for a socket, with what it means as errno; none when there is none.
pub(super) fn take(socket: &Socket) -> Option<(Errno, IcmpError)> {
    // Errors of this host itself are kept, too.
    (0..ERRORS_PER_LOOK_MAX)
        .map_while(|_| take_one(socket))
        .find_map(|message| icmp_error(&message))
}

/// Takes what was kept first.
fn take_one(socket: &Socket) -> Option<ControlMessageOwned> {
    let mut control = cmsg_space!(libc::sock_extended_err, libc::sockaddr_in6);
    // The packet that the error is about follows; nobody needs it.
    let mut packet = [0];
    let mut slices = [IoSliceMut::new(&mut packet)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut control),
        MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT,
    )
    .ok()?;
    message.cmsgs().ok()?.next()
}

/// Reads a control message as an ICMP error.
fn icmp_error(message: &ControlMessageOwned) -> Option<(Errno, IcmpError)> {
    let (error, from) = if let ControlMessageOwned::Ipv4RecvErr(error, from) = message {
        let from = from.filter(|from| i32::from(from.sin_family) == libc::AF_INET);
        let address = |from: libc::sockaddr_in| u32::from_be(from.sin_addr.s_addr);
        (error, from.map(|from| Ipv4Addr::from(address(from)).into()))
    } else if let ControlMessageOwned::Ipv6RecvErr(error, from) = message {
        let from = from.filter(|from| i32::from(from.sin6_family) == libc::AF_INET6);
        let address = |from: libc::sockaddr_in6| from.sin6_addr.s6_addr;
        (error, from.map(|from| Ipv6Addr::from(address(from)).into()))
    } else {
        return None;
    };
    let is_icmp = matches!(
        error.ee_origin,
        libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6
    );
    let errno = i32::try_from(error.ee_errno).map_or(Errno::INVALID, Errno);
    is_icmp.then_some((
        errno,
        IcmpError {
            kind: error.ee_type,
            code: error.ee_code,
            from,
        },
    ))
}
