//! The Helm chart on a cluster: installed, asked for a run, upgraded, tested and taken away, with its coordinator as a pod that
//! keeps its own credentials, and agents that nodes start.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use reachproof_lab::EndpointKind;
use reachproof_lab::kubernetes::ControlPlane;
use reachproof_tests::binaries::binary;
use reachproof_tests::deployment;
use reachproof_tests::harness::CaseResult;
use reachproof_tests::helm::Helm;
use reachproof_tests::job::{JobNode, Service};
use reachproof_tests::kubelet::Kubelets;
use reachproof_tests::stage::Pods;
use serde_json::{Value, json};

use super::schedule::{RULES, aws, change, ended, is_fargate, lab_world};
use super::{HOST, Live, Outcome, reachproof};

/// Name and namespace of the release: others than those of printed manifests, whose account the lab has already.
const RELEASE: (&str, &str) = ("probes", "network");

/// What its objects' names begin with.
const NAME: &str = "probes-reachproof";

/// The rule that lets the control plane through to kubelets.
const KUBELETS: &str = "tcp 10250 from cluster";

/// Kinds of which nothing may be left.
const KINDS: &str = "namespaces,daemonsets,deployments,pods,services,secrets,configmaps,serviceaccounts,roles,rolebindings,\
     clusterroles,clusterrolebindings,cronjobs,jobs,persistentvolumeclaims";

pub fn the_chart_is_installed_asked_upgraded_tested_and_taken_away() -> CaseResult {
    let begun = Instant::now();
    let live = Live::of(lab_world(&RULES)?, Pods::WithoutAgents)?;
    let plane = live.stage.kubernetes().ok_or("no control plane")?;
    deployment::mark_fargate_pods(&live.stage, plane)?;
    super::schedule::take_new_nodes(plane)?;
    let address = live.stage.control_address()?.ip();
    let host = format!("{NAME}-coordinator.{}.svc", RELEASE.1);
    let node = JobNode {
        stage: &live.stage,
        plane,
        place: (HOST, address),
        program: reachproof().to_owned(),
        environment: Vec::new(),
        hosts: format!("{address} {host}\n"),
    };
    let mut kubelets = Kubelets::new(&live.stage, plane, binary("reachproof-agent")?);
    kubelets.resolve(&host, address);

    let values = live.stage.log("values");
    fs::write(&values, values_of(&live).to_string())?;
    let mut install = helm(&live, &["install", "--create-namespace", RELEASE.0])?;
    done(install.arg(Helm::chart()).arg("--values").arg(&values))?;
    let service = start_coordinator(&node, &mut kubelets)?;
    let kept = credentials(plane)?;
    let wanted = deployment::pods_with_a_place(&live.stage);
    // A pod that becomes ready during a run is a change of the world.
    deployment::until("agents came to the coordinator", || {
        kubelets.turn()?;
        Ok(kubelets.ready() == wanted)
    })
    .map_err(|error| told(&live, &service, &error))?;
    let job = (RELEASE.1, "probes-reachproof-verify", "first");
    let first = node.run(job, &mut kubelets)?;
    ended(&first, 0, ("Complete", "")).map_err(|error| told(&live, &service, &error))?;
    println!(
        "  installed and asked after {} s",
        begun.elapsed().as_secs()
    );

    let (exit, printed, said) = outside(&live, &mut kubelets, &[])?;
    assert_eq!(exit, Some(0), "{printed}\n{said}\n{}", service.said());
    assert!(
        printed.contains("PASS") && said.contains("is asked for"),
        "{printed}\n{said}"
    );
    println!("  asked from outside after {} s", begun.elapsed().as_secs());
    little_is_needed(&live)?;
    closed_way(&live, &node, &mut kubelets).map_err(|error| told(&live, &service, &error))?;
    println!(
        "  told of a closed 10250 after {} s",
        begun.elapsed().as_secs()
    );

    let upgrade = |set: &str| {
        let more = ["upgrade", RELEASE.0, "--reuse-values", "--set", set];
        done(helm(&live, &more)?.arg(Helm::chart()))
    };
    upgrade("coordinator.keepRuns=7")?;
    end_coordinator(plane, service, &mut kubelets)?;
    let service = start_coordinator(&node, &mut kubelets)?;
    assert_eq!(
        kept,
        credentials(plane)?,
        "a new pod has the same credentials"
    );
    test(&live, &node, &mut kubelets)?;
    println!(
        "  upgraded and tested after {} s",
        begun.elapsed().as_secs()
    );
    upgrade("agent.hostNetwork.enabled=false")?;
    end_coordinator(plane, service, &mut kubelets)?;
    let service = start_coordinator(&node, &mut kubelets)?;
    without_hosts(&live, &mut kubelets).map_err(|error| told(&live, &service, &error))?;
    println!(
        "  asked without agents in the host network after {} s",
        begun.elapsed().as_secs()
    );

    done(helm(&live, &["uninstall"])?.arg(RELEASE.0))?;
    end_coordinator(plane, service, &mut kubelets)?;
    deployment::until("nothing is left", || {
        kubelets.turn()?;
        Ok(kubelets.started() == 0 && left(plane)?.trim().is_empty())
    })
    .map_err(|error| format!("{error}: {}", left(plane).unwrap_or_default()))?;
    println!(
        "  {wanted} agents, and nothing left after {} s",
        begun.elapsed().as_secs()
    );
    Ok(())
}

/// What somebody needs who may not read the Secret, and no more (install.md, "From a laptop").
fn little_is_needed(live: &Live) -> CaseResult {
    let plane = live.stage.kubernetes().ok_or("no control plane")?;
    let namespace = ["--namespace", RELEASE.1];
    let run = |words: &[&str]| plane.run_kubectl(namespace.iter().chain(words));
    run(&["create", "serviceaccount", "laptop"])?;
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "laptop", "namespace": RELEASE.1},
        "rules": [
            {"apiGroups": [""], "resources": ["services", "pods"], "verbs": ["list"]},
            {"apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["create", "get"]},
            {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["probes-reachproof-ca"], "verbs": ["get"]},
        ],
    });
    plane.send_kubectl(["create", "--filename", "-"], &role)?;
    let account = format!("--serviceaccount={}:laptop", RELEASE.1);
    run(&["create", "rolebinding", "laptop", "--role=laptop", &account])?;
    let token = run(&["create", "token", "laptop"])?;
    let front = plane.fronts().first().ok_or("no API server")?;
    let kubeconfig = plane.kubeconfig_with_token(front, "laptop", token.trim())?;
    let template = "--output=go-template={{index .data \"read-token\" | base64decode}}";
    let read = run(&["get", "secret", "probes-reachproof-credentials", template])?;
    let file = live.stage.log("read-token");
    fs::write(&file, read)?;
    let asked = |words: &[&OsStr]| -> Outcome<(Option<i32>, String)> {
        let mut command = plane.command(reachproof())?;
        command.args(["history", "--kubernetes", "--kubeconfig"]);
        let output = command.arg(&kubeconfig).args(words).output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8(said)?))
    };
    let within = ["-n", RELEASE.1].map(OsStr::new);
    let given = [OsStr::new("--coordinator-token-file"), file.as_os_str()];
    let (exit, said) = asked(&[within, given].concat())?;
    assert!(exit == Some(0) && said.contains("PASS"), "{said}");
    let (exit, said) = asked(&within)?;
    assert!(
        exit == Some(2) && said.contains("pass --coordinator-token-file"),
        "{said}"
    );
    let (exit, said) = asked(&given)?;
    assert!(
        exit == Some(2) && said.contains("pass -n NAMESPACE"),
        "{said}"
    );
    for kind in ["rolebinding", "role", "serviceaccount"] {
        run(&["delete", kind, "laptop"])?;
    }
    Ok(())
}

/// What is said from outside while the control plane does not come through to kubelets: first beside a run that passed, then
/// beside one that failed for just that.
fn closed_way(live: &Live, node: &JobNode<'_>, kubelets: &mut Kubelets<'_>) -> CaseResult {
    let without: Vec<&str> = RULES.into_iter().filter(|rule| *rule != KUBELETS).collect();
    change(live, &without)?;
    let (exit, printed, said) = outside(live, kubelets, &[])?;
    assert_eq!(exit, Some(3), "{printed}\n{said}");
    for words in [
        "UNSURE   control plane to kubelet of ",
        " tcp/10250: the port-forward failed: ",
        "i/o timeout",
        "the last run that the coordinator keeps in the cluster\n\nPASS ",
    ] {
        assert!(printed.contains(words), "{words}: {printed}\n{said}");
    }
    let job = (RELEASE.1, "probes-reachproof-verify", "closed");
    let failed = node.run(job, kubelets)?;
    ended(&failed, 1, ("Failed", ""))?;
    let (exit, printed, said) = outside(live, kubelets, &["-o", "json"])?;
    assert_eq!(exit, Some(1), "{printed}\n{said}");
    let told: Value = serde_json::from_str(&printed)?;
    let kept = &told["kept"];
    assert_eq!(
        (&kept["verdict"], &kept["exit_code"]),
        (&json!("FAIL"), &json!(1))
    );
    let repair = kept["causes"][0]["aws_cli"].to_string();
    assert!(repair.contains("--port 10250"), "{kept}");
    change(live, &RULES)
}

/// `verify --kubernetes` with the administrator's kubeconfig where the API server is, from where no security group lets
/// anybody to the coordinator's page: exit code, what it printed and what it said beside that.
fn outside(
    live: &Live,
    kubelets: &mut Kubelets<'_>,
    words: &[&str],
) -> Outcome<(Option<i32>, String, String)> {
    let plane = live.stage.kubernetes().ok_or("no control plane")?;
    let (out, log) = (live.stage.log("outside.out"), live.stage.log("outside"));
    let mut asking = plane
        .command(reachproof())?
        .args(["verify", "--kubernetes", "-v"])
        .args(words)
        .stdin(Stdio::null())
        .stdout(File::create(&out)?)
        .stderr(File::create(&log)?)
        .spawn()?;
    let ended = loop {
        if let Some(ended) = asking.try_wait()? {
            break ended;
        }
        kubelets.turn().inspect_err(|_| drop(asking.kill()))?;
        std::thread::sleep(deployment::STEP);
    };
    Ok((
        ended.code(),
        fs::read_to_string(out)?,
        fs::read_to_string(log)?,
    ))
}

/// What coordinator and agents said, beside what went wrong.
fn told(live: &Live, service: &Service, error: &dyn std::fmt::Display) -> String {
    let mut text = format!("{error}\ncoordinator: {}", service.said());
    let folder = live.stage.log("values");
    let logs = folder.parent().and_then(|folder| fs::read_dir(folder).ok());
    for entry in logs.into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.contains("reachproof-agent") {
            let said = fs::read_to_string(entry.path()).unwrap_or_default();
            let last: Vec<&str> = said.lines().rev().take(3).collect();
            text.push_str(&format!("\n{name}: {last:?}"));
        }
    }
    text
}

/// Agents on the pod network alone, as the chart starts them by itself: nobody is missed on hosts, and nothing that the cluster
/// needs stays unknown.
fn without_hosts(live: &Live, kubelets: &mut Kubelets<'_>) -> CaseResult {
    let places = live.stage.expanded.agents.iter();
    let hosts = places.filter(|place| place.kind == EndpointKind::Node && place.node.is_some());
    let left = deployment::pods_with_a_place(&live.stage) - hosts.count();
    deployment::until("agents in the host network ended", || {
        kubelets.turn()?;
        Ok(kubelets.started() == left && kubelets.ready() == left)
    })?;
    let (exit, printed, said) = outside(live, kubelets, &[])?;
    assert_eq!(exit, Some(0), "{printed}\n{said}");
    for needed in [
        "PASS",
        "met: node to control plane 443",
        "met: control plane to kubelet 10250",
    ] {
        assert!(printed.contains(needed), "{needed}: {printed}\n{said}");
    }
    Ok(())
}

/// What the chart is told of the lab.
fn values_of(live: &Live) -> Value {
    let places = live.stage.expanded.agents.iter();
    let fargate = places.filter(|place| is_fargate(place)).map(|place| {
        json!({"name": place.endpoint, "namespace": "fargate", "labels": {"place": place.endpoint}})
    });
    let environment = aws(live).into_iter();
    let environment = environment.map(|(name, value)| json!({"name": name, "value": value}));
    json!({
        "cluster": {"name": "demo", "region": "us-east-1"},
        "vpcCidrs": ["10.0.0.0/16"],
        "schedules": [],
        // All pods of the coordinator's program have one address here, where its port is taken.
        "tests": {"doctor": false},
        "coordinator": {
            "settle": "1s",
            "claims": false,
            "persistence": {"enabled": false},
            "extraArgs": ["--lab"],
            "extraEnv": environment.collect::<Vec<_>>(),
        },
        "agent": {
            "hostNetwork": {"enabled": true},
            "fargate": fargate.collect::<Vec<_>>(),
        },
    })
}

/// Helm with the administrator's rights.
fn helm(live: &Live, words: &[&str]) -> Outcome<Command> {
    let plane = live.stage.kubernetes().ok_or("no control plane")?;
    let program = Helm::find().ok_or("Helm was not fetched")?;
    let mut command = plane.command(program.path())?;
    for name in ["CACHE", "CONFIG", "DATA"] {
        command.env(format!("HELM_{name}_HOME"), live.stage.log("helm"));
    }
    command.args(words).args(["--namespace", RELEASE.1]);
    Ok(command)
}

fn done(command: &mut Command) -> CaseResult {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{command:?}: {said}").into())
}

/// The pod that a selector finds, once it is scheduled.
fn scheduled(plane: &ControlPlane, selector: &str) -> Outcome<Value> {
    let mut pod = Value::Null;
    let words = [
        "--namespace",
        RELEASE.1,
        "get",
        "pods",
        selector,
        "--output=json",
    ];
    deployment::until("a pod is scheduled", || {
        let listed: Value = serde_json::from_str(&plane.run_kubectl(words)?)?;
        let items = listed["items"].as_array().cloned().unwrap_or_default();
        let fits = |pod: &Value| {
            pod["spec"]["nodeName"].is_string()
                && pod["status"]["phase"] == "Pending"
                && pod["metadata"]["deletionTimestamp"].is_null()
        };
        pod = items.into_iter().find(fits).unwrap_or_default();
        Ok(!pod.is_null())
    })?;
    Ok(pod)
}

/// Starts the pod of the coordinator, and waits until it told agents its CA and answers on its page's port.
fn start_coordinator(node: &JobNode<'_>, kubelets: &mut Kubelets<'_>) -> Outcome<Service> {
    let selector = "--selector=app.kubernetes.io/name=reachproof-coordinator";
    let pod = scheduled(node.plane, selector)?;
    let mut service = node.serve(&pod)?;
    let page = std::net::SocketAddr::new(node.place.1, 7080);
    let answers = || -> Outcome<bool> {
        let dialled = node
            .stage
            .lab
            .within(HOST, move || std::net::TcpStream::connect(page))?;
        Ok(dialled.is_ok())
    };
    let end = Instant::now() + deployment::PATIENCE;
    while !answers()? {
        kubelets.turn()?;
        if service.has_ended()? || Instant::now() > end {
            return Err(format!("the coordinator does not answer: {}", service.said()).into());
        }
        std::thread::sleep(deployment::STEP);
    }
    service.report_ready(node)?;
    Ok(service)
}

/// Ends it as a node does that is told to.
fn end_coordinator(
    plane: &ControlPlane,
    mut service: Service,
    kubelets: &mut Kubelets<'_>,
) -> CaseResult {
    let name = service.name().to_owned();
    let words = [
        "--namespace",
        RELEASE.1,
        "get",
        "pod",
        &name,
        "--output=json",
    ];
    deployment::until("the coordinator's pod is to go", || {
        kubelets.turn()?;
        let pod: Value = serde_json::from_str(&plane.run_kubectl(words)?)?;
        Ok(!pod["metadata"]["deletionTimestamp"].is_null())
    })?;
    let status = service.end()?;
    assert!(status.success(), "{status}: {}", service.said());
    let delete = [
        "delete",
        "pod",
        &name,
        "--grace-period=0",
        "--force",
        "--wait=false",
    ];
    plane.run_kubectl(["--namespace", RELEASE.1].iter().chain(&delete))?;
    Ok(())
}

/// What the coordinator keeps, and that every agent is told of it.
fn credentials(plane: &ControlPlane) -> Outcome<Value> {
    let secret = [
        "get",
        "secret",
        "probes-reachproof-credentials",
        "--output=json",
    ];
    let secret = plane.run_kubectl(["--namespace", RELEASE.1].iter().chain(&secret))?;
    let secret: Value = serde_json::from_str(&secret)?;
    let data = secret["data"].as_object().ok_or("the Secret is empty")?;
    let keys: Vec<&str> = data.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["ca.crt", "ca.key", "read-token", "start-token", "token.key"]
    );
    for namespace in [RELEASE.1, "reachproof-host", "fargate"] {
        let words = ["get", "configmap", "probes-reachproof-ca", "--output=json"];
        let map = plane.run_kubectl(["--namespace", namespace].iter().chain(&words))?;
        let map: Value = serde_json::from_str(&map)?;
        let text = map["data"]["ca.crt"].as_str().unwrap_or_default();
        assert!(text.contains("BEGIN CERTIFICATE"), "{namespace}: {map}");
    }
    Ok(secret["data"].clone())
}

/// `helm test`, whose pod a node runs meanwhile.
fn test(live: &Live, node: &JobNode<'_>, kubelets: &mut Kubelets<'_>) -> CaseResult {
    let log = live.stage.log("helm-test");
    let mut command = helm(live, &["test", "--timeout", "60s"])?;
    let mut helm: Child = command
        .arg(RELEASE.0)
        .stdin(Stdio::null())
        .stdout(File::create(&log)?)
        .stderr(Stdio::null())
        .spawn()?;
    let pod = scheduled(
        node.plane,
        "--selector=app.kubernetes.io/name=reachproof-client",
    );
    let pod = pod.inspect_err(|_| drop(helm.kill()))?;
    let ended = node.complete(&pod, kubelets)?;
    let status = helm.wait()?;
    let said: Vec<String> = ended
        .iter()
        .map(|one| format!("{:?}\n{}\n{}", one.exit, one.printed, one.said))
        .collect();
    assert!(status.success(), "{}: {said:#?}", fs::read_to_string(&log)?);
    assert!(ended[0].printed.contains("connected"), "{said:#?}");
    Ok(())
}

/// What is left of the release, by its labels.
fn left(plane: &ControlPlane) -> Result<String, reachproof_tests::error::RunnerError> {
    let words = [
        "get",
        KINDS,
        "--all-namespaces",
        "--output=name",
        "--selector",
    ];
    let ours = "app.kubernetes.io/instance=probes";
    Ok(plane.run_kubectl(words.iter().map(OsStr::new).chain([OsStr::new(ours)]))?)
}
