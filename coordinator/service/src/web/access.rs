//! Who may read, and who may start runs.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};

use crate::config::WebSettings;
use crate::error::ServiceError;

/// Fewest characters of a token.
const TOKEN_CHARS_MIN: usize = 16;

/// SHA-256 of a token: comparing two tells nothing about either.
type Digest = Vec<u8>;

/// The tokens that open the server.
#[derive(Debug)]
pub(super) struct Access {
    read: Option<Digest>,
    start: Option<Digest>,
}

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Right {
    Nothing,
    Read,
    Start,
}

impl Access {
    /// Reads the files of the tokens.
    ///
    /// # Errors
    /// [`ServiceError::WebFile`] and [`ServiceError::WebToken`].
    pub(super) fn read(settings: &WebSettings) -> Result<Self, ServiceError> {
        let read = |path: Option<&Path>| path.map(token).transpose();
        Ok(Self {
            read: read(settings.read_token.as_deref())?,
            start: read(settings.start_token.as_deref())?,
        })
    }

    /// Whether there is any token: without one the server listens on loopback alone.
    fn is_guarded(&self) -> bool {
        self.read.is_some() || self.start.is_some()
    }

    fn right(&self, headers: &HeaderMap) -> Right {
        if !self.is_guarded() {
            // A page from elsewhere that got this machine's address for its own name is not meant.
            return if is_of_this_machine(headers) {
                Right::Start
            } else {
                Right::Nothing
            };
        }
        let given = given(headers).map(|token| digest(&SHA256, token.as_bytes()).as_ref().to_vec());
        match given {
            None => Right::Nothing,
            given if given == self.start => Right::Start,
            given if given == self.read => Right::Read,
            Some(_) => Right::Nothing,
        }
    }
}

/// Lets through who may do what is asked.
pub(super) async fn guard(
    State(access): State<Arc<Access>>,
    request: Request,
    next: Next,
) -> Response {
    let wanted = if [Method::GET, Method::HEAD].contains(request.method()) {
        Right::Read
    } else {
        Right::Start
    };
    match access.right(request.headers()) {
        right if right >= wanted => next.run(request).await,
        Right::Nothing => (
            StatusCode::UNAUTHORIZED,
            // A browser asks for it, and sends it as the password.
            [(
                header::WWW_AUTHENTICATE,
                "Basic realm=\"reachproof\", charset=\"UTF-8\"",
            )],
            "a token is needed: `Authorization: Bearer TOKEN`, or as the password in a browser\n",
        )
            .into_response(),
        Right::Read | Right::Start => (
            StatusCode::FORBIDDEN,
            "this token may read, not start runs\n",
        )
            .into_response(),
    }
}

/// The token of a request.
fn given(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(BASE64_STANDARD.decode(rest.trim()).ok()?).ok()?;
    pair.split_once(':')
        .map(|(_, password)| password.to_owned())
}

/// Whether the request is for an address of loopback, or for `localhost`.
fn is_of_this_machine(headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let Some(authority) = host.and_then(|host| host.parse::<http::uri::Authority>().ok()) else {
        return false;
    };
    let name = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    name == "localhost"
        || name
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

fn token(path: &Path) -> Result<Digest, ServiceError> {
    let text = fs::read_to_string(path).map_err(|source| ServiceError::WebFile {
        path: path.to_owned(),
        source,
    })?;
    let text = text.trim();
    if text.chars().count() < TOKEN_CHARS_MIN || text.contains(char::is_whitespace) {
        return Err(ServiceError::WebToken {
            path: path.to_owned(),
        });
    }
    Ok(digest(&SHA256, text.as_bytes()).as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = all
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        pairs.collect()
    }

    #[test]
    fn without_tokens_only_requests_for_this_machine_count() {
        let access = Access {
            read: None,
            start: None,
        };
        for (host, right) in [
            ("127.0.0.1:7080", Right::Start),
            ("[::1]:7080", Right::Start),
            ("localhost", Right::Start),
            ("rebound.example:7080", Right::Nothing),
            ("10.0.1.5", Right::Nothing),
        ] {
            assert_eq!(access.right(&headers(&[("host", host)])), right, "{host}");
        }
        assert_eq!(access.right(&headers(&[])), Right::Nothing);
    }

    #[test]
    fn a_token_counts_as_bearer_and_as_password_and_no_other_does() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let access = Access {
            read: Some(token(&file("read", "read-0123456789abcdef\n")).unwrap()),
            start: Some(token(&file("start", "start-0123456789abcdef")).unwrap()),
        };
        let basic = format!(
            "Basic {}",
            BASE64_STANDARD.encode("me:start-0123456789abcdef")
        );
        for (value, right) in [
            ("Bearer read-0123456789abcdef", Right::Read),
            ("bearer start-0123456789abcdef", Right::Start),
            (basic.as_str(), Right::Start),
            ("Bearer read-0123456789abcde", Right::Nothing),
            ("Bearer ", Right::Nothing),
            ("Digest read-0123456789abcdef", Right::Nothing),
        ] {
            assert_eq!(
                access.right(&headers(&[("authorization", value)])),
                right,
                "{value}"
            );
        }
        assert_eq!(
            access.right(&headers(&[("host", "localhost")])),
            Right::Nothing
        );
        assert!(matches!(
            token(&file("short", "too short")),
            Err(ServiceError::WebToken { .. })
        ));
    }
}
