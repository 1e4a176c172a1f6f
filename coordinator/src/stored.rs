//! Credentials that a coordinator keeps in its cluster: what lies in its directory and what the API server has, made one.

use std::path::Path;

use reachproof_kube::storage::{ObjectName, Storage, StorageError, Written};
use reachproof_kube::{ApiServer, ConnectError, Limits};
use reachproof_service::Config;
use reachproof_service::keeper::{Keeper, Keeping};
use reachproof_verify::credentials::{
    CA_CERTIFICATE_FILE, CredentialsError, complete as completed,
};
use reachproof_verify::{Credentials, Random};
use thiserror::Error;

use crate::installed::KEPT_ENTRY;
use crate::source::SourceArguments;

/// How often it is tried again when somebody else wrote meanwhile. Who comes second finds everything there.
const TRIES: u8 = 5;

/// Credentials could not be kept in the cluster, or had from it.
#[derive(Debug, Error)]
pub(crate) enum StoredError {
    /// There is no cluster.
    #[error(
        "`secret` and `publish` of `agents` and `report` of `web` are objects of a cluster: name it under `world`"
    )]
    NoCluster,
    /// The API server cannot be reached.
    #[error("cannot reach the API server that keeps the credentials")]
    Connect(#[source] Box<ConnectError>),
    /// It does not keep them.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What is kept is not usable.
    #[error("the credentials in the Secret {name} cannot be used")]
    Credentials {
        /// Which.
        name: ObjectName,
        /// Why.
        #[source]
        source: CredentialsError,
    },
    /// Somebody else writes all the time.
    #[error("{name} was written by somebody else {TRIES} times in a row")]
    Contested {
        /// Which.
        name: ObjectName,
    },
}

/// Where the settings say that credentials are kept or published, if they do.
///
/// # Errors
/// [`StoredError::NoCluster`], [`StoredError::Connect`].
pub(crate) async fn storage(
    config: &Config,
    source: &SourceArguments,
) -> Result<Option<Storage>, StoredError> {
    let (agents, web) = (&config.agents, &config.web);
    if agents.secret.is_none() && agents.publish.is_empty() && web.report.is_none() {
        return Ok(None);
    }
    let entry = source.api_server().ok_or(StoredError::NoCluster)?;
    // The Kubernetes client takes the process's provider; a second installation changes nothing.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let server = ApiServer::connect(&entry, Limits::default()).await;
    let server = server.map_err(|error| StoredError::Connect(Box::new(error)))?;
    Ok(Some(Storage::new(server)))
}

/// Lays what the Secret holds into `directory`, makes what is missing, and keeps that in the Secret.
///
/// Of two that make at once, one is first; the other takes what that one made.
///
/// # Errors
/// [`StoredError`].
pub(crate) async fn complete(
    storage: &Storage,
    (namespace, name): &(String, String),
    directory: &Path,
    random: &dyn Random,
) -> Result<(), StoredError> {
    let name = ObjectName {
        namespace: namespace.clone(),
        name: name.clone(),
    };
    for _ in 0..TRIES {
        let secret = storage.secret(&name).await?;
        let made = completed(directory, &secret.entries, random);
        let made = made.map_err(|source| StoredError::Credentials {
            name: name.clone(),
            source,
        })?;
        let mut wanted = secret.entries.clone();
        wanted.extend(made);
        if wanted == secret.entries {
            return Ok(());
        }
        if storage.keep(&name, secret, &wanted).await? == Written::Done {
            return Ok(());
        }
    }
    Err(StoredError::Contested { name })
}

/// Tells agents the CA, in each of the ConfigMaps.
///
/// # Errors
/// [`StoredError`].
pub(crate) async fn publish(
    storage: &Storage,
    names: &[(String, String)],
    credentials: &Credentials,
) -> Result<(), StoredError> {
    for (namespace, name) in names {
        let name = ObjectName {
            namespace: namespace.clone(),
            name: name.clone(),
        };
        let entry = (CA_CERTIFICATE_FILE, credentials.ca_certificate.as_str());
        lay(storage, name, entry).await?;
    }
    Ok(())
}

/// Lets an entry of a ConfigMap be as given, whoever writes there meanwhile.
async fn lay(storage: &Storage, name: ObjectName, entry: (&str, &str)) -> Result<(), StoredError> {
    for _ in 0..TRIES {
        if storage.publish(&name, entry).await? == Written::Done {
            return Ok(());
        }
    }
    Err(StoredError::Contested { name })
}

/// A ConfigMap with what is kept of the last run.
pub(crate) struct KeptIn {
    storage: Storage,
    name: ObjectName,
}

impl KeptIn {
    pub(crate) fn new(storage: Storage, (namespace, name): &(String, String)) -> Self {
        let (namespace, name) = (namespace.clone(), name.clone());
        Self {
            storage,
            name: ObjectName { namespace, name },
        }
    }
}

impl Keeper for KeptIn {
    fn keep<'a>(&'a self, text: &'a str) -> Keeping<'a> {
        Box::pin(async move {
            let entry = (KEPT_ENTRY, text);
            Ok(lay(&self.storage, self.name.clone(), entry).await?)
        })
    }
}
