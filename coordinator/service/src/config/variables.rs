//! Settings that variables of the environment give: they win over the file.
//!
//! `web.start-token-file` is `REACHPROOF_WEB_START_TOKEN_FILE`. Only variables of these names are looked at: in a Pod others
//! begin alike, since Kubernetes makes some for each Service of the namespace.

use reachproof_verify::yaml::{Fault, Kind, Node, Tree};

use super::{AGENT_KEYS, ALERT_KEYS, STORE_KEYS, WEB_KEYS, WORLD_KEYS};

/// Start of every name.
const PREFIX: &str = "REACHPROOF_";

/// Variables that are set, with the key that each stands for.
#[derive(Debug, Clone, Default)]
pub struct Variables(Vec<Variable>);

#[derive(Debug, Clone)]
struct Variable {
    name: String,
    section: Option<&'static str>,
    key: &'static str,
    value: String,
}

impl Variables {
    /// Looks up every variable by what `read` knows of its name; an empty one is as one that is not set.
    pub fn read(read: impl Fn(&str) -> Option<String>) -> Self {
        let found = keys().filter_map(|(section, key)| {
            let name = name(section, key);
            let value = read(&name).filter(|value| !value.is_empty())?;
            Some(Variable {
                name,
                section,
                key,
                value,
            })
        });
        Self(found.collect())
    }

    /// Lays them over what a file says. What comes of a variable stands in line 0, in the column of its place; where the file
    /// has something else than a section, that stays and is refused.
    pub(super) fn lay_over(&self, root: &mut Node) {
        for (place, variable) in self.0.iter().enumerate() {
            let column = u64::try_from(place).unwrap_or_default();
            let section = match variable.section {
                None => Some(&mut *root),
                Some(section) => entry(root, section, at(column, Tree::Map(Vec::new()))),
            };
            let value = at(column, Tree::Text(variable.value.clone(), Kind::Word));
            let place = section.and_then(|section| entry(section, variable.key, value.clone()));
            if let Some(place) = place {
                *place = value;
            }
        }
    }

    /// The name of the variable that is wrong; absent where something in the file is.
    pub(super) fn of(&self, fault: &Fault) -> Option<&str> {
        let place = usize::try_from(fault.column).ok();
        let variable = self.0.get(place.filter(|_| fault.line == 0)?)?;
        Some(&variable.name)
    }
}

/// Every key that a variable can stand for: all that are one word.
fn keys() -> impl Iterator<Item = (Option<&'static str>, &'static str)> {
    let section =
        |name, keys: &'static [&'static str]| keys.iter().map(move |key| (Some(name), *key));
    section("world", &WORLD_KEYS)
        .chain(section("agents", &AGENT_KEYS))
        .chain(section("web", &WEB_KEYS))
        .chain(section("store", &STORE_KEYS))
        .chain(section("alert", &ALERT_KEYS))
        .chain([(None, "expectations"), (None, "claims")])
}

/// The name of a key's variable.
fn name(section: Option<&str>, key: &str) -> String {
    let section = section.map(|section| format!("{section}_"));
    let name = format!("{PREFIX}{}{key}", section.unwrap_or_default());
    name.to_uppercase().replace('-', "_")
}

fn at(column: u64, tree: Tree) -> Node {
    Node {
        tree,
        line: 0,
        column,
    }
}

/// The value of a key, which is `new` where there was none; absent of what is no mapping.
fn entry<'n>(node: &'n mut Node, key: &str, new: Node) -> Option<&'n mut Node> {
    let Tree::Map(entries) = &mut node.tree else {
        return None;
    };
    let known = |(name, _): &(Node, Node)| name.text().ok() == Some(key);
    let place = match entries.iter().position(known) {
        Some(place) => place,
        None => {
            let name = at(new.column, Tree::Text(key.to_owned(), Kind::Word));
            entries.push((name, new));
            entries.len() - 1
        }
    };
    entries.get_mut(place).map(|(_, value)| value)
}
