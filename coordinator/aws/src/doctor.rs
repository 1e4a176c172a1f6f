//! Whether AWS can be read: credentials, Region, endpoint, cluster, permissions, control-plane interfaces.
//!
//! In this order, each of which needs those before it: the first that is missing ends the examination, and what would
//! follow from it is not asked. Causes and remedies have the words of [`Failure`] and [`ReadError`](crate::ReadError), so
//! that every command says the same.

mod permission;

use std::error::Error;
use std::time::Duration;

use aws_sdk_ec2::config::ProvideCredentials;
use reachproof_model::examination::{Check, CheckState};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::call::{Call, Necessity};
use crate::collected::text;
use crate::connection::{Connection, Pace, Settings};
use crate::ec2::{Ec2, filter};
use crate::eks::Eks;
use crate::error::{
    Failure, NO_CLUSTER_REMEDY, NO_CREDENTIALS_REMEDY, NO_REGION_REMEDY, allow, causes, no_cluster,
};
use crate::session::Session;

/// What is looked at, in the order in which one thing needs the other.
pub const SUBJECTS: [&str; 6] = [CREDENTIALS, REGION, ENDPOINT, CLUSTER, RIGHTS, INTERFACES];

/// The credentials and whoever gives them out.
pub const CREDENTIALS: &str = "credentials";
/// The Region's name.
pub const REGION: &str = "region";
/// The address of AWS.
pub const ENDPOINT: &str = "aws endpoint";
/// The cluster by its name.
pub const CLUSTER: &str = "cluster";
/// The permissions of `deploy/iam-policy.json`.
pub const RIGHTS: &str = "aws rights";
/// The control plane's interfaces.
pub const INTERFACES: &str = "control-plane interfaces";

/// The pace of an examination: an address that does not answer is told after seconds, not after the minutes that a
/// reading waits.
pub const PACE: Pace = Pace {
    attempts: 2,
    first_backoff: Duration::from_millis(200),
    longest_backoff: Duration::from_millis(500),
    connect_timeout: Duration::from_secs(3),
    attempt_timeout: Duration::from_secs(4),
    request_timeout: Duration::from_secs(7),
    reading_time_max: Duration::from_secs(5),
};

/// How long credentials and Region are looked for: machines without instance metadata let the SDK wait for it.
const SEARCH_MAX: Duration = Duration::from_secs(7);

/// What a failed call says of `subject`.
fn of_failure(subject: &'static str, state: CheckState, call: Call, failure: &Failure) -> Check {
    Check {
        evidence: beneath(failure),
        ..Check::new(subject, state, failure.to_string(), failure.remedy(call))
    }
}

/// What the client or the service said.
fn beneath(failure: &Failure) -> String {
    Error::source(failure).map(causes).unwrap_or_default()
}

/// What was found so far. Whoever waits no longer has what was found until then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examination {
    /// The lines, one of each subject at most, in the order of [`SUBJECTS`].
    pub checks: Vec<Check>,
    /// Address of the cluster's API server, as EKS names it.
    pub endpoint: Option<String>,
    /// Private addresses of the control plane's interfaces.
    pub control_plane: Vec<String>,
    /// Private addresses of all interfaces in the cluster's VPC.
    pub addresses: Vec<String>,
}

impl Examination {
    fn note(&mut self, check: Check) {
        self.checks.push(check);
    }

    /// Takes back that the credentials are fine: AWS says otherwise.
    fn retract_credentials(&mut self, failure: &Failure) {
        for check in &mut self.checks {
            if check.subject == CREDENTIALS {
                *check = of_failure(CREDENTIALS, CheckState::Missing, Call::Cluster, failure);
            }
        }
    }
}

/// Looks for credentials and Region, on this machine; `None` when one of them is missing.
pub async fn open(settings: &Settings, examination: &mut Examination) -> Option<Connection> {
    let search = async {
        let connection = Connection::load(settings).await;
        let credentials = credentials(&connection).await;
        (connection, credentials)
    };
    let Ok((connection, credentials)) = timeout(SEARCH_MAX, search).await else {
        let detail = format!(
            "no credentials: no answer within {} s",
            SEARCH_MAX.as_secs()
        );
        examination.note(Check::missing(CREDENTIALS, detail, NO_CREDENTIALS_REMEDY));
        return None;
    };
    let found = credentials.state == CheckState::Ok;
    examination.note(credentials);
    if !found {
        return None;
    }
    if connection.region().is_empty() {
        examination.note(Check::missing(
            REGION,
            "no Region is named",
            NO_REGION_REMEDY,
        ));
        return None;
    }
    examination.note(Check::ok(REGION, connection.region()));
    Some(connection)
}

/// Loads the credentials; nothing of them is shown.
async fn credentials(connection: &Connection) -> Check {
    let Some(provider) = connection.credentials() else {
        return Check::missing(CREDENTIALS, "no credentials", NO_CREDENTIALS_REMEDY);
    };
    match provider.provide_credentials().await {
        Ok(credentials) if credentials.expiry().is_some() => {
            Check::ok(CREDENTIALS, "found, they expire")
        }
        Ok(_) => Check::ok(CREDENTIALS, "found, they do not expire"),
        Err(error) => {
            let failure = Failure::of_credentials(&error);
            of_failure(CREDENTIALS, CheckState::Missing, Call::Cluster, &failure)
        }
    }
}

/// Examines everything that a reading of `cluster` needs of AWS, up to the first thing that is missing.
///
/// Permissions of EC2 are tried with `DryRun`, which answers whether the call would be allowed without making it
/// \[EC2M\], all at once: two dozen calls are far from an account's request rate [H.2]. Those of EKS are tried by calling; a
/// node group or profile that does not exist is asked for by the name `reachproof-doctor`, and its absence shows the
/// permission.
pub async fn examine(connection: &Connection, cluster: &str, examination: &mut Examination) {
    let session = Session::start(connection.pace, &|_| {});
    let answer = Eks::new(connection.eks(), cluster, &session)
        .cluster()
        .await;
    let described = match answer {
        Ok(described) => described,
        Err(error) => {
            if !unanswered(&error.failure, connection, cluster, examination) {
                return;
            }
            None
        }
    };
    if examination
        .checks
        .iter()
        .all(|check| check.subject != ENDPOINT)
    {
        examination.note(Check::ok(ENDPOINT, "answers"));
    }
    if let Some(described) = &described {
        examination.endpoint = text(described, "endpoint").map(str::to_owned);
        examination.note(found(described));
    }
    let vpc = described
        .as_ref()
        .and_then(|cluster| cluster.pointer("/resourcesVpcConfig/vpcId"))
        .and_then(Value::as_str);
    let failed = failed(connection, cluster, vpc).await;
    examination.note(rights(&failed));
    let readable = failed
        .iter()
        .all(|(call, _)| *call != Call::NetworkInterfaces);
    let (true, Some(described)) = (readable, &described) else {
        return;
    };
    control_plane(connection, &session, cluster, described, examination).await;
}

/// Says what the failure of the first call means; whether anything more is worth asking.
fn unanswered(
    failure: &Failure,
    connection: &Connection,
    cluster: &str,
    examination: &mut Examination,
) -> bool {
    let endpoint = |state| of_failure(ENDPOINT, state, Call::Cluster, failure);
    match failure {
        Failure::Expired { .. }
        | Failure::CredentialsInvalid { .. }
        | Failure::CredentialsMissing { .. } => examination.retract_credentials(failure),
        Failure::NotFound { .. } => {
            examination.note(Check::ok(ENDPOINT, "answers"));
            let detail = no_cluster(cluster, connection.region());
            examination.note(Check::missing(CLUSTER, detail, NO_CLUSTER_REMEDY));
        }
        Failure::Denied { .. } => return true,
        Failure::Unresolved { .. }
        | Failure::Unreachable { .. }
        | Failure::TimedOut { .. }
        | Failure::ClockSkewed { .. } => examination.note(endpoint(CheckState::Missing)),
        Failure::Throttled { .. }
        | Failure::Cut { .. }
        | Failure::Refused { .. }
        | Failure::TokenRepeated { .. }
        | Failure::PagesUnending { .. }
        | Failure::Incomplete => examination.note(endpoint(CheckState::Unknown)),
    }
    false
}

fn found(cluster: &Value) -> Check {
    let status = text(cluster, "status").unwrap_or("without status");
    let version = text(cluster, "version").unwrap_or("unknown");
    let detail = format!("{status}, version {version}");
    if status == "ACTIVE" {
        Check::ok(CLUSTER, detail)
    } else {
        let remedy = "wait until the cluster is ACTIVE: runs in between confirm nothing";
        Check::unknown(CLUSTER, detail, remedy)
    }
}

/// Tries every permission, all at once; gives those that failed, in the order of [`Call::ALL`].
async fn failed(connection: &Connection, cluster: &str, vpc: Option<&str>) -> Vec<(Call, Failure)> {
    let mut tries = JoinSet::new();
    for call in Call::ALL {
        let (connection, cluster) = (connection.clone(), cluster.to_owned());
        let vpc = vpc.map(str::to_owned);
        tries.spawn(async move {
            let session = Session::start(connection.pace, &|_| {});
            let eks = Eks::new(connection.eks(), &cluster, &session);
            let tried = permission::try_call(call, &connection, &eks, vpc.as_deref()).await;
            (call, tried.err())
        });
    }
    let mut failed = Vec::new();
    while let Some(tried) = tries.join_next().await {
        if let Ok((call, Some(failure))) = tried {
            failed.push((call, failure));
        }
    }
    failed.sort_by_key(|(call, _)| *call);
    failed
}

/// What the calls that failed say of the rights; one that found nothing was allowed.
fn rights(failed: &[(Call, Failure)]) -> Check {
    let is_denied = |failure: &Failure| matches!(failure, Failure::Denied { .. });
    let denied = failed.iter().filter(|(_, failure)| is_denied(failure));
    let denied: Vec<Call> = denied.map(|(call, _)| *call).collect();
    if !denied.is_empty() {
        let said: Vec<String> = denied.iter().map(|call| consequence(*call)).collect();
        let detail = format!("access denied: {}", said.join(", "));
        return Check::missing(RIGHTS, detail, allow(&denied));
    }
    let unheard = failed
        .iter()
        .find(|(_, failure)| !matches!(failure, Failure::NotFound { .. }));
    match unheard {
        Some((call, failure)) => Check {
            evidence: beneath(failure),
            ..Check::unknown(
                RIGHTS,
                format!("{call} could not be tried: {failure}"),
                "try again when AWS answers",
            )
        },
        None => Check::ok(
            RIGHTS,
            format!("all {} actions are allowed", Call::ALL.len()),
        ),
    }
}

/// A denied action with what follows from it.
fn consequence(call: Call) -> String {
    match call.necessity() {
        Necessity::Essential => format!("{call} (nothing can be read without it)"),
        Necessity::Optional => format!("{call} (leaves a gap)"),
    }
}

/// Looks for the control plane's interfaces as D.1 says: by their description, exactly, and the cluster's own group.
async fn control_plane(
    connection: &Connection,
    session: &Session<'_>,
    cluster: &str,
    described: &Value,
    examination: &mut Examination,
) {
    let config = described.get("resourcesVpcConfig");
    let Some((vpc, group)) = config.and_then(|config| {
        Some((
            text(config, "vpcId")?,
            text(config, "clusterSecurityGroupId")?,
        ))
    }) else {
        let detail = "the cluster has no VPC or no group yet";
        let remedy = "wait until the cluster is ACTIVE";
        examination.note(Check::unknown(INTERFACES, detail, remedy));
        return;
    };
    let ec2 = Ec2::new(connection.ec2(connection.region()), session);
    let interfaces = match ec2.network_interfaces(vpc, &filter("vpc-id", &[vpc])).await {
        Ok(interfaces) => interfaces,
        Err(error) => {
            let state = CheckState::Unknown;
            let check = of_failure(INTERFACES, state, error.call, &error.failure);
            examination.note(check);
            return;
        }
    };
    let description = format!("Amazon EKS {cluster}");
    let own = |interface: &&Value| is_control_plane(interface, &description, group);
    examination.addresses = addresses(interfaces.iter());
    examination.control_plane = addresses(interfaces.iter().filter(own));
    examination.note(match interfaces.iter().filter(own).count() {
        0 => Check::missing(
            INTERFACES,
            format!("none in `{vpc}` is described as `{description}` and in `{group}`"),
            "wait until the cluster is ACTIVE, or check that the account owns the subnets",
        ),
        count => Check::ok(INTERFACES, format!("{count} in use in `{vpc}`")),
    });
}

fn addresses<'v>(interfaces: impl Iterator<Item = &'v Value>) -> Vec<String> {
    interfaces
        .filter_map(|interface| text(interface, "PrivateIpAddress"))
        .map(str::to_owned)
        .collect()
}

fn is_control_plane(interface: &Value, description: &str, group: &str) -> bool {
    let groups = interface.get("Groups").and_then(Value::as_array);
    let mut groups = groups
        .into_iter()
        .flatten()
        .filter_map(|one| text(one, "GroupId"));
    text(interface, "Description") == Some(description)
        && text(interface, "Status") == Some("in-use")
        && groups.any(|one| one == group)
}
