//! What answers on port 53 of the CoreDNS pods: every query, over UDP and TCP, by its own question and no record.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use reachproof_lab::Lab;
use reachproof_model::expectation::members::DNS_PORT;

use crate::error::RunnerError;

/// How long one look at a socket waits for a query: resolvers end within it.
const TICK: Duration = Duration::from_millis(50);

/// How long one connection may take.
const CONNECTION_LIFE: Duration = Duration::from_secs(1);

/// Largest query in bytes; what is longer is cut.
const QUERY_MAX: usize = 512;

/// Length of a header in bytes.
const HEADER: usize = 12;

/// Resolvers that answer until this is dropped.
#[derive(Debug, Default)]
pub struct Resolvers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Resolvers {
    /// Starts one resolver at each of `addresses`, in the namespace of the pod that has it.
    ///
    /// # Errors
    /// [`RunnerError::Listen`] if the port cannot be had; an address that no pod has is passed over.
    pub fn start(lab: &Lab, addresses: &[IpAddr]) -> Result<Self, RunnerError> {
        let mut resolvers = Self::default();
        for address in addresses {
            let Some(endpoint) = lab.endpoint_at(*address) else {
                continue;
            };
            let address = SocketAddr::new(*address, DNS_PORT);
            let failed = |source| RunnerError::Listen { address, source };
            let sockets = lab.within(&endpoint.name, || open(address))?;
            let (udp, tcp) = sockets.map_err(failed)?;
            let stop = Arc::clone(&resolvers.stop);
            resolvers.threads.push(
                thread::Builder::new()
                    .name("resolver".to_owned())
                    .spawn(move || {
                        while !stop.load(Ordering::Relaxed) {
                            answer_datagram(&udp);
                            answer_connections(&tcp);
                        }
                    })
                    .map_err(failed)?,
            );
        }
        Ok(resolvers)
    }
}

impl Drop for Resolvers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It only fails if the thread panicked, and then it is gone as well.
            let _ended = thread.join();
        }
    }
}

/// Both sockets of a resolver.
fn open(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let udp = UdpSocket::bind(address)?;
    udp.set_read_timeout(Some(TICK))?;
    let tcp = TcpListener::bind(address)?;
    tcp.set_nonblocking(true)?;
    Ok((udp, tcp))
}

/// Waits shortly for a query over UDP and answers it.
fn answer_datagram(socket: &UdpSocket) {
    let mut query = [0; QUERY_MAX];
    if let Ok((length, from)) = socket.recv_from(&mut query)
        && let Some(answer) = query.get(..length).and_then(answer)
    {
        // Who asked may be gone.
        let _sent = socket.send_to(&answer, from);
    }
}

/// Answers one query on each connection that waits.
fn answer_connections(listener: &TcpListener) {
    while let Ok((stream, _)) = listener.accept() {
        // Who asked may be gone, or say something else.
        let _answered = answer_connection(stream);
    }
}

/// Answers one query on a connection: each message has its length before it.
fn answer_connection(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(CONNECTION_LIFE))?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut query = vec![0; usize::from(u16::from_be_bytes(length)).min(QUERY_MAX)];
    stream.read_exact(&mut query)?;
    if let Some(answer) = answer(&query) {
        stream.write_all(&length)?;
        stream.write_all(&answer)?;
    }
    Ok(())
}

/// The answer to a query: its id and question, without a record, as to a name that has none of this type.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let mut answer = query.to_vec();
    let header = answer.get_mut(..HEADER)?;
    let [_, _, kind, code, ..] = header else {
        return None;
    };
    if *kind & 0x80 != 0 {
        return None;
    }
    // An answer with authority, and no error.
    *kind |= 0x84;
    *code = 0;
    Some(answer)
}
