//! One run, forward only (ARCHITECTURE, "One run").

use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;

use reachproof_model::compare::compare;
use reachproof_model::expectation::requirements;
use reachproof_model::flow::Flow;
use reachproof_model::plan::{
    Besides, Depth, FLOWS_PER_RUN_MAX, FileState, ProbePlan, Roster, RosterAgent, Scope, add_dials,
    plan_with,
};
use reachproof_model::predict::predict;
use reachproof_model::prediction::Prediction;
use reachproof_model::snapshot::{Gap, GapKind, Snapshot};
use tokio::time::Instant;
use tracing::warn;

use crate::certificate::CertificateJudge;
use crate::config::Order;
use crate::credentials::hexadecimal;
use crate::error::RunError;
use crate::fleet::Fleet;
use crate::inbox::Inbox;
use crate::inventory::{expected_count, gone, missing};
use crate::progress::Progress;
use crate::random::{Random, RandomError, drawn};
use crate::registry::Member;
use crate::report::build::judged;
use crate::report::{Agents, PresentAgent, REPORT_SCHEMA, Report, VoidAgent};
use crate::source::WorldSource;

use probe::Sealed;
use record::{present, run_record, snapshot_record, void};
use world::World;

pub use probe::LISTEN_WAIT;
pub use record::sha256;

mod dial;
mod gather;
mod probe;
mod record;
mod survey;
mod world;

/// Length of the random part of a run's name, in bytes.
const RUN_NAME_BYTES: usize = 8;

/// Does one run of `fleet` over `world`: the nine steps of ARCHITECTURE, "One run", one after the other.
///
/// Tells `progress` what happens; ends early when `shutdown` completes. Predictions are sealed before the first packet
/// leaves. The fleet lives on, and may serve other runs at the same time.
///
/// # Errors
/// [`RunError`] when the run could not be done. A contradiction is a result, not an error.
pub async fn run(
    world: &Arc<dyn WorldSource>,
    fleet: &Fleet,
    order: &Order,
    progress: &(dyn Fn(Progress) + Send + Sync),
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Report, RunError> {
    let mut run = Run::new((world, fleet, order), progress, shutdown)?;
    let first = run.read().await?;
    run.gather(&first.decoded.snapshot).await?;
    let worlds = run.settle(first).await?;
    let snapshot = &worlds.before.decoded.snapshot;
    run.enter(snapshot);
    let roster = Roster::new(dialled_in(fleet));
    let scope = scope(order, &roster, &worlds.before.decoded.gaps);
    let surveyed = run.survey(snapshot, &roster).await?;
    let own = &order.expectations;
    let expectations =
        requirements(snapshot, &roster).with_own((snapshot, &roster), &own.own, &own.off);
    let wanted: Vec<&Flow> = expectations.own_flows().collect();
    let besides = Besides {
        wanted: &wanted,
        earlier: &order.earlier,
    };
    let mut plan = plan_with(snapshot, &roster, &scope, besides);
    add_dials(&mut plan, snapshot, &roster, &scope, &surveyed.dialling);
    let predictions = predictions(snapshot, &plan);
    let sealed = Sealed {
        plan: &plan,
        predictions: &predictions,
        roster: &roster,
        dialling: &surveyed.dialling,
    };
    let judge = CertificateJudge::new(snapshot.cluster(), run.wall_clock());
    let evidence = run.probe(sealed, judge).await?;
    let present = present(snapshot, &roster, &fleet.registry(), &evidence);
    let void = void(&evidence);
    let after = run.read_again().await?;
    let stability = worlds.compare(after.as_ref(), &plan, &predictions);
    let findings = compare(&plan, predictions, &roster, evidence, &stability);
    let judged = judged(snapshot, &roster, &plan, &expectations, findings);
    let (readings, took) = (worlds.costs(after.as_ref()), run.began.elapsed());
    Ok(Report {
        schema: REPORT_SCHEMA.into(),
        run: run_record((order, snapshot), (run.name, scope.depth), took, readings),
        summary: judged.summary,
        expectations: judged.expectations,
        causes: judged.causes,
        coverage: judged.coverage,
        agents: agents((order, fleet), (snapshot, &roster), (present, void)),
        stability: stability.into(),
        control_plane: surveyed
            .record
            .map(|record| record.with_ports(&judged.findings)),
        snapshot: snapshot_record(&worlds.before.described, order.content),
        endpoints: judged.endpoints,
        claims: Vec::new(),
        baseline: None,
        remarks: own.remarks.clone(),
        gaps: worlds.before.decoded.gaps,
        findings: judged.findings,
    })
}

/// Who took part, and who did not.
fn agents(
    (order, fleet): (&Order, &Fleet),
    (snapshot, roster): (&Snapshot, &Roster),
    (present, void): (Vec<PresentAgent>, Vec<VoidAgent>),
) -> Agents {
    Agents {
        expected: expected_count(&order.expected, snapshot),
        present,
        void,
        missing: missing(&order.expected, snapshot, roster, fleet.address()),
        gone: gone(&order.expected, snapshot, roster),
        conflicts: roster.conflicts().to_vec(),
        refused: fleet.refused().so_far(),
    }
}

/// A run that is under way: what it was given, and its inbox.
struct Run<'a> {
    name: String,
    /// Zero of the run's clock.
    began: Instant,
    world: &'a Arc<dyn WorldSource>,
    fleet: &'a Fleet,
    order: &'a Order,
    inbox: Inbox<'a>,
    progress: &'a (dyn Fn(Progress) + Send + Sync),
}

impl<'a> Run<'a> {
    /// Draws the name of a run and opens its inbox.
    fn new(
        (world, fleet, order): (&'a Arc<dyn WorldSource>, &'a Fleet, &'a Order),
        progress: &'a (dyn Fn(Progress) + Send + Sync),
        shutdown: impl Future<Output = ()> + Send + 'a,
    ) -> Result<Self, RunError> {
        let name = order.name.clone();
        let name = name.map_or_else(|| run_name(order.random.as_ref()), Ok)?;
        Ok(Self {
            inbox: Inbox::open(fleet, &name, shutdown),
            name,
            began: Instant::now(),
            world,
            fleet,
            order,
            progress,
        })
    }

    /// Time of day.
    fn wall_clock(&self) -> SystemTime {
        self.order.started_at + self.began.elapsed()
    }

    /// Reads and decodes the world.
    async fn read(&mut self) -> Result<World, RunError> {
        let first = self.inbox.unless_stopped(World::read(self.world)).await??;
        (self.progress)(Progress::Decoded {
            interfaces: first.decoded.snapshot.network_interfaces().count(),
            gaps: first.decoded.gaps.len(),
        });
        self.enter(&first.decoded.snapshot);
        Ok(first)
    }

    /// Tells the fleet where agents may be, and how many of them there should be.
    fn enter(&self, snapshot: &Snapshot) {
        let expected = expected_count(&self.order.expected, snapshot);
        self.fleet.enter_world(snapshot, expected);
    }

    /// Reads the world after the last probe; absent where it could not be read.
    async fn read_again(&mut self) -> Result<Option<World>, RunError> {
        let after = self.inbox.meanwhile(World::read(self.world)).await?;
        Ok(after
            .inspect_err(|error| warn!(%error, "the snapshot could not be read again"))
            .ok())
    }
}

/// How much is planned.
fn scope(order: &Order, roster: &Roster, gaps: &[Gap]) -> Scope {
    Scope {
        network_policies: file_state(gaps, "networkpolicies"),
        flows_max: FLOWS_PER_RUN_MAX,
        depth: order.depth.unwrap_or(Depth::fitting(roster.len())),
        seed: order.seed,
    }
}

/// Whether a file is in the snapshot.
fn file_state(gaps: &[Gap], file: &str) -> FileState {
    let absent = gaps
        .iter()
        .any(|gap| gap.file == file && gap.kind == GapKind::FileAbsent);
    if absent {
        FileState::Absent
    } else {
        FileState::Read
    }
}

/// The agents that dialled in.
fn dialled_in(fleet: &Fleet) -> Vec<RosterAgent> {
    let registry = fleet.registry();
    let members = registry.members().values();
    members.map(Member::roster_agent).collect()
}

/// Predicts every flow of the plan. From here on nothing changes a prediction.
fn predictions(snapshot: &Snapshot, plan: &ProbePlan) -> Vec<Prediction> {
    plan.flows
        .iter()
        .map(|flow| predict(snapshot, &flow.flow))
        .collect()
}

/// Draws the name of a run.
///
/// # Errors
/// [`RandomError`] where the system has no randomness.
pub fn run_name(random: &dyn Random) -> Result<String, RandomError> {
    Ok(format!(
        "run-{}",
        hexadecimal(&drawn::<RUN_NAME_BYTES>(random)?)
    ))
}
