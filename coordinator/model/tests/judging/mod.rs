//! A small run, made by hand: agents, flows with their verdicts, and what was seen of them.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "each test file uses its own part, and a test reads its files and fails by panicking"
)]

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reachproof_model::compare::compare;
use reachproof_model::finding::Finding;
use reachproof_model::flow::{EPHEMERAL_PORTS_DEFAULT, Flow};
use reachproof_model::net::PortRange;
use reachproof_model::observation::{
    Accept, AgentName, AgentRecord, Attempt, ClockOffset, Identification, Lateness, Observation,
    Outcome, Presence, ProbeId, RunEvidence,
};
use reachproof_model::plan::{
    AgentKind, PlannedFlow, PlannedProbe, PlannedPulse, PolicyFact, ProbeKind, ProbePlan, Purpose,
    Roster, RosterAgent, SourcePorts, Target, Until,
};
use reachproof_model::prediction::{
    BypassReason, Denial, Gate, Place, Prediction, RouteReason, Step, StepOutcome, UnknownReason,
    Verdict,
};
use reachproof_model::snapshot::EndpointListing;
use reachproof_model::stability::{Stability, StabilityState};

/// Address of the control-plane interface, which has no agent.
pub(crate) const CONTROL_PLANE: &str = "10.0.1.10";

/// Agents of every run, with their addresses.
pub(crate) const AGENTS: [(&str, &str); 3] =
    [("a", "10.0.1.20"), ("b", "10.0.2.20"), ("c", "10.0.2.30")];

/// Reads an address.
pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Makes a name.
pub(crate) fn name(text: &str) -> AgentName {
    AgentName::try_from(text).unwrap()
}

/// Address of an agent.
pub(crate) fn of(agent: &str) -> IpAddr {
    let (_, text) = AGENTS.iter().find(|(known, _)| *known == agent).unwrap();
    address(text)
}

/// The model allows.
pub(crate) fn allow() -> Verdict {
    Verdict::Allow {
        egress: "sgr-1".into(),
        ingress: "sgr-2".into(),
    }
}

/// The model denies.
pub(crate) fn deny() -> Verdict {
    Verdict::Deny(Denial::Route {
        gate: Gate::Route,
        reason: RouteReason::None,
    })
}

/// The model knows that no group filters.
pub(crate) fn bypass() -> Verdict {
    Verdict::Bypass(BypassReason::SameHost)
}

/// The model does not know.
pub(crate) fn unknown() -> Verdict {
    Verdict::Unknown(UnknownReason::Tgw)
}

/// The model lets only source ports 32768 to 40000 work.
pub(crate) fn partial() -> Verdict {
    Verdict::Partial {
        gate: Gate::NaclReturnIn,
        at: "acl-1".into(),
        subnet: "subnet-1".into(),
        open_ports: vec![PortRange::between(32_768, 40_000)],
    }
}

/// The handshake completed.
pub(crate) fn connected() -> Outcome {
    Outcome::Connected {
        handshake: Duration::from_micros(300),
    }
}

/// The target refused.
pub(crate) fn refused() -> Outcome {
    Outcome::Refused {
        after: Duration::from_micros(300),
    }
}

/// Nothing came.
pub(crate) fn silent() -> Outcome {
    Outcome::TimedOut {
        after: Duration::from_secs(3),
    }
}

/// A run that a test changes before it is judged.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) plan: ProbePlan,
    pub(crate) predictions: Vec<Prediction>,
    pub(crate) roster: Roster,
    pub(crate) evidence: RunEvidence,
    pub(crate) stability: Stability,
}

/// Who calls whom all the time: every address is heard.
const PULSES: [(&str, &str); 5] = [
    ("a", "10.0.2.30"),
    ("b", "10.0.1.20"),
    ("c", "10.0.2.20"),
    ("b", CONTROL_PLANE),
    ("c", CONTROL_PLANE),
];

/// Number of the first pulse: beyond those of all probes.
const FIRST_PULSE: u32 = 10_000;

/// Calls of each pulse, 2 s apart.
const CALLS: u32 = 12;

/// A pulse, and that it was answered each time.
fn pulse((number, (from, to)): (u32, (&str, &str))) -> (PlannedPulse, Observation) {
    let target = address(to);
    let kind = if to == CONTROL_PLANE {
        ProbeKind::Certify
    } else {
        ProbeKind::Identify
    };
    let port = if to == CONTROL_PLANE { 443 } else { 7_500 };
    let attempts = (0..CALLS).map(|call| {
        let local = SocketAddr::new(
            of(from),
            36_000 + u16::try_from(50 * number + call).unwrap(),
        );
        Attempt {
            number: call,
            local: Some(local),
            started: Duration::from_secs(2 * u64::from(call)),
            received: Duration::from_secs(2 * u64::from(call)),
            outcome: connected(),
            syn_retransmissions: 0,
            identification: match kind {
                ProbeKind::Certify => Identification::Certified,
                ProbeKind::Identify
                | ProbeKind::Connect
                | ProbeKind::Resolve
                | ProbeKind::Kubelet
                | ProbeKind::KubeletLog => Identification::Verified { observed: local },
            },
        }
    });
    let planned = PlannedPulse {
        id: ProbeId(FIRST_PULSE + number),
        agent: name(from),
        source: of(from),
        target: SocketAddr::new(target, port),
        kind,
        source_ports: None,
        interval: Duration::from_secs(2),
    };
    let attempts = attempts.collect();
    (planned, Observation { attempts })
}

impl Run {
    /// Three agents, all heard all the time, on time and to the end, and no flow.
    pub(crate) fn new() -> Self {
        let agents = AGENTS.map(|(agent, text)| RosterAgent {
            name: name(agent),
            node: None,
            kind: AgentKind::Node,
            addresses: vec![address(text)],
            ephemeral_ports: EPHEMERAL_PORTS_DEFAULT,
            stream_address: None,
        });
        let records = AGENTS.map(|(agent, _)| {
            let record = AgentRecord {
                presence: Presence::HeardToTheEnd,
                clock: Some(ClockOffset {
                    offset_us: 0,
                    uncertainty: Duration::from_micros(200),
                }),
                lateness: vec![Lateness {
                    from: Duration::ZERO,
                    to: Duration::from_secs(60),
                    late_max: Duration::from_millis(3),
                }],
                accept_queue_drops: Some(0),
                ..AgentRecord::default()
            };
            (name(agent), record)
        });
        let (pulses, answers): (Vec<_>, Vec<_>) = (0..).zip(PULSES).map(pulse).unzip();
        let listens = AGENTS.map(|(agent, _)| (name(agent), BTreeSet::from([7_500])));
        Self {
            plan: ProbePlan {
                pulses,
                listens: listens.into_iter().collect(),
                ..ProbePlan::default()
            },
            predictions: Vec::new(),
            roster: Roster::new(agents),
            evidence: RunEvidence {
                observations: Vec::new(),
                records: records.into_iter().collect(),
                pulses: answers,
            },
            stability: Stability {
                state: StabilityState::Stable,
                changed: BTreeSet::new(),
                settling: BTreeSet::new(),
                passed: BTreeSet::new(),
                touched: BTreeSet::new(),
            },
        }
    }

    /// Adds a flow with one probe whose attempts ended like this, 5.1 s apart, one from each third of the source ports.
    ///
    /// The agents have opened 7500 and no other port: there a connection is one with its proof, a refusal is not.
    pub(crate) fn flow(
        mut self,
        from: &str,
        to: (IpAddr, u16),
        verdict: Verdict,
        seen: &[Outcome],
    ) -> Self {
        let kind = match to {
            (target, 443) if target == address(CONTROL_PLANE) => ProbeKind::Certify,
            (target, _) if target == address(CONTROL_PLANE) => ProbeKind::Connect,
            _ => ProbeKind::Identify,
        };
        self.add(
            from,
            to,
            verdict,
            vec![(kind, SourcePorts::Spread, seen.to_vec())],
        );
        self
    }

    /// Adds a flow that is judged by its source ports, each with how its attempts ended.
    pub(crate) fn ports(
        mut self,
        from: &str,
        to: (IpAddr, u16),
        ports: &[(u16, Vec<Outcome>)],
    ) -> Self {
        let probes = ports
            .iter()
            .map(|(port, seen)| (ProbeKind::Connect, SourcePorts::Fixed(*port), seen.clone()))
            .collect();
        self.add(from, to, partial(), probes);
        self
    }

    fn add(
        &mut self,
        from: &str,
        (target, port): (IpAddr, u16),
        verdict: Verdict,
        probes: Vec<(ProbeKind, SourcePorts, Vec<Outcome>)>,
    ) {
        let flow = Flow::tcp(of(from), target, port);
        let mut planned = Vec::new();
        for (kind, source_ports, seen) in probes {
            let id = ProbeId(u32::try_from(self.evidence.observations.len()).unwrap());
            planned.push(PlannedProbe {
                id,
                kind,
                source_ports,
                until: Until::Answered,
            });
            let attempts = (0..).zip(&seen).map(|(number, outcome)| {
                let local_port = match source_ports {
                    SourcePorts::Fixed(port) => port,
                    SourcePorts::Spread | SourcePorts::Unchosen => {
                        let third = [33_000, 43_000, 52_000][usize::try_from(number % 3).unwrap()];
                        third + u16::try_from(10 * id.0 + number).unwrap()
                    }
                };
                let local = SocketAddr::new(flow.source, local_port);
                let proof = match (kind, port, outcome) {
                    (ProbeKind::Identify, 7_500, Outcome::Connected { .. }) => {
                        Identification::Verified { observed: local }
                    }
                    (ProbeKind::Certify, _, Outcome::Connected { .. }) => Identification::Certified,
                    (_, _, _) => Identification::NotAsked,
                };
                let started = Duration::from_millis(100 + 5_100 * u64::from(number));
                Attempt {
                    number,
                    local: Some(local),
                    started,
                    received: started + Duration::from_secs(3),
                    outcome: *outcome,
                    syn_retransmissions: 0,
                    identification: proof,
                }
            });
            let observation = Observation {
                attempts: attempts.collect(),
            };
            self.evidence.observations.push(observation);
        }
        let target = match self.roster.holder(target) {
            Some(agent) => Target::Agent(agent.name.clone()),
            None => Target::ControlPlane(EndpointListing::Unsaid),
        };
        self.predictions.push(Prediction {
            flow: flow.clone(),
            verdict,
            steps: vec![Step {
                gate: Gate::SgEgress,
                place: Place::Flow,
                outcome: StepOutcome::Pass { rule: None },
                detail: String::new(),
            }],
        });
        self.plan.flows.push(PlannedFlow {
            flow,
            source: name(from).into(),
            target,
            purposes: BTreeSet::from([Purpose::Peer]),
            policy: PolicyFact::NoneSelects,
            translated: None,
            relay: None,
            probes: planned,
        });
    }

    /// The record of an agent.
    pub(crate) fn record(&mut self, agent: &str) -> &mut AgentRecord {
        self.evidence.records.get_mut(&name(agent)).unwrap()
    }

    /// Attempt `number` of the first probe of flow `index`.
    pub(crate) fn attempt(&mut self, index: usize, number: usize) -> &mut Attempt {
        let id = self.plan.flows[index].probes[0].id;
        &mut self.evidence.observations[id.index()].attempts[number]
    }

    /// Leaves out what `source` was answered to its pulses at these seconds, and what `target` answered.
    pub(crate) fn unanswered(&mut self, ends: &[IpAddr], seconds: std::ops::Range<u64>) {
        for (planned, seen) in self.plan.pulses.iter().zip(&mut self.evidence.pulses) {
            if ends.contains(&planned.source) || ends.contains(&planned.target.ip()) {
                seen.attempts
                    .retain(|attempt| !seconds.contains(&attempt.started.as_secs()));
            }
        }
    }

    /// Lets the agent at `to` report a connection from `peer`.
    pub(crate) fn accepted(&mut self, to: &str, port: u16, peer: SocketAddr) {
        let local = SocketAddr::new(of(to), port);
        self.record(to).accepts.insert(Accept { local, peer });
    }

    /// Judges every flow.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        compare(
            &self.plan,
            self.predictions.clone(),
            &self.roster,
            self.evidence.clone(),
            &self.stability,
        )
    }

    /// Judges the first flow.
    pub(crate) fn first(&self) -> Finding {
        self.findings().remove(0)
    }
}

/// A silent deny from `a` to `b` on 7500, with every condition met.
pub(crate) fn proven_deny() -> Run {
    Run::new().flow("a", (of("b"), 7500), deny(), &[silent(); 3])
}
