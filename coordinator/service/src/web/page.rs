//! Pages: what stands now, runs on a time line, and since when each kind of flow has its verdict. They work without script;
//! with it a page is loaded anew when a run ended.

use askama::Template;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use reachproof_model::net::Printable;
use reachproof_model::words::counted;
use reachproof_verify::calendar::utc;
use reachproof_verify::refused::RefusedTimes;
use reachproof_verify::report::Format;
use serde::Deserialize;

use super::api::{agent_list, covered_list, stored, written};
use super::{Refusal, View};
use crate::coverage::Coverage;
use crate::store::{FlowRow, RunRow, RunState};

/// Runs on the time line.
const RUNS_SHOWN: u32 = 30;

/// Flows of a table; the API has all.
const FLOWS_SHOWN: usize = 200;

mod claims;
mod matrix;

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.mjs");

pub(super) fn routes() -> Router<View> {
    Router::new()
        .route("/", get(now))
        .route("/matrix", get(matrix::matrix))
        .route("/flows", get(flows))
        .route("/claims", get(claims::claims))
        .route("/agents", get(agents))
        .route("/runs/{id}", get(run))
        .route(
            "/page.css",
            get(async || typed("text/css; charset=utf-8", STYLE)),
        )
        .route(
            "/page.mjs",
            get(async || typed("text/javascript; charset=utf-8", SCRIPT)),
        )
}

fn typed(content_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

/// A run, as a row shows it.
struct RunLine {
    id: String,
    at: String,
    verdict: String,
    class: String,
    cause: String,
    why: String,
    changed: Vec<String>,
    has_report: bool,
}

impl RunLine {
    fn of(run: &RunRow) -> Self {
        let verdict = if run.verdict.is_empty() {
            run.state.as_str().to_owned()
        } else {
            run.verdict.clone()
        };
        Self {
            at: utc(run.started_at_unix_ms),
            class: verdict.to_lowercase(),
            verdict,
            cause: run.cause.clone(),
            why: Printable(&run.why).to_string(),
            changed: run
                .changed
                .iter()
                .map(|line| Printable(line).to_string())
                .collect(),
            has_report: run.state == RunState::Done,
            id: run.id.clone(),
        }
    }
}

/// A kind of flow, as a row shows it.
struct FlowLine {
    source: String,
    destination: String,
    packets: String,
    kind: String,
    since: String,
    first_run: String,
    /// What was written differently in that run than in the one before.
    changed: Vec<String>,
}

impl FlowLine {
    fn of(row: &FlowRow, runs: &[RunRow]) -> Self {
        let first = runs.iter().find(|run| run.id == row.first_run);
        let changed = first.map(|run| run.changed.as_slice()).unwrap_or_default();
        Self {
            source: Printable(&row.source).to_string(),
            destination: Printable(&row.destination).to_string(),
            packets: row.packets.clone(),
            kind: row.kind.replace('_', " "),
            since: utc(row.since_unix_ms),
            first_run: row.first_run.clone(),
            changed: changed
                .iter()
                .map(|line| Printable(line).to_string())
                .collect(),
        }
    }
}

/// A cause of the last report.
struct CauseLine {
    title: String,
    why: String,
    commands: String,
}

#[derive(Template)]
#[template(path = "now.html")]
struct NowPage {
    cluster: String,
    verdict: String,
    class: String,
    why: String,
    last: Option<RunLine>,
    running: String,
    fault: String,
    next: Vec<String>,
    agents: String,
    causes: Vec<CauseLine>,
    contradictions: Vec<FlowLine>,
    runs: Vec<RunLine>,
}

async fn now(State(view): State<View>) -> Result<Response, Refusal> {
    let status = view.status.borrow().clone();
    let runs = view.store.runs(RUNS_SHOWN).await?;
    let last = runs.iter().find(|run| !run.verdict.is_empty());
    let causes = match last.filter(|run| run.state == RunState::Done) {
        Some(run) => causes(&view, &run.id).await?,
        None => Vec::new(),
    };
    let flows = view.store.flows(None).await?;
    let contradictions = flows
        .iter()
        .filter(|flow| flow.kind.starts_with("contradiction"));
    let list = agent_list(&view);
    let connected = list
        .agents
        .iter()
        .filter(|agent| agent.is_connected)
        .count();
    let page = NowPage {
        cluster: cluster(&view),
        verdict: last.map_or_else(|| "no run yet".to_owned(), |run| run.verdict.clone()),
        class: last.map_or_else(String::new, |run| run.verdict.to_lowercase()),
        why: last.map_or_else(String::new, |run| Printable(&run.why).to_string()),
        running: status.running.map_or_else(String::new, |running| {
            format!(
                "{} ({}): {}",
                running.id,
                running.cause,
                Printable(&running.progress)
            )
        }),
        fault: status
            .fault
            .map_or_else(String::new, |fault| Printable(&fault).to_string()),
        next: status
            .next
            .iter()
            .map(|next| format!("{} at {}", next.schedule, next.at))
            .collect(),
        agents: counted(connected, "agent", "agents"),
        causes,
        contradictions: contradictions
            .take(FLOWS_SHOWN)
            .map(|flow| FlowLine::of(flow, &runs))
            .collect(),
        last: last.map(RunLine::of),
        runs: runs.iter().map(RunLine::of).collect(),
    };
    shown(&page)
}

/// The causes in the report of a run.
async fn causes(view: &View, id: &str) -> Result<Vec<CauseLine>, Refusal> {
    let report = stored(view, id).await?;
    let causes = report.causes.iter().map(|cause| CauseLine {
        title: Printable(&cause.title).to_string(),
        why: Printable(&cause.why.join("; ")).to_string(),
        commands: cause
            .aws_cli
            .iter()
            .map(|command| Printable(command).to_string())
            .collect::<Vec<_>>()
            .join("\n"),
    });
    Ok(causes.collect())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FlowsQuery {
    /// Words that a row must have, each of them.
    words: Option<String>,
    /// Class of the source, whole.
    source: Option<String>,
    /// Class of the destination, whole.
    destination: Option<String>,
}

impl FlowsQuery {
    /// Whether a kind of flow is between the classes that are asked for.
    fn is_between(&self, row: &FlowRow) -> bool {
        let is = |asked: &Option<String>, class: &String| {
            asked.as_ref().is_none_or(|asked| asked == class)
        };
        is(&self.source, &row.source) && is(&self.destination, &row.destination)
    }

    /// The ends in words, where they are asked for.
    fn ends(&self) -> String {
        let end = |asked: &Option<String>| match asked {
            Some(class) => Printable(class).to_string(),
            None => "anything".to_owned(),
        };
        if self.source.is_none() && self.destination.is_none() {
            return String::new();
        }
        format!("{} to {}", end(&self.source), end(&self.destination))
    }
}

#[derive(Template)]
#[template(path = "flows.html")]
struct FlowsPage {
    cluster: String,
    ends: String,
    words: String,
    shown: String,
    flows: Vec<FlowLine>,
}

async fn flows(
    State(view): State<View>,
    Query(query): Query<FlowsQuery>,
) -> Result<Response, Refusal> {
    let words = query.words.clone().unwrap_or_default();
    let runs = view.store.runs(crate::store::LISTED_MAX).await?;
    let rows = view.store.flows(None).await?;
    let rows = rows.iter().filter(|row| query.is_between(row));
    let lines = rows.map(|row| FlowLine::of(row, &runs));
    let found: Vec<FlowLine> = lines.filter(|line| line.has(&words)).collect();
    let shown_count = found.len().min(FLOWS_SHOWN);
    let page = FlowsPage {
        cluster: cluster(&view),
        ends: query.ends(),
        words,
        shown: format!(
            "{shown_count} of {}",
            counted(found.len(), "kind of flow", "kinds of flows")
        ),
        flows: found.into_iter().take(FLOWS_SHOWN).collect(),
    };
    shown(&page)
}

impl FlowLine {
    fn has(&self, words: &str) -> bool {
        let text = format!(
            "{} {} {} {}",
            self.source, self.destination, self.packets, self.kind
        );
        let text = text.to_lowercase();
        words
            .split_whitespace()
            .all(|word| text.contains(&word.to_lowercase()))
    }
}

/// An agent, as a row shows it.
struct AgentLine {
    name: String,
    kind: String,
    addresses: String,
    node: String,
    version: String,
    state: String,
    last_source: String,
    last_target: String,
}

#[derive(Template)]
#[template(path = "agents.html")]
struct AgentsPage {
    cluster: String,
    coverage: String,
    agents: Vec<AgentLine>,
    refused: Vec<String>,
}

async fn agents(State(view): State<View>) -> Result<Response, Refusal> {
    let list = covered_list(&view).await;
    let never = list.coverage.map_or("not known", |_| "never");
    let at = |unix_ms: Option<u64>| unix_ms.map_or_else(|| never.to_owned(), utc);
    let agents = list.agents.iter().map(|agent| {
        let addresses: Vec<String> = agent.addresses.iter().map(ToString::to_string).collect();
        AgentLine {
            name: Printable(&agent.name).to_string(),
            kind: agent.kind.clone(),
            addresses: addresses.join(", "),
            node: agent
                .node
                .as_deref()
                .map_or_else(String::new, |node| Printable(node).to_string()),
            version: Printable(&agent.version).to_string(),
            state: if agent.is_connected {
                "connected".to_owned()
            } else {
                format!("away, last heard {} s ago", agent.heard_s_ago)
            },
            last_source: at(agent.last_source_unix_ms),
            last_target: at(agent.last_target_unix_ms),
        }
    });
    let page = AgentsPage {
        cluster: cluster(&view),
        coverage: covered(list.coverage),
        agents: agents.collect(),
        refused: list.refused.listed.iter().map(refusal).collect(),
    };
    shown(&page)
}

/// Who took part in the last runs, in words.
fn covered(coverage: Option<Coverage>) -> String {
    let Some(coverage) = coverage else {
        return "The store cannot be read: nobody knows who took part.".to_owned();
    };
    if coverage.runs == 0 {
        return "No run has a report yet.".to_owned();
    }
    format!(
        "In the last {} with a report (since {}) {} of {} were the source of a flow that was observed, and {} the target.",
        counted(coverage.runs, "run", "runs"),
        utc(coverage.since_unix_ms),
        coverage.sources,
        counted(coverage.agents, "agent", "agents"),
        coverage.targets,
    )
}

/// Somebody who was not let in, in words.
fn refusal(one: &RefusedTimes) -> String {
    let refused = &one.refused;
    let name = refused
        .name
        .as_ref()
        .map_or_else(|| "somebody".to_owned(), ToString::to_string);
    let from = refused
        .from
        .map(|address| format!(" from {address}"))
        .unwrap_or_default();
    let times = counted(
        usize::try_from(one.times).unwrap_or(usize::MAX),
        "time",
        "times",
    );
    Printable(&format!("{name}{from}, {times}: {}", refused.reason)).to_string()
}

/// The report of a run as a page of its own kind; a run that has none is on the time line.
async fn run(State(view): State<View>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let Some(format) = Format::named("html") else {
        return Ok(Redirect::to("/").into_response());
    };
    written(format, stored(&view, &id).await?).await
}

fn cluster(view: &View) -> String {
    let status = view.status.borrow();
    let name = status
        .cluster
        .as_deref()
        .unwrap_or("cluster without a name");
    Printable(name).to_string()
}

fn shown(page: &impl Template) -> Result<Response, Refusal> {
    let text = page.render();
    let text =
        text.map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(Html(text).into_response())
}
