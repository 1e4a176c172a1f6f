//! The whole way by hand on a cluster: `reachproof manifests`, `kubectl apply`, pods that nodes start, `reachproof verify`,
//! `kubectl delete`, with a real control plane and the real binaries.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use reachproof_lab::kubernetes::{ControlPlane, Program};
use reachproof_lab::world::World;
use reachproof_tests::binaries::{self, binary};
use reachproof_tests::deployment::{self, STEP};
use reachproof_tests::dialling::{self, Outcome, attend};
use reachproof_tests::harness::{Case, CaseResult, run_cases_together};
use reachproof_tests::judge::differences;
use reachproof_tests::kubelet::{Kubelets, make_room};
use reachproof_tests::stage::Stage;
use serde_json::Value;

const NEEDS_GO: Option<&str> = Some("needs Go to build a control plane");

/// Cases that run at a time: they wait for API servers and agents.
const TOGETHER: usize = 2;

fn main() -> ExitCode {
    run_cases_together(
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
        TOGETHER,
    )
}

/// Outside the lab, from which neither Go nor cargo could fetch anything.
fn build() -> CaseResult {
    Program::build(|text| println!("{text}"))?;
    Ok(binaries::build()?)
}

/// Goes the whole way in one world.
fn play(name: &str) -> CaseResult {
    let mut world = World::builtin(name)?;
    make_room(&mut world);
    let stage = dialling::stage(&world)?;
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    deployment::mark_fargate_pods(&stage, plane)?;

    let manifests = deployment::print_manifests(&stage, &binary("reachproof")?)?;
    pass_dry_run(plane, &manifests)?;
    let mut kubelets = Kubelets::new(&stage, plane, binary("reachproof-agent")?);
    deployment::apply(&stage, plane, &manifests, &mut kubelets)?;
    let inside = stage.expanded.agents.iter();
    let wanted = inside.filter(|place| place.node.is_some()).count();
    if kubelets.started() != wanted {
        return Err(format!("{} of {wanted} pods were started", kubelets.started()).into());
    }
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
    // A namespace, account and ConfigMap for each of three places but for the namespace that is not ours.
    // In each place a role of the coordinator and its binding, too.
    let wanted = 3 * 3 - 1 + 3 * 2 + 4;
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
    let program = binary("reachproof")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut command = stage.coordinator_command(&program)?;
    command.arg("verify").arg("--snapshot").arg(&path);
    let review = kubeconfig(stage, plane, listener.local_addr()?)?;
    command.arg("--review").arg(review);
    for namespace in ["reachproof", "reachproof-host", "fargate"] {
        let account = format!("{namespace}/reachproof-agent");
        command.args(["--agent-account", &account]);
    }
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let way =
            scope.spawn(|| lead(stage, plane, &listener, &ended).map_err(|it| it.to_string()));
        let outcome = attend(stage, command, kubelets, || Ok(()));
        ended.store(true, Ordering::Relaxed);
        match way.join() {
            Ok(led) => led?,
            Err(_) => return Err("the way to the API server panicked".into()),
        }
        outcome
    })
}

/// The administrator's kubeconfig for the first API server, by way of `address`.
fn kubeconfig(stage: &Stage, plane: &ControlPlane, address: SocketAddr) -> Outcome<PathBuf> {
    let front = plane.fronts().first().ok_or("no API server")?;
    let path = plane.admin_kubeconfig(&front.name).ok_or("no kubeconfig")?;
    let mut config: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    let cluster = config
        .pointer_mut("/clusters/0/cluster")
        .and_then(Value::as_object_mut)
        .ok_or("the kubeconfig has no cluster")?;
    cluster.insert("server".to_owned(), format!("https://{address}").into());
    let name = front.address.to_string();
    cluster.insert("tls-server-name".to_owned(), name.into());
    let path = stage.log("review.kubeconfig");
    fs::write(&path, config.to_string())?;
    Ok(path)
}

/// Leads connections from where the coordinator is, outside the measured network, to the first API server.
fn lead(
    stage: &Stage,
    plane: &ControlPlane,
    listener: &TcpListener,
    ended: &AtomicBool,
) -> CaseResult {
    let front = plane.fronts().first().ok_or("no API server")?;
    let target = SocketAddr::new(front.address, front.port);
    listener.set_nonblocking(true)?;
    while !ended.load(Ordering::Relaxed) {
        let Ok((near, _)) = listener.accept() else {
            std::thread::sleep(STEP);
            continue;
        };
        near.set_nonblocking(false)?;
        let far = stage
            .lab
            .within(&front.name, || TcpStream::connect(target))??;
        for (mut from, mut to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
            // Ends with either connection.
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        }
    }
    Ok(())
}

/// Takes everything away that the manifests brought, and waits until it is gone.
fn clean_up(plane: &ControlPlane, manifests: &Path, kubelets: &mut Kubelets<'_>) -> CaseResult {
    let delete = ["delete", "--wait=false", "--filename"].map(OsStr::new);
    plane.run_kubectl(delete.into_iter().chain([manifests.as_os_str()]))?;
    deployment::until("the agents and their namespaces are gone", || {
        kubelets.turn()?;
        let left = plane.run_kubectl([
            "get",
            "namespaces,daemonsets,deployments,pods,secrets,configmaps,serviceaccounts",
            "--all-namespaces",
            "--selector=app.kubernetes.io/part-of=reachproof",
            "--output=name",
        ])?;
        Ok(kubelets.started() == 0 && left.trim().is_empty())
    })?;
    Ok(())
}
