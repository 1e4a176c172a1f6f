//! The matrix: rows are sources, columns destinations, both classes of endpoints; a cell says what the last run found.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use reachproof_model::finding::FindingKind;
use reachproof_model::net::Printable;
use reachproof_model::words::counted;
use serde::Deserialize;

use super::{cluster, shown};
use crate::store::FlowRow;
use crate::web::{Refusal, View};

/// Rows and columns of the page: a reader sees no more at once, and the words choose which.
const CLASSES_SHOWN: usize = 60;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MatrixQuery {
    /// Words of which the name of a shown source or destination has each.
    words: Option<String>,
}

/// What was found between two classes.
struct Cell {
    /// A shape for each kind of finding, the one that needs attention first in front.
    marks: String,
    /// Class of the style sheet, of the first of them.
    class: &'static str,
    /// The kinds in words, with the ports of each.
    words: String,
    /// Classes of both ends, raw text.
    ends: (String, String),
}

/// A source with its cells; absent where nothing was tried.
struct Row {
    name: String,
    cells: Vec<Option<Cell>>,
}

/// A kind of finding, as the page draws it.
struct Mark {
    shape: &'static str,
    class: &'static str,
    words: &'static str,
}

#[derive(Template)]
#[template(path = "matrix.html")]
struct MatrixPage {
    cluster: String,
    words: String,
    shown: String,
    marks: Vec<Mark>,
    columns: Vec<String>,
    rows: Vec<Row>,
}

/// How a kind of finding is drawn: shape and colour both tell it.
fn mark(kind: FindingKind) -> Mark {
    let (shape, class) = match kind {
        FindingKind::ContradictionClosed => ("▼", "bad"),
        FindingKind::ContradictionOpen => ("▲", "bad"),
        FindingKind::Inconclusive => ("?", "doubt"),
        FindingKind::ConfirmedPartial => ("◐", "doubt"),
        FindingKind::ConfirmedAllow => ("✓", "good"),
        FindingKind::ConfirmedDeny => ("×", "good"),
        FindingKind::Bypass => ("↺", "plain"),
        FindingKind::NotObserved => ("·", "plain"),
    };
    Mark {
        shape,
        class,
        words: kind.as_str(),
    }
}

pub(super) async fn matrix(
    State(view): State<View>,
    Query(query): Query<MatrixQuery>,
) -> Result<Response, Refusal> {
    let words = query.words.unwrap_or_default();
    let flows = view.store.flows(None).await?;
    let flows: Vec<&FlowRow> = flows.iter().filter(|flow| has(flow, &words)).collect();
    let sources = axis(&flows, |flow| &flow.source);
    let columns = axis(&flows, |flow| &flow.destination);
    let all = sources.all.max(columns.all);
    let page = MatrixPage {
        cluster: cluster(&view),
        words,
        shown: format!(
            "{} of {}",
            all.min(CLASSES_SHOWN),
            counted(all, "class", "classes")
        ),
        marks: FindingKind::ALL.map(mark).into(),
        rows: rows(&flows, &sources.shown, &columns.shown),
        columns: columns.shown.iter().map(|name| printed(name)).collect(),
    };
    shown(&page)
}

/// Whether one end of a kind of flow has each of the words.
fn has(flow: &FlowRow, words: &str) -> bool {
    let ends = format!("{} {}", flow.source, flow.destination).to_lowercase();
    let mut words = words.split_whitespace();
    words.all(|word| ends.contains(&word.to_lowercase()))
}

/// The classes along one side.
struct Axis {
    all: usize,
    shown: Vec<String>,
}

/// The first classes by name, those before the others that have something which needs attention.
fn axis(flows: &[&FlowRow], end: fn(&FlowRow) -> &String) -> Axis {
    let mut worst: BTreeMap<&String, FindingKind> = BTreeMap::new();
    for flow in flows {
        let Some(kind) = FindingKind::named(&flow.kind) else {
            continue;
        };
        let known = worst.entry(end(flow)).or_insert(kind);
        *known = (*known).min(kind);
    }
    let all = worst.len();
    let mut classes: Vec<(bool, &String)> = worst
        .into_iter()
        .map(|(class, kind)| (!kind.is_contradiction(), class))
        .collect();
    classes.sort();
    let mut shown: Vec<String> = classes
        .into_iter()
        .take(CLASSES_SHOWN)
        .map(|(_, class)| class.clone())
        .collect();
    shown.sort();
    Axis { all, shown }
}

fn rows(flows: &[&FlowRow], sources: &[String], columns: &[String]) -> Vec<Row> {
    let mut between: BTreeMap<(&String, &String), Vec<&FlowRow>> = BTreeMap::new();
    for flow in flows {
        let ends = (&flow.source, &flow.destination);
        between.entry(ends).or_default().push(flow);
    }
    let row = |source: &String| Row {
        name: printed(source),
        cells: columns
            .iter()
            .map(|destination| {
                let flows = between.get(&(source, destination))?;
                Some(cell(flows, (source, destination)))
            })
            .collect(),
    };
    sources.iter().map(row).collect()
}

/// What was found between two classes, in shapes and in words.
fn cell(flows: &[&FlowRow], ends: (&String, &String)) -> Cell {
    let mut packets: BTreeMap<FindingKind, BTreeSet<&str>> = BTreeMap::new();
    for flow in flows {
        if let Some(kind) = FindingKind::named(&flow.kind) {
            packets.entry(kind).or_default().insert(&flow.packets);
        }
    }
    let told = packets.iter().map(|(kind, packets)| {
        let packets: Vec<&str> = packets.iter().copied().collect();
        format!("{} {}", kind.as_str().replace('_', " "), packets.join(", "))
    });
    let told: Vec<String> = told.collect();
    Cell {
        marks: packets.keys().map(|kind| mark(*kind).shape).collect(),
        class: packets
            .keys()
            .next()
            .map_or("plain", |kind| mark(*kind).class),
        words: told.join("; "),
        ends: (ends.0.clone(), ends.1.clone()),
    }
}

fn printed(name: &str) -> String {
    Printable(name).to_string()
}
