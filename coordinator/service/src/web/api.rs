//! The API, `/api/v1`: JSON, and server-sent events for progress. `deploy/schemas/openapi.json` describes it.

use std::convert::Infallible;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use reachproof_model::plan::Depth;
use reachproof_verify::Report;
use reachproof_verify::report::human::{Colour, Details, Terminal, View as ReportView};
use reachproof_verify::report::{Allowed, Baseline, FORMATS, Format};
use reachproof_verify::run::run_name;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::error::TrySendError;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::WatchStream;

use super::{Refusal, View, off_thread};
use crate::coverage::{self, Coverage};
use crate::service::{Again, Asked, BY_HAND};
use crate::status::Status;
use crate::store::{FlowRow, LISTED_MAX, RunRow};

/// Width of a report as plain text, in columns.
const TEXT_WIDTH: u16 = 100;

/// Runs of a list unless somebody wants more or fewer.
const LISTED: u32 = 100;

/// Content policy of a report as a page: a file of its own kind, which holds its script and may ask nobody.
const REPORT_POLICY: &str = "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'";

/// A route: its path, its methods, and what serves them.
type Route = (
    &'static str,
    &'static [&'static str],
    fn() -> MethodRouter<View>,
);

/// Every route, as the published description has them.
const ROUTES: [Route; 8] = [
    ("/api/v1/status", &["GET"], || get(status)),
    ("/api/v1/events", &["GET"], || get(events)),
    ("/api/v1/agents", &["GET"], || get(agents)),
    ("/api/v1/flows", &["GET"], || get(flows)),
    ("/api/v1/runs", &["GET", "POST"], || get(runs).post(start)),
    ("/api/v1/runs/{id}", &["GET"], || get(run)),
    ("/api/v1/runs/{id}/report", &["GET"], || get(report)),
    ("/api/v1/runs/{id}/changes", &["GET"], || get(changes)),
];

pub(super) fn routes() -> Router<View> {
    let routes = ROUTES.iter();
    routes.fold(Router::new(), |router, (path, _, served)| {
        router.route(path, served())
    })
}

async fn status(State(view): State<View>) -> Json<Status> {
    Json(view.status.borrow().clone())
}

/// The status each time that it changes, as events named `status`.
async fn events(
    State(view): State<View>,
) -> Sse<impl tokio_stream::Stream<Item = Result<Event, Infallible>>> {
    let events = WatchStream::new(view.status).map(|status| {
        let event = Event::default().event("status");
        // What cannot be written as JSON is left out: a status can.
        Ok(event.json_data(&status).unwrap_or_default())
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

/// An agent of the fleet.
#[derive(Debug, Serialize)]
pub struct AgentRow {
    /// Its name.
    pub name: String,
    /// Where it runs.
    pub kind: String,
    /// Its addresses in the measured network.
    pub addresses: Vec<std::net::IpAddr>,
    /// Its node, where that is known; raw text.
    pub node: Option<String>,
    /// Its version; raw text.
    pub version: String,
    /// Whether its stream is open.
    pub is_connected: bool,
    /// Seconds since it was last heard.
    pub heard_s_ago: u64,
    /// When the last run began in which it was the source of an observed flow, milliseconds since 1970; absent where none was,
    /// and without `coverage`.
    pub last_source_unix_ms: Option<u64>,
    /// The same as a target.
    pub last_target_unix_ms: Option<u64>,
}

/// Who belongs to the fleet, and who was not let in.
#[derive(Debug, Serialize)]
pub struct AgentList {
    /// The agents, by name.
    pub agents: Vec<AgentRow>,
    /// Who of them took part in the last runs; absent while the store cannot be read.
    pub coverage: Option<Coverage>,
    /// Those who were refused, and why.
    pub refused: reachproof_verify::refused::RefusedAgents,
}

async fn agents(State(view): State<View>) -> Json<AgentList> {
    Json(covered_list(&view).await)
}

/// The fleet, and which part it took; nothing of that while the store cannot be read.
pub(super) async fn covered_list(view: &View) -> AgentList {
    let mut list = agent_list(view);
    let known = tokio::try_join!(view.store.turns(), view.store.begins(coverage::RUNS));
    let Ok((turns, begins)) = known else {
        return list;
    };
    let mut fleet = Vec::with_capacity(list.agents.len());
    for agent in &mut list.agents {
        let turn = turns.get(&agent.name).copied().unwrap_or_default();
        agent.last_source_unix_ms = turn.source_unix_ms;
        agent.last_target_unix_ms = turn.target_unix_ms;
        fleet.push(turn);
    }
    list.coverage = Some(Coverage::new(&begins, &fleet));
    list
}

/// The fleet alone, without what the store knows of it.
pub(super) fn agent_list(view: &View) -> AgentList {
    let registry = view.fleet.registry();
    let members = registry.members().iter();
    let agents = members.map(|(name, member)| {
        let roster = member.roster_agent();
        AgentRow {
            name: name.to_string(),
            kind: roster.kind.as_str().to_owned(),
            addresses: roster.addresses,
            node: roster.node.map(|node| node.to_string()),
            version: member.greeting.version.clone(),
            is_connected: registry.is_attached(name),
            heard_s_ago: member.heard.elapsed().as_secs(),
            last_source_unix_ms: None,
            last_target_unix_ms: None,
        }
    });
    AgentList {
        agents: agents.collect(),
        coverage: None,
        refused: registry.refused().so_far(),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FlowQuery {
    flow: Option<String>,
}

async fn flows(
    State(view): State<View>,
    Query(query): Query<FlowQuery>,
) -> Result<Json<Vec<FlowRow>>, Refusal> {
    Ok(Json(view.store.flows(query.flow.as_deref()).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    limit: Option<u32>,
}

async fn runs(
    State(view): State<View>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Vec<RunRow>>, Refusal> {
    let most = query.limit.unwrap_or(LISTED).min(LISTED_MAX);
    Ok(Json(view.store.runs(most).await?))
}

/// What a run is asked to do.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    scope: Option<String>,
    /// Run whose seed is taken, and whose flows are tried again.
    since: Option<String>,
}

/// The run that was asked for.
#[derive(Debug, Serialize)]
struct Accepted {
    id: String,
}

/// Asks for a run. The body must be JSON and say so, which a page of another site cannot do without being asked first.
async fn start(
    State(view): State<View>,
    order: Result<Json<Order>, JsonRejection>,
) -> Result<Response, Refusal> {
    let Json(order) = order.map_err(|wrong| Refusal::new(wrong.status(), wrong.body_text()))?;
    let scope = order.scope.map(|word| scope(&word)).transpose()?;
    let earlier = match &order.since {
        Some(run) => Some(stored(&view, run).await?),
        None => None,
    };
    let as_earlier = || Depth::named(&earlier.as_ref()?.run.scope);
    let id = run_name(view.random.as_ref());
    let id =
        id.map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let asked = Asked {
        id: id.clone(),
        cause: BY_HAND.to_owned(),
        scope: scope.or_else(as_earlier),
        again: earlier.as_ref().map(|report| Again {
            seed: report.run.seed,
            flows: report.tried(),
        }),
    };
    match view.asked.try_send(asked) {
        Ok(()) => Ok((StatusCode::ACCEPTED, Json(Accepted { id })).into_response()),
        Err(TrySendError::Full(_)) => Err(Refusal::new(
            StatusCode::CONFLICT,
            "another run waits already: /api/v1/status says what goes on",
        )),
        Err(TrySendError::Closed(_)) => Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the service ends",
        )),
    }
}

fn scope(word: &str) -> Result<Depth, Refusal> {
    Depth::named(word).ok_or_else(|| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "`scope` is required, rules or mesh",
        )
    })
}

async fn run(State(view): State<View>, Path(id): Path<String>) -> Result<Json<RunRow>, Refusal> {
    let found = view.store.run(&id).await?;
    found.map(Json).ok_or_else(|| Refusal::no_run(&id))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReportQuery {
    format: Option<String>,
}

async fn report(
    State(view): State<View>,
    Path(id): Path<String>,
    Query(query): Query<ReportQuery>,
) -> Result<Response, Refusal> {
    let format = named(query.format.as_deref().unwrap_or("json"))?;
    let report = stored(&view, &id).await?;
    written(format, report).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangesQuery {
    since: String,
    format: Option<String>,
}

/// What changed since another run: as `--baseline` says it, or the whole report with it in one of the formats.
async fn changes(
    State(view): State<View>,
    Path(id): Path<String>,
    Query(query): Query<ChangesQuery>,
) -> Result<Response, Refusal> {
    let format = query.format.as_deref().map(named).transpose()?;
    let (earlier, mut report) = (
        stored(&view, &query.since).await?,
        stored(&view, &id).await?,
    );
    match format {
        None => {
            let baseline = off_thread(move || Baseline::new(&earlier, &report)).await?;
            Ok(Json(baseline).into_response())
        }
        Some(format) => {
            let report = off_thread(move || {
                report.compare_with(&earlier);
                report
            });
            written(format, report.await?).await
        }
    }
}

/// The report of a run.
pub(super) async fn stored(view: &View, id: &str) -> Result<Report, Refusal> {
    if let Some(report) = view.store.report(id).await? {
        return Ok(report);
    }
    Err(match view.store.run(id).await? {
        None => Refusal::no_run(id),
        Some(run) => Refusal::new(
            StatusCode::NOT_FOUND,
            format!("this run has no report: it is {}", run.state.as_str()),
        ),
    })
}

fn named(format: &str) -> Result<&'static Format, Refusal> {
    Format::named(format).ok_or_else(|| {
        let all: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
        Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("`format` is one of {}", all.join(", ")),
        )
    })
}

/// A report in a format.
pub(super) async fn written(format: &'static Format, report: Report) -> Result<Response, Refusal> {
    let view = ReportView {
        terminal: Terminal {
            width: TEXT_WIDTH,
            colour: Colour::Plain,
        },
        details: Details::All,
        allowed: Allowed::default(),
    };
    let bytes = off_thread(move || {
        let mut bytes = Vec::new();
        format.write(&report, &view, &mut bytes).map(|()| bytes)
    });
    let bytes = bytes.await?;
    let bytes = bytes
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let mut response = ([(header::CONTENT_TYPE, content_type(format.name))], bytes).into_response();
    if format.name == "html" {
        let policy = axum::http::HeaderValue::from_static(REPORT_POLICY);
        response
            .headers_mut()
            .insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    Ok(response)
}

fn content_type(format: &str) -> &'static str {
    match format {
        "json" => "application/json",
        "ndjson" => "application/x-ndjson",
        "html" => "text/html; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "junit" => "application/xml",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_published_description_has_every_route_and_no_other() {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../deploy/schemas/openapi.json"
        );
        let described: Value =
            serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let paths = described.get("paths").and_then(Value::as_object).unwrap();
        let methods = |item: &Value| -> Vec<String> {
            item.as_object()
                .into_iter()
                .flatten()
                .map(|(name, _)| name.to_uppercase())
                .collect()
        };
        let found: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, item)| {
                methods(item)
                    .into_iter()
                    .map(|method| (method, path.clone()))
            })
            .collect();
        let routes = ROUTES.iter().flat_map(|(path, methods, _)| {
            let methods = methods.iter();
            methods.map(|method| ((*method).to_owned(), (*path).to_owned()))
        });
        assert_eq!(found, routes.collect());
    }
}
