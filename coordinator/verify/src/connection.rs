//! One connection to the control server, which has a place as long as it lives.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::door::{Place, Ticket};

/// A TLS stream that ends when it loses its place, and gives it back when it is dropped.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    place: Place,
    peer: Peer,
}

/// From where a request came, and over which connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Address of the other end.
    pub(crate) remote: SocketAddr,
    /// The connection.
    pub(crate) ticket: Ticket,
}

impl Connection {
    /// Lets `stream` from `remote` have `place`.
    pub(crate) fn new(stream: TlsStream<TcpStream>, remote: SocketAddr, place: Place) -> Self {
        let peer = Peer {
            remote,
            ticket: place.ticket(),
        };
        Self {
            stream,
            place,
            peer,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The server reads all the time, so it is woken here.
        if Pin::new(self.place.ended()).poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
