//! Ports that the agent listens on, and what it says there.
//!
//! Accepting has a task of its own for each socket, so that a full queue does not look like a drop (ARCHITECTURE, "The
//! instrument").

mod queue;
mod serve;
mod socket;

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::AtomicUsize},
    time::Instant,
};

use reachproof_proto::net::ProofKey;
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::{sleep, sleep_until},
};
use tracing::warn;

pub use self::socket::SocketDrops;
use self::{
    queue::namespace_drops,
    socket::{ListeningSocket, bind},
};
use crate::{
    environment::Clock,
    limits::{ACCEPT_PAUSE, BACKLOG},
    outcome::Errno,
    probe::RunName,
};

/// One connection that a listener accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The run that opened the port.
    pub run: RunName,
    /// Where it was connected to.
    pub local: SocketAddr,
    /// Who connected, by getpeername.
    pub peer: SocketAddr,
    /// When it was accepted.
    pub accepted_at: Instant,
}

/// Takes what listeners accept. Must not wait.
pub type AcceptSink = Arc<dyn Fn(Accepted) + Send + Sync>;

/// A port to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenOrder {
    /// The port, 1024 or above.
    pub port: u16,
    /// Key for the proofs that are given on it.
    pub key: ProofKey,
}

/// A port that could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenFailure {
    /// The port.
    pub port: u16,
    /// What bind or listen said.
    pub errno: Errno,
}

/// All open ports.
pub struct Listeners {
    addresses: Vec<IpAddr>,
    clock: Arc<dyn Clock>,
    sink: AcceptSink,
    /// Places for connections that are served, shared by all ports.
    places: Arc<Semaphore>,
    /// Invariant: a port belongs to one run.
    open: BTreeMap<u16, Port>,
    runs: BTreeMap<RunName, Opening>,
    /// How many sockets listen.
    sockets: Arc<AtomicUsize>,
}

/// What is known of a run that has ports.
struct Opening {
    /// When its ports close. A run whose sender is dropped has no port.
    closes_at: watch::Sender<tokio::time::Instant>,
    /// Connections that had been dropped before its first port was opened.
    drops_before: Option<u64>,
}

/// Asks a task to take what waits in its queue, and to say when it has, and what was dropped before.
type Drain = oneshot::Sender<Option<SocketDrops>>;

/// One open port: a task for each address.
struct Port {
    run: RunName,
    tasks: Vec<Task>,
}

/// The task of one socket.
struct Task {
    handle: JoinHandle<()>,
    drain: mpsc::Sender<Drain>,
}

/// What a task needs to know about its port.
#[derive(Clone)]
struct Listening {
    run: RunName,
    key: ProofKey,
    clock: Arc<dyn Clock>,
    sink: AcceptSink,
    places: Arc<Semaphore>,
}

impl Listeners {
    /// No ports; they will be opened on all of `addresses`, and serve at most `connections_max` connections at once.
    pub fn new(
        addresses: Vec<IpAddr>,
        clock: Arc<dyn Clock>,
        sink: AcceptSink,
        connections_max: u32,
    ) -> Listeners {
        Listeners {
            addresses,
            clock,
            sink,
            places: Arc::new(Semaphore::new(
                usize::try_from(connections_max).unwrap_or(1),
            )),
            open: BTreeMap::new(),
            runs: BTreeMap::new(),
            sockets: Arc::default(),
        }
    }

    /// Opens ports for a run until `closes_at`, and returns those that could not be opened on every address.
    ///
    /// A port that an earlier run holds passes to this one: its coordinator may have died. Ports that this run already
    /// holds stay open until the later of both times.
    pub async fn open(
        &mut self,
        run: &RunName,
        orders: &[ListenOrder],
        closes_at: tokio::time::Instant,
    ) -> Vec<ListenFailure> {
        self.runs
            .retain(|_, opening| *opening.closes_at.borrow() > tokio::time::Instant::now());
        let opening = self.runs.entry(run.clone()).or_insert_with(|| Opening {
            closes_at: watch::Sender::new(closes_at),
            drops_before: namespace_drops(),
        });
        let closing = &opening.closes_at;
        closing.send_modify(|at| *at = closes_at.max(*at));
        let closing = closing.subscribe();
        let mut failures = Vec::new();
        for order in orders {
            if self
                .open
                .get(&order.port)
                .is_some_and(|port| port.run != *run || port.is_over())
            {
                self.close_port(order.port).await;
            }
            let listening = Listening {
                run: run.clone(),
                key: order.key,
                clock: Arc::clone(&self.clock),
                sink: Arc::clone(&self.sink),
                places: Arc::clone(&self.places),
            };
            match self.bind_all(order.port) {
                Ok(sockets) => {
                    let start = |socket| {
                        let (drain, drains) = mpsc::channel(1);
                        let listening_socket = ListeningSocket::new(socket, &self.sockets);
                        let accepting = accept_all(
                            listening_socket,
                            listening.clone(),
                            closing.clone(),
                            drains,
                        );
                        Task {
                            handle: tokio::spawn(accepting),
                            drain,
                        }
                    };
                    let tasks = sockets.into_iter().map(start).collect();
                    self.open.insert(
                        order.port,
                        Port {
                            run: run.clone(),
                            tasks,
                        },
                    );
                }
                Err(error) => failures.push(ListenFailure {
                    port: order.port,
                    errno: Errno::of(&error),
                }),
            }
        }
        failures
    }

    /// Reports every connection that the kernel has accepted up to now, and says what it dropped at the sockets of `run`.
    pub async fn drain(&self, run: &RunName) -> Vec<SocketDrops> {
        let mut drained = Vec::new();
        for port in self.open.values() {
            for task in &port.tasks {
                let (done, is_done) = oneshot::channel();
                // A task that ended has closed its socket: nothing waits there.
                if task.drain.send(done).await.is_ok() {
                    drained.push((port.run == *run, is_done));
                }
            }
        }
        let mut drops = Vec::new();
        for (is_of_run, is_done) in drained {
            // An error is a task that ended meanwhile.
            let dropped = is_done.await.ok().flatten();
            drops.extend(dropped.filter(|_| is_of_run));
        }
        drops
    }

    /// Connections that the kernel dropped in the network namespace since the first port of `run` was opened, because the queue of
    /// a socket was full; none where nobody can tell.
    pub fn queue_drops(&self, run: &RunName) -> Option<u64> {
        let before = self.runs.get(run)?.drops_before?;
        namespace_drops()?.checked_sub(before)
    }

    /// Tells at any time how many sockets listen.
    pub fn sockets(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.sockets)
    }

    /// Closes all ports of a run, with the connections on them.
    pub async fn close(&mut self, run: &RunName) {
        self.runs.remove(run);
        let ports: Vec<u16> = self
            .open
            .iter()
            .filter(|(_, port)| port.run == *run)
            .map(|(port, _)| *port)
            .collect();
        for port in ports {
            self.close_port(port).await;
        }
    }

    /// Closes all ports.
    pub async fn close_all(&mut self) {
        let runs: Vec<RunName> = self.runs.keys().cloned().collect();
        for run in runs {
            self.close(&run).await;
        }
    }

    /// Closes one port and waits until its sockets are gone.
    async fn close_port(&mut self, port: u16) {
        let Some(open) = self.open.remove(&port) else {
            return;
        };
        for task in open.tasks {
            task.handle.abort();
            // It ends by the abort, or has ended before.
            let _ = task.handle.await;
        }
    }

    /// Listens on one port of every address; all or none.
    fn bind_all(&self, port: u16) -> io::Result<Vec<TcpListener>> {
        self.addresses
            .iter()
            .map(|address| bind(SocketAddr::new(*address, port)))
            .collect()
    }
}

impl Port {
    /// Whether it closed by itself.
    fn is_over(&self) -> bool {
        self.tasks.iter().all(|task| task.handle.is_finished())
    }
}

/// Accepts, reports and serves until the time in `closing`, or until its sender is gone.
async fn accept_all(
    open: ListeningSocket,
    listening: Listening,
    mut closing: watch::Receiver<tokio::time::Instant>,
    mut drains: mpsc::Receiver<Drain>,
) {
    let socket = &open.listener;
    let mut connections = JoinSet::new();
    loop {
        let closes_at = *closing.borrow_and_update();
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((stream, peer)) => listening.take(socket, stream, peer, &mut connections),
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            Some(drain) = drains.recv() => {
                listening.take_waiting(socket, &mut connections);
                // Who asked may have given up.
                let _ = drain.send(open.drops());
            }
            () = sleep_until(closes_at) => break,
            changed = closing.changed() => if changed.is_err() { break },
        }
    }
}

impl Listening {
    /// Reports a connection, and serves it if there is a place.
    fn take(
        &self,
        socket: &TcpListener,
        stream: TcpStream,
        peer: SocketAddr,
        connections: &mut JoinSet<()>,
    ) {
        // The place first: whoever hears of this connection may already connect elsewhere.
        let place = Arc::clone(&self.places).try_acquire_owned();
        // Without a place the connection closes: it was reported, which is what a probe needs.
        if let (Some(peer), Ok(place)) = (self.report(socket, peer), place) {
            // The answer is small and must not wait until what was sent before it is acknowledged.
            let _ = stream.set_nodelay(true);
            let key = self.key;
            connections.spawn(async move {
                serve::serve(stream, key, peer).await;
                drop(place);
            });
        }
    }

    /// Takes what waits in the queue. Asks the kernel itself: the runtime may not have heard of it yet.
    fn take_waiting(&self, socket: &TcpListener, connections: &mut JoinSet<()>) {
        for _ in 0..BACKLOG {
            let Ok((stream, peer)) = SockRef::from(socket).accept() else {
                return;
            };
            let stream = stream
                .set_nonblocking(true)
                .and_then(|()| TcpStream::from_std(stream.into()));
            if let (Ok(stream), Some(peer)) = (stream, peer.as_socket()) {
                self.take(socket, stream, peer, connections);
            }
        }
    }

    /// Reports an accepted connection; returns who connected, an IPv4 peer as IPv4.
    fn report(&self, socket: &TcpListener, peer: SocketAddr) -> Option<SocketAddr> {
        let local = socket.local_addr().ok()?;
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        (self.sink)(Accepted {
            run: self.run.clone(),
            local,
            peer,
            accepted_at: self.clock.now(),
        });
        Some(peer)
    }
}
