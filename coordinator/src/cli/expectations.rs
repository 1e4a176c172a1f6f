//! `reachproof expectations`: what is expected of a network, with the flows that it stands for.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use reachproof_model::expectation::{ExpectationName, Requirement, Wanted, requirements};
use reachproof_model::net::Printable;
use reachproof_model::plan::Roster;
use reachproof_model::snapshot::Snapshot;
use reachproof_model::words::counted;
use reachproof_verify::expectations::{Date, ExpectationFile, InForce, day_of};
use reachproof_verify::yaml::FileError;
use serde_json::{Value, json};

use super::exit_code::ExitCode;
use super::{CliError, Format, decoded, write_json};
use crate::source::SourceArguments;

/// Most flows of one expectation that people are shown; JSON has all.
const FLOWS_SHOWN_MAX: usize = 3;

/// The file of expectations of one's own.
#[derive(Debug, Clone, Args)]
pub(super) struct OwnArguments {
    /// Expectations of your own: a YAML file with `apiVersion: reachproof/v1`
    #[arg(long, value_name = "FILE")]
    expectations: Option<PathBuf>,
}

impl OwnArguments {
    /// Whether a file is named.
    #[cfg(feature = "serve")]
    pub(super) fn is_named(&self) -> bool {
        self.expectations.is_some()
    }

    /// Reads the file; nothing is expected where none was named.
    ///
    /// # Errors
    /// [`FileError`] with line and column.
    pub(super) fn read(&self) -> Result<Own, FileError> {
        let today = day_of(SystemTime::now());
        let Some(path) = &self.expectations else {
            return Ok(Own {
                path: String::new(),
                file: ExpectationFile::default(),
                today,
            });
        };
        let path_text = path.display().to_string();
        Ok(Own {
            file: ExpectationFile::open(path)?,
            path: path_text,
            today,
        })
    }
}

/// What somebody expects.
#[derive(Debug)]
pub(super) struct Own {
    path: String,
    file: ExpectationFile,
    today: Date,
}

impl Own {
    /// What counts today, once every end of it was found in `snapshot`.
    ///
    /// # Errors
    /// [`FileError`] for an end that `snapshot` does not have.
    pub(super) fn in_force(&self, snapshot: &Snapshot) -> Result<InForce, FileError> {
        let checked = self.file.check(snapshot, self.today);
        checked.map_err(|fault| FileError::Fault {
            path: self.path.clone(),
            fault,
        })?;
        Ok(self.file.on(self.today))
    }
}

/// Arguments of `expectations`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: SourceArguments,
    #[command(flatten)]
    own: OwnArguments,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Lists what is expected.
///
/// # Errors
/// [`CliError`] for a snapshot or a file that cannot be used.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let own = arguments.own.read()?;
    let snapshot = decoded(&arguments.source)?.snapshot;
    let in_force = own.in_force(&snapshot)?;
    let roster = Roster::default();
    let found = requirements(&snapshot, &roster);
    let found = found.with_own((&snapshot, &roster), &in_force.own, &in_force.off);
    let mut out = io::stdout().lock();
    match arguments.output {
        Format::Table => {
            let mut text = String::new();
            for requirement in &found.requirements {
                text.push_str(&told(&snapshot, requirement));
            }
            for remark in &in_force.remarks {
                text.push_str(&format!("{}\n", Printable(remark)));
            }
            if text.is_empty() {
                text.push_str("nothing is expected: the snapshot has no cluster\n");
            }
            out.write_all(text.as_bytes())?;
        }
        Format::Json => {
            let all: Vec<Value> = found.requirements.iter().map(object).collect();
            write_json(
                &mut out,
                &json!({"expectations": all, "remarks": in_force.remarks}),
            )?;
        }
    }
    out.flush()?;
    Ok(ExitCode::Answered)
}

fn origin(requirement: &Requirement) -> &'static str {
    if matches!(requirement.name, ExpectationName::Own(_)) {
        "own"
    } else {
        "built in"
    }
}

fn word(wanted: Wanted) -> &'static str {
    match wanted {
        Wanted::Open => "open",
        Wanted::Closed => "closed",
    }
}

fn object(requirement: &Requirement) -> Value {
    json!({
        "name": requirement.name,
        "origin": origin(requirement),
        "expect": requirement.wanted,
        "why": requirement.why,
        "flows": requirement.flows,
        "left_out": requirement.left_out,
    })
}

/// One expectation with its first flows.
fn told(snapshot: &Snapshot, requirement: &Requirement) -> String {
    let why = requirement.why.as_deref();
    let why = why.map_or_else(String::new, |why| format!(": {}", Printable(why)));
    let mut text = format!(
        "{} ({}, {}, {}){why}\n",
        Printable(requirement.name.as_str()),
        origin(requirement),
        word(requirement.wanted),
        counted(requirement.flows.len(), "flow", "flows"),
    );
    for flow in requirement.flows.iter().take(FLOWS_SHOWN_MAX) {
        text.push_str(&format!("  {}\n", snapshot.flow_called(flow)));
    }
    let more = requirement.flows.len().saturating_sub(FLOWS_SHOWN_MAX) + requirement.left_out;
    if more > 0 {
        text.push_str(&format!("  and {more} more\n"));
    }
    text
}
