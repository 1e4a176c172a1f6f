//! What is said on an open stream.

use std::{future::Future, pin::Pin, sync::atomic::Ordering, time::Duration};

use reachproof_proto::v1::{
    AgentMessage, Assignment, CoordinatorMessage, EndpointReport, FenceReport, Heartbeat,
    agent_message, coordinator_message,
};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tonic::Status;
use tracing::{info, warn};

use super::{Agent, Session, Stop, dial::is_refusal, runs::Decision};
use crate::{
    endpoint::resolve,
    environment::Net,
    limits::{
        BATCH_WAIT, DRAIN_MAX, HEARTBEAT_MAX, HEARTBEAT_MIN, KEEP_ALIVE_TIMEOUT, LISTEN_DROPS_MAX,
        LISTEN_GRACE,
    },
    outcome::{Errno, Outcome},
    probe::{Finished, RunName, Work},
    wire::{Assigned, InvalidProbe, listen_drops_to_wire, listen_report},
};

/// Why a stream ended.
#[derive(Debug)]
pub(super) enum StreamEnd {
    /// The coordinator does not want this agent.
    Refused(Box<Status>),
    /// Anything else, in words.
    Lost(String),
}

impl From<Status> for StreamEnd {
    fn from(status: Status) -> StreamEnd {
        if is_refusal(status.code()) {
            StreamEnd::Refused(Box::new(status))
        } else {
            StreamEnd::Lost(format!("{}: {}", status.code(), status.message()))
        }
    }
}

/// The times of one stream.
#[derive(Debug)]
struct Timers {
    heartbeat_interval: Duration,
    heartbeat_at: Instant,
    /// When results are sent; none while there are none.
    flush_at: Option<Instant>,
}

impl<N: Net> Agent<N> {
    /// Says and hears what there is, until the stream ends or `stop` is ready.
    pub(super) async fn serve(
        &mut self,
        mut session: Session,
        mut stop: Pin<&mut impl Future<Output = Stop>>,
    ) -> Result<StreamEnd, Stop> {
        let interval = Duration::from_millis(session.welcome.heartbeat_interval_ms.into());
        let heartbeat_interval = interval.clamp(HEARTBEAT_MIN, HEARTBEAT_MAX);
        let mut timers = Timers {
            heartbeat_interval,
            heartbeat_at: Instant::now() + heartbeat_interval,
            flush_at: None,
        };
        if let Err(end) = self.catch_up(&session, &mut timers).await {
            return Ok(end);
        }
        loop {
            let turn = tokio::select! {
                message = session.inbound.message() => self.hear(message, &session, &mut timers).await,
                () = self.spool.filled(), if timers.flush_at.is_none() => {
                    timers.flush_at = Some(Instant::now() + BATCH_WAIT);
                    Ok(())
                }
                () = sleep_until(timers.flush_at.unwrap_or(timers.heartbeat_at)), if timers.flush_at.is_some() => {
                    self.flush(&session, &mut timers).await
                }
                Some(Ok(report)) = self.resolving.join_next() => {
                    self.resolved(report, &session, &mut timers).await
                }
                () = sleep_until(timers.heartbeat_at) => self.beat(0, &session, &mut timers).await,
                stop = &mut stop => {
                    self.drain(session, &mut timers).await;
                    return Err(stop);
                }
            };
            if let Err(end) = turn {
                return Ok(end);
            }
        }
    }

    /// Says again what the coordinator may have missed.
    async fn catch_up(&mut self, session: &Session, timers: &mut Timers) -> Result<(), StreamEnd> {
        // A coordinator that still waits for it asks again.
        self.fence = None;
        self.spool
            .acknowledge(session.welcome.sequence_acknowledged);
        for message in self.spool.unacknowledged() {
            send(session, message, timers).await?;
        }
        for report in self.runs.reports() {
            send(
                session,
                body(agent_message::Body::Listening(report)),
                timers,
            )
            .await?;
        }
        for report in self.runs.endpoints() {
            send(session, body(agent_message::Body::Endpoint(report)), timers).await?;
        }
        self.flush(session, timers).await
    }

    /// Does what a message of the coordinator asks for.
    async fn hear(
        &mut self,
        message: Result<Option<CoordinatorMessage>, Status>,
        session: &Session,
        timers: &mut Timers,
    ) -> Result<(), StreamEnd> {
        let Some(message) = message? else {
            return Err(StreamEnd::Lost("the coordinator ended it".to_owned()));
        };
        match message.body {
            Some(coordinator_message::Body::Assignment(assignment)) => {
                self.take(assignment, session, timers).await
            }
            Some(coordinator_message::Body::Cancel(cancel)) => {
                self.cancel(&RunName::new(&cancel.run)).await;
                Ok(())
            }
            Some(coordinator_message::Body::Ack(ack)) => {
                self.spool.acknowledge(ack.sequence);
                if self.fence.is_some() {
                    return self.flush(session, timers).await;
                }
                if self.spool.has_unsent() && timers.flush_at.is_none() {
                    timers.flush_at = Some(Instant::now() + BATCH_WAIT);
                }
                Ok(())
            }
            Some(coordinator_message::Body::Fence(fence)) => {
                let drops = self.listeners.drain(&RunName::new(&fence.run)).await;
                self.fence = Some((fence, drops));
                self.flush(session, timers).await
            }
            Some(coordinator_message::Body::Ping(ping)) => {
                self.beat(ping.number, session, timers).await
            }
            Some(coordinator_message::Body::Welcome(_)) => Err(StreamEnd::Lost(
                "the coordinator welcomed the agent twice".to_owned(),
            )),
            None => {
                warn!("a message of the coordinator is unknown, needs a newer agent");
                Ok(())
            }
        }
    }

    /// Takes an assignment: opens its ports, says which are open, and starts its probes.
    async fn take(
        &mut self,
        wire: Assignment,
        session: &Session,
        timers: &mut Timers,
    ) -> Result<(), StreamEnd> {
        let assigned = match Assigned::try_from(wire) {
            Ok(assigned) => assigned,
            Err(error) => {
                warn!(%error, "assignment ignored");
                return Ok(());
            }
        };
        let (run, generation) = (assigned.run.clone(), assigned.generation);
        let ends_at = Instant::now() + assigned.expires_after + LISTEN_GRACE;
        let is_new = self.runs.is_new(&run);
        match self.runs.decide(&run, generation, ends_at) {
            Decision::Take => {
                if is_new {
                    self.resolve(&run);
                }
                self.carry_out(assigned, ends_at).await;
            }
            Decision::Known => info!(%run, generation, "assignment is known"),
            Decision::Full => {
                warn!(%run, generation, "assignment ignored: too many runs are under way")
            }
        }
        match self.runs.report(&run, generation) {
            Some(report) => {
                send(
                    session,
                    body(agent_message::Body::Listening(report)),
                    timers,
                )
                .await
            }
            None => Ok(()),
        }
    }

    /// Begins to resolve the cluster endpoint for a run, if the agent was given its name.
    fn resolve(&mut self, run: &RunName) {
        if let Some(name) = &self.config.cluster_endpoint {
            let net = self.environment.net.clone();
            self.resolving
                .spawn(resolve(net, name.clone(), run.clone()));
        }
    }

    /// Says what the cluster endpoint resolved to.
    async fn resolved(
        &mut self,
        report: EndpointReport,
        session: &Session,
        timers: &mut Timers,
    ) -> Result<(), StreamEnd> {
        self.runs.remember_endpoint(&report);
        send(session, body(agent_message::Body::Endpoint(report)), timers).await
    }

    /// Opens the ports of an assignment and starts its probes.
    async fn carry_out(&mut self, assigned: Assigned, ends_at: Instant) {
        let run = assigned.run.clone();
        let (listen, probes) = (assigned.listen.len(), assigned.probes.len());
        info!(%run, generation = assigned.generation, listen, probes, "assignment taken");
        self.measure();
        if !assigned.listen.is_empty() || !assigned.listen_refused.is_empty() {
            let failures = self.listeners.open(&run, &assigned.listen, ends_at).await;
            for failure in &failures {
                warn!(%run, port = failure.port, errno = failure.errno.0, "cannot listen");
            }
            self.runs
                .remember(&run, listen_report(&assigned, &failures));
        }
        for (probe, invalid) in &assigned.refused {
            self.refuse(&run, *probe, invalid);
        }
        self.engine.add(Work {
            run,
            probes: assigned.probes,
            expires_at: self.environment.clock.now() + assigned.expires_after,
        });
        // Where opening the ports took so long that it stopped.
        self.measure();
    }

    /// Measures how late the loops are, as long as a port is open or an attempt is to be made.
    fn measure(&self) {
        let (sockets, load) = (self.listeners.sockets(), self.engine.load());
        self.lateness
            .measure(move || sockets.load(Ordering::Acquire) > 0 || !load.is_none());
    }

    /// Reports a probe that cannot be made.
    fn refuse(&self, run: &RunName, probe: u32, invalid: &InvalidProbe) {
        warn!(%run, probe, reason = %invalid, "probe refused");
        self.spool.push(Finished {
            run: run.clone(),
            probe,
            attempt: 0,
            outcome: Outcome::LocalError {
                errno: Errno::INVALID,
            },
            local: None,
            started_at: self.environment.clock.now(),
            syn_retransmissions: 0,
            identification: None,
        });
    }

    /// Ends all that is under way for a run.
    async fn cancel(&mut self, run: &RunName) {
        info!(%run, "run cancelled");
        self.engine.cancel(run.clone());
        self.listeners.close(run).await;
        self.runs.cancel(run);
        self.spool.discard(run);
    }

    /// Sends what is finished, as far as acknowledgements allow, and once all of it is sent says so to who waits for it.
    async fn flush(&mut self, session: &Session, timers: &mut Timers) -> Result<(), StreamEnd> {
        timers.flush_at = None;
        while let Some(message) = self.spool.next_batch() {
            send(session, message, timers).await?;
        }
        if self.spool.has_unsent() {
            return Ok(());
        }
        let Some((fence, drops)) = self.fence.take() else {
            return Ok(());
        };
        let report = FenceReport {
            accept_queue_drops: self.listeners.queue_drops(&RunName::new(&fence.run)),
            results_lost: self.spool.results_lost(),
            run: fence.run,
            number: fence.number,
            listen_drops: drops
                .iter()
                .take(LISTEN_DROPS_MAX)
                .map(listen_drops_to_wire)
                .collect(),
        };
        send(session, body(agent_message::Body::Fence(report)), timers).await
    }

    /// Says that the agent is there, in answer to a ping or, with 0, by itself.
    async fn beat(
        &self,
        ping: u64,
        session: &Session,
        timers: &mut Timers,
    ) -> Result<(), StreamEnd> {
        let now = self.environment.clock.now();
        let late = self.lateness.report(now);
        let heartbeat = Heartbeat {
            attempts_pending: u32::try_from(self.engine.attempts_pending()).unwrap_or(u32::MAX),
            results_lost: self.spool.results_lost(),
            ping,
            sent_us: self.epoch.since_start_us(now),
            late_since_us: late.map_or(0, |late| self.epoch.since_start_us(late.since)),
            late_max_us: late
                .map(|late| u32::try_from(late.longest.as_micros()).unwrap_or(u32::MAX)),
        };
        send(
            session,
            body(agent_message::Body::Heartbeat(heartbeat)),
            timers,
        )
        .await
    }

    /// Sends what is finished and waits until it is acknowledged, for at most [`DRAIN_MAX`].
    async fn drain(&mut self, mut session: Session, timers: &mut Timers) {
        let until = Instant::now() + DRAIN_MAX;
        loop {
            if self.flush(&session, timers).await.is_err() || self.spool.is_empty() {
                return;
            }
            match timeout_at(until, session.inbound.message()).await {
                Ok(Ok(Some(CoordinatorMessage {
                    body: Some(coordinator_message::Body::Ack(ack)),
                }))) => {
                    self.spool.acknowledge(ack.sequence);
                }
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None) | Err(_)) | Err(_) => return,
            }
        }
    }
}

/// A message with this body.
fn body(body: agent_message::Body) -> AgentMessage {
    AgentMessage { body: Some(body) }
}

/// Puts a message on the stream. A coordinator that reads too slowly loses the stream, not the message.
async fn send(
    session: &Session,
    message: AgentMessage,
    timers: &mut Timers,
) -> Result<(), StreamEnd> {
    match timeout(KEEP_ALIVE_TIMEOUT, session.outbound.send(message)).await {
        Ok(Ok(())) => {
            timers.heartbeat_at = Instant::now() + timers.heartbeat_interval;
            Ok(())
        }
        Ok(Err(_)) => Err(StreamEnd::Lost("it takes no more messages".to_owned())),
        Err(_) => Err(StreamEnd::Lost(
            "the coordinator reads too slowly".to_owned(),
        )),
    }
}
