//! When probes are handed out, so that neither a target nor an agent has more attempts a second than it may (SECURITY
//! D.3).
//!
//! Time goes by in turns. A turn first pays for the later attempts of probes that are under way, since those start by
//! themselves; new probes get what is left. So repeated attempts need no allowance of their own: at most as many fall
//! into a turn as there were attempts one interval before, and new ones only fill it up.
//!
//! An attempt is a connection. The kernel may repeat the SYN of a silent one, twice within the deadline; those are not
//! counted, as they are not in the agents' own pace.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::IpAddr;
use std::time::Duration;

use reachproof_model::observation::AgentName;
use reachproof_model::plan::{ATTEMPT_INTERVAL, ATTEMPTS, ProbeId};
use tokio::time::Instant;

/// Shortest time between two turns.
pub const TURN: Duration = Duration::from_millis(100);

/// How many of them fit into a second; also what an attempt costs of an allowance.
const TURNS_PER_SECOND: i64 = 10;

/// Most attempts a second at one target address, over all agents (SECURITY D.3).
pub const TARGET_ATTEMPTS_PER_SECOND: u32 = 50;

/// Most attempts a second that any agent is given, whatever it says that it can take (SECURITY D.3).
pub const AGENT_ATTEMPTS_PER_SECOND_MAX: u32 = 100;

/// What one agent or target may still take, in attempts times [`TURNS_PER_SECOND`]; below zero it has to wait.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    left: i64,
    rate: i64,
}

impl Allowance {
    fn new(rate: u32) -> Self {
        Self {
            left: 0,
            rate: i64::from(rate),
        }
    }

    /// What a turn adds. Nothing but a part of an attempt is saved up, however late the turn comes.
    fn refill(&mut self) {
        self.left = (self.left + self.rate).min(self.rate + TURNS_PER_SECOND - 1);
    }

    fn has_room(self) -> bool {
        self.left >= TURNS_PER_SECOND
    }

    fn pay(&mut self) {
        self.left -= TURNS_PER_SECOND;
    }
}

/// A probe, and the places of its agent and its target.
#[derive(Debug, Clone, Copy)]
struct Place {
    probe: ProbeId,
    agent: usize,
    target: usize,
}

/// What a probe needs to be paced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paced<'a> {
    pub(super) probe: ProbeId,
    pub(super) agent: &'a AgentName,
    pub(super) target: IpAddr,
}

/// The probes of a run on their way to the agents.
#[derive(Debug)]
pub(super) struct Pace {
    probes: Vec<Place>,
    agents: Vec<(AgentName, Allowance)>,
    targets: Vec<Allowance>,
    /// Probes that were not handed out, in the order of the plan.
    waiting: Vec<usize>,
    /// Attempts that start by themselves: when, of which probe, and how many come after.
    later: BinaryHeap<Reverse<(Instant, usize, u32)>>,
}

impl Pace {
    /// The pace of `probes`, of which each agent takes as many attempts a second as `rate` says.
    pub(super) fn new<'a>(
        probes: impl IntoIterator<Item = Paced<'a>>,
        rate: impl Fn(&AgentName) -> u32,
    ) -> Self {
        let mut pace = Self {
            probes: Vec::new(),
            agents: Vec::new(),
            targets: Vec::new(),
            waiting: Vec::new(),
            later: BinaryHeap::new(),
        };
        let mut agents: BTreeMap<AgentName, usize> = BTreeMap::new();
        let mut targets: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for paced in probes {
            let agent = *agents.entry(paced.agent.clone()).or_insert_with(|| {
                let rate = rate(paced.agent).clamp(1, AGENT_ATTEMPTS_PER_SECOND_MAX);
                pace.agents
                    .push((paced.agent.clone(), Allowance::new(rate)));
                pace.agents.len() - 1
            });
            let target = *targets.entry(paced.target).or_insert_with(|| {
                pace.targets
                    .push(Allowance::new(TARGET_ATTEMPTS_PER_SECOND));
                pace.targets.len() - 1
            });
            pace.waiting.push(pace.probes.len());
            pace.probes.push(Place {
                probe: paced.probe,
                agent,
                target,
            });
        }
        pace
    }

    /// Longest time until the last probe is handed out while every agent takes what it is given.
    ///
    /// A probe waits only in turns that its agent or its target has used up.
    pub(super) fn longest(&self) -> Duration {
        let mut agents = vec![0_u32; self.agents.len()];
        let mut targets = vec![0_u32; self.targets.len()];
        for place in &self.probes {
            for (counts, at) in [(&mut agents, place.agent), (&mut targets, place.target)] {
                if let Some(count) = counts.get_mut(at) {
                    *count = count.saturating_add(ATTEMPTS);
                }
            }
        }
        let agents = agents.iter().zip(self.agents.iter().map(|(_, one)| one));
        let targets = targets.iter().zip(&self.targets);
        longest(agents) + longest(targets)
    }

    /// Does a turn: returns the probes to hand out now, of agents that `is_there` says can take them.
    ///
    /// `is_finished` tells of probes under way whether later attempts are off.
    pub(super) fn turn(
        &mut self,
        now: Instant,
        is_finished: impl Fn(ProbeId) -> bool,
        is_there: impl Fn(&AgentName) -> bool,
    ) -> Vec<ProbeId> {
        for (_, allowance) in &mut self.agents {
            allowance.refill();
        }
        self.targets.iter_mut().for_each(Allowance::refill);
        self.pay_later(now + TURN, is_finished);
        let there: Vec<bool> = self.agents.iter().map(|(name, _)| is_there(name)).collect();
        let waiting = std::mem::take(&mut self.waiting);
        let (mut left, mut out) = (Vec::with_capacity(waiting.len()), Vec::new());
        for number in waiting {
            match self.hand_out(number, &there, now) {
                Some(probe) => out.push(probe),
                None => left.push(number),
            }
        }
        self.waiting = left;
        out
    }

    /// Pays for attempts that start by themselves before `until`.
    fn pay_later(&mut self, until: Instant, is_finished: impl Fn(ProbeId) -> bool) {
        while let Some(Reverse((due, number, more))) = self.later.peek().copied()
            && due < until
        {
            self.later.pop();
            let Some(place) = self.probes.get(number).copied() else {
                continue;
            };
            if is_finished(place.probe) {
                continue;
            }
            self.pay(place);
            if more > 0 {
                let next = (due + ATTEMPT_INTERVAL, number, more - 1);
                self.later.push(Reverse(next));
            }
        }
    }

    /// Hands a probe out if its agent is there, and agent and target can take it.
    fn hand_out(&mut self, number: usize, there: &[bool], now: Instant) -> Option<ProbeId> {
        let place = self.probes.get(number).copied()?;
        let (_, agent) = self.agents.get(place.agent)?;
        let target = self.targets.get(place.target)?;
        if !*there.get(place.agent)? || !agent.has_room() || !target.has_room() {
            return None;
        }
        self.pay(place);
        // The first attempt starts now, one of the others comes next.
        if let Some(more) = ATTEMPTS.checked_sub(2) {
            let next = (now + ATTEMPT_INTERVAL, number, more);
            self.later.push(Reverse(next));
        }
        Some(place.probe)
    }

    fn pay(&mut self, place: Place) {
        if let Some((_, agent)) = self.agents.get_mut(place.agent) {
            agent.pay();
        }
        if let Some(target) = self.targets.get_mut(place.target) {
            target.pay();
        }
    }

    /// Pays for probes that are handed out a second time, whether or not there is room.
    pub(super) fn again(&mut self, probes: &BTreeSet<ProbeId>) {
        let places = self.probes.iter().copied();
        let again: Vec<Place> = places
            .filter(|place| probes.contains(&place.probe))
            .collect();
        for place in again {
            self.pay(place);
        }
    }

    /// Lets probes wait again that their agent has lost.
    pub(super) fn lost(&mut self, probes: &BTreeSet<ProbeId>) {
        let waiting: BTreeSet<usize> = self.waiting.iter().copied().collect();
        let lost =
            self.probes.iter().enumerate().filter(|(number, place)| {
                probes.contains(&place.probe) && !waiting.contains(number)
            });
        self.waiting.extend(lost.map(|(number, _)| number));
        // They start anew, so nothing of them comes by itself.
        let places = &self.probes;
        self.later.retain(|Reverse((_, number, _))| {
            places
                .get(*number)
                .is_some_and(|place| !probes.contains(&place.probe))
        });
    }
}

/// Time that the longest of some attempts take, one after the other.
fn longest<'a>(counts: impl Iterator<Item = (&'a u32, &'a Allowance)>) -> Duration {
    let seconds = counts.map(|(count, allowance)| {
        let rate = u32::try_from(allowance.rate).unwrap_or(u32::MAX).max(1);
        Duration::from_secs(u64::from(count.div_ceil(rate)))
    });
    seconds.max().unwrap_or_default()
}
