//! One question, one answer: waits, asks again, and says when to give up.

use std::time::Duration;

use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::client::Body;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::error::{Failure, RequestError};
use crate::limits::{ANSWER_BYTES_MAX, Limits, PAUSE_MAX, PAUSE_MIN};

/// Whole objects.
const JSON: &str = "application/json";

/// The metadata of a list's objects, without what is in them.
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// What is asked: a path below the API server, and a body for reviews and for what is created.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Question {
    method: Method,
    path: String,
    accept: &'static str,
    body: Option<Value>,
}

impl Question {
    /// Reads `path`, which includes its query.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            accept: JSON,
            body: None,
        }
    }

    /// Reads the metadata of the list at `path`.
    pub(crate) fn metadata(path: impl Into<String>) -> Self {
        Self {
            accept: METADATA,
            ..Self::get(path)
        }
    }

    /// Removes the object at `path`; asked again it is missing, which is an answer.
    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self {
            method: Method::DELETE,
            ..Self::get(path)
        }
    }

    /// Posts a review, which changes nothing and may therefore be asked again.
    pub(crate) fn review(path: impl Into<String>, body: Value) -> Self {
        Self {
            method: Method::POST,
            path: path.into(),
            accept: JSON,
            body: Some(body),
        }
    }

    /// Creates an object with a name of its own in the list at `path`; asked again the server says 409, which means that it
    /// is there.
    pub(crate) fn create(path: impl Into<String>, body: Value) -> Self {
        Self::review(path, body)
    }

    /// Replaces the object at `path` by `body`, which names the version that it replaces: the server says 409 where somebody
    /// else was first.
    pub(crate) fn update(path: impl Into<String>, body: Value) -> Self {
        Self {
            method: Method::PUT,
            ..Self::review(path, body)
        }
    }

    pub(crate) fn request(&self) -> Result<Request<Body>, http::Error> {
        let request = Request::builder()
            .method(self.method.clone())
            .uri(&self.path)
            .header(header::ACCEPT, self.accept);
        match &self.body {
            Some(body) => request
                .header(header::CONTENT_TYPE, JSON)
                .body(Body::from(body.to_string().into_bytes())),
            None => request.body(Body::empty()),
        }
    }
}

/// Answers that mean something to whoever asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// 2xx with JSON that came whole.
    Whole(Value),
    /// 403, with what the server said.
    Denied(String),
    /// 404: no such object, or no such kind of object.
    Missing,
    /// 410: the continue token or resource version is too old.
    Expired,
}

/// An answer, and how often was asked for it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    /// At least 1.
    pub(crate) attempts: u32,
}

/// What one attempt led to.
enum Attempt {
    Final(Answer),
    /// 401 or 403: final only from a server that is ready.
    Refused(Refusal),
    /// 401 or 403 from a server that refuses to say whether it is ready.
    Doubtful(Refusal, Failure),
    /// Came to nothing; another attempt may do better, not before the time that the server asked for.
    Failed(Failure, Option<Duration>),
    /// 429, with the time that the server asked for.
    Throttled(Option<Duration>),
}

/// Whether the account may ask for the server's health. On every cluster everybody may (`system:public-info-viewer`),
/// unless somebody took that away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// It may.
    Readable,
    /// It may not.
    Hidden,
}

/// What a server says that does not know the caller, or that knows nobody yet.
enum Refusal {
    Unauthorized,
    Denied(String),
}

/// Asks until there is an answer, an error that stays, or the patience of `limits` is over.
///
/// An outage (no connection, a broken or slow answer, 5xx) is waited out for [`Limits::outage`] from its first failure
/// on, throttling for [`Limits::throttled`]; `Retry-After` is honoured in both: never asked again before.
///
/// An API server that has just started refuses everybody until it has read its accounts and roles (seen with v1.36: for
/// a second after a restart, lists and `/readyz` alike are forbidden). So a refusal counts only when it is repeated
/// after `/readyz` was fine, or where the account may never ask for that.
///
/// # Errors
/// See [`RequestError`]; 403, 404 and 410 are answers.
pub(crate) async fn ask(
    client: &Client,
    question: &Question,
    limits: &Limits,
    health: Health,
) -> Result<Answered, RequestError> {
    let mut trouble = Trouble {
        begin: Instant::now(),
        attempts: 0,
        down: None,
        throttled: None,
    };
    let mut pause = PAUSE_MIN;
    loop {
        trouble.attempts = trouble.attempts.saturating_add(1);
        let asked = match settled(client, question, limits, health).await? {
            Attempt::Final(answer) => {
                return Ok(Answered {
                    answer,
                    attempts: trouble.attempts,
                });
            }
            Attempt::Refused(refusal) => return refusal.finally(trouble.attempts),
            Attempt::Doubtful(refusal, failure) => {
                if trouble.outage(failure, pause, limits.outage).is_err() {
                    return refusal.finally(trouble.attempts);
                }
                None
            }
            Attempt::Failed(failure, asked) => {
                trouble.outage(failure, asked.unwrap_or(pause), limits.outage)?;
                asked
            }
            Attempt::Throttled(asked) => {
                trouble.throttling(asked.unwrap_or(pause), limits.throttled)?;
                asked
            }
        };
        let wait = asked.unwrap_or(pause);
        tracing::debug!(
            path = question.path,
            wait_ms = wait.as_millis(),
            "asks again"
        );
        sleep(wait).await;
        pause = pause.saturating_mul(2).min(PAUSE_MAX);
    }
}

impl Refusal {
    /// What the caller is told once the refusal counts.
    fn finally(self, attempts: u32) -> Result<Answered, RequestError> {
        match self {
            Self::Unauthorized => Err(RequestError::Unauthorized),
            Self::Denied(message) => Ok(Answered {
                answer: Answer::Denied(message),
                attempts,
            }),
        }
    }
}

/// What stands between a question and its answer so far.
struct Trouble {
    begin: Instant,
    attempts: u32,
    /// Since when no answer at all came.
    down: Option<Instant>,
    /// Since when the server asked to wait.
    throttled: Option<Instant>,
}

impl Trouble {
    /// Notes a failed attempt; an error if the next one, `wait` from now, comes after the patience.
    fn outage(
        &mut self,
        failure: Failure,
        wait: Duration,
        patience: Duration,
    ) -> Result<(), RequestError> {
        let since = *self.down.get_or_insert_with(Instant::now);
        if since.elapsed().saturating_add(wait) <= patience {
            return Ok(());
        }
        Err(RequestError::Unreachable {
            waited: self.begin.elapsed(),
            attempts: self.attempts,
            source: Box::new(failure),
        })
    }

    /// Notes an answer that asked to wait, which also shows that the server is up.
    fn throttling(&mut self, wait: Duration, patience: Duration) -> Result<(), RequestError> {
        self.down = None;
        let since = *self.throttled.get_or_insert_with(Instant::now);
        if since.elapsed().saturating_add(wait) <= patience {
            return Ok(());
        }
        Err(RequestError::Throttled {
            waited: self.begin.elapsed(),
            attempts: self.attempts,
            wait,
        })
    }
}

/// One attempt, and another one if it was refused by a server that is ready.
async fn settled(
    client: &Client,
    question: &Question,
    limits: &Limits,
    health: Health,
) -> Result<Attempt, RequestError> {
    let refusal = match attempt(client, question, limits).await? {
        Attempt::Refused(refusal) => refusal,
        other @ (Attempt::Final(_)
        | Attempt::Doubtful(..)
        | Attempt::Failed(..)
        | Attempt::Throttled(_)) => return Ok(other),
    };
    if health == Health::Hidden {
        return Ok(Attempt::Refused(refusal));
    }
    match in_time(client, &Question::get("/readyz"), limits).await? {
        Ok((status, headers, body)) if status.is_server_error() => {
            let failure = Failure::Status {
                status,
                message: message(&body),
            };
            Ok(Attempt::Failed(failure, retry_after(&headers)))
        }
        Ok((status, _, body)) if is_refusal(status) => Ok(Attempt::Doubtful(
            refusal,
            Failure::Status {
                status,
                message: message(&body),
            },
        )),
        Ok(_) => attempt(client, question, limits).await,
        Err(failure) => Ok(Attempt::Failed(failure, None)),
    }
}

fn is_refusal(status: StatusCode) -> bool {
    status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN
}

async fn attempt(
    client: &Client,
    question: &Question,
    limits: &Limits,
) -> Result<Attempt, RequestError> {
    match in_time(client, question, limits).await? {
        Ok((status, headers, body)) => judge(status, &headers, &body),
        Err(failure) => Ok(Attempt::Failed(failure, None)),
    }
}

/// A whole answer, whatever it says.
type Received = (StatusCode, HeaderMap, bytes::Bytes);

async fn in_time(
    client: &Client,
    question: &Question,
    limits: &Limits,
) -> Result<Result<Received, Failure>, RequestError> {
    let request = question.request().map_err(RequestError::Request)?;
    match timeout(limits.request_timeout, exchange(client, request)).await {
        Err(_elapsed) => Ok(Err(Failure::TimedOut(limits.request_timeout))),
        Ok(Err(Exchange::Credentials(source))) => Err(RequestError::Credentials(source)),
        Ok(Err(Exchange::Failed(failure))) => Ok(Err(failure)),
        Ok(Ok(received)) => Ok(Ok(received)),
    }
}

/// Why there is no answer at all.
enum Exchange {
    Credentials(Box<kube::Error>),
    Failed(Failure),
}

async fn exchange(client: &Client, request: Request<Body>) -> Result<Received, Exchange> {
    let response = client.send(request).await.map_err(|error| {
        let error = Box::new(error);
        if matches!(*error, kube::Error::Auth(_)) {
            Exchange::Credentials(error)
        } else {
            Exchange::Failed(Failure::Connection(error))
        }
    })?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| Exchange::Failed(Failure::Body(error)))?;
    Ok((parts.status, parts.headers, body.to_bytes()))
}

fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<Attempt, RequestError> {
    if status.is_success() {
        return Ok(match serde_json::from_slice(body) {
            Ok(value) => Attempt::Final(Answer::Whole(value)),
            Err(error) => Attempt::Failed(Failure::Json(error), None),
        });
    }
    let asked = retry_after(headers);
    match status {
        StatusCode::UNAUTHORIZED => Ok(Attempt::Refused(Refusal::Unauthorized)),
        StatusCode::FORBIDDEN => Ok(Attempt::Refused(Refusal::Denied(message(body)))),
        StatusCode::NOT_FOUND => Ok(Attempt::Final(Answer::Missing)),
        StatusCode::GONE => Ok(Attempt::Final(Answer::Expired)),
        StatusCode::TOO_MANY_REQUESTS => Ok(Attempt::Throttled(asked)),
        status if status.is_server_error() => Ok(Attempt::Failed(
            Failure::Status {
                status,
                message: message(body),
            },
            asked,
        )),
        status => Err(RequestError::Refused {
            status,
            message: message(body),
        }),
    }
}

/// Seconds of `Retry-After`. The API server never sends the form with a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

/// Characters of a server's message that are kept: more than any `Status` needs, less than a page of HTML.
const MESSAGE_CHARACTERS_MAX: usize = 300;

/// `message` of a `Status`, else the beginning of the text, without control characters.
pub(crate) fn message(body: &[u8]) -> String {
    let status: Option<Value> = serde_json::from_slice(body).ok();
    let text = status
        .as_ref()
        .and_then(|status| status.get("message")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let printable = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c });
    printable.take(MESSAGE_CHARACTERS_MAX).collect()
}
