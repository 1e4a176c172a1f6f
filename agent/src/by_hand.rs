//! Probes that somebody asks for by hand, with the same engine as those of a control stream.

use std::{
    io::{self, Write},
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;
use thiserror::Error;

use crate::{
    engine::{Engine, EngineConfig, Evidence, Pacing, PeerConnection, Sink},
    environment::{Clock, Rng},
    limits::{HAND_CHUNK, HAND_LOT, HAND_OUTPUT_WAIT},
    outcome::{IcmpError, Outcome},
    policy::Policy,
    probe::{Attempts, Finished, Probe, ProbeKind, RunName, Work},
};

/// What is asked for, but for the targets.
#[derive(Debug, Clone)]
pub struct Order {
    /// Attempts for each target, at least 1; an answer ends them.
    pub attempts: u32,
    /// How long an attempt waits; the next one starts right then.
    pub deadline: Duration,
    /// Attempts in flight, at least 1.
    pub in_flight_max: usize,
    /// Connections of ended attempts that may wait to be closed while as many are being closed, beside those in flight.
    pub closing_max: usize,
    /// How attempts start.
    pub pacing: Pacing,
    /// What is recorded of an attempt: what is not printed need not be asked for.
    pub evidence: Evidence,
    /// What may be connected to.
    pub policy: Policy,
}

/// What a target ended with: its answer, or its last attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The target.
    pub target: SocketAddr,
    /// The attempt that ended it.
    pub last: Finished,
}

/// Probes that cannot be made.
#[derive(Debug, Error)]
pub enum ByHandError {
    /// The engine could not be started.
    #[error("cannot start the probe engine")]
    Engine(#[source] io::Error),
    /// The engine ended before all targets had their answer.
    #[error("the probe engine stopped, start the command again")]
    Stopped,
    /// An answer could not be written.
    #[error("cannot write the answers")]
    Write(#[source] io::Error),
}

/// Probes each of `targets` and gives each answer to `tell`, in the order in which they come.
///
/// `told` is called after each lot of answers, at most every few milliseconds.
///
/// # Errors
/// [`ByHandError`]. Whatever a target says, and a target that the policy refuses, is an answer.
pub fn probe_all<W: Write>(
    targets: &[SocketAddr],
    order: &Order,
    environment: (Arc<dyn Clock>, Arc<dyn Rng>),
    (writer, tell): (&mut W, impl Fn(&mut W, &Answer) -> io::Result<()>),
) -> Result<(), ByHandError> {
    let engine_config = EngineConfig {
        in_flight_max: order.in_flight_max,
        pacing: order.pacing,
        tracked_max: None,
        evidence: order.evidence,
        policy: order.policy.clone(),
    };
    let inbox = Arc::new(Inbox::new(order.closing_max));
    let (engine, mut ended) = Engine::start(engine_config, environment, Arc::clone(&inbox))
        .map_err(ByHandError::Engine)?;
    let run = RunName::new("hand");
    let (mut asked, mut answered) = (0_usize, 0_usize);
    let (mut lot, mut over) = (Vec::new(), Vec::new());
    while answered < targets.len() {
        // In chunks, so that the first are on their way while the others are made.
        while asked - answered < order.in_flight_max + HAND_LOT
            && let Some(next) = targets
                .get(asked..)
                .and_then(|rest| rest.chunks(HAND_CHUNK).next())
        {
            engine.add(work(&run, (asked, next), order));
            asked += next.len();
        }
        inbox.take((&mut lot, &mut over), asked - answered);
        over.clear();
        for last in lot.drain(..).filter(|last| ends(last, order)) {
            answered += 1;
            let target = usize::try_from(last.probe)
                .ok()
                .and_then(|at| targets.get(at));
            let answer = target.map(|target| Answer {
                target: *target,
                last,
            });
            answer
                .map_or(Ok(()), |answer| tell(writer, &answer))
                .map_err(ByHandError::Write)?;
        }
        writer.flush().map_err(ByHandError::Write)?;
        if answered < targets.len() && ended.try_recv().is_ok() {
            return Err(ByHandError::Stopped);
        }
    }
    Ok(())
}

/// Probes of `targets`, whose ids count from `first`.
fn work(run: &RunName, (first, targets): (usize, &[SocketAddr]), order: &Order) -> Work {
    let first = u32::try_from(first).unwrap_or(u32::MAX);
    let probe = |(id, target): (u32, &SocketAddr)| Probe {
        id,
        target: *target,
        source: None,
        kind: ProbeKind::TcpConnect,
        attempts: Attempts::until_answered(order.attempts),
        deadline: order.deadline,
        interval: order.deadline,
    };
    Work {
        run: run.clone(),
        probes: (first..).zip(targets).map(probe).collect(),
        // Nobody waits for an answer by hand that long.
        expires_at: Instant::now() + Duration::from_secs(365 * 24 * 60 * 60),
    }
}

/// Whether no attempt follows this one.
fn ends(finished: &Finished, order: &Order) -> bool {
    finished.outcome.is_answer()
        || finished.outcome == Outcome::RefusedByPolicy
        || finished.attempt.saturating_add(1) >= order.attempts
}

/// Where the engine leaves what it finished, until the other thread takes it.
#[derive(Debug)]
struct Inbox {
    content: Mutex<Content>,
    filled: Condvar,
    closing_max: usize,
}

/// What is in the inbox.
#[derive(Debug, Default)]
struct Content {
    finished: Vec<Finished>,
    /// Connections to close.
    over: Vec<OwnedFd>,
    /// So many are worth waking the other thread.
    wanted: usize,
}

impl Inbox {
    /// An empty one that holds so many connections at most.
    fn new(closing_max: usize) -> Inbox {
        Inbox {
            content: Mutex::default(),
            filled: Condvar::new(),
            closing_max,
        }
    }

    /// Swaps what came with the empty `lot`, and the connections with the empty `over`; waits for a while, so that a lot is
    /// more than one answer, but not beyond the last of the targets that are `left`.
    fn take(&self, (lot, over): (&mut Vec<Finished>, &mut Vec<OwnedFd>), left: usize) {
        let mut content = self.lock();
        content.wanted = left.min(HAND_LOT);
        let (mut content, _) = self
            .filled
            .wait_timeout_while(content, HAND_OUTPUT_WAIT, |content| {
                content.finished.len() < content.wanted
            })
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut content.finished, lot);
        std::mem::swap(&mut content.over, over);
    }

    /// The content; each change of it is complete, whoever panicked.
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Arc<Inbox> {
    fn finished(&self, attempt: Finished) {
        let mut content = self.lock();
        content.finished.push(attempt);
        if content.finished.len() == content.wanted {
            self.filled.notify_one();
        }
    }

    fn connected(&self, connection: PeerConnection) {
        // Only probes without a byte are made by hand; the handshake is all there is to tell.
        self.finished(connection.attempt);
    }

    fn over(&self, connection: OwnedFd) {
        let mut content = self.lock();
        if content.over.len() < self.closing_max {
            content.over.push(connection);
        }
    }
}

/// An answer as one JSON object. Times are in microseconds.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    address: IpAddr,
    port: u16,
    outcome: &'a str,
    /// Attempts that were made.
    attempts: u32,
    /// Of an open target: the round trip, by `TCP_INFO`.
    #[serde(skip_serializing_if = "Option::is_none")]
    handshake_us: Option<u128>,
    /// Of a refused target: the round trip is at most this.
    #[serde(skip_serializing_if = "Option::is_none")]
    handshake_upper_bound_us: Option<u128>,
    /// Of any other: how long the last attempt waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    waited_us: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
    /// The ICMP error that ended the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp: Option<IcmpLine>,
    /// Address and port that the last attempt came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<SocketAddr>,
    syn_retransmissions: u32,
}

/// An ICMP error as a JSON object.
#[derive(Debug, Serialize)]
struct IcmpLine {
    r#type: u8,
    code: u8,
    /// Who sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<IpAddr>,
}

impl From<IcmpError> for IcmpLine {
    fn from(error: IcmpError) -> IcmpLine {
        IcmpLine {
            r#type: error.kind,
            code: error.code,
            from: error.from,
        }
    }
}

impl From<&Answer> for Line<'_> {
    fn from(answer: &Answer) -> Self {
        let Answer { target, last } = answer;
        let elapsed = Some(last.outcome.elapsed().as_micros());
        let (handshake_us, handshake_upper_bound_us, waited_us) = match last.outcome {
            Outcome::Connected { .. } => (elapsed, None, None),
            Outcome::Refused { .. } => (None, elapsed, None),
            Outcome::TimedOut { .. } | Outcome::Unreachable { .. } | Outcome::Starved { .. } => {
                (None, None, elapsed)
            }
            Outcome::LocalError { .. } | Outcome::RefusedByPolicy => (None, None, None),
        };
        Line {
            address: target.ip(),
            port: target.port(),
            outcome: last.outcome.word(),
            attempts: last.attempt.saturating_add(1),
            handshake_us,
            handshake_upper_bound_us,
            waited_us,
            errno: last.outcome.errno().map(|errno| errno.0),
            icmp: last.outcome.icmp().map(IcmpLine::from),
            local: last.local,
            syn_retransmissions: last.syn_retransmissions,
        }
    }
}
