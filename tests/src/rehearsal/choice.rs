//! Who is drawn where not everybody can be: some of each class.

use std::collections::{BTreeMap, BTreeSet};

use reachproof_model::class::ClassId;

/// Somebody who could be drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Classes of the addresses by which it takes part; none where its addresses are of no class.
    pub(super) classes: BTreeSet<ClassId>,
    /// Place of the candidate without which it cannot stand: the node of a pod, which needs nobody.
    pub(super) needs: Option<usize>,
    /// When it is chosen.
    pub(super) turn: Turn,
}

/// When a candidate is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Before any other.
    First,
    /// When it is the turn of its class.
    ByClass,
}

/// Chooses at most `most` of `candidates`, by their places: those that are first, then one of each class, then a second of
/// each, and so on; of a class those that need nobody else, then those that come first.
pub(super) fn choose(candidates: &[&Candidate], most: usize) -> BTreeSet<usize> {
    let mut choice = Choice {
        candidates,
        most,
        chosen: BTreeSet::new(),
    };
    let mut by_class: BTreeMap<Option<ClassId>, Vec<usize>> = BTreeMap::new();
    for (place, candidate) in candidates.iter().enumerate() {
        if candidate.turn == Turn::First {
            choice.take(place);
        }
        if candidate.classes.is_empty() {
            by_class.entry(None).or_default().push(place);
        }
        for class in &candidate.classes {
            by_class.entry(Some(*class)).or_default().push(place);
        }
    }
    for wanted in 1..=most {
        if choice.chosen.len() >= most.min(candidates.len()) {
            break;
        }
        // What has no class shows none: it comes last.
        let (without, with): (Vec<_>, Vec<_>) =
            by_class.iter().partition(|(class, _)| class.is_none());
        for (_, members) in with.into_iter().chain(without) {
            choice.raise(members, wanted);
        }
    }
    choice.chosen
}

/// A choice on its way.
struct Choice<'c> {
    candidates: &'c [&'c Candidate],
    most: usize,
    chosen: BTreeSet<usize>,
}

impl Choice<'_> {
    /// Takes one more of a class if it has fewer than `wanted`.
    fn raise(&mut self, members: &[usize], wanted: usize) {
        let (there, free): (Vec<usize>, Vec<usize>) = members
            .iter()
            .partition(|place| self.chosen.contains(place));
        let next = free
            .into_iter()
            .min_by_key(|place| (self.with_needed(*place).len(), *place));
        if let Some(next) = next.filter(|_| there.len() < wanted) {
            self.take(next);
        }
    }

    /// Takes a candidate, and whom it needs, if there is room for both.
    fn take(&mut self, place: usize) {
        let all = self.with_needed(place);
        if self.chosen.len() + all.len() <= self.most {
            self.chosen.extend(all);
        }
    }

    /// The candidate and whom it needs, without those that are chosen already.
    fn with_needed(&self, place: usize) -> Vec<usize> {
        let needed = self
            .candidates
            .get(place)
            .and_then(|candidate| candidate.needs);
        let all = [Some(place), needed].into_iter().flatten();
        all.filter(|place| !self.chosen.contains(place)).collect()
    }
}
