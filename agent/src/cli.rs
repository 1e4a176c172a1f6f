//! Arguments, logging and wiring of the `reachproof-agent` command.

mod probe;

use std::{
    error::Error,
    ffi::OsString,
    io::{self, IsTerminal},
    net::IpAddr,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, CommandFactory, Parser, Subcommand, error::ErrorKind};
use reachproof_proto::endpoint::EndpointName;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use self::probe::{ProbeArguments, ProbeError, probe};
use crate::{
    config::{Config, Coordinator, Kind},
    control::{Seams, run},
    environment::{SystemClock, SystemRng, TcpNet},
    health,
    limits::{IN_FLIGHT_DEFAULT, Limits, STARTS_PER_SECOND_DEFAULT},
    policy::{Policy, PolicyError},
};

/// Exit code of a command that could not be done (ARCHITECTURE, "Exit codes").
const COULD_NOT_RUN: u8 = 2;

/// Threads that serve the stream and the listeners; the probes have their own.
const WORKER_THREADS: usize = 2;

/// Opens ordinary TCP connections where the coordinator says, and reports what the kernel said.
#[derive(Debug, Parser)]
#[command(name = "reachproof-agent", version = env!("REACHPROOF_VERSION"), max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What the agent can do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Attach to a coordinator and make the probes that it plans, until SIGTERM or SIGINT.
    Run(RunArguments),
    /// Probe targets by hand, without a coordinator, and print a line for each.
    Probe(ProbeArguments),
    /// Ask the agent that runs beside this command how it is; exit with 1 when it does not answer.
    Health(HealthArguments),
}

/// Arguments of `health`.
#[derive(Debug, Args)]
struct HealthArguments {
    /// Name of the agent, as `run` has it.
    #[arg(long, env = "REACHPROOF_NAME", value_name = "NAME", value_parser = agent_name)]
    name: String,
    /// Exit with 1 also when the agent has no stream to its coordinator.
    #[arg(long)]
    attached: bool,
}

/// Arguments of `run`. Each can come from the environment.
#[derive(Debug, Args)]
struct RunArguments {
    /// Where the coordinator is: `https://HOST` or `https://HOST:PORT`, by default on port 7443.
    #[arg(long, env = "REACHPROOF_COORDINATOR", value_name = "URL")]
    coordinator: Coordinator,
    /// PEM file with the certificates that the coordinator's own must come from.
    #[arg(long, env = "REACHPROOF_CA", value_name = "FILE")]
    ca: PathBuf,
    /// File with the token that the agent shows to the coordinator.
    #[arg(long, env = "REACHPROOF_TOKEN_FILE", value_name = "FILE")]
    token_file: PathBuf,
    /// Name that the coordinator's certificate must have.
    #[arg(
        long,
        env = "REACHPROOF_SERVER_NAME",
        value_name = "NAME",
        default_value = "reachproof-coordinator"
    )]
    server_name: String,
    /// Name of this agent, unique in the cluster: the pod's, or the host's where there is no pod.
    #[arg(long, env = "REACHPROOF_NAME", value_name = "NAME", value_parser = agent_name)]
    name: String,
    /// Name of the Kubernetes node; left out outside Kubernetes.
    #[arg(
        long,
        env = "REACHPROOF_NODE",
        value_name = "NODE",
        default_value = "",
        hide_default_value = true
    )]
    node: String,
    /// Where the agent runs.
    #[arg(long, env = "REACHPROOF_KIND", value_enum)]
    kind: Kind,
    /// Addresses of the agent in the measured network, primary first.
    #[arg(long, env = "REACHPROOF_ADDRESS", value_name = "IP", required = true, num_args = 1.., value_delimiter = ',')]
    address: Vec<IpAddr>,
    /// File that says what the agent may connect to, whatever the coordinator asks for: `allow` and `deny` with networks,
    /// `deny_ports` with ports; YAML or JSON.
    #[arg(long, env = "REACHPROOF_POLICY", value_name = "FILE")]
    policy: PathBuf,
    /// Endpoint of the cluster's API server as `aws eks describe-cluster` prints it; the agent resolves it once a run and
    /// reports the addresses.
    #[arg(long, env = "REACHPROOF_CLUSTER_ENDPOINT", value_name = "NAME")]
    cluster_endpoint: Option<EndpointName>,
    /// Attempts in flight at once, at most 256.
    #[arg(long, env = "REACHPROOF_IN_FLIGHT_MAX", value_name = "N", default_value_t = IN_FLIGHT_DEFAULT,
          value_parser = clap::value_parser!(u32).range(1..))]
    in_flight_max: u32,
    /// Attempts started per second, at most 100.
    #[arg(long, env = "REACHPROOF_STARTS_PER_SECOND_MAX", value_name = "N", default_value_t = STARTS_PER_SECOND_DEFAULT,
          value_parser = clap::value_parser!(u32).range(1..))]
    starts_per_second_max: u32,
}

/// A name of 1 to 253 bytes, as in `control.proto`.
fn agent_name(text: &str) -> Result<String, String> {
    match text.len() {
        1..=253 => Ok(text.to_owned()),
        length => Err(format!("the name has {length} bytes, needs 1 to 253")),
    }
}

impl TryFrom<RunArguments> for Config {
    type Error = PolicyError;

    fn try_from(arguments: RunArguments) -> Result<Config, PolicyError> {
        let policy = Policy::read(&arguments.policy)?;
        Ok(Config {
            policy,
            cluster_endpoint: arguments.cluster_endpoint,
            coordinator: arguments.coordinator,
            ca: arguments.ca,
            token_file: arguments.token_file,
            server_name: arguments.server_name,
            name: arguments.name,
            node: arguments.node,
            kind: arguments.kind,
            addresses: arguments
                .address
                .into_iter()
                .map(|address| address.to_canonical())
                .collect(),
            limits: Limits {
                in_flight_max: arguments.in_flight_max,
                starts_per_second_max: arguments.starts_per_second_max,
            },
        })
    }
}

/// Runs the command with these arguments, the first of which is the program's name.
///
/// Logs to stderr, as `RUST_LOG` says (default `info`). Makes its own runtime: not to be called inside another. Ends with
/// 0 after SIGTERM or SIGINT, and with 2 when the arguments or the host do not let it run.
pub fn main_from<I: IntoIterator<Item = OsString>>(arguments: I) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Without a terminal to print to there is only the exit code.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(COULD_NOT_RUN)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A caller may have installed its own.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .try_init();
    let result = match cli.command {
        Command::Run(arguments) => run_by(arguments),
        Command::Probe(arguments) => Ok(probe_by(&arguments)),
        Command::Health(arguments) => Ok(ask(&arguments)),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            tracing::error!(error = %chain(error.as_ref()), "the agent cannot run");
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

/// Asks the running agent and prints what it says.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the answer is what was asked for"
)]
fn ask(arguments: &HealthArguments) -> ExitCode {
    match health::ask(&arguments.name) {
        Ok(status) => {
            println!("{}", serde_json::to_string(&status).unwrap_or_default());
            if arguments.attached && !status.attached {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            }
        }
        Err(error) => {
            eprintln!("no agent `{}` answers: {error}", arguments.name);
            ExitCode::FAILURE
        }
    }
}

/// Probes by hand. Whoever does that reads errors as any command prints them, not as a log.
#[expect(clippy::print_stderr, reason = "somebody waits for an answer")]
fn probe_by(arguments: &ProbeArguments) -> ExitCode {
    match probe(arguments) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(ProbeError::Usage(error)) => {
            let mut command = Cli::command();
            command.build();
            let error = match command.find_subcommand_mut("probe") {
                Some(probe) => probe.error(ErrorKind::ValueValidation, error),
                None => command.error(ErrorKind::ValueValidation, error),
            };
            // Without a terminal to print to there is only the exit code.
            let _ = error.print();
        }
        Err(ProbeError::Other(error)) => eprintln!("error: {}", chain(error.as_ref())),
    }
    ExitCode::from(COULD_NOT_RUN)
}

/// Reads the policy and runs the agent.
fn run_by(arguments: RunArguments) -> Result<ExitCode, Box<dyn Error>> {
    run_until_signal(arguments.try_into()?).map(|()| ExitCode::SUCCESS)
}

/// Runs the agent on a runtime of its own, with the clock, the random numbers and the network of this machine.
fn run_until_signal(config: Config) -> Result<(), Box<dyn Error>> {
    let environment = Seams {
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng::new()?),
        net: TcpNet,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        run(config, environment, shutdown).await?;
        Ok(())
    })
}

/// An error and its causes on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use clap::CommandFactory;

    use super::*;

    /// Arguments that every run needs, but for the policy.
    const NEEDED: [&str; 8] = [
        "reachproof-agent",
        "run",
        "--coordinator=https://10.0.0.1:7500",
        "--ca=ca.crt",
        "--token-file=token",
        "--name=node-a",
        "--kind=node",
        "--address=10.0.1.10,2001:db8::10",
    ];

    /// The configuration that these arguments give.
    fn config(arguments: &[&str]) -> Result<Config, Box<dyn Error>> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("policy.yaml");
        std::fs::write(&path, "allow: [10.0.0.0/16]")?;
        let policy = format!("--policy={}", path.display());
        let arguments = arguments.iter().copied().chain([policy.as_str()]);
        match Cli::try_parse_from(arguments)?.command {
            Command::Run(arguments) => Ok(arguments.try_into()?),
            Command::Probe(_) | Command::Health(_) => Err("another command".into()),
        }
    }

    #[test]
    fn run_does_not_start_without_a_policy() {
        let error = Cli::try_parse_from(NEEDED).unwrap_err().to_string();
        assert!(error.contains("--policy <FILE>"), "{error}");
        let missing = NEEDED.into_iter().chain(["--policy=no-such-file"]);
        let Command::Run(arguments) = Cli::try_parse_from(missing).unwrap().command else {
            panic!("another command");
        };
        let error = Config::try_from(arguments).unwrap_err().to_string();
        assert_eq!(error, "cannot read the policy `no-such-file`");
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_takes_what_it_needs() {
        let config = config(&NEEDED).unwrap();
        assert_eq!(config.coordinator.to_string(), "10.0.0.1:7500");
        assert_eq!(config.server_name, "reachproof-coordinator");
        assert_eq!(config.kind, Kind::Node);
        let addresses: Vec<String> = config.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.1.10", "2001:db8::10"]);
    }

    #[test]
    fn addresses_may_also_follow_each_other() {
        let others = NEEDED
            .iter()
            .copied()
            .filter(|argument| !argument.starts_with("--address"));
        let arguments: Vec<&str> = others
            .chain(["--address", "10.0.1.10", "2001:db8::10"])
            .collect();
        assert_eq!(config(&arguments).unwrap().addresses.len(), 2);
    }

    #[test]
    fn run_refuses_what_cannot_work() {
        for wrong in [
            "--coordinator=http://a",
            "--kind=moon",
            "--name=",
            "--address=host",
            "--in-flight-max=0",
        ] {
            let name = wrong.split('=').next().unwrap();
            let others = NEEDED
                .iter()
                .copied()
                .filter(|argument| !argument.starts_with(name));
            let arguments: Vec<&str> = others.chain([wrong]).collect();
            assert!(config(&arguments).is_err(), "{wrong}");
        }
    }
}
