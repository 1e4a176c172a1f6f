//! `reachproof doctor`: whether everything is there that a run over a cluster needs, and the first thing that is not.

mod agents;
mod control_plane;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use reachproof_aws::doctor as aws;
use reachproof_kube::access::Account;
use reachproof_kube::{Entry, Limits, doctor as kube};
use reachproof_model::diagnosis::Conclusion;
use reachproof_model::examination::{Check, CheckState};
use reachproof_model::net::Printable;
use tokio::time::timeout;

use super::exit_code::ExitCode;
use super::{CliError, diagnosis};
use crate::source::WorldFailure;
use crate::source::live::{Access, LiveError, OTHER_CLUSTER_REMEDY, runtime, same_cluster};

/// How long all of it may last: whoever asks what is wrong does not wait for it.
const TIME_MAX: Duration = Duration::from_secs(15);

/// Patience with the API server, which leaves time for what comes after it.
const LIMITS: Limits = Limits {
    connect_timeout: Duration::from_secs(3),
    request_timeout: Duration::from_secs(4),
    first_contact: Duration::from_secs(5),
    outage: Duration::from_secs(3),
    throttled: Duration::from_secs(5),
    page_size: 500,
    restarts: 0,
};

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Cluster to examine, by its name
    #[arg(long, value_name = "NAME")]
    cluster: String,
    /// Address and port on which `verify` shall await agents; a port alone is that of every address
    #[arg(long, value_name = "[ADDRESS:]PORT", default_value = "7443", value_parser = super::listen::listen)]
    listen: SocketAddr,
    #[command(flatten)]
    access: Access,
}

/// What came of looking at one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is as it must be.
    Ok,
    /// It is not.
    Missing,
    /// It was looked at, and could not be found out.
    Unknown,
    /// It was not looked at.
    Skipped,
}

/// One line: what was looked at, what came of it, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    state: State,
    subject: &'static str,
    detail: String,
    /// What lies beneath, in the words of others; may be empty.
    evidence: String,
    /// Empty when nothing is to be done.
    remedy: String,
}

/// What was found until now.
#[derive(Debug, Default)]
struct Found {
    aws: aws::Examination,
    kubernetes: kube::Examination,
    further: Vec<Line>,
}

/// Examines AWS, the API server and the ways of probes and agents, and prints a line for each thing that a run needs.
///
/// What follows from something that is missing is not asked. All of it lasts [`TIME_MAX`] at most. The exit code is 0
/// when nothing is missing, 1 when something is, 3 when not all was reached; what could not be found out does not count.
///
/// # Errors
/// [`CliError`] when the lines cannot be written.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let runtime = runtime().map_err(|error| WorldFailure::from(LiveError::from(error)))?;
    let mut found = Found::default();
    found.further.push(agents::port(arguments.listen));
    let in_time = runtime.block_on(async {
        timeout(TIME_MAX, examine(arguments, &mut found))
            .await
            .is_ok()
    });
    // A name that is being resolved does not keep the process.
    runtime.shutdown_background();
    let lines = found.lines(in_time);
    let conclusion = conclusion(&lines);
    let mut out = io::stdout().lock();
    out.write_all(report(&lines, conclusion).as_bytes())?;
    out.flush()?;
    Ok(ExitCode::Judged(conclusion.exit_code()))
}

/// Looks at one thing after the other, and at once where neither needs the other.
async fn examine(arguments: &Arguments, found: &mut Found) {
    let Found {
        aws,
        kubernetes,
        further,
    } = found;
    let mut settings = arguments.access.settings();
    settings.pace = aws::PACE;
    let Some(connection) = aws::open(&settings, aws).await else {
        return;
    };
    let entry = arguments.access.entry();
    let of_aws = async {
        aws::examine(&connection, &arguments.cluster, aws).await;
        further.extend(control_plane::line(aws, &arguments.cluster).await);
    };
    tokio::join!(of_aws, of_kubernetes(entry.as_ref(), kubernetes));
    if let Some(entry) = &entry {
        compare(entry, aws, kubernetes);
    }
    if found.lines(true).iter().any(|line| line.blocks()) {
        return;
    }
    let way = agents::way_of(&arguments.cluster, &arguments.access, arguments.listen).await;
    found.further.push(way);
}

/// The API server and the rights of the account there; one line when Kubernetes is left out.
async fn of_kubernetes(entry: Option<&Entry>, found: &mut kube::Examination) {
    if let Some(entry) = entry {
        kube::examine(entry, LIMITS, &Account::Coordinator, found).await;
    } else {
        for subject in kube::SUBJECTS {
            let check = Check::unknown(subject, "left out by --no-kubernetes", "");
            found.checks.push(check);
        }
    }
}

/// Puts the wrong cluster in place of whatever its API server said.
fn compare(entry: &Entry, aws: &aws::Examination, kubernetes: &mut kube::Examination) {
    let (server, endpoint) = (kubernetes.url.as_deref(), aws.endpoint.as_deref());
    if let Err(other) = same_cluster(entry, server, endpoint) {
        let check = Check::missing(kube::SERVER, other.to_string(), OTHER_CLUSTER_REMEDY);
        kubernetes.checks = vec![check];
    }
}

impl Line {
    /// One line without further evidence; `remedy` is empty when nothing is to be done.
    fn new(
        state: State,
        subject: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            state,
            subject,
            detail: detail.into(),
            evidence: String::new(),
            remedy: remedy.into(),
        }
    }

    /// Whether a reading of the cluster would come to nothing, or to less.
    fn blocks(&self) -> bool {
        let is_read =
            aws::SUBJECTS.contains(&self.subject) || kube::SUBJECTS.contains(&self.subject);
        is_read && matches!(self.state, State::Missing | State::Skipped)
    }
}

impl From<Check> for Line {
    fn from(check: Check) -> Self {
        Self {
            state: match check.state {
                CheckState::Ok => State::Ok,
                CheckState::Missing => State::Missing,
                CheckState::Unknown => State::Unknown,
            },
            subject: check.subject,
            detail: check.detail,
            evidence: check.evidence,
            remedy: check.remedy,
        }
    }
}

impl Found {
    /// A line for every subject, in the order in which one needs the other; what was not looked at says why.
    fn lines(&self, in_time: bool) -> Vec<Line> {
        let own = [control_plane::WAY, agents::PORT, agents::WAY];
        let subjects = aws::SUBJECTS.into_iter().chain(kube::SUBJECTS).chain(own);
        let aws = self.aws.checks.iter().cloned().map(Line::from);
        let kubernetes = self.kubernetes.checks.iter().cloned().map(Line::from);
        let seen: Vec<Line> = aws
            .chain(kubernetes)
            .chain(self.further.iter().cloned())
            .collect();
        let mut lines = Vec::new();
        for subject in subjects {
            let line = seen.iter().find(|line| line.subject == subject).cloned();
            lines.push(line.unwrap_or_else(|| skipped(subject, &lines, &seen, in_time)));
        }
        lines
    }
}

/// The line of what was not looked at: because of the nearest thing before it that is not there, or for want of time.
fn skipped(subject: &'static str, before: &[Line], seen: &[Line], in_time: bool) -> Line {
    let is_cause = |line: &&Line| matches!(line.state, State::Missing | State::Unknown);
    let cause = before.iter().rev().find(is_cause);
    let cause = cause.or_else(|| seen.iter().find(is_cause));
    let detail = match cause {
        Some(cause) if in_time => format!("not asked: it needs the {}", cause.subject),
        Some(_) | None => format!("not reached within {} s", TIME_MAX.as_secs()),
    };
    Line::new(State::Skipped, subject, detail, "")
}

/// What all lines come to.
fn conclusion(lines: &[Line]) -> Conclusion {
    let has = |state| lines.iter().any(|line| line.state == state);
    if has(State::Missing) {
        Conclusion::Fail
    } else if has(State::Skipped) {
        Conclusion::Unsure
    } else {
        Conclusion::Pass
    }
}

/// All lines, and the last ones: the first cause and its remedy.
fn report(lines: &[Line], conclusion: Conclusion) -> String {
    let width = lines.iter().map(|line| line.subject.len()).max();
    let width = width.unwrap_or_default();
    let mut text = String::new();
    for line in lines {
        let state = match line.state {
            State::Ok => "ok",
            State::Missing => "missing",
            State::Unknown => "unknown",
            State::Skipped => "-",
        };
        let subject = line.subject;
        let detail = match line.evidence.as_str() {
            "" => line.detail.clone(),
            evidence => format!("{}: {evidence}", line.detail),
        };
        text.push_str(&format!(
            "{state:<8} {subject:<width$}  {}\n",
            Printable(&detail)
        ));
    }
    text.push_str(&closing(lines, conclusion));
    text
}

fn closing(lines: &[Line], conclusion: Conclusion) -> String {
    let of = |state: State| lines.iter().filter(move |line| line.state == state);
    let names = |state: State| {
        let names: Vec<&str> = of(state).map(|line| line.subject).collect();
        names.join(", ")
    };
    let summary = match conclusion {
        Conclusion::Pass if of(State::Unknown).next().is_some() => {
            format!("nothing is missing; not known: {}", names(State::Unknown))
        }
        Conclusion::Pass => "nothing is missing".to_owned(),
        Conclusion::Fail => of(State::Missing).next().map_or_else(String::new, |first| {
            format!("{}: {}", first.subject, Printable(&first.detail))
        }),
        Conclusion::Unsure => format!(
            "nothing is known to be missing; not seen: {}",
            names(State::Skipped)
        ),
    };
    let mut text = diagnosis::verdict((conclusion, conclusion.exit_code()), &summary);
    let shown = match conclusion {
        Conclusion::Fail => of(State::Missing),
        Conclusion::Pass | Conclusion::Unsure => of(State::Unknown),
    };
    let remedies = shown.filter(|line| !line.remedy.is_empty());
    for (place, line) in remedies.enumerate() {
        let remedy = Printable(&line.remedy);
        text.push_str(&match (conclusion, place) {
            (Conclusion::Fail, 0) => format!("  do:   {remedy}\n"),
            (Conclusion::Fail, _) => format!("  also: {}: {remedy}\n", line.subject),
            (Conclusion::Pass | Conclusion::Unsure, _) => {
                format!("  {}: {remedy}\n", line.subject)
            }
        });
    }
    text
}
