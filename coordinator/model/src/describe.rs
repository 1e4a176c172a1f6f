//! Answers of the APIs as JSON, before anything is made of them.
//!
//! A snapshot is a set of answers, each under the stem of its file (ARCHITECTURE, "Snapshot"). Nothing here interprets
//! an answer; [`parse`] only refuses what JSON leaves open: an object that has one key twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use thiserror::Error;

pub use answer::{ANSWERS, Answer, Each, Form, Need};
pub use fleeting::lasting;
pub use merge::{HeldTwice, merge};
pub use name::{Candidacy, STDIN, candidacy};
pub(crate) use node::{Fault, Node};
pub use refusal::{Nature, Refusal};
pub use sort::{Piece, sort};
pub use text::documents;

mod answer;
mod fleeting;
mod known;
mod merge;
mod name;
mod node;
mod refusal;
mod sort;
mod text;

/// Deepest nesting that is read: answers have less than twenty levels, and a reader must not run out of stack.
const DEPTH_MAX: usize = 100;

/// The answers of a snapshot by the stem of their file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Described {
    answers: BTreeMap<String, Value>,
}

/// Text that is no usable JSON.
#[derive(Debug, Error)]
#[error("no usable JSON: {fault}")]
pub struct InvalidJson {
    /// What the parser says, with line and column.
    fault: serde_json::Error,
}

impl InvalidJson {
    /// Returns the line of the fault, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.fault.line()
    }

    /// Returns the column of the fault, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.fault.column()
    }
}

impl Described {
    /// Adds the answer of one file, replacing one of the same stem.
    pub fn insert(&mut self, stem: impl Into<String>, answer: Value) {
        self.answers.insert(stem.into(), answer);
    }

    /// Returns the answer of one file.
    #[must_use]
    pub fn get(&self, stem: &str) -> Option<&Value> {
        self.answers.get(stem)
    }

    /// Returns the answer of one file, to be changed.
    pub(crate) fn get_mut(&mut self, stem: &str) -> Option<&mut Value> {
        self.answers.get_mut(stem)
    }

    /// Visits the answers, sorted by stem.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.answers
            .iter()
            .map(|(stem, answer)| (stem.as_str(), answer))
    }

    /// Returns the whole as one JSON object with the stems as keys, sorted.
    #[must_use]
    pub fn to_json(&self) -> Value {
        Value::Object(
            self.answers
                .iter()
                .map(|(stem, answer)| (stem.clone(), answer.clone()))
                .collect(),
        )
    }

    /// Returns the names of the clusters that are described, sorted.
    #[must_use]
    pub fn clusters(&self) -> Vec<String> {
        let names: BTreeSet<_> = self
            .family("describe-cluster")
            .filter_map(|file| file.field("cluster")?.text("name").ok().flatten())
            .collect();
        names.into_iter().map(str::to_owned).collect()
    }

    /// Leaves out every other cluster, with its node groups and Fargate profiles.
    ///
    /// # Errors
    /// [`UnknownCluster`] if there is none of that name.
    pub fn choose_cluster(&mut self, name: &str) -> Result<(), UnknownCluster> {
        let names = self.clusters();
        if !names.iter().any(|known| known == name) {
            return Err(UnknownCluster {
                name: name.to_owned(),
                names,
            });
        }
        for (stem, place) in [
            ("describe-cluster", "/cluster/name"),
            ("describe-nodegroup", "/nodegroup/clusterName"),
            ("describe-fargate-profile", "/fargateProfile/clusterName"),
        ] {
            self.answers.retain(|key, answer| {
                let own = answer.pointer(place).and_then(Value::as_str);
                !is_of(key, stem) || own.is_none_or(|own| own == name)
            });
        }
        Ok(())
    }

    /// Answers of `STEM` and of every `STEM.ID`, sorted by stem.
    pub(crate) fn family<'a>(&'a self, stem: &'a str) -> impl Iterator<Item = Node<'a>> {
        self.answers
            .iter()
            .filter(move |(key, _)| is_of(key, stem))
            .map(|(key, answer)| Node::file(key, answer))
    }
}

/// Whether a key is `STEM` or `STEM.ID`.
fn is_of(key: &str, stem: &str) -> bool {
    let rest = key.strip_prefix(stem);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The snapshot does not describe the cluster that is meant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no cluster `{name}` in the snapshot, it has {}", described(names))]
pub struct UnknownCluster {
    /// The name that was asked for.
    pub name: String,
    /// Those that there are, sorted.
    pub names: Vec<String>,
}

/// The names of clusters for an error.
fn described(names: &[String]) -> String {
    if names.is_empty() {
        return "no `describe-cluster` at all".to_owned();
    }
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

impl From<Map<String, Value>> for Described {
    fn from(answers: Map<String, Value>) -> Self {
        Self {
            answers: answers.into_iter().collect(),
        }
    }
}

/// The field that says that an answer is one page of several: a token that is not empty.
pub(crate) fn continuation(answer: &Value) -> Option<&'static str> {
    let says_more = |value: Option<&Value>| match value {
        None | Some(Value::Null) => false,
        Some(Value::String(token)) => !token.is_empty(),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => true,
    };
    ["NextToken", "nextToken"]
        .into_iter()
        .find(|field| says_more(answer.get(field)))
        .or_else(|| says_more(answer.pointer("/metadata/continue")).then_some("metadata.continue"))
}

/// Reads JSON text, refusing an object that has one key twice.
///
/// Of two values under one key a parser keeps one, silently: a rule would be lost and look like a deny.
///
/// # Errors
/// [`InvalidJson`] with line and column if the text is not JSON, ends too early, goes on behind its end, nests deeper
/// than 100 levels or repeats a key, which is then named.
pub fn parse(text: &str) -> Result<Value, InvalidJson> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let parsed = Strict { depth: 0 }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    parsed.map_err(|fault| InvalidJson { fault })
}

/// Builds a value, counting levels and comparing keys.
struct Strict {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl Strict {
    fn deeper<E: serde::de::Error>(&self) -> Result<usize, E> {
        let depth = self.depth.saturating_add(1);
        if depth > DEPTH_MAX {
            return Err(E::custom(format_args!(
                "nested deeper than {DEPTH_MAX} levels"
            )));
        }
        Ok(depth)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Strict { depth })? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!(
                    "key `{}` appears twice in one object, keep one of them",
                    key.escape_debug()
                )));
            }
            let value = entries.next_value_seed(Strict { depth })?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> String {
        parse(text).map_or_else(|error| error.to_string(), |value| value.to_string())
    }

    #[test]
    fn a_repeated_key_is_named_with_its_place() {
        assert_eq!(
            complaint("{\"a\": 1,\n \"b\": {\"c\": 1, \"c\": 2}}"),
            "no usable JSON: key `c` appears twice in one object, keep one of them at line 2 column 18"
        );
    }

    #[test]
    fn text_behind_the_end_is_refused() {
        assert!(complaint("{} {}").contains("trailing characters"));
    }

    #[test]
    fn deep_nesting_is_refused_before_the_stack_ends() {
        let text = "[".repeat(100_000);
        assert!(complaint(&text).contains("nested deeper than 100 levels"));
    }

    #[test]
    fn large_numbers_keep_their_value() {
        assert_eq!(complaint("[65979]"), "[65979]");
    }
}
