//! YAML as a tree in which everything knows where it stands.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

use super::Fault;

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) tree: Tree,
    /// From 1.
    pub(super) line: u64,
    /// In characters, from 1.
    pub(super) column: u64,
}

/// What a part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tree {
    /// A scalar, as text.
    Text(String, Kind),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// What a scalar was written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text or a whole number.
    Word,
    /// Nothing.
    Null,
    /// A truth value or a number with a point: never what is asked for.
    Other,
}

impl Node {
    /// Reads the text of a file.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let tree: Spanned<Tree> = serde_saphyr::from_str(text).map_err(|error| {
            let place = error.location();
            let of = |number: Option<u64>| number.filter(|number| *number > 0).unwrap_or(1);
            Fault {
                line: of(place.map(|place| place.line())),
                column: of(place.map(|place| place.column())),
                what: format!(
                    "no YAML: {}",
                    first_line(&error.without_snippet().to_string())
                ),
            }
        })?;
        Ok(Self::from(tree))
    }

    /// The scalar as text.
    pub(super) fn text(&self) -> Result<&str, Fault> {
        match &self.tree {
            Tree::Text(text, Kind::Word) => Ok(text),
            Tree::Text(_, Kind::Null) => Err(self.fault("nothing stands here".to_owned())),
            Tree::Text(text, Kind::Other) => {
                Err(self.fault(format!("`{text}` is no text: put it in quotes")))
            }
            Tree::List(_) => Err(self.fault("a list stands here, in place of one word".to_owned())),
            Tree::Map(_) => {
                Err(self.fault("a mapping stands here, in place of one word".to_owned()))
            }
        }
    }

    /// Says what is wrong here.
    pub(super) fn fault(&self, what: String) -> Fault {
        Fault {
            line: self.line,
            column: self.column,
            what,
        }
    }
}

/// The first line of a text.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

impl From<Spanned<Tree>> for Node {
    fn from(spanned: Spanned<Tree>) -> Self {
        Self {
            line: spanned.referenced.line(),
            column: spanned.referenced.column(),
            tree: spanned.value,
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Builder)
    }
}

/// Builds a tree of whatever comes.
struct Builder;

impl<'de> Visitor<'de> for Builder {
    type Value = Tree;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("YAML")
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned(), Kind::Word))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
        Ok(Tree::Text(number.to_string(), Kind::Word))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
        Ok(Tree::Text(number.to_string(), Kind::Word))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Tree, E> {
        Ok(Tree::Text(number.to_string(), Kind::Other))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_string(), Kind::Other))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Text(String::new(), Kind::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Text(String::new(), Kind::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Tree>>()? {
            list.push(item.into());
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<Tree>>()? {
            let value = entries.next_value::<Spanned<Tree>>()?;
            map.push((key.into(), value.into()));
        }
        Ok(Tree::Map(map))
    }
}
