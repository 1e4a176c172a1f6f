//! What agents say on its way to the runs, with the receipts for what they want acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;

use reachproof_model::observation::AgentName;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

use crate::registry::News;

/// News, and the receipt of the batch that brought it.
#[derive(Debug)]
pub struct Letter {
    /// What happened.
    pub news: News,
    /// When it did, by the coordinator's clock.
    pub at: Instant,
    /// To be given back to the registry once the news is counted or stored; absent where nothing is to be acknowledged.
    pub receipt: Option<Receipt>,
}

/// Stands for one batch that its agent keeps until it is acknowledged.
///
/// Whoever counted or stored the batch hands it to [`crate::registry::Registry::acknowledge`]. A receipt that is lost
/// acknowledges nothing.
#[derive(Debug)]
#[must_use = "a batch that is not acknowledged comes back"]
pub struct Receipt {
    pub(crate) agent: AgentName,
    pub(crate) boot: u64,
    pub(crate) sequence: u64,
}

/// A letter with its place in the fleet, which it holds until it is taken.
pub(crate) type Queued = (Letter, Arc<OwnedSemaphorePermit>);

/// The inboxes of the runs that are under way, by the name of the run.
#[derive(Debug, Default)]
pub(crate) struct Inboxes(BTreeMap<String, mpsc::UnboundedSender<Queued>>);

impl Inboxes {
    /// Opens the inbox of the run named `run`.
    ///
    /// The queue has no limit of its own: its letters hold places, of which the fleet has so many.
    pub(crate) fn open(&mut self, run: &str) -> mpsc::UnboundedReceiver<Queued> {
        let (sender, letters) = mpsc::unbounded_channel();
        self.0.insert(run.to_owned(), sender);
        letters
    }

    /// Closes it.
    pub(crate) fn close(&mut self, run: &str) {
        self.0.remove(run);
    }

    /// Puts a letter where it belongs: into the inbox of its run, or into all. Returns the receipt if nobody wants it.
    pub(crate) fn put(&self, letter: Letter, place: OwnedSemaphorePermit) -> Option<Receipt> {
        let place = Arc::new(place);
        let Some(run) = letter.news.run() else {
            for inbox in self.0.values() {
                let letter = Letter {
                    news: letter.news.clone(),
                    at: letter.at,
                    receipt: None,
                };
                // An inbox without a reader is about to be closed.
                drop(inbox.send((letter, Arc::clone(&place))));
            }
            return letter.receipt;
        };
        let Some(inbox) = self.0.get(run) else {
            return letter.receipt;
        };
        let unwanted = inbox.send((letter, place)).err();
        unwanted.and_then(|mpsc::error::SendError((letter, _))| letter.receipt)
    }
}
