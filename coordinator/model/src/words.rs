//! Words that depend on a number, and words that are read back.

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Writes a count with its noun: `1 flow`, `2 flows`, `0 flows`.
#[must_use]
pub fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// Writes an error with its causes in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Reads one of `all` by the word that `word` writes it as.
///
/// # Errors
/// When no such word is known, as in a report of a newer version.
pub fn read<'de, T: Clone, D: Deserializer<'de>>(
    all: &[T],
    word: impl Fn(&T) -> &'static str,
    deserializer: D,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    named(all, word, &text).ok_or_else(|| D::Error::custom(format!("unknown word `{text}`")))
}

/// The one of `all` that `word` writes as `text`.
pub(crate) fn named<T: Clone>(
    all: &[T],
    word: impl Fn(&T) -> &'static str,
    text: &str,
) -> Option<T> {
    all.iter().find(|one| word(one) == text).cloned()
}
