//! Handshake times of open targets on a path with a known delay.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use clap::Args;
use serde_json::Value;

use super::{
    Goals, Measured,
    farm::{Mix, build},
    hold, print,
};

/// On which path.
#[derive(Debug, Args)]
pub struct TimingArguments {
    /// Delay of the path, in milliseconds.
    #[arg(long, default_value_t = 10)]
    delay_ms: u32,
    /// Targets.
    #[arg(long, default_value_t = 5_000)]
    targets: u16,
    /// Attempts started per second.
    #[arg(long, default_value_t = 1_000)]
    starts_per_second: u32,
    /// The agent's program; left out: beside this one.
    #[arg(long)]
    agent: Option<PathBuf>,
}

/// Probes open targets at a steady pace and holds the handshake times against the delay.
///
/// # Errors
/// When the farm cannot be built (also where the kernel has no `netem`) or the agent not be run.
pub fn timing(arguments: &TimingArguments) -> Measured<Goals> {
    build(arguments.delay_ms)?;
    let agent = match &arguments.agent {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("reachproof-agent"),
    };
    let directory = tempfile::Builder::new().tempdir_in("/run/netns")?;
    let list = directory.path().join("targets");
    let targets = Mix::Open.targets(arguments.targets);
    let lines: String = targets
        .iter()
        .map(|(target, _)| format!("{} {}\n", target.ip(), target.port()))
        .collect();
    std::fs::write(&list, lines)?;
    let output = Command::new(agent)
        .args([
            "probe",
            "-o",
            "json",
            "--attempts",
            "2",
            "--timeout-ms",
            "1000",
        ])
        .args(["--in-flight-max", "1000", "--starts-per-second"])
        .arg(arguments.starts_per_second.to_string())
        .arg("--targets")
        .arg(&list)
        .stderr(Stdio::inherit())
        .output()?;
    let truth = f64::from(arguments.delay_ms) * 1_000.0;
    let mut errors = Vec::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let line: Value = serde_json::from_str(line)?;
        let handshake = line.get("handshake_us").and_then(Value::as_f64);
        errors.push((handshake.ok_or("a target was not open")? - truth).abs());
    }
    errors.sort_by(f64::total_cmp);
    let part = |share: usize| errors.get(errors.len() * share / 100).copied();
    let (Some(p50), Some(p95), Some(most)) = (part(50), part(95), errors.last()) else {
        return Err("no target answered".into());
    };
    print(&format!(
        "{} open targets, {} ms, {} starts a second: error p50 {p50:.0} us, p95 {p95:.0} us, most {most:.0} us",
        errors.len(),
        arguments.delay_ms,
        arguments.starts_per_second
    ));
    Ok(hold("error of the handshake time, p50, us", p50, 50.0))
}
