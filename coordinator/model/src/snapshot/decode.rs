//! From answers to a snapshot.
//!
//! Every quirk of an API is handled below this module. Decoding goes on past whatever it cannot read: the place goes
//! into the gaps, and the thing stays, marked, so that flows which depend on it are unknown. A rule, an entry or a
//! route is never dropped, since a dropped rule looks like a deny.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use thiserror::Error;

use super::{Consequence, Gap, GapKind, Snapshot};
use crate::describe::{ANSWERS, Answer, Described, Fault, Form, Need, Node};

mod backend;
mod cluster;
mod health;
mod kind;
mod kubernetes;
mod link;
mod network_acl;
mod network_interface;
mod policy;
mod prefix_list;
mod protocol;
mod route_table;
mod rule_names;
mod security_group;
mod service;
mod shape;
mod transit_gateway;
mod views;
mod vpc;

/// A snapshot with what it does not say.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The world.
    pub snapshot: Snapshot,
    /// What is absent, unreadable or assumed, sorted by place.
    pub gaps: Vec<Gap>,
}

/// Answers that are no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Answers without which nothing can be said are absent: all of them.
    #[error("{}", missing_text(answers))]
    FilesMissing {
        /// The answers, in the order of the table.
        answers: Vec<&'static Answer>,
    },
    /// A file is not the answer that its name says.
    #[error("`{stem}` has no {wanted}, it is not the answer of that command")]
    WrongShape {
        /// Stem of the file.
        stem: String,
        /// What the answer should have on top.
        wanted: String,
    },
    /// There are several clusters, and nobody said which is meant.
    #[error("the snapshot has {} clusters, {}: name one with --cluster", names.len(), listed(names))]
    SeveralClusters {
        /// Their names, sorted.
        names: Vec<String>,
    },
    /// A file is one page of several.
    #[error("`{stem}` is incomplete, it has a `{field}`: read the following pages, too")]
    Incomplete {
        /// Stem of the file.
        stem: String,
        /// The field that says so.
        field: &'static str,
    },
}

impl Snapshot {
    /// Decodes the answers of the APIs.
    ///
    /// The order of lists in the answers does not matter, except where rules are named by position. Unknown fields
    /// are ignored.
    ///
    /// # Errors
    /// [`DecodeError`] if a required file is absent, if a file is not the answer that its name says, or if a file is
    /// one page of several. Everything else is a [`Gap`].
    pub fn decode(described: &Described) -> Result<Decoded, DecodeError> {
        shape::check(described)?;
        let united = views::united(described);
        let described = united.as_ref();
        let mut decoder = Decoder {
            described,
            snapshot: Snapshot::default(),
            gaps: Vec::new(),
            groups_named: HashMap::new(),
            objects: BTreeMap::new(),
            nodes_read: super::Completeness::Complete,
        };
        decoder.sort_by_kind();
        decoder.note_files();
        decoder.vpcs();
        decoder.subnets();
        decoder.peerings();
        decoder.transit_gateways();
        decoder.prefix_lists();
        decoder.security_groups();
        decoder.instances();
        decoder.network_interfaces();
        decoder.network_acls();
        decoder.route_tables();
        decoder.cluster();
        decoder.kubernetes();
        decoder.services();
        decoder.backends();
        decoder.policies();
        decoder.link();
        let mut gaps = decoder.gaps;
        gaps.sort();
        gaps.dedup();
        Ok(Decoded {
            snapshot: decoder.snapshot,
            gaps,
        })
    }
}

/// Names every answer that is missing, and the commands that write them.
fn missing_text(answers: &[&'static Answer]) -> String {
    let stems: Vec<_> = answers.iter().map(|answer| answer.stem).collect();
    let commands: Vec<_> = answers
        .iter()
        .map(|answer| answer.shown_command())
        .collect();
    let (are, them) = match answers {
        [_] => ("is", "it"),
        [] | [_, _, ..] => ("are", "them"),
    };
    format!(
        "{} {are} missing, write {them} with {}",
        listed(&stems),
        listed(&commands)
    )
}

/// Texts in backticks, with commas between them.
fn listed(texts: &[impl fmt::Display]) -> String {
    let texts: Vec<_> = texts.iter().map(|text| format!("`{text}`")).collect();
    texts.join(", ")
}

/// A thing of an answer with its id; several descriptions of it only when they differ.
struct Item<'a> {
    id: &'a str,
    descriptions: Vec<Node<'a>>,
}

impl<'a> Item<'a> {
    /// The description that counts, unless there are several.
    fn sole(&self) -> Option<&Node<'a>> {
        match self.descriptions.as_slice() {
            [one] => Some(one),
            [] | [_, _, ..] => None,
        }
    }
}

/// Takes answers apart, one kind after the other.
struct Decoder<'a> {
    described: &'a Described,
    snapshot: Snapshot,
    gaps: Vec<Gap>,
    /// Names of security group rules by what they say.
    groups_named: HashMap<rule_names::RuleKey, String>,
    /// Kubernetes objects by the stem of their kind; an answer without objects that is there has an empty list.
    objects: BTreeMap<&'static str, Vec<Node<'a>>>,
    /// Whether every Node could be read.
    nodes_read: super::Completeness,
}

impl<'a> Decoder<'a> {
    fn note(&mut self, fault: Fault, consequence: Consequence) {
        self.gaps.push(fault.gap(consequence));
    }

    /// The value, or nothing and a gap.
    fn read<T>(&mut self, result: Result<T, Fault>, consequence: Consequence) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(fault) => {
                self.note(fault, consequence);
                None
            }
        }
    }

    /// A text that may be absent; an unreadable one is a gap without consequence.
    fn plain_text(&mut self, node: &Node<'a>, name: &str) -> Option<&'a str> {
        self.read(node.text(name), Consequence::None).flatten()
    }

    fn note_files(&mut self) {
        for answer in &ANSWERS {
            if let Need::Optional(consequence) = answer.need
                && !self.has(answer)
            {
                self.note_absent(answer.stem, consequence);
            }
        }
        for (stem, answer) in self.described.iter() {
            if Answer::of_stem(stem).is_none() {
                let name = stem.split_once('.').map_or(stem, |(name, _)| name);
                let kind = GapKind::UnknownWord {
                    found: name.to_owned(),
                };
                let fault = Node::file(stem, answer).fault(kind);
                self.gaps.push(fault.gap(Consequence::None));
            }
        }
    }

    /// Whether an answer is in the snapshot: Kubernetes objects by their kind, wherever they stand.
    fn has(&self, answer: &Answer) -> bool {
        match answer.form {
            Form::Objects { .. } => self.objects.contains_key(answer.stem),
            Form::List { .. } | Form::ListOf { .. } | Form::Single { .. } | Form::Plain { .. } => {
                self.described.family(answer.stem).next().is_some()
            }
        }
    }

    /// Notes that an answer is not in the snapshot.
    fn note_absent(&mut self, stem: &str, consequence: Consequence) {
        self.gaps.push(Gap {
            file: stem.to_owned(),
            path: String::new(),
            id: None,
            kind: GapKind::FileAbsent,
            consequence,
        });
    }

    /// The items of a list in all files of a stem; a list that is none was refused before.
    fn rows(&mut self, stem: &'a str, list: &str) -> Vec<Node<'a>> {
        let mut rows = Vec::new();
        for file in self.described.family(stem) {
            match file.list(list) {
                Ok(items) => rows.extend(items),
                Err(fault) => self.gaps.push(fault.gap(Consequence::None)),
            }
        }
        rows
    }

    /// The things of a list by id, sorted by id, equal descriptions merged; whether all of them have an id.
    fn things(
        &mut self,
        rows: Vec<Node<'a>>,
        id_field: &str,
        consequence: Consequence,
    ) -> (Vec<Item<'a>>, super::Completeness) {
        let mut completeness = super::Completeness::Complete;
        let mut found: BTreeMap<&'a str, Vec<Node<'a>>> = Default::default();
        for row in rows {
            match row.required(id_field) {
                Ok(id) => {
                    let row = row.named(id);
                    let descriptions = found.entry(id).or_default();
                    if descriptions
                        .iter()
                        .all(|known| known.value() != row.value())
                    {
                        descriptions.push(row);
                    }
                }
                Err(fault) => {
                    completeness = super::Completeness::Incomplete;
                    self.note(fault, consequence);
                }
            }
        }
        let items: Vec<_> = found
            .into_iter()
            .map(|(id, descriptions)| Item { id, descriptions })
            .collect();
        for item in &items {
            if item.sole().is_none()
                && let Some(second) = item.descriptions.get(1)
            {
                let first = item.descriptions.first().map(Node::value);
                let difference = first.and_then(|first| views::difference(first, second.value()));
                let kind =
                    difference.map_or(GapKind::Conflict, |found| GapKind::Differs(Box::new(found)));
                self.gaps.push(second.fault(kind).gap(consequence));
            }
        }
        (items, completeness)
    }

    /// Value of a tag in `Tags` or `TagSet`.
    fn tag(&mut self, node: &Node<'a>, key: &str) -> Option<&'a str> {
        self.tags(node)
            .into_iter()
            .find_map(|(name, value)| (name == key).then_some(value))
    }

    /// Tags as key and value; unreadable ones are gaps without consequence.
    fn tags(&mut self, node: &Node<'a>) -> Vec<(&'a str, &'a str)> {
        let mut tags = Vec::new();
        for list in ["Tags", "TagSet"] {
            let items = self.read(node.list(list), Consequence::None);
            for tag in items.unwrap_or_default() {
                let key = self.plain_text(&tag, "Key");
                let value = self.plain_text(&tag, "Value");
                tags.extend(key.zip(value));
            }
        }
        tags
    }
}
