//! Results on their way to the coordinator.
//!
//! What is sent keeps its sequence number until it is acknowledged, and is sent again on the next stream. What is not sent
//! has no number yet: when the spool is full the oldest of it goes, and is counted, so that numbers have no gaps.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use prost::Message;
use reachproof_proto::v1::{AcceptBatch, AgentMessage, agent_message::Body};
use tokio::sync::Notify;

use crate::{
    limits::{
        BATCH_ACCEPTS_MAX, BATCH_ATTEMPTS_MAX, BATCH_CHAIN_BYTES_MAX, BATCH_CHAINS_MAX,
        BATCHES_UNACKNOWLEDGED_MAX, SPOOL_ACCEPTS_MAX, SPOOL_BYTES_MAX, SPOOL_RESULTS_MAX,
    },
    listener::Accepted,
    probe::{Finished, RunName},
    tls::Chain,
    wire::{Epoch, accept_to_wire, batch_to_wire},
};

/// Bytes that count for a result that is not yet in a batch, above what it takes with an identification but for certificates.
const RESULT_BYTES: usize = 256;

/// Bytes that count for this result.
fn weight(finished: &Finished) -> usize {
    RESULT_BYTES + finished.chain().map_or(0, bytes)
}

/// Bytes of a chain.
fn bytes(chain: &Chain) -> usize {
    chain.iter().map(Vec::len).sum()
}

/// Different chains in one batch.
#[derive(Debug, Default)]
struct Chains<'a> {
    held: Vec<&'a Chain>,
    bytes: usize,
}

impl<'a> Chains<'a> {
    /// Whether the batch has room for what this result shows, and counts it if so.
    fn has_room(&mut self, finished: &'a Finished) -> bool {
        let Some(chain) = finished.chain().filter(|chain| !self.held.contains(chain)) else {
            return true;
        };
        let bytes = self.bytes + bytes(chain);
        let fits = self.held.len() < BATCH_CHAINS_MAX && bytes <= BATCH_CHAIN_BYTES_MAX;
        if fits {
            self.held.push(chain);
            self.bytes = bytes;
        }
        fits
    }
}

/// Holds results between those who make them and the control stream.
#[derive(Debug)]
pub struct Spool {
    content: Mutex<Content>,
    filled: Notify,
}

/// What the spool holds.
#[derive(Debug)]
struct Content {
    epoch: Epoch,
    results: VecDeque<Finished>,
    /// Invariant: the sum of [`weight`] over `results`.
    results_bytes: usize,
    accepts: BTreeMap<RunName, Accepts>,
    accepts_held: usize,
    sent: VecDeque<Sent>,
    sequence: u64,
    results_lost: u64,
}

/// Connections that were accepted for one run.
#[derive(Debug, Default)]
struct Accepts {
    held: VecDeque<Accepted>,
    dropped: u64,
}

/// A batch that was sent and is not acknowledged.
#[derive(Debug)]
struct Sent {
    sequence: u64,
    results: usize,
    bytes: usize,
    message: AgentMessage,
}

impl Spool {
    /// An empty spool; times in its batches count from `epoch`.
    pub fn new(epoch: Epoch) -> Spool {
        Spool {
            content: Mutex::new(Content {
                epoch,
                results: VecDeque::new(),
                results_bytes: 0,
                accepts: BTreeMap::new(),
                accepts_held: 0,
                sent: VecDeque::new(),
                sequence: 0,
                results_lost: 0,
            }),
            filled: Notify::new(),
        }
    }

    /// Keeps a finished attempt; the oldest unsent one goes when there is no room.
    pub fn push(&self, finished: Finished) {
        let mut content = self.lock();
        content.results_bytes += weight(&finished);
        content.results.push_back(finished);
        content.shrink();
        drop(content);
        self.filled.notify_one();
    }

    /// Keeps an accepted connection; it is only counted when there is no room.
    pub fn push_accept(&self, accepted: Accepted) {
        let mut content = self.lock();
        let full = content.accepts_held >= SPOOL_ACCEPTS_MAX;
        let accepts = content.accepts.entry(accepted.run.clone()).or_default();
        if full {
            accepts.dropped += 1;
        } else {
            accepts.held.push_back(accepted);
            content.accepts_held += 1;
        }
        drop(content);
        self.filled.notify_one();
    }

    /// Waits until something was added since the last wait.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Makes the next batch and keeps it until it is acknowledged.
    ///
    /// None when there is nothing to send, or when as many as allowed wait for their acknowledgement.
    pub fn next_batch(&self) -> Option<AgentMessage> {
        let mut content = self.lock();
        if content.sent.len() >= BATCHES_UNACKNOWLEDGED_MAX {
            return None;
        }
        content.take_results().or_else(|| content.take_accepts())
    }

    /// What was sent and not acknowledged, in order.
    pub fn unacknowledged(&self) -> Vec<AgentMessage> {
        self.lock()
            .sent
            .iter()
            .map(|sent| sent.message.clone())
            .collect()
    }

    /// Forgets what the coordinator has counted: all batches up to and including `sequence`. Returns how many these were.
    pub fn acknowledge(&self, sequence: u64) -> usize {
        let mut content = self.lock();
        let before = content.sent.len();
        while content
            .sent
            .front()
            .is_some_and(|sent| sent.sequence <= sequence)
        {
            content.sent.pop_front();
        }
        before - content.sent.len()
    }

    /// Forgets what is unsent of a run that was cancelled.
    pub fn discard(&self, run: &RunName) {
        let mut content = self.lock();
        content.results.retain(|finished| finished.run != *run);
        content.results_bytes = content.results.iter().map(weight).sum();
        if let Some(accepts) = content.accepts.remove(run) {
            content.accepts_held = content.accepts_held.saturating_sub(accepts.held.len());
        }
    }

    /// Whether something waits that was never sent.
    pub fn has_unsent(&self) -> bool {
        let content = self.lock();
        !content.results.is_empty() || !content.accepts.is_empty()
    }

    /// Whether all is acknowledged.
    pub fn is_empty(&self) -> bool {
        let content = self.lock();
        content.results.is_empty() && content.accepts.is_empty() && content.sent.is_empty()
    }

    /// Results that were dropped since the agent started.
    pub fn results_lost(&self) -> u64 {
        self.lock().results_lost
    }

    /// The content; whoever panicked with it left it whole, since each change is complete before the next can fail.
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    /// Drops the oldest unsent results until the bounds hold.
    fn shrink(&mut self) {
        let sent_results: usize = self.sent.iter().map(|sent| sent.results).sum();
        let sent_bytes: usize = self.sent.iter().map(|sent| sent.bytes).sum();
        while self.results.len() + sent_results > SPOOL_RESULTS_MAX
            || self.results_bytes + sent_bytes > SPOOL_BYTES_MAX
        {
            let Some(oldest) = self.results.pop_front() else {
                return;
            };
            self.results_bytes -= weight(&oldest);
            self.results_lost += 1;
        }
    }

    /// A batch of the oldest results; they are of one run.
    fn take_results(&mut self) -> Option<AgentMessage> {
        let run = self.results.front()?.run.clone();
        let mut chains = Chains::default();
        let of_run = self
            .results
            .iter()
            .take(BATCH_ATTEMPTS_MAX)
            .take_while(|finished| finished.run == run && chains.has_room(finished));
        let count = of_run.count();
        let batch: Vec<Finished> = self.results.drain(..count).collect();
        self.results_bytes -= batch.iter().map(weight).sum::<usize>();
        self.sequence += 1;
        let message = Body::Observations(batch_to_wire(&self.epoch, self.sequence, &batch));
        Some(self.keep(message, count))
    }

    /// A batch of accepted connections of the first run that has some.
    fn take_accepts(&mut self) -> Option<AgentMessage> {
        let mut entry = self.accepts.first_entry()?;
        let run = entry.key().clone();
        let accepts = entry.get_mut();
        let count = accepts.held.len().min(BATCH_ACCEPTS_MAX);
        let batch: Vec<Accepted> = accepts.held.drain(..count).collect();
        let accepts_dropped = std::mem::take(&mut accepts.dropped);
        if accepts.held.is_empty() {
            entry.remove();
        }
        self.accepts_held = self.accepts_held.saturating_sub(count);
        self.sequence += 1;
        let message = Body::Accepts(AcceptBatch {
            run: run.as_str().to_owned(),
            sequence: self.sequence,
            accepts: batch
                .iter()
                .map(|accepted| accept_to_wire(&self.epoch, accepted))
                .collect(),
            accepts_dropped,
        });
        Some(self.keep(message, 0))
    }

    /// Keeps a numbered batch until it is acknowledged.
    fn keep(&mut self, body: Body, results: usize) -> AgentMessage {
        let message = AgentMessage { body: Some(body) };
        self.sent.push_back(Sent {
            sequence: self.sequence,
            results,
            bytes: message.encoded_len(),
            message: message.clone(),
        });
        message
    }
}
