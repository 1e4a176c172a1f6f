//! Page, API and metrics over HTTP/1.1, with TLS unless nobody else reaches the port.
//!
//! | path | what | who |
//! |---|---|---|
//! | `/livez`, `/readyz` | whether the process lives, and does its work | anybody |
//! | `/`, `/runs/ID`, `/flows` | pages ([`page`]) | who may read |
//! | `/api/v1/…` | [`api`] | who may read; to start a run: who may start |
//! | `/metrics` | [`metrics`] | who may read |

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use reachproof_verify::Random;
use reachproof_verify::fleet::Fleet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::warn;

use crate::config::WebSettings;
use crate::error::ServiceError;
use crate::service::{Asked, ending};
use crate::status::Status;
use crate::store::{Store, StoreError};

use access::Access;
use metrics::Metrics;
use patience::Patient;

mod access;
pub mod api;
pub mod metrics;
pub mod page;
mod patience;
mod tls;

/// Connections at once; the next one waits.
pub const CONNECTIONS_MAX: usize = 256;

/// Longest time for the head of a request, also of the next one on a connection that is kept open.
const HEAD_WAIT: Duration = Duration::from_secs(30);

/// Longest time for a TLS handshake.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);

/// Largest body of a request, in bytes: nobody has more to say.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Pause after a connection could not be accepted, as when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the server shows, and where it asks for runs.
#[derive(Clone)]
pub struct View {
    /// What is remembered.
    pub store: Store,
    /// The agents.
    pub fleet: Fleet,
    /// What the service does.
    pub status: watch::Receiver<Status>,
    /// Where runs are asked for.
    pub asked: mpsc::Sender<Asked>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Names of runs.
    pub random: Arc<dyn Random>,
}

/// The web server.
pub struct Server {
    router: Router,
    tls: Option<TlsAcceptor>,
}

impl Server {
    /// Reads certificate and tokens.
    ///
    /// # Errors
    /// [`ServiceError::WebFile`], [`ServiceError::WebTls`], [`ServiceError::WebToken`].
    pub fn new(settings: &WebSettings, view: View) -> Result<Self, ServiceError> {
        let access = Arc::new(Access::read(settings)?);
        let tls = settings.tls.as_ref();
        Ok(Self {
            tls: tls
                .map(|(certificate, key)| tls::acceptor(certificate, key))
                .transpose()?,
            router: router(view, access),
        })
    }

    /// Serves on `listener` until `stopped` is true.
    pub async fn serve(self, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let stream = tokio::select! {
                () = ending(&mut stopped) => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        warn!(%error, "a connection to the page could not be accepted");
                        sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            let (router, tls, stopped) = (self.router.clone(), self.tls.clone(), stopped.clone());
            tokio::spawn(async move {
                connection(stream, tls, router, stopped).await;
                drop(place);
            });
        }
    }
}

fn router(view: View, access: Arc<Access>) -> Router {
    Router::new()
        .merge(page::routes())
        .merge(api::routes())
        .route("/metrics", get(metrics::text))
        .layer(middleware::from_fn_with_state(access, access::guard))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::map_response(hardened))
        .with_state(view)
}

/// Whether the service does its work.
async fn ready(axum::extract::State(view): axum::extract::State<View>) -> Response {
    match &view.status.borrow().fault {
        None => "ok\n".into_response(),
        // The reason is for those who may read.
        Some(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready, see /api/v1/status\n",
        )
            .into_response(),
    }
}

/// Headers that every answer has: nothing is loaded from elsewhere, nothing runs that is not a file of ours, and nothing is
/// kept.
async fn hardened(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let fixed = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Serves one connection to its end.
async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    stopped: watch::Receiver<bool>,
) {
    let stream = Patient::new(stream);
    match tls {
        None => exchange(stream, router, stopped).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(HANDSHAKE_WAIT, tls.accept(stream)).await {
                exchange(stream, router, stopped).await;
            }
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let mut server = hyper::server::conn::http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT);
    let served = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(served);
    tokio::select! {
        // However the other side ends it, it is over.
        _ended = served.as_mut() => return,
        () = ending(&mut stopped) => served.as_mut().graceful_shutdown(),
    }
    drop(served.await);
}

/// An answer that is no success, in words.
pub(crate) struct Refusal(StatusCode, String);

impl Refusal {
    fn new(status: StatusCode, said: impl Into<String>) -> Self {
        Self(status, said.into())
    }

    fn no_run(id: &str) -> Self {
        let id: String = id.chars().take(40).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            format!("no run `{}`, /api/v1/runs lists them", id.escape_debug()),
        )
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, format!("{}\n", self.1)).into_response()
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        warn!(%error, "the store could not be read");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

/// Runs what takes long off the threads that serve.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let done: Result<T, _> = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "it failed, see the log"))
}
