//! `reachproof snapshot --check`: which answers a saved snapshot has, and what follows from those that it lacks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

use reachproof_model::describe::{ANSWERS, Answer, Need, Piece, merge};
use reachproof_model::net::Printable;
use reachproof_model::snapshot::Snapshot;
use reachproof_model::words::chain;
use reachproof_model::words::counted;
use reachproof_verify::source::{LookedAt, look};

use crate::cli::exit_code::ExitCode;
use crate::cli::{CliError, table};
use crate::source::WorldFailure;

/// Prints one screen about a snapshot. Exit code 0 if it can be used, 2 if not.
///
/// # Errors
/// [`CliError`] when the directory cannot be listed or the answer cannot be written.
pub(super) fn run(path: &Path) -> Result<ExitCode, CliError> {
    let (text, code) = checked(look(path).map_err(WorldFailure::from)?);
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(code)
}

/// The page about these files.
fn checked(files: Vec<LookedAt>) -> (String, ExitCode) {
    let mut pieces = Vec::new();
    let mut refused = Vec::new();
    for file in files {
        match file.held {
            Ok(held) => pieces.extend(held),
            Err(error) => refused.push((file.file, chain(&error))),
        }
    }
    let mut text = answers(&pieces, &refused);
    text.push('\n');
    for (_, error) in &refused {
        let _ = writeln!(text, "refused: {error}");
    }
    for piece in pieces.iter().filter(|piece| piece.answer.is_none()) {
        let file = Printable(&piece.file);
        let _ = writeln!(text, "left out: `{file}` holds no answer that is asked for");
    }
    let usable = merge(pieces)
        .map_err(|error| error.to_string())
        .and_then(|described| Snapshot::decode(&described).map_err(|error| error.to_string()));
    let (last, code) = match usable {
        Ok(decoded) if refused.is_empty() => (
            format!(
                "usable: {}, {} of them the control plane's",
                counted(
                    decoded.snapshot.network_interfaces().count(),
                    "interface",
                    "interfaces"
                ),
                decoded.snapshot.control_plane_interfaces().len()
            ),
            ExitCode::Answered,
        ),
        Ok(_) => (
            "not usable: remedy or remove the refused files".to_owned(),
            ExitCode::Failed,
        ),
        Err(error) => (format!("not usable: {error}"), ExitCode::Failed),
    };
    let _ = writeln!(text, "{last}");
    (text, code)
}

/// A line for each answer: what was found, or what follows from its absence.
fn answers(pieces: &[Piece], refused: &[(String, String)]) -> String {
    let mut found: BTreeMap<&str, Vec<&Piece>> = BTreeMap::new();
    for piece in pieces {
        if let Some(answer) = piece.answer {
            found.entry(answer.stem).or_default().push(piece);
        }
    }
    let rows = ANSWERS.iter().map(|answer| {
        let pieces = found
            .get(answer.stem)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let (state, detail) = row(answer, pieces, refused);
        [answer.stem.to_owned(), state.to_owned(), detail]
    });
    table::aligned(["answer", "state", "what it holds, or what follows"], rows)
}

fn row(answer: &Answer, pieces: &[&Piece], refused: &[(String, String)]) -> (&'static str, String) {
    let is_refused = refused.iter().any(|(file, _)| {
        let name = Path::new(file).file_name().and_then(|name| name.to_str());
        name.and_then(Answer::of_stem) == Some(answer)
    });
    if pieces.is_empty() && is_refused {
        return ("refused", "see below".to_owned());
    }
    if pieces.is_empty() {
        let state = match answer.need {
            Need::Required => "MISSING",
            Need::Optional(_) | Need::Silent(_) | Need::UnlessRefused(_) => "missing",
        };
        let remedy = match answer.need {
            Need::Required => format!("; write it with `{}`", answer.shown_command()),
            Need::Optional(_) | Need::Silent(_) | Need::UnlessRefused(_) => String::new(),
        };
        return (state, format!("{}{remedy}", answer.absence()));
    }
    let files: Vec<_> = pieces
        .iter()
        .filter(|piece| piece.note.is_some())
        .map(|piece| format!("`{}`", Printable(&piece.file)))
        .collect();
    let count: Vec<_> = pieces.iter().filter_map(|piece| piece.count()).collect();
    let held = if count.is_empty() {
        let names: Vec<_> = pieces
            .iter()
            .filter_map(|piece| piece.id.as_deref())
            .collect();
        Printable(&names.join(", ")).to_string()
    } else {
        count.iter().sum::<usize>().to_string()
    };
    if files.is_empty() {
        ("found", held)
    } else {
        ("misnamed", format!("{held}, in {}", files.join(", ")))
    }
}
