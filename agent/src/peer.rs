//! Asks a peer who it is, on a connection that is open already.

use std::{io, time::Duration};

use hyper_util::rt::TokioIo;
use reachproof_proto::v1::{IdentifyRequest, peer_client::PeerClient};
use socket2::SockRef;
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet, time::timeout};
use tonic::{Code, Status, transport::Endpoint};
use tracing::error;

use crate::{
    engine::{Close, PeerConnection},
    limits::PEER_MESSAGE_MAX,
    probe::{Finished, Identification},
};

/// Completes the attempts that come in on `connections`, and gives each to `complete`; ends when all senders are gone.
///
/// The number at once is bounded by the places that the engine gives out.
pub async fn identify_all(
    mut connections: mpsc::UnboundedReceiver<PeerConnection>,
    complete: impl Fn(Finished),
) {
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            connection = connections.recv() => match connection {
                Some(connection) => {
                    calls.spawn(identify(connection));
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

/// Calls `Peer.Identify` once on a connection and closes it.
///
/// Waits as long as the probe waits for the handshake. A peer that does not answer, or not in this protocol, is a
/// failed identification; the attempt stays connected.
pub async fn identify(connection: PeerConnection) -> Finished {
    let PeerConnection {
        stream,
        mut attempt,
        nonce,
        deadline,
        close,
        place,
    } = connection;
    let request = IdentifyRequest {
        nonce: nonce.to_vec(),
    };
    let identification = match TcpStream::from_std(stream) {
        Ok(stream) => call(stream, request, deadline, close).await,
        Err(error) => Err(Status::from_error(error.into())),
    };
    attempt.identification = Some(identification.unwrap_or_else(|status| failed(status.code())));
    drop(place);
    attempt
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
    let exchange = async {
        // The connection exists: the address is for the `:authority` header only.
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
        client.identify(request).await
    };
    let response = timeout(deadline, exchange)
        .await
        .map_err(|_| Status::deadline_exceeded("the peer did not answer"))??
        .into_inner();
    Ok(Identification::Answer {
        observed_address: response.observed_address,
        observed_port: response.observed_port,
        proof: response.proof,
    })
}

/// A failed call. Codes are 0 to 16.
fn failed(code: Code) -> Identification {
    let code = u32::try_from(i32::from(code)).unwrap_or_default();
    Identification::Failed { code }
}
