#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use reachproof_model::finding::FindingKind;

use super::*;
use crate::flows::flows_of;

const REPORT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../verify/tests/old/report.json.gz"
);

fn row(id: &str, at: u64) -> RunRow {
    RunRow::beginning(id.to_owned(), at, "smoke".to_owned(), "rules".to_owned())
}

/// A run that ended with `verdict`.
fn done(id: &str, at: u64, verdict: &str) -> RunRow {
    RunRow {
        ended_at_unix_ms: Some(at + 5),
        state: RunState::Done,
        verdict: verdict.to_owned(),
        why: "because".to_owned(),
        world: "w".repeat(64),
        changed: vec!["- sgr-1".to_owned()],
        ..row(id, at)
    }
}

fn flow(kind: FindingKind) -> Flows {
    let state = FlowState {
        source: "nodes".to_owned(),
        destination: "control plane".to_owned(),
        packets: "tcp/443".to_owned(),
        kind,
    };
    Flows::from([("nodes -> control plane tcp/443".to_owned(), state)])
}

async fn keep(store: &Store, run: &RunRow, kind: FindingKind) {
    store
        .begin(&row(&run.id, run.started_at_unix_ms))
        .await
        .unwrap();
    let report = Report::open(Path::new(REPORT)).unwrap();
    store.finish(run, report, &flow(kind)).await.unwrap();
}

#[tokio::test]
async fn a_report_comes_back_as_it_was_with_its_world_also_by_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("folder of its own/a store?.db");
    let store = Store::open(&Place::File(path.clone())).await.unwrap();
    let report = Report::open(Path::new(REPORT)).unwrap();
    let run = done("run-1", 10, "PASS");
    store.begin(&row("run-1", 10)).await.unwrap();
    assert_eq!(store.run("run-1").await.unwrap().unwrap(), row("run-1", 10));
    assert!(store.report("run-1").await.unwrap().is_none());
    store
        .finish(&run, report.clone(), &flows_of(&report))
        .await
        .unwrap();
    store.close().await;
    let store = Store::open(&Place::File(path.clone())).await.unwrap();
    assert_eq!(store.runs(5).await.unwrap(), std::slice::from_ref(&run));
    assert_eq!(store.last_done().await.unwrap(), Some(run));
    let found = store.report("run-1").await.unwrap().unwrap();
    let json = |report: &Report| serde_json::to_value(report).unwrap();
    assert!(found.snapshot.content.is_some());
    assert_eq!(json(&found), json(&report));
    assert_eq!(
        store.flows(None).await.unwrap().len(),
        flows_of(&report).len()
    );
    assert_eq!(store.integrity().await.unwrap(), "ok");
}

#[tokio::test]
async fn what_was_under_way_is_interrupted_and_has_no_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = Store::open(&Place::File(path.clone())).await.unwrap();
    store.begin(&row("run-1", 10)).await.unwrap();
    store.close().await;
    let store = Store::open(&Place::File(path.clone())).await.unwrap();
    let found = store.interrupt().await.unwrap();
    assert_eq!(found.len(), 1);
    let run = store.run("run-1").await.unwrap().unwrap();
    assert_eq!(
        (run.state, run.verdict.as_str()),
        (RunState::Interrupted, "")
    );
    assert!(store.interrupt().await.unwrap().is_empty());
    assert!(store.last_verdict().await.unwrap().is_none());
    let failed = RunRow {
        state: RunState::Failed,
        verdict: "ERROR".to_owned(),
        ..row("run-2", 20)
    };
    store.begin(&row("run-2", 20)).await.unwrap();
    store.end(&failed).await.unwrap();
    assert_eq!(store.last_verdict().await.unwrap(), Some(failed));
    assert!(store.last_done().await.unwrap().is_none());
}

#[tokio::test]
async fn a_verdict_goes_on_until_another_is_seen_and_doubt_ends_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&Place::File(folder.path().join("store.db")))
        .await
        .unwrap();
    for (id, at, kind) in [
        ("run-1", 10, FindingKind::ConfirmedAllow),
        ("run-2", 20, FindingKind::ConfirmedAllow),
        ("run-3", 30, FindingKind::Inconclusive),
        ("run-4", 40, FindingKind::ContradictionClosed),
        ("run-5", 50, FindingKind::ConfirmedAllow),
    ] {
        keep(&store, &done(id, at, "PASS"), kind).await;
    }
    let all = store
        .flows(Some("nodes -> control plane tcp/443"))
        .await
        .unwrap();
    let said: Vec<_> = all
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
    assert_eq!(
        said,
        [
            ("confirmed_allow", 50, "run-5", "run-5"),
            ("contradiction_closed", 40, "run-4", "run-4"),
            ("confirmed_allow", 10, "run-1", "run-2"),
        ]
    );
    let now = store.flows(None).await.unwrap();
    assert_eq!(now.len(), 1);
    assert!(
        now.first()
            .is_some_and(|one| one.is_current && one.since_unix_ms == 50)
    );
}

#[tokio::test]
async fn what_is_too_old_or_too_many_is_forgotten_with_worlds_that_nobody_needs() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&Place::File(folder.path().join("store.db")))
        .await
        .unwrap();
    for at in 1..=5_u64 {
        let mut run = done(&format!("run-{at}"), at, "PASS");
        run.world = format!("world-{at}");
        keep(&store, &run, FindingKind::ConfirmedAllow).await;
    }
    let ids = async |runs, since_unix_ms| {
        store
            .forget(Retention {
                runs,
                since_unix_ms,
            })
            .await
            .unwrap();
        let left = store.runs(10).await.unwrap();
        left.iter().map(|run| run.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(3, 0).await, ["run-5", "run-4", "run-3"]);
    assert_eq!(ids(3, 4).await, ["run-5", "run-4"]);
    let worlds = sqlx::query("SELECT sha256 FROM worlds")
        .fetch_all(&store.pool)
        .await
        .unwrap();
    assert_eq!(worlds.len(), 2);
    assert_eq!(store.flows(None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn who_took_part_is_known_by_its_last_run_until_that_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&Place::File(folder.path().join("store.db")))
        .await
        .unwrap();
    let report = Report::open(Path::new(REPORT)).unwrap();
    let first = turns_of(&report, 10);
    assert!(first.values().any(|turn| turn.source_unix_ms == Some(10)));
    assert!(first.values().any(|turn| turn.target_unix_ms == Some(10)));
    keep(
        &store,
        &done("run-1", 10, "PASS"),
        FindingKind::ConfirmedAllow,
    )
    .await;
    assert_eq!(store.turns().await.unwrap(), first);
    keep(
        &store,
        &done("run-2", 20, "PASS"),
        FindingKind::ConfirmedAllow,
    )
    .await;
    assert_eq!(store.turns().await.unwrap(), turns_of(&report, 20));
    assert_eq!(store.begins(5).await.unwrap(), [20, 10]);
    assert_eq!(store.begins(1).await.unwrap(), [20]);
    let forgotten = Retention {
        runs: 10,
        since_unix_ms: 21,
    };
    store.forget(forgotten).await.unwrap();
    assert!(store.turns().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = Store::open(&Place::File(path.clone())).await.unwrap();
    sqlx::query("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'of the future', true, x'00', 0)")
        .execute(&store.pool)
        .await
        .unwrap();
    store.close().await;
    match Store::open(&Place::File(path.clone())).await {
        Err(StoreError::Newer { step: 99, .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nobody_else_opens_the_file_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = Store::open(&Place::File(path.clone())).await.unwrap();
    store.begin(&row("run-1", 10)).await.unwrap();
    let other = sqlx::any::AnyPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_millis(200))
        .connect(&url(&path))
        .await;
    let read = match other {
        Ok(other) => sqlx::query("SELECT id FROM runs")
            .fetch_all(&other)
            .await
            .map(|rows| rows.len()),
        Err(error) => Err(error),
    };
    assert!(read.is_err(), "{read:?}");
}
