//! What a user expects of the network beside what the cluster needs: who reaches whom, or does not, and why.
//!
//! An expectation stands for one flow between each two classes of its ends, at each of its ports: the model cannot tell the
//! others of a class apart. Where an agent is in a class, the flow is one that it tries.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::{ExpectationName, FLOWS_PER_EXPECTATION_MAX, Requirement, Requirements, Wanted};
use crate::class::Classes;
use crate::flow::{Flow, FlowProtocol};
use crate::plan::Roster;
use crate::selector::{Ends, Selector, SelectorError, pairs_preferring};
use crate::snapshot::Snapshot;

/// An expectation of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnExpectation {
    /// What it is called; raw text.
    pub name: Arc<str>,
    /// Who sends.
    pub senders: Senders,
    /// Who receives.
    pub receivers: Vec<Selector>,
    /// What is sent.
    pub packets: Vec<FlowProtocol>,
    /// Whether it should arrive.
    pub wanted: Wanted,
    /// Why; raw text.
    pub why: Option<String>,
}

/// Who sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Senders {
    /// These.
    These(Vec<Selector>),
    /// Every known address but these, and but the receivers themselves.
    AllBut(Vec<Selector>),
}

impl OwnExpectation {
    /// Finds the flows that it stands for, from and to agents of `roster` where there are some; never none.
    ///
    /// # Errors
    /// [`SelectorError`] for a name that cannot be looked up, and for ends between which nothing can be sent.
    pub fn requirement(
        &self,
        snapshot: &Snapshot,
        classes: &Classes,
        roster: &Roster,
    ) -> Result<Requirement, SelectorError> {
        let to = ends(snapshot, &self.receivers)?;
        let from = match &self.senders {
            Senders::These(senders) => ends(snapshot, senders)?,
            Senders::AllBut(others) => {
                let mut others = ends(snapshot, others)?;
                others.join(&to);
                Ends::all(snapshot).without(&others, snapshot)
            }
        };
        let is_first = |address: IpAddr| roster.holder(address).is_some();
        let mut flows = BTreeSet::new();
        for pair in pairs_preferring(snapshot, classes, (&from, &to), &is_first) {
            if pair.source == pair.destination {
                continue;
            }
            for protocol in &self.packets {
                let mut flow = pair.flow(snapshot, *protocol);
                if let Some(agent) = roster.holder(pair.source) {
                    flow.source_kind = agent.kind.source_kind();
                    flow.ephemeral_ports = agent.ephemeral_ports;
                }
                flows.insert(flow);
            }
        }
        if flows.is_empty() {
            return Err(SelectorError::NoPair {
                from: self.senders.to_string(),
                to: listed(&self.receivers),
            });
        }
        let left_out = flows.len().saturating_sub(FLOWS_PER_EXPECTATION_MAX);
        Ok(Requirement {
            name: ExpectationName::Own(Arc::clone(&self.name)),
            subject: None,
            wanted: self.wanted,
            why: self.why.clone(),
            flows: flows
                .into_iter()
                .take(FLOWS_PER_EXPECTATION_MAX)
                .collect::<Vec<Flow>>(),
            left_out,
        })
    }
}

impl Requirements {
    /// Adds the expectations of a user, and leaves out the built-in ones that are switched `off`. One whose ends the snapshot
    /// does not have stays, with no flow: nobody can tell whether it holds.
    #[must_use]
    pub fn with_own(
        mut self,
        (snapshot, roster): (&Snapshot, &Roster),
        own: &[OwnExpectation],
        off: &[ExpectationName],
    ) -> Self {
        self.requirements.retain(|one| !off.contains(&one.name));
        if own.is_empty() {
            return self;
        }
        let classes = Classes::new(snapshot);
        let own = own.iter().map(|one| {
            let found = one.requirement(snapshot, &classes, roster);
            found.unwrap_or_else(|_| Requirement {
                name: ExpectationName::Own(Arc::clone(&one.name)),
                subject: None,
                wanted: one.wanted,
                why: one.why.clone(),
                flows: Vec::new(),
                left_out: 0,
            })
        });
        self.requirements.extend(own);
        self
    }

    /// The flows that users expect something of.
    pub fn own_flows(&self) -> impl Iterator<Item = &Flow> {
        let own = self.requirements.iter();
        let own = own.filter(|one| matches!(one.name, ExpectationName::Own(_)));
        own.flat_map(|one| &one.flows)
    }
}

impl std::fmt::Display for Senders {
    /// Writes who sends, raw text.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::These(senders) => formatter.write_str(&listed(senders)),
            Self::AllBut(others) => write!(formatter, "anybody but {}", listed(others)),
        }
    }
}

/// Names of selectors, separated by commas; raw text.
fn listed(selectors: &[Selector]) -> String {
    let names: Vec<String> = selectors.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// The ends of all of `selectors`.
fn ends(snapshot: &Snapshot, selectors: &[Selector]) -> Result<Ends, SelectorError> {
    let mut all = Ends::default();
    for selector in selectors {
        all.join(&selector.resolve(snapshot)?);
    }
    Ok(all)
}
