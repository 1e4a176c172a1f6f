//! `reachproof diff`: what changed in reachability between two snapshots.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Write};
#[cfg(feature = "serve")]
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use reachproof_model::change::{
    AnswerChange, Comparison, Concern, Coverage, Difference, Party, ToldChange, change_word,
    outside_word,
};
use reachproof_model::diagnosis::Conclusion;
use reachproof_model::id::NetworkInterfaceId;
use reachproof_model::snapshot::{Decoded, Snapshot};
use reachproof_model::words::counted;
use serde_json::{Value, json};

#[cfg(feature = "serve")]
use crate::entry::KubeconfigArguments;
#[cfg(feature = "serve")]
use crate::installed::Purpose;
#[cfg(feature = "serve")]
use crate::remote::RemoteArguments;
use crate::source::SourceArguments;
#[cfg(feature = "serve")]
use crate::source::described_by;

#[cfg(feature = "serve")]
use super::decode;
use super::diagnosis;
use super::exit_code::ExitCode;
use super::gaps::{self, GapArguments};
use super::matrix::end;
use super::{CliError, Format, decoded, table, write_json};

mod fold;

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
    /// List everything, also what is alike
    #[arg(long)]
    all: bool,
    /// Coordinator that stays: BEFORE and AFTER are runs that it remembers
    #[cfg(feature = "serve")]
    #[command(flatten)]
    remote: RemoteArguments,
    #[cfg(feature = "serve")]
    #[command(flatten)]
    kubeconfig: KubeconfigArguments,
    #[command(flatten)]
    gaps: GapArguments,
}

impl Arguments {
    /// Both sides.
    fn sides(&self) -> Result<[Decoded; 2], CliError> {
        #[cfg(feature = "serve")]
        if let Some(remote) = self
            .remote
            .remote(&self.kubeconfig.entry(), Purpose::Read)?
        {
            let side = |run: &Path| {
                let run = run.display().to_string();
                let described = described_by(&remote.report(&run)?)?;
                decode(&described, &run)
            };
            return Ok([side(&self.before)?, side(&self.after)?]);
        }
        let side = |path| decoded(&SourceArguments::saved(path, self.cluster.as_deref()));
        Ok([side(&self.before)?, side(&self.after)?])
    }
}

/// How much people are shown; JSON has all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// What is alike is one line, and long lists are cut.
    Folded,
    /// Everything.
    All,
}

impl Extent {
    /// At most so many rows.
    fn at_most(self, most: usize) -> usize {
        match self {
            Self::Folded => most,
            Self::All => usize::MAX,
        }
    }
}

/// Compares two snapshots; exit code 1 when reachability differs.
///
/// Every answer of the model is compared: TCP, UDP, ICMP and other protocols, IPv4 and IPv6, hosts and pods, endpoints on one
/// host, and addresses that no interface owns, by the networks that rules, ACLs and routes name.
///
/// # Errors
/// [`CliError`] for a snapshot that cannot be used and for an answer that cannot be written.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let [before, after] = arguments.sides()?;
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
        Format::Table => {
            let extent = if arguments.all {
                Extent::All
            } else {
                Extent::Folded
            };
            out.write_all(people(&comparison, &difference, extent).as_bytes())?;
        }
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

fn people(comparison: &Comparison<'_>, difference: &Difference, extent: Extent) -> String {
    let mut text = String::new();
    if difference.is_change() {
        flows(comparison, difference, extent, &mut text);
        outside(comparison, difference, extent, &mut text);
    } else if difference.lines.is_empty() && difference.appeared.is_empty() {
        text.push_str("no difference\n");
    } else {
        text.push_str("no change in reachability\n");
    }
    interfaces(difference, extent, &mut text);
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
            "\n{} written differently:",
            counted(difference.lines.len(), "line is", "lines are")
        );
    }
    let lines_max = extent.at_most(LINES_MAX);
    for line in difference.lines.iter().take(lines_max) {
        let _ = writeln!(text, "  {line}");
    }
    let more = difference.lines.len().saturating_sub(lines_max);
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
        return diagnosis::verdict((Conclusion::Unsure, 1), summary);
    }
    if !difference.is_change() {
        return diagnosis::verdict((Conclusion::Pass, 0), "no answer of the model changed");
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
    diagnosis::verdict((Conclusion::Fail, 1), &summary)
}

fn interfaces(difference: &Difference, extent: Extent, text: &mut String) {
    let (replaced, novel) = (&difference.replaced, &difference.novel);
    let appeared = |is_meant: &dyn Fn(&NetworkInterfaceId) -> bool| -> Vec<String> {
        let meant = difference.appeared.iter().filter(|id| is_meant(id));
        meant.map(ToString::to_string).collect()
    };
    let listed = |ids: BTreeSet<NetworkInterfaceId>| -> Vec<String> {
        ids.iter().map(ToString::to_string).collect()
    };
    let is_new = "new interface";
    let said = [
        (
            is_new,
            appeared(&|id| replaced.contains(id)),
            ", in place of another one",
        ),
        (
            is_new,
            appeared(&|id| !replaced.contains(id) && novel.contains(id)),
            ", of a kind that was not there",
        ),
        (
            is_new,
            appeared(&|id| !replaced.contains(id) && !novel.contains(id)),
            ", of a kind that was there",
        ),
        (
            "interface",
            listed(novel - &difference.appeared),
            " has an address of a new kind",
        ),
        ("gone interface", listed(difference.gone.clone()), ""),
        (
            "gone interface",
            listed(replaced - &difference.appeared),
            ", replaced",
        ),
        (
            "interface",
            listed(difference.shrunk.clone()),
            " lost an address of a kind that is no more",
        ),
    ];
    for (what, ids, about) in said {
        for line in fold::lines(what, &ids, about, extent == Extent::All) {
            let _ = writeln!(text, "{line}");
        }
    }
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

fn flows(comparison: &Comparison<'_>, difference: &Difference, extent: Extent, text: &mut String) {
    write_rows(&comparison.told(difference), extent, text);
}

fn outside(
    comparison: &Comparison<'_>,
    difference: &Difference,
    extent: Extent,
    text: &mut String,
) {
    if difference.outside.is_empty() {
        return;
    }
    text.push_str("\nreachable from outside, and outside from here, as far as this end decides:\n");
    write_rows(&comparison.told_outside(difference), extent, text);
}

/// Writes rows as a table, and how many are not shown.
fn write_rows(rows: &[ToldChange], extent: Extent, text: &mut String) {
    if rows.is_empty() {
        return;
    }
    let cells = match extent {
        Extent::Folded => fold::folded(rows),
        Extent::All => fold::plain(rows),
    };
    let most = extent.at_most(ROWS_MAX);
    let more = cells.len().saturating_sub(most);
    text.push_str(&table::aligned(HEADER, cells.into_iter().take(most)));
    text.push('\n');
    if more > 0 {
        let _ = writeln!(text, "and {more} more: take --all, or -o json");
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
                "change": change_word((flow.before, flow.after)),
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
        .map(|change| answer_object(after, change, change_word(change.kinds())))
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
