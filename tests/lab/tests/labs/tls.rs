//! What the control plane's interfaces show on 443.

use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use reachproof_lab::world::World;
use reachproof_lab::{Authority, Lab};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// Longest wait for an answer; the lab loses nothing.
const WAIT: Duration = Duration::from_secs(5);

/// The host of every world's endpoint.
const HOST: &str = "0123456789ABCDEF0123456789ABCDEF.gr7.us-east-1.eks.amazonaws.com";

/// Calls `target` from an endpoint, completes a handshake for `name` as somebody who trusts `authority`, and says goodbye.
fn call(lab: &Lab, authority: &Authority, name: &str, target: SocketAddr) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = lab
        .within("node-1", || TcpStream::connect_timeout(&target, WAIT))
        .unwrap()
        .map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(WAIT)).unwrap();
    tls.complete_io(&mut stream)
        .map_err(|error| error.to_string())?;
    tls.send_close_notify();
    tls.complete_io(&mut stream)
        .map_err(|error| error.to_string())?;
    // Its own goodbye comes before the end.
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
        end => Err(format!("the interface does not hang up: {end:?}")),
    }
}

pub(crate) fn control_plane_interfaces_prove_that_they_belong_to_the_cluster() {
    let authority = Authority::make().unwrap();
    let mut plan = World::builtin("default").unwrap().expand().unwrap().plan;
    plan.authority = Some(authority.clone());
    let lab = Lab::up(&plan).unwrap();
    let target: SocketAddr = "10.0.2.10:443".parse().unwrap();
    for name in [HOST, "kubernetes.default.svc"] {
        call(&lab, &authority, name, target).unwrap();
    }
    let (other, name) = (Authority::make().unwrap(), "kubernetes.default.svc");
    for error in [
        call(&lab, &other, name, target).unwrap_err(),
        call(&lab, &authority, "elsewhere.example", target).unwrap_err(),
    ] {
        assert!(error.contains("certificate"), "{error}");
    }
    let handshakes = lab.handshakes();
    assert_eq!(handshakes.keys().collect::<Vec<_>>(), ["x-eni-b"]);
    assert_eq!(handshakes["x-eni-b"].len(), 2);
}

pub(crate) fn without_an_authority_they_accept_and_say_nothing() {
    let plan = World::builtin("default").unwrap().expand().unwrap().plan;
    let lab = Lab::up(&plan).unwrap();
    let target: SocketAddr = "10.0.1.10:443".parse().unwrap();
    let mut stream = lab
        .within("node-1", || TcpStream::connect_timeout(&target, WAIT))
        .unwrap()
        .unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let silence = stream.read(&mut [0; 64]).unwrap_err();
    assert_eq!(silence.kind(), ErrorKind::WouldBlock);
    assert_eq!(lab.handshakes().len(), 0);
}
