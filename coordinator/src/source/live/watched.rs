//! A cluster that is read several times, and whose Kubernetes half is watched in between.
//!
//! Two readings show that two moments are the same; a pod that came and went between them, or a policy that was there for
//! a minute, they do not show. EC2 offers no watch, so there two readings are all there is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use reachproof_kube::{ApiServer, Change, Entry, Limits, Reading, follow};
use reachproof_model::describe::Described;
use reachproof_model::stability::Passing;
use reachproof_model::words::chain;
use reachproof_verify::source::{WorldError, WorldReading, WorldSource};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::{Access, Cost, LiveError, LiveReading, runtime};

/// How late a change may be told: what happened before a reading ended is waited for so long.
const WATCH_LAG: Duration = Duration::from_millis(500);

/// How many changes are kept. A cluster in which more happens during a run is not followed any further.
const CHANGES_MAX: usize = 10_000;

/// How many changes may wait to be taken over.
const CHANGES_WAITING_MAX: usize = 256;

/// A cluster that a run reads at its start, after the settle time, and at its end.
#[derive(Debug)]
pub(crate) struct Watched {
    cluster: String,
    access: Access,
    /// What goes on in Kubernetes since the first reading.
    following: Mutex<Option<Following>>,
}

impl Watched {
    /// Nothing is read or watched yet.
    pub(crate) fn new(cluster: String, access: Access) -> Self {
        Self {
            cluster,
            access,
            following: Mutex::new(None),
        }
    }

    /// The same cluster, of which nothing is known yet.
    fn again(&self) -> Self {
        Self::new(self.cluster.clone(), self.access.clone())
    }

    fn reading(&self) -> Result<WorldReading, LiveError> {
        let LiveReading {
            answers,
            kubernetes,
            cost: Cost { calls, pages },
            ..
        } = super::read(&self.cluster, &self.access)?;
        let mut following = self
            .following
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let passed = match (&*following, self.access.entry(), kubernetes) {
            (Some(following), _, _) => following.passed(),
            (None, Some(entry), Some(reading)) => {
                *following = Some(Following::start(entry, reading)?);
                Vec::new()
            }
            (None, _, _) => Vec::new(),
        };
        Ok(WorldReading {
            described: Described::from(answers),
            calls,
            pages,
            passed,
        })
    }
}

impl WorldSource for Watched {
    fn read(&self) -> Result<WorldReading, WorldError> {
        self.reading()
            .map_err(|error| WorldError::from(Box::from(crate::source::WorldFailure::from(error))))
    }

    fn anew(&self) -> Option<Arc<dyn WorldSource>> {
        Some(Arc::new(self.again()))
    }
}

/// Follows the changes in Kubernetes on a thread of its own, until dropped.
#[derive(Debug)]
struct Following {
    seen: Arc<Mutex<Seen>>,
    // Dropped first, which ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Stem, namespace and name of an object.
type Key = (&'static str, String, String);

/// What has been told so far.
#[derive(Debug, Default)]
struct Seen {
    /// How each object looked after each of its changes.
    objects: BTreeMap<Key, Vec<Value>>,
    /// How many changes there were.
    changes: usize,
    /// Why nothing more is told; absent while the following goes on.
    ended: Option<String>,
}

impl Following {
    /// Follows everything that `reading` listed.
    fn start(entry: Entry, reading: Reading) -> Result<Self, LiveError> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (stop, stopped) = oneshot::channel();
        let (runtime, shared) = (runtime()?, Arc::clone(&seen));
        let thread = thread::Builder::new().name("watch".to_owned());
        let thread = thread.spawn(move || {
            let end = runtime.block_on(async {
                tokio::select! {
                    end = watch(&entry, &reading, &shared) => end,
                    // Completes when the sender is dropped, too.
                    _ = stopped => None,
                }
            });
            shared.lock().unwrap_or_else(PoisonError::into_inner).ended = end;
        });
        Ok(Self {
            seen,
            stop: Some(stop),
            thread: Some(thread?),
        })
    }

    /// The objects that changed more than once since the first reading; a single change is what the next one shows.
    ///
    /// Tells on standard error if nobody watches any more.
    fn passed(&self) -> Vec<Passing> {
        thread::sleep(WATCH_LAG);
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(end) = &seen.ended {
            crate::console::status().say(&format!(
                "gap: what came and went in Kubernetes between the readings is not known: {end}"
            ));
        }
        seen.passed()
    }
}

impl Seen {
    fn note(&mut self, change: Change) {
        let key = (change.stem, change.namespace, change.name);
        self.objects.entry(key).or_default().push(change.object);
        self.changes += 1;
    }

    fn passed(&self) -> Vec<Passing> {
        let several = self.objects.iter().filter(|(_, states)| states.len() > 1);
        several
            .map(|((file, namespace, name), states)| Passing {
                file: (*file).to_owned(),
                namespace: namespace.clone(),
                name: name.clone(),
                states: states.clone(),
            })
            .collect()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so itself.
            let _ended = thread.join();
        }
    }
}

/// Takes changes over until there are too many, or the following ends; says why.
async fn watch(entry: &Entry, reading: &Reading, seen: &Mutex<Seen>) -> Option<String> {
    let server = match ApiServer::connect(entry, Limits::default()).await {
        Ok(server) => server,
        Err(error) => return Some(chain(&error)),
    };
    let (sender, mut changes) = mpsc::channel(CHANGES_WAITING_MAX);
    let take = async {
        while let Some(change) = changes.recv().await {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.note(change);
            if seen.changes >= CHANGES_MAX {
                return Some(format!("more than {CHANGES_MAX} changes"));
            }
        }
        None
    };
    tokio::select! {
        ended = follow(&server, reading, sender) => ended.err().map(|error| chain(&error)),
        full = take => full,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use reachproof_kube::change::ChangeKind;
    use serde_json::json;

    use super::*;

    fn change(name: &str, kind: ChangeKind, at: u64) -> Change {
        Change {
            stem: "pods",
            namespace: "n".to_owned(),
            name: name.to_owned(),
            kind,
            object: json!({ "at": at }),
        }
    }

    #[test]
    fn a_run_knows_nothing_of_what_passed_before_it() {
        let watched = Watched::new("demo".to_owned(), Access::default());
        *watched.following.lock().unwrap() = Some(Following {
            seen: Arc::default(),
            stop: None,
            thread: None,
        });
        assert!(watched.again().following.lock().unwrap().is_none());
    }

    #[test]
    fn what_changed_once_is_left_to_the_next_reading_and_what_changed_again_has_passed() {
        let mut seen = Seen::default();
        seen.note(change("stays", ChangeKind::Added, 1));
        seen.note(change("passes", ChangeKind::Added, 2));
        assert_eq!(seen.passed(), []);
        seen.note(change("passes", ChangeKind::Removed, 3));
        let passing = Passing {
            file: "pods".to_owned(),
            namespace: "n".to_owned(),
            name: "passes".to_owned(),
            states: vec![json!({"at": 2}), json!({"at": 3})],
        };
        assert_eq!(seen.passed(), [passing]);
    }
}
