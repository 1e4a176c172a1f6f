//! Ten thousand connections of one address at the coordinator's door, more than its few places by far.

use std::collections::VecDeque;
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use reachproof_lab::world::World;
use reachproof_model::plan::Depth;
use reachproof_tests::agents::{AgentProgram, Agents};
use reachproof_tests::binaries::binary;
use reachproof_tests::coordinator::{Coordinator, Launch};
use reachproof_tests::harness::CaseResult;
use reachproof_tests::stage::Stage;
use rustls::ClientConfig;

use crate::rogue::client;
use crate::strangers::{GIVEN_BACK_MAX, Guest, MEMORY_MAX, POD, memory};

/// Connections that are there at once, as far as the flood can tell: the coordinator hangs up on most of them.
const CONNECTIONS: usize = 10_000;

/// Threads that dial; each keeps its share of the connections.
const DIALLERS: usize = 4;

/// One of so many does its TLS handshake, the others are silent.
const SHAKEN_EVERY: usize = 4;

/// Connections after which the agents come: the flood is under way.
const UNDER_WAY: usize = 1_000;

/// Longest flood; who is not in by then was kept out.
const FLOOD_MAX: Duration = Duration::from_secs(60);

/// One agent more than there are, so that no run begins while memory is measured.
const EXPECTED: &str = "8";

/// Longer than this test takes.
const WAIT: Duration = Duration::from_secs(300);

/// Time between two looks.
const STEP: Duration = Duration::from_millis(20);

/// The agents come while somebody dials ten thousand times, and again for every connection that is ended.
#[expect(clippy::print_stdout, reason = "the figures are what it is about")]
pub(crate) fn ten_thousand() -> CaseResult {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let stage = Stage::up(&World::builtin("default")?)?;
    let (program, agent) = (binary("reachproof")?, binary("reachproof-agent")?);
    let launch = Launch {
        program: &program,
        snapshot: &stage.snapshot(),
        expect: OsStr::new(EXPECTED),
        wait: WAIT,
        scope: Depth::Mesh,
    };
    let (coordinator, dial) = Coordinator::launch(&stage, &launch)?;
    let process = coordinator.process_id();
    let before = memory(process)?;
    let ca = fs::read_to_string(&dial.ca)?;
    let flood = Flood {
        address: dial.address,
        config: Arc::new(client(&ca, &[b"h2"])?),
        dialled: AtomicUsize::new(0),
        kept: AtomicUsize::new(0),
        is_over: AtomicBool::new(false),
    };
    let began = Instant::now();
    let (guests, entered) = thread::scope(|scope| {
        let crowd = scope.spawn(|| {
            let guests = stage.lab.within(POD, || flood.gather());
            guests.map_err(|error| error.to_string())
        });
        let entered = (|| {
            flood.until_there(UNDER_WAY)?;
            let (start, places) = (Instant::now(), &stage.expanded.agents);
            let agents = Agents::start(&stage, AgentProgram::Agent(&agent), &dial, places)?;
            let entered = flood.until_in(&stage)?.duration_since(start);
            flood.until_there(CONNECTIONS)?;
            Ok::<_, Box<dyn Error>>((agents, entered))
        })();
        flood.is_over.store(true, Ordering::Relaxed);
        let guests = crowd.join().map_err(|_| "a dialler failed".to_owned());
        (guests, entered)
    });
    let took = began.elapsed();
    let guests = guests??;
    let there = guests.len();
    let during = memory(process)?;
    let (agents, entered) = entered?;
    let dialled = flood.dialled.load(Ordering::Relaxed);
    drop(guests);
    let bound = before.resident.saturating_add(16 * 1024).min(MEMORY_MAX);
    let ended = Instant::now();
    let mut after = memory(process)?;
    while after.resident > bound && ended.elapsed() < GIVEN_BACK_MAX {
        thread::sleep(STEP);
        after = memory(process)?;
    }
    println!(
        "  {dialled} connections of one address in {:.1} s, {} there at once: {} agents in after {:.1} s; coordinator {} kB before, {} kB at most, {} kB at the end, {} kB {:.1} s later",
        took.as_secs_f32(),
        there,
        stage.expanded.agents.len(),
        entered.as_secs_f32(),
        before.resident,
        during.most,
        during.resident,
        after.resident,
        ended.elapsed().as_secs_f32(),
    );
    drop((agents, coordinator));
    if during.most > MEMORY_MAX || after.resident > bound {
        return Err(
            format!("{before:?} before, {during:?} with the crowd, {after:?} after").into(),
        );
    }
    Ok(())
}

/// Somebody who dials again and again.
struct Flood {
    address: SocketAddr,
    config: Arc<ClientConfig>,
    /// Connections that came about.
    dialled: AtomicUsize,
    /// Those that are there.
    kept: AtomicUsize,
    is_over: AtomicBool,
}

impl Flood {
    /// Dials until it is over, in the network namespace that the thread is in; who is there then.
    fn gather(&self) -> Vec<Guest> {
        thread::scope(|scope| {
            let diallers: Vec<_> = (0..DIALLERS).map(|_| scope.spawn(|| self.dial())).collect();
            let shares = diallers.into_iter().filter_map(|it| it.join().ok());
            shares.flatten().collect()
        })
    }

    /// Keeps its share of the connections; once they are there, a new one takes the place of the oldest.
    fn dial(&self) -> VecDeque<Guest> {
        let mut guests = VecDeque::new();
        let end = Instant::now() + FLOOD_MAX;
        let mut number = 0_usize;
        while !self.is_over.load(Ordering::Relaxed) && Instant::now() < end {
            let guest = if number.is_multiple_of(SHAKEN_EVERY) {
                Guest::shaking(self.address, &self.config)
            } else {
                Guest::bare(self.address)
            };
            number += 1;
            let Some(guest) = guest else { continue };
            self.dialled.fetch_add(1, Ordering::Relaxed);
            if guests.len() >= CONNECTIONS / DIALLERS {
                guests.pop_front();
            } else {
                self.kept.fetch_add(1, Ordering::Relaxed);
            }
            guests.push_back(guest);
        }
        guests
    }

    /// Waits until so many connections are there.
    fn until_there(&self, count: usize) -> CaseResult {
        let end = Instant::now() + FLOOD_MAX;
        while self.kept.load(Ordering::Relaxed) < count {
            if Instant::now() > end {
                return Err(format!("{:?} of {count} connections", self.kept).into());
            }
            thread::sleep(STEP);
        }
        Ok(())
    }

    /// Waits until every agent of the world says that it was welcomed; when the last one did.
    fn until_in(&self, stage: &Stage) -> Result<Instant, Box<dyn Error>> {
        let end = Instant::now() + FLOOD_MAX;
        for place in &stage.expanded.agents {
            while !fs::read_to_string(stage.log(&place.endpoint))?.contains("attached") {
                if Instant::now() > end {
                    let (name, dialled) = (&place.endpoint, &self.dialled);
                    return Err(format!("{dialled:?} connections keep {name} out").into());
                }
                thread::sleep(STEP);
            }
        }
        Ok(Instant::now())
    }
}
