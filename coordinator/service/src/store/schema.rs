//! The tables, one step after another. A step that was published is never changed: another one follows it.

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr};

/// The steps, in their order: number, what it does, how.
const STEPS: [(i64, &str, &str); 3] = [
    (1, "runs, worlds and flows", RUNS),
    (2, "who leads", LEAD),
    (3, "which agents took part", TURNS),
];

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

/// `lead`: one row. `epoch` counts the processes that led the store: whoever knows an older one leads no more.
const LEAD: &str = "
CREATE TABLE lead (
    id BIGINT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL
);
INSERT INTO lead (id, epoch) VALUES (1, 0);
";

/// `turns`: when an agent was last the source of a flow that was observed, and when its target; 0 where it never was.
const TURNS: &str = "
CREATE TABLE turns (
    agent TEXT NOT NULL PRIMARY KEY,
    source_unix_ms BIGINT NOT NULL,
    target_unix_ms BIGINT NOT NULL
);
";

/// Where PostgreSQL needs other words than SQLite: bytes have another name, and what an ordered index holds is a third of a
/// page at most, which the key of a flow may exceed \[PostgreSQL, 11.2 Index Types; 8.4 Binary Data Types\].
const ON_POSTGRESQL: [(&str, &str); 2] = [
    ("BLOB", "BYTEA"),
    (
        ",\n    PRIMARY KEY (flow, since_unix_ms)\n);",
        "\n);\nCREATE INDEX flows_by_flow ON flows USING hash (flow);",
    ),
];

/// Which words a database understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Those of SQLite.
    Sqlite,
    /// Those of PostgreSQL.
    Postgresql,
}

/// Brings a database to the last step.
pub(super) fn migrator(dialect: Dialect) -> Migrator {
    let steps = STEPS.map(|(number, about, sql)| {
        let sql = match dialect {
            Dialect::Sqlite => sql.into_sql_str(),
            Dialect::Postgresql => {
                let words = ON_POSTGRESQL.iter();
                let sql = words.fold(sql.to_owned(), |sql, (from, to)| sql.replace(from, to));
                AssertSqlSafe(sql).into_sql_str()
            }
        };
        Migration::new(number, about.into(), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(steps.into())
}
