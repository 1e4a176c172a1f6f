//! What lets agents and coordinator recognise each other: a CA, a key that signs tokens and a server certificate.
//!
//! Kept in a directory that nobody but its owner reads: `ca.crt` goes to the agents, `ca.key` and `token.key` stay.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use reachproof_model::observation::AgentName;
use reachproof_model::plan::AgentKind;
use ring::digest;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;

use crate::random::{Random, RandomError, drawn};
use crate::token::{Claims, KEY_BYTES, TokenError, TokenKey, unix_s};

pub use kept::{KEPT_FILES, KeptFiles, READ_TOKEN_FILE, START_TOKEN_FILE, complete};
pub use page::{PAGE_CERTIFICATE_FILE, PAGE_KEY_FILE, certify_page};

mod kept;
mod page;

/// Name in the server certificate; agents check it unless they are told another.
pub const SERVER_NAME: &str = "reachproof-coordinator";

/// How long a token is valid unless somebody says otherwise.
pub const TOKEN_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Length of what names an installation or a run, in bytes before hexadecimal.
const INSTALLATION_BYTES: usize = 16;

/// Certificate of the CA, for agents.
pub const CA_CERTIFICATE_FILE: &str = "ca.crt";
/// Key of the CA; stays with the coordinator.
pub const CA_KEY_FILE: &str = "ca.key";
/// Key that signs tokens; stays with the coordinator.
pub const TOKEN_KEY_FILE: &str = "token.key";
/// Names the run that is under way or comes next, for tokens that are good for one run alone. No secret.
pub const RUN_FILE: &str = "run";
/// Keeps the directory out of repositories.
const IGNORE_FILE: &str = ".gitignore";

/// Link in every volume that a kubelet makes of a Secret \[Kubernetes, Secrets\]: it is read only, and whoever is in the pod
/// may read it, whatever its modes say.
const VOLUME_LINK: &str = "..data";

/// Rights that nobody but the owner may have.
const OTHERS: u32 = 0o077;

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
    /// Others may read the directory or a private file of it.
    #[error("`{}` can be read by others (mode {mode:04o}): run `chmod {wanted:o} {}`, and make new credentials if somebody else may have read it", path.display(), path.display())]
    Open {
        /// File or directory.
        path: PathBuf,
        /// Its rights.
        mode: u32,
        /// Those that it should have.
        wanted: u32,
    },
    /// The key of the tokens is not one.
    #[error("`{}` must be {KEY_BYTES} bytes in hexadecimal: remove the directory to have a new key made", path.display())]
    TokenKey {
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
    #[error("cannot draw a key")]
    Random(#[from] RandomError),
}

/// A CA, a key that signs tokens, and a server certificate that this CA signed for [`SERVER_NAME`].
pub struct Credentials {
    /// Certificate of the CA in PEM, as agents need it.
    pub ca_certificate: String,
    /// Key that signs the tokens of agents.
    pub token_key: TokenKey,
    /// Names these credentials in tokens: other credentials do not take them.
    pub installation: String,
    /// Names the run that is under way or comes next; another one takes its place when it ends ([`end_run`]).
    pub run: String,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No key may end in a log.
        formatter
            .debug_struct("Credentials")
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Takes the credentials in `directory`, or makes them there if none of its files exists.
    ///
    /// A volume of a Secret is taken as it is: its rights are the kubelet's, and the name of the run is not kept in it.
    ///
    /// The directory is made with mode 0700, the keys with 0600, the CA certificate with 0644, and a file that keeps all of
    /// it out of a repository. The server certificate is made anew each time and kept in memory only.
    ///
    /// # Errors
    /// [`CredentialsError`] when a file cannot be read or written, when only some of them exist, or when others may read
    /// them.
    pub fn in_directory(directory: &Path, random: &dyn Random) -> Result<Self, CredentialsError> {
        let files = [CA_CERTIFICATE_FILE, CA_KEY_FILE, TOKEN_KEY_FILE];
        let paths = files.map(|file| directory.join(file));
        if is_volume(directory) {
            return load(directory, drawn_name(random)?, Guard::Kubelet);
        }
        if directory.exists() {
            check_rights(directory, 0o700)?;
        }
        if paths.iter().all(|path| !path.exists()) {
            make(directory, random)?;
        }
        if let Some(path) = paths.into_iter().find(|path| !path.exists()) {
            return Err(CredentialsError::Incomplete { path });
        }
        if !directory.join(RUN_FILE).exists() {
            name_run(directory, random)?;
        }
        let run = read(&directory.join(RUN_FILE))?.trim().to_owned();
        load(directory, run, Guard::Modes)
    }

    /// Makes the token of the agent that `agent` names, valid from `now` for `life`, for every run with these credentials.
    ///
    /// # Errors
    /// [`TokenError`] when no agent could use it.
    pub fn token(
        &self,
        agent: TokenHolder<'_>,
        now: SystemTime,
        life: Duration,
    ) -> Result<String, TokenError> {
        self.token_key.sign(&self.claims(agent, now, life))
    }

    /// The same for the run that is under way or comes next alone: once that is over, the token is refused.
    ///
    /// # Errors
    /// As [`Self::token`].
    pub fn token_for_one_run(
        &self,
        agent: TokenHolder<'_>,
        now: SystemTime,
        life: Duration,
    ) -> Result<String, TokenError> {
        self.token_key.sign(&Claims {
            run: Some(self.run.clone()),
            ..self.claims(agent, now, life)
        })
    }

    fn claims(&self, agent: TokenHolder<'_>, now: SystemTime, life: Duration) -> Claims {
        let issued = unix_s(now);
        Claims {
            name: agent.name.clone(),
            kind: agent.kind,
            addresses: agent.addresses.to_vec(),
            installation: self.installation.clone(),
            run: None,
            issued_unix_s: issued,
            expires_unix_s: issued.saturating_add(life.as_secs()),
        }
    }
}

/// Takes note that the run named `run` is over: what was signed for it alone is good for none that comes.
///
/// Does nothing if another run with the same credentials has ended since `run` was read.
///
/// # Errors
/// [`CredentialsError`] when the directory cannot be read or written; then such tokens are good for one run more.
pub fn end_run(directory: &Path, run: &str, random: &dyn Random) -> Result<(), CredentialsError> {
    if is_volume(directory) {
        // The name was never written down: nothing was signed for it.
        return Ok(());
    }
    if read(&directory.join(RUN_FILE))?.trim() == run {
        name_run(directory, random)?;
    }
    Ok(())
}

/// Draws the name of the next run. Whoever reads meanwhile gets the old name or the new one.
fn name_run(directory: &Path, random: &dyn Random) -> Result<(), CredentialsError> {
    let (path, name) = (directory.join(RUN_FILE), drawn_name(random)?);
    // Of two that draw at once, each has a file of its own.
    let new = directory.join(format!(".{RUN_FILE}-{name}"));
    write(&new, &name, 0o600)?;
    fs::rename(&new, &path).map_err(|source| CredentialsError::Write { path, source })
}

fn drawn_name(random: &dyn Random) -> Result<String, RandomError> {
    let name = drawn::<INSTALLATION_BYTES>(random)?;
    Ok(hexadecimal(&name))
}

/// Whether a kubelet made the directory of a Secret.
fn is_volume(directory: &Path) -> bool {
    directory.join(VOLUME_LINK).exists()
}

/// What keeps others from the files of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// Their modes.
    Modes,
    /// The pod that they are mounted in.
    Kubelet,
}

/// The agent that a token is made for.
#[derive(Debug, Clone, Copy)]
pub struct TokenHolder<'a> {
    /// Its name.
    pub name: &'a AgentName,
    /// Where it runs.
    pub kind: AgentKind,
    /// Its addresses in the measured network.
    pub addresses: &'a [IpAddr],
}

/// Refuses what others than its owner may use.
fn check_rights(path: &Path, wanted: u32) -> Result<(), CredentialsError> {
    let mode = fs::metadata(path)
        .map_err(|source| CredentialsError::Read {
            path: path.to_owned(),
            source,
        })?
        .permissions()
        .mode()
        & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    Err(CredentialsError::Open {
        path: path.to_owned(),
        mode,
        wanted,
    })
}

/// Writes a new CA and a new key into `directory`.
fn make(directory: &Path, random: &dyn Random) -> Result<(), CredentialsError> {
    let failed = |source| CredentialsError::Ca {
        path: directory.to_owned(),
        source,
    };
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = ca_parameters().self_signed(&key).map_err(failed)?;
    let token_key = drawn::<KEY_BYTES>(random)?;

    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| CredentialsError::Write {
            path: directory.to_owned(),
            source,
        })?;
    let ignore = directory.join(IGNORE_FILE);
    if !ignore.exists() {
        write(&ignore, "*\n", 0o644)?;
    }
    write(&directory.join(CA_KEY_FILE), &key.serialize_pem(), 0o600)?;
    write(
        &directory.join(TOKEN_KEY_FILE),
        &hexadecimal(&token_key),
        0o600,
    )?;
    write(
        &directory.join(CA_CERTIFICATE_FILE),
        &certificate.pem(),
        0o644,
    )
}

/// Reads the files and makes a server certificate.
fn load(directory: &Path, run: String, guard: Guard) -> Result<Credentials, CredentialsError> {
    let read_private = |path: &Path| match guard {
        Guard::Modes => read_private(path),
        Guard::Kubelet => read(path),
    };
    let ca_certificate = read(&directory.join(CA_CERTIFICATE_FILE))?;
    let ca_key = read_private(&directory.join(CA_KEY_FILE))?;
    let token_path = directory.join(TOKEN_KEY_FILE);
    let token_key = read_private(&token_path)?
        .trim()
        .parse()
        .map_err(|_| CredentialsError::TokenKey { path: token_path })?;
    let (chain, key) =
        server_certificate(&ca_certificate, &ca_key).map_err(|source| CredentialsError::Ca {
            path: directory.to_owned(),
            source,
        })?;
    Ok(Credentials {
        installation: installation(&ca_certificate),
        run,
        ca_certificate,
        token_key,
        chain,
        key,
    })
}

/// Names the credentials of a CA: a digest of its certificate.
fn installation(ca_certificate: &str) -> String {
    let digest = digest::digest(&digest::SHA256, ca_certificate.as_bytes());
    let name = digest.as_ref().iter().take(INSTALLATION_BYTES);
    name.map(|byte| format!("{byte:02x}")).collect()
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

/// Reads a text file that nobody else may read.
fn read_private(path: &Path) -> Result<String, CredentialsError> {
    check_rights(path, 0o600)?;
    read(path)
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

    use super::*;
    use crate::random::SystemRandomness;

    /// Takes the credentials in a directory below `place`.
    fn taken(place: &Path) -> Result<Credentials, CredentialsError> {
        Credentials::in_directory(&place.join("credentials"), &SystemRandomness::default())
    }

    /// A token of an agent.
    fn token(credentials: &Credentials) -> String {
        let holder = TokenHolder {
            name: &"a".try_into().unwrap(),
            kind: AgentKind::Node,
            addresses: &["10.0.0.1".parse().unwrap()],
        };
        credentials
            .token(holder, SystemTime::UNIX_EPOCH, TOKEN_LIFE)
            .unwrap()
    }

    #[test]
    fn credentials_are_made_once_and_only_their_owner_reads_them() {
        let place = tempfile::tempdir().unwrap();
        let first = taken(place.path()).unwrap();
        let second = taken(place.path()).unwrap();
        assert_eq!(token(&first), token(&second));
        assert_eq!(first.ca_certificate, second.ca_certificate);
        let mode = |file: &str| {
            let path = place.path().join("credentials").join(file);
            fs::metadata(path).unwrap().permissions().mode() & 0o777
        };
        assert_eq!(mode(""), 0o700);
        assert_eq!(mode(TOKEN_KEY_FILE), 0o600);
        assert_eq!(mode(CA_KEY_FILE), 0o600);
        assert_eq!(mode(CA_CERTIFICATE_FILE), 0o644);
    }

    #[test]
    fn a_volume_of_a_secret_is_taken_as_the_kubelet_made_it() {
        let place = tempfile::tempdir().unwrap();
        let first = taken(place.path()).unwrap();
        let volume = place.path().join("volume");
        DirBuilder::new().mode(0o777).create(&volume).unwrap();
        std::os::unix::fs::symlink(place.path().join("credentials"), volume.join(VOLUME_LINK))
            .unwrap();
        for file in [CA_CERTIFICATE_FILE, CA_KEY_FILE, TOKEN_KEY_FILE] {
            let from = volume.join(VOLUME_LINK).join(file);
            fs::set_permissions(&from, fs::Permissions::from_mode(0o440)).unwrap();
            std::os::unix::fs::symlink(from, volume.join(file)).unwrap();
        }
        let random = SystemRandomness::default();
        let second = Credentials::in_directory(&volume, &random).unwrap();
        assert_eq!(token(&first), token(&second));
        assert_ne!(first.run, second.run);
        end_run(&volume, &second.run, &random).unwrap();
        assert!(!volume.join(RUN_FILE).exists());
        // Elsewhere these modes are refused.
        assert!(taken(place.path()).is_err());
    }

    #[test]
    fn a_run_keeps_its_name_until_it_ends_and_nobody_else_ends_it() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("credentials");
        let end = |run: &str| end_run(&directory, run, &SystemRandomness::default()).unwrap();
        let first = taken(place.path()).unwrap().run;
        assert_eq!(taken(place.path()).unwrap().run, first);
        end(&first);
        let second = taken(place.path()).unwrap().run;
        assert_ne!(second, first);
        end(&first);
        assert_eq!(taken(place.path()).unwrap().run, second);
        // Nothing is left of drawing names.
        let files = fs::read_dir(&directory).unwrap().count();
        assert_eq!(
            files,
            [
                CA_CERTIFICATE_FILE,
                CA_KEY_FILE,
                TOKEN_KEY_FILE,
                RUN_FILE,
                IGNORE_FILE
            ]
            .len()
        );
    }

    #[test]
    fn credentials_without_the_name_of_a_run_get_one_and_stay_the_same() {
        let place = tempfile::tempdir().unwrap();
        let first = taken(place.path()).unwrap();
        fs::remove_file(place.path().join("credentials").join(RUN_FILE)).unwrap();
        let second = taken(place.path()).unwrap();
        assert_eq!(token(&first), token(&second));
        assert_ne!(first.run, second.run);
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
    fn what_others_may_read_is_refused_and_how_to_close_it_is_said() {
        for (file, open, wanted) in [
            ("", 0o750, "700"),
            (TOKEN_KEY_FILE, 0o604, "600"),
            (CA_KEY_FILE, 0o640, "600"),
        ] {
            let place = tempfile::tempdir().unwrap();
            taken(place.path()).unwrap();
            let mut path = place.path().join("credentials");
            if !file.is_empty() {
                path.push(file);
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
            let error = taken(place.path()).unwrap_err();
            assert!(
                matches!(&error, CredentialsError::Open { mode, .. } if *mode == open),
                "{error}"
            );
            let remedy = format!("chmod {wanted} {}", path.display());
            assert!(error.to_string().contains(&remedy), "{error}");
        }
    }

    #[test]
    fn an_empty_directory_that_others_may_read_gets_no_keys() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("credentials");
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        let error = taken(place.path()).unwrap_err();
        assert!(matches!(error, CredentialsError::Open { .. }), "{error}");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }

    #[test]
    fn credentials_are_kept_out_of_a_repository() {
        let place = tempfile::tempdir().unwrap();
        taken(place.path()).unwrap();
        let ignored = place.path().join("credentials").join(IGNORE_FILE);
        assert_eq!(fs::read_to_string(ignored).unwrap(), "*\n");
    }

    #[test]
    fn a_key_of_tokens_that_is_none_is_refused() {
        let place = tempfile::tempdir().unwrap();
        taken(place.path()).unwrap();
        let key = place.path().join("credentials").join(TOKEN_KEY_FILE);
        for bad in ["", "short", &"g".repeat(2 * KEY_BYTES)] {
            fs::write(&key, bad).unwrap();
            assert!(
                matches!(taken(place.path()), Err(CredentialsError::TokenKey { .. })),
                "{bad}"
            );
        }
        fs::write(&key, format!("{}\n", "0f".repeat(KEY_BYTES))).unwrap();
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
        assert_eq!(format!("{credentials:?}"), "Credentials { .. }");
    }
}
