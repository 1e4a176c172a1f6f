//! From answers to a snapshot.
//!
//! Every quirk of an API is handled below this module. Decoding goes on past whatever it cannot read: the place goes
//! into the gaps, and the thing stays, marked, so that flows which depend on it are unknown. A rule, an entry or a
//! route is never dropped, since a dropped rule looks like a deny.

use std::collections::HashMap;

use thiserror::Error;

use super::{Consequence, Gap, GapKind, Snapshot};
use crate::describe::{Described, Fault, Node};

mod cluster;
mod kubernetes;
mod link;
mod network_acl;
mod network_interface;
mod prefix_list;
mod protocol;
mod route_table;
mod rule_names;
mod security_group;
mod shape;
mod transit_gateway;
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
    /// A file without which nothing can be said is absent.
    #[error("`{stem}` is missing, write it with `aws ec2 {stem} --output json`")]
    FileMissing {
        /// Stem of the file.
        stem: &'static str,
    },
    /// A file is not the answer that its name says.
    #[error("`{stem}` has no {wanted}, it is not the answer of that command")]
    WrongShape {
        /// Stem of the file.
        stem: String,
        /// What the answer should have on top.
        wanted: String,
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
        let mut decoder = Decoder {
            described,
            snapshot: Snapshot::default(),
            gaps: Vec::new(),
            groups_named: HashMap::new(),
        };
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
        for (stem, consequence) in shape::OPTIONAL {
            if self.described.family(stem).next().is_none() {
                self.gaps.push(Gap {
                    file: stem.to_owned(),
                    path: String::new(),
                    id: None,
                    kind: GapKind::FileAbsent,
                    consequence,
                });
            }
        }
        for (stem, answer) in self.described.iter() {
            let name = shape::command(stem);
            if !shape::is_known(name) {
                let kind = GapKind::UnknownWord {
                    found: name.to_owned(),
                };
                let fault = Node::file(stem, answer).fault(kind);
                self.gaps.push(fault.gap(Consequence::None));
            }
        }
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
        let mut found: std::collections::BTreeMap<&'a str, Vec<Node<'a>>> = Default::default();
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
                self.gaps
                    .push(second.fault(GapKind::Conflict).gap(consequence));
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
