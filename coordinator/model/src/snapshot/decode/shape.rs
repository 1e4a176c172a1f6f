//! Refuses what is no snapshot: a required answer absent, an answer of another command, one page of several.

use serde_json::Value;

use super::DecodeError;
use crate::describe::{ANSWERS, Answer, Described, Form, Need};

/// Answer that stands in for the interfaces: each instance lists its own.
const INSTANCES: &str = "describe-instances";
/// Answer with the interfaces.
pub(super) const INTERFACES: &str = "describe-network-interfaces";

/// Refuses what is no snapshot: required files absent, an answer of another command, one page of several.
pub(super) fn check(described: &Described) -> Result<(), DecodeError> {
    let missing = missing(described);
    if !missing.is_empty() {
        return Err(DecodeError::FilesMissing { answers: missing });
    }
    for (stem, answer) in described.iter() {
        check_pages(stem, answer)?;
        check_shape(stem, answer)?;
    }
    match described.clusters() {
        names if names.len() > 1 => Err(DecodeError::SeveralClusters { names }),
        _ => Ok(()),
    }
}

/// The required answers that are absent. Interfaces may come from the instances that have them.
fn missing(described: &Described) -> Vec<&'static Answer> {
    let has = |stem| described.family(stem).next().is_some();
    let required = ANSWERS
        .iter()
        .filter(|answer| answer.need == Need::Required);
    required
        .filter(|answer| !has(answer.stem))
        .filter(|answer| answer.stem != INTERFACES || !has(INSTANCES))
        .collect()
}

fn check_pages(stem: &str, answer: &Value) -> Result<(), DecodeError> {
    match crate::describe::continuation(answer) {
        Some(field) => Err(DecodeError::Incomplete {
            stem: stem.to_owned(),
            field,
        }),
        None => Ok(()),
    }
}

fn check_shape(stem: &str, answer: &Value) -> Result<(), DecodeError> {
    let Some(form) = Answer::of_stem(stem).map(|known| known.form) else {
        return Ok(());
    };
    let (fits, wanted) = match form {
        Form::List { key, .. } | Form::ListOf { key, .. } => (
            answer.get(key).is_some_and(Value::is_array),
            format!("list `{key}`"),
        ),
        Form::Single { key, .. } => (
            answer.get(key).is_some_and(Value::is_object),
            format!("object `{key}`"),
        ),
        Form::Objects { .. } => (is_objects(answer), "list `items`".to_owned()),
        Form::Plain { .. } => (true, String::new()),
    };
    if fits {
        return Ok(());
    }
    Err(DecodeError::WrongShape {
        stem: stem.to_owned(),
        wanted,
    })
}

/// Whether an answer is a list of Kubernetes objects, or one, or says that there is none. Go writes an empty list as null.
fn is_objects(answer: &Value) -> bool {
    if answer.get("kind").and_then(Value::as_str) == Some("Status") {
        return true;
    }
    match answer.get("items") {
        Some(items) => items.is_array() || items.is_null(),
        None => answer.get("metadata").is_some_and(Value::is_object),
    }
}
