//! One process leads a store: who holds a lock that comes back when the process ends, however it does. Of a file it is the lock
//! of the file beside it \[flock(2)\]; of a database an advisory lock of a session \[PostgreSQL, 13.3.5 Advisory Locks\].

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::AnyConnection;
use sqlx::{Connection, Executor, Row};
use thiserror::Error;
use tokio::time::timeout;

use super::SESSION;
use super::place::{Place, ServerUrl};

/// Longest that a leader's words about itself may be, in bytes.
const WORDS_MAX: u64 = 512;

/// The advisory lock: `reachprf` as a number, so that others who lock by small numbers do not meet it.
const LOCK: i64 = i64::from_be_bytes(*b"reachprf");

/// Who holds the lock; a session's words about itself may be read by all \[PostgreSQL, 27.2.3 pg_stat_activity\].
const HOLDER: &str = "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND ((classid::bigint << 32) | objid::bigint) = $1";

/// Longest wait for an answer of a server: a stopped one gives none.
const PATIENCE: Duration = Duration::from_secs(3);

/// Nobody can tell who leads.
#[derive(Debug, Error)]
pub enum LeadError {
    /// The file of the lock cannot be made or locked.
    #[error("cannot lock `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The server does not answer as it should.
    #[error("cannot ask the server of the store `{place}`")]
    Server {
        /// The store.
        place: Place,
        /// Cause.
        #[source]
        source: sqlx::Error,
    },
    /// The server does not answer.
    #[error("the server of the store `{place}` does not answer for {} s", PATIENCE.as_secs())]
    Silent {
        /// The store.
        place: Place,
    },
}

/// What became of an attempt to lead.
#[derive(Debug, PartialEq, Eq)]
pub enum Attempt {
    /// This process leads for as long as the [`Lead`] is held.
    Leads,
    /// Another one does; what it says of itself, raw text.
    Waits(String),
}

/// The lead over a store, once [`Lead::attempt`] said so.
#[derive(Debug)]
pub struct Lead {
    place: Place,
    words: String,
    held: Held,
}

/// What holds the lock.
#[derive(Debug)]
enum Held {
    Nothing,
    File(#[expect(dead_code, reason = "it is held, and never read")] File),
    Session(AnyConnection),
}

impl Lead {
    /// A lead over the store at `place` that is not held yet; `words` say who it is that leads then.
    #[must_use]
    pub fn over(place: &Place, words: String) -> Self {
        Self {
            place: place.clone(),
            words,
            held: Held::Nothing,
        }
    }

    /// Tries to lead, or to go on leading: says who leads now.
    ///
    /// # Errors
    /// [`LeadError`]; of a server that is away, what was held is lost.
    pub async fn attempt(&mut self) -> Result<Attempt, LeadError> {
        match &self.place {
            // Nobody can take it from this process.
            Place::File(_) if matches!(self.held, Held::File(_)) => Ok(Attempt::Leads),
            Place::File(path) => {
                let path = lock_path(path);
                let (held, attempt) = lock_file(&path, &self.words)
                    .map_err(|source| LeadError::File { path, source })?;
                self.held = held;
                Ok(attempt)
            }
            Place::Server(server) => {
                let held = std::mem::replace(&mut self.held, Held::Nothing);
                let asked = timeout(PATIENCE, lock_session(held, server, &self.words)).await;
                let place = || self.place.clone();
                let asked = asked.map_err(|_| LeadError::Silent { place: place() })?;
                let (session, attempt) = asked.map_err(|source| LeadError::Server {
                    place: place(),
                    source,
                })?;
                self.held = Held::Session(session);
                Ok(attempt)
            }
        }
    }

    /// Whether the lead can be lost while this process lives: a file's lock cannot.
    #[must_use]
    pub fn can_be_lost(&self) -> bool {
        matches!(self.place, Place::Server(_))
    }

    /// Whether `leader` is what this process says of itself: a session of its own that the server has not given up yet.
    #[must_use]
    pub fn is_own(&self, leader: &str) -> bool {
        // Servers shorten it.
        !leader.is_empty() && self.words.starts_with(leader)
    }
}

/// Locks the file at `path`.
fn lock_file(path: &Path, words: &str) -> io::Result<(Held, Attempt)> {
    let mut file = OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(words.as_bytes())?;
            Ok((Held::File(file), Attempt::Leads))
        }
        Err(TryLockError::WouldBlock) => {
            let mut leader = Vec::new();
            file.take(WORDS_MAX).read_to_end(&mut leader)?;
            let leader = String::from_utf8_lossy(&leader).into_owned();
            Ok((Held::Nothing, Attempt::Waits(leader)))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Locks in a session: the one that there is, if it still lives, else a new one.
async fn lock_session(
    held: Held,
    server: &ServerUrl,
    words: &str,
) -> Result<(AnyConnection, Attempt), sqlx::Error> {
    let mut session = match held {
        Held::Session(session) => session,
        Held::Nothing | Held::File(_) => session(server, words).await?,
    };
    // A session that has the lock gets it once more, and gives all back when it ends: one is enough.
    let locked = sqlx::query("SELECT CASE WHEN EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid() AND objsubid = 1 AND ((classid::bigint << 32) | objid::bigint) = $1) THEN true ELSE pg_try_advisory_lock($1) END")
        .bind(LOCK)
        .fetch_one(&mut session)
        .await?;
    if locked.try_get::<bool, _>(0)? {
        return Ok((session, Attempt::Leads));
    }
    let holder = sqlx::query(HOLDER)
        .bind(LOCK)
        .fetch_optional(&mut session)
        .await?;
    // It may have ended between the two questions.
    let leader = holder.map(|row| row.try_get(0)).transpose()?;
    Ok((session, Attempt::Waits(leader.unwrap_or_default())))
}

/// A session of its own, which says who it is.
async fn session(server: &ServerUrl, words: &str) -> Result<AnyConnection, sqlx::Error> {
    sqlx::any::install_default_drivers();
    let mut session = AnyConnection::connect(&server.dialled()).await?;
    session.execute(SESSION).await?;
    sqlx::query("SELECT set_config('application_name', $1, false)")
        .bind(words)
        .execute(&mut session)
        .await?;
    Ok(session)
}

/// The file beside the store that is locked.
fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".leader");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[tokio::test]
    async fn one_leads_and_the_next_hears_who_until_the_lead_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = Place::File(folder.path().join("store.db"));
        let mut lead = Lead::over(&store, "the first".to_owned());
        assert_eq!(lead.attempt().await.unwrap(), Attempt::Leads);
        let mut next = Lead::over(&store, "the second".to_owned());
        let waits = Attempt::Waits("the first".to_owned());
        assert_eq!(next.attempt().await.unwrap(), waits);
        drop(lead);
        assert_eq!(next.attempt().await.unwrap(), Attempt::Leads);
    }
}
