//! One run, forward only (STYLE 2).

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reachproof_model::compare::Comparison;
use reachproof_model::describe::Described;
use reachproof_model::expectation::requirements;
use reachproof_model::observation::{Presence, RunEvidence};
use reachproof_model::plan::{
    ATTEMPT_DEADLINE, ATTEMPT_INTERVAL, ATTEMPTS, FLOWS_PER_RUN_MAX, FileState, ProbePlan, Roster,
    RosterAgent, Scope, plan,
};
use reachproof_model::predict::predict;
use reachproof_model::prediction::Prediction;
use reachproof_model::snapshot::{Decoded, Gap, GapKind, Snapshot};
use reachproof_model::stability::{Reading, Stability, stability};
use ring::digest::{SHA256, digest};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use crate::config::{RunConfig, SnapshotContent};
use crate::control::{ControlConfig, serve};
use crate::credentials::hexadecimal;
use crate::dispatch::Dispatch;
use crate::error::RunError;
use crate::fleet::Fleet;
use crate::inventory::{expected_count, is_complete, missing};
use crate::progress::Progress;
use crate::registry::{News, Registry};
use crate::report::build::judged;
use crate::report::{Agents, PresentAgent, REPORT_SCHEMA, Report, RunRecord, SnapshotRecord};
use crate::source;
use crate::wire::assignment::milliseconds;

/// How long agents may take to open their ports.
pub const LISTEN_WAIT: Duration = Duration::from_secs(10);

/// What an agent may still be holding back when a probe ends: it sends results at least every 200 ms.
pub const FLUSH: Duration = Duration::from_millis(500);

/// How often the wait for news looks at the clock.
const LOOK: Duration = Duration::from_secs(1);

/// How late such a look is when the process did not run: far above what a busy machine does.
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
    let (fleet, arrivals) = Fleet::new();
    let control = ControlConfig::new(&config.credentials, config.random.as_ref(), arrivals)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let server = serve(listener, control, async {
        // An error is the sender dropped: the run is over as well.
        drop(stopped.await);
    });
    let mut server = tokio::spawn(server);
    let report = tokio::select! {
        report = steps(&config, address, fleet, &progress) => report,
        () = shutdown => Err(RunError::Interrupted),
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
    mut fleet: Fleet,
    progress: &(impl Fn(Progress) + Send + Sync),
) -> Result<Report, RunError> {
    let began = Instant::now();
    let before = World::read(&config.snapshot).await?;
    progress(Progress::Decoded {
        interfaces: before.decoded.snapshot.network_interfaces().count(),
        gaps: before.decoded.gaps.len(),
    });
    let snapshot = &before.decoded.snapshot;
    let roster = gather(config, snapshot, address, &mut fleet, progress).await?;
    let scope = Scope {
        network_policies: file_state(&before.decoded.gaps, "networkpolicies"),
        flows_max: FLOWS_PER_RUN_MAX,
        seed: config.seed,
    };
    let plan = plan(snapshot, &roster, &scope);
    let predictions = predictions(snapshot, &plan);
    let name = run_name(config)?;
    let dispatch = Dispatch::new(
        name.clone(),
        config.resume_wait,
        &plan,
        &fleet.registry,
        config.random.as_ref(),
    )?;
    let evidence = probe(dispatch, &mut fleet, &roster, config.resume_wait, progress).await;
    let present = present(&roster, &fleet.registry, &evidence);
    fleet.close().await;
    let after = World::read(&config.snapshot).await;
    let stability = compare_worlds(&before, after, &plan, &predictions);
    let findings = Comparison::new(&plan, &predictions, &roster, &evidence, &stability).findings();
    let wishes = requirements(snapshot, &roster);
    let judged = judged(snapshot, &roster, &plan, &wishes, findings);
    Ok(Report {
        schema: REPORT_SCHEMA,
        run: run_record(config, name, began.elapsed()),
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
}

impl World {
    /// Reads and decodes the snapshot, off the threads that serve agents.
    async fn read(path: &Path) -> Result<Self, RunError> {
        let path = path.to_owned();
        let read = tokio::task::spawn_blocking(move || {
            let described = source::read(&path)?;
            let decoded = Snapshot::decode(&described)?;
            Ok(Self { described, decoded })
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
    fleet: &mut Fleet,
    progress: &(impl Fn(Progress) + Send + Sync),
) -> Result<Roster, RunError> {
    progress(Progress::Gathering {
        expected: expected_count(&config.expected, snapshot),
        wait: config.wait,
    });
    let deadline = Instant::now() + config.wait;
    loop {
        let agents: Vec<RosterAgent> = fleet
            .registry
            .members()
            .values()
            .map(|member| member.roster_agent())
            .collect();
        let complete = is_complete(&config.expected, snapshot, &agents);
        let news = if complete {
            None
        } else {
            timeout_at(deadline, fleet.news()).await.ok()
        };
        match news {
            Some(News::Arrived(name)) => progress(Progress::AgentArrived {
                name: name.to_string(),
                present: fleet.registry.members().len(),
            }),
            Some(_) => {}
            None if agents.is_empty() => {
                return Err(RunError::NoAgents {
                    wait_s: config.wait.as_secs(),
                    address,
                });
            }
            None => return Ok(Roster::new(agents)),
        }
    }
}

/// Predicts every flow of the plan. From here on nothing changes a prediction.
fn predictions(snapshot: &Snapshot, plan: &ProbePlan) -> Vec<Prediction> {
    plan.flows
        .iter()
        .map(|flow| predict(snapshot, &flow.flow))
        .collect()
}

/// Lets every agent listen, then probe, and collects what they report.
async fn probe(
    mut dispatch: Dispatch<'_>,
    fleet: &mut Fleet,
    roster: &Roster,
    resume_wait: Duration,
    progress: &(impl Fn(Progress) + Send + Sync),
) -> RunEvidence {
    let silence = dispatch.silence(&fleet.registry);
    progress(Progress::Planned {
        flows: dispatch.flows(),
        probes: dispatch.total(),
        agents: roster.len(),
        silence,
    });
    dispatch.listen(&mut fleet.registry);
    let deadline = Instant::now() + LISTEN_WAIT;
    collect(&mut dispatch, fleet, deadline, |dispatch, _| {
        dispatch.listening()
    })
    .await;

    dispatch.probe(&mut fleet.registry);
    let deadline = Instant::now() + silence + resume_wait;
    let mut shown = 0;
    collect(&mut dispatch, fleet, deadline, |dispatch, _| {
        let (finished, total) = (dispatch.finished(), dispatch.total());
        if finished != shown {
            shown = finished;
            progress(Progress::Probing { finished, total });
        }
        finished == total
    })
    .await;

    progress(Progress::Comparing);
    let ended = Instant::now() + FLUSH;
    while let Ok(news) = timeout_at(ended, fleet.news()).await {
        dispatch.take(news, &mut fleet.registry);
    }
    fleet.registry.ask();
    let heard = |registry: &Registry| {
        let mut members = registry.members().values();
        members.all(|member| {
            roster.agent(&member.greeting.agent.name).is_none() || member.heard >= ended
        })
    };
    collect(&mut dispatch, fleet, ended + resume_wait, |_, registry| {
        heard(registry)
    })
    .await;
    dispatch.cancel(&mut fleet.registry);
    dispatch.evidence(&fleet.registry, |member| match member {
        Some(member) if member.heard >= ended => Presence::HeardToTheEnd,
        Some(_) | None => Presence::Lost,
    })
}

/// Takes news until `done` or the deadline.
///
/// Time in which this process did not run (it was paused, or the machine was) does not count: agents had nobody to report
/// to, and have to dial again first.
async fn collect(
    dispatch: &mut Dispatch<'_>,
    fleet: &mut Fleet,
    mut deadline: Instant,
    mut done: impl FnMut(&Dispatch<'_>, &Registry) -> bool,
) {
    while !done(dispatch, &fleet.registry) {
        let look = (Instant::now() + LOOK).min(deadline);
        let news = timeout_at(look, fleet.news()).await;
        let late = Instant::now().saturating_duration_since(look);
        if late >= PAUSE {
            warn!(paused_ms = %late.as_millis(), "this process did not run for a while");
            deadline += late;
        }
        match news {
            Ok(news) => dispatch.take(news, &mut fleet.registry),
            Err(_) if Instant::now() >= deadline => {
                warn!("a deadline passed before every agent had reported");
                return;
            }
            Err(_) => {}
        }
    }
}

/// Compares the two readings; a second one that failed counts as none.
fn compare_worlds(
    before: &World,
    after: Result<World, RunError>,
    plan: &ProbePlan,
    predictions: &[Prediction],
) -> Stability {
    let after = after
        .inspect_err(|error| warn!(%error, "the snapshot could not be read again"))
        .ok();
    let after = after.as_ref().map(World::reading);
    let stability = stability(before.reading(), after, plan, predictions);
    info!(state = ?stability.state, touched = stability.touched.len(), "readings compared");
    stability
}

/// Those who took part, with what is known of each.
fn present(roster: &Roster, registry: &Registry, evidence: &RunEvidence) -> Vec<PresentAgent> {
    roster
        .agents()
        .map(|agent| {
            let record = evidence.records.get(&agent.name);
            let member = registry.members().get(&agent.name);
            PresentAgent {
                name: agent.name.clone(),
                kind: agent.kind,
                addresses: agent.addresses.clone(),
                version: member.map_or_else(String::new, |member| member.greeting.version.clone()),
                presence: record.map_or(Presence::Lost, |record| record.presence),
                results_lost: record.map_or(0, |record| record.results_lost),
                ports_refused: record
                    .map(|record| record.ports_refused.keys().copied().collect())
                    .unwrap_or_default(),
            }
        })
        .collect()
}

/// Draws the name of a run.
fn run_name(config: &RunConfig) -> Result<String, RunError> {
    let mut bytes = [0; RUN_NAME_BYTES];
    config.random.fill(&mut bytes)?;
    Ok(format!("run-{}", hexadecimal(&bytes)))
}

/// When and how a run was done.
fn run_record(config: &RunConfig, id: String, took: Duration) -> RunRecord {
    RunRecord {
        id,
        started_at_unix_ms: unix_milliseconds(config.started_at),
        duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        version: env!("CARGO_PKG_VERSION"),
        seed: config.seed,
        attempts: ATTEMPTS,
        deadline_ms: milliseconds(ATTEMPT_DEADLINE),
        interval_ms: milliseconds(ATTEMPT_INTERVAL),
    }
}

/// Milliseconds since 1970; 0 for a clock before that.
fn unix_milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The world with its digest.
fn snapshot_record(described: &Described, content: SnapshotContent) -> SnapshotRecord {
    let world = described.to_json();
    let sha256 = hexadecimal(digest(&SHA256, world.to_string().as_bytes()).as_ref());
    SnapshotRecord {
        sha256,
        content: match content {
            SnapshotContent::Included => Some(world),
            SnapshotContent::LeftOut => None,
        },
    }
}
