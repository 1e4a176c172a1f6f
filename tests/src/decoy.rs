//! Who answers in a target's place: what a sidecar or a transparent proxy does to the connections of its host.

use std::io::{ErrorKind, Read as _, Write as _};
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

/// Most bytes that it reads before it answers.
const HEAD_MAX: usize = 64 * 1024;

/// What a decoy does with a connection.
#[derive(Debug, Clone)]
pub enum Manner {
    /// It accepts and says nothing.
    Silent,
    /// It completes a handshake of TLS with a certificate of another authority.
    Tls(Authority),
    /// It answers over plain HTTP as a proxy does: by turns that all is well (200), that it reached nobody (502), and that it
    /// asks to wait (429).
    Http,
}

/// How a listener treats a connection.
#[derive(Debug, Clone)]
enum Treatment {
    Silent,
    Tls(Arc<ServerConfig>),
    Http,
}

/// What a proxy says by turns.
const PROXY_ANSWERS: [&str; 3] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n",
    "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbad\n",
    "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlater",
];

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
        let treatment = match manner {
            Manner::Silent => Treatment::Silent,
            Manner::Http => Treatment::Http,
            Manner::Tls(authority) => {
                let names = ["kubernetes.default.svc".to_owned()];
                let config = authority.server(&names, &[]);
                Treatment::Tls(config.map_err(reachproof_lab::LabError::from)?)
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
            thread: Some(thread::spawn(move || serve(&listener, &treatment, &seen))),
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

fn serve(listener: &TcpListener, treatment: &Treatment, stop: &AtomicBool) {
    let mut answers = PROXY_ANSWERS.into_iter().cycle();
    let mut kept: Vec<TcpStream> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        while let Ok((stream, _)) = listener.accept() {
            match treatment {
                Treatment::Silent => kept.push(stream),
                Treatment::Tls(config) => {
                    let config = Arc::clone(config);
                    thread::spawn(move || shake_hands(stream, config));
                }
                Treatment::Http => {
                    let answer = answers.next().unwrap_or_default();
                    thread::spawn(move || answer_with(stream, answer));
                }
            }
        }
        let excess = kept.len().saturating_sub(KEPT_MAX);
        kept.drain(..excess);
        thread::sleep(TICK);
    }
}

/// Reads a request to the end of its head, and answers; what goes wrong is the other side's choice.
fn answer_with(mut stream: TcpStream, answer: &str) {
    let prepared = stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_read_timeout(Some(READ_MAX)));
    let mut head = Vec::new();
    let mut bytes = [0; 1024];
    while prepared.is_ok() && !head.windows(4).any(|end: &[u8]| end == b"\r\n\r\n") {
        match stream.read(&mut bytes) {
            Ok(read) if read > 0 && head.len() < HEAD_MAX => {
                head.extend(bytes.iter().take(read));
            }
            Ok(_) | Err(_) => return,
        }
    }
    let _heard = stream.write_all(answer.as_bytes());
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
