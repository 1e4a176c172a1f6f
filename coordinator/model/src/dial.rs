//! What an API server's answer says of a connection that it was asked to make (G.2, G.2b): one table.
//!
//! Whoever may read `pods/proxy` of a pod can let any API server dial it. What comes back is the backend's own answer, or
//! a `Status` in which the API server says what became of its dial, or why it made none. Nothing in here sends anything.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What came of one exchange with an API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchange<'a> {
    /// An answer came whole.
    Answer {
        /// HTTP status.
        status: u16,
        /// Its body.
        body: &'a [u8],
    },
    /// None came, for this reason.
    None(DialFailure),
}

/// What an API server's dial came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialled {
    /// The answer is the backend's own.
    Answered,
    /// The connection was made, and what came over it was no answer of HTTP.
    Broken,
    /// The dial was refused.
    Refused,
    /// The dial ended in its own time-out.
    Silent,
    /// The API server's host, or somebody on the way, said that there is no way.
    Unreachable,
    /// Nothing is known of a dial.
    Unclear(DialFailure),
}

/// Why nothing is known of a dial: never silence (G.2b).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DialFailure {
    /// The API server does not know the caller (401).
    ApiUnauthorized,
    /// The caller may not ask for it (403).
    ApiForbidden,
    /// There is no such pod (404).
    ApiNotFound,
    /// The API server does not serve this (405).
    ApiNotAllowed,
    /// The API server asks to wait (429).
    ApiThrottled,
    /// The API server refuses the request as it is (another 4xx).
    ApiRefused,
    /// The API server failed by itself (5xx).
    ApiFailed,
    /// The API server connects to no such address (loopback, link-local, a pod without address).
    NotProxyable,
    /// Whoever answers at the interface is no API server of the cluster: its certificate does not hold.
    ApiCertificate,
    /// The interface could not be connected to, or the connection broke.
    ApiUnreachable,
    /// The API server did not answer within our own limit.
    ApiNoAnswer,
    /// The answer was longer than is read.
    ApiAnswerTooLong,
    /// The credentials for the API server could not be had.
    ApiCredentials,
    /// The API server connected to another address: the pod has moved.
    OtherAddress,
    /// The API server reported a time-out sooner than its own limit allows.
    TooSoon,
    /// The connection was not a new one: a rule that was taken away may leave it (A.4).
    #[serde(rename = "reused-connection")]
    Reused,
    /// What the API server said is in no table.
    ApiUnclear,
}

impl DialFailure {
    /// Every failure.
    pub(crate) const ALL: [Self; 17] = [
        Self::ApiUnauthorized,
        Self::ApiForbidden,
        Self::ApiNotFound,
        Self::ApiNotAllowed,
        Self::ApiThrottled,
        Self::ApiRefused,
        Self::ApiFailed,
        Self::NotProxyable,
        Self::ApiCertificate,
        Self::ApiUnreachable,
        Self::ApiNoAnswer,
        Self::ApiAnswerTooLong,
        Self::ApiCredentials,
        Self::OtherAddress,
        Self::TooSoon,
        Self::Reused,
        Self::ApiUnclear,
    ];

    /// Returns the word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiUnauthorized => "api-unauthorized",
            Self::ApiForbidden => "api-forbidden",
            Self::ApiNotFound => "api-not-found",
            Self::ApiNotAllowed => "api-not-allowed",
            Self::ApiThrottled => "api-throttled",
            Self::ApiRefused => "api-refused",
            Self::ApiFailed => "api-failed",
            Self::NotProxyable => "not-proxyable",
            Self::ApiCertificate => "api-certificate",
            Self::ApiUnreachable => "api-unreachable",
            Self::ApiNoAnswer => "api-no-answer",
            Self::ApiAnswerTooLong => "api-answer-too-long",
            Self::ApiCredentials => "api-credentials",
            Self::OtherAddress => "other-address",
            Self::TooSoon => "too-soon",
            Self::Reused => "reused-connection",
            Self::ApiUnclear => "api-unclear",
        }
    }
}

/// How `pods/proxy` begins to say that it failed towards the backend (G.2, `transport.go`).
const PROXY_FAILED: &str = "error trying to reach service: ";

/// How `pods/log` begins to say that it failed towards the kubelet (G.2).
const LOG_FAILED: &str = "Get \"https://";

/// How Go begins to say that a dial failed, before the address that was dialled.
const DIAL_FAILED: &str = "dial tcp ";

/// How Go begins to say that a connection failed later, before both of its ends.
const READ_FAILED: &str = "read tcp ";

/// How a dial ended, by the last words of Go's error. Without its system call, which older versions call otherwise.
const DIAL_ENDS: [(&str, Dialled); 8] = [
    ("i/o timeout", Dialled::Silent),
    ("connection timed out", Dialled::Silent),
    ("connection refused", Dialled::Refused),
    ("no route to host", Dialled::Unreachable),
    ("network is unreachable", Dialled::Unreachable),
    ("host is unreachable", Dialled::Unreachable),
    ("host is down", Dialled::Unreachable),
    ("permission denied", Dialled::Unreachable),
];

/// System calls that Go names before what they said.
const SYSTEM_CALLS: [&str; 2] = ["connect: ", "getsockopt: "];

/// Words that only a connection leads to that was made (G.2).
const CONNECTED: [&str; 9] = [
    "x509",
    "tls: ",
    "EOF",
    "connection reset",
    "broken pipe",
    "malformed HTTP",
    "HTTP/1.x transport connection broken",
    "server gave HTTP response to HTTPS client",
    "attempted to redirect",
];

/// What a `Status` says that is not about a dial: its code and words of its message (none: any), the first that fits.
const OWN_ANSWERS: [(std::ops::RangeInclusive<u16>, &str, DialFailure); 9] = [
    (400..=599, "address not allowed", DialFailure::NotProxyable),
    (
        400..=599,
        "no endpoints available",
        DialFailure::NotProxyable,
    ),
    (401..=401, "", DialFailure::ApiUnauthorized),
    (403..=403, "", DialFailure::ApiForbidden),
    (404..=404, "", DialFailure::ApiNotFound),
    (405..=405, "", DialFailure::ApiNotAllowed),
    (429..=429, "", DialFailure::ApiThrottled),
    (400..=499, "", DialFailure::ApiRefused),
    (500..=599, "", DialFailure::ApiFailed),
];

/// Words of the kubelet, as of every TLS server of Go, to whoever speaks plain HTTP to its port (G.2b).
const KUBELET_WORDS: &str = "Client sent an HTTP request to an HTTPS server.";

/// Status that comes with [`KUBELET_WORDS`].
const KUBELET_STATUS: u16 = 400;

/// Status with which an API server asks to wait, also in plain text.
const THROTTLED: u16 = 429;

/// Says what an exchange shows of a dial to `target`.
///
/// `kind: Status` in JSON is the API server's word, anything else the backend's (G.2b). A dial to another address than
/// `target` is [`DialFailure::OtherAddress`], whatever it came to.
#[must_use]
pub fn dialled(exchange: Exchange<'_>, target: SocketAddr) -> Dialled {
    let (status, body) = match exchange {
        Exchange::None(failure) => return Dialled::Unclear(failure),
        Exchange::Answer { status, body } => (status, body),
    };
    match status_message(body) {
        // Fair queueing answers in plain text; a backend that says so is taken for it, which costs a verdict at most.
        None if status == THROTTLED => Dialled::Unclear(DialFailure::ApiThrottled),
        None => Dialled::Answered,
        Some(message) => of_status(status, &message, target),
    }
}

/// Whether an answer is what the kubelet says on its port to whoever speaks plain HTTP.
#[must_use]
pub fn is_kubelet(status: u16, body: &[u8]) -> bool {
    status == KUBELET_STATUS && body.trim_ascii() == KUBELET_WORDS.as_bytes()
}

/// The source of a connection that broke, if the API server names it: its own word for what `getsockname` said.
#[must_use]
pub fn broken_source(exchange: Exchange<'_>) -> Option<SocketAddr> {
    let Exchange::Answer { body, .. } = exchange else {
        return None;
    };
    let message = status_message(body)?;
    let (_, ends) = message.split_once(READ_FAILED)?;
    ends.split_once("->")?.0.parse().ok()
}

/// The message of a `Status`; nothing for an answer of anybody else.
fn status_message(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let is = |field: &str, value: &str| answer.get(field).and_then(Value::as_str) == Some(value);
    if !is("kind", "Status") || !is("apiVersion", "v1") {
        return None;
    }
    let message = answer.get("message").and_then(Value::as_str);
    Some(message.unwrap_or_default().to_owned())
}

/// What the API server says by itself.
fn of_status(status: u16, message: &str, target: SocketAddr) -> Dialled {
    let failed = message.strip_prefix(PROXY_FAILED);
    let failed = failed.or_else(|| message.strip_prefix(LOG_FAILED));
    if let Some(failed) = failed {
        return of_failure(failed, target);
    }
    let own = OWN_ANSWERS.iter();
    let own = own.filter(|(codes, words, _)| codes.contains(&status) && message.contains(words));
    if message.contains("attempted to redirect") {
        return Dialled::Broken;
    }
    let failure = own.map(|(_, _, failure)| *failure).next();
    Dialled::Unclear(failure.unwrap_or(DialFailure::ApiUnclear))
}

/// What became of a connection that failed.
fn of_failure(failed: &str, target: SocketAddr) -> Dialled {
    if let Some((_, dial)) = failed.split_once(DIAL_FAILED) {
        return of_dial(dial, target);
    }
    if CONNECTED.iter().any(|words| failed.contains(words)) {
        return Dialled::Broken;
    }
    Dialled::Unclear(DialFailure::ApiUnclear)
}

/// How a dial ended: what follows [`DIAL_FAILED`].
fn of_dial(dial: &str, target: SocketAddr) -> Dialled {
    let Some((address, end)) = dial.split_once(": ") else {
        return Dialled::Unclear(DialFailure::ApiUnclear);
    };
    // `dial tcp 10.0.1.10:40000->10.0.1.20:10250` where Go was told its own address.
    let address = address.rsplit("->").next().unwrap_or(address);
    if address.parse() != Ok(target) {
        return Dialled::Unclear(DialFailure::OtherAddress);
    }
    let called = SYSTEM_CALLS.iter();
    let end = called
        .filter_map(|call| end.strip_prefix(call))
        .next()
        .unwrap_or(end);
    let known = DIAL_ENDS.iter().find(|(words, _)| *words == end);
    known.map_or(Dialled::Unclear(DialFailure::ApiUnclear), |(_, outcome)| {
        *outcome
    })
}
