//! What a run in a world must end with, written by hand.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::notation::is_name;

/// What a run must end with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Expect {
    /// Exit code of `verify`: 0 to 3.
    pub exit: u8,
    /// Kinds of finding that occur, each at least once, and no other.
    pub kinds: BTreeSet<ExpectedKind>,
    /// Findings that must be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<ExpectedFinding>,
    /// Every contradiction, and no other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contradictions: Vec<ExpectedFinding>,
    /// Names of the expectations that are broken, and no other; a trailing `*` stands for any ending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<String>,
    /// Names of those that are unverified, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unverified: Vec<String>,
}

/// Kind of a finding, in the words of the report (SEMANTICS F.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpectedKind {
    /// Predicted open, and open.
    ConfirmedAllow,
    /// Predicted closed, and silent with every condition met.
    ConfirmedDeny,
    /// Predicted open for some source ports, and so it is.
    ConfirmedPartial,
    /// Predicted closed, but open.
    ContradictionOpen,
    /// Predicted open, but silent.
    ContradictionClosed,
    /// The evidence carries no verdict.
    Inconclusive,
    /// The packets never met a security group.
    Bypass,
    /// Not probed.
    NotObserved,
}

/// Every kind, in the order of the report.
const KINDS: [ExpectedKind; 8] = [
    ExpectedKind::ConfirmedAllow,
    ExpectedKind::ConfirmedDeny,
    ExpectedKind::ConfirmedPartial,
    ExpectedKind::ContradictionOpen,
    ExpectedKind::ContradictionClosed,
    ExpectedKind::Inconclusive,
    ExpectedKind::Bypass,
    ExpectedKind::NotObserved,
];

impl ExpectedKind {
    /// The word of the report, as in its JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ExpectedKind::ConfirmedAllow => "confirmed_allow",
            ExpectedKind::ConfirmedDeny => "confirmed_deny",
            ExpectedKind::ConfirmedPartial => "confirmed_partial",
            ExpectedKind::ContradictionOpen => "contradiction_open",
            ExpectedKind::ContradictionClosed => "contradiction_closed",
            ExpectedKind::Inconclusive => "inconclusive",
            ExpectedKind::Bypass => "bypass",
            ExpectedKind::NotObserved => "not_observed",
        }
    }

    /// Whether model and network disagree.
    #[must_use]
    pub fn is_contradiction(self) -> bool {
        matches!(
            self,
            ExpectedKind::ContradictionOpen | ExpectedKind::ContradictionClosed
        )
    }
}

/// Family of the addresses of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// One finding: `SOURCE -> DESTINATION:PORT KIND`, with `over ipv6` behind it for IPv6. TCP only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExpectedFinding {
    /// Name of the endpoint that connects.
    pub source: String,
    /// Name of the endpoint that is connected to.
    pub destination: String,
    /// Port that is connected to.
    pub port: u16,
    /// What is found.
    pub kind: ExpectedKind,
    /// Family of the addresses; IPv4 where the text does not say.
    pub family: Family,
}

/// A text that is not an expected finding.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not a finding: write `SOURCE -> DESTINATION:PORT KIND`, with `over ipv6` at the end for IPv6"
)]
pub struct InvalidExpectation(String);

impl TryFrom<String> for ExpectedFinding {
    type Error = InvalidExpectation;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        parse_finding(&text).ok_or(InvalidExpectation(text))
    }
}

fn parse_finding(text: &str) -> Option<ExpectedFinding> {
    let (flow, family) = match text.strip_suffix(" over ipv6") {
        Some(flow) => (flow, Family::Ipv6),
        None => (
            text.strip_suffix(" over ipv4").unwrap_or(text),
            Family::Ipv4,
        ),
    };
    let (source, rest) = flow.split_once(" -> ")?;
    let (target, word) = rest.split_once(' ')?;
    let (destination, port) = target.split_once(':')?;
    let kind = KINDS.into_iter().find(|kind| kind.word() == word)?;
    (is_name(source) && is_name(destination)).then_some(ExpectedFinding {
        source: source.to_owned(),
        destination: destination.to_owned(),
        port: port.parse().ok()?,
        kind,
        family,
    })
}

impl From<ExpectedFinding> for String {
    fn from(finding: ExpectedFinding) -> Self {
        finding.to_string()
    }
}

impl fmt::Display for ExpectedFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ExpectedFinding {
            source,
            destination,
            port,
            kind,
            family,
        } = self;
        write!(f, "{source} -> {destination}:{port} {}", kind.word())?;
        match family {
            Family::Ipv4 => Ok(()),
            Family::Ipv6 => f.write_str(" over ipv6"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn a_finding_reads_back_as_it_was_written() {
        for kind in KINDS {
            for family in ["", " over ipv6"] {
                let text = format!("node-1 -> x-eni-2:443 {}{family}", kind.word());
                assert_eq!(
                    ExpectedFinding::try_from(text.clone()).unwrap().to_string(),
                    text
                );
            }
        }
    }

    #[test]
    fn what_is_not_a_finding_is_refused() {
        for text in [
            "node-1 -> x:65979 bypass",
            "node-1 x:443 bypass",
            "a -> b:443 confirmed",
            "a -> b bypass",
            "a -> b:443 bypass over ipv5",
        ] {
            assert!(
                ExpectedFinding::try_from(text.to_owned()).is_err(),
                "{text}"
            );
        }
    }
}
