//! HTTP to another program: a coordinator that stays, or whoever is told of a new verdict.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use thiserror::Error;
use tokio::time::timeout;

use way::{Connector, Way};

pub mod way;

/// Largest answer that is read, in bytes: a report of 30,000 flows has about 100 MB.
pub const ANSWER_BYTES_MAX: usize = 512 * 1024 * 1024;

/// How long one exchange may take.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// An exchange came to nothing.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The file of the CA cannot be used.
    #[error("cannot use the CA `{file}`")]
    Ca {
        /// The file.
        file: String,
        /// Cause.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// Nothing can be sent to this address.
    #[error("cannot ask {uri}")]
    Request {
        /// The address.
        uri: String,
        /// Cause.
        #[source]
        source: http::Error,
    },
    /// There was no answer.
    #[error("no answer from {uri}")]
    Exchange {
        /// The address.
        uri: String,
        /// Cause.
        #[source]
        source: hyper_util::client::legacy::Error,
    },
    /// The answer did not come to its end.
    #[error("the answer of {uri} did not come to its end")]
    Body {
        /// The address.
        uri: String,
        /// Cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It took too long.
    #[error("no answer from {uri} within {} s", PATIENCE.as_secs())]
    Late {
        /// The address.
        uri: String,
    },
    /// The other side does not do it.
    #[error("{uri} answers {status}: {said}")]
    Refused {
        /// The address.
        uri: String,
        /// What it answers.
        status: StatusCode,
        /// In words; at most a line, raw text.
        said: String,
    },
}

/// Speaks HTTP/1.1, over TLS where the address says so. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Pool<HttpsConnector<Connector>, Full<bytes::Bytes>>,
    /// Goes with every request.
    token: Option<Arc<str>>,
}

impl Client {
    /// A client that trusts the CAs of the public web and has no token.
    #[must_use]
    pub fn public() -> Self {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        Self::trusting(roots, None, by_address())
    }

    /// A client with a token, which trusts the CAs in the file `ca` alone where one is given.
    ///
    /// # Errors
    /// [`ClientError::Ca`].
    pub fn new(ca: Option<&Path>, token: Option<&str>) -> Result<Self, ClientError> {
        let token = token.map(Arc::from);
        let Some(ca) = ca else {
            return Ok(Self {
                token,
                ..Self::public()
            });
        };
        let wrong = |source| ClientError::Ca {
            file: ca.display().to_string(),
            source,
        };
        let certificates = CertificateDer::pem_file_iter(ca).map_err(wrong)?;
        let roots = roots(certificates).map_err(wrong)?;
        Ok(Self::trusting(roots, token, by_address()))
    }

    /// A client with a token, which trusts the CAs in the PEM text `ca` alone and comes to every address by `way`.
    ///
    /// # Errors
    /// [`ClientError::Ca`], which names `origin`.
    pub fn through(
        way: Arc<dyn Way>,
        (origin, ca): (&str, &str),
        token: &str,
    ) -> Result<Self, ClientError> {
        let certificates = CertificateDer::pem_slice_iter(ca.as_bytes());
        let roots = roots(certificates).map_err(|source| ClientError::Ca {
            file: origin.to_owned(),
            source,
        })?;
        Ok(Self::trusting(
            roots,
            Some(Arc::from(token)),
            Connector::Way(way),
        ))
    }

    fn trusting(roots: RootCertStore, token: Option<Arc<str>>, connector: Connector) -> Self {
        // The first provider of the process counts; a second installation changes nothing.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let tls = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        Self {
            pool: Pool::builder(TokioExecutor::new()).build(connector),
            token,
        }
    }

    /// Sends one request with a JSON body, empty for none, and returns the answer's body.
    ///
    /// # Errors
    /// [`ClientError`], for an answer that is no success, too.
    pub async fn exchange(
        &self,
        method: Method,
        uri: Uri,
        body: String,
    ) -> Result<Vec<u8>, ClientError> {
        let exchange = self.exchange_at_leisure(method, uri.clone(), body);
        timeout(PATIENCE, exchange)
            .await
            .unwrap_or(Err(ClientError::Late {
                uri: uri.to_string(),
            }))
    }

    async fn exchange_at_leisure(
        &self,
        method: Method,
        uri: Uri,
        body: String,
    ) -> Result<Vec<u8>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(uri.clone())
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::from(body));
        let request = request.map_err(|source| ClientError::Request {
            uri: uri.to_string(),
            source,
        })?;
        let answer = self.pool.request(request).await;
        let answer = answer.map_err(|source| ClientError::Exchange {
            uri: uri.to_string(),
            source,
        })?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        let body = body.map_err(|source| ClientError::Body {
            uri: uri.to_string(),
            source,
        })?;
        let body = body.to_bytes().to_vec();
        if status.is_success() {
            return Ok(body);
        }
        let text = String::from_utf8_lossy(&body);
        Err(ClientError::Refused {
            uri: uri.to_string(),
            status,
            said: text
                .lines()
                .next()
                .unwrap_or_default()
                .chars()
                .take(200)
                .collect(),
        })
    }
}

/// To wherever an address leads.
fn by_address() -> Connector {
    let mut connector = HttpConnector::new();
    // What speaks TLS is behind it.
    connector.enforce_http(false);
    Connector::Address(connector)
}

/// Trusts `certificates`; one that is no certificate trusts nobody.
fn roots(
    certificates: impl Iterator<Item = Result<CertificateDer<'static>, rustls_pki_types::pem::Error>>,
) -> Result<RootCertStore, rustls_pki_types::pem::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let _unusable = roots.add(certificate?);
    }
    Ok(roots)
}
