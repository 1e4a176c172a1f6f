//! Answers put together: by id, without duplicates, in one order.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::call::Call;
use crate::canonical::canonical;

/// What has been read so far, by call and id.
///
/// **Invariant.** One id has one value; a second, different one is kept apart in `changed` and fails the reading.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    lists: BTreeMap<Call, BTreeMap<String, Value>>,
    files: BTreeMap<String, Value>,
    changed: BTreeSet<String>,
}

impl Collected {
    /// Adds the items of one list; the call counts as answered also when there are none.
    pub(crate) fn add(&mut self, call: Call, items: Vec<Value>) {
        let list = self.lists.entry(call).or_default();
        for item in items {
            let key = key_of(call, &item);
            let item = canonical(item);
            match list.get_mut(&key) {
                None => {
                    list.insert(key, item);
                }
                Some(known) if *known == item => {}
                Some(known) if call == Call::Instances => join_reservations(known, item),
                Some(_) => {
                    self.changed.insert(key);
                }
            }
        }
    }

    /// Adds an answer for one id, which is a file of its own.
    pub(crate) fn add_file(&mut self, name: String, answer: Value) {
        self.files.insert(name, canonical(answer));
    }

    /// Takes over everything of `other`.
    pub(crate) fn merge(&mut self, other: Self) {
        for (call, items) in other.lists {
            self.add(call, items.into_values().collect());
        }
        self.files.extend(other.files);
        self.changed.extend(other.changed);
    }

    /// Whether the call was answered, if only with nothing.
    pub(crate) fn has(&self, call: Call) -> bool {
        self.lists.contains_key(&call)
    }

    /// The items of one list, by id.
    pub(crate) fn items(&self, call: Call) -> impl Iterator<Item = &Value> {
        self.lists.get(&call).into_iter().flat_map(BTreeMap::values)
    }

    /// The answer in one file.
    pub(crate) fn file(&self, name: &str) -> Option<&Value> {
        self.files.get(name)
    }

    /// The ids under `key` at the top of every item of one list.
    pub(crate) fn ids(&self, call: Call, key: &str) -> BTreeSet<String> {
        self.items(call)
            .filter_map(|item| text(item, key))
            .map(str::to_owned)
            .collect()
    }

    /// The texts under `key` anywhere in the items of one list.
    pub(crate) fn mentions(&self, call: Call, key: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for item in self.items(call) {
            collect(item, key, &mut found);
        }
        found
    }

    /// Notes that answers do not agree on these ids.
    pub(crate) fn disagree(&mut self, ids: impl IntoIterator<Item = String>) {
        self.changed.extend(ids);
    }

    /// Drops the items of one list for which `is_dropped` holds.
    pub(crate) fn drop_items(&mut self, call: Call, is_dropped: impl Fn(&Value) -> bool) {
        if let Some(items) = self.lists.get_mut(&call) {
            items.retain(|_, item| !is_dropped(item));
        }
    }

    /// Ids that came with different contents.
    pub(crate) fn changed(&self) -> &BTreeSet<String> {
        &self.changed
    }

    /// The answers by stem, lists sorted by id.
    pub(crate) fn into_answers(self) -> Map<String, Value> {
        let mut answers: BTreeMap<String, Value> = self.files;
        for (call, items) in self.lists {
            let (Some(stem), Some((key, _))) = (call.stem(), call.list()) else {
                continue;
            };
            let list = Value::Array(items.into_values().collect());
            answers.insert(
                stem.to_owned(),
                Value::Object(Map::from_iter([(key.to_owned(), list)])),
            );
        }
        answers.into_iter().collect()
    }
}

/// The text under `key` of an object.
pub(crate) fn text<'v>(item: &'v Value, key: &str) -> Option<&'v str> {
    item.get(key).and_then(Value::as_str)
}

/// Adds the texts under `key`, at any depth of `value`.
pub(crate) fn collect(value: &Value, key: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field.as_str() {
                    Some(text) if name == key => {
                        found.insert(text.to_owned());
                    }
                    _ => collect(field, key, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, key, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The item's id; an item without one stands for itself, so that it is neither lost nor taken for another.
fn key_of(call: Call, item: &Value) -> String {
    let keys = call.list().into_iter().flat_map(|(_, keys)| keys);
    let parts: Vec<&str> = keys.filter_map(|key| text(item, key)).collect();
    if parts.is_empty() {
        item.to_string()
    } else {
        parts.join("/")
    }
}

/// Adds the instances of one reservation that came on another page.
fn join_reservations(known: &mut Value, further: Value) {
    let Value::Object(mut further) = further else {
        return;
    };
    let Some(Value::Array(more)) = further.remove("Instances") else {
        return;
    };
    if let Some(Value::Array(instances)) = known.get_mut("Instances") {
        instances.extend(
            more.into_iter()
                .filter(|instance| !instances.contains(instance))
                .collect::<Vec<_>>(),
        );
    }
    *known = canonical(known.take());
}
