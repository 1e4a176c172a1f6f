//! The control server: TLS, token, limits. It hands every stream that may come in to the run, and knows no agent.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reachproof_proto::v1;
use reachproof_proto::v1::control_server::{Control, ControlServer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, warn};

use crate::connection::Connection;
use crate::credentials::Credentials;
use crate::error::RunError;
use crate::random::Random;
use crate::token::TokenCheck;

/// Largest message that is taken from an agent, in bytes (SECURITY E).
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Streams that one connection may have open: one is used, the rest is for a quick redial (SECURITY E).
pub const STREAMS_PER_CONNECTION_MAX: u32 = 4;

/// Requests of one connection that are worked on at once (SECURITY E).
pub const REQUESTS_PER_CONNECTION_MAX: usize = 4;

/// Flow-control window of a connection, in bytes: one largest message (SECURITY E).
pub const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// Largest list of headers, in bytes: a token of 4 KiB and what HTTP adds (SECURITY E).
pub const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;

/// Silence of a connection after which it is asked whether it lives; with [`KEEPALIVE_TIMEOUT`] a dead one is noticed
/// within 30 s (DESIGN 6).
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// How long the answer to that may take.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a TLS handshake may take (SECURITY E).
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// TLS handshakes at once: more would let strangers starve the agents that are in (SECURITY E).
pub const HANDSHAKES_MAX: usize = 64;

/// Connections at once: 1.2 times the largest cluster, 5,000 nodes (SECURITY E).
pub const CONNECTIONS_MAX: usize = 6_000;

/// Messages that wait for one agent. A slower agent loses its stream, never a message (SECURITY E).
pub const OUTGOING_MESSAGES_MAX: usize = 64;

/// Pause after `accept` failed, so that running out of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that are through with TLS and wait for the server.
const ACCEPTED_MAX: usize = 64;

/// Where messages to one agent go; an error ends its stream.
pub type Outgoing = mpsc::Sender<Result<v1::CoordinatorMessage, Status>>;

/// A stream that came with the right token.
pub struct Arrival {
    /// What the agent sends.
    pub incoming: Streaming<v1::AgentMessage>,
    /// What is sent to it.
    pub outgoing: Outgoing,
    /// Where it came from.
    pub remote: Option<SocketAddr>,
}

/// What [`serve`] needs.
pub struct ControlConfig {
    tls: TlsAcceptor,
    service: Attach,
}

impl ControlConfig {
    /// Takes TLS 1.3 with the certificate of `credentials`, and their token; streams go to `arrivals`.
    ///
    /// # Errors
    /// [`RunError::Tls`] when rustls does not take the certificate; [`RunError::Random`] without randomness.
    pub fn new(
        credentials: &Credentials,
        random: &dyn Random,
        arrivals: mpsc::Sender<Arrival>,
    ) -> Result<Self, RunError> {
        let token = TokenCheck::new(&credentials.token, random)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(RunError::Tls)?
            .with_no_client_auth()
            .with_single_cert(credentials.chain.clone(), credentials.key.clone_key())
            .map_err(RunError::Tls)?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self {
            tls: TlsAcceptor::from(Arc::new(tls)),
            service: Attach { token, arrivals },
        })
    }
}

/// Serves agents on `listener` until `shutdown` completes and their streams have ended.
pub async fn serve(
    listener: TcpListener,
    config: ControlConfig,
    shutdown: impl Future<Output = ()> + Send,
) {
    let (accepted, incoming) = mpsc::channel(ACCEPTED_MAX);
    let service = ControlServer::new(config.service).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(Some(STREAMS_PER_CONNECTION_MAX))
        .concurrency_limit_per_connection(REQUESTS_PER_CONNECTION_MAX)
        .initial_connection_window_size(Some(CONNECTION_WINDOW_BYTES))
        .http2_max_header_list_size(Some(HEADER_LIST_BYTES_MAX))
        .add_service(service)
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming), shutdown);
    tokio::select! {
        () = accept(listener, config.tls, accepted) => {}
        served = server => if let Err(error) = served {
            warn!(%error, "control server ended");
        }
    }
}

/// Accepts connections for ever and does their handshakes beside each other.
async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    accepted: mpsc::Sender<io::Result<Connection>>,
) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        // The semaphores are never closed; were they, no connection could be taken any more.
        let Ok(place) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let Ok(turn) = Arc::clone(&handshakes).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, remote)) => {
                let handshake = shake_hands(stream, tls.clone());
                let accepted = accepted.clone();
                tasks.spawn(async move {
                    match handshake.await {
                        Ok(stream) => drop(accepted.send(Ok(Connection::new(stream, place))).await),
                        Err(error) => debug!(%remote, %error, "handshake failed"),
                    }
                    drop(turn);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Does one TLS handshake within [`HANDSHAKE_TIMEOUT`].
async fn shake_hands(stream: TcpStream, tls: TlsAcceptor) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await?
}

/// The service `Control`: checks the token and hands the stream over.
struct Attach {
    token: TokenCheck,
    arrivals: mpsc::Sender<Arrival>,
}

#[tonic::async_trait]
impl Control for Attach {
    type AttachStream = ReceiverStream<Result<v1::CoordinatorMessage, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        self.token.check(request.metadata())?;
        let remote = request.remote_addr();
        let (outgoing, messages) = mpsc::channel(OUTGOING_MESSAGES_MAX);
        let arrival = Arrival {
            incoming: request.into_inner(),
            outgoing,
            remote,
        };
        self.arrivals
            .send(arrival)
            .await
            .map_err(|_| Status::unavailable("the run is over"))?;
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}
