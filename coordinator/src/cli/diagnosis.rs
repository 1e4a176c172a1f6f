//! Causes and repairs as people and programs read them, and the last lines of a command.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use reachproof_model::cause::{Cause, Obstacle};
use reachproof_model::diagnosis::{Conclusion, Diagnosed, Diagnosis, Remedy, Tally};
use reachproof_model::flow::Flow;
use reachproof_model::net::Printable;
use reachproof_model::prediction::UnknownReason;
use reachproof_model::repair::{Change, Opened, Repair};
use reachproof_model::snapshot::Snapshot;
use reachproof_model::words::counted;
use reachproof_verify::report::human::{Ink, wrapped};
use serde_json::{Value, json};

use crate::console::{self, FILE_WIDTH};

/// Most causes that people are shown: the others are in the JSON.
const CAUSES_MAX: usize = 10;
/// Most side effects that are named to people.
const BESIDES_MAX: usize = 3;
/// Most changes in the last lines.
const LAST_CHANGES_MAX: usize = 4;
/// Most flows of a cause, and most side effects, in the JSON.
const JSON_ITEMS_MAX: usize = 100;
/// Width up to which the exit code stands on the line of the verdict.
const WIDTH: usize = 80;

/// `1 required flow`, `4 flows`.
pub(crate) fn flows(count: usize, what: &str) -> String {
    let space = if what.is_empty() { "" } else { " " };
    let (one, several) = (format!("{what}{space}flow"), format!("{what}{space}flows"));
    counted(count, &one, &several)
}

fn pairs(count: usize) -> String {
    counted(count, "pair of classes", "pairs of classes")
}

/// `2 causes break 6 of 40 required flows`.
pub(crate) fn broken(diagnosis: &Diagnosis, what: &str) -> String {
    let causes = diagnosis.stops().count();
    format!(
        "{} {} of {}",
        counted(causes, "cause breaks", "causes break"),
        diagnosis.now.stopped,
        flows(diagnosis.now.total(), what)
    )
}

/// Every cause in a few lines.
pub(crate) fn details(
    snapshot: &Snapshot,
    diagnosis: &Diagnosis,
    needed_by: &dyn Fn(&Flow) -> Vec<String>,
) -> String {
    let mut text = String::new();
    for (place, found) in diagnosis.causes.iter().enumerate().take(CAUSES_MAX) {
        text.push('\n');
        let word = if found.cause.is_stop() {
            "Cause"
        } else {
            "Not known"
        };
        line(
            &mut text,
            &format!("{word} {}: {}", place + 1, found.cause.title()),
        );
        for why in found.cause.why(snapshot) {
            line(&mut text, &format!("  {why}"));
        }
        let cause = &found.cause;
        let pairs = cause.classes.len() + cause.more_classes;
        let example = cause
            .example()
            .map_or_else(String::new, ToString::to_string);
        line(
            &mut text,
            &format!(
                "  {} between {}, as {example}",
                flows(cause.flows.len(), ""),
                self::pairs(pairs)
            ),
        );
        let needed = needed(cause, needed_by);
        if !needed.is_empty() {
            line(&mut text, &format!("  needed: {}", needed.join("; ")));
        }
        for told in told(found) {
            line(&mut text, &format!("  {told}"));
        }
    }
    if let Some(more) = beyond(diagnosis.causes.len(), CAUSES_MAX) {
        line(
            &mut text,
            &format!("\n{} more, see -o json", counted(more, "cause", "causes")),
        );
    }
    text
}

/// What needs the flows of a cause.
fn needed(cause: &Cause, needed_by: &dyn Fn(&Flow) -> Vec<String>) -> Vec<String> {
    let all: BTreeSet<String> = cause.flows.iter().flat_map(needed_by).collect();
    all.into_iter().collect()
}

/// What is proposed for a cause, or why nothing is.
fn told(found: &Diagnosed) -> Vec<String> {
    match found.remedy.repair() {
        Some(repair) => repaired(repair),
        None if !found.cause.is_stop() => vec![settled(&found.cause).to_owned()],
        None => found.remedy.why_none().into_iter().collect(),
    }
}

/// The next step where something is not known.
fn settled(cause: &Cause) -> &'static str {
    let is_policy = |obstacle: &Obstacle| matches!(obstacle, Obstacle::NotKnown { reason, .. } if *reason == UnknownReason::NetworkPolicy.as_str());
    if cause.obstacles.iter().any(is_policy) {
        "next: read those policies; groups, lists and routes let the flows pass"
    } else {
        "next: add to the snapshot what is not known; `explain` shows at which gate that is, `--gaps all` what is missing"
    }
}

fn repaired(repair: &Repair) -> Vec<String> {
    let mut lines: Vec<String> = repair
        .changes
        .iter()
        .map(|change| format!("add: {}", change.aws_cli()))
        .collect();
    lines.push(besides(repair));
    lines.extend(
        repair.not_known.map(|reason| {
            format!("then nothing stops it that is known; not known even so: {reason}")
        }),
    );
    lines
}

/// What a repair opens besides, in a line.
fn besides(repair: &Repair) -> String {
    if repair.besides.is_empty() && repair.is_bounded {
        return "opens nothing else that was compared; not all could be".to_owned();
    }
    if repair.besides.is_empty() {
        return "opens nothing else that the model can see".to_owned();
    }
    let shown: Vec<String> = repair
        .besides
        .iter()
        .take(BESIDES_MAX)
        .map(opened)
        .collect();
    let at_least = if repair.is_bounded { "at least " } else { "" };
    let more = beyond(repair.besides.len(), BESIDES_MAX);
    let more = more.map_or_else(String::new, |more| format!("; {more} more, see -o json"));
    format!(
        "opens besides: {at_least}{}: {}{more}",
        pairs(repair.besides.len()),
        shown.join("; ")
    )
}

fn opened(opened: &Opened) -> String {
    let ports: Vec<String> = opened.ports.iter().map(ToString::to_string).collect();
    let packets = opened.protocol.to_string();
    let packets = match (packets.split_once('/'), ports.is_empty()) {
        (Some((word, _)), false) => format!("{word}/{}", ports.join(",")),
        (_, _) => packets,
    };
    format!(
        "{} -> {} {packets}",
        opened.source.name, opened.destination.name
    )
}

/// The repairs as Terraform.
pub(crate) fn terraform(diagnosis: &Diagnosis) -> String {
    let resources: Vec<String> = diagnosis.changes().map(Change::terraform).collect();
    let mut text = String::new();
    for resource in resources {
        text.push('\n');
        for one in resource.lines() {
            whole(&mut text, one);
        }
    }
    text
}

/// The verdict in one line, with the exit code at its end.
pub(crate) fn verdict((conclusion, exit_code): (Conclusion, u8), summary: &str) -> String {
    let head = format!("{:7}{summary}  ", conclusion.as_str());
    let exit = format!("exit {exit_code}");
    let space = WIDTH.saturating_sub(exit.len());
    let head = console::colour().inked(&format!("{head:space$}"), Ink::of(conclusion));
    format!("\n{head}{exit}\n")
}

/// The last lines: the verdict, then the first cause and what to type.
pub(crate) fn closing(
    snapshot: &Snapshot,
    diagnosis: &Diagnosis,
    (conclusion, exit_code): (Conclusion, u8),
    summary: &str,
) -> String {
    let mut text = verdict((conclusion, exit_code), summary);
    let first = match conclusion {
        Conclusion::Pass => None,
        Conclusion::Fail => diagnosis.stops().next(),
        Conclusion::Unsure => diagnosis.causes.first(),
    };
    let Some(first) = first else {
        return text;
    };
    let why = first.cause.why(snapshot).join("; ");
    line(&mut text, &format!("  {}: {why}", first.cause.title()));
    if first.remedy.repair().is_none() {
        for told in told(first) {
            line(&mut text, &format!("  {told}"));
        }
    }
    let changes: Vec<&Change> = diagnosis.changes().collect();
    for change in changes.iter().take(LAST_CHANGES_MAX) {
        line(&mut text, &format!("  add:  {}", change.aws_cli()));
    }
    if let Some(more) = beyond(changes.len(), LAST_CHANGES_MAX) {
        let more = counted(more, "more change", "more changes");
        line(&mut text, &format!("  and {more}, see above"));
    }
    if !changes.is_empty() {
        line(&mut text, &format!("  then: {}", promise(diagnosis.then)));
    }
    text
}

/// What the model says with all repairs.
fn promise(then: Tally) -> String {
    let all = flows(then.total(), "");
    match (then.stopped, then.unknown) {
        (0, 0) if then.total() == 1 => "the model lets it pass; nothing was applied".to_owned(),
        (0, 0) => format!("the model lets all {all} pass; nothing was applied"),
        (0, unknown) => format!(
            "nothing that is known stops {all}, of {unknown} nobody can tell; nothing was applied"
        ),
        (stopped, _) => format!("{stopped} of {all} stay stopped; nothing was applied"),
    }
}

/// Text that is safe for a terminal and fits it. Commands are not broken: they are to be pasted.
fn line(text: &mut String, line: &str) {
    let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
    if rest.starts_with("add:") {
        return whole(text, line);
    }
    let width = console::width(FILE_WIDTH.into());
    for line in wrapped(&Printable(rest).to_string(), indent.len(), width) {
        text.push_str(&line);
        text.push('\n');
    }
}

/// A line that is safe for a terminal, as it is.
fn whole(text: &mut String, line: &str) {
    let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
    // Writing to a String cannot fail.
    let _written = writeln!(text, "{indent}{}", Printable(rest));
}

fn beyond(count: usize, shown: usize) -> Option<usize> {
    count.checked_sub(shown).filter(|more| *more > 0)
}

/// The diagnosis as JSON.
pub(crate) fn json(
    snapshot: &Snapshot,
    diagnosis: &Diagnosis,
    needed_by: &dyn Fn(&Flow) -> Vec<String>,
) -> Value {
    let causes = diagnosis.causes.iter();
    let causes: Vec<Value> = causes
        .map(|found| cause_json(snapshot, found, needed_by))
        .collect();
    json!({"flows": tally_json(diagnosis.now), "after_repairs": tally_json(diagnosis.then), "causes": causes})
}

fn cause_json(
    snapshot: &Snapshot,
    found: &Diagnosed,
    needed_by: &dyn Fn(&Flow) -> Vec<String>,
) -> Value {
    let cause = &found.cause;
    let shown: Vec<_> = cause.flows.iter().take(JSON_ITEMS_MAX).collect();
    let (repair, shared_with, no_repair) = match &found.remedy {
        Remedy::Repair(repair) => (repair_json(repair), Value::Null, Value::Null),
        Remedy::Shared(places) => (Value::Null, json!(places), Value::Null),
        Remedy::None(error) => (Value::Null, Value::Null, json!(error.to_string())),
        Remedy::NotSought => (Value::Null, Value::Null, json!("not sought")),
    };
    json!({
        "title": cause.title(), "is_stop": cause.is_stop(), "gates": cause.gates(),
        "why": cause.why(snapshot), "sources": cause.sources, "destinations": cause.destinations,
        "flow_count": cause.flows.len(), "class_pair_count": cause.classes.len() + cause.more_classes,
        "flows": shown, "needed_by": needed(cause, needed_by), "repair": repair,
        "shared_with": shared_with, "no_repair": no_repair,
    })
}

fn tally_json(tally: Tally) -> Value {
    json!({"total": tally.total(), "passing": tally.passing, "stopped": tally.stopped, "unknown": tally.unknown})
}

fn repair_json(repair: &Repair) -> Value {
    let changes: Vec<Value> = repair
        .changes
        .iter()
        .map(|change| json!({"aws_cli": change.aws_cli(), "terraform": change.terraform()}))
        .collect();
    let besides: Vec<Value> = repair
        .besides
        .iter()
        .take(JSON_ITEMS_MAX)
        .map(|opened| {
            json!({
                "source": opened.source.name, "source_example": opened.source.example,
                "destination": opened.destination.name, "destination_example": opened.destination.example,
                "protocol": opened.protocol.number(), "ports": opened.ports,
            })
        })
        .collect();
    json!({
        "changes": changes, "opens_besides": besides, "opens_besides_count": repair.besides.len(),
        "is_bounded": repair.is_bounded, "not_known": repair.not_known,
    })
}
