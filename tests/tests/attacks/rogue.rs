//! Somebody who speaks the wire, and not as an agent does.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use reachproof_lab::EndpointKind;
use reachproof_lab::world::AgentPlace;
use reachproof_proto::net::address_to_wire;
use reachproof_proto::v1;
use reachproof_proto::v1::agent_message::Body;
use reachproof_proto::v1::control_client::ControlClient;
use reachproof_tests::agents::Dial;
use reachproof_verify::credentials::SERVER_NAME;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::{Duration, timeout};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};

/// Longest wait for a word of the coordinator.
const WORD_MAX: Duration = Duration::from_secs(5);

/// Somebody with a token.
pub(crate) struct Rogue {
    runtime: Runtime,
    address: SocketAddr,
    ca: String,
    token: String,
}

/// A stream that was taken; it ends with this.
pub(crate) struct Link {
    _send: mpsc::Sender<v1::AgentMessage>,
    _receive: Streaming<v1::CoordinatorMessage>,
}

impl Rogue {
    /// Somebody who dials as agents do, with `token`.
    pub(crate) fn at(dial: &Dial, token: &str) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?,
            address: dial.address,
            ca: std::fs::read_to_string(&dial.ca)?,
            token: token.to_owned(),
        })
    }

    /// Greets as the agent at `place`; the refusal's words if it is not taken.
    pub(crate) fn greet(&self, place: &AgentPlace) -> Result<Link, String> {
        self.runtime.block_on(async {
            let channel = self.channel().await.map_err(|error| error.to_string())?;
            let (send, mut receive) = self.open(channel).await?;
            let hello = v1::AgentMessage {
                body: Some(Body::Hello(hello(place))),
            };
            send.send(hello).await.map_err(|error| error.to_string())?;
            match timeout(WORD_MAX, receive.message()).await {
                Ok(Ok(Some(_))) => Ok(Link {
                    _send: send,
                    _receive: receive,
                }),
                Ok(Ok(None)) => Err("the stream ended without a word".to_owned()),
                Ok(Err(status)) => Err(status.message().to_owned()),
                Err(_) => Err("no word came".to_owned()),
            }
        })
    }

    /// Opens `connections` connections with `streams` streams each and greets on none; what is refused is refused. All are
    /// gone when this returns.
    pub(crate) fn say_nothing(&self, connections: usize, streams: usize, stay: Duration) -> usize {
        self.runtime.block_on(async {
            let mut open = Vec::new();
            for _ in 0..connections {
                let Ok(Ok(channel)) = timeout(WORD_MAX, self.channel()).await else {
                    continue;
                };
                for _ in 0..streams {
                    if let Ok(Ok(link)) = timeout(WORD_MAX, self.open(channel.clone())).await {
                        open.push(link);
                    }
                }
            }
            tokio::time::sleep(stay).await;
            open.len()
        })
    }

    async fn open(
        &self,
        channel: Channel,
    ) -> Result<
        (
            mpsc::Sender<v1::AgentMessage>,
            Streaming<v1::CoordinatorMessage>,
        ),
        String,
    > {
        let (send, messages) = mpsc::channel(16);
        let mut request = Request::new(ReceiverStream::new(messages));
        let bearer = MetadataValue::try_from(format!("Bearer {}", self.token));
        let bearer = bearer.map_err(|error| error.to_string())?;
        request.metadata_mut().append("authorization", bearer);
        let answer = ControlClient::new(channel).attach(request).await;
        let receive = answer.map_err(|status| status.message().to_owned())?;
        Ok((send, receive.into_inner()))
    }

    /// Connects over TLS 1.3, trusting the coordinator's CA alone.
    async fn channel(&self) -> Result<Channel, Box<dyn Error>> {
        let tls = TlsConnector::from(Arc::new(client(&self.ca, &[b"h2"])?));
        let address = self.address;
        let connector = tower::service_fn(move |_| {
            let tls = tls.clone();
            async move {
                let stream = TcpStream::connect(address).await?;
                let name = ServerName::try_from(SERVER_NAME).map_err(std::io::Error::other)?;
                Ok::<_, std::io::Error>(TokioIo::new(tls.connect(name, stream).await?))
            }
        });
        let endpoint = Endpoint::from_static("http://reachproof-coordinator");
        Ok(endpoint.connect_with_connector(connector).await?)
    }
}

/// What a client of the coordinator with the certificate `ca` speaks TLS with.
pub(crate) fn client(
    ca: &str,
    protocols: &[&[u8]],
) -> Result<rustls::ClientConfig, Box<dyn Error>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// The greeting of the agent at `place`.
fn hello(place: &AgentPlace) -> v1::Hello {
    let kind = match place.kind {
        EndpointKind::Node | EndpointKind::ControlPlane => v1::AgentKind::Node,
        EndpointKind::Pod => v1::AgentKind::Pod,
        EndpointKind::Fargate => v1::AgentKind::Fargate,
    };
    v1::Hello {
        agent: place.endpoint.clone(),
        node: place.node.clone().unwrap_or_default(),
        kind: kind.into(),
        addresses: place
            .addresses
            .iter()
            .map(|it| address_to_wire(*it))
            .collect(),
        ephemeral_port_first: 32_768,
        ephemeral_port_last: 60_999,
        version: "rogue".to_owned(),
        boot: 7,
        limits: Some(v1::AgentLimits {
            attempts_in_flight_max: 64,
            attempts_per_second_max: 1_000,
        }),
        wire_version: 1,
    }
}
