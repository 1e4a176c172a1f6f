//! Names of rows and columns: what holds the endpoints, and of those that share it what tells them apart.

use std::collections::{BTreeMap, BTreeSet};

use crate::class::{Class, ClassId, Policed};
use crate::matrix::Matrix;

/// Most subnets or groups that a name lists; of more it says how many.
const LISTED_MAX: usize = 3;

/// A row or a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridEnd {
    /// Classes that are alike in all that is asked, in their order, never empty.
    pub classes: Vec<ClassId>,
    /// What people call them, no two of one side alike; raw text.
    pub name: String,
    /// How many interfaces have an address in them.
    pub interfaces: usize,
}

/// What two rows of one holder may differ in, from the best known to the surest.
const TRAITS: [fn(&Matrix<'_>, &[&Class]) -> String; 6] =
    [groups, subnets, vpcs, networks, policies, examples];

impl Matrix<'_> {
    /// Names the rows or the columns of a grid.
    pub(super) fn grid_ends<'c>(&self, lines: impl Iterator<Item = &'c [ClassId]>) -> Vec<GridEnd> {
        let lines: Vec<&[ClassId]> = lines.collect();
        let of = |ids: &[ClassId]| -> Vec<&Class> {
            ids.iter().map(|id| self.classes.class(*id)).collect()
        };
        let holder = |ids: &[ClassId]| {
            let first = ids.first().map(|id| self.classes.class(*id));
            first.map_or_else(String::new, |class| class.holder_name(self.snapshot))
        };
        let mut names: Vec<String> = lines.iter().map(|ids| holder(ids)).collect();
        for one in TRAITS {
            let traits: Vec<String> = lines.iter().map(|ids| one(self, &of(ids))).collect();
            add_differing(&mut names, &traits);
        }
        let ends = lines.into_iter().zip(names).map(|(ids, name)| {
            let interfaces = of(ids).into_iter().flat_map(|class| &class.members);
            let interfaces: BTreeSet<_> = interfaces.map(|member| &member.interface).collect();
            GridEnd {
                classes: ids.to_vec(),
                name,
                interfaces: interfaces.len(),
            }
        });
        ends.collect()
    }
}

/// Adds to names that several have what they differ in.
fn add_differing(names: &mut [String], traits: &[String]) {
    let mut by_name: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (name, own) in names.iter().zip(traits) {
        by_name.entry(name.clone()).or_default().insert(own);
    }
    for (name, own) in names.iter_mut().zip(traits) {
        let differ = by_name.get(name).is_some_and(|traits| traits.len() > 1);
        if differ && !own.is_empty() {
            name.push(' ');
            name.push_str(own);
        }
    }
}

/// Texts of classes, each once; of many how many there are of `what`.
fn listed(texts: impl Iterator<Item = String>, what: &str) -> String {
    let texts: BTreeSet<String> = texts.collect();
    if texts.len() > LISTED_MAX {
        format!("{} {what}", texts.len())
    } else {
        texts.into_iter().collect::<Vec<_>>().join(", ")
    }
}

fn groups(matrix: &Matrix<'_>, classes: &[&Class]) -> String {
    let sets = classes
        .iter()
        .map(|class| class.group_names(matrix.snapshot));
    format!("[{}]", listed(sets, "sets of groups"))
}

fn subnets(matrix: &Matrix<'_>, classes: &[&Class]) -> String {
    let places = classes
        .iter()
        .map(|class| class.place(matrix.snapshot).to_owned());
    format!("in {}", listed(places, "subnets"))
}

fn vpcs(_: &Matrix<'_>, classes: &[&Class]) -> String {
    format!(
        "in {}",
        listed(classes.iter().map(|class| class.vpc.to_string()), "VPCs")
    )
}

fn networks(_: &Matrix<'_>, classes: &[&Class]) -> String {
    let networks = classes.iter().map(|class| {
        let network = class.network.map(|network| network.to_string());
        network.unwrap_or_else(|| "no network".to_owned())
    });
    listed(networks, "networks")
}

fn policies(_: &Matrix<'_>, classes: &[&Class]) -> String {
    let policed = classes.iter().map(|class| match class.policed {
        Policed::No => "without policy".to_owned(),
        Policed::Yes => "with policy".to_owned(),
    });
    listed(policed, "")
}

fn examples(_: &Matrix<'_>, classes: &[&Class]) -> String {
    let first = classes.first().map(|class| class.example.to_string());
    format!("as {}", first.unwrap_or_default())
}
