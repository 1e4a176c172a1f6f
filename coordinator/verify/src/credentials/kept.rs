//! Credentials that are kept elsewhere than on this disk, as in a Secret: their files by name.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::{
    CA_CERTIFICATE_FILE, CA_KEY_FILE, Credentials, CredentialsError, TOKEN_KEY_FILE, hexadecimal,
};
use crate::random::{Random, drawn};

/// Token of whoever may read the page of a coordinator that stays.
pub const READ_TOKEN_FILE: &str = "read-token";

/// Token of whoever may also start its runs.
pub const START_TOKEN_FILE: &str = "start-token";

/// The files that are kept.
pub const KEPT_FILES: [&str; 5] = [
    CA_CERTIFICATE_FILE,
    CA_KEY_FILE,
    TOKEN_KEY_FILE,
    READ_TOKEN_FILE,
    START_TOKEN_FILE,
];

/// Random bytes of a token of the page, before hexadecimal.
const ACCESS_TOKEN_BYTES: usize = 32;

/// What files hold, by their names.
pub type KeptFiles = BTreeMap<String, Vec<u8>>;

/// Lays what is kept into `directory`, makes what is missing, and returns all of it, to be kept from now on.
///
/// What `directory` had and is not kept goes: another process's credentials may be kept by now. Files that are none of
/// [`KEPT_FILES`] are left alone, here and there.
///
/// # Errors
/// [`CredentialsError`], as when half of a CA is kept.
pub fn complete(
    directory: &Path,
    kept: &KeptFiles,
    random: &dyn Random,
) -> Result<KeptFiles, CredentialsError> {
    let failed = |path: &Path, source: io::Error| CredentialsError::Write {
        path: path.to_owned(),
        source,
    };
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(directory);
    made.map_err(|error| failed(directory, error))?;
    for name in KEPT_FILES {
        let path = directory.join(name);
        match kept.get(name) {
            Some(content) => replace(&path, content).map_err(|error| failed(&path, error))?,
            None if path.exists() => {
                fs::remove_file(&path).map_err(|error| failed(&path, error))?;
            }
            None => {}
        }
    }
    Credentials::in_directory(directory, random)?;
    for name in [READ_TOKEN_FILE, START_TOKEN_FILE] {
        let path = directory.join(name);
        if !path.exists() {
            let token = hexadecimal(&drawn::<ACCESS_TOKEN_BYTES>(random)?);
            replace(&path, token.as_bytes()).map_err(|error| failed(&path, error))?;
        }
    }
    let read = |name: &str| {
        let path = directory.join(name);
        match fs::read(&path) {
            Ok(content) => Ok((name.to_owned(), content)),
            Err(source) => Err(CredentialsError::Read { path, source }),
        }
    };
    KEPT_FILES.into_iter().map(read).collect()
}

/// Writes a file that its owner alone reads, in place of one that may be there.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::random::SystemRandomness;

    fn completed(directory: &Path, kept: &KeptFiles) -> Result<KeptFiles, CredentialsError> {
        complete(directory, kept, &SystemRandomness::default())
    }

    #[test]
    fn what_was_made_once_and_kept_is_the_same_elsewhere() {
        let place = tempfile::tempdir().unwrap();
        let first = completed(&place.path().join("one"), &KeptFiles::new()).unwrap();
        assert_eq!(first.len(), KEPT_FILES.len());
        assert_ne!(first[READ_TOKEN_FILE], first[START_TOKEN_FILE]);
        assert_eq!(first[READ_TOKEN_FILE].len(), 2 * ACCESS_TOKEN_BYTES);
        let second = completed(&place.path().join("two"), &first).unwrap();
        assert_eq!(first, second);
    }

    #[test]
    fn what_is_not_kept_any_more_goes() {
        let place = tempfile::tempdir().unwrap();
        let first = completed(place.path().join("one").as_path(), &KeptFiles::new()).unwrap();
        let second = completed(&place.path().join("one"), &KeptFiles::new()).unwrap();
        assert_ne!(first[CA_CERTIFICATE_FILE], second[CA_CERTIFICATE_FILE]);
        assert_ne!(first[START_TOKEN_FILE], second[START_TOKEN_FILE]);
    }

    #[test]
    fn tokens_alone_get_a_ca_beside_them_and_half_of_a_ca_is_an_error() {
        let place = tempfile::tempdir().unwrap();
        let mut kept = KeptFiles::new();
        kept.insert(
            READ_TOKEN_FILE.to_owned(),
            b"read-0123456789abcdef".to_vec(),
        );
        let all = completed(&place.path().join("one"), &kept).unwrap();
        assert_eq!(all[READ_TOKEN_FILE], b"read-0123456789abcdef");
        let mut half = all.clone();
        half.remove(CA_KEY_FILE);
        assert!(matches!(
            completed(&place.path().join("two"), &half),
            Err(CredentialsError::Incomplete { .. })
        ));
    }
}
