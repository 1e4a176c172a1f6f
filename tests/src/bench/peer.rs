//! CPU of one peer check, both ends, beside a bare tonic call on a fresh connection.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use nix::sys::resource::UsageWho;
use reachproof_agent::{
    engine::{Engine, EngineConfig, Evidence, Pacing, PeerConnection, Sink},
    environment::{SystemClock, SystemRng},
    listener::{ListenOrder, Listeners},
    peer::ask_all,
    policy::Policy,
    probe::{Attempts, Finished, Identification, Probe, ProbeKind, RunName, Work},
};
use reachproof_proto::v1::{
    IdentifyRequest, IdentifyResponse,
    peer_client::PeerClient,
    peer_server::{Peer, PeerServer},
};
use tokio::{net::TcpListener, sync::mpsc};
use tonic::transport::{Endpoint, Server, server::TcpIncoming};

use super::{
    Goals, Measured,
    farm::run,
    hold, print,
    sweep::{median, number},
    usage::{Stopwatch, Usage},
};

/// How many checks.
#[derive(Debug, Args)]
pub struct PeerArguments {
    /// Checks of each kind in one repetition, one after the other.
    #[arg(long, default_value_t = 2_000)]
    checks: u32,
    /// Repetitions of both kinds, in turn.
    #[arg(long, default_value_t = 5)]
    repeat: u32,
}

/// Where the agent's listener listens.
const OURS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 7_500);

/// Where the bare server listens.
const BARE: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 7_501);

/// What a proof is made for, in both kinds.
const NONCE: [u8; 16] = [7; 16];

/// How long a check may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Makes checks of both kinds in this process, whose CPU is that of both ends, and holds one against the other.
///
/// # Errors
/// When a check or a call fails.
pub fn peer(arguments: &PeerArguments) -> Measured<Goals> {
    run("ip", &["link", "set", "lo", "up"], "")?;
    // As many threads as the agent has.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    runtime.block_on(async {
        let listener = TcpListener::bind(BARE).await?;
        let server = Server::builder().add_service(PeerServer::new(Echo));
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        tokio::spawn(server.serve_with_incoming(incoming));
        let mut checks = Checks::start().await?;
        // The first ones set up what all others use.
        checks.make(100).await?;
        calls(100).await?;
        for _ in 0..arguments.repeat {
            let stopwatch = Stopwatch::start(UsageWho::RUSAGE_SELF)?;
            calls(arguments.checks).await?;
            bare.push(stopwatch.stop()?);
            let stopwatch = Stopwatch::start(UsageWho::RUSAGE_SELF)?;
            checks.make(arguments.checks).await?;
            ours.push(stopwatch.stop()?);
        }
        Measured::Ok(())
    })?;
    Ok(report(&ours, &bare, arguments))
}

/// Prints the cost of one check and of one call, and holds the middle of their paired ratios against the goal.
fn report(ours: &[Usage], bare: &[Usage], arguments: &PeerArguments) -> Goals {
    let one = |all: u64| number(all) / f64::from(arguments.checks);
    print(&format!(
        "{} checks and calls, one after the other, {} repetitions, both ends",
        arguments.checks, arguments.repeat,
    ));
    for (name, all) in [("peer check", ours), ("bare call, fresh connection", bare)] {
        print(&format!(
            "  {name:<28} CPU {:>6.0} us  wall {:>6.0} us",
            median(all.iter().map(|all| one(all.cpu_us)).collect()),
            median(all.iter().map(|all| one(all.wall_us)).collect()),
        ));
    }
    let pairs = ours.iter().zip(bare);
    let ratios = pairs.map(|(ours, bare)| number(ours.cpu_us) / number(bare.cpu_us));
    hold(
        "CPU of a peer check / bare call, paired",
        median(ratios.collect()),
        1.5,
    )
}

/// Calls the bare server so many times, each on a connection of its own.
async fn calls(count: u32) -> Measured<()> {
    let (address, port) = BARE;
    for _ in 0..count {
        let channel = Endpoint::from_shared(format!("http://{address}:{port}"))?
            .connect()
            .await?;
        let request = IdentifyRequest {
            nonce: NONCE.to_vec(),
        };
        PeerClient::new(channel).identify(request).await?;
    }
    Ok(())
}

/// A server that does nothing but answer.
struct Echo;

#[tonic::async_trait]
impl Peer for Echo {
    async fn identify(
        &self,
        request: tonic::Request<IdentifyRequest>,
    ) -> Result<tonic::Response<IdentifyResponse>, tonic::Status> {
        Ok(tonic::Response::new(IdentifyResponse {
            observed_address: vec![127, 0, 0, 1],
            observed_port: 40_000,
            proof: request.into_inner().nonce,
        }))
    }
}

/// The agent's engine, peer calls and listener.
struct Checks {
    engine: Engine,
    finished: mpsc::UnboundedReceiver<Finished>,
    next: u32,
    /// Serves as long as it lives.
    _listeners: Listeners,
}

impl Checks {
    /// Starts all three as the agent does.
    async fn start() -> Measured<Checks> {
        let (address, port) = OURS;
        let clock = Arc::new(SystemClock);
        let accepts = Arc::new(drop);
        let mut listeners = Listeners::new(vec![address.into()], clock.clone(), accepts, 64);
        let order = ListenOrder { port, key: [9; 32] };
        let never = tokio::time::Instant::now() + Duration::from_secs(3600);
        let failures = listeners.open(&RunName::new("peer"), &[order], never).await;
        if !failures.is_empty() {
            return Err(format!("cannot listen on port {port}").into());
        }
        let (connected, connections) = mpsc::unbounded_channel();
        let (complete, finished) = mpsc::unbounded_channel();
        let engine_config = EngineConfig {
            in_flight_max: 64,
            pacing: Pacing::Unpaced,
            tracked_max: None,
            evidence: Evidence::Full,
            policy: Policy::unrestricted(),
        };
        let sink = HandOver {
            connected,
            finished: complete.clone(),
        };
        let (engine, _ended) =
            Engine::start(engine_config, (clock, Arc::new(SystemRng::new()?)), sink)?;
        tokio::spawn(ask_all(connections, move |attempt| {
            let _ = complete.send(attempt);
        }));
        Ok(Checks {
            engine,
            finished,
            next: 0,
            _listeners: listeners,
        })
    }

    /// Makes so many checks, one after the other.
    async fn make(&mut self, count: u32) -> Measured<()> {
        for _ in 0..count {
            self.next += 1;
            self.engine.add(Work {
                run: RunName::new("peer"),
                probes: vec![Probe {
                    id: self.next,
                    target: SocketAddr::from(OURS),
                    source: None,
                    kind: ProbeKind::Peer { nonce: NONCE },
                    attempts: Attempts::until_answered(1),
                    deadline: DEADLINE,
                    interval: DEADLINE,
                }],
                expires_at: Instant::now() + DEADLINE,
            });
            let finished = self.finished.recv().await.ok_or("the engine stopped")?;
            match finished.identification {
                Some(Identification::Answer { .. }) => {}
                Some(
                    Identification::Failed { .. }
                    | Identification::Resolver { .. }
                    | Identification::NoResolver { .. }
                    | Identification::Certified { .. }
                    | Identification::NoSession { .. },
                )
                | None => {
                    return Err(format!("a check failed: {finished:?}").into());
                }
            }
        }
        Ok(())
    }
}

/// Hands connections over to those who ask, and what is none to who waits.
struct HandOver {
    connected: mpsc::UnboundedSender<PeerConnection>,
    finished: mpsc::UnboundedSender<Finished>,
}

// Nobody takes anything any more when the measurement is over.
impl Sink for HandOver {
    fn finished(&self, attempt: Finished) {
        let _ = self.finished.send(attempt);
    }

    fn connected(&self, connection: PeerConnection) {
        let _ = self.connected.send(connection);
    }
}
