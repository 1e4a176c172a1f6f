//! What agents say to one run, in the order in which it came.

use std::pin::{Pin, pin};

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::error::RunError;
use crate::fleet::Fleet;
use crate::letter::{Letter, Queued};

/// Most letters that are taken at once: what takes longer than a look at a large fleet.
const LETTERS_MAX: usize = 1_024;

/// Where one run hears of the agents. Dropping it acknowledges what was not taken: nobody will ask for it any more.
pub struct Inbox<'a> {
    run: String,
    fleet: Fleet,
    letters: mpsc::UnboundedReceiver<Queued>,
    shutdown: Pin<Box<dyn Future<Output = ()> + Send + 'a>>,
}

impl<'a> Inbox<'a> {
    /// Opens the inbox of the run named `run`, which waits for nobody once `shutdown` completed.
    pub fn open(fleet: &Fleet, run: &str, shutdown: impl Future<Output = ()> + Send + 'a) -> Self {
        Self {
            run: run.to_owned(),
            letters: fleet.enter(run),
            fleet: fleet.clone(),
            shutdown: Box::pin(shutdown),
        }
    }

    /// Waits for the next letter. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`RunError::Interrupted`] when the caller asked to stop; then nothing more is to be asked.
    pub async fn next(&mut self) -> Result<Letter, RunError> {
        tokio::select! {
            () = &mut self.shutdown => Err(RunError::Interrupted),
            // The fleet that this inbox holds keeps the other end.
            Some((letter, _place)) = self.letters.recv() => Ok(letter),
        }
    }

    /// Waits until `end` for a letter, and takes those that came with it, `LETTERS_MAX` at most; none if none came. Dropping
    /// the future loses nothing.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn until(&mut self, end: Instant) -> Result<Vec<Letter>, RunError> {
        let Ok(first) = timeout_at(end, self.next()).await else {
            return Ok(Vec::new());
        };
        let mut letters = vec![first?];
        while letters.len() < LETTERS_MAX
            && let Ok((letter, _place)) = self.letters.try_recv()
        {
            letters.push(letter);
        }
        Ok(letters)
    }

    /// Does `work`, unless the caller asks to stop before it is done.
    ///
    /// # Errors
    /// [`RunError::Interrupted`], as [`Self::next`].
    pub async fn unless_stopped<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, RunError> {
        tokio::select! {
            () = &mut self.shutdown => Err(RunError::Interrupted),
            done = work => Ok(done),
        }
    }

    /// The same, while letters are taken and forgotten, so that they keep nobody else waiting.
    ///
    /// # Errors
    /// [`RunError::Interrupted`], as [`Self::next`].
    pub async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Result<T, RunError> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                letter = self.next() => self.forget(letter?),
            }
        }
    }

    /// Acknowledges a letter that nobody wants.
    fn forget(&self, letter: Letter) {
        if let Some(receipt) = letter.receipt {
            self.fleet.registry().acknowledge(receipt);
        }
    }
}

impl Drop for Inbox<'_> {
    fn drop(&mut self) {
        self.fleet.leave(&self.run);
        self.letters.close();
        while let Ok((letter, _place)) = self.letters.try_recv() {
            self.forget(letter);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::net::{IpAddr, SocketAddr};
    use std::sync::Arc;

    use reachproof_model::observation::AgentName;
    use reachproof_model::plan::AgentKind;
    use reachproof_proto::net::address_to_wire;
    use reachproof_proto::v1;
    use reachproof_proto::v1::agent_message::Body;
    use reachproof_proto::v1::coordinator_message::Body as Reply;
    use tokio::sync::{OwnedSemaphorePermit, Semaphore};
    use tokio::time::Duration;
    use tonic::Status;

    use super::*;
    use crate::door::Seat;
    use crate::identity::{Identity, IdentitySource};
    use crate::letter::Inboxes;
    use crate::registry::News;
    use crate::registry::{Caller, StreamId};

    const STREAM: StreamId = StreamId(1);
    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 1, 20));

    /// What an agent hears.
    type Heard = mpsc::Receiver<Result<v1::CoordinatorMessage, Status>>;

    fn name() -> AgentName {
        "a".try_into().unwrap()
    }

    /// A fleet with one agent.
    fn fleet() -> (Fleet, Heard) {
        let fleet = Fleet::new(SocketAddr::from(([127, 0, 0, 1], 7443)));
        let (outgoing, mut heard) = mpsc::channel(16);
        let caller = Caller {
            identity: Identity {
                name: name(),
                kind: AgentKind::Node,
                addresses: vec![ADDRESS],
                node: None,
                source: IdentitySource::Token { issued_unix_s: 0 },
            },
            outgoing,
            remote: None,
            seat: Seat::default(),
        };
        fleet.registry().opened(STREAM, caller);
        let hello = v1::Hello {
            agent: "a".to_owned(),
            kind: v1::AgentKind::Node.into(),
            addresses: vec![address_to_wire(ADDRESS)],
            ephemeral_port_first: 32_768,
            ephemeral_port_last: 60_999,
            boot: 7,
            limits: Some(v1::AgentLimits {
                attempts_in_flight_max: 64,
                attempts_per_second_max: 20,
            }),
            wire_version: 1,
            ..v1::Hello::default()
        };
        assert!(say(&fleet, Body::Hello(hello)).is_some());
        // Its welcome.
        assert!(heard.try_recv().is_ok());
        (fleet, heard)
    }

    /// What a message of the agent means.
    fn say(fleet: &Fleet, body: Body) -> Option<Letter> {
        let message = v1::AgentMessage { body: Some(body) };
        fleet.registry().message(STREAM, message, Instant::now())
    }

    /// A batch of the run named `run`.
    fn batch(fleet: &Fleet, run: &str, sequence: u64) -> Letter {
        let batch = v1::AcceptBatch {
            run: run.to_owned(),
            sequence,
            ..v1::AcceptBatch::default()
        };
        say(fleet, Body::Accepts(batch)).unwrap()
    }

    /// The batch up to which the agent need keep none, by the last word that it heard.
    fn acknowledged(heard: &mut Heard) -> Option<u64> {
        let mut last = None;
        while let Ok(message) = heard.try_recv() {
            if let Some(Reply::Ack(ack)) = message.unwrap().body {
                last = Some(ack.sequence);
            }
        }
        last
    }

    fn place() -> OwnedSemaphorePermit {
        Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap()
    }

    #[test]
    fn a_batch_goes_to_its_run_alone() {
        let (fleet, _heard) = fleet();
        let mut inboxes = Inboxes::default();
        let (mut first, mut second) = (inboxes.open("first"), inboxes.open("second"));
        assert!(inboxes.put(batch(&fleet, "second", 1), place()).is_none());
        let (letter, _place) = second.try_recv().unwrap();
        assert_eq!(letter.news.run(), Some("second"));
        assert!(letter.receipt.is_some());
        assert!(first.try_recv().is_err());
    }

    #[test]
    fn a_batch_of_a_finished_run_reaches_no_other_and_its_receipt_comes_back() {
        let (fleet, _heard) = fleet();
        let mut inboxes = Inboxes::default();
        let finished = inboxes.open("finished");
        inboxes.close("finished");
        drop(finished);
        let mut next = inboxes.open("next");
        let receipt = inboxes.put(batch(&fleet, "finished", 1), place());
        assert_eq!(receipt.unwrap().sequence, 1);
        assert!(next.try_recv().is_err());
    }

    #[test]
    fn a_batch_for_an_inbox_without_a_reader_gives_its_receipt_back() {
        let (fleet, _heard) = fleet();
        let mut inboxes = Inboxes::default();
        drop(inboxes.open("run"));
        let receipt = inboxes.put(batch(&fleet, "run", 1), place());
        assert_eq!(receipt.unwrap().sequence, 1);
    }

    #[test]
    fn every_run_hears_of_an_agent_and_the_place_is_free_once_all_have() {
        let mut inboxes = Inboxes::default();
        let (mut first, mut second) = (inboxes.open("first"), inboxes.open("second"));
        let places = Arc::new(Semaphore::new(1));
        let letter = Letter {
            news: News::Heard(name()),
            at: Instant::now(),
            receipt: None,
        };
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        assert!(inboxes.put(letter, place).is_none());
        drop(first.try_recv().unwrap());
        assert_eq!(places.available_permits(), 0);
        drop(second.try_recv().unwrap());
        assert_eq!(places.available_permits(), 1);
    }

    /// However fast letters come: whoever waits for them looks at its clock in between.
    #[tokio::test(start_paused = true)]
    async fn letters_that_wait_are_taken_together_and_so_many_at_most() {
        let (fleet, _heard) = fleet();
        let mut inboxes = Inboxes::default();
        let mut inbox = Inbox {
            run: "run".to_owned(),
            fleet,
            letters: inboxes.open("run"),
            shutdown: Box::pin(std::future::pending()),
        };
        for _ in 0..=LETTERS_MAX {
            let letter = Letter {
                news: News::Heard(name()),
                at: Instant::now(),
                receipt: None,
            };
            assert!(inboxes.put(letter, place()).is_none());
        }
        let begun = Instant::now();
        let end = begun + Duration::from_millis(100);
        for expected in [LETTERS_MAX, 1, 0] {
            assert_eq!(inbox.until(end).await.unwrap().len(), expected);
        }
        assert_eq!(begun.elapsed(), Duration::from_millis(100));
    }

    #[tokio::test]
    async fn what_a_run_left_in_its_inbox_is_acknowledged_and_what_it_took_is_its_own() {
        let (fleet, mut heard) = fleet();
        let letters = {
            let mut inboxes = Inboxes::default();
            let letters = inboxes.open("run");
            for sequence in 1..=2 {
                let letter = batch(&fleet, "run", sequence);
                assert!(inboxes.put(letter, place()).is_none());
            }
            letters
        };
        let mut inbox = Inbox {
            run: "run".to_owned(),
            fleet: fleet.clone(),
            letters,
            shutdown: Box::pin(std::future::pending()),
        };
        let taken = inbox.next().await.unwrap();
        drop(inbox);
        // The first is out, so nothing is acknowledged up to the second.
        assert_eq!(acknowledged(&mut heard), Some(0));
        fleet.registry().acknowledge(taken.receipt.unwrap());
        assert_eq!(acknowledged(&mut heard), Some(2));
    }
}
