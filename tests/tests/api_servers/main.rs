//! The direction that only API servers can show: real ones, behind the X-ENIs of a world, connect to kubelets, agents and
//! target ports when `reachproof verify` asks them to.

use std::collections::BTreeSet;
use std::error::Error;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use reachproof_lab::kubernetes::{ControlPlane, Program};
use reachproof_lab::world::World;
use reachproof_model::plan::Depth;
use reachproof_tests::agents::{AgentProgram, Agents};
use reachproof_tests::binaries::{self, binary};
use reachproof_tests::coordinator::{Coordinator, verify_command};
use reachproof_tests::deployment::{self, PATIENCE, STEP};
use reachproof_tests::harness::{Case, CaseResult, run_cases};
use reachproof_tests::kubelet::Kubelets;
use reachproof_tests::play::{addresses_of, firewall, wire};
use reachproof_tests::stage::{Pods, Scene, Stage};
use serde_json::{Map, Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

const NEEDS_GO: Option<&str> = Some("needs Go to build a control plane");

fn main() -> ExitCode {
    run_cases(
        build,
        &[
            Case {
                name: "every_kubelet_is_met_from_every_interface_and_without_the_right_predicted",
                ignored: NEEDS_GO,
                run: rights,
            },
            Case {
                name: "target_ports_drift_and_a_firewall_are_told_apart_for_each_interface",
                ignored: NEEDS_GO,
                run: webhooks,
            },
        ],
    )
}

/// Outside the lab, from which neither Go nor cargo could fetch anything.
fn build() -> CaseResult {
    Program::build(|text| println!("{text}"))?;
    Ok(binaries::build()?)
}

/// Brings a world up with its control plane.
fn stage(name: &str, edit: impl Fn(&mut Map<String, Value>)) -> Outcome<Stage> {
    let mut scene = Scene::of(&World::builtin(name)?)?;
    edit(&mut scene.expanded.plan.snapshot);
    let mut stage = Stage::set(scene)?;
    let program = Program::find().ok_or("the control plane was not built")?;
    stage.start_kubernetes(program, Pods::WithoutAgents)?;
    Ok(stage)
}

/// Starts agents by manifest at every place that has a pod.
fn kubelets<'s>(stage: &'s Stage, plane: &'s ControlPlane) -> Outcome<Kubelets<'s>> {
    deployment::mark_fargate_pods(stage, plane)?;
    let manifests = deployment::print_manifests(stage, &binary("reachproof")?)?;
    let mut kubelets = Kubelets::new(stage, plane, binary("reachproof-agent")?);
    deployment::apply(stage, plane, &manifests, &mut kubelets)?;
    Ok(kubelets)
}

/// Does one run, with the rights of whoever `kubeconfig` names.
fn verify(
    stage: &Stage,
    plane: &ControlPlane,
    kubelets: &mut Kubelets<'_>,
    kubeconfig: Option<&Path>,
) -> Outcome<(u8, Value)> {
    let mut command = verify_command(stage, plane, kubeconfig)?;
    command.env_remove("KUBECONFIG");
    let count = stage.expanded.agents.len().to_string();
    let (mut coordinator, dial) =
        Coordinator::spawn(stage, command, OsStr::new(&count), PATIENCE, Depth::Mesh)?;
    let agent = binary("reachproof-agent")?;
    let places = kubelets.free_places();
    let _outside = Agents::start(stage, AgentProgram::Agent(&agent), &dial, places)?;
    while !coordinator.has_ended()? {
        kubelets.turn()?;
        std::thread::sleep(STEP);
    }
    Ok(coordinator.finish()?)
}

/// A finding of an API server.
#[derive(Debug, Clone)]
struct Dialled {
    server: IpAddr,
    target: IpAddr,
    port: u64,
    kind: String,
    reason: String,
    strength: String,
    sockets: Vec<String>,
    prediction: String,
}

/// The findings of API servers.
fn dialled(report: &Value) -> Outcome<Vec<Dialled>> {
    let text = |value: Option<&Value>| {
        let text = value.and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let mut found = Vec::new();
    for finding in report["findings"].as_array().into_iter().flatten() {
        let Some(server) = finding.get("source_control_plane") else {
            continue;
        };
        let attempts = finding.pointer("/observation/attempts");
        let attempts = attempts.and_then(Value::as_array).into_iter().flatten();
        found.push(Dialled {
            server: text(Some(server)).parse()?,
            target: text(finding.pointer("/flow/destination")).parse()?,
            port: finding
                .pointer("/flow/port")
                .and_then(Value::as_u64)
                .unwrap_or_default(),
            kind: text(finding.get("kind")),
            reason: text(finding.get("reason")),
            strength: text(finding.get("strength")),
            sockets: attempts
                .filter_map(|attempt| Some(attempt.get("local")?.as_str()?.to_owned()))
                .collect(),
            prediction: text(finding.pointer("/prediction/verdict")),
        });
    }
    Ok(found)
}

/// State of an expectation and how many of its flows are met and predicted, by the beginning of its name and subject.
fn expectation(report: &Value, name: &str, subject: &str) -> Outcome<(String, u64, u64, u64)> {
    let all = report["expectations"].as_array().into_iter().flatten();
    let found = all.into_iter().find(|one| {
        let own = one.get("subject").and_then(Value::as_str);
        one["name"] == name && own.unwrap_or_default().contains(subject)
    });
    let found = found.ok_or_else(|| format!("no expectation {name} {subject}"))?;
    let count = |field: &str| found[field].as_u64().unwrap_or_default();
    let state = found["state"].as_str().unwrap_or_default().to_owned();
    Ok((
        state,
        count("met") + count("by_class"),
        count("predicted"),
        count("broken"),
    ))
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> CaseResult {
    if holds { Ok(()) } else { Err(what().into()) }
}

/// Finding kinds of agents, which nothing that concerns API servers may change.
fn of_agents(report: &Value) -> BTreeSet<String> {
    let all = report["findings"].as_array().into_iter().flatten();
    let own = all.filter(|finding| finding.get("source_control_plane").is_none());
    let tried = own.filter(|finding| finding["kind"] != "not_observed");
    tried
        .map(|finding| {
            let flow = &finding["flow"];
            format!(
                "{} -> {} {} {} {} {}",
                flow["source"],
                flow["destination"],
                flow["protocol"],
                flow["port"],
                finding["kind"],
                finding["reason"]
            )
        })
        .collect()
}

/// The kubeconfig of the account that `deploy/rbac-reader.yaml` makes.
fn reader(plane: &ControlPlane) -> Outcome<PathBuf> {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rbac-reader.yaml");
    plane.run_kubectl([OsStr::new("apply"), OsStr::new("-f"), rules.as_os_str()])?;
    let account = "reachproof-coordinator";
    let token = plane.run_kubectl(["--namespace", "reachproof", "create", "token", account])?;
    let front = plane.fronts().first().ok_or("no API server")?;
    Ok(plane.kubeconfig_with_token(front, "reader", token.trim())?)
}

fn rights() -> CaseResult {
    without_the_right(&with_the_right()?)
}

/// Returns what agents find where API servers are asked, too.
fn with_the_right() -> Outcome<BTreeSet<String>> {
    let stage = stage("default", |_| {})?;
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    let mut kubelets = kubelets(&stage, plane)?;
    let reader = reader(plane)?;
    let (exit, report) = verify(&stage, plane, &mut kubelets, Some(&reader))?;
    let dials = dialled(&report)?;
    let (state, met, predicted, _) = expectation(&report, "control plane to kubelet 10250", "")?;
    ensure(
        (exit, state.as_str(), met, predicted) == (0, "met", 8, 0),
        || format!("exit {exit}: kubelets {state}, {met} met, {predicted} predicted: {dials:?}"),
    )?;
    let proven = dials
        .iter()
        .filter(|dial| dial.strength == "proven")
        .count();
    ensure(proven == dials.len(), || {
        format!("not all proven: {dials:?}")
    })?;
    // Fresh connections: as many as attempts that an agent saw. A kernel may take one source port for two targets, so
    // that the target belongs to a connection's name.
    let sockets: Vec<_> = dials
        .iter()
        .flat_map(|dial| (dial.sockets.iter()).map(|socket| (socket, dial.target, dial.port)))
        .collect();
    let distinct: BTreeSet<_> = sockets.iter().collect();
    ensure(
        distinct.len() == sockets.len() && !sockets.is_empty(),
        || format!("{} sockets, {} of them new", sockets.len(), distinct.len()),
    )?;
    println!(
        "  kubelet 10250 met for {met} of {met} flows from 2 X-ENIs, {predicted} predicted; {} dials, {} sockets, all new",
        dials.len(),
        sockets.len()
    );

    kubelets_serve_logs(&stage, plane, &dials)?;
    Ok(of_agents(&report))
}

/// Every kubelet gives an API server the log of an agent that it runs, over TLS, and nothing to whoever shows no certificate.
fn kubelets_serve_logs(stage: &Stage, plane: &ControlPlane, dials: &[Dialled]) -> CaseResult {
    let pods = plane.run_kubectl(["get", "pods", "--all-namespaces", "--output", "json"])?;
    let pods: Value = serde_json::from_str(&pods)?;
    let text = |pod: &Value, pointer: &str| {
        let text = pod.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let mut served = 0;
    let kubelets: BTreeSet<String> = dials
        .iter()
        .filter(|dial| dial.port == 10_250)
        .map(|dial| dial.target.to_string())
        .collect();
    for pod in pods["items"].as_array().into_iter().flatten() {
        let (namespace, name) = (
            text(pod, "/metadata/namespace"),
            text(pod, "/metadata/name"),
        );
        if !name.starts_with("reachproof-agent") || text(pod, "/status/podIP").is_empty() {
            continue;
        }
        let log = plane.run_kubectl(["--namespace", &namespace, "logs", &name])?;
        let own = std::fs::read_to_string(stage.log(&name))?;
        ensure(log == own && !own.is_empty(), || {
            format!("{name}: {log:?}, not {own:?}")
        })?;
        served += 1;
        if kubelets.contains(&text(pod, "/status/podIP")) {
            let port = format!("/api/v1/namespaces/{namespace}/pods/https:{name}:10250/proxy/pods");
            let refused = plane.run_kubectl(["get", "--raw", &port]);
            let said = refused
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            ensure(said.contains("Unauthorized"), || {
                format!("without a certificate: {said}")
            })?;
        }
    }
    println!(
        "  {served} logs of agents through kubelets of {} nodes",
        kubelets.len()
    );
    ensure(served == 5, || format!("{served} logs"))
}

/// The same world without the right: agents find what they found.
fn without_the_right(with: &BTreeSet<String>) -> CaseResult {
    let stage = stage("default", |_| {})?;
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    let mut kubelets = kubelets(&stage, plane)?;
    let reader = reader(plane)?;
    for namespace in ["reachproof", "reachproof-host", "fargate"] {
        plane.run_kubectl([
            "--namespace",
            namespace,
            "delete",
            "role",
            "reachproof-dial",
        ])?;
    }
    let (exit, report) = verify(&stage, plane, &mut kubelets, Some(&reader))?;
    let (state, met, predicted, _) = expectation(&report, "control plane to kubelet 10250", "")?;
    ensure(
        (exit, state.as_str(), met, predicted) == (0, "predicted", 0, 8),
        || {
            format!(
                "exit {exit} without rights: kubelets {state}, {met} met, {predicted} predicted"
            )
        },
    )?;
    let notes = report.pointer("/control_plane/notes");
    let notes = notes.map(Value::to_string).unwrap_or_default();
    ensure(
        notes.contains("pods/proxy") && dialled(&report)?.is_empty(),
        || format!("without rights: {notes}"),
    )?;
    let without = of_agents(&report);
    let same = with.intersection(&without).count();
    ensure(same == with.len() && same == without.len(), || {
        let changed: Vec<_> = with.symmetric_difference(&without).collect();
        format!(
            "{same} of {} findings of agents are the same: {changed:#?}",
            with.len()
        )
    })?;
    println!(
        "  without the right: predicted, {same} of {} findings of agents as before",
        with.len()
    );
    Ok(())
}

/// A webhook whose service leads to `web` on `port`.
fn webhook(snapshot: &mut Map<String, Value>, name: &str, port: u16) {
    let mut push = |stem: &str, item: Value| {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": []});
        let answer = snapshot.entry(stem).or_insert(list);
        if let Some(items) = answer.get_mut("items").and_then(Value::as_array_mut) {
            items.push(item);
        }
    };
    push(
        "services",
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": port}]},
        }),
    );
    push(
        "endpointslices",
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": format!("{name}-1"), "namespace": "default",
                "labels": {"kubernetes.io/service-name": name}},
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": ["10.0.1.70"], "conditions": {"ready": true}}],
        }),
    );
    push(
        "validatingwebhookconfigurations",
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{"name": format!("{name}.example.com"),
                "clientConfig": {"service": {"name": name, "namespace": "default", "port": 443}}}],
        }),
    );
}

fn webhooks() -> CaseResult {
    let stage = stage("terraform", |snapshot| {
        webhook(snapshot, "closed", 8080);
        webhook(snapshot, "open", 9443);
    })?;
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    let mut kubelets = kubelets(&stage, plane)?;
    let of = |name| -> Outcome<IpAddr> {
        let addresses = addresses_of(&stage, name)?;
        Ok(*addresses.first().ok_or("no address")?)
    };
    let [first, second] = [of("x-eni-a")?, of("x-eni-b")?];
    let [node_1, node_3] = [of("node-1")?, of("node-3")?];
    // The second interface is closed towards one node on the wire, whatever the groups say.
    let drift = format!(
        "add table inet drift\nadd chain inet drift f {{ type filter hook forward priority -20; }}\n\
         add rule inet drift f ip saddr {second} ip daddr {node_3} tcp flags & (syn | ack) == syn drop"
    );
    wire(&stage, "x-eni-b", &drift)?;
    // The firewall of another node rejects what the groups let through.
    let reject = format!(
        "add table inet host\nadd chain inet host i {{ type filter hook input priority -20; }}\n\
         add rule inet host i ip saddr {first} tcp dport 10250 reject with tcp reset"
    );
    firewall(&stage, "node-1", &reject)?;
    let (exit, report) = verify(&stage, plane, &mut kubelets, None)?;
    let dials = dialled(&report)?;
    let at = |port| dials.iter().filter(move |dial| dial.port == port);

    let closed: BTreeSet<IpAddr> = at(8080)
        .filter(|dial| dial.kind == "confirmed_deny")
        .map(|dial| dial.server)
        .collect();
    ensure(closed == BTreeSet::from([first, second]), || {
        format!("8080: {:?}", at(8080).collect::<Vec<_>>())
    })?;
    let open: BTreeSet<IpAddr> = at(9443)
        .filter(|dial| dial.kind == "confirmed_allow" && dial.strength == "proven")
        .map(|dial| dial.server)
        .collect();
    ensure(open == BTreeSet::from([first, second]), || {
        format!("9443: {:?}", at(9443).collect::<Vec<_>>())
    })?;
    let (state, met, _, _) = expectation(&report, "control plane to webhook", "open")?;
    ensure((state.as_str(), met) == ("met", 2), || {
        format!("webhook open: {state}, {met} met")
    })?;
    let (state, _, _, broken) = expectation(&report, "control plane to webhook", "closed")?;
    ensure((state.as_str(), broken) == ("broken", 2), || {
        format!("webhook closed: {state}")
    })?;
    let causes = report.get("causes").map(Value::to_string);
    let causes = causes.unwrap_or_default();
    ensure(causes.contains("8080"), || {
        format!("no repair for 8080: {causes}")
    })?;

    let contradictions: Vec<&Dialled> = dials
        .iter()
        .filter(|dial| dial.kind.starts_with("contradiction_"))
        .collect();
    let is_drift = |dial: &&&Dialled| {
        dial.kind == "contradiction_closed" && dial.server == second && dial.target == node_3
    };
    ensure(
        !contradictions.is_empty() && contradictions.iter().all(|dial| is_drift(&dial)),
        || format!("contradictions: {contradictions:?}"),
    )?;
    let rejected = at(10_250).find(|dial| dial.server == first && dial.target == node_1);
    ensure(
        rejected.is_some_and(|dial| dial.kind == "inconclusive" && dial.reason == "unproven"),
        || format!("rejected: {rejected:?}"),
    )?;
    // Nothing that was confirmed is otherwise than the wire is.
    let allowed_by_mistake = dials.iter().find(|dial| {
        dial.kind.starts_with("confirmed_")
            && dial.server == second
            && dial.target == node_3
            && dial.prediction == "allow"
    });
    ensure(allowed_by_mistake.is_none(), || {
        format!("{allowed_by_mistake:?}")
    })?;
    ensure(exit == 1, || format!("exit {exit}"))?;
    println!(
        "  {} dials: 8080 confirmed_deny and 9443 confirmed_allow from 2 of 2 X-ENIs, {} contradictions of the closed one, exit {exit}",
        dials.len(),
        contradictions.len()
    );
    Ok(())
}
