//! One socket that listens.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::{limits::BACKLOG, sys::socket_drops};

/// What the kernel dropped at one listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketDrops {
    /// Where it listens.
    pub address: SocketAddr,
    /// Packets since it was opened.
    pub drops: u32,
}

/// A socket that listens, and counts as one as long as it does.
pub(super) struct ListeningSocket {
    pub(super) listener: TcpListener,
    sockets: Arc<AtomicUsize>,
}

impl ListeningSocket {
    /// Counts a socket.
    pub(super) fn new(listener: TcpListener, sockets: &Arc<AtomicUsize>) -> ListeningSocket {
        sockets.fetch_add(1, Ordering::AcqRel);
        ListeningSocket {
            listener,
            sockets: Arc::clone(sockets),
        }
    }

    /// What was dropped here; none where the kernel does not say.
    pub(super) fn drops(&self) -> Option<SocketDrops> {
        Some(SocketDrops {
            address: self.listener.local_addr().ok()?,
            drops: socket_drops(&self.listener).ok()?,
        })
    }
}

impl Drop for ListeningSocket {
    fn drop(&mut self) {
        self.sockets.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Listens on one address.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new_raw(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
