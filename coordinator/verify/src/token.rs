//! Signed tokens: one for each agent outside a cluster, `rp1.<payload>.<signature>` (security.md, "Identity").
//!
//! The payload is JSON in base64url and says who the agent is; the signature is HMAC-SHA-256 over everything before its
//! dot, with the key of the credentials. Whoever has a token can be that one agent until it expires, and nobody else.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reachproof_model::observation::AgentName;
use reachproof_model::plan::AgentKind;
use ring::hmac;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::time::Instant;

use crate::identity::{Identity, IdentitySource, Refusal, TOKEN_LENGTH_MAX};
use crate::wire::ADDRESSES_MAX;

/// What every signed token begins with: the version of its form.
pub const TOKEN_PREFIX: &str = "rp1.";

/// Length of a key, in bytes: that of its hash.
pub const KEY_BYTES: usize = 32;

/// How far ahead the clock of the issuer may be.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60);

/// Who an agent is, as its token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Its name.
    pub name: AgentName,
    /// Where it runs.
    pub kind: AgentKind,
    /// Its addresses in the measured network: at least one.
    pub addresses: Vec<IpAddr>,
    /// The credentials for which the token was made.
    pub installation: String,
    /// The one run for which it was made; absent if it is good for every run with these credentials.
    pub run: Option<String>,
    /// From when it is valid, in seconds since 1970.
    pub issued_unix_s: u64,
    /// Until when, in seconds since 1970.
    pub expires_unix_s: u64,
}

/// The claims as the payload has them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    name: String,
    kind: Kind,
    addresses: Vec<IpAddr>,
    installation: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<String>,
    issued: u64,
    expires: u64,
}

/// Kinds of agents as payload and arguments spell them.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Node,
    Pod,
    Fargate,
}

/// A token could not be made.
#[derive(Debug, Error)]
pub enum TokenError {
    /// There is no address, or there are too many.
    #[error("an agent has 1 to {ADDRESSES_MAX} addresses, not {count}")]
    Addresses {
        /// How many were named.
        count: usize,
    },
    /// The token would be refused for its length.
    #[error("the token would be longer than {TOKEN_LENGTH_MAX} bytes, name fewer addresses")]
    Long,
    /// The payload could not be written.
    #[error("cannot write the payload of the token")]
    Payload(#[from] serde_json::Error),
}

/// The key that signs tokens.
#[derive(Clone)]
pub struct TokenKey(hmac::Key);

impl fmt::Debug for TokenKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TokenKey").finish_non_exhaustive()
    }
}

impl TokenKey {
    /// A key of these bytes.
    pub fn new(bytes: &[u8; KEY_BYTES]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// Makes the token that says `claims`.
    ///
    /// # Errors
    /// [`TokenError`] when no agent could use it.
    pub fn sign(&self, claims: &Claims) -> Result<String, TokenError> {
        let count = claims.addresses.len();
        if !(1..=ADDRESSES_MAX).contains(&count) {
            return Err(TokenError::Addresses { count });
        }
        let payload = serde_json::to_vec(&Payload::from(claims))?;
        let signed = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(payload));
        let signature = hmac::sign(&self.0, signed.as_bytes());
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        if token.len() > TOKEN_LENGTH_MAX {
            return Err(TokenError::Long);
        }
        Ok(token)
    }

    /// Reads the claims of a token that this key signed, whatever they say. The check of the signature takes a time that
    /// tells nothing of where it differs.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] or [`Refusal::Signature`].
    fn open(&self, token: &str) -> Result<Claims, Refusal> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let payload = signed
            .strip_prefix(TOKEN_PREFIX)
            .ok_or(Refusal::Malformed)?;
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Malformed);
        let (payload, signature) = (decode(payload)?, decode(signature)?);
        hmac::verify(&self.0, signed.as_bytes(), &signature).map_err(|_| Refusal::Signature)?;
        let payload: Payload = serde_json::from_slice(&payload).map_err(|_| Refusal::Malformed)?;
        Claims::try_from(payload)
    }
}

/// The check of signed tokens.
#[derive(Debug)]
pub struct SignedTokens {
    key: TokenKey,
    purpose: Purpose,
    clock: Clock,
}

/// What tokens are made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purpose {
    /// Names the credentials.
    pub installation: String,
    /// Names the run that is under way: tokens for another one alone are not taken.
    pub run: String,
}

impl SignedTokens {
    /// Takes tokens that `key` signed for `purpose`, by `clock`.
    pub fn new(key: TokenKey, purpose: Purpose, clock: Clock) -> Self {
        Self {
            key,
            purpose,
            clock,
        }
    }

    /// The agent that `token` names, if it was signed here, whether or not it is valid.
    pub fn name(&self, token: &str) -> Option<AgentName> {
        self.key.open(token).ok().map(|claims| claims.name)
    }

    /// Gives the holder of `token` its identity.
    ///
    /// # Errors
    /// [`Refusal`] with the reason.
    pub fn authenticate(&self, token: &str) -> Result<Identity, Refusal> {
        let claims = self.key.open(token)?;
        if claims.installation != self.purpose.installation {
            return Err(Refusal::Installation);
        }
        if claims.run.is_some_and(|run| run != self.purpose.run) {
            return Err(Refusal::RunOver);
        }
        let now = self.clock.unix_s();
        if claims.issued_unix_s > now.saturating_add(CLOCK_SKEW_MAX.as_secs()) {
            return Err(Refusal::NotYetValid);
        }
        if claims.expires_unix_s <= now {
            return Err(Refusal::Expired);
        }
        Ok(Identity {
            name: claims.name,
            kind: claims.kind,
            addresses: claims.addresses,
            node: None,
            source: IdentitySource::Token {
                issued_unix_s: claims.issued_unix_s,
            },
        })
    }
}

/// The wall clock: a moment that was passed in, and what has gone by since.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started_at: SystemTime,
    began: Instant,
}

impl Clock {
    /// The clock that shows `started_at` now.
    pub fn starting(started_at: SystemTime) -> Self {
        Self {
            started_at,
            began: Instant::now(),
        }
    }

    /// Seconds since 1970; 0 before.
    pub fn unix_s(&self) -> u64 {
        unix_s(self.started_at + self.began.elapsed())
    }
}

/// Seconds from 1970 to `time`; 0 before.
pub fn unix_s(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

impl From<&Claims> for Payload {
    fn from(claims: &Claims) -> Self {
        Self {
            name: claims.name.as_str().to_owned(),
            kind: match claims.kind {
                AgentKind::Node => Kind::Node,
                AgentKind::Pod => Kind::Pod,
                AgentKind::Fargate => Kind::Fargate,
            },
            addresses: claims.addresses.clone(),
            installation: claims.installation.clone(),
            run: claims.run.clone(),
            issued: claims.issued_unix_s,
            expires: claims.expires_unix_s,
        }
    }
}

impl TryFrom<Payload> for Claims {
    type Error = Refusal;

    fn try_from(payload: Payload) -> Result<Self, Refusal> {
        let mut known = BTreeSet::new();
        let addresses = payload.addresses.iter().map(IpAddr::to_canonical);
        let addresses: Vec<IpAddr> = addresses.filter(|it| known.insert(*it)).collect();
        if addresses.is_empty() || addresses.len() > ADDRESSES_MAX {
            return Err(Refusal::Malformed);
        }
        Ok(Self {
            name: AgentName::try_from(payload.name.as_str()).map_err(|_| Refusal::Malformed)?,
            kind: AgentKind::from(payload.kind),
            addresses,
            installation: payload.installation,
            run: payload.run,
            issued_unix_s: payload.issued,
            expires_unix_s: payload.expires,
        })
    }
}

impl From<Kind> for AgentKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Node => Self::Node,
            Kind::Pod => Self::Pod,
            Kind::Fargate => Self::Fargate,
        }
    }
}

/// A text that is no kind of agent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is no kind of agent, choose node, pod or fargate")]
pub struct InvalidKind {
    /// The text.
    pub text: String,
}

/// Reads the kind of an agent as arguments spell it.
///
/// # Errors
/// [`InvalidKind`].
pub fn kind(text: &str) -> Result<AgentKind, InvalidKind> {
    let mut kinds = AgentKind::ALL.into_iter();
    let found = kinds.find(|kind| kind.as_str() == text);
    found.ok_or_else(|| InvalidKind {
        text: text.to_owned(),
    })
}

impl FromStr for TokenKey {
    type Err = Refusal;

    /// Reads a key in hexadecimal.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let bytes = text.as_bytes();
        let mut key = [0; KEY_BYTES];
        if bytes.len() != 2 * KEY_BYTES {
            return Err(Refusal::Malformed);
        }
        for (byte, digits) in key.iter_mut().zip(bytes.chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| Refusal::Malformed)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| Refusal::Malformed)?;
        }
        Ok(Self::new(&key))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// The moment at which the tests begin.
    const NOW: u64 = 1_800_000_000;

    pub(crate) fn key() -> TokenKey {
        TokenKey::new(&[7; KEY_BYTES])
    }

    pub(crate) fn claims() -> Claims {
        Claims {
            name: "node-1".try_into().unwrap(),
            kind: AgentKind::Node,
            addresses: vec!["10.0.1.20".parse().unwrap()],
            installation: "here".to_owned(),
            run: None,
            issued_unix_s: NOW,
            expires_unix_s: NOW + 60,
        }
    }

    pub(crate) fn signed() -> SignedTokens {
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        let purpose = Purpose {
            installation: "here".to_owned(),
            run: "now".to_owned(),
        };
        SignedTokens::new(key(), purpose, Clock::starting(now))
    }

    fn answer(claims: &Claims) -> Result<Identity, Refusal> {
        signed().authenticate(&key().sign(claims).unwrap())
    }

    #[test]
    fn a_token_says_who_its_agent_is() {
        let identity = answer(&claims()).unwrap();
        assert_eq!(identity.name.as_str(), "node-1");
        assert_eq!(identity.kind, AgentKind::Node);
        assert_eq!(identity.addresses, claims().addresses);
        assert_eq!(
            identity.source,
            IdentitySource::Token { issued_unix_s: NOW }
        );
    }

    #[test]
    fn a_token_is_valid_from_its_issue_to_its_end_and_here_only() {
        let skew = CLOCK_SKEW_MAX.as_secs();
        for (change, refusal) in [
            (
                Claims {
                    expires_unix_s: NOW,
                    ..claims()
                },
                Refusal::Expired,
            ),
            (
                Claims {
                    issued_unix_s: NOW + skew + 5,
                    ..claims()
                },
                Refusal::NotYetValid,
            ),
            (
                Claims {
                    installation: "there".to_owned(),
                    ..claims()
                },
                Refusal::Installation,
            ),
            (
                Claims {
                    run: Some("before".to_owned()),
                    ..claims()
                },
                Refusal::RunOver,
            ),
        ] {
            assert_eq!(answer(&change), Err(refusal));
        }
        let ahead = Claims {
            issued_unix_s: NOW + skew,
            ..claims()
        };
        assert!(answer(&ahead).is_ok());
        let for_this_run = Claims {
            run: Some("now".to_owned()),
            ..claims()
        };
        assert!(answer(&for_this_run).is_ok());
    }

    #[test]
    fn a_token_that_was_changed_or_signed_by_another_key_is_refused() {
        let token = key().sign(&claims()).unwrap();
        let other = TokenKey::new(&[8; KEY_BYTES]).sign(&claims()).unwrap();
        assert_eq!(signed().authenticate(&other), Err(Refusal::Signature));
        for (place, character) in token.char_indices().skip(TOKEN_PREFIX.len()) {
            let changed = if character == 'A' { "Q" } else { "A" };
            let mut forged = token.clone();
            forged.replace_range(place..=place, changed);
            let refused = signed().authenticate(&forged).unwrap_err();
            assert!(
                matches!(refused, Refusal::Signature | Refusal::Malformed),
                "{place}: {refused}"
            );
        }
    }

    #[test]
    fn what_is_no_token_is_malformed() {
        let sign = |payload: &str| {
            let signed = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(payload));
            let signature = hmac::sign(&key().0, signed.as_bytes());
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
        };
        let good = r#"{"name":"a","kind":"pod","addresses":["10.0.0.1"],"installation":"here","issued":0,"expires":9999999999}"#;
        assert!(signed().authenticate(&sign(good)).is_ok());
        for bad in [
            good.replace("\"a\"", "\"\""),
            good.replace("pod", "host"),
            good.replace("\"10.0.0.1\"", ""),
            good.replace("10.0.0.1", "web"),
            good.replace(",\"issued\":0", ""),
            good.replace("{\"name\"", "{\"name\":\"b\",\"name\""),
            good.replace("{\"name\"", "{\"admin\":true,\"name\""),
        ] {
            let refused = signed().authenticate(&sign(&bad));
            assert_eq!(refused, Err(Refusal::Malformed), "{bad}");
        }
        for bad in ["rp1.", "rp1.a.b.c", "rp1.%%.%%"] {
            assert_eq!(signed().authenticate(bad), Err(Refusal::Malformed), "{bad}");
        }
    }

    #[test]
    fn a_token_that_nobody_could_use_is_not_made() {
        let addresses = |count: u16| Claims {
            addresses: (0..count)
                .map(|n| IpAddr::from([10, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]))
                .collect(),
            ..claims()
        };
        let none = key().sign(&addresses(0));
        assert!(matches!(none, Err(TokenError::Addresses { count: 0 })));
        let many = key().sign(&addresses(700));
        assert!(matches!(many, Err(TokenError::Long)));
        assert!(key().sign(&addresses(100)).is_ok());
    }

    #[test]
    fn a_key_is_read_from_hexadecimal_and_does_not_show() {
        let read: TokenKey = "07".repeat(KEY_BYTES).parse().unwrap();
        let token = read.sign(&claims()).unwrap();
        assert!(signed().authenticate(&token).is_ok());
        for bad in [
            "",
            "07",
            &"0g".repeat(KEY_BYTES),
            &"07".repeat(KEY_BYTES + 1),
        ] {
            assert!(bad.parse::<TokenKey>().is_err(), "{bad}");
        }
        assert_eq!(format!("{read:?}"), "TokenKey { .. }");
    }
}
