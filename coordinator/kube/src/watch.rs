//! One watch: a stream of events about the objects of a kind.

use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::Value;
use tokio::time::timeout;

use crate::connect::ApiServer;
use crate::error::{Failure, RequestError};
use crate::limits::{EVENT_BYTES_MAX, WATCH_TIME};
use crate::request::{Question, message};
use crate::resource::Resource;

/// What a watch says.
#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    /// An object was added or changed: the object.
    Present(Value),
    /// An object was removed: its last state.
    Removed(Value),
    /// Nothing happened up to this version.
    Bookmark(String),
    /// The server ended the watch in good order.
    End,
}

/// Why a watch goes on no more.
#[derive(Debug)]
pub(crate) enum WatchEnd {
    /// 410: what happened since the version is forgotten.
    Expired,
    /// 401 or 403.
    Refused(RequestError),
    /// Anything that another attempt may mend.
    Failed(Failure),
}

/// An open watch.
pub(crate) struct Watch {
    body: Body,
    received: Vec<u8>,
    /// Longest wait for the next bytes.
    idle: Duration,
}

impl Watch {
    /// Asks for everything that happens to the objects of `resource` after `version`.
    pub(crate) async fn open(
        server: &ApiServer,
        resource: &Resource,
        version: &str,
    ) -> Result<Self, WatchEnd> {
        let path = format!(
            "{}?watch=1&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds={}",
            resource.path(),
            WATCH_TIME.as_secs()
        );
        let request = Question::get(path).request();
        let request = request.map_err(|error| WatchEnd::Refused(RequestError::Request(error)))?;
        let limit = server.limits().request_timeout;
        let sent = timeout(limit, server.client().send(request)).await;
        let response = sent
            .map_err(|_elapsed| WatchEnd::Failed(Failure::TimedOut(limit)))?
            .map_err(|error| WatchEnd::Failed(Failure::Connection(Box::new(error))))?;
        let status = response.status();
        let mut watch = Self {
            body: response.into_body(),
            received: Vec::new(),
            idle: WATCH_TIME.saturating_add(limit),
        };
        if status.is_success() {
            return Ok(watch);
        }
        watch.idle = limit;
        let said = watch.rest().await?;
        Err(refusal(status, &said))
    }

    /// Waits for the next event.
    pub(crate) async fn next(&mut self) -> Result<Event, WatchEnd> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return event(&line);
            }
            if !self.more().await? {
                let whole = self.received.iter().all(u8::is_ascii_whitespace);
                return if whole {
                    Ok(Event::End)
                } else {
                    Err(broken("an event broke off"))
                };
            }
        }
    }

    /// Everything up to the end of the body.
    async fn rest(&mut self) -> Result<Vec<u8>, WatchEnd> {
        while self.more().await? {}
        Ok(std::mem::take(&mut self.received))
    }

    /// Receives more bytes; false at the end of the body.
    async fn more(&mut self) -> Result<bool, WatchEnd> {
        let frame = timeout(self.idle, self.body.frame()).await;
        match frame.map_err(|_elapsed| WatchEnd::Failed(Failure::TimedOut(self.idle)))? {
            None => Ok(false),
            Some(Err(error)) => Err(WatchEnd::Failed(Failure::Body(Box::new(error)))),
            Some(Ok(frame)) => {
                self.received.extend(frame.data_ref().into_iter().flatten());
                if self.received.len() > EVENT_BYTES_MAX {
                    return Err(broken("an event is longer than any object"));
                }
                Ok(true)
            }
        }
    }
}

fn broken(what: &'static str) -> WatchEnd {
    WatchEnd::Failed(Failure::Body(what.into()))
}

fn refusal(status: StatusCode, said: &[u8]) -> WatchEnd {
    match status {
        StatusCode::GONE => WatchEnd::Expired,
        StatusCode::UNAUTHORIZED => WatchEnd::Refused(RequestError::Unauthorized),
        StatusCode::FORBIDDEN => WatchEnd::Refused(RequestError::Denied {
            message: message(said),
        }),
        status => WatchEnd::Failed(Failure::Status {
            status,
            message: message(said),
        }),
    }
}

/// Reads one line of a watch. A status in the stream comes with HTTP 200: most of all, 410 does.
fn event(line: &[u8]) -> Result<Event, WatchEnd> {
    let value: Value =
        serde_json::from_slice(line).map_err(|error| WatchEnd::Failed(Failure::Json(error)))?;
    let object = value.get("object").cloned().unwrap_or_default();
    match value.get("type").and_then(Value::as_str) {
        Some("ADDED" | "MODIFIED") => Ok(Event::Present(object)),
        Some("DELETED") => Ok(Event::Removed(object)),
        Some("BOOKMARK") => Ok(Event::Bookmark(version(&object).to_owned())),
        Some("ERROR") => {
            let code = object.get("code").and_then(Value::as_u64);
            let code = code.and_then(|code| u16::try_from(code).ok());
            let status = code.and_then(|code| StatusCode::from_u16(code).ok());
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Err(refusal(status, object.to_string().as_bytes()))
        }
        Some(_) | None => Err(broken("the stream holds something else than events")),
    }
}

/// `metadata.resourceVersion` of an object; empty where it has none.
pub(crate) fn version(object: &Value) -> &str {
    object
        .pointer("/metadata/resourceVersion")
        .and_then(Value::as_str)
        .unwrap_or_default()
}
