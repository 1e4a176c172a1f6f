//! A coordinator that does as a test tells it, behind real TLS.

use std::{
    fs,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reachproof_agent::{
    config::{Config, Kind},
    control::{AgentError, Seams, run},
    environment::{Net, SystemClock},
    policy::Policy,
};
use reachproof_proto::v1::{
    Ack, AgentMessage, Assignment, Cancel, CoordinatorMessage, Fence, Heartbeat, Hello,
    ListenReport, ObservationBatch, Ping, Welcome,
    agent_message::Body,
    control_server::{Control, ControlServer},
    coordinator_message,
};
use tempfile::TempDir;
use tokio::{
    io::{DuplexStream, copy_bidirectional, duplex},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinHandle},
    time::timeout,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Identity, Server, ServerTlsConfig},
};

use crate::support::{GENEROUS, PATIENCE, SeededRng};

/// The token that the coordinator takes.
pub(crate) const TOKEN: &str = "token-of-this-run";

/// A coordinator of one test.
pub(crate) struct Coordinator {
    /// Holds `ca.crt` and `token`.
    pub(crate) directory: TempDir,
    address: SocketAddr,
    streams: mpsc::Receiver<AgentStream>,
    refused: Arc<AtomicUsize>,
    server: AbortHandle,
}

/// One stream of one agent, after its hello.
pub(crate) struct AgentStream {
    pub(crate) hello: Hello,
    inbound: Streaming<AgentMessage>,
    outbound: mpsc::Sender<Result<CoordinatorMessage, Status>>,
}

/// A CA of its own, and a certificate for the usual name: CA, certificate and key in PEM.
pub(crate) fn certificates() -> (String, String, String) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["reachproof-coordinator".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &ca).unwrap();
    (ca.pem(), leaf.pem(), key.serialize_pem())
}

impl Coordinator {
    /// Starts it on a free port.
    pub(crate) async fn start() -> Coordinator {
        let (ca, certificate, key) = certificates();
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("ca.crt"), ca).unwrap();
        fs::write(directory.path().join("token"), format!("{TOKEN}\n")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, streams) = mpsc::channel(16);
        let refused = Arc::new(AtomicUsize::new(0));
        let service = Attach {
            streams: sender,
            refused: Arc::clone(&refused),
        };
        let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
        let server = Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(ControlServer::new(service))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(server).abort_handle();
        Coordinator {
            directory,
            address,
            streams,
            refused,
            server,
        }
    }

    /// The configuration of an agent on `address`.
    pub(crate) fn config(&self, address: &str) -> Config {
        Config {
            coordinator: format!("https://{}", self.address).parse().unwrap(),
            ca: self.file("ca.crt"),
            token_file: self.file("token"),
            server_name: "reachproof-coordinator".to_owned(),
            name: format!("agent-{address}"),
            node: String::new(),
            kind: Kind::Pod,
            addresses: vec![address.parse().unwrap()],
            limits: GENEROUS,
            policy: Policy::unrestricted(),
            cluster_endpoint: None,
        }
    }

    /// A file beside the credentials.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The next stream that is opened, not yet welcome.
    pub(crate) async fn stream(&mut self) -> AgentStream {
        timeout(PATIENCE, self.streams.recv())
            .await
            .unwrap()
            .unwrap()
    }

    /// The next stream that is opened, welcomed without anything counted.
    pub(crate) async fn welcomed(&mut self) -> AgentStream {
        let stream = self.stream().await;
        stream.welcome(0).await;
        stream
    }

    /// Nobody opens a stream for a while.
    pub(crate) async fn expect_nobody(&mut self, wait: Duration) {
        assert!(timeout(wait, self.streams.recv()).await.is_err());
    }

    /// How many streams had a wrong token.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl AgentStream {
    /// Welcomes the agent; it sends heartbeats after 500 ms of silence, and dials again at once.
    pub(crate) async fn welcome(&self, sequence_acknowledged: u64) {
        self.say(coordinator_message::Body::Welcome(Welcome {
            heartbeat_interval_ms: 500,
            reconnect_window_ms: 0,
            sequence_acknowledged,
        }))
        .await;
    }

    /// Says something.
    pub(crate) async fn say(&self, body: coordinator_message::Body) {
        self.outbound
            .send(Ok(CoordinatorMessage { body: Some(body) }))
            .await
            .unwrap();
    }

    /// Ends the stream with a status.
    pub(crate) async fn end(&self, status: Status) {
        self.outbound.send(Err(status)).await.unwrap();
    }

    /// Hands out work.
    pub(crate) async fn assign(&self, assignment: Assignment) {
        self.say(coordinator_message::Body::Assignment(assignment))
            .await;
    }

    /// Cancels a run.
    pub(crate) async fn cancel(&self, run: &str) {
        self.say(coordinator_message::Body::Cancel(Cancel {
            run: run.to_owned(),
        }))
        .await;
    }

    /// Asks for everything up to now.
    pub(crate) async fn fence(&self, number: u32) {
        let run = "run".to_owned();
        self.say(coordinator_message::Body::Fence(Fence { run, number }))
            .await;
    }

    /// Asks for a heartbeat.
    pub(crate) async fn ping(&self, number: u64) {
        self.say(coordinator_message::Body::Ping(Ping { number }))
            .await;
    }

    /// The next heartbeats up to the answer to a ping; nothing else may come before it.
    pub(crate) async fn heartbeats(&mut self, ping: u64) -> Vec<Heartbeat> {
        let mut heartbeats = Vec::new();
        loop {
            let body = self.hear().await;
            let Body::Heartbeat(heartbeat) = body else {
                panic!("no heartbeat: {body:?}")
            };
            heartbeats.push(heartbeat);
            if heartbeat.ping == ping {
                return heartbeats;
            }
        }
    }

    /// Acknowledges batches.
    pub(crate) async fn acknowledge(&self, sequence: u64) {
        self.say(coordinator_message::Body::Ack(Ack { sequence }))
            .await;
    }

    /// What the agent says next.
    pub(crate) async fn hear(&mut self) -> Body {
        let message = timeout(PATIENCE, self.inbound.message()).await.unwrap();
        message.unwrap().unwrap().body.unwrap()
    }

    /// What the agent says next, but for heartbeats.
    pub(crate) async fn hear_news(&mut self) -> Body {
        loop {
            let body = self.hear().await;
            if !matches!(body, Body::Heartbeat(_)) {
                return body;
            }
        }
    }

    /// The next batch of attempts; nothing else may come before it.
    pub(crate) async fn observations(&mut self) -> ObservationBatch {
        let body = self.hear_news().await;
        let Body::Observations(batch) = body else {
            panic!("no observations: {body:?}")
        };
        batch
    }

    /// The next report of ports; nothing else may come before it.
    pub(crate) async fn listening(&mut self) -> ListenReport {
        let body = self.hear_news().await;
        let Body::Listening(report) = body else {
            panic!("no report: {body:?}")
        };
        report
    }

    /// Waits until the agent ends the stream, or its connection breaks.
    pub(crate) async fn hear_end(&mut self) {
        let end = async { while let Ok(Some(_)) = self.inbound.message().await {} };
        timeout(PATIENCE, end).await.unwrap();
    }
}

/// The service: hands streams with the right token to the test.
struct Attach {
    streams: mpsc::Sender<AgentStream>,
    refused: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl Control for Attach {
    type AttachStream = ReceiverStream<Result<CoordinatorMessage, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let tokens: Vec<_> = request
            .metadata()
            .get_all("authorization")
            .iter()
            .cloned()
            .collect();
        let right = format!("Bearer {TOKEN}");
        if !matches!(tokens.as_slice(), [token] if token.as_bytes() == right.as_bytes()) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(Status::unauthenticated("the token is not that of this run"));
        }
        let mut inbound = request.into_inner();
        let first = inbound.message().await?.and_then(|message| message.body);
        let Some(Body::Hello(hello)) = first else {
            return Err(Status::invalid_argument("the first message is no hello"));
        };
        let (outbound, receiver) = mpsc::channel(16);
        let stream = AgentStream {
            hello,
            inbound,
            outbound,
        };
        self.streams
            .send(stream)
            .await
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// A network whose connections a test can cut, and that counts dials.
#[derive(Clone, Default)]
pub(crate) struct CuttableNet {
    wires: Arc<Mutex<Vec<AbortHandle>>>,
    resolved: Arc<Mutex<Vec<String>>>,
}

/// The one name that this network resolves.
pub(crate) const KNOWN_NAME: &str = "abc.gr7.eu-central-1.eks.amazonaws.com";

impl CuttableNet {
    /// Cuts all connections in the middle of whatever is said.
    pub(crate) fn cut(&self) {
        for wire in self.wires.lock().unwrap().iter() {
            wire.abort();
        }
    }

    /// Names that were resolved.
    pub(crate) fn resolved(&self) -> Vec<String> {
        self.resolved.lock().unwrap().clone()
    }

    /// How often somebody dialled.
    pub(crate) fn dials(&self) -> usize {
        self.wires.lock().unwrap().len()
    }
}

impl Net for CuttableNet {
    type Stream = DuplexStream;

    fn dial(&self, host: &str, port: u16) -> impl Future<Output = io::Result<DuplexStream>> + Send {
        let (host, wires) = (host.to_owned(), Arc::clone(&self.wires));
        async move {
            let mut stream = TcpStream::connect((host, port)).await?;
            let (ours, mut theirs) = duplex(1024 * 1024);
            let wire =
                tokio::spawn(async move { copy_bidirectional(&mut theirs, &mut stream).await });
            wires.lock().unwrap().push(wire.abort_handle());
            Ok(ours)
        }
    }

    fn resolve(&self, name: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send {
        let known = name == KNOWN_NAME;
        self.resolved.lock().unwrap().push(name.to_owned());
        std::future::ready(if known {
            Ok(vec![
                "10.0.2.10".parse().unwrap(),
                "10.0.1.10".parse().unwrap(),
            ])
        } else {
            Err(io::Error::other("no such name"))
        })
    }
}

/// An agent that runs.
pub(crate) struct RunningAgent {
    pub(crate) net: CuttableNet,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), AgentError>>,
}

impl RunningAgent {
    /// Starts it.
    pub(crate) fn start(config: Config) -> RunningAgent {
        let net = CuttableNet::default();
        let (stop, stopped) = oneshot::channel::<()>();
        let rng = Arc::new(SeededRng::new(0x5eed));
        let environment = Seams {
            clock: Arc::new(SystemClock),
            rng,
            net: net.clone(),
        };
        let task = tokio::spawn(run(config, environment, async move {
            stopped.await.unwrap_or_default()
        }));
        RunningAgent { net, stop, task }
    }

    /// Stops it as SIGTERM would.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}
