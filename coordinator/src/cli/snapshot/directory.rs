//! A directory of answers that is there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value};
use thiserror::Error;

/// The directory could not be written; what was there before is still there.
#[derive(Debug, Error)]
pub(crate) enum DirectoryError {
    /// A file or directory could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// File or directory.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// What is there is no snapshot.
    #[error("`{}` is not part of a snapshot, which would be replaced: choose another directory", path.display())]
    Foreign {
        /// File that would be lost.
        path: PathBuf,
    },
    /// The new directory could not take the place of the old one.
    #[error("cannot replace `{}` in one step: remove it, or choose another directory", path.display())]
    Replace {
        /// The directory.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The stem of an answer is no file name.
    #[error("`{stem}` is no name for a file, the answer cannot be kept")]
    Stem {
        /// The stem.
        stem: String,
    },
}

/// Writes `STEM.json` for every answer, with the indentation of the AWS CLI.
///
/// The files are made in a directory beside `directory`, forced to the disk and then put in its place by one rename (an
/// exchange, where a snapshot is there already). Whoever reads sees the old files or the new ones, never some of both.
pub(super) fn write(directory: &Path, answers: &Map<String, Value>) -> Result<(), DirectoryError> {
    replaceable(directory)?;
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(|source| unwritable(parent, source))?;
    let made = tempfile::Builder::new()
        .prefix(".reachproof-snapshot-")
        .tempdir_in(parent)
        .map_err(|source| unwritable(parent, source))?;
    for (stem, answer) in answers {
        if stem.is_empty() || stem.starts_with('.') || stem.contains(['/', '\0']) {
            return Err(DirectoryError::Stem { stem: stem.clone() });
        }
        let path = made.path().join(format!("{stem}.json"));
        write_file(&path, answer).map_err(|source| unwritable(&path, source))?;
    }
    sync(made.path())?;
    let flags = if directory.exists() {
        RenameFlags::RENAME_EXCHANGE
    } else {
        RenameFlags::RENAME_NOREPLACE
    };
    renameat2(AT_FDCWD, made.path(), AT_FDCWD, directory, flags).map_err(|error| {
        DirectoryError::Replace {
            path: directory.to_owned(),
            source: error.into(),
        }
    })?;
    // After an exchange the temporary directory holds the old snapshot, which goes with it.
    sync(parent)
}

/// Refuses to replace anything but a snapshot.
fn replaceable(directory: &Path) -> Result<(), DirectoryError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(unwritable(directory, source)),
    };
    for entry in entries {
        let path = entry
            .map_err(|source| unwritable(directory, source))?
            .path();
        let is_answer = path.is_file()
            && path
                .extension()
                .is_some_and(|extension| extension == "json");
        if !is_answer {
            return Err(DirectoryError::Foreign { path });
        }
    }
    Ok(())
}

fn write_file(path: &Path, answer: &Value) -> io::Result<()> {
    let mut file = BufWriter::new(File::create_new(path)?);
    answer.serialize(&mut Serializer::with_formatter(
        &mut file,
        PrettyFormatter::with_indent(b"    "),
    ))?;
    file.write_all(b"\n")?;
    file.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()
}

fn sync(directory: &Path) -> Result<(), DirectoryError> {
    File::open(directory)
        .and_then(|file| file.sync_all())
        .map_err(|source| unwritable(directory, source))
}

fn unwritable(path: &Path, source: io::Error) -> DirectoryError {
    DirectoryError::Write {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answers(vpc: &str) -> Map<String, Value> {
        let answers =
            json!({ "describe-vpcs": { "Vpcs": [ { "VpcId": vpc } ] }, format!("of.{vpc}"): {} });
        answers.as_object().unwrap().clone()
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_later_snapshot_takes_the_place_of_an_earlier_one_and_leaves_nothing_of_it() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("deep/world");
        write(&directory, &answers("vpc-1")).unwrap();
        write(&directory, &answers("vpc-2")).unwrap();
        assert_eq!(names(&directory), ["describe-vpcs.json", "of.vpc-2.json"]);
        assert_eq!(names(directory.parent().unwrap()), ["world"]);
        let text = fs::read_to_string(directory.join("describe-vpcs.json")).unwrap();
        assert_eq!(
            text,
            "{\n    \"Vpcs\": [\n        {\n            \"VpcId\": \"vpc-2\"\n        }\n    ]\n}\n"
        );
    }

    #[test]
    fn a_directory_with_other_files_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("thesis.tex"), "").unwrap();
        let error = write(home.path(), &answers("vpc-1")).unwrap_err();
        assert!(matches!(error, DirectoryError::Foreign { .. }), "{error}");
        assert_eq!(names(home.path()), ["thesis.tex"]);
    }

    #[test]
    fn a_snapshot_that_cannot_be_written_leaves_the_earlier_one() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("world");
        write(&directory, &answers("vpc-1")).unwrap();
        let error = write(&directory, &answers("../vpc-2")).unwrap_err();
        assert!(matches!(error, DirectoryError::Stem { .. }), "{error}");
        assert_eq!(names(&directory), ["describe-vpcs.json", "of.vpc-1.json"]);
        assert_eq!(names(home.path()), ["world"]);
    }
}
