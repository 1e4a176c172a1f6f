//! Network ACLs: ordered entries, the first match decides (B).

mod words;

use std::net::IpAddr;

use super::{Doubt, Route, Walk};
use crate::flow::FlowProtocol;
use crate::id::SubnetId;
use crate::prediction::{Denial, Gate, Place, StepOutcome, UnknownReason, Verdict};
use crate::snapshot::{
    AclAction, Direction, FINAL_RULE_NUMBER_V4, FINAL_RULE_NUMBER_V6, InterfaceEntry, Match,
    NetworkAcl, NetworkAclEntry, Readable,
};

/// What a list says about one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AclAnswer {
    /// The entry of that number lets it pass.
    Allow(u32),
    /// The entry of that number drops it; the final one where no entry matches.
    Deny(u32),
    /// An entry that could not be read may decide.
    Unsure,
}

/// Asks a list about a packet; a list that is not known is unsure.
///
/// Entries of one number are taken together: the API does not let two of them exist, and their order means nothing.
pub(crate) fn ask(
    acl: Option<&NetworkAcl>,
    direction: Direction,
    protocol: FlowProtocol,
    remote: IpAddr,
) -> AclAnswer {
    let Some(acl) = acl else {
        return AclAnswer::Unsure;
    };
    let mut possible = Vec::new();
    for entry in acl.entries(direction) {
        let decided = possible.last().and_then(|(_, number)| *number);
        if let Some(number) = decided
            && entry.rule_number != Some(number)
        {
            break;
        }
        match (matches(entry, protocol, remote), entry.rule_number) {
            (Match::No, _) => {}
            (Match::Unsure, _) | (Match::Yes, None) => possible.insert(0, (entry.action, None)),
            (Match::Yes, Some(number)) => possible.push((entry.action, Some(number))),
        }
    }
    conclude(&possible, remote)
}

/// The answer on which all entries that may decide agree.
fn conclude(possible: &[(Readable<AclAction>, Option<u32>)], remote: IpAddr) -> AclAnswer {
    let (decided, number) = match possible.last() {
        Some((action, Some(number))) => (*action, *number),
        Some((_, None)) | None => (Readable::Is(AclAction::Deny), final_rule_number(remote)),
    };
    if possible.iter().any(|(action, _)| *action != decided) {
        return AclAnswer::Unsure;
    }
    match decided {
        Readable::Is(AclAction::Allow) => AclAnswer::Allow(number),
        Readable::Is(AclAction::Deny) => AclAnswer::Deny(number),
        Readable::Unread => AclAnswer::Unsure,
    }
}

fn final_rule_number(remote: IpAddr) -> u32 {
    match remote {
        IpAddr::V4(_) => FINAL_RULE_NUMBER_V4,
        IpAddr::V6(_) => FINAL_RULE_NUMBER_V6,
    }
}

fn matches(entry: &NetworkAclEntry, protocol: FlowProtocol, remote: IpAddr) -> Match {
    let network = match entry.remote {
        Readable::Is(network) => Match::from(network.contains(&remote)),
        Readable::Unread => Match::Unsure,
    };
    entry.traffic.matches(protocol).and(network)
}

impl<'s> Walk<'s> {
    /// The list that holds for a subnet.
    pub(super) fn acl_of(&self, entry: &InterfaceEntry) -> Option<&'s NetworkAcl> {
        let subnet = self.snapshot.subnets.at(entry.subnet);
        subnet.acl.map(|key| self.snapshot.network_acls.at(key))
    }

    /// The gate `nacl-out` or `nacl-in`: the list of the sender's or of the receiver's subnet.
    pub(super) fn network_acl(
        &mut self,
        route: &Route<'s>,
        direction: Direction,
    ) -> Result<(), Verdict> {
        if route.hop.path.is_same_subnet() {
            return Ok(());
        }
        let (gate, entry, remote) = match (direction, route.receiver()) {
            (Direction::Egress, _) => (Gate::NaclOut, route.sender.entry, self.flow.destination),
            (Direction::Ingress, Some(receiver)) => {
                (Gate::NaclIn, receiver.entry, route.sender.address)
            }
            (Direction::Ingress, None) => return Ok(()),
        };
        self.list_of(gate, entry, direction, remote)
    }

    /// Asks the list of an interface's subnet about the packet of the flow.
    pub(super) fn list_of(
        &mut self,
        gate: Gate,
        entry: &InterfaceEntry,
        direction: Direction,
        remote: IpAddr,
    ) -> Result<(), Verdict> {
        let acl = self.acl_of(entry);
        let answer = ask(acl, direction, self.flow.protocol, remote);
        self.acl_answer(gate, acl, &entry.interface.subnet, answer)
    }

    fn acl_answer(
        &mut self,
        gate: Gate,
        acl: Option<&'s NetworkAcl>,
        subnet: &SubnetId,
        answer: AclAnswer,
    ) -> Result<(), Verdict> {
        let place = Place::NetworkAcl {
            subnet: subnet.clone(),
            acl: acl.map(|acl| acl.id.clone()),
        };
        let outcome = match answer {
            AclAnswer::Allow(_) => StepOutcome::Pass { rule: None },
            AclAnswer::Deny(_) => StepOutcome::Drop,
            AclAnswer::Unsure => StepOutcome::Unknown(UnknownReason::Other),
        };
        self.note(gate, place, outcome, |_| words::acl(acl, answer));
        match (answer, acl) {
            (AclAnswer::Allow(_), _) => Ok(()),
            (AclAnswer::Deny(rule_number), Some(acl)) => Err(Verdict::Deny(Denial::NetworkAcl {
                gate,
                at: acl.id.clone(),
                subnet: subnet.clone(),
                rule_number,
            })),
            (AclAnswer::Deny(_), None) | (AclAnswer::Unsure, _) => {
                self.doubts.add(Doubt::Other);
                Ok(())
            }
        }
    }
}
