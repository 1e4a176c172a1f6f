//! Who may be connected at once, so that strangers silence nobody (security.md, "Identity" and "Limits of the wire").
//!
//! A connection is a stranger's until an agent has said `Hello` on it. Strangers have little time and few places, and where
//! there is no place left, the oldest of them goes; an agent's connection never does.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a TLS handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may be there without an agent that has said `Hello`.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Handshakes of one peer address at once.
pub const HANDSHAKES_PER_ADDRESS: usize = 4;

/// Connections of one peer address at once, unless more agents are behind one.
pub const CONNECTIONS_PER_ADDRESS: usize = 8;

/// Connections beyond those of the agents: redials, and strangers.
pub const CONNECTIONS_SPARE: usize = 64;

/// Agents that are expected as long as nobody knows better: the largest cluster (security.md, "Limits of the wire").
pub const EXPECTED_DEFAULT: usize = 5_000;

/// Wrong tokens a second that one peer address may send; beyond, it is not listened to.
pub const WRONG_TOKENS_PER_SECOND: u32 = 5;

/// Peer addresses whose wrong tokens are remembered: a second's worth of a large flood, in about 256 KiB.
const ADDRESSES_MAX: usize = 4_096;

/// How many agents are expected, as far as is known: a run says it once it has read its world.
#[derive(Debug, Clone)]
pub struct Expected(Arc<AtomicUsize>);

impl Default for Expected {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(EXPECTED_DEFAULT)))
    }
}

impl Expected {
    /// Says how many agents are expected.
    pub fn set(&self, agents: usize) {
        self.0.store(agents, Ordering::Relaxed);
    }

    /// Connections at once: 1.2 times the agents, and some to spare.
    fn connections(&self) -> usize {
        let agents = self.0.load(Ordering::Relaxed);
        agents
            .saturating_add(agents / 5)
            .saturating_add(CONNECTIONS_SPARE)
    }
}

/// Keeps the door: cheap to clone, each clone is the same.
#[derive(Debug, Clone)]
pub struct Door {
    places: Arc<Mutex<Places>>,
    expected: Expected,
    per_address: usize,
}

/// Every connection that is there.
#[derive(Debug, Default)]
struct Places {
    next: u64,
    /// By number, so the oldest is first.
    connections: BTreeMap<u64, Connection>,
    wrong_tokens: BTreeMap<IpAddr, Allowance>,
}

/// One connection.
#[derive(Debug)]
struct Connection {
    address: IpAddr,
    stage: Stage,
    /// Since when it is at this stage.
    since: Instant,
    /// Ends it when it is dropped.
    _end: oneshot::Sender<()>,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its TLS handshake is not finished.
    Handshake,
    /// Nobody on it has said `Hello`, or whoever has is gone.
    Stranger,
    /// So many agents are on it.
    Agents(usize),
}

impl Connection {
    fn is_agents(&self) -> bool {
        matches!(self.stage, Stage::Agents(_))
    }

    /// Whether its time is over.
    fn is_late(&self, now: Instant) -> bool {
        let most = match self.stage {
            Stage::Handshake => HANDSHAKE_TIMEOUT,
            Stage::Stranger => HELLO_TIMEOUT,
            Stage::Agents(_) => return false,
        };
        now.saturating_duration_since(self.since) >= most
    }
}

/// What is left of a second's wrong tokens.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    left: u32,
    since: Instant,
}

impl Door {
    /// A door for the agents that are expected, with so many connections for each peer address.
    pub fn new(expected: Expected, per_address: usize) -> Self {
        Self {
            places: Arc::default(),
            expected,
            per_address,
        }
    }

    /// Lets a connection of `address` in, or nobody: too many wrong tokens came from there, or all places are taken by
    /// agents. A stranger may lose its place to it.
    pub fn enter(&self, address: IpAddr, now: Instant) -> Option<Place> {
        let mut places = self.places();
        if places.allowance(address, now).left == 0 {
            return None;
        }
        let of_address = |it: &Connection| it.address == address;
        let handshakes = |it: &Connection| of_address(it) && it.stage == Stage::Handshake;
        places.make_room(HANDSHAKES_PER_ADDRESS, handshakes)?;
        places.make_room(self.per_address, of_address)?;
        places.make_room(self.expected.connections(), |_| true)?;
        let number = places.next;
        places.next += 1;
        let (end, ended) = oneshot::channel();
        let connection = Connection {
            address,
            stage: Stage::Handshake,
            since: now,
            _end: end,
        };
        places.connections.insert(number, connection);
        Some(Place {
            ended,
            ticket: Ticket {
                door: self.clone(),
                number,
                address,
            },
        })
    }

    /// Ends every connection whose time is over.
    pub fn close_late(&self, now: Instant) {
        self.places().connections.retain(|_, it| !it.is_late(now));
    }

    /// How many connections there are, and on how many of them are agents.
    pub fn count(&self) -> (usize, usize) {
        let places = self.places();
        let connections = places.connections.values();
        let agents = connections.filter(|it| it.is_agents()).count();
        (places.connections.len(), agents)
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        // What a thread left behind that failed is sound: no change is left half done.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    /// Makes room for one more among at most `most` connections that `is_one` tells of, if need be by ending the oldest
    /// stranger among them.
    fn make_room(&mut self, most: usize, is_one: impl Fn(&Connection) -> bool) -> Option<()> {
        let ones = self.connections.iter().filter(|(_, it)| is_one(it));
        if ones.clone().count() < most {
            return Some(());
        }
        let oldest = ones.clone().find(|(_, it)| !it.is_agents());
        let number = oldest.map(|(number, _)| *number)?;
        self.connections.remove(&number);
        Some(())
    }

    /// What `address` may still send of wrong tokens now.
    fn allowance(&self, address: IpAddr, now: Instant) -> Allowance {
        let fresh = Allowance {
            left: WRONG_TOKENS_PER_SECOND,
            since: now,
        };
        let known = self.wrong_tokens.get(&address);
        known.map_or(fresh, |known| known.at(now))
    }

    /// Counts a wrong token of `address`; says whether it was the last that is allowed.
    fn wrong_token(&mut self, address: IpAddr, now: Instant) -> bool {
        let mut allowance = self.allowance(address, now);
        allowance.left = allowance.left.saturating_sub(1);
        let is_new = !self.wrong_tokens.contains_key(&address);
        if is_new && self.wrong_tokens.len() >= ADDRESSES_MAX {
            self.wrong_tokens
                .retain(|_, it| it.at(now).left < WRONG_TOKENS_PER_SECOND);
            if self.wrong_tokens.len() >= ADDRESSES_MAX {
                self.wrong_tokens.pop_first();
            }
        }
        self.wrong_tokens.insert(address, allowance);
        allowance.left == 0
    }
}

impl Allowance {
    /// What it is at `now`: whole again for each second, as far as it goes.
    fn at(self, now: Instant) -> Self {
        let passed = now.saturating_duration_since(self.since);
        if passed < Duration::from_secs(1) {
            return self;
        }
        Self {
            left: WRONG_TOKENS_PER_SECOND,
            since: now,
        }
    }
}

/// The place of one connection, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    ended: oneshot::Receiver<()>,
    ticket: Ticket,
}

impl Place {
    /// Completes when the connection has to end.
    pub fn ended(&mut self) -> &mut oneshot::Receiver<()> {
        &mut self.ended
    }

    /// Takes note that the handshake is finished.
    pub fn shaken_hands(&self, now: Instant) {
        self.ticket.change(|stage| match stage {
            Stage::Handshake => Some((Stage::Stranger, now)),
            Stage::Stranger | Stage::Agents(_) => None,
        });
    }

    /// What requests on the connection carry.
    pub fn ticket(&self) -> Ticket {
        self.ticket.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Ticket { door, number, .. } = &self.ticket;
        door.places().connections.remove(number);
    }
}

/// Names the connection of a request.
#[derive(Debug, Clone)]
pub struct Ticket {
    door: Door,
    number: u64,
    address: IpAddr,
}

impl Ticket {
    /// Takes note of a wrong token on the connection, which ends once there were too many.
    pub fn wrong_token(&self, now: Instant) {
        let mut places = self.door.places();
        if places.wrong_token(self.address, now) {
            let connection = places.connections.get(&self.number);
            if connection.is_some_and(|it| !it.is_agents()) {
                places.connections.remove(&self.number);
            }
        }
    }

    /// Changes stage and since when, if the connection is still there.
    fn change(&self, next: impl FnOnce(Stage) -> Option<(Stage, Instant)>) {
        let mut places = self.door.places();
        if let Some(connection) = places.connections.get_mut(&self.number)
            && let Some((stage, since)) = next(connection.stage)
        {
            (connection.stage, connection.since) = (stage, since);
        }
    }
}

/// The seat of a stream on its connection: as long as one is taken, the connection is an agent's.
#[derive(Debug, Default)]
pub struct Seat {
    ticket: Option<Ticket>,
    is_taken: bool,
}

impl Seat {
    /// A seat on the connection of a request; without one, nobody is counted.
    pub fn on(ticket: Option<Ticket>) -> Self {
        Self {
            ticket,
            is_taken: false,
        }
    }

    /// Takes note that an agent has said `Hello`.
    pub fn take(&mut self, now: Instant) {
        if std::mem::replace(&mut self.is_taken, true) {
            return;
        }
        if let Some(ticket) = &self.ticket {
            ticket.change(|stage| {
                let agents = match stage {
                    Stage::Handshake | Stage::Stranger => 1,
                    Stage::Agents(agents) => agents.saturating_add(1),
                };
                Some((Stage::Agents(agents), now))
            });
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let (true, Some(ticket)) = (self.is_taken, &self.ticket) {
            let now = Instant::now();
            ticket.change(|stage| match stage {
                Stage::Agents(agents) if agents > 1 => Some((Stage::Agents(agents - 1), now)),
                Stage::Agents(_) => Some((Stage::Stranger, now)),
                Stage::Handshake | Stage::Stranger => None,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::from(Ipv4Addr::from(0x0a00_0000 + number))
    }

    fn door(agents: usize) -> Door {
        let expected = Expected::default();
        expected.set(agents);
        Door::new(expected, CONNECTIONS_PER_ADDRESS)
    }

    fn is_ended(place: &mut Place) -> bool {
        place
            .ended()
            .try_recv()
            .is_err_and(|error| error == oneshot::error::TryRecvError::Closed)
    }

    /// A connection on which an agent has said hello.
    fn agent(door: &Door, number: u32, now: Instant) -> (Place, Seat) {
        let place = door.enter(address(number), now).unwrap();
        place.shaken_hands(now);
        let mut seat = Seat::on(Some(place.ticket()));
        seat.take(now);
        (place, seat)
    }

    #[tokio::test]
    async fn an_address_has_four_handshakes_and_eight_connections_of_which_the_oldest_goes() {
        let (door, now) = (door(100), Instant::now());
        let mut places = Vec::new();
        for _ in 0..5 {
            places.push(door.enter(address(1), now).unwrap());
        }
        assert_eq!(door.count(), (4, 0));
        assert!(is_ended(places.first_mut().unwrap()));
        for place in &places {
            place.shaken_hands(now);
        }
        for _ in 0..8 {
            let place = door.enter(address(1), now).unwrap();
            place.shaken_hands(now);
            places.push(place);
        }
        assert_eq!(door.count(), (8, 0));
        let ended = places
            .iter_mut()
            .filter_map(|it| is_ended(it).then_some(()));
        assert_eq!(ended.count(), 5);
    }

    #[tokio::test]
    async fn strangers_have_five_and_ten_seconds_and_agents_all_the_time() {
        let (door, now) = (door(100), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut silent = door.enter(address(1), now).unwrap();
        let mut stranger = door.enter(address(2), now).unwrap();
        stranger.shaken_hands(now);
        let (mut place, seat) = agent(&door, 3, now);
        door.close_late(after(4));
        assert!(!is_ended(&mut silent));
        door.close_late(after(5));
        assert!(is_ended(&mut silent) && !is_ended(&mut stranger));
        door.close_late(after(10));
        assert!(is_ended(&mut stranger) && !is_ended(&mut place));
        drop(seat);
        door.close_late(Instant::now() + HELLO_TIMEOUT);
        assert!(is_ended(&mut place));
    }

    #[tokio::test]
    async fn a_full_house_takes_agents_from_strangers_and_never_the_other_way() {
        let (door, now) = (door(10), Instant::now());
        let agents: Vec<_> = (0..10).map(|number| agent(&door, number, now)).collect();
        let strangers: Vec<_> = (100..400)
            .map(|number| door.enter(address(number), now).unwrap())
            .collect();
        assert_eq!(door.count(), (12 + CONNECTIONS_SPARE, 10));
        let late = agent(&door, 11, now);
        assert_eq!(door.count(), (12 + CONNECTIONS_SPARE, 11));
        drop((agents, strangers, late));
        assert_eq!(door.count(), (0, 0));
    }

    #[tokio::test]
    async fn where_agents_have_every_place_nobody_comes_in() {
        let (door, now) = (door(0), Instant::now());
        let spare = u32::try_from(CONNECTIONS_SPARE).unwrap();
        let agents: Vec<_> = (0..spare).map(|number| agent(&door, number, now)).collect();
        assert!(door.enter(address(9_999), now).is_none());
        drop(agents);
        assert!(door.enter(address(9_999), now).is_some());
    }

    #[tokio::test]
    async fn who_sends_five_wrong_tokens_is_not_listened_to_for_a_second() {
        let (door, now) = (door(100), Instant::now());
        let mut place = door.enter(address(1), now).unwrap();
        for wrong in 1..=5 {
            assert!(!is_ended(&mut place), "{wrong}");
            place.ticket().wrong_token(now);
        }
        assert!(is_ended(&mut place));
        assert!(door.enter(address(1), now).is_none());
        assert!(door.enter(address(2), now).is_some());
        assert!(
            door.enter(address(1), now + Duration::from_secs(1))
                .is_some()
        );
    }

    #[tokio::test]
    async fn wrong_tokens_of_a_million_addresses_take_bounded_room() {
        let (door, now) = (door(100), Instant::now());
        for number in 0..100_000 {
            door.places().wrong_token(address(number), now);
        }
        assert_eq!(door.places().wrong_tokens.len(), ADDRESSES_MAX);
    }
}
