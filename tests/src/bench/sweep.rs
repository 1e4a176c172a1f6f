//! Sweeps of many targets by several tools, one after the other, several times.

use std::{
    collections::BTreeMap,
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use nix::sys::resource::UsageWho;

use super::{
    Goals, Measured,
    farm::{Mix, build},
    hold, print,
    usage::{Stopwatch, Usage, peak_kib},
};

/// What is swept.
#[derive(Debug, Args)]
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

/// Attempts for each target, as in PERFORMANCE A.
const ATTEMPTS: u32 = 2;

/// How long an attempt waits, in milliseconds, as in PERFORMANCE A.
const TIMEOUT_MS: u64 = 1_000;

/// Longest sweep of another tool.
const OTHERS_MAX: Duration = Duration::from_secs(60);

/// A prober.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Prober {
    Floor,
    Engine,
    Evidence,
    Probe,
    NmapTuned,
}

impl Prober {
    fn name(self) -> &'static str {
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
struct Sweep {
    /// Of the work alone, where the tool says so itself; else of the whole process.
    work: Usage,
    /// Of the whole process.
    process: Usage,
    wrong: usize,
    starved: usize,
}

/// Sweeps all mixes with all tools and holds the figures against the goals.
///
/// # Errors
/// When the farm cannot be built or a tool not be run.
pub fn sweep(arguments: &SweepArguments) -> Measured<Goals> {
    build(0)?;
    let agent = match &arguments.agent {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("reachproof-agent"),
    };
    if !agent.is_file() {
        return Err(format!(
            "`{}` is not there, build it: cargo build --release -p reachproof-agent",
            agent.display()
        )
        .into());
    }
    let nmap = !arguments.without_nmap
        && !arguments.starve
        && super::farm::run("nmap", &["--version"], "").is_ok();
    if !nmap {
        print("nmap: not measured (not installed, or left out)");
    }
    let mut probers = vec![
        Prober::Floor,
        Prober::Engine,
        Prober::Evidence,
        Prober::Probe,
    ];
    if nmap {
        probers.push(Prober::NmapTuned);
    }
    let mixes = arguments.mix.map_or(Mix::ALL.to_vec(), |mix| vec![mix]);
    let _hogs = arguments.starve.then(Hogs::start).transpose()?;
    let mut goals = Goals::Reached;
    for mix in mixes {
        let mut sweeps: BTreeMap<Prober, Vec<Sweep>> = BTreeMap::new();
        for repetition in 0..arguments.repeat {
            // Each begins in turn, so that none always follows the same other.
            let turn = usize::try_from(repetition)? % probers.len();
            for prober in probers.iter().cycle().skip(turn).take(probers.len()) {
                if *prober == Prober::NmapTuned && mix == Mix::Silent && repetition > 0 {
                    continue;
                }
                let targets = mix.targets(arguments.targets);
                let sweep = run(*prober, &targets, arguments, &agent)?;
                sweeps.entry(*prober).or_default().push(sweep);
            }
        }
        goals = goals.and(report(mix, &sweeps, arguments));
    }
    if nmap && arguments.mix.is_none_or(|mix| mix == Mix::Silent) {
        goals = goals.and(against_default_nmap(arguments, &agent)?);
    }
    Ok(goals)
}

/// Sweeps once with one tool.
fn run(
    prober: Prober,
    targets: &[(SocketAddr, &'static str)],
    arguments: &SweepArguments,
    agent: &Path,
) -> Measured<Sweep> {
    let directory = tempfile::Builder::new().tempdir_in("/run/netns")?;
    let list = directory.path().join("targets");
    let line = |(target, _): &(SocketAddr, &str)| match prober {
        Prober::NmapTuned => format!("{}\n", target.ip()),
        Prober::Floor | Prober::Engine | Prober::Evidence | Prober::Probe => {
            format!("{} {}\n", target.ip(), target.port())
        }
    };
    std::fs::write(&list, targets.iter().map(line).collect::<String>())?;
    let (output, said) = (
        directory.path().join("output"),
        directory.path().join("said"),
    );
    let mut command = command(prober, &list, arguments, agent)?;
    if arguments.starve {
        command = niced(&command);
    }
    let stopwatch = Stopwatch::start(UsageWho::RUSAGE_CHILDREN)?;
    let child = command
        .stdin(Stdio::null())
        .stdout(File::create(&output)?)
        .stderr(File::create(&said)?)
        .spawn()?;
    let peak_kib = wait(child, OTHERS_MAX)?;
    let process = Usage {
        peak_kib,
        ..stopwatch.stop()?
    };
    let said = std::fs::read_to_string(said)?;
    let work = match prober {
        Prober::Floor | Prober::Engine | Prober::Evidence => serde_json::from_str(said.trim())?,
        Prober::Probe | Prober::NmapTuned => process,
    };
    let text = std::fs::read_to_string(output)?;
    let words = match prober {
        Prober::NmapTuned => nmap_words(&text),
        Prober::Floor | Prober::Engine | Prober::Evidence | Prober::Probe => words(&text),
    };
    let word = |target: &SocketAddr| {
        words
            .get(&target.ip().to_string())
            .map_or("none", |word| word)
    };
    let wrong = targets.iter().filter(|(target, truth)| {
        let word = word(target);
        word != *truth && word != "starved"
    });
    Ok(Sweep {
        work,
        process,
        wrong: wrong.count(),
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
        Prober::NmapTuned => {
            let mut command = Command::new("nmap");
            command
                .args(["-sT", "-n", "-Pn", "-p", "80", "-T5", "--max-retries", "1"])
                .args(["--min-parallelism", "900", "--max-parallelism", "1000"])
                // A timeout that adapts would end before ours: only a fixed one compares (PERFORMANCE A, trap 6).
                .args(["--initial-rtt-timeout", "1000ms"])
                .args(["--min-rtt-timeout", "1000ms"])
                .args(["--max-rtt-timeout", "1000ms"])
                .args(["--min-rate", "20000", "-oG", "-", "-iL"])
                .arg(list);
            return Ok(command);
        }
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

/// Waits for a child, for at most so long; returns the peak of its resident memory.
fn wait(mut child: std::process::Child, most: Duration) -> Measured<u64> {
    let begin = Instant::now();
    let number = child.id().to_string();
    let mut peak = 0;
    while child.try_wait()?.is_none() {
        peak = peak_kib(&number).unwrap_or(0).max(peak);
        if begin.elapsed() > most {
            child.kill()?;
            child.wait()?;
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(peak)
}

/// The word for each address in `ADDRESS PORT WORD` lines.
fn words(text: &str) -> BTreeMap<String, &str> {
    let line = |line| {
        let mut parts = str::split(line, ' ');
        Some((parts.next()?.to_owned(), parts.nth(1)?))
    };
    text.lines().filter_map(line).collect()
}

/// The same from `nmap -oG`.
fn nmap_words(text: &str) -> BTreeMap<String, &'static str> {
    let line = |line: &str| {
        let address = line.strip_prefix("Host: ")?.split(' ').next()?;
        let word = match line.split("Ports: 80/").nth(1)?.split('/').next()? {
            "closed" => "refused",
            "filtered" => "timeout",
            "open" => "open",
            _ => "error",
        };
        Some((address.to_owned(), word))
    };
    text.lines().filter_map(line).collect()
}

/// The middle of some numbers.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A count as a number to calculate with; counts here are far below 2^32.
fn number(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// Prints what a mix gave, and holds it against the goals.
fn report(mix: Mix, sweeps: &BTreeMap<Prober, Vec<Sweep>>, arguments: &SweepArguments) -> Goals {
    print(&format!(
        "\n{} x {} targets, {} repetitions",
        mix.name(),
        arguments.targets,
        arguments.repeat
    ));
    let per_target = f64::from(arguments.targets);
    let middle = |prober: Prober, value: &dyn Fn(&Sweep) -> f64| {
        median(
            sweeps
                .get(&prober)
                .into_iter()
                .flatten()
                .map(value)
                .collect(),
        )
    };
    for (prober, all) in sweeps {
        print(&format!(
            "  {:<27} CPU {:>8.2} us/target (process {:>8.2})  wall {:>7.3} s  peak {:>6.1} MiB  wrong {} starved {}",
            prober.name(),
            middle(*prober, &|sweep| number(sweep.work.cpu_us) / per_target),
            middle(*prober, &|sweep| number(sweep.process.cpu_us) / per_target),
            middle(*prober, &|sweep| number(sweep.work.wall_us) / 1e6),
            middle(*prober, &|sweep| number(sweep.process.peak_kib) / 1024.0),
            all.iter().map(|sweep| sweep.wrong).sum::<usize>(),
            all.iter().map(|sweep| sweep.starved).sum::<usize>(),
        ));
    }
    let paired = |prober: Prober, value: &dyn Fn(&Sweep) -> f64| {
        let pairs = sweeps
            .get(&prober)
            .into_iter()
            .flatten()
            .zip(sweeps.get(&Prober::Floor).into_iter().flatten());
        median(
            pairs
                .map(|(ours, floor)| value(ours) / value(floor))
                .collect(),
        )
    };
    let ours = [Prober::Engine, Prober::Evidence, Prober::Probe];
    let wrong: usize = ours
        .iter()
        .filter_map(|prober| sweeps.get(prober))
        .flatten()
        .map(|sweep| sweep.wrong)
        .sum();
    let mut goals = hold(
        "targets misclassified by ours",
        number(u64::try_from(wrong).unwrap_or(u64::MAX)),
        0.0,
    );
    if arguments.starve {
        return goals;
    }
    let work_cpu = |sweep: &Sweep| number(sweep.work.cpu_us);
    let process_cpu = |sweep: &Sweep| number(sweep.process.cpu_us);
    let work_wall = |sweep: &Sweep| number(sweep.work.wall_us);
    let process_wall = |sweep: &Sweep| number(sweep.process.wall_us);
    for (name, figure, most) in [
        (
            "CPU, engine / floor, paired",
            paired(Prober::Engine, &work_cpu),
            1.05,
        ),
        (
            "CPU, engine with evidence and batches / floor, paired",
            paired(Prober::Evidence, &work_cpu),
            1.15,
        ),
        (
            "CPU, probe / floor, whole processes, paired",
            paired(Prober::Probe, &process_cpu),
            1.15,
        ),
        (
            "wall, engine / floor, paired",
            paired(Prober::Engine, &work_wall),
            1.05,
        ),
        (
            "wall, probe / floor, whole processes, paired",
            paired(Prober::Probe, &process_wall),
            1.05,
        ),
        (
            "peak RSS of probe, MiB",
            middle(Prober::Probe, &|sweep| {
                number(sweep.process.peak_kib) / 1024.0
            }),
            rss_goal(arguments.in_flight),
        ),
    ] {
        goals = goals.and(hold(name, figure, most));
    }
    if sweeps.contains_key(&Prober::NmapTuned) {
        let wall = middle(Prober::Probe, &process_wall) / middle(Prober::NmapTuned, &process_wall);
        let cpu = middle(Prober::Probe, &process_cpu) / middle(Prober::NmapTuned, &process_cpu);
        let (wall_most, cpu_most) = match mix {
            Mix::Silent => (1.0 / 8.0, 1.0 / 18.0),
            Mix::Mixed => (1.0, 1.0 / 4.0),
            Mix::Open | Mix::Refused => (1.0, 1.0),
        };
        goals = goals.and(hold("wall, probe / nmap tuned", wall, wall_most));
        goals = goals.and(hold("CPU, probe / nmap tuned", cpu, cpu_most));
    }
    goals
}

/// Most resident memory in MiB, by what is in flight.
fn rss_goal(in_flight: usize) -> f64 {
    if in_flight <= 1_000 { 8.0 } else { 12.0 }
}

/// Compares with `nmap` in its default timing on 2,000 silent targets, which is cut off after a minute.
fn against_default_nmap(arguments: &SweepArguments, agent: &Path) -> Measured<Goals> {
    let targets = Mix::Silent.targets(2_000);
    let ours = run(Prober::Probe, &targets, arguments, agent)?;
    let directory = tempfile::Builder::new().tempdir_in("/run/netns")?;
    let list = directory.path().join("targets");
    let lines: String = targets
        .iter()
        .map(|(target, _)| format!("{}\n", target.ip()))
        .collect();
    std::fs::write(&list, lines)?;
    let stopwatch = Stopwatch::start(UsageWho::RUSAGE_CHILDREN)?;
    let child = Command::new("nmap")
        .args(["-sT", "-n", "-Pn", "-p", "80", "-oG", "-", "-iL"])
        .arg(&list)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    wait(child, OTHERS_MAX)?;
    let theirs = stopwatch.stop()?;
    let (ours, theirs) = (
        number(ours.process.wall_us) / 1e6,
        number(theirs.wall_us) / 1e6,
    );
    print(&format!(
        "\nsilent x 2000 targets: probe {ours:.2} s, nmap in default timing {theirs:.1} s (cut off at 60 s)"
    ));
    Ok(hold(
        "wall, probe / nmap default",
        ours / theirs,
        1.0 / 25.0,
    ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_repetitions_is_not_their_mean() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]).to_string(), "2");
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn what_nmap_prints_is_read_in_our_words() {
        let text = "# Nmap\nHost: 10.64.0.1 ()\tPorts: 80/open/tcp//http///\nHost: 10.64.0.2 ()\tPorts: 80/closed/tcp//http///\nHost: 10.64.0.3 ()\tPorts: 80/filtered/tcp//http///\n";
        let words: Vec<&str> = nmap_words(text).into_values().collect();
        assert_eq!(words, ["open", "refused", "timeout"]);
    }
}
