//! `reachproof doctor`: whether everything is there that a run over a cluster needs.

mod agents;

use std::io::{self, Write};
use std::net::SocketAddr;

use clap::Args;
use reachproof_aws::doctor::{CheckState, examine};
use reachproof_kube::access::Account;
use reachproof_kube::{Limits, doctor};

use super::CliError;
use super::exit_code::ExitCode;
use crate::source::WorldFailure;
use crate::source::live::{Access, LiveError, runtime};

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

/// One line: what was looked at, what came of it, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    state: CheckState,
    subject: String,
    detail: String,
    mend: String,
}

/// Examines AWS, the API server and the way of agents to this machine, and prints a line for each thing that a run needs.
///
/// Everything is looked at, whatever is missing. The exit code is 0 when nothing is missing, else 2; what could not be
/// found out does not count.
///
/// # Errors
/// [`CliError`] when the lines cannot be written.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let runtime = runtime().map_err(|error| WorldFailure::from(LiveError::from(error)))?;
    let lines = runtime.block_on(lines(arguments));
    let mut out = io::stdout().lock();
    let width = lines
        .iter()
        .map(|line| line.subject.len())
        .max()
        .unwrap_or_default();
    for line in &lines {
        let state = match line.state {
            CheckState::Ok => "ok",
            CheckState::Missing => "missing",
            CheckState::Unknown => "unknown",
        };
        write!(out, "{state:<8} {:<width$} {}", line.subject, line.detail)?;
        if line.mend.is_empty() {
            writeln!(out)?;
        } else {
            writeln!(out, "; {}", line.mend)?;
        }
    }
    let missing = lines.iter().any(|line| line.state == CheckState::Missing);
    Ok(if missing {
        ExitCode::Failed
    } else {
        ExitCode::Answered
    })
}

async fn lines(arguments: &Arguments) -> Vec<Line> {
    let checks = examine(&arguments.access.settings(), &arguments.cluster).await;
    let mut lines: Vec<Line> = checks
        .into_iter()
        .map(|check| Line {
            state: check.state,
            subject: check.subject,
            detail: check.detail,
            mend: check.mend,
        })
        .collect();
    lines.extend(kubernetes(&arguments.access).await);
    lines.extend(agents::lines(&arguments.cluster, &arguments.access, arguments.listen).await);
    lines
}

/// One line; `mend` is empty when nothing is to be done.
fn line(state: CheckState, subject: &str, detail: String, mend: &str) -> Line {
    Line {
        state,
        subject: subject.to_owned(),
        detail,
        mend: mend.to_owned(),
    }
}

/// The API server and the rights of the account there; one line when Kubernetes is left out.
async fn kubernetes(access: &Access) -> Vec<Line> {
    let Some(entry) = access.entry() else {
        return vec![line(
            CheckState::Unknown,
            "kubernetes",
            "left out".to_owned(),
            "leave --no-kubernetes away",
        )];
    };
    let checks = doctor::examine(&entry, Limits::default(), &Account::Coordinator).await;
    let lines = checks.into_iter().map(|check| Line {
        state: match check.state {
            doctor::CheckState::Ok => CheckState::Ok,
            doctor::CheckState::Missing => CheckState::Missing,
            doctor::CheckState::Unknown => CheckState::Unknown,
        },
        subject: check.subject,
        detail: check.detail,
        mend: check.mend,
    });
    lines.collect()
}
