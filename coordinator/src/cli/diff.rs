//! `reachproof diff`: what changed in reachability between two snapshots.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use reachproof_model::change::{AnswerChange, Comparison, Concern, Coverage, Difference, Party};
use reachproof_model::flow::SourceKind;
use reachproof_model::matrix::{Matrix, VerdictKind};
use reachproof_model::snapshot::Snapshot;
use serde_json::{Value, json};

use crate::source::SourceArguments;

use super::diagnosis::{self, Closing};
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
/// Every answer of the model is compared: TCP, UDP, ICMP and other protocols, IPv4 and IPv6, hosts and pods, endpoints on one
/// host, and addresses that no interface owns, by the networks that rules, ACLs and routes name.
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
fn word(kinds: (VerdictKind, VerdictKind)) -> &'static str {
    match kinds {
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

/// What became of packets towards or from outside, of which only this end is known.
fn outside_word(change: &AnswerChange) -> &'static str {
    match change.kinds() {
        (VerdictKind::Deny, _) => "widened",
        (_, VerdictKind::Deny) => "narrowed",
        kinds => word(kinds),
    }
}

fn people(comparison: &Comparison<'_>, difference: &Difference) -> String {
    let mut text = String::new();
    if difference.is_change() {
        flows(comparison, difference, &mut text);
        outside(comparison, difference, &mut text);
    } else if difference.lines.is_empty() && difference.appeared.is_empty() {
        text.push_str("no difference\n");
    } else {
        text.push_str("no change in reachability\n");
    }
    interfaces(difference, &mut text);
    match difference.coverage {
        Coverage::Whole => {}
        Coverage::Bounded => text.push_str(
            "the snapshots are too large to compare every answer: what is not listed may have changed, too\n",
        ),
        Coverage::Shortened => text.push_str("more changed than is listed\n"),
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
    text.push_str(&verdict(difference));
    text
}

/// The last line: whether any answer of the model changed.
fn verdict(difference: &Difference) -> String {
    let changes = difference.flows.len() + difference.answers.len() + difference.outside.len();
    if changes == 0 && difference.coverage != Coverage::Whole {
        let summary = "not every answer was compared, none of those that were changed";
        return diagnosis::verdict((Closing::Unsure, 1), summary);
    }
    if !difference.is_change() {
        return diagnosis::verdict((Closing::Pass, 0), "no answer of the model changed");
    }
    let of_flows = difference.flows.iter().map(|flow| flow.concern);
    let answers = difference.answers.iter().chain(&difference.outside);
    let concerns = of_flows.chain(answers.map(|change| change.concern));
    let needed = concerns
        .filter(|concern| *concern == Concern::Expectation)
        .count();
    let needed = match needed {
        0 => String::new(),
        needed => format!(", {needed} of them about what the cluster needs"),
    };
    let summary = match changes {
        0 => "interfaces came or went, no answer between the others changed".to_owned(),
        1 => format!("1 change in reachability{needed}"),
        changes => format!("{changes} changes in reachability{needed}"),
    };
    diagnosis::verdict((Closing::Fail, 1), &summary)
}

fn interfaces(difference: &Difference, text: &mut String) {
    for interface in &difference.appeared {
        let about = if difference.replaced.contains(interface) {
            "in place of another one"
        } else if difference.novel.contains(interface) {
            "of a kind that was not there"
        } else {
            "of a kind that was there"
        };
        let _ = writeln!(text, "new interface {interface}, {about}");
    }
    for interface in difference.novel.difference(&difference.appeared) {
        let _ = writeln!(text, "interface {interface} has an address of a new kind");
    }
    for interface in &difference.gone {
        let _ = writeln!(text, "gone interface {interface}");
    }
    for interface in difference.replaced.difference(&difference.appeared) {
        let _ = writeln!(text, "gone interface {interface}, replaced");
    }
    for interface in &difference.shrunk {
        let _ = writeln!(
            text,
            "interface {interface} lost an address of a kind that is no more"
        );
    }
}

/// What the cluster needs is said.
fn needed(concern: Concern) -> &'static str {
    match concern {
        Concern::Expectation => " (the cluster needs it)",
        Concern::Other => "",
    }
}

/// An end of a changed answer.
fn party(matrix: &Matrix<'_>, party: &Party) -> String {
    match party {
        Party::Inside { before, after, .. } => {
            let class = matrix.classes().of(*after);
            let what = class.map_or_else(
                || table::address(matrix.snapshot(), *after),
                |class| format!("{} {after}", name(matrix, class)),
            );
            if before == after {
                what
            } else {
                format!("{what} (replaces {before})")
            }
        }
        Party::Outside { network, example } => {
            let network = network.map_or_else(|| example.to_string(), |it| it.to_string());
            format!("{network} (e.g. {example})")
        }
    }
}

fn answer(matrix: &Matrix<'_>, change: &AnswerChange, word: &str) -> [String; 6] {
    let kind = match (change.source_kind, change.on_one_host) {
        (SourceKind::Host, false) => "",
        (SourceKind::Pod, false) => " as a pod",
        (SourceKind::Host, true) => " on the same host",
        (SourceKind::Pod, true) => " as a pod on the same host",
    };
    let emitter = change.emitter.as_ref();
    let emitter = emitter.map_or_else(String::new, |id| format!(" emitted by {id}"));
    let (before, after) = change.kinds();
    [
        format!("{word}{}", needed(change.concern)),
        format!("{}{kind}{emitter}", party(matrix, &change.source)),
        party(matrix, &change.destination),
        change.packets.to_string(),
        format!("{} -> {}", before.as_str(), after.as_str()),
        change.responsible.join(", "),
    ]
}

/// The header of both tables.
const HEADER: [&str; 6] = [
    "flows",
    "source",
    "destination",
    "packets",
    "verdict",
    "because",
];

fn flows(comparison: &Comparison<'_>, difference: &Difference, text: &mut String) {
    let after = comparison.after();
    let count = difference.flows.len() + difference.answers.len();
    if count == 0 {
        return;
    }
    let relation = difference.flows.iter().map(|flow| {
        [
            format!(
                "{}{}",
                word((flow.before, flow.after)),
                needed(flow.concern)
            ),
            name(after, flow.source.after),
            name(after, flow.destination.after),
            format!("tcp/{}", flow.ports),
            format!("{} -> {}", flow.before.as_str(), flow.after.as_str()),
            flow.responsible.join(", "),
        ]
    });
    let answers = difference.answers.iter();
    let answers = answers.map(|change| answer(after, change, word(change.kinds())));
    let mut rows: Vec<[String; 6]> = relation.chain(answers).take(ROWS_MAX).collect();
    rows.dedup();
    text.push_str(&table::aligned(HEADER, rows.into_iter()));
    text.push('\n');
    more(count, text);
}

fn outside(comparison: &Comparison<'_>, difference: &Difference, text: &mut String) {
    if difference.outside.is_empty() {
        return;
    }
    let after = comparison.after();
    let rows = difference.outside.iter().take(ROWS_MAX);
    let rows = rows.map(|change| answer(after, change, outside_word(change)));
    text.push_str("\nreachable from outside, and outside from here, as far as this end decides:\n");
    text.push_str(&table::aligned(HEADER, rows));
    text.push('\n');
    more(difference.outside.len(), text);
}

fn more(count: usize, text: &mut String) {
    let more = count.saturating_sub(ROWS_MAX);
    if more > 0 {
        let _ = writeln!(text, "and {more} more: take -o json");
    }
}

/// An end of a changed answer as JSON.
fn party_object(after: &Snapshot, party: &Party) -> Value {
    match party {
        Party::Inside {
            before,
            after: address,
            addresses,
        } => json!({
            "address": address,
            "address_before": before,
            "name": after.address_name(*address),
            "addresses": addresses,
        }),
        Party::Outside { network, example } => json!({
            "outside": network.map(|network| network.to_string()),
            "address": example,
        }),
    }
}

fn answer_object(after: &Snapshot, change: &AnswerChange, word: &str) -> Value {
    json!({
        "change": word,
        "expectation": change.concern == Concern::Expectation,
        "source": party_object(after, &change.source),
        "source_kind": change.source_kind,
        "destination": party_object(after, &change.destination),
        "on_one_host": change.on_one_host,
        "emitter": change.emitter,
        "protocol": change.packets.protocol(),
        "ports": change.packets.ports(),
        "packets": change.packets.to_string(),
        "before": change.before,
        "after": change.after,
        "responsible": change.responsible,
    })
}

fn object(comparison: &Comparison<'_>, difference: &Difference) -> Value {
    let flows: Vec<Value> = difference
        .flows
        .iter()
        .map(|flow| {
            json!({
                "change": word((flow.before, flow.after)),
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
    let after = comparison.after().snapshot();
    let answers = difference.answers.iter();
    let answers: Vec<Value> = answers
        .map(|change| answer_object(after, change, word(change.kinds())))
        .collect();
    let outside = difference.outside.iter();
    let outside: Vec<Value> = outside
        .map(|change| answer_object(after, change, outside_word(change)))
        .collect();
    json!({
        "reachability_changed": difference.is_change(),
        "compared": match difference.coverage {
            Coverage::Whole => "all",
            Coverage::Bounded => "bounded",
            Coverage::Shortened => "shortened",
        },
        "flows": flows,
        "answers": answers,
        "outside": outside,
        "interfaces_new": difference.appeared,
        "interfaces_new_kind": difference.novel,
        "interfaces_gone": difference.gone,
        "interfaces_replaced": difference.replaced,
        "interfaces_shrunk": difference.shrunk,
        "lines": lines,
    })
}
