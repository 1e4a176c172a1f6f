//! What the agent takes from outside: time, chance and the network, so that simulated ones can drive the same code.

use std::{
    future::Future,
    io,
    net::IpAddr,
    time::{Instant, SystemTime},
};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Time that never goes back: for intervals.
    fn now(&self) -> Instant;

    /// Time of the calendar: for people.
    fn calendar(&self) -> SystemTime;
}

/// Draws random numbers.
pub trait Rng: Send + Sync {
    /// A number of 64 bits, all equally likely.
    fn draw(&self) -> u64;
}

/// Reaches the coordinator, and the resolver of the host.
pub trait Net: Clone + Send + Sync + 'static {
    /// A connection, before TLS.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Connects to a host, given by name or address, and port.
    fn dial(&self, host: &str, port: u16) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// The addresses that the host's resolver gives for a name.
    fn resolve(&self, name: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send;
}

/// The clocks of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn calendar(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// Random numbers of the kernel.
#[derive(Debug)]
pub struct SystemRng(SystemRandom);

impl SystemRng {
    /// Checks that the kernel gives random numbers.
    ///
    /// # Errors
    /// When it does not; without them a boot could not be told from another.
    pub fn new() -> io::Result<SystemRng> {
        let random = SystemRandom::new();
        let mut bytes = [0; 8];
        random
            .fill(&mut bytes)
            .map_err(|_| io::Error::other("the kernel gives no random numbers"))?;
        Ok(SystemRng(random))
    }
}

impl Rng for SystemRng {
    fn draw(&self) -> u64 {
        let mut bytes = [0; 8];
        match self.0.fill(&mut bytes) {
            Ok(()) => u64::from_ne_bytes(bytes),
            // Invariant: `new` drew one, and getrandom does not fail after it succeeded once.
            Err(ring::error::Unspecified) => u64::MAX / 2,
        }
    }
}

/// Connections of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpNet;

impl Net for TcpNet {
    type Stream = TcpStream;

    async fn dial(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        // The port is not looked up, and not used.
        let found = lookup_host((name, 443)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}
