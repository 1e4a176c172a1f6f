//! Asks model and kernel the same questions about a random world.

use std::fmt;
use std::time::Duration;

use reachproof_lab::world::WorldError;
use reachproof_lab::{Answer, Lab, LabError, Probe, Traffic};
use reachproof_model::describe::Described;
use reachproof_model::flow::{Flow, InvalidFlow};
use reachproof_model::net::PortRange;
use reachproof_model::plan::judged_ports;
use reachproof_model::predict::{predict, translated_source};
use reachproof_model::prediction::Verdict;
use reachproof_model::snapshot::{DecodeError, Snapshot};
use serde_json::json;
use thiserror::Error;

use crate::random::{RandomFlow, RandomTraffic, RandomWorld};

/// How long the kernel has to answer: a lab loses nothing, so silence shows soon; two SYNs are sent (F.1).
const WAIT: Duration = Duration::from_millis(1500);

/// The comparison could not be made.
#[derive(Debug, Error)]
pub enum AgreementError {
    /// The world does not expand.
    #[error(transparent)]
    World(#[from] WorldError),
    /// The lab could not be built, or a probe not be sent.
    #[error("the lab of a random world failed")]
    Lab(#[from] LabError),
    /// The snapshot could not be decoded.
    #[error("the snapshot of a random world could not be decoded")]
    Decode(#[from] DecodeError),
    /// The flow is none.
    #[error("a random flow is not a flow")]
    Flow(#[from] InvalidFlow),
}

/// What came out, flow by flow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Predicted open, and open.
    pub open: usize,
    /// Predicted closed, and silent.
    pub closed: usize,
    /// Predicted open for some source ports, and each port did as predicted.
    pub partial: usize,
    /// The model does not say, or nobody can choose the source port that it speaks of.
    pub unknown: usize,
    /// Every flow on which the two differ, for people.
    pub differences: Vec<String>,
}

impl Tally {
    /// Flows in all.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.open + self.closed + self.partial + self.unknown + self.differences.len()
    }

    /// Adds another tally to this one.
    pub fn add(&mut self, other: Tally) {
        self.open += other.open;
        self.closed += other.closed;
        self.partial += other.partial;
        self.unknown += other.unknown;
        self.differences.extend(other.differences);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} flows: {} open, {} closed, {} partial, {} unknown, {} different",
            self.flows(),
            self.open,
            self.closed,
            self.partial,
            self.unknown,
            self.differences.len()
        )
    }
}

/// What the kernel should do with one flow.
enum Predicted {
    /// Answer.
    Open,
    /// Stay silent.
    Closed,
    /// Answer these source ports and no other.
    Ports(Vec<PortRange>),
    /// Nobody can tell.
    Unknown,
}

/// Builds the world and asks model and kernel about each of its flows.
///
/// # Errors
/// [`AgreementError`]; a difference is a result.
pub fn compare(random: &RandomWorld) -> Result<Tally, AgreementError> {
    let plan = random.world.expand()?.plan;
    let mut described = Described::default();
    for (stem, answer) in &plan.snapshot {
        described.insert(stem.clone(), answer.clone());
    }
    let snapshot = Snapshot::decode(&described)?.snapshot;
    let lab = Lab::up(&plan)?;
    let results: Vec<Result<Tally, AgreementError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = random
            .flows
            .iter()
            .map(|flow| scope.spawn(|| ask(random.seed, &snapshot, &lab, flow)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    let mut tally = Tally::default();
    for result in results {
        tally.add(result?);
    }
    Ok(tally)
}

fn ask(
    seed: u64,
    snapshot: &Snapshot,
    lab: &Lab,
    random: &RandomFlow,
) -> Result<Tally, AgreementError> {
    let flow = flow_of(random)?;
    let prediction = predict(snapshot, &flow);
    let mut tally = Tally::default();
    let differs =
        |kernel: String| format!("seed {seed}: {random:?}: kernel {kernel}, model {prediction:?}");
    match predicted(snapshot, &flow, &prediction.verdict) {
        Predicted::Unknown => tally.unknown = 1,
        Predicted::Open => match send(lab, random, 0)? {
            answer if answer.is_open() => tally.open = 1,
            answer => tally.differences.push(differs(format!("{answer:?}"))),
        },
        Predicted::Closed => match send(lab, random, 0)? {
            answer if answer.is_open() => tally.differences.push(differs(format!("{answer:?}"))),
            _ => tally.closed = 1,
        },
        Predicted::Ports(open) => {
            let mut wrong = Vec::new();
            for port in judged_ports(flow.ephemeral_ports, &open) {
                let expected = open.iter().any(|range| range.contains(port));
                if send(lab, random, port)?.is_open() != expected {
                    wrong.push(port);
                }
            }
            if wrong.is_empty() {
                tally.partial = 1;
            } else {
                tally
                    .differences
                    .push(differs(format!("differs from ports {wrong:?}")));
            }
        }
    }
    Ok(tally)
}

fn predicted(snapshot: &Snapshot, flow: &Flow, verdict: &Verdict) -> Predicted {
    match verdict {
        Verdict::Allow { .. } | Verdict::Bypass(_) | Verdict::Exempt(_) => Predicted::Open,
        Verdict::Deny(_) => Predicted::Closed,
        Verdict::Unknown(_) => Predicted::Unknown,
        // After SNAT the CNI chooses the source port.
        Verdict::Partial { .. } if translated_source(snapshot, flow).is_some() => {
            Predicted::Unknown
        }
        Verdict::Partial { open_ports, .. } => Predicted::Ports(open_ports.clone()),
    }
}

fn flow_of(random: &RandomFlow) -> Result<Flow, InvalidFlow> {
    let (protocol, port) = match random.traffic {
        RandomTraffic::Tcp(port) => ("tcp", Some(port)),
        RandomTraffic::Udp(port) => ("udp", Some(port)),
        RandomTraffic::Echo if random.source_address.is_ipv4() => ("icmp", None),
        RandomTraffic::Echo => ("icmpv6", None),
    };
    Flow::from_json(&json!({
        "source": random.source_address,
        "destination": random.destination_address,
        "protocol": protocol,
        "port": port,
        "source_kind": if random.from_pod { "pod" } else { "host" },
    }))
}

/// Sends the flow; source port 0 lets the kernel choose.
fn send(lab: &Lab, random: &RandomFlow, source_port: u16) -> Result<Answer, LabError> {
    let traffic = match random.traffic {
        RandomTraffic::Tcp(port) => Traffic::Tcp { port, source_port },
        RandomTraffic::Udp(port) => Traffic::Udp { port, source_port },
        RandomTraffic::Echo => Traffic::Icmp {
            kind: if random.source_address.is_ipv4() {
                8
            } else {
                128
            },
            code: 0,
        },
    };
    let probe = Probe {
        source: random.source_address,
        destination: random.destination_address,
        traffic,
        wait: WAIT,
    };
    lab.probe(&random.source, &probe)
}
