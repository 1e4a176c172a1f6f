//! A connection that ends as it is told to.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::oneshot,
};

use crate::close::Close;

/// A connection that ends as `close` says.
pub(super) struct PeerStream {
    stream: TcpStream,
    close: Close,
    /// Tells by its drop that the socket is closed.
    _closed: oneshot::Sender<Infallible>,
}

impl PeerStream {
    /// Takes a connection; what is returned beside it ends when the socket is closed. Nothing is ever sent there.
    ///
    /// # Errors
    /// When the kernel does not let it end so.
    pub(super) fn new(
        stream: TcpStream,
        close: Close,
    ) -> io::Result<(PeerStream, oneshot::Receiver<Infallible>)> {
        match close {
            Close::Normal => {}
            Close::Reset => SockRef::from(&stream).set_linger(Some(Duration::ZERO))?,
        }
        let (closed, closes) = oneshot::channel();
        let stream = PeerStream {
            stream,
            close,
            _closed: closed,
        };
        Ok((stream, closes))
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// HTTP/2 and TLS end a connection with FIN. A source port that is needed again must not: if the peer's FIN came before our
    /// reset, the port would be in TIME_WAIT.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.close {
            Close::Normal => Pin::new(&mut self.stream).poll_shutdown(cx),
            Close::Reset => Poll::Ready(Ok(())),
        }
    }
}
