//! `reachproof verify --cluster` from end to end: the lab is the network, a server of ours is EC2 and EKS, and real API
//! servers stand behind the control plane's interfaces.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    reason = "test code, part of which belongs to the reader's own tests"
)]

mod chart;
#[path = "../../aws/tests/support/replay.rs"]
mod replay;
mod schedule;
#[path = "../../aws/tests/support/world.rs"]
mod world;
#[path = "../../aws/tests/support/xml.rs"]
mod xml;

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use reachproof_lab::kubernetes::Program;
use reachproof_lab::world::World as LabWorld;
use reachproof_model::plan::Depth;
use reachproof_tests::agents::{AGENT_ARGUMENT, AgentProgram, Agents};
use reachproof_tests::binaries;
use reachproof_tests::coordinator::Coordinator;
use reachproof_tests::harness::{Case, CaseResult, run_cases};
use reachproof_tests::helm::Helm;
use reachproof_tests::judge::differences;
use reachproof_tests::stage::{Pods, Stage};
use replay::{Fault, Replay};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use world::World;

const NEEDS_GO: Option<&str> = Some("needs Go to build a control plane");

/// Leaves the runs on a schedule and the chart out, which take minutes.
const WITHOUT: &str = "REACHPROOF_WITHOUT_SCHEDULE";

/// Where the coordinator runs: a node, from which the API servers and all agents are reached through the VPC.
const HOST: &str = "node-1";

/// Longest wait for agents, all of which come.
const WAIT: Duration = Duration::from_secs(60);

/// Longest wait until the API servers are registered and nothing changes any more.
const QUIET_WITHIN: Duration = Duration::from_secs(90);

/// How long nothing must have changed.
const QUIET: Duration = Duration::from_secs(5);

/// Asks for every endpoint slice, without what changes by itself.
const SLICES: [&str; 5] = [
    "get",
    "endpointslices",
    "--all-namespaces",
    "--output",
    "jsonpath={range .items[*]}{.metadata.name}{.endpoints}{end}",
];

/// The account of `deploy/rbac-reader.yaml`.
const ACCOUNT: &str = "reachproof-coordinator";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(AGENT_ARGUMENT) {
        return reachproof_tests::cli::main_from(std::env::args_os());
    }
    let mut cases = vec![
        Case {
            name: "a_cluster_by_its_name_gives_the_findings_of_its_snapshot",
            ignored: NEEDS_GO,
            run: a_cluster_by_its_name_gives_the_findings_of_its_snapshot,
        },
        Case {
            name: "doctor_finds_nothing_missing_and_a_snapshot_serves_as_the_cluster_also_redacted",
            ignored: NEEDS_GO,
            run: doctor_finds_nothing_missing_and_a_snapshot_serves_as_the_cluster_also_redacted,
        },
        Case {
            name: "a_rule_revoked_during_a_run_leaves_its_flows_unconfirmed_and_the_others_as_they_are",
            ignored: NEEDS_GO,
            run:
                a_rule_revoked_during_a_run_leaves_its_flows_unconfirmed_and_the_others_as_they_are,
        },
    ];
    if std::env::var_os(WITHOUT).is_none() {
        cases.push(Case {
            name: "a_schedule_tells_of_a_revoked_rule_by_history_event_and_job",
            ignored: NEEDS_GO,
            run: schedule::a_schedule_tells_of_a_revoked_rule_by_history_event_and_job,
        });
        cases.push(Case {
            name: "the_chart_is_installed_asked_upgraded_tested_and_taken_away",
            ignored: NEEDS_GO,
            run: chart::the_chart_is_installed_asked_upgraded_tested_and_taken_away,
        });
    }
    run_cases(build, &cases)
}

/// Outside the lab, from which Go could not fetch modules.
fn build() -> CaseResult {
    Program::build(|text| println!("{text}"))?;
    Helm::get()?;
    // Agents by manifest are the binary; the program under test has more than one that is built here.
    Ok(binaries::build_agent()?)
}

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A lab whose world is to be had from EC2, EKS and an API server.
struct Live {
    // Dropped before the runtime that serves it.
    replay: Replay,
    _runtime: Runtime,
    kubeconfig: PathBuf,
    lab_world: LabWorld,
    stage: Stage,
}

impl Live {
    /// The default world, with a way for agents to the coordinator.
    fn up() -> Outcome<Self> {
        let mut lab_world = LabWorld::builtin("default")?;
        lab_world.coordinator = Some(HOST.to_owned());
        let cluster = lab_world.security_groups.get_mut("cluster");
        let ingress = &mut cluster.ok_or("the world has no cluster group")?.ingress;
        ingress.push("tcp 7443 from 10.0.0.0/16".to_owned().try_into()?);
        Self::of(lab_world, Pods::All)
    }

    /// A world whose coordinator agents can reach.
    fn of(lab_world: LabWorld, pods: Pods) -> Outcome<Self> {
        let mut stage = Stage::up(&lab_world)?;
        let program = Program::find().ok_or("the control plane was not built")?;
        stage.start_kubernetes(program, pods)?;
        await_quiet(&stage)?;
        let kubeconfig = account(&stage)?;
        let listener = stage
            .lab
            .within(HOST, || TcpListener::bind("127.0.0.1:0"))??;
        let runtime = Runtime::new()?;
        let world = World(stage.expanded.plan.snapshot.clone());
        let replay = {
            let _inside = runtime.enter();
            Replay::on(listener, world, |_| Fault::Pages(3))
        };
        Ok(Self {
            replay,
            _runtime: runtime,
            kubeconfig,
            lab_world,
            stage,
        })
    }

    /// `verify --cluster` with a settle time that nobody has to wait for.
    fn verify(&self) -> Outcome<Command> {
        let mut command = self.command("verify")?;
        command.args(["--settle", "1s"]);
        Ok(command)
    }

    /// A command over the cluster, with an environment that leads to the replay server and nowhere else.
    fn command(&self, name: &str) -> Outcome<Command> {
        let mut command = self.stage.coordinator_command(reachproof())?;
        command
            .args([name, "--cluster", "demo", "--region", "us-east-1"])
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .env_clear()
            .env(
                "AWS_ENDPOINT_URL",
                format!("http://{}", self.replay.address()),
            )
            .env("AWS_ACCESS_KEY_ID", "AKID")
            .env("AWS_SECRET_ACCESS_KEY", "secret");
        Ok(command)
    }

    /// Runs a coordinator to its end, with an agent at every place of the world; `during` is called once they probe.
    fn play(
        &self,
        command: Command,
        during: impl FnOnce(&Self) -> CaseResult,
    ) -> Outcome<(u8, Value)> {
        let program = std::env::current_exe()?;
        let expected = Coordinator::expect_all(&self.stage)?;
        let (coordinator, dial) = Coordinator::spawn(
            &self.stage,
            command,
            expected.as_os_str(),
            WAIT,
            Depth::Mesh,
        )?;
        let program = AgentProgram::Runner(&program);
        let agents = Agents::start(&self.stage, program, &dial, &self.stage.expanded.agents)?;
        during(self)?;
        let ended = coordinator.finish()?;
        drop(agents);
        Ok(ended)
    }
}

/// The command under test.
fn reachproof() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_reachproof"))
}

/// Waits until every API server is in the endpoint slice of `default/kubernetes`, and no slice changes any more: API
/// servers register one after the other, controllers follow, and each step is a change of the world.
fn await_quiet(stage: &Stage) -> CaseResult {
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    let end = Instant::now() + QUIET_WITHIN;
    let mut before = String::new();
    loop {
        let slices = plane.run_kubectl(SLICES)?;
        let fronts = plane.fronts().iter();
        let mut own = fronts.map(|front| format!("\"{}\"", front.address));
        if slices == before && own.all(|address| slices.contains(&address)) {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(format!("the endpoint slices go on changing: {slices}").into());
        }
        before = slices;
        std::thread::sleep(QUIET);
    }
}

/// Gives the account of `deploy/rbac-reader.yaml` to the coordinator: its kubeconfig, for the first API server.
fn account(stage: &Stage) -> Outcome<PathBuf> {
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    let front = plane
        .fronts()
        .first()
        .ok_or("the control plane has no front")?;
    plane.run_kubectl(["create", "namespace", "reachproof"])?;
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rbac-reader.yaml");
    plane.run_kubectl([OsStr::new("apply"), OsStr::new("-f"), rules.as_os_str()])?;
    let token = plane.run_kubectl(["--namespace", "reachproof", "create", "token", ACCOUNT])?;
    Ok(plane.kubeconfig_with_token(front, "reader", token.trim())?)
}

/// Each flow of a report with the kind of its finding and the reason.
fn findings(report: &Value) -> BTreeMap<String, (String, String)> {
    let all = report["findings"].as_array().unwrap().iter();
    all.map(|finding| {
        let kind = finding["kind"].as_str().unwrap().to_owned();
        (
            finding["flow"].to_string(),
            (kind, finding["reason"].to_string()),
        )
    })
    .collect()
}

/// Fails if the report is not as the world states.
fn judge(live: &Live, exit: u8, report: &Value) -> CaseResult {
    let found = differences(
        &live.lab_world.expect,
        report,
        exit,
        live.stage.lab.endpoints(),
    )?;
    if found.is_empty() {
        Ok(())
    } else {
        Err(found.join("\n").into())
    }
}

fn a_cluster_by_its_name_gives_the_findings_of_its_snapshot() -> CaseResult {
    let live = Live::up()?;
    let (exit, report) = live.play(live.verify()?, |_| Ok(()))?;
    judge(&live, exit, &report)?;
    assert_eq!(
        report["stability"]["state"], "stable",
        "{}",
        report["stability"]
    );
    let told = fs::read_to_string(live.stage.log("coordinator"))?;
    let readings = report["run"]["readings"].as_array().unwrap();
    assert_eq!(
        readings.len(),
        3,
        "at the start, settled, at the end: {readings:?}"
    );
    for reading in readings {
        let cost = format!("{} calls, {} pages", reading["calls"], reading["pages"]);
        assert!(told.contains(&cost), "`{cost}` is not in: {told}");
    }

    let mut saved = live.stage.coordinator_command(reachproof())?;
    saved
        .arg("verify")
        .arg("--snapshot")
        .arg(live.stage.snapshot());
    let (saved_exit, saved_report) = live.play(saved, |_| Ok(()))?;
    assert_eq!(exit, saved_exit);
    assert_eq!(findings(&report), findings(&saved_report));
    println!(
        "  {} findings, the same by name and by snapshot",
        findings(&report).len()
    );
    Ok(())
}

fn doctor_finds_nothing_missing_and_a_snapshot_serves_as_the_cluster_also_redacted() -> CaseResult {
    let live = Live::up()?;
    let mut doctor = live.command("doctor")?;
    let output = doctor.args(["--listen", "10.0.1.20:7443"]).output()?;
    let lines = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(0), "{lines}");
    let states = lines.lines().take_while(|line| !line.is_empty());
    for line in states {
        // The manifests of agents, which bring this right, are not applied here: a run does without it.
        let may_lack = line.starts_with("unknown  control plane as source");
        assert!(line.starts_with("ok ") || may_lack, "{line}");
    }
    for subject in [
        "no `get` on pods/proxy in reachproof, reachproof-host",
        "kubernetes rights",
        "agents reachable",
        "way to the control plane",
        "PASS   nothing is missing; not known: control plane as source ",
    ] {
        assert!(lines.contains(subject), "{lines}");
    }

    let plane = live
        .stage
        .kubernetes()
        .ok_or("the stage has no control plane")?;
    let label = format!("account={ACCOUNT_ID}");
    plane.run_kubectl(["label", "pod", "--namespace", "default", "web", &label])?;
    let mut halves = Vec::new();
    for (name, further) in [("plain", None), ("redacted", Some("--redact"))] {
        let directory = live.stage.log(name);
        let mut snapshot = live.command("snapshot")?;
        let output = snapshot
            .arg("--output")
            .arg(&directory)
            .args(further)
            .output()?;
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        halves.push(directory);
    }
    let texts = [files(&halves[0])?, files(&halves[1])?];
    assert!(texts[0]["pods.json"].contains(ACCOUNT_ID));
    assert_eq!(texts[0].len(), texts[1].len());
    for (name, text) in &texts[1] {
        assert!(!text.contains(ACCOUNT_ID), "{name}");
    }
    let answers = halves.iter().map(|directory| matrix(&live, directory));
    let answers = answers.collect::<Outcome<Vec<String>>>()?;
    assert!(answers[0].lines().count() > 10, "{}", answers[0]);
    assert_eq!(answers[0], answers[1]);

    let by_name = manifests(&live, live.command("manifests")?)?;
    let mut by_snapshot = live.stage.coordinator_command(reachproof())?;
    by_snapshot
        .arg("manifests")
        .args(["--tokens", "reviewed"])
        .arg("--snapshot")
        .arg(&halves[0]);
    assert!(by_name.contains("kind: DaemonSet"), "{by_name}");
    assert_eq!(by_name, manifests(&live, by_snapshot)?);
    Ok(())
}

/// The manifests of a run, with the credentials of the first call.
fn manifests(live: &Live, mut command: Command) -> Outcome<String> {
    let output = command
        .args(["--image", "registry.example/reachproof-agent:1"])
        .args(["--coordinator", "10.0.1.20:7443", "--host-network"])
        .arg("--credentials")
        .arg(live.stage.log("credentials"))
        .output()?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// The account of every world of the lab.
const ACCOUNT_ID: &str = "111122223333";

/// The texts of a directory's files by their names.
fn files(directory: &Path) -> Outcome<BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        texts.insert(name, fs::read_to_string(entry.path())?);
    }
    Ok(texts)
}

/// What the model says of every pair of classes over a snapshot.
fn matrix(live: &Live, snapshot: &Path) -> Outcome<String> {
    let mut command = live.stage.coordinator_command(reachproof())?;
    let output = command
        .arg("matrix")
        .arg("--snapshot")
        .arg(snapshot)
        .args(["-o", "csv"])
        .output()?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

fn a_rule_revoked_during_a_run_leaves_its_flows_unconfirmed_and_the_others_as_they_are()
-> CaseResult {
    let live = Live::up()?;
    let (exit, report) = live.play(live.verify()?, |live| {
        live.stage.await_listeners()?;
        live.replay.replace(without_outsiders_rule(&live.stage));
        Ok(())
    })?;
    assert_eq!(
        report["stability"]["state"], "changed",
        "{}",
        report["stability"]
    );
    let (mut touched, mut kept) = (0, 0);
    for (flow, (kind, reason)) in findings(&report) {
        let parsed: Value = serde_json::from_str(&flow)?;
        let to_outsider = ["10.0.1.60", "10.0.2.60"]
            .map(Value::from)
            .contains(&parsed["destination"]);
        if to_outsider && parsed["port"] == 8_080 && kind != "not_observed" {
            assert_eq!(
                (kind.as_str(), reason.as_str()),
                ("inconclusive", "\"unstable\""),
                "{flow}"
            );
            touched += 1;
        } else {
            assert_ne!(reason, "\"unstable\"", "{flow}");
            kept += usize::from(kind.starts_with("confirmed"));
        }
    }
    assert!(
        touched > 0 && kept > 0,
        "{touched} touched, {kept} confirmed"
    );
    println!("  {touched} flows unstable, {kept} confirmed, exit {exit}");
    Ok(())
}

/// The stage's world after the outsiders' one rule was revoked.
fn without_outsiders_rule(stage: &Stage) -> World {
    let mut world = World(stage.expanded.plan.snapshot.clone());
    for group in world.list_mut("describe-security-groups", "SecurityGroups") {
        if group["GroupId"] == "sg-outsider" {
            group["IpPermissions"] = json!([]);
        }
    }
    let rules = world.list_mut("describe-security-group-rules", "SecurityGroupRules");
    rules.retain(|rule| rule["GroupId"] != "sg-outsider" || rule["IsEgress"] == true);
    world
}
