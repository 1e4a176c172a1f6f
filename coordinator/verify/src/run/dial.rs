//! API servers connecting to what the plan says, beside the agents' probes.
//!
//! Every dial has [`DIAL_ATTEMPTS`] attempts, whatever they come to; nothing is asked again. Some dials that the model calls
//! open are repeated all the while: they show that an API server was heard around the silence of others (F.2).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reachproof_model::dial::{DialFailure, Dialled, Exchange, broken_source, dialled, is_kubelet};
use reachproof_model::observation::{Attempt, Identification, Observation, Outcome, RunEvidence};
use reachproof_model::plan::{
    CONTROL_DIAL_INTERVAL, DIAL_ATTEMPTS, DIAL_DEADLINE, DIAL_INTERVAL, DIAL_LIMIT_MIN, DialPod,
    Dialling, PlannedFlow, ProbeId, ProbeKind, ProbePlan, Purpose, Target,
};
use reachproof_model::vantage::Vantage;
use reachproof_proto::net::{Nonce, ProofKey, bytes_from_wire, verify_proof};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::control_plane::{ControlPlane, DialAnswer, DialRequest};
use crate::credentials::hexadecimal;
use crate::error::RunError;
use crate::random::Random;

/// Most connections that one API server is asked for at the same time.
const IN_FLIGHT_PER_SERVER_MAX: usize = 32;

/// Most of them that are no controls: silence of many does not keep the calls from being made that show that an API server
/// is heard. A repeated call for which there is no room is left out: then less was heard.
const UNREPEATED_PER_SERVER_MAX: usize = 24;

/// How long the answer to a first attempt is waited for before it is taken for a silence that is under way.
const PROMPT: Duration = Duration::from_secs(2);

/// Time between two attempts that are answered.
const ANSWERED_INTERVAL: Duration = Duration::from_millis(500);

/// `EHOSTUNREACH`: stands for whatever told the API server's host that there is no way.
const ERRNO_UNREACHABLE: u32 = 113;

/// What is asked of an agent's port; the nonce follows.
const PROBE_PATH: &str = "/v1/probe?nonce=";

/// Status of an agent's answer, and of a log.
const ANSWERED: u16 = 200;

/// What was seen so far, by probe.
type Seen = Arc<Mutex<BTreeMap<ProbeId, Vec<Attempt>>>>;

/// All dials of a run. Those on their way end when this is dropped.
#[derive(Default)]
pub(super) struct Dials {
    /// Those that are to be begun, with what they have in common.
    waiting: Option<(Common, Vec<Dial>)>,
    running: JoinSet<()>,
    seen: Seen,
    longest: Duration,
}

/// One dial.
#[derive(Clone)]
struct Dial {
    id: ProbeId,
    server: IpAddr,
    target: SocketAddr,
    pod: DialPod,
    kind: ProbeKind,
    nonce: Nonce,
    key: Option<ProofKey>,
    is_control: bool,
}

/// What all dials have in common.
#[derive(Clone)]
struct Common {
    control_plane: Arc<dyn ControlPlane>,
    /// Zero of the run's clock.
    began: Instant,
    /// Name of the run.
    run: Arc<str>,
    seen: Seen,
}

impl Dials {
    /// What `plan` has of API servers. `key` says which key the listener of an agent has at a port.
    ///
    /// # Errors
    /// [`RunError`] when nonces cannot be drawn.
    pub(super) fn of(
        control_plane: &Arc<dyn ControlPlane>,
        (plan, dialling): (&ProbePlan, &Dialling),
        key: impl Fn(&Target, u16) -> Option<ProofKey>,
        (run, began, random): (&str, Instant, &dyn Random),
    ) -> Result<Self, RunError> {
        let mut dials = Vec::new();
        for flow in &plan.flows {
            let mut nonce = Nonce::default();
            random.fill(&mut nonce)?;
            dials.extend(dial(flow, dialling, nonce, &key));
        }
        let seen = Seen::default();
        let longest = longest(&dials);
        let common = Common {
            control_plane: Arc::clone(control_plane),
            began,
            run: run.into(),
            seen: Arc::clone(&seen),
        };
        Ok(Self {
            waiting: (!dials.is_empty()).then_some((common, dials)),
            running: JoinSet::new(),
            seen,
            longest,
        })
    }

    /// Begins with all of them.
    pub(super) fn begin(&mut self) {
        if let Some((common, dials)) = self.waiting.take() {
            self.running.spawn(all(common, dials));
        }
    }

    /// Longest time that they take.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }

    /// Whether all that were begun have ended.
    pub(super) fn have_ended(&mut self) -> bool {
        while self.running.try_join_next().is_some() {}
        self.running.is_empty()
    }

    /// Ends what is still under way, and adds what was seen to `evidence`.
    pub(super) fn take_seen(mut self, evidence: &mut RunEvidence) {
        self.running.abort_all();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, mut attempts) in std::mem::take(&mut *seen) {
            attempts.sort_by_key(|attempt| attempt.number);
            let length = evidence.observations.len().max(id.index() + 1);
            evidence.observations.resize(length, Observation::default());
            if let Some(observation) = evidence.observations.get_mut(id.index()) {
                observation.attempts = attempts;
            }
        }
    }
}

/// The dial that a planned flow is, if it is one and its pod is known.
fn dial(
    flow: &PlannedFlow,
    dialling: &Dialling,
    nonce: Nonce,
    key: &impl Fn(&Target, u16) -> Option<ProofKey>,
) -> Option<Dial> {
    let Vantage::ApiServer(server) = &flow.source else {
        return None;
    };
    let (Target::Agent(agent) | Target::Kubelet(agent)) = &flow.target else {
        return None;
    };
    let [probe] = flow.probes.as_slice() else {
        return None;
    };
    let port = flow.flow.protocol.port()?;
    Some(Dial {
        id: probe.id,
        server: *server,
        target: SocketAddr::new(flow.flow.destination, port),
        pod: dialling.pods.get(agent)?.clone(),
        kind: probe.kind,
        nonce,
        key: key(&flow.target, port),
        is_control: flow.purposes.contains(&Purpose::Control),
    })
}

/// Longest time of all dials: every one of them silent, as many at once as an API server is asked for.
fn longest(dials: &[Dial]) -> Duration {
    let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for dial in dials {
        *counts.entry(dial.server).or_default() += 1;
    }
    let Some(most) = counts.into_values().max() else {
        return Duration::ZERO;
    };
    let attempts = most * usize::try_from(DIAL_ATTEMPTS).unwrap_or(usize::MAX);
    let turns = u32::try_from(attempts / UNREPEATED_PER_SERVER_MAX).unwrap_or(u32::MAX);
    let spread = DIAL_INTERVAL.saturating_mul(DIAL_ATTEMPTS);
    let waiting = DIAL_DEADLINE.saturating_mul(turns);
    spread.saturating_add(DIAL_DEADLINE).saturating_add(waiting)
}

/// Makes every dial: the controls from before the first of the others until after the last.
async fn all(common: Common, dials: Vec<Dial>) {
    let turns = Turns::of_each(&dials);
    let (stop, stopped) = watch::channel(false);
    let (controls, others): (Vec<_>, Vec<_>) = dials.into_iter().partition(|dial| dial.is_control);
    let (mut calling, mut dialling) = (JoinSet::new(), JoinSet::new());
    for control in controls {
        if let Some(turns) = turns.get(&control.server) {
            let turns = turns.of_controls();
            calling.spawn(call(common.clone(), control, turns, stopped.clone()));
        }
    }
    // Their first answers come before the first silence.
    sleep(ANSWERED_INTERVAL).await;
    for other in others {
        if let Some(turns) = turns.get(&other.server) {
            dialling.spawn(attempts(common.clone(), other, turns.clone()));
        }
    }
    dialling.join_all().await;
    // Who does not hear it has ended.
    let _none_left = stop.send(true);
    calling.join_all().await;
}

/// The turns at one API server.
#[derive(Clone)]
struct Turns {
    /// Those of all dials.
    all: Arc<Semaphore>,
    /// Those among them of one sort.
    own: Arc<Semaphore>,
}

impl Turns {
    /// The turns of dials that are no controls, at each API server.
    fn of_each(dials: &[Dial]) -> BTreeMap<IpAddr, Self> {
        let new = || Self {
            all: Arc::new(Semaphore::new(IN_FLIGHT_PER_SERVER_MAX)),
            own: Arc::new(Semaphore::new(UNREPEATED_PER_SERVER_MAX)),
        };
        let servers = dials.iter().map(|dial| dial.server);
        servers.map(|server| (server, new())).collect()
    }

    /// Those of controls: as many as there are.
    fn of_controls(&self) -> Self {
        Self {
            all: Arc::clone(&self.all),
            own: Arc::clone(&self.all),
        }
    }

    /// Waits for a turn; none where there are no more.
    async fn next(&self) -> Option<(OwnedSemaphorePermit, Option<OwnedSemaphorePermit>)> {
        let own = Arc::clone(&self.own).acquire_owned().await.ok()?;
        if Arc::ptr_eq(&self.own, &self.all) {
            return Some((own, None));
        }
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some((own, Some(all)))
    }
}

/// Makes a control dial again and again until the others have ended, and once after that.
async fn call(common: Common, dial: Dial, turns: Turns, mut stopped: watch::Receiver<bool>) {
    attempts(common.clone(), dial.clone(), turns.clone()).await;
    let mut number = DIAL_ATTEMPTS;
    let mut under_way = JoinSet::new();
    loop {
        let is_last = *stopped.borrow_and_update();
        if let Ok(turn) = Arc::clone(&turns.all).try_acquire_owned() {
            let (common, dial) = (common.clone(), dial.clone());
            under_way.spawn(async move {
                attempt(common, dial, number).await;
                drop(turn);
            });
            number = number.saturating_add(1);
        }
        if is_last {
            break;
        }
        let wait = sleep(CONTROL_DIAL_INTERVAL);
        tokio::select! {
            () = wait => {}
            _changed = stopped.changed() => {}
        }
    }
    under_way.join_all().await;
}

/// Makes the attempts of one dial: one after the other where they are answered at once, else side by side and
/// [`DIAL_INTERVAL`] apart, as silence needs.
async fn attempts(common: Common, dial: Dial, turns: Turns) {
    let mut under_way = JoinSet::new();
    let mut next = Instant::now();
    let mut wanted = DIAL_ATTEMPTS;
    for number in 0.. {
        if number == wanted {
            break;
        }
        sleep_until(next).await;
        let Some(turn) = turns.next().await else {
            return;
        };
        next = Instant::now() + DIAL_INTERVAL;
        let (common, dial) = (common.clone(), dial.clone());
        under_way.spawn(async move {
            let worth = attempt(common, dial, number).await;
            drop(turn);
            worth
        });
        if let Ok(Some(ended)) = timeout(PROMPT, under_way.join_next()).await {
            if under_way.is_empty() {
                next = Instant::now() + ANSWERED_INTERVAL;
            }
            if number == 0 && matches!(ended, Ok(Connection::MaybeOld)) {
                wanted += 1;
            }
        }
    }
    under_way.join_all().await;
}

/// Whether an attempt was a connection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    /// Nothing speaks against it.
    New,
    /// One that was there may have been used again.
    MaybeOld,
}

/// What an API server is asked for. An agent that takes its part of a run writes the run's name into its log.
fn request(dial: &Dial, run: &str) -> DialRequest {
    let (namespace, name) = (dial.pod.namespace.clone(), dial.pod.name.clone());
    let path = match dial.kind {
        ProbeKind::KubeletLog => {
            return DialRequest::Log {
                namespace,
                name,
                word: run.to_owned(),
            };
        }
        ProbeKind::Identify => format!("{PROBE_PATH}{}", hexadecimal(&dial.nonce)),
        ProbeKind::Connect | ProbeKind::Resolve | ProbeKind::Certify | ProbeKind::Kubelet => {
            "/".to_owned()
        }
    };
    DialRequest::Pod {
        namespace,
        name,
        port: dial.target.port(),
        path,
    }
}

/// Makes one attempt, and writes down what it came to.
///
/// The first log that is had of a kubelet may come over a connection that was there before: counted is from the second on
/// (G.2b). That one was made anew, as nothing is left of an answer that was broken off.
async fn attempt(common: Common, dial: Dial, number: u32) -> Connection {
    let request = request(&dial, &common.run);
    let started = Instant::now();
    let asked = common
        .control_plane
        .ask(dial.server, &request, DIAL_DEADLINE);
    let answer = asked.await;
    let after = started.elapsed();
    let answer = answer.as_ref().map_err(|failure| *failure);
    let said = said((&dial, &common.run), answer, after);
    let mut seen = common.seen.lock().unwrap_or_else(PoisonError::into_inner);
    let known = seen.entry(dial.id).or_default();
    let is_known = |socket| known.iter().any(|known| known.local == Some(socket));
    let is_first_log = number == 0
        && dial.kind == ProbeKind::KubeletLog
        && matches!(said.outcome, Outcome::Connected { .. });
    // Not a new connection: whatever it shows, a new one might not be let through (G.2b).
    let (outcome, connection) = if is_first_log || said.local.is_some_and(is_known) {
        let failure = DialFailure::Reused;
        (Outcome::NotDialled { failure }, Connection::MaybeOld)
    } else {
        (said.outcome, Connection::New)
    };
    known.push(Attempt {
        number,
        local: said.local,
        started: started.saturating_duration_since(common.began),
        received: Instant::now().saturating_duration_since(common.began),
        outcome,
        syn_retransmissions: 0,
        identification: said.identification,
    });
    connection
}

/// What an attempt came to.
struct Said {
    outcome: Outcome,
    local: Option<SocketAddr>,
    identification: Identification,
}

impl Said {
    fn plain(outcome: Outcome) -> Self {
        Self {
            outcome,
            local: None,
            identification: Identification::NotAsked,
        }
    }
}

/// What an exchange with an API server says of its dial.
fn said(
    (dial, run): (&Dial, &str),
    answer: Result<&DialAnswer, DialFailure>,
    after: Duration,
) -> Said {
    let exchange = match answer {
        Ok(answer) => Exchange::Answer {
            status: answer.status,
            body: &answer.body,
        },
        Err(failure) => Exchange::None(failure),
    };
    let connected = Outcome::Connected { handshake: after };
    match dialled(exchange, dial.target) {
        Dialled::Answered => answered((dial, run), answer.ok(), connected),
        Dialled::Broken => Said {
            local: broken_source(exchange),
            ..Said::plain(connected)
        },
        Dialled::Refused => Said::plain(Outcome::Refused { after }),
        Dialled::Silent if after < DIAL_LIMIT_MIN => Said::plain(Outcome::NotDialled {
            failure: DialFailure::TooSoon,
        }),
        Dialled::Silent => Said::plain(Outcome::TimedOut { after }),
        Dialled::Unreachable => Said::plain(Outcome::Unreachable {
            errno: ERRNO_UNREACHABLE,
            icmp: None,
        }),
        Dialled::Unclear(failure) => Said::plain(Outcome::NotDialled { failure }),
    }
}

/// Who gave an answer that came through an API server.
fn answered((dial, run): (&Dial, &str), answer: Option<&DialAnswer>, outcome: Outcome) -> Said {
    let plain = Said::plain(outcome);
    let Some(answer) = answer else {
        return plain;
    };
    match dial.kind {
        ProbeKind::Identify => proven(dial, answer, plain),
        ProbeKind::Kubelet if is_kubelet(answer.status, &answer.body) => Said {
            identification: Identification::Kubelet,
            ..plain
        },
        // Nobody else has it: whoever sends it is the kubelet of the agent's node.
        ProbeKind::KubeletLog if names(answer, run) => Said {
            identification: Identification::Kubelet,
            ..plain
        },
        ProbeKind::Kubelet
        | ProbeKind::KubeletLog
        | ProbeKind::Connect
        | ProbeKind::Resolve
        | ProbeKind::Certify => plain,
    }
}

/// Whether a log came in which the run is named.
fn names(answer: &DialAnswer, run: &str) -> bool {
    answer.status == ANSWERED && String::from_utf8_lossy(&answer.body).contains(run)
}

/// An agent's answer to `GET /v1/probe` (`agent/src/listener/serve.rs`).
#[derive(Deserialize)]
struct PeerAnswer {
    observed_address: IpAddr,
    observed_port: u16,
    proof: String,
}

/// Checks the proof of an agent's answer; what is no such answer proves nothing.
fn proven(dial: &Dial, answer: &DialAnswer, plain: Said) -> Said {
    let read = Some(answer).filter(|answer| answer.status == ANSWERED);
    let read = read.and_then(|answer| serde_json::from_slice::<PeerAnswer>(&answer.body).ok());
    let Some(peer) = read else {
        return plain;
    };
    let observed = SocketAddr::new(peer.observed_address, peer.observed_port);
    let said = (observed.ip(), observed.port());
    let holds = |key| {
        let proof = bytes(&peer.proof);
        proof.is_some_and(|proof| verify_proof(key, &dial.nonce, said, &proof))
    };
    if dial.key.as_ref().is_some_and(holds) {
        return Said {
            local: Some(observed),
            identification: Identification::Verified { observed },
            ..plain
        };
    }
    Said {
        identification: Identification::Mismatch,
        ..plain
    }
}

/// Bytes from hexadecimal digits.
fn bytes(digits: &str) -> Option<[u8; reachproof_proto::net::PROOF_LENGTH]> {
    let pairs = digits.as_bytes().chunks(2);
    let read: Option<Vec<u8>> = pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    bytes_from_wire(&read?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )]

    use super::*;
    use crate::control_plane::{Awaited, DialWay, PodAtAddress};

    /// A dial; the first eight are controls.
    fn one(number: u32) -> Dial {
        Dial {
            id: ProbeId(number),
            server: "10.0.1.10".parse().unwrap(),
            target: "10.0.1.20:7500".parse().unwrap(),
            pod: DialPod {
                namespace: "reachproof".to_owned(),
                name: "agent".to_owned(),
                address: "10.0.1.20".parse().unwrap(),
                log: false,
            },
            kind: ProbeKind::Identify,
            nonce: Nonce::default(),
            key: None,
            is_control: number < 8,
        }
    }

    /// An API server that answers nobody, and counts who waits.
    #[derive(Default)]
    struct Silent(Mutex<(usize, usize)>);

    impl ControlPlane for Silent {
        fn pods(&self) -> Awaited<'_, Result<Vec<PodAtAddress>, String>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn lacks<'a>(&'a self, _namespace: &'a str, _way: DialWay) -> Awaited<'a, Option<String>> {
            Box::pin(async { None })
        }

        fn ask<'a>(
            &'a self,
            _server: IpAddr,
            _request: &'a DialRequest,
            limit: Duration,
        ) -> Awaited<'a, Result<DialAnswer, DialFailure>> {
            Box::pin(async move {
                {
                    let mut counts = self.0.lock().unwrap();
                    counts.0 += 1;
                    counts.1 = counts.1.max(counts.0);
                }
                sleep(limit).await;
                self.0.lock().unwrap().0 -= 1;
                Err(DialFailure::ApiNoAnswer)
            })
        }
    }

    /// An API server that says the same to whatever it is asked.
    struct Says(u16, &'static str);

    impl ControlPlane for Says {
        fn pods(&self) -> Awaited<'_, Result<Vec<PodAtAddress>, String>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn lacks<'a>(&'a self, _namespace: &'a str, _way: DialWay) -> Awaited<'a, Option<String>> {
            Box::pin(async { None })
        }

        fn ask<'a>(
            &'a self,
            _server: IpAddr,
            request: &'a DialRequest,
            _limit: Duration,
        ) -> Awaited<'a, Result<DialAnswer, DialFailure>> {
            let log = DialRequest::Log {
                namespace: "reachproof".to_owned(),
                name: "agent".to_owned(),
                word: "run-1".to_owned(),
            };
            assert_eq!(*request, log);
            let Self(status, body) = *self;
            let waits = if status == ANSWERED {
                Duration::from_millis(5)
            } else {
                DIAL_LIMIT_MIN + Duration::from_secs(1)
            };
            Box::pin(async move {
                sleep(waits).await;
                Ok(DialAnswer {
                    status,
                    body: body.as_bytes().to_vec(),
                })
            })
        }
    }

    /// The attempts to have a log of a pod on 10.0.1.20.
    async fn logs(says: Says) -> Vec<Attempt> {
        let common = Common {
            control_plane: Arc::new(says),
            began: Instant::now(),
            run: "run-1".into(),
            seen: Seen::default(),
        };
        let seen = Arc::clone(&common.seen);
        let kubelet = Dial {
            target: "10.0.1.20:10250".parse().unwrap(),
            kind: ProbeKind::KubeletLog,
            is_control: false,
            ..one(0)
        };
        all(common, vec![kubelet]).await;
        seen.lock().unwrap().remove(&ProbeId(0)).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_log_of_a_kubelet_counts_for_nothing_and_three_more_do() {
        let seen = logs(Says(ANSWERED, "assignment taken run=run-1")).await;
        let outcomes: Vec<Outcome> = seen.iter().map(|attempt| attempt.outcome).collect();
        let reused = Outcome::NotDialled {
            failure: DialFailure::Reused,
        };
        assert_eq!(outcomes[0], reused);
        assert_eq!(outcomes.len(), 4);
        for attempt in &seen[1..] {
            assert!(matches!(attempt.outcome, Outcome::Connected { .. }));
            assert_eq!(attempt.identification, Identification::Kubelet);
        }
        // The log of somebody else, or of another run, is not what was asked for.
        let other = logs(Says(ANSWERED, "assignment taken run=run-2")).await;
        assert_eq!(other[3].identification, Identification::NotAsked);
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_ends_in_a_time_out_is_silence_from_the_first() {
        let said = r#"{"kind": "Status", "apiVersion": "v1", "message": "Get \"https://10.0.1.20:10250/containerLogs/n/p/c?follow=true\": dial tcp 10.0.1.20:10250: i/o timeout"}"#;
        let seen = logs(Says(500, said)).await;
        assert_eq!(seen.len(), 3);
        for attempt in &seen {
            assert!(matches!(attempt.outcome, Outcome::TimedOut { .. }));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_api_server_is_asked_for_more_than_32_connections_at_a_time() {
        let silent = Arc::new(Silent::default());
        let common = Common {
            control_plane: silent.clone(),
            began: Instant::now(),
            run: "run-1".into(),
            seen: Seen::default(),
        };
        all(common, (0..60).map(one).collect()).await;
        assert_eq!(*silent.0.lock().unwrap(), (0, 32));
    }
}
