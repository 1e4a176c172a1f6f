//! The task that owns the fleet and does one run after another.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use reachproof_model::claim::{Claim, Wire};
use reachproof_model::flow::Flow;
use reachproof_model::plan::Depth;
use reachproof_model::words::chain;
use reachproof_verify::calendar::{unix_ms, whole_ms};
use reachproof_verify::control_plane::ControlPlane;
use reachproof_verify::expectations::{ExpectationFile, day_of};
use reachproof_verify::fleet::Fleet;
use reachproof_verify::random::{RandomError, drawn_seed};
use reachproof_verify::report::human::why;
use reachproof_verify::report::kept::Kept;
use reachproof_verify::report::{Allowed, Baseline};
use reachproof_verify::run::{run, run_name, sha256};
use reachproof_verify::source::{WorldSource, anew};
use reachproof_verify::{
    Entry, EntrySettings, Order, RESUME_WAIT, Random, Report, RunError, SnapshotContent,
};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

use crate::alert::Alert;
use crate::config::Config;
use crate::error::ServiceError;
use crate::flows::flows_of;
use crate::keeper::{Keeper, keep as keep_result};
use crate::schedule::{Schedule, Trigger};
use crate::status::{Running, Status};
use crate::store::leader::{Attempt, Lead};
use crate::store::{Place, Retention, RunRow, RunState, Store, StoreError};
use crate::timetable::Timetable;
use crate::web;
use crate::web::metrics::Metrics;

/// Time between two attempts to lead a store: a waiting process takes over within twice of it.
const LEAD_EVERY: Duration = Duration::from_millis(500);

/// Time between two attempts to write what the store did not take: a disk that was full may have room again.
const STORE_EVERY: Duration = Duration::from_secs(5);

/// Longest time for one call of the store: a server that stands still answers nothing.
const STORE_WAIT: Duration = Duration::from_secs(60);

/// Longest sleep at once: the clock of the machine may be set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// How long streams of the web server may take to end.
const WEB_END_WAIT: Duration = Duration::from_secs(2);

/// Most lines of a change that are kept with a run; `diff` of both worlds has all.
const CHANGED_MAX: usize = 50;

/// Runs that may wait for the one that goes on.
const WAITING_MAX: usize = 1;

/// Verdict of a run that came to no report.
const NO_REPORT: &str = "ERROR";

/// What asks for a run when the process ended before the last one did.
pub const AFTER_RESTART: &str = "after a restart";

/// What asks for a run when somebody does.
pub const BY_HAND: &str = "by hand";

/// What the service is given beside its settings.
pub struct Parts {
    /// The world that every run reads.
    pub world: Arc<dyn WorldSource>,
    /// Name of the cluster, where the world names it.
    pub cluster: Option<String>,
    /// How long the world must not have changed before the probes; zero for a saved one.
    pub settle: Duration,
    /// API servers that connect when they are asked.
    pub control_plane: Option<Arc<dyn ControlPlane>>,
    /// What users expect.
    pub expectations: ExpectationFile,
    /// Claims that every run judges.
    pub claims: Vec<Claim>,
    /// Where the network is: what is seen in a lab is no evidence about AWS.
    pub wire: Wire,
    /// Where the last run is kept beside the store.
    pub keeper: Option<Arc<dyn Keeper>>,
    /// Keys, nonces and seeds.
    pub random: Arc<dyn Random>,
    /// Version of the program.
    pub version: &'static str,
}

/// Somebody asks for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Name of the run.
    pub id: String,
    /// Who asks.
    pub cause: String,
    /// How much is to be tried; absent: as much as fits the fleet.
    pub scope: Option<Depth>,
    /// What an earlier run tried; absent: nothing in particular.
    pub again: Option<Again>,
}

/// What an earlier run tried, so that both can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// Its seed.
    pub seed: u64,
    /// Its flows.
    pub flows: Vec<Flow>,
}

/// Serves agents, page and API, and does runs, until `shutdown` completes.
///
/// Waits first until no other process leads the store; `say` hears who does.
///
/// # Errors
/// [`ServiceError`] when the service cannot start, or agents can no longer come in. A run that cannot be done is none.
pub async fn serve(
    config: &Config,
    (parts, entry): (Parts, EntrySettings),
    shutdown: impl Future<Output = ()> + Send,
    say: impl Fn(&str) + Send + Sync,
) -> Result<(), ServiceError> {
    let (stop, stopped) = watch::channel(false);
    let service = lead_and_serve(config, (parts, entry), stopped, &say);
    tokio::pin!(service, shutdown);
    tokio::select! {
        ended = &mut service => return ended,
        () = &mut shutdown => {}
    }
    stop.send_replace(true);
    service.await
}

async fn lead_and_serve(
    config: &Config,
    (parts, entry): (Parts, EntrySettings),
    mut stopped: watch::Receiver<bool>,
    say: &(impl Fn(&str) + Send + Sync),
) -> Result<(), ServiceError> {
    let place = &config.store.place;
    let Some(mut lead) = lead(place, &mut stopped, say).await? else {
        return Ok(());
    };
    let store = Store::open(place).await?;
    let interrupted = store.interrupt().await?;
    let web_listener = bind(config.web.listen).await?;
    let agents_listener = bind(config.agents.listen).await?;
    let (asked, requests) = mpsc::channel(WAITING_MAX);
    let status = watch::Sender::new(Status::starting(parts.version, parts.cluster.clone()));
    let metrics = Arc::new(Metrics::new(parts.version));
    let mut entry = Entry::open(agents_listener, entry)?;
    let view = web::View {
        store: store.clone(),
        fleet: entry.fleet().clone(),
        status: status.subscribe(),
        asked,
        metrics: Arc::clone(&metrics),
        random: Arc::clone(&parts.random),
    };
    let server = web::Server::new(&config.web, view)?;
    let web = tokio::spawn(server.serve(web_listener, stopped.clone()));
    say(&listening(config));
    let mut service = Service {
        config,
        fleet: entry.fleet().clone(),
        timetable: Timetable::new(&config.schedules),
        parts,
        store: store.clone(),
        requests,
        status: status.clone(),
        metrics,
        alert: config.alert.clone().map(Alert::new),
        stopped,
        world: None,
    };
    let ended = tokio::select! {
        ended = service.work(&interrupted) => ended,
        () = entry.ended() => Err(RunError::ServerEnded.into()),
        lost = keep(&mut lead, &store, &status) => Err(lost.into()),
    };
    if ended.is_err() {
        // Whoever leads now is to be asked, and nobody else.
        web.abort();
    }
    entry.close().await;
    // It hears of the end as the service does; a stream that does not end keeps nobody.
    drop(tokio::time::timeout(WEB_END_WAIT, web).await);
    store.close().await;
    drop(lead);
    ended
}

/// Waits until this process leads the store at `place`; absent if it is stopped before.
async fn lead(
    place: &Place,
    stopped: &mut watch::Receiver<bool>,
    say: &(impl Fn(&str) + Send + Sync),
) -> Result<Option<Lead>, ServiceError> {
    // Pods count their processes from 1: the host tells them apart.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let words = format!("process {} on {}", std::process::id(), host.trim());
    let mut lead = Lead::over(place, words);
    let (mut told, mut is_known) = (String::new(), false);
    loop {
        let said = match lead.attempt().await {
            Ok(Attempt::Leads) => return Ok(Some(lead)),
            Ok(Attempt::Waits(leader)) => {
                is_known = true;
                format!("waiting: {leader} leads the store {place}")
            }
            // A server that answered once comes back.
            Err(failure) if is_known => format!("waiting: {}", chain(&failure)),
            Err(failure) => return Err(failure.into()),
        };
        if said != told {
            say(&said);
            told = said;
        }
        tokio::select! {
            () = sleep(LEAD_EVERY) => {}
            () = ending(stopped) => return Ok(None),
        }
    }
}

/// Completes when another process leads the store. While its server is away the status says so.
async fn keep(lead: &mut Lead, store: &Store, status: &watch::Sender<Status>) -> StoreError {
    let mut is_away = false;
    while lead.can_be_lost() {
        sleep(LEAD_EVERY).await;
        let failure = match lead.attempt().await {
            Ok(Attempt::Leads) if !is_away => continue,
            // Another one may have led, and ended, meanwhile.
            Ok(Attempt::Leads) => match store.leads().await {
                Ok(true) => {
                    info!("the server of the store is back");
                    is_away = false;
                    status.send_modify(|status| status.fault = None);
                    continue;
                }
                Ok(false) => return StoreError::Deposed,
                Err(failure) => chain(&failure),
            },
            Ok(Attempt::Waits(leader)) if lead.is_own(&leader) || leader.is_empty() => {
                "the server of the store holds a session of this process that broke".to_owned()
            }
            Ok(Attempt::Waits(_)) => return StoreError::Deposed,
            Err(failure) => chain(&failure),
        };
        is_away = true;
        fault(status, failure);
    }
    std::future::pending().await
}

/// Says why nothing goes on.
fn fault(status: &watch::Sender<Status>, failure: String) {
    status.send_if_modified(|status| {
        let is_new = status.fault.as_ref() != Some(&failure);
        if is_new {
            error!(failure, "the store does not take what is to be kept");
            status.fault = Some(failure);
        }
        is_new
    });
}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener, ServiceError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| ServiceError::Listen { address, source })
}

fn listening(config: &Config) -> String {
    let scheme = if config.web.tls.is_some() {
        "https"
    } else {
        "http"
    };
    format!(
        "agents dial https://{}; page, API and metrics at {scheme}://{}/",
        config.agents.listen, config.web.listen
    )
}

/// The service at work.
struct Service<'c> {
    config: &'c Config,
    parts: Parts,
    fleet: Fleet,
    timetable: Timetable<'c>,
    store: Store,
    requests: mpsc::Receiver<Asked>,
    status: watch::Sender<Status>,
    metrics: Arc<Metrics>,
    alert: Option<Alert>,
    stopped: watch::Receiver<bool>,
    /// SHA-256 of the world that the last run was made from.
    world: Option<String>,
}

impl Service<'_> {
    /// Does what is asked for, one run after another, until somebody stops it.
    async fn work(&mut self, interrupted: &[RunRow]) -> Result<(), ServiceError> {
        self.world = self.store.last_done().await?.map(|run| run.world);
        if let Some(last) = interrupted.last() {
            warn!(
                run = last.id,
                "the process ended in the middle of a run: it is done anew"
            );
            let asked = self.asked(AFTER_RESTART, Depth::named(&last.scope))?;
            self.one(asked).await?;
        }
        while let Some(asked) = self.next().await? {
            self.one(asked).await?;
        }
        Ok(())
    }

    /// Waits for the next run that is due or asked for; absent when somebody stops.
    async fn next(&mut self) -> Result<Option<Asked>, ServiceError> {
        loop {
            let now = Timestamp::now();
            self.timetable.set(now, self.parts.random.as_ref())?;
            let next = self.timetable.next();
            let wait = next.first().map_or(SLEEP_MAX, |next| until(now, next.at));
            self.status.send_modify(|status| {
                status.running = None;
                status.next = next;
            });
            tokio::select! {
                () = ending(&mut self.stopped) => return Ok(None),
                Some(asked) = self.requests.recv() => return Ok(Some(asked)),
                () = sleep(wait.min(SLEEP_MAX)) => {}
            }
            for schedule in self.timetable.take(Timestamp::now()) {
                if self.is_due(schedule).await {
                    return Ok(Some(self.asked(&schedule.name, schedule.scope)?));
                }
            }
        }
    }

    /// Whether a schedule whose time has come asks for a run: always, or if the world is not that of the last run.
    async fn is_due(&self, schedule: &Schedule) -> bool {
        match schedule.trigger {
            Trigger::Clock { .. } => true,
            Trigger::SnapshotChanged { .. } => {
                let world = anew(&self.parts.world);
                let read = tokio::task::spawn_blocking(move || {
                    world
                        .read()
                        .map(|reading| sha256(&reading.described.to_json()))
                });
                match read.await {
                    Ok(Ok(found)) => Some(found) != self.world,
                    // The run says what cannot be read.
                    Ok(Err(_)) | Err(_) => true,
                }
            }
        }
    }

    fn asked(&self, cause: &str, scope: Option<Depth>) -> Result<Asked, RandomError> {
        Ok(Asked {
            id: run_name(self.parts.random.as_ref())?,
            cause: cause.to_owned(),
            scope,
            again: None,
        })
    }

    /// Does one run and remembers what it found.
    async fn one(&mut self, asked: Asked) -> Result<(), ServiceError> {
        let started = SystemTime::now();
        let scope = asked.scope.map(Depth::as_str).unwrap_or_default();
        let mut row = RunRow::beginning(
            asked.id.clone(),
            unix_ms(started),
            asked.cause.clone(),
            scope.to_owned(),
        );
        self.status.send_modify(|status| {
            status.running = Some(Running {
                id: asked.id.clone(),
                cause: asked.cause.clone(),
                progress: "begins".to_owned(),
            });
        });
        let begun = self.stored(async |store| {
            store.begin(&row).await?;
            Ok((store.last_done().await?, store.last_verdict().await?))
        });
        let Some((before, known)) = begun.await? else {
            return Ok(());
        };
        let known = known.map(|run| run.verdict);
        info!(run = row.id, cause = row.cause, "run begins");
        let report = self.run(&asked, started).await?;
        row.ended_at_unix_ms = Some(unix_ms(SystemTime::now()));
        let kept = match report {
            Ok(report) => Some(self.remember(&mut row, report, before.as_ref()).await?),
            Err(RunError::Interrupted) => {
                row.state = RunState::Interrupted;
                self.stored(async |store| store.end(&row).await).await?;
                None
            }
            Err(failure) => {
                row.state = RunState::Failed;
                row.verdict = NO_REPORT.to_owned();
                row.exit_code = 2;
                row.why = chain(&failure);
                error!(run = row.id, why = row.why, "the run could not be done");
                self.stored(async |store| store.end(&row).await).await?;
                let began = row.started_at_unix_ms;
                Some(Kept::failed(&row.id, began, &row.verdict, &row.why))
            }
        };
        if let (Some(keeper), Some(kept)) = (&self.parts.keeper, kept) {
            keep_result(keeper.as_ref(), kept).await;
        }
        self.tell(&row, known.as_deref()).await;
        self.metrics.ended(&row);
        self.status.send_modify(|status| {
            status.running = None;
            status.ended += 1;
        });
        Ok(())
    }

    /// The run itself.
    async fn run(
        &mut self,
        asked: &Asked,
        started_at: SystemTime,
    ) -> Result<Result<Report, RunError>, ServiceError> {
        let order = self.order(asked, started_at)?;
        // Who left long ago is no member of this run.
        let gone = Instant::now().checked_sub(RESUME_WAIT);
        if let Some(gone) = gone {
            self.fleet.registry().forget_gone(gone);
        }
        let status = self.status.clone();
        let progress = move |progress: reachproof_verify::Progress| {
            status.send_modify(|status| {
                if let Some(running) = &mut status.running {
                    running.progress = progress.to_string();
                }
            });
        };
        let mut stopped = self.stopped.clone();
        let stop = async move { ending(&mut stopped).await };
        let world = anew(&self.parts.world);
        Ok(run(&world, &self.fleet, &order, &progress, stop).await)
    }

    fn order(&self, asked: &Asked, started_at: SystemTime) -> Result<Order, ServiceError> {
        // Another seed each time: members of a class take turns.
        let again = asked.again.clone().map_or_else(
            || {
                let seed = drawn_seed(self.parts.random.as_ref())?;
                let flows = Vec::new();
                Ok::<_, RandomError>(Again { seed, flows })
            },
            Ok,
        )?;
        Ok(Order {
            name: Some(asked.id.clone()),
            expected: self.config.agents.expect.clone(),
            wait: self.config.agents.wait,
            settle: self.parts.settle,
            resume_wait: RESUME_WAIT,
            depth: asked.scope,
            seed: again.seed,
            expectations: self.parts.expectations.on(day_of(started_at)),
            earlier: again.flows,
            content: SnapshotContent::Included,
            started_at,
            random: Arc::clone(&self.parts.random),
            control_plane: self.parts.control_plane.clone(),
        })
    }

    /// Judges a report and writes it down, with what changed since the run before; what is kept of it elsewhere.
    async fn remember(
        &mut self,
        row: &mut RunRow,
        mut report: Report,
        before: Option<&RunRow>,
    ) -> Result<Kept, ServiceError> {
        report.run.wire = self.parts.wire;
        report.judge(&self.parts.claims);
        let kept = Kept::of(&report);
        let (conclusion, reasons) = why(&report, Allowed::default());
        row.state = RunState::Done;
        row.verdict = conclusion.as_str().to_owned();
        row.exit_code = conclusion.exit_code();
        row.why = reasons.join(", ");
        row.flows = u64::try_from(report.findings.len()).unwrap_or(u64::MAX);
        row.contradictions = u64::try_from(report.contradictions().count()).unwrap_or(u64::MAX);
        row.world = report.snapshot.sha256.clone();
        row.changed = self.changed(&report, before).await;
        self.world = Some(row.world.clone());
        info!(
            run = row.id,
            verdict = row.verdict,
            why = row.why,
            "run ended"
        );
        self.metrics.found(&report);
        let flows = flows_of(&report);
        let stored = self
            .stored(async |store| store.finish(row, report.clone(), &flows).await)
            .await?;
        if stored.is_some() {
            let days = Duration::from_secs(u64::from(self.config.store.keep_days) * 24 * 60 * 60);
            let retention = Retention {
                runs: self.config.store.keep_runs,
                since_unix_ms: row.started_at_unix_ms.saturating_sub(whole_ms(days)),
            };
            self.stored(async |store| store.forget(retention).await)
                .await?;
        }
        Ok(kept)
    }

    /// What is written differently in the world than in the run before; nothing where its report cannot be had.
    async fn changed(&self, report: &Report, before: Option<&RunRow>) -> Vec<String> {
        let Some(before) = before.filter(|before| before.world != report.snapshot.sha256) else {
            return Vec::new();
        };
        let earlier = match self.store.report(&before.id).await {
            Ok(Some(earlier)) => earlier,
            Ok(None) => return Vec::new(),
            Err(failure) => {
                warn!(
                    run = before.id,
                    failure = chain(&failure),
                    "the report of the run before cannot be read"
                );
                return Vec::new();
            }
        };
        let now = report.clone();
        let compared = tokio::task::spawn_blocking(move || Baseline::new(&earlier, &now).model);
        let lines = compared.await.ok().flatten().map(|model| model.lines);
        let mut lines = lines.unwrap_or_default();
        lines.truncate(CHANGED_MAX);
        lines
    }

    /// Tells whoever wants to hear of it that the verdict is not that of the run before.
    async fn tell(&self, row: &RunRow, known: Option<&str>) {
        let Some(alert) = &self.alert else { return };
        if row.verdict.is_empty() || known == Some(row.verdict.as_str()) {
            return;
        }
        if let Err(failure) = alert.send(row, known, self.parts.cluster.as_deref()).await {
            warn!(
                run = row.id,
                failure = chain(&failure),
                "the alert could not be sent"
            );
            self.metrics.alert_lost();
        }
    }

    /// Asks the store, again and again until it takes it; absent when somebody stops before.
    ///
    /// # Errors
    /// [`StoreError::Deposed`]: nothing of this process is taken any more.
    async fn stored<T>(
        &self,
        call: impl AsyncFn(Store) -> Result<T, StoreError>,
    ) -> Result<Option<T>, ServiceError> {
        let mut stopped = self.stopped.clone();
        loop {
            let failure = match timeout(STORE_WAIT, call(self.store.clone())).await {
                Ok(Ok(taken)) => {
                    self.status
                        .send_if_modified(|status| status.fault.take().is_some());
                    return Ok(Some(taken));
                }
                Ok(Err(StoreError::Deposed)) => return Err(StoreError::Deposed.into()),
                Ok(Err(failure)) => chain(&failure),
                Err(_) => format!("the store does not answer for {} s", STORE_WAIT.as_secs()),
            };
            fault(&self.status, failure);
            if *stopped.borrow() {
                return Ok(None);
            }
            tokio::select! {
                () = sleep(STORE_EVERY) => {}
                () = ending(&mut stopped) => {}
            }
        }
    }
}

/// Completes when the service is to end.
pub(crate) async fn ending(stopped: &mut watch::Receiver<bool>) {
    // An error is the sender dropped: the process ends.
    drop(stopped.wait_for(|stop| *stop).await);
}

fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}
