//! API servers that are asked to connect to pods, each through the control-plane interface that leads to it.
//!
//! A way of its own beside the questions of a reading: one exchange, never repeated, with limits of its own. An answer is
//! handed on as it is, whatever its status; what it means is decided elsewhere.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Uri, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use kube::client::Body;
use kube::{Client, Config};
use reachproof_model::dial::DialFailure;
use serde_json::Value;
use tokio::time::timeout;

use crate::access::{Right, RightState, Scope, check};
use crate::connect::{ApiServer, Entry, configuration};
use crate::error::{ConnectError, ReadError, RequestError};
use crate::limits::Limits;
use crate::list::{Effort, Listed, list};
use crate::proxy;
use crate::resource::RESOURCES;

/// Most bytes of one answer: an agent's has 200, a `Status` some hundreds.
pub const DIAL_BYTES_MAX: usize = 64 * 1024;

/// Port of API servers at the control plane's interfaces (D.1).
const API_SERVER_PORT: u16 = 443;

/// The stem of the resource that is listed.
const PODS: &str = "pods";

/// Phase of a pod to which somebody can connect.
const RUNNING: &str = "Running";

/// Asks for the last lines and all that follow: the answer begins at once and does not end, so that no connection to a kubelet
/// is left that could be used again (G.2b).
const LOG_QUERY: &str = "follow=true&tailLines=64&insecureSkipTLSVerifyBackend=true";

/// How long a log is waited for that has said nothing more.
const LOG_PAUSE: Duration = Duration::from_secs(1);

/// How much of a good answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading<'a> {
    /// All of it.
    Whole,
    /// Until this word was in it, or nothing came for [`LOG_PAUSE`]: it has no end.
    Until(&'a str),
}

/// Name that every API server of a cluster has, where the configuration names it by an address (F.2 "Answers").
const API_SERVER_NAME: &str = "kubernetes.default.svc";

/// What asking API servers to connect needs in each namespace with agents (G.3).
#[must_use]
pub fn dial_right(namespace: &str) -> Right {
    Right {
        group: "",
        resource: "pods/proxy",
        verbs: &["get"],
        scope: Scope::Namespace(namespace.to_owned()),
    }
}

/// What asking API servers for the log of a pod needs in a namespace (G.3).
#[must_use]
pub fn log_right(namespace: &str) -> Right {
    Right {
        resource: "pods/log",
        ..dial_right(namespace)
    }
}

/// An answer as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchanged {
    /// HTTP status.
    pub status: u16,
    /// Body, at most [`DIAL_BYTES_MAX`].
    pub body: Vec<u8>,
}

/// What is asked of an API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dial<'a> {
    /// Whether it lives.
    Alive,
    /// To ask a pod over plain HTTP: the API server connects to its first address.
    Pod {
        /// Its namespace.
        namespace: &'a str,
        /// Its name.
        name: &'a str,
        /// Port.
        port: u16,
        /// Path with query, beginning with `/`.
        path: &'a str,
    },
    /// To begin with the log of a pod: the API server connects to the kubelet of its node. Whether that one's certificate holds
    /// does not matter; by asking so, the API server uses connections that hardly anybody else does (G.2b).
    Log {
        /// Its namespace.
        namespace: &'a str,
        /// Its name.
        name: &'a str,
        /// What it is read for, not empty.
        word: &'a str,
    },
}

impl<'a> Dial<'a> {
    /// The path below the API server.
    fn path(&self) -> String {
        match self {
            Self::Alive => "/livez".to_owned(),
            Self::Pod {
                namespace,
                name,
                port,
                path,
            } => format!("/api/v1/namespaces/{namespace}/pods/http:{name}:{port}/proxy{path}"),
            Self::Log {
                namespace, name, ..
            } => {
                format!("/api/v1/namespaces/{namespace}/pods/{name}/log?{LOG_QUERY}")
            }
        }
    }

    /// How much of a good answer is read.
    const fn reading(&self) -> Reading<'a> {
        match self {
            Self::Alive | Self::Pod { .. } => Reading::Whole,
            Self::Log { word, .. } => Reading::Until(word),
        }
    }
}

/// A pod by its first address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodAddress {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `status.podIPs[0]`, the only one that an API server connects to (G.2b).
    pub address: IpAddr,
    /// Whether it uses its node's network namespace.
    pub host_network: bool,
}

/// The API servers of one cluster, by the addresses of their interfaces.
pub struct ApiServers {
    config: Config,
    /// Any of them, for what all of them know.
    any: ApiServer,
    /// Connections are kept: what is to be new is the API server's own.
    clients: Mutex<BTreeMap<IpAddr, Client>>,
}

impl std::fmt::Debug for ApiServers {
    /// Leaves the configuration out: it holds credentials.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ApiServers")
            .field("any", &self.any)
            .finish_non_exhaustive()
    }
}

impl ApiServers {
    /// Connects to the API server of the configuration; the others are connected to when they are asked.
    ///
    /// # Errors
    /// As [`ApiServer::connect`].
    pub async fn connect(entry: &Entry, limits: Limits) -> Result<Self, ConnectError> {
        let mut config = configuration(entry).await?;
        config.default_retry = false;
        config.connect_timeout = Some(limits.connect_timeout);
        config.read_timeout = None;
        if config.tls_server_name.is_none() {
            config.tls_server_name = Some(server_name(&config.cluster_url));
        }
        Ok(Self {
            config,
            any: ApiServer::connect(entry, limits).await?,
            clients: Mutex::new(BTreeMap::new()),
        })
    }

    /// Lists the pods that run and have an address, as a reading of the cluster lists them: whole or not at all.
    ///
    /// # Errors
    /// [`ReadError`], also where the account may not list pods.
    pub async fn pods(&self) -> Result<Vec<PodAddress>, ReadError> {
        let Some(resource) = RESOURCES.iter().find(|resource| resource.stem == PODS) else {
            return Ok(Vec::new());
        };
        match list(&self.any, resource, &mut Effort::default()).await? {
            Listed::Whole(whole) => Ok(whole.objects.iter().filter_map(pod_address).collect()),
            Listed::Denied(message) => Err(ReadError::Request {
                stem: PODS,
                source: RequestError::Denied { message },
            }),
            Listed::NotServed => Ok(Vec::new()),
        }
    }

    /// Says whether the account has a right; not where nobody says so.
    pub async fn holds(&self, right: &Right) -> bool {
        matches!(check(&self.any, right).await, RightState::Held)
    }

    /// Asks the API server behind `server` once, for at most `limit`.
    ///
    /// # Errors
    /// [`DialFailure`] where there is no answer; every answer is one, whatever its status.
    pub async fn exchange(
        &self,
        server: IpAddr,
        dial: &Dial<'_>,
        limit: Duration,
    ) -> Result<Exchanged, DialFailure> {
        let client = self.client(server).ok_or(DialFailure::ApiUnreachable)?;
        let request = Request::get(dial.path())
            .header(header::ACCEPT, "application/json")
            .body(Body::empty())
            .map_err(|_invalid| DialFailure::ApiUnreachable)?;
        timeout(limit, one_exchange(&client, request, dial.reading()))
            .await
            .unwrap_or(Err(DialFailure::ApiNoAnswer))
    }

    /// The client of one API server, made at first use.
    fn client(&self, server: IpAddr) -> Option<Client> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&server) {
            return Some(client.clone());
        }
        let mut config = self.config.clone();
        let address = SocketAddr::new(server, API_SERVER_PORT);
        config.cluster_url = format!("https://{address}").parse().ok()?;
        proxy::except(&mut config, |name| std::env::var(name).ok());
        let client = Client::try_from(config).ok()?;
        clients.insert(server, client.clone());
        Some(client)
    }
}

/// The name that a certificate must have: that of the configuration's address, or the one that all have.
fn server_name(url: &Uri) -> String {
    let host = url.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if bare.is_empty() || bare.parse::<IpAddr>().is_ok() {
        API_SERVER_NAME.to_owned()
    } else {
        bare.to_owned()
    }
}

/// A pod's name and first address; nothing for one that does not run or has none.
fn pod_address(pod: &Value) -> Option<PodAddress> {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str);
    text("/status/phase").filter(|phase| *phase == RUNNING)?;
    let host_network = pod.pointer("/spec/hostNetwork").and_then(Value::as_bool);
    let address = text("/status/podIPs/0/ip").or_else(|| text("/status/podIP"))?;
    Some(PodAddress {
        namespace: text("/metadata/namespace")?.to_owned(),
        name: text("/metadata/name")?.to_owned(),
        address: address.parse().ok()?,
        host_network: host_network.unwrap_or(false),
    })
}

async fn one_exchange(
    client: &Client,
    request: Request<Body>,
    reading: Reading<'_>,
) -> Result<Exchanged, DialFailure> {
    let response = client
        .send(request)
        .await
        .map_err(|error| no_answer(&error))?;
    let is_good = response.status().is_success();
    let status = response.status().as_u16();
    if let (true, Reading::Until(word)) = (is_good, reading) {
        let body = begin(response.into_body(), word).await;
        return Ok(Exchanged { status, body });
    }
    let body = Limited::new(response.into_body(), DIAL_BYTES_MAX).collect();
    let body = body.await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            DialFailure::ApiAnswerTooLong
        } else {
            DialFailure::ApiUnreachable
        }
    })?;
    Ok(Exchanged {
        status,
        body: body.to_bytes().to_vec(),
    })
}

/// Reads the begin of an answer, at most [`DIAL_BYTES_MAX`], until `word` was in it or nothing came for [`LOG_PAUSE`].
async fn begin(body: Body, word: &str) -> Vec<u8> {
    let mut body = pin!(body);
    let mut read = Vec::new();
    while read.len() < DIAL_BYTES_MAX && !String::from_utf8_lossy(&read).contains(word) {
        let Ok(Some(Ok(frame))) = timeout(LOG_PAUSE, body.frame()).await else {
            break;
        };
        read.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    read.truncate(DIAL_BYTES_MAX);
    read
}

/// What an error of the client means: whoever answers with a wrong certificate is somebody else.
fn no_answer(error: &kube::Error) -> DialFailure {
    if matches!(error, kube::Error::Auth(_)) {
        return DialFailure::ApiCredentials;
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return DialFailure::ApiCertificate;
        }
        // One that wraps another gives that one's source as its own.
        cause = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    DialFailure::ApiUnreachable
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use reachproof_lab::Authority;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_asked_through_its_name_and_port() {
        let dial = Dial::Pod {
            namespace: "reachproof",
            name: "agent-x",
            port: 10_250,
            path: "/v1/probe?nonce=00",
        };
        assert_eq!(
            dial.path(),
            "/api/v1/namespaces/reachproof/pods/http:agent-x:10250/proxy/v1/probe?nonce=00"
        );
        assert_eq!(Dial::Alive.path(), "/livez");
        let log = Dial::Log {
            namespace: "reachproof",
            name: "agent-x",
            word: "run-1",
        };
        assert_eq!(
            log.path(),
            "/api/v1/namespaces/reachproof/pods/agent-x/log?follow=true&tailLines=64&insecureSkipTLSVerifyBackend=true"
        );
    }

    #[test]
    fn a_certificate_is_asked_for_by_name_also_where_the_way_is_an_address() {
        let named = |url: &'static str| server_name(&Uri::from_static(url));
        let own = "https://abc.gr7.eu-west-1.eks.amazonaws.com";
        assert_eq!(named(own), "abc.gr7.eu-west-1.eks.amazonaws.com");
        assert_eq!(named("https://10.0.1.10:443"), API_SERVER_NAME);
        assert_eq!(named("https://[2001:db8::1]:443"), API_SERVER_NAME);
    }

    #[test]
    fn the_first_address_of_a_pod_is_the_one_that_is_dialled() {
        let pod = json!({
            "metadata": {"namespace": "n", "name": "p"},
            "spec": {"hostNetwork": true},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "2001:db8::1"}]},
        });
        let found = pod_address(&pod);
        assert_eq!(
            found.map(|pod| (pod.address.to_string(), pod.host_network)),
            Some(("10.0.0.1".to_owned(), true))
        );
        for status in [
            json!({"phase": "Running"}),
            json!({"phase": "Failed", "podIP": "10.0.0.1"}),
        ] {
            let other = json!({"metadata": {"namespace": "n", "name": "p"}, "status": status});
            assert_eq!(pod_address(&other), None);
        }
    }

    /// Somebody on loopback who shows a certificate of `authority` once; where it listens.
    fn served(authority: &Authority, names: &[String]) -> SocketAddr {
        let config = authority.server(names, &[]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut tls = rustls::ServerConnection::new(config).unwrap();
            // Whoever finds the certificate wrong says so, and goes.
            let _refused = tls.complete_io(&mut stream);
        });
        address
    }

    #[tokio::test]
    async fn whoever_shows_another_certificate_is_told_from_nobody() {
        let _first = rustls::crypto::ring::default_provider().install_default();
        let (own, other) = (Authority::make().unwrap(), Authority::make().unwrap());
        let root = CertificateDer::from_pem_slice(own.certificate().as_bytes()).unwrap();
        let exchange = async |address: SocketAddr, name: &str| {
            let mut config = Config::new(format!("https://{address}").parse().unwrap());
            config.root_cert = Some(vec![root.to_vec()]);
            config.tls_server_name = Some(name.to_owned());
            let client = Client::try_from(config).unwrap();
            let request = Request::get("/livez").body(Body::empty()).unwrap();
            one_exchange(&client, request, Reading::Whole).await
        };
        let failed = |failure| Err::<Exchanged, _>(failure);
        let stranger = exchange(served(&other, &[]), API_SERVER_NAME).await;
        assert_eq!(stranger, failed(DialFailure::ApiCertificate));
        let misnamed = exchange(served(&own, &[]), "another.example.com").await;
        assert_eq!(misnamed, failed(DialFailure::ApiCertificate));
        // The right one, who leaves without an answer.
        let gone = exchange(served(&own, &[]), API_SERVER_NAME).await;
        assert_eq!(gone, failed(DialFailure::ApiUnreachable));
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = nobody.local_addr().unwrap();
        drop(nobody);
        let nobody = exchange(address, API_SERVER_NAME).await;
        assert_eq!(nobody, failed(DialFailure::ApiUnreachable));
    }

    /// A client of somebody on loopback who answers once with `answer`, and keeps the connection until the client has gone.
    fn answered(answer: &'static str) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _asked = stream.read(&mut [0; 1024]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            let _gone = stream.read_to_end(&mut Vec::new());
        });
        let config = Config::new(format!("http://{address}").parse().unwrap());
        Client::try_from(config).unwrap()
    }

    #[tokio::test]
    async fn a_log_that_goes_on_is_read_until_a_word_came_or_nothing_more_and_a_refusal_whole() {
        let _first = rustls::crypto::ring::default_provider().install_default();
        let exchange = async |answer| {
            let request = Request::get("/log").body(Body::empty()).unwrap();
            let asked = answered(answer);
            let asked = one_exchange(&asked, request, Reading::Until("run-1"));
            timeout(Duration::from_secs(10), asked).await.unwrap()
        };
        let begun = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nline\r\n";
        let named = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nrun-1\r\n";
        let of = |status, body: &[u8]| {
            let body = body.to_vec();
            Ok(Exchanged { status, body })
        };
        assert_eq!(exchange(begun).await, of(200, b"line"));
        assert_eq!(exchange(named).await, of(200, b"run-1"));
        let refused = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(exchange(refused).await, of(403, b"{}"));
    }
}
