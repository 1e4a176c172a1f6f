//! Who was not let in, and why: the first few one by one, the rest counted, so that strangers fill no memory.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reachproof_model::observation::AgentName;
use serde::{Deserialize, Serialize};

/// Most entries with a name that are kept, and as many without one: strangers cannot crowd out agents that are known.
pub const REFUSED_LISTED_MAX: usize = 20;

/// Somebody who was not let in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Refused {
    /// Its name, if a token that was signed or reviewed here says it; null for whoever could show none.
    pub name: Option<AgentName>,
    /// Address that it dialled from; null where that is unknown.
    pub from: Option<IpAddr>,
    /// Why: what the agent was told, too.
    pub reason: String,
}

/// Those who were not let in since agents were first awaited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedAgents {
    /// Who, and how often, in order.
    pub listed: Vec<RefusedTimes>,
    /// Refusals beside those that are listed.
    pub more: u64,
}

impl RefusedAgents {
    /// How many refusals there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        let listed = self.listed.iter().map(|one| one.times);
        listed.fold(self.more, u64::saturating_add)
    }
}

/// Somebody who was not let in, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedTimes {
    /// Who.
    #[serde(flatten)]
    pub refused: Refused,
    /// How often.
    pub times: u64,
}

/// The list while agents come. Cheap to clone: each clone is the same list.
#[derive(Debug, Clone, Default)]
pub struct RefusedList(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    // Invariant: at most `REFUSED_LISTED_MAX` with a name and as many without.
    times: BTreeMap<Refused, u64>,
    more: u64,
}

impl RefusedList {
    /// Takes note of somebody who was not let in.
    pub fn note(&self, refused: Refused) {
        let mut kept = self.kept();
        if let Some(times) = kept.times.get_mut(&refused) {
            *times = times.saturating_add(1);
            return;
        }
        let is_alike = |other: &&Refused| other.name.is_some() == refused.name.is_some();
        if kept.times.keys().filter(is_alike).count() < REFUSED_LISTED_MAX {
            kept.times.insert(refused, 1);
        } else {
            kept.more = kept.more.saturating_add(1);
        }
    }

    /// Those who were not let in so far.
    pub fn so_far(&self) -> RefusedAgents {
        let kept = self.kept();
        let listed = kept.times.iter().map(|(refused, times)| RefusedTimes {
            refused: refused.clone(),
            times: *times,
        });
        RefusedAgents {
            listed: listed.collect(),
            more: kept.more,
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // What a thread left behind that failed is sound: no change is left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::net::Ipv4Addr;

    use super::*;

    fn refused(name: Option<&str>, number: u32) -> Refused {
        Refused {
            name: name.map(|name| name.try_into().unwrap()),
            from: Some(IpAddr::from(Ipv4Addr::from(0x0a00_0000 + number))),
            reason: "the token has expired".to_owned(),
        }
    }

    #[test]
    fn who_comes_again_is_counted_and_another_reason_is_another_entry() {
        let list = RefusedList::default();
        for _ in 0..3 {
            list.note(refused(Some("a"), 1));
        }
        list.note(Refused {
            reason: "the token is malformed".to_owned(),
            ..refused(Some("a"), 1)
        });
        let so_far = list.so_far();
        let times: Vec<u64> = so_far.listed.iter().map(|one| one.times).collect();
        assert_eq!((times, so_far.more), (vec![3, 1], 0));
    }

    #[test]
    fn strangers_are_counted_beyond_the_first_and_leave_room_for_names() {
        let list = RefusedList::default();
        for number in 0..1_000 {
            list.note(refused(None, number));
        }
        list.note(refused(Some("a"), 1));
        list.note(refused(None, 0));
        let so_far = list.so_far();
        assert_eq!(so_far.listed.len(), REFUSED_LISTED_MAX + 1);
        assert_eq!(so_far.more, 1_000 - 20);
        assert!(so_far.listed.iter().any(|one| one.refused.name.is_some()));
    }
}
