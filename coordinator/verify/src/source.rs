//! Reads a snapshot from a directory of answers, or from one file (ARCHITECTURE, "Snapshot").

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reachproof_model::describe::{
    Candidacy, Described, HeldTwice, Piece, Refusal, STDIN, UnknownCluster, candidacy, documents,
    merge, sort,
};
use reachproof_model::net::Printable;
use reachproof_model::stability::Passing;
use thiserror::Error;

mod bytes;

pub(crate) use bytes::opened;

/// Largest file that is read, in bytes: the answers for 5,000 nodes have less than 200 MB.
pub const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How much of a file without a telling name is looked at before all of it is, in bytes: an even number, for UTF-16.
const FIRST_BYTES: u64 = 512;

/// A world that a run reads before and after its probes.
pub trait WorldSource: Send + Sync {
    /// Reads the world as it is now. May block: a run calls it off the threads that serve agents.
    ///
    /// # Errors
    /// [`WorldError`] when there is no whole world to be had.
    fn read(&self) -> Result<WorldReading, WorldError>;

    /// The same world for another run, if this one remembers what went on since its first reading; what passed before a run is
    /// none of its business.
    fn anew(&self) -> Option<Arc<dyn WorldSource>> {
        None
    }
}

/// The world for one run.
#[must_use]
pub fn anew(world: &Arc<dyn WorldSource>) -> Arc<dyn WorldSource> {
    world.anew().unwrap_or_else(|| Arc::clone(world))
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
    /// A file holds no answer.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Two files hold the same answer.
    #[error(transparent)]
    HeldTwice(#[from] HeldTwice),
    /// A directory holds no answer.
    #[error("`{}` holds no STEM.json, write the answers of the AWS CLI there", path.display())]
    Empty {
        /// Directory.
        path: PathBuf,
    },
    /// The snapshot describes another cluster.
    #[error(transparent)]
    UnknownCluster(#[from] UnknownCluster),
}

/// Path that stands for standard input.
const STDIN_PATH: &str = "-";

/// A snapshot with what is to be said about its files.
#[derive(Debug)]
pub struct Opened {
    /// The answers.
    pub described: Described,
    /// Files whose name or content is not as usual, a line each.
    pub notes: Vec<String>,
}

/// A file of a snapshot and what it holds.
#[derive(Debug)]
pub struct LookedAt {
    /// The file.
    pub file: String,
    /// The answers in it, or why there are none.
    pub held: Result<Vec<Piece>, SourceError>,
}

/// A saved snapshot of which one cluster is meant.
#[derive(Debug, Clone)]
pub struct Saved {
    /// File or directory.
    pub path: PathBuf,
    /// Name of the cluster, where there may be several.
    pub cluster: Option<String>,
}

impl Saved {
    /// Returns whether it is standard input, which can be read only once.
    #[must_use]
    pub fn is_stdin(&self) -> bool {
        self.path == Path::new(STDIN_PATH)
    }

    /// Opens the snapshot and leaves every other cluster out.
    ///
    /// # Errors
    /// [`SourceError`] as [`open`], and where the cluster is not in it.
    pub fn open(&self) -> Result<Opened, SourceError> {
        let mut opened = open(&self.path)?;
        if let Some(cluster) = &self.cluster {
            opened.described.choose_cluster(cluster)?;
        }
        Ok(opened)
    }
}

impl WorldSource for Saved {
    fn read(&self) -> Result<WorldReading, WorldError> {
        self.open()
            .map(|opened| WorldReading::saved(opened.described))
            .map_err(|error| WorldError(error.into()))
    }
}

/// Reads the answers in `path`, as [`open`] does, without what is to be said about the files.
///
/// # Errors
/// [`SourceError`] as [`open`].
pub fn read(path: &Path) -> Result<Described, SourceError> {
    open(path).map(|opened| opened.described)
}

/// Reads the answers in `path`: the files of a directory, one file, or standard input for `-`.
///
/// An answer is known by what it holds, its name comes second. A file may hold one answer, several documents, or a whole
/// snapshot with the stems as keys; a report or a test vector carries its world. UTF-8 and UTF-16, with or without a mark,
/// and gzip are read.
///
/// # Errors
/// [`SourceError`] for what is too large or no answer, and for an answer that two files hold.
pub fn open(path: &Path) -> Result<Opened, SourceError> {
    let mut pieces = Vec::new();
    for looked in look(path)? {
        pieces.extend(looked.held?);
    }
    let mut notes: Vec<_> = pieces
        .iter()
        .filter_map(|piece| {
            Some(format!(
                "`{}` {}",
                Printable(&piece.file),
                piece.note.as_ref()?
            ))
        })
        .collect();
    // Of a line for each object there are many, and one note says it.
    notes.dedup();
    Ok(Opened {
        described: merge(pieces)?,
        notes,
    })
}

/// Looks at every file of a snapshot by itself, sorted by name, whether it can be used or not.
///
/// # Errors
/// [`SourceError`] when the directory cannot be listed or holds nothing.
pub fn look(path: &Path) -> Result<Vec<LookedAt>, SourceError> {
    if path == Path::new(STDIN_PATH) {
        return Ok(vec![looked_at_stdin()]);
    }
    let metadata = fs::metadata(path).map_err(|source| unreadable(path, source))?;
    if !metadata.is_dir() {
        return Ok(vec![looked_at(path)]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(|source| unreadable(path, source))? {
        files.push(entry.map_err(|source| unreadable(path, source))?.path());
    }
    files.sort();
    let looked: Vec<_> = files.iter().filter_map(|file| candidate(file)).collect();
    if looked.is_empty() {
        return Err(SourceError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(looked)
}

/// A file of a directory, if it is one of the snapshot's.
fn candidate(path: &Path) -> Option<LookedAt> {
    let name = path.file_name()?.to_str()?;
    match candidacy(name) {
        Candidacy::Never => None,
        Candidacy::Answer => Some(looked_at(path)),
        Candidacy::Perhaps => {
            let is_file = fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
            if !is_file || !begins_as_json(path) {
                return None;
            }
            let looked = looked_at(path);
            let pieces = looked.held.as_ref().ok()?;
            let holds_answer = pieces.iter().any(|piece| piece.answer.is_some());
            holds_answer.then_some(looked)
        }
    }
}

/// Whether the first bytes of a file are worth reading the rest.
fn begins_as_json(path: &Path) -> bool {
    let mut first = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FIRST_BYTES).read_to_end(&mut first));
    read.is_ok() && bytes::may_be_json(&first)
}

fn looked_at(path: &Path) -> LookedAt {
    let file = path.display().to_string();
    let bytes = bytes::of_file(path).map_err(|source| unreadable(path, source));
    let held = bytes.and_then(|bytes| Ok(pieces(&file, bytes)?));
    LookedAt { file, held }
}

fn looked_at_stdin() -> LookedAt {
    let bytes = bytes::limited(io::stdin().lock());
    let bytes = bytes.map_err(|source| unreadable(Path::new(STDIN_PATH), source));
    LookedAt {
        file: STDIN.to_owned(),
        held: bytes.and_then(|bytes| Ok(pieces(STDIN, bytes)?)),
    }
}

/// The answers in the bytes of a file.
fn pieces(file: &str, bytes: Vec<u8>) -> Result<Vec<Piece>, Refusal> {
    let text = bytes::text(bytes).map_err(|nature| Refusal::new(file, nature, ""))?;
    let mut pieces = Vec::new();
    for document in documents(file, &text)? {
        pieces.extend(sort(file, document)?);
    }
    Ok(pieces)
}

/// Reads a regular file as text, at most [`FILE_BYTES_MAX`] of it. A FIFO, a device or a directory is an error at once:
/// opening or reading it could wait for ever.
///
/// # Errors
/// [`io::Error`] for what cannot be read, is no regular file, is too large, or is no text.
pub fn read_text(path: &Path) -> io::Result<String> {
    text_of(bytes::of_file(path)?)
}

/// The same of bytes that came from elsewhere than a file.
///
/// # Errors
/// [`io::Error`] for what is no text.
pub(crate) fn text_of(bytes: Vec<u8>) -> io::Result<String> {
    bytes::text(bytes)
        .map_err(|nature| io::Error::new(io::ErrorKind::InvalidData, format!("it {nature}")))
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
            "`describe-vpcs.json` is cut off at line 2, column 0: write it with `aws ec2 describe-vpcs --output json`; it begins `{\"Vpcs\": [`: "
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
    fn an_empty_list_of_nothing_is_no_snapshot() {
        let directory = directory_with("whole.json", "[]");
        let text = complaint(&directory, &directory.path().join("whole.json"));
        assert_eq!(
            text,
            "`whole.json` is an empty list, and its name does not say of what: name it after its command, such as `describe-vpcs.json`: "
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
