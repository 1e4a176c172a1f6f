//! Text with one JSON document or several.

use serde::Deserialize;
use serde::de::DeserializeSeed;
use serde_json::Value;
use serde_json::error::Category;

use super::{Nature, Refusal, Strict};

/// One document, read as strictly as a whole text.
struct Document(Value);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        Strict { depth: 0 }.deserialize(reader).map(Self)
    }
}

/// Reads the JSON documents of a text, one behind the other: pages, or JSON lines.
///
/// # Errors
/// [`Refusal`] that says what the text is if it is no JSON, with its first characters. An object that has one key twice is
/// refused: of two values a parser keeps one, silently, and a rule would be lost.
pub fn documents(file: &str, text: &str) -> Result<Vec<Value>, Refusal> {
    if !begins_as_json(text) {
        return scalar(text).map_or_else(
            || Err(Refusal::new(file, Nature::of(text), text)),
            |value| Ok(vec![value]),
        );
    }
    let mut reader = serde_json::Deserializer::from_str(text).into_iter::<Document>();
    let mut documents = Vec::new();
    while let Some(document) = reader.next() {
        let Document(value) = document.map_err(|fault| refusal(file, text, &fault))?;
        documents.push(value);
        let rest = text
            .get(reader.byte_offset()..)
            .unwrap_or_default()
            .trim_start();
        if !rest.is_empty() && !begins_as_json(rest) {
            return Err(Refusal::new(file, Nature::TextBehind, rest));
        }
    }
    Ok(documents)
}

fn begins_as_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

/// A text, a number, true, false or null, as a query can leave it.
fn scalar(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
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
