//! Opens the stream: files, TCP, TLS, `Attach`, `Welcome`.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper_util::rt::TokioIo;
use reachproof_proto::v1::{
    AgentMessage, CoordinatorMessage, Hello, Welcome, agent_message::Body,
    control_client::ControlClient, coordinator_message,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring, version::TLS13};
use rustls_pki_types::{CertificateDer, InvalidDnsNameError, ServerName, pem, pem::PemObject};
use thiserror::Error;
use tokio::{sync::mpsc, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Request, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    transport::Endpoint,
};

use crate::{
    config::{Config, Coordinator},
    environment::Net,
    limits::{
        CONNECT_TIMEOUT, CREDENTIAL_MAX, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, MESSAGE_MAX,
        OUTBOUND_MAX, WELCOME_TIMEOUT,
    },
};

/// An open stream whose agent is welcome.
#[derive(Debug)]
pub(super) struct Session {
    /// To the coordinator.
    pub(super) outbound: mpsc::Sender<AgentMessage>,
    /// From the coordinator.
    pub(super) inbound: Streaming<CoordinatorMessage>,
    /// The coordinator's first message.
    pub(super) welcome: Welcome,
}

/// Why there is no stream.
#[derive(Debug, Error)]
pub(super) enum DialError {
    /// A file could not be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("`{}` is larger than {CREDENTIAL_MAX} bytes, so it is not a CA or token file", path.display())]
    TooLarge { path: PathBuf },
    /// The CA file has no certificate in it.
    #[error("`{}` has no certificate in it, needs at least one in PEM", path.display())]
    NoCertificate { path: PathBuf },
    /// The CA file has something broken in it.
    #[error("`{}` has a certificate in it that cannot be read", path.display())]
    Certificate {
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    /// The CA file has a certificate in it that TLS does not take.
    #[error("`{}` has a certificate in it that cannot be trusted", path.display())]
    Root {
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
    /// TLS cannot be set up.
    #[error("cannot set TLS 1.3 up")]
    Setup(#[source] rustls::Error),
    /// The token cannot be sent.
    #[error("`{}` has no token in it, needs one line of visible ASCII", path.display())]
    Token { path: PathBuf },
    /// The server name is none.
    #[error("`{name}` is not a server name, needs a DNS name or an address")]
    ServerName {
        name: String,
        #[source]
        source: InvalidDnsNameError,
    },
    /// There is no TCP connection.
    #[error("cannot connect to {coordinator}")]
    Connect {
        coordinator: Coordinator,
        #[source]
        source: io::Error,
    },
    /// The coordinator's certificate is not from the CA, or not for the name.
    #[error(
        "{coordinator} is not the coordinator that the CA file vouches for, needs its `ca.crt` and server name"
    )]
    Untrusted {
        coordinator: Coordinator,
        #[source]
        source: io::Error,
    },
    /// The TLS handshake failed otherwise.
    #[error("cannot open TLS to {coordinator}")]
    Tls {
        coordinator: Coordinator,
        #[source]
        source: io::Error,
    },
    /// HTTP/2 does not come up.
    #[error("cannot open HTTP/2 to {coordinator}")]
    Http {
        coordinator: Coordinator,
        #[source]
        source: tonic::transport::Error,
    },
    /// The coordinator ended the stream.
    #[error("{coordinator} refused the agent: {} ({})", status.message(), status.code())]
    Refused {
        coordinator: Coordinator,
        status: Box<Status>,
    },
    /// The coordinator said something else first.
    #[error("{coordinator} did not begin with a welcome")]
    NotWelcome { coordinator: Coordinator },
    /// Something took too long.
    #[error("{coordinator} did not answer within {} s", after.as_secs())]
    Late {
        coordinator: Coordinator,
        after: Duration,
    },
}

impl DialError {
    /// Whether only a change by somebody else helps, so that dialling often is of no use.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            DialError::Untrusted { .. } | DialError::ServerName { .. } => true,
            DialError::Refused { status, .. } => is_refusal(status.code()),
            DialError::Unreadable { .. }
            | DialError::TooLarge { .. }
            | DialError::NoCertificate { .. }
            | DialError::Certificate { .. }
            | DialError::Root { .. }
            | DialError::Setup(_)
            | DialError::Token { .. }
            | DialError::Connect { .. }
            | DialError::Tls { .. }
            | DialError::Http { .. }
            | DialError::NotWelcome { .. }
            | DialError::Late { .. } => false,
        }
    }
}

/// Whether a status means that the coordinator will say the same again.
pub(super) fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::Unauthenticated | Code::PermissionDenied | Code::FailedPrecondition
    )
}

/// Dials once and waits for the welcome.
pub(super) async fn dial<N: Net>(
    config: &Config,
    net: &N,
    hello: Hello,
) -> Result<Session, DialError> {
    let token = token(&config.token_file)?;
    let stream = connect(config, net).await?;
    let coordinator = || config.coordinator.clone();
    let late = |_| DialError::Late {
        coordinator: coordinator(),
        after: WELCOME_TIMEOUT,
    };
    let refused = |status| DialError::Refused {
        coordinator: coordinator(),
        status: Box::new(status),
    };
    let client = client(stream).await.map_err(|source| DialError::Http {
        coordinator: coordinator(),
        source,
    })?;
    let attach = attach(client, token, hello);
    let (outbound, mut inbound) = timeout(WELCOME_TIMEOUT, attach)
        .await
        .map_err(late)?
        .map_err(refused)?;
    let first = timeout(WELCOME_TIMEOUT, inbound.message())
        .await
        .map_err(late)?
        .map_err(refused)?;
    match first.and_then(|message| message.body) {
        Some(coordinator_message::Body::Welcome(welcome)) => Ok(Session {
            outbound,
            inbound,
            welcome,
        }),
        Some(
            coordinator_message::Body::Assignment(_)
            | coordinator_message::Body::Cancel(_)
            | coordinator_message::Body::Ack(_)
            | coordinator_message::Body::Fence(_)
            | coordinator_message::Body::Ping(_),
        )
        | None => Err(DialError::NotWelcome {
            coordinator: coordinator(),
        }),
    }
}

/// Both ends of a stream.
type Ends = (mpsc::Sender<AgentMessage>, Streaming<CoordinatorMessage>);

/// Opens the stream with `hello` as its first message.
async fn attach(
    mut client: ControlClient<tonic::transport::Channel>,
    token: MetadataValue<Ascii>,
    hello: Hello,
) -> Result<Ends, Status> {
    let (outbound, messages) = mpsc::channel(OUTBOUND_MAX);
    let hello = AgentMessage {
        body: Some(Body::Hello(hello)),
    };
    outbound
        .send(hello)
        .await
        .map_err(|error| Status::internal(error.to_string()))?;
    let mut request = Request::new(ReceiverStream::new(messages));
    request.metadata_mut().insert("authorization", token);
    let inbound = client.attach(request).await?.into_inner();
    Ok((outbound, inbound))
}

/// A client on one TLS connection, which is not opened again when it breaks.
async fn client<S>(
    stream: TlsStream<S>,
) -> Result<ControlClient<tonic::transport::Channel>, tonic::transport::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let mut connection = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        let connection = connection
            .take()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        std::future::ready(connection)
    });
    // TLS is below this channel: the scheme only keeps the channel from adding its own.
    let channel = Endpoint::from_static("http://reachproof-coordinator")
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector(connector)
        .await?;
    Ok(ControlClient::new(channel).max_decoding_message_size(MESSAGE_MAX))
}

/// Opens TCP and TLS 1.3 to the coordinator.
async fn connect<N: Net>(config: &Config, net: &N) -> Result<TlsStream<N::Stream>, DialError> {
    let coordinator = || config.coordinator.clone();
    let late = |_| DialError::Late {
        coordinator: coordinator(),
        after: CONNECT_TIMEOUT,
    };
    let tls = tls(&config.ca)?;
    let name = ServerName::try_from(config.server_name.clone()).map_err(|source| {
        DialError::ServerName {
            name: config.server_name.clone(),
            source,
        }
    })?;
    let Coordinator { host, port } = &config.coordinator;
    let stream = timeout(CONNECT_TIMEOUT, net.dial(host, *port))
        .await
        .map_err(late)?
        .map_err(|source| DialError::Connect {
            coordinator: coordinator(),
            source,
        })?;
    let handshake = TlsConnector::from(tls).connect(name, stream);
    timeout(CONNECT_TIMEOUT, handshake)
        .await
        .map_err(late)?
        .map_err(|source| {
            let coordinator = coordinator();
            if is_certificate_error(&source) {
                DialError::Untrusted {
                    coordinator,
                    source,
                }
            } else {
                DialError::Tls {
                    coordinator,
                    source,
                }
            }
        })
}

/// Whether a TLS handshake failed because of the other side's certificate.
fn is_certificate_error(error: &io::Error) -> bool {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}

/// TLS 1.3 that trusts the certificates in the CA file, and nothing else.
fn tls(ca: &Path) -> Result<Arc<ClientConfig>, DialError> {
    let path = || ca.to_owned();
    let text = read(ca)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|source| DialError::Certificate {
            path: path(),
            source,
        })?;
        roots.add(certificate).map_err(|source| DialError::Root {
            path: path(),
            source,
        })?;
    }
    if roots.is_empty() {
        return Err(DialError::NoCertificate { path: path() });
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(DialError::Setup)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// The token as the value of an `authorization` entry.
fn token(path: &Path) -> Result<MetadataValue<Ascii>, DialError> {
    let bytes = read(path)?;
    let invalid = || DialError::Token {
        path: path.to_owned(),
    };
    let text = String::from_utf8(bytes).map_err(|_| invalid())?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid());
    }
    let mut value: MetadataValue<Ascii> =
        format!("Bearer {token}").parse().map_err(|_| invalid())?;
    value.set_sensitive(true);
    Ok(value)
}

/// A small file. Read where it is needed, since others change it.
fn read(path: &Path) -> Result<Vec<u8>, DialError> {
    let unreadable = |source| DialError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(CREDENTIAL_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > CREDENTIAL_MAX) {
        return Err(DialError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}
