//! Text with one JSON document or several.

use serde::de::DeserializeSeed;
use serde_json::Value;
use serde_json::error::Category;

use super::{Nature, Refusal, Strict};

/// Reads the JSON documents of a text, one behind the other: pages, or JSON lines.
///
/// # Errors
/// [`Refusal`] that says what the text is if it is no JSON, with its first characters. An object that has one key twice is
/// refused: of two values a parser keeps one, silently, and a rule would be lost.
pub fn documents(file: &str, text: &str) -> Result<Vec<Value>, Refusal> {
    let begins_as_json = text.trim_start().starts_with(['{', '[']);
    if !begins_as_json {
        return scalar(text).map_or_else(
            || Err(Refusal::new(file, Nature::of(text), text)),
            |value| Ok(vec![value]),
        );
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let mut documents = Vec::new();
    while let Err(more) = reader.end() {
        let rest = behind(text, &more);
        if !documents.is_empty() && !rest.starts_with(['{', '[']) {
            return Err(Refusal::new(file, Nature::TextBehind, rest));
        }
        let document = Strict { depth: 0 }.deserialize(&mut reader);
        documents.push(document.map_err(|fault| refusal(file, text, &fault))?);
    }
    Ok(documents)
}

/// A text, a number, true, false or null, as a query can leave it.
fn scalar(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

/// What stands from the place of a fault on.
fn behind<'a>(text: &'a str, fault: &serde_json::Error) -> &'a str {
    let before: usize = text
        .split_inclusive('\n')
        .take(fault.line().saturating_sub(1))
        .map(str::len)
        .sum();
    let place = before.saturating_add(fault.column().saturating_sub(1));
    text.get(place..).unwrap_or_default().trim_start()
}

fn refusal(file: &str, text: &str, fault: &serde_json::Error) -> Refusal {
    let (line, column) = (fault.line(), fault.column());
    match fault.classify() {
        Category::Eof => Refusal::new(file, Nature::CutOff { line, column }, text),
        Category::Data => {
            let fault = fault.to_string();
            Refusal::new(file, Nature::Ambiguous { fault }, "")
        }
        Category::Syntax | Category::Io => {
            let fault = fault.to_string();
            let nature = Nature::of_broken(text).unwrap_or(Nature::Broken { fault });
            Refusal::new(file, nature, text)
        }
    }
}
