//! The rights that an account needs, and whether it has them.

use std::fmt;

use serde_json::{Value, json};

use crate::connect::ApiServer;
use crate::error::RequestError;
use crate::request::{Answer, Question};
use crate::resource::{Extent, RESOURCES, Resource};

/// Verbs of one resource, as a rule of a Role grants them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Plural name.
    pub resource: &'static str,
    /// Sorted verbs.
    pub verbs: &'static [&'static str],
    /// Where.
    pub scope: Scope,
}

/// Where a right holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// In all namespaces: a rule of a ClusterRole, bound by a ClusterRoleBinding.
    Cluster,
    /// In one namespace: a rule of a Role.
    Namespace(String),
    /// For one object: a rule of a Role with `resourceNames`.
    Object {
        /// Its namespace.
        namespace: &'static str,
        /// Its name.
        name: &'static str,
    },
}

/// Whose rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// Whoever reads a snapshot, once.
    Reader,
    /// Whoever does a run: reads, and follows what changes meanwhile.
    Run,
    /// The coordinator in a cluster: reads, watches, and reviews agents' tokens: all that `deploy/rbac-reader.yaml` grants.
    Coordinator,
}

impl Account {
    /// Lists the rights that the account needs, no more.
    ///
    /// No Secrets, no `exec`, and no `nodes/proxy`, which is as good as a shell on every node (SEMANTICS G.3).
    #[must_use]
    pub fn rights(&self) -> Vec<Right> {
        match self {
            Self::Reader => RESOURCES.iter().map(Right::read).collect(),
            Self::Run => RESOURCES.iter().map(Right::read_and_watch).collect(),
            Self::Coordinator => {
                let mut rights: Vec<Right> = RESOURCES.iter().map(Right::follow).collect();
                rights.push(Right {
                    group: "authentication.k8s.io",
                    resource: "tokenreviews",
                    verbs: &["create"],
                    scope: Scope::Cluster,
                });
                rights
            }
        }
    }
}

impl Right {
    /// What reading a resource once needs.
    pub(crate) fn read(resource: &Resource) -> Self {
        Self::of(resource, &["list"])
    }

    /// What reading a resource once and following it from there needs.
    fn read_and_watch(resource: &Resource) -> Self {
        Self::of(resource, &["list", "watch"])
    }

    /// What a coordinator in the cluster has: it also looks at the pod of each token, and at its node.
    fn follow(resource: &Resource) -> Self {
        match resource.plural {
            "nodes" | "pods" => Self::of(resource, &["get", "list", "watch"]),
            _ => Self::read_and_watch(resource),
        }
    }

    fn of(resource: &Resource, verbs: &'static [&'static str]) -> Self {
        let (verbs, scope): (&[&str], Scope) = match resource.extent {
            Extent::All => (verbs, Scope::Cluster),
            Extent::One { namespace, name } => (&["get"], Scope::Object { namespace, name }),
            Extent::Of { namespace } => (&["list"], Scope::Namespace(namespace.to_owned())),
        };
        Self {
            group: resource.group,
            resource: resource.plural,
            verbs,
            scope,
        }
    }

    /// Prints the rule that grants the right, as a line of YAML, and the kind of object that it goes into.
    #[must_use]
    pub fn rule(&self) -> String {
        let grant = format!(
            "{{apiGroups: [\"{}\"], resources: [{}], verbs: [{}]",
            self.group,
            self.resource,
            self.verbs.join(", ")
        );
        match &self.scope {
            Scope::Cluster => format!("`{grant}}}` to the account's ClusterRole"),
            Scope::Namespace(namespace) => {
                format!("`{grant}}}` to the account's Role in namespace `{namespace}`")
            }
            Scope::Object { namespace, name } => format!(
                "`{grant}, resourceNames: [{name}]}}` to the account's Role in namespace `{namespace}`"
            ),
        }
    }

    /// What the right is about, without its verbs.
    pub(crate) fn object(&self) -> String {
        match &self.scope {
            Scope::Cluster => self.resource.to_owned(),
            Scope::Namespace(namespace) => format!("{} in {namespace}", self.resource),
            Scope::Object { namespace, name } => format!("{} {name} in {namespace}", self.resource),
        }
    }

    /// `spec.resourceAttributes` of an access review for one of the verbs.
    fn attributes(&self, verb: &str) -> Value {
        let (namespace, name) = match &self.scope {
            Scope::Cluster => ("", ""),
            Scope::Namespace(namespace) => (namespace.as_str(), ""),
            Scope::Object { namespace, name } => (*namespace, *name),
        };
        // `pods/proxy` is a resource with its subresource.
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((self.resource, ""));
        json!({
            "group": self.group,
            "resource": resource,
            "subresource": subresource,
            "verb": verb,
            "namespace": namespace,
            "name": name,
        })
    }
}

impl fmt::Display for Right {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.verbs.join(", "), self.object())
    }
}

/// Whether the account has a right.
#[derive(Debug)]
pub enum RightState {
    /// All its verbs.
    Held,
    /// Some verbs are missing.
    Missing {
        /// Those, in the order of [`Right::verbs`].
        verbs: Vec<&'static str>,
    },
    /// The API server did not say.
    Unknown(RequestError),
}

/// A right, and whether the account has it.
#[derive(Debug)]
pub struct CheckedRight {
    /// The right.
    pub right: Right,
    /// Whether the account has it.
    pub state: RightState,
}

/// Asks the API server for each right of `account` whether the caller has it, in the order of [`Account::rights`].
///
/// Uses `SelfSubjectAccessReview`, which every authenticated account may create. An answer that does not come is
/// [`RightState::Unknown`], not an error: the other lines are still worth having.
pub async fn check_rights(server: &ApiServer, account: &Account) -> Vec<CheckedRight> {
    let mut checked = Vec::new();
    for right in account.rights() {
        let state = check(server, &right).await;
        checked.push(CheckedRight { right, state });
    }
    checked
}

pub(crate) async fn check(server: &ApiServer, right: &Right) -> RightState {
    let mut missing = Vec::new();
    for verb in right.verbs {
        match review(server, right, verb).await {
            Ok(Review::Allowed) => {}
            Ok(Review::Refused) => missing.push(*verb),
            Err(error) => return RightState::Unknown(error),
        }
    }
    if missing.is_empty() {
        RightState::Held
    } else {
        RightState::Missing { verbs: missing }
    }
}

enum Review {
    Allowed,
    Refused,
}

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

async fn review(server: &ApiServer, right: &Right, verb: &str) -> Result<Review, RequestError> {
    let body = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": right.attributes(verb)},
    });
    match server.ask(&Question::review(REVIEWS, body)).await?.answer {
        // `allowed` is absent where the API server could not decide, which grants nothing.
        Answer::Whole(review) => match review.pointer("/status/allowed").and_then(Value::as_bool) {
            Some(true) => Ok(Review::Allowed),
            Some(false) | None => Ok(Review::Refused),
        },
        Answer::Denied(message) => Err(RequestError::Denied { message }),
        Answer::Missing | Answer::Expired => Err(RequestError::Denied {
            message: "the server has no access reviews".to_owned(),
        }),
    }
}
