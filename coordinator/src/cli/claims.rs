//! `reachproof claims`: sentences about security groups of EKS, put to the test.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};
use reachproof_model::claim::judge::judge;
use reachproof_model::claim::{Claim, JudgedClaim, Wire, World};
use reachproof_model::near::near;
use reachproof_model::snapshot::Snapshot;
use reachproof_verify::claims::{catalogue, open};
use reachproof_verify::report::claims::{ClaimsDocument, full, html, table};
use reachproof_verify::report::markdown;

use super::exit_code::ExitCode;
use super::rendering::saved;
use super::{CliError, write_json};
use crate::source::{ELSEWHERE, SourceArguments};

/// Claims beside those of the catalogue.
#[derive(Debug, Clone, Args)]
pub(super) struct OwnClaims {
    /// Claims of your own: a YAML file with `apiVersion: reachproof/v1` and `kind: Claims`
    #[arg(long, value_name = "FILE")]
    claims: Option<PathBuf>,
}

impl OwnClaims {
    /// Reads the catalogue, and the file where one was named.
    ///
    /// # Errors
    /// [`CliError`] for a file that cannot be used, and for an id that the catalogue has.
    pub(super) fn read(&self) -> Result<Vec<Claim>, CliError> {
        all_claims(self.claims.as_deref())
    }
}

/// The catalogue, and the claims of a file.
///
/// # Errors
/// [`CliError`] for a file that cannot be used, and for an id that the catalogue has.
pub(super) fn all_claims(own: Option<&Path>) -> Result<Vec<Claim>, CliError> {
    let mut all = catalogue().map_err(CliError::Claims)?;
    let Some(path) = own else {
        return Ok(all);
    };
    let known: BTreeSet<String> = all.iter().map(|claim| claim.id.clone()).collect();
    let own = open(path).map_err(CliError::Claims)?;
    if let Some(claim) = own.iter().find(|claim| known.contains(&claim.id)) {
        return Err(CliError::ClaimOfCatalogue {
            path: path.to_owned(),
            id: claim.id.clone(),
        });
    }
    all.extend(own);
    Ok(all)
}

/// Where the world comes from: a snapshot or a cluster, unless a report has it.
#[derive(Debug)]
struct Source(SourceArguments);

impl Args for Source {
    fn augment_args(command: Command) -> Command {
        let command = SourceArguments::augment_args(command);
        command.mut_arg("snapshot", |argument| {
            let argument = argument
                .required(false)
                .required_unless_present(Resettable::<clap::Id>::Reset)
                .conflicts_with("report");
            argument.required_unless_present_any(ELSEWHERE.iter().copied().chain(["report"]))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Source {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        SourceArguments::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

/// Arguments of `claims`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Claims to judge, like S02 or DOC05, each shown in full [default: all, a line each]
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    source: Source,
    /// Report of a run, whose findings count where there are some
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    own: OwnClaims,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t = ClaimFormat::Table)]
    output: ClaimFormat,
}

/// How claims are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ClaimFormat {
    /// For people
    Table,
    /// For programs, one JSON object
    Json,
    /// For a comment or a ticket
    Markdown,
    /// For a browser, as one file
    Html,
}

/// Judges claims.
///
/// # Errors
/// [`CliError`] for a world, a file or an id that cannot be used.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let claims = chosen(arguments.own.read()?, &arguments.ids)?;
    let judged = match &arguments.report {
        Some(path) => of_report(path, &claims)?,
        None => of_world(&arguments.source.0, &claims)?,
    };
    let mut out = io::stdout().lock();
    match arguments.output {
        ClaimFormat::Table if arguments.ids.is_empty() => {
            out.write_all(table(&judged).as_bytes())?;
        }
        ClaimFormat::Table => out.write_all(full(&judged).as_bytes())?,
        ClaimFormat::Json => write_json(&mut out, &ClaimsDocument::new(judged))?,
        ClaimFormat::Markdown => out.write_all(markdown::claims(&judged).as_bytes())?,
        ClaimFormat::Html => {
            let page = html(&judged).map_err(io::Error::other)?;
            out.write_all(page.as_bytes())?;
        }
    }
    out.flush()?;
    Ok(ExitCode::Answered)
}

/// The claims with these ids, in the order of these; all where none is named.
fn chosen(all: Vec<Claim>, ids: &[String]) -> Result<Vec<Claim>, CliError> {
    if ids.is_empty() {
        return Ok(all);
    }
    let found = ids.iter().map(|id| {
        let claim = all.iter().find(|claim| claim.id.eq_ignore_ascii_case(id));
        claim.cloned().ok_or_else(|| CliError::NoSuchClaim {
            id: id.clone(),
            near: near(id, all.iter().map(|claim| claim.id.as_str())).join(", "),
        })
    });
    found.collect()
}

fn of_world(source: &SourceArguments, claims: &[Claim]) -> Result<Vec<JudgedClaim>, CliError> {
    let described = source.described()?;
    let decoded = Snapshot::decode(&described).map_err(|error| CliError::Decode {
        origin: source.to_string(),
        source: error,
    })?;
    let world = World {
        snapshot: &decoded.snapshot,
        described: &described,
        findings: &[],
        wire: Wire::Network,
    };
    Ok(judge(claims, &world))
}

fn of_report(path: &Path, claims: &[Claim]) -> Result<Vec<JudgedClaim>, CliError> {
    let mut report = saved(path)?;
    if !report.judge(claims) {
        return Err(CliError::ReportWithoutWorld {
            path: path.to_owned(),
        });
    }
    Ok(report.claims)
}
