//! `reachproof history`: the reports that a cluster keeps.

use std::io::{self, Write};

use clap::Args;
use reachproof_model::net::Printable;
use reachproof_verify::Report;
use reachproof_verify::calendar::utc;

use super::rendering::Rendering;
use super::table::aligned;
use super::{CliError, write_json};
use crate::entry::KubeconfigArguments;
use crate::history::{self, Entered};
#[cfg(feature = "serve")]
use crate::installed::Purpose;
#[cfg(feature = "serve")]
use crate::remote::RemoteArguments;

/// Most characters of a reason in the list.
const WHY_MAX: usize = 60;

/// What `history` is told.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Run whose report is shown, in any format; without it all are listed, as table or JSON
    run: Option<String>,
    #[command(flatten)]
    kubeconfig: KubeconfigArguments,
    #[cfg(feature = "serve")]
    #[command(flatten)]
    remote: RemoteArguments,
    #[command(flatten)]
    rendering: Rendering,
}

impl Arguments {
    /// All that is kept, the latest first.
    fn all(&self) -> Result<Vec<Entered>, CliError> {
        #[cfg(feature = "serve")]
        if let Some(remote) = self
            .remote
            .remote(&self.kubeconfig.entry(), Purpose::Read)?
        {
            let runs = remote.runs()?;
            return Ok(runs.iter().map(Entered::of_run).collect());
        }
        Ok(history::list(&self.kubeconfig.entry())?)
    }

    /// The report of a run.
    fn report(&self, run: &str) -> Result<Report, CliError> {
        #[cfg(feature = "serve")]
        if let Some(remote) = self
            .remote
            .remote(&self.kubeconfig.entry(), Purpose::Read)?
        {
            return Ok(remote.report(run)?);
        }
        Ok(history::report(&self.kubeconfig.entry(), run)?)
    }
}

/// Lists the reports, or shows one; returns the exit code that the one shown stands for.
///
/// # Errors
/// When they cannot be had or written; the exit code is then 2.
pub(crate) fn run(arguments: &Arguments) -> Result<u8, CliError> {
    let Some(run) = &arguments.run else {
        return list(arguments).map(|()| 0);
    };
    let prepared = arguments
        .rendering
        .prepare_with(|earlier| arguments.report(earlier))?;
    let mut report = arguments.report(run)?;
    prepared.finish(&mut report)
}

fn list(arguments: &Arguments) -> Result<(), CliError> {
    let format = arguments.rendering.format();
    if !["table", "json"].contains(&format) {
        return Err(CliError::ListOfRuns { format });
    }
    let all = arguments.all()?;
    let mut out = io::stdout().lock();
    if format == "json" {
        return all.iter().try_for_each(|one| write_json(&mut out, one));
    }
    if all.is_empty() {
        writeln!(out, "no report is kept: `verify --keep N` keeps its own")?;
        return Ok(());
    }
    let header = [
        "run",
        "started",
        "verdict",
        "exit",
        "flows",
        "contradictions",
        "why",
    ];
    writeln!(out, "{}", aligned(header, all.iter().map(row)))?;
    Ok(())
}

fn row(one: &Entered) -> [String; 7] {
    let why: String = one.why.chars().take(WHY_MAX).collect();
    let more = if why.len() < one.why.len() { "…" } else { "" };
    [
        Printable(&one.run).to_string(),
        utc(one.started_at_unix_ms),
        Printable(&one.verdict).to_string(),
        one.exit.to_string(),
        one.flows.to_string(),
        one.contradictions.to_string(),
        format!("{}{more}", Printable(&why)),
    ]
}
