//! Runs one world: brings it up, starts agents, lets `reachproof_verify::run` judge, prints, compares.

use std::future::Future;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reachproof_lab::EndpointKind;
use reachproof_lab::world::{AgentPlace, Expect};
use reachproof_model::claim::{Claim, Wire};
use reachproof_model::plan::Depth;
use reachproof_verify::config::{ExpectedAgents, Order, RESUME_WAIT, SnapshotContent};
use reachproof_verify::door::CONNECTIONS_PER_ADDRESS;
use reachproof_verify::random::SystemRandomness;
use reachproof_verify::report::human::{ColourWhen, Details, Terminal, View};
use reachproof_verify::report::{Allowed, human, json};
use reachproof_verify::status::StatusLine;
use reachproof_verify::{Credentials, Report, RunConfig};

use crate::agents::{AgentProgram, Agents, Dial};
use crate::error::RunnerError;
use crate::judge::differences;
use crate::stage::Stage;

/// Columns of a table where nobody looks at a terminal.
const WIDTH_DEFAULT: u16 = 120;

/// How a world is run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Longest wait for agents.
    pub wait: Duration,
    /// Decides the choices of the plan that chance may make.
    pub seed: u64,
    /// How much is tried; absent: as much as suits the number of agents.
    pub depth: Option<Depth>,
    /// Shape of the report.
    pub output: Output,
    /// How much of it people see.
    pub details: Details,
    /// The line that says how far it is.
    pub status: StatusLine,
    /// When colours are shown.
    pub colour: ColourWhen,
    /// Claims that are judged by what is seen.
    pub claims: Vec<Claim>,
    /// Places of the world at which an agent is started as a process. At the others it comes by manifest.
    pub places: Vec<AgentPlace>,
}

/// Shape of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs, one JSON object.
    Json,
}

impl Output {
    /// The word on the command line, the same as that of `reachproof verify`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
        }
    }
}

/// What a run ended with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Exit code that `reachproof verify` would end with.
    pub exit: u8,
    /// Where the report is not what the world states; none if it is, or if nothing is stated.
    pub differences: Vec<String>,
}

/// Runs the agents of a stage that is up against a run of its own, and prints the report on stdout.
///
/// `expect` is what the world states, if there is one. `program` is started again as agents. Agents are gone when this returns, however it returns.
///
/// # Errors
/// [`RunnerError`] when the run could not be done. A contradiction is a result.
pub async fn run(
    stage: &Stage,
    expect: Option<&Expect>,
    program: &Path,
    options: &RunOptions,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Ending, RunnerError> {
    let random = Arc::new(SystemRandomness::default());
    let dial = Dial::with_tokens(stage)?;
    let credentials = Credentials::in_directory(&stage.credentials(), random.as_ref())?;
    let address = dial.address;
    let listener = stage.listener()?;
    let listener = tokio::net::TcpListener::from_std(listener)
        .map_err(|source| RunnerError::Listen { address, source })?;
    let program = AgentProgram::Runner(program);
    let agents = Agents::start(stage, program, &dial, &options.places)?;
    let config = RunConfig {
        snapshot: Arc::new(stage.snapshot()),
        credentials,
        reviewer: None,
        connections_per_address: CONNECTIONS_PER_ADDRESS,
        order: Order {
            name: None,
            expected: expected(stage, options),
            wait: options.wait,
            settle: Duration::ZERO,
            resume_wait: RESUME_WAIT,
            depth: options.depth,
            seed: options.seed,
            content: SnapshotContent::Included,
            expectations: reachproof_verify::expectations::InForce::default(),
            earlier: Vec::new(),
            started_at: SystemTime::now(),
            random,
            control_plane: None,
        },
    };
    let status = &options.status;
    let report = reachproof_verify::run(
        config,
        listener,
        |progress| status.note(&progress),
        shutdown,
    )
    .await;
    status.end();
    drop(agents);
    let mut report = report?;
    report.run.wire = Wire::Lab;
    report.judge(&options.claims);
    finish(stage, expect, &report, options)
}

/// Everybody. Agents that come by manifest have the names of their pods, which nobody knows beforehand.
fn expected(stage: &Stage, options: &RunOptions) -> ExpectedAgents {
    let all = &stage.expanded.agents;
    if options.places.len() < all.len() {
        ExpectedAgents::Count(all.len())
    } else {
        ExpectedAgents::Names(all.iter().map(|agent| agent.endpoint.clone()).collect())
    }
}

fn finish(
    stage: &Stage,
    expect: Option<&Expect>,
    report: &Report,
    options: &RunOptions,
) -> Result<Ending, RunnerError> {
    let text = match options.output {
        Output::Json => json::render(report)?,
        Output::Table => human::render(
            report,
            &View {
                terminal: terminal(options.colour),
                details: options.details.clone(),
                allowed: Allowed::default(),
            },
        ),
    };
    let exit = report.exit_code(Allowed::default());
    let report = serde_json::to_value(report)?;
    let endpoints = stage.lab.endpoints();
    let differences = expect.map(|expect| differences(expect, &report, exit, endpoints));
    let differences = differences.transpose()?;
    // Before the report: its last lines are the verdict.
    if let Some(differences) = &differences {
        say(&compared(differences));
    }
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", text.trim_end()).map_err(RunnerError::Print)?;
    Ok(Ending {
        exit,
        differences: differences.unwrap_or_default(),
    })
}

/// What was seen, against what the world's file states.
pub(crate) fn compared(differences: &[String]) -> String {
    if differences.is_empty() {
        return "what was seen is what the world's file states".to_owned();
    }
    let lines = differences.iter().map(|line| format!("\n  {line}"));
    format!(
        "what was seen is not what the world's file states:{}",
        lines.collect::<String>()
    )
}

/// The terminal that stdout is, if it is one.
fn terminal(colour: ColourWhen) -> Terminal {
    let width = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok());
    Terminal {
        width: width.unwrap_or(WIDTH_DEFAULT),
        colour: colour.on(&std::io::stdout()),
    }
}

/// Says one line on stderr.
#[expect(clippy::print_stderr, reason = "progress is for people who watch")]
pub fn say(text: &str) {
    eprintln!("{text}");
}

/// How to enter each endpoint by hand, for people.
#[must_use]
pub fn hints(stage: &Stage) -> String {
    let mut text = String::from("the lab is up; enter a host with the command behind its name\n");
    for endpoint in stage.lab.endpoints() {
        let addresses: Vec<String> = endpoint.addresses.iter().map(ToString::to_string).collect();
        let hint = stage.lab.enter_hint(&endpoint.name).unwrap_or_default();
        text.push_str(&format!(
            "  {} ({}): {hint}\n",
            endpoint.name,
            addresses.join(", ")
        ));
    }
    let mut endpoints = stage.lab.endpoints().iter();
    let target = endpoints
        .find(|endpoint| endpoint.kind == EndpointKind::ControlPlane)
        .and_then(|endpoint| endpoint.addresses.first());
    if let Some(target) = target {
        text.push_str(&format!(
            "in there, try the API server: timeout 3 bash -c '</dev/tcp/{target}/443' && echo open || echo closed\n"
        ));
    }
    text.push_str(&kubernetes_hint(stage));
    text.push_str("Ctrl-C takes everything down");
    text
}

/// The command with which a person asks each API server, if there are any; the paths are those inside the lab.
fn kubernetes_hint(stage: &Stage) -> String {
    let mut text = String::new();
    let Some(plane) = stage.kubernetes() else {
        return text;
    };
    for front in plane.fronts() {
        let Some(kubeconfig) = plane.admin_kubeconfig(&front.name) else {
            continue;
        };
        text.push_str(&format!(
            "in there, ask the API server of {}: {} kubectl --kubeconfig {} get pods --all-namespaces\n",
            front.name,
            plane.program().path().display(),
            kubeconfig.display()
        ));
    }
    text
}
