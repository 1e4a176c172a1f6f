//! A rule that the APIs have lost and one that they have got, with a wire that does as before for some time.

use std::error::Error;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use reachproof_tests::harness::CaseResult;
use reachproof_tests::play::firewall;
use reachproof_tests::stage::Stage;
use serde_json::Value;

use super::{begin, hold, report_before, staged, table::CHANGES, world};

/// The changes: a rule is added, and another is removed.
const BOTH: [usize; 2] = [0, 1];

/// Flows whose verdict they change: of a node to an instance, and of two nodes to two interfaces of the control plane.
const FLOWS: u64 = 5;

/// How long the wire does as before, from the first packet of the second run: longer than the first attempt of each flow, and
/// not so long as the last.
const LAG: Duration = Duration::from_secs(4);

/// Most that the time of an attempt may come after the wire followed: attempts of one flow are at most five seconds apart, and
/// silence takes three.
const AFTER_MAX: Duration = Duration::from_secs(12);

/// Longest wait for the first packet of a run, and the time between two looks.
const BEGUN_WITHIN: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(20);

/// Where packets to the control plane are counted.
const COUNTED_AT: &str = "x-eni-a";
const COUNT: &str = "add table inet begun\nadd chain inet begun i { type filter hook input priority 0; }\n\
                     add rule inet begun i ip saddr 10.0.1.20 tcp dport 443 counter";

pub(crate) fn play() -> CaseResult {
    let mut world = world()?;
    let (stage, agents) = staged(&world)?;
    let file = report_before(&stage)?;

    let mut changed = world.expand()?;
    for place in BOTH {
        changed = (CHANGES[place].does)(&mut world)?;
    }
    stage.describe(&changed)?;
    firewall(&stage, COUNTED_AT, COUNT)?;
    let second = begin(&stage, &["--baseline", &file])?;
    await_first_packet(&stage)?;
    std::thread::sleep(LAG);
    stage.follow(&changed)?;
    let followed = SystemTime::now();
    let (exit, after) = second.finish()?;
    drop(agents);
    hold("exit code", &exit, &1)?;
    told(&stage, &after, followed)
}

/// Holds what the report says of a wire that followed at a time.
fn told(stage: &Stage, report: &Value, followed: SystemTime) -> CaseResult {
    let seen = &report["baseline"]["followed"];
    let counts = ["flows", "late", "at_once", "not_yet"].map(|name| seen[name].as_u64());
    hold(
        "flows: all, late, at once, not yet",
        &counts,
        &[FLOWS, FLOWS, 0, 0].map(Some),
    )?;
    let milliseconds = |value: &Value| value.as_u64().map(Duration::from_millis);
    let started = milliseconds(&report["run"]["started_at_unix_ms"]).ok_or("no start")?;
    let took = milliseconds(&seen["after_ms"]).ok_or("no time")?;
    let is_then = followed.duration_since(SystemTime::UNIX_EPOCH)?;
    let said = started + took;
    let is_right = said >= is_then && said <= is_then + AFTER_MAX;
    println!(
        "  the wire followed {:.1} s after the run began; told: {:.1} s",
        is_then.saturating_sub(started).as_secs_f64(),
        took.as_secs_f64()
    );
    hold("the time is that of an attempt after it", &is_right, &true)?;
    let table = fs::read_to_string(stage.log("table"))?;
    let begin =
        format!("network: {FLOWS} of {FLOWS} flows whose verdict changed follow, the last ");
    let end = format!(" s after the run began; {FLOWS} did as before at first");
    let mut lines = table.lines().map(str::trim);
    let is_told = lines.any(|line| line.starts_with(&begin) && line.ends_with(&end));
    hold(&format!("{begin}…{end}"), &is_told, &true)
}

/// Waits until the first packet of a node came to the control plane.
fn await_first_packet(stage: &Stage) -> Result<(), Box<dyn Error>> {
    let end = Instant::now() + BEGUN_WITHIN;
    let list = || {
        let words = ["list", "table", "inet", "begun"];
        Command::new("nft").args(words).output()
    };
    while Instant::now() < end {
        let listed = stage.lab.within(COUNTED_AT, list)??;
        let text = String::from_utf8(listed.stdout)?;
        if text.contains("counter packets") && !text.contains("counter packets 0 ") {
            return Ok(());
        }
        std::thread::sleep(STEP);
    }
    Err("no node called the control plane".into())
}
