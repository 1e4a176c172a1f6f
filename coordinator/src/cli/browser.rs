//! `--open`: the report as a page in the user's browser.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reachproof_verify::Report;
use reachproof_verify::report::human::View;
use reachproof_verify::report::{Format, FormatError};
use thiserror::Error;

/// Names the user's browser: programs between colons, the first that starts is taken.
const BROWSER: &str = "BROWSER";

/// What stands for the file in a program of [`BROWSER`]; without it the file comes last.
const FILE: &str = "%s";

/// Knows the browser of a desktop.
const DESKTOP: &str = "xdg-open";

/// The page could not be shown.
#[derive(Debug, Error)]
pub(crate) enum BrowserError {
    /// The page could not be written.
    #[error("cannot write the page to `{}`", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Cause.
        #[source]
        source: FormatError,
    },
    /// No program showed it.
    #[error(
        "no browser shows `{}`: set BROWSER to one, or open the file yourself ({tried})", path.display()
    )]
    None {
        /// The page, which stays.
        path: PathBuf,
        /// What was tried, and what came of it.
        tried: String,
    },
}

/// Writes the report as a page that only this user reads, and lets a browser show it; the page stays for it.
///
/// # Errors
/// [`BrowserError`].
pub(super) fn open(report: &Report, view: &View) -> Result<(), BrowserError> {
    let folder = folder();
    let path = folder.join(format!("{}.html", report.run.id));
    write(report, view, &folder, &path).map_err(|source| BrowserError::Write {
        path: path.clone(),
        source,
    })?;
    let named = std::env::var(BROWSER).unwrap_or_default();
    let named = named.split(':').filter(|program| !program.is_empty());
    let programs: Vec<&str> = named.chain([DESKTOP]).collect();
    let mut tried = Vec::new();
    for program in programs {
        match start(program, &path) {
            Ok(()) => return Ok(()),
            Err(why) => tried.push(format!("{program}: {why}")),
        }
    }
    Err(BrowserError::None {
        path,
        tried: tried.join("; "),
    })
}

/// A folder for pages below the user's own run or cache directory, else below that for temporary files.
fn folder() -> PathBuf {
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let own = of("XDG_RUNTIME_DIR").or_else(|| of("XDG_CACHE_HOME"));
    let own = own.or_else(|| Some(of("HOME")?.join(".cache")));
    own.filter(|own| own.is_absolute())
        .unwrap_or_else(std::env::temp_dir)
        .join("reachproof-pages")
}

fn write(report: &Report, view: &View, folder: &Path, path: &Path) -> Result<(), FormatError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    if path.exists() {
        fs::remove_file(path)?;
    }
    // A link that somebody laid there is not followed.
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let mut out = BufWriter::new(file);
    let html = Format::named("html").ok_or_else(|| io::Error::other("there is no such format"))?;
    html.write(report, view, &mut out)?;
    Ok(out.flush()?)
}

/// Starts a program and waits for its end, as `xdg-open` and wrappers of browsers end at once; a browser in the foreground
/// ends when it is closed.
fn start(program: &str, path: &Path) -> Result<(), String> {
    let mut words = program.split_whitespace();
    let Some(name) = words.next() else {
        return Err("no program".to_owned());
    };
    let words: Vec<&str> = words.collect();
    let is_named = words.contains(&FILE);
    let place = |word: &&str| {
        if *word == FILE {
            path.as_os_str().to_owned()
        } else {
            OsString::from(*word)
        }
    };
    let mut command = Command::new(name);
    command.args(words.iter().map(place));
    if !is_named {
        command.arg(path);
    }
    // What a browser says is not the report.
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match quiet.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err("not there".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
