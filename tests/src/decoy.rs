//! Who answers in a target's place: what a sidecar or a transparent proxy does to the connections of its host.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use reachproof_lab::Authority;
use rustls::{ServerConfig, ServerConnection};

use crate::error::RunnerError;
use crate::stage::Stage;

/// Port on which it listens: a sidecar's for what leaves its pod.
pub const DECOY_PORT: u16 = 15_001;

/// How often it looks for connections, and whether it is to end.
const TICK: Duration = Duration::from_millis(20);

/// Longest time that it reads from one connection.
const READ_MAX: Duration = Duration::from_secs(3);

/// Connections that it keeps open; the oldest go first.
const KEPT_MAX: usize = 1_024;

/// What a decoy does with a connection.
#[derive(Debug, Clone)]
pub enum Manner {
    /// It accepts and says nothing.
    Silent,
    /// It completes a handshake of TLS with a certificate of another authority.
    Tls(Authority),
}

/// A listener inside an endpoint, until this is dropped.
#[derive(Debug)]
pub struct Decoy {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Decoy {
    /// Listens on [`DECOY_PORT`] of every address of `endpoint`.
    ///
    /// # Errors
    /// [`RunnerError::Lab`], [`RunnerError::Listen`].
    pub fn start(stage: &Stage, endpoint: &str, manner: &Manner) -> Result<Self, RunnerError> {
        let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), DECOY_PORT);
        let config = match manner {
            Manner::Silent => None,
            Manner::Tls(authority) => {
                let names = ["kubernetes.default.svc".to_owned()];
                let config = authority.server(&names, &[]);
                Some(config.map_err(reachproof_lab::LabError::from)?)
            }
        };
        let listener = stage.lab.within(endpoint, || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })?;
        let listener = listener.map_err(|source| RunnerError::Listen { address, source })?;
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        Ok(Self {
            stop,
            thread: Some(thread::spawn(move || serve(&listener, config, &seen))),
        })
    }
}

impl Drop for Decoy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It only fails if the thread panicked, and then it is gone as well.
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, config: Option<Arc<ServerConfig>>, stop: &AtomicBool) {
    let mut kept: Vec<TcpStream> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        while let Ok((stream, _)) = listener.accept() {
            match &config {
                None => kept.push(stream),
                Some(config) => {
                    let config = Arc::clone(config);
                    thread::spawn(move || shake_hands(stream, config));
                }
            }
        }
        let excess = kept.len().saturating_sub(KEPT_MAX);
        kept.drain(..excess);
        thread::sleep(TICK);
    }
}

/// Completes a handshake and waits until the other side goes; what goes wrong is the other side's choice.
fn shake_hands(mut stream: TcpStream, config: Arc<ServerConfig>) {
    let Ok(mut tls) = ServerConnection::new(config) else {
        return;
    };
    let prepared = stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_read_timeout(Some(READ_MAX)));
    if prepared.is_err() {
        return;
    }
    while let Ok((read, _)) = tls.complete_io(&mut stream).or_else(|error| {
        let early = error.kind() == ErrorKind::Interrupted;
        if early { Ok((1, 0)) } else { Err(error) }
    }) {
        if read == 0 {
            return;
        }
    }
}
