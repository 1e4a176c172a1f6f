//! From a token to an identity: one that these credentials signed, or one that an API server reviews.

use std::sync::Arc;

use reachproof_model::observation::AgentName;
use tonic::metadata::MetadataMap;

use crate::identity::{Authenticator, Identity, Refusal, TOKEN_LENGTH_MAX};
use crate::token::{SignedTokens, TOKEN_PREFIX};

/// Scheme before the token, with the blank.
const SCHEME: &str = "Bearer ";

/// The two ways to an identity.
pub struct Authentication {
    signed: SignedTokens,
    reviewer: Option<Arc<dyn Authenticator>>,
}

impl Authentication {
    /// Takes the tokens that `signed` knows, and service-account tokens if there is a `reviewer`.
    pub fn new(signed: SignedTokens, reviewer: Option<Arc<dyn Authenticator>>) -> Self {
        Self { signed, reviewer }
    }

    /// Gives the sender of `metadata` its identity.
    ///
    /// # Errors
    /// [`Refusal`] with the reason.
    pub async fn authenticate(&self, metadata: &MetadataMap) -> Result<Identity, Refusal> {
        let token = bearer(metadata)?;
        if token.starts_with(TOKEN_PREFIX) {
            return self.signed.authenticate(token);
        }
        if token.split('.').count() != 3 {
            return Err(Refusal::Malformed);
        }
        match &self.reviewer {
            Some(reviewer) => reviewer.authenticate(token).await,
            None => Err(Refusal::NotReviewed),
        }
    }
}

impl Authentication {
    /// The name of a sender who is refused, as far as it is shown: by a token that was signed here.
    pub fn name(&self, metadata: &MetadataMap) -> Option<AgentName> {
        self.signed.name(bearer(metadata).ok()?)
    }
}

/// The token of the one `authorization` entry.
fn bearer(metadata: &MetadataMap) -> Result<&str, Refusal> {
    let mut entries = metadata.get_all("authorization").iter();
    let (Some(entry), None) = (entries.next(), entries.next()) else {
        return Err(Refusal::Entries);
    };
    let token = entry
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix(SCHEME))
        .ok_or(Refusal::Scheme)?;
    if token.len() > TOKEN_LENGTH_MAX {
        return Err(Refusal::Long);
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::token::tests::{claims, key, signed};

    /// Metadata with these authorization entries.
    fn metadata(entries: &[&str]) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        for entry in entries {
            metadata.append("authorization", entry.parse().unwrap());
        }
        metadata
    }

    #[tokio::test]
    async fn exactly_the_one_bearer_token_of_this_coordinator_is_taken() {
        let authentication = Authentication::new(signed(), None);
        let good = format!("Bearer {}", key().sign(&claims()).unwrap());
        let identity = authentication.authenticate(&metadata(&[&good])).await;
        assert_eq!(identity.unwrap().name.as_str(), "node-1");

        let long = format!("Bearer {}", "a".repeat(5 * 1024));
        let basic = good.replace("Bearer", "Basic");
        let refused: [(&[&str], Refusal); 8] = [
            (&[], Refusal::Entries),
            (&[&good, &good], Refusal::Entries),
            (&[""], Refusal::Scheme),
            (&[&basic], Refusal::Scheme),
            (&["Bearer "], Refusal::Malformed),
            (&["Bearer 0123456789abcdef"], Refusal::Malformed),
            (&["Bearer a.b.c"], Refusal::NotReviewed),
            (&[&long], Refusal::Long),
        ];
        for (entries, reason) in refused {
            let refusal = authentication.authenticate(&metadata(entries)).await;
            assert_eq!(refusal.unwrap_err(), reason, "{entries:?}");
        }
    }
}
