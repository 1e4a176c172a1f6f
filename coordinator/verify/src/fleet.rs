//! The agents' streams and the registry together: one place to wait for the next news.

use std::net::SocketAddr;
use std::time::Duration;

use reachproof_proto::v1;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tonic::Streaming;

use crate::control::Arrival;
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
    /// The stream ended.
    Ended(StreamId),
}

/// Every stream and every agent of a run.
pub struct Fleet {
    /// The agents.
    pub registry: Registry,
    arrivals: mpsc::Receiver<Arrival>,
    events: mpsc::Receiver<Event>,
    sender: mpsc::Sender<Event>,
    readers: JoinSet<()>,
    streams: u64,
}

impl Fleet {
    /// A fleet without agents, and where the control server sends them.
    pub fn new() -> (Self, mpsc::Sender<Arrival>) {
        let (arrive, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let (sender, events) = mpsc::channel(INCOMING_MESSAGES_MAX);
        let fleet = Self {
            registry: Registry::default(),
            arrivals,
            events,
            sender,
            readers: JoinSet::new(),
            streams: 0,
        };
        (fleet, arrive)
    }

    /// Waits for the next news of any agent. Dropping the future loses nothing.
    pub async fn news(&mut self) -> News {
        loop {
            tokio::select! {
                Some(arrival) = self.arrivals.recv() => self.take(arrival),
                Some(event) = self.events.recv() => {
                    if let Some(news) = self.happened(event) {
                        return news;
                    }
                }
                Some(_) = self.readers.join_next() => {}
                else => std::future::pending().await,
            }
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
            Event::Ended(stream) => {
                self.registry.closed(stream);
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
    let mut next = timeout(HELLO_TIMEOUT, incoming.message())
        .await
        .unwrap_or(Ok(None));
    while let Ok(Some(message)) = next {
        if events
            .send(Event::Message(stream, Box::new(message)))
            .await
            .is_err()
        {
            return;
        }
        next = incoming.message().await;
    }
    // The receiver lives as long as the readers; were it gone, nobody would ask for the end of the stream.
    drop(events.send(Event::Ended(stream)).await);
}
