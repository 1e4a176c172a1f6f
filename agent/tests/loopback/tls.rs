//! TLS handshakes with servers of all kinds, and what is reported of them.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use rcgen::{CertificateParams, KeyPair};
use reachproof_agent::{
    engine::Engine,
    environment::{Clock, SystemClock},
    limits::{CHAIN_BYTES_MAX, CHAIN_CERTIFICATES_MAX},
    outcome::Outcome,
    peer::ask,
    probe::{Attempts, Finished, Identification, Probe, ProbeKind, RunName, Work},
    tls::TlsFailure,
};
use rustls::{
    ServerConfig, ServerConnection,
    crypto::ring,
    server::WebPkiClientVerifier,
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use socket2::SockRef;

use crate::support::{Collect, GENEROUS, PATIENCE, engine_config, environment, loopback, patient};

/// A certificate that nobody vouches for, and its key.
fn certificate() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["kubernetes".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    (certificate.into(), key)
}

/// The settings of a server that shows this chain, of any length and fit or not.
fn server(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'static>) -> ServerConfig {
    let key = ring::sign::any_supported_type(key).unwrap();
    /// Shows one chain to everybody.
    #[derive(Debug)]
    struct Always(Arc<CertifiedKey>);
    impl rustls::server::ResolvesServerCert for Always {
        fn resolve(&self, hello: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            assert_eq!(hello.server_name(), None);
            Some(Arc::clone(&self.0))
        }
    }
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Always(Arc::new(CertifiedKey::new(chain, key)))))
}

/// What a server saw of its only client.
#[derive(Debug, PartialEq, Eq)]
enum Saw {
    /// A whole handshake, so many bytes after it, and an orderly end.
    End { bytes: usize },
    /// Something else.
    Trouble(io::ErrorKind),
}

/// Serves one client with these settings, and tells what it saw.
fn serve(config: ServerConfig) -> (SocketAddr, mpsc::Receiver<Saw>) {
    let (saw, seen) = mpsc::channel();
    let address = on_connection(move |mut stream| {
        let mut session = ServerConnection::new(Arc::new(config)).unwrap();
        let mut talk = || {
            while session.is_handshaking() {
                session.complete_io(&mut stream)?;
            }
            let mut read = Vec::new();
            rustls::Stream::new(&mut session, &mut stream).read_to_end(&mut read)
        };
        let seen = match talk() {
            Ok(bytes) => Saw::End { bytes },
            Err(error) => Saw::Trouble(error.kind()),
        };
        saw.send(seen).unwrap();
    });
    (address, seen)
}

/// Does something with the first connection.
fn on_connection(then: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((loopback(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || then(listener.accept().unwrap().0));
    address
}

/// A TLS probe that waits so long.
fn tls(target: SocketAddr, deadline_ms: u64) -> Probe {
    Probe {
        kind: ProbeKind::Tls,
        ..patient(1, target, 1, deadline_ms)
    }
}

/// Makes one attempt and completes it.
async fn asked(probe: Probe) -> Finished {
    let (finished, _) = mpsc::channel();
    let (connected, connections) = mpsc::channel();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let expires_at = clock.now() + PATIENCE;
    let sink = Collect {
        finished,
        connected,
    };
    let (engine, _ended) =
        Engine::start(engine_config(GENEROUS), environment(clock), sink).unwrap();
    engine.add(Work {
        run: RunName::new("run"),
        probes: vec![probe],
        expires_at,
    });
    let wait = move || connections.recv_timeout(PATIENCE).unwrap();
    let finished = ask(tokio::task::spawn_blocking(wait).await.unwrap()).await;
    assert!(matches!(finished.outcome, Outcome::Connected { .. }));
    finished
}

/// What a server that fails this way is reported as.
async fn failure(probe: Probe) -> TlsFailure {
    let finished = asked(probe).await;
    let Some(Identification::NoSession { failure }) = finished.identification else {
        panic!("{finished:?}")
    };
    failure
}

#[tokio::test]
async fn a_server_that_proves_its_key_is_certified_by_its_chain_and_sees_an_orderly_end() {
    let (own, key) = certificate();
    let (other, _) = certificate();
    let chain = vec![own.to_vec(), other.to_vec()];
    for source in [None, Some(17_001)] {
        let (address, seen) = serve(server(vec![own.clone(), other.clone()], &key));
        let mut probe = tls(address, 5_000);
        if let Some(port) = source {
            probe.attempts = Attempts::from_ports(vec![port]);
        }
        let finished = asked(probe).await;
        let chain = chain.clone();
        assert_eq!(
            finished.identification,
            Some(Identification::Certified { chain })
        );
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), Saw::End { bytes: 0 });
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_none_and_is_certified_all_the_same() {
    let (own, key) = certificate();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(own.clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let verifier = |may| {
        let builder = WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots.clone()),
            Arc::clone(&provider),
        );
        if may {
            builder.allow_unauthenticated().build().unwrap()
        } else {
            builder.build().unwrap()
        }
    };
    for (may, saw) in [
        (true, Saw::End { bytes: 0 }),
        (false, Saw::Trouble(io::ErrorKind::InvalidData)),
    ] {
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier(may))
            .with_single_cert(vec![own.clone()], key.clone_key())
            .unwrap();
        let (address, seen) = serve(config);
        let finished = asked(tls(address, 5_000)).await;
        let chain = vec![own.to_vec()];
        assert_eq!(
            finished.identification,
            Some(Identification::Certified { chain })
        );
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), saw);
    }
}

#[tokio::test]
async fn a_certificate_without_its_key_is_no_proof() {
    let (own, _) = certificate();
    let (_, other_key) = certificate();
    let (address, _seen) = serve(server(vec![own], &other_key));
    assert_eq!(failure(tls(address, 5_000)).await, TlsFailure::Key);
    let (_, key) = certificate();
    let junk = CertificateDer::from(vec![7; 100]);
    let (address, _seen) = serve(server(vec![junk], &key));
    assert_eq!(failure(tls(address, 5_000)).await, TlsFailure::Key);
}

#[tokio::test]
async fn a_chain_that_is_too_long_is_not_reported() {
    let (own, key) = certificate();
    let longest = vec![own.clone(); CHAIN_CERTIFICATES_MAX];
    let (address, _seen) = serve(server(longest.clone(), &key));
    assert!(asked(tls(address, 5_000)).await.chain().is_some());
    let many = [longest, vec![own.clone()]].concat();
    let big = vec![own, CertificateDer::from(vec![7; CHAIN_BYTES_MAX])];
    for chain in [many, big] {
        let (address, _seen) = serve(server(chain, &key));
        assert_eq!(failure(tls(address, 5_000)).await, TlsFailure::Chain);
    }
}

#[tokio::test]
async fn a_server_without_tls_1_3_is_malformed() {
    let (own, key) = certificate();
    let old = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own], key)
        .unwrap();
    let (address, _seen) = serve(old);
    assert_eq!(failure(tls(address, 5_000)).await, TlsFailure::Malformed);
    let plain = on_connection(|mut stream| {
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
        thread::sleep(PATIENCE);
    });
    assert_eq!(failure(tls(plain, 5_000)).await, TlsFailure::Malformed);
}

#[tokio::test]
async fn a_server_that_ends_the_connection_is_closed() {
    let closes = on_connection(drop);
    assert_eq!(failure(tls(closes, 5_000)).await, TlsFailure::Closed);
    let resets = on_connection(|stream| {
        SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    });
    assert_eq!(failure(tls(resets, 5_000)).await, TlsFailure::Closed);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_silent() {
    let mute = on_connection(|stream| {
        thread::sleep(PATIENCE);
        drop(stream);
    });
    assert_eq!(failure(tls(mute, 300)).await, TlsFailure::Silent);
}
