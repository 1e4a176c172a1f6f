//! The probe engine: one thread with an event loop of its own that makes all attempts.
//!
//! A task for each probe costs too much (ARCHITECTURE, "The instrument"). The thread holds sockets with their deadlines
//! and a queue of starts; it starts attempts at an even pace, within the limits, and hands every finished attempt to a
//! [`Sink`].
//!
//! **Invariants.** A probe waits in the queue, is in flight, or is gone: never two of these at once. What the policy refuses
//! never enters the queue, so that no socket is ever made for it.

mod drops;
mod engine_config;
mod event_loop;
mod flight;
mod icmp;
mod lag;
mod pace;
mod queue;
mod report;
mod socket;
mod timed;
mod tracked;

use std::{
    io,
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use mio::Waker;
use reachproof_proto::net::Nonce;
use tokio::sync::oneshot;
use tracing::error;

pub use self::engine_config::{EngineConfig, Evidence, Pacing};
use crate::{
    close::Close,
    environment::{Clock, Rng},
    lateness::Watch,
    probe::{Finished, RunName, Work},
};

/// Takes what the engine finished. Called on the engine's thread: must not wait.
pub trait Sink: Send + 'static {
    /// A finished attempt that is complete.
    fn finished(&self, attempt: Finished);

    /// A connection on which something is to be asked; who takes it completes the attempt.
    fn connected(&self, connection: PeerConnection);

    /// A connection of an attempt that is over: ends by a reset when it is dropped.
    ///
    /// That takes a tenth to a fifth of what the attempt costs: who has another thread with time for it may keep the connection for
    /// that, as long as there are descriptors. What never was a connection closes faster than it is handed over.
    fn over(&self, connection: OwnedFd) {
        drop(connection);
    }
}

/// A connection to a peer, handed over as soon as the handshake is done.
#[derive(Debug)]
pub struct PeerConnection {
    /// The connection; non-blocking.
    pub stream: TcpStream,
    /// Where it goes to.
    pub target: SocketAddr,
    /// The attempt, but for the identification.
    pub attempt: Finished,
    /// What to ask.
    pub ask: Ask,
    /// How long to wait for its answer.
    pub deadline: Duration,
    /// How to close.
    pub close: Close,
    /// The place among the attempts in flight, free again when this is dropped.
    pub place: Place,
}

/// What is asked on a connection that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// `Peer.Identify`.
    Identity {
        /// What the peer has to put into its proof.
        nonce: Nonce,
    },
    /// A DNS query.
    Query {
        /// Its id.
        id: u16,
    },
    /// A TLS handshake.
    Session,
}

/// A place among the attempts in flight.
#[derive(Debug)]
pub struct Place {
    taken: Arc<AtomicUsize>,
    waker: Arc<Waker>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
        wake(&self.waker);
    }
}

/// What the loop is told.
#[derive(Debug)]
enum Command {
    Add(Work),
    Cancel(RunName),
    Stop,
}

/// Whether the loop goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Turn,
    Stop,
}

/// Runs attempts until it is dropped.
#[derive(Debug)]
pub struct Engine {
    commands: mpsc::Sender<Command>,
    waker: Arc<Waker>,
    load: Load,
    watch: Arc<Watch>,
    thread: Option<thread::JoinHandle<()>>,
}

/// How much an engine has to do.
#[derive(Debug, Clone, Default)]
pub struct Load {
    pending: Arc<AtomicUsize>,
    /// Commands that are not yet carried out.
    told: Arc<AtomicUsize>,
}

impl Load {
    /// Attempts that are planned but not yet finished.
    pub fn pending(&self) -> usize {
        self.pending.load(Ordering::Acquire)
    }

    /// Whether there is nothing to do, nor anything that was just told.
    pub fn is_none(&self) -> bool {
        // In this order: what is carried out was counted as pending before.
        self.told.load(Ordering::Acquire) == 0 && self.pending() == 0
    }
}

/// Tells when an engine's thread ended, whatever the reason.
pub type Ended = oneshot::Receiver<()>;

impl Engine {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the kernel gives no event queue or no thread.
    pub fn start(
        engine_config: EngineConfig,
        (clock, rng): (Arc<dyn Clock>, Arc<dyn Rng>),
        sink: impl Sink,
    ) -> io::Result<(Engine, Ended)> {
        let (commands, receiver) = mpsc::channel();
        let load = Load::default();
        let watch = Arc::new(Watch::new(clock.now()));
        let mut turns = event_loop::EventLoop::new(
            engine_config,
            (clock, rng),
            Box::new(sink),
            (load.clone(), Arc::clone(&watch)),
        )?;
        let waker = turns.waker();
        let (ended, ends) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("probes".to_owned())
            .spawn(move || {
                if let Err(error) = turns.run(&receiver) {
                    error!(%error, "the probe engine stopped");
                }
                // Nobody may listen any more.
                let _ = ended.send(());
            })?;
        let engine = Engine {
            commands,
            waker,
            load,
            watch,
            thread: Some(thread),
        };
        Ok((engine, ends))
    }

    /// Adds probes.
    pub fn add(&self, work: Work) {
        self.tell(Command::Add(work));
    }

    /// Ends all probes of a run without a result.
    pub fn cancel(&self, run: RunName) {
        self.tell(Command::Cancel(run));
    }

    /// Attempts that are planned but not yet finished.
    pub fn attempts_pending(&self) -> usize {
        self.load.pending()
    }

    /// How much there is to do, for who wants to know at any time.
    pub fn load(&self) -> Load {
        self.load.clone()
    }

    /// How late the loop runs.
    pub fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }

    /// Puts a command where the loop finds it; an engine that ended takes none.
    fn tell(&self, command: Command) {
        self.load.told.fetch_add(1, Ordering::AcqRel);
        if self.commands.send(command).is_ok() {
            wake(&self.waker);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.tell(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Wakes the loop; a loop that cannot be woken still looks at its next timer.
fn wake(waker: &Waker) {
    if let Err(error) = waker.wake() {
        error!(%error, "cannot wake the probe engine");
    }
}
