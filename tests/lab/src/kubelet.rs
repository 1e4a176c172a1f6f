//! What a kubelet serves on 10250, as far as API servers ask it: TLS, and logs and ports of pods to whoever shows a
//! certificate.
//!
//! Go's words are kept where somebody reads them: the 400 to plain HTTP, the 401 without a certificate.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection};

use forward::Asked;

pub(crate) mod forward;

/// The port of kubelets (D.4).
pub(crate) const PORT: u16 = 10_250;

/// What Go's TLS servers, kubelets among them, say to whoever speaks plain HTTP to them (`net/http`, `server.go`).
const PLAIN_HTTP: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// First byte of a TLS handshake (RFC 8446, "Record Layer").
const HANDSHAKE: u8 = 22;

/// Most bytes of a request.
const REQUEST_MAX: usize = 16 * 1024;

/// End of a request: none that is answered has a body.
const REQUEST_END: &[u8] = b"\r\n\r\n";

/// Kubelets of one lab.
#[derive(Debug)]
pub(crate) struct Kubelets {
    /// Shows their certificate, and asks for one.
    pub(crate) config: Arc<ServerConfig>,
    /// Holds the log of each pod as `NAME.log`, and as `NAME.place` the name of the place in whose network it is.
    pub(crate) logs: PathBuf,
    /// What comes before the name of a place in that of its network namespace.
    pub(crate) prefix: String,
}

/// What a connection that was made to a kubelet speaks.
#[derive(Debug)]
pub(crate) enum Spoken {
    /// Nothing was sent yet.
    Nothing,
    /// TLS, up to the end of the handshake.
    Tls(Box<ServerConnection>),
    /// Something else, and it was told so.
    Other,
}

impl Kubelets {
    /// Looks at the first byte of a connection without taking it; whoever does not begin with a handshake of TLS is told.
    ///
    /// # Errors
    /// What the socket says; [`io::ErrorKind::WouldBlock`] as long as nothing came.
    pub(crate) fn greet(&self, stream: &mut TcpStream) -> io::Result<Spoken> {
        let mut first = [0];
        if stream.peek(&mut first)? == 0 {
            return Ok(Spoken::Nothing);
        }
        if first != [HANDSHAKE] {
            // What was sent is taken: a socket that closes over unread bytes sends a reset.
            let _taken = stream.read(&mut [0; 4096])?;
            stream.write_all(PLAIN_HTTP)?;
            stream.shutdown(std::net::Shutdown::Write)?;
            return Ok(Spoken::Other);
        }
        let tls = ServerConnection::new(Arc::clone(&self.config)).map_err(io::Error::other)?;
        Ok(Spoken::Tls(Box::new(tls)))
    }

    /// Reads a request from `tls` and answers it once it is whole; `pending` is what came of it so far. A request for a
    /// port of a pod is handed back: it is answered by who carries the bytes.
    ///
    /// # Errors
    /// What TLS says; a request that is too long.
    pub(crate) fn serve(
        &self,
        tls: &mut ServerConnection,
        pending: &mut Vec<u8>,
    ) -> io::Result<Option<(Asked, String)>> {
        match tls.reader().read_to_end(pending) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if pending.len() > REQUEST_MAX {
            return Err(io::Error::other("the request is too long"));
        }
        if !pending.ends_with(REQUEST_END) {
            return Ok(None);
        }
        let request = std::mem::take(pending);
        let caller = match tls.peer_certificates() {
            Some(_) => Caller::Known,
            None => Caller::Anonymous,
        };
        if let Some(found) = self.port(&request, caller) {
            return Ok(Some(found));
        }
        tls.set_buffer_limit(None);
        tls.writer().write_all(&self.answer(&request, caller))?;
        Ok(None)
    }

    /// The port that is asked for, and the network namespace of its pod.
    fn port(&self, request: &[u8], caller: Caller) -> Option<(Asked, String)> {
        let asked = Asked::of(&String::from_utf8_lossy(request))?;
        if caller == Caller::Anonymous || !is_name(&asked.pod.1) {
            return None;
        }
        let place = fs::read_to_string(self.logs.join(format!("{}.place", asked.pod.1))).ok()?;
        let namespace = format!("{}{place}", self.prefix);
        Some((asked, namespace))
    }

    /// What is answered to a request.
    fn answer(&self, request: &[u8], caller: Caller) -> Vec<u8> {
        if caller == Caller::Anonymous {
            return plain("401 Unauthorized", b"Unauthorized");
        }
        let request = String::from_utf8_lossy(request);
        let asked = request
            .strip_prefix("GET ")
            .and_then(|rest| rest.split(' ').next());
        let (path, query) = match asked.map(|asked| asked.split_once('?').unwrap_or((asked, ""))) {
            Some(asked) => asked,
            None => return plain("404 Not Found", b"404 page not found\n"),
        };
        let Some(log) = self.log(path) else {
            return plain("404 Not Found", b"404 page not found\n");
        };
        let follows = query.split('&').any(|word| word == "follow=true");
        match fs::read(log) {
            Ok(text) if follows => begun(&text),
            Ok(text) => plain("200 OK", &text),
            Err(_) => plain("404 Not Found", b"the pod does not exist\n"),
        }
    }

    /// The log that `/containerLogs/NAMESPACE/POD/CONTAINER` names.
    fn log(&self, path: &str) -> Option<PathBuf> {
        let words: Vec<&str> = path.strip_prefix("/containerLogs/")?.split('/').collect();
        let [_namespace, pod, _container] = words.as_slice() else {
            return None;
        };
        is_name(pod).then(|| self.logs.join(format!("{pod}.log")))
    }
}

/// Whether `text` is a name, and no way out of a folder.
fn is_name(text: &str) -> bool {
    let known = |letter: char| letter.is_ascii_alphanumeric() || ".-".contains(letter);
    text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.chars().all(known)
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// Somebody with a certificate of the cluster's authority.
    Known,
    /// Somebody without one.
    Anonymous,
}

/// An answer that ends; the connection stays, as Go's clients like it.
fn plain(status: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// An answer that goes on: its first chunk, if there is one yet.
fn begun(text: &[u8]) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut answer = head.as_bytes().to_vec();
    if !text.is_empty() {
        answer.extend(format!("{:x}\r\n", text.len()).as_bytes());
        answer.extend(text);
        answer.extend(b"\r\n");
    }
    answer
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, TcpListener};

    use rcgen::ExtendedKeyUsagePurpose;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

    use super::*;
    use crate::authority::{Authority, params};

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn kubelets(authority: &Authority, logs: PathBuf) -> Kubelets {
        Kubelets {
            config: authority.kubelets(&[HERE]).unwrap(),
            logs,
            prefix: String::new(),
        }
    }

    /// A connection from `client` that was served until its end.
    fn call(kubelets: &Kubelets, client: impl FnOnce(TcpStream) -> String + Send) -> String {
        let listener = TcpListener::bind((HERE, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::scope(|scope| {
            let client = scope.spawn(move || client(TcpStream::connect(address).unwrap()));
            let (mut stream, _) = listener.accept().unwrap();
            if let Ok(Spoken::Tls(mut tls)) = kubelets.greet(&mut stream) {
                let mut pending = Vec::new();
                while tls.complete_io(&mut stream).is_ok_and(|(read, _)| read > 0) {
                    kubelets.serve(&mut tls, &mut pending).unwrap();
                }
            }
            drop(stream);
            client.join().unwrap()
        })
    }

    /// What is answered to a request over TLS by somebody with a certificate of `known`, or with none.
    fn get(
        kubelets: &Kubelets,
        authority: &Authority,
        path: &str,
        known: Option<&Authority>,
    ) -> String {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.certificate().as_bytes());
        roots.add(root.unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let config = match known {
            None => builder.with_no_client_auth(),
            Some(issuer) => {
                let client = params("apiserver", "", ExtendedKeyUsagePurpose::ClientAuth);
                let issued = issuer.issue("client", &client).unwrap();
                let chain = CertificateDer::from_pem_slice(issued.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes());
                let chain = vec![chain.unwrap()];
                builder.with_client_auth_cert(chain, key.unwrap()).unwrap()
            }
        };
        let name = ServerName::from(HERE);
        let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
        call(kubelets, |mut stream| {
            let mut answer = [0; 4096];
            let mut both = Stream::new(&mut tls, &mut stream);
            // Whose certificate is refused may learn it while it still writes.
            let asked = write!(both, "GET {path} HTTP/1.1\r\nHost: node\r\n\r\n");
            match asked.and_then(|()| both.read(&mut answer)) {
                Ok(length) => String::from_utf8_lossy(&answer[..length]).into_owned(),
                Err(error) => error.to_string(),
            }
        })
    }

    #[test]
    fn logs_are_for_those_that_show_a_certificate_of_the_cluster() {
        let logs = tempfile::tempdir().unwrap();
        fs::write(logs.path().join("agent.log"), "line\n").unwrap();
        let authority = Authority::make().unwrap();
        let kubelets = kubelets(&authority, logs.path().to_owned());
        let ask = |path, known| get(&kubelets, &authority, path, known);
        let log = "/containerLogs/default/agent/main";
        let known = ask(log, Some(&authority));
        assert!(known.starts_with("HTTP/1.1 200 OK"), "{known}");
        assert!(known.ends_with("\r\n\r\nline\n"), "{known}");
        let followed = ask(
            "/containerLogs/default/agent/main?follow=true",
            Some(&authority),
        );
        assert!(followed.ends_with("\r\n\r\n5\r\nline\n\r\n"), "{followed}");
        let anonymous = ask(log, None);
        assert!(anonymous.starts_with("HTTP/1.1 401 "), "{anonymous}");
        let stranger = Authority::make().unwrap();
        let other = ask(log, Some(&stranger));
        assert!(!other.contains("line"), "{other}");
        for path in [
            "/containerLogs/default/nobody/main",
            "/containerLogs/default/../main",
            "/pods",
        ] {
            let answer = ask(path, Some(&authority));
            assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
        }
    }

    #[test]
    fn plain_http_is_told_to_speak_tls() {
        let authority = Authority::make().unwrap();
        let kubelets = kubelets(&authority, PathBuf::new());
        let said = call(&kubelets, |mut stream| {
            let mut said = String::new();
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            stream.read_to_string(&mut said).unwrap();
            said
        });
        assert!(said.as_bytes() == PLAIN_HTTP, "{said}");
    }
}
