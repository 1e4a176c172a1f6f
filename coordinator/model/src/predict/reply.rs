//! Replies through the network ACLs: which source ports get an answer (B.3).

mod words;

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::network_acl::{AclAnswer, ask};
use super::{Doubt, Receiver, Route, Stop, Walk};
use crate::flow::FlowProtocol;
use crate::net::PortRange;
use crate::prediction::{Denial, Gate, Place, StepOutcome, UnknownReason, Verdict};
use crate::snapshot::{Direction, InterfaceEntry, NetworkAcl, Readable, Traffic};

/// A range of source ports on which both lists give one answer each.
struct Segment {
    ports: PortRange,
    out: AclAnswer,
    back: AclAnswer,
}

/// One list that replies meet, judged alone.
pub(super) struct OneList<'s> {
    pub(super) gate: Gate,
    /// Interface in whose subnet the list is.
    pub(super) entry: &'s InterfaceEntry,
    pub(super) direction: Direction,
    /// The other end of the replies.
    pub(super) remote: IpAddr,
    /// Ports to which replies go.
    pub(super) ports: PortRange,
}

/// The two lists on the way back: out of the receiver's subnet and into the sender's.
struct Lists<'s> {
    out: Option<&'s NetworkAcl>,
    back: Option<&'s NetworkAcl>,
}

impl<'s> Walk<'s> {
    /// The gates `nacl-return-out` and `nacl-return-in`.
    pub(super) fn replies(
        &mut self,
        route: &Route<'s>,
        receiver: Receiver<'s>,
    ) -> Result<(), Verdict> {
        let lists = Lists {
            out: self.acl_of(receiver.entry),
            back: self.acl_of(route.sender.entry),
        };
        let segments = self.segments(route, receiver, &lists);
        let is_open = |segment: &&Segment| segment.is_open();
        let open_ports = merge(segments.iter().filter(is_open).map(|segment| segment.ports));
        let is_unsure = segments.iter().any(Segment::is_unsure);
        let blame = blame(&segments, route, receiver, &lists);
        self.note_replies(route, receiver, &lists, (&segments, &open_ports));
        match (blame, is_unsure) {
            (_, true) => {
                self.doubts.add(Doubt::Other);
                Ok(())
            }
            (None, false) => Ok(()),
            (Some(denial), false) if open_ports.is_empty() => Err(Verdict::Deny(denial)),
            (Some(denial), false) => {
                self.partial = partial(denial, open_ports);
                Ok(())
            }
        }
    }

    /// What each of the two lists stops, the receiver's first; nothing where the walk could not tell.
    pub(super) fn reply_stops(&self, route: &Route<'s>, receiver: Receiver<'s>) -> Vec<Stop> {
        let lists = Lists {
            out: self.acl_of(receiver.entry),
            back: self.acl_of(route.sender.entry),
        };
        let segments = self.segments(route, receiver, &lists);
        if segments.iter().any(Segment::is_unsure) {
            return Vec::new();
        }
        let of = |gate, acl: Option<&NetworkAcl>, entry, answer: fn(&Segment) -> AclAnswer| {
            let rule_number = segments.iter().find_map(|piece| denied_by(answer(piece)))?;
            let is_denied = |piece: &&Segment| denied_by(answer(piece)).is_some();
            let passing = segments.iter().filter(|piece| !is_denied(piece));
            Some(Stop {
                denial: acl_denial(gate, acl?, entry, rule_number),
                open_ports: merge(passing.map(|piece| piece.ports)),
            })
        };
        let out = of(Gate::NaclReturnOut, lists.out, receiver.entry, |piece| {
            piece.out
        });
        let back = of(
            Gate::NaclReturnIn,
            lists.back,
            route.sender.entry,
            |piece| piece.back,
        );
        [out, back].into_iter().flatten().collect()
    }

    /// Asks both lists about each piece of the source ports.
    fn segments(
        &self,
        route: &Route<'s>,
        receiver: Receiver<'s>,
        lists: &Lists<'s>,
    ) -> Vec<Segment> {
        let both = [
            (lists.out, Direction::Egress),
            (lists.back, Direction::Ingress),
        ];
        self.reply_pieces(both, route.sender.ports)
            .into_iter()
            .map(|(ports, reply)| Segment {
                ports,
                out: ask(lists.out, Direction::Egress, reply, route.sender.address),
                back: ask(lists.back, Direction::Ingress, reply, receiver.address),
            })
            .collect()
    }

    /// The gate `nacl-return-in` alone, towards a far side that cannot be judged: the sender's own list must let
    /// replies in (K.1 "Ends outside the model").
    pub(super) fn own_reply_list(&mut self, route: &Route<'s>) -> Result<(), Verdict> {
        let list = OneList {
            gate: Gate::NaclReturnIn,
            entry: route.sender.entry,
            direction: Direction::Ingress,
            remote: self.flow.destination,
            ports: route.sender.ports,
        };
        self.one_reply_list(&list)
    }

    /// One list that replies meet, judged alone: only that it denies all of them is a deny.
    pub(super) fn one_reply_list(&mut self, list: &OneList<'s>) -> Result<(), Verdict> {
        let acl = self.acl_of(list.entry);
        let answers: Vec<(PortRange, AclAnswer)> = self
            .reply_pieces([(acl, list.direction)], list.ports)
            .into_iter()
            .map(|(ports, reply)| (ports, ask(acl, list.direction, reply, list.remote)))
            .collect();
        let is_allowed = |answer: &&(PortRange, AclAnswer)| matches!(answer.1, AclAnswer::Allow(_));
        let open_ports = merge(answers.iter().filter(is_allowed).map(|answer| answer.0));
        let denied: Option<Vec<u32>> = answers.iter().map(|answer| denied_by(answer.1)).collect();
        let place = Place::NetworkAcl {
            subnet: list.entry.interface.subnet.clone(),
            acl: acl.map(|acl| acl.id.clone()),
        };
        let (ports, protocol) = (list.ports, self.flow.protocol);
        self.note(list.gate, place, outcome(&answers, &open_ports), |_| {
            words::replies(protocol, ports, &answers)
        });
        match (denied.as_deref(), acl) {
            (Some([lowest, ..]), Some(acl)) => Err(Verdict::Deny(Denial::NetworkAcl {
                gate: list.gate,
                at: acl.id.clone(),
                subnet: list.entry.interface.subnet.clone(),
                rule_number: *lowest,
            })),
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// The replies to a range of source ports, cut where an entry of the lists begins or ends; an echo reply is one
    /// packet.
    fn reply_pieces<const LISTS: usize>(
        &self,
        lists: [(Option<&NetworkAcl>, Direction); LISTS],
        range: PortRange,
    ) -> Vec<(PortRange, FlowProtocol)> {
        if let Some(echo) = self.flow.protocol.echo_reply() {
            return vec![(range, echo)];
        }
        let mut starts = BTreeSet::from([range.first()]);
        for (list, direction) in lists {
            add_starts(list, direction, range, &mut starts);
        }
        let starts: Vec<u16> = starts.into_iter().collect();
        let next = starts.iter().skip(1).map(|start| start.saturating_sub(1));
        let ends = next.chain([range.last()]);
        starts
            .iter()
            .zip(ends)
            .map(|(first, last)| {
                let ports = PortRange::between(*first, last);
                (ports, reply(self.flow.protocol, *first))
            })
            .collect()
    }

    fn note_replies(
        &mut self,
        route: &Route<'s>,
        receiver: Receiver<'s>,
        lists: &Lists<'s>,
        (segments, open_ports): (&[Segment], &[PortRange]),
    ) {
        if !self.notes.is_wanted() {
            return;
        }
        let out: Vec<_> = segments
            .iter()
            .map(|segment| (segment.ports, segment.out))
            .collect();
        let back: Vec<_> = segments
            .iter()
            .map(|segment| (segment.ports, segment.back))
            .collect();
        let ends = [
            (Gate::NaclReturnOut, lists.out, receiver.entry, out),
            (Gate::NaclReturnIn, lists.back, route.sender.entry, back),
        ];
        for (gate, acl, entry, answers) in ends {
            let outcome = outcome(&answers, open_ports);
            let place = Place::NetworkAcl {
                subnet: entry.interface.subnet.clone(),
                acl: acl.map(|acl| acl.id.clone()),
            };
            let is_final = outcome == StepOutcome::Drop;
            let (ports, protocol) = (route.sender.ports, self.flow.protocol);
            self.note(gate, place, outcome, |_| {
                words::replies(protocol, ports, &answers)
            });
            if is_final {
                break;
            }
        }
    }
}

impl Segment {
    fn is_open(&self) -> bool {
        matches!(
            (self.out, self.back),
            (AclAnswer::Allow(_), AclAnswer::Allow(_))
        )
    }

    /// Neither open nor denied by either list.
    fn is_unsure(&self) -> bool {
        let denied = |answer| matches!(answer, AclAnswer::Deny(_));
        !self.is_open() && !denied(self.out) && !denied(self.back)
    }
}

/// What one list says about the whole range.
fn outcome(answers: &[(PortRange, AclAnswer)], open_ports: &[PortRange]) -> StepOutcome {
    let count = |wanted: fn(AclAnswer) -> bool| {
        answers.iter().filter(|(_, answer)| wanted(*answer)).count()
    };
    let denied = count(|answer| matches!(answer, AclAnswer::Deny(_)));
    if count(|answer| answer == AclAnswer::Unsure) > 0 {
        StepOutcome::Unknown(UnknownReason::Other)
    } else if denied == 0 {
        StepOutcome::Pass { rule: None }
    } else if open_ports.is_empty() {
        StepOutcome::Drop
    } else {
        StepOutcome::Partly {
            open_ports: open_ports.to_vec(),
        }
    }
}

/// Who is named for ports without replies: the receiver's list if it denies any of the range, else the sender's (K).
fn blame(
    segments: &[Segment],
    route: &Route<'_>,
    receiver: Receiver<'_>,
    lists: &Lists<'_>,
) -> Option<Denial> {
    let out = segments.iter().find_map(|segment| denied_by(segment.out));
    let back = segments.iter().find_map(|segment| denied_by(segment.back));
    let (gate, acl, entry, rule_number) = match (out, back) {
        (Some(number), _) => (Gate::NaclReturnOut, lists.out, receiver.entry, number),
        (None, Some(number)) => (Gate::NaclReturnIn, lists.back, route.sender.entry, number),
        (None, None) => return None,
    };
    Some(acl_denial(gate, acl?, entry, rule_number))
}

fn acl_denial(gate: Gate, acl: &NetworkAcl, entry: &InterfaceEntry, rule_number: u32) -> Denial {
    Denial::NetworkAcl {
        gate,
        at: acl.id.clone(),
        subnet: entry.interface.subnet.clone(),
        rule_number,
    }
}

fn denied_by(answer: AclAnswer) -> Option<u32> {
    match answer {
        AclAnswer::Deny(number) => Some(number),
        AclAnswer::Allow(_) | AclAnswer::Unsure => None,
    }
}

fn partial(denial: Denial, open_ports: Vec<PortRange>) -> Option<Verdict> {
    match denial {
        Denial::NetworkAcl {
            gate, at, subnet, ..
        } => Some(Verdict::Partial {
            gate,
            at,
            subnet,
            open_ports,
        }),
        Denial::SecurityGroup { .. } | Denial::SourceDestCheck { .. } | Denial::Route { .. } => {
            None
        }
    }
}

/// The reply to a source port, of the same protocol.
fn reply(protocol: FlowProtocol, port: u16) -> FlowProtocol {
    match protocol {
        FlowProtocol::Udp { .. } => FlowProtocol::Udp { port },
        FlowProtocol::Tcp { .. }
        | FlowProtocol::Icmp { .. }
        | FlowProtocol::IcmpV6 { .. }
        | FlowProtocol::Other(_) => FlowProtocol::Tcp { port },
    }
}

fn add_starts(
    acl: Option<&NetworkAcl>,
    direction: Direction,
    range: PortRange,
    starts: &mut BTreeSet<u16>,
) {
    let entries = acl.map_or(&[][..], |acl| acl.entries(direction));
    for entry in entries {
        if let Traffic::Tcp(Readable::Is(ports)) | Traffic::Udp(Readable::Is(ports)) =
            &entry.traffic
        {
            let cuts = [Some(ports.first()), ports.last().checked_add(1)];
            starts.extend(
                cuts.into_iter()
                    .flatten()
                    .filter(|cut| range.contains(*cut)),
            );
        }
    }
}

/// Joins neighbours.
fn merge(ranges: impl Iterator<Item = PortRange>) -> Vec<PortRange> {
    let mut merged: Vec<PortRange> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.last().checked_add(1) == Some(range.first()) => {
                *last = PortRange::between(last.first(), range.last());
            }
            Some(_) | None => merged.push(range),
        }
    }
    merged
}
