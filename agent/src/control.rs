//! The control stream: dial, serve, wait, again.
//!
//! Assignments, open ports, probes under way and results outlive a stream: all of them belong to the agent, not to the
//! stream. What the coordinator asks for is done as it is; nothing is judged.

mod backoff;
mod dial;
mod runs;
mod serve;

use std::{
    future::Future,
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reachproof_proto::v1::{EndpointReport, Fence, Hello};
use thiserror::Error;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep},
};
use tracing::{error, info, warn};

use self::{
    backoff::{Backoff, Setback},
    dial::{DialError, Session, dial},
    runs::Runs,
    serve::StreamEnd,
};
use crate::{
    config::Config,
    engine::{Engine, EngineConfig, PeerConnection, Sink},
    environment::{Clock, Net, Rng},
    health::{Pulse, answer_all, listen},
    identity::{EphemeralRange, EphemeralRangeError, hello},
    lateness::Lateness,
    limits::{Limits, LimitsError, RECONNECT_FIRST},
    listener::{Listeners, SocketDrops},
    peer::ask_all,
    probe::Finished,
    spool::Spool,
    wire::Epoch,
};

/// What the agent takes from outside.
pub struct Seams<N> {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Draws random numbers.
    pub rng: Arc<dyn Rng>,
    /// Reaches the coordinator.
    pub net: N,
}

/// Why the agent cannot run. A coordinator that cannot be reached, or that refuses the agent, is no such reason.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The host's limits leave no room.
    #[error("cannot stay within the limits of the host")]
    Limits(#[source] LimitsError),
    /// The ephemeral range is not known.
    #[error("cannot tell which source ports connections come from")]
    EphemeralRange(#[source] EphemeralRangeError),
    /// The probe engine could not be started.
    #[error("cannot start the probe engine")]
    Engine(#[source] io::Error),
    /// The probe engine ended by itself.
    #[error("the probe engine stopped, start the agent again")]
    EngineStopped,
}

/// Runs the agent until `shutdown` is ready.
///
/// Never gives up on the coordinator: it dials again after any setback, slowly after a refusal. At the end it sends what
/// is finished, and waits shortly for the acknowledgement.
///
/// # Errors
/// [`AgentError`] when the host does not let the agent work.
pub async fn run<N: Net>(
    config: Config,
    environment: Seams<N>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), AgentError> {
    let allowance = Limits::within_host(config.limits).map_err(AgentError::Limits)?;
    let range = EphemeralRange::of_host().map_err(AgentError::EphemeralRange)?;
    let epoch = Epoch {
        monotonic: environment.clock.now(),
        calendar: environment.clock.calendar(),
    };
    let spool = Arc::new(Spool::new(epoch));
    let (connections, connected) = mpsc::unbounded_channel();
    let completed = Arc::clone(&spool);
    let peers = tokio::spawn(ask_all(connected, move |finished| completed.push(finished)));
    let sink = Deliver {
        spool: Arc::clone(&spool),
        connections,
    };
    let engine_config = EngineConfig::of_stream(allowance, config.policy.clone());
    let chance = (Arc::clone(&environment.clock), Arc::clone(&environment.rng));
    let (engine, ended) = Engine::start(engine_config, chance, sink).map_err(AgentError::Engine)?;
    let accepted = Arc::clone(&spool);
    let accept = Arc::new(move |connection| accepted.push_accept(connection));
    let pulse = Arc::new(Pulse {
        attached: AtomicBool::new(false),
        spool: Arc::clone(&spool),
    });
    let health =
        listen(&config.name).map(|listener| tokio::spawn(answer_all(listener, Arc::clone(&pulse))));
    let mut agent = Agent {
        pulse,
        hello: hello(&config, allowance.attempts, range, environment.rng.draw()),
        listeners: Listeners::new(
            config.addresses.clone(),
            Arc::clone(&environment.clock),
            accept,
            allowance.connections_max,
        ),
        runs: Runs::default(),
        fence: None,
        lateness: Lateness::new(Arc::clone(&environment.clock), engine.watch()),
        epoch,
        resolving: JoinSet::new(),
        config,
        environment,
        spool,
        engine,
    };
    let stopped = agent.keep_attached(pin!(stop(shutdown, ended))).await;
    agent.listeners.close_all().await;
    if let Some(health) = health {
        health.abort();
        // It ends by the abort.
        let _ = health.await;
    }
    drop(agent);
    if let Err(error) = peers.await {
        error!(%error, "the peer calls ended early");
    }
    match stopped {
        Stop::Shutdown => Ok(()),
        Stop::EngineStopped => Err(AgentError::EngineStopped),
    }
}

/// Completes when somebody ends the agent, or its engine ends.
async fn stop(shutdown: impl Future<Output = ()>, ended: impl Future) -> Stop {
    tokio::select! {
        () = shutdown => Stop::Shutdown,
        _ = ended => Stop::EngineStopped,
    }
}

/// Takes what the engine finished.
struct Deliver {
    spool: Arc<Spool>,
    /// Bounded by the attempts in flight: each connection holds one of their places.
    connections: mpsc::UnboundedSender<PeerConnection>,
}

impl Sink for Deliver {
    fn finished(&self, attempt: Finished) {
        self.spool.push(attempt);
    }

    fn connected(&self, connection: PeerConnection) {
        // The receiver lives longer than the engine.
        let _ = self.connections.send(connection);
    }
}

/// Why the agent ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Shutdown,
    EngineStopped,
}

/// What outlives a stream.
struct Agent<N> {
    config: Config,
    environment: Seams<N>,
    hello: Hello,
    spool: Arc<Spool>,
    pulse: Arc<Pulse>,
    engine: Engine,
    listeners: Listeners,
    runs: Runs,
    /// What the coordinator waits for on this stream, and what had been dropped by then.
    fence: Option<(Fence, Vec<SocketDrops>)>,
    lateness: Lateness,
    epoch: Epoch,
    /// At most one for each run that is remembered.
    resolving: JoinSet<EndpointReport>,
}

impl<N: Net> Agent<N> {
    /// Keeps a stream open until `stop` is ready.
    async fn keep_attached(
        &mut self,
        mut stop: std::pin::Pin<&mut impl Future<Output = Stop>>,
    ) -> Stop {
        let mut backoff = Backoff::default();
        loop {
            let dialled = tokio::select! {
                dialled = dial(&self.config, &self.environment.net, self.hello.clone()) => dialled,
                stop = &mut stop => return stop,
            };
            let setback = match dialled {
                Ok(session) => match self.serve_session(session, stop.as_mut()).await {
                    Ok(setback) => setback,
                    Err(stop) => return stop,
                },
                Err(error) => setback_of(&error),
            };
            let wait = backoff.after(setback, self.environment.rng.as_ref());
            info!(wait_ms = %wait.as_millis(), "dialling again");
            tokio::select! {
                () = sleep(wait) => {}
                stop = &mut stop => return stop,
            }
        }
    }

    /// Serves an open stream to its end.
    async fn serve_session(
        &mut self,
        session: Session,
        stop: std::pin::Pin<&mut impl Future<Output = Stop>>,
    ) -> Result<Setback, Stop> {
        let coordinator = self.config.coordinator.to_string();
        info!(%coordinator, "attached");
        let window = Duration::from_millis(session.welcome.reconnect_window_ms.into());
        let since = Instant::now();
        self.pulse.attached.store(true, Ordering::Release);
        let served = self.serve(session, stop).await;
        self.pulse.attached.store(false, Ordering::Release);
        let end = match served {
            Ok(end) => end,
            Err(stop) => return Err(stop),
        };
        let lived = since.elapsed() >= RECONNECT_FIRST;
        Ok(match end {
            StreamEnd::Refused(status) => {
                error!(%coordinator, code = %status.code(), reason = status.message(), "the coordinator refused the agent");
                Setback::Refused
            }
            StreamEnd::Lost(reason) => {
                warn!(%coordinator, reason, "stream lost");
                if lived {
                    Setback::lost(window)
                } else {
                    Setback::Failed
                }
            }
        })
    }
}

/// Logs a dial that failed, and says what it means for the next.
fn setback_of(failure: &DialError) -> Setback {
    let cause = std::error::Error::source(failure)
        .map(ToString::to_string)
        .unwrap_or_default();
    if failure.is_refusal() {
        error!(error = %failure, cause, "cannot attach, needs a change on one side");
        Setback::Refused
    } else {
        warn!(error = %failure, cause, "cannot attach");
        Setback::Failed
    }
}
