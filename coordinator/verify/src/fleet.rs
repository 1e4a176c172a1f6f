//! The agents' streams and the registry together: one place to wait for the next news.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use reachproof_proto::v1;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tonic::{Code, Status, Streaming};

use crate::control::Arrival;
use crate::error::RunError;
use crate::registry::{News, Registry, StreamId};

/// How long the first message of a stream may take: a stream that says nothing holds memory for nothing.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Messages of all agents that wait to be taken; when it is full, their senders wait (HTTP/2 flow control).
pub const INCOMING_MESSAGES_MAX: usize = 1_024;

/// Streams that came in and wait to be taken.
pub const ARRIVALS_MAX: usize = 64;

/// One thing that happened on a stream.
enum Event {
    /// A message came.
    Message(StreamId, Box<v1::AgentMessage>),
    /// The stream ended; with a status if the agent is to hear why.
    Ended(StreamId, Option<Status>),
}

/// Every stream and every agent of a run.
pub struct Fleet<'a> {
    /// The agents.
    pub registry: Registry,
    shutdown: Pin<Box<dyn Future<Output = ()> + Send + 'a>>,
    arrivals: mpsc::Receiver<Arrival>,
    events: mpsc::Receiver<Event>,
    sender: mpsc::Sender<Event>,
    readers: JoinSet<()>,
    streams: u64,
}

impl<'a> Fleet<'a> {
    /// A fleet without agents, and where the control server sends them. It waits for nobody once `shutdown` completed.
    pub fn new(shutdown: impl Future<Output = ()> + Send + 'a) -> (Self, mpsc::Sender<Arrival>) {
        let (arrive, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let (sender, events) = mpsc::channel(INCOMING_MESSAGES_MAX);
        let fleet = Self {
            registry: Registry::default(),
            shutdown: Box::pin(shutdown),
            arrivals,
            events,
            sender,
            readers: JoinSet::new(),
            streams: 0,
        };
        (fleet, arrive)
    }

    /// Waits for the next news of any agent. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`RunError::Interrupted`] when the caller asked to stop; then nothing more is to be asked.
    pub async fn news(&mut self) -> Result<News, RunError> {
        loop {
            tokio::select! {
                () = &mut self.shutdown => return Err(RunError::Interrupted),
                Some(arrival) = self.arrivals.recv() => self.take(arrival),
                Some(event) = self.events.recv() => {
                    if let Some(news) = self.happened(event) {
                        return Ok(news);
                    }
                }
                Some(_) = self.readers.join_next() => {}
            }
        }
    }

    /// Does `work`, unless the caller asks to stop before it is done.
    ///
    /// # Errors
    /// [`RunError::Interrupted`], as [`Self::news`].
    pub async fn unless_stopped<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, RunError> {
        tokio::select! {
            () = &mut self.shutdown => Err(RunError::Interrupted),
            done = work => Ok(done),
        }
    }

    /// Ends every stream and waits for its reader.
    pub async fn close(mut self) {
        self.registry.close();
        self.readers.shutdown().await;
    }

    /// Takes a new stream in and reads from it.
    fn take(&mut self, arrival: Arrival) {
        let stream = StreamId(self.streams);
        self.streams += 1;
        let remote = arrival
            .remote
            .map(|remote: SocketAddr| remote.ip().to_canonical());
        self.registry.opened(stream, arrival.outgoing, remote);
        self.readers
            .spawn(read(stream, arrival.incoming, self.sender.clone()));
    }

    /// Tells the registry.
    fn happened(&mut self, event: Event) -> Option<News> {
        match event {
            Event::Message(stream, message) => {
                self.registry.message(stream, *message, Instant::now())
            }
            Event::Ended(stream, status) => {
                self.registry.closed(stream, status);
                None
            }
        }
    }
}

/// Reads a stream until it ends.
async fn read(
    stream: StreamId,
    mut incoming: Streaming<v1::AgentMessage>,
    events: mpsc::Sender<Event>,
) {
    let late = |_| Err(Status::deadline_exceeded("hello did not come in time"));
    let mut next = timeout(HELLO_TIMEOUT, incoming.message())
        .await
        .unwrap_or_else(late);
    while let Ok(Some(message)) = next {
        let event = Event::Message(stream, Box::new(message));
        if events.send(event).await.is_err() {
            return;
        }
        next = incoming.message().await;
    }
    let ended = Event::Ended(stream, next.err().map(said));
    // The receiver lives as long as the readers; were it gone, nobody would ask for the end of the stream.
    drop(events.send(ended).await);
}

/// The status that an agent hears: a message above the limit is `RESOURCE_EXHAUSTED` (SECURITY S-24).
fn said(status: Status) -> Status {
    if status.code() == Code::OutOfRange {
        return Status::resource_exhausted(status.message());
    }
    status
}
