//! Every agent that is there, whether or not a run is under way.
//!
//! A fleet outlives runs. Each run opens an inbox, and hears of its own probes and of every agent that comes or goes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reachproof_model::snapshot::Snapshot;
use reachproof_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tonic::{Code, Status, Streaming};

use crate::control::Arrival;
use crate::door::{Expected, HELLO_TIMEOUT};
use crate::letter::{Inboxes, Queued};
use crate::refused::RefusedList;
use crate::registry::{Caller, Registry, StreamId};
use crate::territory::Territory;

/// Messages of all agents that wait to be taken; when it is full, their senders wait (HTTP/2 flow control).
pub const INCOMING_MESSAGES_MAX: usize = 1_024;

/// Streams that came in and wait to be taken.
pub const ARRIVALS_MAX: usize = 64;

/// Every stream and every agent, for all runs. Cheap to clone: each clone is the same fleet.
#[derive(Debug, Clone)]
pub struct Fleet {
    address: SocketAddr,
    // Invariant: who needs both locks takes the registry first.
    registry: Arc<Mutex<Registry>>,
    inboxes: Arc<Mutex<Inboxes>>,
    /// Places of messages that wait to be taken.
    places: Arc<Semaphore>,
    expected: Expected,
}

impl Fleet {
    /// A fleet without agents; they dial in at `address`.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            registry: Arc::default(),
            inboxes: Arc::default(),
            places: Arc::new(Semaphore::new(INCOMING_MESSAGES_MAX)),
            expected: Expected::default(),
        }
    }

    /// Where agents dial in.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many agents are expected, for whoever keeps the door.
    pub fn expected(&self) -> Expected {
        self.expected.clone()
    }

    /// Those who are not let in, for whoever refuses somebody.
    pub fn refused(&self) -> RefusedList {
        self.registry().refused().clone()
    }

    /// Takes note of the world that runs are about: an agent must have its addresses there. Those that have not are sent
    /// away; so many are expected.
    pub fn enter_world(&self, snapshot: &Snapshot, expected: usize) {
        self.expected.set(expected);
        self.registry().enter(Territory::of(snapshot));
    }

    /// The agents. Nobody else is served as long as it is held.
    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        lock(&self.registry)
    }

    /// Opens the inbox of a run.
    pub(crate) fn enter(&self, run: &str) -> mpsc::UnboundedReceiver<Queued> {
        lock(&self.inboxes).open(run)
    }

    /// Takes in every stream of `arrivals` and reads from it, until nobody can send one any more.
    pub async fn serve(self, mut arrivals: mpsc::Receiver<Arrival>) {
        let mut readers = JoinSet::new();
        let mut streams = 0;
        loop {
            tokio::select! {
                arrival = arrivals.recv() => match arrival {
                    Some(arrival) => {
                        let stream = StreamId(streams);
                        streams += 1;
                        readers.spawn(self.clone().take(stream, arrival));
                    }
                    None => break,
                },
                Some(_) = readers.join_next() => {}
            }
        }
        while readers.join_next().await.is_some() {}
    }

    /// Ends every stream.
    pub fn close(&self) {
        self.registry().close();
    }

    /// Closes the inbox of a run.
    pub(crate) fn leave(&self, run: &str) {
        lock(&self.inboxes).close(run);
    }

    /// Takes a new stream in and reads from it until it ends.
    async fn take(self, stream: StreamId, arrival: Arrival) {
        let remote = arrival.remote.map(|remote| remote.ip().to_canonical());
        let caller = Caller {
            identity: arrival.identity,
            outgoing: arrival.outgoing,
            remote,
            seat: arrival.seat,
        };
        self.registry().opened(stream, caller);
        let status = self.read(stream, arrival.incoming).await;
        self.registry().closed(stream, status);
    }

    /// Reads a stream until it ends; with a status if the agent is to hear why it did.
    async fn read(
        &self,
        stream: StreamId,
        mut incoming: Streaming<v1::AgentMessage>,
    ) -> Option<Status> {
        let late = |_| Err(Status::deadline_exceeded("hello did not come in time"));
        let mut next = timeout(HELLO_TIMEOUT, incoming.message())
            .await
            .unwrap_or_else(late);
        while let Ok(Some(message)) = next {
            // The semaphore is never closed; were it, nobody could be heard any more.
            let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
            self.deliver(stream, message, place);
            next = incoming.message().await;
        }
        next.err().map(said)
    }

    /// Tells the registry of a message, and the runs of what it means. What no run wants is acknowledged at once.
    ///
    /// Under one lock, so that a run hears of everything in the order in which the registry did.
    fn deliver(&self, stream: StreamId, message: v1::AgentMessage, place: OwnedSemaphorePermit) {
        let mut registry = self.registry();
        let Some(letter) = registry.message(stream, message, Instant::now()) else {
            return;
        };
        if let Some(receipt) = lock(&self.inboxes).put(letter, place) {
            registry.drop_batch(receipt);
        }
    }
}

/// Locks; what a thread left behind that failed is sound, since no change to it is left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The status that an agent hears: a message above the limit is `RESOURCE_EXHAUSTED` (security.md, "Limits of the
/// wire").
fn said(status: Status) -> Status {
    if status.code() == Code::OutOfRange {
        return Status::resource_exhausted(status.message());
    }
    status
}
