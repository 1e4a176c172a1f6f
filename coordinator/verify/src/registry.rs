//! Who has dialled in: one live stream for each agent, and what was acknowledged of its batches.
//!
//! Knows no plan and judges nothing. Time is passed in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use reachproof_model::observation::AgentName;
use reachproof_model::plan::RosterAgent;
use reachproof_proto::v1;
use reachproof_proto::v1::agent_message::Body;
use reachproof_proto::v1::coordinator_message::Body as Reply;
use tokio::time::Instant;
use tonic::Status;
use tracing::{info, warn};

use crate::control::Outgoing;
use crate::door::Seat;
use crate::identity::{Identity, Refusal};
use crate::letter::{Letter, Receipt};
use crate::refused::{Refused, RefusedList};
use crate::territory::Territory;
use crate::wire::observations::attempts;
use crate::wire::signs::{beat, drops};
use crate::wire::{Greeting, InvalidMessage, accepts, endpoint, listen_failures};

pub use dropped::Dropped;
pub use news::News;

mod dropped;
mod news;

/// Longest silence of an agent, in milliseconds: as the keep-alive, which notices a dead stream. An agent that has nothing
/// to do must cost nothing (ARCHITECTURE, "The instrument"); who has to hear of it sooner sets a fence.
pub const HEARTBEAT_INTERVAL_MS: u32 = 15_000;

/// Agents that may dial back per second after the coordinator was away (security.md, "Limits of the wire"); sets the
/// window in `Welcome`.
pub const RECONNECTS_PER_SECOND: usize = 50;

/// News, and the receipt of the batch that brought it.
type Told = (News, Option<Receipt>);

/// Names one stream of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Who opened a stream.
#[derive(Debug)]
pub struct Caller {
    /// The agent, as its token says.
    pub identity: Identity,
    /// Where messages to it go.
    pub outgoing: Outgoing,
    /// Where the stream came from.
    pub remote: Option<IpAddr>,
    /// Its seat on its connection.
    pub seat: Seat,
}

/// One agent.
#[derive(Debug)]
pub struct Member {
    /// Who it is.
    pub identity: Identity,
    /// What it says of itself.
    pub greeting: Greeting,
    /// Where its stream came from.
    pub remote: Option<IpAddr>,
    /// When its last message came.
    pub heard: Instant,
    /// Results that it dropped since it started, by its own count.
    pub results_lost: u64,
    /// Batches that were skipped or could not be read.
    pub batches_lost: u64,
    link: Option<Link>,
    /// Pings over its stream.
    pings: u64,
    /// The last batch that came; none before the first. What was before the first was another coordinator's: an agent sends
    /// again all that nobody acknowledged, in order.
    sequence: Option<u64>,
    /// Batches that came and are not acknowledged: their receipts are out.
    under_way: BTreeSet<u64>,
}

impl Member {
    /// The agent with the address of its stream, for a roster.
    pub fn roster_agent(&self) -> RosterAgent {
        let said = &self.greeting.agent;
        RosterAgent {
            name: self.identity.name.clone(),
            node: self.identity.node.clone().or_else(|| said.node.clone()),
            kind: self.identity.kind,
            addresses: self.identity.addresses.clone(),
            stream_address: self.remote,
            ..said.clone()
        }
    }

    /// The last batch up to which all are counted or stored, or wanted by nobody.
    fn acknowledged(&self) -> u64 {
        let first = self.under_way.first();
        first.map_or(self.sequence.unwrap_or_default(), |open| {
            open.saturating_sub(1)
        })
    }
}

/// The live stream of an agent.
#[derive(Debug)]
struct Link {
    stream: StreamId,
    outgoing: Outgoing,
    /// Keeps the connection an agent's.
    _seat: Seat,
}

/// Streams and agents.
#[derive(Debug, Default)]
pub struct Registry {
    members: BTreeMap<AgentName, Member>,
    streams: BTreeMap<StreamId, Stream>,
    /// Where agents may be; absent until a world was read.
    territory: Option<Territory>,
    refused: RefusedList,
    dropped: Dropped,
}

/// One open stream.
#[derive(Debug)]
enum Stream {
    /// `Hello` has not come.
    New(Caller),
    /// It is the live stream of this agent.
    Attached(AgentName),
}

impl Registry {
    /// The agents, by name.
    pub fn members(&self) -> &BTreeMap<AgentName, Member> {
        &self.members
    }

    /// Those who were not let in.
    pub fn refused(&self) -> &RefusedList {
        &self.refused
    }

    /// Results that nobody counted.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Takes note of an attempt that its agent was not asked for.
    pub fn drop_unasked(&mut self) {
        self.dropped.unasked += 1;
    }

    /// Takes note of a batch that no run wants, and acknowledges it.
    pub fn drop_batch(&mut self, receipt: Receipt) {
        self.dropped.of_no_run += 1;
        self.acknowledge(receipt);
    }

    /// Whether `agent` has a live stream.
    pub fn is_attached(&self, agent: &AgentName) -> bool {
        let member = self.members.get(agent);
        member.is_some_and(|member| member.link.is_some())
    }

    /// Takes note of a new stream; its first message must be `Hello`.
    pub fn opened(&mut self, stream: StreamId, caller: Caller) {
        self.streams.insert(stream, Stream::New(caller));
    }

    /// Takes note that a stream ended; an agent that may still listen hears `status`. It stays known: it may come back.
    pub fn closed(&mut self, stream: StreamId, status: Option<Status>) {
        let outgoing = match self.streams.remove(&stream) {
            Some(Stream::New(caller)) => Some(caller.outgoing),
            Some(Stream::Attached(name)) => {
                info!(agent = %name, "stream ended");
                let member = self.members.get_mut(&name);
                let link =
                    member.and_then(|member| member.link.take_if(|live| live.stream == stream));
                link.map(|link| link.outgoing)
            }
            None => None,
        };
        if let (Some(outgoing), Some(status)) = (outgoing, status) {
            // A full queue belongs to an agent that does not listen.
            drop(outgoing.try_send(Err(status)));
        }
    }

    /// Takes one message. A stream that breaks the rules is ended with a status that says why.
    pub fn message(
        &mut self,
        stream: StreamId,
        message: v1::AgentMessage,
        now: Instant,
    ) -> Option<Letter> {
        match self.take(stream, message, now) {
            Ok(told) => told.map(|(news, receipt)| Letter {
                news,
                at: now,
                receipt,
            }),
            Err(status) => {
                warn!(code = ?status.code(), reason = status.message(), "stream refused");
                self.closed(stream, Some(status));
                None
            }
        }
    }

    /// Sends `body` to `agent`, if it has a live stream.
    pub fn send(&mut self, agent: &AgentName, body: Reply) {
        let Some(member) = self.members.get_mut(agent) else {
            return;
        };
        let message = v1::CoordinatorMessage { body: Some(body) };
        if let Some(link) = &member.link
            && link.outgoing.try_send(Ok(message)).is_err()
        {
            // A full queue is a reader that is too slow: it loses the stream, and with it no message, since what was
            // not acknowledged is sent again (security.md, "Limits of the wire").
            warn!(agent = %agent, "stream dropped, it does not take messages");
            self.streams.remove(&link.stream);
            member.link = None;
        }
    }

    /// Pings `agent` and returns the number of the ping; absent if it has no live stream.
    pub fn ping(&mut self, agent: &AgentName) -> Option<u64> {
        let member = self.members.get_mut(agent)?;
        member.pings += 1;
        let number = member.pings;
        self.send(agent, Reply::Ping(v1::Ping { number }));
        self.is_attached(agent).then_some(number)
    }

    /// Takes note that a batch was counted or stored, or that nobody wants it, and tells its agent.
    pub fn acknowledge(&mut self, receipt: Receipt) {
        let member = self.members.get_mut(&receipt.agent);
        // The receipt of a process that is gone says nothing about its successor's batches.
        let Some(member) = member.filter(|member| member.greeting.boot == receipt.boot) else {
            return;
        };
        member.under_way.remove(&receipt.sequence);
        self.send_acknowledgement(&receipt.agent);
    }

    /// Takes note of where agents may be; those that are elsewhere are sent away and forgotten.
    pub fn enter(&mut self, territory: Territory) {
        let elsewhere = |member: &mut Member| territory.stranger(&member.identity.addresses);
        let mut away = Vec::new();
        for (name, member) in &mut self.members {
            if let Some(address) = elsewhere(member) {
                away.push((name.clone(), Refusal::NotInSnapshot { address }));
            }
        }
        for (name, refusal) in away {
            warn!(agent = %name, %refusal, "agent sent away");
            let member = self.members.remove(&name);
            self.refused.note(Refused {
                name: Some(name),
                from: member.as_ref().and_then(|member| member.remote),
                reason: refusal.to_string(),
            });
            if let Some(link) = member.and_then(|member| member.link) {
                self.streams.remove(&link.stream);
                drop(link.outgoing.try_send(Err(refusal.into())));
            }
        }
        self.territory = Some(territory);
    }

    /// Forgets every agent that has no live stream and was not heard since `since`: it left, and whoever comes in its place
    /// is expected anew. Not for an instant at which a run is under way.
    pub fn forget_gone(&mut self, since: Instant) {
        self.members
            .retain(|_, member| member.link.is_some() || member.heard >= since);
    }

    /// Ends every stream.
    pub fn close(&mut self) {
        self.streams.clear();
        for member in self.members.values_mut() {
            member.link = None;
        }
    }

    /// What [`Self::message`] does, with the status that ends the stream.
    fn take(
        &mut self,
        stream: StreamId,
        message: v1::AgentMessage,
        now: Instant,
    ) -> Result<Option<Told>, Status> {
        let body = message.body.ok_or_else(|| refusal(&InvalidMessage::Body))?;
        match (self.streams.get(&stream), body) {
            // The stream was ended here and its last messages are still under way.
            (None, _) => Ok(None),
            (Some(Stream::New(caller)), Body::Hello(hello)) => {
                let greeting =
                    Greeting::try_from(hello).inspect_err(|error| self.note(caller, error));
                let greeting = greeting.map_err(|error| refusal(&error))?;
                let admitted = self.admits(&caller.identity, &greeting);
                admitted.inspect_err(|refusal| self.note(caller, refusal))?;
                Ok(self.greet(stream, greeting, now).map(unreceipted))
            }
            (Some(Stream::New(_)), _) => {
                Err(Status::invalid_argument("the first message must be hello"))
            }
            (Some(Stream::Attached(_)), Body::Hello(_)) => {
                Err(Status::invalid_argument("hello may come once"))
            }
            (Some(Stream::Attached(name)), body) => {
                let name = name.clone();
                self.report(name, body, now)
            }
        }
    }

    /// Takes note of an agent that is not let in.
    fn note(&self, caller: &Caller, reason: &impl ToString) {
        let (agent, reason) = (&caller.identity.name, reason.to_string());
        warn!(%agent, remote = ?caller.remote, reason, "agent refused");
        self.refused.note(Refused {
            name: Some(agent.clone()),
            from: caller.remote,
            reason,
        });
    }

    /// Whether an agent may come in: it is who it says, where agents may be, and nobody else has its name.
    fn admits(&self, identity: &Identity, greeting: &Greeting) -> Result<(), Refusal> {
        identity.check(&greeting.agent)?;
        let territory = self.territory.as_ref();
        if let Some(address) = territory.and_then(|all| all.stranger(&identity.addresses)) {
            return Err(Refusal::NotInSnapshot { address });
        }
        match self.members.get(&identity.name) {
            Some(member) if member.link.is_some() && member.identity.source != identity.source => {
                Err(Refusal::NameTaken)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Makes `stream` the live stream of the agent that greets; an older one of the same agent is ended.
    fn greet(&mut self, stream: StreamId, greeting: Greeting, now: Instant) -> Option<News> {
        let name = greeting.agent.name.clone();
        let Some(Stream::New(Caller {
            identity,
            outgoing,
            remote,
            mut seat,
        })) = self.streams.insert(stream, Stream::Attached(name.clone()))
        else {
            return None;
        };
        seat.take(now);
        let mut older = self.members.remove(&name);
        if let Some(link) = older.as_mut().and_then(|member| member.link.take()) {
            self.streams.remove(&link.stream);
            drop(
                link.outgoing
                    .try_send(Err(Status::aborted("a newer stream took over"))),
            );
        }
        let is_known = older.is_some();
        let same = older
            .filter(|member| member.greeting.boot == greeting.boot && member.identity == identity);
        let news = match (&same, is_known) {
            (Some(_), _) => News::Resumed(name.clone()),
            (None, true) => News::Restarted(name.clone()),
            (None, false) => News::Arrived(name.clone()),
        };
        let member = Member {
            results_lost: same.as_ref().map_or(0, |member| member.results_lost),
            batches_lost: same.as_ref().map_or(0, |member| member.batches_lost),
            sequence: same.as_ref().and_then(|member| member.sequence),
            under_way: same.map_or_else(BTreeSet::new, |member| member.under_way),
            identity,
            greeting,
            remote,
            heard: now,
            link: Some(Link {
                stream,
                outgoing,
                _seat: seat,
            }),
            pings: 0,
        };
        let welcome = welcome(&member, self.members.len() + 1);
        self.members.insert(name.clone(), member);
        self.send(&name, welcome);
        Some(news)
    }

    /// Takes what an attached agent reports.
    fn report(
        &mut self,
        agent: AgentName,
        body: Body,
        now: Instant,
    ) -> Result<Option<Told>, Status> {
        let Some(member) = self.members.get_mut(&agent) else {
            return Ok(None);
        };
        member.heard = now;
        let news = match body {
            Body::Hello(_) => return Ok(None),
            Body::Heartbeat(heartbeat) => {
                member.results_lost = member.results_lost.max(heartbeat.results_lost);
                let beat = beat(&heartbeat).map_err(|error| refusal(&error))?;
                let from = member.remote;
                News::Beat { agent, from, beat }
            }
            Body::Listening(report) => News::Listening {
                agent,
                failures: listen_failures(&report).map_err(|error| refusal(&error))?,
                run: report.run,
            },
            Body::Fence(report) => {
                member.results_lost = member.results_lost.max(report.results_lost);
                News::Fenced {
                    agent,
                    drops: drops(&report).map_err(|error| refusal(&error))?,
                    run: report.run,
                    number: report.number,
                }
            }
            Body::Endpoint(report) => News::Endpoint {
                agent,
                resolution: endpoint(&report).map_err(|error| refusal(&error))?,
                run: report.run,
            },
            Body::Observations(batch) => {
                let read = attempts(&batch);
                let run = batch.run;
                let news = |agent, attempts| News::Attempts {
                    agent,
                    run,
                    attempts,
                };
                return Ok(self.batch(agent, batch.sequence, read, news));
            }
            Body::Accepts(batch) => {
                let read = accepts(&batch);
                let (run, dropped) = (batch.run, batch.accepts_dropped);
                let news = |agent, accepts| News::Accepts {
                    agent,
                    run,
                    accepts,
                    dropped,
                };
                return Ok(self.batch(agent, batch.sequence, read, news));
            }
        };
        Ok(Some(unreceipted(news)))
    }

    /// Takes a batch once, by (agent, boot, sequence).
    ///
    /// A batch that cannot be read is acknowledged at once, or it would come back for ever; it counts as lost, and what is
    /// lost makes silence inconclusive.
    fn batch<T>(
        &mut self,
        agent: AgentName,
        sequence: u64,
        read: Result<T, InvalidMessage>,
        news: impl FnOnce(AgentName, T) -> News,
    ) -> Option<Told> {
        let member = self.members.get_mut(&agent)?;
        let fresh = member.sequence.is_none_or(|last| sequence > last);
        if fresh {
            let skipped = member.sequence.map_or(0, |last| sequence - last - 1);
            member.batches_lost += skipped;
            member.sequence = Some(sequence);
        } else {
            self.dropped.repeated += 1;
        }
        if let (true, Err(error)) = (fresh, &read) {
            warn!(agent = %agent, %error, "batch not read");
            member.batches_lost += 1;
        }
        match (fresh, read) {
            (true, Ok(content)) => {
                member.under_way.insert(sequence);
                let receipt = Receipt {
                    agent: agent.clone(),
                    boot: member.greeting.boot,
                    sequence,
                };
                Some((news(agent, content), Some(receipt)))
            }
            (false, _) | (true, Err(_)) => {
                self.send_acknowledgement(&agent);
                Some(unreceipted(News::Heard(agent)))
            }
        }
    }

    /// Tells an agent up to which of its batches it need keep none.
    fn send_acknowledgement(&mut self, agent: &AgentName) {
        if let Some(member) = self.members.get(agent) {
            let sequence = member.acknowledged();
            self.send(agent, Reply::Ack(v1::Ack { sequence }));
        }
    }
}

/// News of which nobody keeps anything.
fn unreceipted(news: News) -> Told {
    (news, None)
}

/// Says `Welcome` to `member`; the window grows with the fleet.
fn welcome(member: &Member, fleet: usize) -> Reply {
    let window = fleet.saturating_mul(1_000) / RECONNECTS_PER_SECOND;
    Reply::Welcome(v1::Welcome {
        heartbeat_interval_ms: HEARTBEAT_INTERVAL_MS,
        reconnect_window_ms: u32::try_from(window).unwrap_or(u32::MAX),
        sequence_acknowledged: member.acknowledged(),
    })
}

/// The status for a message that breaks the rules.
fn refusal(error: &InvalidMessage) -> Status {
    match error {
        InvalidMessage::WireVersion { .. } => Status::failed_precondition(error.to_string()),
        InvalidMessage::Body
        | InvalidMessage::Name { .. }
        | InvalidMessage::Address { .. }
        | InvalidMessage::Port { .. }
        | InvalidMessage::EphemeralPorts(_)
        | InvalidMessage::Unknown { .. }
        | InvalidMessage::Count { .. }
        | InvalidMessage::Column { .. }
        | InvalidMessage::Range { .. }
        | InvalidMessage::Text { .. } => Status::invalid_argument(error.to_string()),
    }
}
