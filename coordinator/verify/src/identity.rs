//! Who an agent is (security.md, "Identity"): authentication yields an identity, and what the agent says of itself is
//! only compared with it.
//!
//! There are two ways to an identity and no switch: a token that these credentials signed ([`crate::token`]), and a
//! service-account token that an API server reviews (an [`Authenticator`] that the caller brings, as this crate knows no
//! Kubernetes).

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use reachproof_model::id::NodeName;
use reachproof_model::observation::AgentName;
use reachproof_model::plan::{AgentKind, RosterAgent};
use thiserror::Error;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// Longest token that is looked at, in bytes (security.md, "The review of a token").
pub const TOKEN_LENGTH_MAX: usize = 4096;

/// Metadata entry with the seconds after which a busy coordinator may be asked again.
pub const RETRY_AFTER: &str = "retry-after";

/// Who an agent is, whatever it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub name: AgentName,
    /// Where it runs.
    pub kind: AgentKind,
    /// Its addresses in the measured network, primary first, each once.
    pub addresses: Vec<IpAddr>,
    /// Its Kubernetes node; absent where the source does not say.
    pub node: Option<NodeName>,
    /// What vouches for it.
    pub source: IdentitySource,
}

/// What vouches for an identity. Two streams are of one agent if this and the name are the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum IdentitySource {
    /// A token that these credentials signed.
    Token {
        /// When it was issued, in seconds since 1970.
        issued_unix_s: u64,
    },
    /// A service-account token that the API server reviewed.
    Pod {
        /// UID of the pod to which it is bound.
        uid: String,
    },
}

impl fmt::Display for IdentitySource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { issued_unix_s } => write!(formatter, "token of {issued_unix_s}"),
            Self::Pod { uid } => write!(formatter, "pod {uid}"),
        }
    }
}

impl Identity {
    /// Compares what an agent says of itself with what it is.
    ///
    /// # Errors
    /// [`Refusal::Differs`] names the first field that is another.
    pub fn check(&self, said: &RosterAgent) -> Result<(), Refusal> {
        let differs = |field| Err(Refusal::Differs { field });
        if said.name != self.name {
            return differs("agent");
        }
        if said.kind != self.kind {
            return differs("kind");
        }
        let said_addresses = said.addresses.iter().map(IpAddr::to_canonical);
        if said_addresses.collect::<BTreeSet<_>>() != self.addresses.iter().copied().collect() {
            return differs("addresses");
        }
        match (&self.node, &said.node) {
            (Some(node), Some(said)) if node != said => differs("node"),
            (Some(_), Some(_) | None) | (None, Some(_) | None) => Ok(()),
        }
    }
}

/// Why an agent is not let in. The text is for the coordinator's log and for the agent alike: it never says how close a
/// token came.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No entry, or more than one.
    #[error("exactly one authorization entry is needed")]
    Entries,
    /// Another scheme.
    #[error("the authorization entry must be `Bearer TOKEN`")]
    Scheme,
    /// The token is too long.
    #[error("the token is longer than {TOKEN_LENGTH_MAX} bytes")]
    Long,
    /// The token has no form that is known here.
    #[error("the token is malformed")]
    Malformed,
    /// The signature is not by the key of these credentials.
    #[error("the token is signed by another key, make one with the coordinator's --credentials")]
    Signature,
    /// The token was made for other credentials.
    #[error("the token is of another installation or run, make a new one with `reachproof token`")]
    Installation,
    /// The token was made for one run, which is not the one under way.
    #[error(
        "the token was made for one run and that is over, make a new one with `reachproof token`"
    )]
    RunOver,
    /// The token begins later.
    #[error("the token is not yet valid, check the clocks")]
    NotYetValid,
    /// The token has ended.
    #[error("the token has expired, make a new one with `reachproof token`")]
    Expired,
    /// A service-account token, and nobody to review it.
    #[error("service-account tokens are not reviewed here, make a token with `reachproof token`")]
    NotReviewed,
    /// The API server does not vouch for the token and our audience.
    #[error("the API server does not vouch for the token and this audience")]
    NotAuthenticated,
    /// The account is not one that agents have.
    #[error("the service account of the token is not one of an agent")]
    Account,
    /// The token is not bound to a pod.
    #[error("the token is not bound to a pod")]
    Unbound,
    /// The pod is gone, ending, or another one.
    #[error("the pod of the token is gone or ending")]
    PodGone,
    /// The pod is not one of an agent of this release.
    #[error("the pod of the token is not an agent of this release")]
    PodForeign,
    /// Pod or node do not say yet what an identity needs.
    #[error("the pod of the token has no addresses yet")]
    PodNotReady,
    /// What the agent says of itself is not what it is.
    #[error("hello differs from the identity in `{field}`")]
    Differs {
        /// Field of `Hello`.
        field: &'static str,
    },
    /// An address is not one of the measured network.
    #[error("`{address}` is not an address of an interface in the snapshot")]
    NotInSnapshot {
        /// The address.
        address: IpAddr,
    },
    /// Another agent of this name is there.
    #[error("another agent has this name")]
    NameTaken,
    /// The reviews cannot be made now.
    #[error("tokens cannot be reviewed now, try again")]
    Busy {
        /// When to ask again.
        retry_after: Duration,
    },
}

impl Refusal {
    /// Whether the token itself was wrong, so that guessing is to be slowed down.
    pub fn is_wrong_token(&self) -> bool {
        self.code() == Code::Unauthenticated
    }

    /// Whether it may pass by itself, so that the same agent may be let in soon.
    pub fn is_passing(&self) -> bool {
        self.code() == Code::Unavailable
    }

    /// gRPC code: `UNAUTHENTICATED` for a wrong token, `UNAVAILABLE` where the same token may be taken later, so that agents do
    /// not give up.
    const fn code(&self) -> Code {
        match self {
            Self::Entries
            | Self::Scheme
            | Self::Long
            | Self::Malformed
            | Self::Signature
            | Self::Installation
            | Self::RunOver
            | Self::NotYetValid
            | Self::Expired
            | Self::NotReviewed
            | Self::NotAuthenticated
            | Self::Account
            | Self::Unbound
            | Self::PodGone
            | Self::PodForeign => Code::Unauthenticated,
            Self::Differs { .. } | Self::NotInSnapshot { .. } | Self::NameTaken => {
                Code::PermissionDenied
            }
            Self::PodNotReady | Self::Busy { .. } => Code::Unavailable,
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let mut status = Status::new(refusal.code(), refusal.to_string());
        if let Refusal::Busy { retry_after } = refusal {
            let seconds = MetadataValue::from(retry_after.as_secs().max(1));
            status.metadata_mut().insert(RETRY_AFTER, seconds);
        }
        status
    }
}

/// What comes of a token.
pub type Authenticated<'a> = Pin<Box<dyn Future<Output = Result<Identity, Refusal>> + Send + 'a>>;

/// Gives the holder of a token its identity.
pub trait Authenticator: Send + Sync {
    /// Checks `token`, which is printable and at most [`TOKEN_LENGTH_MAX`] bytes; the [`Refusal`] has the reason.
    fn authenticate<'a>(&'a self, token: &'a str) -> Authenticated<'a>;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_an_agent_says_must_be_what_it_is() {
        let identity = Identity {
            name: "a".try_into().unwrap(),
            kind: AgentKind::Pod,
            addresses: vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()],
            node: Some(NodeName::from("n")),
            source: IdentitySource::Pod {
                uid: "u".to_owned(),
            },
        };
        let said = RosterAgent {
            name: identity.name.clone(),
            node: None,
            kind: AgentKind::Pod,
            addresses: vec!["10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap()],
            ephemeral_ports: reachproof_model::net::PortRange::new(32_768, 60_999).unwrap(),
            stream_address: None,
        };
        assert_eq!(identity.check(&said), Ok(()));
        let other = |change: &dyn Fn(&mut RosterAgent)| {
            let mut said = said.clone();
            change(&mut said);
            match identity.check(&said) {
                Err(Refusal::Differs { field }) => field,
                other => unreachable!("{other:?}"),
            }
        };
        assert_eq!(other(&|said| said.name = "b".try_into().unwrap()), "agent");
        assert_eq!(other(&|said| said.kind = AgentKind::Node), "kind");
        assert_eq!(other(&|said| said.addresses.truncate(1)), "addresses");
        let node = NodeName::from("m");
        assert_eq!(other(&|said| said.node = Some(node.clone())), "node");
    }

    #[test]
    fn a_busy_coordinator_says_when_to_come_back_and_no_agent_gives_up() {
        let status = Status::from(Refusal::Busy {
            retry_after: Duration::from_millis(20),
        });
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.metadata().get(RETRY_AFTER).unwrap(), "1");
    }
}
