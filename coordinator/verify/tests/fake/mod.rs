//! Agents that speak the wire over real TLS sockets and see what a test says that they see.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "each test file uses its own part, and a test reads its files and fails by panicking"
)]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use hyper_util::rt::TokioIo;
use reachproof_model::plan::AgentKind;
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
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

/// What a fake network does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The target answers: agents where they listen, with their proof; others refuse.
    Open,
    /// Nothing comes.
    Silent,
}

/// A fake network: what happens between two addresses on a port, and the keys that its listeners were given.
#[derive(Clone)]
pub(crate) struct Network {
    fate: Arc<dyn Fn(IpAddr, IpAddr, u16) -> Fate + Send + Sync>,
    keys: Arc<Mutex<BTreeMap<(IpAddr, u16), ProofKey>>>,
    /// What control-plane interfaces show; nothing: they refuse.
    chains: Vec<v1::CertificateChain>,
}

impl Network {
    /// A network in which `fate` decides.
    pub(crate) fn new(fate: impl Fn(IpAddr, IpAddr, u16) -> Fate + Send + Sync + 'static) -> Self {
        Self {
            fate: Arc::new(fate),
            keys: Arc::default(),
            chains: Vec::new(),
        }
    }

    /// The same network, in which control-plane interfaces show this certificate.
    pub(crate) fn with_certificate(self, certificate: &CertificateDer<'_>) -> Self {
        let certificates = vec![certificate.to_vec()];
        Self {
            chains: vec![v1::CertificateChain { certificates }],
            ..self
        }
    }
}

/// The endpoint of the cluster in the vectors.
pub(crate) const ENDPOINT: &str =
    "0123456789abcdef0123456789abcdef.gr7.us-east-1.eks.amazonaws.com";

/// How often an agent dials before it gives up.
const DIALS_MAX: usize = 5;

/// How an agent misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Not at all.
    Faithful,
    /// It served another coordinator before, which acknowledged some batches.
    Experienced,
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
    /// It makes its attempts in a tenth of their time, and reports them as if it had not.
    Hasty,
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
        self.token_until(name, address, 3_600)
    }

    /// The same until so many seconds after 1970, when every run here starts.
    pub(crate) fn token_until(&self, name: &str, address: IpAddr, expires_unix_s: u64) -> String {
        let claims = Claims {
            name: name.try_into().unwrap(),
            kind: AgentKind::Node,
            addresses: vec![address],
            installation: self.installation.clone(),
            run: None,
            issued_unix_s: 0,
            expires_unix_s,
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

/// Starts a run over the world of A01 that waits so long for so many agents.
pub(crate) async fn coordinator_waiting(agents: usize, wait: Duration) -> Coordinator {
    let path = format!(
        "{}/../../tests/vectors/A01.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let world = Arc::new(PathBuf::from(path));
    let times = (Duration::ZERO, wait);
    start(world, times, agents, std::future::pending()).await
}

thread_local! {
    /// Whether the runtime of this thread has a brake.
    static HAS_BRAKE: Cell<bool> = const { Cell::new(false) };
}

/// Lets real time go by while a paused clock does: what a socket was given takes a moment to come out at its other end.
async fn brake() {
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        std::thread::sleep(Duration::from_millis(1));
    }
}

async fn coordinator_of(
    snapshot: Arc<dyn WorldSource>,
    settle: Duration,
    agents: usize,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Coordinator {
    let times = (settle, Duration::from_secs(60));
    start(snapshot, times, agents, shutdown).await
}

async fn start(
    snapshot: Arc<dyn WorldSource>,
    (settle, wait): (Duration, Duration),
    agents: usize,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Coordinator {
    if !HAS_BRAKE.replace(true) {
        tokio::spawn(brake());
    }
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
        order: reachproof_verify::config::Order {
            name: None,
            expected: ExpectedAgents::Count(agents),
            settle,
            wait,
            // Each hop of a message over a real socket lets the paused clock go on to the next timer.
            resume_wait: Duration::from_secs(30),
            depth: None,
            seed: 1,
            content: SnapshotContent::LeftOut,
            expectations: reachproof_verify::expectations::InForce::default(),
            earlier: Vec::new(),
            started_at: SystemTime::UNIX_EPOCH,
            random,
            control_plane: None,
        },
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
    channel_from(IpAddr::from([127, 0, 0, 1]), address, ca).await
}

/// The same from one address of this host.
pub(crate) async fn channel_from(
    source: IpAddr,
    address: SocketAddr,
    ca: &str,
) -> Result<Channel, tonic::transport::Error> {
    let tls = connector(ca);
    let connector = tower::service_fn(move |_| {
        let tls = tls.clone();
        async move {
            let stream = connect_from(source, address).await?;
            Ok::<_, std::io::Error>(TokioIo::new(shake_hands(&tls, stream).await?))
        }
    });
    Endpoint::from_static("http://reachproof-coordinator")
        .connect_with_connector(connector)
        .await
}

/// TLS 1.3 that trusts `ca` alone.
pub(crate) fn connector(ca: &str) -> TlsConnector {
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
    TlsConnector::from(Arc::new(config))
}

/// A TCP connection from one address of this host.
pub(crate) async fn connect_from(
    source: IpAddr,
    address: SocketAddr,
) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(address).await
}

/// Does the TLS handshake with a coordinator.
pub(crate) async fn shake_hands(
    tls: &TlsConnector,
    stream: TcpStream,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(SERVER_NAME).unwrap();
    tls.connect(name, stream).await
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
    let channel = channel(site.address, &site.ca).await;
    let channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
    attach_over(channel, authorization).await
}

/// The same over a connection that is there.
pub(crate) async fn attach_over(
    channel: Channel,
    authorization: &[String],
) -> Result<Link, Status> {
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
    began: Instant,
    sequence: u64,
    run: String,
    generations: BTreeSet<u32>,
    unacknowledged: Vec<v1::ObservationBatch>,
    /// What is to be done, and when.
    agenda: Vec<(Instant, Event)>,
    /// Up to when it said how late it was.
    on_time_until_us: u64,
    done: bool,
}

/// Something that happens at an agent.
enum Event {
    /// An attempt starts.
    Start(Box<v1::Probe>, u32),
    /// It has ended.
    End(Box<Row>),
}

impl Process {
    /// A process that starts now.
    fn new(boot: u64, done: bool) -> Self {
        Self {
            boot,
            began: Instant::now(),
            sequence: 0,
            run: String::new(),
            generations: BTreeSet::new(),
            unacknowledged: Vec::new(),
            agenda: Vec::new(),
            on_time_until_us: 0,
            done,
        }
    }

    /// Its clock.
    fn clock_us(&self, time: Instant) -> u64 {
        u64::try_from((time - self.began).as_micros()).unwrap()
    }

    /// When the next thing happens; far away if nothing does.
    fn next(&self) -> Instant {
        let next = self.agenda.iter().map(|(at, _)| *at).min();
        next.unwrap_or_else(|| Instant::now() + Duration::from_secs(3_600))
    }

    /// What has happened by now.
    fn due(&mut self) -> Vec<Event> {
        let now = Instant::now();
        let (mut due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.agenda)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.agenda = later;
        due.sort_by_key(|(at, _)| *at);
        due.into_iter().map(|(_, event)| event).collect()
    }

    /// A sign of life that answers a ping, or none.
    fn beat(&mut self, ping: u64) -> v1::Heartbeat {
        let sent_us = self.clock_us(Instant::now());
        let late_since_us = std::mem::replace(&mut self.on_time_until_us, sent_us);
        v1::Heartbeat {
            ping,
            sent_us,
            late_since_us,
            late_max_us: Some(1_000),
            ..v1::Heartbeat::default()
        }
    }
}

impl Agent {
    /// Lives until the coordinator ends its streams for good.
    pub(crate) async fn live(self, site: Arc<Site>) {
        let mut process = Process::new(1, false);
        if self.habit == Habit::Experienced {
            process.sequence = 17;
        }
        loop {
            let Some(link) = self.dial(&site).await else {
                return;
            };
            match self.stream(link, &mut process).await {
                Ended::ByCoordinator => return,
                Ended::Cut if self.habit == Habit::Vanish => return,
                Ended::Cut if self.habit == Habit::Restart => process = Process::new(2, true),
                Ended::Cut => process.done = true,
            }
        }
    }

    /// Dials in, again and again: a paused clock may run out in the middle of a handshake.
    async fn dial(&self, site: &Site) -> Option<Link> {
        for _ in 0..DIALS_MAX {
            let bearer = bearer(site, self.name, self.address);
            if let Ok(link) = attach(site, &bearer).await {
                return Some(link);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        None
    }

    /// Serves one stream.
    async fn stream(&self, mut link: Link, process: &mut Process) -> Ended {
        link.say(Body::Hello(hello(self.name, self.address, process.boot)))
            .await;
        for batch in process.unacknowledged.clone() {
            link.say(Body::Observations(batch)).await;
        }
        let mut heartbeat = tokio::time::interval(Duration::from_secs(5));
        loop {
            let order = tokio::select! {
                order = link.receive.message() => order,
                _ = heartbeat.tick() => {
                    let body = Some(Body::Heartbeat(process.beat(0)));
                    if link.send.send(v1::AgentMessage { body }).await.is_err() {
                        return Ended::ByCoordinator;
                    }
                    continue;
                }
                () = tokio::time::sleep_until(process.next()) => {
                    if let Some(ended) = self.happen(&link, process).await {
                        return ended;
                    }
                    continue;
                }
            };
            let Ok(Some(v1::CoordinatorMessage { body: Some(order) })) = order else {
                return Ended::ByCoordinator;
            };
            self.obey(&link, process, order).await;
        }
    }

    /// Does what the coordinator asks for.
    async fn obey(&self, link: &Link, process: &mut Process, order: Order) {
        match order {
            Order::Assignment(assignment) => self.work(link, process, assignment).await,
            Order::Ack(ack) => process
                .unacknowledged
                .retain(|batch| batch.sequence > ack.sequence),
            Order::Fence(fence) if self.habit != Habit::Mute => {
                link.say(Body::Fence(v1::FenceReport {
                    run: fence.run,
                    number: fence.number,
                    accept_queue_drops: Some(u64::from(self.habit == Habit::Full)),
                    results_lost: 0,
                    listen_drops: Vec::new(),
                }))
                .await;
            }
            Order::Ping(ping) => link.say(Body::Heartbeat(process.beat(ping.number))).await,
            Order::Cancel(_) => process.agenda.clear(),
            Order::Fence(_) | Order::Welcome(_) => {}
        }
    }

    /// Listens and probes as assigned, each assignment once.
    async fn work(&self, link: &Link, process: &mut Process, assignment: v1::Assignment) {
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
                let mut keys = self.network.keys.lock().unwrap();
                keys.insert((self.address, port), key);
            }
            let report = v1::ListenReport {
                run: assignment.run.clone(),
                generation: assignment.generation,
                failures: Vec::new(),
            };
            link.say(Body::Listening(report)).await;
        }
        if process.generations.insert(assignment.generation) {
            let now = Instant::now();
            let starts = assignment.probes.into_iter().map(|probe| {
                let first = probe.first_attempt;
                (now, Event::Start(Box::new(probe), first))
            });
            process.agenda.extend(starts);
        }
    }

    /// Lets happen what is due, and reports what has ended; cuts its stream after the first results of probes if that is
    /// its habit.
    async fn happen(&self, link: &Link, process: &mut Process) -> Option<Ended> {
        let mut rows: Vec<Row> = Vec::new();
        for event in process.due() {
            match event {
                Event::Start(probe, number) => self.start(process, *probe, number),
                Event::End(row) => rows.push(*row),
            }
        }
        if rows.is_empty() {
            return None;
        }
        process.sequence += 1;
        let batch = self.batch(process, &mut rows);
        process.unacknowledged.push(batch.clone());
        link.say(Body::Observations(batch)).await;
        let cuts = matches!(self.habit, Habit::Cut | Habit::Vanish | Habit::Restart);
        let is_probe = |row: &Row| row.probe.deadline_ms == 3_000;
        if cuts && !process.done && rows.iter().any(is_probe) {
            tokio::time::sleep(Duration::from_millis(200)).await;
            return Some(Ended::Cut);
        }
        None
    }

    /// Starts an attempt, and thinks of what follows from it.
    fn start(&self, process: &mut Process, probe: v1::Probe, number: u32) {
        let now = Instant::now();
        let row = self.row(probe.clone(), number, now);
        let hurry = if self.habit == Habit::Hasty { 10 } else { 1 };
        let time = |micros: u64| Duration::from_micros(micros / hurry);
        let ends = now + time(row.elapsed_us.into());
        let is_last = number + 1 >= probe.first_attempt + probe.attempts;
        let goes_on = probe.every || !probe.source_ports.is_empty();
        if !is_last && (goes_on || row.outcome == v1::Outcome::TimedOut) {
            let next = now + time(1_000 * u64::from(probe.interval_ms));
            let start = Event::Start(Box::new(probe), number + 1);
            process.agenda.push((next, start));
        }
        process.agenda.push((ends, Event::End(Box::new(row))));
    }

    /// Writes what ended, as columns.
    fn batch(&self, process: &Process, rows: &mut [Row]) -> v1::ObservationBatch {
        let mut batch = v1::ObservationBatch {
            run: process.run.clone(),
            sequence: process.sequence,
            local_addresses: vec![address_to_wire(self.address)],
            ..v1::ObservationBatch::default()
        };
        if self.habit == Habit::Forger {
            batch.run = "run-of-somebody-else".to_owned();
        }
        rows.sort_by_key(|row| row.started);
        columns(rows, process, &mut batch);
        for (index, row) in (0..).zip(rows) {
            let result = match (row.outcome, kind(&row.probe)) {
                (v1::Outcome::Connected, v1::ProbeKind::Peer) => {
                    let answer = self.answer(&row.probe, row.port);
                    v1::identification::Result::Answer(answer)
                }
                (v1::Outcome::Connected, v1::ProbeKind::Tls) => {
                    batch.chains = self.network.chains.clone();
                    v1::identification::Result::TlsChain(0)
                }
                _ => continue,
            };
            let result = Some(result);
            batch
                .identifications
                .push(v1::Identification { index, result });
        }
        batch
    }

    /// One attempt that starts now.
    fn row(&self, probe: v1::Probe, number: u32, started: Instant) -> Row {
        let target = address_from_wire(&probe.target).unwrap();
        let target_port = u16::try_from(probe.port).unwrap();
        let listens = match kind(&probe) {
            v1::ProbeKind::Tls => !self.network.chains.is_empty(),
            v1::ProbeKind::Unspecified
            | v1::ProbeKind::TcpConnect
            | v1::ProbeKind::Peer
            | v1::ProbeKind::DnsUdp
            | v1::ProbeKind::DnsTcp => self
                .network
                .keys
                .lock()
                .unwrap()
                .contains_key(&(target, target_port)),
        };
        let fate = (self.network.fate)(self.address, target, target_port);
        let (outcome, elapsed_us) = match fate {
            Fate::Silent => (v1::Outcome::TimedOut, 1_000 * probe.deadline_ms),
            Fate::Open if listens => (v1::Outcome::Connected, 300),
            Fate::Open => (v1::Outcome::Refused, 300),
        };
        Row {
            port: source_port(&probe, number),
            probe,
            number,
            outcome,
            elapsed_us,
            started,
        }
    }

    /// The answer that the target gives to the nonce of a probe.
    fn answer(&self, probe: &v1::Probe, port: u16) -> v1::IdentificationAnswer {
        let target = address_from_wire(&probe.target).unwrap();
        let listener = (target, u16::try_from(probe.port).unwrap());
        let key = match self.habit {
            Habit::Stranger => [0; 32],
            Habit::Faithful
            | Habit::Experienced
            | Habit::Cut
            | Habit::Vanish
            | Habit::Restart
            | Habit::Mute
            | Habit::Full
            | Habit::Resolves
            | Habit::Hasty
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

/// What a probe asks.
fn kind(probe: &v1::Probe) -> v1::ProbeKind {
    v1::ProbeKind::try_from(probe.kind).unwrap()
}

/// A source port as the probe asks for, another one for each attempt.
fn source_port(probe: &v1::Probe, number: u32) -> u16 {
    let place = usize::try_from(number - probe.first_attempt).unwrap();
    let spread = probe.id * 7 + number;
    let port = match (&probe.source_ports[..], &probe.source_port_ranges[..]) {
        ([], []) => 32_768 + spread % 20_000,
        ([], ranges) => {
            let range = ranges[place % ranges.len()];
            range.first + spread % (range.last - range.first + 1)
        }
        (ports, _) => ports[place],
    };
    u16::try_from(port).unwrap()
}

/// One attempt of a probe.
struct Row {
    probe: v1::Probe,
    number: u32,
    outcome: v1::Outcome,
    elapsed_us: u32,
    port: u16,
    started: Instant,
}

/// Writes attempts, sorted by their starts, as the columns of a batch.
fn columns(rows: &[Row], process: &Process, batch: &mut v1::ObservationBatch) {
    let start = |row: &Row| process.clock_us(row.started);
    let id = |index: usize| i32::try_from(rows[index].probe.id).unwrap();
    let step = |index: usize| id(index) - index.checked_sub(1).map_or(0, id);
    let number = |outcome: v1::Outcome| u32::try_from(i32::from(outcome)).unwrap();
    batch.first_start_us = rows.first().map_or(0, start);
    batch.probe_id_step = Some(column_to_wire(
        (0..rows.len()).map(|index| zigzag(step(index))),
    ));
    batch.attempt = Some(column_to_wire(rows.iter().map(|row| row.number)));
    batch.outcome = Some(column_to_wire(rows.iter().map(|row| number(row.outcome))));
    batch.start_step_us = rows
        .windows(2)
        .map(|pair| i64::try_from(start(&pair[1]) - start(&pair[0])).unwrap())
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
