//! What is remembered: runs with their reports, worlds, and since when each kind of flow has its verdict.
//!
//! One file of SQLite, written ahead and flushed with every transaction, or a database of PostgreSQL: what a call has returned
//! from survives the loss of the process and of the machine's power. Nobody else may open the file meanwhile; in a database
//! every write fails once another process has taken the lead. One SQL text serves both (`schema.rs` has the differences).

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use reachproof_verify::Report;
use serde_json::Value;
use sqlx::any::AnyPoolOptions;
use sqlx::migrate::MigrateError;
use sqlx::{Any, AnyPool, Executor, Row, Transaction};

use crate::coverage::{Turns, turns_of};
use crate::flows::{FlowState, Flows};

mod error;
pub mod leader;
pub mod place;
mod row;
mod schema;

pub use error::StoreError;
pub use place::Place;
pub use row::{FlowRow, RunRow, RunState};
use row::{flow_row, run_row, signed, turn_row, unsigned};
use schema::Dialect;

/// Longest wait for the database: it is this process's alone, so what takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest wait for a connection to a server: whoever looks at the page hears soon that it is away.
const SERVER_PATIENCE: Duration = Duration::from_secs(3);

/// Connections to a server: who reads does not wait for who writes.
const SERVER_CONNECTIONS: u32 = 4;

/// What each connection is told. One writer with the whole file to itself, each transaction on the disk before it counts
/// \[SQLite, Write-Ahead Logging; PRAGMA synchronous\].
const PRAGMAS: &str =
    "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;";

/// What a server is told at the begin of each connection: to give up soon what a process held that is gone, when it hears nothing
/// of it any more \[PostgreSQL, 20.3.2 TCP Settings; 20.11.1 Statement Behavior\].
const SESSION: &str = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; SET idle_in_transaction_session_timeout = '10s'";

/// Columns of a run without its report.
const RUN_COLUMNS: &str = "id, started_at_unix_ms, ended_at_unix_ms, cause, scope, state, verdict, exit_code, why, flows, contradictions, world, changed";

/// Most runs of one list.
pub const LISTED_MAX: u32 = 1_000;

/// How long runs are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// So many at most.
    pub runs: u32,
    /// None that began before, milliseconds since 1970.
    pub since_unix_ms: u64,
}

/// A database that this process leads. Cheap to clone: each clone is the same store.
#[derive(Debug, Clone)]
pub struct Store {
    pool: AnyPool,
    /// That of this process's lead.
    epoch: i64,
}

impl Store {
    /// Opens the store at `place`, or makes its tables, and begins an epoch: what another process still writes fails.
    ///
    /// # Errors
    /// [`StoreError::Folder`], [`StoreError::Open`], [`StoreError::Newer`], [`StoreError::Migrate`], [`StoreError::Call`].
    pub async fn open(place: &Place) -> Result<Self, StoreError> {
        let pool = match place {
            Place::File(path) => of_file(place, path).await?,
            Place::Server(server) => {
                let pool = options(SERVER_CONNECTIONS, SERVER_PATIENCE);
                let pool = pool.after_connect(|connection, _| {
                    Box::pin(async move { connection.execute(SESSION).await.map(drop) })
                });
                opened(place, pool.connect(&server.dialled()).await)?
            }
        };
        let dialect = match place {
            Place::File(_) => Dialect::Sqlite,
            Place::Server(_) => Dialect::Postgresql,
        };
        schema::migrator(dialect)
            .run(&pool)
            .await
            .map_err(|source| not_migrated(place, source))?;
        let mut transaction = pool.begin().await?;
        sqlx::query("UPDATE lead SET epoch = epoch + 1")
            .execute(&mut *transaction)
            .await?;
        let row = sqlx::query("SELECT epoch FROM lead")
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        let epoch = row.try_get("epoch")?;
        Ok(Self { pool, epoch })
    }

    /// Begins a transaction that ends before another process can take the lead, or fails if one has.
    async fn write(&self) -> Result<Transaction<'static, Any>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        // The row is locked until the transaction ends: whoever begins an epoch waits for it.
        let held = sqlx::query("UPDATE lead SET epoch = epoch WHERE epoch = $1")
            .bind(self.epoch)
            .execute(&mut *transaction)
            .await?;
        if held.rows_affected() == 0 {
            return Err(StoreError::Deposed);
        }
        Ok(transaction)
    }

    /// Says whether this process still leads the store.
    ///
    /// # Errors
    /// [`StoreError::Call`].
    pub async fn leads(&self) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT epoch FROM lead")
            .fetch_one(&self.pool)
            .await?;
        Ok(row.try_get::<i64, _>("epoch")? == self.epoch)
    }

    /// Closes the file, or the connections to the server.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Takes note that runs which were under way when the last process ended came to nothing; returns them.
    ///
    /// # Errors
    /// [`StoreError::Call`].
    pub async fn interrupt(&self) -> Result<Vec<RunRow>, StoreError> {
        let mut transaction = self.write().await?;
        let found = sqlx::query(concat_run_query(
            "WHERE state = $1 ORDER BY started_at_unix_ms",
        ))
        .bind(RunState::Running.as_str())
        .fetch_all(&mut *transaction)
        .await?;
        let runs = found.iter().map(run_row).collect::<Result<Vec<_>, _>>()?;
        sqlx::query("UPDATE runs SET state = $1 WHERE state = $2")
            .bind(RunState::Interrupted.as_str())
            .bind(RunState::Running.as_str())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(runs)
    }

    /// Takes note of a run that begins. As all that writes it may be asked again: of a connection that broke nobody knows
    /// whether the last transaction counts.
    ///
    /// # Errors
    /// [`StoreError::Call`].
    pub async fn begin(&self, run: &RunRow) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        sqlx::query("INSERT INTO runs (id, started_at_unix_ms, cause, scope, state, verdict, exit_code, why, flows, contradictions, world, changed) VALUES ($1, $2, $3, $4, $5, '', 0, '', 0, 0, '', '[]') ON CONFLICT DO NOTHING")
            .bind(run.id.as_str())
            .bind(signed(run.started_at_unix_ms))
            .bind(run.cause.as_str())
            .bind(run.scope.as_str())
            .bind(run.state.as_str())
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// Takes note that a run ended without a report.
    ///
    /// # Errors
    /// [`StoreError::Call`].
    pub async fn end(&self, run: &RunRow) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        update(&mut transaction, run, None).await?;
        Ok(transaction.commit().await?)
    }

    /// Takes note of a run's report: the run, its world, what it says of each kind of flow, and which agents took part; all or
    /// nothing.
    ///
    /// # Errors
    /// [`StoreError::Call`], [`StoreError::Packing`].
    pub async fn finish(
        &self,
        run: &RunRow,
        mut report: Report,
        flows: &Flows,
    ) -> Result<(), StoreError> {
        let content = report.snapshot.content.take();
        let turns = turns_of(&report, run.started_at_unix_ms);
        let (report, world) = tokio::task::spawn_blocking(move || {
            let report = report.packed(usize::MAX)?.bytes.unwrap_or_default();
            let world = content.map(|content| packed(&content)).transpose()?;
            Ok::<_, io::Error>((report, world))
        })
        .await
        .map_err(io::Error::other)??;
        let mut transaction = self.write().await?;
        update(&mut transaction, run, Some(report)).await?;
        if let Some(world) = world {
            sqlx::query(
                "INSERT INTO worlds (sha256, content) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            )
            .bind(run.world.as_str())
            .bind(world)
            .execute(&mut *transaction)
            .await?;
        }
        note_flows(&mut transaction, run, flows).await?;
        note_turns(&mut transaction, &turns).await?;
        Ok(transaction.commit().await?)
    }

    /// Forgets runs that are too old or too many, worlds that no run was made from, verdicts that ended before the first
    /// run that is left, and agents that took no part since then.
    ///
    /// # Errors
    /// [`StoreError::Call`].
    pub async fn forget(&self, retention: Retention) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        sqlx::query("DELETE FROM runs WHERE started_at_unix_ms < $1 OR id NOT IN (SELECT id FROM runs ORDER BY started_at_unix_ms DESC LIMIT $2)")
            .bind(signed(retention.since_unix_ms))
            .bind(i64::from(retention.runs))
            .execute(&mut *transaction)
            .await?;
        for sql in [
            "DELETE FROM worlds WHERE sha256 NOT IN (SELECT world FROM runs)",
            "DELETE FROM flows WHERE is_current = 0 AND last_run NOT IN (SELECT id FROM runs)",
        ] {
            sqlx::query(sql).execute(&mut *transaction).await?;
        }
        sqlx::query("DELETE FROM turns WHERE source_unix_ms < $1 AND target_unix_ms < $1")
            .bind(signed(retention.since_unix_ms))
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// The last runs, the latest first, at most [`LISTED_MAX`].
    ///
    /// # Errors
    /// [`StoreError::Call`].
    pub async fn runs(&self, most: u32) -> Result<Vec<RunRow>, StoreError> {
        let found = sqlx::query(concat_run_query(
            "ORDER BY started_at_unix_ms DESC, id LIMIT $1",
        ))
        .bind(i64::from(most.min(LISTED_MAX)))
        .fetch_all(&self.pool)
        .await?;
        Ok(found.iter().map(run_row).collect::<Result<_, _>>()?)
    }

    /// One run.
    ///
    /// # Errors
    /// [`StoreError::Call`].
    pub async fn run(&self, id: &str) -> Result<Option<RunRow>, StoreError> {
        let found = sqlx::query(concat_run_query("WHERE id = $1"))
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        Ok(found.as_ref().map(run_row).transpose()?)
    }

    /// The last run that came to a report.
    ///
    /// # Errors
    /// [`StoreError::Call`].
    pub async fn last_done(&self) -> Result<Option<RunRow>, StoreError> {
        let found = sqlx::query(concat_run_query(
            "WHERE state = $1 ORDER BY started_at_unix_ms DESC LIMIT 1",
        ))
        .bind(RunState::Done.as_str())
        .fetch_optional(&self.pool)
        .await?;
        Ok(found.as_ref().map(run_row).transpose()?)
    }

    /// The last run that ended with a verdict, be it that it could not be done.
    ///
    /// # Errors
    /// [`StoreError::Call`].
    pub async fn last_verdict(&self) -> Result<Option<RunRow>, StoreError> {
        let found = sqlx::query(concat_run_query(
            "WHERE verdict <> '' ORDER BY started_at_unix_ms DESC LIMIT 1",
        ))
        .fetch_optional(&self.pool)
        .await?;
        Ok(found.as_ref().map(run_row).transpose()?)
    }

    /// The report of a run with its world; absent where there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn report(&self, id: &str) -> Result<Option<Report>, StoreError> {
        let found = sqlx::query(
            "SELECT report, content FROM runs LEFT JOIN worlds ON sha256 = world WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = found else { return Ok(None) };
        let report: Option<Vec<u8>> = row.try_get("report")?;
        let content: Option<Vec<u8>> = row.try_get("content")?;
        let Some(report) = report else {
            return Ok(None);
        };
        let read = tokio::task::spawn_blocking(move || {
            let mut report = Report::from_bytes(report)?;
            report.snapshot.content = content.as_deref().map(unpacked).transpose()?;
            Ok::<_, StoreError>(report)
        });
        Ok(Some(read.await.map_err(io::Error::other)??))
    }

    /// The last verdict of each kind of flow, or with `flow` all that are known of this one, the latest first.
    ///
    /// # Errors
    /// [`StoreError::Call`].
    pub async fn flows(&self, flow: Option<&str>) -> Result<Vec<FlowRow>, StoreError> {
        let query = match flow {
            Some(flow) => {
                sqlx::query("SELECT * FROM flows WHERE flow = $1 ORDER BY since_unix_ms DESC")
                    .bind(text(flow))
            }
            None => sqlx::query(
                "SELECT * FROM flows WHERE is_current = 1 ORDER BY since_unix_ms DESC, flow",
            ),
        };
        let found = query.fetch_all(&self.pool).await?;
        Ok(found.iter().map(flow_row).collect::<Result<_, _>>()?)
    }

    /// When each agent last took part.
    ///
    /// # Errors
    /// [`StoreError::Call`].
    pub async fn turns(&self) -> Result<Turns, StoreError> {
        let found = sqlx::query("SELECT agent, source_unix_ms, target_unix_ms FROM turns")
            .fetch_all(&self.pool)
            .await?;
        Ok(found.iter().map(turn_row).collect::<Result<_, _>>()?)
    }

    /// When the last runs with a report began, the latest first.
    ///
    /// # Errors
    /// [`StoreError::Call`].
    pub async fn begins(&self, most: u32) -> Result<Vec<u64>, StoreError> {
        let found = sqlx::query("SELECT started_at_unix_ms FROM runs WHERE state = $1 ORDER BY started_at_unix_ms DESC LIMIT $2")
            .bind(RunState::Done.as_str())
            .bind(i64::from(most))
            .fetch_all(&self.pool)
            .await?;
        let begins = found.iter().map(|row| Ok(unsigned(row.try_get(0)?)));
        Ok(begins.collect::<Result<_, sqlx::Error>>()?)
    }

    /// Says whether a file is whole, in SQLite's words: `ok` if it is. Servers look after theirs.
    ///
    /// # Errors
    /// [`StoreError::Call`].
    pub async fn integrity(&self) -> Result<String, StoreError> {
        let row = sqlx::query("PRAGMA integrity_check")
            .fetch_one(&self.pool)
            .await?;
        Ok(row.try_get(0)?)
    }
}

/// The file at `path`, by one connection: it holds the file, and its order is the order of the store.
async fn of_file(place: &Place, path: &Path) -> Result<AnyPool, StoreError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|source| StoreError::Folder {
            path: path.to_owned(),
            source,
        })?;
    }
    let pool = options(1, PATIENCE)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute(PRAGMAS).await.map(drop) })
        });
    opened(place, pool.connect(&url(path)).await)
}

fn options(connections: u32, patience: Duration) -> AnyPoolOptions {
    sqlx::any::install_default_drivers();
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(patience)
}

fn opened(place: &Place, pool: Result<AnyPool, sqlx::Error>) -> Result<AnyPool, StoreError> {
    pool.map_err(|source| StoreError::Open {
        place: place.clone(),
        source,
    })
}

/// Why a database could not be brought up to date.
fn not_migrated(place: &Place, source: MigrateError) -> StoreError {
    let place = place.clone();
    if let MigrateError::VersionMissing(step) = source {
        return StoreError::Newer { place, step };
    }
    StoreError::Migrate { place, source }
}

/// A text as databases take it: PostgreSQL has no NUL \[PostgreSQL, 8.3 Character Types\].
fn text(words: &str) -> String {
    words.replace('\0', "\u{fffd}")
}

/// A query for runs without their reports.
fn concat_run_query(rest: &'static str) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(format!("SELECT {RUN_COLUMNS} FROM runs {rest}"))
}

/// The URL of a file, which may have any name.
fn url(path: &Path) -> String {
    let mut url = String::from("sqlite://");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                url.push(char::from(*byte))
            }
            other => url.push_str(&format!("%{other:02X}")),
        }
    }
    url.push_str("?mode=rwc");
    url
}

async fn update(
    transaction: &mut Transaction<'_, Any>,
    run: &RunRow,
    report: Option<Vec<u8>>,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE runs SET ended_at_unix_ms = $2, state = $3, verdict = $4, exit_code = $5, why = $6, flows = $7, contradictions = $8, world = $9, changed = $10, report = $11 WHERE id = $1")
        .bind(run.id.as_str())
        .bind(run.ended_at_unix_ms.map(signed))
        .bind(run.state.as_str())
        .bind(run.verdict.as_str())
        .bind(i64::from(run.exit_code))
        .bind(text(&run.why))
        .bind(signed(run.flows))
        .bind(signed(run.contradictions))
        .bind(run.world.as_str())
        .bind(serde_json::to_string(&run.changed)?)
        .bind(report)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// Notes what a run says of each kind of flow: where it is what the last one said, that goes on.
async fn note_flows(
    transaction: &mut Transaction<'_, Any>,
    run: &RunRow,
    flows: &Flows,
) -> Result<(), StoreError> {
    let found = sqlx::query("SELECT flow, kind FROM flows WHERE is_current = 1")
        .fetch_all(&mut **transaction)
        .await?;
    let mut current = std::collections::BTreeMap::new();
    for row in &found {
        current.insert(
            row.try_get::<String, _>("flow")?,
            row.try_get::<String, _>("kind")?,
        );
    }
    for (flow, state) in flows {
        let flow = text(flow);
        let known = current.get(&flow).map(String::as_str);
        // What decides nothing ends no verdict.
        if known == Some(state.kind.as_str()) || (known.is_some() && !state.kind.is_decided()) {
            sqlx::query(
                "UPDATE flows SET last_run = $2 WHERE flow = $1 AND is_current = 1 AND kind = $3",
            )
            .bind(flow.as_str())
            .bind(run.id.as_str())
            .bind(state.kind.as_str())
            .execute(&mut **transaction)
            .await?;
        } else {
            begin_verdict(transaction, run, (&flow, state)).await?;
        }
    }
    Ok(())
}

/// Notes which agents took part in a run.
async fn note_turns(
    transaction: &mut Transaction<'_, Any>,
    turns: &Turns,
) -> Result<(), StoreError> {
    for (agent, turn) in turns {
        sqlx::query("INSERT INTO turns (agent, source_unix_ms, target_unix_ms) VALUES ($1, $2, $3) ON CONFLICT (agent) DO UPDATE SET source_unix_ms = CASE WHEN excluded.source_unix_ms > turns.source_unix_ms THEN excluded.source_unix_ms ELSE turns.source_unix_ms END, target_unix_ms = CASE WHEN excluded.target_unix_ms > turns.target_unix_ms THEN excluded.target_unix_ms ELSE turns.target_unix_ms END")
            .bind(text(agent))
            .bind(signed(turn.source_unix_ms.unwrap_or_default()))
            .bind(signed(turn.target_unix_ms.unwrap_or_default()))
            .execute(&mut **transaction)
            .await?;
    }
    Ok(())
}

async fn begin_verdict(
    transaction: &mut Transaction<'_, Any>,
    run: &RunRow,
    (flow, state): (&str, &FlowState),
) -> Result<(), StoreError> {
    sqlx::query("UPDATE flows SET is_current = 0 WHERE flow = $1")
        .bind(flow)
        .execute(&mut **transaction)
        .await?;
    sqlx::query("INSERT INTO flows (flow, since_unix_ms, source, destination, packets, kind, first_run, last_run, is_current) VALUES ($1, $2, $3, $4, $5, $6, $7, $7, 1)")
        .bind(flow)
        .bind(signed(run.started_at_unix_ms))
        .bind(text(&state.source))
        .bind(text(&state.destination))
        .bind(text(&state.packets))
        .bind(state.kind.as_str())
        .bind(run.id.as_str())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

fn packed(content: &Value) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content.to_string().as_bytes())?;
    encoder.finish()
}

fn unpacked(bytes: &[u8]) -> Result<Value, StoreError> {
    let mut text = String::new();
    GzDecoder::new(bytes).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

#[cfg(test)]
mod tests;
