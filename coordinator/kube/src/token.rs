//! The review of agents' service-account tokens: TokenReview, then the pod that the token is bound to (security.md,
//! "The review of a token").
//!
//! Whatever the agent is comes from the API server's objects. What a token says of itself is looked at only to refuse it
//! without a question.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::connect::ApiServer;
use crate::request::{Answer, Question};

use cache::{Cache, Digest};

mod cache;

/// Reviews under way at once (security.md, "Limits on reviews").
pub const REVIEWS_IN_FLIGHT_MAX: usize = 8;

/// Reviews that begin per second (security.md, "Limits on reviews").
pub const REVIEWS_PER_SECOND: u32 = 50;

/// When to ask again if there were too many.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How far the clocks of API server and coordinator may be apart.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60);

/// Where an API server says whose tokens it signs; accounts that may not read it are told nothing.
const DISCOVERY: &str = "/.well-known/openid-configuration";

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// Label with which EKS says what a node is.
const COMPUTE_TYPE: &str = "/metadata/labels/eks.amazonaws.com~1compute-type";

/// Who is an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRules {
    /// For whom the tokens of agents are made.
    pub audience: String,
    /// Namespaces and names of the accounts that agents have; nobody is admitted without one.
    pub accounts: Vec<(String, String)>,
    /// Label that every pod of an agent has.
    pub label: (String, String),
}

/// The pod of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentPod {
    /// Its UID.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Name of its node.
    pub node: String,
    /// Its addresses, primary first; in the host network those of the node.
    pub addresses: Vec<IpAddr>,
    /// Where it runs.
    pub place: AgentPlace,
}

/// Where a pod runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentPlace {
    /// In the host network of a node.
    Host,
    /// On the pod network of an EC2 node.
    Pod,
    /// On Fargate.
    Fargate,
}

/// Why a token gives no agent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenRefusal {
    /// It is not a service-account token.
    #[error("the token is malformed")]
    Malformed,
    /// Another issuer's than the API server.
    #[error("the token is of another issuer")]
    Issuer,
    /// It is made for somebody else.
    #[error("the token is made for another audience")]
    Audience,
    /// It begins later.
    #[error("the token is not yet valid")]
    NotYetValid,
    /// It has ended.
    #[error("the token has expired")]
    Expired,
    /// The API server does not vouch for it.
    #[error("the API server does not vouch for the token")]
    NotAuthenticated,
    /// Its account is none of an agent.
    #[error("the service account is not one of an agent")]
    Account,
    /// It is not bound to a pod.
    #[error("the token is not bound to a pod")]
    Unbound,
    /// Its pod is gone or ending, or another one has its name.
    #[error("the pod is gone or ending")]
    PodGone,
    /// Its pod is not one of an agent.
    #[error("the pod lacks the label of the release")]
    PodForeign,
    /// Its pod has no node or no address yet.
    #[error("the pod has no address yet")]
    PodNotReady,
    /// The API server cannot be asked, or not now.
    #[error("the API server cannot be asked now")]
    Unavailable,
}

/// What was asked so far; for tests and figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReviewCounts {
    /// TokenReviews that were sent.
    pub reviews: u64,
    /// Tokens that were answered from what is remembered.
    pub remembered: u64,
}

/// Reviews tokens at one API server.
#[derive(Debug)]
pub struct TokenReviewer {
    server: ApiServer,
    rules: AgentRules,
    /// Who issues tokens here; absent where the API server does not tell: then it is for the review to say.
    issuer: Option<String>,
    in_flight: Semaphore,
    memory: Mutex<Memory>,
}

#[derive(Debug)]
struct Memory {
    good: Cache<Bound>,
    bad: Cache<TokenRefusal>,
    /// Reviews that may still begin within the second that began then.
    left: u32,
    second: Instant,
    counts: ReviewCounts,
}

/// The pod that a token is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bound {
    namespace: String,
    name: String,
    uid: String,
}

impl TokenReviewer {
    /// Asks `server` about tokens; it should have little patience, as agents wait for the answer.
    #[must_use]
    pub fn new(server: ApiServer, rules: AgentRules) -> Self {
        Self {
            server,
            rules,
            issuer: None,
            in_flight: Semaphore::new(REVIEWS_IN_FLIGHT_MAX),
            memory: Mutex::new(Memory {
                good: Cache::default(),
                bad: Cache::default(),
                left: REVIEWS_PER_SECOND,
                second: Instant::now(),
                counts: ReviewCounts::default(),
            }),
        }
    }

    /// Asks the API server whose tokens it signs, so that those of others are refused without a review from now on.
    ///
    /// An API server that does not tell, or not this account, changes nothing.
    pub async fn learn_issuer(&mut self) {
        let asked = self.server.ask(&Question::get(DISCOVERY)).await;
        let issuer = match asked.map(|asked| asked.answer) {
            Ok(Answer::Whole(configuration)) => text(&configuration, "/issuer").to_owned(),
            Ok(Answer::Denied(_) | Answer::Missing | Answer::Expired) | Err(_) => String::new(),
        };
        self.issuer = (!issuer.is_empty()).then_some(issuer);
    }

    /// Gives the pod whose agent holds `token`, at `now`.
    ///
    /// # Errors
    /// [`TokenRefusal`]; only [`TokenRefusal::Unavailable`] and [`TokenRefusal::PodNotReady`] may pass by themselves.
    pub async fn review(&self, token: &str, now: SystemTime) -> Result<AgentPod, TokenRefusal> {
        let life = self.precheck(token, now)?;
        let digest = cache::digest(token);
        let Ok(_turn) = self.in_flight.try_acquire() else {
            return Err(TokenRefusal::Unavailable);
        };
        let bound = match self.remembered(digest) {
            Some(known) => known?,
            None => self.ask(token, digest, life).await?,
        };
        // Never remembered: the API server remembers tokens of pods that are gone for 10 s.
        self.pod(bound).await
    }

    /// What was asked so far.
    pub fn counts(&self) -> ReviewCounts {
        self.memory().counts
    }

    /// Refuses without a question what can only be refused; gives how long the token says that it is valid.
    fn precheck(&self, token: &str, now: SystemTime) -> Result<Duration, TokenRefusal> {
        let claims = claims(token).ok_or(TokenRefusal::Malformed)?;
        let issuer = claims.get("iss").and_then(Value::as_str);
        if self.issuer.is_some() && issuer != self.issuer.as_deref() {
            return Err(TokenRefusal::Issuer);
        }
        let audience = claims.get("aud").ok_or(TokenRefusal::Audience)?;
        let is_ours = |audience: &Value| audience.as_str() == Some(&self.rules.audience);
        let several = audience.as_array();
        let is_meant = several.map_or_else(|| is_ours(audience), |all| all.iter().any(is_ours));
        if !is_meant {
            return Err(TokenRefusal::Audience);
        }
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = |name: &str| {
            claims
                .get(name)
                .and_then(Value::as_u64)
                .map(Duration::from_secs)
        };
        let ends = time("exp").ok_or(TokenRefusal::Malformed)?;
        if ends.saturating_add(CLOCK_SKEW_MAX) < since {
            return Err(TokenRefusal::Expired);
        }
        if time("nbf").is_some_and(|begins| begins > since.saturating_add(CLOCK_SKEW_MAX)) {
            return Err(TokenRefusal::NotYetValid);
        }
        let uid = claims
            .pointer("/kubernetes.io/pod/uid")
            .and_then(Value::as_str);
        if uid.is_none_or(str::is_empty) {
            return Err(TokenRefusal::Unbound);
        }
        Ok(ends.saturating_sub(since))
    }

    /// What an earlier review said.
    fn remembered(&self, digest: Digest) -> Option<Result<Bound, TokenRefusal>> {
        let now = Instant::now();
        let mut memory = self.memory();
        let good = memory.good.get(&digest, now).map(Ok);
        let known = good.or_else(|| memory.bad.get(&digest, now).map(Err))?;
        memory.counts.remembered += 1;
        Some(known)
    }

    /// Reviews a token and remembers what came of it.
    async fn ask(
        &self,
        token: &str,
        digest: Digest,
        life: Duration,
    ) -> Result<Bound, TokenRefusal> {
        self.begin()?;
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self.rules.audience]},
        });
        let answer = self.answer(&Question::review(REVIEWS, body)).await?;
        let review = answer.ok_or(TokenRefusal::Unavailable)?;
        let judged = judge(&review, &self.rules);
        let now = Instant::now();
        let mut memory = self.memory();
        match &judged {
            Ok(bound) => memory
                .good
                .put(digest, bound.clone(), now, cache::GOOD_MAX.min(life)),
            Err(refusal) => memory.bad.put(digest, refusal.clone(), now, cache::BAD_FOR),
        }
        judged
    }

    /// Takes one of the second's reviews.
    fn begin(&self) -> Result<(), TokenRefusal> {
        let now = Instant::now();
        let mut memory = self.memory();
        if now.saturating_duration_since(memory.second) >= Duration::from_secs(1) {
            (memory.second, memory.left) = (now, REVIEWS_PER_SECOND);
        }
        memory.left = memory
            .left
            .checked_sub(1)
            .ok_or(TokenRefusal::Unavailable)?;
        memory.counts.reviews += 1;
        Ok(())
    }

    /// Looks the pod up.
    async fn pod(&self, bound: Bound) -> Result<AgentPod, TokenRefusal> {
        let Bound {
            namespace,
            name,
            uid,
        } = bound;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        let pod = self.answer(&Question::get(path)).await?;
        let pod = pod.ok_or(TokenRefusal::PodGone)?;
        if text(&pod, "/metadata/uid") != uid
            || pod.pointer("/metadata/deletionTimestamp").is_some()
        {
            return Err(TokenRefusal::PodGone);
        }
        let (label, value) = &self.rules.label;
        let labels = pod.pointer("/metadata/labels");
        let found = labels.and_then(|labels| labels.get(label)?.as_str());
        if found != Some(value) {
            return Err(TokenRefusal::PodForeign);
        }
        let node_name = text(&pod, "/spec/nodeName");
        if !is_name(node_name) {
            return Err(TokenRefusal::PodNotReady);
        }
        let path = format!("/api/v1/nodes/{node_name}");
        let node = self.answer(&Question::get(path)).await?;
        let node = node.ok_or(TokenRefusal::PodNotReady)?;
        let is_on_host = pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true));
        let (place, addresses) = if is_on_host {
            (AgentPlace::Host, node_addresses(&node))
        } else if text(&node, COMPUTE_TYPE) == "fargate" {
            (AgentPlace::Fargate, pod_addresses(&pod))
        } else {
            (AgentPlace::Pod, pod_addresses(&pod))
        };
        if addresses.is_empty() {
            return Err(TokenRefusal::PodNotReady);
        }
        Ok(AgentPod {
            uid,
            name,
            node: node_name.to_owned(),
            addresses,
            place,
        })
    }

    /// An answer; absent where there is no such object.
    async fn answer(&self, question: &Question) -> Result<Option<Value>, TokenRefusal> {
        let asked = self.server.ask(question).await;
        let asked = asked.inspect_err(|error| tracing::warn!(%error, "no review"));
        match asked.map_err(|_| TokenRefusal::Unavailable)?.answer {
            Answer::Whole(value) => Ok(Some(value)),
            Answer::Missing | Answer::Expired => Ok(None),
            Answer::Denied(message) => {
                tracing::warn!(message, "tokens cannot be reviewed: a right is missing");
                Err(TokenRefusal::Unavailable)
            }
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // What a thread left behind that failed is sound: no change is left half done.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The claims of a token, unverified.
fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (Some(head), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    decode(head)?;
    decode(signature)?;
    serde_json::from_slice(&decode(payload)?).ok()
}

/// What a TokenReview says: the pod of an agent, if all of it holds.
fn judge(review: &Value, rules: &AgentRules) -> Result<Bound, TokenRefusal> {
    let status = review.get("status").unwrap_or(&Value::Null);
    let is_authenticated = status.get("authenticated") == Some(&Value::Bool(true));
    if !is_authenticated || !text(status, "/error").is_empty() {
        return Err(TokenRefusal::NotAuthenticated);
    }
    // An authenticator that knows no audiences names none: the token is then one for the API server.
    let audiences = status.get("audiences").and_then(Value::as_array);
    let mut audiences = audiences.into_iter().flatten();
    if !audiences.any(|audience| audience.as_str() == Some(&rules.audience)) {
        return Err(TokenRefusal::NotAuthenticated);
    }
    let username = text(status, "/user/username");
    let account = rules.accounts.iter();
    let mut account = account.filter(|(namespace, name)| {
        username == format!("system:serviceaccount:{namespace}:{name}")
    });
    let (namespace, _) = account.next().ok_or(TokenRefusal::Account)?;
    let extra = |key: &str| {
        let values = status
            .pointer("/user/extra")
            .and_then(|extra| extra.get(key));
        let values = values.and_then(Value::as_array);
        match values.map(Vec::as_slice) {
            Some([Value::String(value)]) if !value.is_empty() => Ok(value.clone()),
            Some(_) | None => Err(TokenRefusal::Unbound),
        }
    };
    let (name, uid) = (extra(POD_NAME)?, extra(POD_UID)?);
    if !is_name(&name) {
        return Err(TokenRefusal::Unbound);
    }
    Ok(Bound {
        namespace: namespace.clone(),
        name,
        uid,
    })
}

/// Whether a text is the name of an object, so that it is safe in a path.
fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    (1..=253).contains(&text.len()) && text.bytes().all(is_allowed)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_default()
}

fn pod_addresses(pod: &Value) -> Vec<IpAddr> {
    let listed = pod.pointer("/status/podIPs").and_then(Value::as_array);
    let listed = listed.into_iter().flatten();
    listed
        .filter_map(|it| text(it, "/ip").parse().ok())
        .collect()
}

fn node_addresses(node: &Value) -> Vec<IpAddr> {
    let listed = node.pointer("/status/addresses").and_then(Value::as_array);
    let listed = listed.into_iter().flatten();
    let own = listed.filter(|it| text(it, "/type") == "InternalIP");
    own.filter_map(|it| text(it, "/address").parse().ok())
        .collect()
}
