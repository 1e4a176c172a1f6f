//! What can be wrong with a world file.

use std::net::IpAddr;

use thiserror::Error;

use super::notation::Direction;

/// A world that cannot be built.
#[derive(Debug, Error)]
pub enum WorldError {
    /// The file is not YAML, has an unknown key or a text that is not in the notation.
    #[error("cannot read world `{file}`: correct the line named below")]
    Yaml {
        /// What the file is called.
        file: String,
        /// What is wrong, with line and column.
        #[source]
        source: yaml_serde::Error,
    },
    /// No world of this name comes along.
    #[error("no world `{name}`: give a file, or one of {known}")]
    NoSuchWorld {
        /// The name that was given.
        name: String,
        /// Names that there are.
        known: String,
    },
    /// A name that cannot be one.
    #[error("`{name}` cannot name a {what}: use 1 to 40 lower-case letters, digits and hyphens")]
    Name {
        /// What it would name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Two things of one name.
    #[error(
        "`{name}` names two things: hosts, pods, interfaces and subnets need names of their own"
    )]
    SameName {
        /// The name.
        name: String,
    },
    /// A name that leads nowhere.
    #[error("{place} names {what} `{name}`, which does not exist: add it or correct the name")]
    Dangling {
        /// Where the name stands.
        place: String,
        /// What is missing.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The VPC of a group or table is open, since there are several.
    #[error("{place} does not say its `vpc`: there are several, name one")]
    VpcNeeded {
        /// Which group or table.
        place: String,
    },
    /// A rule in the wrong list.
    #[error("{place} holds `{rule}`: write `{}` in this list", match expected {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    })]
    Direction {
        /// Which list.
        place: String,
        /// The rule.
        rule: String,
        /// What the list is for.
        expected: Direction,
    },
    /// Two entries of one number in one list of a network ACL.
    #[error("{place} has two entries of number {number}: give each its own")]
    SameNumber {
        /// Which list.
        place: String,
        /// The number.
        number: u16,
    },
    /// An address outside the subnet that it is said to be in.
    #[error(
        "{place} has address {address}, which is not in subnet `{subnet}`: correct one of them"
    )]
    Outside {
        /// Whose address.
        place: String,
        /// The address.
        address: IpAddr,
        /// Name of the subnet.
        subnet: String,
    },
    /// No IPv4 address, which every interface has.
    #[error("{place} has no IPv4 address: every interface needs a primary one")]
    NoPrimaryAddress {
        /// Whose.
        place: String,
    },
    /// An address with two owners.
    #[error("{place} has address {address}, which another one has too: addresses are unique")]
    SameAddress {
        /// Whose.
        place: String,
        /// The address.
        address: IpAddr,
    },
    /// A pod address that no interface of its host owns.
    #[error(
        "pod `{pod}` has address {address}, which no interface of `{host}` owns: add it there, or give the pod a branch"
    )]
    PodAddress {
        /// Name of the pod.
        pod: String,
        /// Its address.
        address: IpAddr,
        /// Name of its host.
        host: String,
    },
    /// A branch interface without a trunk to sit on.
    #[error("pod `{pod}` has a branch, but `{host}` has no interface of kind `trunk`: add one")]
    NoTrunk {
        /// Name of the pod.
        pod: String,
        /// Name of its host.
        host: String,
    },
    /// A thing without what it is made of.
    #[error("{place} is empty: it needs at least one {what}")]
    Empty {
        /// Which thing.
        place: String,
        /// What is missing.
        what: &'static str,
    },
}
