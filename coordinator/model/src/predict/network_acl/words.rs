//! Sentences about network ACLs.

use super::AclAnswer;
use crate::snapshot::NetworkAcl;

/// Which entry decides.
pub(super) fn acl(acl: Option<&NetworkAcl>, answer: AclAnswer) -> String {
    match (answer, acl) {
        (AclAnswer::Allow(number), _) => format!("entry {number} allows"),
        (AclAnswer::Deny(number @ (32_767 | 32_768)), _) => {
            format!("no entry matches, the final one ({number}) denies")
        }
        (AclAnswer::Deny(number), _) => format!("entry {number} denies"),
        (AclAnswer::Unsure, Some(_)) => "an entry that could not be read may decide".to_owned(),
        (AclAnswer::Unsure, None) => {
            "the snapshot has no list that holds for the subnet".to_owned()
        }
    }
}
