//! What ends a reading.

use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use thiserror::Error;

/// No API server could be chosen or reached.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The kubeconfig is missing, is not one, or does not hold the context.
    #[error("cannot use the kubeconfig{}: check the file and its current context, or name both with --kubeconfig and --context", at(.path.as_ref()))]
    Kubeconfig {
        /// The file that was named; absent: `KUBECONFIG`, else `~/.kube/config`.
        path: Option<PathBuf>,
        /// What is wrong with it.
        #[source]
        source: kube::config::KubeconfigError,
    },
    /// The files and variables of a pod are not there.
    #[error(
        "cannot use the pod's own account: run in a pod with a mounted service account token, or name a kubeconfig"
    )]
    Pod {
        /// What is missing.
        #[source]
        source: kube::config::InClusterError,
    },
    /// The configuration holds a certificate, key or proxy that the client cannot use.
    #[error(
        "cannot make a client for `{url}`: check the certificates, the key and the proxy of its configuration"
    )]
    Client {
        /// The API server.
        url: String,
        /// What the client refused.
        #[source]
        source: Box<kube::Error>,
    },
    /// The first question was not answered.
    #[error(
        "cannot reach the API server `{url}`: check the address, that its endpoint admits this machine, and the way to it"
    )]
    FirstContact {
        /// The API server.
        url: String,
        /// What happened.
        #[source]
        source: RequestError,
    },
}

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
    #[error("no answer for {} s in {attempts} attempts", .waited.as_secs())]
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
    #[error("the API server is throttling: after {} s and {attempts} attempts it asks for {} s more; try again when it has less to do", .waited.as_secs(), .wait.as_secs())]
    Throttled {
        /// From the first attempt on.
        waited: Duration,
        /// How often it was tried.
        attempts: u32,
        /// What it asked for last.
        wait: Duration,
    },
    /// 401.
    #[error(
        "the API server does not accept the credentials; renew those of the kubeconfig (for EKS: `aws eks update-kubeconfig`)"
    )]
    Unauthorized,
    /// Credentials could not be made (an exec plugin failed, a token file cannot be read).
    #[error("cannot make credentials; run the command of the kubeconfig's user by hand")]
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
