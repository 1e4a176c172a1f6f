//! How the client comes to the other side: by its address, or by somebody who carries the bytes.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower::Service;

/// Bytes to and from the other side.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream that is on its way.
pub type Opening = Pin<Box<dyn Future<Output = Result<Box<dyn Stream>, WayError>> + Send>>;

/// Why there is none.
pub type WayError = Box<dyn Error + Send + Sync>;

/// Carries bytes to the other side, whatever its address is called.
pub trait Way: Send + Sync {
    /// Opens a connection.
    fn open(&self) -> Opening;
}

/// One of both.
#[derive(Clone)]
pub(super) enum Connector {
    Address(HttpConnector),
    Way(Arc<dyn Way>),
}

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Address(_) => "Address",
            Self::Way(_) => "Way",
        })
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Carried>;
    type Error = WayError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, WayError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), WayError>> {
        match self {
            Self::Address(connector) => connector.poll_ready(context).map_err(Into::into),
            Self::Way(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self {
            Self::Address(connector) => {
                let dialled = connector.call(uri);
                Box::pin(async move {
                    let stream: Box<dyn Stream> = Box::new(dialled.await?.into_inner());
                    Ok(TokioIo::new(Carried(stream)))
                })
            }
            Self::Way(way) => {
                let opening = way.open();
                Box::pin(async move { Ok(TokioIo::new(Carried(opening.await?))) })
            }
        }
    }
}

/// A stream, as the pool of connections wants it.
pub(super) struct Carried(Box<dyn Stream>);

impl Connection for Carried {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Carried {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Carried {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
