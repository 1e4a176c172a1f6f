//! Agents that speak the wire over real TLS sockets and see what a test says that they see.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "each test file uses its own part, and a test reads its files and fails by panicking"
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use hyper_util::rt::TokioIo;
use reachproof_model::plan::{ATTEMPTS, AgentKind};
use reachproof_proto::column::{column_to_wire, zigzag};
use reachproof_proto::net::{ProofKey, address_from_wire, address_to_wire, bytes_from_wire, proof};
use reachproof_proto::v1;
use reachproof_proto::v1::agent_message::Body;
use reachproof_proto::v1::control_client::ControlClient;
use reachproof_proto::v1::coordinator_message::Body as Order;
use reachproof_verify::credentials::SERVER_NAME;
use reachproof_verify::door::CONNECTIONS_PER_ADDRESS;
use reachproof_verify::source::WorldSource;
use reachproof_verify::token::{Claims, TokenKey};
use reachproof_verify::{
    Credentials, ExpectedAgents, Report, RunConfig, RunError, SnapshotContent, SystemRandomness,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

/// What a fake network does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The target answers: agents on 7500 with their proof, others refuse.
    Open,
    /// Nothing comes.
    Silent,
}

/// A fake network: what happens between two addresses on a port, and the keys that its listeners were given.
#[derive(Clone)]
pub(crate) struct Network {
    fate: Arc<dyn Fn(IpAddr, IpAddr, u16) -> Fate + Send + Sync>,
    keys: Arc<Mutex<BTreeMap<(IpAddr, u16), ProofKey>>>,
}

impl Network {
    /// A network in which `fate` decides.
    pub(crate) fn new(fate: impl Fn(IpAddr, IpAddr, u16) -> Fate + Send + Sync + 'static) -> Self {
        Self {
            fate: Arc::new(fate),
            keys: Arc::default(),
        }
    }
}

/// The endpoint of the cluster in the vectors.
pub(crate) const ENDPOINT: &str =
    "0123456789abcdef0123456789abcdef.gr7.us-east-1.eks.amazonaws.com";

/// How an agent misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Not at all.
    Faithful,
    /// Its stream is cut after the first batch; it comes back as the same process and sends everything again.
    Cut,
    /// Its stream is cut after the first batch and never comes back.
    Vanish,
    /// It comes back as another process after the first batch.
    Restart,
    /// It never says that it has reported everything.
    Mute,
    /// Its kernel dropped connections for want of room.
    Full,
    /// It says what its host resolves the cluster endpoint to.
    Resolves,
    /// It cannot make the right proof.
    Stranger,
    /// It sends results for a probe that is not its own, with another run's name, and for too many attempts.
    Forger,
}

/// The schema of reports that is published.
pub(crate) fn schema() -> serde_json::Value {
    let path = format!(
        "{}/../../deploy/schemas/report.json",
        env!("CARGO_MANIFEST_DIR")
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A place where agents dial in.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) ca: String,
    pub(crate) token_key: TokenKey,
    pub(crate) installation: String,
}

impl Site {
    /// The token of an agent on a node.
    pub(crate) fn token(&self, name: &str, address: IpAddr) -> String {
        let claims = Claims {
            name: name.try_into().unwrap(),
            kind: AgentKind::Node,
            addresses: vec![address],
            installation: self.installation.clone(),
            issued_unix_s: 0,
            expires_unix_s: 3_600,
        };
        self.token_key.sign(&claims).unwrap()
    }
}

/// A coordinator that runs beside the test.
pub(crate) struct Coordinator {
    pub(crate) site: Site,
    pub(crate) run: tokio::task::JoinHandle<Result<Report, RunError>>,
    /// Keeps the files until the run is over.
    pub(crate) directory: tempfile::TempDir,
}

/// Starts a run over the world of a vector that waits for so many agents.
pub(crate) async fn coordinator(vector: &str, agents: usize) -> Coordinator {
    coordinator_until(vector, agents, std::future::pending()).await
}

/// The same, until `shutdown`.
pub(crate) async fn coordinator_until(
    vector: &str,
    agents: usize,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Coordinator {
    let path = format!(
        "{}/../../tests/vectors/{vector}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let world = Arc::new(PathBuf::from(path));
    coordinator_of(world, Duration::ZERO, agents, shutdown).await
}

/// Starts a run over any world that waits for so many agents.
pub(crate) async fn coordinator_over(world: Arc<dyn WorldSource>, agents: usize) -> Coordinator {
    coordinator_of(world, Duration::ZERO, agents, std::future::pending()).await
}

/// The same, with a settle time.
pub(crate) async fn coordinator_settling(
    world: Arc<dyn WorldSource>,
    settle: Duration,
    agents: usize,
) -> Coordinator {
    coordinator_of(world, settle, agents, std::future::pending()).await
}

async fn coordinator_of(
    snapshot: Arc<dyn WorldSource>,
    settle: Duration,
    agents: usize,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Coordinator {
    let directory = tempfile::tempdir().unwrap();
    let random = Arc::new(SystemRandomness::default());
    let place = directory.path().join("credentials");
    let credentials = Credentials::in_directory(&place, random.as_ref()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let site = Site {
        address: listener.local_addr().unwrap(),
        ca: credentials.ca_certificate.clone(),
        token_key: credentials.token_key.clone(),
        installation: credentials.installation.clone(),
    };
    let config = RunConfig {
        snapshot,
        credentials,
        reviewer: None,
        connections_per_address: CONNECTIONS_PER_ADDRESS,
        expected: ExpectedAgents::Count(agents),
        settle,
        wait: Duration::from_secs(3),
        resume_wait: Duration::from_secs(2),
        depth: None,
        seed: 1,
        content: SnapshotContent::LeftOut,
        started_at: SystemTime::UNIX_EPOCH,
        random,
    };
    let run = reachproof_verify::run(config, listener, |_| {}, shutdown);
    Coordinator {
        site,
        run: tokio::spawn(run),
        directory,
    }
}

/// Connects over TLS 1.3, trusting `ca` alone.
pub(crate) async fn channel(
    address: SocketAddr,
    ca: &str,
) -> Result<Channel, tonic::transport::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tls = TlsConnector::from(Arc::new(config));
    let connector = tower::service_fn(move |_| {
        let tls = tls.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::try_from(SERVER_NAME).unwrap();
            Ok::<_, std::io::Error>(TokioIo::new(tls.connect(name, stream).await?))
        }
    });
    Endpoint::from_static("http://reachproof-coordinator")
        .connect_with_connector(connector)
        .await
}

/// One attached stream.
pub(crate) struct Link {
    pub(crate) send: mpsc::Sender<v1::AgentMessage>,
    pub(crate) receive: Streaming<v1::CoordinatorMessage>,
}

impl Link {
    /// Sends one message.
    pub(crate) async fn say(&self, body: Body) {
        let message = v1::AgentMessage { body: Some(body) };
        self.send.send(message).await.unwrap();
    }
}

/// Opens a stream with these authorization entries.
pub(crate) async fn attach(site: &Site, authorization: &[String]) -> Result<Link, Status> {
    let channel = channel(site.address, &site.ca).await.unwrap();
    let (send, messages) = mpsc::channel(16);
    let mut request = Request::new(ReceiverStream::new(messages));
    for entry in authorization {
        let entry = MetadataValue::try_from(entry.as_str()).unwrap();
        request.metadata_mut().append("authorization", entry);
    }
    let receive = ControlClient::new(channel)
        .attach(request)
        .await?
        .into_inner();
    Ok(Link { send, receive })
}

/// The one right authorization entry of an agent on a node.
pub(crate) fn bearer(site: &Site, name: &str, address: IpAddr) -> Vec<String> {
    vec![format!("Bearer {}", site.token(name, address))]
}

/// Greeting of an agent on a node.
pub(crate) fn hello(name: &str, address: IpAddr, boot: u64) -> v1::Hello {
    v1::Hello {
        agent: name.to_owned(),
        node: String::new(),
        kind: v1::AgentKind::Node.into(),
        addresses: vec![address_to_wire(address)],
        ephemeral_port_first: 32_768,
        ephemeral_port_last: 60_999,
        version: "test".to_owned(),
        boot,
        limits: Some(v1::AgentLimits {
            attempts_in_flight_max: 64,
            attempts_per_second_max: 1_000,
        }),
        wire_version: 1,
    }
}

/// An agent.
pub(crate) struct Agent {
    pub(crate) name: &'static str,
    pub(crate) address: IpAddr,
    pub(crate) habit: Habit,
    pub(crate) network: Network,
}

/// What an agent process remembers between its streams.
struct Process {
    boot: u64,
    sequence: u64,
    run: String,
    unacknowledged: Vec<v1::ObservationBatch>,
    done: bool,
}

impl Agent {
    /// Lives until the coordinator ends its streams for good.
    pub(crate) async fn live(self, site: Arc<Site>) {
        let mut process = Process {
            boot: 1,
            sequence: 0,
            run: String::new(),
            unacknowledged: Vec::new(),
            done: false,
        };
        loop {
            let Ok(link) = attach(&site, &bearer(&site, self.name, self.address)).await else {
                return;
            };
            match self.stream(link, &mut process).await {
                Ended::ByCoordinator => return,
                Ended::Cut if self.habit == Habit::Vanish => return,
                Ended::Cut if self.habit == Habit::Restart => {
                    process = Process {
                        boot: 2,
                        sequence: 0,
                        run: String::new(),
                        unacknowledged: Vec::new(),
                        done: true,
                    };
                }
                Ended::Cut => process.done = true,
            }
        }
    }

    /// Serves one stream.
    async fn stream(&self, mut link: Link, process: &mut Process) -> Ended {
        link.say(Body::Hello(hello(self.name, self.address, process.boot)))
            .await;
        for batch in process.unacknowledged.clone() {
            link.say(Body::Observations(batch)).await;
        }
        let mut heartbeat = tokio::time::interval(Duration::from_millis(100));
        loop {
            let order = tokio::select! {
                order = link.receive.message() => order,
                _ = heartbeat.tick() => {
                    let beat = v1::Heartbeat::default();
                    let message = v1::AgentMessage { body: Some(Body::Heartbeat(beat)) };
                    if link.send.send(message).await.is_err() {
                        return Ended::ByCoordinator;
                    }
                    continue;
                }
            };
            let Ok(Some(v1::CoordinatorMessage { body: Some(order) })) = order else {
                return Ended::ByCoordinator;
            };
            match order {
                Order::Assignment(assignment) => {
                    if let Some(ended) = self.work(&link, process, assignment).await {
                        return ended;
                    }
                }
                Order::Ack(ack) => process
                    .unacknowledged
                    .retain(|batch| batch.sequence > ack.sequence),
                Order::Fence(fence) => {
                    if self.habit != Habit::Mute {
                        link.say(Body::Fence(v1::FenceReport {
                            run: fence.run,
                            number: fence.number,
                            accept_queue_drops: Some(u64::from(self.habit == Habit::Full)),
                            results_lost: 0,
                            listen_drops: Vec::new(),
                        }))
                        .await;
                    }
                }
                Order::Welcome(_) | Order::Cancel(_) | Order::Ping(_) => {}
            }
        }
    }

    /// Listens and probes as assigned; cuts its stream in the middle if that is its habit.
    async fn work(
        &self,
        link: &Link,
        process: &mut Process,
        assignment: v1::Assignment,
    ) -> Option<Ended> {
        process.run.clone_from(&assignment.run);
        if self.habit == Habit::Resolves {
            link.say(Body::Endpoint(v1::EndpointReport {
                run: assignment.run.clone(),
                name: ENDPOINT.to_owned(),
                addresses: vec![vec![10, 0, 1, 10]],
                failure: String::new(),
            }))
            .await;
        }
        if !assignment.listen.is_empty() {
            for listen in &assignment.listen {
                let key = bytes_from_wire(&listen.proof_key).unwrap();
                let port = u16::try_from(listen.port).unwrap();
                self.network
                    .keys
                    .lock()
                    .unwrap()
                    .insert((self.address, port), key);
            }
            let report = v1::ListenReport {
                run: assignment.run.clone(),
                generation: assignment.generation,
                failures: Vec::new(),
            };
            link.say(Body::Listening(report)).await;
        }
        let halves = assignment.probes.split_at(assignment.probes.len() / 2);
        for (index, half) in [halves.0, halves.1].into_iter().enumerate() {
            if half.is_empty() {
                continue;
            }
            process.sequence += 1;
            let batch = self.batch(process, half);
            process.unacknowledged.push(batch.clone());
            link.say(Body::Observations(batch)).await;
            let cuts = matches!(self.habit, Habit::Cut | Habit::Vanish | Habit::Restart);
            if cuts && !process.done && index == 0 {
                // The second half is finished while nobody is connected.
                if self.habit == Habit::Cut {
                    process.sequence += 1;
                    let rest = self.batch(process, halves.1);
                    process.unacknowledged.push(rest);
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
                return Some(Ended::Cut);
            }
        }
        None
    }

    /// What was seen of some probes, as columns.
    fn batch(&self, process: &Process, probes: &[v1::Probe]) -> v1::ObservationBatch {
        let mut rows = Vec::new();
        let mut batch = v1::ObservationBatch {
            run: process.run.clone(),
            sequence: process.sequence,
            local_addresses: vec![address_to_wire(self.address)],
            ..v1::ObservationBatch::default()
        };
        if self.habit == Habit::Forger {
            self.forge(&mut batch);
        }
        // In the order of their starts: first attempts first.
        for number in 0..ATTEMPTS {
            for probe in probes {
                let attempts = match self.fate(probe) {
                    Fate::Open => 1,
                    Fate::Silent => probe.attempts,
                };
                if number < attempts {
                    rows.push(self.row(probe, number));
                }
            }
        }
        columns(&rows, &mut batch);
        for (index, row) in (0..).zip(&rows) {
            if row.outcome == v1::Outcome::Connected {
                let answer = self.answer(row.probe, row.port);
                batch.identifications.push(v1::Identification {
                    index,
                    result: Some(v1::identification::Result::Answer(answer)),
                });
            }
        }
        batch
    }

    /// Changes the names of a batch so that nothing in it may count.
    fn forge(&self, batch: &mut v1::ObservationBatch) {
        batch.run = "run-of-somebody-else".to_owned();
    }

    /// What the network does with a probe.
    fn fate(&self, probe: &v1::Probe) -> Fate {
        let target = address_from_wire(&probe.target).unwrap();
        (self.network.fate)(self.address, target, u16::try_from(probe.port).unwrap())
    }

    /// One attempt.
    fn row<'a>(&self, probe: &'a v1::Probe, number: u32) -> Row<'a> {
        let asks = probe.kind == i32::from(v1::ProbeKind::Peer);
        let (outcome, elapsed_us) = match (self.fate(probe), asks) {
            (Fate::Silent, _) => (v1::Outcome::TimedOut, 3_000_000),
            (Fate::Open, true) => (v1::Outcome::Connected, 300),
            (Fate::Open, false) => (v1::Outcome::Refused, 300),
        };
        let port = match probe.source_ports.get(usize::try_from(number).unwrap()) {
            Some(port) => u16::try_from(*port).unwrap(),
            None => 33_000 + u16::try_from(3 * probe.id + number).unwrap(),
        };
        Row {
            probe,
            number,
            outcome,
            elapsed_us,
            port,
        }
    }

    /// The answer that the target gives to the nonce of a probe.
    fn answer(&self, probe: &v1::Probe, port: u16) -> v1::IdentificationAnswer {
        let target = address_from_wire(&probe.target).unwrap();
        let listener = (target, u16::try_from(probe.port).unwrap());
        let key = match self.habit {
            Habit::Stranger => [0; 32],
            Habit::Faithful
            | Habit::Cut
            | Habit::Vanish
            | Habit::Restart
            | Habit::Mute
            | Habit::Full
            | Habit::Resolves
            | Habit::Forger => *self.network.keys.lock().unwrap().get(&listener).unwrap(),
        };
        let nonce = bytes_from_wire(&probe.nonce).unwrap();
        v1::IdentificationAnswer {
            observed_address: address_to_wire(self.address),
            observed_port: u32::from(port),
            proof: proof(&key, &nonce, self.address, port).to_vec(),
        }
    }
}

/// One attempt of a probe.
struct Row<'a> {
    probe: &'a v1::Probe,
    number: u32,
    outcome: v1::Outcome,
    elapsed_us: u32,
    port: u16,
}

/// Writes attempts, sorted by their starts, as the columns of a batch; two attempts of a probe are 5.1 s apart.
fn columns(rows: &[Row<'_>], batch: &mut v1::ObservationBatch) {
    let start = |row: &Row<'_>| 5_100_000 * i64::from(row.number);
    let id = |index: usize| i32::try_from(rows[index].probe.id).unwrap();
    let step = |index: usize| id(index) - index.checked_sub(1).map_or(0, id);
    let number = |outcome: v1::Outcome| u32::try_from(i32::from(outcome)).unwrap();
    batch.probe_id_step = Some(column_to_wire(
        (0..rows.len()).map(|index| zigzag(step(index))),
    ));
    batch.attempt = Some(column_to_wire(rows.iter().map(|row| row.number)));
    batch.outcome = Some(column_to_wire(rows.iter().map(|row| number(row.outcome))));
    batch.start_step_us = rows
        .windows(2)
        .map(|pair| start(&pair[1]) - start(&pair[0]))
        .collect();
    batch.elapsed_us = rows.iter().map(|row| row.elapsed_us).collect();
    batch.local_ports = rows.iter().flat_map(|row| row.port.to_be_bytes()).collect();
}

/// Why a stream ended.
enum Ended {
    /// The coordinator ended it.
    ByCoordinator,
    /// The agent cut it.
    Cut,
}
