//! `reachproof doctor` run as a process, with one thing missing at a time: one cause, its remedy, and within 15 s.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    reason = "test code, part of which belongs to the readers' own tests"
)]

#[path = "../kube/tests/scripted/support.rs"]
mod api_server;
#[path = "../aws/tests/support/replay.rs"]
mod replay;
#[path = "../aws/tests/support/world.rs"]
mod world;
#[path = "../aws/tests/support/xml.rs"]
mod xml;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use api_server::{Fake, Reply, quiet};
use replay::{Asked, Fault, Replay};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;
use world::World;

/// How long the command may take, whatever is missing.
const TIME_MAX: Duration = Duration::from_secs(15);

/// Time for a process to start and end on a busy machine.
const SLACK: Duration = Duration::from_secs(3);

/// A machine with credentials, a Region, an endpoint, and a kubeconfig that leads to an API server, until a test takes one
/// of them away.
struct Machine {
    home: TempDir,
    aws: Replay,
    api_server: Fake,
    environment: Vec<(&'static str, String)>,
    arguments: Vec<String>,
}

/// What a command said.
struct Said {
    code: i32,
    out: String,
    error: String,
    took: Duration,
}

impl Machine {
    async fn new() -> Self {
        Self::with(|_| Fault::None, |path, _| allowing(path)).await
    }

    async fn with(
        fault: impl Fn(&Asked) -> Fault + Send + Sync + 'static,
        script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let aws = Replay::start(World::of_vector("A17").with_everything(), fault).await;
        let api_server = Fake::start(script).await;
        let home = tempfile::tempdir().unwrap();
        let environment = vec![
            ("AWS_ENDPOINT_URL", format!("http://{}", aws.address())),
            ("AWS_ACCESS_KEY_ID", "AKID".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("HOME", home.path().to_str().unwrap().to_owned()),
        ];
        let machine = Self {
            home,
            aws,
            api_server,
            environment,
            arguments: Vec::new(),
        };
        machine.kubeconfig(&format!("http://{}", machine.api_server.address));
        machine
    }

    /// Writes `~/.kube/config` with two contexts: `here`, which leads to `server`, and `there`.
    fn kubeconfig(&self, server: &str) {
        let there = "https://0123456789ABCDEF0123456789ABCDEF.gr7.us-east-1.eks.amazonaws.com";
        let cluster =
            |name: &str, server: &str| json!({"name": name, "cluster": {"server": server}});
        let context = |name: &str| json!({"name": name, "context": {"cluster": name, "user": "u"}});
        let file = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [cluster("here", server), cluster("there", there)],
            "contexts": [context("there"), context("here")],
            "users": [{"name": "u", "user": {"token": "t"}}],
        });
        std::fs::create_dir_all(self.home.path().join(".kube")).unwrap();
        std::fs::write(self.kubeconfig_path(), file.to_string()).unwrap();
    }

    fn kubeconfig_path(&self) -> PathBuf {
        self.home.path().join(".kube/config")
    }

    fn without(mut self, variable: &str) -> Self {
        self.environment.retain(|(name, _)| *name != variable);
        self
    }

    fn set(mut self, variable: &'static str, value: String) -> Self {
        self = self.without(variable);
        self.environment.push((variable, value));
        self
    }

    fn argue(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    async fn run(&self, words: &[&str]) -> Said {
        let begun = Instant::now();
        let output: Output = Command::new(env!("CARGO_BIN_EXE_reachproof"))
            .args(words)
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .output()
            .await
            .unwrap();
        Said {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            error: String::from_utf8(output.stderr).unwrap(),
            took: begun.elapsed(),
        }
    }

    async fn doctor(&self) -> Said {
        self.run(&["doctor", "--cluster", "demo", "--listen", "127.0.0.1:0"])
            .await
    }

    /// Runs `doctor`, which must name one cause and no other, and then `snapshot`, which must use the same words.
    async fn one_cause(&self, subject: &str, cause: &str, remedy: &str) {
        let said = self.doctor().await;
        let missing: Vec<&str> = said
            .out
            .lines()
            .filter(|line| line.starts_with("missing "))
            .collect();
        assert_eq!(missing.len(), 1, "{}", said.out);
        let (verdict, does) = last_lines(&said.out);
        assert_eq!(verdict, format!("FAIL {subject}: {cause} exit 1"));
        assert_eq!(does, format!("  do:   {remedy}"));
        assert_eq!(said.code, 1);
        assert_eq!(said.error, "");
        assert!(said.took < TIME_MAX + SLACK, "{:?}", said.took);

        let output = self.home.path().join("snapshot");
        let output = output.to_str().unwrap();
        let other = self
            .run(&["snapshot", "--cluster", "demo", "--output", output])
            .await;
        assert_eq!(other.code, 2, "{}", other.error);
        for words in [cause, remedy] {
            assert!(other.error.contains(words), "{words}: {}", other.error);
        }
    }
}

/// The two lines at the end, with runs of spaces in the first as one.
fn last_lines(text: &str) -> (String, String) {
    let lines: Vec<&str> = text.lines().collect();
    let [.., verdict, remedy] = lines.as_slice() else {
        panic!("{text}")
    };
    let words: Vec<&str> = verdict.split_whitespace().collect();
    (words.join(" "), (*remedy).to_owned())
}

/// An API server that grants every right.
fn allowing(path: &str) -> Reply {
    match path {
        "/readyz" => Reply::Text(200, "ok"),
        path if path.contains("selfsubject") => Reply::ok(json!({"status": {"allowed": true}})),
        path => quiet(path),
    }
}

/// An address at which nobody listens.
fn dead() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn where_nothing_is_missing_it_passes_and_names_what_is_not_known() {
    let said = Machine::new().await.doctor().await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.error);
    for subject in [
        "credentials",
        "region",
        "aws endpoint",
        "cluster",
        "aws rights",
        "control-plane interfaces",
        "api server",
        "kubernetes rights",
        "control port",
    ] {
        let line = said
            .out
            .lines()
            .find(|line| line.contains(&format!(" {subject} ")));
        assert!(line.unwrap().starts_with("ok "), "{}", said.out);
    }
    let verdict = said.out.lines().find(|line| line.starts_with("PASS"));
    let verdict = verdict.unwrap();
    assert!(
        verdict.starts_with("PASS   nothing is missing; not known: ")
            && verdict.contains("agents reachable"),
        "{}",
        said.out
    );
    assert!(said.took < TIME_MAX + SLACK, "{:?}", said.took);
}

#[tokio::test]
async fn no_credentials() {
    let machine = Machine::new()
        .await
        .without("AWS_ACCESS_KEY_ID")
        .without("AWS_SECRET_ACCESS_KEY");
    let remedy = "pass --profile, set AWS_PROFILE, or run where a role is given (credentials of `aws login` are not read)";
    machine
        .one_cause("credentials", "no credentials", remedy)
        .await;
    assert!(machine.aws.log().is_empty() && machine.api_server.asked().is_empty());
}

#[tokio::test]
async fn expired_credentials() {
    let expired = |asked: &Asked| match asked.action.as_str() {
        action if action.starts_with("eks:") => Fault::Error(403, "ExpiredTokenException", "no"),
        _ => Fault::Error(400, "RequestExpired", "no"),
    };
    let machine = Machine::with(expired, |path, _| allowing(path)).await;
    let remedy = "sign in again (`aws sso login`, or fresh AWS_ variables)";
    machine
        .one_cause("credentials", "the credentials have expired", remedy)
        .await;
}

#[tokio::test]
async fn no_region() {
    let machine = Machine::new().await.without("AWS_REGION");
    let remedy = "pass --region, set AWS_REGION, or give the profile a region";
    machine
        .one_cause("region", "no Region is named", remedy)
        .await;
}

#[tokio::test]
async fn wrong_region() {
    let elsewhere = |asked: &Asked| {
        if asked.authorization.contains("/us-east-1/") {
            Fault::None
        } else {
            Fault::Error(404, "ResourceNotFoundException", "No cluster found.")
        }
    };
    let machine = Machine::with(elsewhere, |path, _| allowing(path)).await;
    let machine = machine.argue(&["--region", "eu-west-1"]);
    let cause = "there is no cluster `demo` in `eu-west-1`";
    let remedy = "check its name, --region and --profile";
    machine.one_cause("cluster", cause, remedy).await;
}

#[tokio::test]
async fn dead_endpoint() {
    let machine = Machine::new()
        .await
        .set("AWS_ENDPOINT_URL", format!("http://{}", dead()));
    let remedy = "check the network, proxies and VPC endpoints for ec2, eks and sts";
    machine
        .one_cause("aws endpoint", "AWS cannot be reached", remedy)
        .await;
}

#[tokio::test]
async fn endpoint_without_an_address() {
    let machine = Machine::new()
        .await
        .set("AWS_ENDPOINT_URL", "http://eks.invalid".to_owned());
    let remedy = "check the spelling of the Region (--region), then the DNS of this machine";
    machine
        .one_cause(
            "aws endpoint",
            "the name of the endpoint has no address",
            remedy,
        )
        .await;
}

#[tokio::test]
async fn silent_endpoint() {
    let machine = Machine::with(|_| Fault::Hang, |path, _| allowing(path)).await;
    let said = machine.doctor().await;
    let (verdict, remedy) = last_lines(&said.out);
    assert_eq!(verdict, "FAIL aws endpoint: no answer in time exit 1");
    assert_eq!(
        remedy,
        "  do:   check the network, proxies and VPC endpoints for ec2, eks and sts"
    );
    assert!(said.took < TIME_MAX + SLACK, "{:?}", said.took);
}

#[tokio::test]
async fn denied_action() {
    let denied = |asked: &Asked| match asked.action.as_str() {
        "ec2:DescribeSubnets" => Fault::Error(403, "UnauthorizedOperation", "no"),
        _ => Fault::None,
    };
    let machine = Machine::with(denied, |path, _| allowing(path)).await;
    let said = machine.doctor().await;
    let (verdict, remedy) = last_lines(&said.out);
    assert_eq!(
        verdict,
        "FAIL aws rights: access denied: ec2:DescribeSubnets (nothing can be read without it) exit 1"
    );
    let words = "allow ec2:DescribeSubnets as in `ReachproofReadNetwork` of deploy/iam-policy.json";
    assert_eq!(remedy, format!("  do:   {words}"));
    let missing = said.out.lines().filter(|line| line.starts_with("missing "));
    assert_eq!(missing.count(), 1, "{}", said.out);
    let output = machine.home.path().join("snapshot");
    let output = output.to_str().unwrap();
    let other = machine
        .run(&["snapshot", "--cluster", "demo", "--output", output])
        .await;
    assert!(
        other.error.contains("access denied; ") && other.error.contains(words),
        "{}",
        other.error
    );
}

#[tokio::test]
async fn no_kubeconfig() {
    let machine = Machine::new().await;
    std::fs::remove_file(machine.kubeconfig_path()).unwrap();
    let cause = format!(
        "there is no kubeconfig `{}`",
        machine.kubeconfig_path().display()
    );
    let remedy =
        "write one (`aws eks update-kubeconfig --name NAME`), or name another with --kubeconfig";
    machine.one_cause("api server", &cause, remedy).await;
}

#[tokio::test]
async fn a_context_that_is_not_there() {
    let machine = Machine::new().await.argue(&["--context", "nowhere"]);
    let cause = "the kubeconfig has no context `nowhere`";
    let remedy = "pass --context with one of here, there";
    machine.one_cause("api server", cause, remedy).await;
}

#[tokio::test]
async fn the_context_of_another_cluster() {
    let machine = Machine::new().await.argue(&["--context", "there"]);
    let endpoint = "https://demo.gr7.us-east-1.eks.amazonaws.com";
    let mut world = World::of_vector("A17").with_everything();
    let cluster = world.0.get_mut("describe-cluster").unwrap();
    cluster["cluster"]["endpoint"] = endpoint.into();
    machine.aws.replace(world);
    let cause = format!(
        "the kubeconfig leads to `https://0123456789ABCDEF0123456789ABCDEF.gr7.us-east-1.eks.amazonaws.com/`, \
         but the endpoint of the cluster is `{endpoint}`"
    );
    machine
        .one_cause("api server", &cause, "pass --context or --kubeconfig")
        .await;
}

#[tokio::test]
async fn an_api_server_that_nobody_reaches() {
    let machine = Machine::new().await;
    let address = dead();
    machine.kubeconfig(&format!("http://{address}"));
    let cause = format!("cannot reach the API server `http://{address}/`");
    let remedy = "check the address, that its endpoint admits this machine, and the way to it";
    machine.one_cause("api server", &cause, remedy).await;
}

#[tokio::test]
async fn an_api_server_that_does_not_know_the_caller() {
    let machine = Machine::with(|_| Fault::None, |_, _| Reply::status(401, "Unauthorized")).await;
    let cause = format!(
        "the API server `http://{}/` does not accept the credentials",
        machine.api_server.address
    );
    let remedy =
        "renew them (for EKS: `aws eks update-kubeconfig`, and an access entry for the identity)";
    machine.one_cause("api server", &cause, remedy).await;
}

#[tokio::test]
async fn what_is_not_reached_in_time_is_named() {
    // Everything is allowed, but the lists that a reading asks for never come.
    let slow = |asked: &Asked| {
        let dry = asked.parameters.contains_key("DryRun");
        if asked.action == "ec2:DescribeVpcs" && !dry {
            Fault::Hang
        } else {
            Fault::None
        }
    };
    let machine = Machine::with(slow, |path, _| allowing(path)).await;
    let said = machine.doctor().await;
    assert_eq!(said.code, 3, "{}", said.out);
    let line = said
        .out
        .lines()
        .find(|line| line.contains(" agents reachable "));
    assert!(
        line.unwrap().ends_with("not reached within 15 s"),
        "{}",
        said.out
    );
    let verdict = said.out.lines().find(|line| line.starts_with("UNSURE"));
    assert!(
        verdict
            .unwrap()
            .starts_with("UNSURE nothing is known to be missing; not seen: agents reachable"),
        "{}",
        said.out
    );
    assert!(said.took < TIME_MAX + SLACK, "{:?}", said.took);
}
