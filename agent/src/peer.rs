//! Asks a peer who it is, or a resolver a query, on a connection that is open already.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use reachproof_proto::{
    net::Nonce,
    v1::{IdentifyRequest, IdentifyResponse, peer_client::PeerClient},
};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use tonic::{Code, Status, transport::Endpoint};
use tracing::error;

use crate::{
    dns::{self, QueryFailure},
    engine::{Ask, Close, PeerConnection},
    limits::PEER_MESSAGE_MAX,
    probe::{Finished, Identification},
};

/// Completes the attempts that come in on `connections`, and gives each to `complete`; ends when all senders are gone.
///
/// The number at once is bounded by the places that the engine gives out.
pub async fn ask_all(
    mut connections: mpsc::UnboundedReceiver<PeerConnection>,
    complete: impl Fn(Finished),
) {
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            connection = connections.recv() => match connection {
                Some(connection) => {
                    calls.spawn(ask(connection));
                }
                None => break,
            },
            Some(finished) = calls.join_next() => match finished {
                Ok(finished) => complete(finished),
                Err(error) => error!(%error, "a peer call ended without a result"),
            },
        }
    }
}

/// Asks once on a connection what is to be asked, and closes it.
///
/// Waits as long as the probe waits for the handshake. Who does not answer, or not in this protocol, is a failed
/// identification; the attempt stays connected.
pub async fn ask(connection: PeerConnection) -> Finished {
    let PeerConnection {
        stream,
        mut attempt,
        ask,
        deadline,
        close,
        place,
    } = connection;
    let stream = TcpStream::from_std(stream);
    attempt.identification = Some(match ask {
        Ask::Identity { nonce } => identity(stream, nonce, deadline, close).await,
        Ask::Query { id } => resolver(stream, id, deadline, close).await,
    });
    drop(place);
    attempt
}

/// Calls `Peer.Identify`.
async fn identity(
    stream: io::Result<TcpStream>,
    nonce: Nonce,
    deadline: Duration,
    close: Close,
) -> Identification {
    let request = IdentifyRequest {
        nonce: nonce.to_vec(),
    };
    let called = match stream {
        Ok(stream) => call(stream, request, deadline, close).await,
        Err(error) => Err(Status::from_error(error.into())),
    };
    called.unwrap_or_else(|status| failed(status.code()))
}

/// Asks a DNS query.
async fn resolver(
    stream: io::Result<TcpStream>,
    id: u16,
    deadline: Duration,
    close: Close,
) -> Identification {
    let answered = match stream {
        Ok(stream) => dns::ask(stream, id, deadline, close).await,
        Err(_) => Err(QueryFailure::Closed),
    };
    match answered {
        Ok(code) => Identification::Resolver { code },
        Err(failure) => Identification::NoResolver { failure },
    }
}

/// The call, within `deadline`.
async fn call(
    stream: TcpStream,
    request: IdentifyRequest,
    deadline: Duration,
    close: Close,
) -> Result<Identification, Status> {
    match close {
        Close::Normal => {}
        Close::Reset => SockRef::from(&stream).set_linger(Some(Duration::ZERO))?,
    }
    let (closed, closes) = oneshot::channel();
    let exchange = exchange(
        PeerStream {
            stream,
            close,
            _closed: closed,
        },
        request,
    );
    let response = timeout(deadline, exchange)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("the peer did not answer")));
    // A task of the channel closes the socket: place and source port are free only then. A sender never sends.
    let _ = timeout(deadline, closes).await;
    let response = response?;
    Ok(Identification::Answer {
        observed_address: response.observed_address,
        observed_port: response.observed_port,
        proof: response.proof,
    })
}

/// The call itself. The address is for the `:authority` header only, since the connection exists.
async fn exchange(
    stream: PeerStream,
    request: IdentifyRequest,
) -> Result<IdentifyResponse, Status> {
    let mut connection = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        let connection = connection
            .take()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        std::future::ready(connection)
    });
    let channel = Endpoint::from_static("http://peer")
        .connect_with_connector(connector)
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let mut client = PeerClient::new(channel).max_decoding_message_size(PEER_MESSAGE_MAX);
    Ok(client.identify(request).await?.into_inner())
}

/// A failed call. Codes are 0 to 16.
fn failed(code: Code) -> Identification {
    let code = u32::try_from(i32::from(code)).unwrap_or_default();
    Identification::Failed { code }
}

/// A connection that ends as `close` says.
struct PeerStream {
    stream: TcpStream,
    close: Close,
    /// Tells by its drop that the socket is closed.
    _closed: oneshot::Sender<Infallible>,
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

    /// HTTP/2 ends a connection with FIN. A source port that is needed again must not: if the peer's FIN came before our
    /// reset, the port would be in TIME_WAIT.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.close {
            Close::Normal => Pin::new(&mut self.stream).poll_shutdown(cx),
            Close::Reset => Poll::Ready(Ok(())),
        }
    }
}
