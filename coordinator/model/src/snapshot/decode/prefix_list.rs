//! Managed prefix lists.

use ipnet::IpNet;

use super::Decoder;
use crate::describe::{Fault, Node};
use crate::id::PrefixListId;
use crate::net::network;
use crate::snapshot::{Consequence, PrefixList};

/// Stem of the files with the entries, each with the list's id behind a dot.
const ENTRIES: &str = "get-managed-prefix-list-entries";

impl Decoder<'_> {
    pub(super) fn prefix_lists(&mut self) {
        let rows = self.rows("describe-managed-prefix-lists", "PrefixLists");
        let (items, _) = self.things(rows, "PrefixListId", Consequence::None);
        for item in items {
            let id = PrefixListId::from(item.id);
            let mut name = None;
            for node in &item.descriptions {
                name = self.plain_text(node, "PrefixListName").map(str::to_owned);
            }
            let networks = None;
            let list = PrefixList { id, name, networks };
            self.snapshot.prefix_lists.insert(list.id.clone(), list);
        }
        for file in self.described.family(ENTRIES) {
            let Some(id) = file
                .stem()
                .strip_prefix(ENTRIES)
                .and_then(|rest| rest.strip_prefix('.'))
            else {
                continue;
            };
            let networks = self.read(networks(&file.named(id)), Consequence::PrefixListUnknown);
            let id = PrefixListId::from(id);
            self.snapshot
                .prefix_lists
                .entry(id.clone())
                .or_insert_with(|| PrefixList {
                    id,
                    name: None,
                    networks: None,
                })
                .networks = networks;
        }
    }
}

/// All networks, or none if one of them is unreadable: half a list could only say "yes".
fn networks(file: &Node<'_>) -> Result<Vec<IpNet>, Fault> {
    file.list("Entries")?
        .iter()
        .map(|entry| {
            entry
                .parsed("Cidr", "a network", network)?
                .ok_or_else(|| entry.missing("Cidr"))
        })
        .collect()
}
