//! Why a store does not do what is asked.

use std::io;
use std::path::PathBuf;

use reachproof_verify::report::document::DocumentError;
use sqlx::migrate::MigrateError;
use thiserror::Error;

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
    #[error("cannot open the store `{}`", path.display())]
    Open {
        /// The store.
        path: PathBuf,
        /// Cause.
        #[source]
        source: sqlx::Error,
    },
    /// A newer version made it.
    #[error("the store `{}` was made by a newer version (step {step}): start that one, or name another file", path.display())]
    Newer {
        /// The store.
        path: PathBuf,
        /// First step that is not known here.
        step: i64,
    },
    /// Its tables cannot be brought up to date.
    #[error("cannot bring the store `{}` up to date", path.display())]
    Migrate {
        /// The store.
        path: PathBuf,
        /// Cause.
        #[source]
        source: MigrateError,
    },
    /// A call failed: the disk is full or broken, or the file is.
    #[error("the store does not take it")]
    Call(#[from] sqlx::Error),
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
