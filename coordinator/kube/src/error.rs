//! What ends a reading.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use thiserror::Error;

/// No API server could be chosen or reached.
///
/// Its message is the [`cause`](ConnectError::cause) and the [`remedy`](ConnectError::remedy).
#[derive(Debug, Error)]
pub enum ConnectError {
    /// There is no kubeconfig.
    NoKubeconfig {
        /// The file that was looked for; absent: `~/.kube/config`, of a home that nobody names.
        path: Option<PathBuf>,
    },
    /// The kubeconfig does not hold the context.
    NoContext {
        /// The file; absent: `KUBECONFIG`, else `~/.kube/config`.
        path: Option<PathBuf>,
        /// The context that was asked for; absent: the current one, which the file does not name.
        context: Option<String>,
        /// Those that it holds, sorted.
        known: Vec<String>,
    },
    /// The kubeconfig is not one, or what it refers to is missing.
    Kubeconfig {
        /// The file; absent: `KUBECONFIG`, else `~/.kube/config`.
        path: Option<PathBuf>,
        /// What is wrong with it.
        #[source]
        source: kube::config::KubeconfigError,
    },
    /// The files and variables of a pod are not there.
    Pod {
        /// What is missing.
        #[source]
        source: kube::config::InClusterError,
    },
    /// The configuration holds a certificate, key or proxy that the client cannot use.
    Client {
        /// The API server.
        url: String,
        /// What the client refused.
        #[source]
        source: Box<kube::Error>,
    },
    /// 401.
    Unauthorized {
        /// The API server.
        url: String,
    },
    /// Credentials could not be made (an exec plugin failed, a token file cannot be read).
    Credentials {
        /// The API server.
        url: String,
        /// What went wrong.
        #[source]
        source: Box<kube::Error>,
    },
    /// The first question was not answered.
    FirstContact {
        /// The API server.
        url: String,
        /// What happened.
        #[source]
        source: RequestError,
    },
}

impl ConnectError {
    /// The error of a first question.
    pub(crate) fn of_request(url: String, error: RequestError) -> Self {
        match error {
            RequestError::Unauthorized => Self::Unauthorized { url },
            RequestError::Credentials(source) => Self::Credentials { url, source },
            source @ (RequestError::Unreachable { .. }
            | RequestError::Throttled { .. }
            | RequestError::Denied { .. }
            | RequestError::Refused { .. }
            | RequestError::Request(_)) => Self::FirstContact { url, source },
        }
    }

    /// What is wrong, without what lies beneath.
    #[must_use]
    pub fn cause(&self) -> String {
        match self {
            Self::NoKubeconfig { path } => format!("there is no kubeconfig{}", at(path.as_ref())),
            Self::NoContext { path, context, .. } => {
                let at = at(path.as_ref());
                match context {
                    Some(context) => format!("the kubeconfig{at} has no context `{context}`"),
                    None => format!("the kubeconfig{at} has no current context"),
                }
            }
            Self::Kubeconfig { path, .. } => {
                format!("cannot use the kubeconfig{}", at(path.as_ref()))
            }
            Self::Pod { .. } => "cannot use the pod's own account".to_owned(),
            Self::Client { url, .. } => format!("cannot make a client for `{url}`"),
            Self::Unauthorized { url } => {
                format!("the API server `{url}` does not accept the credentials")
            }
            Self::Credentials { url, .. } => {
                format!("cannot make credentials for the API server `{url}`")
            }
            Self::FirstContact { url, .. } => format!("cannot reach the API server `{url}`"),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::NoKubeconfig { .. } => {
                "write one (`aws eks update-kubeconfig --name NAME`), or name another with --kubeconfig"
                    .to_owned()
            }
            Self::NoContext { known, .. } if known.is_empty() => {
                "write one (`aws eks update-kubeconfig --name NAME`)".to_owned()
            }
            Self::NoContext { known, .. } => {
                format!("pass --context with one of {}", known.join(", "))
            }
            Self::Kubeconfig { .. } => "check the file, or name another with --kubeconfig".to_owned(),
            Self::Pod { .. } => {
                "run in a pod with a mounted service account token, or name a kubeconfig".to_owned()
            }
            Self::Client { .. } => {
                "check the certificates, the key and the proxy of its configuration".to_owned()
            }
            Self::Unauthorized { .. } => UNAUTHORIZED_REMEDY.to_owned(),
            Self::Credentials { .. } => CREDENTIALS_REMEDY.to_owned(),
            Self::FirstContact { .. } => {
                "check the address, that its endpoint admits this machine, and the way to it"
                    .to_owned()
            }
        }
    }

    /// Address of the API server, where one was chosen.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        match self {
            Self::Client { url, .. }
            | Self::Unauthorized { url }
            | Self::Credentials { url, .. }
            | Self::FirstContact { url, .. } => Some(url),
            Self::NoKubeconfig { .. }
            | Self::NoContext { .. }
            | Self::Kubeconfig { .. }
            | Self::Pod { .. } => None,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}; {}", self.cause(), self.remedy())
    }
}

/// What to do where the API server does not know the caller.
const UNAUTHORIZED_REMEDY: &str =
    "renew them (for EKS: `aws eks update-kubeconfig`, and an access entry for the identity)";

/// What to do where no credentials could be made.
const CREDENTIALS_REMEDY: &str = "run the command of the kubeconfig's user by hand";

fn at(path: Option<&PathBuf>) -> String {
    path.map(|path| format!(" `{}`", path.display()))
        .unwrap_or_default()
}

/// A reading ended without a result. What was read so far is dropped: a partial world is none.
#[derive(Debug, Error)]
pub enum ReadError {
    /// A question was not answered in the end.
    #[error("cannot read `{stem}`")]
    Request {
        /// The file that it was for.
        stem: &'static str,
        /// What happened.
        #[source]
        source: RequestError,
    },
    /// The list expired each time before its last page.
    #[error(
        "cannot read `{stem}`: its list expired {restarts} times before the last page; read from a machine that is nearer, or with smaller pages"
    )]
    Expired {
        /// The file that it was for.
        stem: &'static str,
        /// How often it was started again.
        restarts: u32,
    },
    /// A continue token came twice, or the pages do not end.
    #[error(
        "cannot read `{stem}`: its pages go in a circle after page {page}; something between here and the API server replays answers"
    )]
    Circle {
        /// The file that it was for.
        stem: &'static str,
        /// The page that led back, from 1.
        page: usize,
    },
    /// The answer is JSON, but not the list or object that was asked for.
    #[error(
        "cannot read `{stem}`: page {page} has no `{field}`; is something else than an API server answering"
    )]
    Malformed {
        /// The file that it was for.
        stem: &'static str,
        /// The page, from 1.
        page: usize,
        /// What is missing or of another type.
        field: &'static str,
    },
}

/// One question to the API server ended without an answer that can be used.
#[derive(Debug, Error)]
pub enum RequestError {
    /// No connection, or it broke, for as long as was waited.
    #[error("no answer for {} s, attempts: {attempts}", .waited.as_secs())]
    Unreachable {
        /// From the first attempt on.
        waited: Duration,
        /// How often it was tried.
        attempts: u32,
        /// The last failure.
        #[source]
        source: Box<Failure>,
    },
    /// The server asked to come back later for as long as was waited.
    #[error("the API server is throttling: after {} s (attempts: {attempts}) it asks for {} s more; try again when it has less to do", .waited.as_secs(), .wait.as_secs())]
    Throttled {
        /// From the first attempt on.
        waited: Duration,
        /// How often it was tried.
        attempts: u32,
        /// What it asked for last.
        wait: Duration,
    },
    /// 401.
    #[error("the API server does not accept the credentials; {UNAUTHORIZED_REMEDY}")]
    Unauthorized,
    /// Credentials could not be made (an exec plugin failed, a token file cannot be read).
    #[error("cannot make credentials; {CREDENTIALS_REMEDY}")]
    Credentials(#[source] Box<kube::Error>),
    /// 403 on a question whose refusal is not foreseen.
    #[error("access denied: {message}")]
    Denied {
        /// What the server said.
        message: String,
    },
    /// Another status that asking again does not change.
    #[error("the API server answered {status}: {message}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// What the server said.
        message: String,
    },
    /// The question could not be written down.
    #[error("cannot make the request")]
    Request(#[source] http::Error),
}

/// Why one attempt failed in a way that another may not.
#[derive(Debug, Error)]
pub enum Failure {
    /// The connection.
    #[error("{}", root(.0))]
    Connection(#[source] Box<kube::Error>),
    /// The body broke off, or is longer than an answer may be.
    #[error("the answer broke off: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The body is not JSON, though it came whole.
    #[error("the answer is not JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// The time of one attempt was up.
    #[error("no whole answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// A status of 500 or more.
    #[error("status {status}: {message}")]
    Status {
        /// The status.
        status: StatusCode,
        /// What the server said.
        message: String,
    },
}

/// The innermost cause: the client wraps `connection refused` in three layers that say nothing.
fn root(error: &kube::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
