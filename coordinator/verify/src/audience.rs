//! For whom service-account tokens of agents are made, and which accounts and pods are agents (security.md, "The review
//! of a token").

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Namespace of an installation unless somebody says otherwise.
pub const NAMESPACE: &str = "reachproof";

/// Name of an installation unless somebody says otherwise.
pub const RELEASE: &str = "reachproof";

/// Label whose value is the name of the installation that a pod belongs to.
pub const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";

/// Accounts that agents have unless somebody says otherwise: on the pod network, and in the host network.
pub const ACCOUNTS: [&str; 2] = [
    "reachproof/reachproof-agent",
    "reachproof-host/reachproof-agent",
];

/// For whom tokens are made: `reachproof/<cluster>/<namespace>/<release>`. A token for another installation, or for the API
/// server, is another audience's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audience(String);

impl Audience {
    /// The audience of the installation of the printed manifests in the cluster `name`.
    pub fn of_cluster(name: &str) -> Self {
        Self::of(name, &Installation::default())
    }

    /// The audience of an installation in the cluster `name`.
    pub fn of(name: &str, installation: &Installation) -> Self {
        Self(format!("reachproof/{name}/{installation}"))
    }

    /// The audience as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Which of several installations in a cluster: `NAMESPACE/RELEASE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// Namespace of its coordinator.
    pub namespace: String,
    /// Its name, which its agents have as [`INSTANCE_LABEL`].
    pub release: String,
}

impl Default for Installation {
    /// That of the printed manifests.
    fn default() -> Self {
        Self {
            namespace: NAMESPACE.to_owned(),
            release: RELEASE.to_owned(),
        }
    }
}

impl fmt::Display for Installation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.release)
    }
}

/// A service account that agents have: `NAMESPACE/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    /// Namespace of the account and of its pods.
    pub namespace: String,
    /// Name of the account.
    pub name: String,
}

impl Account {
    /// Name that the API server gives to the holder of a token of this account.
    pub fn username(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }
}

/// A text that is no account.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is no service account, write it like reachproof/reachproof-agent")]
pub struct InvalidAccount {
    /// The text.
    pub text: String,
}

impl FromStr for Account {
    type Err = InvalidAccount;

    fn from_str(text: &str) -> Result<Self, InvalidAccount> {
        let fits = |name: &str| {
            let is_allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
            (1..=253).contains(&name.len()) && name.bytes().all(is_allowed)
        };
        match text.split_once('/') {
            Some((namespace, name)) if fits(namespace) && fits(name) => Ok(Self {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            }),
            Some(_) | None => Err(InvalidAccount {
                text: text.to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn an_audience_names_cluster_namespace_and_release() {
        assert_eq!(
            Audience::of_cluster("demo").as_str(),
            "reachproof/demo/reachproof/reachproof"
        );
        let installation = Installation {
            namespace: "network".to_owned(),
            release: "probes".to_owned(),
        };
        assert_eq!(
            Audience::of("demo", &installation).as_str(),
            "reachproof/demo/network/probes"
        );
    }

    #[test]
    fn an_account_has_a_namespace_and_a_name() {
        for text in ACCOUNTS {
            assert!(text.parse::<Account>().is_ok(), "{text}");
        }
        let account: Account = "a/b".parse().unwrap();
        assert_eq!(account.username(), "system:serviceaccount:a:b");
        for bad in ["", "a", "/a", "a/", "a/b/c", "a/b:x", "A/b"] {
            assert!(bad.parse::<Account>().is_err(), "{bad}");
        }
    }
}
