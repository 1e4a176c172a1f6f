//! `reachproof diff`: what changed in reachability between two snapshots.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use reachproof_model::change::{Comparison, Concern, Difference, FlowChange};
use reachproof_model::matrix::VerdictKind;
use serde_json::{Value, json};

use crate::source::SourceArguments;

use super::exit_code::ExitCode;
use super::gaps::{self, GapArguments};
use super::matrix::{end, name};
use super::{CliError, Format, decoded, table, write_json};

/// Most flows that are shown to people; JSON has all.
const ROWS_MAX: usize = 200;
/// Most changed lines that are shown to people.
const LINES_MAX: usize = 50;

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Snapshot before: a directory of answers (STEM.json), or one JSON file with the stems as keys
    before: PathBuf,
    /// Snapshot after
    after: PathBuf,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Cluster that is meant, where the snapshots have several
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    #[command(flatten)]
    gaps: GapArguments,
}

/// Compares two snapshots; exit code 1 when reachability differs.
///
/// # Errors
/// [`CliError`] for a snapshot that cannot be used and for an answer that cannot be written.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let cluster = arguments.cluster.as_deref();
    let before = decoded(&SourceArguments::saved(&arguments.before, cluster))?;
    let after = decoded(&SourceArguments::saved(&arguments.after, cluster))?;
    let [of_before, of_after] =
        [&before, &after].map(|side| arguments.gaps.of_relation(&side.gaps));
    gaps::tell(&of_before);
    if of_after != of_before {
        gaps::tell(&of_after);
    }
    let comparison = Comparison::new(&before.snapshot, &after.snapshot);
    let difference = comparison.difference();
    let mut out = io::BufWriter::new(io::stdout().lock());
    match arguments.output {
        Format::Table => out.write_all(people(&comparison, &difference).as_bytes())?,
        Format::Json => {
            let mut answer = object(&comparison, &difference);
            if let Some(fields) = answer.as_object_mut() {
                let gaps = json!({"before": of_before, "after": of_after});
                fields.insert("gaps".to_owned(), gaps);
            }
            write_json(&mut out, &answer)?;
        }
    }
    out.flush()?;
    Ok(if difference.is_change() {
        ExitCode::Judged(1)
    } else {
        ExitCode::Answered
    })
}

/// Whether flows were won or lost.
fn word(flow: &FlowChange) -> &'static str {
    match (flow.before, flow.after) {
        (_, VerdictKind::Allow) => "gained",
        (VerdictKind::Allow, _) => "lost",
        (
            VerdictKind::Deny
            | VerdictKind::Partial
            | VerdictKind::Unknown
            | VerdictKind::Bypass
            | VerdictKind::Exempt,
            _,
        ) => "changed",
    }
}

fn people(comparison: &Comparison<'_>, difference: &Difference) -> String {
    let mut text = String::new();
    if difference.is_change() {
        flows(comparison, difference, &mut text);
        for (what, interfaces) in [("new", &difference.appeared), ("gone", &difference.gone)] {
            for interface in interfaces {
                let _ = writeln!(text, "{what} interface {interface}");
            }
        }
    } else if difference.lines.is_empty() {
        text.push_str("no difference\n");
    } else {
        text.push_str("no change in reachability\n");
    }
    if !difference.lines.is_empty() {
        let _ = writeln!(
            text,
            "\n{} lines are written differently:",
            difference.lines.len()
        );
    }
    for line in difference.lines.iter().take(LINES_MAX) {
        let _ = writeln!(text, "  {line}");
    }
    let more = difference.lines.len().saturating_sub(LINES_MAX);
    if more > 0 {
        let _ = writeln!(text, "  and {more} more");
    }
    text
}

fn flows(comparison: &Comparison<'_>, difference: &Difference, text: &mut String) {
    let after = comparison.after();
    let rows = difference.flows.iter().take(ROWS_MAX).map(|flow| {
        let needed = match flow.concern {
            Concern::Expectation => " (the cluster needs it)",
            Concern::Other => "",
        };
        [
            format!("{}{needed}", word(flow)),
            name(after, flow.source.after),
            name(after, flow.destination.after),
            flow.ports.to_string(),
            format!("{} -> {}", flow.before.as_str(), flow.after.as_str()),
            flow.responsible.join(", "),
        ]
    });
    let header = [
        "flows",
        "source",
        "destination",
        "tcp ports",
        "verdict",
        "because",
    ];
    text.push_str(&table::aligned(header, rows));
    text.push('\n');
    let more = difference.flows.len().saturating_sub(ROWS_MAX);
    if more > 0 {
        let _ = writeln!(text, "and {more} more: take -o json");
    }
}

fn object(comparison: &Comparison<'_>, difference: &Difference) -> Value {
    let flows: Vec<Value> = difference
        .flows
        .iter()
        .map(|flow| {
            json!({
                "change": word(flow),
                "expectation": flow.concern == Concern::Expectation,
                "source": end(comparison.after(), flow.source.after),
                "destination": end(comparison.after(), flow.destination.after),
                "protocol": "tcp",
                "ports": flow.ports,
                "before": flow.before.as_str(),
                "after": flow.after.as_str(),
                "responsible": flow.responsible,
            })
        })
        .collect();
    let lines: Vec<String> = difference.lines.iter().map(ToString::to_string).collect();
    json!({
        "reachability_changed": difference.is_change(),
        "flows": flows,
        "interfaces_new": difference.appeared,
        "interfaces_gone": difference.gone,
        "lines": lines,
    })
}
