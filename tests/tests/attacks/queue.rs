//! A node whose accept queue is full, with its agent asleep: the kernel drops what the wire delivers.

use std::error::Error;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use reachproof_lab::world::World;
use reachproof_tests::harness::CaseResult;
use reachproof_tests::play::{Ended, Play, Seen, WAIT, addresses_of, firewall};
use reachproof_tests::truth::{all_are, assert_no_lies};
use socket2::{Domain, Socket, Type};

use crate::outage::open_wire;

/// Whose agent sleeps: the model allows some to call it, and denies others, and the wire is open for all.
const TARGET: &str = "node-1";

/// A sleep that later attempts outlive.
const NAP: Duration = Duration::from_secs(16);

/// A sleep that no attempt of a run outlives, replacements included.
const SLEEP: Duration = Duration::from_secs(150);

/// The port of agents.
const PORT: u16 = 7500;

/// Who calls the crowded agent again and again, as it may.
const NEIGHBOUR: &str = "node-2";

/// Its calls at a time.
const CROWD: usize = 60;

/// How often it calls, at most.
const ROUNDS_MAX: usize = 1_500;

/// The kernel's counters of a network namespace.
const COUNTERS: &str = "/proc/thread-self/net/netstat";

/// The setting of a network namespace that bounds the queues of its listeners.
const QUEUE: &str = "/proc/sys/net/core/somaxconn";

/// Rules of a host that let no connection reach its agent.
const HELD: &str = "add table inet held
add chain inet held input { type filter hook input priority 0; }
add rule inet held input tcp dport 7500 drop";

/// Takes them back.
const RELEASED: &str = "delete table inet held";

/// Time between two looks whether the run is over.
const STEP: Duration = Duration::from_millis(100);

/// Reasons that fit a target that slept and woke: what found room in the queue connected, but nobody proved anything.
const WOKEN: [&str; 5] = [
    "unproven",
    "target-unheard",
    "target-late",
    "accept-queue",
    "not-repeated",
];

/// Reasons that fit a target that slept to the end, and was perhaps never heard.
const ASLEEP: [&str; 4] = [
    "no-control",
    "target-unheard",
    "target-late",
    "accept-queue",
];

/// Whoever is answered at last was answered; nobody else is sure of anything.
pub(crate) fn full_for_a_while() -> CaseResult {
    let mut play = crowded(&open_wire()?)?;
    play.start_agents(&[])?;
    play.stage.await_listeners()?;
    play.agents.signal(TARGET, Signal::SIGSTOP)?;
    sleep(&mut play, NAP)?;
    play.agents.signal(TARGET, Signal::SIGCONT)?;
    let ended = play.end()?;
    assert_no_lies(&ended)?;
    let findings = ended.between(&[], &[TARGET], &[PORT])?;
    all_are("to the sleeper", &findings, 4, |finding| {
        let answered = ["confirmed_allow", "contradiction_open"].contains(&finding.kind.as_str());
        answered || finding.is_inconclusive(&WOKEN)
    })
}

/// Nobody is ever answered, and nobody is sure of anything.
pub(crate) fn full_to_the_end() -> CaseResult {
    let mut play = crowded(&open_wire()?)?;
    // Nobody may be answered before it falls asleep.
    firewall(&play.stage, TARGET, HELD)?;
    play.start_agents(&[])?;
    play.stage.await_listeners()?;
    play.agents.signal(TARGET, Signal::SIGSTOP)?;
    firewall(&play.stage, TARGET, RELEASED)?;
    sleep(&mut play, SLEEP)?;
    play.agents.signal(TARGET, Signal::SIGCONT)?;
    let ended = play.end()?;
    assert_no_lies(&ended)?;
    assert_dropped(&ended)?;
    let findings = ended.between(&[], &[TARGET], &[PORT])?;
    all_are("to the sleeper", &findings, 4, |finding| {
        finding.is_inconclusive(&ASLEEP)
    })
}

/// An agent that is awake, on time and heard, and whose queue is too short all the same: silence towards it counts for
/// nothing, although the wire denies as the model says.
pub(crate) fn overflowing() -> CaseResult {
    let mut play = crowded(&World::builtin("default")?)?;
    play.start_agents(&[])?;
    play.stage.await_listeners()?;
    let address = *addresses_of(&play.stage, TARGET)?
        .first()
        .ok_or("no address")?;
    let socket = SocketAddr::new(address, PORT);
    for _ in 0..ROUNDS_MAX {
        if play.coordinator.has_ended()? {
            break;
        }
        play.stage.lab.within(NEIGHBOUR, || crowd(socket))??;
        std::thread::sleep(STEP);
    }
    let ended = play.end()?;
    assert_no_lies(&ended)?;
    assert_dropped(&ended)?;
    let findings = ended.between(&[], &[TARGET], &[PORT])?;
    let denied: Vec<&Seen> = findings
        .into_iter()
        .filter(|finding| !finding.is_allowed())
        .collect();
    all_are("denied to the crowded", &denied, 2, |finding| {
        finding.is_inconclusive(&["accept-queue"])
    })
}

/// Opens `world` with a target whose queues have room for one connection.
fn crowded(world: &World) -> Result<Play, Box<dyn Error>> {
    let play = Play::open(world, WAIT)?;
    play.stage.lab.within(TARGET, || fs::write(QUEUE, "1"))??;
    Ok(play)
}

/// Waits until the run is over, at most `longest`.
fn sleep(play: &mut Play, longest: Duration) -> CaseResult {
    let end = Instant::now() + longest;
    while Instant::now() < end && !play.coordinator.has_ended()? {
        std::thread::sleep(STEP);
    }
    Ok(())
}

/// Calls `socket` from many ports at once, and hangs up.
fn crowd(socket: SocketAddr) -> io::Result<()> {
    let mut calls = Vec::new();
    for _ in 0..CROWD {
        let call = Socket::new(Domain::for_address(socket), Type::STREAM, None)?;
        call.set_nonblocking(true)?;
        match call.connect(&socket.into()) {
            Err(error) if error.raw_os_error().map(Errno::from_raw) != Some(Errno::EINPROGRESS) => {
                return Err(error);
            }
            Ok(()) | Err(_) => calls.push(call),
        }
    }
    Ok(())
}

/// The kernel of the target says that its queues had no room: else the case shows nothing.
fn assert_dropped(ended: &Ended) -> CaseResult {
    let counters = ended
        .stage
        .lab
        .within(TARGET, || fs::read_to_string(COUNTERS))??;
    let mut lines = counters.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    );
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    let drops = pairs
        .find(|(name, _)| *name == "ListenDrops")
        .map(|(_, value)| value);
    match drops {
        Some(drops) if drops != "0" => Ok(()),
        _ => Err(format!("no queue was full ({drops:?}): {}", ended.summary()).into()),
    }
}
