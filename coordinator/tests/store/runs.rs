//! Runs to be kept, and what a store must say of them.

use std::error::Error;
use std::path::Path;

use reachproof_model::finding::FindingKind;
use reachproof_service::flows::{FlowState, Flows};
use reachproof_service::store::{RunRow, RunState, Store, StoreError};
use reachproof_verify::Report;

/// A report with its world.
const REPORT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/verify/tests/old/report.json.gz"
);

/// The verdict of a flow changes after so many runs.
const CHANGES_EVERY: u64 = 3;

/// The run of this number, as it begins.
pub(crate) fn begun(number: u64) -> RunRow {
    RunRow::beginning(
        format!("run-{number:06}"),
        number,
        "smoke".to_owned(),
        String::new(),
    )
}

/// The run of this number, as it ends.
pub(crate) fn ended(number: u64) -> RunRow {
    RunRow {
        ended_at_unix_ms: Some(number + 1),
        state: RunState::Done,
        verdict: kind(number).as_str().to_owned(),
        why: format!("because of {number}"),
        world: format!("{:064}", number / 2),
        changed: vec![format!("- sgr-{number}")],
        ..begun(number)
    }
}

fn kind(number: u64) -> FindingKind {
    if (number / CHANGES_EVERY).is_multiple_of(2) {
        FindingKind::ConfirmedAllow
    } else {
        FindingKind::ContradictionClosed
    }
}

/// The kind of flow that every run says something of, with what nobody calls an endpoint.
pub(crate) fn key() -> String {
    format!("nodes\0 -> {} tcp/443", "long ".repeat(20_000))
}

fn flows(number: u64) -> Flows {
    let state = FlowState {
        source: "nodes\0".to_owned(),
        destination: "long".to_owned(),
        packets: "tcp/443".to_owned(),
        kind: kind(number),
    };
    Flows::from([(key(), state)])
}

pub(crate) fn report() -> Result<Report, Box<dyn Error>> {
    Ok(Report::open(Path::new(REPORT))?)
}

/// Keeps the run of this number from begin to end.
pub(crate) async fn keep(store: &Store, number: u64, report: &Report) -> Result<(), StoreError> {
    store.begin(&begun(number)).await?;
    store
        .finish(&ended(number), report.clone(), &flows(number))
        .await
}

/// Holds what a store says of all runs: each of `told` is there as it ended, none is there twice, none that did not end has a
/// verdict, and since when the flow has each verdict is what those that ended say, one after another.
pub(crate) async fn hold(store: &Store, told: &[u64]) -> Result<(), Box<dyn Error>> {
    let mut all = store.runs(u32::MAX).await?;
    all.reverse();
    let mut ids: Vec<&str> = all.iter().map(|run| run.id.as_str()).collect();
    ids.dedup();
    if ids.len() != all.len() {
        return Err(format!("a run is there twice: {ids:?}").into());
    }
    for number in told {
        let run = store.run(&begun(*number).id).await?;
        if run.as_ref() != Some(&ended(*number)) {
            return Err(format!("run {number} was stored, and is {run:?}").into());
        }
    }
    let mut verdicts: Vec<(&str, u64, &str, &str)> = Vec::new();
    for run in &all {
        match run.state {
            RunState::Done => {
                let kept = store.report(&run.id).await?.ok_or("a report is missing")?;
                if kept.snapshot.content.is_none() {
                    return Err(format!("{} has no world", run.id).into());
                }
                match verdicts.last_mut() {
                    Some((kind, _, _, last)) if *kind == run.verdict => *last = &run.id,
                    _ => verdicts.push((&run.verdict, run.started_at_unix_ms, &run.id, &run.id)),
                }
            }
            RunState::Interrupted | RunState::Running | RunState::Failed => {
                if !run.verdict.is_empty() || store.report(&run.id).await?.is_some() {
                    return Err(format!("{} did not end and has a verdict", run.id).into());
                }
            }
        }
    }
    verdicts.reverse();
    let found = store.flows(Some(&key())).await?;
    let found: Vec<_> = found
        .iter()
        .map(|one| {
            (
                one.kind.as_str(),
                one.since_unix_ms,
                one.first_run.as_str(),
                one.last_run.as_str(),
            )
        })
        .collect();
    if found == verdicts {
        return Ok(());
    }
    Err(format!("the flow: found {found:?}, expected {verdicts:?}").into())
}
