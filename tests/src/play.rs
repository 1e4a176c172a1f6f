//! A run through the real binaries in which somebody has a hand: in the firewall of a host, on the wire, or on the clock.

use std::error::Error;
use std::fmt;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use reachproof_lab::world::World;
use reachproof_model::plan::Depth;
use serde::Deserialize;
use serde_json::Value;

use crate::agents::{AgentProgram, Agents, Dial};
use crate::binaries::binary;
use crate::coordinator::Coordinator;
use crate::stage::Stage;

/// Longest wait for agents where all of them come.
pub const WAIT: Duration = Duration::from_secs(60);

/// A run on its way. What is dropped first ends first.
#[derive(Debug)]
pub struct Play {
    /// The agents that were started.
    pub agents: Agents,
    /// What agents need to dial.
    pub dial: Dial,
    /// `reachproof verify`.
    pub coordinator: Coordinator,
    /// The network.
    pub stage: Stage,
}

/// A run that is over; its network is still there.
#[derive(Debug)]
pub struct Ended {
    /// The network.
    pub stage: Stage,
    /// Exit code of `reachproof verify`.
    pub exit: u8,
    /// Its report.
    pub report: Value,
    /// The findings of the report.
    pub findings: Vec<Seen>,
}

/// A finding, as far as these tests read it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Seen {
    /// Kind of the finding.
    pub kind: String,
    /// Its reason, if it has one.
    #[serde(default)]
    pub reason: Option<String>,
    /// Its flow.
    pub flow: SeenFlow,
    /// What the model says of it.
    #[serde(default)]
    pub prediction: Option<SeenPrediction>,
}

/// The prediction of a finding.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SeenPrediction {
    /// The verdict's word.
    pub verdict: String,
}

/// The flow of a finding.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SeenFlow {
    /// Who calls.
    pub source: IpAddr,
    /// Who is called.
    pub destination: IpAddr,
    /// Protocol, as the report spells it.
    pub protocol: Value,
    /// Port; absent for protocols without ports.
    pub port: Option<u16>,
}

impl Seen {
    /// Whether it says that model and network agree.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.kind.starts_with("confirmed_")
    }

    /// Whether the model allows its flow.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        let prediction = self.prediction.as_ref();
        prediction.is_some_and(|prediction| prediction.verdict == "allow")
    }

    /// Whether it says that they do not.
    #[must_use]
    pub fn is_contradiction(&self) -> bool {
        self.kind.starts_with("contradiction_")
    }

    /// Whether it is inconclusive for one of `reasons`.
    #[must_use]
    pub fn is_inconclusive(&self, reasons: &[&str]) -> bool {
        let reason = self.reason.as_deref().unwrap_or_default();
        self.kind == "inconclusive" && reasons.contains(&reason)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flow = &self.flow;
        let port = flow.port.map(|port| format!(":{port}")).unwrap_or_default();
        write!(
            formatter,
            "{} -> {}{port} {}({})",
            flow.source,
            flow.destination,
            self.kind,
            self.reason.as_deref().unwrap_or_default()
        )
    }
}

impl Play {
    /// Brings `world` up and starts the coordinator, which waits for all of the world's agents, and tries every pair.
    ///
    /// # Errors
    /// What the stage or the coordinator says.
    pub fn open(world: &World, wait: Duration) -> Result<Self, Box<dyn Error>> {
        let stage = Stage::up(world)?;
        let program = binary("reachproof")?;
        let (coordinator, dial) = Coordinator::start_with(&stage, &program, wait, Depth::Mesh)?;
        Ok(Self {
            agents: Agents::default(),
            dial,
            coordinator,
            stage,
        })
    }

    /// Starts an agent at each place of the world, with further `arguments`.
    ///
    /// # Errors
    /// [`crate::error::RunnerError`].
    pub fn start_agents(&mut self, arguments: &[&str]) -> Result<(), Box<dyn Error>> {
        self.agents = Agents::with_arguments(arguments);
        let program = binary("reachproof-agent")?;
        for place in &self.stage.expanded.agents {
            if place.presence == reachproof_lab::world::AgentPresence::Running {
                let program = AgentProgram::Agent(&program);
                self.agents.add(&self.stage, program, &self.dial, place)?;
            }
        }
        Ok(())
    }

    /// Waits for the end of the run, and ends the agents.
    ///
    /// # Errors
    /// [`crate::error::RunnerError`] if there is no report.
    pub fn end(self) -> Result<Ended, Box<dyn Error>> {
        let (exit, report) = self.coordinator.finish()?;
        drop(self.agents);
        let findings = report.get("findings").cloned().unwrap_or_default();
        Ok(Ended {
            stage: self.stage,
            exit,
            findings: Vec::deserialize(findings)?,
            report,
        })
    }
}

impl Ended {
    /// The findings of flows from one of `sources` to one of `targets` (endpoints; none: any) on one of `ports`, without
    /// those that never leave a host.
    ///
    /// # Errors
    /// Names an endpoint that the world does not have.
    pub fn between(
        &self,
        sources: &[&str],
        targets: &[&str],
        ports: &[u16],
    ) -> Result<Vec<&Seen>, Box<dyn Error>> {
        let addresses = |names: &[&str]| -> Result<Vec<IpAddr>, Box<dyn Error>> {
            let mut all = Vec::new();
            for name in names {
                all.extend(addresses_of(&self.stage, name)?);
            }
            Ok(all)
        };
        let (sources, targets) = (addresses(sources)?, addresses(targets)?);
        let fits = |list: &[IpAddr], address| list.is_empty() || list.contains(&address);
        let found = self.findings.iter().filter(|finding| {
            fits(&sources, finding.flow.source)
                && fits(&targets, finding.flow.destination)
                && finding.flow.protocol == "tcp"
                && finding.flow.port.is_some_and(|port| ports.contains(&port))
                && !["bypass", "not_observed"].contains(&finding.kind.as_str())
                && finding.reason.as_deref() != Some("bypass-silent")
        });
        Ok(found.collect())
    }

    /// Names of the expectations that are in `state`.
    #[must_use]
    pub fn expectations(&self, state: &str) -> Vec<&str> {
        let all = self.report.get("expectations").and_then(Value::as_array);
        let word = |one: &Value| one.get("state").and_then(Value::as_str) == Some(state);
        all.into_iter()
            .flatten()
            .filter(|one| word(one))
            .filter_map(|one| one.get("name")?.as_str())
            .collect()
    }

    /// How many findings there are of each kind and reason, for people.
    #[must_use]
    pub fn summary(&self) -> String {
        summary(&self.findings)
    }
}

/// How many of `findings` there are of each kind and reason, for people.
#[must_use]
pub fn summary<'f>(findings: impl IntoIterator<Item = &'f Seen>) -> String {
    let mut counts = std::collections::BTreeMap::new();
    for finding in findings {
        let reason = finding.reason.as_deref();
        let words = reason.map_or_else(
            || finding.kind.clone(),
            |reason| format!("{}({reason})", finding.kind),
        );
        *counts.entry(words).or_insert(0_usize) += 1;
    }
    let parts = counts
        .iter()
        .map(|(words, count)| format!("{count} {words}"));
    parts.collect::<Vec<_>>().join(", ")
}

/// The addresses of an endpoint.
///
/// # Errors
/// Names it if there is none.
pub fn addresses_of(stage: &Stage, name: &str) -> Result<Vec<IpAddr>, Box<dyn Error>> {
    let endpoints = stage.lab.endpoints();
    let found = endpoints.iter().find(|endpoint| endpoint.name == name);
    let found = found.ok_or_else(|| format!("the world has no endpoint {name}"))?;
    Ok(found.addresses.clone())
}

/// Gives the firewall of a host, or of a pod, `rules`.
///
/// # Errors
/// What `nft` refuses.
pub fn firewall(stage: &Stage, endpoint: &str, rules: &str) -> Result<(), Box<dyn Error>> {
    Ok(stage.lab.within(endpoint, || nft(rules))??)
}

/// Gives the wires of an endpoint `rules`.
///
/// # Errors
/// What `nft` refuses; an endpoint that the world does not have.
pub fn wire(stage: &Stage, endpoint: &str, rules: &str) -> Result<(), Box<dyn Error>> {
    let addresses = addresses_of(stage, endpoint)?;
    let address = addresses.first().ok_or("an endpoint has no address")?;
    Ok(stage.lab.within_wire(*address, || nft(rules))??)
}

/// Rules of a wire that passes nothing on: the host has lost its link.
pub const LINK_DOWN: &str = "add table inet down
add chain inet down forward { type filter hook forward priority -20; policy drop; }";

/// Rules that give the link back.
pub const LINK_UP: &str = "delete table inet down";

/// Gives `nft` some lines in the namespace that the thread is in.
///
/// # Errors
/// What `nft` says.
pub fn nft(rules: &str) -> Result<(), String> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run nft: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // If it ends without reading, its last words say more than a broken pipe.
        let _ignored = stdin.write_all(format!("{rules}\n").as_bytes());
    }
    let ended = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    if ended.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&ended.stderr).into_owned())
}
