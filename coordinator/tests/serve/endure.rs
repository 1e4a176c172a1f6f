//! What a coordinator that stays has to endure: many agents, agents that vanish, readers that stall, and a full disk.
//!
//! `REACHPROOF_STALL=N` lets readers stall for N seconds (60 by default).

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBuf;
use reachproof_lab::world::World;
use reachproof_service::store::{Place, Store};
use reachproof_tests::bench::Goals;
use reachproof_tests::bench::fleet::{FleetArguments, Forged, fleet, forged};
use reachproof_tests::harness::CaseResult;
use reachproof_tests::stage::Stage;
use serde_json::Value;

use crate::http::{get, post};
use crate::{
    FILES, LOOK, Service, WEB, agents, agents_known, has, hold, id, metric, run_by_hand, runs,
    until, until_ready, verdict, world,
};

/// Agents of the large fleet.
const AGENTS: u16 = 500;

/// Agents of a small one.
const FEW_AGENTS: u16 = 12;

/// Longest time until an agent that is gone without a word counts as gone.
const NOTICED_MAX: Duration = Duration::from_secs(30);

/// Who is gone.
const GONE: &str = "standby";

/// Nothing comes or goes any more: not even the end of a connection.
const DROP_ALL: &str = "add table ip gone
add chain ip gone in { type filter hook input priority -300; policy drop; }
add chain ip gone out { type filter hook output priority -300; policy drop; }
";

/// How long readers stall unless `REACHPROOF_STALL` says so, in seconds.
const STALL_S: u64 = 60;

/// Readers of each kind that stall.
const READERS: usize = 16;

/// What a stalled reader's socket takes, in bytes: as little as the kernel lets it have.
const RECEIVED_BYTES: usize = 1;

/// Times that each path is asked for.
const ASKED: usize = 20;

/// Longest time for an answer of a service that is not held up, on a machine that does other things.
const ANSWERED_MAX: Duration = Duration::from_secs(5);

/// Room of the store that is filled, in bytes: its tables and some runs.
const ROOM: &str = "size=4m";

/// Five hundred agents, whose server is killed: the same as `reachproof-bench fleet`, with a debug build.
pub(crate) fn many() -> CaseResult {
    let goals = fleet(&FleetArguments {
        agents: AGENTS,
        program: Some(env!("CARGO_BIN_EXE_reachproof").into()),
    })?;
    hold("goals", &goals, &Goals::Reached)
}

/// An agent that reports silence of probes that nobody asked it for, of others' and of no run, and all of its own three times:
/// nothing of that counts, and all of it is counted.
pub(crate) fn forge() -> CaseResult {
    let program = Path::new(env!("CARGO_BIN_EXE_reachproof"));
    let honest = forged(program, (FEW_AGENTS, true))?;
    let forged = forged(program, (FEW_AGENTS, false))?;
    hold("findings", &found(&forged)?, &found(&honest)?)?;
    for reason in ["unasked", "repeated", "no_run"] {
        let name = format!("reachproof_results_dropped_total{{reason=\"{reason}\"}} ");
        let count = |of: &Forged| {
            let line = of.metrics.lines().find_map(|line| line.strip_prefix(&name));
            line.and_then(|count| count.parse::<u64>().ok())
        };
        hold("dropped of honest agents", &count(&honest), &Some(0))?;
        let dropped = count(&forged).unwrap_or_default();
        println!("  {dropped} dropped as {reason}");
        hold("something is dropped", &(dropped > 0), &true)?;
    }
    Ok(())
}

/// What a run found, and by how many attempts each; two runs may try other members of the same class.
fn found(of: &Forged) -> Result<Vec<String>, Box<dyn Error>> {
    let report: Value = serde_json::from_str(&of.report)?;
    let findings = report["findings"].as_array().ok_or("no findings")?;
    hold("there are findings", &findings.is_empty(), &false)?;
    let lines = findings.iter().map(|finding| {
        let attempts = finding["observation"]["attempts"].as_array();
        format!("{} {:?}", finding["kind"], attempts.map(Vec::len))
    });
    let mut lines: Vec<String> = lines.collect();
    lines.sort_unstable();
    Ok(lines)
}

/// A stage with a service to which all agents are connected.
fn connected(
    name: &str,
) -> Result<(Stage, World, Service, reachproof_tests::agents::Agents), Box<dyn Error>> {
    let world = world()?;
    let stage = Stage::up(&world)?;
    let service = Service::start(&stage, name, "")?;
    until_ready(&service)?;
    let agents = agents(&stage)?;
    until("agents to come in", &service, || {
        agents_known(&stage).then_some(())
    })?;
    Ok((stage, world, service, agents))
}

/// What is said of an agent.
fn agent(name: &str) -> Option<Value> {
    let list = get(WEB, "/api/v1/agents").ok()?.json();
    let agents = list["agents"].as_array()?;
    agents.iter().find(|agent| agent["name"] == name).cloned()
}

/// The machine of an agent is gone at once: nothing ends its stream.
pub(crate) fn vanish() -> CaseResult {
    let (stage, _world, service, mut agents) = connected("vanish")?;
    let gone = "reachproof_agents{kind=\"node\",state=\"stale\"}";
    hold("nobody is gone", &metric(gone)?.unwrap_or_default(), &0.0)?;
    let mut drop_all = stage.lab.command(GONE, "nft".as_ref())?;
    let mut drop_all = drop_all
        .args(["-f", "-"])
        .stdin(std::process::Stdio::piped())
        .spawn()?;
    let mut stdin = drop_all.stdin.take().ok_or("no stdin")?;
    stdin.write_all(DROP_ALL.as_bytes())?;
    drop(stdin);
    hold("nft", &drop_all.wait()?.success(), &true)?;
    let vanished = Instant::now();
    agents.kill(GONE)?;
    until("it to be noticed", &service, || {
        (agent(GONE)?["is_connected"] == false).then_some(())
    })?;
    let noticed = vanished.elapsed();
    println!("  an agent that is gone without a word is noticed after {noticed:.1?}");
    hold("it is noticed", &(noticed < NOTICED_MAX), &true)?;
    hold("it is counted", &metric(gone)?, &Some(1.0))?;
    has("the page", &get(WEB, "/agents")?.text(), "away, last heard")
}

/// Readers of events, of the page and of a report who take nothing, and an agent that stands still: others are answered as before.
pub(crate) fn stall() -> CaseResult {
    let seconds = std::env::var("REACHPROOF_STALL").ok();
    let seconds = seconds.map_or(Ok(STALL_S), |seconds| seconds.parse())?;
    let (_stage, _world, service, agents) = connected("stall")?;
    let run = run_by_hand(&service)?;
    let report = format!("/api/v1/runs/{}/report", id(&run));
    let asked = ["/", "/api/v1/status", "/api/v1/agents"];
    let before = asked.map(took);
    let mut readers = Vec::new();
    for path in ["/api/v1/events", "/", &report] {
        for _ in 0..READERS {
            readers.push(reader(path)?);
        }
    }
    agents.signal(GONE, Signal::SIGSTOP)?;
    let begun = Instant::now();
    // Events that nobody takes.
    post(WEB, "/api/v1/runs", "{}")?;
    let mut during = asked.map(took);
    while begun.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(LOOK);
        during = asked.map(took);
    }
    for ((path, before), during) in asked.iter().zip(before).zip(during) {
        let (before, during) = (before?, during?);
        println!(
            "  {path:<15} {before:>6.1?} in the middle of {ASKED}, {during:>6.1?} ({:.1} x) beside {} who read nothing for {seconds} s",
            during.as_secs_f64() / before.as_secs_f64(),
            readers.len()
        );
        hold(path, &(during < ANSWERED_MAX), &true)?;
    }
    agents.signal(GONE, Signal::SIGCONT)?;
    until("all agents again", &service, || {
        let list = get(WEB, "/api/v1/agents").ok()?.json();
        let mut agents = list["agents"].as_array()?.iter();
        agents
            .all(|agent| agent["is_connected"] == true)
            .then_some(())
    })
}

/// A connection on which `path` was asked for, and nothing is read.
fn reader(path: &str) -> Result<TcpStream, Box<dyn Error>> {
    let mut stream = TcpStream::connect(WEB)?;
    setsockopt(&stream, RcvBuf, &RECEIVED_BYTES)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {WEB}\r\n\r\n")?;
    Ok(stream)
}

/// Time in which half of the answers come.
fn took(path: &str) -> Result<Duration, String> {
    let mut times = Vec::with_capacity(ASKED);
    for _ in 0..ASKED {
        let begun = Instant::now();
        let answer = get(WEB, path).map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("{path}: {}", answer.text()));
        }
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times
        .get(ASKED / 2)
        .copied()
        .ok_or_else(|| "nothing was asked".to_owned())
}

/// A disk that is full, with a run on its way and with a process that is killed meanwhile.
pub(crate) fn fill() -> CaseResult {
    let world = world()?;
    let stage = Stage::up(&world)?;
    let disk = stage.log("disk");
    fs::create_dir(&disk)?;
    mount(
        Some("none"),
        &disk,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(ROOM),
    )?;
    let store = disk.join("store.db");
    let start = || Service::start_with(&stage, "full", "", (FILES, &store));
    let service = start()?;
    let _agents = agents(&stage)?;
    until_ready(&service)?;
    let first = run_by_hand(&service)?;
    verdict(&first, "PASS")?;

    // In the middle of a run: its report waits for room.
    let second = ask()?;
    until("the run", &service, || running(" probes"))?;
    let filler = full(&disk)?;
    stopped(&service)?;
    let known = runs();
    hold("runs of a full disk", &known.len(), &2)?;
    hold("the run before", &known.get(1), &Some(&first))?;
    // What is asked for meanwhile does not begin.
    let third = ask()?;
    hold("the run that waits", &running("").is_some(), &true)?;
    fs::remove_file(&filler)?;
    let freed = Instant::now();
    until_ready(&service)?;
    println!(
        "  ready {:.1?} after a full disk had room again",
        freed.elapsed()
    );
    for run in [&second, &third] {
        verdict(&ended(&service, run)?, "PASS")?;
    }

    // Killed while it waits for room.
    let fourth = ask()?;
    until("the run", &service, || running(" probes"))?;
    let filler = full(&disk)?;
    stopped(&service)?;
    drop(service);
    fs::remove_file(filler)?;
    let service = start()?;
    until_ready(&service)?;
    let again = until("the run after the restart", &service, || {
        let mut runs = runs().into_iter();
        runs.find(|run| run["cause"] == "after a restart" && run["state"] == "done")
    })?;
    verdict(&again, "PASS")?;
    let interrupted = ended(&service, &fourth)?;
    hold("its state", &interrupted["state"], &"interrupted".into())?;
    hold("its verdict", &interrupted["verdict"], &"".into())?;
    let told = runs();
    hold("all runs", &told.len(), &5)?;
    hold("the first run", &told.last(), &Some(&first))?;
    drop(service);
    whole(&store, &told)
}

/// Asks for a run; its name.
fn ask() -> Result<String, Box<dyn Error>> {
    let answer = post(WEB, "/api/v1/runs", "{\"scope\": \"required\"}")?;
    hold("a run is accepted", &answer.status, &202)?;
    Ok(id(&answer.json()).to_owned())
}

/// Whether a run goes on whose progress says so.
fn running(words: &str) -> Option<()> {
    let status = get(WEB, "/api/v1/status").ok()?.json();
    let progress = status["running"]["progress"].as_str()?;
    progress.contains(words).then_some(())
}

/// Waits for the end of a run.
fn ended(service: &Service, run: &str) -> Result<Value, Box<dyn Error>> {
    until("the end of a run", service, || {
        let mut runs = runs().into_iter();
        runs.find(|one| id(one) == run && one["state"] != "running")
    })
}

/// Writes to a file of its own until nothing more is taken; its path.
fn full(disk: &Path) -> Result<std::path::PathBuf, Box<dyn Error>> {
    let path = disk.join("filler");
    let mut filler = File::create(&path)?;
    for block in [64 * 1024, 1] {
        while filler.write(&vec![0; block]).is_ok() {}
    }
    Ok(path)
}

/// Waits until the service says that the disk is full, which it does in every place.
fn stopped(service: &Service) -> CaseResult {
    until("503 of /readyz", service, || {
        (get(WEB, "/readyz").ok()?.status == 503).then_some(())
    })?;
    let status = get(WEB, "/api/v1/status")?.json();
    let fault = status["fault"].as_str().unwrap_or_default();
    has("the state", fault, "full")?;
    has("the page", &get(WEB, "/")?.text(), "full")?;
    hold("the metric", &metric("reachproof_store_fault")?, &Some(1.0))
}

/// The file is whole, and holds each run that was told with its report, once.
fn whole(path: &Path, told: &[Value]) -> CaseResult {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let store = Store::open(&Place::File(path.to_owned())).await?;
        hold("the file", &store.integrity().await?, &"ok".to_owned())?;
        let kept = store.runs(u32::MAX).await?;
        let names: Vec<&str> = kept.iter().map(|run| run.id.as_str()).collect();
        let told: Vec<&str> = told.iter().map(id).collect();
        hold("the runs", &names, &told)?;
        for run in &kept {
            let has_report = store.report(&run.id).await?.is_some();
            let is_done = run.state == reachproof_service::store::RunState::Done;
            hold(&run.id, &has_report, &is_done)?;
        }
        store.close().await;
        Ok(())
    })
}
