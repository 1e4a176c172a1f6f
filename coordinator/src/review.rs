//! Agents by their service-account tokens: what the API server says of a pod, as an identity.
//!
//! The reader of Kubernetes and the control server do not know each other (ARCHITECTURE, "Floors"); this is where they
//! are joined.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reachproof_kube::token::{
    AgentPlace, AgentPod, AgentRules, RETRY_AFTER, TokenRefusal, TokenReviewer,
};
use reachproof_kube::{ApiServer, ConnectError, Entry, Limits};
use reachproof_model::id::NodeName;
use reachproof_model::observation::AgentName;
use reachproof_model::plan::AgentKind;
use reachproof_verify::audience::{Account, Audience, INSTANCE_LABEL, Installation};
use reachproof_verify::{Authenticated, Authenticator, Identity, IdentitySource, Refusal};

/// How long an API server may be away before an agent hears to come back: an agent waits 10 s for its welcome.
const PATIENCE: Duration = Duration::from_secs(4);

/// Connects to the API server that reviews the tokens of agents in `cluster`, which belong to an installation and have one of
/// `accounts`.
///
/// # Errors
/// [`ConnectError`] when it cannot be reached.
pub(crate) async fn reviewer(
    entry: &Entry,
    cluster: &str,
    (installation, accounts): (&Installation, &[Account]),
) -> Result<Arc<dyn Authenticator>, ConnectError> {
    // The Kubernetes client takes the process's provider; a second installation changes nothing.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let limits = Limits {
        request_timeout: PATIENCE,
        outage: PATIENCE,
        throttled: PATIENCE,
        ..Limits::default()
    };
    let server = ApiServer::connect(entry, limits).await?;
    let accounts = accounts.iter();
    let rules = AgentRules {
        audience: Audience::of(cluster, installation).to_string(),
        accounts: accounts
            .map(|account| (account.namespace.clone(), account.name.clone()))
            .collect(),
        label: (INSTANCE_LABEL.to_owned(), installation.release.clone()),
    };
    let mut reviewer = TokenReviewer::new(server, rules);
    reviewer.learn_issuer().await;
    Ok(Arc::new(Reviewer(reviewer)))
}

/// The API server as a witness.
struct Reviewer(TokenReviewer);

impl Authenticator for Reviewer {
    fn authenticate<'a>(&'a self, token: &'a str) -> Authenticated<'a> {
        Box::pin(async {
            let pod = self.0.review(token, SystemTime::now()).await;
            identity(pod.map_err(refusal)?)
        })
    }
}

/// Who the agent in a pod is.
fn identity(pod: AgentPod) -> Result<Identity, Refusal> {
    Ok(Identity {
        name: AgentName::try_from(pod.name.as_str()).map_err(|_| Refusal::Malformed)?,
        kind: match pod.place {
            AgentPlace::Host => AgentKind::Node,
            AgentPlace::Pod => AgentKind::Pod,
            AgentPlace::Fargate => AgentKind::Fargate,
        },
        addresses: pod.addresses,
        node: Some(NodeName::from(pod.node.as_str())),
        source: IdentitySource::Pod { uid: pod.uid },
    })
}

/// The control server's word for a refusal.
fn refusal(refusal: TokenRefusal) -> Refusal {
    match refusal {
        TokenRefusal::Malformed => Refusal::Malformed,
        TokenRefusal::Issuer | TokenRefusal::Audience | TokenRefusal::NotAuthenticated => {
            Refusal::NotAuthenticated
        }
        TokenRefusal::NotYetValid => Refusal::NotYetValid,
        TokenRefusal::Expired => Refusal::Expired,
        TokenRefusal::Account => Refusal::Account,
        TokenRefusal::Unbound => Refusal::Unbound,
        TokenRefusal::PodGone => Refusal::PodGone,
        TokenRefusal::PodForeign => Refusal::PodForeign,
        TokenRefusal::PodNotReady => Refusal::PodNotReady,
        TokenRefusal::Unavailable => Refusal::Busy {
            retry_after: RETRY_AFTER,
        },
    }
}
