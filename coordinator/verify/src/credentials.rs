//! What lets agents and coordinator recognise each other in one-run mode: a CA, a run token and a server certificate.
//!
//! Kept in a directory, so that agents started by hand before or after the coordinator use the same: `ca.crt` and
//! `token` go to the agents, `ca.key` stays.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;

use crate::random::{Random, RandomError};

/// Name in the server certificate; agents check it unless they are told another.
pub const SERVER_NAME: &str = "reachproof-coordinator";

/// Length of a run token that is drawn here, in bytes before hexadecimal: 256 bits (DESIGN 6).
const TOKEN_BYTES: usize = 32;

/// Shortest token that is taken from a file, in characters: 128 bits in hexadecimal.
pub const TOKEN_LENGTH_MIN: usize = 32;

/// Longest token that is looked at, in bytes (SECURITY B.1 step 1).
pub const TOKEN_LENGTH_MAX: usize = 4096;

/// Certificate of the CA, for agents.
pub const CA_CERTIFICATE_FILE: &str = "ca.crt";
/// Key of the CA; stays with the coordinator.
pub const CA_KEY_FILE: &str = "ca.key";
/// Run token, for agents.
pub const TOKEN_FILE: &str = "token";

/// Credentials could not be used or made.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// A file of the directory could not be read.
    #[error("cannot read `{}`: check that it exists and is readable, or remove the directory to have new credentials made", path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A file or the directory could not be written.
    #[error("cannot write `{}`: choose another directory with --credentials", path.display())]
    Write {
        /// File or directory.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// Only some of the three files are there.
    #[error("`{}` is missing beside the other credentials: restore it, or remove the directory to have new ones made", path.display())]
    Incomplete {
        /// The file that is missing.
        path: PathBuf,
    },
    /// The token is too short, too long or not printable ASCII.
    #[error("the token in `{}` must be {TOKEN_LENGTH_MIN} to {TOKEN_LENGTH_MAX} printable ASCII characters", path.display())]
    Token {
        /// File.
        path: PathBuf,
    },
    /// The CA files do not hold a certificate and its key, or a certificate could not be made.
    #[error("cannot use the CA in `{}`: remove the directory to have a new one made", path.display())]
    Ca {
        /// Directory.
        path: PathBuf,
        /// Cause.
        #[source]
        source: rcgen::Error,
    },
    /// The operating system gave no random bytes.
    #[error("cannot draw a token")]
    Random(#[from] RandomError),
}

/// A CA, a run token, and a server certificate that this CA signed for [`SERVER_NAME`].
pub struct Credentials {
    /// Certificate of the CA in PEM, as agents need it.
    pub ca_certificate: String,
    /// Run token, as agents send it.
    pub token: String,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither token nor key may end in a log.
        formatter
            .debug_struct("Credentials")
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Takes the credentials in `directory`, or makes them there if none of its files exists.
    ///
    /// The directory is made with mode 0700, the files with 0600, except the CA certificate with 0644. The server
    /// certificate is made anew each time and kept in memory only.
    ///
    /// # Errors
    /// [`CredentialsError`] when a file cannot be read or written, or when only some of them exist.
    pub fn in_directory(directory: &Path, random: &dyn Random) -> Result<Self, CredentialsError> {
        let paths = [CA_CERTIFICATE_FILE, CA_KEY_FILE, TOKEN_FILE].map(|file| directory.join(file));
        if paths.iter().all(|path| !path.exists()) {
            make(directory, random)?;
        }
        if let Some(path) = paths.into_iter().find(|path| !path.exists()) {
            return Err(CredentialsError::Incomplete { path });
        }
        load(directory)
    }
}

/// Writes a new CA and a new token into `directory`.
fn make(directory: &Path, random: &dyn Random) -> Result<(), CredentialsError> {
    let failed = |source| CredentialsError::Ca {
        path: directory.to_owned(),
        source,
    };
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = ca_parameters().self_signed(&key).map_err(failed)?;
    let mut token = [0; TOKEN_BYTES];
    random.fill(&mut token)?;

    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| CredentialsError::Write {
            path: directory.to_owned(),
            source,
        })?;
    write(&directory.join(CA_KEY_FILE), &key.serialize_pem(), 0o600)?;
    write(&directory.join(TOKEN_FILE), &hexadecimal(&token), 0o600)?;
    write(
        &directory.join(CA_CERTIFICATE_FILE),
        &certificate.pem(),
        0o644,
    )
}

/// Reads the three files and makes a server certificate.
fn load(directory: &Path) -> Result<Credentials, CredentialsError> {
    let ca_certificate = read(&directory.join(CA_CERTIFICATE_FILE))?;
    let ca_key = read(&directory.join(CA_KEY_FILE))?;
    let token_path = directory.join(TOKEN_FILE);
    let token = read(&token_path)?.trim().to_owned();
    let fits = (TOKEN_LENGTH_MIN..=TOKEN_LENGTH_MAX).contains(&token.len());
    if !fits || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(CredentialsError::Token { path: token_path });
    }
    let (chain, key) =
        server_certificate(&ca_certificate, &ca_key).map_err(|source| CredentialsError::Ca {
            path: directory.to_owned(),
            source,
        })?;
    Ok(Credentials {
        ca_certificate,
        token,
        chain,
        key,
    })
}

/// Certificate chain and private key of a server.
type ServerIdentity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Signs a server certificate for [`SERVER_NAME`].
fn server_certificate(ca_certificate: &str, ca_key: &str) -> Result<ServerIdentity, rcgen::Error> {
    let issuer = Issuer::from_ca_cert_pem(ca_certificate, KeyPair::from_pem(ca_key)?)?;
    let mut parameters = CertificateParams::new(vec![SERVER_NAME.to_owned()])?;
    parameters
        .distinguished_name
        .push(DnType::CommonName, SERVER_NAME);
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = parameters.signed_by(&key, &issuer)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    Ok((vec![certificate.der().clone()], PrivateKeyDer::from(key)))
}

/// What a CA certificate of ours says.
fn ca_parameters() -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
        .distinguished_name
        .push(DnType::CommonName, "reachproof run CA");
    parameters
}

/// Reads a text file.
fn read(path: &Path) -> Result<String, CredentialsError> {
    fs::read_to_string(path).map_err(|source| CredentialsError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Writes a new file with `mode`; an existing one is left alone and is an error.
fn write(path: &Path, content: &str, mode: u32) -> Result<(), CredentialsError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .map_err(|source| CredentialsError::Write {
            path: path.to_owned(),
            source,
        })
}

/// Writes bytes in lower-case hexadecimal.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::random::SystemRandomness;

    /// Takes the credentials in a directory below `place`.
    fn taken(place: &Path) -> Result<Credentials, CredentialsError> {
        Credentials::in_directory(&place.join("credentials"), &SystemRandomness::default())
    }

    #[test]
    fn credentials_are_made_once_and_only_their_owner_reads_them() {
        let place = tempfile::tempdir().unwrap();
        let first = taken(place.path()).unwrap();
        let second = taken(place.path()).unwrap();
        assert_eq!(first.token, second.token);
        assert_eq!(first.ca_certificate, second.ca_certificate);
        assert_eq!(first.token.len(), 2 * TOKEN_BYTES);
        let mode = |file: &str| {
            let path = place.path().join("credentials").join(file);
            fs::metadata(path).unwrap().permissions().mode() & 0o777
        };
        assert_eq!(mode(""), 0o700);
        assert_eq!(mode(TOKEN_FILE), 0o600);
        assert_eq!(mode(CA_KEY_FILE), 0o600);
        assert_eq!(mode(CA_CERTIFICATE_FILE), 0o644);
    }

    #[test]
    fn half_of_the_files_is_an_error_and_nothing_is_overwritten() {
        let place = tempfile::tempdir().unwrap();
        taken(place.path()).unwrap();
        let key = place.path().join("credentials").join(CA_KEY_FILE);
        fs::remove_file(&key).unwrap();
        let error = taken(place.path()).unwrap_err();
        assert!(matches!(&error, CredentialsError::Incomplete { path } if *path == key));
        assert!(!key.exists());
    }

    #[test]
    fn a_token_that_is_too_short_too_long_or_not_printable_is_refused() {
        let place = tempfile::tempdir().unwrap();
        taken(place.path()).unwrap();
        let token = place.path().join("credentials").join(TOKEN_FILE);
        let long = "a".repeat(TOKEN_LENGTH_MAX + 1);
        for bad in ["", "short", "0123456789abcdef0123456789abcde\u{e9}", &long] {
            fs::write(&token, bad).unwrap();
            assert!(
                matches!(taken(place.path()), Err(CredentialsError::Token { .. })),
                "{bad}"
            );
        }
        fs::write(&token, "0123456789abcdef0123456789abcdef\n").unwrap();
        assert!(taken(place.path()).is_ok());
    }

    #[test]
    fn a_ca_that_is_none_is_refused() {
        let place = tempfile::tempdir().unwrap();
        taken(place.path()).unwrap();
        fs::write(place.path().join("credentials").join(CA_KEY_FILE), "no key").unwrap();
        assert!(matches!(
            taken(place.path()),
            Err(CredentialsError::Ca { .. })
        ));
    }

    #[test]
    fn what_is_secret_does_not_show_in_a_log() {
        let place = tempfile::tempdir().unwrap();
        let credentials = taken(place.path()).unwrap();
        assert!(!format!("{credentials:?}").contains(&credentials.token));
    }
}
