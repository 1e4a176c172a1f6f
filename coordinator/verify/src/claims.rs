//! Claims out of YAML files: the catalogue that is built in, and those of users (claims.md).

use std::collections::BTreeSet;
use std::path::Path;

use reachproof_model::claim::check::{
    Check, Condition, Named, Relation, RuleCheck, RulePackets, SETTINGS, SettingCheck, SettingValue,
};
use reachproof_model::claim::flows::{Between, FlowClaim, Said};
use reachproof_model::claim::groups::GroupWord;
use reachproof_model::claim::{CATALOGUE, Claim, Omission};
use reachproof_model::snapshot::Direction;

use crate::yaml::{Fault, Fields, FileError, Node, Tree, hint, opened, packets};

/// Most claims of one file.
pub const CLAIMS_MAX: usize = 1_000;

const FILE_KEYS: [&str; 3] = ["apiVersion", "kind", "claims"];
const CLAIM_KEYS: [&str; 9] = [
    "id",
    "says",
    "source",
    "date",
    "applies",
    "check",
    "flows",
    "incomplete",
    "by-hand",
];
const OMISSION_KEYS: [&str; 2] = ["says", "when"];
const FLOW_KEYS: [&str; 5] = ["from", "to", "ports", "expect", "between"];
const CHECKS: [&str; 11] = [
    "groups",
    "rule",
    "count",
    "name",
    "tags",
    "setting",
    "subnets",
    "same-groups",
    "endpoints",
    "network-acl",
    "not",
];

/// Words for what is said of flows.
pub const SAID: [(&str, Said); 6] = [
    ("open", Said::Open),
    ("closed", Said::Closed),
    ("by the groups", Said::ByGroups),
    ("as predicted", Said::AsPredicted),
    ("silent", Said::Silent),
    ("from the interface", Said::FromInterface),
];
/// Words for the ends between which flows are.
pub const BETWEEN: [(&str, Between); 3] = [
    ("hosts", Between::Hosts),
    ("hosts of one subnet", Between::HostsOfOneSubnet),
    ("one host", Between::OneHost),
];
/// Words for how groups stand to others.
pub const RELATIONS: [(&str, Relation); 4] = [
    ("include", Relation::Include),
    ("exclude", Relation::Exclude),
    ("within", Relation::Within),
    ("are", Relation::Are),
];
const NAMED: [(&str, Named); 2] = [
    ("the cluster group", Named::ClusterGroup),
    ("API servers", Named::ApiServers),
];
const ENDPOINTS: [(&str, bool); 2] = [("interfaces", false), ("every interface", true)];

/// Reads the catalogue that is built in.
///
/// # Errors
/// [`FileError`] if it cannot be read; a test reads it.
pub fn catalogue() -> Result<Vec<Claim>, FileError> {
    let mut all = Vec::new();
    for (path, text) in CATALOGUE {
        let claims = parse(text).map_err(|fault| FileError::Fault {
            path: path.to_owned(),
            fault,
        })?;
        all.extend(claims);
    }
    Ok(all)
}

/// Reads a file of claims.
///
/// # Errors
/// [`FileError`] for the first thing that is wrong, with line and column.
pub fn open(path: &Path) -> Result<Vec<Claim>, FileError> {
    opened(path, parse)
}

/// Reads the text of a file.
///
/// # Errors
/// [`Fault`] for the first thing that is wrong.
pub fn parse(text: &str) -> Result<Vec<Claim>, Fault> {
    let root = Node::parse(text)?;
    let fields = Fields::of(&root, &FILE_KEYS, "a file of claims")?;
    fields.is_kind("Claims")?;
    fields.needed("claims")?;
    let nodes = fields.list("claims")?;
    if nodes.len() > CLAIMS_MAX {
        return Err(root.fault(format!("more than {CLAIMS_MAX} claims")));
    }
    let mut ids = BTreeSet::new();
    let mut claims = Vec::new();
    for node in nodes {
        let read = claim(node)?;
        if !ids.insert(read.id.clone()) {
            let what = format!(
                "`{}` stands twice: give each claim an id of its own",
                read.id
            );
            return Err(node.fault(what));
        }
        claims.push(read);
    }
    Ok(claims)
}

fn claim(node: &Node) -> Result<Claim, Fault> {
    let fields = Fields::of(node, &CLAIM_KEYS, "a claim")?;
    let text = |name: &str| -> Result<String, Fault> {
        let found = fields.needed(name)?;
        let text = found.text()?.trim();
        if text.is_empty() {
            return Err(found.fault(format!("`{name}` is empty")));
        }
        Ok(text.to_owned())
    };
    let flows: Result<Vec<FlowClaim>, Fault> = fields.list("flows")?.iter().map(flow).collect();
    let read = Claim {
        id: text("id")?,
        says: text("says")?,
        source: text("source")?,
        date: text("date")?,
        applies: conditions(fields.list("applies")?)?,
        checks: conditions(fields.list("check")?)?,
        flows: flows?,
        omission: fields.get("incomplete").map(omission).transpose()?,
        by_hand: fields.text("by-hand")?.map(|text| text.trim().to_owned()),
    };
    let is_tested = !read.checks.is_empty() || !read.flows.is_empty();
    match (is_tested, &read.by_hand) {
        (false, None) => Err(node.fault(
            "nothing tests this claim: give it `check`, `flows`, or `by-hand` with what to do".to_owned(),
        )),
        (true, Some(_)) => Err(node.fault(
            "`by-hand` is for a claim that nothing here tests: leave out `check` and `flows`, or `by-hand`"
                .to_owned(),
        )),
        (true, None) | (false, Some(_)) => Ok(read),
    }
}

fn omission(node: &Node) -> Result<Omission, Fault> {
    let fields = Fields::of(node, &OMISSION_KEYS, "`incomplete`")?;
    Ok(Omission {
        says: fields.needed("says")?.text()?.trim().to_owned(),
        when: conditions(fields.list("when")?)?,
    })
}

fn conditions(nodes: &[Node]) -> Result<Vec<Condition>, Fault> {
    nodes.iter().map(condition).collect()
}

/// A mapping with the name of one check.
fn condition(node: &Node) -> Result<Condition, Fault> {
    Fields::of(node, &CHECKS, "a check")?;
    let Tree::Map(entries) = &node.tree else {
        return Err(node.fault("a check is a mapping".to_owned()));
    };
    let [(name, value)] = entries.as_slice() else {
        return Err(
            node.fault("one check stands here: begin each with a `-` of its own".to_owned())
        );
    };
    if name.text()? == "not" {
        let inner = condition(value)?;
        return Ok(Condition {
            wanted: !inner.wanted,
            ..inner
        });
    }
    Ok(Condition {
        check: check(name, value)?,
        wanted: true,
    })
}

fn check(name: &Node, value: &Node) -> Result<Check, Fault> {
    match name.text()? {
        "groups" => groups(value),
        "rule" => rule(value),
        "count" => count(value),
        "name" => {
            let fields = Fields::of(value, &["of", "like"], "`name`")?;
            Ok(Check::Name {
                of: fields.needed("of")?.one_of("of", &NAMED)?,
                like: fields.needed("like")?.text()?.to_owned(),
            })
        }
        "tags" => tags(value),
        "setting" => setting(value),
        "subnets" => {
            let fields = Fields::of(value, &["of", "within"], "`subnets`")?;
            fields
                .needed("within")?
                .one_of("within", &[("the cluster", ())])?;
            Ok(Check::Subnets {
                of: parsed(fields.needed("of")?)?,
            })
        }
        "same-groups" => {
            let fields = Fields::of(value, &["of"], "`same-groups`")?;
            Ok(Check::SameGroups {
                of: parsed(fields.needed("of")?)?,
            })
        }
        "endpoints" => {
            let fields = Fields::of(value, &["are"], "`endpoints`")?;
            Ok(Check::Endpoints {
                every_interface: fields.needed("are")?.one_of("are", &ENDPOINTS)?,
            })
        }
        "network-acl" => {
            value.one_of("network-acl", &[("filters", ())])?;
            Ok(Check::FilteringAcl)
        }
        other => Err(name.fault(format!("there is no check `{other}`"))),
    }
}

/// A word that the model reads.
fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(node: &Node) -> Result<T, Fault> {
    let read = node.text()?.parse();
    read.map_err(|error| node.fault(format!("{error}")))
}

fn groups(node: &Node) -> Result<Check, Fault> {
    let keys = ["of", "include", "exclude", "within", "are"];
    let fields = Fields::of(node, &keys, "`groups`")?;
    let mut found = RELATIONS.iter().filter_map(|(name, relation)| {
        let words = fields.get(name)?;
        Some((*relation, words))
    });
    let (Some((relation, words)), None) = (found.next(), found.next()) else {
        return Err(node.fault("`groups` has one of include, exclude, within, are".to_owned()));
    };
    let groups: Result<Vec<GroupWord>, Fault> =
        words.each("no group")?.into_iter().map(parsed).collect();
    Ok(Check::Groups {
        of: parsed(fields.needed("of")?)?,
        relation,
        groups: groups?,
    })
}

fn rule(node: &Node) -> Result<Check, Fault> {
    let keys = ["of", "ingress", "egress", "from", "to"];
    let fields = Fields::of(node, &keys, "`rule`")?;
    let (direction, wanted, peer) = match (fields.get("ingress"), fields.get("egress")) {
        (Some(wanted), None) => (Direction::Ingress, wanted, "from"),
        (None, Some(wanted)) => (Direction::Egress, wanted, "to"),
        (Some(_), Some(_)) | (None, None) => {
            return Err(
                node.fault("`rule` has `ingress` with `from`, or `egress` with `to`".to_owned())
            );
        }
    };
    let is_all = wanted.text().is_ok_and(|word| word == "all");
    Ok(Check::Rule(RuleCheck {
        of: parsed(fields.needed("of")?)?,
        direction,
        packets: if is_all {
            RulePackets::All
        } else {
            RulePackets::These(packets(wanted)?)
        },
        peer: parsed(fields.needed(peer)?)?,
    }))
}

fn count(node: &Node) -> Result<Check, Fault> {
    let fields = Fields::of(node, &["of", "least", "most"], "`count`")?;
    let number = |name: &str| -> Result<Option<usize>, Fault> {
        let read = fields.get(name).map(|node| {
            let number = node.text()?.parse::<usize>();
            number.map_err(|_| node.fault(format!("`{name}` must be a whole number")))
        });
        read.transpose()
    };
    let (least, most) = (number("least")?, number("most")?);
    if least.is_none() && most.is_none() {
        return Err(node.fault("`count` has `least`, `most` or both".to_owned()));
    }
    Ok(Check::Count {
        of: parsed(fields.needed("of")?)?,
        least: least.unwrap_or_default(),
        most,
    })
}

fn tags(node: &Node) -> Result<Check, Fault> {
    let fields = Fields::of(node, &["of", "are"], "`tags`")?;
    fields
        .needed("of")?
        .one_of("of", &[("the cluster group", ())])?;
    let are = fields.needed("are")?;
    let Tree::Map(entries) = &are.tree else {
        return Err(are.fault("`are` is a mapping of tags to their values".to_owned()));
    };
    let tags = entries
        .iter()
        .map(|(key, value)| Ok((key.text()?.to_owned(), value.word()?.to_owned())));
    Ok(Check::Tags {
        tags: tags.collect::<Result<_, Fault>>()?,
    })
}

fn setting(node: &Node) -> Result<Check, Fault> {
    let fields = Fields::of(node, &["name", "is"], "`setting`")?;
    let name = fields.needed("name")?;
    let word = name.text()?;
    let known = SETTINGS.map(|setting| setting.name);
    let Some(found) = known.into_iter().find(|known| *known == word) else {
        let hint = hint(word, &known);
        return Err(name.fault(format!("there is no setting `{word}`, {hint}")));
    };
    let words: Result<Vec<String>, Fault> = fields
        .needed("is")?
        .each("no value")?
        .into_iter()
        .map(|node| node.word().map(str::to_owned))
        .collect();
    let words = words?;
    Ok(Check::Setting(SettingCheck {
        name: found,
        wanted: if words == ["present"] {
            SettingValue::Present
        } else {
            SettingValue::OneOf(words)
        },
    }))
}

fn flow(node: &Node) -> Result<FlowClaim, Fault> {
    let fields = Fields::of(node, &FLOW_KEYS, "a flow")?;
    let between = fields.get("between");
    let between = between.map(|node| node.one_of("between", &BETWEEN));
    Ok(FlowClaim {
        from: parsed(fields.needed("from")?)?,
        to: parsed(fields.needed("to")?)?,
        packets: packets(fields.needed("ports")?)?,
        said: fields.needed("expect")?.one_of("expect", &SAID)?,
        between: between.transpose()?.unwrap_or(Between::Hosts),
    })
}

#[cfg(test)]
mod tests;
