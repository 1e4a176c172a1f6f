//! Why a store does not do what is asked.

use std::io;
use std::path::PathBuf;

use reachproof_verify::report::document::DocumentError;
use sqlx::migrate::MigrateError;
use thiserror::Error;

use super::place::Place;

/// The store does not do what is asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder of the file cannot be made.
    #[error("cannot make the folder of the store `{}`", path.display())]
    Folder {
        /// The store.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The database cannot be opened.
    #[error("cannot open the store `{place}`")]
    Open {
        /// The store.
        place: Place,
        /// Cause.
        #[source]
        source: sqlx::Error,
    },
    /// A newer version made it.
    #[error(
        "the store `{place}` was made by a newer version (step {step}): start that one, or name another store"
    )]
    Newer {
        /// The store.
        place: Place,
        /// First step that is not known here.
        step: i64,
    },
    /// Its tables cannot be brought up to date.
    #[error("cannot bring the store `{place}` up to date")]
    Migrate {
        /// The store.
        place: Place,
        /// Cause.
        #[source]
        source: MigrateError,
    },
    /// A call failed: the disk is full or broken, or the file is.
    #[error("the store does not take it")]
    Call(#[from] sqlx::Error),
    /// Another process has taken the lead since: what this one writes does not count.
    #[error("another process leads the store since: start this one again, and it waits")]
    Deposed,
    /// A report or a world cannot be packed or unpacked.
    #[error("cannot pack or unpack what is stored")]
    Packing(#[from] io::Error),
    /// A world is no JSON.
    #[error("a stored world is no JSON")]
    World(#[from] serde_json::Error),
    /// A report cannot be read.
    #[error("a stored report cannot be read")]
    Report(#[from] DocumentError),
}
