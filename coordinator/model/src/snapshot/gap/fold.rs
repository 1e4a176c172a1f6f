//! Equal gaps in one line.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{Consequence, Gap, GapKind};
use crate::net::Printable;

/// Most ids that a line names; JSON has all.
const IDS_SHOWN_MAX: usize = 4;

/// What ids are of, by how they begin.
const NOUNS: [(&str, &str); 10] = [
    ("subnet-", "subnets"),
    ("eni-", "interfaces"),
    ("sg-", "security groups"),
    ("acl-", "network ACLs"),
    ("rtb-", "route tables"),
    ("vpc-", "VPCs"),
    ("pcx-", "peerings"),
    ("pl-", "prefix lists"),
    ("tgw-", "transit gateways"),
    ("i-", "instances"),
];

/// Gaps that differ in nothing but the thing that they are of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FoldedGap {
    /// Stem of the file.
    pub file: String,
    /// Place in the file of the first one, or of all without the numbers.
    pub path: String,
    /// Ids of the things, as far as they have one.
    pub ids: Vec<String>,
    /// How many gaps these are.
    pub count: usize,
    /// What is wrong.
    pub kind: GapKind,
    /// What follows for predictions.
    pub consequence: Consequence,
}

/// Folds gaps: equal ones become one, in the order of their first ones.
pub fn folded<'g>(gaps: impl IntoIterator<Item = &'g Gap>) -> Vec<FoldedGap> {
    let mut lines: Vec<FoldedGap> = Vec::new();
    let mut places = BTreeMap::new();
    for gap in gaps {
        let path = unnumbered(&gap.path);
        let key = (
            gap.file.as_str(),
            path.clone(),
            gap.kind.to_string(),
            gap.consequence,
        );
        let place = *places.entry(key).or_insert(lines.len());
        match lines.get_mut(place) {
            Some(line) => {
                line.count += 1;
                line.path = path;
                line.ids.extend(gap.id.clone());
            }
            None => lines.push(FoldedGap {
                file: gap.file.clone(),
                path: gap.path.clone(),
                ids: gap.id.iter().cloned().collect(),
                count: 1,
                kind: gap.kind.clone(),
                consequence: gap.consequence,
            }),
        }
    }
    for line in &mut lines {
        line.ids.sort();
        line.ids.dedup();
    }
    lines
}

/// A path without the numbers of its items: `SecurityGroups[].IpPermissions[].FromPort`.
fn unnumbered(path: &str) -> String {
    let mut text = String::new();
    let mut is_number = false;
    for character in path.chars() {
        match character {
            '[' => is_number = true,
            ']' => is_number = false,
            _ if is_number => continue,
            _ => {}
        }
        text.push(character);
    }
    text
}

impl FoldedGap {
    /// What the ids are of, in the plural.
    fn noun(&self) -> &'static str {
        let first = self.ids.first().map(String::as_str).unwrap_or_default();
        let known = NOUNS.iter().find(|(start, _)| first.starts_with(start));
        known.map_or("things", |(_, noun)| noun)
    }

    /// The first ids, and whether there are more.
    fn shown_ids(&self) -> String {
        let shown: Vec<_> = self
            .ids
            .iter()
            .take(IDS_SHOWN_MAX)
            .map(|id| Printable(id).to_string())
            .collect();
        let more = if self.ids.len() > IDS_SHOWN_MAX {
            ", …"
        } else {
            ""
        };
        format!("{}{more}", shown.join(", "))
    }
}

impl fmt::Display for FoldedGap {
    /// Writes one line: how many of what, the problem, some ids and the consequence.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = Printable(&self.file);
        if self.count == 1 {
            let gap = Gap {
                file: self.file.clone(),
                path: self.path.clone(),
                id: self.ids.first().cloned(),
                kind: self.kind.clone(),
                consequence: self.consequence,
            };
            return gap.fmt(formatter);
        }
        if self.ids.is_empty() {
            write!(formatter, "{} places in {file}: {}", self.count, self.kind)?;
        } else {
            let (count, noun) = (self.ids.len(), self.noun());
            match (&self.kind, self.file.as_str()) {
                (GapKind::NoneHolds, "describe-network-acls") => {
                    write!(formatter, "{count} {noun} have no ACL")?;
                }
                (GapKind::NoneHolds, "describe-route-tables") => {
                    write!(formatter, "{count} {noun} have no route table")?;
                }
                (kind, _) => write!(formatter, "{count} {noun} in {file}: {kind}")?,
            }
            write!(formatter, ": {}", self.shown_ids())?;
        }
        write!(formatter, "; {}", self.consequence.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(file: &str, path: &str, id: Option<&str>, kind: GapKind) -> Gap {
        Gap {
            file: file.to_owned(),
            path: path.to_owned(),
            id: id.map(str::to_owned),
            kind,
            consequence: Consequence::SubnetUnknown,
        }
    }

    fn lines(gaps: &[Gap]) -> Vec<String> {
        folded(gaps).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn subnets_without_a_list_are_counted_and_the_first_are_named() {
        let ids: Vec<_> = (b'a'..=b'f')
            .map(|end| format!("subnet-{}", char::from(end)))
            .collect();
        let gaps: Vec<_> = ids
            .iter()
            .map(|id| gap("describe-network-acls", "", Some(id), GapKind::NoneHolds))
            .collect();
        assert_eq!(
            lines(&gaps),
            [
                "6 subnets have no ACL: subnet-a, subnet-b, subnet-c, subnet-d, …; flows that leave the subnet are unknown"
            ]
        );
        assert_eq!(
            folded(&gaps).first().map(|line| line.ids.clone()),
            Some(ids)
        );
    }

    #[test]
    fn one_gap_says_what_it_said_before() {
        let one = gap(
            "describe-subnets",
            "Subnets[3].VpcId",
            Some("subnet-a"),
            GapKind::Missing,
        );
        assert_eq!(lines(std::slice::from_ref(&one)), [one.to_string()]);
    }

    #[test]
    fn gaps_of_another_kind_or_field_stay_apart() {
        let of = |path: &str, id: &str| gap("describe-subnets", path, Some(id), GapKind::Missing);
        let gaps = [
            of("Subnets[0].VpcId", "subnet-a"),
            of("Subnets[1].CidrBlock", "subnet-b"),
            of("Subnets[2].VpcId", "subnet-c"),
        ];
        assert_eq!(
            lines(&gaps),
            [
                "2 subnets in describe-subnets: field is missing: subnet-a, subnet-c; flows that leave the subnet are unknown",
                "describe-subnets: Subnets[1].CidrBlock of `subnet-b`: field is missing; flows that leave the subnet are unknown",
            ]
        );
    }

    #[test]
    fn things_without_an_id_are_counted_as_places() {
        let gaps = [
            gap("pods", "items[0].metadata", None, GapKind::Missing),
            gap("pods", "items[7].metadata", None, GapKind::Missing),
        ];
        assert_eq!(
            lines(&gaps),
            ["2 places in pods: field is missing; flows that leave the subnet are unknown"]
        );
    }
}
