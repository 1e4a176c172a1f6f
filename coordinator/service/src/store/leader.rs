//! One process leads a store: who holds the lock of the file beside it. The kernel gives the lock back when the process ends,
//! however it does \[flock(2)\].

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Longest that a leader's words about itself may be, in bytes.
const WORDS_MAX: u64 = 512;

/// The lead over a store, for as long as it is held.
#[derive(Debug)]
pub struct Lead {
    _lock: File,
}

/// What became of an attempt to lead.
#[derive(Debug)]
pub enum Attempt {
    /// This process leads.
    Leads(Lead),
    /// Another one does; what it says of itself, raw text.
    Waits(String),
}

/// Tries to lead the store at `path`; `words` say who it is that leads then.
///
/// # Errors
/// [`io::Error`] where the file of the lock cannot be made or locked.
pub fn try_lead(path: &Path, words: &str) -> io::Result<Attempt> {
    let mut file = OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(lock_path(path))?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(words.as_bytes())?;
            Ok(Attempt::Leads(Lead { _lock: file }))
        }
        Err(TryLockError::WouldBlock) => {
            let mut leader = Vec::new();
            file.take(WORDS_MAX).read_to_end(&mut leader)?;
            Ok(Attempt::Waits(
                String::from_utf8_lossy(&leader).into_owned(),
            ))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The file beside the store that is locked.
fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".leader");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::panic,
        reason = "a test fails by panicking"
    )]

    use super::*;

    #[test]
    fn one_leads_and_the_next_hears_who_until_the_lead_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store.db");
        let Attempt::Leads(lead) = try_lead(&store, "the first").unwrap() else {
            panic!("nobody else is there");
        };
        let waits = |words: &str| match try_lead(&store, words).unwrap() {
            Attempt::Waits(leader) => Some(leader),
            Attempt::Leads(_) => None,
        };
        assert_eq!(waits("the second").as_deref(), Some("the first"));
        drop(lead);
        assert_eq!(waits("the third"), None);
    }
}
