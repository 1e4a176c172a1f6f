//! What several tests need: probes, targets, clocks, and a coordinator that does as it is told.

use std::{
    net::{IpAddr, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant, SystemTime},
};

use reachproof_agent::{
    engine::{EngineConfig, PeerConnection, Sink},
    environment::{Clock, Rng, SystemRng},
    limits::{Allowance, CONNECTIONS_MAX, Limits, TRACKED_DEFAULT},
    policy::Policy,
    probe::{Attempts, Finished, Probe, ProbeKind},
};
use socket2::{Domain, Socket, Type};

/// Time that a test waits for something that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Limits that no test meets by chance.
pub(crate) const GENEROUS: Limits = Limits {
    in_flight_max: 256,
    starts_per_second_max: 100,
};

/// The engine_config of a stream with these limits, to any target: loopback is denied by every real policy.
pub(crate) fn engine_config(attempts: Limits) -> EngineConfig {
    let allowance = Allowance {
        attempts,
        connections_max: CONNECTIONS_MAX,
        tracked_max: TRACKED_DEFAULT,
    };
    EngineConfig::of_stream(allowance, Policy::unrestricted())
}

/// This clock, and random numbers.
pub(crate) fn environment(clock: Arc<dyn Clock>) -> (Arc<dyn Clock>, Arc<dyn Rng>) {
    (clock, Arc::new(SystemRng::new().unwrap()))
}

/// The loopback address.
pub(crate) fn loopback() -> IpAddr {
    "127.0.0.1".parse().unwrap()
}

/// A probe of `target` that closes without a byte, tries once, and waits 5 s.
pub(crate) fn probe(id: u32, target: SocketAddr) -> Probe {
    Probe {
        id,
        target,
        source: Some(if target.is_ipv4() {
            loopback()
        } else {
            "::1".parse().unwrap()
        }),
        kind: ProbeKind::TcpConnect,
        attempts: Attempts::until_answered(1),
        deadline: Duration::from_secs(5),
        interval: Duration::from_secs(5),
    }
}

/// A probe that tries `most` times, waits `deadline_ms` each time, and starts the next attempt right then.
pub(crate) fn patient(id: u32, target: SocketAddr, most: u32, deadline_ms: u64) -> Probe {
    let deadline = Duration::from_millis(deadline_ms);
    Probe {
        attempts: Attempts::until_answered(most),
        deadline,
        interval: deadline,
        ..probe(id, target)
    }
}

/// A port on which nobody listens. It is held to the end of the process, so that nobody else begins to.
#[expect(clippy::mem_forget, reason = "it shall outlive every test")]
pub(crate) fn closed_port() -> SocketAddr {
    let holder = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    holder.bind(&SocketAddr::new(loopback(), 0).into()).unwrap();
    let address = holder.local_addr().unwrap().as_socket().unwrap();
    std::mem::forget(holder);
    address
}

/// A target that never answers: its accept queue is full and nobody accepts. Silent as long as it lives.
pub(crate) struct Silent {
    pub(crate) address: SocketAddr,
    listener: Socket,
    _held: Vec<TcpStream>,
}

impl Silent {
    /// Fills the accept queue of a listener with the smallest backlog.
    pub(crate) fn new() -> Silent {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener
            .bind(&SocketAddr::new(loopback(), 0).into())
            .unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let wait = Duration::from_millis(300);
        let held = std::iter::from_fn(|| TcpStream::connect_timeout(&address, wait).ok()).collect();
        Silent {
            address,
            listener,
            _held: held,
        }
    }

    /// Accepts what waits in the queue, and goes on to listen: it answers from now on.
    pub(crate) fn drain(&self) {
        self.listener.set_nonblocking(true).unwrap();
        while self.listener.accept().is_ok() {}
    }
}

/// Collects what an engine finishes.
pub(crate) struct Collect {
    pub(crate) finished: mpsc::Sender<Finished>,
    pub(crate) connected: mpsc::Sender<PeerConnection>,
}

impl Sink for Collect {
    fn finished(&self, attempt: Finished) {
        let _ = self.finished.send(attempt);
    }

    fn connected(&self, connection: PeerConnection) {
        let _ = self.connected.send(connection);
    }
}

/// The clock of this machine, that a test can put forward.
#[derive(Default)]
pub(crate) struct JumpingClock {
    ahead_ms: AtomicU64,
}

impl JumpingClock {
    /// Puts the clock forward.
    pub(crate) fn jump(&self, ms: u64) {
        self.ahead_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// How far it was put forward.
    fn ahead(&self) -> Duration {
        Duration::from_millis(self.ahead_ms.load(Ordering::SeqCst))
    }
}

impl Clock for JumpingClock {
    fn now(&self) -> Instant {
        Instant::now() + self.ahead()
    }

    fn calendar(&self) -> SystemTime {
        SystemTime::now() + self.ahead()
    }
}

/// Random numbers that are the same each time (xorshift).
pub(crate) struct SeededRng(Mutex<u64>);

impl SeededRng {
    /// Starts from a seed other than 0.
    pub(crate) fn new(seed: u64) -> SeededRng {
        SeededRng(Mutex::new(seed))
    }
}

impl Rng for SeededRng {
    fn draw(&self) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }
}
