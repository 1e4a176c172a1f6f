//! What changes in the cluster after a reading, as it happens.
//!
//! Reading again at the end of a run shows that two moments are the same; it does not show what came and went between
//! them, nor when. Watches do. Only changes that a snapshot would show are told: heartbeats, leases and counters are
//! none. The settings of the VPC CNI are not followed (the account may only get them): reading again covers them. Nor are the
//! leases of nodes, which are evidence and no part of the world.

use std::collections::BTreeMap;
use std::time::Duration;

use reachproof_model::describe::lasting;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::connect::ApiServer;
use crate::error::{ReadError, RequestError};
use crate::limits::{PAUSE_MAX, PAUSE_MIN};
use crate::list::{Effort, Listed, list};
use crate::reader::Reading;
use crate::request::{Answer, Question};
use crate::resource::{Extent, RESOURCES, Resource};
use crate::shape;
use crate::watch::{Event, Watch, WatchEnd, version};

/// A change that a snapshot would show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Stem of the file that it would show in.
    pub stem: &'static str,
    /// Namespace of the object; empty where it has none.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// What happened.
    pub kind: ChangeKind,
    /// The object as the file would show it now; as it last did, where it is gone.
    pub object: Value,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Fields that a snapshot keeps are different.
    Changed,
    /// It is gone.
    Removed,
}

/// Follows everything that `reading` listed, from its moments on, and sends each change as it happens.
///
/// Returns when the receiver of `changes` is gone. What happened while a watch was away is not lost: it is taken up
/// where it ended, and when that is forgotten (410) the list is read again and compared with what was known. Lists
/// that the reading has as gaps, and kinds that the cluster did not know, are not followed.
///
/// # Errors
/// [`ReadError`] when a list cannot be followed any more: the server stayed away for [`Limits::outage`](crate::Limits),
/// or a right was taken away. Then nothing is known about changes from there on.
pub async fn follow(
    server: &ApiServer,
    reading: &Reading,
    changes: mpsc::Sender<Change>,
) -> Result<(), ReadError> {
    let mut followers = JoinSet::new();
    for resource in RESOURCES {
        let (Some(version), Some(answer)) = (
            reading.versions.get(resource.stem),
            reading.answers.get(resource.stem),
        ) else {
            continue;
        };
        if resource.extent != Extent::All {
            continue;
        }
        let items = answer
            .get("items")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let follower = Follower {
            server: server.clone(),
            resource,
            version: version.clone(),
            known: items.map(|item| (key(item), item.clone())).collect(),
            changes: changes.clone(),
        };
        followers.spawn(follower.run());
    }
    // The first that ends, ends all: dropping the set ends the others.
    match followers.join_next().await {
        Some(Ok(ended)) => ended,
        Some(Err(_)) | None => Ok(()),
    }
}

/// Namespace and name.
type Key = (String, String);

fn key(object: &Value) -> Key {
    let text = |field: &str| {
        let text = object
            .get("metadata")
            .and_then(|metadata| metadata.get(field)?.as_str());
        text.unwrap_or_default().to_owned()
    };
    (text("namespace"), text("name"))
}

/// Follows the objects of one kind.
struct Follower {
    server: ApiServer,
    resource: Resource,
    /// Everything up to here is in `known`.
    version: String,
    known: BTreeMap<Key, Value>,
    changes: mpsc::Sender<Change>,
}

/// Nobody wants to know any more.
struct Unwanted;

/// What stands between a follower and its watch, since the last one that was opened.
struct Trouble {
    down: Option<Instant>,
    attempts: u32,
    pause: Duration,
    /// Whether a refusal was doubted already.
    doubted: bool,
}

impl Default for Trouble {
    fn default() -> Self {
        Self {
            down: None,
            attempts: 0,
            pause: PAUSE_MIN,
            doubted: false,
        }
    }
}

impl Follower {
    async fn run(mut self) -> Result<(), ReadError> {
        let mut trouble = Trouble::default();
        loop {
            let end = match self.watch(&mut trouble).await {
                Ok(Unwanted) => return Ok(()),
                Err(end) => end,
            };
            match end {
                WatchEnd::Expired => {
                    if self.list_again().await?.is_err() {
                        return Ok(());
                    }
                }
                WatchEnd::Refused(source) => self.doubt(source, &mut trouble).await?,
                WatchEnd::Failed(failure) => {
                    let waited = trouble.down.get_or_insert_with(Instant::now).elapsed();
                    trouble.attempts = trouble.attempts.saturating_add(1);
                    if waited > self.server.limits().outage {
                        let (attempts, source) = (trouble.attempts, Box::new(failure));
                        let source = RequestError::Unreachable {
                            waited,
                            attempts,
                            source,
                        };
                        return Err(ReadError::Request {
                            stem: self.resource.stem,
                            source,
                        });
                    }
                    sleep(trouble.pause).await;
                    trouble.pause = trouble.pause.saturating_mul(2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Accepts a refusal only if the list is refused as well, or the watch again: a server that has just started
    /// refuses everybody, and the list waits for one that is ready.
    async fn doubt(&self, source: RequestError, trouble: &mut Trouble) -> Result<(), ReadError> {
        let stem = self.resource.stem;
        if trouble.doubted {
            return Err(ReadError::Request { stem, source });
        }
        trouble.doubted = true;
        let question = Question::get(format!("{}?limit=1", self.resource.path()));
        let answered = self.server.ask(&question).await;
        match answered
            .map_err(|source| ReadError::Request { stem, source })?
            .answer
        {
            Answer::Whole(_) => Ok(()),
            Answer::Denied(_) | Answer::Missing | Answer::Expired => {
                Err(ReadError::Request { stem, source })
            }
        }
    }

    /// Watches until something ends it.
    async fn watch(&mut self, trouble: &mut Trouble) -> Result<Unwanted, WatchEnd> {
        loop {
            let opened = tokio::select! {
                () = self.changes.closed() => return Ok(Unwanted),
                opened = Watch::open(&self.server, &self.resource, &self.version) => opened,
            };
            let mut watch = opened?;
            *trouble = Trouble::default();
            loop {
                let event = tokio::select! {
                    () = self.changes.closed() => return Ok(Unwanted),
                    event = watch.next() => event?,
                };
                let (object, at, removed) = match event {
                    Event::End => break,
                    Event::Bookmark(at) => {
                        self.version = at;
                        continue;
                    }
                    Event::Present(object) => {
                        let at = version(&object).to_owned();
                        (shape::object(&self.resource, &object), at, None)
                    }
                    Event::Removed(object) => {
                        let at = version(&object).to_owned();
                        (object, at, Some(ChangeKind::Removed))
                    }
                };
                if self.take(object, removed).await.is_err() {
                    return Ok(Unwanted);
                }
                self.version = at;
            }
            // A server that ends each watch at once is not asked in a rush.
            sleep(PAUSE_MIN).await;
        }
    }

    /// Takes an object over and tells if a snapshot would show the difference.
    async fn take(&mut self, object: Value, removed: Option<ChangeKind>) -> Result<(), Unwanted> {
        let key = key(&object);
        let told = match removed {
            Some(kind) => self.known.remove(&key).map(|last| (kind, last)),
            None => match self.known.insert(key.clone(), object.clone()) {
                None => Some((ChangeKind::Added, object)),
                Some(before) if !self.is_same(&before, &object) => {
                    Some((ChangeKind::Changed, object))
                }
                Some(_) => None,
            },
        };
        match told {
            Some((kind, object)) => self.tell(key, kind, object).await,
            None => Ok(()),
        }
    }

    /// Whether two states of an object differ in nothing but what changes by itself.
    fn is_same(&self, one: &Value, other: &Value) -> bool {
        lasting(self.resource.stem, one) == lasting(self.resource.stem, other)
    }

    async fn tell(&self, key: Key, kind: ChangeKind, object: Value) -> Result<(), Unwanted> {
        let (namespace, name) = key;
        let change = Change {
            stem: self.resource.stem,
            namespace,
            name,
            kind,
            object,
        };
        tracing::info!(stem = change.stem, namespace = change.namespace, name = change.name, kind = ?kind, "changed");
        self.changes.send(change).await.map_err(|_closed| Unwanted)
    }

    /// Reads the whole list and tells what is different from what was known.
    async fn list_again(&mut self) -> Result<Result<(), Unwanted>, ReadError> {
        let stem = self.resource.stem;
        let denied = |message| {
            let source = RequestError::Denied { message };
            ReadError::Request { stem, source }
        };
        let whole = match list(&self.server, &self.resource, &mut Effort::default()).await? {
            Listed::Whole(whole) => whole,
            Listed::Denied(message) => return Err(denied(message)),
            Listed::NotServed => return Err(denied("the kind is not served any more".to_owned())),
        };
        let mut before = std::mem::take(&mut self.known);
        for object in whole.objects {
            let key = key(&object);
            if let Some(known) = before.remove(&key) {
                self.known.insert(key, known);
            }
            if self.take(object, None).await.is_err() {
                return Ok(Err(Unwanted));
            }
        }
        for (key, last) in before {
            if self.tell(key, ChangeKind::Removed, last).await.is_err() {
                return Ok(Err(Unwanted));
            }
        }
        self.version = whole.version;
        Ok(Ok(()))
    }
}
