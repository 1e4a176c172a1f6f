//! One run, forward only (STYLE 2).

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use reachproof_model::compare::compare;
use reachproof_model::expectation::requirements;
use reachproof_model::observation::{AgentName, RunEvidence};
use reachproof_model::plan::{
    Depth, FLOWS_PER_RUN_MAX, FileState, ProbePlan, Roster, RosterAgent, Scope, plan,
};
use reachproof_model::predict::predict;
use reachproof_model::prediction::Prediction;
use reachproof_model::snapshot::{Gap, GapKind, Snapshot};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;

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
use crate::report::{Agents, REPORT_SCHEMA, Report};

use record::{present, run_record, snapshot_record};
use world::{World, Worlds};

mod record;
mod world;

/// How long agents may take to open their ports.
pub const LISTEN_WAIT: Duration = Duration::from_secs(10);

/// How late a turn is when the process did not run: far above what a busy machine does.
const PAUSE: Duration = Duration::from_secs(5);

/// How long the control server may take to end after the run.
const SERVER_END_WAIT: Duration = Duration::from_secs(2);

/// Length of the random part of a run's name, in bytes.
const RUN_NAME_BYTES: usize = 8;

/// Does one run: read, decode, gather, settle, plan, predict, probe, re-read, compare, report.
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
    let worlds = settled_worlds(config, address, &mut fleet, progress).await?;
    let before = &worlds.before;
    let snapshot = &before.decoded.snapshot;
    let roster = Roster::new(dialled_in(&fleet.registry));
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
    let named = (name.as_str(), &plan);
    let evidence = match observe(config, named, &roster, &mut fleet, progress).await {
        Ok(evidence) => evidence,
        Err(error) => {
            fleet.close().await;
            return Err(error);
        }
    };
    let present = present(snapshot, &roster, &fleet.registry, &evidence);
    let after = read_again(config, &mut fleet).await;
    fleet.close().await;
    let after = after?;
    let stability = worlds.compare(after.as_ref(), &plan, &predictions);
    let findings = compare(&plan, predictions, &roster, evidence, &stability);
    let wishes = requirements(snapshot, &roster);
    let judged = judged(snapshot, &roster, &plan, &wishes, findings);
    Ok(Report {
        schema: REPORT_SCHEMA,
        run: run_record(
            config,
            (name, depth),
            began.elapsed(),
            worlds.costs(after.as_ref()),
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
        gaps: worlds.before.decoded.gaps,
    })
}

/// Reads the world, waits for the agents and until the world has settled.
async fn settled_worlds(
    config: &RunConfig,
    address: SocketAddr,
    fleet: &mut Fleet<'_>,
    progress: &(impl Fn(Progress) + Send + Sync),
) -> Result<Worlds, RunError> {
    let first = fleet
        .unless_stopped(World::read(&config.snapshot))
        .await??;
    let snapshot = &first.decoded.snapshot;
    progress(Progress::Decoded {
        interfaces: snapshot.network_interfaces().count(),
        gaps: first.decoded.gaps.len(),
    });
    gather(config, snapshot, address, fleet, progress).await?;
    Worlds::settled(config, first, fleet, progress).await
}

/// Lets the agents probe what the plan of the run named so says, and returns what they saw.
async fn observe(
    config: &RunConfig,
    (name, plan): (&str, &ProbePlan),
    roster: &Roster,
    fleet: &mut Fleet<'_>,
    progress: &(impl Fn(Progress) + Send + Sync),
) -> Result<RunEvidence, RunError> {
    let wait = config.resume_wait;
    let random = config.random.as_ref();
    let mut dispatch = Dispatch::new(name.to_owned(), wait, plan, &fleet.registry, random)?;
    let probed = probe(&mut dispatch, fleet, roster, wait, progress).await;
    dispatch.cancel(&mut fleet.registry);
    probed?;
    Ok(dispatch.evidence(&fleet.registry))
}

/// Reads the world after the last probe; absent where it could not be read.
async fn read_again(config: &RunConfig, fleet: &mut Fleet<'_>) -> Result<Option<World>, RunError> {
    let after = fleet.unless_stopped(World::read(&config.snapshot)).await?;
    Ok(after
        .inspect_err(|error| warn!(%error, "the snapshot could not be read again"))
        .ok())
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

/// Waits for the agents that are expected, at most as long as the configuration says; one must have come.
async fn gather(
    config: &RunConfig,
    snapshot: &Snapshot,
    address: SocketAddr,
    fleet: &mut Fleet<'_>,
    progress: &(impl Fn(Progress) + Send + Sync),
) -> Result<(), RunError> {
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
    Ok(())
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

/// Draws the name of a run.
fn run_name(config: &RunConfig) -> Result<String, RunError> {
    let mut bytes = [0; RUN_NAME_BYTES];
    config.random.fill(&mut bytes)?;
    Ok(format!("run-{}", hexadecimal(&bytes)))
}
