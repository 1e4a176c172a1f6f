//! What becomes of a claim.

use super::check::Condition;
use super::flows::FlowClaim;
use super::party::Party;
use super::{Claim, ClaimVerdict, Evidence, EvidenceKind, JudgedClaim, Look, World};
use crate::class::Classes;
use crate::expectation::members::{NodeBasis, cluster_members};
use crate::plan::Roster;
use crate::snapshot::Match;

/// Most pieces of evidence of one kind that a claim keeps; the worst come first.
pub const EVIDENCE_MAX: usize = 8;

/// Judges each claim, in their order.
#[must_use]
pub fn judge(claims: &[Claim], world: &World<'_>) -> Vec<JudgedClaim> {
    let classes = Classes::new(world.snapshot);
    let basis = cluster_members(world.snapshot, &Roster::default()).basis;
    let each = claims.iter().map(|claim| {
        let is_assumed =
            basis == NodeBasis::EveryInstance && claim.parties().any(Party::is_of_nodes);
        JudgedClaim {
            assumption: is_assumed.then_some(EVERY_INSTANCE.into()),
            ..judged(claim, world, &classes)
        }
    });
    each.collect()
}

/// What is taken for granted where a snapshot has neither nodes nor tags of the cluster (SEMANTICS I).
const EVERY_INSTANCE: &str =
    "nothing says which instances are nodes: every running one in the cluster's VPC counts";

fn judged(claim: &Claim, world: &World<'_>, classes: &Classes) -> JudgedClaim {
    let mut found = Found::default();
    let verdict = found.verdict(claim, world, classes);
    let incomplete = match (&claim.omission, verdict) {
        (Some(omission), ClaimVerdict::Holds) if matters(&omission.when, world) => {
            Some(omission.says.clone())
        }
        (Some(_) | None, _) => None,
    };
    JudgedClaim {
        id: claim.id.clone(),
        says: claim.says.clone(),
        source: claim.source.clone(),
        date: claim.date.clone(),
        verdict,
        reason: found.reason,
        incomplete,
        assumption: None,
        evidence: found.evidence,
    }
}

/// Whether one of some conditions holds, or there is none.
fn matters(when: &[Condition], world: &World<'_>) -> bool {
    let mut when_any = when.iter();
    when.is_empty() || when_any.any(|condition| condition.look(world).answer == Match::Yes)
}

/// What was found so far.
#[derive(Default)]
struct Found {
    reason: String,
    evidence: Vec<Evidence>,
    /// Flows that a run tried.
    tried: usize,
    /// Flows of which the model alone speaks.
    predicted: usize,
}

impl Found {
    fn verdict(&mut self, claim: &Claim, world: &World<'_>, classes: &Classes) -> ClaimVerdict {
        if let Some(verdict) = self.is_about_others(claim, world) {
            return verdict;
        }
        if let Some(why) = &claim.by_hand {
            self.reason.clone_from(why);
            return ClaimVerdict::Untested;
        }
        let mut answer = Match::Yes;
        for condition in &claim.checks {
            let look = condition.look(world);
            answer = self.take(answer, look, EvidenceKind::Static);
        }
        for flows in &claim.flows {
            answer = self.flows(answer, flows, world, classes);
        }
        match answer {
            Match::Yes => {
                self.say_what_holds();
                ClaimVerdict::Holds
            }
            Match::No => ClaimVerdict::Fails,
            Match::Unsure => ClaimVerdict::Untested,
        }
    }

    /// The verdict of a claim that is about other clusters, or that may be.
    fn is_about_others(&mut self, claim: &Claim, world: &World<'_>) -> Option<ClaimVerdict> {
        for condition in &claim.applies {
            let look = condition.look(world);
            let verdict = match look.answer {
                Match::Yes => {
                    self.add(EvidenceKind::Static, look.text);
                    continue;
                }
                Match::No => ClaimVerdict::NotApplicable,
                Match::Unsure => ClaimVerdict::Untested,
            };
            self.reason = look.text;
            self.evidence.clear();
            return Some(verdict);
        }
        None
    }

    /// Takes one more look into account: the worst answer decides, and its first text is the reason.
    fn take(&mut self, so_far: Match, look: Look, kind: EvidenceKind) -> Match {
        if look.answer < so_far {
            self.reason.clone_from(&look.text);
        }
        let answer = so_far.and(look.answer);
        self.add(kind, look.text);
        answer
    }

    fn add(&mut self, kind: EvidenceKind, text: String) {
        let evidence = Evidence { kind, text };
        if !self.evidence.contains(&evidence) {
            self.evidence.push(evidence);
        }
    }

    /// Looks at flows: what is not as was said comes first, and of each kind a few are kept.
    fn flows(
        &mut self,
        so_far: Match,
        flows: &FlowClaim,
        world: &World<'_>,
        classes: &Classes,
    ) -> Match {
        let mut seen = match flows.look(world, classes) {
            Ok(seen) => seen,
            Err(why) => return self.take(so_far, Look::unsure(why), EvidenceKind::Predicted),
        };
        seen.sort_by_key(|one| (one.look.answer, one.kind));
        let mut answer = so_far;
        for (place, one) in seen.into_iter().enumerate() {
            match one.kind {
                EvidenceKind::Predicted => self.predicted += 1,
                EvidenceKind::Static | EvidenceKind::Observed | EvidenceKind::Lab => {
                    self.tried += 1
                }
            }
            if place < EVIDENCE_MAX {
                answer = self.take(answer, one.look, one.kind);
            }
        }
        answer
    }

    /// Of a claim that holds the reason is what it rests on.
    fn say_what_holds(&mut self) {
        let flows = match (self.tried, self.predicted) {
            (0, 0) => None,
            (0, predicted) => Some(format!("{predicted} by the model alone")),
            (tried, 0) => Some(format!("{tried} seen")),
            (tried, predicted) => Some(format!("{tried} seen, {predicted} by the model alone")),
        };
        let flows = flows.map(|flows| format!("flows: {flows}"));
        let looked = self
            .evidence
            .iter()
            .rfind(|one| one.kind == EvidenceKind::Static);
        let looked = looked.map(|one| one.text.clone());
        let parts: Vec<String> = looked.into_iter().chain(flows).collect();
        self.reason = parts.join("; ");
    }
}
