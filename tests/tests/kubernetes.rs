//! A world with its control plane: API servers behind the X-ENIs, read through the wire, and what the model makes of it.

use std::error::Error;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use reachproof_kube::resource::RESOURCES;
use reachproof_kube::token::{AgentPlace, AgentPod, AgentRules, TokenRefusal, TokenReviewer};
use reachproof_kube::{ApiServer, Entry, Limits, Reading, read};
use reachproof_lab::kubernetes::{Front, Program};
use reachproof_lab::world::World;
use reachproof_model::describe::Described;
use reachproof_model::flow::{Flow, SourceKind};
use reachproof_model::predict::predict;
use reachproof_model::snapshot::Snapshot;
use reachproof_tests::harness::{Case, CaseResult, run_cases_together};
use reachproof_tests::stage::{Pods, Stage};
use serde_json::{Map, Value, json};

const NEEDS_GO: Option<&str> = Some("needs Go to build a control plane");

/// Tells this program to be what runs in a pod: it reads with the pod's account and prints what it got.
const AS_POD: &str = "REACHPROOF_TEST_AS_POD";

/// Cases that run at a time: they wait for API servers.
const TOGETHER: usize = 2;

fn main() -> ExitCode {
    let _first = rustls::crypto::ring::default_provider().install_default();
    if std::env::var_os(AS_POD).is_some() {
        return as_pod();
    }
    run_cases_together(
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
            Case {
                name: "s_01_a_text_that_is_no_token_is_refused_without_a_review",
                ignored: NEEDS_GO,
                run: s_01,
            },
            Case {
                name: "s_02_a_token_for_the_api_server_is_refused",
                ignored: NEEDS_GO,
                run: s_02,
            },
            Case {
                name: "s_03_an_agent_of_another_namespace_is_refused",
                ignored: NEEDS_GO,
                run: s_03,
            },
            Case {
                name: "s_04_another_account_of_the_namespace_is_refused",
                ignored: NEEDS_GO,
                run: s_04,
            },
            Case {
                name: "s_05_an_expired_token_and_one_of_a_deleted_pod_are_refused",
                ignored: NEEDS_GO,
                run: s_05,
            },
            Case {
                name: "s_07_a_token_that_is_bound_to_no_pod_is_refused",
                ignored: NEEDS_GO,
                run: s_07,
            },
            Case {
                name: "s_08_a_token_for_another_release_is_refused",
                ignored: NEEDS_GO,
                run: s_08,
            },
            Case {
                name: "s_09_an_agent_is_what_the_api_server_says",
                ignored: NEEDS_GO,
                run: s_09,
            },
        ],
        TOGETHER,
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
    if said.trim() != format!("{} answers, 0 gaps", RESOURCES.len()) {
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

/// The audience of agents in the world's cluster.
const AUDIENCE: &str = "reachproof/demo/reachproof/reachproof";

/// Node of the world on which the agents' pods are.
const NODE: &str = "ip-10-0-1-20.ec2.internal";

/// Address of the agents' pods.
const POD_ADDRESS: &str = "10.0.1.21";

/// A stage with a pod of an agent, and pods that are none, each named as its account, in two namespaces.
fn stage_with_agents() -> Outcome<Stage> {
    let stage = stage()?;
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    for namespace in ["reachproof", "elsewhere"] {
        plane.run_kubectl(["create", "namespace", namespace])?;
        for account in ["reachproof-agent", "reachproof-agent2"] {
            let in_namespace = ["--namespace", namespace];
            let create = ["create", "serviceaccount", account];
            plane.run_kubectl(in_namespace.iter().chain(&create))?;
            plane.send_kubectl(["create", "--filename", "-"], &pod(namespace, account))?;
            let status = json!({"status": {"podIPs": [{"ip": POD_ADDRESS}], "podIP": POD_ADDRESS}});
            let status = status.to_string();
            let patch = [
                "patch",
                "pod",
                account,
                "--subresource=status",
                "--patch",
                &status,
            ];
            plane.run_kubectl(in_namespace.iter().chain(&patch))?;
        }
    }
    Ok(stage)
}

/// A pod that only the API server knows.
fn pod(namespace: &str, account: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": account, "namespace": namespace,
            "labels": {"app.kubernetes.io/instance": "reachproof"},
        },
        "spec": {
            "serviceAccountName": account, "nodeName": NODE,
            "containers": [{"name": "agent", "image": "none"}],
        },
    })
}

/// Asks the API server for a token of an account; bound to its pod, unless told otherwise by `more`.
fn token(stage: &Stage, namespace: &str, account: &str, more: &[&str]) -> Outcome<String> {
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    let create = ["--namespace", namespace, "create", "token", account];
    let said = plane.run_kubectl(create.iter().chain(more))?;
    Ok(said.trim().to_owned())
}

/// Arguments that bind a token to the pod of the account, for our audience.
fn bound(account: &str) -> [&str; 5] {
    [
        "--audience",
        AUDIENCE,
        "--bound-object-kind=Pod",
        "--bound-object-name",
        account,
    ]
}

/// Reviews tokens at the real API server, one after the other, from where a coordinator may be.
fn reviewed(
    stage: &Stage,
    tokens: &[(&str, SystemTime)],
) -> Outcome<(Vec<Result<AgentPod, TokenRefusal>>, u64)> {
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    let front = plane.fronts().first().ok_or("no API server")?;
    let entry = Entry::Kubeconfig {
        path: plane.admin_kubeconfig(&front.name),
        context: None,
    };
    let rules = AgentRules {
        audience: AUDIENCE.to_owned(),
        accounts: vec![("reachproof".to_owned(), "reachproof-agent".to_owned())],
        label: (
            "app.kubernetes.io/instance".to_owned(),
            "reachproof".to_owned(),
        ),
    };
    let answers = stage.lab.within("node-1", || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        runtime.block_on(async {
            let server = ApiServer::connect(&entry, Limits::default()).await;
            let server = server.map_err(|error| explain(&error))?;
            let reviewer = TokenReviewer::new(server, rules);
            let mut answers = Vec::new();
            for (token, now) in tokens {
                answers.push(reviewer.review(token, *now).await);
            }
            Ok::<_, String>((answers, reviewer.counts().reviews))
        })
    })?;
    Ok(answers?)
}

/// Fails unless a token is refused for this reason.
fn refused(stage: &Stage, token: &str, reason: &TokenRefusal) -> CaseResult {
    let (answers, _) = reviewed(stage, &[(token, SystemTime::now())])?;
    match answers.as_slice() {
        [Err(refusal)] if refusal == reason => Ok(()),
        other => Err(format!("{other:?}, not {reason:?}").into()),
    }
}

fn s_01() -> CaseResult {
    let stage = stage_with_agents()?;
    let long = "a".repeat(5 * 1024);
    let now = SystemTime::now();
    let texts = ["", "a.b.c", "a.b", "Basic", &long].map(|text| (text, now));
    let (answers, reviews) = reviewed(&stage, &texts)?;
    if answers.iter().any(Result::is_ok) || reviews != 0 {
        return Err(format!("{answers:?}, {reviews} reviews").into());
    }
    Ok(())
}

fn s_02() -> CaseResult {
    let stage = stage_with_agents()?;
    let bind = [
        "--bound-object-kind=Pod",
        "--bound-object-name",
        "reachproof-agent",
    ];
    let token = token(&stage, "reachproof", "reachproof-agent", &bind)?;
    refused(&stage, &token, &TokenRefusal::Audience)
}

fn s_03() -> CaseResult {
    let stage = stage_with_agents()?;
    let account = "reachproof-agent";
    let token = token(&stage, "elsewhere", account, &bound(account))?;
    refused(&stage, &token, &TokenRefusal::Account)
}

fn s_04() -> CaseResult {
    let stage = stage_with_agents()?;
    let account = "reachproof-agent2";
    let token = token(&stage, "reachproof", account, &bound(account))?;
    refused(&stage, &token, &TokenRefusal::Account)
}

fn s_05() -> CaseResult {
    let stage = stage_with_agents()?;
    let account = "reachproof-agent";
    let token = token(&stage, "reachproof", account, &bound(account))?;
    let now = SystemTime::now();
    // A token of `kubectl` is valid for an hour; a minute is allowed for clocks.
    let late = now + Duration::from_secs(3_600 + 61);
    let early = now - Duration::from_secs(120);
    let (answers, _) = reviewed(&stage, &[(&token, late), (&token, early), (&token, now)])?;
    match answers.as_slice() {
        [
            Err(TokenRefusal::Expired),
            Err(TokenRefusal::NotYetValid),
            Ok(_),
        ] => {}
        other => return Err(format!("{other:?}").into()),
    }
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    plane.run_kubectl([
        "--namespace",
        "reachproof",
        "delete",
        "pod",
        account,
        "--grace-period=0",
        "--force",
    ])?;
    let (answers, _) = reviewed(&stage, &[(&token, SystemTime::now())])?;
    match answers.as_slice() {
        // The API server may remember the token for 10 s; the pod is looked up in any case.
        [Err(TokenRefusal::PodGone | TokenRefusal::NotAuthenticated)] => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn s_07() -> CaseResult {
    let stage = stage_with_agents()?;
    let audience = ["--audience", AUDIENCE];
    let token = token(&stage, "reachproof", "reachproof-agent", &audience)?;
    refused(&stage, &token, &TokenRefusal::Unbound)
}

fn s_08() -> CaseResult {
    let stage = stage_with_agents()?;
    let account = "reachproof-agent";
    let mut more = bound(account);
    let [_, audience, ..] = &mut more;
    *audience = "reachproof/demo/reachproof/another";
    let token = token(&stage, "reachproof", account, &more)?;
    refused(&stage, &token, &TokenRefusal::Audience)
}

fn s_09() -> CaseResult {
    let stage = stage_with_agents()?;
    let account = "reachproof-agent";
    let token = token(&stage, "reachproof", account, &bound(account))?;
    let (answers, reviews) = reviewed(&stage, &[(&token, SystemTime::now())])?;
    let [Ok(pod)] = answers.as_slice() else {
        return Err(format!("{answers:?}").into());
    };
    let address: IpAddr = POD_ADDRESS.parse()?;
    let is_right = pod.name == account
        && pod.node == NODE
        && pod.addresses == [address]
        && pod.place == AgentPlace::Pod
        && reviews == 1;
    if is_right {
        Ok(())
    } else {
        Err(format!("{pod:?} after {reviews} reviews").into())
    }
}
