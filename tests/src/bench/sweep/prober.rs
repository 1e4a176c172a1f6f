//! One tool that sweeps once.

use std::{
    collections::BTreeMap,
    fs::File,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        resource::UsageWho,
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};

use super::{
    super::{
        Measured, print,
        usage::{Stopwatch, Usage, peak_kib},
    },
    SweepArguments, nmap,
};

/// Attempts for each target, as in ARCHITECTURE, "The instrument".
pub(super) const ATTEMPTS: u32 = 2;

/// How long an attempt waits, in milliseconds, as in ARCHITECTURE, "The instrument".
pub(super) const TIMEOUT_MS: u64 = 1_000;

/// Wrong words of a sweep that are shown.
const WRONG_SHOWN: usize = 3;

/// Longest sweep of any tool; nothing that is compared takes half as long.
const SWEEP_MAX: Duration = Duration::from_secs(120);

/// Time between two looks at a process's memory.
const LOOK: Duration = Duration::from_millis(5);

/// A prober.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Prober {
    Floor,
    Engine,
    Evidence,
    Probe,
    NmapTuned,
}

impl Prober {
    /// The name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Prober::Floor => "floor",
            Prober::Engine => "engine",
            Prober::Evidence => "engine, evidence, batches",
            Prober::Probe => "reachproof-agent probe",
            Prober::NmapTuned => "nmap -sT, tuned",
        }
    }
}

/// What one sweep of one tool gave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sweep {
    /// Of the work alone, where the tool says so itself; else of the whole process.
    pub(super) work: Usage,
    /// Of the whole process.
    pub(super) process: Usage,
    /// Targets with another word than the true one, but for *starved*.
    pub(super) wrong: usize,
    pub(super) starved: usize,
}

/// Sweeps once with one tool.
pub(super) fn run(
    prober: Prober,
    targets: &[(SocketAddr, &'static str)],
    arguments: &SweepArguments,
    agent: &Path,
) -> Measured<Sweep> {
    let directory = tempfile::Builder::new().tempdir_in("/run/netns")?;
    let file = |name: &str| directory.path().join(name);
    let line = |(target, _): &(SocketAddr, &str)| match prober {
        Prober::NmapTuned => format!("{}\n", target.ip()),
        Prober::Floor | Prober::Engine | Prober::Evidence | Prober::Probe => {
            format!("{} {}\n", target.ip(), target.port())
        }
    };
    std::fs::write(
        file("targets"),
        targets.iter().map(line).collect::<String>(),
    )?;
    let mut command = command(prober, &file("targets"), arguments, agent)?;
    if arguments.starve {
        command = niced(&command);
    }
    command
        .stdin(Stdio::null())
        .stdout(File::create(file("output"))?)
        .stderr(File::create(file("said"))?);
    let (process, _) = measure(&mut command, SWEEP_MAX)?;
    let said = std::fs::read_to_string(file("said"))?;
    let work = match prober {
        Prober::Floor | Prober::Engine | Prober::Evidence => serde_json::from_str(said.trim())?,
        Prober::Probe | Prober::NmapTuned => process,
    };
    let text = std::fs::read_to_string(file("output"))?;
    let words = match prober {
        Prober::NmapTuned => nmap::words(&text),
        Prober::Floor | Prober::Engine | Prober::Evidence | Prober::Probe => words(&text),
    };
    let word = |target: &SocketAddr| {
        words
            .get(&target.ip().to_string())
            .map_or("none", |word| word)
    };
    let wrong: Vec<_> = targets
        .iter()
        .filter(|(target, truth)| {
            let word = word(target);
            word != *truth && word != "starved"
        })
        .collect();
    for (target, truth) in wrong.iter().take(WRONG_SHOWN) {
        let name = prober.name();
        print(&format!(
            "  {name}: {target} is {truth}, said {}",
            word(target)
        ));
    }
    Ok(Sweep {
        work,
        process,
        wrong: wrong.len(),
        starved: words.values().filter(|word| **word == "starved").count(),
    })
}

/// The command of a tool.
fn command(
    prober: Prober,
    list: &Path,
    arguments: &SweepArguments,
    agent: &Path,
) -> Measured<Command> {
    let worker = |tool: &str| -> Measured<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["worker", tool]);
        Ok(command)
    };
    let mut command = match prober {
        Prober::Floor => worker("floor")?,
        Prober::Engine => worker("engine")?,
        Prober::Evidence => worker("evidence")?,
        Prober::Probe => {
            let mut command = Command::new(agent);
            command.arg("probe");
            command
        }
        Prober::NmapTuned => return Ok(nmap::tuned(list)),
    };
    command
        .arg("--targets")
        .arg(list)
        .args(["--attempts", &ATTEMPTS.to_string()])
        .args(["--timeout-ms", &TIMEOUT_MS.to_string()])
        .args(["--in-flight-max", &arguments.in_flight.to_string()]);
    Ok(command)
}

/// The same command at the lowest priority.
fn niced(command: &Command) -> Command {
    let mut niced = Command::new("nice");
    niced
        .args(["-n", "19"])
        .arg(command.get_program())
        .args(command.get_args());
    niced
}

/// Whether a program ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It did.
    Finished,
    /// It was killed when its time was over.
    CutOff,
}

/// Runs a program for at most so long, and says what it cost and how it ended.
pub(super) fn measure(command: &mut Command, most: Duration) -> Measured<(Usage, End)> {
    let stopwatch = Stopwatch::start(UsageWho::RUSAGE_CHILDREN)?;
    let mut child = command.spawn()?;
    let ended = AtomicBool::new(false);
    let (peak_kib, end, waited) = thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&child, most, &ended));
        let number = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        // It stays a zombie, so that its number is nobody else's while it is watched.
        let waited = waitid(Id::Pid(number), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        let wall = stopwatch.elapsed();
        ended.store(true, Ordering::Release);
        let (peak, end) = watching.join().unwrap_or((0, End::CutOff));
        (peak, end, waited.map(|_| wall))
    });
    let wall = waited?;
    child.wait()?;
    let usage = Usage {
        peak_kib,
        wall_us: u64::try_from(wall.as_micros())?,
        ..stopwatch.stop()?
    };
    Ok((usage, end))
}

/// Looks at a child's memory until it `ended`, and kills it when its time is over; returns the peak in KiB.
fn watch(child: &Child, most: Duration, ended: &AtomicBool) -> (u64, End) {
    let begin = Instant::now();
    let number = child.id().to_string();
    let (mut peak, mut end) = (0, End::Finished);
    while !ended.load(Ordering::Acquire) {
        peak = peak_kib(&number).unwrap_or(0).max(peak);
        if begin.elapsed() > most
            && end == End::Finished
            && let Ok(number) = i32::try_from(child.id())
        {
            end = End::CutOff;
            // One that ended just now cannot be killed.
            let _ = kill(Pid::from_raw(number), Signal::SIGKILL);
        }
        thread::sleep(LOOK);
    }
    (peak, end)
}

/// The word for each address in `ADDRESS PORT WORD` lines.
fn words(text: &str) -> BTreeMap<String, &str> {
    let line = |line| {
        let mut parts = str::split(line, ' ');
        Some((parts.next()?.to_owned(), parts.nth(1)?))
    };
    text.lines().filter_map(line).collect()
}
