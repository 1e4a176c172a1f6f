//! What a row of the store says, as the rest of the service has it.

use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::coverage::Turn;

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It goes on.
    Running,
    /// It has a report.
    Done,
    /// It could not be done.
    Failed,
    /// The process ended before the run did.
    Interrupted,
}

impl RunState {
    const ALL: [Self; 4] = [Self::Running, Self::Done, Self::Failed, Self::Interrupted];

    /// Returns the word in JSON and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }

    /// The state of this word; a newer one that is not known is no state of ours.
    fn of(word: &str) -> Self {
        let mut all = Self::ALL.into_iter();
        all.find(|state| state.as_str() == word)
            .unwrap_or(Self::Interrupted)
    }
}

/// A run without its report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunRow {
    /// Names it.
    pub id: String,
    /// When it began, milliseconds since 1970.
    pub started_at_unix_ms: u64,
    /// When it ended; absent while it goes on, and where the process ended before.
    pub ended_at_unix_ms: Option<u64>,
    /// What asked for it: the name of a schedule, `by hand`, or `after a restart`.
    pub cause: String,
    /// How much is tried: `required`, `rules`, `mesh`, or empty for as much as fits the fleet.
    pub scope: String,
    /// What became of it.
    pub state: RunState,
    /// `PASS`, `FAIL`, `UNSURE`; `ERROR` where it could not be done, empty before its end.
    pub verdict: String,
    /// Exit code that `verify` would have had.
    pub exit_code: u8,
    /// Why it has this verdict; raw text.
    pub why: String,
    /// Flows of its report.
    pub flows: u64,
    /// Contradictions of its report.
    pub contradictions: u64,
    /// SHA-256 of the world that it was made from; empty where it has no report.
    pub world: String,
    /// Rules, entries, routes and settings that are not as in the run before, `+` or `-` before each; raw text.
    pub changed: Vec<String>,
}

impl RunRow {
    /// A run that begins.
    #[must_use]
    pub fn beginning(id: String, started_at_unix_ms: u64, cause: String, scope: String) -> Self {
        Self {
            id,
            started_at_unix_ms,
            ended_at_unix_ms: None,
            cause,
            scope,
            state: RunState::Running,
            verdict: String::new(),
            exit_code: 0,
            why: String::new(),
            flows: 0,
            contradictions: 0,
            world: String::new(),
            changed: Vec::new(),
        }
    }
}

/// A verdict of a kind of flow, from the first run that said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FlowRow {
    /// Which kind of flow: class keys of both ends, and what is sent.
    pub flow: String,
    /// Class of the source; raw text.
    pub source: String,
    /// Class of the destination; raw text.
    pub destination: String,
    /// Protocol and port.
    pub packets: String,
    /// The finding.
    pub kind: String,
    /// When the first run that said so began, milliseconds since 1970.
    pub since_unix_ms: u64,
    /// That run.
    pub first_run: String,
    /// The last run that said so.
    pub last_run: String,
    /// Whether it is the last verdict of this kind of flow.
    pub is_current: bool,
}

pub(super) fn run_row(row: &AnyRow) -> Result<RunRow, sqlx::Error> {
    let count = |name: &str| Ok::<_, sqlx::Error>(unsigned(row.try_get(name)?));
    let ended: Option<i64> = row.try_get("ended_at_unix_ms")?;
    let changed: String = row.try_get("changed")?;
    let state: String = row.try_get("state")?;
    Ok(RunRow {
        id: row.try_get("id")?,
        started_at_unix_ms: count("started_at_unix_ms")?,
        ended_at_unix_ms: ended.map(unsigned),
        cause: row.try_get("cause")?,
        scope: row.try_get("scope")?,
        state: RunState::of(&state),
        verdict: row.try_get("verdict")?,
        exit_code: u8::try_from(count("exit_code")?).unwrap_or(u8::MAX),
        why: row.try_get("why")?,
        flows: count("flows")?,
        contradictions: count("contradictions")?,
        world: row.try_get("world")?,
        changed: serde_json::from_str(&changed).unwrap_or_default(),
    })
}

pub(super) fn flow_row(row: &AnyRow) -> Result<FlowRow, sqlx::Error> {
    Ok(FlowRow {
        flow: row.try_get("flow")?,
        source: row.try_get("source")?,
        destination: row.try_get("destination")?,
        packets: row.try_get("packets")?,
        kind: row.try_get("kind")?,
        since_unix_ms: unsigned(row.try_get("since_unix_ms")?),
        first_run: row.try_get("first_run")?,
        last_run: row.try_get("last_run")?,
        is_current: row.try_get::<i64, _>("is_current")? == 1,
    })
}

/// An agent, and when it last took part.
pub(super) fn turn_row(row: &AnyRow) -> Result<(String, Turn), sqlx::Error> {
    let at = |name: &str| {
        let at = unsigned(row.try_get(name)?);
        Ok::<_, sqlx::Error>((at > 0).then_some(at))
    };
    let turn = Turn {
        source_unix_ms: at("source_unix_ms")?,
        target_unix_ms: at("target_unix_ms")?,
    };
    Ok((row.try_get("agent")?, turn))
}

/// A number as databases have them; none of ours is near the edge.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
