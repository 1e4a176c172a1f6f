//! `/metrics`, in the text form of OpenMetrics. No label is an address or a name of an agent: the number of series does not
//! grow with the fleet.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use reachproof_model::expectation::ExpectationState;
use reachproof_model::finding::FindingKind;
use reachproof_model::plan::AgentKind;
use reachproof_verify::Report;

use super::{Refusal, View};
use crate::store::RunRow;

/// Upper bounds of the time that a run takes, in seconds.
const RUN_SECONDS: [f64; 8] = [5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AgentLabels {
    kind: &'static str,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunLabels {
    cause: String,
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabels {
    cause: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FindingLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    agents: Family<AgentLabels, Gauge>,
    refused: Gauge,
    dropped: Family<ReasonLabels, Counter>,
    runs: Family<RunLabels, Counter>,
    duration: Family<CauseLabels, Histogram, fn() -> Histogram>,
    last: Family<CauseLabels, Gauge<f64, AtomicU64>>,
    findings: Family<FindingLabels, Gauge>,
    contradictions: Family<DirectionLabels, Gauge>,
    expectations: Family<StateLabels, Gauge>,
    missing: Gauge,
    alerts_lost: Counter,
    store_fault: Gauge,
}

fn run_seconds() -> Histogram {
    Histogram::new(RUN_SECONDS)
}

impl Metrics {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(version: &'static str) -> Self {
        let metrics = Self::unregistered();
        let mut registry = metrics.registered();
        let build = Info::new(vec![("version".to_owned(), version.to_owned())]);
        registry.register("build", "Version of the program", build);
        Self {
            registry: Mutex::new(registry),
            ..metrics
        }
    }

    fn unregistered() -> Self {
        let duration: fn() -> Histogram = run_seconds;
        Self {
            registry: Mutex::default(),
            agents: Family::default(),
            refused: Gauge::default(),
            dropped: Family::default(),
            runs: Family::default(),
            duration: Family::new_with_constructor(duration),
            last: Family::default(),
            findings: Family::default(),
            contradictions: Family::default(),
            expectations: Family::default(),
            missing: Gauge::default(),
            alerts_lost: Counter::default(),
            store_fault: Gauge::default(),
        }
    }

    /// Every metric by its name.
    fn registered(&self) -> Registry {
        let mut registry = Registry::with_prefix("reachproof");
        self.register_fleet(&mut registry);
        registry.register(
            "runs",
            "Runs that ended, by what asked for them and their verdict",
            self.runs.clone(),
        );
        registry.register_with_unit(
            "run_duration",
            "How long runs took",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register_with_unit(
            "last_run_timestamp",
            "When the last run ended that has a report",
            Unit::Seconds,
            self.last.clone(),
        );
        registry.register(
            "findings",
            "Findings of the last run",
            self.findings.clone(),
        );
        registry.register(
            "contradictions",
            "Contradictions of the last run",
            self.contradictions.clone(),
        );
        registry.register(
            "expectations",
            "Expectations of the last run, by their state",
            self.expectations.clone(),
        );
        registry.register(
            "agents_missing",
            "Agents that the last run expected and that did not come",
            self.missing.clone(),
        );
        registry.register(
            "alerts_lost",
            "Alerts that nobody took",
            self.alerts_lost.clone(),
        );
        registry.register(
            "store_fault",
            "1 while the store does not take what is to be kept",
            self.store_fault.clone(),
        );
        registry
    }

    /// What is said of agents.
    fn register_fleet(&self, registry: &mut Registry) {
        registry.register(
            "agents",
            "Agents by where they run and whether their stream is open",
            self.agents.clone(),
        );
        registry.register(
            "agents_refused",
            "Agents that were not let in since the start",
            self.refused.clone(),
        );
        registry.register(
            "results_dropped",
            "Attempts that their agent was not asked for, and batches that came again or for no run",
            self.dropped.clone(),
        );
    }

    /// Counts a run that ended.
    pub(crate) fn ended(&self, run: &RunRow) {
        let outcome = if run.verdict.is_empty() {
            run.state.as_str().to_owned()
        } else {
            run.verdict.to_lowercase()
        };
        let cause = run.cause.clone();
        self.runs
            .get_or_create(&RunLabels {
                cause: cause.clone(),
                outcome,
            })
            .inc();
        let Some(ended) = run.ended_at_unix_ms else {
            return;
        };
        let labels = CauseLabels { cause };
        let took = ended.saturating_sub(run.started_at_unix_ms);
        self.duration.get_or_create(&labels).observe(seconds(took));
        if run.state == crate::store::RunState::Done {
            self.last.get_or_create(&labels).set(seconds(ended));
        }
    }

    /// Notes what the last run found.
    pub(crate) fn found(&self, report: &Report) {
        for kind in FindingKind::ALL {
            let labels = FindingLabels {
                kind: kind.as_str(),
            };
            self.findings
                .get_or_create(&labels)
                .set(gauge(report.count(kind)));
        }
        for (direction, kind) in [
            ("open", FindingKind::ContradictionOpen),
            ("closed", FindingKind::ContradictionClosed),
        ] {
            let labels = DirectionLabels { direction };
            self.contradictions
                .get_or_create(&labels)
                .set(gauge(report.count(kind)));
        }
        for state in ExpectationState::ALL {
            let found = report
                .expectations
                .iter()
                .filter(|one| one.state == state)
                .count();
            let labels = StateLabels {
                state: state.as_str(),
            };
            self.expectations.get_or_create(&labels).set(gauge(found));
        }
        self.missing.set(gauge(report.agents.absent()));
    }

    pub(crate) fn alert_lost(&self) {
        self.alerts_lost.inc();
    }

    /// Looks at the fleet, and writes everything.
    fn text(&self, view: &View) -> Result<String, std::fmt::Error> {
        let list = super::api::agent_list(view);
        for kind in AgentKind::ALL {
            for (state, is_connected) in [("connected", true), ("stale", false)] {
                let kind = kind.as_str();
                let found = list
                    .agents
                    .iter()
                    .filter(|agent| agent.kind == kind && agent.is_connected == is_connected);
                self.agents
                    .get_or_create(&AgentLabels { kind, state })
                    .set(gauge(found.count()));
            }
        }
        self.refused
            .set(i64::try_from(list.refused.count()).unwrap_or(i64::MAX));
        let dropped = view.fleet.registry().dropped();
        for (reason, count) in [
            ("unasked", dropped.unasked),
            ("repeated", dropped.repeated),
            ("no_run", dropped.of_no_run),
        ] {
            let counter = self.dropped.get_or_create(&ReasonLabels { reason });
            counter.inner().store(count, Ordering::Relaxed);
        }
        self.store_fault
            .set(i64::from(view.status.borrow().fault.is_some()));
        let registry = self
            .registry
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// A time in seconds; milliseconds of centuries fit a float exactly.
#[allow(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "below 2^53"
)]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1_000.0
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The answer of `/metrics`.
pub(super) async fn text(State(view): State<View>) -> Result<Response, Refusal> {
    let text = view.metrics.text(&view);
    let text =
        text.map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}
