//! The name of a cluster's API server, as an agent takes it.

use std::str::FromStr;

use thiserror::Error;

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
}
