//! Agents that are simulated: they speak the wire, and whatever they try is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hyper_util::rt::TokioIo;
use reachproof_agent::outcome::Outcome;
use reachproof_agent::probe::{Finished, Identification, Probe, ProbeKind, RunName, SourcePort};
use reachproof_agent::wire::{Assigned, Epoch, batch_to_wire};
use reachproof_model::plan::AgentKind;
use reachproof_proto::net::{Nonce, ProofKey, address_to_wire, bytes_from_wire, proof};
use reachproof_proto::v1;
use reachproof_proto::v1::agent_message::Body;
use reachproof_proto::v1::control_client::ControlClient;
use reachproof_proto::v1::coordinator_message::Body as Order;
use reachproof_verify::Credentials;
use reachproof_verify::credentials::SERVER_NAME;
use reachproof_verify::token::Claims;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Request, Streaming};

use super::world;
use crate::bench::Measured;

/// Time between two attempts to dial.
const DIAL_EVERY: Duration = Duration::from_secs(1);

/// Longest silence of an agent.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a token is good.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Round trip of everything that is answered.
const ROUND_TRIP: Duration = Duration::from_micros(300);

/// What an agent can take at once, as agents do by default.
const LIMITS: v1::AgentLimits = v1::AgentLimits {
    attempts_in_flight_max: 64,
    attempts_per_second_max: 20,
};

/// Source ports, as Linux has them.
const EPHEMERAL_PORTS: RangeInclusive<u16> = 32_768..=60_999;

/// Messages of an agent that wait to be sent.
const OUTGOING_MAX: usize = 16;

/// All agents, and what they share.
pub(super) struct Agents {
    all: u16,
    tokens: Vec<String>,
    coordinator: SocketAddr,
    tls: TlsConnector,
    epoch: Epoch,
    /// Those that are welcome.
    welcome: Mutex<BTreeSet<u16>>,
    /// Keys of those who listen.
    keys: Mutex<BTreeMap<SocketAddr, ProofKey>>,
    trouble: Mutex<String>,
    /// Reports what it was not asked for, and everything again.
    forger: Option<u16>,
}

impl Agents {
    /// Agents with tokens of `credentials`; none lives yet.
    pub(super) fn new(
        (all, forger): (u16, Option<u16>),
        credentials: &Credentials,
        coordinator: SocketAddr,
    ) -> Measured<Arc<Self>> {
        let issued = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let token = |number: u16| -> Measured<String> {
            Ok(credentials.token_key.sign(&Claims {
                name: world::name(number).as_str().try_into()?,
                kind: AgentKind::Node,
                addresses: vec![world::address(number).into()],
                installation: credentials.installation.clone(),
                run: None,
                issued_unix_s: issued.as_secs(),
                expires_unix_s: (issued + TOKEN_LIFE).as_secs(),
            })?)
        };
        Ok(Arc::new(Self {
            all,
            tokens: (0..all).map(token).collect::<Measured<_>>()?,
            coordinator,
            tls: connector(&credentials.ca_certificate)?,
            epoch: Epoch {
                monotonic: Instant::now(),
                calendar: SystemTime::now(),
            },
            welcome: Mutex::default(),
            keys: Mutex::default(),
            trouble: Mutex::default(),
            forger,
        }))
    }

    /// Lets all of them live until the runtime is dropped.
    pub(super) fn live(self: &Arc<Self>) -> Measured<Runtime> {
        self.forget_welcomes();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        for number in 0..self.all {
            let agent = Agent::new(number, Arc::clone(self));
            runtime.spawn(agent.live());
        }
        Ok(runtime)
    }

    /// From now on only who is welcome anew is counted.
    pub(super) fn forget_welcomes(&self) {
        lock(&self.welcome).clear();
    }

    pub(super) fn are_all_welcome(&self) -> bool {
        let (welcome, all) = self.count();
        welcome == all
    }

    /// How many are welcome, and how many there are.
    pub(super) fn count(&self) -> (usize, usize) {
        (lock(&self.welcome).len(), self.all.into())
    }

    /// The last trouble that an agent had.
    pub(super) fn trouble(&self) -> String {
        lock(&self.trouble).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// TLS 1.3 that trusts `ca` alone.
fn connector(ca: &str) -> Measured<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// One agent.
struct Agent {
    number: u16,
    address: IpAddr,
    agents: Arc<Agents>,
    /// Batches that were sent.
    sequence: u64,
    run: Option<RunName>,
    /// What is to be tried, by when and in which order it came.
    agenda: BTreeMap<(Instant, u64), Due>,
    dues: u64,
    /// Ids of the probes that it was asked for.
    own: BTreeSet<u32>,
}

/// An attempt that is to be made.
struct Due {
    probe: Probe,
    /// Attempts that were made before.
    made: u32,
}

type Sending = mpsc::Sender<v1::AgentMessage>;

/// Why a stream is over.
type Trouble = Box<dyn Error + Send + Sync>;

impl Agent {
    fn new(number: u16, agents: Arc<Agents>) -> Self {
        Self {
            number,
            address: world::address(number).into(),
            agents,
            sequence: 0,
            run: None,
            agenda: BTreeMap::new(),
            dues: 0,
            own: BTreeSet::new(),
        }
    }

    async fn live(mut self) {
        loop {
            if let Err(trouble) = self.attached().await {
                *lock(&self.agents.trouble) = trouble.to_string();
            }
            lock(&self.agents.welcome).remove(&self.number);
            sleep(DIAL_EVERY).await;
        }
    }

    /// Dials, and serves the stream until it ends.
    async fn attached(&mut self) -> Result<(), Trouble> {
        let (send, mut receive) = self.dial().await?;
        say(&send, Body::Hello(self.hello())).await?;
        loop {
            let next = self.agenda.keys().next().map(|(at, _)| *at);
            let next = next.unwrap_or_else(|| Instant::now() + HEARTBEAT);
            tokio::select! {
                order = receive.message() => {
                    let order = order?.and_then(|order| order.body);
                    self.obey(&send, order.ok_or("the stream ended")?).await?;
                }
                () = sleep_until(next.into()) => self.happen(&send).await?,
            }
        }
    }

    /// Dials from an address of its own.
    async fn dial(&self) -> Result<(Sending, Streaming<v1::CoordinatorMessage>), Trouble> {
        let [high, low] = self.number.to_be_bytes();
        let source = SocketAddr::from((Ipv4Addr::new(127, 1, high, low), 0));
        let (tls, coordinator) = (self.agents.tls.clone(), self.agents.coordinator);
        let connect = tower::service_fn(move |_| {
            let tls = tls.clone();
            async move {
                let socket = TcpSocket::new_v4()?;
                socket.bind(source)?;
                let stream = socket.connect(coordinator).await?;
                stream.set_nodelay(true)?;
                let name = ServerName::try_from(SERVER_NAME).map_err(std::io::Error::other)?;
                Ok::<_, std::io::Error>(TokioIo::new(tls.connect(name, stream).await?))
            }
        });
        let channel = Endpoint::from_static("http://coordinator")
            .connect_with_connector(connect)
            .await?;
        let (send, messages) = mpsc::channel(OUTGOING_MAX);
        let mut request = Request::new(ReceiverStream::new(messages));
        let token = self.agents.tokens.get(usize::from(self.number));
        let bearer = format!("Bearer {}", token.ok_or("no token")?);
        request
            .metadata_mut()
            .insert("authorization", bearer.parse()?);
        let receive = ControlClient::new(channel).attach(request).await?;
        Ok((send, receive.into_inner()))
    }

    fn hello(&self) -> v1::Hello {
        v1::Hello {
            agent: world::name(self.number),
            node: String::new(),
            kind: v1::AgentKind::Node.into(),
            addresses: vec![address_to_wire(self.address)],
            ephemeral_port_first: (*EPHEMERAL_PORTS.start()).into(),
            ephemeral_port_last: (*EPHEMERAL_PORTS.end()).into(),
            version: "simulated".to_owned(),
            boot: self.number.into(),
            limits: Some(LIMITS),
            wire_version: 1,
        }
    }

    async fn obey(&mut self, send: &Sending, order: Order) -> Result<(), Trouble> {
        match order {
            Order::Welcome(_) => {
                lock(&self.agents.welcome).insert(self.number);
                Ok(())
            }
            Order::Assignment(assignment) => self.begin(send, assignment).await,
            Order::Ping(ping) => say(send, Body::Heartbeat(self.beat(ping.number))).await,
            Order::Fence(fence) => {
                let report = v1::FenceReport {
                    run: fence.run,
                    number: fence.number,
                    accept_queue_drops: Some(0),
                    ..v1::FenceReport::default()
                };
                say(send, Body::Fence(report)).await
            }
            Order::Cancel(_) => {
                self.agenda.clear();
                Ok(())
            }
            Order::Ack(_) => Ok(()),
        }
    }

    /// A sign of life, which says that it was on time since the agent began.
    fn beat(&self, ping: u64) -> v1::Heartbeat {
        let since = self.agents.epoch.monotonic.elapsed();
        v1::Heartbeat {
            ping,
            sent_us: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
            late_max_us: Some(0),
            ..v1::Heartbeat::default()
        }
    }

    /// Opens ports and plans attempts as an assignment says.
    async fn begin(&mut self, send: &Sending, order: v1::Assignment) -> Result<(), Trouble> {
        for listen in &order.listen {
            let port = u16::try_from(listen.port)?;
            let key = bytes_from_wire(&listen.proof_key)?;
            lock(&self.agents.keys).insert(SocketAddr::new(self.address, port), key);
        }
        if !order.listen.is_empty() {
            let report = v1::ListenReport {
                run: order.run.clone(),
                generation: order.generation,
                failures: Vec::new(),
            };
            say(send, Body::Listening(report)).await?;
        }
        let assigned = Assigned::try_from(order)?;
        self.run = Some(assigned.run);
        for probe in assigned.probes {
            self.own.insert(probe.id);
            self.plan(Instant::now(), Due { probe, made: 0 });
        }
        Ok(())
    }

    fn plan(&mut self, at: Instant, due: Due) {
        self.dues += 1;
        self.agenda.insert((at, self.dues), due);
    }

    /// Makes all attempts that are due and reports them; a sign of life where there are none.
    async fn happen(&mut self, send: &Sending) -> Result<(), Trouble> {
        let Some(run) = self.run.clone() else {
            return say(send, Body::Heartbeat(self.beat(0))).await;
        };
        let mut finished = Vec::new();
        let now = Instant::now();
        while let Some(entry) = self.agenda.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let due = entry.remove();
            let attempt = self.attempt(&run, &due);
            if due.probe.goes_on_after(due.made, attempt.outcome) {
                let next = now + due.probe.interval;
                let made = due.made + 1;
                self.plan(
                    next,
                    Due {
                        probe: due.probe,
                        made,
                    },
                );
            }
            finished.push(attempt);
        }
        if finished.is_empty() {
            return say(send, Body::Heartbeat(self.beat(0))).await;
        }
        // A result is not there before its answer.
        sleep(ROUND_TRIP).await;
        let batch = self.batch(&finished);
        if self.agents.forger == Some(self.number) {
            say(send, Body::Observations(batch.clone())).await?;
            for forged in self.forge(finished) {
                let forged = self.batch(&forged);
                say(send, Body::Observations(forged)).await?;
            }
            // What came twice does not count twice.
            say(send, Body::Observations(batch.clone())).await?;
        }
        say(send, Body::Observations(batch)).await
    }

    fn batch(&mut self, finished: &[Finished]) -> v1::ObservationBatch {
        self.sequence += 1;
        batch_to_wire(&self.agents.epoch, self.sequence, finished)
    }

    /// The same results as silence of probes that there are not, of those of others, and of a run that there is not.
    fn forge(&self, finished: Vec<Finished>) -> [Vec<Finished>; 3] {
        let silent = |probe: &dyn Fn(u32) -> u32, run: &str| -> Vec<Finished> {
            let run = RunName::new(run);
            let forged = finished.iter().map(|one| Finished {
                run: run.clone(),
                probe: probe(one.probe),
                outcome: Outcome::TimedOut { after: ROUND_TRIP },
                identification: None,
                ..one.clone()
            });
            forged.collect()
        };
        let run = self.run.as_ref().map_or("", RunName::as_str);
        let other = (0..).find(|id| !self.own.contains(id)).unwrap_or_default();
        [
            silent(&|probe| probe | 1 << 30, run),
            silent(&|_| other, run),
            silent(&|probe| probe, "run-of-nobody"),
        ]
    }

    /// One attempt: who listens proves it, everybody else refuses.
    fn attempt(&self, run: &RunName, Due { probe, made }: &Due) -> Finished {
        let port = match probe.source_port(*made) {
            SourcePort::Planned(port) => port,
            SourcePort::Within(range) => among(range, *made),
            SourcePort::Ephemeral => among(&EPHEMERAL_PORTS, probe.id.wrapping_add(*made)),
        };
        let local = SocketAddr::new(self.address, port);
        let key = lock(&self.agents.keys).get(&probe.target).copied();
        let outcome = match key {
            Some(_) => Outcome::Connected {
                handshake: ROUND_TRIP,
            },
            None => Outcome::Refused { after: ROUND_TRIP },
        };
        Finished {
            run: run.clone(),
            probe: probe.id,
            attempt: probe.number(*made),
            outcome,
            local: Some(local),
            started_at: Instant::now(),
            syn_retransmissions: 0,
            identification: key.and_then(|key| answer(&key, probe.kind, local)),
        }
    }
}

/// What a listener with this key answers to a probe of `kind`.
fn answer(key: &ProofKey, kind: ProbeKind, local: SocketAddr) -> Option<Identification> {
    let proven = |nonce: &Nonce| Identification::Answer {
        observed_address: address_to_wire(local.ip()),
        observed_port: local.port().into(),
        proof: proof(key, nonce, local.ip(), local.port()).to_vec(),
    };
    match kind {
        ProbeKind::Peer { nonce } => Some(proven(&nonce)),
        ProbeKind::TcpConnect
        | ProbeKind::DnsUdp { .. }
        | ProbeKind::DnsTcp { .. }
        | ProbeKind::Tls => None,
    }
}

/// The port at this place of a range, which goes on from its begin.
fn among(range: &RangeInclusive<u16>, place: u32) -> u16 {
    let length = u32::from(range.end() - range.start()) + 1;
    let place = u16::try_from(place % length).unwrap_or_default();
    range.start().saturating_add(place)
}

async fn say(send: &Sending, body: Body) -> Result<(), Trouble> {
    let message = v1::AgentMessage { body: Some(body) };
    Ok(send
        .send(message)
        .await
        .map_err(|_| "the stream takes nothing more")?)
}
