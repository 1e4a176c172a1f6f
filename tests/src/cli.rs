//! The command `reachproof-lab`, which `cargo lab` runs.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use reachproof_lab::kubernetes::{ControlPlane, Program};
use reachproof_lab::world::{AgentPlace, BUILTIN, Expect, World};
use reachproof_lab::{Isolation, is_isolating, isolate};
use reachproof_model::claim::Claim;
use reachproof_model::plan::Depth;
use reachproof_verify::claims::catalogue;
use reachproof_verify::report::human::{Colour, ColourWhen, Details};
use reachproof_verify::source::Saved;
use reachproof_verify::status::{Amount, StatusLine};
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

use crate::agents::{AGENT_ARGUMENT, AgentProgram, Agents};
use crate::coordinator::{Coordinator, verify_command};
use crate::error::RunnerError;
use crate::harness::explain;
use crate::judge::differences;
use crate::kubelet::Kubelets;
use crate::rehearsal::Rehearsal;
use crate::runner::{Ending, Output, RunOptions, compared, hints, run, say};
use crate::stage::{Pods, Scene, Stage};
use crate::{binaries, deployment};

/// Exit code of a run that could not be done (ARCHITECTURE, "Exit codes").
const COULD_NOT_RUN: u8 = 2;

/// Exit code of `--check` when the world ended otherwise than its file states.
const NOT_AS_STATED: u8 = 1;

/// Builds an EKS-shaped VPC on this machine and compares what its security groups say with what agents meet.
///
/// The network is made of namespaces and nftables rules: nothing is simulated in the program, and nothing is left
/// afterwards. Needs no root. The exit code is that of `reachproof verify`: 0 as predicted and expected, 1 a
/// contradiction or a broken expectation, 2 could not be done, 3 an expectation is unverified or an agent is missing.
#[derive(Debug, Parser)]
#[command(name = "reachproof-lab", version, max_term_width = 100)]
struct Arguments {
    /// List the worlds that come along.
    #[arg(long)]
    list: bool,
    /// World to build: a name of the list, or a world file.
    #[arg(long, value_name = "NAME|FILE", default_value = "default")]
    world: String,
    /// Snapshot to build a lab of instead: a directory of answers or one file, as `reachproof verify --snapshot` takes it. At
    /// most 60 hosts are built, chosen by class.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["world", "kubernetes", "check"])]
    snapshot: Option<PathBuf>,
    /// Cluster that is meant, where the snapshot has several.
    #[arg(long, value_name = "NAME", requires = "snapshot")]
    cluster: Option<String>,
    /// Start a Kubernetes API server behind each interface of the control plane (built once, from Go modules), and the
    /// agents of the cluster as pods, by the manifests that `reachproof manifests` prints.
    #[arg(long)]
    kubernetes: bool,
    /// Leave the lab up after the report, and print how to enter a host, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Shape of the report on stdout.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    /// Show the evidence of every flow, or of those whose line holds these words, like '10.0.1.20 tcp/443'.
    #[arg(long, value_name = "WORDS", num_args = 0..=1)]
    details: Option<Option<String>>,
    /// Judge the claims about security groups of EKS by what is seen; in a lab that is no evidence about AWS.
    #[arg(long)]
    claims: bool,
    /// Exit with 0 only if the world ended as its file states, and with 1 if not.
    #[arg(long)]
    check: bool,
    /// Number from which the plan draws its choices.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Say nothing of what goes on.
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// Say each thing that goes on, and log more; RUST_LOG chooses what.
    #[arg(short, long)]
    verbose: bool,
    /// When to show colours: auto, always or never; auto is on a terminal, unless NO_COLOR is set.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColourWhen,
    /// Longest wait for agents, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait: u64,
}

impl Arguments {
    fn amount(&self) -> Amount {
        Amount::asked(self.quiet, self.verbose)
    }
}

/// Logs beside the status line, as `RUST_LOG` says.
fn log(arguments: &Arguments, status: &StatusLine) {
    let log = match arguments.amount() {
        Amount::Quiet | Amount::Normal => "error",
        Amount::Verbose => "info",
    };
    let status = status.clone();
    // A caller may have installed its own.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(log)))
        .with_writer(move || status.writer())
        .with_ansi(arguments.color.on(&std::io::stderr()) == Colour::Shown)
        .with_target(false)
        .try_init();
}

/// Runs the command with these arguments, the first of which is the program's name.
///
/// With `agent` as first argument the program is an agent instead, with the arguments behind it.
pub fn main_from(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments
        .get(1)
        .is_some_and(|argument| argument == AGENT_ARGUMENT)
    {
        return reachproof_agent::cli::main_from(arguments.into_iter().skip(1));
    }
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { COULD_NOT_RUN } else { 0 };
            // Where the help cannot be printed there is nobody to tell.
            let _printed = error.print();
            return ExitCode::from(code);
        }
    };
    if arguments.list {
        list();
        return ExitCode::SUCCESS;
    }
    match go(&arguments) {
        Ok(code) => code,
        Err(error) => {
            say(&explain(&error));
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

fn list() {
    let mut stdout = std::io::stdout().lock();
    for builtin in BUILTIN {
        let about = World::builtin(builtin.name)
            .map(|world| world.about)
            .unwrap_or_default();
        // Whoever closed the pipe has read enough.
        if writeln!(stdout, "{:<28}  {about}", builtin.name).is_err() {
            return;
        }
    }
}

/// Reads the world or snapshot, before and after isolation: a wrong file needs no lab to be found.
fn go(arguments: &Arguments) -> Result<ExitCode, RunnerError> {
    let given = Given::read(arguments)?;
    // Outside, where Go and cargo can fetch what they need; inside it finds what was built.
    let kubernetes = arguments
        .kubernetes
        .then(|| Program::build(say))
        .transpose()?;
    if arguments.kubernetes && !is_isolating() {
        binaries::build()?;
    }
    match isolate()? {
        Isolation::Finished(code) => return Ok(code),
        Isolation::Inside => {}
    }
    let program = std::env::current_exe().map_err(RunnerError::Program)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(RunnerError::Runtime)?;
    // Inside: a process with threads could not have entered.
    let status = StatusLine::on_stderr(arguments.amount());
    log(arguments, &status);
    given.notes.iter().for_each(|note| status.remark(note));
    let mut stage = Stage::set(given.scene)?;
    if let Some(kubernetes) = kubernetes {
        stage.start_kubernetes(kubernetes, Pods::WithoutAgents)?;
    }
    let lab = Lab {
        expect: given.expect.as_ref(),
        stage: &stage,
        program: &program,
        arguments,
        status: &status,
        runtime: &runtime,
    };
    match stage.kubernetes() {
        None => runtime.block_on(lab.play(stage.expanded.agents.clone())),
        Some(plane) => lab.play_by_manifest(plane),
    }
}

/// What is to be built.
struct Given {
    scene: Scene,
    /// What a run must end with; a snapshot states nothing.
    expect: Option<Expect>,
    /// What is to be said before it is built.
    notes: Vec<String>,
}

impl Given {
    fn read(arguments: &Arguments) -> Result<Self, RunnerError> {
        let Some(path) = &arguments.snapshot else {
            let world = read(&arguments.world)?;
            let scene = Scene::of(&world)?;
            let otherwise = world.expect_with_api_servers;
            let otherwise = otherwise.filter(|_| arguments.kubernetes);
            return Ok(Self {
                scene,
                expect: Some(otherwise.unwrap_or(world.expect)),
                notes: vec![told(&world.about, &world.lesson)],
            });
        };
        let rehearsal = Rehearsal::open(&Saved {
            path: path.clone(),
            cluster: arguments.cluster.clone(),
        })?;
        Ok(Self {
            scene: rehearsal.scene,
            expect: None,
            notes: rehearsal.notes,
        })
    }
}

/// What a world shows, and what to look at in it.
fn told(about: &str, lesson: &str) -> String {
    let lines = lesson.lines().map(|line| format!("  {line}"));
    let lines = lines.map(|line| line.trim_end().to_owned());
    let text: Vec<String> = std::iter::once(about.to_owned()).chain(lines).collect();
    text.join("\n")
}

/// What a run in the lab stands on.
#[derive(Clone, Copy)]
struct Lab<'a> {
    expect: Option<&'a Expect>,
    stage: &'a Stage,
    program: &'a Path,
    arguments: &'a Arguments,
    status: &'a StatusLine,
    runtime: &'a Runtime,
}

/// A world that comes along, or else a file.
fn read(name: &str) -> Result<World, RunnerError> {
    let path = PathBuf::from(name);
    if BUILTIN.iter().any(|builtin| builtin.name == name) || !path.exists() {
        return Ok(World::builtin(name)?);
    }
    let text = fs::read_to_string(&path).map_err(|source| RunnerError::Read { path, source })?;
    Ok(World::parse(name, &text)?)
}

impl Lab<'_> {
    /// Brings agents by manifest to every place that one reaches, runs, and keeps the nodes at work meanwhile.
    fn play_by_manifest(self, plane: &ControlPlane) -> Result<ExitCode, RunnerError> {
        deployment::mark_fargate_pods(self.stage, plane)?;
        let manifests = deployment::print_manifests(self.stage, &binaries::binary("reachproof")?)?;
        let agent = binaries::binary("reachproof-agent")?;
        let mut kubelets = Kubelets::new(self.stage, plane, agent);
        deployment::apply(self.stage, plane, &manifests, &mut kubelets)?;
        let places: Vec<AgentPlace> = kubelets.free_places().cloned().collect();
        say(&format!(
            "{} agents as pods, {} beside the cluster",
            kubelets.started(),
            places.len()
        ));
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let nodes = scope.spawn(|| {
                while !is_over.load(Ordering::Acquire) {
                    kubelets.turn()?;
                    std::thread::sleep(deployment::STEP);
                }
                Ok(())
            });
            let code = self.play_by_binary(plane, &places);
            is_over.store(true, Ordering::Release);
            let kept: Result<(), RunnerError> = nodes
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            kept.and(code)
        })
    }

    /// Lets the binary `reachproof` run against the control plane, which reviews the tokens of agents and connects for it,
    /// with agents of the lab at `places`, and prints what is to be printed.
    fn play_by_binary(
        self,
        plane: &ControlPlane,
        places: &[AgentPlace],
    ) -> Result<ExitCode, RunnerError> {
        let arguments = self.arguments;
        let mut command = verify_command(self.stage, plane, None)?;
        command.args(["--seed", &arguments.seed.to_string()]);
        command.args(["--output", arguments.output.as_str()]);
        command.arg("--lab");
        command.args(arguments.claims.then_some("--claims"));
        command.args(arguments.details.iter().map(|_| "--details"));
        command.args(arguments.details.iter().flatten());
        let expected = self.stage.expanded.agents.len().to_string();
        let launch = (OsStr::new(&expected), Duration::from_secs(arguments.wait));
        let (coordinator, dial) = Coordinator::show(self.stage, command, launch, Depth::Mesh)?;
        let program = AgentProgram::Runner(self.program);
        let agents = Agents::start(self.stage, program, &dial, places)?;
        let (exit, report) = coordinator.finish()?;
        drop(agents);
        let endpoints = self.stage.lab.endpoints();
        let expected = self
            .expect
            .map(|expect| differences(expect, &report, exit, endpoints));
        let differences = expected.transpose()?.unwrap_or_default();
        if self.expect.is_some() {
            say(&compared(&differences));
        }
        if arguments.keep {
            say(&hints(self.stage));
            self.runtime.block_on(interrupted());
        }
        let ending = Ending { exit, differences };
        let code = exit_code(&ending, arguments.check.then_some(NOT_AS_STATED));
        Ok(ExitCode::from(code))
    }

    /// The claims that are to be judged.
    fn claims(&self) -> Result<Vec<Claim>, RunnerError> {
        if !self.arguments.claims {
            return Ok(Vec::new());
        }
        Ok(catalogue()?)
    }

    /// Starts agents at `places`, runs, and prints what is to be printed.
    async fn play(self, places: Vec<AgentPlace>) -> Result<ExitCode, RunnerError> {
        let arguments = self.arguments;
        let options = RunOptions {
            wait: Duration::from_secs(arguments.wait),
            seed: arguments.seed,
            // A world states the finding of every pair.
            depth: self.expect.map(|_| Depth::Mesh),
            output: arguments.output,
            details: Details::asked(arguments.details.clone()),
            status: self.status.clone(),
            colour: arguments.color,
            claims: self.claims()?,
            places,
        };
        let ending = run(
            self.stage,
            self.expect,
            self.program,
            &options,
            interrupted(),
        )
        .await?;
        if arguments.keep {
            say(&hints(self.stage));
            interrupted().await;
        }
        Ok(ExitCode::from(exit_code(
            &ending,
            arguments.check.then_some(NOT_AS_STATED),
        )))
    }
}

/// Completes at Ctrl-C.
async fn interrupted() {
    // Without a handler the signal ends the program, and the kernel takes the lab away.
    let _received = tokio::signal::ctrl_c().await;
}

/// The run's own exit code; with `not_as_stated` that one or 0, by the differences.
fn exit_code(ending: &Ending, not_as_stated: Option<u8>) -> u8 {
    match not_as_stated {
        None => ending.exit,
        Some(_) if ending.differences.is_empty() => 0,
        Some(code) => code,
    }
}
