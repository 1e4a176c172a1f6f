//! Agents that come by manifest: printed by `reachproof manifests`, applied, scheduled, and started by nodes.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use reachproof_lab::EndpointKind;
use reachproof_lab::kubernetes::ControlPlane;
use reachproof_lab::world::{AgentPlace, AgentPresence};
use serde_json::json;

use crate::error::RunnerError;
use crate::fargate;
use crate::kubelet::Kubelets;
use crate::stage::Stage;

/// Longest wait for anything that controllers and nodes do.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Time between two turns of the nodes.
pub const STEP: Duration = Duration::from_millis(200);

/// Namespace of the worlds' Fargate profile.
pub(crate) const FARGATE_NAMESPACE: &str = "fargate";

/// Lets the API server mark Fargate pods as EKS's webhook does, and waits until it does.
///
/// # Errors
/// [`RunnerError::Kubernetes`], [`RunnerError::NotInTime`].
pub fn mark_fargate_pods(stage: &Stage, plane: &ControlPlane) -> Result<(), RunnerError> {
    let objects = fargate::admission(&stage.expanded.plan.snapshot);
    if objects.is_empty() {
        return Ok(());
    }
    plane.run_kubectl(["create", "namespace", FARGATE_NAMESPACE])?;
    for object in objects {
        plane.send_kubectl(["create", "--filename", "-"], &object)?;
    }
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "first", "namespace": FARGATE_NAMESPACE},
        "spec": {"containers": [{"name": "first", "image": "none"}]},
    });
    let scheduler = "jsonpath={.spec.schedulerName}";
    let ask = [
        "create",
        "--dry-run=server",
        "--filename",
        "-",
        "--output",
        scheduler,
    ];
    until("pods of the Fargate profile are marked", || {
        // Refused until the account of the namespace is there.
        let answer = plane.send_kubectl(ask, &pod);
        Ok(answer.is_ok_and(|answer| answer == fargate::SCHEDULER))
    })
}

/// Writes what `reachproof manifests` prints for the world into a file, with a Fargate pod for each of the world's.
///
/// # Errors
/// [`RunnerError::Manifests`] with what `program` said if it failed.
pub fn print_manifests(stage: &Stage, program: &Path) -> Result<PathBuf, RunnerError> {
    let failed = |said: String| RunnerError::Manifests { said };
    let places = stage.expanded.agents.iter();
    let fargate = places.filter(|place| place.kind == EndpointKind::Fargate);
    let mut command = Command::new(program);
    command
        .arg("manifests")
        .arg("--snapshot")
        .arg(stage.snapshot())
        .args(["--image", "registry.example/reachproof-agent:1"])
        .args(["--coordinator", &stage.control_address()?.to_string()])
        .arg("--credentials")
        .arg(stage.credentials())
        .args(["--host-network", "--tokens", "reviewed"]);
    for place in fargate {
        let pods = format!("{FARGATE_NAMESPACE}/place={}", place.endpoint);
        command.args(["--fargate", &pods]);
    }
    let output = command
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(failed(said.trim().to_owned()));
    }
    let path = stage.log("manifests");
    fs::write(&path, output.stdout).map_err(|source| RunnerError::Write {
        path: path.clone(),
        source,
    })?;
    Ok(path)
}

/// Applies manifests and keeps the nodes at work until every pod for which the world has a place was started.
///
/// # Errors
/// [`RunnerError::Kubernetes`], [`RunnerError::Pod`], [`RunnerError::NotInTime`].
pub fn apply(
    stage: &Stage,
    plane: &ControlPlane,
    manifests: &Path,
    kubelets: &mut Kubelets<'_>,
) -> Result<(), RunnerError> {
    plane.run_kubectl([OsStr::new("apply"), OsStr::new("-f"), manifests.as_os_str()])?;
    let wanted = pods_with_a_place(stage);
    until("pods were started", || {
        kubelets.turn()?;
        Ok(kubelets.started() == wanted)
    })
}

/// How many pods the manifests bring for which the world has a place: on each EC2 node one in the host network and one on
/// the pod network, and those on Fargate.
#[must_use]
pub fn pods_with_a_place(stage: &Stage) -> usize {
    let places: BTreeSet<(&str, &str)> = stage
        .expanded
        .agents
        .iter()
        .filter(|place| place.presence == AgentPresence::Running)
        .filter_map(|place| Some((place.node.as_deref()?, word(place))))
        .collect();
    places.len()
}

const fn word(place: &AgentPlace) -> &'static str {
    match place.kind {
        EndpointKind::Node | EndpointKind::ControlPlane => "host",
        EndpointKind::Pod => "pod",
        EndpointKind::Fargate => "fargate",
    }
}

/// Waits until something has happened, at most [`PATIENCE`].
///
/// # Errors
/// [`RunnerError::NotInTime`] with `what`; those of `has_happened`.
pub fn until(
    what: &'static str,
    mut has_happened: impl FnMut() -> Result<bool, RunnerError>,
) -> Result<(), RunnerError> {
    let end = Instant::now() + PATIENCE;
    while !has_happened()? {
        if Instant::now() > end {
            return Err(RunnerError::NotInTime {
                what,
                waited: PATIENCE,
            });
        }
        std::thread::sleep(STEP);
    }
    Ok(())
}
