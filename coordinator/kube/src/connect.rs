//! The way to an API server: a kubeconfig, or the pod's own account.

use std::io;
use std::path::PathBuf;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use serde_json::Value;

use crate::error::{ConnectError, RequestError};
use crate::limits::Limits;
use crate::proxy;
use crate::request::{Answer, Answered, Health, Question, ask};

/// Where the address and the credentials of the API server come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A kubeconfig, with whatever credentials it holds (token, certificate, exec plugin such as `aws eks get-token`).
    Kubeconfig {
        /// The file; absent: `KUBECONFIG`, else `~/.kube/config`.
        path: Option<PathBuf>,
        /// Its context; absent: the current one.
        context: Option<String>,
    },
    /// The service account of the pod in which this runs.
    Pod,
}

/// An API server that answered at least once.
#[derive(Clone)]
pub struct ApiServer {
    client: Client,
    url: String,
    version: String,
    limits: Limits,
    health: Health,
}

impl std::fmt::Debug for ApiServer {
    /// Leaves the client out: it holds credentials.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ApiServer")
            .field("url", &self.url)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl ApiServer {
    /// Connects to the API server and asks for its version.
    ///
    /// Needs a process-wide rustls provider (`rustls::crypto::ring::default_provider().install_default()`), as every
    /// TLS user of this program does.
    ///
    /// # Errors
    /// [`ConnectError`]: there is no usable configuration, the server does not know the caller, or nobody answered within
    /// [`Limits::first_contact`].
    pub async fn connect(entry: &Entry, limits: Limits) -> Result<Self, ConnectError> {
        let mut config = configuration(entry).await?;
        // Waiting and asking again are decided in one place, `request`, which can say what it did.
        config.default_retry = false;
        config.connect_timeout = Some(limits.connect_timeout);
        // Every wait has its own limit; this one would end quiet watches.
        config.read_timeout = None;
        proxy::except(&mut config, |name| std::env::var(name).ok());
        let url = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|source| ConnectError::Client {
            url: url.clone(),
            source: Box::new(source),
        })?;
        let patience = Limits {
            request_timeout: limits.first_contact.min(limits.request_timeout),
            outage: limits.first_contact,
            ..limits
        };
        let question = Question::get("/version");
        match ask(&client, &question, &patience, Health::Readable).await {
            Ok(answered) => {
                let (version, health) = introduction(&answered.answer);
                Ok(Self {
                    client,
                    url,
                    version,
                    limits,
                    health,
                })
            }
            Err(error) => Err(ConnectError::of_request(url, error)),
        }
    }

    /// Address of the API server, as the configuration has it. To be compared with the cluster's endpoint: nothing
    /// else says that a kubeconfig and a cluster's name mean the same cluster.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What the server calls its version (`v1.36.3`, `v1.33.5-eks-3025e55`); empty where anonymous or restricted
    /// accounts may not ask.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    pub(crate) const fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) async fn ask(&self, question: &Question) -> Result<Answered, RequestError> {
        ask(&self.client, question, &self.limits, self.health).await
    }
}

/// What the server calls itself, and whether it speaks of its health: one role grants both, or none.
fn introduction(answer: &Answer) -> (String, Health) {
    match answer {
        Answer::Whole(value) => {
            let version = value
                .get("gitVersion")
                .and_then(Value::as_str)
                .unwrap_or_default();
            (version.to_owned(), Health::Readable)
        }
        Answer::Denied(_) | Answer::Missing | Answer::Expired => (String::new(), Health::Hidden),
    }
}

pub(crate) async fn configuration(entry: &Entry) -> Result<Config, ConnectError> {
    match entry {
        Entry::Kubeconfig { path, context } => of_kubeconfig(path.as_ref(), context.as_ref()).await,
        Entry::Pod => Config::incluster().map_err(|source| ConnectError::Pod { source }),
    }
}

async fn of_kubeconfig(
    path: Option<&PathBuf>,
    context: Option<&String>,
) -> Result<Config, ConnectError> {
    let wrong = |source| ConnectError::Kubeconfig {
        path: path.cloned(),
        source,
    };
    let read = match path {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let kubeconfig = read.map_err(|error| match missing(&error) {
        Some(path) => ConnectError::NoKubeconfig { path },
        None => wrong(error),
    })?;
    let asked = context.or(kubeconfig.current_context.as_ref());
    let mut known: Vec<String> = kubeconfig
        .contexts
        .iter()
        .map(|context| context.name.clone())
        .collect();
    if !asked.is_some_and(|asked| known.contains(asked)) {
        known.sort();
        return Err(ConnectError::NoContext {
            path: path.cloned(),
            context: asked.filter(|asked| !asked.is_empty()).cloned(),
            known,
        });
    }
    let options = KubeConfigOptions {
        context: context.cloned(),
        ..Default::default()
    };
    Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(wrong)
}

/// The file that is not there, if that is what the error means; `Some(None)` without a home to look in.
fn missing(error: &KubeconfigError) -> Option<Option<PathBuf>> {
    if let KubeconfigError::ReadConfig(cause, path) = error {
        let is_missing = cause.kind() == io::ErrorKind::NotFound;
        return is_missing.then(|| Some(path.clone()));
    }
    matches!(error, KubeconfigError::FindPath).then_some(None)
}
