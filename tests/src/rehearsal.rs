//! A lab of somebody's own snapshot, so that a cluster can be rehearsed at home.
//!
//! Instances, pods and interfaces of the control plane are found as the model finds them, and each becomes a host of the
//! lab; agents stand wherever one could. Of more than [`HOSTS_MAX`] those are drawn that show the most classes. Security
//! groups, network ACLs and routes are never cut.
//!
//! * `choice`: who is drawn; `inhabitants`: who could be; `copy`: the answers that the lab and the coordinator read
//!
//! **Invariant.** The copy that the coordinator reads is the one from which the lab is drawn: what was left out is in
//! neither.

use std::collections::{BTreeMap, BTreeSet};

use reachproof_lab::world::{AgentPlace, Expanded};
use reachproof_lab::{LabPlan, Management};
use reachproof_model::class::Classes;
use reachproof_model::describe::Described;
use reachproof_model::net::Printable;
use reachproof_model::snapshot::Snapshot;
use reachproof_verify::source::Saved;

use crate::error::RunnerError;
use crate::rehearsal::copy::Kept;
use crate::rehearsal::inhabitants::Inhabitant;
use crate::stage::Scene;

mod choice;
mod copy;
mod inhabitants;

/// Most hosts that are drawn of a snapshot, pods among them: an agent runs in almost each, and every pair of them takes
/// time of one machine.
pub const HOSTS_MAX: usize = 60;

/// Most classes of which a note says how many were left out: who wants all of them asks `reachproof matrix`.
const CLASSES_SAID_MAX: usize = 10;

/// What a rehearsal does not show, whatever the snapshot says.
const LIMITS: &str = "every interface is a host that is up; load balancers, NAT, middleboxes and NetworkPolicies are not \
                      built, and the API servers and CoreDNS are stand-ins that answer";

/// A snapshot on its way to the lab.
#[derive(Debug)]
pub struct Rehearsal {
    /// What is built, and where agents run.
    pub scene: Scene,
    /// What people have to know of it, a line each: the limits, and what was left out.
    pub notes: Vec<String>,
}

impl Rehearsal {
    /// Opens a saved snapshot, in any shape that `reachproof verify` takes, and chooses whom to draw.
    ///
    /// # Errors
    /// [`RunnerError::Stdin`] for standard input, [`RunnerError::Source`] for what is no snapshot, and as [`Self::of`].
    pub fn open(saved: &Saved) -> Result<Self, RunnerError> {
        if saved.is_stdin() {
            return Err(RunnerError::Stdin);
        }
        let opened = saved.open()?;
        let mut rehearsal = Self::of(&opened.described, HOSTS_MAX)?;
        rehearsal.notes.extend(opened.notes);
        Ok(rehearsal)
    }

    /// Chooses at most `most` hosts of a snapshot.
    ///
    /// # Errors
    /// [`RunnerError::Snapshot`] for what cannot be decoded, [`RunnerError::Nobody`] without an interface.
    pub fn of(described: &Described, most: usize) -> Result<Self, RunnerError> {
        let decoded =
            Snapshot::decode(described).map_err(|source| RunnerError::Snapshot { source })?;
        let snapshot = &decoded.snapshot;
        let classes = Classes::new(snapshot);
        let all = inhabitants::all(snapshot, &classes);
        if all.is_empty() {
            return Err(RunnerError::Nobody);
        }
        let candidates: Vec<_> = all.iter().map(|one| &one.candidate).collect();
        let chosen = choice::choose(&candidates, most);
        let drawn: Vec<&Inhabitant> = chosen.iter().filter_map(|place| all.get(*place)).collect();
        let mut answers = copy::folded(described);
        if drawn.len() < all.len() {
            copy::reduce(&mut answers, &Kept::of(snapshot, &drawn));
        }
        let mut agents: Vec<AgentPlace> =
            drawn.iter().filter_map(|one| one.agent.clone()).collect();
        agents.sort_by(|one, other| one.endpoint.cmp(&other.endpoint));
        let plan = LabPlan {
            snapshot: answers,
            endpoints: drawn
                .iter()
                .filter_map(|one| one.endpoint.clone())
                .collect(),
            management: Management::Links,
            ..LabPlan::default()
        };
        let ranges = snapshot.vpcs().flat_map(|vpc| vpc.networks.iter().copied());
        Ok(Self {
            notes: notes(snapshot, &classes, &all, &chosen),
            scene: Scene {
                expanded: Expanded { plan, agents },
                coordinator: None,
                ranges: ranges.collect(),
            },
        })
    }
}

/// What is drawn, what is not, and what a rehearsal never shows.
fn notes(
    snapshot: &Snapshot,
    classes: &Classes,
    all: &[Inhabitant],
    chosen: &BTreeSet<usize>,
) -> Vec<String> {
    let agents = chosen.iter().filter_map(|place| all.get(*place));
    let agents = agents.filter(|one| one.agent.is_some()).count();
    let mut notes = vec![
        format!(
            "{} of {} hosts of the snapshot in the lab (at most {HOSTS_MAX}), {agents} with an agent",
            chosen.len(),
            all.len()
        ),
        format!("limits of a rehearsal: {LIMITS}"),
    ];
    let mut counts: BTreeMap<_, (usize, usize)> = BTreeMap::new();
    for (place, one) in all.iter().enumerate() {
        for class in &one.candidate.classes {
            let count = counts.entry(*class).or_default();
            count.0 += usize::from(chosen.contains(&place));
            count.1 += 1;
        }
    }
    let cut: Vec<_> = counts
        .into_iter()
        .filter(|(_, (drawn, there))| drawn < there)
        .collect();
    for (class, (drawn, there)) in cut.iter().take(CLASSES_SAID_MAX) {
        let name = classes.class(*class).name(snapshot);
        notes.push(format!(
            "left out: {} of {there}, {}",
            there - drawn,
            Printable(&name)
        ));
    }
    if cut.len() > CLASSES_SAID_MAX {
        let rest = cut.len() - CLASSES_SAID_MAX;
        notes.push(format!("left out: some of {rest} more classes"));
    }
    let unseen = cut.iter().filter(|(_, (drawn, _))| *drawn == 0).count();
    if unseen > 0 {
        notes.push(format!("{unseen} classes have no host in the lab"));
    }
    notes
}

#[cfg(test)]
mod tests;
