//! Expectations of a user, out of a YAML file (commands.md, "Expectations of your own").
//!
//! Every error says where: line and column of the word that is wrong, and the nearest key where a key is.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
pub use jiff::civil::Date;
use jiff::tz::TimeZone;
use reachproof_model::class::Classes;
use reachproof_model::expectation::own::{OwnExpectation, Senders};
use reachproof_model::expectation::{ExpectationName, Wanted};
use reachproof_model::near::near;
use reachproof_model::plan::Roster;
use reachproof_model::selector::Selector;
use reachproof_model::snapshot::Snapshot;

use crate::yaml::{Fault, Fields, FileError, Node, Tree, opened, packets};

/// Most expectations of one file.
pub const EXPECTATIONS_MAX: usize = 1_000;

const FILE_KEYS: [&str; 4] = ["apiVersion", "kind", "expectations", "switched-off"];
const EXPECTATION_KEYS: [&str; 8] = [
    "name", "from", "only", "to", "ports", "expect", "why", "until",
];
const OFF_KEYS: [&str; 3] = ["name", "why", "until"];
const POD_KEYS: [&str; 2] = ["namespace", "labels"];

/// Returns the day of a time, in UTC; the earliest for a time that no calendar has.
#[must_use]
pub fn day_of(time: SystemTime) -> Date {
    Timestamp::try_from(time).map_or(Date::MIN, |time| time.to_zoned(TimeZone::UTC).date())
}

/// What a file of expectations says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExpectationFile {
    /// Expectations, in their order.
    pub expectations: Vec<Stated<OwnExpectation>>,
    /// Built-in ones that are not to be judged.
    pub switched_off: Vec<Stated<SwitchedOff>>,
}

/// Something that holds until a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated<T> {
    /// What holds.
    pub stated: T,
    /// Last day on which it does.
    pub until: Option<Date>,
    /// Where it stands: line and column of its name.
    pub at: (u64, u64),
}

/// A built-in expectation that is not to be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchedOff {
    /// Which one.
    pub name: ExpectationName,
    /// Why; raw text.
    pub why: String,
}

impl<T> Stated<T> {
    /// Whether it still holds on `today`.
    #[must_use]
    pub fn holds(&self, today: Date) -> bool {
        self.until.is_none_or(|until| today <= until)
    }
}

/// What of a file counts on one day.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InForce {
    /// Expectations, in their order.
    pub own: Vec<OwnExpectation>,
    /// Built-in ones that are not judged.
    pub off: Vec<ExpectationName>,
    /// What is not judged, and why, a line each; raw text.
    pub remarks: Vec<String>,
}

impl ExpectationFile {
    /// Returns what counts on `today`. What has passed its `until` is said.
    #[must_use]
    pub fn on(&self, today: Date) -> InForce {
        let mut found = InForce::default();
        for one in &self.expectations {
            match one.until.filter(|_| !one.holds(today)) {
                None => found.own.push(one.stated.clone()),
                Some(until) => {
                    let name = &one.stated.name;
                    let remark =
                        format!("{name}: its `until` {until} has passed, it is not judged");
                    found.remarks.push(remark);
                }
            }
        }
        for one in &self.switched_off {
            let (name, why) = (one.stated.name.as_str(), &one.stated.why);
            let remark = match one.until {
                Some(until) if !one.holds(today) => {
                    format!(
                        "{name}: switched off until {until}, which has passed: it is judged again"
                    )
                }
                Some(until) => format!("{name}: switched off until {until}, {why}"),
                None => format!("{name}: switched off, {why}"),
            };
            found.remarks.push(remark);
            if one.holds(today) {
                found.off.push(one.stated.name.clone());
            }
        }
        found
    }

    /// Looks up every end of what counts on `today`.
    ///
    /// # Errors
    /// [`Fault`] for the first expectation whose ends `snapshot` does not have.
    pub fn check(&self, snapshot: &Snapshot, today: Date) -> Result<(), Fault> {
        let classes = Classes::new(snapshot);
        let roster = Roster::default();
        let mut counting = self.expectations.iter().filter(|one| one.holds(today));
        counting.try_for_each(|one| {
            let found = one.stated.requirement(snapshot, &classes, &roster);
            found.map(|_| ()).map_err(|error| {
                let (line, column) = one.at;
                let what = format!("`{}`: {error}", one.stated.name);
                Fault { line, column, what }
            })
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`FileError`] for the first thing that is wrong, with line and column.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        opened(path, Self::parse)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`Fault`] for the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let root = Node::parse(text)?;
        let fields = Fields::of(&root, &FILE_KEYS, "a file of expectations")?;
        fields.is_kind("Expectations")?;
        let mut file = Self::default();
        for node in fields.list("expectations")? {
            file.expectations.extend(expectation(node)?);
        }
        for node in fields.list("switched-off")? {
            file.switched_off.push(switched_off(node)?);
        }
        file.checked(&root)
    }

    /// Refuses names that stand twice, and more than can be.
    fn checked(self, root: &Node) -> Result<Self, Fault> {
        if self.expectations.len() > EXPECTATIONS_MAX {
            return Err(root.fault(format!("more than {EXPECTATIONS_MAX} expectations")));
        }
        let mut names = std::collections::BTreeSet::new();
        for one in &self.expectations {
            let name = &one.stated.name;
            if !names.insert(Arc::clone(name)) {
                let (line, column) = one.at;
                let what =
                    format!("`{name}` stands twice: give each expectation a name of its own");
                return Err(Fault { line, column, what });
            }
        }
        Ok(self)
    }
}

/// The day until which something holds.
fn until(fields: &Fields<'_>) -> Result<Option<Date>, Fault> {
    let Some(node) = fields.get("until") else {
        return Ok(None);
    };
    let text = node.text()?;
    // The library reads other forms, too.
    let day = text
        .parse()
        .ok()
        .filter(|day: &Date| day.to_string() == text);
    day.map(Some)
        .ok_or_else(|| node.fault("`until` must be a day like 2027-01-31".to_owned()))
}

/// One expectation: two where `only` says who may, and so that nobody else may.
fn expectation(node: &Node) -> Result<Vec<Stated<OwnExpectation>>, Fault> {
    let fields = Fields::of(node, &EXPECTATION_KEYS, "an expectation")?;
    let name = fields.needed("name")?;
    let receivers = selectors(fields.needed("to")?)?;
    let packets = packets(fields.needed("ports")?)?;
    let (why, until) = (fields.text("why")?, until(&fields)?);
    let stated = |suffix: &str, senders, wanted| {
        Ok(Stated {
            stated: OwnExpectation {
                name: format!("{}{suffix}", own_name(name)?).into(),
                senders,
                receivers: receivers.clone(),
                packets: packets.clone(),
                wanted,
                why: why.clone(),
            },
            until,
            at: (name.line, name.column),
        })
    };
    match (fields.get("from"), fields.get("only")) {
        (Some(_), Some(only)) => {
            Err(only.fault("`only` names who may, `from` who sends: take one of them".to_owned()))
        }
        (None, None) => Err(node.fault("key `from` is missing, or `only`".to_owned())),
        (Some(from), None) => {
            let wanted = wanted(fields.needed("expect")?)?;
            Ok(vec![stated("", Senders::These(selectors(from)?), wanted)?])
        }
        (None, Some(only)) => {
            if let Some(expect) = fields.get("expect") {
                let what = "`only` says what is expected: open for these, closed for all others";
                return Err(expect.fault(what.to_owned()));
            }
            let those = selectors(only)?;
            Ok(vec![
                stated("", Senders::These(those.clone()), Wanted::Open)?,
                stated(", nobody else", Senders::AllBut(those), Wanted::Closed)?,
            ])
        }
    }
}

/// A name that no built-in expectation has.
fn own_name(node: &Node) -> Result<&str, Fault> {
    let name = node.text()?.trim();
    if name.is_empty() {
        return Err(node.fault("`name` is empty".to_owned()));
    }
    if ExpectationName::ALL
        .iter()
        .any(|built_in| built_in.as_str() == name)
    {
        return Err(node.fault(format!("`{name}` is built in: take another name")));
    }
    Ok(name)
}

fn switched_off(node: &Node) -> Result<Stated<SwitchedOff>, Fault> {
    let fields = Fields::of(node, &OFF_KEYS, "an entry of `switched-off`")?;
    let name = fields.needed("name")?;
    let text = name.text()?;
    let mut all = ExpectationName::ALL.into_iter();
    let Some(found) = all.find(|built_in| built_in.as_str() == text) else {
        let names = ExpectationName::ALL;
        let near = near(text, names.iter().map(ExpectationName::as_str));
        let hint = near.first().map_or_else(
            || "`reachproof expectations` lists them".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        return Err(name.fault(format!(
            "no built-in expectation is called `{text}`, {hint}"
        )));
    };
    let why = fields.needed("why")?;
    let reason = why.text()?.trim();
    if reason.is_empty() {
        return Err(why.fault("`why` is empty: say why it does not count".to_owned()));
    }
    Ok(Stated {
        stated: SwitchedOff {
            name: found,
            why: reason.to_owned(),
        },
        until: until(&fields)?,
        at: (name.line, name.column),
    })
}

fn wanted(node: &Node) -> Result<Wanted, Fault> {
    match node.text()? {
        "open" => Ok(Wanted::Open),
        "closed" => Ok(Wanted::Closed),
        other => Err(node.fault(format!(
            "`expect` must be `open` or `closed`, found `{other}`"
        ))),
    }
}

/// One end, or a list of some.
fn selectors(node: &Node) -> Result<Vec<Selector>, Fault> {
    node.each("nobody")?.into_iter().map(selector).collect()
}

fn selector(node: &Node) -> Result<Selector, Fault> {
    if let Tree::Map(_) = &node.tree {
        return pods(node);
    }
    node.text()?
        .parse()
        .map_err(|error| node.fault(format!("{error}")))
}

/// Pods by namespace and labels.
fn pods(node: &Node) -> Result<Selector, Fault> {
    let fields = Fields::of(node, &POD_KEYS, "an end")?;
    let namespace = fields.needed("namespace")?.text()?.to_owned();
    let mut labels = std::collections::BTreeMap::new();
    let given = fields.needed("labels")?;
    let Tree::Map(entries) = &given.tree else {
        return Err(given.fault("`labels` is a mapping of labels to their values".to_owned()));
    };
    if entries.is_empty() {
        return Err(given.fault("`labels` names none".to_owned()));
    }
    for (key, value) in entries {
        labels.insert(key.text()?.to_owned(), value.text()?.to_owned());
    }
    Ok(Selector::Labelled { namespace, labels })
}
