//! What a coordinator that stays costs with many agents: memory, and the time until all are back after its process was killed,
//! beside a bare tonic server that holds as many streams.
//!
//! Both servers are processes of their own, killed and started again in the same way. The agents are simulated in this
//! process: connections, TLS, tokens and messages are real, each from an address of its own of 127.0.0.0/8, and what a probe gives
//! is thought up. After a lost stream they dial at once and then once a second: agents that spread themselves over the window of
//! `Welcome` come back later and strain nobody.

mod agent;
mod bare;
mod service;
mod world;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use reachproof_verify::credentials::{SERVER_NAME, certify_page};
use reachproof_verify::{Credentials, SystemRandomness};

use agent::Agents;
use service::Run;

use super::usage::{memory_kib, peak_kib};
use super::{Goals, Measured, farm::run, hold, print};

pub use bare::{BareArguments, serve_bare};

/// The word that starts [`serve_bare`] in place of a measurement.
pub const BARE_ARGUMENT: &str = "fleet-bare";

/// Most memory of the coordinator with all agents attached over TLS, in MiB.
const MEMORY_MAX_MIB: f64 = 300.0;

/// Longest time from the end of a process until all agents are attached to the next one, in seconds.
const BACK_MAX_S: f64 = 30.0;

/// Longest wait for all agents.
const PATIENCE: Duration = Duration::from_secs(180);

/// Files that a process has open beside its streams.
const FILES_SPARE: u64 = 256;

/// Time after the last agent came that is for what it still causes.
const SETTLE: Duration = Duration::from_secs(2);

/// Where agents dial in.
const LISTEN: &str = "127.0.0.1:7443";

/// Page and API.
const WEB: &str = "127.0.0.1:7080";

/// How many agents there are.
#[derive(Debug, Args)]
pub struct FleetArguments {
    /// Agents
    #[arg(long, default_value_t = 5_000)]
    pub agents: u16,
    /// The program `reachproof`; left out: that beside this program
    #[arg(long)]
    pub program: Option<PathBuf>,
}

/// A process that is killed when this is dropped.
struct Running(Child);

impl Running {
    fn kill(&mut self) {
        // One that ended by itself cannot be killed.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }

    /// Resident memory, in MiB.
    fn memory_mib(&self) -> f64 {
        mib(memory_kib(&self.0.id().to_string(), "VmRSS:"))
    }

    /// The most that it was so far, in MiB.
    fn peak_mib(&self) -> f64 {
        mib(peak_kib(&self.0.id().to_string()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What one server cost.
struct Cost {
    /// From its start until all agents are attached.
    up: Duration,
    /// Memory then, in MiB.
    attached_mib: f64,
    /// Memory after what it did with them, and the most until then, in MiB.
    after_mib: (f64, f64),
    /// From its end until all agents are attached to its successor.
    back: Duration,
}

/// Measures the coordinator and the bare server one after the other.
///
/// # Errors
/// When this machine lets a process have too few files open, or a program does not start.
pub fn fleet(arguments: &FleetArguments) -> Measured<Goals> {
    let program = match &arguments.program {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("reachproof"),
    };
    if !program.exists() {
        let path = program.display();
        return Err(format!("there is no `{path}`: build it, or name it").into());
    }
    make_room(arguments.agents)?;
    run("ip", &["link", "set", "lo", "up"], "")?;
    let directory = tempfile::tempdir_in("/run/netns")?;
    let credentials = directory.path().join("credentials");
    let known = prepare(directory.path(), arguments.agents)?;
    certify_page(&credentials, &[SERVER_NAME.to_owned()])?;
    let agents = Agents::new((arguments.agents, None), &known, LISTEN.parse()?)?;
    let mut ended = None;
    let service = cost(
        || service::start(&program, directory.path()),
        &agents,
        |running| {
            let run = service::run()?;
            let memory = (running.memory_mib(), running.peak_mib());
            ended = Some(run);
            Ok(memory)
        },
    )?;
    let bare = cost(
        || bare::start(&credentials),
        &agents,
        |running| Ok((running.memory_mib(), running.peak_mib())),
    )?;
    Ok(say(
        arguments.agents,
        &service,
        &bare,
        ended.as_ref().ok_or("no run ended")?,
    ))
}

/// A run of a coordinator with so many agents, one of which reports what it was not asked for, and everything again and again.
#[derive(Debug)]
pub struct Forged {
    /// Name of the forger's agent.
    pub forger: String,
    /// The report of a run, as JSON.
    pub report: String,
    /// What `/metrics` says after it.
    pub metrics: String,
}

/// Does such a run; without the forger if it is to be `honest`.
///
/// # Errors
/// When a program does not start, or the run comes to no report.
pub fn forged(program: &Path, (agents, honest): (u16, bool)) -> Measured<Forged> {
    run("ip", &["link", "set", "lo", "up"], "")?;
    let directory = tempfile::tempdir_in("/run/netns")?;
    let known = prepare(directory.path(), agents)?;
    let forger = (!honest).then_some(0);
    let agents = Agents::new((agents, forger), &known, LISTEN.parse()?)?;
    let begun = Instant::now();
    let _server = service::start(program, directory.path())?;
    let _living = agents.live()?;
    until_attached(&agents, begun)?;
    let run = service::run()?;
    Ok(Forged {
        forger: world::name(0),
        report: service::get(&format!("/api/v1/runs/{}/report", run.id))?,
        metrics: service::get("/metrics")?,
    })
}

/// Writes world and credentials for so many agents.
fn prepare(directory: &Path, agents: u16) -> Measured<Credentials> {
    world::write(&directory.join("world.json"), agents)?;
    let random = SystemRandomness::default();
    Ok(Credentials::in_directory(
        &directory.join("credentials"),
        &random,
    )?)
}

/// Lets a server meet all agents, does `work` with them, kills it and lets its successor meet them.
fn cost(
    start: impl Fn() -> Measured<Running>,
    agents: &Arc<Agents>,
    work: impl FnOnce(&Running) -> Measured<(f64, f64)>,
) -> Measured<Cost> {
    let begun = Instant::now();
    let mut server = start()?;
    let living = agents.live()?;
    let up = until_attached(agents, begun)?;
    sleep(SETTLE);
    let attached_mib = server.memory_mib();
    let after_mib = work(&server)?;
    let killed = Instant::now();
    agents.forget_welcomes();
    server.kill();
    let server = start()?;
    let back = until_attached(agents, killed)?;
    drop((living, server));
    Ok(Cost {
        up,
        attached_mib,
        after_mib,
        back,
    })
}

/// Waits until every agent is welcome; how long that was since `begun`.
fn until_attached(agents: &Agents, begun: Instant) -> Measured<Duration> {
    while !agents.are_all_welcome() {
        if begun.elapsed() > PATIENCE {
            let (welcome, all) = agents.count();
            return Err(format!(
                "{welcome} of {all} agents were attached after {} s; the last trouble of one was: {}",
                PATIENCE.as_secs(),
                agents.trouble()
            )
            .into());
        }
        sleep(Duration::from_millis(20));
    }
    Ok(begun.elapsed())
}

/// Lets this process and those that it starts have as many files open as they need.
fn make_room(agents: u16) -> Measured<()> {
    let needed = u64::from(agents) + FILES_SPARE;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if most < needed {
        return Err(format!(
            "a process may have {most} files open here (`ulimit -Hn`), {agents} agents need {needed}"
        )
        .into());
    }
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// Prints the figures beside each other, and holds those of the coordinator against the goals.
fn say(agents: u16, service: &Cost, bare: &Cost, run: &Run) -> Goals {
    print(&format!(
        "  {agents} agents over TLS 1.3; one run of {} flows: {}, {:.1} s",
        run.flows,
        run.verdict,
        run.took.as_secs_f64()
    ));
    let beside = |what: &str, of: fn(&Cost) -> f64| {
        print(&format!(
            "  {what:<40} coordinator {:>7.1}, bare {:>7.1}",
            of(service),
            of(bare)
        ));
    };
    beside("attached after, s", |cost| cost.up.as_secs_f64());
    beside("memory attached, MiB", |cost| cost.attached_mib);
    beside("memory after the run, MiB", |cost| cost.after_mib.0);
    beside("most memory, MiB", |cost| cost.after_mib.1);
    beside("all back after a kill, s", |cost| cost.back.as_secs_f64());
    let memory = hold("memory attached, MiB", service.attached_mib, MEMORY_MAX_MIB);
    let back = hold(
        "all back after a kill, s",
        service.back.as_secs_f64(),
        BACK_MAX_S,
    );
    memory.and(back)
}

fn mib(kib: Option<u64>) -> f64 {
    let kib = kib.and_then(|kib| u32::try_from(kib).ok());
    kib.map_or(f64::NAN, |kib| f64::from(kib) / 1024.0)
}

/// A file of errors for a program.
fn log(directory: &Path, name: &str) -> Measured<fs::File> {
    Ok(fs::File::create(directory.join(name))?)
}

/// Waits until somebody listens there.
fn until_open(address: &str, running: &mut Running, log: &Path) -> Measured<()> {
    let address: SocketAddr = address.parse()?;
    let begun = Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        let ended = running.0.try_wait()?;
        if ended.is_some() || begun.elapsed() > PATIENCE {
            let said = fs::read_to_string(log).unwrap_or_default();
            return Err(format!("nobody listens at {address}: {said}").into());
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}
