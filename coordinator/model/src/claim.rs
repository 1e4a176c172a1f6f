//! Sentences about security groups of EKS, put to the test: what the answers of the APIs say, what the model predicts and
//! what a run saw (SEMANTICS I).
//!
//! A [`Claim`] is data: when it applies, which [`Check`](check::Check)s must hold, which flows must be as it says, and what it
//! leaves out. Checks and parties are closed lists, described in claims.md. Nothing is ever changed in AWS: a claim that only
//! a change would show is untested, with the steps to do by hand.
//!
//! | module | what |
//! |---|---|
//! | [`party`] | who is meant: the control plane, nodes, Fargate pods, … |
//! | [`groups`] | which security groups are meant |
//! | [`check`] | what is looked at in answers of the APIs |
//! | [`flows`] | which flows must be open, closed or silent, and whether they are |
//! | [`judge`] | the verdict |

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::describe::Described;
use crate::finding::Finding;
use crate::snapshot::{Match, Snapshot};

use check::Condition;
use flows::FlowClaim;
use party::Party;

pub mod check;
pub mod flows;
pub mod groups;
pub mod judge;
mod members;
pub mod party;

/// A name and the text of one file of the catalogue.
pub type CatalogueFile = (&'static str, &'static str);

/// The catalogue: the article's sentences, those of the documentation, and the probes that settle what neither says
/// (SEMANTICS I.1 to I.3).
pub const CATALOGUE: [CatalogueFile; 3] = [
    ("article.yaml", include_str!("../claims/article.yaml")),
    (
        "documentation.yaml",
        include_str!("../claims/documentation.yaml"),
    ),
    ("probes.yaml", include_str!("../claims/probes.yaml")),
];

/// A sentence that is true or not of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its id, such as `S02`; raw text.
    pub id: String,
    /// The sentence; raw text.
    pub says: String,
    /// Who says so; raw text.
    pub source: String,
    /// As of when; raw text.
    pub date: String,
    /// It is about clusters of which all of these hold.
    pub applies: Vec<Condition>,
    /// It holds if all of these do, and all flows are as it says.
    pub checks: Vec<Condition>,
    /// Flows, and what it says about them.
    pub flows: Vec<FlowClaim>,
    /// What it leaves out.
    pub omission: Option<Omission>,
    /// Why nothing here can test it, and what to do by hand; raw text.
    pub by_hand: Option<String>,
}

impl Claim {
    /// Whom it is about: the parties of its conditions and flows.
    fn parties(&self) -> impl Iterator<Item = &Party> {
        let conditions = self.applies.iter().chain(&self.checks);
        let flows = self.flows.iter().flat_map(|flows| [&flows.from, &flows.to]);
        conditions
            .filter_map(|condition| condition.check.party())
            .chain(flows)
    }
}

/// What a claim that holds leaves out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Omission {
    /// It matters where one of these holds.
    pub when: Vec<Condition>,
    /// What it is; raw text.
    pub says: String,
}

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// The world as the APIs describe it.
    pub snapshot: &'a Snapshot,
    /// The answers themselves, for what a snapshot does not keep.
    pub described: &'a Described,
    /// What a run found; empty where there was none.
    pub findings: &'a [Finding],
    /// Where it was found.
    pub wire: Wire,
}

/// Where findings come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wire {
    /// A cluster's own network.
    #[default]
    Network,
    /// A lab: what it does is what the model's authors believe, never evidence about AWS.
    Lab,
}

/// What becomes of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimVerdict {
    /// Everything that was looked at is as it says.
    Holds,
    /// Something is not as it says.
    Fails,
    /// It is about other clusters.
    NotApplicable,
    /// Nobody can tell from what there is.
    Untested,
}

impl ClaimVerdict {
    /// Every verdict.
    pub const ALL: [Self; 4] = [
        Self::Holds,
        Self::Fails,
        Self::NotApplicable,
        Self::Untested,
    ];

    /// Returns the word for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::NotApplicable => "not applicable",
            Self::Untested => "untested",
        }
    }
}

impl fmt::Display for ClaimVerdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// What a piece of evidence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// An answer of an API.
    Static,
    /// A prediction of the model, which nobody tried.
    Predicted,
    /// A finding of a run.
    Observed,
    /// A finding of a run in a lab.
    Lab,
}

impl EvidenceKind {
    /// Returns the word in JSON and for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Predicted => "predicted",
            Self::Observed => "observed",
            Self::Lab => "lab",
        }
    }
}

/// Something that a verdict rests on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Evidence {
    /// What it is.
    pub kind: EvidenceKind,
    /// What was found; raw text of the snapshot.
    pub text: String,
}

/// A claim with what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgedClaim {
    /// Its id; raw text.
    pub id: String,
    /// The sentence; raw text.
    pub says: String,
    /// Who says so; raw text.
    pub source: String,
    /// As of when; raw text.
    pub date: String,
    /// What became of it.
    pub verdict: ClaimVerdict,
    /// Why, in one line; raw text of the snapshot.
    pub reason: String,
    /// What it leaves out although it holds; raw text.
    pub incomplete: Option<String>,
    /// What was taken for granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assumption: Option<Cow<'static, str>>,
    /// What was looked at, and found.
    pub evidence: Vec<Evidence>,
}

/// What was found where something was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look {
    /// Whether it is as was said.
    pub(crate) answer: Match,
    /// What was found, or why nobody can tell; raw text.
    pub(crate) text: String,
}

impl Look {
    pub(crate) fn sure(fact: bool, text: String) -> Self {
        Self {
            answer: Match::from(fact),
            text,
        }
    }

    /// A look whose answer may be absent.
    pub(crate) fn of(answer: Option<bool>, text: String) -> Self {
        Self {
            answer: answer.map_or(Match::Unsure, Match::from),
            text,
        }
    }

    pub(crate) fn unsure(text: impl Into<String>) -> Self {
        Self {
            answer: Match::Unsure,
            text: text.into(),
        }
    }
}

#[cfg(test)]
mod tests;
