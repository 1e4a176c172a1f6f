//! Answers that are remembered for a while, in bounded room.

use std::collections::BTreeMap;
use std::time::Duration;

use ring::digest;
use tokio::time::Instant;

/// How long a good token is remembered at most.
pub(super) const GOOD_MAX: Duration = Duration::from_secs(60);

/// How long a bad token is remembered.
pub(super) const BAD_FOR: Duration = Duration::from_secs(30);

/// Answers of a kind that are remembered: good and bad tokens do not compete for room.
const ANSWERS_MAX: usize = 8_192;

/// SHA-256 of a token: the token itself is never kept.
pub(super) type Digest = [u8; digest::SHA256_OUTPUT_LEN];

/// The digest of `token`.
pub(super) fn digest(token: &str) -> Digest {
    let mut bytes = [0; digest::SHA256_OUTPUT_LEN];
    let digest = digest::digest(&digest::SHA256, token.as_bytes());
    for (byte, own) in bytes.iter_mut().zip(digest.as_ref()) {
        *byte = *own;
    }
    bytes
}

/// Answers by the digests of their tokens.
#[derive(Debug)]
pub(super) struct Cache<T> {
    answers: BTreeMap<Digest, (T, Instant)>,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self {
            answers: BTreeMap::new(),
        }
    }
}

impl<T: Clone> Cache<T> {
    /// What is remembered of a token at `now`.
    pub(super) fn get(&self, digest: &Digest, now: Instant) -> Option<T> {
        let (answer, until) = self.answers.get(digest)?;
        (*until > now).then(|| answer.clone())
    }

    /// Remembers an answer `for_so_long`; the one that would be forgotten first makes room.
    pub(super) fn put(&mut self, digest: Digest, answer: T, now: Instant, for_so_long: Duration) {
        if self.answers.len() >= ANSWERS_MAX {
            self.answers.retain(|_, (_, until)| *until > now);
        }
        if self.answers.len() >= ANSWERS_MAX {
            let first = self.answers.iter().min_by_key(|(_, (_, until))| *until);
            let first = first.map(|(digest, _)| *digest);
            first.and_then(|digest| self.answers.remove(&digest));
        }
        self.answers.insert(digest, (answer, now + for_so_long));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_forgotten_in_time_and_the_room_is_bounded() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.put(digest("a"), 1, now, BAD_FOR);
        assert_eq!(cache.get(&digest("a"), now), Some(1));
        assert_eq!(cache.get(&digest("a"), now + BAD_FOR), None);
        for number in 0..ANSWERS_MAX + 10 {
            cache.put(digest(&number.to_string()), 2, now, GOOD_MAX);
        }
        assert_eq!(cache.answers.len(), ANSWERS_MAX);
        assert_eq!(cache.get(&digest("a"), now), None);
    }
}
