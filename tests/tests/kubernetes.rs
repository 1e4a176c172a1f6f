//! A world with its control plane: API servers behind the X-ENIs, read through the wire, and what the model makes of it.

use std::error::Error;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use reachproof_kube::{ApiServer, Entry, Limits, Reading, read};
use reachproof_lab::kubernetes::{Front, Program};
use reachproof_lab::world::World;
use reachproof_model::describe::Described;
use reachproof_model::flow::{Flow, SourceKind};
use reachproof_model::predict::predict;
use reachproof_model::snapshot::Snapshot;
use reachproof_tests::harness::{Case, CaseResult, run_cases};
use reachproof_tests::stage::{Pods, Stage};
use serde_json::{Map, Value, json};

const NEEDS_GO: Option<&str> = Some("needs Go to build a control plane");

/// Tells this program to be what runs in a pod: it reads with the pod's account and prints what it got.
const AS_POD: &str = "REACHPROOF_TEST_AS_POD";

fn main() -> ExitCode {
    let _first = rustls::crypto::ring::default_provider().install_default();
    if std::env::var_os(AS_POD).is_some() {
        return as_pod();
    }
    run_cases(
        build,
        &[
            Case {
                name: "every_api_server_is_asked_through_the_wire_and_says_the_same_world",
                ignored: NEEDS_GO,
                run: every_api_server_is_asked_through_the_wire_and_says_the_same_world,
            },
            Case {
                name: "in_a_pod_the_mounted_account_is_used_and_its_rights_suffice",
                ignored: NEEDS_GO,
                run: in_a_pod_the_mounted_account_is_used_and_its_rights_suffice,
            },
            Case {
                name: "a_network_policy_makes_the_flows_of_the_pods_that_it_selects_unknown",
                ignored: NEEDS_GO,
                run: a_network_policy_makes_the_flows_of_the_pods_that_it_selects_unknown,
            },
        ],
    )
}

/// Outside the lab, from which Go could not fetch modules.
fn build() -> CaseResult {
    Program::build(|text| println!("{text}"))?;
    Ok(())
}

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The default world with its control plane.
fn stage() -> Outcome<Stage> {
    let mut stage = Stage::up(&World::builtin("default")?)?;
    let program = Program::find().ok_or("the control plane was not built")?;
    stage.start_kubernetes(program, Pods::All)?;
    Ok(stage)
}

/// Reads the Kubernetes half through the API server at `front`, from within the namespace of `endpoint`.
fn read_from(stage: &Stage, endpoint: &str, front: &Front) -> Outcome<Reading> {
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    let path = plane.admin_kubeconfig(&front.name);
    let entry = Entry::Kubeconfig {
        path,
        context: None,
    };
    let reading = stage.lab.within(endpoint, || {
        // On this thread alone, so that every socket is made in its namespace.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        runtime.block_on(async {
            let server = ApiServer::connect(&entry, Limits::default()).await;
            let server = server.map_err(|error| explain(&error))?;
            read(&server, |_| {}).await.map_err(|error| explain(&error))
        })
    })?;
    Ok(reading?)
}

fn explain(error: &dyn Error) -> String {
    reachproof_tests::harness::explain(error)
}

/// What is different from the Kubernetes half of the world, in words; none if a reader got what was laid down.
fn difference(world: &Map<String, Value>, reading: &Reading, stem: &str) -> Option<String> {
    let items = |answer: Option<&Value>| -> Vec<Value> {
        let items = answer.and_then(|answer| answer.get("items")?.as_array().cloned());
        let mut items = items.unwrap_or_default();
        items.sort_by_key(|item| item.pointer("/metadata").map(Value::to_string));
        items
    };
    let (laid, got) = (items(world.get(stem)), items(reading.answers.get(stem)));
    let names = |items: &[Value]| -> Vec<String> {
        items
            .iter()
            .filter_map(|it| Some(it.pointer("/metadata/name")?.to_string()))
            .collect()
    };
    let mut sorted = (names(&laid), names(&got));
    sorted.0.sort();
    sorted.1.sort();
    (sorted.0 != sorted.1).then(|| format!("{stem}: {:?} laid down, {:?} read", sorted.0, sorted.1))
}

/// Longest wait until every API server is in the endpoint slice of `default/kubernetes`.
const REGISTERED_WITHIN: Duration = Duration::from_secs(60);

fn every_api_server_is_asked_through_the_wire_and_says_the_same_world() -> CaseResult {
    let stage = stage()?;
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    let world = &stage.expanded.plan.snapshot;
    // API servers register themselves one after the other, some seconds after they are ready.
    let registered = Instant::now() + REGISTERED_WITHIN;
    for front in plane.fronts() {
        let own = format!("\"{}\"", front.address);
        loop {
            let reading = read_from(&stage, "node-1", front)?;
            let slices = reading.answers.get("endpointslices").map(Value::to_string);
            if slices.is_some_and(|slices| slices.contains(&own)) || Instant::now() >= registered {
                break;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    let mut answers = Vec::new();
    for front in plane.fronts() {
        let reading = read_from(&stage, "node-1", front)?;
        for stem in ["nodes", "pods"] {
            if let Some(difference) = difference(world, &reading, stem) {
                return Err(format!("{}: {difference}", front.name).into());
            }
        }
        answers.push(reading);
    }
    let [first, second] = answers.as_slice() else {
        return Err(format!("{} API servers, not 2", answers.len()).into());
    };
    if first.answers != second.answers {
        return Err("the two API servers say different worlds".into());
    }
    let slices = first
        .answers
        .get("endpointslices")
        .map(Value::to_string)
        .unwrap_or_default();
    for front in plane.fronts() {
        if !slices.contains(&format!("\"{}\"", front.address)) {
            return Err(format!("no endpoint slice lists {}: {slices}", front.address).into());
        }
    }
    // Whom no rule admits, nobody answers: the API server stands behind the wire.
    let front = plane
        .fronts()
        .first()
        .ok_or("the control plane has no front")?;
    if read_from(&stage, "outsider-a", front).is_ok() {
        return Err("the API server answered an outsider".into());
    }
    let same = compare(&stage, &first.answers)?;
    println!("  2 API servers read, {same} predictions the same as with the world's own files");
    kubeconfig_works(&stage)
}

/// Predicts all flows between the world's endpoints, once with its own Kubernetes half and once with what was read.
fn compare(stage: &Stage, read: &Map<String, Value>) -> Outcome<usize> {
    let world = stage.expanded.plan.snapshot.clone();
    let mut live = world.clone();
    live.extend(read.clone());
    let (world, live) = (decode(world)?, decode(live)?);
    let flows = flows(stage);
    for flow in &flows {
        let (expected, got) = (predict(&world, flow).verdict, predict(&live, flow).verdict);
        if expected != got {
            return Err(format!("{flow}: {expected:?} from the world, {got:?} as read").into());
        }
    }
    Ok(flows.len())
}

fn decode(answers: Map<String, Value>) -> Outcome<Snapshot> {
    Ok(Snapshot::decode(&Described::from(answers))?.snapshot)
}

/// A flow between every two addresses, from a host's and from a pod's namespace.
fn flows(stage: &Stage) -> Vec<Flow> {
    let addresses: Vec<IpAddr> = stage
        .lab
        .endpoints()
        .iter()
        .flat_map(|endpoint| endpoint.addresses.clone())
        .collect();
    let mut flows = Vec::new();
    for source in &addresses {
        for destination in addresses
            .iter()
            .filter(|it| it.is_ipv4() == source.is_ipv4())
        {
            for source_kind in [SourceKind::Host, SourceKind::Pod] {
                for port in [443, 8080] {
                    flows.push(Flow {
                        source_kind,
                        ..Flow::tcp(*source, *destination, port)
                    });
                }
            }
        }
    }
    flows
}

/// Asks as the lab's own hint says: from a node, with the binary and the kubeconfig that it names.
fn kubeconfig_works(stage: &Stage) -> CaseResult {
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    for front in plane.fronts() {
        let kubeconfig = plane.admin_kubeconfig(&front.name).ok_or("no kubeconfig")?;
        let program: &Path = plane.program().path();
        let mut command = stage.lab.command("node-1", program.as_os_str())?;
        command.args(
            [
                "kubectl",
                "get",
                "pods",
                "--all-namespaces",
                "--output",
                "name",
            ]
            .map(OsStr::new),
        );
        let output = command.arg("--kubeconfig").arg(kubeconfig).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !said.contains("pod/web") {
            let complaint = String::from_utf8_lossy(&output.stderr);
            return Err(format!("kubectl at {} said: {said}{complaint}", front.name).into());
        }
    }
    Ok(())
}

fn in_a_pod_the_mounted_account_is_used_and_its_rights_suffice() -> CaseResult {
    let stage = stage()?;
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    let front = plane
        .fronts()
        .first()
        .ok_or("the control plane has no front")?;
    plane.run_kubectl(["create", "namespace", "reachproof"])?;
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rbac-reader.yaml");
    plane.run_kubectl([OsStr::new("apply"), OsStr::new("-f"), rules.as_os_str()])?;
    let account = "reachproof-coordinator";
    let token = plane.run_kubectl(["--namespace", "reachproof", "create", "token", account])?;
    mount_account(&stage, token.trim())?;

    // No kube-proxy here: what it would lead to is named instead of the service's address.
    let output = stage
        .lab
        .command("web", std::env::current_exe()?.as_os_str())?
        .env(AS_POD, "1")
        .env("KUBERNETES_SERVICE_HOST", front.address.to_string())
        .env("KUBERNETES_SERVICE_PORT", front.port.to_string())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if said.trim() != "12 answers, 0 gaps" {
        return Err(format!(
            "the pod said: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    Ok(())
}

/// Lays a pod's account where a kubelet mounts it, in a file system that only this lab sees.
fn mount_account(stage: &Stage, token: &str) -> CaseResult {
    // `/var/run` is a link into the system's own `/run`, so all of `/var` is covered.
    nix::mount::mount(
        Some("tmpfs"),
        "/var",
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        None::<&str>,
    )?;
    let folder = Path::new("/var/run/secrets/kubernetes.io/serviceaccount");
    std::fs::create_dir_all(folder)?;
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    std::fs::copy(plane.ca_certificate(), folder.join("ca.crt"))?;
    std::fs::write(folder.join("token"), token)?;
    std::fs::write(folder.join("namespace"), "reachproof")?;
    Ok(())
}

/// What runs in the pod.
fn as_pod() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| {
            runtime.block_on(async {
                let server = ApiServer::connect(&Entry::Pod, Limits::default()).await;
                let server = server.map_err(|error| explain(&error))?;
                read(&server, |_| {}).await.map_err(|error| explain(&error))
            })
        });
    match outcome {
        Ok(reading) => {
            println!(
                "{} answers, {} gaps",
                reading.answers.len(),
                reading.gaps.len()
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn a_network_policy_makes_the_flows_of_the_pods_that_it_selects_unknown() -> CaseResult {
    let stage = stage()?;
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    let front = plane
        .fronts()
        .first()
        .ok_or("the control plane has no front")?;
    let before = verdicts(&stage, &read_from(&stage, "node-1", front)?)?;
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "web-only", "namespace": "default"},
        "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]},
    });
    plane.populate(
        json!({"networkpolicies": {"items": [policy]}})
            .as_object()
            .ok_or("no object")?,
    )?;
    let after = verdicts(&stage, &read_from(&stage, "node-1", front)?)?;

    let web: IpAddr = "10.0.1.21".parse()?;
    let (mut unknown, mut kept) = (0, 0);
    for ((flow, before), (_, after)) in before.iter().zip(&after) {
        let selected = flow.source == web || flow.destination == web;
        if selected && word(before, "verdict") == Some("allow") {
            let (verdict, reason) = (word(after, "verdict"), word(after, "reason"));
            if (verdict, reason) != (Some("unknown"), Some("networkpolicy")) {
                return Err(format!("{flow}: {before} became {after}").into());
            }
            unknown += 1;
        } else if before != after {
            return Err(
                format!("{flow}: {before} became {after}, though nobody selects it").into(),
            );
        } else {
            kept += 1;
        }
    }
    if unknown == 0 {
        return Err("no flow of the pod was allowed before".into());
    }
    println!("  {unknown} flows unknown by the policy, {kept} as before");
    Ok(())
}

fn word<'a>(prediction: &'a Value, field: &str) -> Option<&'a str> {
    prediction.get(field).and_then(Value::as_str)
}

/// Each flow with the fields of its prediction.
fn verdicts(stage: &Stage, reading: &Reading) -> Outcome<Vec<(Flow, Value)>> {
    let mut answers = stage.expanded.plan.snapshot.clone();
    answers.extend(reading.answers.clone());
    let snapshot = decode(answers)?;
    let mut verdicts = Vec::new();
    for flow in flows(stage) {
        let mut prediction = serde_json::to_value(predict(&snapshot, &flow))?;
        if let Some(fields) = prediction.as_object_mut() {
            fields.remove("steps");
        }
        verdicts.push((flow, prediction));
    }
    Ok(verdicts)
}
