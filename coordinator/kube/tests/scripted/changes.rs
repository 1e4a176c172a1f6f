//! What is told of a cluster that changes, and what an API server that forgets or goes away does to that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Fake, Reply, page, quiet};
use reachproof_kube::change::{Change, ChangeKind};
use reachproof_kube::{ReadError, follow, read};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const WATCH: &str = "/api/v1/pods?watch=1";

fn event(kind: &str, name: &str, version: u32, label: &str) -> Value {
    let metadata = json!({
        "name": name, "namespace": "n", "labels": {"app": label},
        "resourceVersion": version.to_string(), "managedFields": [{"time": version}],
    });
    json!({"type": kind, "object": {"metadata": metadata}})
}

/// A pod as the first list has it.
fn as_listed(kind: &str, name: &str, version: u32) -> Value {
    let metadata = json!({"name": name, "namespace": "n", "resourceVersion": version.to_string()});
    json!({"type": kind, "object": {"metadata": metadata}})
}

/// A change of a pod, and the label that it has afterwards; before, where it is gone.
fn change(name: &str, kind: ChangeKind, label: Option<&str>) -> Change {
    let mut metadata = json!({"name": name, "namespace": "n"});
    if let Some(label) = label {
        metadata["labels"] = json!({"app": label});
    }
    Change {
        stem: "pods",
        namespace: "n".to_owned(),
        name: name.to_owned(),
        kind,
        object: json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata}),
    }
}

/// Reads the cluster and follows it.
async fn followed(fake: &Fake) -> (mpsc::Receiver<Change>, JoinHandle<Result<(), ReadError>>) {
    let server = fake.connect().await;
    let reading = read(&server, |_| {}).await.unwrap();
    let (sender, receiver) = mpsc::channel(16);
    let task = tokio::spawn(async move { follow(&server, &reading, sender).await });
    (receiver, task)
}

async fn next(receiver: &mut mpsc::Receiver<Change>) -> Change {
    timeout(Duration::from_secs(5), receiver.recv())
        .await
        .unwrap()
        .unwrap()
}

async fn nothing_more(receiver: &mut mpsc::Receiver<Change>) {
    let more = timeout(Duration::from_millis(700), receiver.recv()).await;
    assert!(more.is_err(), "{more:?}");
}

/// Every other kind is quiet: its watch stays open and says nothing.
fn otherwise(path: &str) -> Reply {
    if path.contains("watch=1") {
        Reply::Stream(Vec::new())
    } else {
        quiet(path)
    }
}

#[tokio::test]
async fn what_a_snapshot_would_show_is_told_and_heartbeats_are_not() {
    let fake = Fake::start(|path, _| match path {
        path if path.starts_with(WATCH) => Reply::Stream(vec![
            as_listed("MODIFIED", "a", 8),
            event("MODIFIED", "b", 9, "changed"),
            event("ADDED", "d", 10, "new"),
            as_listed("DELETED", "c", 11),
        ]),
        _ => otherwise(path),
    })
    .await;
    let (mut receiver, task) = followed(&fake).await;
    assert_eq!(
        next(&mut receiver).await,
        change("b", ChangeKind::Changed, Some("changed"))
    );
    assert_eq!(
        next(&mut receiver).await,
        change("d", ChangeKind::Added, Some("new"))
    );
    assert_eq!(
        next(&mut receiver).await,
        change("c", ChangeKind::Removed, None)
    );
    nothing_more(&mut receiver).await;
    assert!(!task.is_finished());
}

#[tokio::test]
async fn a_watch_begins_at_the_moment_of_the_list_and_goes_on_where_it_ended() {
    let fake = Fake::start(|path, _| match path {
        path if path.starts_with(WATCH) && path.contains("resourceVersion=7&") => {
            Reply::Events(vec![
                event("MODIFIED", "a", 8, "x"),
                json!({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "20"}}}),
            ])
        }
        path if path.starts_with(WATCH) && path.contains("resourceVersion=20&") => {
            Reply::Stream(vec![event("MODIFIED", "b", 21, "y")])
        }
        _ => otherwise(path),
    })
    .await;
    let (mut receiver, _task) = followed(&fake).await;
    assert_eq!(
        next(&mut receiver).await,
        change("a", ChangeKind::Changed, Some("x"))
    );
    assert_eq!(
        next(&mut receiver).await,
        change("b", ChangeKind::Changed, Some("y"))
    );
    // The list was read once, in its two pages.
    assert_eq!(fake.paths("/api/v1/pods?limit").len(), 2);
}

/// Pods after the world has moved on: `a` as before, `b` gone, `e` new.
fn moved_on(path: &str, count: usize) -> Option<Reply> {
    (path.starts_with("/api/v1/pods?limit") && count > 0)
        .then(|| Reply::ok(page(path, &["a", "c", "e"])))
}

async fn relisted(gone: impl Fn() -> Reply + Send + Sync + 'static) {
    let fake = Fake::start(move |path, count| match path {
        path if path.starts_with(WATCH) && count == 0 => gone(),
        _ => moved_on(path, count).unwrap_or_else(|| otherwise(path)),
    })
    .await;
    let (mut receiver, task) = followed(&fake).await;
    assert_eq!(
        next(&mut receiver).await,
        change("e", ChangeKind::Added, None)
    );
    assert_eq!(
        next(&mut receiver).await,
        change("b", ChangeKind::Removed, None)
    );
    nothing_more(&mut receiver).await;
    assert!(!task.is_finished());
}

#[tokio::test]
async fn a_watch_that_expired_in_its_stream_is_read_again_and_compared() {
    relisted(|| {
        let status = json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"});
        Reply::Events(vec![json!({"type": "ERROR", "object": status})])
    })
    .await;
}

#[tokio::test]
async fn a_watch_that_expired_before_it_opened_is_read_again_and_compared() {
    relisted(|| Reply::status(410, "too old resource version")).await;
}

#[tokio::test]
async fn what_happened_while_the_server_was_away_is_told_when_it_is_back() {
    let happened = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&happened);
    let mut fake = Fake::start(move |path, _| match path {
        path if path.starts_with(WATCH) && seen.load(Ordering::Relaxed) => {
            Reply::Stream(vec![event("MODIFIED", "a", 8, "x")])
        }
        _ => otherwise(path),
    })
    .await;
    let (mut receiver, task) = followed(&fake).await;
    nothing_more(&mut receiver).await;
    fake.stop().await;
    happened.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(300)).await;
    fake.come_back().await;
    assert_eq!(
        next(&mut receiver).await,
        change("a", ChangeKind::Changed, Some("x"))
    );
    assert!(!task.is_finished());
}

#[tokio::test]
async fn a_server_that_stays_away_ends_the_following_with_an_error() {
    let mut fake = Fake::start(|path, _| otherwise(path)).await;
    let (mut receiver, task) = followed(&fake).await;
    nothing_more(&mut receiver).await;
    fake.stop().await;
    let error = timeout(Duration::from_secs(10), task)
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, ReadError::Request { .. }), "{error:?}");
    assert_eq!(receiver.recv().await, None);
}

#[tokio::test]
async fn a_right_that_is_taken_away_ends_the_following_with_an_error() {
    let fake = Fake::start(|path, _| match path {
        path if path.starts_with(WATCH) => Reply::status(403, "pods is forbidden"),
        _ => otherwise(path),
    })
    .await;
    let (_receiver, task) = followed(&fake).await;
    let error = timeout(Duration::from_secs(5), task)
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert!(
        matches!(error, ReadError::Request { stem: "pods", .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn following_ends_when_nobody_listens() {
    let fake = Fake::start(|path, _| otherwise(path)).await;
    let (receiver, task) = followed(&fake).await;
    drop(receiver);
    timeout(Duration::from_secs(5), task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn an_event_cut_short_is_no_change() {
    let fake = Fake::start(|path, count| match path {
        path if path.starts_with(WATCH) && count == 0 => Reply::Cut(event("ADDED", "d", 8, "x")),
        path if path.starts_with(WATCH) => Reply::Stream(vec![event("ADDED", "e", 9, "x")]),
        _ => otherwise(path),
    })
    .await;
    let (mut receiver, _task) = followed(&fake).await;
    assert_eq!(
        next(&mut receiver).await,
        change("e", ChangeKind::Added, Some("x"))
    );
}
