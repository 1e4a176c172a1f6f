//! Reads a snapshot from a directory of answers, or from one file (DESIGN 5, "Snapshot").

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use reachproof_model::describe::{Described, InvalidJson, parse};
use reachproof_model::stability::Passing;
use serde_json::{Map, Value};
use thiserror::Error;

/// Largest file that is read, in bytes: the answers for 5,000 nodes have less than 200 MB.
pub const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A world that a run reads before and after its probes.
pub trait WorldSource: Send + Sync {
    /// Reads the world as it is now. May block: a run calls it off the threads that serve agents.
    ///
    /// # Errors
    /// [`WorldError`] when there is no whole world to be had.
    fn read(&self) -> Result<WorldReading, WorldError>;
}

/// A world as its source told it, with what the telling cost.
#[derive(Debug)]
pub struct WorldReading {
    /// The answers.
    pub described: Described,
    /// Calls made.
    pub calls: usize,
    /// Pages received in answer to them.
    pub pages: usize,
    /// What the source saw come and go since its first reading, as far as it watches; two readings do not show that.
    pub passed: Vec<Passing>,
}

impl WorldReading {
    /// A world that nobody had to be asked for.
    pub fn saved(described: Described) -> Self {
        Self {
            described,
            calls: 0,
            pages: 0,
            passed: Vec::new(),
        }
    }
}

/// Why a world could not be read, as its source says it.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct WorldError(#[from] Box<dyn std::error::Error + Send + Sync>);

impl WorldSource for PathBuf {
    fn read(&self) -> Result<WorldReading, WorldError> {
        read(self)
            .map(WorldReading::saved)
            .map_err(|error| WorldError(error.into()))
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
    /// A file is no JSON.
    #[error("cannot use `{}`", path.display())]
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
    /// A file is a report that left its world out.
    #[error("`{}` is a report without its world: make it without `--no-snapshot`", path.display())]
    WorldLeftOut {
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
/// A report or a test vector is such a file, too: the answers are those of the world that it carries.
///
/// # Errors
/// [`SourceError`] for what is missing, too large, or no JSON; the cause names line and column.
pub fn read(path: &Path) -> Result<Described, SourceError> {
    let metadata = fs::metadata(path).map_err(|source| unreadable(path, source))?;
    if metadata.is_dir() {
        return directory(path);
    }
    match json(path)? {
        Value::Object(members) => world(path, members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(SourceError::NoObject {
                path: path.to_owned(),
            })
        }
    }
}

/// The answers of a file with these members: the members, or the world under `snapshot`.
fn world(path: &Path, mut members: Map<String, Value>) -> Result<Described, SourceError> {
    let Some(Value::Object(carried)) = members.get_mut("snapshot") else {
        return Ok(Described::from(members));
    };
    let is_report = carried.contains_key("sha256");
    match carried.remove("content") {
        Some(Value::Object(answers)) => Ok(Described::from(answers)),
        Some(_) | None if is_report => Err(SourceError::WorldLeftOut {
            path: path.to_owned(),
        }),
        Some(_) | None => Ok(Described::from(std::mem::take(carried))),
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

/// Reads a regular file as text, at most [`FILE_BYTES_MAX`] of it. A FIFO, a device or a directory is an error at once:
/// opening or reading it could wait for ever.
///
/// # Errors
/// [`io::Error`] for what cannot be read, is no regular file, is too large, or is no UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        let kind = io::ErrorKind::InvalidInput;
        return Err(io::Error::new(kind, "not a regular file"));
    }
    check_length(metadata.len())?;
    let mut text = String::new();
    // A file may grow, and what the kernel makes while it is read states no length.
    File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    check_length(u64::try_from(text.len()).unwrap_or(u64::MAX))?;
    Ok(text)
}

/// Refuses a file of more than [`FILE_BYTES_MAX`].
fn check_length(bytes: u64) -> io::Result<()> {
    if bytes <= FILE_BYTES_MAX {
        return Ok(());
    }
    let kind = io::ErrorKind::FileTooLarge;
    Err(io::Error::new(
        kind,
        format!("larger than {FILE_BYTES_MAX} bytes"),
    ))
}

/// Reads one JSON file.
fn json(path: &Path) -> Result<Value, SourceError> {
    let text = read_text(path).map_err(|source| unreadable(path, source))?;
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

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a test says what it expects by failing"
    )]

    use std::error::Error;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use tempfile::TempDir;

    use super::*;

    /// A directory with one file.
    fn directory_with(name: &str, text: &str) -> TempDir {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join(name), text).unwrap();
        directory
    }

    /// The error with its cause, without the path of the directory.
    fn complaint(directory: &TempDir, path: &Path) -> String {
        let error = read(path).expect_err("the snapshot is broken");
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        let place = format!("{}/", directory.path().display());
        format!("{error}: {cause}").replace(&place, "")
    }

    #[test]
    fn a_directory_and_a_file_give_the_same_answers() {
        let directory = directory_with("describe-vpcs.json", "{\"Vpcs\": []}");
        fs::write(directory.path().join("notes.txt"), "not an answer").unwrap();
        let whole = directory_with("whole.json", "{\"describe-vpcs\": {\"Vpcs\": []}}");
        let file = whole.path().join("whole.json");
        assert_eq!(read(directory.path()).unwrap(), read(&file).unwrap());
    }

    #[test]
    fn a_report_and_a_vector_give_the_world_that_they_carry() {
        let plain = directory_with("whole.json", "{\"describe-vpcs\": {\"Vpcs\": []}}");
        let expected = read(&plain.path().join("whole.json")).unwrap();
        for text in [
            "{\"id\": \"A01\", \"snapshot\": {\"describe-vpcs\": {\"Vpcs\": []}}}",
            "{\"snapshot\": {\"sha256\": \"0\", \"content\": {\"describe-vpcs\": {\"Vpcs\": []}}}}",
        ] {
            let carrier = directory_with("whole.json", text);
            assert_eq!(read(&carrier.path().join("whole.json")).unwrap(), expected);
        }
    }

    #[test]
    fn a_report_without_its_world_is_refused() {
        let directory = directory_with("whole.json", "{\"snapshot\": {\"sha256\": \"0\"}}");
        let text = complaint(&directory, &directory.path().join("whole.json"));
        assert!(text.contains("a report without its world"), "{text}");
    }

    #[test]
    fn an_answer_for_one_id_keeps_its_id_in_the_stem() {
        let name = "get-managed-prefix-list-entries.pl-1.json";
        let directory = directory_with(name, "{\"Entries\": []}");
        let described = read(directory.path()).unwrap();
        let stems: Vec<_> = described.iter().map(|(stem, _)| stem.to_owned()).collect();
        assert_eq!(stems, ["get-managed-prefix-list-entries.pl-1"]);
    }

    #[test]
    fn a_truncated_file_is_named_with_line_and_column() {
        let directory = directory_with("describe-vpcs.json", "{\"Vpcs\": [\n");
        assert_eq!(
            complaint(&directory, directory.path()),
            "cannot use `describe-vpcs.json`: no usable JSON: EOF while parsing a list at line 2 column 0"
        );
    }

    #[test]
    fn a_repeated_key_is_named() {
        let directory = directory_with("describe-vpcs.json", "{\"Vpcs\": [], \"Vpcs\": []}");
        let text = complaint(&directory, directory.path());
        assert!(text.contains("key `Vpcs` appears twice"), "{text}");
    }

    #[test]
    fn a_directory_without_answers_is_refused() {
        let directory = directory_with("notes.txt", "");
        let text = complaint(&directory, directory.path());
        assert!(text.contains("holds no STEM.json"), "{text}");
    }

    #[test]
    fn a_list_is_no_snapshot() {
        let directory = directory_with("whole.json", "[]");
        let text = complaint(&directory, &directory.path().join("whole.json"));
        assert_eq!(
            text,
            "`whole.json` is not a JSON object with the stems of the answers as keys: "
        );
    }

    #[test]
    fn a_fifo_a_device_and_a_file_that_is_too_large_are_refused_at_once_alone_and_in_a_directory() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("describe-vpcs.json");
        let refused = |what: &str| {
            for place in [&path, directory.path()] {
                let text = complaint(&directory, place);
                assert!(
                    text.starts_with("cannot read `describe-vpcs.json`"),
                    "{text}"
                );
                assert!(text.ends_with(what), "{text}");
            }
            fs::remove_file(&path).unwrap();
        };
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        refused("not a regular file");
        symlink("/dev/zero", &path).unwrap();
        refused("not a regular file");
        File::create(&path)
            .unwrap()
            .set_len(FILE_BYTES_MAX + 1)
            .unwrap();
        refused("larger than 268435456 bytes");
    }

    #[test]
    fn a_place_that_does_not_exist_is_named() {
        let directory = TempDir::new().unwrap();
        let text = complaint(&directory, &directory.path().join("nowhere"));
        assert!(text.starts_with("cannot read `nowhere`"), "{text}");
    }
}
