//! Who is meant: ends of flows by the names that people, AWS and Kubernetes give them.
//!
//! A [`Selector`] is read once from a word and looked up in a snapshot, which gives [`Ends`]. A name that stands for
//! several things of different kinds is an error that lists them, and one that nobody has an error that lists what comes
//! near.
//!
//! | word | ends |
//! |---|---|
//! | `10.0.1.20`, `10.0.1.0/24` | the address; every known address of the network |
//! | `control plane` | the interfaces of the control plane (D.1) |
//! | `NAMESPACE/POD`, `NAMESPACE/SERVICE` | the pod; the endpoints of the Service, which are what is dialled |
//! | a node's name, an instance's id or `Name` tag | its own address, not those of its pods |
//! | name of a node group or pool | its nodes |
//! | name of a Fargate profile | its pods |
//! | `NAMESPACE/LABEL=VALUE,…` | the pods there that have all of these labels |
//! | `eni-…`, `sg-…`, `subnet-…`, or their names | all addresses of the interface, of what has the group, of the subnet |
//!
//! Before a name may stand what it is the name of: `pod/NAMESPACE/POD`, `svc/NAMESPACE/SERVICE`, `node/NAME`,
//! `nodegroup/NAME`, `nodepool/NAME`, `fargate/NAME`, `sg/NAME`, `subnet/NAME`. In a name `*` stands for any text and `?`
//! for any character: then everything is meant that fits.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use thiserror::Error;

use crate::near::{NEAR_MAX, near};
use crate::net::Printable;
use crate::snapshot::{Owner, Pod, PodPhase, Snapshot, fits};

pub(crate) use ends::pairs_preferring;
pub use ends::{EndClass, EndPair, Ends, pairs};
pub use question::{InvalidQuestion, Question};
pub use thing::{EndName, Kind};

use ends::Members;
use thing::{Thing, things};

mod ends;
mod names;
mod question;
mod thing;

/// Who is meant by a word, before it is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// An address, whether an interface owns it or not.
    Address(IpAddr),
    /// The addresses of a network that are known.
    Network(IpNet),
    /// What has a name.
    Named {
        /// What it is the name of, where that is said.
        kind: Option<Kind>,
        /// The name, in which `*` and `?` are wildcards.
        name: String,
    },
    /// Pods by their labels.
    Labelled {
        /// Their namespace, in which `*` and `?` are wildcards.
        namespace: String,
        /// Labels that each of them has, with these values.
        labels: BTreeMap<String, String>,
    },
}

/// A word that selects nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SelectorError {
    /// There is no text.
    #[error("an empty name selects nothing")]
    Blank,
    /// It looks like an address and is none.
    #[error("`{}` is no IP address and no network", Printable(word))]
    NoAddress {
        /// The word.
        word: String,
    },
    /// No thing has the name.
    #[error("nothing is called `{}`{}", Printable(word), hint(near))]
    Unknown {
        /// The word.
        word: String,
        /// What comes near, as it can be selected; raw text.
        near: Vec<String>,
    },
    /// Several things have the name.
    #[error(
        "`{}` stands for {}: {}; take one of them, or `*` for all", Printable(word), candidates.len(), listed(candidates)
    )]
    Ambiguous {
        /// The word.
        word: String,
        /// The things, as each can be selected; raw text.
        candidates: Vec<String>,
    },
    /// The ends that are meant are of two address families, or there is one end alone.
    #[error(
        "no end of `{}` and no end of `{}` have one address family",
        Printable(from),
        Printable(to)
    )]
    NoPair {
        /// Who was to send.
        from: String,
        /// Who was to receive.
        to: String,
    },
    /// The thing stands for no address.
    #[error("`{}` has no address in the snapshot{}", Printable(word), hint(near))]
    NoEnds {
        /// The word.
        word: String,
        /// Addresses that come near.
        near: Vec<String>,
    },
}

fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(NEAR_MAX)
        .map(|name| format!("`{}`", Printable(name)))
        .collect();
    let more = names.len() - shown.len();
    match more {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn hint(near: &[String]) -> String {
    if near.is_empty() {
        return String::new();
    }
    format!("; near it: {}", listed(near))
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let word = text.trim();
        if word.is_empty() {
            return Err(SelectorError::Blank);
        }
        if let Ok(address) = word.parse() {
            return Ok(Self::Address(address));
        }
        if let Ok(network) = word.parse::<IpNet>() {
            return Ok(Self::Network(network.trunc()));
        }
        let is_number = |character: char| character.is_ascii_digit() || ".:/".contains(character);
        if word.chars().all(is_number) {
            return Err(SelectorError::NoAddress {
                word: word.to_owned(),
            });
        }
        if let Some(labelled) = labelled(word) {
            return Ok(labelled);
        }
        let prefixed = word.split_once('/');
        let prefixed = prefixed.and_then(|(prefix, name)| Some((Kind::of_prefix(prefix)?, name)));
        Ok(match prefixed {
            Some((kind, name)) => Self::Named {
                kind: Some(kind),
                name: name.to_owned(),
            },
            None => Self::Named {
                kind: None,
                name: word.to_owned(),
            },
        })
    }
}

impl fmt::Display for Selector {
    /// Writes what selects the same, raw text.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(formatter),
            Self::Network(network) => network.fmt(formatter),
            Self::Named { kind: None, name } => formatter.write_str(name),
            Self::Named {
                kind: Some(kind),
                name,
            } => write!(formatter, "{kind}/{name}"),
            Self::Labelled { namespace, labels } => {
                let labels: Vec<String> = labels
                    .iter()
                    .map(|(label, value)| format!("{label}={value}"))
                    .collect();
                write!(formatter, "{namespace}/{}", labels.join(","))
            }
        }
    }
}

impl Selector {
    /// Looks up who is meant.
    ///
    /// # Errors
    /// [`SelectorError`] for a name that nobody or more than one thing has, and for one without addresses. An address
    /// need not be anybody's.
    pub fn resolve(&self, snapshot: &Snapshot) -> Result<Ends, SelectorError> {
        let (word, members) = match self {
            Self::Address(address) => {
                let members = Members {
                    addresses: [*address].into(),
                    ..Members::default()
                };
                return Ok(Ends { members });
            }
            Self::Network(network) => (network.to_string(), in_network(snapshot, *network)),
            Self::Named { kind, name } => {
                let word = self.to_string();
                let mut members = Members::default();
                for thing in chosen(snapshot, &word, (*kind, name))? {
                    thing.add_to(&mut members, snapshot);
                }
                (word, members)
            }
            Self::Labelled { namespace, labels } => {
                (self.to_string(), with_labels(snapshot, namespace, labels))
            }
        };
        if members == Members::default() {
            return Err(SelectorError::NoEnds {
                word,
                near: Vec::new(),
            });
        }
        Ok(Ends { members })
    }

    /// Says that what is meant is in no class of the snapshot, with addresses that come near where one was given.
    #[must_use]
    pub fn in_no_class(&self, snapshot: &Snapshot) -> SelectorError {
        let near = match self {
            Self::Address(address) => near_addresses(snapshot, *address),
            Self::Network(network) => near_addresses(snapshot, network.addr()),
            Self::Named { .. } | Self::Labelled { .. } => Vec::new(),
        };
        SelectorError::NoEnds {
            word: self.to_string(),
            near,
        }
    }
}

/// Reads `NAMESPACE/LABEL=VALUE,…`; nothing where it is something else. No pod and no Service has `=` in its name.
fn labelled(word: &str) -> Option<Selector> {
    let (namespace, labels) = word
        .split_once('/')
        .filter(|(_, rest)| rest.contains('='))?;
    let labels = labels.split(',').map(|label| {
        let (label, value) = label.split_once('=')?;
        Some((label.trim().to_owned(), value.trim().to_owned()))
    });
    Some(Selector::Labelled {
        namespace: namespace.to_owned(),
        labels: labels.collect::<Option<_>>()?,
    })
}

/// The pods of a namespace that have all of `labels`.
fn with_labels(snapshot: &Snapshot, namespace: &str, labels: &BTreeMap<String, String>) -> Members {
    let is_meant = |pod: &&Pod| {
        pod.phase == PodPhase::Live
            && is_called(&pod.namespace, namespace)
            && labels
                .iter()
                .all(|(label, value)| pod.labels.get(label) == Some(value))
    };
    let mut members = Members::default();
    for pod in snapshot.pods().iter().filter(is_meant) {
        Thing::Pod(pod).add_to(&mut members, snapshot);
    }
    members
}

/// Every known address of a network.
fn in_network(snapshot: &Snapshot, network: IpNet) -> Members {
    let is_inside = |address: &IpAddr| network.contains(address);
    Members {
        addresses: known_addresses(snapshot).filter(is_inside).collect(),
        ..Members::default()
    }
}

/// The addresses that interfaces list, and those of pods.
fn known_addresses(snapshot: &Snapshot) -> impl Iterator<Item = IpAddr> {
    let listed = snapshot
        .network_interfaces()
        .flat_map(|it| it.addresses.iter());
    let pods = snapshot.pods().iter().flat_map(|pod| pod.addresses.iter());
    let pods = pods.filter(|address| snapshot.owner(**address) != Owner::Nobody);
    listed.chain(pods).copied()
}

/// Known addresses that have the longest beginning in common with one that is not.
fn near_addresses(snapshot: &Snapshot, wanted: IpAddr) -> Vec<String> {
    let mut found: Vec<(u128, IpAddr)> = known_addresses(snapshot)
        .filter_map(|address| Some((difference(wanted, address)?, address)))
        .collect();
    found.sort_unstable();
    found.dedup();
    let nearest = found.into_iter().take(NEAR_MAX);
    nearest.map(|(_, address)| address.to_string()).collect()
}

/// The bits in which two addresses of one family differ, as a number: the longer the common beginning, the smaller.
fn difference(one: IpAddr, other: IpAddr) -> Option<u128> {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => Some(u128::from(one.to_bits() ^ other.to_bits())),
        (IpAddr::V6(one), IpAddr::V6(other)) => Some(one.to_bits() ^ other.to_bits()),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

/// Whether a name has wildcards.
fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// Whether something is called so: capital letters do not matter, unless there are wildcards.
fn is_called(own: &str, name: &str) -> bool {
    if is_pattern(name) {
        fits(name, own)
    } else {
        own.eq_ignore_ascii_case(name)
    }
}

/// The things that a name means: one, or with wildcards all that fit.
fn chosen<'s>(
    snapshot: &'s Snapshot,
    word: &str,
    (kind, name): (Option<Kind>, &str),
) -> Result<Vec<Thing<'s>>, SelectorError> {
    let of_kind = || things(snapshot).filter(|thing| kind.is_none_or(|kind| kind == thing.kind()));
    let with = |is_meant: &dyn Fn(&str) -> bool| -> Vec<Thing<'s>> {
        of_kind()
            .filter(|thing| thing.names().iter().any(|name| is_meant(name)))
            .collect()
    };
    let is_pattern = is_pattern(name);
    let mut found = with(&|own| own == name);
    if found.is_empty() {
        found = with(&|own| is_called(own, name));
    }
    let is_one = found
        .split_first()
        .is_some_and(|(first, rest)| rest.iter().all(|thing| thing.is_same(*first)));
    if is_one || (is_pattern && !found.is_empty()) {
        return Ok(found);
    }
    let word = word.to_owned();
    if found.is_empty() {
        return Err(SelectorError::Unknown {
            word,
            near: near_things(of_kind(), name),
        });
    }
    let candidates = found.into_iter().map(Thing::called).collect();
    Err(SelectorError::Ambiguous { word, candidates })
}

/// Things with a name that comes near; where none does, some whose names begin as ids or namespaces do.
fn near_things<'s>(things: impl Iterator<Item = Thing<'s>>, name: &str) -> Vec<String> {
    let things: Vec<Thing<'s>> = things.collect();
    let word = name.replace(['*', '?'], "");
    let names = || things.iter().flat_map(|thing| thing.names());
    let mut found = near(&word, names());
    if let (true, Some((start, _))) = (found.is_empty(), word.split_once(['-', '/'])) {
        let alike = |own: &String| own.split_once(['-', '/']).map(|(own, _)| own) == Some(start);
        found = names().filter(alike).take(NEAR_MAX).collect();
    }
    let mut called = Vec::new();
    for name in &found {
        let own = things
            .iter()
            .filter(|thing| thing.names().contains(name))
            .map(|thing| thing.called());
        called.extend(own.filter(|one| !called.contains(one)).collect::<Vec<_>>());
    }
    called
}
