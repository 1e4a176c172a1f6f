//! What listens on the control plane's interfaces: connections are accepted, read to their end, and never answered.

use std::io::{ErrorKind, Read as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::LabError;
use crate::namespace::within;

/// The port of the API server on its interfaces (D.1).
pub(crate) const API_SERVER: u16 = 443;
/// How often the listeners are looked at. The kernel completes handshakes meanwhile, so no probe waits for this.
const TICK: Duration = Duration::from_millis(20);
/// Connections kept open at a time; beyond it the oldest is closed.
const CONNECTIONS_MAX: usize = 1024;

/// Listeners in any number of namespaces, served by one thread until it is dropped.
#[derive(Debug)]
pub(crate) struct Listeners {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Opens a listener inside the namespace `name`.
///
/// # Errors
/// [`LabError::Listen`], [`LabError::Namespace`].
pub(crate) fn open(name: &str, endpoint: &str, address: IpAddr) -> Result<TcpListener, LabError> {
    let listen = || {
        let listener = TcpListener::bind(SocketAddr::new(address, API_SERVER))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    within(name, listen)?.map_err(|source| LabError::Listen {
        endpoint: endpoint.to_owned(),
        address,
        port: API_SERVER,
        source,
    })
}

impl Listeners {
    /// Serves `listeners` on a thread.
    ///
    /// # Errors
    /// [`LabError::Thread`].
    pub(crate) fn serve(listeners: Vec<TcpListener>) -> Result<Self, LabError> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("control-plane".to_owned())
            .spawn(move || {
                let mut open = Vec::new();
                while !seen.load(Ordering::Relaxed) {
                    turn(&listeners, &mut open);
                    thread::sleep(TICK);
                }
            })
            .map_err(|_| LabError::Thread {
                name: "root".to_owned(),
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
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

fn turn(listeners: &[TcpListener], open: &mut Vec<TcpStream>) {
    for listener in listeners {
        while let Ok((stream, _)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok() {
                open.push(stream);
            }
        }
    }
    open.retain_mut(is_open);
    let excess = open.len().saturating_sub(CONNECTIONS_MAX);
    open.drain(..excess);
}

fn is_open(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 4096]) {
        Ok(read) => read > 0,
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
    }
}
