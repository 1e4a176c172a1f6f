//! What an agent costs that is attached and has nothing to do.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use reachproof_lab::world::World;
use serde_json::{Value, json};

use super::{Goals, Measured, farm::run, hold, print, usage::memory_kib};

/// How long it is watched.
#[derive(Debug, Args)]
pub struct IdleArguments {
    /// Seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Directory with `reachproof` and `reachproof-agent`; left out: that of this program.
    #[arg(long)]
    programs: Option<PathBuf>,
}

/// Longest wait until the agent is attached.
const ATTACH_MAX: Duration = Duration::from_secs(30);

/// Address that the agent claims: one of a host of the world.
const ADDRESS: &str = "10.0.1.20";

/// Time after attaching that does not count: handshakes, first messages.
const SETTLE: Duration = Duration::from_secs(3);

/// A program that is killed when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that ended by itself cannot be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the kernel counted for all threads of a process.
#[derive(Debug, Clone, Copy)]
struct Count {
    run_ns: u64,
    switches: u64,
}

/// Attaches an agent to a coordinator that waits for another one, and watches it.
///
/// # Errors
/// When one of the programs is not there or does not start.
pub fn idle(arguments: &IdleArguments) -> Measured<Goals> {
    let programs = match &arguments.programs {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name(""),
    };
    for program in ["reachproof", "reachproof-agent"] {
        let path = programs.join(program);
        if !path.exists() {
            let path = path.display();
            return Err(format!("there is no `{path}`: build it, or name its directory").into());
        }
    }
    run("ip", &["link", "set", "lo", "up"], "")?;
    measure(&programs, arguments.seconds)
}

/// Starts both programs of a directory, waits until the agent is attached and at rest, and watches it.
fn measure(programs: &Path, seconds: u32) -> Measured<Goals> {
    let directory = tempfile::Builder::new().tempdir_in("/run/netns")?;
    let file = |name: &str| directory.path().join(name);
    let snapshot = World::builtin("default")?.expand()?.plan.snapshot;
    fs::write(file("snapshot.json"), Value::Object(snapshot).to_string())?;
    fs::write(file("expected"), "idle\nnever\n")?;
    fs::write(
        file("policy.json"),
        json!({"allow": ["10.0.0.0/16"]}).to_string(),
    )?;
    let coordinator = Command::new(programs.join("reachproof"))
        .args(["verify", "--listen", "127.0.0.1:7443", "--wait"])
        .arg(format!("{}s", seconds + 60))
        .arg("--snapshot")
        .arg(file("snapshot.json"))
        .arg("--expect")
        .arg(file("expected"))
        .arg("--credentials")
        .arg(file("credentials"))
        .stdout(Stdio::null())
        .stderr(File::create(file("coordinator.log"))?)
        .spawn()?;
    let _coordinator = Running(coordinator);
    let ca = file("credentials").join("ca.crt");
    until(|| ca.exists(), "the coordinator wrote no credentials")?;
    let token = Command::new(programs.join("reachproof"))
        .args(["token", "--name", "idle", "--kind", "node"])
        .args(["--address", ADDRESS, "--credentials"])
        .arg(file("credentials"))
        .output()?;
    fs::write(file("token"), token.stdout)?;
    let agent = programs.join("reachproof-agent");
    let running = Command::new(&agent)
        .args([
            "run",
            "--coordinator",
            "https://127.0.0.1:7443",
            "--name",
            "idle",
        ])
        .args(["--kind", "node", "--address", ADDRESS, "--ca"])
        .arg(ca)
        .arg("--token-file")
        .arg(file("token"))
        .arg("--policy")
        .arg(file("policy.json"))
        .stderr(File::create(file("agent.log"))?)
        .spawn()?;
    let running = Running(running);
    let attached = || {
        let health = Command::new(&agent)
            .args(["health", "--attached", "--name", "idle"])
            .output();
        health.is_ok_and(|output| output.status.success())
    };
    until(attached, "the agent did not attach")?;
    thread::sleep(SETTLE);
    watch(running.0.id(), seconds)
}

/// Counts for so many seconds and holds the figures against the goals.
fn watch(process: u32, seconds: u32) -> Measured<Goals> {
    let before = count(process)?;
    thread::sleep(Duration::from_secs(seconds.into()));
    let after = count(process)?;
    let rate = |before: u64, after: u64| -> Measured<f64> {
        Ok(f64::from(u32::try_from(after - before)?) / f64::from(seconds))
    };
    let memory = |line: &str| {
        let kib = memory_kib(&process.to_string(), line).and_then(|kib| u32::try_from(kib).ok());
        kib.map_or(f64::NAN, |kib| f64::from(kib) / 1024.0)
    };
    print(&format!(
        "attached with TLS 1.3, {seconds} s; anonymous memory {:.2} MiB",
        memory("RssAnon:")
    ));
    let cpu = rate(before.run_ns, after.run_ns)? / 1e6;
    let goals = hold("RSS idle, TLS included, MiB", memory("VmRSS:"), 8.0);
    let goals = goals.and(hold("CPU, ms a second", cpu, 0.2));
    let wakes = rate(before.switches, after.switches)?;
    Ok(goals.and(hold("wake-ups a second, all threads", wakes, 2.0)))
}

/// Waits until something is so.
fn until(there: impl Fn() -> bool, otherwise: &str) -> Measured<()> {
    let end = Instant::now() + ATTACH_MAX;
    while !there() {
        if Instant::now() > end {
            return Err(otherwise.into());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Time on a core (`schedstat`) and voluntary switches (`status`) of all threads until now.
fn count(process: u32) -> Measured<Count> {
    let mut count = Count {
        run_ns: 0,
        switches: 0,
    };
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let task = task?.path();
        let schedule = fs::read_to_string(task.join("schedstat"))?;
        count.run_ns += schedule
            .split(' ')
            .next()
            .ok_or("schedstat is empty")?
            .parse::<u64>()?;
        let status = fs::read_to_string(task.join("status"))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.switches += line.ok_or("no count of switches")?.trim().parse::<u64>()?;
    }
    Ok(count)
}
