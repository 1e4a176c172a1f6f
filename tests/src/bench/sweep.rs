//! Sweeps of many targets by several tools, one after the other, several times.

mod default_timing;
mod nmap;
mod prober;
mod report;

use std::{
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use clap::Args;

pub(super) use self::report::median;
use self::{
    prober::{Prober, run},
    report::{Sweeps, report, wrong},
};
use super::{
    Goals, Measured,
    farm::{Mix, build},
    hold, print,
};

/// What is swept.
#[derive(Debug, Clone, Args)]
pub struct SweepArguments {
    /// Targets of one sweep, at most 16382.
    #[arg(long, default_value_t = 10_000)]
    targets: u16,
    /// Repetitions of each mix.
    #[arg(long, default_value_t = 5)]
    repeat: u32,
    /// Only this mix.
    #[arg(long, value_enum)]
    mix: Option<Mix>,
    /// Attempts in flight of our tools and the floor.
    #[arg(long, default_value_t = 10_000)]
    in_flight: usize,
    /// The agent's program; left out: beside this one.
    #[arg(long)]
    agent: Option<PathBuf>,
    /// Leave `nmap` out.
    #[arg(long)]
    without_nmap: bool,
    /// Run our tools and the floor at nice 19 with both cores busy, and count false timeouts only.
    #[arg(long)]
    starve: bool,
}

/// In flight where the memory of a modest sweep is measured.
const MODEST: usize = 1_000;

/// Sweeps all mixes with all tools and holds the figures against the goals.
///
/// # Errors
/// When the farm cannot be built or a tool not be run.
pub fn sweep(arguments: &SweepArguments) -> Measured<Goals> {
    build()?;
    let agent = agent(arguments)?;
    let mut probers = vec![
        Prober::Floor,
        Prober::Engine,
        Prober::Evidence,
        Prober::Probe,
    ];
    if !arguments.without_nmap && !arguments.starve && nmap::is_there() {
        probers.push(Prober::NmapTuned);
    } else {
        print("nmap: not measured (not installed, or left out)");
    }
    let mixes = arguments.mix.map_or(Mix::ALL.to_vec(), |mix| vec![mix]);
    let _hogs = arguments.starve.then(Hogs::start).transpose()?;
    let mut goals = Goals::Reached;
    let mut misclassified = 0;
    for mix in &mixes {
        let sweeps = repeat(*mix, &probers, arguments, &agent)?;
        misclassified += wrong(&sweeps);
        goals = goals.and(report(*mix, &sweeps, arguments));
    }
    print(&format!(
        "\nmisclassified: {misclassified} of {} targets x {} mixes x {} repetitions, each with the engine, with evidence, and `probe`",
        arguments.targets,
        mixes.len(),
        arguments.repeat
    ));
    if arguments.starve {
        return Ok(goals);
    }
    goals = goals.and(modest(arguments, &agent)?);
    if probers.contains(&Prober::NmapTuned) && mixes.contains(&Mix::Silent) {
        goals = goals.and(default_timing::against_default(arguments, &agent)?);
    }
    Ok(goals)
}

/// The agent's program.
fn agent(arguments: &SweepArguments) -> Measured<PathBuf> {
    let agent = match &arguments.agent {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("reachproof-agent"),
    };
    if agent.is_file() {
        return Ok(agent);
    }
    Err(format!(
        "`{}` is not there, build it: cargo build --release -p reachproof-agent",
        agent.display()
    )
    .into())
}

/// Sweeps one mix with all tools, several times.
fn repeat(
    mix: Mix,
    probers: &[Prober],
    arguments: &SweepArguments,
    agent: &Path,
) -> Measured<Sweeps> {
    let targets = mix.targets(arguments.targets);
    let mut sweeps = Sweeps::new();
    for repetition in 0..arguments.repeat {
        // Each begins in turn, so that none always follows the same other.
        let turn = usize::try_from(repetition)? % probers.len();
        for prober in probers.iter().cycle().skip(turn).take(probers.len()) {
            // It takes as long as all others together.
            if *prober == Prober::NmapTuned && mix == Mix::Silent && repetition > 0 {
                continue;
            }
            let sweep = run(*prober, &targets, arguments, agent)?;
            sweeps.entry(*prober).or_default().push(sweep);
        }
    }
    Ok(sweeps)
}

/// The memory of a sweep with few in flight.
fn modest(arguments: &SweepArguments, agent: &Path) -> Measured<Goals> {
    let few = SweepArguments {
        in_flight: MODEST,
        ..arguments.clone()
    };
    let targets = Mix::Mixed.targets(arguments.targets);
    let sweep = run(Prober::Probe, &targets, &few, agent)?;
    print("");
    Ok(hold(
        "peak RSS of probe, 1,000 in flight, MiB",
        number(sweep.process.peak_kib) / 1024.0,
        8.0,
    ))
}

/// A count as a number to calculate with; counts here are far below 2^32.
pub(super) fn number(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// Programs that keep the cores busy until this is dropped.
struct Hogs(Vec<std::process::Child>);

impl Hogs {
    /// Starts one for each core.
    fn start() -> Measured<Hogs> {
        let cores = thread::available_parallelism()?.get();
        let mut hogs = Hogs(Vec::new());
        for _ in 0..cores {
            let hog = Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .spawn()?;
            hogs.0.push(hog);
        }
        Ok(hogs)
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            // It runs for ever, so that it can be ended and waited for.
            let _ = hog.kill();
            let _ = hog.wait();
        }
    }
}
