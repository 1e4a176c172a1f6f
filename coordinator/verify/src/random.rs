//! Where randomness comes from: a parameter, so that a simulated run can be repeated.

use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the operating system gave no random bytes")]
pub struct RandomError;

/// A source of bytes that nobody can guess.
pub trait Random: Send + Sync {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// [`RandomError`] when there are none.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError>;
}

/// Draws `N` bytes.
///
/// # Errors
/// [`RandomError`] when there are none.
pub fn drawn<const N: usize>(random: &dyn Random) -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    random.fill(&mut bytes)?;
    Ok(bytes)
}

/// Draws the seed of a plan.
///
/// # Errors
/// [`RandomError`] when there are no bytes.
pub fn drawn_seed(random: &dyn Random) -> Result<u64, RandomError> {
    Ok(u64::from_be_bytes(drawn(random)?))
}

/// The operating system's randomness.
#[derive(Debug, Clone)]
pub struct SystemRandomness(SystemRandom);

impl Default for SystemRandomness {
    fn default() -> Self {
        Self(SystemRandom::new())
    }
}

impl Random for SystemRandomness {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        self.0.fill(bytes).map_err(|_| RandomError)
    }
}
