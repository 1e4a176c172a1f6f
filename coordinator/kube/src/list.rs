//! All pages of a list, or none.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::connect::ApiServer;
use crate::error::ReadError;
use crate::limits::PAGES_MAX;
use crate::request::{Answer, Question};
use crate::resource::Resource;
use crate::shape;

/// How a list was answered.
pub(crate) enum Listed {
    /// All of it.
    Whole(Whole),
    /// 403, with what the server said.
    Denied(String),
    /// 404: the server knows no such kind of object.
    NotServed,
}

/// All objects of a kind at one moment.
pub(crate) struct Whole {
    /// Each reduced to its kept fields.
    pub(crate) objects: Vec<Value>,
    /// The moment, as a watch takes it up.
    pub(crate) version: String,
}

/// What it took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Effort {
    pub(crate) pages: usize,
    pub(crate) attempts: u32,
    pub(crate) restarts: u32,
}

/// Reads a list to its end, page by page.
///
/// The pages of one list show one state of etcd, as long as the continue token is valid; when it has expired (410),
/// everything read so far is dropped and the list is started again. A server may also offer to go on with a newer
/// state then, which would join two worlds: not taken.
///
/// # Errors
/// [`ReadError::Request`], [`ReadError::Expired`], [`ReadError::Circle`] and [`ReadError::Malformed`].
pub(crate) async fn list(
    server: &ApiServer,
    resource: &Resource,
    effort: &mut Effort,
) -> Result<Listed, ReadError> {
    loop {
        match pages(server, resource, effort).await? {
            Pages::Whole(listed) => return Ok(listed),
            Pages::Expired if effort.restarts < server.limits().restarts => {
                effort.restarts = effort.restarts.saturating_add(1);
            }
            Pages::Expired => {
                return Err(ReadError::Expired {
                    stem: resource.stem,
                    restarts: effort.restarts,
                });
            }
        }
    }
}

enum Pages {
    Whole(Listed),
    Expired,
}

async fn pages(
    server: &ApiServer,
    resource: &Resource,
    effort: &mut Effort,
) -> Result<Pages, ReadError> {
    let stem = resource.stem;
    let mut items = Vec::new();
    let mut tokens = BTreeSet::new();
    let mut token = String::new();
    for page in 1..=PAGES_MAX {
        let page_size = resource.page_size(server.limits().page_size);
        let question = Question::get(page_path(resource, page_size, &token));
        let answered = server
            .ask(&question)
            .await
            .map_err(|source| ReadError::Request { stem, source })?;
        effort.pages = effort.pages.saturating_add(1);
        effort.attempts = effort.attempts.saturating_add(answered.attempts);
        let answer = match answered.answer {
            Answer::Whole(answer) => answer,
            Answer::Expired => return Ok(Pages::Expired),
            // A right that is taken away half-way leaves nothing whole either.
            Answer::Denied(message) => return Ok(Pages::Whole(Listed::Denied(message))),
            Answer::Missing => return Ok(Pages::Whole(Listed::NotServed)),
        };
        let Some(listed) = answer.get("items") else {
            return Err(ReadError::Malformed {
                stem,
                page,
                field: "items",
            });
        };
        match listed {
            Value::Array(listed) => {
                items.extend(listed.iter().map(|item| shape::object(resource, item)));
            }
            // Go writes a list without items as null.
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                return Err(ReadError::Malformed {
                    stem,
                    page,
                    field: "items",
                });
            }
        }
        match next_token(&answer) {
            None => {
                let version = version(&answer);
                return Ok(Pages::Whole(Listed::Whole(Whole {
                    objects: items,
                    version,
                })));
            }
            Some(next) if tokens.insert(next.clone()) => token = next,
            Some(_) => return Err(ReadError::Circle { stem, page }),
        }
    }
    Err(ReadError::Circle {
        stem,
        page: PAGES_MAX,
    })
}

fn next_token(answer: &Value) -> Option<String> {
    let token = answer.get("metadata")?.get("continue")?.as_str()?;
    (!token.is_empty()).then(|| token.to_owned())
}

/// `metadata.resourceVersion` of a list, the same on all of its pages; empty where there is none.
fn version(answer: &Value) -> String {
    let version = answer
        .pointer("/metadata/resourceVersion")
        .and_then(Value::as_str);
    version.unwrap_or_default().to_owned()
}

fn page_path(resource: &Resource, page_size: u32, token: &str) -> String {
    let path = resource.path();
    if token.is_empty() {
        return format!("{path}?limit={page_size}");
    }
    // A token is base64url by contract of nobody: what is not unreserved is escaped.
    let mut escaped = String::with_capacity(token.len());
    for byte in token.bytes() {
        match char::from(byte) {
            c @ ('A'..='Z' | 'a'..='z' | '0'..='9' | '-' | '_' | '.' | '~') => escaped.push(c),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    format!("{path}?limit={page_size}&continue={escaped}")
}
