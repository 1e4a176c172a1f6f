//! How long the network took to follow the APIs after a change, as the attempts of a run show it.
//!
//! Looked at are the flows of which the model says something else than in the earlier report: from the first agreeing attempt
//! after the last one that did as before, the network follows. Limit: times are counted from the first reading of the APIs in
//! this run. The change was made before it, so the network took longer than they say.

use std::time::Duration;

use reachproof_model::finding::Finding;
use reachproof_model::observation::{Attempt, Outcome};
use reachproof_model::prediction::{Prediction, Verdict};
use serde::{Deserialize, Serialize};

/// What became of the flows whose verdict changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Followed {
    /// Flows whose verdict turned from open to closed or back, and that were tried.
    pub flows: usize,
    /// Those of them that agreed from their first attempt on.
    pub at_once: usize,
    /// Those that did as before at first, and agreed later.
    pub late: usize,
    /// Those whose last attempt did as before.
    pub not_yet: usize,
    /// When the last flow that follows agreed, in milliseconds since the run began; null where none follows.
    pub after_ms: Option<u64>,
}

/// What is expected of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    Closed,
}

impl Followed {
    /// Takes a flow into account whose verdict was `before`, and whose attempts are those of `now`.
    pub(super) fn note(&mut self, before: &Prediction, now: &Finding) {
        let wanted = way(&now.prediction.verdict);
        let (Some(wanted), Some(earlier)) = (wanted, way(&before.verdict)) else {
            return;
        };
        let mut seen: Vec<(Duration, Way)> =
            now.observation.attempts.iter().filter_map(seen).collect();
        seen.sort_by_key(|(received, _)| *received);
        if wanted == earlier || seen.is_empty() {
            return;
        }
        self.flows += 1;
        let as_before = seen.iter().rposition(|(_, way)| *way != wanted);
        let follows = as_before.map_or(0, |place| place + 1);
        let Some((received, _)) = seen.get(follows) else {
            self.not_yet += 1;
            return;
        };
        match as_before {
            None => self.at_once += 1,
            Some(_) => self.late += 1,
        }
        let after_ms = u64::try_from(received.as_millis()).unwrap_or(u64::MAX);
        self.after_ms = self.after_ms.max(Some(after_ms));
    }
}

/// What a verdict promises; nothing where it promises different things or none.
fn way(verdict: &Verdict) -> Option<Way> {
    match verdict {
        Verdict::Allow { .. } => Some(Way::Open),
        Verdict::Deny(_) => Some(Way::Closed),
        Verdict::Partial { .. } | Verdict::Unknown(_) | Verdict::Bypass(_) | Verdict::Exempt(_) => {
            None
        }
    }
}

/// When the result of an attempt came and what it was; nothing where it says nothing of the way.
fn seen(attempt: &Attempt) -> Option<(Duration, Way)> {
    let way = match attempt.outcome {
        Outcome::Connected { .. } | Outcome::Refused { .. } => Way::Open,
        Outcome::TimedOut { .. } => Way::Closed,
        Outcome::Unreachable { .. }
        | Outcome::LocalError { .. }
        | Outcome::Starved
        | Outcome::RefusedByPolicy
        | Outcome::NotDialled { .. } => return None,
    };
    Some((attempt.received, way))
}
