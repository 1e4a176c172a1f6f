//! Lines that are written differently: rules, entries, routes, memberships.

use std::collections::BTreeSet;
use std::fmt;

use crate::snapshot::{Direction, EnforcingMode, PolicyMode, RouteDestination, Snapshot, Snat};

/// What kind of line changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LineKind {
    /// It was added.
    Added,
    /// It was removed.
    Removed,
}

/// A line of the configuration that only one snapshot has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineChange {
    /// Which one.
    pub kind: LineKind,
    /// The line, for people: where it stands and what it says.
    pub text: String,
}

impl fmt::Display for LineChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            LineKind::Added => '+',
            LineKind::Removed => '-',
        };
        write!(formatter, "{sign} {}", self.text)
    }
}

/// The lines that only one of two snapshots has.
pub(super) fn lines(before: &Snapshot, after: &Snapshot) -> Vec<LineChange> {
    let (before, after) = (written(before), written(after));
    let change = |kind, text: &String| LineChange {
        kind,
        text: text.clone(),
    };
    let removed = before
        .difference(&after)
        .map(|text| change(LineKind::Removed, text));
    let added = after
        .difference(&before)
        .map(|text| change(LineKind::Added, text));
    removed.chain(added).collect()
}

fn written(snapshot: &Snapshot) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for group in snapshot.security_groups() {
        for direction in [Direction::Ingress, Direction::Egress] {
            lines.extend(group.rules(direction).iter().map(|rule| {
                let (traffic, peer) = (&rule.traffic, &rule.peer);
                // A name by position says nothing that another snapshot says, too.
                let is_named = !rule.id.as_str().starts_with(&format!("{}.", group.id));
                let name = if is_named {
                    format!(" ({})", rule.id)
                } else {
                    String::new()
                };
                format!("{} {direction} {traffic} {peer}{name}", group.id)
            }));
        }
    }
    for acl in snapshot.network_acls.iter() {
        for direction in [Direction::Ingress, Direction::Egress] {
            lines.extend(acl.entries(direction).iter().map(|entry| {
                let number = entry
                    .rule_number
                    .map_or("?".to_owned(), |it| it.to_string());
                let (id, traffic, remote) = (&acl.id, &entry.traffic, &entry.remote);
                let action = &entry.action;
                format!("{id} {direction} {number} {action} {traffic} {remote}")
            }));
        }
    }
    for table in snapshot.route_tables.iter() {
        lines.extend(table.routes.iter().map(|route| {
            let destination = match &route.destination {
                RouteDestination::Network(network) => network.to_string(),
                RouteDestination::PrefixList(id) => id.to_string(),
                RouteDestination::Unread | RouteDestination::Conflict => "?".to_owned(),
            };
            let target = route.target.as_str();
            format!("{} {destination} -> {target} ({})", table.id, route.state)
        }));
    }
    for list in snapshot.prefix_lists.values() {
        let networks = list.networks.iter().flatten();
        lines.extend(networks.map(|network| format!("{} lists {network}", list.id)));
    }
    for interface in snapshot.network_interfaces() {
        let groups = interface.groups.iter();
        lines.extend(groups.map(|group| format!("{} carries {group}", interface.id)));
    }
    lines.extend(settings(snapshot));
    for policy in &snapshot.network_policies {
        let (kind, namespace, name) = (&policy.kind, &policy.namespace, &policy.name);
        lines.insert(format!("policy {kind} {namespace}/{name}"));
    }
    lines
}

/// The settings of the VPC CNI.
fn settings(snapshot: &Snapshot) -> [String; 4] {
    let cni = snapshot.cni();
    let snat = match cni.snat {
        Snat::OnNode => "on the node",
        Snat::External => "external, none on the node",
        Snat::Unread => "?",
    };
    let mode = match cni.enforcing_mode {
        EnforcingMode::Strict => "strict",
        EnforcingMode::Standard => "standard",
        EnforcingMode::Unread => "?",
    };
    let policies = match cni.policy_mode {
        PolicyMode::Standard => "free",
        PolicyMode::Strict => "denied everything",
        PolicyMode::Unread => "?",
    };
    let excluded: Vec<String> = cni.snat_excluded.iter().map(ToString::to_string).collect();
    [
        format!("CNI setting: source NAT of pods {snat}"),
        format!(
            "CNI setting: no source NAT towards [{}]",
            excluded.join(", ")
        ),
        format!("CNI setting: enforcing mode of security groups for pods {mode}"),
        format!("CNI setting: pods without a network policy are {policies}"),
    ]
}
