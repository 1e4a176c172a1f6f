//! Sentences about replies.

use super::super::network_acl::AclAnswer;
use crate::flow::FlowProtocol;
use crate::net::PortRange;

/// What a list says about replies to a range of source ports, or about the reply to an echo.
pub(super) fn replies(
    protocol: FlowProtocol,
    ports: PortRange,
    answers: &[(PortRange, AclAnswer)],
) -> String {
    if let (Some(_), Some((_, answer))) = (protocol.echo_reply(), answers.first()) {
        return match answer {
            AclAnswer::Allow(number) => format!("entry {number} allows the echo reply"),
            AclAnswer::Deny(number) => format!("entry {number} denies the echo reply"),
            AclAnswer::Unsure => "an entry for the echo reply could not be read".to_owned(),
        };
    }
    let denied: Vec<_> = answers
        .iter()
        .filter_map(|(ports, answer)| match answer {
            AclAnswer::Deny(number) => Some(format!("{ports} (entry {number})")),
            AclAnswer::Allow(_) | AclAnswer::Unsure => None,
        })
        .collect();
    let is_unsure = answers
        .iter()
        .any(|(_, answer)| *answer == AclAnswer::Unsure);
    match (denied.is_empty(), is_unsure) {
        (true, false) => format!("replies to all source ports {ports} pass"),
        (true, true) => format!("an entry for replies to {ports} could not be read"),
        (false, _) => format!(
            "of replies to source ports {ports} the list denies {}",
            denied.join(", ")
        ),
    }
}
