//! Sentences about network policies.

use crate::snapshot::Policing;

/// Which policies select the ends, and what would hold without them.
pub(super) fn policies(alone: &str, source: &Policing<'_>, destination: &Policing<'_>) -> String {
    let ends = [("source", source), ("destination", destination)];
    let parts: Vec<String> = ends
        .into_iter()
        .filter_map(|(end, policing)| policies_of(end, policing))
        .collect();
    format!(
        "security groups: {alone}; {}; policies are not evaluated",
        parts.join("; ")
    )
}

fn policies_of(end: &str, policing: &Policing<'_>) -> Option<String> {
    match policing {
        Policing::None => None,
        Policing::PerhapsPod => Some(format!(
            "the {end} could be a pod of which nothing is known, and there are policies"
        )),
        Policing::DeniedByDefault => Some(format!(
            "no policy selects the {end}, and the VPC CNI denies such pods everything (NETWORK_POLICY_ENFORCING_MODE)"
        )),
        Policing::Selected(policies) => {
            let names: Vec<String> = policies.iter().map(ToString::to_string).collect();
            let verb = if policies.len() == 1 {
                "policy selects"
            } else {
                "policies select"
            };
            Some(format!(
                "{} {verb} the {end} ({})",
                policies.len(),
                names.join(", ")
            ))
        }
    }
}
