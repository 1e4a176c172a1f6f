//! YAML files of users as a tree in which everything knows where it stands.
//!
//! Every error says where: line and column of the word that is wrong, and the nearest key where a key is.

use std::fmt;
use std::path::Path;

use reachproof_model::flow::{FlowProtocol, Packets};
use reachproof_model::near::near;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;
use thiserror::Error;

use crate::source::read_text;

/// What the file must say that it is.
pub const API_VERSION: &str = "reachproof/v1";

/// Most ports of a range: each is a flow of its own.
pub const PORTS_PER_RANGE_MAX: u16 = 64;

/// A file that cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: String,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("{path}:{}", .fault)]
    Fault {
        /// The file.
        path: String,
        /// What, and where.
        fault: Fault,
    },
}

/// Something that is wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{line}:{column}: {what}")]
pub struct Fault {
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// Reads a file by what reads its text.
///
/// # Errors
/// [`FileError`] for a file that cannot be read, and for the first thing in it that is wrong.
pub fn opened<T>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, Fault>,
) -> Result<T, FileError> {
    let name = path.display().to_string();
    let text = read_text(path).map_err(|source| FileError::Read {
        path: name.clone(),
        source,
    })?;
    parse(&text).map_err(|fault| FileError::Fault { path: name, fault })
}

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub tree: Tree,
    /// From 1.
    pub line: u64,
    /// In characters, from 1.
    pub column: u64,
}

/// What a part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// A scalar, as text.
    Text(String, Kind),
    /// Its items.
    List(Vec<Node>),
    /// Keys and values, in the order of the file.
    Map(Vec<(Node, Node)>),
}

/// What a scalar was written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text or a whole number.
    Word,
    /// Nothing.
    Null,
    /// A truth value or a number with a point: never what is asked for.
    Other,
}

impl Node {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`Fault`] for what is no YAML.
    pub fn parse(text: &str) -> Result<Self, Fault> {
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
    ///
    /// # Errors
    /// [`Fault`] for anything else.
    pub fn text(&self) -> Result<&str, Fault> {
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

    /// The scalar as text, a truth value or a number with a point, too.
    ///
    /// # Errors
    /// [`Fault`] for anything else.
    pub fn word(&self) -> Result<&str, Fault> {
        match &self.tree {
            Tree::Text(text, Kind::Other) => Ok(text),
            Tree::Text(_, Kind::Word | Kind::Null) | Tree::List(_) | Tree::Map(_) => self.text(),
        }
    }

    /// One thing, or a list of some; of an empty list it is said that it `names` nothing.
    ///
    /// # Errors
    /// [`Fault`] for the empty list.
    pub fn each(&self, names: &str) -> Result<Vec<&Self>, Fault> {
        match &self.tree {
            Tree::List(items) if items.is_empty() => {
                Err(self.fault(format!("an empty list names {names}")))
            }
            Tree::List(items) => Ok(items.iter().collect()),
            Tree::Map(_) | Tree::Text(..) => Ok(vec![self]),
        }
    }

    /// What a word stands for, out of a table.
    ///
    /// # Errors
    /// [`Fault`] for a word that is not in it, with those that are.
    pub fn one_of<T: Copy>(&self, name: &str, table: &[(&str, T)]) -> Result<T, Fault> {
        let word = self.word()?;
        let found = table.iter().find(|(known, _)| *known == word);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let known: Vec<String> = table.iter().map(|(word, _)| format!("`{word}`")).collect();
            let known = known.join(", ");
            self.fault(format!("`{name}` must be one of {known}, found `{word}`"))
        })
    }

    /// Says what is wrong here.
    pub fn fault(&self, what: String) -> Fault {
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

/// What somebody may have meant by a word that is none of `known`: what comes near it, else all of them.
pub fn hint(word: &str, known: &[&str]) -> String {
    match near(word, known.iter().copied()).first() {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", known.join(", ")),
    }
}

/// The keys of a mapping, all of them known.
pub struct Fields<'n> {
    of: &'n Node,
    entries: &'n [(Node, Node)],
}

impl<'n> Fields<'n> {
    /// Reads the mapping; `what` says what it is.
    ///
    /// # Errors
    /// [`Fault`] for anything else, and for a key that is not `known`, with the nearest.
    pub fn of(node: &'n Node, known: &[&str], what: &str) -> Result<Self, Fault> {
        let Tree::Map(entries) = &node.tree else {
            return Err(node.fault(format!("{what} is a mapping with {}", known.join(", "))));
        };
        for (key, _) in entries {
            let name = key.text()?;
            if !known.contains(&name) {
                let hint = hint(name, known);
                return Err(key.fault(format!("unknown key `{name}`, {hint}")));
            }
        }
        Ok(Self { of: node, entries })
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'n Node> {
        let mut entries = self.entries.iter();
        let found = entries.find(|(key, _)| key.text().ok() == Some(name));
        found.map(|(_, value)| value)
    }

    /// The value of a key that must be there.
    ///
    /// # Errors
    /// [`Fault`] where it is not.
    pub fn needed(&self, name: &str) -> Result<&'n Node, Fault> {
        self.get(name)
            .ok_or_else(|| self.of.fault(format!("key `{name}` is missing")))
    }

    /// The items of a list; none where the key is absent.
    ///
    /// # Errors
    /// [`Fault`] for anything but a list.
    pub fn list(&self, name: &str) -> Result<&'n [Node], Fault> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Node {
                tree: Tree::List(items),
                ..
            }) => Ok(items),
            Some(other) => Err(other.fault(format!("`{name}` must be a list"))),
        }
    }

    /// The text of a key.
    ///
    /// # Errors
    /// [`Fault`] for anything but a scalar.
    pub fn text(&self, name: &str) -> Result<Option<String>, Fault> {
        self.get(name)
            .map(|node| node.text().map(str::to_owned))
            .transpose()
    }

    /// Says what the file is: its version, and its kind where that is said.
    ///
    /// # Errors
    /// [`Fault`] for another version or kind.
    pub fn is_kind(&self, kind: &str) -> Result<(), Fault> {
        let version = self.needed("apiVersion")?;
        if version.text()? != API_VERSION {
            return Err(version.fault(format!("`apiVersion` must be `{API_VERSION}`")));
        }
        match self.get("kind") {
            Some(found) if found.text().ok() != Some(kind) => {
                Err(found.fault(format!("`kind` must be `{kind}`")))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// One port, or a list of some.
///
/// # Errors
/// [`Fault`] for what names no port, and for a range of too many.
pub fn packets(node: &Node) -> Result<Vec<FlowProtocol>, Fault> {
    let mut all = Vec::new();
    for node in node.each("no port")? {
        all.extend(ports(node)?);
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// `443`, `https`, `udp/53` or `tcp/8000-8010`.
fn ports(node: &Node) -> Result<Vec<FlowProtocol>, Fault> {
    let text = node.text()?;
    let (protocol, ports) = match text.split_once('/') {
        Some((protocol, ports)) => (Some(protocol), ports),
        None => (None, text),
    };
    let range = ports
        .split_once('-')
        .and_then(|(first, last)| Some((first.parse::<u16>().ok()?, last.parse::<u16>().ok()?)));
    let words: Vec<String> = match range {
        Some((first, last)) if first > last => {
            return Err(node.fault(format!(
                "in `{text}` the first port is higher than the last"
            )));
        }
        Some((first, last)) if last - first >= PORTS_PER_RANGE_MAX => {
            let most = PORTS_PER_RANGE_MAX;
            return Err(node.fault(format!(
                "`{text}` has more than {most} ports: name those that matter"
            )));
        }
        Some((first, last)) => (first..=last).map(|port| port.to_string()).collect(),
        None => vec![ports.to_owned()],
    };
    let mut all = Vec::new();
    for word in words {
        let read = Packets::from_words(protocol, Some(&word));
        match read.map_err(|error| node.fault(error.to_string()))? {
            Packets::These(protocols) => all.extend(protocols),
            Packets::EveryPort(_) => return Err(node.fault(format!("`{text}` names no port"))),
        }
    }
    Ok(all)
}
