//! Runs in which real API servers connect: worlds with their control plane and agents by manifest, and what is found of dials.

use std::error::Error;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use reachproof_lab::kubernetes::{ControlPlane, Program};
use reachproof_lab::world::World;
use reachproof_model::plan::Depth;
use serde::Deserialize;
use serde_json::Value;

use crate::agents::{AgentProgram, Agents};
use crate::binaries::binary;
use crate::coordinator::{Coordinator, RUN_MAX, verify_command};
use crate::counters::{Counted, Counts};
use crate::deployment::{self, PATIENCE, STEP};
use crate::kubelet::Kubelets;
use crate::stage::{Pods, Stage};

/// What something in here ends with.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// Brings a world up with its control plane, and without the pods at whose places agents run.
///
/// # Errors
/// What the lab or the control plane says.
pub fn stage(world: &World) -> Outcome<Stage> {
    stage_with(world, &[])
}

/// The same with further `flags` of every API server.
///
/// # Errors
/// As [`stage`].
pub fn stage_with(world: &World, flags: &[&str]) -> Outcome<Stage> {
    let mut stage = Stage::up(world)?;
    let program = Program::find().ok_or("the control plane was not built")?;
    stage.start_kubernetes_with(program, Pods::WithoutAgents, flags)?;
    Ok(stage)
}

/// Starts agents by manifest at every place that has a pod.
///
/// # Errors
/// [`crate::error::RunnerError`].
pub fn kubelets<'s>(stage: &'s Stage, plane: &'s ControlPlane) -> Outcome<Kubelets<'s>> {
    deployment::mark_fargate_pods(stage, plane)?;
    let manifests = deployment::print_manifests(stage, &binary("reachproof")?)?;
    let mut kubelets = Kubelets::new(stage, plane, binary("reachproof-agent")?);
    deployment::apply(stage, plane, &manifests, &mut kubelets)?;
    Ok(kubelets)
}

/// Takes the agents in the host network away again, so that nobody stands beside the kubelets of nodes but agents of the runner.
///
/// # Errors
/// What the API server refuses, [`crate::error::RunnerError`].
pub fn without_host_agents(plane: &ControlPlane, kubelets: &mut Kubelets<'_>) -> Outcome<()> {
    let of = ["--namespace", "reachproof-host"];
    plane.run_kubectl(of.iter().chain(&["delete", "daemonset", "--all"]))?;
    deployment::until("agents in the host network ended", || {
        kubelets.turn()?;
        let left = plane.run_kubectl(of.iter().chain(&["get", "pods", "--output", "name"]))?;
        Ok(left.trim().is_empty())
    })?;
    Ok(())
}

/// Does one run, with the rights of whoever `kubeconfig` names, else the administrator's. `meanwhile` has a hand in it again
/// and again.
///
/// # Errors
/// [`crate::error::RunnerError`], and those of `meanwhile`.
pub fn verify(
    stage: &Stage,
    kubelets: &mut Kubelets<'_>,
    kubeconfig: Option<&Path>,
    meanwhile: impl FnMut() -> Outcome<()>,
) -> Outcome<(u8, Value)> {
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    let mut command = verify_command(stage, plane, kubeconfig)?;
    command.env_remove("KUBECONFIG");
    attend(stage, command, kubelets, meanwhile)
}

/// Runs the coordinator that `command` is to its end, with agents of the runner at places that no pod has, and keeps the nodes
/// at work.
///
/// # Errors
/// As [`verify`].
pub fn attend(
    stage: &Stage,
    command: Command,
    kubelets: &mut Kubelets<'_>,
    mut meanwhile: impl FnMut() -> Outcome<()>,
) -> Outcome<(u8, Value)> {
    let count = stage.expanded.agents.len().to_string();
    let (mut coordinator, dial) =
        Coordinator::spawn(stage, command, OsStr::new(&count), PATIENCE, Depth::Mesh)?;
    let agent = binary("reachproof-agent")?;
    let places = kubelets.free_places();
    let _outside = Agents::start(stage, AgentProgram::Agent(&agent), &dial, places)?;
    let end = Instant::now() + RUN_MAX;
    while !coordinator.has_ended()? && Instant::now() < end {
        kubelets.turn()?;
        meanwhile()?;
        std::thread::sleep(STEP);
    }
    Ok(coordinator.finish()?)
}

/// The kubeconfig of the account that `deploy/rbac-reader.yaml` makes.
///
/// # Errors
/// What the API server refuses.
pub fn reader(plane: &ControlPlane) -> Outcome<PathBuf> {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rbac-reader.yaml");
    plane.run_kubectl([OsStr::new("apply"), OsStr::new("-f"), rules.as_os_str()])?;
    let account = "reachproof-coordinator";
    let token = plane.run_kubectl(["--namespace", "reachproof", "create", "token", account])?;
    let front = plane.fronts().first().ok_or("no API server")?;
    Ok(plane.kubeconfig_with_token(front, "reader", token.trim())?)
}

/// A finding of an API server.
#[derive(Debug, Clone)]
pub struct Dialled {
    /// Address of its interface.
    pub server: IpAddr,
    /// Whom it was to reach.
    pub target: IpAddr,
    /// Port.
    pub port: u16,
    /// Kind of the finding.
    pub kind: String,
    /// Its reason; empty without one.
    pub reason: String,
    /// What its answers are worth; empty without any.
    pub strength: String,
    /// What the model says.
    pub prediction: String,
    /// Its attempts.
    pub attempts: Vec<Attempted>,
}

/// An attempt of a dial.
#[derive(Debug, Clone, Deserialize)]
pub struct Attempted {
    /// Source that the listener saw, if it said so.
    pub local: Option<String>,
    /// What it came to.
    pub outcome: String,
    /// Why nothing is known of it, if so.
    pub failure: Option<String>,
}

impl Dialled {
    fn of(finding: &Value) -> Outcome<Option<Self>> {
        let Some(server) = finding.get("source_control_plane") else {
            return Ok(None);
        };
        let text = |value: Option<&Value>| {
            let text = value.and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let port = finding.pointer("/flow/port").and_then(Value::as_u64);
        let attempts = finding.pointer("/observation/attempts").cloned();
        Ok(Some(Self {
            server: text(Some(server)).parse()?,
            target: text(finding.pointer("/flow/destination")).parse()?,
            port: u16::try_from(port.unwrap_or_default())?,
            kind: text(finding.get("kind")),
            reason: text(finding.get("reason")),
            strength: text(finding.get("strength")),
            prediction: text(finding.pointer("/prediction/verdict")),
            attempts: Vec::deserialize(attempts.unwrap_or_default())?,
        }))
    }

    /// Whether it says that model and network disagree.
    #[must_use]
    pub fn is_contradiction(&self) -> bool {
        self.kind.starts_with("contradiction_")
    }

    /// How many of its attempts may have used a connection that was there.
    #[must_use]
    pub fn reused(&self) -> usize {
        let is_one = |attempt: &&Attempted| attempt.failure.as_deref() == Some("reused-connection");
        self.attempts.iter().filter(is_one).count()
    }

    /// How many of its attempts are told to have come to one of `outcomes`.
    fn told(&self, outcomes: &[&str]) -> usize {
        let fits = |attempt: &&Attempted| outcomes.contains(&attempt.outcome.as_str());
        self.attempts.iter().filter(fits).count()
    }
}

/// The findings of API servers.
///
/// # Errors
/// What is no report.
pub fn dialled(report: &Value) -> Outcome<Vec<Dialled>> {
    let findings = report["findings"].as_array().into_iter().flatten();
    let all: Outcome<Vec<Option<Dialled>>> = findings.map(Dialled::of).collect();
    Ok(all?.into_iter().flatten().collect())
}

/// The dials of which the kernel counted something else than was reported, one text each: every attempt is a connection of its
/// own, and those and no others arrive that were answered. One that was told not to count as new may be one, too.
#[must_use]
pub fn miscounted(dials: &[Dialled], counted: &Counted) -> Vec<String> {
    let count = |counts: &Counts, dial: &Dialled| {
        let connection = (dial.server, dial.target, dial.port);
        counts.get(&connection).copied().unwrap_or_default()
    };
    let wrong = dials.iter().filter_map(|dial| {
        let answered = dial.told(&["connected", "refused"]);
        let told = (answered + dial.told(&["timed_out"]), answered);
        let seen = (count(&counted.begun, dial), count(&counted.arrived, dial));
        let text = || format!("{dial:?}: told (begun, arrived) {told:?}, counted {seen:?}");
        let fits = (0..=dial.reused()).any(|more| (told.0 + more, told.1 + more) == seen);
        (!fits).then(text)
    });
    wrong.collect()
}
