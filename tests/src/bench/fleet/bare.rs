//! The least that a coordinator does: TLS, HTTP/2 and a stream for each agent, and nothing with it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use reachproof_proto::v1;
use reachproof_proto::v1::control_server::{Control, ControlServer};
use reachproof_proto::v1::coordinator_message::Body as Reply;
use reachproof_verify::credentials::{PAGE_CERTIFICATE_FILE, PAGE_KEY_FILE};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

use super::{BARE_ARGUMENT, LISTEN, Running, log, until_open};
use crate::bench::Measured;

/// Longest silence of an agent, as the coordinator wants it.
const HEARTBEAT_INTERVAL_MS: u32 = 15_000;

/// Messages that wait for an agent.
const OUTGOING_MAX: usize = 64;

/// Where a bare server listens, and with which certificate.
#[derive(Debug, Args)]
pub struct BareArguments {
    #[arg(long)]
    listen: SocketAddr,
    /// Directory of the certificate
    #[arg(long)]
    credentials: PathBuf,
}

/// Starts this program once more as a bare server.
pub(super) fn start(credentials: &Path) -> Measured<Running> {
    let child = Command::new(std::env::current_exe()?)
        .arg(BARE_ARGUMENT)
        .args(["--listen", LISTEN, "--credentials"])
        .arg(credentials)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log(credentials, "bare.log")?)
        .spawn()?;
    let mut running = Running(child);
    until_open(LISTEN, &mut running, &credentials.join("bare.log"))?;
    Ok(running)
}

/// Serves until it is killed.
///
/// # Errors
/// When it cannot listen.
pub fn serve_bare(arguments: &BareArguments) -> Measured<()> {
    let read = |name| fs::read(arguments.credentials.join(name));
    let identity = Identity::from_pem(read(PAGE_CERTIFICATE_FILE)?, read(PAGE_KEY_FILE)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let server = Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity))?
        .add_service(ControlServer::new(Bare))
        .serve(arguments.listen);
    Ok(runtime.block_on(server)?)
}

/// Welcomes everybody.
struct Bare;

#[tonic::async_trait]
impl Control for Bare {
    type AttachStream = ReceiverStream<Result<v1::CoordinatorMessage, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let (outgoing, messages) = mpsc::channel(OUTGOING_MAX);
        let mut incoming = request.into_inner();
        tokio::spawn(async move {
            let welcome = v1::Welcome {
                heartbeat_interval_ms: HEARTBEAT_INTERVAL_MS,
                reconnect_window_ms: 0,
                sequence_acknowledged: 0,
            };
            let body = Some(Reply::Welcome(welcome));
            let mut welcome = Some(Ok(v1::CoordinatorMessage { body }));
            while let Ok(Some(_)) = incoming.message().await {
                if let Some(welcome) = welcome.take()
                    && outgoing.send(welcome).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}
