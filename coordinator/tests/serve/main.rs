//! `reachproof serve` from end to end: the lab is the network, agents stay, rules go and come back, and history, API, page,
//! metrics and alert tell just that.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod endure;
mod http;

use std::error::Error;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reachproof_lab::world::World;
use reachproof_tests::agents::{AGENT_ARGUMENT, AgentProgram, Agents, Dial};
use reachproof_tests::bench::fleet::BARE_ARGUMENT;
use reachproof_tests::binaries::{binary, build_agent};
use reachproof_tests::harness::{Case, CaseResult, run_cases_together};
use reachproof_tests::stage::Stage;
use reachproof_verify::RESUME_WAIT;
use serde_json::Value;

use self::http::{Hook, get, post};

/// Page and API.
const WEB: &str = "127.0.0.1:7080";

/// The same for the command.
const COORDINATOR: [&str; 2] = ["--coordinator", "http://127.0.0.1:7080"];

/// Files that a process may have open, where that is not what is tried.
const FILES: usize = 1024;

/// Files of a process that is to run out of them.
const FEW_FILES: usize = 64;

/// Connections that are dialled at once then.
const DIALS: usize = 500;

/// Longest time until it answers again.
const RECOVERS_MAX: Duration = Duration::from_secs(5);

/// Longest wait for anything: a run with silence takes some 20 s.
const PATIENCE: Duration = Duration::from_secs(150);

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// Longest time that a stop may take.
const STOP_MAX: Duration = Duration::from_secs(10);

/// Token of whoever may read.
const TOKEN: &str = "read-0123456789abcdef";

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some(AGENT_ARGUMENT) => return reachproof_tests::cli::main_from(std::env::args_os()),
        Some(BARE_ARGUMENT) => return reachproof_tests::bench::main_from(std::env::args_os()),
        _ => {}
    }
    run_cases_together(
        || Ok(build_agent()?),
        &[
            Case {
                name: "a_rule_that_goes_and_comes_back_is_told_by_history_page_metrics_and_alert",
                ignored: Some("five runs in a world: two minutes"),
                run: tell_the_story,
            },
            Case {
                name: "a_killed_service_does_its_run_anew_and_another_one_waits_for_the_lead",
                ignored: Some("two runs in a world: a minute"),
                run: survive,
            },
            Case {
                name: "a_node_that_is_drained_is_gone_and_nobody_is_missed",
                ignored: Some("a run after an agent was forgotten: a minute and a half"),
                run: miss_nobody,
            },
            Case {
                name: "a_service_that_ran_out_of_files_answers_again",
                ignored: Some("a thousand connections in a world: twenty seconds"),
                run: run_out_of_files,
            },
            Case {
                name: "many_agents_take_little_memory_and_are_back_soon",
                ignored: Some("500 agents: a minute and a half"),
                run: endure::many,
            },
            Case {
                name: "agents_that_are_gone_without_a_word_are_noticed",
                ignored: Some("waits for a stream that nobody ends: half a minute"),
                run: endure::vanish,
            },
            Case {
                name: "who_reads_nothing_slows_nobody",
                ignored: Some("readers that stall: a minute and a half"),
                run: endure::stall,
            },
            Case {
                name: "a_full_disk_stops_runs_and_loses_nothing",
                ignored: Some("three runs in a world: a minute and a half"),
                run: endure::fill,
            },
            Case {
                name: "results_of_others_of_nobody_and_repeated_ones_are_dropped_and_counted",
                ignored: Some("two runs: half a minute"),
                run: endure::forge,
            },
            Case {
                name: "strangers_are_kept_out_where_others_reach_the_page",
                ignored: None,
                run: keep_out,
            },
        ],
        3,
    )
}

/// The world that ten kinds of change are done to.
fn world() -> Result<World, Box<dyn Error>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/tests/changes/world.yaml");
    Ok(World::parse("world.yaml", &fs::read_to_string(file)?)?)
}

/// A service on its way; killed when dropped.
struct Service {
    process: Child,
    log: PathBuf,
}

impl Service {
    /// Starts the service over the stage's snapshot with `more` in its file of settings; what it says goes to `name`.
    fn start(stage: &Stage, name: &str, more: &str) -> Result<Self, Box<dyn Error>> {
        Self::start_with(stage, name, more, (FILES, &stage.log("store.db")))
    }

    /// The same as a process that may have so many files open, with its store at another place.
    fn start_with(
        stage: &Stage,
        name: &str,
        more: &str,
        (files_max, store): (usize, &Path),
    ) -> Result<Self, Box<dyn Error>> {
        let (config, log) = (stage.log("serve.yaml"), stage.log(name));
        let text = format!(
            "apiVersion: reachproof/v1\nkind: Service\nworld: {{snapshot: {}}}\nagents: {{listen: '{}', credentials: {}}}\nstore: {{path: {}}}\n{more}",
            stage.snapshot().display(),
            stage.control_address()?,
            stage.credentials().display(),
            store.display(),
        );
        fs::write(&config, text)?;
        let process = Command::new("sh")
            .args(["-c", "ulimit -n \"$1\"; shift; exec \"$@\"", "sh"])
            .arg(files_max.to_string())
            .arg(env!("CARGO_BIN_EXE_reachproof"))
            .args(["serve", "--lab", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        Ok(Self { process, log })
    }

    fn signal(&self, signal: Signal) -> CaseResult {
        Ok(kill(
            Pid::from_raw(i32::try_from(self.process.id())?),
            signal,
        )?)
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // One that ended by itself cannot be killed.
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}

/// Waits until `there` finds something.
fn until<T>(
    what: &str,
    service: &Service,
    mut there: impl FnMut() -> Option<T>,
) -> Result<T, Box<dyn Error>> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = there() {
            return Ok(found);
        }
        if Instant::now() > end {
            return Err(format!(
                "{what} did not happen; the service said: {}",
                service.said()
            )
            .into());
        }
        std::thread::sleep(LOOK);
    }
}

/// Waits until the service answers.
fn until_ready(service: &Service) -> CaseResult {
    let ready = || {
        get(WEB, "/readyz")
            .ok()
            .filter(|answer| answer.status == 200)
    };
    until("the page", service, ready).map(drop)
}

fn agents(stage: &Stage) -> Result<Agents, Box<dyn Error>> {
    let dial = Dial::with_tokens(stage)?;
    let program = binary("reachproof-agent")?;
    let places = &stage.expanded.agents;
    Ok(Agents::start(
        stage,
        AgentProgram::Agent(&program),
        &dial,
        places,
    )?)
}

/// Runs, the latest first.
fn runs() -> Vec<Value> {
    let answer = get(WEB, "/api/v1/runs").map(|answer| answer.json());
    answer
        .ok()
        .and_then(|runs| runs.as_array().cloned())
        .unwrap_or_default()
}

/// Asks for a run and waits for its end.
fn run_by_hand(service: &Service) -> Result<Value, Box<dyn Error>> {
    let answer = post(WEB, "/api/v1/runs", "{\"scope\": \"mesh\"}")?;
    hold("a run is accepted", &answer.status, &202)?;
    let id = answer.json()["id"].clone();
    until("the end of a run", service, || {
        runs()
            .into_iter()
            .find(|run| run["id"] == id && run["state"] != "running")
    })
}

fn id(run: &Value) -> &str {
    run["id"].as_str().unwrap_or_default()
}

fn hold<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> CaseResult {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: found {found:#?}, expected {expected:#?}").into())
}

/// Holds the verdict of a run; of another one its report is shown.
fn verdict(run: &Value, expected: &str) -> CaseResult {
    if run["verdict"] == expected {
        return Ok(());
    }
    let report = get(
        WEB,
        &format!("/api/v1/runs/{}/report?format=table", id(run)),
    )?;
    Err(format!(
        "{} in place of {expected}: {}",
        run["verdict"],
        report.text()
    )
    .into())
}

fn has(what: &str, text: &str, words: &str) -> CaseResult {
    if text.contains(words) {
        return Ok(());
    }
    Err(format!("{what} does not say `{words}`: {text}").into())
}

/// The command beside the service, with which it is to end with `code`; what it prints.
fn reachproof(arguments: &[&str], code: i32) -> Result<String, Box<dyn Error>> {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_reachproof"))
        .args(arguments)
        .output()?;
    let said = String::from_utf8_lossy(&stderr).into_owned();
    hold(
        &format!("exit code of {arguments:?} ({said})"),
        &status.code(),
        &Some(code),
    )?;
    Ok(if code == 2 {
        said
    } else {
        String::from_utf8(stdout)?
    })
}

/// The value of a metric.
fn metric(name: &str) -> Result<Option<f64>, Box<dyn Error>> {
    let text = get(WEB, "/metrics")?.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.map(|value| value.trim().parse()).transpose()?)
}

fn tell_the_story() -> CaseResult {
    let mut world = world()?;
    let stage = Stage::up(&world)?;
    let hook = Hook::start()?;
    let more = format!(
        "claims: true\nschedules:\n  - {{name: smoke, cron: '* * * * *', scope: required}}\nalert: {{url: '{}'}}\n",
        hook.url()
    );
    let mut service = Service::start(&stage, "serve", &more)?;
    let agents = agents(&stage)?;
    // The first run is one of the schedule.
    let first = until("a run on the schedule", &service, || {
        runs().into_iter().find(|run| run["state"] == "done")
    })?;
    verdict(&first, "PASS")?;
    hold("what asked for it", &first["cause"], &"smoke".into())?;

    let group = world.security_groups.get_mut("cluster").ok_or("no group")?;
    let rule = group.ingress.pop().ok_or("no rule")?;
    stage.change(&world.expand()?)?;
    let failed = run_by_hand(&service)?;
    verdict(&failed, "FAIL")?;
    let line = "- sg-cluster ingress tcp/443 sg-node (sgr-cluster-in-03)";
    hold("what changed", &failed["changed"], &vec![line].into())?;
    let page = get(WEB, "/")?.text();
    for words in [
        "<span class=\"mark\">FAIL</span>",
        line,
        "aws ec2 authorize-security-group-ingress",
    ] {
        has("the page", &page, words)?;
    }
    in_a_browser(&stage)?;
    names()?;
    hold(
        "broken expectations",
        &metric("reachproof_expectations{state=\"broken\"}")?,
        &Some(1.0),
    )?;

    let group = world.security_groups.get_mut("cluster").ok_or("no group")?;
    group.ingress.push(rule);
    stage.change(&world.expand()?)?;
    let mended = run_by_hand(&service)?;
    verdict(&mended, "PASS")?;
    since_when(&mended)?;

    let told = until("three alerts", &service, || {
        Some(hook.told()).filter(|told| told.len() >= 3)
    })?;
    let expected = [("", "PASS"), ("PASS", "FAIL"), ("FAIL", "PASS")];
    hold(
        "the alerts",
        &told,
        &expected.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec(),
    )?;
    commands(&stage, [&first, &failed, &mended])?;
    drop(agents);

    let begun = Instant::now();
    service.signal(Signal::SIGTERM)?;
    let status = service.process.wait()?;
    hold("exit code after a stop", &status.code(), &Some(0))?;
    hold("a stop takes little", &(begun.elapsed() < STOP_MAX), &true)
}

/// A node that is drained is gone, and everything is in order without it.
fn miss_nobody() -> CaseResult {
    let world = world()?;
    let stage = Stage::up(&world)?;
    let service = Service::start(&stage, "drained", "")?;
    until_ready(&service)?;
    let mut agents = agents(&stage)?;
    until("agents to come in", &service, || {
        agents_known(&stage).then_some(())
    })?;
    drain(&stage, &world, &mut agents)?;
    until("an agent that left is forgotten", &service, || {
        let list = get(WEB, "/api/v1/agents").ok()?.json();
        let agents = list["agents"].as_array()?;
        let left = agents.iter().find(|agent| agent["name"] == "node-2")?;
        (left["heard_s_ago"].as_u64()? > RESUME_WAIT.as_secs()).then_some(())
    })?;
    let drained = run_by_hand(&service)?;
    verdict(&drained, "PASS")?;
    let report = get(WEB, &format!("/api/v1/runs/{}/report", id(&drained)))?.json();
    let gone = serde_json::json!([{
        "name": "ip-10-0-2-20.ec2.internal", "addresses": ["10.0.2.20"], "because": "cordoned",
    }]);
    hold("who is gone", &report["agents"]["gone"], &gone)
}

/// Whether every agent of the world is connected.
fn agents_known(stage: &Stage) -> bool {
    let list = get(WEB, "/api/v1/agents").map(|answer| answer.json());
    let known = list
        .ok()
        .and_then(|list| Some(list["agents"].as_array()?.len()));
    known == Some(stage.expanded.agents.len())
}

/// Takes a node out of service, as `kubectl drain` does: no pod is put there any more, and its agent ends.
fn drain(stage: &Stage, world: &World, agents: &mut Agents) -> CaseResult {
    let mut expanded = world.expand()?;
    let nodes = expanded.plan.snapshot.get_mut("nodes").ok_or("no nodes")?;
    let items = nodes["items"].as_array_mut().ok_or("no list")?;
    let name = |node: &Value| node["metadata"]["name"] == "ip-10-0-2-20.ec2.internal";
    let node = items.iter_mut().find(|node| name(node)).ok_or("no node")?;
    node["spec"]["unschedulable"] = true.into();
    stage.describe(&expanded)?;
    Ok(agents.kill("node-2")?)
}

/// Chromium shows the page, and complains about nothing: neither its script nor its content policy.
fn in_a_browser(stage: &Stage) -> CaseResult {
    for (path, words) in [
        ("/", "authorize-security-group-ingress"),
        ("/flows", "confirmed deny"),
        ("/matrix", "confirmed allow tcp/443"),
        ("/claims", "There are three kinds of security groups"),
        ("/agents", "connected"),
    ] {
        let shown = Command::new("chromium")
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--dump-dom",
            ])
            .args([
                "--disable-background-networking",
                "--enable-logging=stderr",
                "--timeout=8000",
            ])
            .arg(format!(
                "--user-data-dir={}",
                stage.log("profile").display()
            ))
            .arg(format!("http://{WEB}{path}"))
            .output()?;
        let (page, log) = (
            String::from_utf8(shown.stdout)?,
            String::from_utf8_lossy(&shown.stderr).into_owned(),
        );
        has(path, &page, "<nav aria-label=\"Pages\">")?;
        has(path, &page, words)?;
        let complaints: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("CONSOLE"))
            .collect();
        hold(path, &complaints, &Vec::new())?;
    }
    Ok(())
}

/// Every metric that the rules of `deploy/alerts` and the page about it name is there.
fn names() -> CaseResult {
    let metrics = get(WEB, "/metrics")?.text();
    for file in [
        "deploy/alerts/rules.yaml",
        "deploy/alerts/dashboard.json",
        "docs/service.md",
    ] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file))?;
        let is_of_name = |character: char| character.is_ascii_lowercase() || character == '_';
        let named = text.match_indices("reachproof_").map(|(at, _)| {
            let rest = text.get(at..).unwrap_or_default();
            rest.split(|character| !is_of_name(character))
                .next()
                .unwrap_or_default()
        });
        for name in named {
            has(file, &metrics, &format!("\n{name}"))?;
        }
    }
    Ok(())
}

/// A flow was denied from the second run on, and is allowed since the third, `mended`.
fn since_when(mended: &Value) -> CaseResult {
    let flows = get(WEB, "/api/v1/flows")?.json();
    let mut flows = flows.as_array().into_iter().flatten();
    let is_meant = |flow: &&Value| {
        flow["packets"] == "tcp/443"
            && flow["first_run"] == mended["id"]
            && flow["kind"] == "confirmed_allow"
    };
    let flow = flows
        .find(is_meant)
        .ok_or("no flow is allowed since the third run")?;
    let key = flow["flow"].as_str().unwrap_or_default();
    let past = get(WEB, &format!("/api/v1/flows?flow={}", http::escaped(key)))?.json();
    let past = past.as_array().into_iter().flatten();
    let kinds: Vec<&str> = past.filter_map(|one| one["kind"].as_str()).collect();
    hold(
        "the verdicts of the flow",
        &kinds,
        &vec!["confirmed_allow", "confirmed_deny", "confirmed_allow"],
    )
}

/// What the commands say of the three runs.
fn commands(stage: &Stage, [first, failed, mended]: [&Value; 3]) -> CaseResult {
    let ask = |words: &[&str], code| {
        let (command, rest) = words.split_first().ok_or("no command")?;
        reachproof(&[&[*command], COORDINATOR.as_slice(), rest].concat(), code)
    };
    let history = ask(&["history"], 0)?;
    for run in [first, failed, mended] {
        has("history", &history, id(run))?;
    }
    for (words, why) in [
        (["--seed", "1"], "cannot be used with"),
        (
            ["--expectations", "own.yaml"],
            "the settings of the coordinator",
        ),
    ] {
        has(
            "refused",
            &ask(&[&["verify"], words.as_slice()].concat(), 2)?,
            why,
        )?;
    }
    has(
        "no such run to compare with",
        &ask(&["verify", "--baseline", "run-0"], 2)?,
        "no run `run-0`",
    )?;
    has(
        "diff",
        &ask(&["diff", id(first), id(failed)], 1)?,
        "sgr-cluster-in-03",
    )?;
    has("the failed run", &ask(&["history", id(failed)], 1)?, "FAIL")?;
    let connected = ask(&["agents"], 0)?.matches("connected").count();
    hold("agents", &connected, &stage.expanded.agents.len())?;
    covered(stage)?;
    // Whatever it ends with, its verdict is told with its report.
    let verified = Command::new(env!("CARGO_BIN_EXE_reachproof"))
        .arg("verify")
        .args(COORDINATOR)
        .args(["--baseline", id(mended), "-o", "json"])
        .output()?;
    let report: Value = serde_json::from_slice(&verified.stdout)?;
    let earlier = get(WEB, &format!("/api/v1/runs/{}/report", id(mended)))?.json();
    for key in ["seed", "scope"] {
        hold(key, &report["run"][key], &earlier["run"][key])?;
    }
    hold("the earlier run", &report["baseline"]["run"], &mended["id"])?;
    let run = runs()
        .into_iter()
        .find(|run| run["id"] == report["run"]["id"]);
    verdict(&run.ok_or("the run is forgotten")?, "PASS")?;
    hold("exit code of verify", &verified.status.code(), &Some(0))?;
    hold("wire of the report", &report["run"]["wire"], &"lab".into())?;
    has("check", &ask(&["check"], 0)?, "PASS")?;
    has(
        "a run that nobody knows",
        &ask(&["history", "run-0"], 2)?,
        "no run `run-0`",
    )
}

/// A run of the whole mesh had every agent in both roles.
fn covered(stage: &Stage) -> CaseResult {
    let list = get(WEB, "/api/v1/agents")?.json();
    let coverage = &list["coverage"];
    let agents = stage.expanded.agents.len();
    for role in ["agents", "sources", "targets"] {
        hold(role, &coverage[role], &agents.into())?;
    }
    let runs = coverage["runs"].as_u64();
    hold("three runs at least", &(runs >= Some(3)), &true)?;
    let page = get(WEB, "/agents")?.text();
    let all = format!("and {agents} the target.");
    has("the page of agents", &page, &all)?;
    hold("never", &page.contains("never"), &false)
}

fn survive() -> CaseResult {
    let stage = Stage::up(&world()?)?;
    let service = Service::start(&stage, "serve-1", "")?;
    let agents = agents(&stage)?;
    until_ready(&service)?;
    let answer = post(WEB, "/api/v1/runs", "{}")?;
    let asked = answer.json()["id"].clone();
    until("the run", &service, || {
        let status = get(WEB, "/api/v1/status").ok()?.json();
        let progress = status["running"]["progress"].as_str()?;
        progress.contains(" probes").then_some(())
    })?;
    // Another one waits, and says for whom.
    let second = Service::start(&stage, "serve-2", "")?;
    let leader = format!("waiting: process {} on ", service.process.id());
    until("the second service to wait", &second, || {
        second.said().contains(&leader).then_some(())
    })?;
    service.signal(Signal::SIGKILL)?;
    let killed = Instant::now();
    until_ready(&second)?;
    println!(
        "    takes over {} ms after the leader was killed",
        killed.elapsed().as_millis()
    );
    let again = until("the run after the restart", &second, || {
        runs()
            .into_iter()
            .find(|run| run["cause"] == "after a restart" && run["state"] == "done")
    })?;
    verdict(&again, "PASS")?;
    let interrupted = runs()
        .into_iter()
        .find(|run| run["id"] == asked)
        .ok_or("the run is forgotten")?;
    hold(
        "what became of the run",
        &interrupted["state"],
        &"interrupted".into(),
    )?;
    hold("its verdict", &interrupted["verdict"], &"".into())?;
    drop((agents, service));
    Ok(())
}

/// More connections than the service may have files: neither of its ports is deaf for longer than they last.
fn run_out_of_files() -> CaseResult {
    let stage = Stage::up(&world()?)?;
    let service = Service::start_with(&stage, "files", "", (FEW_FILES, &stage.log("store.db")))?;
    until_ready(&service)?;
    let control = stage.control_address()?.to_string();
    for address in [WEB, control.as_str()] {
        let address: SocketAddr = address.parse()?;
        let dials: Vec<TcpStream> = (0..DIALS)
            .filter_map(|_| TcpStream::connect_timeout(&address, LOOK).ok())
            .collect();
        hold("dials", &(dials.len() > FEW_FILES), &true)?;
        std::thread::sleep(LOOK);
        drop(dials);
        let begun = Instant::now();
        until_ready(&service)?;
        let took = begun.elapsed();
        println!("  {address} answers {took:.1?} after {DIALS} dials");
        hold("it recovers", &(took < RECOVERS_MAX), &true)?;
    }
    let _agents = agents(&stage)?;
    until("agents to come in", &service, || {
        agents_known(&stage).then_some(())
    })
}

fn keep_out() -> CaseResult {
    let stage = Stage::up(&world()?)?;
    let token = stage.log("read-token");
    fs::write(&token, TOKEN)?;
    // On loopback a token is asked for where one is given.
    let more = format!("web: {{read-token-file: {}}}\n", token.display());
    let service = Service::start(&stage, "serve", &more)?;
    until_ready(&service)?;
    for path in [
        "/",
        "/flows",
        "/matrix",
        "/claims",
        "/agents",
        "/page.css",
        "/metrics",
        "/runs/x",
        "/api/v1/status",
        "/api/v1/runs",
        "/api/v1/agents",
        "/api/v1/flows",
        "/api/v1/events",
        "/nothing",
    ] {
        hold(path, &get(WEB, path)?.status, &401)?;
    }
    hold("a run", &post(WEB, "/api/v1/runs", "{}")?.status, &401)?;
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let with = |method: &str, path: &str, body: &str| {
        http::ask(
            WEB,
            method,
            path,
            body,
            &[&bearer, "Content-Type: application/json"],
        )
    };
    hold(
        "with the token",
        &with("GET", "/api/v1/status", "")?.status,
        &200,
    )?;
    hold(
        "a run with the token that may read",
        &with("POST", "/api/v1/runs", "{}")?.status,
        &403,
    )?;
    described(|path| with("GET", path, ""))?;
    let unguarded = stage.log("unguarded");
    let text = format!(
        "apiVersion: reachproof/v1\nkind: Service\nworld: {{snapshot: {}}}\nweb: {{listen: '0.0.0.0:7080'}}\n",
        stage.snapshot().display()
    );
    fs::write(&unguarded, text)?;
    let refused = reachproof(&["serve", "--config", &unguarded.display().to_string()], 2)?;
    has(
        "the refusal",
        &refused,
        "unguarded.log:4:15: a page that others can reach needs",
    )
}

/// Every path that the published description has answers.
fn described(ask: impl Fn(&str) -> Result<http::Answer, Box<dyn Error>>) -> CaseResult {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/schemas/openapi.json"
    );
    let described: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    let paths = described["paths"].as_object().into_iter().flatten();
    // Events do not end.
    for (path, _) in paths.filter(|(path, _)| !path.ends_with("/events")) {
        let answer = ask(&path.replace("{id}", "run-0"))?;
        let is_right = match answer.status {
            // `since` is missing.
            400 => path.ends_with("/changes"),
            404 => answer.text().contains("no run `run-0`"),
            status => status == 200,
        };
        hold(
            &format!("{path} ({}: {})", answer.status, answer.text()),
            &is_right,
            &true,
        )?;
    }
    Ok(())
}
