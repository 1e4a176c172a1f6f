//! Files that get the report: checked before the run, written after it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use reachproof_verify::report::{FORMATS, Format};

/// Reads the name of a format of reports.
pub(super) fn format() -> impl TypedValueParser<Value = &'static Format> {
    let names = FORMATS
        .iter()
        .map(|format| PossibleValue::new(format.name).help(format.about));
    PossibleValuesParser::new(names)
        .try_map(|name| Format::named(&name).ok_or("there is no such format"))
}

/// A file that gets the report, as the arguments name it.
#[derive(Debug, Clone)]
pub(super) struct ReportFile {
    pub(super) format: &'static Format,
    pub(super) path: PathBuf,
}

impl ReportFile {
    /// Reads `KIND=FILE`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (kind, path) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` is not KIND=FILE, write it like json=report.json"))?;
        let format = Format::named(kind).ok_or_else(|| {
            let names = FORMATS.map(|format| format.name).join(", ");
            format!("`{kind}` is not a kind of report, choose one of {names}")
        })?;
        if path.is_empty() {
            return Err(format!("`{text}` names no file"));
        }
        Ok(Self {
            format,
            path: PathBuf::from(path),
        })
    }

    /// Makes sure that the report can be written, so that a wrong path fails before any agent is awaited. What the file
    /// holds stays as it is until [`Destination::write`].
    ///
    /// # Errors
    /// [`io::Error`] when it cannot be written there.
    pub(super) fn open(&self) -> io::Result<Destination> {
        let path = &self.path;
        let is_replaced = match fs::symlink_metadata(path) {
            Ok(found) => found.is_file(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(error),
        };
        if !is_replaced {
            // A device, a pipe or a link stays what it is.
            return Ok(Destination::InPlace(existing(path)?));
        }
        let beside = beside(path)?;
        match new(&beside) {
            Ok(_) => {
                fs::remove_file(&beside)?;
                if path.exists() {
                    existing(path)?;
                }
                Ok(Destination::Replaced {
                    path: path.clone(),
                    beside,
                })
            }
            // Where a directory takes no new file, the old one may still be written.
            Err(error) => existing(path).map(Destination::InPlace).map_err(|_| error),
        }
    }
}

/// Where a report goes.
#[derive(Debug)]
pub(super) enum Destination {
    /// A regular file, which is replaced as a whole.
    Replaced {
        /// The file.
        path: PathBuf,
        /// Where its next content is written before it takes the place of the file.
        beside: PathBuf,
    },
    /// Anything else, which is written where it is.
    InPlace(File),
}

impl Destination {
    /// Lets `fill` write the report, whole or not at all where the file is replaced.
    ///
    /// # Errors
    /// That of `fill`, or [`io::Error`] when it cannot be written.
    pub(super) fn write<E: From<io::Error>>(
        self,
        fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Replaced { path, beside } => {
                let replaced = replace(&path, &beside, fill);
                if replaced.is_err() {
                    // The first error says more than whether the rest could be removed.
                    let _removed = fs::remove_file(&beside);
                }
                replaced
            }
            Self::InPlace(mut file) => {
                if file.metadata()?.is_file() {
                    file.set_len(0)?;
                }
                filled(&mut file, fill)
            }
        }
    }
}

/// Lets `fill` write to `beside` and lets it take the place of `path`, with the permissions that `path` has.
fn replace<E: From<io::Error>>(
    path: &Path,
    beside: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let mut file = new(beside)?;
    if let Ok(found) = fs::metadata(path) {
        file.set_permissions(found.permissions())?;
    }
    filled(&mut file, fill)?;
    file.sync_all()?;
    Ok(fs::rename(beside, path)?)
}

/// Lets `fill` write to `file` in large pieces.
fn filled<E: From<io::Error>>(
    file: &mut File,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let mut out = BufWriter::new(file);
    fill(&mut out)?;
    Ok(out.flush()?)
}

/// Opens what is there for writing and changes nothing.
fn existing(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

/// Makes a file that was not there.
fn new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// A hidden name in the directory of `path` that only this process uses.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(io::ErrorKind::IsADirectory.into());
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", process::id()));
    Ok(path.with_file_name(hidden))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::unix::fs::{PermissionsExt, symlink};

    use tempfile::TempDir;

    use super::*;

    fn file(path: PathBuf) -> ReportFile {
        ReportFile {
            format: Format::named("json").unwrap(),
            path,
        }
    }

    fn written(destination: Destination, text: &str) {
        let fill = |out: &mut dyn Write| out.write_all(text.as_bytes());
        destination.write(fill).unwrap();
    }

    fn names(directory: &TempDir) -> Vec<String> {
        fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_report_file_has_a_known_kind_and_a_path() {
        let parsed = ReportFile::parse("json=a=b.json");
        assert!(parsed.is_ok_and(|file| file.path == Path::new("a=b.json")));
        for bad in ["json", "json=", "pdf=a", "=a"] {
            assert!(ReportFile::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_file_keeps_what_it_holds_until_the_report_replaces_it() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("report.json");
        fs::write(&path, "the last one, which is longer").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let destination = file(path.clone()).open().unwrap();
        assert_eq!(names(&directory), ["report.json"]);
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "the last one, which is longer"
        );
        written(destination, "new");
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o640
        );
        assert_eq!(names(&directory), ["report.json"]);
    }

    #[test]
    fn a_run_that_fails_leaves_no_file_behind() {
        let directory = TempDir::new().unwrap();
        drop(file(directory.path().join("report.json")).open().unwrap());
        assert!(names(&directory).is_empty());
    }

    #[test]
    fn a_place_that_takes_no_file_is_an_error_at_once() {
        let directory = TempDir::new().unwrap();
        for bad in ["nowhere/report.json", ".", "..", "/"] {
            let path = directory.path().join(bad);
            assert!(file(path).open().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_device_stays_a_device_and_a_link_a_link() {
        written(file(PathBuf::from("/dev/null")).open().unwrap(), "x");
        let directory = TempDir::new().unwrap();
        let (target, link) = (
            directory.path().join("target"),
            directory.path().join("link"),
        );
        fs::write(&target, "longer than the report").unwrap();
        symlink(&target, &link).unwrap();
        written(file(link.clone()).open().unwrap(), "report");
        assert_eq!(fs::read_to_string(&target).unwrap(), "report");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}
