//! Every answer of the model before and after: all protocols, both families, hosts and pods, addresses outside.
//!
//! Ends that neither model tells apart are one [`End`]; kinds of packets that no rule between two ends tells apart are one
//! atom. So a finite set of flows stands for all, and each of them is answered twice: by the relations what they hold, by
//! [`crate::predict::verdict`] the rest and everything that differs. Pairs of which both snapshots say the same of who sends
//! and of who receives have the same answers, and are not asked.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Concern;
use super::answer::{AnswerChange, Packets, Party};
use super::atom::{Atom, Mentioned};
use super::content::Contents;
use super::end::{End, Ends, Member};
use crate::expectation::members::{API_SERVER_PORT, DNS_PORT, KUBELET_PORT};
use crate::flow::{EPHEMERAL_PORTS_DEFAULT, Flow, SourceKind};
use crate::id::NetworkInterfaceId;
use crate::matrix::{Matrix, VerdictKind};
use crate::net::PortRange;
use crate::predict::{depends_on_source_kind, verdict};
use crate::prediction::{Gate, Verdict};
use crate::snapshot::{Snapshot, SourceDestCheck};

/// Most flows that are asked: some tens of seconds. Beyond it, the comparison says that it is not whole.
const QUESTIONS_MAX: usize = 10_000_000;
/// Most changes that are kept.
const CHANGES_MAX: usize = 20_000;

/// What was found by asking.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) changes: Vec<AnswerChange>,
    /// More changed than is kept.
    pub(super) is_cut: bool,
    /// Not everything could be asked.
    pub(super) is_whole: bool,
}

/// Whatever distinguishes two answers: the word, and which source ports work.
fn differ(before: &Verdict, after: &Verdict) -> bool {
    let open = |verdict: &Verdict| match verdict {
        Verdict::Partial { open_ports, .. } => open_ports.clone(),
        Verdict::Allow { .. }
        | Verdict::Deny(_)
        | Verdict::Unknown(_)
        | Verdict::Bypass(_)
        | Verdict::Exempt(_) => Vec::new(),
    };
    VerdictKind::from(before) != VerdictKind::from(after) || open(before) != open(after)
}

/// Two models that are asked the same.
pub(super) struct Questions<'s> {
    relations: [&'s Matrix<'s>; 2],
    before: &'s Snapshot,
    after: &'s Snapshot,
    ends: &'s Ends,
    /// What every flow may depend on differs.
    is_common_changed: bool,
    mentioned: Vec<Mentioned>,
    asked: usize,
    answers: Answers,
}

/// Who sends to whom, and how it is asked.
#[derive(Clone, Copy)]
struct Pair<'e> {
    source: &'e End,
    destination: &'e End,
    members: (Member, Member),
    /// Interface that emits, where it is not the owner of the source.
    emitter: Option<&'e NetworkInterfaceId>,
    on_one_host: bool,
}

impl<'s> Questions<'s> {
    /// Prepares to ask about all ends.
    pub(super) fn new(
        relations: [&'s Matrix<'s>; 2],
        ends: &'s Ends,
        contents: &[Contents; 2],
    ) -> Self {
        let [before, after] = relations.map(Matrix::snapshot);
        let [one, other] = contents;
        let mentioned = ends
            .ends
            .iter()
            .map(|end| mentioned(before, after, end))
            .collect();
        Self {
            relations,
            before,
            after,
            ends,
            is_common_changed: one.common != other.common,
            mentioned,
            asked: 0,
            answers: Answers {
                is_whole: ends.unseen.is_empty(),
                ..Answers::default()
            },
        }
    }

    /// Asks everything; what nobody but an unusual flow shows is asked only while nothing else changed.
    pub(super) fn ask(mut self) -> Answers {
        self.pairs(&[EPHEMERAL_PORTS_DEFAULT]);
        if self.answers.changes.is_empty() {
            self.replies();
        }
        if self.answers.changes.is_empty() {
            self.emitters();
        }
        self.answers
    }

    fn is_wanted(&self, source: &End, destination: &End) -> bool {
        let is_one_family = |one: IpAddr, other: IpAddr| one.is_ipv4() == other.is_ipv4();
        let families = source.members.first().zip(destination.members.first());
        let is_changed =
            self.is_common_changed || !source.sends_the_same || !destination.receives_the_same;
        is_changed
            && !(source.is_outside && destination.is_outside)
            && families.is_some_and(|(one, other)| is_one_family(one.after, other.after))
    }

    /// Asks about every pair of ends, on two hosts and on one.
    fn pairs(&mut self, ranges: &[PortRange]) {
        let ends = self.ends;
        for (one, source) in ends.ends.iter().enumerate() {
            for (other, destination) in ends.ends.iter().enumerate() {
                if !self.is_wanted(source, destination) {
                    continue;
                }
                if let Some(members) = apart(source, destination) {
                    let pair = Pair {
                        source,
                        destination,
                        members,
                        emitter: None,
                        on_one_host: false,
                    };
                    self.pair((one, other), pair, ranges);
                }
            }
        }
        for neighbours in &ends.neighbours {
            let (one, other) = neighbours.ends;
            let Some((source, destination)) = ends.ends.get(one).zip(ends.ends.get(other)) else {
                continue;
            };
            if self.is_wanted(source, destination) || self.has_moved(neighbours.members) {
                let pair = Pair {
                    source,
                    destination,
                    members: neighbours.members,
                    emitter: None,
                    on_one_host: true,
                };
                self.pair((one, other), pair, ranges);
            }
        }
    }

    /// Whether two addresses are on one host in one snapshot alone.
    fn has_moved(&self, (one, other): (Member, Member)) -> bool {
        (one.hosts.0 == other.hosts.0) != (one.hosts.1 == other.hosts.1)
    }

    /// Asks once more for other source ports: all, and every range that entries tell apart.
    fn replies(&mut self) {
        let mut all = Mentioned::default();
        for snapshot in [self.before, self.after] {
            for entry in snapshot.interfaces.iter() {
                all.add_list(snapshot, entry);
            }
        }
        let mut ranges = all.reply_ports();
        if ranges.len() > 1 {
            ranges.push(PortRange::ALL);
            self.pairs(&ranges);
        }
    }

    /// Asks about interfaces that may emit what is not theirs (A.6), and about those that share an address with others.
    fn emitters(&mut self) {
        let ends = self.ends;
        let members = ends.ends.iter().flat_map(|end| &end.members);
        let sharing: BTreeSet<NetworkInterfaceId> = members
            .flat_map(|member| self.sharing(member.before))
            .collect();
        let interfaces = self.before.network_interfaces().map(|it| &it.id);
        let interfaces: Vec<&NetworkInterfaceId> = interfaces
            .filter(|id| self.after.network_interface(id).is_some())
            .filter(|id| {
                self.is_common_changed || self.may_emit_others(id) || sharing.contains(*id)
            })
            .collect();
        // What nobody owns stands for all that an interface emits as somebody else, and its node translates or not (E.1).
        let mut strangers: Vec<usize> = Vec::new();
        for is_v4 in [true, false] {
            let is_it = |end: &End| {
                let member = end.members.first();
                end.is_outside && member.is_some_and(|member| member.before.is_ipv4() == is_v4)
            };
            strangers.extend(ends.ends.iter().position(is_it));
        }
        for id in interfaces {
            let may_emit = self.may_emit_others(id);
            for (one, source) in ends.ends.iter().enumerate() {
                let is_stranger = self.is_common_changed && strangers.contains(&one);
                let member = if may_emit || is_stranger {
                    source.members.first()
                } else {
                    let mut members = source.members.iter();
                    members.find(|member| self.sharing(member.before).contains(id))
                };
                if let Some(member) = member {
                    self.emitted((one, source), *member, id);
                }
            }
        }
    }

    /// Asks about what an interface emits from one end to all others.
    fn emitted(
        &mut self,
        (one, source): (usize, &'s End),
        member: Member,
        id: &'s NetworkInterfaceId,
    ) {
        let ends = self.ends;
        let is_changed = self.is_common_changed || ends.changed.contains(id) || !source.is_same();
        for (other, destination) in ends.ends.iter().enumerate() {
            let Some(second) = destination.members.first() else {
                continue;
            };
            let is_one_family = member.after.is_ipv4() == second.after.is_ipv4();
            if !is_one_family || (!is_changed && destination.receives_the_same) {
                continue;
            }
            let pair = Pair {
                source,
                destination,
                members: (member, *second),
                emitter: Some(id),
                on_one_host: false,
            };
            self.pair((one, other), pair, &[EPHEMERAL_PORTS_DEFAULT]);
        }
    }

    /// Whether an interface may emit addresses that are not its own in either snapshot.
    fn may_emit_others(&self, id: &NetworkInterfaceId) -> bool {
        [self.before, self.after].into_iter().any(|snapshot| {
            snapshot
                .network_interface(id)
                .is_some_and(|it| it.source_dest_check != SourceDestCheck::On)
        })
    }

    /// The interfaces that own an address together.
    fn sharing(&self, address: IpAddr) -> Vec<NetworkInterfaceId> {
        let mut found = Vec::new();
        for snapshot in [self.before, self.after] {
            let owners = snapshot.addresses.owners(address);
            if owners.len() > 1 {
                let id = |key| snapshot.interfaces.at(key).interface.id.clone();
                found.extend(owners.into_iter().map(id));
            }
        }
        found
    }

    fn pair(&mut self, (one, other): (usize, usize), pair: Pair<'_>, ranges: &[PortRange]) {
        // What is kept is said to be less than all, and stays as it is.
        if self.answers.is_cut {
            return;
        }
        let mut all = Mentioned::default();
        for place in [one, other] {
            if let Some(mentioned) = self.mentioned.get(place) {
                all.join(mentioned);
            }
        }
        if let Some(id) = pair.emitter {
            for snapshot in [self.before, self.after] {
                if let Some(key) = snapshot.interface_keys.get(id) {
                    all.add(snapshot, snapshot.interfaces.at(*key));
                }
            }
        }
        let atoms = all.atoms();
        let mut as_host = Vec::new();
        for kind in [SourceKind::Host, SourceKind::Pod] {
            if kind == SourceKind::Pod && !self.may_be_translated(pair) {
                continue;
            }
            let found = self.kind(pair, kind, &atoms, ranges);
            // What holds for hosts, too, is said once.
            if kind == SourceKind::Host || words(&found) != words(&as_host) {
                self.keep(&found);
            }
            as_host = found;
        }
    }

    /// Whether it may matter in either snapshot that the source is a pod.
    fn may_be_translated(&self, pair: Pair<'_>) -> bool {
        let (source, destination) = pair.members;
        let [one, other] = self.relations;
        let matters = |matrix: &Matrix<'_>, source, destination| {
            let mut flow = Flow::tcp(source, destination, 0);
            flow.source_interface = pair.emitter.cloned();
            depends_on_source_kind(matrix.snapshot(), &flow)
        };
        matters(one, source.before, destination.before)
            || matters(other, source.after, destination.after)
    }

    fn kind(
        &mut self,
        pair: Pair<'_>,
        kind: SourceKind,
        atoms: &[Atom],
        ranges: &[PortRange],
    ) -> Vec<AnswerChange> {
        let (source, destination) = pair.members;
        let mut found: Vec<AnswerChange> = Vec::new();
        for atom in atoms {
            let ranges = if atom.ports.is_some() {
                ranges
            } else {
                ranges.get(..1).unwrap_or_default()
            };
            for range in ranges {
                if self.asked >= QUESTIONS_MAX {
                    self.answers.is_whole = false;
                    return found;
                }
                self.asked += 1;
                let flow = |source, destination| Flow {
                    source,
                    destination,
                    protocol: atom.packet,
                    source_kind: kind,
                    ephemeral_ports: *range,
                    source_interface: pair.emitter.cloned(),
                };
                let former = flow(source.before, destination.before);
                let present = flow(source.after, destination.after);
                let Some((before, after)) = self.differing(&former, &present) else {
                    continue;
                };
                let mut responsible = responsible(&before, &after);
                if kind == SourceKind::Pod && self.before.cni != self.after.cni {
                    responsible.push("CNI setting".to_owned());
                }
                let packets = Packets::new(*atom);
                let change = AnswerChange {
                    concern: concern(pair, packets),
                    responsible,
                    source: Party::new(pair.source, source),
                    destination: Party::new(pair.destination, destination),
                    source_kind: kind,
                    on_one_host: pair.on_one_host,
                    packets,
                    packet: atom.packet,
                    ephemeral_ports: *range,
                    emitter: pair.emitter.cloned(),
                    before,
                    after,
                };
                add(&mut found, change);
                break;
            }
        }
        found
    }

    /// The verdicts of a flow before and after, where they differ. The relations answer in a word what they hold.
    fn differing(&self, former: &Flow, present: &Flow) -> Option<(Verdict, Verdict)> {
        let [one, other] = self.relations;
        let kind = one.kind(former);
        if kind == other.kind(present) && kind != VerdictKind::Partial {
            return None;
        }
        let before = verdict(self.before, former);
        let after = verdict(self.after, present);
        differ(&before, &after).then_some((before, after))
    }

    fn keep(&mut self, found: &[AnswerChange]) {
        let room = CHANGES_MAX.saturating_sub(self.answers.changes.len());
        self.answers.is_cut |= found.len() > room;
        self.answers
            .changes
            .extend(found.iter().take(room).cloned());
    }
}

/// What a list of changes says, without who is asked as what.
fn words(changes: &[AnswerChange]) -> Vec<(Packets, VerdictKind, VerdictKind)> {
    let one = |change: &AnswerChange| (change.packets, change.kinds().0, change.kinds().1);
    changes.iter().map(one).collect()
}

/// Adds a change to the ports before it, where it says the same.
fn add(found: &mut Vec<AnswerChange>, change: AnswerChange) {
    if let Some(last) = found.last_mut()
        && last.kinds() == change.kinds()
        && let Some(packets) = last.packets.joined(change.packets)
    {
        last.packets = packets;
        return;
    }
    found.push(change);
}

/// Two members that share a host in no snapshot.
fn apart(source: &End, destination: &End) -> Option<(Member, Member)> {
    let is_shared = |one: Option<u32>, other: Option<u32>| one.is_some() && one == other;
    source.members.iter().find_map(|one| {
        let other = destination.members.iter().find(|other| {
            one.before != other.before
                && one.after != other.after
                && !is_shared(one.hosts.0, other.hosts.0)
                && !is_shared(one.hosts.1, other.hosts.1)
        });
        other.map(|other| (*one, *other))
    })
}

/// What rules and entries at an end mention in both snapshots, those of the interface as which its pods leave, too.
fn mentioned(before: &Snapshot, after: &Snapshot, end: &End) -> Mentioned {
    let mut found = Mentioned::default();
    let Some(member) = end.members.first() else {
        return found;
    };
    for (snapshot, address) in [(before, member.before), (after, member.after)] {
        found.add_address(snapshot, address);
    }
    found
}

/// What is responsible: the rule that admitted or admits, the gate or the reason that stops, the setting that changed.
fn responsible(before: &Verdict, after: &Verdict) -> Vec<String> {
    let (closed, open) = match after {
        Verdict::Allow { .. } => (before, after),
        Verdict::Deny(_)
        | Verdict::Partial { .. }
        | Verdict::Unknown(_)
        | Verdict::Bypass(_)
        | Verdict::Exempt(_) => (after, before),
    };
    let word = || {
        let gate = closed.gate().map(|gate| gate.to_string());
        gate.or_else(|| closed.reason().map(str::to_owned))
    };
    let rule = match (closed.gate(), open) {
        (Some(Gate::SgEgress), Verdict::Allow { egress, .. }) => Some(egress.to_string()),
        (Some(Gate::SgIngress), Verdict::Allow { ingress, .. }) => Some(ingress.to_string()),
        (
            _,
            Verdict::Allow { .. }
            | Verdict::Deny(_)
            | Verdict::Partial { .. }
            | Verdict::Unknown(_)
            | Verdict::Bypass(_)
            | Verdict::Exempt(_),
        ) => None,
    };
    rule.or_else(word).into_iter().collect()
}

/// Whether the cluster needs such packets (ARCHITECTURE, "Expectations").
fn concern(pair: Pair<'_>, packets: Packets) -> Concern {
    let to = |port: u16| packets.ports().is_some_and(|ports| ports.contains(port));
    let is_tcp = matches!(packets, Packets::Tcp(_));
    let is_needed = (pair.destination.duties.is_control_plane && is_tcp && to(API_SERVER_PORT))
        || (pair.source.duties.is_control_plane
            && pair.destination.duties.is_node
            && is_tcp
            && to(KUBELET_PORT))
        || (pair.destination.duties.is_resolver && to(DNS_PORT));
    if is_needed {
        Concern::Expectation
    } else {
        Concern::Other
    }
}
