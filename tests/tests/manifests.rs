//! The whole way by hand on a cluster: `reachproof manifests`, `kubectl apply`, pods that nodes start, `reachproof verify`,
//! `kubectl delete`, with a real control plane and the real binaries.

use std::collections::BTreeSet;
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use reachproof_lab::kubernetes::{ControlPlane, Program};
use reachproof_lab::world::World;
use reachproof_tests::agents::{AgentProgram, Agents};
use reachproof_tests::binaries::{self, binary};
use reachproof_tests::coordinator::{Coordinator, Launch};
use reachproof_tests::fargate;
use reachproof_tests::harness::{Case, CaseResult, run_cases};
use reachproof_tests::judge::differences;
use reachproof_tests::kubelet::{Kubelets, make_room};
use reachproof_tests::stage::{Pods, Stage};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Longest wait for anything that controllers and nodes do.
const PATIENCE: Duration = Duration::from_secs(90);

/// Time between two turns of the nodes.
const STEP: Duration = Duration::from_millis(200);

/// Namespace of the worlds' Fargate profile.
const FARGATE_NAMESPACE: &str = "fargate";

const NEEDS_GO: Option<&str> = Some("needs Go to build a control plane");

fn main() -> ExitCode {
    run_cases(
        build,
        &[
            Case {
                name: "agents_by_manifest_end_the_default_world_as_it_states",
                ignored: NEEDS_GO,
                run: || play("default"),
            },
            Case {
                name: "agents_by_manifest_end_the_world_with_a_node_group_of_its_own_as_it_states",
                ignored: NEEDS_GO,
                run: || play("node-sg"),
            },
        ],
    )
}

/// Outside the lab, from which neither Go nor cargo could fetch anything.
fn build() -> CaseResult {
    Program::build(|text| println!("{text}"))?;
    binaries::build()
}

/// Goes the whole way in one world.
fn play(name: &str) -> CaseResult {
    let mut world = World::builtin(name)?;
    make_room(&mut world);
    let mut stage = Stage::up(&world)?;
    let program = Program::find().ok_or("the control plane was not built")?;
    stage.start_kubernetes(program, Pods::WithoutAgents)?;
    let stage = stage;
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    mark_fargate_pods(plane, &stage)?;

    let manifests = print_manifests(&stage)?;
    pass_dry_run(plane, &manifests)?;
    plane.run_kubectl([OsStr::new("apply"), OsStr::new("-f"), manifests.as_os_str()])?;
    let mut kubelets = Kubelets::new(&stage, plane, binary("reachproof-agent")?);
    let inside = stage.expanded.agents.iter();
    let wanted = inside.filter(|place| place.node.is_some()).count();
    until("pods were started", || {
        kubelets.turn()?;
        Ok(kubelets.started() == wanted)
    })?;
    check_placement(plane)?;
    let (exit, report) = verify(&stage, plane, &mut kubelets)?;
    if kubelets.ready() != wanted {
        return Err(format!("{} of {wanted} pods are ready", kubelets.ready()).into());
    }
    let found = differences(&world.expect, &report, exit, stage.lab.endpoints())?;
    if !found.is_empty() {
        return Err(found.join("\n").into());
    }
    clean_up(plane, &manifests, &mut kubelets)?;
    println!("  {wanted} pods by manifest, exit code {exit} as stated, nothing left");
    Ok(())
}

/// Waits until something has happened.
fn until(what: &str, mut has_happened: impl FnMut() -> Outcome<bool>) -> CaseResult {
    let end = Instant::now() + PATIENCE;
    while !has_happened()? {
        if Instant::now() > end {
            return Err(format!("not within {PATIENCE:?}: {what}").into());
        }
        std::thread::sleep(STEP);
    }
    Ok(())
}

/// Lets the API server do what EKS's webhook does, and waits until it does.
fn mark_fargate_pods(plane: &ControlPlane, stage: &Stage) -> CaseResult {
    plane.run_kubectl(["create", "namespace", FARGATE_NAMESPACE])?;
    for object in fargate::admission(&stage.expanded.plan.snapshot) {
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

/// What `reachproof manifests` prints for the world, with a Fargate pod for each of the world's, as a file.
fn print_manifests(stage: &Stage) -> Outcome<PathBuf> {
    let output = Command::new(binary("reachproof")?)
        .arg("manifests")
        .arg("--snapshot")
        .arg(stage.snapshot())
        .args(["--image", "registry.example/reachproof-agent:1"])
        .args(["--coordinator", &stage.control_address()?.to_string()])
        .arg("--credentials")
        .arg(stage.credentials())
        .arg("--host-network")
        .args(["--fargate", "fargate/subnet=a", "fargate/subnet=b"])
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("manifests: {}: {said}", output.status).into());
    }
    let path = stage.log("manifests");
    fs::write(&path, output.stdout)?;
    Ok(path)
}

/// Lets the API server judge all objects without keeping them. Their namespaces must be there for that.
fn pass_dry_run(plane: &ControlPlane, manifests: &Path) -> CaseResult {
    for namespace in ["reachproof", "reachproof-host"] {
        plane.run_kubectl(["create", "namespace", namespace])?;
    }
    let mut command = plane.kubectl()?;
    command.args([
        "apply",
        "--dry-run=server",
        "--validate=strict",
        "--output",
        "name",
    ]);
    let output = command.arg("--filename").arg(manifests).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let complaints: Vec<&str> = said
        .lines()
        // The namespaces were not made by `apply`, which says that it takes them over.
        .filter(|line| !line.contains("last-applied-configuration"))
        .collect();
    if !output.status.success() || !complaints.is_empty() {
        return Err(format!("dry run: {}: {said}", output.status).into());
    }
    let accepted = String::from_utf8_lossy(&output.stdout).lines().count();
    // A namespace, account, Secret and ConfigMap for each of three places but for the namespace that is not ours.
    let wanted = 3 * 4 - 1 + 4;
    if accepted != wanted {
        return Err(format!("{accepted} objects passed the dry run, not {wanted}").into());
    }
    Ok(())
}

/// Fails unless each DaemonSet has a pod on each EC2 node, and each Deployment one on a Fargate node of its own.
fn check_placement(plane: &ControlPlane) -> CaseResult {
    let nodes = |kind: &str| -> Outcome<BTreeSet<String>> {
        let selector = format!("eks.amazonaws.com/compute-type={kind}");
        let template = "jsonpath={.items[*].metadata.name}";
        let listed = plane.run_kubectl(["get", "nodes", "-l", &selector, "-o", template])?;
        Ok(listed.split_whitespace().map(str::to_owned).collect())
    };
    let pods = |agents: &str| -> Outcome<Vec<String>> {
        let selector = format!("reachproof/agents in ({agents})");
        let template = "jsonpath={.items[*].spec.nodeName}";
        let listed = plane.run_kubectl(["get", "pods", "-A", "-l", &selector, "-o", template])?;
        let mut nodes: Vec<String> = listed.split_whitespace().map(str::to_owned).collect();
        nodes.sort();
        Ok(nodes)
    };
    for (agents, kind) in [
        ("pod", "ec2"),
        ("host", "ec2"),
        ("fargate-1,fargate-2", "fargate"),
    ] {
        let wanted: Vec<String> = nodes(kind)?.into_iter().collect();
        let found = pods(agents)?;
        if found != wanted || found.is_empty() {
            return Err(format!("agents `{agents}` are on {found:?}, not on {wanted:?}").into());
        }
    }
    Ok(())
}

/// Reads the Kubernetes half as `kubectl` prints it, runs `reachproof verify`, and keeps the nodes at work meanwhile.
fn verify(
    stage: &Stage,
    plane: &ControlPlane,
    kubelets: &mut Kubelets<'_>,
) -> Outcome<(u8, Value)> {
    let mut snapshot = stage.expanded.plan.snapshot.clone();
    for stem in ["nodes", "pods", "networkpolicies"] {
        let answer = plane.run_kubectl(["get", stem, "--all-namespaces", "--output", "json"])?;
        snapshot.insert(stem.to_owned(), serde_json::from_str(&answer)?);
    }
    let path = stage.log("read");
    fs::write(&path, Value::Object(snapshot).to_string())?;
    let count = stage.expanded.agents.len().to_string();
    let program = binary("reachproof")?;
    let launch = Launch {
        program: &program,
        snapshot: &path,
        expect: OsStr::new(&count),
        wait: PATIENCE,
    };
    let (mut coordinator, dial) = Coordinator::launch(stage, &launch)?;
    let agent = binary("reachproof-agent")?;
    let mut outside = Agents::default();
    let strangers = stage.expanded.agents.iter();
    for place in strangers.filter(|place| place.node.is_none()) {
        outside.add(stage, AgentProgram::Agent(&agent), &dial, place)?;
    }
    while !coordinator.has_ended()? {
        kubelets.turn()?;
        std::thread::sleep(STEP);
    }
    Ok(coordinator.finish()?)
}

/// Takes everything away that the manifests brought, and waits until it is gone.
fn clean_up(plane: &ControlPlane, manifests: &Path, kubelets: &mut Kubelets<'_>) -> CaseResult {
    let delete = ["delete", "--wait=false", "--filename"].map(OsStr::new);
    plane.run_kubectl(delete.into_iter().chain([manifests.as_os_str()]))?;
    until("the agents and their namespaces are gone", || {
        kubelets.turn()?;
        let left = plane.run_kubectl([
            "get",
            "namespaces,daemonsets,deployments,pods,secrets,configmaps,serviceaccounts",
            "--all-namespaces",
            "--selector=app.kubernetes.io/part-of=reachproof",
            "--output=name",
        ])?;
        Ok(kubelets.started() == 0 && left.trim().is_empty())
    })
}
