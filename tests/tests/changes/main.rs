//! Ten kinds of change in a world that runs: `verify -o json` before, the change, `verify --baseline` after, through the
//! binaries, with agents that stay. Each says what changed, in the model and on the wire, and ends as `--fail-on` says.
//!
//! `REACHPROOF_CHANGES` is how many of them are done, all by default. Beside them are the gate of `deploy/ci`, and a wire
//! that follows the APIs late.

#![allow(clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use reachproof_lab::world::World;
use reachproof_model::plan::Depth;
use reachproof_tests::agents::{AgentProgram, Agents, Dial};
use reachproof_tests::binaries::{binary, build};
use reachproof_tests::coordinator::Coordinator;
use reachproof_tests::harness::{Case, CaseResult, run_cases_together};
use reachproof_tests::play::WAIT;
use reachproof_tests::stage::Stage;
use serde_json::Value;

use table::{CHANGES, Change};

mod gate;
mod late;
mod table;

/// Worlds that are up at a time: their runs mostly wait for silence.
const TOGETHER: usize = 2;

/// What `--fail-on` takes, in the order of [`Change::exits`].
const FAIL_ON: [&str; 3] = ["any", "new", "expectation"];

fn main() -> ExitCode {
    let count = std::env::var("REACHPROOF_CHANGES").ok();
    let count = count.and_then(|count| count.parse().ok());
    let mut cases: Vec<Case> = CHANGES
        .iter()
        .take(count.unwrap_or(CHANGES.len()))
        .map(|change| Case {
            name: change.name,
            ignored: Some("two runs in each of ten worlds: a minute and a half"),
            run: change.run,
        })
        .collect();
    cases.push(Case {
        name: "the_gate_of_a_pipeline_ends_as_the_change_deserves",
        ignored: Some("two runs in a world: half a minute"),
        run: gate::play,
    });
    cases.push(Case {
        name: "a_wire_that_follows_late_is_told_with_the_time_it_took",
        ignored: Some("two runs in a world: half a minute"),
        run: late::play,
    });
    run_cases_together(|| Ok(build()?), &cases, TOGETHER)
}

/// The world before the change.
fn world() -> Result<World, Box<dyn Error>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/changes/world.yaml");
    Ok(World::parse("world.yaml", &fs::read_to_string(file)?)?)
}

/// Runs `verify` with further `arguments`; exit code and report.
fn verify(stage: &Stage, arguments: &[&str]) -> Result<(u8, Value), Box<dyn Error>> {
    Ok(begin(stage, arguments)?.finish()?)
}

/// Begins the same.
fn begin(stage: &Stage, arguments: &[&str]) -> Result<Coordinator, Box<dyn Error>> {
    let mut command = stage.coordinator_command(&binary("reachproof")?)?;
    command.arg("verify").args(arguments);
    command.arg("--snapshot").arg(stage.snapshot());
    let expected = Coordinator::expect_all(stage)?;
    let (coordinator, _) =
        Coordinator::spawn(stage, command, expected.as_os_str(), WAIT, Depth::Mesh)?;
    Ok(coordinator)
}

/// A stage of `world` with an agent at each of its places.
fn staged(world: &World) -> Result<(Stage, Agents), Box<dyn Error>> {
    let stage = Stage::up(world)?;
    let dial = Dial::with_tokens(&stage)?;
    let program = binary("reachproof-agent")?;
    let places = &stage.expanded.agents;
    let agents = Agents::start(&stage, AgentProgram::Agent(&program), &dial, places)?;
    Ok((stage, agents))
}

/// Runs `verify` before a change, and keeps its report in the file that is returned.
fn report_before(stage: &Stage) -> Result<String, Box<dyn Error>> {
    let (exit, before) = verify(stage, &[])?;
    hold("exit code before the change", &exit, &0)?;
    let file = stage.log("before");
    fs::write(&file, before.to_string())?;
    Ok(file.to_string_lossy().into_owned())
}

/// Does `change` to a world that runs, and holds what is said of it.
pub(crate) fn play(change: &Change) -> CaseResult {
    let mut world = world()?;
    let (stage, agents) = staged(&world)?;
    let file = report_before(&stage)?;
    stage.change(&(change.does)(&mut world)?)?;
    let (exit, after) = verify(&stage, &["--baseline", &file, "--fail-on", "new"])?;
    drop(agents);
    let said = [("model", model(&after)), ("findings", findings(&after))];
    let expected = [
        ("model", lines(change.model)),
        ("findings", lines(change.findings)),
    ];
    hold("what changed", &said, &expected)?;
    let [any, new, expectation] = change.exits;
    hold("exit code of the run", &exit, &new)?;
    let saved = stage.log("json");
    for (fail_on, expected) in FAIL_ON.into_iter().zip([any, new, expectation]) {
        let shown = Command::new(binary("reachproof")?)
            .args(["report", "--baseline", &file, "--fail-on", fail_on])
            .arg(&saved)
            .output()?;
        let said = format!("exit code of --fail-on {fail_on}");
        hold(&said, &shown.status.code(), &Some(i32::from(expected)))?;
    }
    Ok(())
}

fn hold<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> CaseResult {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: found {found:#?}, expected {expected:#?}").into())
}

fn lines(text: &[&str]) -> Vec<String> {
    text.iter().map(ToString::to_string).collect()
}

/// What is written differently, which answers changed, and how many towards addresses that nobody has.
fn model(report: &Value) -> Vec<String> {
    let model = &report["baseline"]["model"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let written = model["lines"].as_array().into_iter().flatten().map(text);
    let changes = model["changes"].as_array().into_iter().flatten();
    let (outside, inside): (Vec<_>, Vec<_>) = changes
        .map(|one| ["change", "source", "destination", "packets"].map(|name| text(&one[name])))
        .partition(|[change, ..]| ["widened", "narrowed"].contains(&change.as_str()));
    let mut counts = BTreeMap::new();
    for [change, ..] in outside {
        *counts.entry(change).or_insert(0) += 1;
    }
    let answers = inside
        .into_iter()
        .map(|[change, source, destination, packets]| {
            format!("{change}: {source} -> {destination} {packets}")
        });
    let outside = counts
        .into_iter()
        .map(|(change, count)| format!("{change} towards addresses of nobody: {count}"));
    written.chain(answers).chain(outside).collect()
}

/// The findings that say something else than before, by source, port and what they say; how many say the same for another
/// reason; and how many are gone for nothing new.
fn findings(report: &Value) -> Vec<String> {
    let findings = report["baseline"]["findings"].as_array();
    let (mut turned, mut same, mut balance) = (BTreeMap::<_, Vec<_>>::new(), 0, 0);
    for one in findings.into_iter().flatten() {
        let part = |name: &str| one[name].as_str().unwrap_or_default();
        let word = |name: &str| part(name).replace('_', " ");
        balance += if part("state") == "gone" { -1 } else { 1 };
        match part("state") {
            "new" if part("kind") != part("other") => {
                let is_problem = one["is_problem"] == true;
                let problem = if is_problem { " (problem)" } else { "" };
                let said = format!("{} to {}{problem}", word("other"), word("kind"));
                let key = (part("source"), one["flow"]["port"].to_string(), said);
                turned.entry(key).or_default().push(part("destination"));
            }
            "new" => same += 1,
            _ => {}
        }
    }
    let mut all: Vec<String> = turned
        .into_iter()
        .map(|((source, port, said), mut destinations)| {
            destinations.sort_unstable();
            format!("{source} -> {} {port}: {said}", destinations.join(", "))
        })
        .collect();
    let counts = [
        ("denied at another gate", same),
        ("more new than gone", balance),
    ];
    let counts = counts.into_iter().filter(|(_, count)| *count != 0);
    all.extend(counts.map(|(what, count)| format!("{what}: {count}")));
    all
}
