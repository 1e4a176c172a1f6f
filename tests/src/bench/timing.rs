//! Handshake times of open targets on a path with a known delay.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddrV4},
    path::{Path as FilePath, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::Value;

use super::{
    Goals, Measured,
    delay::{Delays, Path, TARGETS},
    farm::PORT,
    floor::round_trips,
    hold, print,
};

/// On which path.
#[derive(Debug, Args)]
pub struct TimingArguments {
    /// Delay of the path, in microseconds.
    #[arg(long, default_value_t = 1_000)]
    delay_us: u64,
    /// Targets of one sweep.
    #[arg(long, default_value_t = 5_000)]
    targets: u16,
    /// Sweeps of each tool, in turn.
    #[arg(long, default_value_t = 3)]
    repeat: u32,
    /// Attempts started per second.
    #[arg(long, default_value_t = 1_000)]
    starts_per_second: u32,
    /// The agent's program; left out: beside this one.
    #[arg(long)]
    agent: Option<PathBuf>,
}

/// Attempts that may be in flight, of which the pace uses few.
const IN_FLIGHT: &str = "1000";

/// How far the handshake times of one tool are from the truth.
#[derive(Debug, Default)]
struct Errors {
    /// Microseconds, either way.
    us: Vec<f64>,
    /// How long all sweeps took.
    took: Duration,
}

/// Probes open targets at a steady pace and holds the handshake times against what they were, beside those of the floor.
///
/// # Errors
/// When the path cannot be made or the agent not be run.
pub fn timing(arguments: &TimingArguments) -> Measured<Goals> {
    let path = Path::open(Duration::from_micros(arguments.delay_us))?;
    let agent = match &arguments.agent {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("reachproof-agent"),
    };
    let [a, b] = TARGETS;
    let target = |number: u16| {
        let [c, d] = number.to_be_bytes();
        SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), PORT)
    };
    let targets: Vec<SocketAddrV4> = (1..=arguments.targets).map(target).collect();
    let (mut floor, mut ours) = (Errors::default(), Errors::default());
    for _ in 0..arguments.repeat {
        let begin = Instant::now();
        let times = round_trips(&targets, arguments.starts_per_second)?;
        floor.add(&times, &path.take(), begin.elapsed())?;
        let begin = Instant::now();
        let times = handshakes(&agent, &targets, arguments)?;
        ours.add(&times, &path.take(), begin.elapsed())?;
    }
    let started = u32::from(arguments.targets) * arguments.repeat;
    print(&format!(
        "{started} open targets, {} us, {} starts a second asked for, {IN_FLIGHT} in flight allowed",
        arguments.delay_us, arguments.starts_per_second
    ));
    let (_, floor_p95) = floor.print("floor, TCP_INFO", started)?;
    let (p50, p95) = ours.print("reachproof-agent probe", started)?;
    let goals = hold("error of the handshake time, p50, us", p50, 50.0);
    Ok(goals.and(hold(
        "error of the handshake time, p95, probe / floor",
        p95 / floor_p95,
        1.5,
    )))
}

/// What `probe` says about each target.
fn handshakes(
    agent: &FilePath,
    targets: &[SocketAddrV4],
    arguments: &TimingArguments,
) -> Measured<Vec<(SocketAddrV4, Duration)>> {
    let directory = tempfile::Builder::new().tempdir_in("/run/netns")?;
    let list = directory.path().join("targets");
    let line = |target: &SocketAddrV4| format!("{} {}\n", target.ip(), target.port());
    std::fs::write(&list, targets.iter().map(line).collect::<String>())?;
    let answers = directory.path().join("answers");
    // Into a file: whoever reads a pipe takes time from those who are measured.
    Command::new(agent)
        .args(["probe", "-o", "json", "--attempts", "2"])
        .args(["--timeout-ms", "1000", "--in-flight-max", IN_FLIGHT])
        .arg("--starts-per-second")
        .arg(arguments.starts_per_second.to_string())
        .arg("--targets")
        .arg(&list)
        .stdin(Stdio::null())
        .stdout(File::create(&answers)?)
        .stderr(Stdio::inherit())
        .status()?;
    let read = |line: &str| -> Measured<(SocketAddrV4, Duration)> {
        let line: Value = serde_json::from_str(line)?;
        let handshake = line.get("handshake_us").and_then(Value::as_u64);
        let address = line.get("address").and_then(Value::as_str);
        Ok((
            SocketAddrV4::new(address.ok_or("a line without an address")?.parse()?, PORT),
            Duration::from_micros(handshake.ok_or("a target was not open")?),
        ))
    };
    std::fs::read_to_string(answers)?
        .lines()
        .map(read)
        .collect()
}

impl Errors {
    /// Adds the errors of one sweep.
    fn add(
        &mut self,
        times: &[(SocketAddrV4, Duration)],
        delays: &Delays,
        took: Duration,
    ) -> Measured<()> {
        self.took += took;
        for (target, time) in times {
            let truth = delays
                .get(target)
                .ok_or_else(|| format!("`{target}` was never answered"))?;
            self.us.push(time.abs_diff(*truth).as_secs_f64() * 1e6);
        }
        Ok(())
    }

    /// Prints and returns the middle and the 95th of 100.
    fn print(&mut self, name: &str, started: u32) -> Measured<(f64, f64)> {
        self.us.sort_by(f64::total_cmp);
        let part = |share: usize| self.us.get(self.us.len() * share / 100).copied();
        let (Some(p50), Some(p95), Some(most)) = (part(50), part(95), self.us.last()) else {
            return Err("no target answered".into());
        };
        print(&format!(
            "  {name:<24} {} answers, {:.0} starts/s: error p50 {p50:.0} us, p95 {p95:.0} us, most {most:.0} us",
            self.us.len(),
            f64::from(started) / self.took.as_secs_f64(),
        ));
        Ok((p50, p95))
    }
}
