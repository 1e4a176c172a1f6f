//! A node whose accept queue is full, with its agent asleep: the kernel drops what the wire delivers.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reachproof_tests::harness::CaseResult;
use reachproof_tests::play::{Play, WAIT, firewall};
use reachproof_tests::truth::{all_are, assert_no_lies};
use serde_json::Value;

use crate::outage::open_wire;

/// Whose agent sleeps: the model allows some to call it, and denies others, and the wire is open for all.
const TARGET: &str = "node-1";

/// A sleep that later attempts outlive.
const NAP: Duration = Duration::from_secs(16);

/// A sleep that no attempt of the first two stages outlives.
const SLEEP: Duration = Duration::from_secs(60);

/// The setting of a network namespace that bounds the queues of its listeners.
const QUEUE: &str = "/proc/sys/net/core/somaxconn";

/// Rules of a host that let no connection reach its agent.
const HELD: &str = "add table inet held
add chain inet held input { type filter hook input priority 0; }
add rule inet held input tcp dport 7500 drop";

/// Takes them back.
const RELEASED: &str = "delete table inet held";

/// Time between two looks whether the run is over.
const STEP: Duration = Duration::from_millis(100);

/// Reasons that fit: the queue, the loop of the agent, and that it was not heard while it slept.
const REASONS: [&str; 9] = [
    "not-reported",
    "accept-queue",
    "target-late",
    "target-unheard",
    "target-report-incomplete",
    "seen-by-target",
    "not-repeated",
    "unproven",
    "peer-mismatch",
];

/// Whoever is answered at last was answered; nobody else is sure of anything.
pub(crate) fn full_for_a_while() -> CaseResult {
    sleep(NAP, None, 0)
}

pub(crate) fn full_to_the_end() -> CaseResult {
    // Nobody may be answered before it falls asleep.
    sleep(SLEEP, Some(HELD), 1)
}

/// Lets the agent of the target sleep while its queue is full; at least `silent` attempts must be silent. Whoever
/// calls again after it woke is answered, which is so. Shows that nothing false is said, not that the queue is named.
fn sleep(length: Duration, held: Option<&str>, silent: usize) -> CaseResult {
    let mut play = Play::open(&open_wire()?, WAIT)?;
    play.stage.lab.within(TARGET, || fs::write(QUEUE, "1"))??;
    if let Some(rules) = held {
        firewall(&play.stage, TARGET, rules)?;
    }
    play.start_agents(&[])?;
    play.stage.await_listeners()?;
    play.agents.signal(TARGET, Signal::SIGSTOP)?;
    if held.is_some() {
        firewall(&play.stage, TARGET, RELEASED)?;
    }
    let end = Instant::now() + length;
    while Instant::now() < end && !play.coordinator.has_ended()? {
        std::thread::sleep(STEP);
    }
    play.agents.signal(TARGET, Signal::SIGCONT)?;
    let ended = play.end()?;
    assert_no_lies(&ended)?;
    let findings = ended.between(&[], &[TARGET], &[7500])?;
    all_are("to the sleeper", &findings, 4, |finding| {
        let answered = ["confirmed_allow", "contradiction_open"].contains(&finding.kind.as_str());
        answered || finding.is_inconclusive(&REASONS)
    })?;
    // The wire is open for everybody, so that silence came from the sleeper's host: from its queue or, before it slept,
    // from the rules that held calls back. Which of them it was, this does not tell.
    if silent_attempts(&ended.report) < silent {
        return Err(format!("nobody met the sleeper: {}", ended.summary()).into());
    }
    Ok(())
}

/// How many attempts of a report were silent.
fn silent_attempts(report: &Value) -> usize {
    let findings = report.get("findings").and_then(Value::as_array);
    let attempts = findings.into_iter().flatten().filter_map(|finding| {
        let attempts = finding.pointer("/observation/attempts")?;
        attempts.as_array()
    });
    let outcomes = attempts
        .flatten()
        .filter_map(|attempt| attempt.get("outcome")?.as_str());
    outcomes.filter(|outcome| *outcome == "timed_out").count()
}
