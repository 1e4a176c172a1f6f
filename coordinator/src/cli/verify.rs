//! `reachproof verify`: one run, from a snapshot to a report.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[cfg(feature = "serve")]
use clap::ArgGroup;
use clap::{Args, ValueEnum};
use reachproof_kube::history::REPORTS_MAX;
use reachproof_model::claim::{Claim, Wire};
use reachproof_model::plan::Depth;
use reachproof_model::snapshot::Snapshot;
use reachproof_model::words::chain;
use reachproof_verify::audience::{ACCOUNTS, Account, Installation};
use reachproof_verify::calendar::unix_ms;
use reachproof_verify::credentials::{CA_CERTIFICATE_FILE, end_run};
use reachproof_verify::door::CONNECTIONS_PER_ADDRESS;
use reachproof_verify::expectations::InForce;
use reachproof_verify::random::{RandomError, drawn_seed};
use reachproof_verify::report::human::render_missing;
use reachproof_verify::source::{WorldReading, read_text};
use reachproof_verify::{
    Credentials, ExpectedAgents, Order, RESUME_WAIT, Random, Report, RunConfig, RunError,
    SnapshotContent, SystemRandomness,
};
use tokio::net::TcpListener;

use super::claims::all_claims;
#[cfg(feature = "serve")]
use super::closed_way::ClosedWay;
use super::expectations::{Own, OwnArguments};
use super::rendering::{Rendering, file_terminal};
use super::wiring::{Begun, control_plane, first_reading, interrupted, listen, reviewer};
use super::{CREDENTIALS_DIRECTORY, CliError};
use crate::console;
use crate::history::{self, KeepError};
#[cfg(feature = "serve")]
use crate::remote::{Remote, RemoteError, RunAsked};
use crate::source::SourceArguments;

/// Longest `--wait`: a day. Whoever waits longer has forgotten it.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What the settings of a coordinator that stays decide, where one is asked.
#[cfg(feature = "serve")]
fn decided_elsewhere() -> ArgGroup {
    ArgGroup::new("decided-elsewhere")
        .args([
            "listen",
            "expect",
            "wait",
            "settle",
            "credentials",
            "review",
            "agent_accounts",
            "connections_per_address",
            "no_snapshot",
            "lab",
            "seed",
            "keep",
        ])
        .multiple(true)
        .conflicts_with_all(["coordinator", "kubernetes"])
}

/// What `verify` is told.
#[derive(Debug, Args)]
#[cfg_attr(feature = "serve", command(group(decided_elsewhere())))]
pub(crate) struct VerifyArguments {
    #[command(flatten)]
    source: SourceArguments,
    /// Address and port on which agents are awaited, like 10.0.1.5:7443; 7443 alone is that port of every address
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = super::listen::listen)]
    #[cfg_attr(feature = "serve", arg(required_unless_present_any = ["coordinator", "kubernetes"]))]
    #[cfg_attr(not(feature = "serve"), arg(required = true))]
    listen: Option<SocketAddr>,
    /// Number of agents to wait for; or their kinds, of `node`, `pod` and `fargate`, as `pod,fargate`: one of each on every node and
    /// Fargate pod; or a file with one agent name a line [default: node,fargate]
    #[arg(long, value_name = "N|KINDS|FILE")]
    expect: Option<String>,
    /// Longest wait for them, like 500ms, 60s or 5m
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    wait: Duration,
    /// How long the cluster must not have changed before the probes, like 30s; a change in between confirms nothing that
    /// it could touch, 0s does not wait. Saved snapshots do not change
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    settle: Duration,
    /// Directory with ca.crt, ca.key and token.key; made if there is none. Agents need ca.crt and a token of their own
    #[arg(long, value_name = "DIRECTORY", default_value = CREDENTIALS_DIRECTORY)]
    credentials: PathBuf,
    /// Kubeconfig of the API server that reviews the service-account tokens of agents [default: that of --cluster or
    /// --kubeconfig]
    #[arg(long, value_name = "FILE")]
    review: Option<PathBuf>,
    /// Service account that agents in the cluster have; may be repeated
    #[arg(long = "agent-account", value_name = "NAMESPACE/NAME", default_values = ACCOUNTS)]
    agent_accounts: Vec<Account>,
    /// Connections that one peer address may have at once; more where many agents dial in behind one address
    #[arg(long, value_name = "N", default_value_t = CONNECTIONS_PER_ADDRESS)]
    connections_per_address: usize,
    #[command(flatten)]
    rendering: Rendering,
    #[command(flatten)]
    own: OwnArguments,
    /// Leaves the world out of the report, all but its digest
    #[arg(long)]
    no_snapshot: bool,
    /// Judges the claims about security groups of EKS as well, by what the run saw; with a file your own, too
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with = "no_snapshot")]
    claims: Option<Option<PathBuf>>,
    /// Says that the network is a lab: what is seen there is no evidence about AWS
    #[arg(long)]
    lab: bool,
    /// How much is tried; the report says what of the relation it shows [default: rules, or mesh with up to 32 agents]
    #[arg(long, value_enum)]
    scope: Option<ScopeArgument>,
    /// Seed of the plan; the report names it [default: drawn]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Keeps the report in the cluster as well, as one of the last N: `reachproof history` lists them. A verdict that is not
    /// that of the run before is an Event
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(REPORTS_MAX)))]
    keep: Option<u16>,
}

impl VerifyArguments {
    /// Directory with CA and token.
    #[cfg(test)]
    pub(crate) fn credentials(&self) -> &Path {
        &self.credentials
    }
}

/// How much of the relation a run tries (ARCHITECTURE, "Sampling").
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScopeArgument {
    /// What the cluster needs: control plane and CoreDNS
    Required,
    /// Every tuple of rules that decides, both sides of every edge of a rule, and every agent in both roles
    Rules,
    /// Every agent to every other
    Mesh,
}

impl From<ScopeArgument> for Depth {
    fn from(argument: ScopeArgument) -> Self {
        match argument {
            ScopeArgument::Required => Self::Required,
            ScopeArgument::Rules => Self::Rules,
            ScopeArgument::Mesh => Self::Mesh,
        }
    }
}

/// Does one run and returns the exit code of its report, which is kept where that is asked for.
///
/// # Errors
/// When the run could not be done; the exit code is then 2.
pub(crate) fn verify(arguments: &VerifyArguments) -> Result<u8, CliError> {
    let Some(most) = arguments.keep.map(usize::from) else {
        return Ok(verified(arguments)?.code());
    };
    let (entry, began) = (arguments.source.api_server(), SystemTime::now());
    if entry.is_none() {
        return Err(KeepError::NoApiServer.into());
    }
    match verified(arguments) {
        #[cfg(feature = "serve")]
        Ok(Verified::Closed(code)) => Ok(code),
        Ok(Verified::Report(report, code)) => {
            let allowed = arguments.rendering.allowed();
            history::keep(entry, most, (*report, allowed, code))?;
            Ok(code)
        }
        Err(error) => {
            let failed = (unix_ms(began), chain(&error));
            if let Err(other) = history::keep_failure(entry, most, failed) {
                // The run's own error comes last.
                eprintln!("error: {}", chain(&other));
            }
            Err(error)
        }
    }
}

/// What came of it, with the exit code.
enum Verified {
    /// A report, which was written.
    Report(Box<Report>, u8),
    /// The way to the coordinator is closed, and that was told.
    #[cfg(feature = "serve")]
    Closed(u8),
}

impl Verified {
    const fn code(&self) -> u8 {
        match self {
            Self::Report(_, code) => *code,
            #[cfg(feature = "serve")]
            Self::Closed(code) => *code,
        }
    }
}

/// Does one run and writes its report.
fn verified(arguments: &VerifyArguments) -> Result<Verified, CliError> {
    #[cfg(feature = "serve")]
    if let Some(remote) = arguments.source.coordinator()? {
        return asked(arguments, &remote);
    }
    let prepared = arguments.rendering.prepare()?;
    let own = arguments.own.read()?;
    let claims = claims(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let report = runtime.block_on(run(arguments, &own, prepared.earlier()));
    // A reading that somebody interrupted does not keep the process.
    runtime.shutdown_background();
    let mut report = report?;
    if arguments.lab {
        report.run.wire = Wire::Lab;
    }
    report.judge(&claims);
    let code = prepared.finish(&mut report)?;
    Ok(Verified::Report(Box::new(report), code))
}

/// Tells that the way to the coordinator is closed, if that is what `error` is, and shows what it keeps in the cluster.
#[cfg(feature = "serve")]
fn closed(
    arguments: &VerifyArguments,
    remote: &Remote,
    error: RemoteError,
) -> Result<Verified, CliError> {
    let Some(way) = error.closed_way() else {
        return Err(error.into());
    };
    console::status().end();
    let closed = ClosedWay::new(way, remote.kept());
    closed.write(arguments.rendering.format())?;
    Ok(Verified::Closed(
        arguments.rendering.code(closed.exit_code()),
    ))
}

/// Asks a coordinator that stays for a run, and writes its report.
#[cfg(feature = "serve")]
fn asked(arguments: &VerifyArguments, remote: &Remote) -> Result<Verified, CliError> {
    if arguments.own.is_named() {
        return Err(CliError::OwnExpectations);
    }
    let claims = claims(arguments)?;
    let rendering = &arguments.rendering;
    let answered = rendering
        .prepare_with(|run| Ok(remote.report(run)?))
        .and_then(|prepared| {
            let asked = RunAsked {
                scope: arguments.scope.map(|scope| Depth::from(scope).as_str()),
                since: rendering.earlier_run(),
            };
            let said = |said: &str| console::status().detail(said);
            Ok((prepared, remote.run(&asked, said)?))
        });
    let (prepared, mut report) = match answered {
        Ok(answered) => answered,
        Err(CliError::Remote(error)) => return closed(arguments, remote, error),
        Err(error) => return Err(error),
    };
    report.judge(&claims);
    let code = prepared.finish(&mut report)?;
    Ok(Verified::Report(Box::new(report), code))
}

/// The claims that the arguments ask for.
fn claims(arguments: &VerifyArguments) -> Result<Vec<Claim>, CliError> {
    let asked = arguments.claims.as_ref();
    asked.map_or_else(|| Ok(Vec::new()), |own| all_claims(own.as_deref()))
}

/// Listens and runs until the report is there, or until somebody presses Ctrl-C.
async fn run(
    arguments: &VerifyArguments,
    own: &Own,
    earlier: Option<&Report>,
) -> Result<Report, CliError> {
    let random = Arc::new(SystemRandomness::default());
    let world = arguments.source.world()?;
    let first = tokio::select! {
        first = first_reading(&world) => first?,
        () = interrupted() => return Err(RunError::Interrupted.into()),
    };
    let expectations = in_force(own, &first)?;
    let review = arguments.review.as_deref();
    let reviewer = reviewer(
        (&arguments.source, review),
        (&Installation::default(), &arguments.agent_accounts),
        &first,
    )
    .await?;
    // Made only for a world that is there.
    let credentials = Credentials::in_directory(&arguments.credentials, random.as_ref())?;
    let once = credentials.run.clone();
    let config = RunConfig {
        snapshot: Arc::new(Begun::new(first, world)),
        credentials,
        reviewer,
        connections_per_address: arguments.connections_per_address,
        order: Order {
            name: None,
            expected: expected(arguments.expect.as_deref())?,
            wait: arguments.wait,
            settle: settle(arguments),
            resume_wait: RESUME_WAIT,
            depth: depth(arguments, earlier),
            seed: seed(arguments, earlier, random.as_ref())?,
            expectations,
            earlier: earlier.map(Report::tried).unwrap_or_default(),
            content: if arguments.no_snapshot {
                SnapshotContent::LeftOut
            } else {
                SnapshotContent::Included
            },
            started_at: SystemTime::now(),
            random: random.clone(),
            control_plane: control_plane(&arguments.source).await?,
        },
    };
    let listener = listen(arguments.listen.ok_or(CliError::NoPlace)?).await?;
    hint(&listener, &arguments.credentials);
    let report = reachproof_verify::run(
        config,
        listener,
        |progress| console::status().note(&progress),
        interrupted(),
    )
    .await;
    console::status().end();
    // However the run ended, it is over.
    if let Err(error) = end_run(&arguments.credentials, &once, random.as_ref()) {
        eprintln!("tokens for this run alone stay good for the next: {error}");
    }
    if let Err(RunError::NoAgents { missing, .. }) = &report {
        eprint!("{}", render_missing(missing, file_terminal()));
    }
    Ok(report?)
}

/// What somebody expects of the world that was read.
fn in_force(own: &Own, first: &WorldReading) -> Result<InForce, CliError> {
    let decoded = Snapshot::decode(&first.described).map_err(RunError::from)?;
    Ok(own.in_force(&decoded.snapshot)?)
}

/// How long the world must have stood still: a saved one does not change.
fn settle(arguments: &VerifyArguments) -> Duration {
    if arguments.source.is_saved() {
        Duration::ZERO
    } else {
        arguments.settle
    }
}

/// How much is tried: what the arguments say, else as much as an earlier run.
fn depth(arguments: &VerifyArguments, earlier: Option<&Report>) -> Option<Depth> {
    let asked = arguments.scope.map(Depth::from);
    // The same flows are compared then.
    asked.or_else(|| Depth::named(&earlier?.run.scope))
}

/// The seed that the arguments name, else that of an earlier run, else a new one.
fn seed(
    arguments: &VerifyArguments,
    earlier: Option<&Report>,
    random: &dyn Random,
) -> Result<u64, RandomError> {
    let known = arguments.seed.or(earlier.map(|report| report.run.seed));
    known.map_or_else(|| drawn_seed(random), Ok)
}

/// Reads `--expect`: a number, kinds of agents, or a file with one name a line.
fn expected(text: Option<&str>) -> Result<ExpectedAgents, CliError> {
    let Some(text) = text else {
        return Ok(ExpectedAgents::default());
    };
    if text.parse() == Ok(0) {
        return Err(CliError::NobodyExpected);
    }
    if let Some(expected) = ExpectedAgents::read(text) {
        return Ok(expected);
    }
    let names = read_text(Path::new(text)).map_err(|source| CliError::ExpectedFile {
        file: text.to_owned(),
        source,
    })?;
    let names: BTreeSet<String> = names
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    if names.is_empty() {
        return Err(CliError::NoNames {
            file: text.to_owned(),
        });
    }
    Ok(ExpectedAgents::Names(names))
}

/// Reads a duration like `500ms`, `60s` or `5m`.
fn duration(text: &str) -> Result<Duration, String> {
    duration_up_to(text, WAIT_MAX)
}

/// The same, up to `most`.
pub(super) fn duration_up_to(text: &str, most: Duration) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let wrong = || format!("`{text}` is not a duration, write it like 500ms, 60s or 5m");
    let number: u32 = digits.parse().map_err(|_| wrong())?;
    let duration = match unit {
        "ms" => Duration::from_millis(u64::from(number)),
        "s" => Duration::from_secs(u64::from(number)),
        "m" => Duration::from_secs(u64::from(number) * 60),
        "h" => Duration::from_secs(u64::from(number) * 60 * 60),
        _ => return Err(wrong()),
    };
    if duration > most {
        let hours = most.as_secs() / 3_600;
        return Err(format!("`{text}` is longer than {hours} h"));
    }
    Ok(duration)
}

/// Says on a terminal how agents are started.
fn hint(listener: &TcpListener, credentials: &Path) {
    if let (true, Ok(address)) = (io::stderr().is_terminal(), listener.local_addr()) {
        console::status().remark(&format!(
            "agents: reachproof-agent run --coordinator https://{address} --ca {} --token-file FILE ..., each FILE by `reachproof token`",
            credentials.join(CA_CERTIFICATE_FILE).display(),
        ));
    }
}

#[cfg(test)]
mod tests {
    use reachproof_model::plan::AgentKind;

    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "60", "s", "-1s", "1.5s", "60 s", "25h", "4294967296s"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nobody_can_be_waited_for_is_an_error() {
        assert!(expected(Some("0")).is_err());
        assert!(expected(Some("/nonexistent")).is_err());
        assert!(matches!(expected(Some("3")), Ok(ExpectedAgents::Count(3))));
        assert!(matches!(expected(None), Ok(all) if all == ExpectedAgents::default()));
        let pods = ExpectedAgents::Inventory(BTreeSet::from([AgentKind::Pod, AgentKind::Fargate]));
        assert!(matches!(expected(Some("pod,fargate")), Ok(kinds) if kinds == pods));
    }
}
