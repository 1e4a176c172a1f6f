//! The coordinator that `deploy/chart` installed, as whoever has a kubeconfig reaches it: found by its Service, asked through a
//! port-forward, trusted by the CA that the cluster holds.
//!
//! The client of Kubernetes and that of a coordinator do not know each other (ARCHITECTURE, "Floors"); this is where they are
//! joined.

use std::string::FromUtf8Error;
use std::sync::Arc;

use reachproof_kube::forward::Forward;
use reachproof_kube::installed::{FindError, Installed};
use reachproof_kube::storage::{ObjectName, Storage, StorageError};
use reachproof_kube::{ApiServer, ConnectError, Entry, Limits};
use reachproof_service::client::way::{Opening, Stream, Way};
use reachproof_service::client::{Client, ClientError};
use reachproof_verify::credentials::CA_CERTIFICATE_FILE;
use reachproof_verify::report::kept::Kept;
use thiserror::Error;

/// Entry of the ConfigMap with what is kept of the last run.
pub(crate) const KEPT_ENTRY: &str = "report.json";

/// What is to be done with a coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To look at what it knows.
    Read,
    /// To let it do a run.
    Start,
}

impl Purpose {
    /// The entry of the Secret with the token for it.
    const fn token(self) -> &'static str {
        match self {
            Self::Read => "read-token",
            Self::Start => "start-token",
        }
    }
}

/// The coordinator in the cluster cannot be asked.
#[derive(Debug, Error)]
pub(crate) enum InstalledError {
    /// The API server cannot be reached.
    #[error(transparent)]
    Connect(#[from] Box<ConnectError>),
    /// It cannot be told which coordinator is meant.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The Service does not say where something is.
    #[error(
        "the Service {service} does not name its {what}: it is of an older chart, pass {option}"
    )]
    Unnamed {
        /// The coordinator's Service.
        service: ObjectName,
        /// What is missing.
        what: &'static str,
        /// What does without it.
        option: &'static str,
    },
    /// The token cannot be had.
    #[error(
        "no token for {service}: pass --coordinator-token-file with the one that you were given"
    )]
    Token {
        /// The coordinator's Service.
        service: ObjectName,
        /// Why the Secret does not have it.
        #[source]
        source: Box<StorageError>,
    },
    /// The CA cannot be had.
    #[error("no CA for {service}")]
    Ca {
        /// The coordinator's Service.
        service: ObjectName,
        /// Why the ConfigMap does not have it.
        #[source]
        source: Box<StorageError>,
    },
    /// An object lacks an entry.
    #[error("{object} has no `{entry}`: has the coordinator started?")]
    Entry {
        /// The Secret or ConfigMap.
        object: ObjectName,
        /// What is missing.
        entry: &'static str,
    },
    /// An entry is no text.
    #[error("`{entry}` of {object} is no text")]
    Text {
        /// The Secret.
        object: ObjectName,
        /// The entry.
        entry: &'static str,
        /// Cause.
        #[source]
        source: FromUtf8Error,
    },
    /// What is kept cannot be had.
    #[error(transparent)]
    Kept(Box<StorageError>),
    /// What is kept is something else.
    #[error("cannot read {object}: is the coordinator of this version?")]
    KeptJson {
        /// The ConfigMap.
        object: ObjectName,
        /// Cause.
        #[source]
        source: serde_json::Error,
    },
    /// The CA is none.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// A coordinator in a cluster, and the API server that leads to it.
#[derive(Debug, Clone)]
pub(crate) struct Reached {
    server: ApiServer,
    installed: Installed,
}

impl Reached {
    /// Finds the only coordinator in `namespace`, or in all, that belongs to `release`, if one is meant.
    ///
    /// # Errors
    /// [`InstalledError::Connect`], [`InstalledError::Find`].
    pub(crate) async fn find(
        entry: &Entry,
        (namespace, release): (Option<&str>, Option<&str>),
    ) -> Result<Self, InstalledError> {
        // The Kubernetes client takes the process's provider; a second installation changes nothing.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let server = ApiServer::connect(entry, Limits::default()).await;
        let server = server.map_err(Box::new)?;
        let installed = Installed::find(&server, namespace, release).await?;
        Ok(Self { server, installed })
    }

    /// Where its page is, by a name that the certificate has.
    pub(crate) fn base(&self) -> String {
        format!("https://{}", self.installed.host())
    }

    /// A client for it with `token`, or with the one of the cluster's Secret.
    ///
    /// # Errors
    /// [`InstalledError`].
    pub(crate) async fn client(
        &self,
        token: Option<String>,
        purpose: Purpose,
    ) -> Result<Client, InstalledError> {
        let storage = Storage::new(self.server.clone());
        let (origin, ca, token) = match token {
            Some(token) => {
                let (origin, ca) = self.public_ca(&storage).await?;
                (origin, ca, token)
            }
            None => self.secrets(&storage, purpose).await?,
        };
        let way = Through(Arc::new(Forward::new(
            self.server.clone(),
            self.installed.clone(),
        )));
        let client = Client::through(Arc::new(way), (&origin.to_string(), &ca), token.trim())?;
        Ok(client)
    }

    /// What the coordinator keeps of its last run; absent before that.
    ///
    /// # Errors
    /// [`InstalledError`].
    pub(crate) async fn kept(&self) -> Result<Option<Kept>, InstalledError> {
        let report = self.installed.report.as_ref();
        let object = self.named(report, "kept report", "--coordinator URL")?;
        let storage = Storage::new(self.server.clone());
        let texts = storage.config_map(&object).await;
        let texts = texts.map_err(|error| InstalledError::Kept(Box::new(error)))?;
        let text = texts.get(KEPT_ENTRY);
        let kept = text.map(|text| serde_json::from_str(text)).transpose();
        kept.map_err(|source| InstalledError::KeptJson { object, source })
    }

    /// An object that the Service names; else the error says what it is and which `option` does without it.
    fn named(
        &self,
        object: Option<&ObjectName>,
        what: &'static str,
        option: &'static str,
    ) -> Result<ObjectName, InstalledError> {
        object.cloned().ok_or_else(|| InstalledError::Unnamed {
            service: self.installed.service.clone(),
            what,
            option,
        })
    }

    /// The CA that agents are told.
    async fn public_ca(&self, storage: &Storage) -> Result<(ObjectName, String), InstalledError> {
        let name = self.named(self.installed.ca.as_ref(), "CA", "--coordinator URL")?;
        let mut texts = storage
            .config_map(&name)
            .await
            .map_err(|source| InstalledError::Ca {
                service: self.installed.service.clone(),
                source: Box::new(source),
            })?;
        match texts.remove(CA_CERTIFICATE_FILE) {
            Some(ca) => Ok((name, ca)),
            None => Err(InstalledError::Entry {
                object: name,
                entry: CA_CERTIFICATE_FILE,
            }),
        }
    }

    /// The Secret with its CA and its token.
    async fn secrets(
        &self,
        storage: &Storage,
        purpose: Purpose,
    ) -> Result<(ObjectName, String, String), InstalledError> {
        let secret = self.installed.secret.as_ref();
        let object = self.named(secret, "Secret", "--coordinator-token-file")?;
        let secret = storage.secret(&object).await;
        let mut secret = secret.map_err(|source| InstalledError::Token {
            service: self.installed.service.clone(),
            source: Box::new(source),
        })?;
        let mut entry = |entry: &'static str| {
            let bytes = secret.entries.remove(entry);
            let bytes = bytes.ok_or_else(|| InstalledError::Entry {
                object: object.clone(),
                entry,
            })?;
            String::from_utf8(bytes).map_err(|source| InstalledError::Text {
                object: object.clone(),
                entry,
                source,
            })
        };
        let (ca, token) = (entry(CA_CERTIFICATE_FILE)?, entry(purpose.token())?);
        Ok((object, ca, token))
    }
}

/// A port-forward for each connection.
struct Through(Arc<Forward>);

impl Way for Through {
    fn open(&self) -> Opening {
        let forward = Arc::clone(&self.0);
        Box::pin(async move {
            let stream: Box<dyn Stream> = Box::new(forward.open().await?);
            Ok(stream)
        })
    }
}
