//! One tool in a process of its own, so that its cost is its own.

use std::{
    io::{BufWriter, Write as _},
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant, SystemTime},
};

use clap::{Args, ValueEnum};
use nix::sys::resource::UsageWho;
use reachproof_agent::{
    engine::{Engine, EngineConfig, Evidence, Pacing, PeerConnection, Sink},
    environment::{SystemClock, SystemRng},
    policy::Policy,
    probe::{Attempts, Finished, Probe, ProbeKind, RunName, Work},
    wire::{Epoch, batch_to_wire},
};

use super::{Measured, floor, usage::Stopwatch};

/// What a worker does.
#[derive(Debug, Clone, Args)]
pub struct WorkerArguments {
    /// The tool.
    #[arg(value_enum)]
    pub tool: Tool,
    /// File with a target a line.
    #[arg(long)]
    pub targets: PathBuf,
    /// Most attempts for each.
    #[arg(long)]
    pub attempts: u32,
    /// How long an attempt waits.
    #[arg(long)]
    pub timeout_ms: u64,
    /// Attempts in flight.
    #[arg(long)]
    pub in_flight_max: usize,
}

/// A tool that runs in the worker itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tool {
    /// The floor.
    Floor,
    /// The engine: connect and classify.
    Engine,
    /// The engine with `TCP_INFO`, `getsockname` and encoding into batches.
    Evidence,
}

/// Runs the tool; prints a line for each target, and what it cost as one JSON object on stderr.
///
/// # Errors
/// When the targets cannot be read or the tool cannot work.
#[expect(clippy::print_stderr, reason = "the other process reads it there")]
pub fn work(arguments: &WorkerArguments) -> Measured<()> {
    let targets = read(arguments)?;
    let stopwatch = Stopwatch::start(UsageWho::RUSAGE_SELF)?;
    let words = match arguments.tool {
        Tool::Floor => floor::connect_all(
            &targets,
            arguments.attempts,
            Duration::from_millis(arguments.timeout_ms),
            arguments.in_flight_max,
        )?
        .into_iter()
        .map(floor::Class::word)
        .collect(),
        Tool::Engine => engine(&targets, arguments, Evidence::Outcome)?,
        Tool::Evidence => engine(&targets, arguments, Evidence::Full)?,
    };
    eprintln!("{}", serde_json::to_string(&stopwatch.stop()?)?);
    let mut output = BufWriter::new(std::io::stdout().lock());
    for (target, word) in targets.iter().zip(words) {
        writeln!(output, "{} {} {word}", target.ip(), target.port())?;
    }
    Ok(())
}

/// The targets, as `ADDRESS PORT` lines.
fn read(arguments: &WorkerArguments) -> Measured<Vec<SocketAddr>> {
    let text = std::fs::read_to_string(&arguments.targets)?;
    text.lines()
        .map(|line| Ok(line.replacen(' ', ":", 1).parse()?))
        .collect()
}

/// Lets the agent's engine make the probes, without anything around it.
fn engine(
    targets: &[SocketAddr],
    arguments: &WorkerArguments,
    evidence: Evidence,
) -> Measured<Vec<&'static str>> {
    let (done, is_done) = mpsc::channel();
    let collect = Collect {
        attempts: arguments.attempts,
        left: AtomicUsize::new(targets.len()),
        words: Mutex::new(vec!["none"; targets.len()]),
        batch: Mutex::new(Vec::new()),
        encode: evidence == Evidence::Full,
        epoch: Epoch {
            monotonic: Instant::now(),
            calendar: SystemTime::now(),
        },
        done,
    };
    let collect = Arc::new(collect);
    let engine_config = EngineConfig {
        in_flight_max: arguments.in_flight_max,
        pacing: Pacing::Unpaced,
        tracked_max: None,
        evidence,
        policy: Policy::by_hand(),
    };
    let rng = Arc::new(SystemRng::new()?);
    let sink = Shared(Arc::clone(&collect));
    let (engine, _ended) = Engine::start(engine_config, (Arc::new(SystemClock), rng), sink)?;
    let deadline = Duration::from_millis(arguments.timeout_ms);
    let probe = |(id, target): (u32, &SocketAddr)| Probe {
        id,
        target: *target,
        source: None,
        kind: ProbeKind::TcpConnect,
        attempts: Attempts::until_answered(arguments.attempts),
        deadline,
        interval: deadline,
    };
    engine.add(Work {
        run: RunName::new("bench"),
        probes: (0..).zip(targets).map(probe).collect(),
        expires_at: Instant::now() + Duration::from_secs(3600),
    });
    is_done.recv()?;
    let words = collect.words.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(words.clone())
}

/// Collects outcomes, and encodes them when that is part of what is measured.
struct Collect {
    attempts: u32,
    left: AtomicUsize,
    words: Mutex<Vec<&'static str>>,
    batch: Mutex<Vec<Finished>>,
    encode: bool,
    epoch: Epoch,
    done: mpsc::Sender<()>,
}

/// The engine's half of a [`Collect`].
struct Shared(Arc<Collect>);

impl Sink for Shared {
    fn finished(&self, attempt: Finished) {
        let collect = &self.0;
        let answered = attempt.outcome.is_answer();
        let last = answered || attempt.attempt + 1 >= collect.attempts;
        if last && let Ok(at) = usize::try_from(attempt.probe) {
            let mut words = collect.words.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(word) = words.get_mut(at) {
                *word = attempt.outcome.word();
            }
        }
        if collect.encode {
            collect.keep(attempt);
        }
        if last && collect.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let _ = collect.done.send(());
        }
    }

    fn connected(&self, connection: PeerConnection) {
        self.finished(connection.attempt);
    }
}

impl Collect {
    /// Adds an attempt to the batch, and encodes the batch when it is full.
    fn keep(&self, attempt: Finished) {
        use prost::Message as _;
        let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        batch.push(attempt);
        if batch.len() == 1_000 {
            let bytes = batch_to_wire(&self.epoch, 1, &batch).encode_to_vec();
            batch.clear();
            std::hint::black_box(bytes);
        }
    }
}
