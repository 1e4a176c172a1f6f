//! One TLS handshake on a connection that is open already, so that the peer shows its certificates and proves its key.
//!
//! The agent trusts nobody here and judges nothing: it lets any chain pass, checks only that the peer holds the key of the
//! certificate that it shows, and reports the chain. Nobody is named in the handshake, no certificate is sent, and in the session
//! nothing but its end: a server takes it for a client that went away in good order.

use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::limits::{CHAIN_BYTES_MAX, CHAIN_CERTIFICATES_MAX, TLS_END_MAX};

/// Certificates that a peer showed, its own first, in DER; at most [`CHAIN_CERTIFICATES_MAX`], and [`CHAIN_BYTES_MAX`] in all.
pub type Chain = Vec<Vec<u8>>;

/// Why a connection gave no TLS session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFailure {
    /// The handshake did not end within the deadline.
    Silent,
    /// The connection was closed or reset.
    Closed,
    /// What came is no TLS 1.3, or an alert.
    Malformed,
    /// The peer did not prove that it holds the key of its certificate.
    Key,
    /// The chain is longer than is reported.
    Chain,
}

/// Makes a handshake with `peer` within `deadline`, completes it, and ends the session.
///
/// What the peer makes of it afterwards does not matter: once its signature is verified and our last message is sent, it has
/// proved what it can.
///
/// # Errors
/// [`TlsFailure`] when there was no session.
pub async fn ask<S>(stream: S, peer: IpAddr, deadline: Duration) -> Result<Chain, TlsFailure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let provider = Arc::new(ring::default_provider());
    let witness = Arc::new(Witness {
        algorithms: provider.signature_verification_algorithms,
        seen: Mutex::new(Err(TlsFailure::Malformed)),
    });
    let config = config(provider, Arc::clone(&witness)).map_err(|_| TlsFailure::Malformed)?;
    let name = ServerName::IpAddress(peer.into());
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    match timeout(deadline, handshake).await {
        Ok(Ok(session)) => {
            end(session).await;
            witness.take()
        }
        Ok(Err(error)) => Err(witness.failure().unwrap_or_else(|| failure_of(&error))),
        Err(_) => Err(TlsFailure::Silent),
    }
}

/// TLS 1.3 that names nobody, has no certificate, and remembers no session.
fn config(provider: Arc<CryptoProvider>, witness: Arc<Witness>) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(witness)
        .with_no_client_auth();
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Says that nothing follows, and waits a while for the peer to say the same: a connection that is closed before it has read
/// everything ends with a reset, which servers complain about.
async fn end<S>(mut session: TlsStream<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut unread = [0; 1024];
    let until_closed = async {
        session.shutdown().await?;
        while session.read(&mut unread).await? > 0 {}
        Ok::<(), io::Error>(())
    };
    // Whatever comes here, the session was.
    let _ = timeout(TLS_END_MAX, until_closed).await;
}

/// What an error of a handshake means that is not about certificates.
fn failure_of(error: &io::Error) -> TlsFailure {
    let ended = [
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::NotConnected,
        io::ErrorKind::BrokenPipe,
    ];
    if ended.contains(&error.kind()) {
        TlsFailure::Closed
    } else if error.kind() == io::ErrorKind::TimedOut {
        TlsFailure::Silent
    } else {
        TlsFailure::Malformed
    }
}

/// Sees what a peer shows, and whether it proves its key.
#[derive(Debug)]
struct Witness {
    algorithms: WebPkiSupportedAlgorithms,
    /// The chain, or what is wrong about it or with the proof. Nothing was shown: malformed.
    seen: Mutex<Result<Chain, TlsFailure>>,
}

impl Witness {
    /// Keeps what was seen.
    fn see(&self, seen: Result<Chain, TlsFailure>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// Takes what was seen.
    fn take(&self) -> Result<Chain, TlsFailure> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *seen, Err(TlsFailure::Malformed))
    }

    /// What is wrong about the chain or the proof; none where something else is.
    fn failure(&self) -> Option<TlsFailure> {
        match self.take() {
            Err(failure @ (TlsFailure::Key | TlsFailure::Chain)) => Some(failure),
            Err(TlsFailure::Silent | TlsFailure::Closed | TlsFailure::Malformed) | Ok(_) => None,
        }
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let all = || std::iter::once(own).chain(others);
        let bytes: usize = all().map(|certificate| certificate.len()).sum();
        if all().count() > CHAIN_CERTIFICATES_MAX || bytes > CHAIN_BYTES_MAX {
            self.see(Err(TlsFailure::Chain));
            return Err(Error::General("the chain is too long".to_owned()));
        }
        self.see(Ok(all().map(|certificate| certificate.to_vec()).collect()));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
            .inspect_err(|_| self.see(Err(TlsFailure::Key)))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
