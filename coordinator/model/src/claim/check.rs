//! What a claim looks at in the answers of the APIs: a closed list.
//!
//! | check | holds when |
//! |---|---|
//! | [`Groups`](Check::Groups) | each interface of a party carries these groups, none of them, or no others |
//! | [`Rule`](Check::Rule) | a group has a rule that admits these packets to or from this peer |
//! | [`Count`](Check::Count) | a party has so many interfaces |
//! | [`Name`](Check::Name) | the group is called so, or the interfaces are described so |
//! | [`Tags`](Check::Tags) | the group has these tags |
//! | [`Setting`](Check::Setting) | the cluster or the VPC CNI is set so |
//! | [`Subnets`](Check::Subnets) | each interface is in a subnet of the cluster |
//! | [`SameGroups`](Check::SameGroups) | each interface carries what its instance's primary interface carries |
//! | [`Endpoints`](Check::Endpoints) | each listed API server is an interface of the control plane, or the other way round |
//! | [`FilteringAcl`](Check::FilteringAcl) | a network ACL of the cluster's VPC does not let everything pass |

use std::collections::BTreeSet;

use super::groups::{GroupWord, listed};
use super::members::{Members, NO_CLUSTER};
use super::party::Party;
use super::{Look, World};
use crate::id::SecurityGroupId;
use crate::snapshot::{
    AclAction, Direction, Host, Match, NetworkAclEntry, NetworkInterface, Readable, Reading,
    Snapshot, Traffic,
};
use crate::words::counted;

pub use rule::{InvalidPeer, Peer, RuleCheck, RulePackets};
pub use setting::{SETTINGS, Setting, SettingCheck, SettingValue};

mod rule;
mod setting;

/// A check, or its opposite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What is looked at.
    pub check: Check,
    /// Whether the check must hold, or must not.
    pub wanted: bool,
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// Groups of a party's interfaces.
    Groups {
        /// Whose.
        of: Party,
        /// How they stand to `groups`.
        relation: Relation,
        /// Which groups.
        groups: Vec<GroupWord>,
    },
    /// A rule of a group.
    Rule(RuleCheck),
    /// How many interfaces there are.
    Count {
        /// Whose.
        of: Party,
        /// As few as this.
        least: usize,
        /// As many as this; absent: any number.
        most: Option<usize>,
    },
    /// A name.
    Name {
        /// Of what.
        of: Named,
        /// `*` and `?` are wildcards, `{cluster}` is the cluster's name, `#` at the end digits.
        like: String,
    },
    /// Tags of the cluster group.
    Tags {
        /// Keys and values, in which `*` and `?` are wildcards and `{cluster}` is the cluster's name.
        tags: Vec<(String, String)>,
    },
    /// A setting.
    Setting(SettingCheck),
    /// Subnets of a party's interfaces are among those of `describe-cluster`.
    Subnets {
        /// Whose.
        of: Party,
    },
    /// An interface carries the groups of its instance's primary interface (E.2).
    SameGroups {
        /// Which ones.
        of: Party,
    },
    /// The EndpointSlices of `default/kubernetes` and the interfaces of the control plane.
    Endpoints {
        /// Whether every interface must be listed, in place of every listed address being one of them.
        every_interface: bool,
    },
    /// A network ACL of the cluster's VPC does not let everything pass.
    FilteringAcl,
}

/// How groups of an interface stand to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// All of these are among them.
    Include,
    /// None of these is among them.
    Exclude,
    /// There are no others.
    Within,
    /// They are these, no more and no fewer.
    Are,
}

/// What has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// The cluster group, by its name.
    ClusterGroup,
    /// The interfaces behind the API servers that Kubernetes lists, by their descriptions.
    ApiServers,
}

/// Most things that are named where something is not as was said.
const NAMED_MAX: usize = 3;

impl Condition {
    /// Looks.
    pub(super) fn look(&self, world: &World<'_>) -> Look {
        let mut look = self.check.look(world);
        if !self.wanted {
            look.answer = match look.answer {
                Match::Yes => Match::No,
                Match::No => Match::Yes,
                Match::Unsure => Match::Unsure,
            };
        }
        look
    }
}

impl Check {
    /// Whom it is about; absent where it is about groups or settings.
    pub(super) fn party(&self) -> Option<&Party> {
        match self {
            Self::Groups { of, .. }
            | Self::Count { of, .. }
            | Self::Subnets { of }
            | Self::SameGroups { of } => Some(of),
            Self::Rule(_)
            | Self::Name { .. }
            | Self::Tags { .. }
            | Self::Setting(_)
            | Self::Endpoints { .. }
            | Self::FilteringAcl => None,
        }
    }

    fn look(&self, world: &World<'_>) -> Look {
        match self {
            Self::Groups {
                of,
                relation,
                groups,
            } => carried(world, of, *relation, groups),
            Self::Rule(rule) => rule.look(world),
            Self::Count { of, least, most } => count(world, of, *least, *most),
            Self::Name { of, like } => named(world, *of, like),
            Self::Tags { tags } => tagged(world, tags),
            Self::Setting(setting) => setting.look(world),
            Self::Subnets { of } => in_subnets(world, of),
            Self::SameGroups { of } => same_groups(world, of),
            Self::Endpoints { every_interface } => endpoints(world, *every_interface),
            Self::FilteringAcl => filtering_acl(world),
        }
    }
}

/// What people call an interface, with its id.
fn called(snapshot: &Snapshot, interface: &NetworkInterface) -> String {
    match snapshot.interface_name(interface) {
        Some(name) => format!("{name} ({})", interface.id),
        None => interface.id.to_string(),
    }
}

/// Looks at each interface of a party: what `fault` says of one that is not as it should be, else `good` of all.
fn each<'a>(
    world: &World<'a>,
    of: &Party,
    good: impl FnOnce(usize) -> String,
    fault: impl Fn(&'a NetworkInterface) -> Result<Option<String>, String>,
) -> Look {
    let members = of.members(world);
    let interfaces = members.interfaces();
    let mut faults = Vec::new();
    let mut doubts: Vec<String> = members.doubt.iter().cloned().collect();
    for interface in &interfaces {
        match fault(interface) {
            Ok(found) => faults.extend(found),
            Err(doubt) => doubts.push(doubt),
        }
    }
    if !faults.is_empty() {
        return Look::sure(false, shortened(&faults));
    }
    match doubts.first() {
        Some(_) => Look::unsure(shortened(&doubts)),
        None if interfaces.is_empty() => Look::unsure(nobody(of, &members)),
        None => Look::sure(true, good(interfaces.len())),
    }
}

fn nobody(of: &Party, members: &Members<'_>) -> String {
    let doubt = members.doubt.as_deref();
    doubt.map_or_else(
        || format!("there is nobody that `{of}` means"),
        str::to_owned,
    )
}

/// The first of some texts, and how many more there are.
fn shortened(texts: &[String]) -> String {
    let shown: Vec<&str> = texts.iter().take(NAMED_MAX).map(String::as_str).collect();
    let more = texts.len() - shown.len();
    match more {
        0 => shown.join("; "),
        more => format!("{}; and {more} more", shown.join("; ")),
    }
}

/// The groups that words mean.
fn all_groups(world: &World<'_>, words: &[GroupWord]) -> Result<BTreeSet<SecurityGroupId>, String> {
    let mut all = BTreeSet::new();
    for word in words {
        all.extend(word.groups(world)?);
    }
    Ok(all)
}

fn carried(world: &World<'_>, of: &Party, relation: Relation, words: &[GroupWord]) -> Look {
    let snapshot = world.snapshot;
    let groups = match all_groups(world, words) {
        Ok(groups) => groups,
        Err(why) => return Look::unsure(why),
    };
    let shown = listed(snapshot, &groups);
    let verb = match relation {
        Relation::Include => "carries",
        Relation::Exclude => "does not carry",
        Relation::Within => "carries nothing but",
        Relation::Are => "carries exactly",
    };
    let good = |count| format!("each of {} of `{of}` {verb} {shown}", interfaces(count));
    each(world, of, good, |interface| {
        if interface.reading == Reading::GroupsUnread {
            return Err(format!("the groups of {} are not known", interface.id));
        }
        let own: BTreeSet<SecurityGroupId> = interface.groups.iter().cloned().collect();
        let holds = match relation {
            Relation::Include => groups.is_subset(&own),
            Relation::Exclude => groups.is_disjoint(&own),
            Relation::Within => own.is_subset(&groups),
            Relation::Are => own == groups,
        };
        let who = called(snapshot, interface);
        Ok((!holds).then(|| format!("{who} carries {}", listed(snapshot, &own))))
    })
}

fn interfaces(count: usize) -> String {
    counted(count, "interface", "interfaces")
}

fn count(world: &World<'_>, of: &Party, least: usize, most: Option<usize>) -> Look {
    let members = of.members(world);
    let found = members.interfaces().len();
    let is_many = found >= least;
    let is_few = most.is_none_or(|most| found <= most);
    match members.doubt {
        Some(doubt) if !is_many => Look::unsure(doubt),
        Some(_) | None => {
            let text = match found {
                0 => format!("there is nobody that `{of}` means"),
                found => format!("`{of}`: {}", interfaces(found)),
            };
            Look::sure(is_many && is_few, text)
        }
    }
}

/// Whether a name is as a pattern says; `#` at its end stands for digits.
fn is_like(name: &str, pattern: &str) -> bool {
    let Some(pattern) = pattern.strip_suffix('#') else {
        return crate::snapshot::fits(pattern, name);
    };
    let start = name.trim_end_matches(|character: char| character.is_ascii_digit());
    start.len() < name.len() && crate::snapshot::fits(pattern, start)
}

fn filled(world: &World<'_>, pattern: &str) -> Result<String, String> {
    let cluster = world.snapshot.cluster().ok_or(NO_CLUSTER)?;
    Ok(pattern.replace("{cluster}", &cluster.name))
}

fn named(world: &World<'_>, of: Named, like: &str) -> Look {
    let pattern = match filled(world, like) {
        Ok(pattern) => pattern,
        Err(why) => return Look::unsure(why),
    };
    match of {
        Named::ClusterGroup => match cluster_group_answer(world) {
            Err(why) => Look::unsure(why),
            Ok(group) => match group.get("GroupName").and_then(|name| name.as_str()) {
                None => Look::unsure("`describe-security-groups` does not name it"),
                Some(name) => Look::sure(is_like(name, &pattern), format!("it is called `{name}`")),
            },
        },
        Named::ApiServers => {
            let servers = Party::api_servers();
            let good = |count| format!("{}: described as `{pattern}`", interfaces(count));
            each(world, &servers, good, |interface| {
                let described = &interface.description;
                let holds = is_like(described, &pattern);
                Ok((!holds).then(|| format!("{} is described as `{described}`", interface.id)))
            })
        }
    }
}

/// The answer of `describe-security-groups` for the cluster group.
fn cluster_group_answer<'a>(world: &World<'a>) -> Result<&'a serde_json::Value, String> {
    let groups = GroupWord::Cluster.groups(world)?;
    let answers = world.described.family("describe-security-groups");
    let mut found = answers.flat_map(|answer| {
        let list = answer.value().get("SecurityGroups");
        list.and_then(|list| list.as_array()).into_iter().flatten()
    });
    let is_it = |group: &&serde_json::Value| {
        let id = group.get("GroupId").and_then(|id| id.as_str());
        id.is_some_and(|id| groups.contains(id))
    };
    let found = found.find(is_it);
    found.ok_or_else(|| {
        let shown = listed(world.snapshot, &groups);
        format!("{shown} is not in `describe-security-groups`")
    })
}

fn tagged(world: &World<'_>, tags: &[(String, String)]) -> Look {
    let group = match cluster_group_answer(world) {
        Ok(group) => group,
        Err(why) => return Look::unsure(why),
    };
    let text = |tag: &serde_json::Value, key: &str| {
        let value = tag.get(key).and_then(|value| value.as_str());
        value.unwrap_or_default().to_owned()
    };
    let Some(own) = group.get("Tags").and_then(|tags| tags.as_array()) else {
        return Look::unsure("`describe-security-groups` says nothing of its tags");
    };
    let own: Vec<_> = own
        .iter()
        .map(|tag| (text(tag, "Key"), text(tag, "Value")))
        .collect();
    let mut absent = Vec::new();
    for (key, value) in tags {
        let (key, value) = match (filled(world, key), filled(world, value)) {
            (Ok(key), Ok(value)) => (key, value),
            (Err(why), _) | (_, Err(why)) => return Look::unsure(why),
        };
        let has = |tag: &(String, String)| tag.0 == key && is_like(&tag.1, &value);
        if !own.iter().any(has) {
            absent.push(format!("there is no tag {key}={value}"));
        }
    }
    if absent.is_empty() {
        let all = counted(tags.len(), "tag is", "tags are");
        return Look::sure(true, format!("its {all} there"));
    }
    Look::sure(false, shortened(&absent))
}

fn in_subnets(world: &World<'_>, of: &Party) -> Look {
    let Some(cluster) = world.snapshot.cluster() else {
        return Look::unsure(NO_CLUSTER);
    };
    let good = |count| {
        format!(
            "each of {} is in a subnet of the cluster",
            interfaces(count)
        )
    };
    each(world, of, good, |interface| {
        let holds = cluster.subnets.contains(&interface.subnet);
        let who = called(world.snapshot, interface);
        Ok((!holds).then(|| format!("{who} is in {}", interface.subnet)))
    })
}

fn same_groups(world: &World<'_>, of: &Party) -> Look {
    let snapshot = world.snapshot;
    let good = |count| {
        format!(
            "each of {} carries the primary one's groups",
            interfaces(count)
        )
    };
    each(world, of, good, |interface| {
        let primary = match snapshot.host(interface) {
            Host::Instance(id) => snapshot.primary_interface(&id),
            Host::Interface(_) => None,
        };
        let primary =
            primary.ok_or_else(|| format!("{} has no primary interface", interface.id))?;
        let is_read = |one: &NetworkInterface| one.reading != Reading::GroupsUnread;
        if !is_read(primary) || !is_read(interface) {
            return Err(format!("the groups of {} are not known", interface.id));
        }
        let holds = interface.groups == primary.groups;
        Ok((!holds).then(|| {
            format!(
                "{} carries {}, the primary {} carries {}",
                interface.id,
                listed(snapshot, &interface.groups),
                primary.id,
                listed(snapshot, &primary.groups)
            )
        }))
    })
}

fn endpoints(world: &World<'_>, every_interface: bool) -> Look {
    let snapshot = world.snapshot;
    let Some(listed) = &snapshot.api_endpoints else {
        return Look::unsure("`endpointslices` is not in the snapshot");
    };
    if snapshot.cluster().is_none() {
        return Look::unsure(NO_CLUSTER);
    }
    let control_plane = snapshot.control_plane_interfaces();
    let faults: Vec<String> = if every_interface {
        let has = |one: &NetworkInterface| one.addresses.iter().any(|own| listed.contains(own));
        let others = control_plane.iter().map(|found| found.interface);
        let others = others.filter(|interface| !has(interface));
        others
            .map(|one| format!("{} is not listed", called(snapshot, one)))
            .collect()
    } else {
        let owned = |address| {
            let mut all = control_plane.iter();
            all.any(|found| found.interface.owns(address))
        };
        let others = listed.iter().filter(|address| !owned(**address));
        others
            .map(|address| format!("{address} is of no such interface"))
            .collect()
    };
    if faults.is_empty() {
        let text = format!(
            "{} listed, {} of the control plane",
            counted(listed.len(), "address", "addresses"),
            interfaces(control_plane.len())
        );
        return Look::sure(true, text);
    }
    Look::sure(false, shortened(&faults))
}

fn filtering_acl(world: &World<'_>) -> Look {
    let Some(cluster) = world.snapshot.cluster() else {
        return Look::unsure(NO_CLUSTER);
    };
    let subnets = world.snapshot.subnets();
    let subnets = subnets.filter(|subnet| subnet.vpc.is_some() && subnet.vpc == cluster.vpc);
    let found: Vec<String> = subnets
        .filter_map(|subnet| {
            let acl = world.snapshot.network_acl_of(&subnet.id)?;
            let directions = [Direction::Ingress, Direction::Egress];
            let is_open = directions
                .iter()
                .all(|direction| is_open(acl.entries(*direction)));
            (!is_open).then(|| format!("{} of {} filters", acl.id, subnet.id))
        })
        .collect();
    match found.as_slice() {
        [] => Look::sure(false, "every network ACL lets everything pass".to_owned()),
        found => Look::sure(true, shortened(found)),
    }
}

/// Whether the first entry for IPv4 lets everything pass; a list without IPv6 entries says nothing of IPv6.
fn is_open(entries: &[NetworkAclEntry]) -> bool {
    let is_v4 = |entry: &&NetworkAclEntry| match entry.remote {
        Readable::Is(network) => network.addr().is_ipv4(),
        Readable::Unread => true,
    };
    entries.iter().find(is_v4).is_some_and(|entry| {
        let everybody = match entry.remote {
            Readable::Is(network) => network.prefix_len() == 0,
            Readable::Unread => false,
        };
        everybody && entry.traffic == Traffic::All && entry.action == Readable::Is(AclAction::Allow)
    })
}
