//! Texts that are no answer: what each is by its first lines, and what to do about it.

use std::fmt;

use thiserror::Error;

use super::{Answer, name};
use crate::net::Printable;

/// Most of a refused text that is quoted, in characters.
const QUOTED_MAX: usize = 60;

/// Beginnings of what the AWS CLI says instead of an answer.
const AWS_ERRORS: [&str; 13] = [
    "an error occurred (",
    "aws: error",
    "aws: [error]",
    "usage: aws",
    "unable to locate credentials",
    "you must specify a region",
    "could not connect to the endpoint",
    "the config profile",
    "error when retrieving token",
    "error loading sso token",
    "the sso session",
    "partial credentials",
    "unknown options",
];
/// Beginnings of what kubectl says instead of an answer.
const KUBECTL_ERRORS: [&str; 7] = [
    "error from server",
    "error: ",
    "the connection to the server",
    "unable to connect to the server",
    "couldn't get",
    "you must be logged in",
    "warning: ",
];
/// Pieces of a first line that a shell wrote.
const SHELL: [&str; 6] = [
    "command not found",
    "is not recognized as",
    "no such file or directory",
    "permission denied",
    "$ aws ",
    "$ kubectl ",
];

/// A file that holds no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}` {nature}{}{}", Printable(file), Remedy(nature, *answer), Quote(quote))]
pub struct Refusal {
    /// The file, as its reader knows it.
    pub file: String,
    /// The answer that its name promises.
    pub answer: Option<&'static Answer>,
    /// What it is instead.
    pub nature: Nature,
    /// Its first characters, where they say more.
    pub quote: String,
}

impl Refusal {
    /// Makes the refusal of a file for a text in it.
    #[must_use]
    pub fn new(file: &str, nature: Nature, text: &str) -> Self {
        Self {
            file: file.to_owned(),
            answer: name::claim(file).answer,
            nature,
            quote: text.trim_start().chars().take(QUOTED_MAX).collect(),
        }
    }
}

/// What a text is that is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nature {
    /// Nothing.
    Empty,
    /// YAML.
    Yaml,
    /// `--output text` of the AWS CLI.
    AwsText,
    /// `--output table` of the AWS CLI.
    AwsTable,
    /// What `kubectl get` prints for people.
    KubectlTable,
    /// An error of the AWS CLI.
    AwsError,
    /// An error of kubectl.
    KubectlError,
    /// kubectl found nothing.
    NoResources,
    /// A prompt, or what a shell said.
    Shell,
    /// A web page.
    WebPage,
    /// XML.
    Xml,
    /// JSON with escape sequences for colours.
    Coloured,
    /// A dictionary as Python prints it.
    Python,
    /// Other text stands before the JSON.
    TextBefore,
    /// Other text stands behind the JSON.
    TextBehind,
    /// JSON that ends too early.
    CutOff {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// JSON with a mistake, as the parser says it.
    Broken {
        /// What the parser says.
        fault: String,
    },
    /// JSON that can be read in two ways or nests too deeply.
    Ambiguous {
        /// What the parser says.
        fault: String,
    },
    /// An archive or a compressed file other than gzip.
    Archive,
    /// A gzip file that is damaged or cut off.
    DamagedGzip,
    /// Bytes that are no text.
    NoText,
    /// Anything else.
    Unknown,
    /// An error of the API server, as an object.
    Status {
        /// What it said.
        message: String,
    },
    /// Objects of another kind, that no answer holds.
    OtherKind {
        /// The kind.
        kind: String,
    },
    /// An object of another form.
    OtherShape {
        /// What it should have on top.
        wanted: String,
    },
    /// A text, a number, or nothing at all, as `--query` leaves it.
    Scalar,
    /// A list of texts or numbers, as `--query` leaves it.
    ListOfScalars,
    /// An empty list, of which nobody can say what it is empty of.
    EmptyList,
    /// A list of one thing, whose id is nowhere.
    WithoutId {
        /// Stem of the answer.
        stem: &'static str,
        /// Beginning of the id.
        prefix: &'static str,
    },
    /// A report that left its world out.
    WorldLeftOut,
}

impl Nature {
    /// Says what a text is that does not begin as JSON does, or is broken JSON.
    pub(super) fn of(text: &str) -> Self {
        let text = text.trim_start();
        let lower: String = text.chars().take(400).collect::<String>().to_lowercase();
        let first = lower.lines().next().unwrap_or_default();
        if text.is_empty() {
            Self::Empty
        } else if text
            .chars()
            .take(QUOTED_MAX)
            .any(|character| character == '\u{1b}')
        {
            Self::Coloured
        } else if let Some(said) = said(&lower, first) {
            said
        } else if let Some(format) = format(text, first) {
            format
        } else if text.lines().any(|line| line.starts_with(['{', '['])) {
            Self::TextBefore
        } else {
            Self::Unknown
        }
    }

    /// Says what a text is that begins as JSON does, but is none.
    pub(super) fn of_broken(text: &str) -> Option<Self> {
        let text = text.trim_start();
        let is_python = ["{'", "[{'", "['"]
            .iter()
            .any(|start| text.starts_with(start));
        if is_coloured(text) {
            Some(Self::Coloured)
        } else {
            is_python.then_some(Self::Python)
        }
    }
}

/// Whether escape sequences stand in the first characters.
fn is_coloured(text: &str) -> bool {
    let mut first = text.chars().take(QUOTED_MAX);
    first.any(|character| character == '\u{1b}')
}

/// What a program said instead of answering.
fn said(lower: &str, first: &str) -> Option<Nature> {
    let begins = |beginnings: &[&str]| {
        let mut lines = lower.lines().map(str::trim_start).take(3);
        lines.any(|line| {
            beginnings
                .iter()
                .any(|beginning| line.starts_with(beginning))
        })
    };
    let is_prompt = first.starts_with("$ ")
        || first.starts_with("ps ") && first.contains('>')
        || first.starts_with("> ")
        || SHELL.iter().any(|piece| first.contains(piece))
        || is_at_prompt(first);
    if begins(&AWS_ERRORS) {
        Some(Nature::AwsError)
    } else if begins(&["no resources found"]) {
        Some(Nature::NoResources)
    } else if is_prompt {
        Some(Nature::Shell)
    } else if begins(&KUBECTL_ERRORS) {
        Some(Nature::KubectlError)
    } else {
        None
    }
}

/// Whether a line begins as `user@host:~$ command`.
fn is_at_prompt(line: &str) -> bool {
    let Some((prompt, _)) = line.split_once("$ ").or_else(|| line.split_once("# ")) else {
        return false;
    };
    let word = prompt.trim_start_matches('[');
    let user = word.split('@').next().unwrap_or_default();
    word.contains('@') && !user.is_empty() && user.chars().all(char::is_alphanumeric)
}

/// Another format than JSON.
fn format(text: &str, first: &str) -> Option<Nature> {
    let line = text.lines().next().unwrap_or_default();
    let second = text.lines().nth(1).unwrap_or_default();
    let key = line.split_once(':').map(|(key, _)| key);
    let is_key = |key: &str| {
        key.starts_with(char::is_alphabetic)
            && key
                .chars()
                .all(|character| character.is_alphanumeric() || "_-.".contains(character))
    };
    if first.starts_with("<!doctype html") || first.starts_with("<html") {
        Some(Nature::WebPage)
    } else if first.starts_with('<') {
        Some(Nature::Xml)
    } else if line.starts_with("----") && second.starts_with('|') || line.starts_with(['|', '+']) {
        Some(Nature::AwsTable)
    } else if line.starts_with("NAME") && !line.contains(':') {
        Some(Nature::KubectlTable)
    } else if line.contains('\t') {
        Some(Nature::AwsText)
    } else if line.trim_end() == "---" || line.starts_with("- ") || key.is_some_and(is_key) {
        Some(Nature::Yaml)
    } else {
        None
    }
}

impl fmt::Display for Nature {
    /// Writes what the file is, as the predicate of a sentence.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Empty => "is empty",
            Self::Yaml => "is YAML, not JSON",
            Self::AwsText => "is what `--output text` prints, not JSON",
            Self::AwsTable => "is what `--output table` prints, not JSON",
            Self::KubectlTable => "is a table of kubectl, not JSON",
            Self::AwsError => "holds an error of the AWS CLI",
            Self::KubectlError => "holds an error of kubectl",
            Self::NoResources => "says that kubectl found nothing",
            Self::Shell => "holds what a shell wrote",
            Self::WebPage => "is a web page",
            Self::Xml => "is XML, not JSON",
            Self::Coloured => "holds escape sequences for colours",
            Self::Python => "is what Python prints, not JSON",
            Self::TextBefore => "has other text before its JSON",
            Self::TextBehind => "has other text behind its JSON",
            Self::CutOff { line, column } => {
                return write!(formatter, "is cut off at line {line}, column {column}");
            }
            Self::Broken { fault } => return write!(formatter, "is no JSON, {fault}"),
            Self::Ambiguous { fault } => return write!(formatter, "cannot be used, {fault}"),
            Self::Archive => "is an archive",
            Self::DamagedGzip => "is a gzip file that is damaged or cut off",
            Self::NoText => "is neither UTF-8 nor UTF-16",
            Self::Unknown => "is no JSON",
            Self::Status { message } => {
                let message = Printable(message);
                return write!(formatter, "is an error of the API server, `{message}`");
            }
            Self::OtherKind { kind } => {
                return write!(formatter, "holds objects of kind `{}`", Printable(kind));
            }
            Self::OtherShape { wanted } => {
                return write!(
                    formatter,
                    "has no {wanted}, it is not the answer of its command"
                );
            }
            Self::Scalar => "is a single value, no answer",
            Self::ListOfScalars => "is a list of single values, no answer",
            Self::EmptyList => "is an empty list, and its name does not say of what",
            Self::WithoutId { stem, .. } => {
                return write!(
                    formatter,
                    "holds the answer of `{stem}`, but does not say for which id"
                );
            }
            Self::WorldLeftOut => "is a report without its world",
        };
        formatter.write_str(text)
    }
}

/// What to do about a refused file.
struct Remedy<'a>(&'a Nature, Option<&'static Answer>);

impl fmt::Display for Remedy<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(nature, answer) = self;
        let command = match answer {
            Some(answer) => format!("`{}`", answer.shown_command()),
            None => "`--output json` (aws) or `-o json` (kubectl)".to_owned(),
        };
        match nature {
            Nature::Empty => write!(formatter, ": see what {command} says, and write it again"),
            Nature::AwsError | Nature::KubectlError => {
                write!(formatter, ": remedy that, then write it with {command}")
            }
            Nature::NoResources => {
                write!(formatter, ": write the empty list with {command}")
            }
            Nature::Shell | Nature::TextBefore | Nature::TextBehind => {
                write!(formatter, ": leave that out, or write it with {command}")
            }
            Nature::Yaml
            | Nature::AwsText
            | Nature::AwsTable
            | Nature::KubectlTable
            | Nature::WebPage
            | Nature::Xml
            | Nature::Coloured
            | Nature::Python
            | Nature::CutOff { .. }
            | Nature::Broken { .. }
            | Nature::DamagedGzip
            | Nature::NoText
            | Nature::Unknown
            | Nature::OtherKind { .. } => write!(formatter, ": write it with {command}"),
            Nature::Ambiguous { .. } => Ok(()),
            Nature::Archive => formatter.write_str(": unpack it and give the directory"),
            Nature::Status { .. } => write!(
                formatter,
                ": get the right and write it with {command}, or remove the file"
            ),
            Nature::Scalar | Nature::ListOfScalars | Nature::OtherShape { .. } => {
                write!(
                    formatter,
                    ": write it whole, with {command} and without `--query`"
                )
            }
            Nature::EmptyList => {
                formatter.write_str(": name it after its command, such as `describe-vpcs.json`")
            }
            Nature::WithoutId { stem, prefix } => {
                write!(formatter, ": name it `{stem}.{prefix}….json`")
            }
            Nature::WorldLeftOut => formatter.write_str(": make it without `--no-snapshot`"),
        }
    }
}

/// The first characters of a refused text, in one line.
struct Quote<'a>(&'a str);

impl fmt::Display for Quote<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.trim_end();
        if text.is_empty() {
            return Ok(());
        }
        let line: String = text
            .chars()
            .map(|character| {
                if character.is_whitespace() {
                    ' '
                } else {
                    character
                }
            })
            .collect();
        write!(formatter, "; it begins `{}`", Printable(&line))
    }
}
