//! What changed since an earlier report, for people.

use reachproof_model::finding::FindingKind;
use reachproof_model::net::Printable;
use reachproof_model::words::counted;

use super::page::Page;
use crate::report::baseline::{Baseline, ChangeRecord, ModelChange, Since, SinceState};
use crate::report::{Followed, Report};

/// Most changes, lines and findings that are listed each; the rest is counted.
const LISTED_MAX: usize = 10;

/// Writes what the model and the network say now and did not say before.
pub(super) fn baseline(report: &Report, page: &mut Page) {
    let Some(baseline) = &report.baseline else {
        return;
    };
    page.heading(&format!("Since {}", Printable(&baseline.run)));
    for line in lines(baseline) {
        page.text(2, &line);
    }
}

/// The same, line by line, safe to print.
pub(in crate::report) fn lines(baseline: &Baseline) -> Vec<String> {
    let mut lines = match &baseline.model {
        Some(model) => of_model(model),
        None => vec!["model: not compared, a report does not carry its world".to_owned()],
    };
    let of = |state| {
        let count = baseline.count(state);
        let problems = baseline.problems(state);
        let problems = match problems {
            0 => String::new(),
            some => format!(" ({})", counted(some, "problem", "problems")),
        };
        format!("{count} {}{problems}", SinceState::as_str(state))
    };
    let counts = SinceState::ALL.map(of).join(", ");
    lines.push(format!("findings: {counts}"));
    lines.extend(baseline.followed.as_ref().and_then(of_followed));
    let told = baseline.findings.iter().filter(|since| is_told(since));
    let told: Vec<&Since> = told.collect();
    lines.extend(told.iter().take(LISTED_MAX).map(|since| of_finding(since)));
    rest(told.len(), ("finding", "findings"), &mut lines);
    lines
}

/// How long the network took to follow; nothing where no verdict changed.
fn of_followed(followed: &Followed) -> Option<String> {
    let flows = match followed.flows {
        0 => return None,
        flows => counted(flows, "flow", "flows"),
    };
    let after = followed.after_ms.map(|after| {
        let tenths = after.div_ceil(100);
        format!(
            ", the last {}.{} s after the run began",
            tenths / 10,
            tenths % 10
        )
    });
    let late = match followed.late {
        0 => String::new(),
        late => format!("; {late} did as before at first"),
    };
    let not_yet = match followed.not_yet {
        0 => String::new(),
        not_yet => format!("; {not_yet} do as before to the end"),
    };
    Some(format!(
        "network: {} of {flows} whose verdict changed follow{}{late}{not_yet}",
        followed.at_once + followed.late,
        after.unwrap_or_default()
    ))
}

/// Whether it is worth a line: a problem, or a flow of which both reports say something.
fn is_told(since: &Since) -> bool {
    since.is_problem || (since.state == SinceState::New && since.other.is_some())
}

fn of_model(model: &ModelChange) -> Vec<String> {
    let mut lines = Vec::new();
    let verdict = match (model.is_change, model.is_whole) {
        (false, _) if model.lines.is_empty() => "model: nothing changed".to_owned(),
        (false, _) => "model: no change in reachability".to_owned(),
        (true, is_whole) => {
            let least = if is_whole { "" } else { "at least " };
            let changes = counted(model.changes_count, "change", "changes");
            format!("model: {least}{changes} in reachability")
        }
    };
    lines.push(verdict);
    lines.extend(model.changes.iter().take(LISTED_MAX).map(of_change));
    rest(model.changes_count, ("change", "changes"), &mut lines);
    let written = model.lines.iter().take(LISTED_MAX);
    lines.extend(written.map(|line| format!("written: {}", Printable(line))));
    rest(model.lines.len(), ("line", "lines"), &mut lines);
    let interfaces = model.interfaces;
    if interfaces != Default::default() {
        lines.push(format!(
            "interfaces: {} new, {} gone, {} in place of others or replaced",
            interfaces.new, interfaces.gone, interfaces.replaced
        ));
    }
    lines
}

fn of_change(change: &ChangeRecord) -> String {
    let needed = if change.is_needed {
        " (the cluster needs it)"
    } else {
        ""
    };
    let because = match change.because.as_str() {
        "" => String::new(),
        because => format!(", because of {because}"),
    };
    let told = format!(
        "{}{needed}: {} -> {} {}: {}{because}",
        change.change, change.source, change.destination, change.packets, change.verdict
    );
    Printable(&told).to_string()
}

/// One line for one finding: what became of it, the flow, what it says, what the other report says.
fn of_finding(since: &Since) -> String {
    let other = since.other.map(FindingKind::as_str);
    let other = match (since.state, other) {
        (SinceState::New, Some(other)) => format!(", was {other}"),
        (SinceState::New, None) => ", was not tried".to_owned(),
        (SinceState::Gone, Some(other)) => format!(", is {other}"),
        (SinceState::Gone, None) => ", is not tried".to_owned(),
        (SinceState::Known | SinceState::Unchanged, _) => String::new(),
    };
    let told = format!(
        "{}: {} ({}) -> {} ({}) {}: {}{other}",
        since.state.as_str(),
        since.source,
        since.flow.source,
        since.destination,
        since.flow.destination,
        since.flow.protocol,
        since.kind.as_str()
    );
    Printable(&told).to_string()
}

fn rest(all: usize, (one, several): (&str, &str), lines: &mut Vec<String>) {
    if all > LISTED_MAX {
        let (one, several) = (format!("more {one}"), format!("more {several}"));
        let more = counted(all - LISTED_MAX, &one, &several);
        lines.push(format!("and {more}: -o json"));
    }
}
