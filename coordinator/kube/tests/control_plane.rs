//! The reader against a real API server: rights, gaps, throttling, expiry, restarts.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at a surprise"
)]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use kube::{Client, Config, config::Kubeconfig};
use reachproof_kube::access::{Account, Scope};
use reachproof_kube::change::ChangeKind;
use reachproof_kube::resource::{RESOURCES, Resource};
use reachproof_kube::{
    ApiServer, ConnectError, Entry, Gap, Limits, Note, Reading, RightState, check_rights, follow,
    read,
};
use reachproof_lab::kubernetes::{ControlPlane, Front, Program, Settings};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const FRONT: &str = "front";
const NAMESPACE: &str = "reachproof";
const ACCOUNT: &str = "reachproof-coordinator";

/// A control plane on loopback with the reader's account and a small world.
struct Cluster {
    plane: Mutex<ControlPlane>,
    // Removed after the processes have ended.
    folder: tempfile::TempDir,
}

/// The cluster of all tests that leave it as it was, as long as one of them runs.
static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());

impl Cluster {
    fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap();
        if let Some(cluster) = shared.upgrade() {
            return cluster;
        }
        let cluster = Arc::new(Self::start());
        *shared = Arc::downgrade(&cluster);
        cluster
    }

    fn start() -> Self {
        let _first = rustls::crypto::ring::default_provider().install_default();
        let program = Program::build(|text| eprintln!("{text}")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        // Forgets what is older than a second or two, as etcd does after five minutes.
        let forgetful = vec!["--etcd-compaction-interval=1s".to_owned()];
        let settings = Settings {
            api_server_flags: forgetful,
            ..Settings::default()
        };
        let fronts = vec![Front::on_loopback(FRONT, port)];
        let plane = ControlPlane::start(program, folder.path(), fronts, settings).unwrap();
        plane.populate(&world()).unwrap();
        plane
            .run_kubectl(["create", "namespace", NAMESPACE])
            .unwrap();
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/rbac-reader.yaml");
        plane
            .run_kubectl(["apply", "-f", rules.to_str().unwrap()])
            .unwrap();
        Self {
            plane: Mutex::new(plane),
            folder,
        }
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        self.plane.lock().unwrap().run_kubectl(arguments).unwrap()
    }

    fn apply(&self, object: &Value) {
        let kind = object["kind"].as_str().unwrap();
        let path = self.folder.path().join(format!("{kind}.json"));
        std::fs::write(&path, object.to_string()).unwrap();
        self.kubectl(&["apply", "-f", path.to_str().unwrap()]);
    }

    fn admin(&self) -> PathBuf {
        self.plane.lock().unwrap().admin_kubeconfig(FRONT).unwrap()
    }

    /// A kubeconfig of a service account in our namespace.
    fn kubeconfig(&self, account: &str) -> PathBuf {
        let token = self.kubectl(&["--namespace", NAMESPACE, "create", "token", account]);
        let plane = self.plane.lock().unwrap();
        plane
            .kubeconfig_with_token(&plane.fronts()[0], account, token.trim())
            .unwrap()
    }

    /// A service account without any right of its own.
    fn account(&self, name: &str) -> PathBuf {
        self.kubectl(&["--namespace", NAMESPACE, "create", "serviceaccount", name]);
        self.kubeconfig(name)
    }
}

/// Two nodes, a pod on each, one of them under a network policy, and the settings of the CNI.
fn world() -> Map<String, Value> {
    let node = |name: &str, address: &str| {
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "spec": {"providerID": format!("aws:///eu-west-1a/i-{name}")},
            "status": {"addresses": [{"type": "InternalIP", "address": address}],
                       "conditions": [{"type": "Ready", "status": "True"}]},
        })
    };
    let pod = |name: &str, on: &str, address: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}},
            "spec": {"nodeName": on, "containers": [{"name": "main", "env": [{"name": "PASSWORD", "value": "hunter2"}]}]},
            "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
        })
    };
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "only-web", "namespace": "shop"},
        "spec": {"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"]},
    });
    let groups = json!({
        "apiVersion": "vpcresources.k8s.aws/v1beta1", "kind": "SecurityGroupPolicy",
        "metadata": {"name": "db", "namespace": "shop"},
        "spec": {"podSelector": {}, "securityGroups": {"groupIds": ["sg-1"]}},
    });
    let env = json!([{"name": "AWS_VPC_K8S_CNI_EXTERNALSNAT", "value": "true"}]);
    let world = json!({
        "nodes": {"items": [node("node-b", "10.0.1.22"), node("node-a", "10.0.1.21")]},
        "pods": {"items": [pod("web", "node-a", "10.0.1.31"), pod("db", "node-b", "10.0.1.32")]},
        "networkpolicies": {"items": [policy]},
        "securitygrouppolicies": {"items": [groups]},
        "aws-node": {
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": "aws-node", "namespace": "kube-system"},
            "spec": {"template": {"spec": {"containers": [{"name": "aws-node", "env": env}]}}},
        },
    });
    world.as_object().unwrap().clone()
}

async fn connect(kubeconfig: &Path, limits: Limits) -> Result<ApiServer, ConnectError> {
    let entry = Entry::Kubeconfig {
        path: Some(kubeconfig.to_owned()),
        context: None,
    };
    ApiServer::connect(&entry, limits).await
}

async fn reading(kubeconfig: &Path) -> Reading {
    read(
        &connect(kubeconfig, Limits::default()).await.unwrap(),
        |_| {},
    )
    .await
    .unwrap()
}

/// Stems of the policies that not every cluster serves.
fn further_policies() -> impl Iterator<Item = &'static str> {
    let further = RESOURCES.into_iter().filter(Resource::is_further_policy);
    further.map(|resource| resource.stem)
}

fn names(reading: &Reading, stem: &str) -> Vec<String> {
    let items = reading.answers[stem]["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

async fn admin_client(cluster: &Cluster) -> Client {
    let kubeconfig = Kubeconfig::read_from(cluster.admin()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &Default::default())
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

async fn fetch(client: &Client, path: &str) -> Value {
    client
        .request(http::Request::get(path).body(Vec::new()).unwrap())
        .await
        .unwrap()
}

/// Group, resource (with subresource), verb, namespace, name.
type Permission = (String, String, String, String, String);

fn permission(group: &str, resource: &str, verb: &str, namespace: &str, name: &str) -> Permission {
    (
        group.into(),
        resource.into(),
        verb.into(),
        namespace.into(),
        name.into(),
    )
}

/// Asks the API server whether the coordinator's account has a permission.
async fn allowed(client: Client, asked: Permission) -> Option<Permission> {
    let (group, resource, verb, namespace, name) = asked.clone();
    let (resource, subresource) = resource.split_once('/').unwrap_or((&resource, ""));
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {
            "user": format!("system:serviceaccount:{NAMESPACE}:{ACCOUNT}"),
            "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{NAMESPACE}"), "system:authenticated"],
            "resourceAttributes": {"group": group, "resource": resource, "subresource": subresource,
                                   "verb": verb, "namespace": namespace, "name": name},
        },
    });
    let request = http::Request::post("/apis/authorization.k8s.io/v1/subjectaccessreviews")
        .header("content-type", "application/json")
        .body(review.to_string().into_bytes())
        .unwrap();
    let answer: Value = client.request(request).await.unwrap();
    (answer["status"]["allowed"] == json!(true)).then_some(asked)
}

/// Every resource and subresource that the API server serves, with its group and whether it is namespaced.
async fn served(client: &Client) -> Vec<(String, String, bool)> {
    let mut served = Vec::new();
    let mut versions = vec![(String::new(), "/api/v1".to_owned())];
    for group in fetch(client, "/apis").await["groups"].as_array().unwrap() {
        for version in group["versions"].as_array().unwrap() {
            let path = format!("/apis/{}", version["groupVersion"].as_str().unwrap());
            versions.push((group["name"].as_str().unwrap().to_owned(), path));
        }
    }
    for (group, path) in versions {
        for resource in fetch(client, &path).await["resources"].as_array().unwrap() {
            let name = resource["name"].as_str().unwrap().to_owned();
            served.push((group.clone(), name, resource["namespaced"] == json!(true)));
        }
    }
    served
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Go to build a control plane"]
async fn the_account_has_exactly_the_rights_that_the_program_needs() {
    let cluster = Cluster::shared();
    let client = admin_client(&cluster).await;
    const VERBS: [&str; 8] = [
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch",
    ];
    let served = served(&client).await;
    assert!(served.len() > 100, "{}", served.len());
    let mut asked = BTreeSet::from([permission("*", "*", "*", "", "")]);
    for (group, resource, namespaced) in &served {
        let namespaces: &[&str] = if *namespaced {
            &["", NAMESPACE, "kube-node-lease", "kube-system", "shop"]
        } else {
            &[""]
        };
        for namespace in namespaces {
            asked.extend(VERBS.map(|verb| permission(group, resource, verb, namespace, "")));
        }
    }
    asked.extend(
        VERBS.map(|verb| permission("apps", "daemonsets", verb, "kube-system", "aws-node")),
    );
    // Kinds of which this cluster has none, too.
    for right in Account::Coordinator.rights() {
        let is_served = |(group, name, _): &(String, String, bool)| {
            group == right.group && name == right.resource
        };
        if !served.iter().any(is_served) {
            let own = |verb| permission(right.group, right.resource, verb, "", "");
            asked.extend(VERBS.map(own));
        }
    }
    let count = asked.len();
    let mut answers = BTreeSet::new();
    let mut flying = JoinSet::new();
    for permission in asked {
        if flying.len() >= 16 {
            answers.extend(flying.join_next().await.unwrap().unwrap());
        }
        flying.spawn(allowed(client.clone(), permission));
    }
    while let Some(answer) = flying.join_next().await {
        answers.extend(answer.unwrap());
    }

    let mut expected = BTreeSet::new();
    for right in Account::Coordinator.rights() {
        for verb in right.verbs {
            match &right.scope {
                Scope::Cluster => {
                    let namespaced = served.iter().any(|(group, name, namespaced)| {
                        group == right.group && name == right.resource && *namespaced
                    });
                    let namespaces: &[&str] = if namespaced {
                        &["", NAMESPACE, "kube-node-lease", "kube-system", "shop"]
                    } else {
                        &[""]
                    };
                    expected.extend(
                        namespaces
                            .iter()
                            .map(|it| permission(right.group, right.resource, verb, it, "")),
                    );
                }
                Scope::Namespace(namespace) => {
                    expected.insert(permission(right.group, right.resource, verb, namespace, ""));
                }
                Scope::Object { namespace, name } => {
                    expected.insert(permission(
                        right.group,
                        right.resource,
                        verb,
                        namespace,
                        name,
                    ));
                }
            }
        }
    }
    // What every authenticated account may: ask about itself.
    for resource in ["selfsubjectaccessreviews", "selfsubjectrulesreviews"] {
        expected.insert(permission(
            "authorization.k8s.io",
            resource,
            "create",
            "",
            "",
        ));
    }
    expected.insert(permission(
        "authentication.k8s.io",
        "selfsubjectreviews",
        "create",
        "",
        "",
    ));
    println!("{count} reviews, {} granted", answers.len());
    assert_eq!(answers, expected);
}

#[tokio::test]
#[ignore = "needs Go to build a control plane"]
async fn a_world_is_read_back_as_it_was_laid_down_and_twice_the_same() {
    let cluster = Cluster::shared();
    let kubeconfig = cluster.kubeconfig(ACCOUNT);
    let first = reading(&kubeconfig).await;
    assert_eq!(first.gaps, []);
    // No engine of policies is installed there.
    let not_served = further_policies().map(|stem| Note::NotServed { stem });
    assert_eq!(first.notes, not_served.collect::<Vec<Note>>());
    assert_eq!(first.answers.len(), RESOURCES.len());
    assert_eq!(names(&first, "nodes"), ["node-a", "node-b"]);
    assert_eq!(names(&first, "pods"), ["db", "web"]);
    assert_eq!(names(&first, "networkpolicies"), ["only-web"]);
    assert_eq!(names(&first, "securitygrouppolicies"), ["db"]);
    assert!(
        !Value::from(first.answers.clone())
            .to_string()
            .contains("hunter2")
    );
    let env = first.answers["aws-node"].pointer("/spec/template/spec/containers/0/env");
    assert_eq!(
        env,
        Some(&json!([{"name": "AWS_VPC_K8S_CNI_EXTERNALSNAT", "value": "true"}]))
    );
    let kubernetes = first.answers["endpointslices"]["items"]
        .as_array()
        .unwrap()
        .iter();
    assert!(
        kubernetes
            .clone()
            .any(|slice| slice["metadata"]["name"] == json!("kubernetes"))
    );
    // Leases, heartbeats and resource versions go on meanwhile.
    cluster.kubectl(&["annotate", "node", "node-a", "--overwrite", "seen=now"]);
    let second = reading(&kubeconfig).await;
    assert_eq!(
        Value::from(first.answers).to_string(),
        Value::from(second.answers).to_string()
    );
}

#[tokio::test]
#[ignore = "needs Go to build a control plane"]
async fn what_is_kept_is_printed_by_kubectl_likewise() {
    let cluster = Cluster::shared();
    let ours = reading(&cluster.kubeconfig(ACCOUNT)).await;
    let theirs: Value = serde_json::from_str(&cluster.kubectl(&[
        "get",
        "pods",
        "--all-namespaces",
        "--output",
        "json",
    ]))
    .unwrap();
    let ours = &ours.answers["pods"];
    for field in ["apiVersion", "kind", "metadata"] {
        assert_eq!(ours[field], theirs[field]);
    }
    for (ours, theirs) in ours["items"]
        .as_array()
        .unwrap()
        .iter()
        .zip(theirs["items"].as_array().unwrap())
    {
        assert_within(ours, theirs);
    }
}

/// Whether each field of `part` is in `whole`, with the same value.
fn assert_within(part: &Value, whole: &Value) {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter()
                .for_each(|(name, field)| assert_within(field, &whole[name]));
        }
        (Value::Array(part), Value::Array(whole)) if part.len() == whole.len() => {
            part.iter()
                .zip(whole)
                .for_each(|(part, whole)| assert_within(part, whole));
        }
        (part, whole) => assert_eq!(part, whole),
    }
}

#[tokio::test]
#[ignore = "needs Go to build a control plane"]
async fn an_account_without_rights_gets_gaps_and_the_rules_to_add() {
    let cluster = Cluster::shared();
    let kubeconfig = cluster.account("nobody");
    let reading = reading(&kubeconfig).await;
    // What is not served, nobody needs a right for.
    let empty: BTreeSet<&str> = further_policies().collect();
    let answers: BTreeSet<&str> = reading.answers.keys().map(String::as_str).collect();
    assert_eq!(answers, empty);
    assert_eq!(reading.gaps.len(), RESOURCES.len() - empty.len());
    assert!(
        reading
            .gaps
            .iter()
            .all(|gap| matches!(gap, Gap::Denied { .. })),
        "{:?}",
        reading.gaps
    );
    let server = connect(&kubeconfig, Limits::default()).await.unwrap();
    let checked = check_rights(&server, &Account::Reader).await;
    assert!(
        checked
            .iter()
            .all(|it| matches!(it.state, RightState::Missing { .. })),
        "{checked:?}"
    );
}

#[tokio::test]
#[ignore = "needs Go to build a control plane"]
async fn a_single_missing_right_is_a_single_gap() {
    let cluster = Cluster::shared();
    let kubeconfig = cluster.account("no-policies");
    let mut role: Value = serde_json::from_str(&cluster.kubectl(&[
        "get",
        "clusterrole",
        ACCOUNT,
        "--output",
        "json",
    ]))
    .unwrap();
    let rules = role["rules"].as_array_mut().unwrap();
    rules.retain(|rule| rule["apiGroups"] != json!(["networking.k8s.io"]));
    cluster.apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "no-policies"}, "rules": role["rules"],
    }));
    let account = format!("{NAMESPACE}:no-policies");
    cluster.kubectl(&[
        "create",
        "clusterrolebinding",
        "no-policies",
        "--clusterrole=no-policies",
        "--serviceaccount",
        &account,
    ]);
    let reading = reading(&kubeconfig).await;
    let stems: Vec<&str> = reading.gaps.iter().map(Gap::stem).collect();
    // Rights in single namespaces are roles of their own.
    assert_eq!(stems, ["leases", "aws-node", "networkpolicies"]);
    let server = connect(&kubeconfig, Limits::default()).await.unwrap();
    let checked = check_rights(&server, &Account::Reader).await;
    let missing: Vec<&str> = checked
        .iter()
        .filter(|it| !matches!(it.state, RightState::Held))
        .map(|it| it.right.resource)
        .collect();
    assert_eq!(missing, ["leases", "daemonsets", "networkpolicies"]);
}

#[tokio::test]
#[ignore = "needs Go to build a control plane"]
async fn the_coordinators_account_holds_each_of_its_rights() {
    let cluster = Cluster::shared();
    let server = connect(&cluster.kubeconfig(ACCOUNT), Limits::default())
        .await
        .unwrap();
    let checked = check_rights(&server, &Account::Coordinator).await;
    assert_eq!(checked.len(), 1 + RESOURCES.len());
    assert!(
        checked
            .iter()
            .all(|it| matches!(it.state, RightState::Held)),
        "{checked:?}"
    );
    assert!(server.version().starts_with("v1."), "{}", server.version());
}

#[tokio::test]
#[ignore = "needs Go to build a control plane"]
async fn credentials_that_nobody_knows_are_an_error_with_the_mend() {
    let cluster = Cluster::shared();
    let kubeconfig = {
        let plane = cluster.plane.lock().unwrap();
        plane
            .kubeconfig_with_token(&plane.fronts()[0], "stranger", "stranger")
            .unwrap()
    };
    let error = connect(&kubeconfig, Limits::default()).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::Unauthorized { .. }),
        "{error:?}"
    );
    assert!(error.remedy().contains("renew"), "{error}");
}

/// Gives `account` a single seat at the API server: whatever it asks beside its first question is refused with 429.
fn seat(cluster: &Cluster, account: &str) {
    let api = "flowcontrol.apiserver.k8s.io/v1";
    cluster.apply(&json!({
        "apiVersion": api, "kind": "PriorityLevelConfiguration", "metadata": {"name": account},
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 0, "lendablePercent": 0,
                 "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}},
    }));
    let subject = json!({"kind": "ServiceAccount", "serviceAccount": {"name": account, "namespace": NAMESPACE}});
    let resources = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}]);
    cluster.apply(&json!({
        "apiVersion": api, "kind": "FlowSchema", "metadata": {"name": account},
        "spec": {"priorityLevelConfiguration": {"name": account}, "matchingPrecedence": 3,
                 "rules": [{"subjects": [subject], "resourceRules": resources}]},
    }));
}

/// Makes every access review of `account` wait for a webhook that never answers, 5 s long.
fn delay_reviews(cluster: &Cluster, account: &str, webhook: &TcpListener) {
    let only =
        format!("request.userInfo.username == 'system:serviceaccount:{NAMESPACE}:{account}'");
    let port = webhook.local_addr().unwrap().port();
    cluster.apply(&json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": account},
        "webhooks": [{
            "name": "silent.example.com",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": format!("https://127.0.0.1:{port}/")},
            "failurePolicy": "Ignore",
            "matchConditions": [{"name": "only", "expression": only}],
            "rules": [{"apiGroups": ["authorization.k8s.io"], "apiVersions": ["v1"],
                       "operations": ["CREATE"], "resources": ["selfsubjectaccessreviews"]}],
            "sideEffects": "None",
            "timeoutSeconds": 5,
        }],
    }));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Go to build a control plane"]
async fn throttling_by_the_api_server_is_waited_out() {
    let cluster = Cluster::shared();
    let kubeconfig = cluster.account("throttled");
    let server = connect(&kubeconfig, Limits::default()).await.unwrap();
    let impatient = Limits {
        throttled: Duration::from_millis(300),
        ..Limits::default()
    };
    let hasty = connect(&kubeconfig, impatient).await.unwrap();
    // Accepts connections, by the kernel, and never a handshake.
    let webhook = TcpListener::bind("127.0.0.1:0").unwrap();
    delay_reviews(&cluster, "throttled", &webhook);
    seat(&cluster, "throttled");
    let end = Instant::now() + Duration::from_secs(40);
    loop {
        // Takes the only seat, once the API server has taken over what was just applied.
        let occupant = connect(&kubeconfig, Limits::default()).await.unwrap();
        let occupant = tokio::spawn(async move { check_rights(&occupant, &Account::Reader).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let refused = read(&hasty, |_| {}).await;
        if let Err(error) = refused {
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(
                cause.contains("throttling") && cause.contains("1 s more"),
                "{cause}"
            );
            let patient = tokio::spawn(async move { read(&server, |_| {}).await });
            tokio::time::sleep(Duration::from_millis(1500)).await;
            assert!(!patient.is_finished());
            occupant.abort();
            let reading = patient.await.unwrap().unwrap();
            println!(
                "{} attempts for {}",
                reading.calls[0].attempts, reading.calls[0].stem
            );
            assert!(reading.calls[0].attempts > 1, "{:?}", reading.calls);
            break;
        }
        occupant.abort();
        assert!(Instant::now() < end, "the API server never throttled");
    }
    cluster.kubectl(&[
        "delete",
        "validatingwebhookconfiguration,flowschema,prioritylevelconfiguration",
        "throttled",
    ]);
}

#[tokio::test]
#[ignore = "needs Go to build a control plane"]
async fn a_continue_token_expires_with_the_status_that_the_reader_restarts_at() {
    let cluster = Cluster::shared();
    let client = admin_client(&cluster).await;
    let first = fetch(&client, "/api/v1/nodes?limit=1").await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let path = format!("/api/v1/nodes?limit=1&continue={token}");
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        // Only a world that moves on is compacted.
        cluster.kubectl(&[
            "annotate",
            "node",
            "node-b",
            "--overwrite",
            &format!("seen={:?}", end.elapsed()),
        ]);
        let request = http::Request::get(path.as_str()).body(Vec::new()).unwrap();
        match client.request::<Value>(request).await {
            Ok(_) => assert!(Instant::now() < end, "the token never expired"),
            Err(kube::Error::Api(status)) => {
                assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
                return;
            }
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Go to build a control plane"]
async fn changes_are_told_as_they_happen_and_heartbeats_are_not() {
    let cluster = Cluster::shared();
    let server = connect(&cluster.kubeconfig(ACCOUNT), Limits::default())
        .await
        .unwrap();
    let reading = read(&server, |_| {}).await.unwrap();
    let (sender, mut receiver) = mpsc::channel(16);
    let following = tokio::spawn(async move { follow(&server, &reading, sender).await });
    let namespace = ["--namespace", "default"];
    let service = [
        &namespace[..],
        &["create", "service", "clusterip", "passing", "--tcp=80"],
    ]
    .concat();
    cluster.kubectl(&service);
    cluster.kubectl(
        &[
            &namespace[..],
            &["annotate", "service", "passing", "seen=now"],
        ]
        .concat(),
    );
    cluster.kubectl(&[&namespace[..], &["label", "service", "passing", "seen=now"]].concat());
    cluster.kubectl(&[&namespace[..], &["delete", "service", "passing"]].concat());
    for kind in [ChangeKind::Added, ChangeKind::Changed, ChangeKind::Removed] {
        let change = loop {
            let next = tokio::time::timeout(Duration::from_secs(10), receiver.recv()).await;
            let next = next.unwrap().unwrap();
            // Its endpoint slice comes and goes as well.
            if next.stem == "services" {
                break next;
            }
        };
        assert_eq!((change.name.as_str(), change.kind), ("passing", kind));
    }
    drop(receiver);
    following.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Go to build a control plane"]
async fn a_restart_half_way_is_survived_a_longer_absence_told_and_a_forgotten_moment_read_again() {
    // Its own cluster: the others' must not go down.
    let cluster = Cluster::start();
    let kubeconfig = cluster.kubeconfig(ACCOUNT);
    let server = connect(&kubeconfig, Limits::default()).await.unwrap();
    let brief = Limits {
        outage: Duration::from_secs(1),
        first_contact: Duration::from_secs(1),
        ..Limits::default()
    };
    let hasty = connect(&kubeconfig, brief).await.unwrap();
    let follower = server.clone();
    let before = read(&server, |_| {}).await.unwrap();
    cluster
        .plane
        .lock()
        .unwrap()
        .stop_api_server(FRONT)
        .unwrap();

    let error = read(&hasty, |_| {}).await.unwrap_err();
    assert!(
        error.to_string().starts_with("cannot read `nodes`"),
        "{error}"
    );
    let begin = Instant::now();
    let error = connect(&kubeconfig, brief).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::FirstContact { .. })
            && begin.elapsed() < Duration::from_secs(3)
    );

    let patient = tokio::spawn(async move { (read(&server, |_| {}).await, Instant::now()) });
    let (sender, mut receiver) = mpsc::channel(16);
    let following = tokio::spawn(async move { follow(&follower, &before, sender).await });
    let begin = Instant::now();
    cluster
        .plane
        .lock()
        .unwrap()
        .start_api_server(FRONT)
        .unwrap();
    let (reading, done) = patient.await.unwrap();
    assert_eq!(reading.unwrap().gaps, []);
    println!(
        "read whole {} ms after the API server was started again",
        done.saturating_duration_since(begin).as_millis()
    );
    cluster.kubectl(&["label", "node", "node-a", "seen=now"]);
    let change = tokio::time::timeout(Duration::from_secs(20), receiver.recv())
        .await
        .unwrap();
    assert_eq!(
        change.map(|it| (it.stem, it.name)),
        Some(("nodes", "node-a".to_owned()))
    );
    assert!(!following.is_finished());

    forgotten_moment(&cluster).await;
}

/// A watch from a moment that an API server does not remember, as after its restart: 410, read again, compared.
async fn forgotten_moment(cluster: &Cluster) {
    let request = "/api/v1/nodes?watch=1&resourceVersion=1&timeoutSeconds=1";
    let request = http::Request::get(request).body(Vec::new()).unwrap();
    let answer = admin_client(cluster).await.request_text(request).await;
    match &answer {
        Ok(stream) => assert!(stream.contains("\"code\":410"), "{stream}"),
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 410),
        Err(error) => panic!("{error}"),
    }
    let server = connect(&cluster.kubeconfig(ACCOUNT), Limits::default())
        .await
        .unwrap();
    let mut reading = read(&server, |_| {}).await.unwrap();
    // As if it had been read at the very beginning, when there was one node less.
    reading.versions = std::collections::BTreeMap::from([("nodes", "1".to_owned())]);
    reading.answers["nodes"]["items"]
        .as_array_mut()
        .unwrap()
        .remove(0);
    let (sender, mut receiver) = mpsc::channel(16);
    let following = tokio::spawn(async move { follow(&server, &reading, sender).await });
    let change = tokio::time::timeout(Duration::from_secs(20), receiver.recv()).await;
    let change = change.unwrap().unwrap();
    assert_eq!(
        (change.name.as_str(), change.kind),
        ("node-a", ChangeKind::Added)
    );
    drop(receiver);
    following.await.unwrap().unwrap();
}
