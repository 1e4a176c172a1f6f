//! When probes are handed out, so that neither a target nor an agent has more attempts a second than it may
//! (security.md, "Limits of probing").
//!
//! Time goes by in turns. A turn first pays for the later attempts of probes that are under way, since those start by
//! themselves; new probes get what is left. A probe is handed out only if the turns of its later attempts have room for
//! them, too; what an answer makes needless is given back.
//!
//! An attempt is a connection. The kernel may repeat the SYN of a silent one, twice within the deadline; those are not
//! counted, as they are not in the agents' own pace.
//!
//! TLS handshakes at control-plane interfaces are rarer still: each is reserved in a calendar before it starts. Those that the
//! model expects no answer to have a calendar of their own, or silence, which is no handshake, would keep the others waiting
//! for longer than a small run takes. Limit: where predicted silence is answered all the same, an interface has up to as many
//! handshakes again, until the run is over.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::IpAddr;
use std::time::Duration;

use reachproof_model::observation::AgentName;
use tokio::time::Instant;

use super::probe::Piece;
use super::session::{SESSION_WINDOW, SESSIONS_MAX, Sessions};

/// Shortest time between two turns.
pub const TURN: Duration = Duration::from_millis(100);

/// How many of them fit into a second; also what an attempt costs of an allowance.
const TURNS_PER_SECOND: i64 = 10;

/// Most attempts a second at one target address, over all agents (security.md, "Limits of probing").
pub const TARGET_ATTEMPTS_PER_SECOND: u32 = 50;

/// Most attempts a second that any agent is given, whatever it says that it can take (security.md, "Limits of
/// probing").
pub const AGENT_ATTEMPTS_PER_SECOND_MAX: u32 = 100;

/// What one agent or target may still take, in attempts times [`TURNS_PER_SECOND`]; below zero it has to wait.
#[derive(Debug, Clone)]
struct Allowance {
    left: i64,
    rate: i64,
    /// Attempts that start by themselves, by the turn in which they do.
    reserved: BTreeMap<u64, i64>,
}

impl Allowance {
    fn new(rate: u32) -> Self {
        Self {
            left: 0,
            rate: i64::from(rate),
            reserved: BTreeMap::new(),
        }
    }

    /// What a turn adds. Nothing but a part of an attempt is saved up, however late the turn comes.
    fn refill(&mut self, turn: u64) {
        self.left = (self.left + self.rate).min(self.rate + TURNS_PER_SECOND - 1);
        self.reserved = self.reserved.split_off(&turn);
    }

    /// Whether it can take an attempt now, and one more in each of `later`.
    fn has_room(&self, later: &[u64]) -> bool {
        let most = (self.rate / TURNS_PER_SECOND).max(1);
        let is_free = |turn| self.reserved.get(turn).is_none_or(|count| *count < most);
        self.left >= TURNS_PER_SECOND && later.iter().all(is_free)
    }

    fn pay(&mut self) {
        self.left -= TURNS_PER_SECOND;
    }

    /// Takes note of attempts that start by themselves, or, with -1, of as many that do not.
    fn reserve(&mut self, later: &[u64], count: i64) {
        for turn in later {
            *self.reserved.entry(*turn).or_default() += count;
        }
    }
}

/// Most attempts of a piece for which turns are reserved.
const RESERVED_MAX: u32 = 16;

/// What a piece needs to be paced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paced<'a> {
    pub(super) piece: Piece,
    pub(super) agent: &'a AgentName,
    pub(super) target: IpAddr,
    pub(super) attempts: u32,
    /// Time between the starts of two of them.
    pub(super) interval: Duration,
    pub(super) load: Load,
    pub(super) turn: Turn,
}

/// Whether the attempts of a piece take part in the pace of their agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// They do.
    Paced,
    /// The agent makes them when they are due, beside all others (`control.proto`, `Probe.beside`).
    Beside,
}

/// What the attempts of a piece are to their target, beside connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// Nothing.
    Connections,
    /// A TLS handshake at its start, if any: an answer ends the piece, or silence is likely. Such pieces are kept apart from
    /// each other alone.
    Session,
    /// A TLS handshake each.
    Sessions,
    /// A TLS handshake each, for as long as the run goes on: away from other such pieces.
    Pulse,
}

/// A piece, and the places of its agent and its target.
#[derive(Debug, Clone, Copy)]
struct Place {
    piece: Piece,
    agent: usize,
    target: usize,
    attempts: u32,
    interval: Duration,
    load: Load,
    turn: Turn,
    handed_out: Option<Instant>,
}

impl Place {
    /// How many TLS handshakes are to be expected.
    fn handshakes(self) -> u32 {
        match self.load {
            Load::Connections => 0,
            Load::Session => 1,
            Load::Sessions | Load::Pulse => self.attempts,
        }
    }

    /// When TLS handshakes are to be expected if it is handed out `now`.
    fn sessions(self, now: Instant) -> impl Iterator<Item = Instant> {
        let count = self.handshakes();
        (0..count).map(move |number| now + self.interval.saturating_mul(number))
    }
}

/// What one target may still take.
#[derive(Debug, Clone)]
struct Target {
    connections: Allowance,
    sessions: Sessions,
    /// Those that are only possible: of [`Load::Session`].
    possible: Sessions,
}

/// The pieces of a run on their way to the agents.
#[derive(Debug, Default)]
pub(super) struct Pace {
    rates: BTreeMap<AgentName, u32>,
    pieces: Vec<Place>,
    agents: Vec<(AgentName, Allowance)>,
    targets: Vec<Target>,
    places: BTreeMap<Piece, usize>,
    agent_places: BTreeMap<AgentName, usize>,
    target_places: BTreeMap<IpAddr, usize>,
    /// Pieces that were not handed out, in the order in which they were added.
    waiting: Vec<usize>,
    /// Attempts that start by themselves: when, of which piece, and how many come after.
    later: BinaryHeap<Reverse<(Instant, usize, u32)>>,
    /// From when on turns are counted.
    epoch: Option<Instant>,
}

impl Pace {
    /// A pace without pieces, of agents that take so many attempts a second.
    pub(super) fn new(rates: BTreeMap<AgentName, u32>) -> Self {
        Self {
            rates,
            ..Self::default()
        }
    }

    /// Lets a piece wait.
    pub(super) fn add(&mut self, paced: Paced<'_>) {
        let (agent, target) = (self.agent(paced.agent), self.target(paced.target));
        self.waiting.push(self.pieces.len());
        self.places.insert(paced.piece, self.pieces.len());
        self.pieces.push(Place {
            piece: paced.piece,
            agent,
            target,
            attempts: paced.attempts,
            interval: paced.interval,
            load: paced.load,
            turn: paced.turn,
            handed_out: None,
        });
    }

    /// The place of an agent, made at first use.
    fn agent(&mut self, name: &AgentName) -> usize {
        *self.agent_places.entry(name.clone()).or_insert_with(|| {
            let rate = self.rates.get(name).copied().unwrap_or(1);
            let rate = rate.clamp(1, AGENT_ATTEMPTS_PER_SECOND_MAX);
            self.agents.push((name.clone(), Allowance::new(rate)));
            self.agents.len() - 1
        })
    }

    /// The place of a target, made at first use.
    fn target(&mut self, address: IpAddr) -> usize {
        *self.target_places.entry(address).or_insert_with(|| {
            self.targets.push(Target {
                connections: Allowance::new(TARGET_ATTEMPTS_PER_SECOND),
                sessions: Sessions::default(),
                possible: Sessions::default(),
            });
            self.targets.len() - 1
        })
    }

    /// Longest time until the last probe is handed out while every agent takes what it is given.
    ///
    /// A probe waits only in turns that its agent or its target has used up.
    pub(super) fn longest(&self) -> Duration {
        let mut agents = vec![0_u32; self.agents.len()];
        let mut targets = vec![0_u32; self.targets.len()];
        let mut sessions = targets.clone();
        for place in &self.pieces {
            let of_agent = match place.turn {
                Turn::Paced => place.attempts,
                Turn::Beside => 0,
            };
            for (counts, at, more) in [
                (&mut agents, place.agent, of_agent),
                (&mut targets, place.target, place.attempts),
                (&mut sessions, place.target, place.handshakes()),
            ] {
                if let Some(count) = counts.get_mut(at) {
                    *count = count.saturating_add(more);
                }
            }
        }
        let agents = agents.iter().zip(self.agents.iter().map(|(_, one)| one));
        let allowances = self.targets.iter().map(|target| &target.connections);
        let most = sessions.into_iter().max().unwrap_or_default();
        longest(agents) + longest(targets.iter().zip(allowances)) + SESSION_WINDOW * most
    }

    /// Does a turn: returns the pieces to hand out now, of agents that `is_there` says can take them.
    ///
    /// `is_over` tells of pieces under way whether later attempts are off.
    pub(super) fn turn(
        &mut self,
        now: Instant,
        is_over: impl Fn(Piece) -> bool,
        is_there: impl Fn(&AgentName) -> bool,
    ) -> Vec<Piece> {
        let turn = self.number(now);
        for (_, allowance) in &mut self.agents {
            allowance.refill(turn);
        }
        for target in &mut self.targets {
            target.connections.refill(turn);
        }
        self.pay_later(now + TURN, is_over);
        let there: Vec<bool> = self.agents.iter().map(|(name, _)| is_there(name)).collect();
        let waiting = std::mem::take(&mut self.waiting);
        let (mut left, mut out) = (Vec::with_capacity(waiting.len()), Vec::new());
        for number in waiting {
            match self.hand_out(number, &there, now) {
                Some(piece) => out.push(piece),
                None => left.push(number),
            }
        }
        self.waiting = left;
        out
    }

    /// Pays for attempts that start by themselves before `until`.
    fn pay_later(&mut self, until: Instant, is_over: impl Fn(Piece) -> bool) {
        while let Some(Reverse((due, number, more))) = self.later.peek().copied()
            && due < until
        {
            self.later.pop();
            let Some(place) = self.pieces.get(number).copied() else {
                continue;
            };
            if is_over(place.piece) {
                continue;
            }
            self.pay(place);
            if more > 0 {
                let next = (due + place.interval, number, more - 1);
                self.later.push(Reverse(next));
            }
        }
    }

    /// Hands a piece out if its agent is there, and agent and target can take it.
    fn hand_out(&mut self, number: usize, there: &[bool], now: Instant) -> Option<Piece> {
        let place = self.pieces.get(number).copied()?;
        let later = self.later_turns(place, now);
        let (_, agent) = self.agents.get(place.agent)?;
        let target = self.targets.get_mut(place.target)?;
        let agent_has_room = place.turn == Turn::Beside || agent.has_room(&later);
        let has_room = agent_has_room && target.connections.has_room(&later);
        if !has_room || !*there.get(place.agent)? {
            return None;
        }
        let most = match place.load {
            Load::Connections | Load::Session | Load::Sessions => SESSIONS_MAX,
            Load::Pulse => 1,
        };
        let sessions = match place.load {
            Load::Session => &mut target.possible,
            Load::Connections | Load::Sessions | Load::Pulse => &mut target.sessions,
        };
        if !sessions.have_room(place.sessions(now), most) {
            return None;
        }
        sessions.reserve(place.sessions(now));
        self.pay(place);
        self.reserve(place, &later, 1);
        if let Some(place) = self.pieces.get_mut(number) {
            place.handed_out = Some(now);
        }
        // The first attempt starts now, one of the others comes next.
        if let Some(more) = place.attempts.checked_sub(2) {
            let next = (now + place.interval, number, more);
            self.later.push(Reverse(next));
        }
        Some(place.piece)
    }

    /// The number of the turn at a time.
    fn number(&mut self, time: Instant) -> u64 {
        let epoch = *self.epoch.get_or_insert(time);
        let turns = time.saturating_duration_since(epoch).as_millis() / TURN.as_millis();
        u64::try_from(turns).unwrap_or(u64::MAX)
    }

    /// The turns of the later attempts of a piece that is handed out `now`. Those of a pulse are few and go on for long:
    /// nothing is reserved for them.
    fn later_turns(&mut self, place: Place, now: Instant) -> Vec<u64> {
        let count = if place.attempts > RESERVED_MAX {
            1
        } else {
            place.attempts
        };
        let times = (1..count).map(|number| now + place.interval.saturating_mul(number));
        times.map(|time| self.number(time)).collect()
    }

    /// Takes note of later attempts, or, with -1, that they are off.
    fn reserve(&mut self, place: Place, later: &[u64], count: i64) {
        if let (Turn::Paced, Some((_, agent))) = (place.turn, self.agents.get_mut(place.agent)) {
            agent.reserve(later, count);
        }
        if let Some(target) = self.targets.get_mut(place.target) {
            target.connections.reserve(later, count);
        }
    }

    /// Gives back what was reserved for a piece after `now`, since nothing more comes of it.
    pub(super) fn ended(&mut self, piece: Piece, now: Instant) {
        let number = self.places.get(&piece).copied();
        let place = number.and_then(|number| self.pieces.get_mut(number));
        let Some((place, handed_out)) =
            place.and_then(|place| Some((*place, place.handed_out.take()?)))
        else {
            return;
        };
        let now = self.number(now);
        let mut later = self.later_turns(place, handed_out);
        later.retain(|turn| *turn > now);
        self.reserve(place, &later, -1);
    }

    fn pay(&mut self, place: Place) {
        if let (Turn::Paced, Some((_, agent))) = (place.turn, self.agents.get_mut(place.agent)) {
            agent.pay();
        }
        if let Some(target) = self.targets.get_mut(place.target) {
            target.connections.pay();
        }
    }

    /// Pays for pieces that are handed out a second time, whether or not there is room.
    pub(super) fn again(&mut self, pieces: &BTreeSet<Piece>) {
        let places = self.pieces.iter().copied();
        let again: Vec<Place> = places
            .filter(|place| pieces.contains(&place.piece))
            .collect();
        for place in again {
            self.pay(place);
        }
    }

    /// Lets pieces wait again that their agent has lost.
    pub(super) fn lost(&mut self, pieces: &BTreeSet<Piece>, now: Instant) {
        for piece in pieces {
            self.ended(*piece, now);
        }
        let waiting: BTreeSet<usize> = self.waiting.iter().copied().collect();
        let lost =
            self.pieces.iter().enumerate().filter(|(number, place)| {
                pieces.contains(&place.piece) && !waiting.contains(number)
            });
        self.waiting.extend(lost.map(|(number, _)| number));
        // They start anew, so nothing of them comes by itself.
        let places = &self.pieces;
        self.later.retain(|Reverse((_, number, _))| {
            places
                .get(*number)
                .is_some_and(|place| !pieces.contains(&place.piece))
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
