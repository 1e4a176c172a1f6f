//! A server that answers for EC2 and EKS from a world, and can be told to answer badly.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::world::World;
use super::xml;

/// One request, as far as a script may want to know it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The action as a policy spells it.
    pub action: String,
    /// How many requests for this action came before, retries included.
    pub earlier: usize,
    /// How many requests came before at all.
    pub earlier_of_all: usize,
    /// The parameters by name.
    pub parameters: BTreeMap<String, String>,
    /// The `authorization` header.
    pub authorization: String,
}

impl Asked {
    /// Whether the request asks for a page after the first.
    pub fn continues(&self) -> bool {
        self.parameters.contains_key("NextToken")
    }
}

/// How a request is answered.
#[derive(Clone, Debug)]
pub enum Fault {
    /// As it should be.
    None,
    /// With a status and an error code, in the form of the service.
    Error(u16, &'static str, &'static str),
    /// With a status and a page of HTML.
    Html(u16),
    /// Never.
    Hang,
    /// With the first half of the body, framed as if it were all.
    Cut,
    /// As it should be, but so much later.
    Late(Duration),
    /// In pages of so many items at most.
    Pages(usize),
    /// In pages of so many items, with an empty page before each.
    EmptyPages(usize),
    /// In pages of so many items, in the opposite order.
    Reversed(usize),
    /// In pages of so many items, whose token is always that of the second.
    RepeatedToken(usize),
    /// In pages of so many items, the last of which leads back to the first.
    TokenCycle(usize),
    /// In pages of so many items, without the last.
    LastPageMissing(usize),
}

type Script = Arc<dyn Fn(&Asked) -> Fault + Send + Sync>;

/// A running server; it ends when dropped.
pub struct Replay {
    address: SocketAddr,
    world: Arc<Mutex<Arc<World>>>,
    log: Arc<Mutex<Vec<Asked>>>,
    in_flight: Arc<InFlight>,
    task: JoinHandle<()>,
}

/// How many requests are being answered, the most that were at once, and the time spent.
#[derive(Debug, Default)]
struct InFlight {
    now: AtomicUsize,
    most: AtomicUsize,
    busy_micros: AtomicU64,
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Replay {
    /// Serves `world` on a free port of the loopback; `script` decides how each request is answered.
    pub async fn start(
        world: World,
        script: impl Fn(&Asked) -> Fault + Send + Sync + 'static,
    ) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self::on(listener, world, script)
    }

    /// Serves `world` on a socket that is open already, in whatever network namespace; to be called in a runtime.
    pub fn on(
        listener: std::net::TcpListener,
        world: World,
        script: impl Fn(&Asked) -> Fault + Send + Sync + 'static,
    ) -> Self {
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let in_flight = Arc::new(InFlight::default());
        let world = Arc::new(Mutex::new(Arc::new(world)));
        let (served, script, entries): (_, Script, _) =
            (Arc::clone(&world), Arc::new(script), Arc::clone(&log));
        let counter = Arc::clone(&in_flight);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (served, script, entries) = (
                    Arc::clone(&served),
                    Arc::clone(&script),
                    Arc::clone(&entries),
                );
                let counter = Arc::clone(&counter);
                let service = service_fn(move |request| {
                    let (world, script, entries) = (
                        Arc::clone(&served.lock().unwrap()),
                        Arc::clone(&script),
                        Arc::clone(&entries),
                    );
                    let counter = Arc::clone(&counter);
                    async move {
                        let now = counter.now.fetch_add(1, Ordering::SeqCst) + 1;
                        counter.most.fetch_max(now, Ordering::SeqCst);
                        let begun = Instant::now();
                        let answer = answer(&world, &script, &entries, request).await;
                        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap();
                        counter.busy_micros.fetch_add(micros, Ordering::SeqCst);
                        counter.now.fetch_sub(1, Ordering::SeqCst);
                        Ok::<_, Infallible>(answer)
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self {
            address,
            world,
            log,
            in_flight,
            task,
        }
    }

    /// Serves another world from the next request on.
    pub fn replace(&self, world: World) {
        *self.world.lock().unwrap() = Arc::new(world);
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The most requests that were being answered at once.
    pub fn in_flight_max(&self) -> usize {
        self.in_flight.most.load(Ordering::SeqCst)
    }

    /// How long the server has worked on answers, deliberate delays included.
    pub fn busy(&self) -> Duration {
        Duration::from_micros(self.in_flight.busy_micros.load(Ordering::SeqCst))
    }

    /// Every request so far.
    pub fn log(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }
}

async fn answer(
    world: &World,
    script: &Script,
    log: &Mutex<Vec<Asked>>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let authorization = request
        .headers()
        .get("authorization")
        .map(|value| value.to_str().unwrap().to_owned());
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let of_ec2 = parts.method == Method::POST;
    let (action, parameters) = if of_ec2 {
        let parameters = form(std::str::from_utf8(&body).unwrap());
        (format!("ec2:{}", parameters["Action"]), parameters)
    } else {
        eks_request(parts.uri.path(), parts.uri.query().unwrap_or_default())
    };
    let asked = {
        let mut log = log.lock().unwrap();
        let earlier = log.iter().filter(|one| one.action == action).count();
        let authorization = authorization.unwrap_or_default();
        let asked = Asked {
            action,
            earlier,
            earlier_of_all: log.len(),
            parameters,
            authorization,
        };
        log.push(asked.clone());
        asked
    };
    let fault = script(&asked);
    if let Fault::Late(delay) = fault {
        tokio::time::sleep(delay).await;
    }
    match &fault {
        Fault::Hang => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            unreachable!("no test lasts an hour")
        }
        Fault::Error(status, code, message) => failure(of_ec2, *status, code, message),
        Fault::Html(status) => reply(
            *status,
            "text/html",
            "<html><body>500 Internal Server Error</body>".to_owned(),
        ),
        Fault::None
        | Fault::Cut
        | Fault::Late(_)
        | Fault::Pages(_)
        | Fault::EmptyPages(_)
        | Fault::Reversed(_)
        | Fault::RepeatedToken(_)
        | Fault::TokenCycle(_)
        | Fault::LastPageMissing(_) => {
            if of_ec2 {
                ec2(world, &asked, &fault)
            } else {
                eks(world, &asked, &fault)
            }
        }
    }
}

fn ec2(world: &World, asked: &Asked, fault: &Fault) -> Response<Full<Bytes>> {
    let action = asked.action.strip_prefix("ec2:").unwrap();
    if asked
        .parameters
        .get("DryRun")
        .is_some_and(|dry| dry == "true")
    {
        return failure(
            true,
            412,
            "DryRunOperation",
            "Request would have succeeded, but DryRun flag is set.",
        );
    }
    let fields = if action == "DescribeVpcAttribute" {
        let attribute = &asked.parameters["Attribute"];
        let key = format!("{}{}", attribute[..1].to_uppercase(), &attribute[1..]);
        json!({ "VpcId": asked.parameters["VpcId"], key: { "Value": true } })
    } else {
        let Some((key, items)) = world.select(action, &asked.parameters) else {
            return failure(
                true,
                400,
                "InvalidPrefixListID.NotFound",
                "The id does not exist.",
            );
        };
        let (items, next) = page(items, &asked.parameters, fault);
        let mut fields = Map::from_iter([(key.to_owned(), Value::Array(items))]);
        if let Some(next) = next {
            fields.insert("NextToken".to_owned(), next.into());
        }
        Value::Object(fields)
    };
    let mut text = xml::answer(action, &fields);
    if matches!(fault, Fault::Cut) {
        text.truncate(text.len() / 2);
    }
    reply(200, "text/xml;charset=UTF-8", text)
}

fn eks(world: &World, asked: &Asked, fault: &Fault) -> Response<Full<Bytes>> {
    let names = |stem: &str| {
        let start = format!("{stem}.");
        world
            .0
            .keys()
            .filter_map(|key| key.strip_prefix(&start))
            .map(Value::from)
            .collect::<Vec<_>>()
    };
    let listed = |key: &str, items: Vec<Value>| {
        let (items, next) = page(items, &asked.parameters, fault);
        Some(json!({ key: items, "nextToken": next }))
    };
    let named = asked.parameters.get("name").cloned().unwrap_or_default();
    let answer = match asked.action.as_str() {
        "eks:DescribeCluster" => world
            .0
            .get("describe-cluster")
            .filter(|file| file["cluster"]["name"] == named)
            .cloned(),
        "eks:ListNodegroups" => listed("nodegroups", names("describe-nodegroup")),
        "eks:DescribeNodegroup" => world.0.get(&format!("describe-nodegroup.{named}")).cloned(),
        "eks:ListFargateProfiles" => {
            listed("fargateProfileNames", names("describe-fargate-profile"))
        }
        "eks:DescribeFargateProfile" => world
            .0
            .get(&format!("describe-fargate-profile.{named}"))
            .cloned(),
        other => panic!("unknown action {other}"),
    };
    match answer {
        None => failure(false, 404, "ResourceNotFoundException", "No such thing."),
        Some(answer) => {
            let mut text = answer.to_string();
            if matches!(fault, Fault::Cut) {
                text.truncate(text.len() / 2);
            }
            reply(200, "application/json", text)
        }
    }
}

/// The items of one page and the token of the next. A token is the number of the next item, with a word before it.
fn page(
    mut items: Vec<Value>,
    asked: &BTreeMap<String, String>,
    fault: &Fault,
) -> (Vec<Value>, Option<String>) {
    let asked_size = asked
        .get("MaxResults")
        .or_else(|| asked.get("maxResults"))
        .map(|size| size.parse().unwrap());
    let token = asked.get("NextToken").or_else(|| asked.get("nextToken"));
    let (word, start) = token.map_or(("first", 0), |token| {
        let (word, start) = token.split_once('-').unwrap();
        (word, start.parse::<usize>().unwrap())
    });
    let size = match fault {
        Fault::Pages(size)
        | Fault::EmptyPages(size)
        | Fault::Reversed(size)
        | Fault::RepeatedToken(size)
        | Fault::TokenCycle(size)
        | Fault::LastPageMissing(size) => *size,
        Fault::None
        | Fault::Late(_)
        | Fault::Error(..)
        | Fault::Html(_)
        | Fault::Hang
        | Fault::Cut => usize::MAX,
    };
    let size = size.min(asked_size.unwrap_or(usize::MAX));
    if matches!(fault, Fault::Reversed(_)) {
        items.reverse();
    }
    if matches!(fault, Fault::EmptyPages(_)) && word != "full" {
        return (Vec::new(), Some(format!("full-{start}")));
    }
    let end = start.saturating_add(size).min(items.len());
    let more = end < items.len();
    let following = more.then(|| format!("next-{end}"));
    let next = match fault {
        Fault::RepeatedToken(_) => Some(format!("next-{size}")),
        Fault::TokenCycle(_) => following.or_else(|| Some("next-0".to_owned())),
        Fault::LastPageMissing(_) => following.filter(|_| end.saturating_add(size) < items.len()),
        Fault::None
        | Fault::Error(..)
        | Fault::Html(_)
        | Fault::Hang
        | Fault::Cut
        | Fault::Late(_)
        | Fault::Pages(_)
        | Fault::EmptyPages(_)
        | Fault::Reversed(_) => following,
    };
    (items.get(start..end).unwrap_or_default().to_vec(), next)
}

fn eks_request(path: &str, query: &str) -> (String, BTreeMap<String, String>) {
    let mut parameters = form(query);
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (action, name) = match parts.as_slice() {
        ["clusters", name] => ("eks:DescribeCluster", *name),
        ["clusters", _, "node-groups"] => ("eks:ListNodegroups", ""),
        ["clusters", _, "node-groups", name] => ("eks:DescribeNodegroup", *name),
        ["clusters", _, "fargate-profiles"] => ("eks:ListFargateProfiles", ""),
        ["clusters", _, "fargate-profiles", name] => ("eks:DescribeFargateProfile", *name),
        _ => panic!("the reader asks for `{path}`, which this server does not know"),
    };
    parameters.insert("name".to_owned(), name.to_owned());
    (action.to_owned(), parameters)
}

fn failure(of_ec2: bool, status: u16, code: &str, message: &str) -> Response<Full<Bytes>> {
    if of_ec2 {
        return reply(status, "text/xml;charset=UTF-8", xml::error(code, message));
    }
    let body = json!({ "__type": code, "message": message }).to_string();
    let mut response = reply(status, "application/json", body);
    response
        .headers_mut()
        .insert("x-amzn-errortype", code.parse().unwrap());
    response
}

fn reply(status: u16, kind: &str, body: String) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", kind)
        .body(Full::new(Bytes::from(body)))
        .unwrap()
}

/// The fields of `a=1&b=2`.
fn form(text: &str) -> BTreeMap<String, String> {
    let fields = text.split('&').filter(|field| !field.is_empty());
    fields
        .map(|field| {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits =
                    String::from_utf8([rest.next().unwrap(), rest.next().unwrap()].to_vec())
                        .unwrap();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap());
            }
            plain => bytes.push(plain),
        }
    }
    String::from_utf8(bytes).unwrap()
}
