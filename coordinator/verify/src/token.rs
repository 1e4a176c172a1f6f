//! The check of an agent's token (SECURITY B.1, step 1, for a run token).

use ring::hmac;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::credentials::TOKEN_LENGTH_MAX;
use crate::random::{Random, RandomError};

/// Scheme before the token, with the blank.
const SCHEME: &str = "Bearer ";

/// Compares tokens with the run's own in a time that tells nothing of where they differ.
pub struct TokenCheck {
    key: hmac::Key,
    expected: hmac::Tag,
}

impl TokenCheck {
    /// Expects `token`.
    ///
    /// # Errors
    /// [`RandomError`] when no key can be drawn.
    pub fn new(token: &str, random: &dyn Random) -> Result<Self, RandomError> {
        let mut key = [0; 32];
        random.fill(&mut key)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let expected = hmac::sign(&key, token.as_bytes());
        Ok(Self { key, expected })
    }

    /// Checks the one `authorization` entry of `metadata`.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` for no entry, more than one, another scheme, more than 4 KiB, or another token. The text never
    /// says how close a token came.
    pub fn check(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let refused = |reason: &'static str| Err(Status::unauthenticated(reason));
        let mut entries = metadata.get_all("authorization").iter();
        let (Some(entry), None) = (entries.next(), entries.next()) else {
            return refused("exactly one authorization entry is needed");
        };
        let Some(token) = entry
            .to_str()
            .ok()
            .and_then(|text| text.strip_prefix(SCHEME))
        else {
            return refused("the authorization entry must be `Bearer TOKEN`");
        };
        if token.len() > TOKEN_LENGTH_MAX {
            return refused("the token is too long");
        }
        if hmac::verify(&self.key, token.as_bytes(), self.expected.as_ref()).is_err() {
            return refused("the token is not that of this run");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::random::SystemRandomness;

    /// Metadata with these authorization entries.
    fn metadata(entries: &[&str]) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        for entry in entries {
            metadata.append("authorization", entry.parse().unwrap());
        }
        metadata
    }

    #[test]
    fn exactly_the_one_bearer_token_of_the_run_is_taken() {
        let token = "0123456789abcdef0123456789abcdef";
        let check = TokenCheck::new(token, &SystemRandomness::default()).unwrap();
        let good = format!("Bearer {token}");
        assert!(check.check(&metadata(&[&good])).is_ok());

        let long = format!("Bearer {}", "a".repeat(5 * 1024));
        let almost = format!("Bearer {token}0");
        let basic = format!("Basic {token}");
        let refused: [&[&str]; 8] = [
            &[],
            &[""],
            &["Bearer "],
            &[&almost],
            &[&basic],
            &[token],
            &[&long],
            &[&good, &good],
        ];
        for entries in refused {
            let status = check.check(&metadata(entries)).unwrap_err();
            assert_eq!(status.code(), tonic::Code::Unauthenticated, "{entries:?}");
        }
    }
}
