//! How much longer `nmap` takes as it comes.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::{
    super::{Goals, Measured, hold_least, print},
    SweepArguments,
    prober::{End, Prober, measure, run},
};

/// Silent targets on which the default timing is measured.
const DEFAULT_TARGETS: u16 = 2_000;

/// How many times as long as ours the default timing may take before it is cut off.
const CUT_OFF: u32 = 25;

/// Compares with the default timing on silent targets; it is cut off when the goal is reached.
pub(super) fn against_default(arguments: &SweepArguments, agent: &Path) -> Measured<Goals> {
    let targets = super::Mix::Silent.targets(DEFAULT_TARGETS);
    let ours = run(Prober::Probe, &targets, arguments, agent)?
        .process
        .wall_us;
    let directory = tempfile::Builder::new().tempdir_in("/run/netns")?;
    let list = directory.path().join("targets");
    let line = |(target, _): &(SocketAddr, &str)| format!("{}\n", target.ip());
    std::fs::write(&list, targets.iter().map(line).collect::<String>())?;
    let mut command = Command::new("nmap");
    command
        .args(["-sT", "-n", "-Pn", "-p", "80", "-oG", "-", "-iL"])
        .arg(&list)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let most = Duration::from_micros(ours) * CUT_OFF;
    let (theirs, end) = measure(&mut command, most)?;
    let (ours, theirs) = (
        super::number(ours) / 1e6,
        super::number(theirs.wall_us) / 1e6,
    );
    let ended = match end {
        End::Finished => "finished",
        End::CutOff => "cut off, not finished",
    };
    print(&format!(
        "\nsilent x {DEFAULT_TARGETS} targets: probe {ours:.2} s, nmap in default timing {theirs:.1} s ({ended})"
    ));
    Ok(hold_least(
        "wall, nmap default / probe",
        theirs / ours,
        f64::from(CUT_OFF),
    ))
}
