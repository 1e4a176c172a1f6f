//! The tables, one step after another. A step that was published is never changed: another one follows it.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// The steps, in their order: number, what it does, how.
const STEPS: [(i64, &str, &str); 1] = [(1, "runs, worlds and flows", RUNS)];

/// `runs`: one for each run that began. `worlds`: each content once. `flows`: a verdict of a kind of flow, from the first run
/// that said so to the last.
const RUNS: &str = "
CREATE TABLE runs (
    id TEXT NOT NULL PRIMARY KEY,
    started_at_unix_ms BIGINT NOT NULL,
    ended_at_unix_ms BIGINT,
    cause TEXT NOT NULL,
    scope TEXT NOT NULL,
    state TEXT NOT NULL,
    verdict TEXT NOT NULL,
    exit_code BIGINT NOT NULL,
    why TEXT NOT NULL,
    flows BIGINT NOT NULL,
    contradictions BIGINT NOT NULL,
    world TEXT NOT NULL,
    changed TEXT NOT NULL,
    report BLOB
);
CREATE INDEX runs_by_start ON runs (started_at_unix_ms);
CREATE TABLE worlds (
    sha256 TEXT NOT NULL PRIMARY KEY,
    content BLOB NOT NULL
);
CREATE TABLE flows (
    flow TEXT NOT NULL,
    since_unix_ms BIGINT NOT NULL,
    source TEXT NOT NULL,
    destination TEXT NOT NULL,
    packets TEXT NOT NULL,
    kind TEXT NOT NULL,
    first_run TEXT NOT NULL,
    last_run TEXT NOT NULL,
    is_current BIGINT NOT NULL,
    PRIMARY KEY (flow, since_unix_ms)
);
CREATE INDEX flows_now ON flows (is_current);
";

/// Brings a database to the last step.
pub(super) fn migrator() -> Migrator {
    let steps = STEPS.map(|(number, about, sql)| {
        Migration::new(
            number,
            about.into(),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    });
    Migrator::with_migrations(steps.into())
}
