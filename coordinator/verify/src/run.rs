//! One run, forward only (STYLE 2).

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reachproof_model::compare::compare;
use reachproof_model::describe::Described;
use reachproof_model::expectation::requirements;
use reachproof_model::observation::AgentName;
use reachproof_model::plan::{
    Depth, FLOWS_PER_RUN_MAX, FileState, ProbePlan, Roster, RosterAgent, Scope, plan,
};
use reachproof_model::predict::predict;
use reachproof_model::prediction::Prediction;
use reachproof_model::snapshot::{Decoded, Gap, GapKind, Snapshot};
use reachproof_model::stability::{Reading, Stability, stability};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use crate::config::RunConfig;
use crate::control::{ControlConfig, serve};
use crate::credentials::hexadecimal;
use crate::dispatch::{Dispatch, TURN};
use crate::error::RunError;
use crate::fleet::Fleet;
use crate::inventory::{expected_count, is_complete, missing};
use crate::progress::Progress;
use crate::registry::{Member, News, Registry};
use crate::report::build::judged;
use crate::report::{Agents, REPORT_SCHEMA, ReadingRecord, Report};
use crate::source::WorldSource;

use record::{present, reading_record, run_record, snapshot_record};

mod record;

/// How long agents may take to open their ports.
pub const LISTEN_WAIT: Duration = Duration::from_secs(10);

/// How late a turn is when the process did not run: far above what a busy machine does.
const PAUSE: Duration = Duration::from_secs(5);

/// How long the control server may take to end after the run.
const SERVER_END_WAIT: Duration = Duration::from_secs(2);

/// Length of the random part of a run's name, in bytes.
const RUN_NAME_BYTES: usize = 8;

/// Does one run: read, decode, gather, plan, predict, probe, re-read, compare, report.
///
/// Serves agents on `listener` until the run is over; tells `progress` what happens; ends early when `shutdown`
/// completes. Predictions are sealed before the first packet leaves.
///
/// # Errors
/// [`RunError`] when the run could not be done. A contradiction is a result, not an error.
pub async fn run(
    config: RunConfig,
    listener: TcpListener,
    progress: impl Fn(Progress) + Send + Sync,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Report, RunError> {
    let address = listener.local_addr().map_err(RunError::Listener)?;
    let (fleet, arrivals) = Fleet::new(shutdown);
    let control = ControlConfig::new(&config.credentials, config.random.as_ref(), arrivals)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let server = serve(listener, control, async {
        // An error is the sender dropped: the run is over as well.
        drop(stopped.await);
    });
    let mut server = tokio::spawn(server);
    let report = tokio::select! {
        report = steps(&config, address, fleet, &progress) => report,
        _ = &mut server => Err(RunError::ServerEnded),
    };
    drop(stop);
    // A client that keeps its connection open does not keep the report back.
    if !server.is_finished() && timeout(SERVER_END_WAIT, &mut server).await.is_err() {
        server.abort();
    }
    report
}

/// The nine steps of STYLE 2, one after the other.
async fn steps(
    config: &RunConfig,
    address: SocketAddr,
    mut fleet: Fleet<'_>,
    progress: &(impl Fn(Progress) + Send + Sync),
) -> Result<Report, RunError> {
    let began = Instant::now();
    let before = fleet
        .unless_stopped(World::read(&config.snapshot))
        .await??;
    progress(Progress::Decoded {
        interfaces: before.decoded.snapshot.network_interfaces().count(),
        gaps: before.decoded.gaps.len(),
    });
    let snapshot = &before.decoded.snapshot;
    let roster = gather(config, snapshot, address, &mut fleet, progress).await?;
    let depth = config.depth.unwrap_or(Depth::fitting(roster.len()));
    let scope = Scope {
        network_policies: file_state(&before.decoded.gaps, "networkpolicies"),
        flows_max: FLOWS_PER_RUN_MAX,
        depth,
        seed: config.seed,
    };
    let plan = plan(snapshot, &roster, &scope);
    let predictions = predictions(snapshot, &plan);
    let name = run_name(config)?;
    let mut dispatch = Dispatch::new(
        name.clone(),
        config.resume_wait,
        &plan,
        &fleet.registry,
        config.random.as_ref(),
    )?;
    let probed = probe(
        &mut dispatch,
        &mut fleet,
        &roster,
        config.resume_wait,
        progress,
    )
    .await;
    dispatch.cancel(&mut fleet.registry);
    if let Err(error) = probed {
        fleet.close().await;
        return Err(error);
    }
    let evidence = dispatch.evidence(&fleet.registry);
    let present = present(snapshot, &roster, &fleet.registry, &evidence);
    let after = fleet.unless_stopped(World::read(&config.snapshot)).await;
    fleet.close().await;
    let after = after?
        .inspect_err(|error| warn!(%error, "the snapshot could not be read again"))
        .ok();
    let stability = compare_worlds(&before, after.as_ref(), &plan, &predictions);
    let findings = compare(&plan, predictions, &roster, &evidence, &stability);
    let wishes = requirements(snapshot, &roster);
    let judged = judged(snapshot, &roster, &plan, &wishes, findings);
    Ok(Report {
        schema: REPORT_SCHEMA,
        run: run_record(
            config,
            (name, depth),
            began.elapsed(),
            readings(&before, after),
        ),
        summary: judged.summary,
        expectations: judged.expectations,
        findings: judged.findings,
        coverage: judged.coverage,
        agents: Agents {
            present,
            missing: missing(&config.expected, snapshot, &roster, address),
            conflicts: roster.conflicts().to_vec(),
        },
        stability,
        snapshot: snapshot_record(&before.described, config.content),
        endpoints: judged.endpoints,
        gaps: before.decoded.gaps,
    })
}

/// One reading of the world.
struct World {
    described: Described,
    decoded: Decoded,
    cost: ReadingRecord,
}

impl World {
    /// Reads and decodes the snapshot, off the threads that serve agents.
    async fn read(source: &Arc<dyn WorldSource>) -> Result<Self, RunError> {
        let source = Arc::clone(source);
        let read = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let reading = source.read()?;
            let cost = reading_record(&reading, began.elapsed());
            let decoded = Snapshot::decode(&reading.described)?;
            Ok(Self {
                described: reading.described,
                decoded,
                cost,
            })
        });
        read.await.map_err(|_| RunError::Interrupted)?
    }

    /// The reading as the model takes it.
    fn reading(&self) -> Reading<'_> {
        Reading {
            described: &self.described,
            snapshot: &self.decoded.snapshot,
        }
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

/// Waits for the agents that are expected, at most as long as the configuration says.
async fn gather(
    config: &RunConfig,
    snapshot: &Snapshot,
    address: SocketAddr,
    fleet: &mut Fleet<'_>,
    progress: &(impl Fn(Progress) + Send + Sync),
) -> Result<Roster, RunError> {
    progress(Progress::Gathering {
        expected: expected_count(&config.expected, snapshot),
        wait: config.wait,
    });
    let deadline = Instant::now() + config.wait;
    while !is_complete(&config.expected, snapshot, &dialled_in(&fleet.registry)) {
        let Ok(arrived) = timeout_at(deadline, arrival(fleet)).await else {
            break;
        };
        progress(Progress::AgentArrived {
            name: arrived?.to_string(),
            present: fleet.registry.members().len(),
        });
    }
    let roster = Roster::new(dialled_in(&fleet.registry));
    if roster.is_empty() {
        return Err(RunError::NoAgents {
            wait_s: config.wait.as_secs(),
            address,
            missing: missing(&config.expected, snapshot, &roster, address),
        });
    }
    Ok(roster)
}

/// Waits for an agent that was not here before.
async fn arrival(fleet: &mut Fleet<'_>) -> Result<AgentName, RunError> {
    loop {
        if let News::Arrived(name) = fleet.news().await? {
            return Ok(name);
        }
    }
}

/// The agents that dialled in.
fn dialled_in(registry: &Registry) -> Vec<RosterAgent> {
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

/// Lets every agent listen, then probe, collects what they report, and waits until each says that it has reported everything.
async fn probe(
    dispatch: &mut Dispatch<'_>,
    fleet: &mut Fleet<'_>,
    roster: &Roster,
    resume_wait: Duration,
    progress: &(impl Fn(Progress) + Send + Sync),
) -> Result<(), RunError> {
    let silence = dispatch.silence();
    progress(Progress::Planned {
        flows: dispatch.flows(),
        probes: dispatch.total(),
        agents: roster.len(),
        silence,
    });
    dispatch.listen(&mut fleet.registry);
    let deadline = Instant::now() + LISTEN_WAIT;
    collect(dispatch, fleet, deadline, |dispatch, _| {
        dispatch.listening()
    })
    .await?;

    let deadline = Instant::now() + silence + resume_wait;
    let (mut shown, mut next) = (0, Instant::now());
    collect(dispatch, fleet, deadline, |dispatch, registry| {
        let now = Instant::now();
        if now >= next {
            dispatch.turn(now, registry);
            next = now + TURN;
        }
        let (finished, total) = (dispatch.finished(), dispatch.total());
        if finished != shown {
            shown = finished;
            progress(Progress::Probing { finished, total });
        }
        finished == total
    })
    .await?;

    progress(Progress::Comparing);
    dispatch.fence(&mut fleet.registry);
    let deadline = Instant::now() + resume_wait;
    collect(dispatch, fleet, deadline, |dispatch, _| dispatch.fenced()).await
}

/// Takes news until `is_done` says so, which is asked at least once a turn, or until the deadline.
///
/// Time in which this process did not run (it was paused, or the machine was) does not count: agents had nobody to report
/// to, and have to dial again first.
async fn collect(
    dispatch: &mut Dispatch<'_>,
    fleet: &mut Fleet<'_>,
    mut deadline: Instant,
    mut is_done: impl FnMut(&mut Dispatch<'_>, &mut Registry) -> bool,
) -> Result<(), RunError> {
    while !is_done(dispatch, &mut fleet.registry) {
        let look = (Instant::now() + TURN).min(deadline);
        let news = timeout_at(look, fleet.news()).await;
        let late = Instant::now().saturating_duration_since(look);
        if late >= PAUSE {
            warn!(paused_ms = %late.as_millis(), "this process did not run for a while");
            deadline += late;
        }
        match news {
            Ok(news) => dispatch.take(news?, &mut fleet.registry),
            Err(_) if Instant::now() >= deadline => {
                warn!("a deadline passed before every agent had reported");
                break;
            }
            Err(_) => {}
        }
    }
    Ok(())
}

/// What the readings cost that came about.
fn readings(before: &World, after: Option<World>) -> Vec<ReadingRecord> {
    let after = after.map(|world| world.cost);
    std::iter::once(before.cost).chain(after).collect()
}

/// Compares the two readings; a second one that failed counts as none.
fn compare_worlds(
    before: &World,
    after: Option<&World>,
    plan: &ProbePlan,
    predictions: &[Prediction],
) -> Stability {
    let after = after.map(World::reading);
    let stability = stability(before.reading(), after, plan, predictions);
    info!(state = ?stability.state, touched = stability.touched.len(), "readings compared");
    stability
}

/// Draws the name of a run.
fn run_name(config: &RunConfig) -> Result<String, RunError> {
    let mut bytes = [0; RUN_NAME_BYTES];
    config.random.fill(&mut bytes)?;
    Ok(format!("run-{}", hexadecimal(&bytes)))
}
