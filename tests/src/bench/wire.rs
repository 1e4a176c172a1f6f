//! What a result costs on the wire, and on its way through decoding, validation and comparison.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant, SystemTime},
};

use nix::time::{ClockId, clock_gettime};
use prost::Message as _;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use reachproof_agent::{
    outcome::Outcome,
    probe::{Finished, RunName},
    wire::{Epoch, batch_to_wire},
};
use reachproof_lab::world::World;
use reachproof_model::{
    compare::compare,
    describe::Described,
    finding::FindingKind,
    flow::{EPHEMERAL_PORTS_DEFAULT, Flow},
    observation::AgentName,
    plan::{
        AgentKind, PlannedFlow, PlannedProbe, PolicyFact, ProbeId, ProbeKind, ProbePlan, Roster,
        RosterAgent, SourcePorts, Target, Until,
    },
    predict::predict,
    prediction::Prediction,
    snapshot::Snapshot,
    stability::{Stability, StabilityState},
};
use reachproof_proto::v1;
use reachproof_verify::{
    SystemRandomness,
    certificate::CertificateJudge,
    dispatch::{Dispatch, Terms},
    registry::{News, Registry},
    wire::observations::attempts,
};

use super::{Goals, Measured, hold, print};

/// Results in a batch.
const BATCH: u32 = 1_000;

/// Batches of a run.
const BATCHES: u32 = 100;

/// Of a hundred results so many are refused, and as many silent; the rest is open.
const PER_CENT: u32 = 5;

/// Seed of starts, round trips and ports.
const SEED: u64 = 1;

/// Usual time between two starts: the hard cap of 100 a second.
const PACE_US: u64 = 10_000;

/// How late a start is at most: event loops wait in whole milliseconds.
const START_JITTER_US: u64 = 1_100;

/// The name of the run.
const RUN: &str = "run-0123456789abcdef";

/// When the results are taken: long after every attempt.
const RECORDED_AFTER: Duration = Duration::from_secs(3_600);

/// Agent that probes, and its address, in the lab's default world.
const SOURCE: (&str, Ipv4Addr) = ("node-1", Ipv4Addr::new(10, 0, 1, 20));

/// A target that the model lets it reach.
const ALLOWED: (&str, Ipv4Addr) = ("node-2", Ipv4Addr::new(10, 0, 2, 20));

/// A target that the model denies.
const DENIED: (&str, Ipv4Addr) = ("outsider-b", Ipv4Addr::new(10, 0, 2, 60));

/// Batches as a busy agent sends them, with full evidence of each attempt: 90 % open, 5 % refused, 5 % silent.
///
/// Starts, round trips (200 to 1,500 us) and source ports (anywhere in the kernel's range) are random. A result is sent
/// when it is there: a silent one 3 s after its start, among those that started later.
fn results(begin: Instant) -> Vec<Vec<Finished>> {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut finished: Vec<(Instant, Finished)> = (0..BATCH * BATCHES)
        .map(|number| {
            let late = random.random_range(0..START_JITTER_US);
            let started_at = begin + Duration::from_micros(PACE_US * u64::from(number) + late);
            let round_trip = Duration::from_micros(random.random_range(200..1_500));
            let outcome = match kind(number) {
                Kind::Open => Outcome::Connected {
                    handshake: round_trip,
                },
                Kind::Refused => Outcome::Refused { after: round_trip },
                Kind::Silent => Outcome::TimedOut {
                    after: Duration::from_secs(3) + round_trip,
                },
            };
            let silent = kind(number) == Kind::Silent;
            let port = random.random_range(32_768..61_000);
            let attempt = Finished {
                run: RunName::new(RUN),
                probe: number,
                attempt: 0,
                outcome,
                local: Some(SocketAddr::from((SOURCE.1, port))),
                started_at,
                syn_retransmissions: if silent { 2 } else { 0 },
                identification: None,
            };
            (started_at + outcome.elapsed(), attempt)
        })
        .collect();
    finished.sort_by_key(|(ended_at, _)| *ended_at);
    let finished: Vec<Finished> = finished.into_iter().map(|(_, attempt)| attempt).collect();
    let batch = usize::try_from(BATCH).unwrap_or(1);
    finished.chunks(batch).map(<[Finished]>::to_vec).collect()
}

/// How a target behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Open,
    Refused,
    Silent,
}

/// How the target of probe `number` behaves: spread over all of them.
fn kind(number: u32) -> Kind {
    match number * 37 % 100 {
        part if part < PER_CENT => Kind::Refused,
        part if part < 2 * PER_CENT => Kind::Silent,
        _ => Kind::Open,
    }
}

/// Encodes what an agent found, then decodes, validates and compares all of it, on one thread.
///
/// # Errors
/// When what was encoded is not read again, or not every flow is judged as it must be.
pub fn wire() -> Measured<Goals> {
    let begin = Instant::now();
    let epoch = Epoch {
        monotonic: begin,
        calendar: SystemTime::now(),
    };
    let batches: Vec<Vec<u8>> = (1..)
        .zip(results(begin))
        .map(|(sequence, batch)| batch_to_wire(&epoch, sequence, &batch).encode_to_vec())
        .collect();
    let bytes: usize = batches.iter().map(Vec::len).sum();
    let count = f64::from(BATCH * BATCHES);
    print(&format!(
        "{BATCHES} batches of {BATCH} with full evidence, {} % open, {PER_CENT} % refused, {PER_CENT} % silent: {bytes} bytes",
        100 - 2 * PER_CENT
    ));
    let run = RunOfFlows::new()?;
    let start = processor_time()?;
    for bytes in &batches {
        let batch = v1::ObservationBatch::decode(bytes.as_slice())?;
        std::hint::black_box(attempts(&batch)?);
    }
    let read = processor_time()?.saturating_sub(start).as_secs_f64();
    let compared = run.judge(&batches)?.as_secs_f64();
    print(&format!(
        "a core, {} flows: {:.0} results/s through decoding and validation, {:.0} with dispatch and comparison",
        BATCH * BATCHES,
        count / read,
        count / compared
    ));
    let bytes = f64::from(u32::try_from(bytes)?);
    Ok(hold("bytes a result", bytes / count, 8.0)
        .and(hold(
            "microseconds a result, decoded and validated",
            1e6 * read / count,
            1.0,
        ))
        .and(hold(
            "microseconds a result, with comparison",
            1e6 * compared / count,
            1.0,
        )))
}

/// A run whose flows the batches are about, up to the point where results come in.
struct RunOfFlows {
    plan: ProbePlan,
    predictions: Vec<Prediction>,
    roster: Roster,
}

impl RunOfFlows {
    /// Plans and predicts in the lab's default world.
    fn new() -> Measured<Self> {
        let mut described = Described::default();
        for (stem, answer) in World::builtin("default")?.expand()?.plan.snapshot {
            described.insert(stem, answer);
        }
        let snapshot = Snapshot::decode(&described)?.snapshot;
        let agents = [SOURCE, ALLOWED, DENIED].map(|(name, address)| agent(name, address));
        let agents: Vec<RosterAgent> = agents.into_iter().collect::<Measured<_>>()?;
        let flows = (0..BATCH * BATCHES).map(planned);
        let plan = ProbePlan {
            flows: flows.collect::<Measured<_>>()?,
            ..ProbePlan::default()
        };
        Ok(Self {
            predictions: plan
                .flows
                .iter()
                .map(|flow| predict(&snapshot, &flow.flow))
                .collect(),
            plan,
            roster: Roster::new(agents),
        })
    }

    /// Takes batches in as the coordinator does, and compares; returns how long that took.
    ///
    /// What a run does before a result comes, such as drawing nonces, is not part of it.
    fn judge(self, batches: &[Vec<u8>]) -> Measured<Duration> {
        let mut registry = Registry::default();
        let random = SystemRandomness::default();
        let source = AgentName::try_from(SOURCE.0)?;
        let began = tokio::time::Instant::now();
        let terms = Terms {
            run: RUN.to_owned(),
            began,
            slack: Duration::ZERO,
            judge: CertificateJudge::new(None, SystemTime::UNIX_EPOCH),
            likely_silent: BTreeSet::new(),
        };
        let mut dispatch = Dispatch::new(terms, &self.plan, &registry, &random)?;
        dispatch.begin_recorded(began);
        let stability = Stability {
            state: StabilityState::Stable,
            changed: BTreeSet::new(),
            settling: BTreeSet::new(),
            passed: BTreeSet::new(),
            touched: BTreeSet::new(),
        };
        let start = processor_time()?;
        for bytes in batches {
            let batch = v1::ObservationBatch::decode(bytes.as_slice())?;
            let news = News::Attempts {
                agent: source.clone(),
                attempts: attempts(&batch)?,
                run: batch.run,
            };
            dispatch.take(news, began + RECORDED_AFTER, &mut registry);
        }
        let evidence = dispatch.evidence(&registry);
        let findings = compare(
            &self.plan,
            self.predictions,
            &self.roster,
            evidence,
            &stability,
        );
        let took = processor_time()?.saturating_sub(start);
        let allowed = findings
            .iter()
            .filter(|finding| finding.kind == FindingKind::ConfirmedAllow);
        let answered = (0..BATCH * BATCHES).filter(|number| kind(*number) != Kind::Silent);
        if allowed.count() != answered.count() || findings.len() != self.plan.flows.len() {
            return Err("not every answer was judged as such".into());
        }
        Ok(took)
    }
}

/// Processor time of this thread so far: another program on the machine must not count.
fn processor_time() -> Measured<Duration> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(Duration::from(time))
}

/// An agent on a node.
fn agent(name: &str, address: Ipv4Addr) -> Measured<RosterAgent> {
    Ok(RosterAgent {
        name: AgentName::try_from(name)?,
        node: None,
        kind: AgentKind::Node,
        addresses: vec![IpAddr::V4(address)],
        ephemeral_ports: EPHEMERAL_PORTS_DEFAULT,
        stream_address: None,
    })
}

/// The flow of probe `number`: silence where the model denies, answers where it allows.
fn planned(number: u32) -> Measured<PlannedFlow> {
    let (name, address) = match kind(number) {
        Kind::Open | Kind::Refused => ALLOWED,
        Kind::Silent => DENIED,
    };
    let port = u16::try_from(1_024 + number % 32_768)?;
    Ok(PlannedFlow {
        flow: Flow::tcp(SOURCE.1.into(), address.into(), port),
        source: AgentName::try_from(SOURCE.0)?.into(),
        target: Target::Agent(AgentName::try_from(name)?),
        purposes: BTreeSet::new(),
        policy: PolicyFact::NoneSelects,
        translated: None,
        relay: None,
        probes: vec![PlannedProbe {
            id: ProbeId(number),
            kind: ProbeKind::Connect,
            source_ports: SourcePorts::Spread,
            until: Until::Answered,
        }],
    })
}
