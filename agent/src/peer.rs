//! Asks a peer who it is, a resolver a query, or a server for its certificates, on a connection that is open already.

mod stream;

use std::{io, net::SocketAddr, time::Duration};

use hyper_util::rt::TokioIo;
use reachproof_proto::{
    net::Nonce,
    v1::{IdentifyRequest, IdentifyResponse, peer_client::PeerClient},
};
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet, time::timeout};
use tonic::{Code, Status, transport::Endpoint};
use tracing::error;

use self::stream::PeerStream;
use crate::{
    close::Close,
    dns::{self, QueryFailure},
    engine::{Ask, PeerConnection},
    limits::PEER_MESSAGE_MAX,
    probe::{Finished, Identification},
    tls::{self, TlsFailure},
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
        target,
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
        Ask::Session => session(stream, target, deadline, close).await,
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

/// Makes a TLS handshake.
async fn session(
    stream: io::Result<TcpStream>,
    target: SocketAddr,
    deadline: Duration,
    close: Close,
) -> Identification {
    let shown = match stream.and_then(|stream| PeerStream::new(stream, close)) {
        Ok((stream, _)) => tls::ask(stream, target.ip(), deadline).await,
        Err(_) => Err(TlsFailure::Closed),
    };
    match shown {
        Ok(chain) => Identification::Certified { chain },
        Err(failure) => Identification::NoSession { failure },
    }
}

/// The call, within `deadline`.
async fn call(
    stream: TcpStream,
    request: IdentifyRequest,
    deadline: Duration,
    close: Close,
) -> Result<Identification, Status> {
    let (stream, closes) = PeerStream::new(stream, close)?;
    let response = timeout(deadline, exchange(stream, request))
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("the peer did not answer")));
    // A task of the channel closes the socket: place and source port are free only then.
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
