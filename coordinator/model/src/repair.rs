//! What would open flows that something stops: the smallest set of changes, and what it opens besides.
//!
//! A proposal is made gate by gate and then judged by the same model as everything else: the flows are predicted again in a
//! snapshot that has the changes. Nothing is applied to a network.
//!
//! | module | what |
//! |---|---|
//! | `change` | rules, entries, routes, and a snapshot with them |
//! | `candidate` | what could open one gate, best first |
//! | `opened` | what changes open besides |
//! | `text` | changes as AWS CLI commands and as Terraform |
//!
//! **Invariant.** Every flow of a [`Repair`] whose `not_known` is absent is an allow in the snapshot with the changes, and
//! with no proper subset of them.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::class::Classes;
use crate::flow::Flow;
use crate::id::{NetworkAclId, NetworkInterfaceId, VpcId};
use crate::predict::{Stop, survey, verdict};
use crate::prediction::{Gate, Verdict};
use crate::snapshot::Snapshot;

use candidate::{Site, Tier};
use change::Scratch;
use opened::{Effect, Survey, Wanted};

pub use change::{Change, NewEntry, NewPeer, NewRoute, NewRule, NewTarget, Replaces};
pub use opened::{Opened, OpenedEnd};

mod candidate;
mod change;
mod opened;
mod text;

/// Most changes of one proposal: more is no repair but another network.
pub const CHANGES_MAX: usize = 32;

/// Pairs of classes of all candidates up to which they are ranked by what they open; beyond it by how many they are about.
const RANKED_PAIRS_MAX: usize = 2_000;

/// Changes that open some flows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// The changes; no proper subset opens all the flows.
    pub changes: Vec<Change>,
    /// What they open besides those flows and the ones that were wanted, too.
    pub besides: Vec<Opened>,
    /// Whether a bound left some of that out.
    pub is_bounded: bool,
    /// Why some of the flows are not known to pass even so: nothing stops them any more, but the reason holds.
    pub not_known: Option<&'static str>,
}

/// Why no change of groups, lists or routes opens a flow.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoRepair {
    /// Nothing stops it.
    #[error("nothing stops it")]
    NotStopped,
    /// None of the interface's groups is in the snapshot, as of one of another account.
    #[error("no group of {at} is in the snapshot: whoever owns them must add the rule")]
    NoGroup {
        /// The interface.
        at: NetworkInterfaceId,
    },
    /// Nothing joins the two VPCs.
    #[error(
        "no active peering and no transit gateway of the snapshot leads from {from} to {to}: make one first"
    )]
    NoWay {
        /// VPC whose route is missing.
        from: VpcId,
        /// VPC of the other end.
        to: VpcId,
    },
    /// Nobody owns the address to which a route is missing.
    #[error(
        "no interface of the snapshot owns {address}: nobody can tell where a route to it must lead"
    )]
    Unowned {
        /// The address.
        address: std::net::IpAddr,
    },
    /// The interface emits an address of others (A.6).
    #[error(
        "the source/destination check of {at} drops it: no rule changes that, the sender must use an address of its own"
    )]
    SourceDestCheck {
        /// The interface.
        at: NetworkInterfaceId,
    },
    /// The list has no number left in front of the entry that drops.
    #[error("{acl} has no free rule number before the entry that drops it: renumber the list")]
    NoNumber {
        /// The list.
        acl: NetworkAclId,
    },
    /// No change that was tried opens the gate.
    #[error("no rule, entry or route that was tried opens the gate {gate}")]
    Nothing {
        /// The gate.
        gate: Gate,
    },
    /// The only changes that open it close something else.
    #[error("every change that opens the gate {gate} closes something that works")]
    Closes {
        /// The gate.
        gate: Gate,
    },
    /// It takes too much.
    #[error("it takes more than {CHANGES_MAX} changes")]
    TooMany,
}

/// Finds repairs for flows of one snapshot.
#[derive(Debug)]
pub struct Workshop<'s> {
    snapshot: &'s Snapshot,
    classes: Classes,
    scratch: Scratch<'s>,
    /// What was asked last of one repair: a change that is tried is often the one that is proposed.
    last: Option<(Vec<Change>, Effect)>,
}

impl<'s> Workshop<'s> {
    /// A workshop for a snapshot, of which it keeps a copy.
    #[must_use]
    pub fn new(snapshot: &'s Snapshot) -> Self {
        Self {
            snapshot,
            classes: Classes::new(snapshot),
            scratch: Scratch::new(snapshot),
            last: None,
        }
    }

    /// Returns the classes of the snapshot.
    #[must_use]
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// Finds the smallest set of changes that opens all of `flows`.
    ///
    /// A rule goes to the gate that drops: a reference before a network, the user's group before the cluster's, whose
    /// default rules EKS keeps (D.2); of equal ones the one that opens least (in large
    /// worlds: that is about the fewest pairs of classes). `wanted` are flows whose opening is no
    /// side effect.
    ///
    /// # Errors
    /// [`NoRepair`] if nothing stops the flows, or where no change of a group, list or route opens them.
    pub fn repair(&mut self, flows: &[Flow], wanted: &[Flow]) -> Result<Repair, NoRepair> {
        let wanted = Wanted::new(&self.classes, flows.iter().chain(wanted));
        self.scratch.set(Vec::new());
        self.last = None;
        while let Some((flow, stop)) = self.stopped(flows) {
            if self.scratch.changes().len() >= CHANGES_MAX {
                return Err(NoRepair::TooMany);
            }
            let change = self.best(flows, (&flow, &stop), &wanted)?;
            self.scratch.push(change);
        }
        if self.scratch.changes().is_empty() {
            return Err(NoRepair::NotStopped);
        }
        self.reduce(flows);
        let effect = self.effect(flows, &wanted);
        Ok(Repair {
            changes: self.scratch.changes().to_vec(),
            besides: effect.opened,
            is_bounded: effect.is_bounded,
            not_known: flows.iter().find_map(|flow| match self.verdict(flow) {
                Verdict::Unknown(reason) => Some(reason.as_str()),
                Verdict::Allow { .. }
                | Verdict::Deny(_)
                | Verdict::Partial { .. }
                | Verdict::Bypass(_)
                | Verdict::Exempt(_) => None,
            }),
        })
    }

    /// Predicts flows in the snapshot with some changes.
    pub fn judge<'f>(
        &mut self,
        changes: &[Change],
        flows: impl IntoIterator<Item = &'f Flow>,
    ) -> Vec<Verdict> {
        self.scratch.set(changes.to_vec());
        flows.into_iter().map(|flow| self.verdict(flow)).collect()
    }

    fn verdict(&self, flow: &Flow) -> Verdict {
        verdict(self.scratch.snapshot(), flow)
    }

    /// The first flow that something still stops, and by what.
    fn stopped(&self, flows: &[Flow]) -> Option<(Flow, Stop)> {
        let is_stopped = |flow: &&Flow| {
            matches!(
                self.verdict(flow),
                Verdict::Deny(_) | Verdict::Partial { .. }
            )
        };
        let flow = flows.iter().find(is_stopped)?;
        let stops = survey(self.scratch.snapshot(), flow).stops;
        stops.into_iter().next().map(|stop| (flow.clone(), stop))
    }

    /// The best change that opens a gate.
    fn best(
        &mut self,
        flows: &[Flow],
        (flow, stop): (&Flow, &Stop),
        wanted: &Wanted,
    ) -> Result<Change, NoRepair> {
        let gate = stop.denial.gate();
        let candidates = self.candidates(flows, (flow, stop))?;
        let kept = self.scratch.changes().to_vec();
        let pairs = candidates.iter().map(|(_, change)| self.pairs(change));
        let is_large = pairs.clone().sum::<usize>() > RANKED_PAIRS_MAX;
        let sizes: Vec<usize> = pairs.collect();
        let is_only = sizes.len() == 1;
        let mut best: Option<(Tier, usize, Change)> = None;
        let mut closes = false;
        for ((tier, change), size) in candidates.into_iter().zip(sizes) {
            if best.as_ref().is_some_and(|(known, _, _)| *known < tier) {
                break;
            }
            self.scratch.push(change.clone());
            if self.opens(flow, gate) {
                // Rules and entries close nothing, so that counting what they are about is enough where asking takes long.
                let may_close = matches!(change, Change::Route(_));
                let effect = if !may_close && (is_large || is_only) {
                    Effect::default()
                } else {
                    self.effect(flows, wanted)
                };
                let cost = if is_large { size } else { effect.opened.len() };
                closes |= effect.closes;
                let is_better = best.as_ref().is_none_or(|(_, known, _)| cost < *known);
                if is_better && !effect.closes {
                    best = Some((tier, cost, change));
                }
            }
            self.scratch.set(kept.clone());
        }
        match best {
            Some((_, _, change)) => Ok(change),
            None if closes => Err(NoRepair::Closes { gate }),
            None => Err(NoRepair::Nothing { gate }),
        }
    }

    fn candidates(
        &self,
        flows: &[Flow],
        (flow, stop): (&Flow, &Stop),
    ) -> Result<Vec<(Tier, Change)>, NoRepair> {
        let gate = stop.denial.gate();
        let snapshot = self.scratch.snapshot();
        let Some(ends) = survey(snapshot, flow).ends else {
            return Err(NoRepair::Nothing { gate });
        };
        let mut remotes = BTreeSet::new();
        for other in flows {
            let found = survey(snapshot, other);
            if let Some(ends) = &found.ends
                && found.stops.iter().any(|known| known.denial == stop.denial)
            {
                let site = Site {
                    snapshot,
                    flow: other,
                    ends,
                    remotes: &BTreeSet::new(),
                };
                remotes.insert(site.remote(gate));
            }
        }
        let site = Site {
            snapshot,
            flow,
            ends: &ends,
            remotes: &remotes,
        };
        site.candidates(stop)
    }

    /// Whether a gate lets a flow pass now, or cannot be judged any more.
    fn opens(&self, flow: &Flow, gate: Gate) -> bool {
        let stops = survey(self.scratch.snapshot(), flow).stops;
        stops.iter().all(|stop| stop.denial.gate() != gate)
    }

    /// Leaves out every change without which the flows pass all the same.
    fn reduce(&mut self, flows: &[Flow]) {
        let mut place = 0;
        while place < self.scratch.changes().len() && self.scratch.changes().len() > 1 {
            let all = self.scratch.changes().to_vec();
            let mut fewer = all.clone();
            fewer.remove(place);
            self.scratch.set(fewer);
            if self.stopped(flows).is_some() {
                self.scratch.set(all);
                place += 1;
            }
        }
    }

    /// How many pairs of classes a rule is about; none of other changes, of which there is one each.
    fn pairs(&self, change: &Change) -> usize {
        match change {
            Change::Rule(rule) => opened::pairs(self.snapshot, &self.classes, rule),
            Change::Entry(_) | Change::Route(_) => 0,
        }
    }

    fn effect(&mut self, flows: &[Flow], wanted: &Wanted) -> Effect {
        let changes = self.scratch.changes();
        if let Some((known, effect)) = &self.last
            && known == changes
        {
            return effect.clone();
        }
        let survey = Survey {
            before: self.snapshot,
            after: self.scratch.snapshot(),
            classes: &self.classes,
            wanted,
            flows,
        };
        let effect = survey.effect(changes);
        self.last = Some((changes.to_vec(), effect.clone()));
        effect
    }
}
