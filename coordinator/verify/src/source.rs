//! Reads a snapshot from a directory of answers, or from one file (DESIGN 5, "Snapshot").

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use reachproof_model::describe::{Described, InvalidJson, parse};
use serde_json::Value;
use thiserror::Error;

/// Largest file that is read, in bytes: the answers for 5,000 nodes have less than 200 MB.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// A world that a run reads before and after its probes.
pub trait WorldSource: Send + Sync {
    /// Reads the world as it is now. May block: a run calls it off the threads that serve agents.
    ///
    /// # Errors
    /// [`WorldError`] when there is no whole world to be had.
    fn read(&self) -> Result<Described, WorldError>;
}

/// Why a world could not be read, as its source says it.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct WorldError(#[from] Box<dyn std::error::Error + Send + Sync>);

impl WorldSource for PathBuf {
    fn read(&self) -> Result<Described, WorldError> {
        read(self).map_err(|error| WorldError(error.into()))
    }
}

/// A snapshot could not be read.
#[derive(Debug, Error)]
pub enum SourceError {
    /// A file or the directory could not be read.
    #[error("cannot read `{}`: give a directory of answers or one JSON file", path.display())]
    Read {
        /// File or directory.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A file is too large.
    #[error("`{}` has {bytes} bytes, at most {FILE_BYTES_MAX} are read", path.display())]
    TooLarge {
        /// File.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// A file is no JSON.
    #[error("`{}` is not JSON at line {}, column {}", path.display(), source.line(), source.column())]
    Json {
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: InvalidJson,
    },
    /// A file with a whole snapshot is not an object.
    #[error("`{}` is not a JSON object with the stems of the answers as keys", path.display())]
    NoObject {
        /// File.
        path: PathBuf,
    },
    /// A directory holds no answer.
    #[error("`{}` holds no STEM.json, write the answers of the AWS CLI there", path.display())]
    Empty {
        /// Directory.
        path: PathBuf,
    },
}

/// Reads the answers in `path`: every `STEM.json` of a directory, or the members of one JSON object.
///
/// # Errors
/// [`SourceError`] for what is missing, too large, or no JSON; the cause names line and column.
pub fn read(path: &Path) -> Result<Described, SourceError> {
    let metadata = fs::metadata(path).map_err(|source| unreadable(path, source))?;
    if metadata.is_dir() {
        return directory(path);
    }
    match json(path)? {
        Value::Object(answers) => Ok(Described::from(answers)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(SourceError::NoObject {
                path: path.to_owned(),
            })
        }
    }
}

/// Reads every `STEM.json` of a directory; other files are not looked at.
fn directory(path: &Path) -> Result<Described, SourceError> {
    let mut described = Described::default();
    let mut found = 0_usize;
    for entry in fs::read_dir(path).map_err(|source| unreadable(path, source))? {
        let file = entry.map_err(|source| unreadable(path, source))?.path();
        let is_answer = file
            .extension()
            .is_some_and(|extension| extension == "json");
        let stem = file.file_stem().and_then(|stem| stem.to_str());
        if let (true, Some(stem)) = (is_answer, stem) {
            described.insert(stem, json(&file)?);
            found += 1;
        }
    }
    if found == 0 {
        return Err(SourceError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(described)
}

/// Reads one JSON file.
fn json(path: &Path) -> Result<Value, SourceError> {
    let bytes = fs::metadata(path)
        .map_err(|source| unreadable(path, source))?
        .len();
    if bytes > FILE_BYTES_MAX {
        return Err(SourceError::TooLarge {
            path: path.to_owned(),
            bytes,
        });
    }
    let text = fs::read_to_string(path).map_err(|source| unreadable(path, source))?;
    parse(&text).map_err(|source| SourceError::Json {
        path: path.to_owned(),
        source,
    })
}

/// The error for something that could not be read.
fn unreadable(path: &Path, source: io::Error) -> SourceError {
    SourceError::Read {
        path: path.to_owned(),
        source,
    }
}
