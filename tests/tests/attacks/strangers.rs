//! Crowds at the coordinator's door.

use std::error::Error;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use reachproof_lab::world::World;
use reachproof_tests::harness::CaseResult;
use reachproof_tests::play::{Play, WAIT};
use reachproof_tests::stage::Stage;
use reachproof_tests::truth::assert_no_lies;
use reachproof_verify::credentials::SERVER_NAME;
use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::ServerName;

use crate::rogue::{Rogue, client};

/// Where the crowd comes from: a pod without an agent.
pub(crate) const POD: &str = "coredns";

/// Longest time until every agent is in.
const IN_MAX: Duration = Duration::from_secs(10);

/// Memory of the coordinator that a crowd may not pass, in kB.
pub(crate) const MEMORY_MAX: u64 = 64 * 1024;

/// How long a connection of the crowd is waited for.
const DIAL_MAX: Duration = Duration::from_millis(500);

pub(crate) fn bare_connections() -> CaseResult {
    crowd(|stage, address, _| {
        let dial = |_| Guest::bare(address);
        let dialled = stage
            .lab
            .within(POD, || (0..200).filter_map(dial).collect::<Vec<_>>())?;
        Ok(dialled)
    })
}

pub(crate) fn idle_tls() -> CaseResult {
    crowd(|stage, address, ca| {
        let config = Arc::new(client(ca, &[b"h2"])?);
        let dialled = stage.lab.within(POD, || {
            let end = Instant::now() + CROWD_MAX;
            (0..6_000)
                .take_while(|_| Instant::now() < end)
                .filter_map(|_| Guest::shaking(address, &config))
                .collect::<Vec<_>>()
        })?;
        Ok(dialled)
    })
}

/// Longest time in which a crowd gathers.
const CROWD_MAX: Duration = Duration::from_secs(45);

/// Somebody at the door, who stays.
#[expect(dead_code, reason = "they are only there")]
pub(crate) enum Guest {
    Bare(TcpStream),
    Tls(TcpStream, Box<ClientConnection>),
}

impl Guest {
    /// Dials and says nothing; absent if the connection does not come about.
    pub(crate) fn bare(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect_timeout(&address, DIAL_MAX).ok()?;
        Some(Self::Bare(stream))
    }

    /// Dials and does a TLS handshake, as far as it is let.
    pub(crate) fn shaking(address: SocketAddr, config: &Arc<ClientConfig>) -> Option<Self> {
        let mut stream = TcpStream::connect_timeout(&address, DIAL_MAX).ok()?;
        stream.set_read_timeout(Some(DIAL_MAX)).ok()?;
        let name = ServerName::try_from(SERVER_NAME).ok()?;
        let mut tls = ClientConnection::new(Arc::clone(config), name).ok()?;
        // Who is not let in is still there, as long as the coordinator does not hang up.
        let _shaken = tls.complete_io(&mut stream);
        Some(Self::Tls(stream, Box::new(tls)))
    }
}

/// Gathers a crowd, then lets the agents come, and plays on to the end.
fn crowd(
    gather: impl FnOnce(&Stage, SocketAddr, &str) -> Result<Vec<Guest>, Box<dyn Error>>,
) -> CaseResult {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let mut play = Play::open(&World::builtin("default")?, WAIT * 2)?;
    let ca = fs::read_to_string(&play.dial.ca)?;
    let guests = gather(&play.stage, play.dial.address, &ca)?;
    let memory = resident(play.coordinator.process_id())?;
    let start = Instant::now();
    play.start_agents(&[])?;
    play.stage.await_listeners()?;
    let took = start.elapsed();
    let ended = play.end()?;
    let count = guests.len();
    drop(guests);
    if took > IN_MAX || memory > MEMORY_MAX {
        return Err(format!("{count} guests: in after {took:?}, {memory} kB").into());
    }
    if ended.exit != 0 {
        return Err(format!("exit {}: {}", ended.exit, ended.summary()).into());
    }
    assert_no_lies(&ended)
}

/// Rounds of streams without a greeting.
const ROUNDS: usize = 3;

/// Connections of a round, one after the other.
const CONNECTIONS: usize = 150;

/// How long memory may take to be given back.
pub(crate) const GIVEN_BACK_MAX: Duration = Duration::from_secs(60);

/// Streams with a good token that say nothing, again and again.
pub(crate) fn streams_without_greeting() -> CaseResult {
    let play = Play::open(&World::builtin("default")?, WAIT * 3)?;
    let process = play.coordinator.process_id();
    let before = resident(process)?;
    let place = play.stage.expanded.agents.first();
    let token = fs::read_to_string(play.dial.token(place.ok_or("the world has no agents")?))?;
    let rogue = Rogue::at(&play.dial, token.trim())?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let open = rogue.say_nothing(CONNECTIONS, 4, Duration::from_secs(1));
        rounds.push((open, resident(process)?));
    }
    let end = Instant::now() + GIVEN_BACK_MAX;
    let bound = before.saturating_add(16 * 1024).min(MEMORY_MAX);
    while resident(process)? > bound && Instant::now() < end {
        std::thread::sleep(Duration::from_secs(1));
    }
    let after = resident(process)?;
    let most = rounds.iter().map(|(_, memory)| *memory).max();
    if after > bound || most.is_none_or(|most| most > MEMORY_MAX) {
        return Err(format!("{before} kB before, {rounds:?}, {after} kB after").into());
    }
    Ok(())
}

/// Resident memory of a process, in kB.
fn resident(process: u32) -> Result<u64, Box<dyn Error>> {
    Ok(memory(process)?.resident)
}

/// Memory of a process, in kB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// What is resident.
    pub(crate) resident: u64,
    /// Most that ever was.
    pub(crate) most: u64,
}

/// Memory of a process.
pub(crate) fn memory(process: u32) -> Result<Memory, Box<dyn Error>> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok::<u64, Box<dyn Error>>(number.ok_or("the process has no memory")?.parse()?)
    };
    Ok(Memory {
        resident: number("VmRSS:")?,
        most: number("VmHWM:")?,
    })
}
