//! What listens on the control plane's interfaces: connections are accepted and read to their end.
//!
//! With an authority they speak TLS up to the end of the handshake, as an API server does to somebody who then goes:
//! no certificate is asked for, and no request is answered.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustls::{ServerConfig, ServerConnection};

use crate::error::LabError;
use crate::kubelet::forward::{Asked, Tunnel};
use crate::kubelet::{Kubelets, Spoken};
use crate::namespace::within;

/// The port of the API server on its interfaces (D.1).
pub(crate) const API_SERVER: u16 = 443;
/// How often the listeners look whether they are to end, in milliseconds.
const TICK_MS: u8 = 100;
/// Connections kept open at a time; beyond it the oldest is closed.
const CONNECTIONS_MAX: usize = 1024;
/// Handshakes remembered for each endpoint; beyond it the oldest is forgotten.
const HANDSHAKES_MAX: usize = 100_000;

/// What the listeners do with a connection.
#[derive(Debug, Clone)]
pub(crate) enum Service {
    /// It is read and never answered.
    Silent,
    /// It gets a handshake of TLS.
    Tls(Arc<ServerConfig>),
    /// It is served as kubelets do.
    Kubelets(Arc<Kubelets>),
}

/// A listener of an endpoint.
#[derive(Debug)]
pub(crate) struct Listener {
    endpoint: String,
    socket: TcpListener,
}

/// Completed handshakes by endpoint.
type Handshakes = Arc<Mutex<BTreeMap<String, VecDeque<Instant>>>>;

/// Listeners in any number of namespaces, served by one thread until it is dropped.
#[derive(Debug)]
pub(crate) struct Listeners {
    stop: Arc<AtomicBool>,
    handshakes: Handshakes,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Opens a listener inside the namespace `name`.
    ///
    /// # Errors
    /// [`LabError::Listen`], [`LabError::Namespace`].
    pub(crate) fn open(
        name: &str,
        endpoint: &str,
        (address, port): (IpAddr, u16),
    ) -> Result<Self, LabError> {
        let listen = || {
            let listener = TcpListener::bind(SocketAddr::new(address, port))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let socket = within(name, listen)?.map_err(|source| LabError::Listen {
            endpoint: endpoint.to_owned(),
            address,
            port,
            source,
        })?;
        Ok(Self {
            endpoint: endpoint.to_owned(),
            socket,
        })
    }
}

impl Listeners {
    /// Serves `listeners` on a thread.
    ///
    /// # Errors
    /// [`LabError::Thread`].
    pub(crate) fn serve(listeners: Vec<Listener>, service: Service) -> Result<Self, LabError> {
        let stop = Arc::new(AtomicBool::new(false));
        let handshakes = Handshakes::default();
        let server = Server {
            listeners,
            service,
            handshakes: Arc::clone(&handshakes),
            stop: Arc::clone(&stop),
            tunnels: Vec::new(),
        };
        let thread = thread::Builder::new()
            .name("control-plane".to_owned())
            .spawn(move || server.run())
            .map_err(|_| LabError::Thread {
                name: "root".to_owned(),
            })?;
        Ok(Self {
            stop,
            handshakes,
            thread: Some(thread),
        })
    }

    /// When handshakes were completed at each endpoint, in their order.
    pub(crate) fn handshakes(&self) -> BTreeMap<String, Vec<Instant>> {
        let known = self
            .handshakes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let copied = known
            .iter()
            .map(|(endpoint, times)| (endpoint.clone(), times.iter().copied().collect()));
        copied.collect()
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It only fails if the thread panicked, and then it is gone as well.
            let _ = thread.join();
        }
    }
}

/// What the thread works with.
struct Server {
    listeners: Vec<Listener>,
    service: Service,
    handshakes: Handshakes,
    stop: Arc<AtomicBool>,
    /// Ports of pods, each on a thread of its own.
    tunnels: Vec<JoinHandle<()>>,
}

/// A connection that was accepted.
struct Connection {
    endpoint: String,
    stream: TcpStream,
    tls: Option<Box<ServerConnection>>,
    /// Who answers requests; absent: nobody.
    kubelets: Option<Arc<Kubelets>>,
    /// A request to them that is not whole.
    pending: Vec<u8>,
    /// The port of a pod that was asked for, and the network namespace of the pod.
    forward: Option<(Asked, String)>,
    counted: bool,
}

/// Whether a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Over,
}

impl Server {
    fn run(mut self) {
        let mut open: Vec<Connection> = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            self.wait(&open);
            self.accept(&mut open);
            open.retain_mut(|connection| self.serve(connection) == State::Open);
            let excess = open.len().saturating_sub(CONNECTIONS_MAX);
            open.drain(..excess);
        }
        for tunnel in self.tunnels {
            // It only fails if the thread panicked, and then it is gone as well.
            let _ = tunnel.join();
        }
    }

    /// Waits until something happens, for at most [`TICK_MS`].
    fn wait(&self, open: &[Connection]) {
        let listeners = self
            .listeners
            .iter()
            .map(|listener| listener.socket.as_fd());
        let streams = open.iter().map(|connection| connection.stream.as_fd());
        let mut sockets: Vec<PollFd<'_>> = listeners
            .chain(streams)
            .map(|socket| PollFd::new(socket, PollFlags::POLLIN))
            .collect();
        // Whatever it says, everything is looked at; without sockets it waits.
        let _ready = poll(&mut sockets, PollTimeout::from(TICK_MS));
    }

    fn accept(&self, open: &mut Vec<Connection>) {
        for listener in &self.listeners {
            while let Ok((stream, _)) = listener.socket.accept() {
                let (tls, kubelets) = match &self.service {
                    Service::Silent => (None, None),
                    Service::Tls(config) => {
                        let tls = ServerConnection::new(Arc::clone(config));
                        (tls.ok().map(Box::new), None)
                    }
                    Service::Kubelets(kubelets) => (None, Some(Arc::clone(kubelets))),
                };
                if stream.set_nonblocking(true).is_ok() {
                    open.push(Connection {
                        endpoint: listener.endpoint.clone(),
                        stream,
                        tls,
                        kubelets,
                        pending: Vec::new(),
                        forward: None,
                        counted: false,
                    });
                }
            }
        }
    }

    /// Reads what came, answers it, and counts a handshake that is complete.
    fn serve(&mut self, connection: &mut Connection) -> State {
        let state = connection.turn().unwrap_or(State::Over);
        if let Some((tunnel, place)) = connection.tunnel() {
            let stop = Arc::clone(&self.stop);
            self.tunnels.retain(|tunnel| !tunnel.is_finished());
            self.tunnels.push(thread::spawn(move || {
                // Both sides learn by the end of their connections that it is over.
                let _ended = tunnel.carry(&place, &stop);
            }));
            return State::Over;
        }
        if connection.is_complete() && !connection.counted {
            connection.counted = true;
            self.count(&connection.endpoint);
        }
        state
    }

    fn count(&self, endpoint: &str) {
        let mut known = self
            .handshakes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let times = known.entry(endpoint.to_owned()).or_default();
        if times.len() >= HANDSHAKES_MAX {
            times.pop_front();
        }
        times.push_back(Instant::now());
    }
}

impl Connection {
    /// Whether its handshake was completed.
    fn is_complete(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.is_handshaking())
    }

    /// What carries the port that was asked for, with the network namespace of its pod.
    fn tunnel(&mut self) -> Option<(Tunnel, String)> {
        let (asked, place) = self.forward.take()?;
        let stream = self.stream.try_clone().ok()?;
        Some((Tunnel::new(asked, self.tls.take()?, stream), place))
    }

    /// Takes what the peer sent and gives what is due, without waiting.
    fn turn(&mut self) -> io::Result<State> {
        if let (None, Some(kubelets)) = (&self.tls, &self.kubelets) {
            match kubelets.greet(&mut self.stream) {
                Ok(Spoken::Tls(tls)) => self.tls = Some(tls),
                Ok(Spoken::Nothing | Spoken::Other) => return Ok(State::Over),
                Err(error) if is_early(&error) => return Ok(State::Open),
                Err(error) => return Err(error),
            }
        }
        let Some(tls) = &mut self.tls else {
            return drain(&mut self.stream);
        };
        let mut state = State::Open;
        while state == State::Open && tls.wants_read() {
            match tls.read_tls(&mut self.stream) {
                Ok(0) => state = State::Over,
                Ok(_) => {
                    let kubelets = self.kubelets.as_deref();
                    state = take(tls, kubelets, &mut self.pending, &mut self.forward);
                }
                Err(error) if is_early(&error) => break,
                Err(error) => return Err(error),
            }
        }
        while tls.wants_write() {
            match tls.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if is_early(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(state)
    }
}

/// Works on what was read. A peer that breaks the protocol, or that says goodbye, gets the last word and is left.
fn take(
    tls: &mut ServerConnection,
    kubelets: Option<&Kubelets>,
    pending: &mut Vec<u8>,
    forward: &mut Option<(Asked, String)>,
) -> State {
    match tls.process_new_packets() {
        Ok(read) if read.peer_has_closed() => {
            tls.send_close_notify();
            State::Over
        }
        Ok(_) => match kubelets.map(|kubelets| kubelets.serve(tls, pending)) {
            Some(Ok(asked)) => {
                *forward = asked;
                State::Open
            }
            Some(Err(_)) => State::Over,
            // Requests are read, so that they do not stand in the way, and left unanswered.
            None => match drain(&mut tls.reader()) {
                Ok(_) | Err(_) => State::Open,
            },
        },
        // The alert is what is left to be written.
        Err(_) => State::Over,
    }
}

/// Reads what there is, for nobody.
fn drain(from: &mut impl io::Read) -> io::Result<State> {
    match from.read(&mut [0; 4096]) {
        Ok(0) => Ok(State::Over),
        Ok(_) => Ok(State::Open),
        Err(error) if is_early(&error) => Ok(State::Open),
        Err(error) => Err(error),
    }
}

/// Whether there is only nothing yet.
fn is_early(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
