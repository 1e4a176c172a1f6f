//! A coordinator that stays (`reachproof serve`), as other commands ask it: for runs, reports and agents.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Args;
use http::Method;
use http::uri::{InvalidUri, Uri};
use reachproof_kube::Entry;
use reachproof_kube::forward::{ForwardError, beneath};
use reachproof_service::client::{Client, ClientError};
use reachproof_verify::Report;
use reachproof_verify::report::document::DocumentError;
use reachproof_verify::report::kept::Kept;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use tokio::runtime::Runtime;

use crate::installed::{InstalledError, Purpose, Reached};

/// Time between two looks at a run that goes on.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The arguments that name a coordinator.
const WHICH: &str = "which-coordinator";

/// Which coordinator is asked, and how.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RemoteArguments {
    /// Coordinator that stays (`reachproof serve`), as https://HOST:7080
    #[arg(long, value_name = "URL", group = WHICH)]
    coordinator: Option<String>,
    /// The coordinator that Helm installed in the cluster of the kubeconfig, by a port-forward
    #[arg(long, group = WHICH)]
    kubernetes: bool,
    /// Namespace of that coordinator [default: whichever has one]
    #[arg(short, long, value_name = "NAMESPACE", requires = "kubernetes")]
    namespace: Option<String>,
    /// Release of Helm that it belongs to, where a namespace has several
    #[arg(long, value_name = "NAME", requires = "kubernetes")]
    release: Option<String>,
    /// Certificate of the CA that signed its certificate [default: the CAs of the public web]
    #[arg(long, value_name = "FILE", requires = "coordinator")]
    coordinator_ca: Option<PathBuf>,
    /// File with the token for it [with --kubernetes: that of the cluster's Secret]
    #[arg(long, value_name = "FILE", requires = WHICH)]
    coordinator_token_file: Option<PathBuf>,
}

/// A coordinator did not do what it was asked.
#[derive(Debug, Error)]
pub(crate) enum RemoteError {
    /// The address is none.
    #[error("`{url}` is no address of a coordinator, write it like https://host:7080")]
    Address {
        /// The address.
        url: String,
        /// Cause.
        #[source]
        source: InvalidUri,
    },
    /// The file of the token cannot be read.
    #[error("cannot read the token `{}`", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// It cannot be found in the cluster, or not be asked.
    #[error("cannot ask the coordinator in the cluster")]
    Installed(#[source] Box<InstalledError>),
    /// It was not reached, or refuses.
    #[error("the coordinator does not do it")]
    Client(#[from] ClientError),
    /// It answers something else than this version reads.
    #[error("the coordinator's answer to {path} cannot be read: is it of this version?")]
    Answer {
        /// What was asked.
        path: String,
        /// Cause.
        #[source]
        source: serde_json::Error,
    },
    /// A report of it cannot be read.
    #[error("the coordinator's report cannot be read")]
    Report(#[from] DocumentError),
    /// A run there came to no report.
    #[error("run {id} is {state}{}", if why.is_empty() { String::new() } else { format!(": {why}") })]
    NoReport {
        /// The run.
        id: String,
        /// What became of it.
        state: String,
        /// Why.
        why: String,
    },
    /// No run there has a report yet.
    #[error("the coordinator has no report yet")]
    NoRun,
    /// The runtime does not start.
    #[error("cannot start the runtime")]
    Runtime(#[from] io::Error),
}

/// What a run is asked to do.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RunAsked<'a> {
    /// How much is tried; absent: as much as the earlier run, or as fits the fleet.
    pub(crate) scope: Option<&'a str>,
    /// Run of the coordinator whose seed is taken, and whose flows are tried again.
    pub(crate) since: Option<&'a str>,
}

impl From<InstalledError> for RemoteError {
    fn from(error: InstalledError) -> Self {
        Self::Installed(Box::new(error))
    }
}

impl RemoteError {
    /// The closed way in the cluster that is the cause, if one is.
    pub(crate) fn closed_way(&self) -> Option<&ForwardError> {
        beneath(self).filter(|way| way.advice().is_some())
    }
}

impl RemoteArguments {
    /// Whether a coordinator is named.
    pub(crate) fn is_named(&self) -> bool {
        self.coordinator.is_some() || self.kubernetes
    }

    /// The coordinator that is named, if one is; `entry` leads to the cluster in which one is to be found.
    ///
    /// # Errors
    /// [`RemoteError::Address`], [`RemoteError::Token`], [`RemoteError::Installed`], [`RemoteError::Client`].
    pub(crate) fn remote(
        &self,
        entry: &Entry,
        purpose: Purpose,
    ) -> Result<Option<Remote>, RemoteError> {
        if !self.is_named() {
            return Ok(None);
        }
        let token = self.coordinator_token_file.as_ref().map(|path| {
            let text = fs::read_to_string(path).map_err(|source| RemoteError::Token {
                path: path.clone(),
                source,
            });
            text.map(|text| text.trim().to_owned())
        });
        let token = token.transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let Some(url) = &self.coordinator else {
            let which = (self.namespace.as_deref(), self.release.as_deref());
            let (reached, client) = runtime.block_on(async {
                let reached = Reached::find(entry, which).await?;
                let client = reached.client(token, purpose).await?;
                Ok::<_, InstalledError>((reached, client))
            })?;
            return Ok(Some(Remote {
                base: reached.base(),
                client,
                runtime,
                reached: Some(reached),
            }));
        };
        Ok(Some(Remote {
            base: url.trim_end_matches('/').to_owned(),
            client: Client::new(self.coordinator_ca.as_deref(), token.as_deref())?,
            runtime,
            reached: None,
        }))
    }
}

/// A coordinator that stays.
#[derive(Debug)]
pub(crate) struct Remote {
    base: String,
    client: Client,
    /// Connections live in it.
    runtime: Runtime,
    /// Where it is installed, if it was found there.
    reached: Option<Reached>,
}

impl Remote {
    /// What it keeps in its cluster of its last run; absent before that.
    ///
    /// # Errors
    /// [`InstalledError`].
    pub(crate) fn kept(&self) -> Result<Option<Kept>, InstalledError> {
        let kept = self.reached.as_ref().map(Reached::kept);
        kept.map_or(Ok(None), |kept| self.runtime.block_on(kept))
    }

    /// The last runs, the latest first.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub(crate) fn runs(&self) -> Result<Vec<Value>, RemoteError> {
        self.get("/api/v1/runs?limit=1000")
    }

    /// Its agents.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub(crate) fn agents(&self) -> Result<Value, RemoteError> {
        self.get("/api/v1/agents")
    }

    /// The report of a run, with its world.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub(crate) fn report(&self, run: &str) -> Result<Report, RemoteError> {
        let path = format!("/api/v1/runs/{}/report", escaped(run));
        Ok(Report::from_bytes(self.ask(
            Method::GET,
            &path,
            String::new(),
        )?)?)
    }

    /// The report of the last run that has one.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub(crate) fn last_report(&self) -> Result<Report, RemoteError> {
        let runs = self.runs()?;
        let done = runs.iter().find(|run| text(run, "state") == "done");
        self.report(&text(done.ok_or(RemoteError::NoRun)?, "id"))
    }

    /// Asks for a run and waits for its report; `progress` hears what it does.
    ///
    /// # Errors
    /// [`RemoteError`]; [`RemoteError::NoReport`] for a run that could not be done.
    pub(crate) fn run(
        &self,
        asked: &RunAsked<'_>,
        progress: impl Fn(&str),
    ) -> Result<Report, RemoteError> {
        let named = [("scope", asked.scope), ("since", asked.since)].into_iter();
        let order: Value = named.filter_map(|(key, word)| Some((key, word?))).collect();
        let path = "/api/v1/runs";
        let answer = self.ask(Method::POST, path, order.to_string())?;
        let accepted: Value = read(path, &answer)?;
        let id = text(&accepted, "id");
        progress(&format!("run {id} is asked for"));
        let mut said = String::new();
        loop {
            let status: Value = self.get("/api/v1/status")?;
            let running = status.get("running").cloned().unwrap_or_default();
            if text(&running, "id") == id && text(&running, "progress") != said {
                said = text(&running, "progress");
                progress(&said);
            }
            // A run that waits for another one is not in the store yet.
            let runs = self.runs()?;
            let found = runs.iter().find(|run| text(run, "id") == id);
            match found.map(|run| (text(run, "state"), text(run, "why"))) {
                Some((state, _)) if state == "done" => return self.report(&id),
                None => {}
                Some((state, _)) if state == "running" => {}
                Some((state, why)) => return Err(RemoteError::NoReport { id, state, why }),
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, RemoteError> {
        let answer = self.ask(Method::GET, path, String::new())?;
        read(path, &answer)
    }

    fn ask(&self, method: Method, path: &str, body: String) -> Result<Vec<u8>, RemoteError> {
        let url = format!("{}{path}", self.base);
        let uri: Uri = url.parse().map_err(|source| RemoteError::Address {
            url: self.base.clone(),
            source,
        })?;
        let exchange = self.client.exchange(method, uri, body);
        Ok(self.runtime.block_on(exchange)?)
    }
}

fn read<T: DeserializeOwned>(path: &str, answer: &[u8]) -> Result<T, RemoteError> {
    serde_json::from_slice(answer).map_err(|source| RemoteError::Answer {
        path: path.to_owned(),
        source,
    })
}

/// A text of an answer; empty where there is none.
pub(crate) fn text(object: &Value, key: &str) -> String {
    let found = object.get(key).and_then(Value::as_str);
    found.unwrap_or_default().to_owned()
}

/// A name as it can stand in a path.
fn escaped(name: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    name.bytes()
        .map(|byte| {
            if plain(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
