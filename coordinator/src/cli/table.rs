//! Lines for people: aligned columns, ids with the names that people gave.

use comfy_table::{Table, presets};
use reachproof_model::id::{NetworkInterfaceId, SecurityGroupId, SubnetId};
use reachproof_model::net::Printable;
use reachproof_model::prediction::{Denial, Verdict};
use reachproof_model::snapshot::{Direction, Snapshot};

/// Lays rows out in columns, without lines and without wrapping.
pub(super) fn aligned<const N: usize>(
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let header = header.map(str::to_owned).to_vec();
    columns(header, rows.map(Vec::from))
}

/// The same of as many columns as the header has.
pub(super) fn columns(header: Vec<String>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().map(|title| title.to_uppercase()));
    table.add_rows(rows);
    let text = table.to_string();
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

/// `TEXT (NAME)`, or the text alone.
pub(super) fn named(text: &str, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{} ({})", Printable(text), Printable(name)),
        None => Printable(text).to_string(),
    }
}

/// A group with its name.
pub(super) fn group(snapshot: &Snapshot, id: &SecurityGroupId) -> String {
    let group = snapshot.security_group(id);
    named(id.as_str(), group.and_then(|group| group.display_name()))
}

/// An interface with its name.
pub(super) fn interface(snapshot: &Snapshot, id: &NetworkInterfaceId) -> String {
    let name = snapshot
        .network_interface(id)
        .and_then(|interface| snapshot.interface_name(interface));
    named(id.as_str(), name.as_deref())
}

/// A subnet with its name.
pub(super) fn subnet(snapshot: &Snapshot, id: &SubnetId) -> String {
    let subnet = snapshot.subnet(id);
    named(
        id.as_str(),
        subnet.and_then(|subnet| subnet.name.as_deref()),
    )
}

/// What decides, in one line; nothing where the verdict says it all.
pub(super) fn decision(snapshot: &Snapshot, verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allow { egress, ingress } => format!(
            "{} and {}",
            rule(snapshot, Direction::Egress, egress.as_str()),
            rule(snapshot, Direction::Ingress, ingress.as_str())
        ),
        Verdict::Deny(Denial::SecurityGroup { gate, at }) => {
            format!("{gate} at {}", interface(snapshot, at))
        }
        Verdict::Deny(Denial::SourceDestCheck { at }) => {
            format!("src-dst-check at {}", interface(snapshot, at))
        }
        Verdict::Deny(Denial::NetworkAcl {
            gate,
            at,
            subnet: edge,
            rule_number,
        }) => format!(
            "{gate} at {}, entry {rule_number}, of {}",
            Printable(at.as_str()),
            subnet(snapshot, edge)
        ),
        Verdict::Deny(Denial::Route { gate, reason }) => format!("{gate}: {}", reason.as_str()),
        Verdict::Partial {
            gate,
            at,
            subnet: edge,
            open_ports,
        } => {
            let ports: Vec<_> = open_ports.iter().map(ToString::to_string).collect();
            format!(
                "{gate} at {} of {}: replies only to source ports {}",
                Printable(at.as_str()),
                subnet(snapshot, edge),
                ports.join(", ")
            )
        }
        Verdict::Unknown(_) | Verdict::Bypass(_) | Verdict::Exempt(_) => unjudged(verdict),
    }
}

/// Reason of a verdict without a gate, with the rules that it names.
fn unjudged(verdict: &Verdict) -> String {
    let rules: Vec<_> = verdict
        .rules()
        .iter()
        .map(|rule| Printable(rule.as_str()).to_string())
        .collect();
    let reason = verdict.reason().unwrap_or_default();
    if rules.is_empty() {
        reason.to_owned()
    } else {
        format!("{reason}: {}", rules.join(", "))
    }
}

/// A rule with its group and what it says.
pub(super) fn rule(snapshot: &Snapshot, direction: Direction, id: &str) -> String {
    let found = snapshot
        .security_groups()
        .flat_map(|group| group.rules(direction))
        .find(|rule| rule.id.as_str() == id);
    match found {
        Some(found) => format!("{} of {}", Printable(id), group(snapshot, &found.group)),
        None => Printable(id).to_string(),
    }
}
