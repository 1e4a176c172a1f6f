//! From the pieces of many files to one snapshot.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use thiserror::Error;

use super::{Described, Form, Piece, continuation, name};
use crate::net::Printable;

/// Two files that hold the same answer, and are neither pages of it nor for different ids.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{} hold the same answer, `{key}`, and are not pages of it: keep one of them",
    quoted(files)
)]
pub struct HeldTwice {
    /// Key of the answer.
    pub key: String,
    /// The files, sorted.
    pub files: Vec<String>,
}

fn quoted(files: &[String]) -> String {
    let files: Vec<_> = files
        .iter()
        .map(|file| format!("`{}`", Printable(file)))
        .collect();
    files.join(" and ")
}

/// Puts pieces together: pages of one answer are joined, answers for different ids stand side by side.
///
/// # Errors
/// [`HeldTwice`] names the files that hold one answer twice.
pub fn merge(pieces: Vec<Piece>) -> Result<Described, HeldTwice> {
    let paged = numbered_pages(&pieces);
    let mut groups: BTreeMap<(String, Option<String>), Vec<Piece>> = BTreeMap::new();
    for mut piece in pieces {
        let stem = piece
            .answer
            .map_or_else(|| piece.key.clone(), |answer| answer.stem.to_owned());
        if paged.contains(&stem) && piece.id.as_deref().is_none_or(name::is_page) {
            piece.id = None;
            piece.key.clone_from(&stem);
        }
        let id = piece.id.clone();
        groups.entry((stem, id)).or_default().push(piece);
    }
    let mut described = Described::default();
    for ((stem, id), group) in groups {
        let (key, value) = joined(group)?;
        // Two clusters in one file have its name both: then their own names tell them apart.
        let taken = described.get(&key).is_some();
        let key = match id {
            Some(id) if taken => format!("{stem}.{id}"),
            Some(_) | None => key,
        };
        described.insert(key, value);
    }
    Ok(described)
}

/// Stems of which files with numbers are pages: exactly one of them says that nothing follows.
fn numbered_pages(pieces: &[Piece]) -> BTreeSet<String> {
    let mut ends: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for piece in pieces {
        if let Some(answer) = piece.answer
            && piece.id.as_deref().is_none_or(name::is_page)
        {
            let (open, closed) = ends.entry(answer.stem).or_default();
            match continuation(&piece.value) {
                Some(_) => *open += 1,
                None => *closed += 1,
            }
        }
    }
    ends.into_iter()
        .filter(|(_, (open, closed))| *open > 0 && *closed == 1)
        .map(|(stem, _)| stem.to_owned())
        .collect()
}

/// The pieces of one answer as one.
fn joined(mut group: Vec<Piece>) -> Result<(String, Value), HeldTwice> {
    group.sort_by(|one, other| one.file.cmp(&other.file));
    let files: BTreeSet<String> = group.iter().map(|piece| piece.file.clone()).collect();
    let key = group
        .first()
        .map(|piece| piece.key.clone())
        .unwrap_or_default();
    let held_twice = || HeldTwice {
        key: key.clone(),
        files: files.iter().cloned().collect(),
    };
    let open = group
        .iter()
        .filter(|piece| continuation(&piece.value).is_some())
        .count();
    if files.len() > 1 && open + 1 != group.len() {
        return Err(held_twice());
    }
    // In one file a page that says more is followed by the next one; of the last one that must be so, too.
    let last = group.last().and_then(|piece| continuation(&piece.value));
    let is_cut = last.is_some() && (files.len() == 1 || open == group.len());
    let form = group
        .first()
        .and_then(|piece| piece.answer)
        .map(|answer| answer.form);
    let mut pieces = group.into_iter();
    let Some(first) = pieces.next() else {
        return Err(held_twice());
    };
    let mut value = first.value;
    for piece in pieces {
        let list = match form {
            Some(Form::List { key, .. } | Form::ListOf { key, .. }) => key,
            Some(Form::Objects { .. }) => {
                value = as_list(value);
                "items"
            }
            Some(Form::Plain { .. }) => {
                value = united(value, piece.value).ok_or_else(held_twice)?;
                continue;
            }
            Some(Form::Single { .. }) | None => return Err(held_twice()),
        };
        append(&mut value, list, piece.value);
        if !is_cut {
            close(&mut value);
        }
    }
    Ok((key, value))
}

/// One object as a list of one.
fn as_list(value: Value) -> Value {
    if value.get("items").is_some() {
        return value;
    }
    json!({"apiVersion": "v1", "kind": "List", "items": [value]})
}

/// Appends the items of a page.
fn append(value: &mut Value, list: &str, page: Value) {
    let mut page = if list == "items" { as_list(page) } else { page };
    let more = page.get_mut(list).map(Value::take);
    let items = value.get_mut(list);
    match (items, more) {
        (Some(Value::Array(items)), Some(Value::Array(more))) => items.extend(more),
        (Some(items), Some(more)) if items.is_null() => *items = more,
        (_, _) => {}
    }
}

/// Leaves out what said that more follows: it does.
fn close(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.remove("NextToken");
        fields.remove("nextToken");
    }
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("continue");
    }
}

/// Two objects with different fields as one; nothing if they contradict each other.
fn united(one: Value, other: Value) -> Option<Value> {
    let (Value::Object(mut fields), Value::Object(more)) = (one, other) else {
        return None;
    };
    for (name, value) in more {
        match fields.get(&name) {
            Some(known) if *known != value => return None,
            Some(_) | None => fields.insert(name, value),
        };
    }
    Some(Value::Object(fields))
}
