//! Whether what a control-plane interface showed in a TLS handshake is a certificate of the cluster's API server (F.2).
//!
//! The agent says only which certificates it was shown, and that the peer proved to hold the key of the first. Here they
//! are held against the authority that the snapshot names. Time is passed in.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use reachproof_model::observation::{CertificateFault, Identification};
use reachproof_model::snapshot::Cluster;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tracing::warn;

/// Certificates that a peer showed, its own first.
pub type Chain = Arc<[CertificateDer<'static>]>;

/// Name that the certificate of every API server holds, whatever its endpoint.
pub const SERVICE_NAME: &str = "kubernetes.default.svc";

/// Most certificates of an authority that are read: one, and its successors while they change.
pub const AUTHORITIES_MAX: usize = 8;

/// Judges chains by the authority of one cluster, at one time.
#[derive(Debug)]
pub struct CertificateJudge {
    /// Absent where the snapshot names no authority that can be read.
    verifier: Option<Arc<WebPkiServerVerifier>>,
    names: Vec<ServerName<'static>>,
    now: UnixTime,
}

impl CertificateJudge {
    /// Takes the authority and the endpoint of `cluster`; certificates must be valid at `now`.
    #[must_use]
    pub fn new(cluster: Option<&Cluster>, now: SystemTime) -> Self {
        let endpoint = cluster.and_then(Cluster::endpoint).map(host);
        let names = endpoint.into_iter().chain([SERVICE_NAME]);
        Self {
            verifier: cluster.and_then(|cluster| verifier(&cluster.certificate_authority)),
            names: names
                .filter_map(|name| ServerName::try_from(name.to_owned()).ok())
                .collect(),
            now: UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default()),
        }
    }

    /// What a completed handshake with `chain` shows.
    #[must_use]
    pub fn judge(&self, chain: &[CertificateDer<'_>]) -> Identification {
        match self.fault(chain) {
            None => Identification::Certified,
            Some(fault) => Identification::Uncertified { fault },
        }
    }

    /// Why `chain` does not show that the peer is the API server; absent if it does.
    fn fault(&self, chain: &[CertificateDer<'_>]) -> Option<CertificateFault> {
        let Some(verifier) = &self.verifier else {
            return Some(CertificateFault::NoAuthority);
        };
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Some(CertificateFault::Chain);
        };
        let mut fault = Some(CertificateFault::Name);
        for name in &self.names {
            let checked = verifier.verify_server_cert(leaf, intermediates, name, &[], self.now);
            match checked.map_err(|error| fault_of(&error)) {
                Ok(_) => return None,
                Err(CertificateFault::Name) => {}
                Err(other) => fault = Some(other),
            }
        }
        fault
    }
}

/// The host of an endpoint, without a port.
fn host(endpoint: &str) -> &str {
    endpoint.split_once(':').map_or(endpoint, |(host, _)| host)
}

/// Reads the authority, as `describe-cluster` says it: PEM in base64.
fn verifier(authority: &str) -> Option<Arc<WebPkiServerVerifier>> {
    if authority.is_empty() {
        return None;
    }
    // The base64 around the PEM is that of a PEM body: one reader does for both.
    let wrapped = format!("-----BEGIN CERTIFICATE-----\n{authority}\n-----END CERTIFICATE-----\n");
    let outer = CertificateDer::from_pem_slice(wrapped.as_bytes()).ok()?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&outer).take(AUTHORITIES_MAX) {
        let added = certificate.map(|certificate| roots.add(certificate));
        if !matches!(added, Ok(Ok(()))) {
            warn!("a certificate of the cluster's authority cannot be read");
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .inspect_err(|error| warn!(%error, "the cluster's authority cannot be used"))
        .ok()
}

/// What a refusal by rustls means for us.
fn fault_of(error: &rustls::Error) -> CertificateFault {
    let rustls::Error::InvalidCertificate(error) = error else {
        return CertificateFault::Chain;
    };
    if is_name(error) {
        CertificateFault::Name
    } else if is_time(error) {
        CertificateFault::Expired
    } else if *error == CertificateError::BadEncoding {
        CertificateFault::Chain
    } else {
        CertificateFault::Authority
    }
}

/// Whether the certificate is of another name.
fn is_name(error: &CertificateError) -> bool {
    matches!(
        error,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
    )
}

/// Whether the certificate is of another time.
fn is_time(error: &CertificateError) -> bool {
    matches!(
        error,
        CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
    )
}

#[cfg(test)]
mod tests;
