//! How fast a plan goes out, with agents that do at once what they are given and a clock that the test turns.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use fake::hello;
use reachproof_model::observation::{AgentName, Attempt, Identification, Outcome};
use reachproof_model::plan::{
    ATTEMPT_DEADLINE, ATTEMPTS, AgentKind, Depth, FLOWS_PER_RUN_MAX, FileState, ProbeId, ProbeKind,
    ProbePlan, Roster, Scope, Until, plan,
};
use reachproof_model::snapshot::Snapshot;
use reachproof_proto::net::address_from_wire;
use reachproof_proto::v1;
use reachproof_proto::v1::agent_message::Body;
use reachproof_proto::v1::coordinator_message::Body as Order;
use reachproof_verify::certificate::CertificateJudge;
use reachproof_verify::dispatch::{Dispatch, TARGET_ATTEMPTS_PER_SECOND, TURN, Terms};
use reachproof_verify::door::Seat;
use reachproof_verify::registry::{Caller, Member, News, Registry, StreamId};
use reachproof_verify::source::read;
use reachproof_verify::wire::observations::{ReportedAttempt, ReportedIdentity};
use reachproof_verify::{Identity, IdentitySource, SystemRandomness};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;

mod fake;

/// Attempts a second of an agent by default (security.md, "Limits of probing").
const RATE: u32 = 20;

/// How late an answer is known to the coordinator.
const REPORTED_AFTER: Duration = Duration::from_millis(300);

/// Whether targets answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Targets {
    Answer,
    AreSilent,
}

/// What an agent gets.
type Orders = mpsc::Receiver<Result<v1::CoordinatorMessage, Status>>;

/// An agent that starts every probe at once, and what it knows.
struct Fake {
    orders: Orders,
    generation: u32,
}

/// A fleet, the run that it takes part in, and every attempt that was started.
struct Stage<'p> {
    registry: Registry,
    fakes: BTreeMap<AgentName, Fake>,
    dispatch: Dispatch<'p>,
    targets: Targets,
    now: Instant,
    began: Instant,
    streams: u64,
    /// Start, agent, target.
    starts: Vec<(Duration, AgentName, IpAddr)>,
    /// Attempts that will start by themselves, and reports on their way.
    later: Vec<(Instant, Event)>,
}

/// What an agent was given: attempts of one probe.
#[derive(Debug, Clone, Copy)]
struct Given {
    probe: ProbeId,
    target: IpAddr,
    first: u32,
    interval: Duration,
    every: bool,
}

/// Something that happens at an agent.
#[derive(Debug, Clone)]
enum Event {
    Start(AgentName, Given, u32),
    Report(AgentName, ProbeId, u32),
}

/// Name of the agent with a number.
fn name(number: u32) -> String {
    format!("agent-{number}")
}

/// A registry with so many agents, on addresses outside every snapshot.
fn fleet(agents: u32) -> (Registry, BTreeMap<AgentName, Fake>) {
    let (mut registry, mut fakes) = (Registry::default(), BTreeMap::new());
    for number in 0..agents {
        let address = IpAddr::from(Ipv4Addr::from(0xac10_0001 + number));
        attach(
            &mut registry,
            &mut fakes,
            (u64::from(number), 1),
            (&name(number), address),
        );
    }
    (registry, fakes)
}

/// Attaches an agent over a stream, as a process.
fn attach(
    registry: &mut Registry,
    fakes: &mut BTreeMap<AgentName, Fake>,
    (stream, boot): (u64, u64),
    (name, address): (&str, IpAddr),
) -> News {
    let (send, orders) = mpsc::channel(64);
    let caller = Caller {
        identity: Identity {
            name: name.try_into().unwrap(),
            kind: AgentKind::Node,
            addresses: vec![address],
            node: None,
            source: IdentitySource::Token { issued_unix_s: 0 },
        },
        outgoing: send,
        remote: None,
        seat: Seat::default(),
    };
    registry.opened(StreamId(stream), caller);
    let mut greeting = hello(name, address, boot);
    greeting.limits.as_mut().unwrap().attempts_per_second_max = RATE;
    let message = v1::AgentMessage {
        body: Some(Body::Hello(greeting)),
    };
    let letter = registry.message(StreamId(stream), message, Instant::now());
    let news = letter.map(|letter| letter.news);
    let agent = AgentName::try_from(name).unwrap();
    let generation = match news {
        Some(News::Resumed(_)) => fakes[&agent].generation,
        _ => 0,
    };
    fakes.insert(agent, Fake { orders, generation });
    news.unwrap()
}

/// Every agent connects to both control-plane interfaces of A01, and nobody calls anybody.
fn required(registry: &Registry) -> ProbePlan {
    let mut plan = certified(registry);
    for probe in plan.flows.iter_mut().flat_map(|flow| &mut flow.probes) {
        probe.kind = ProbeKind::Connect;
        probe.until = Until::Answered;
    }
    plan
}

/// Every agent asks both control-plane interfaces of A01 for a TLS session.
fn certified(registry: &Registry) -> ProbePlan {
    let path = format!(
        "{}/../../tests/vectors/A01.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let described = read(&PathBuf::from(path)).unwrap();
    let snapshot = Snapshot::decode(&described).unwrap().snapshot;
    let roster = Roster::new(registry.members().values().map(Member::roster_agent));
    let scope = Scope {
        network_policies: FileState::Read,
        flows_max: FLOWS_PER_RUN_MAX,
        depth: Depth::Required,
        seed: 1,
    };
    let mut plan = plan(&snapshot, &roster, &scope);
    plan.pulses.clear();
    for probe in plan.flows.iter_mut().flat_map(|flow| &mut flow.probes) {
        probe.kind = ProbeKind::Certify;
    }
    plan
}

impl<'p> Stage<'p> {
    fn new(
        (registry, fakes): (Registry, BTreeMap<AgentName, Fake>),
        plan: &'p ProbePlan,
        targets: Targets,
    ) -> Self {
        let random = SystemRandomness::default();
        let now = Instant::now();
        let terms = Terms {
            run: "run".to_owned(),
            began: now,
            slack: Duration::from_secs(45),
            judge: CertificateJudge::new(None, SystemTime::now()),
            likely_silent: BTreeSet::new(),
        };
        let mut dispatch = Dispatch::new(terms, plan, &registry, &random).unwrap();
        dispatch.begin();
        Self {
            streams: u64::try_from(fakes.len()).unwrap(),
            registry,
            fakes,
            dispatch,
            targets,
            now,
            began: now,
            starts: Vec::new(),
            later: Vec::new(),
        }
    }

    /// Lets a turn go by.
    fn turn(&mut self) {
        self.dispatch.turn(self.now, &mut self.registry);
        for (agent, given) in self.orders() {
            self.happen(self.now, Event::Start(agent, given, given.first));
        }
        self.now += TURN;
        let (due, later) = std::mem::take(&mut self.later)
            .into_iter()
            .partition(|(at, _)| *at < self.now);
        self.later = later;
        let mut due: Vec<(Instant, Event)> = due;
        due.sort_by_key(|(at, _)| *at);
        for (at, event) in due {
            self.happen(at, event);
        }
    }

    /// What the agents were given and had not.
    fn orders(&mut self) -> Vec<(AgentName, Given)> {
        let mut given = Vec::new();
        for (agent, fake) in &mut self.fakes {
            while let Ok(Ok(message)) = fake.orders.try_recv() {
                let Some(Order::Assignment(assignment)) = message.body else {
                    continue;
                };
                if assignment.generation <= fake.generation {
                    continue;
                }
                fake.generation = assignment.generation;
                given.extend(assignment.probes.iter().map(|probe| {
                    let given = Given {
                        probe: ProbeId(probe.id),
                        target: address_from_wire(&probe.target).unwrap(),
                        first: probe.first_attempt,
                        interval: Duration::from_millis(probe.interval_ms.into()),
                        every: probe.every,
                    };
                    (agent.clone(), given)
                }));
            }
        }
        given
    }

    /// Does what happens, and thinks of what follows from it.
    fn happen(&mut self, at: Instant, event: Event) {
        match event {
            Event::Start(agent, given, number) => {
                let start = (at - self.began, agent.clone(), given.target);
                self.starts.push(start);
                let report = Event::Report(agent.clone(), given.probe, number);
                let ends = match self.targets {
                    Targets::Answer => at + REPORTED_AFTER,
                    Targets::AreSilent => at + ATTEMPT_DEADLINE,
                };
                self.later.push((ends, report));
                let goes_on = given.every || self.targets == Targets::AreSilent;
                if goes_on && number + 1 < given.first + ATTEMPTS {
                    let next = Event::Start(agent, given, number + 1);
                    self.later.push((at + given.interval, next));
                }
            }
            Event::Report(agent, probe, number) => {
                let after = REPORTED_AFTER;
                let attempt = Attempt {
                    number,
                    local: None,
                    started: at - self.began,
                    received: Duration::ZERO,
                    outcome: match self.targets {
                        Targets::Answer => Outcome::Refused { after },
                        Targets::AreSilent => Outcome::TimedOut { after },
                    },
                    syn_retransmissions: 0,
                    identification: Identification::NotAsked,
                };
                let reported = ReportedAttempt {
                    probe,
                    attempt,
                    identity: ReportedIdentity::NotAsked,
                };
                let news = News::Attempts {
                    agent,
                    run: "run".to_owned(),
                    attempts: vec![reported],
                };
                self.dispatch.take(news, at, &mut self.registry);
            }
        }
    }

    /// Goes on until every probe has ended, and returns how long it took.
    fn finish(&mut self) -> Duration {
        let most = self.began + self.dispatch.silence() + Duration::from_secs(60);
        while self.dispatch.finished() < self.dispatch.total() {
            assert!(self.now < most, "the run does not end");
            self.turn();
        }
        self.now - self.began
    }

    /// Cuts the stream of an agent; what is on its way to it is lost.
    fn cut(&mut self, number: u32) {
        let agent = AgentName::try_from(name(number).as_str()).unwrap();
        let stream = StreamId(u64::from(number));
        self.fakes.get_mut(&agent).unwrap().orders = mpsc::channel(1).1;
        self.registry.closed(stream, None);
    }

    /// Lets an agent dial in again, as the process that it was or as another.
    fn come_back(&mut self, number: u32, boot: u64) {
        let address = IpAddr::from(Ipv4Addr::from(0xac10_0001 + number));
        self.streams += 1;
        let stream = (self.streams, boot);
        let news = attach(
            &mut self.registry,
            &mut self.fakes,
            stream,
            (&name(number), address),
        );
        self.dispatch.take(news, self.now, &mut self.registry);
    }
}

/// Most events of one kind within any second.
fn most_per_second<K: Ord + Clone>(events: impl Iterator<Item = (Duration, K)>) -> usize {
    let mut by_kind: BTreeMap<K, Vec<Duration>> = BTreeMap::new();
    for (at, kind) in events {
        by_kind.entry(kind).or_default().push(at);
    }
    let mut most = 0;
    for times in by_kind.values_mut() {
        times.sort();
        for (place, first) in times.iter().enumerate() {
            let within = times[place..].iter();
            let within = within.take_while(|at| **at < *first + Duration::from_secs(1));
            most = most.max(within.count());
        }
    }
    most
}

/// The highest rates of a stage: at a target over all agents, and of an agent.
fn rates(stage: &Stage<'_>) -> (usize, usize) {
    let starts = || stage.starts.iter().cloned();
    (
        most_per_second(starts().map(|(at, _, target)| (at, target))),
        most_per_second(starts().map(|(at, agent, _)| (at, agent))),
    )
}

/// The bound of a target, as a count.
fn bound() -> usize {
    usize::try_from(TARGET_ATTEMPTS_PER_SECOND).unwrap()
}

#[test]
fn a_target_that_answers_gets_exactly_its_bound_from_all_agents_together() {
    let fleet = fleet(300);
    let plan = required(&fleet.0);
    let mut stage = Stage::new(fleet, &plan, Targets::Answer);
    let took = stage.finish();
    assert_eq!(stage.starts.len(), 600);
    assert_eq!(rates(&stage).0, bound());
    // 300 agents at 50 a second.
    assert!(took >= Duration::from_secs(6), "{took:?}");
    assert!(took <= Duration::from_secs(7), "{took:?}");
}

#[test]
fn repeated_attempts_count_against_the_bound_too() {
    let fleet = fleet(400);
    let plan = required(&fleet.0);
    let mut stage = Stage::new(fleet, &plan, Targets::AreSilent);
    let took = stage.finish();
    assert_eq!(stage.starts.len(), 800 * 6, "two stages each");
    let (target, agent) = rates(&stage);
    assert!(target <= bound(), "{target} attempts a second");
    assert!(agent <= usize::try_from(RATE).unwrap());
    assert!(took <= stage.dispatch.silence(), "{took:?}");
    // 2,400 attempts at 50 a second.
    assert!(took >= Duration::from_secs(48), "{took:?}");
}

#[test]
fn a_small_fleet_is_not_held_up() {
    let fleet = fleet(5);
    let plan = required(&fleet.0);
    let mut stage = Stage::new(fleet, &plan, Targets::Answer);
    stage.turn();
    assert_eq!(stage.starts.len(), 10);
}

#[test]
fn an_agent_that_is_away_gets_its_probes_when_it_is_back_and_none_twice() {
    let fleet = fleet(100);
    let plan = required(&fleet.0);
    let mut stage = Stage::new(fleet, &plan, Targets::Answer);
    for number in 0..60 {
        stage.cut(number);
    }
    for _ in 0..30 {
        stage.turn();
    }
    assert_eq!(stage.starts.len(), 80, "those who are there go on");
    for number in 0..60 {
        stage.come_back(number, 1);
    }
    stage.finish();
    let tried: BTreeSet<_> = stage
        .starts
        .iter()
        .map(|(_, agent, to)| (agent, to))
        .collect();
    assert_eq!((stage.starts.len(), tried.len()), (200, 200));
    assert!(rates(&stage).0 <= bound());
}

#[test]
fn what_a_cut_stream_swallowed_is_given_again() {
    let fleet = fleet(20);
    let plan = required(&fleet.0);
    let mut stage = Stage::new(fleet, &plan, Targets::Answer);
    // The coordinator does not know yet that these streams are dead.
    for number in 0..20 {
        let agent = AgentName::try_from(name(number).as_str()).unwrap();
        let dead = mpsc::channel(64);
        stage.fakes.get_mut(&agent).unwrap().orders.close();
        stage.fakes.get_mut(&agent).unwrap().orders = dead.1;
    }
    for _ in 0..5 {
        stage.turn();
    }
    assert_eq!(stage.starts, []);
    for number in 0..20 {
        stage.come_back(number, 1);
    }
    stage.finish();
    assert_eq!(stage.starts.len(), 40);
}

#[test]
fn an_agent_that_starts_anew_tries_everything_unfinished_again_within_the_bound() {
    let fleet = fleet(100);
    let plan = required(&fleet.0);
    let mut stage = Stage::new(fleet, &plan, Targets::AreSilent);
    for _ in 0..20 {
        stage.turn();
    }
    let first = stage.starts.len();
    for number in 0..100 {
        stage.cut(number);
    }
    stage.later.clear();
    for number in 0..100 {
        stage.come_back(number, 2);
    }
    stage.starts.clear();
    stage.finish();
    assert!(first > 0);
    assert_eq!(stage.starts.len(), 200 * 6);
    let target = rates(&stage).0;
    assert!(target <= bound(), "{target} attempts a second");
}

#[test]
fn a_control_plane_interface_gets_two_handshakes_a_second_from_all_agents_together() {
    for (until, attempts, seconds) in [(Until::Answered, 1, 7), (Until::Last, 3, 28)] {
        let fleet = fleet(12);
        let mut plan = certified(&fleet.0);
        for probe in plan.flows.iter_mut().flat_map(|flow| &mut flow.probes) {
            probe.until = until;
        }
        let mut stage = Stage::new(fleet, &plan, Targets::Answer);
        let took = stage.finish();
        assert_eq!(stage.starts.len(), 24 * attempts, "{until:?}");
        assert_eq!(rates(&stage).0, 2, "{until:?}");
        assert!(took <= Duration::from_secs(seconds), "{took:?}");
        assert!(took <= stage.dispatch.silence(), "{took:?}");
    }
}
