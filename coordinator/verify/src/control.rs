//! The control server: TLS, token, limits. It hands every stream that may come in to the run, and knows no agent.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reachproof_proto::v1;
use reachproof_proto::v1::control_server::{Control, ControlServer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, warn};

use crate::authentication::Authentication;
use crate::config::EntrySettings;
use crate::connection::{Connection, Peer};
use crate::door::{Door, Expected, Place, Seat};
use crate::error::RunError;
use crate::identity::{Identity, Refusal};
use crate::refused::{Refused, RefusedList};
use crate::token::{Purpose, SignedTokens};

/// Largest message that is taken from an agent, in bytes (security.md, "Limits of the wire").
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Streams that one connection may have open: one is used, the rest is for a quick redial (security.md, "Limits of the
/// wire").
pub const STREAMS_PER_CONNECTION_MAX: u32 = 4;

/// Requests of one connection that are worked on at once (security.md, "Limits of the wire").
pub const REQUESTS_PER_CONNECTION_MAX: usize = 4;

/// Flow-control windows of a connection and of a stream, in bytes: what a stranger can make the coordinator keep. It is the
/// least that HTTP/2 has at the start of a connection; a larger message comes in parts.
pub const WINDOW_BYTES: u32 = 65_535;

/// Largest list of headers, in bytes: a token of 4 KiB and what HTTP adds (security.md, "Limits of the wire").
pub const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;

/// Silence of a connection after which it is asked whether it lives; with [`KEEPALIVE_TIMEOUT`] a dead one is noticed
/// within 30 s (ARCHITECTURE, "The wire").
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// How long the answer to that may take.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Messages that wait for one agent. A slower agent loses its stream, never a message (security.md, "Limits of the
/// wire").
pub const OUTGOING_MESSAGES_MAX: usize = 64;

/// Pause after `accept` failed, so that running out of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that are through with TLS and wait for the server.
const ACCEPTED_MAX: usize = 64;

/// Time between two looks for connections whose time is over.
const LOOK: Duration = Duration::from_millis(250);

/// Where messages to one agent go; an error ends its stream.
pub type Outgoing = mpsc::Sender<Result<v1::CoordinatorMessage, Status>>;

/// A stream of an agent whose identity is known.
pub struct Arrival {
    /// Who the agent is.
    pub identity: Identity,
    /// What the agent sends.
    pub incoming: Streaming<v1::AgentMessage>,
    /// What is sent to it.
    pub outgoing: Outgoing,
    /// Where it came from.
    pub remote: Option<SocketAddr>,
    /// Its seat, to be taken once it said `Hello` and kept as long as it is served.
    pub seat: Seat,
}

/// What [`serve`] needs.
pub struct ControlConfig {
    tls: TlsAcceptor,
    door: Door,
    service: Attach,
}

impl ControlConfig {
    /// Takes TLS 1.3 with the certificate of the credentials, and agents whose identity is known; streams go to `arrivals`.
    ///
    /// There is room for as many as are `expected`; who has no identity is put on the list of those who were `refused`.
    ///
    /// # Errors
    /// [`RunError::Tls`] when rustls does not take the certificate.
    pub fn new(
        settings: EntrySettings,
        expected: Expected,
        refused: RefusedList,
        arrivals: mpsc::Sender<Arrival>,
    ) -> Result<Self, RunError> {
        let EntrySettings {
            credentials,
            reviewer,
            connections_per_address,
            clock,
        } = settings;
        let purpose = Purpose {
            installation: credentials.installation,
            run: credentials.run,
        };
        let signed = SignedTokens::new(credentials.token_key, purpose, clock);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(RunError::Tls)?
            .with_no_client_auth()
            .with_single_cert(credentials.chain, credentials.key)
            .map_err(RunError::Tls)?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        // An agent dials seldom: nothing is kept for a faster second handshake.
        tls.send_tls13_tickets = 0;
        Ok(Self {
            tls: TlsAcceptor::from(Arc::new(tls)),
            door: Door::new(expected, connections_per_address),
            service: Attach {
                authentication: Authentication::new(signed, reviewer),
                refused,
                arrivals,
            },
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
        .initial_connection_window_size(Some(WINDOW_BYTES))
        .initial_stream_window_size(Some(WINDOW_BYTES))
        .http2_max_header_list_size(Some(HEADER_LIST_BYTES_MAX))
        .add_service(service)
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming), shutdown);
    tokio::select! {
        () = accept(listener, config.tls, config.door, accepted) => {}
        served = server => if let Err(error) = served {
            warn!(%error, "control server ended");
        }
    }
}

/// Accepts connections for ever and does their handshakes beside each other. Nobody waits for a place.
async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    door: Door,
    accepted: mpsc::Sender<io::Result<Connection>>,
) {
    let mut tasks = JoinSet::new();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => door.close_late(Instant::now()),
            Some(_) = tasks.join_next() => {}
            next = listener.accept() => match next {
                Ok((stream, remote)) => {
                    let address = remote.ip().to_canonical();
                    // Who gets no place is closed before TLS.
                    if let Some(place) = door.enter(address, Instant::now()) {
                        let peer = (stream, remote, place);
                        tasks.spawn(welcome(peer, tls.clone(), accepted.clone()));
                    }
                }
                Err(error) => {
                    warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Does one TLS handshake, as long as the connection has its place, and hands it to the server.
async fn welcome(
    (stream, remote, mut place): (TcpStream, SocketAddr, Place),
    tls: TlsAcceptor,
    accepted: mpsc::Sender<io::Result<Connection>>,
) {
    let handshake = shake_hands(stream, tls);
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        _ = place.ended() => Err(io::ErrorKind::TimedOut.into()),
    };
    match shaken {
        Ok(stream) => {
            place.shaken_hands(Instant::now());
            let connection = Connection::new(stream, remote, place);
            // The server is gone once the run is over.
            drop(accepted.send(Ok(connection)).await);
        }
        Err(error) => debug!(%remote, %error, "handshake failed"),
    }
}

/// Does one TLS handshake.
async fn shake_hands(stream: TcpStream, tls: TlsAcceptor) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    tls.accept(stream).await
}

/// The service `Control`: finds out who the agent is and hands the stream over.
struct Attach {
    authentication: Authentication,
    refused: RefusedList,
    arrivals: mpsc::Sender<Arrival>,
}

#[tonic::async_trait]
impl Control for Attach {
    type AttachStream = ReceiverStream<Result<v1::CoordinatorMessage, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let identity = self
            .authentication
            .authenticate(request.metadata())
            .await
            .inspect_err(|refusal| self.note(request.metadata(), peer.as_ref(), refusal))?;
        let (outgoing, messages) = mpsc::channel(OUTGOING_MESSAGES_MAX);
        let arrival = Arrival {
            identity,
            incoming: request.into_inner(),
            outgoing,
            remote: peer.as_ref().map(|peer| peer.remote),
            seat: Seat::on(peer.map(|peer| peer.ticket)),
        };
        self.arrivals
            .send(arrival)
            .await
            .map_err(|_| Status::unavailable("the run is over"))?;
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

impl Attach {
    /// Takes note of an agent that is not let in.
    fn note(&self, metadata: &MetadataMap, peer: Option<&Peer>, refusal: &Refusal) {
        let name = self.authentication.name(metadata);
        let agent = name.as_ref().map(tracing::field::display);
        let remote = peer.map(|peer| tracing::field::display(peer.remote));
        warn!(agent, remote, %refusal, "agent refused");
        if let (true, Some(peer)) = (refusal.is_wrong_token(), peer) {
            peer.ticket.wrong_token(Instant::now());
        }
        if !refusal.is_passing() {
            self.refused.note(Refused {
                name,
                from: peer.map(|peer| peer.remote.ip().to_canonical()),
                reason: refusal.to_string(),
            });
        }
    }
}
