//! The policy file, YAML or JSON.

use std::{
    fs::File,
    io::{self, Read},
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde::Deserialize;
use thiserror::Error;

use super::Policy;

/// Largest policy file in bytes: a VPC has at most a few hundred ranges.
pub const POLICY_FILE_MAX: u64 = 64 * 1024;

/// A policy file that does not say what is allowed.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// It could not be read.
    #[error("cannot read the policy `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is too large to be one.
    #[error("the policy `{}` is larger than {POLICY_FILE_MAX} bytes, needs ranges and not single addresses", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not a policy.
    #[error("the policy `{}` cannot be understood, needs `allow` and may have `deny` and `deny_ports`", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: yaml_serde::Error,
    },
    /// It allows no address.
    #[error("the policy `{}` allows no network, needs the ranges of the VPC under `allow`", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A port range is none.
    #[error("`{text}` in the policy `{}` is no port or range of ports, needs 1 to 65535 or FIRST-LAST", path.display())]
    Ports {
        /// The file.
        path: PathBuf,
        /// The entry.
        text: String,
    },
}

/// The file as it is written. Unknown keys are errors: a misspelt `deny` must not be an open policy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    /// Networks with the addresses that are allowed: the VPC's ranges.
    allow: Vec<IpNet>,
    /// Networks that are denied within those: the service range of the cluster, and whatever else.
    #[serde(default)]
    deny: Vec<IpNet>,
    /// Ports, each a number or `FIRST-LAST`, that are denied in addition to 22 and 3389.
    #[serde(default)]
    deny_ports: Vec<PortEntry>,
}

/// One entry of `deny_ports`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum PortEntry {
    /// One port.
    Number(u16),
    /// One port or a range, as text.
    Text(String),
}

impl Policy {
    /// Reads a policy file, YAML or JSON, with the keys `allow` (networks), `deny` (networks) and `deny_ports` (numbers or
    /// `FIRST-LAST`, inclusive).
    ///
    /// # Errors
    /// [`PolicyError`]: whatever is not understood is no policy, never a wider one.
    pub fn read(path: &Path) -> Result<Policy, PolicyError> {
        let unreadable = |source| PolicyError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let mut text = String::new();
        File::open(path)
            .map_err(unreadable)?
            .take(POLICY_FILE_MAX + 1)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
        if u64::try_from(text.len()).unwrap_or(u64::MAX) > POLICY_FILE_MAX {
            return Err(PolicyError::TooLarge {
                path: path.to_owned(),
            });
        }
        Policy::parse(path, &text)
    }

    /// Reads the text of a policy file; `path` is what errors call it.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn parse(path: &Path, text: &str) -> Result<Policy, PolicyError> {
        let content: Content =
            yaml_serde::from_str(text).map_err(|source| PolicyError::Invalid {
                path: path.to_owned(),
                source,
            })?;
        if content.allow.is_empty() {
            return Err(PolicyError::Empty {
                path: path.to_owned(),
            });
        }
        let ports = content
            .deny_ports
            .into_iter()
            .map(|entry| {
                entry.ports().map_err(|text| PolicyError::Ports {
                    path: path.to_owned(),
                    text,
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Policy::new(content.allow, content.deny, ports))
    }
}

impl PortEntry {
    /// The ports, or the text that names none.
    fn ports(self) -> Result<RangeInclusive<u16>, String> {
        let text = match self {
            PortEntry::Number(port) => return Ok(port..=port),
            PortEntry::Text(text) => text,
        };
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(first..=last),
            (Ok::<u16, _>(_) | Err(_), Ok::<u16, _>(_) | Err(_)) => Err(text),
        }
    }
}
