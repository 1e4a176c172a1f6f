//! A scripted API server on loopback: says what a test wants, and remembers what it was asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reachproof_kube::resource::{Extent, RESOURCES};
use reachproof_kube::{ApiServer, ConnectError, Entry, Limits};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the server does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Answers with a status, headers and JSON.
    Json(u16, Vec<(&'static str, String)>, Value),
    /// Answers with a status and text.
    Text(u16, &'static str),
    /// Takes the request and stays silent.
    Hang,
    /// Announces more than it sends, and closes.
    Cut(Value),
    /// Closes at once.
    Close,
    /// Sends events, one a line, and ends the stream in good order.
    Events(Vec<Value>),
    /// Sends events and keeps the stream open.
    Stream(Vec<Value>),
}

impl Reply {
    /// 200 with JSON.
    pub(crate) fn ok(value: Value) -> Self {
        Self::Json(200, Vec::new(), value)
    }

    /// A `Status`, as the API server writes one.
    pub(crate) fn status(code: u16, message: &str) -> Self {
        Self::Json(
            code,
            Vec::new(),
            json!({"kind": "Status", "code": code, "message": message}),
        )
    }

    /// 429 with `Retry-After`.
    pub(crate) fn throttle(seconds: u64) -> Self {
        let headers = vec![("Retry-After", seconds.to_string())];
        Self::Json(
            429,
            headers,
            json!({"kind": "Status", "message": "too many requests"}),
        )
    }
}

/// A request, and when it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Method and path with query.
    pub(crate) line: String,
    /// When.
    pub(crate) at: Instant,
}

type Script = Arc<dyn Fn(&str, usize) -> Reply + Send + Sync>;

/// The server. Ends with the test.
pub(crate) struct Fake {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    script: Script,
    task: JoinHandle<()>,
}

impl Fake {
    /// Starts a server that answers by `script`, which is told the path and how often it was asked before.
    pub(crate) async fn start(
        script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let script: Script = Arc::new(script);
        let task = tokio::spawn(serve(listener, Arc::clone(&script), Arc::clone(&asked)));
        Self {
            address,
            asked,
            script,
            task,
        }
    }

    /// Everything that was asked for so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Paths that were asked for so far and contain `part`.
    pub(crate) fn paths(&self, part: &str) -> Vec<String> {
        let asked = self.asked();
        let lines = asked.iter().map(|asked| asked.line.clone());
        lines.filter(|line| line.contains(part)).collect()
    }

    /// Goes down: connections break, new ones are refused.
    pub(crate) async fn stop(&mut self) {
        self.task.abort();
        let _aborted = (&mut self.task).await;
    }

    /// Comes back on the same port.
    pub(crate) async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let (script, asked) = (Arc::clone(&self.script), Arc::clone(&self.asked));
        self.task = tokio::spawn(serve(listener, script, asked));
    }

    /// Connects to it with the patience of a test.
    pub(crate) async fn connect(&self) -> ApiServer {
        connect(self.address).await.unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Patience that lets a test end: outages of a second, pages of 2.
pub(crate) fn limits() -> Limits {
    Limits {
        connect_timeout: Duration::from_secs(1),
        request_timeout: Duration::from_millis(400),
        first_contact: Duration::from_millis(600),
        outage: Duration::from_secs(2),
        throttled: Duration::from_secs(4),
        page_size: 2,
        restarts: 2,
    }
}

/// Connects to whatever is at `address`, with a token.
pub(crate) async fn connect(address: SocketAddr) -> Result<ApiServer, ConnectError> {
    let folder = tempfile::tempdir().unwrap();
    ApiServer::connect(&entry(&folder, address), limits()).await
}

/// Writes a kubeconfig for `address` with a token.
pub(crate) fn entry(folder: &tempfile::TempDir, address: SocketAddr) -> Entry {
    // Fails if another test of this process was first, which is as good.
    let _first = rustls::crypto::ring::default_provider().install_default();
    let path = folder.path().join("kubeconfig");
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    });
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    Entry::Kubeconfig {
        path: Some(path),
        context: None,
    }
}

/// What an API server of a small, quiet cluster says: one object of each kind, three pods.
pub(crate) fn quiet(path: &str) -> Reply {
    if path.starts_with("/version") {
        return Reply::ok(json!({"gitVersion": "v1.36.3"}));
    }
    for resource in RESOURCES {
        if path.split('?').next() == Some(resource.path().as_str()) {
            return Reply::ok(match resource.extent {
                Extent::One { namespace, name } => {
                    json!({"metadata": {"namespace": namespace, "name": name}})
                }
                Extent::All if resource.stem == "pods" => page(path, &["a", "b", "c"]),
                Extent::All | Extent::Of { .. } => page(path, &["x"]),
            });
        }
    }
    Reply::status(404, "the server could not find the requested resource")
}

/// The page of a list of these names that `path` asks for; its token is the index of the next item.
pub(crate) fn page(path: &str, names: &[&str]) -> Value {
    let begin: usize = match path.split("continue=").nth(1) {
        Some(token) => token.parse().unwrap(),
        None => 0,
    };
    let end = (begin + 2).min(names.len());
    let items: Vec<Value> = names[begin..end]
        .iter()
        .map(|name| json!({"metadata": {"name": name, "namespace": "n"}}))
        .collect();
    let token = if end < names.len() {
        end.to_string()
    } else {
        String::new()
    };
    json!({"kind": "List", "metadata": {"continue": token, "resourceVersion": "7"}, "items": items})
}

async fn serve(listener: TcpListener, script: Script, asked: Arc<Mutex<Vec<Asked>>>) {
    // Connections are children of this task: they break when it is stopped.
    let mut connections = tokio::task::JoinSet::new();
    let counts = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (script, asked, counts) =
            (Arc::clone(&script), Arc::clone(&asked), Arc::clone(&counts));
        connections.spawn(async move {
            let answer = |line: &str| {
                asked.lock().unwrap().push(Asked {
                    line: line.to_owned(),
                    at: Instant::now(),
                });
                let path = line.split(' ').nth(1).unwrap().to_owned();
                let mut counts = counts.lock().unwrap();
                let count = counts.entry(path.clone()).or_default();
                *count += 1;
                script(&path, *count - 1)
            };
            let _broken = converse(stream, answer).await;
        });
    }
}

async fn converse(mut stream: TcpStream, answer: impl Fn(&str) -> Reply) -> std::io::Result<()> {
    let mut received = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            received.extend_from_slice(&buffer[..count]);
        };
        let text = String::from_utf8_lossy(&received[..head]).into_owned();
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().unwrap())
        });
        while received.len() < head + length.unwrap_or(0) {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).await?;
            received.extend_from_slice(&buffer[..count]);
        }
        received.drain(..head + length.unwrap_or(0));
        let reply = answer(text.lines().next().unwrap());
        if !send(&mut stream, reply).await? {
            return Ok(());
        }
    }
}

/// Sends a reply; says whether the connection goes on.
async fn send(stream: &mut TcpStream, reply: Reply) -> std::io::Result<bool> {
    let (status, headers, body, announced) = match reply {
        Reply::Json(status, headers, value) => {
            let body = value.to_string();
            let length = body.len();
            (status, headers, body, length)
        }
        Reply::Text(status, text) => (status, Vec::new(), text.to_owned(), text.len()),
        Reply::Cut(value) => {
            let body = value.to_string();
            let half = body[..body.len() / 2].to_owned();
            (200, Vec::new(), half, body.len())
        }
        Reply::Hang => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            return Ok(false);
        }
        Reply::Close => return Ok(false),
        Reply::Events(events) => {
            send_events(stream, &events).await?;
            stream.write_all(b"0\r\n\r\n").await?;
            return Ok(true);
        }
        Reply::Stream(events) => {
            send_events(stream, &events).await?;
            tokio::time::sleep(Duration::from_secs(60)).await;
            return Ok(false);
        }
    };
    let mut head = format!("HTTP/1.1 {status} S\r\nContent-Length: {announced}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream
        .write_all(format!("{head}\r\n{body}").as_bytes())
        .await?;
    Ok(body.len() == announced)
}

/// Sends each event as a chunk of its own.
async fn send_events(stream: &mut TcpStream, events: &[Value]) -> std::io::Result<()> {
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await?;
    for event in events {
        let line = format!("{event}\n");
        stream
            .write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes())
            .await?;
    }
    Ok(())
}
