//! The name of the cluster's API server: the one name that the agent resolves for a run.
//!
//! It comes from the agent's own configuration and never over the stream, so that no coordinator can make an agent ask a
//! resolver for anything (SECURITY D.1). What it resolves to is reported, not connected to.

use std::{net::IpAddr, str::FromStr};

use reachproof_proto::{net::address_to_wire, v1::EndpointReport};
use thiserror::Error;
use tokio::time::timeout;

use crate::{
    limits::{ENDPOINT_ADDRESSES_MAX, FAILURE_TEXT_MAX, RESOLVE_TIMEOUT},
    probe::RunName,
    seams::Net,
};

/// How the names of cluster endpoints end, in the partitions of AWS: older clusters, and those with dual-stack endpoints
/// (SEMANTICS D.5).
const SUFFIXES: [&str; 4] = [
    ".eks.amazonaws.com",
    ".eks.amazonaws.com.cn",
    ".api.aws",
    ".api.amazonwebservices.com.cn",
];

/// Longest name in bytes (RFC 1035).
const NAME_MAX: usize = 253;

/// A name that a cluster endpoint can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointName(String);

/// A text that is no such name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{text}` is not the name of a cluster endpoint, needs a host name of at most {NAME_MAX} bytes below eks.amazonaws.com or api.aws"
)]
pub struct InvalidEndpointName {
    /// The text.
    pub text: String,
}

impl EndpointName {
    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EndpointName {
    type Err = InvalidEndpointName;

    /// Reads a host name; `https://` before it is taken off, since `aws eks describe-cluster` prints it so.
    fn from_str(text: &str) -> Result<EndpointName, InvalidEndpointName> {
        let name = text
            .strip_prefix("https://")
            .unwrap_or(text)
            .to_ascii_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let known = SUFFIXES.iter().any(|suffix| {
            name.strip_suffix(suffix)
                .is_some_and(|rest| !rest.is_empty())
        });
        if known && name.len() <= NAME_MAX && name.split('.').all(label) {
            return Ok(EndpointName(name));
        }
        Err(InvalidEndpointName {
            text: text.to_owned(),
        })
    }
}

/// Asks the resolver of the host once and says what it said.
pub async fn resolve<N: Net>(net: N, name: EndpointName, run: RunName) -> EndpointReport {
    let asked = timeout(RESOLVE_TIMEOUT, net.resolve(name.as_str())).await;
    let (addresses, failure) = match asked {
        Ok(Ok(addresses)) => (addresses, String::new()),
        Ok(Err(error)) => (Vec::new(), error.to_string()),
        Err(_) => (Vec::new(), "the resolver did not answer".to_owned()),
    };
    EndpointReport {
        run: run.as_str().to_owned(),
        addresses: distinct(addresses),
        name: name.0,
        failure: short(&failure),
    }
}

/// The addresses as they go over the wire: sorted, each once, as many as are reported.
fn distinct(mut addresses: Vec<IpAddr>) -> Vec<Vec<u8>> {
    addresses.sort();
    addresses.dedup();
    addresses
        .into_iter()
        .take(ENDPOINT_ADDRESSES_MAX)
        .map(address_to_wire)
        .collect()
}

/// A text without control characters that is not too long.
fn short(text: &str) -> String {
    let mut short = String::new();
    for character in text.chars().filter(|character| !character.is_control()) {
        if short.len() + character.len_utf8() > FAILURE_TEXT_MAX {
            break;
        }
        short.push(character);
    }
    short
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn names_of_endpoints_are_taken_with_and_without_the_scheme() {
        for text in [
            "ABC0.gr7.eu-central-1.eks.amazonaws.com",
            "https://abc0.gr7.eu-central-1.eks.amazonaws.com",
        ] {
            let name: EndpointName = text.parse().unwrap();
            assert_eq!(name.as_str(), "abc0.gr7.eu-central-1.eks.amazonaws.com");
        }
        for text in [
            "abc.sk1.cn-north-1.eks.amazonaws.com.cn",
            "abc.eks-cluster.eu-central-1.api.aws",
        ] {
            assert!(text.parse::<EndpointName>().is_ok(), "{text}");
        }
    }

    #[test]
    fn any_other_name_is_refused() {
        let long = format!("{}.eks.amazonaws.com", "a.".repeat(120));
        for text in [
            "",
            "example.com",
            "eks.amazonaws.com",
            ".eks.amazonaws.com",
            "a..eks.amazonaws.com",
            "abc.eks.amazonaws.com.example.com",
            "abcxeks.amazonaws.com",
            "abc.eks.amazonaws.com:443",
            "abc.eks.amazonaws.com/path",
            "https://https://abc.eks.amazonaws.com",
            "a\nb.eks.amazonaws.com",
            "10.0.0.1",
            long.as_str(),
        ] {
            assert!(text.parse::<EndpointName>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_failure_is_cut_and_cleaned() {
        assert_eq!(short("no\u{1b}[31m\nsuch"), "no[31msuch");
        assert!(short(&"ä".repeat(200)).len() <= FAILURE_TEXT_MAX);
    }
}
