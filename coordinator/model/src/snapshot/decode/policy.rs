//! Policies of all engines that may drop packets of pods (E.5, K.1 "Policies of other kinds").

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Decoder;
use super::kind::FOREIGN_POLICIES;
use super::kubernetes::{address, label_selector, metadata};
use crate::describe::{Fault, Node};
use crate::snapshot::{Consequence, LabelSelector, NetworkPolicy, PolicySubject};

/// Where a policy says whom it selects.
#[derive(Clone, Copy)]
enum Form {
    /// `spec.podSelector`, in its own namespace.
    PodSelector,
    /// `spec.subject` with selectors of namespaces and pods, in the whole cluster.
    Subject,
    /// `spec.podSelectorEndpoints`: addresses.
    Endpoints,
    /// In a language of its own: it counts as selecting every pod of its namespace.
    Foreign,
    /// The same for every pod of the cluster.
    ForeignCluster,
}

/// Kinds of policies: stem of the file, kind, and where it says whom it selects.
///
/// Of the VPC CNI (`networking.k8s.aws`), of `policy.networking.k8s.io`, of Cilium and of Calico; the last are those of any
/// other kind.
const KINDS: [(&str, &str, Form); 12] = [
    ("networkpolicies", "NetworkPolicy", Form::PodSelector),
    (
        "applicationnetworkpolicies",
        "ApplicationNetworkPolicy",
        Form::PodSelector,
    ),
    (
        "clusternetworkpolicies",
        "ClusterNetworkPolicy",
        Form::Subject,
    ),
    ("adminnetworkpolicies", "AdminNetworkPolicy", Form::Subject),
    (
        "baselineadminnetworkpolicies",
        "BaselineAdminNetworkPolicy",
        Form::Subject,
    ),
    ("policyendpoints", "PolicyEndpoint", Form::Endpoints),
    (
        "clusterpolicyendpoints",
        "ClusterPolicyEndpoint",
        Form::Endpoints,
    ),
    (
        "ciliumnetworkpolicies",
        "CiliumNetworkPolicy",
        Form::Foreign,
    ),
    (
        "ciliumclusterwidenetworkpolicies",
        "CiliumClusterwideNetworkPolicy",
        Form::ForeignCluster,
    ),
    (
        "caliconetworkpolicies",
        "Calico NetworkPolicy",
        Form::Foreign,
    ),
    (
        "globalnetworkpolicies",
        "GlobalNetworkPolicy",
        Form::ForeignCluster,
    ),
    (FOREIGN_POLICIES, "foreign policy", Form::Foreign),
];

/// Code of a `Status` by which the API server says that it knows no such kind.
const NOT_FOUND: u16 = 404;

/// Whom a policy selects.
struct Selection {
    subject: PolicySubject,
    selector: Option<LabelSelector>,
    listed: BTreeSet<IpAddr>,
}

impl<'a> Decoder<'a> {
    pub(super) fn policies(&mut self) {
        for (stem, kind, form) in KINDS {
            for object in self.objects(stem) {
                let policy = self.policy(&object, kind, form);
                self.snapshot.network_policies.push(policy);
            }
            // Without NetworkPolicies a snapshot counts as one of a cluster without them (K.1).
            if stem != "networkpolicies" && self.is_refused(stem) {
                self.snapshot.network_policies.push(unreadable(kind));
            }
        }
        self.snapshot.network_policies.sort_by(|one, other| {
            let key = |policy: &NetworkPolicy| {
                (policy.kind, policy.namespace.clone(), policy.name.clone())
            };
            key(one).cmp(&key(other))
        });
    }

    /// Whether the API server serves a kind and refused to list it.
    fn is_refused(&self, stem: &str) -> bool {
        let file = self.described.get(stem);
        file.is_some_and(|file| {
            file.get("kind").is_some_and(|kind| kind == "Status")
                && file.get("code").is_none_or(|code| code != NOT_FOUND)
        })
    }

    /// A policy; what of it cannot be read widens whom it selects, never the reverse.
    fn policy(&mut self, object: &Node<'a>, kind: &'static str, form: Form) -> NetworkPolicy {
        let consequence = Consequence::PolicySelectsAll;
        let names = self.read(names(object), consequence);
        let selection = self.read(selection(object, form), consequence);
        let (namespace, name) = names.unwrap_or_default();
        let selection = selection.unwrap_or(Selection {
            subject: PolicySubject::Namespace,
            selector: None,
            listed: BTreeSet::new(),
        });
        // Without a namespace of its own a policy may be about any.
        let subject = match selection.subject {
            PolicySubject::Namespace if namespace.is_empty() => PolicySubject::Cluster(None),
            subject @ (PolicySubject::Namespace
            | PolicySubject::Cluster(_)
            | PolicySubject::Listed) => subject,
        };
        NetworkPolicy {
            kind,
            namespace,
            name,
            subject,
            selector: selection.selector,
            listed: selection.listed,
        }
    }
}

/// A policy that may be there and may select any pod.
fn unreadable(kind: &'static str) -> NetworkPolicy {
    NetworkPolicy {
        kind,
        namespace: String::new(),
        name: String::new(),
        subject: PolicySubject::Cluster(None),
        selector: None,
        listed: BTreeSet::new(),
    }
}

/// Namespace, empty where there is none, and name.
fn names(object: &Node<'_>) -> Result<(String, String), Fault> {
    let metadata = metadata(object)?;
    let namespace = metadata.text("namespace")?.unwrap_or_default();
    Ok((namespace.to_owned(), metadata.required("name")?.to_owned()))
}

fn selection(object: &Node<'_>, form: Form) -> Result<Selection, Fault> {
    let spec = || object.field("spec").ok_or_else(|| object.missing("spec"));
    let (subject, selector, listed) = match form {
        Form::PodSelector => {
            let selector = selector_of(&spec()?, "podSelector")?;
            (PolicySubject::Namespace, selector, BTreeSet::new())
        }
        Form::Subject => {
            let (namespaces, pods) = subject(&spec()?)?;
            (PolicySubject::Cluster(namespaces), pods, BTreeSet::new())
        }
        Form::Endpoints => {
            let listed = listed(&spec()?)?;
            let (subject, selector) = match spec()?.field("podSelector") {
                Some(selector) if !listed.is_empty() => {
                    (PolicySubject::Namespace, Some(label_selector(&selector)?))
                }
                Some(_) | None if !listed.is_empty() => (PolicySubject::Listed, None),
                Some(_) | None => (
                    PolicySubject::Namespace,
                    selector_of(&spec()?, "podSelector")?,
                ),
            };
            (subject, selector, listed)
        }
        Form::Foreign => (PolicySubject::Namespace, None, BTreeSet::new()),
        Form::ForeignCluster => (PolicySubject::Cluster(None), None, BTreeSet::new()),
    };
    Ok(Selection {
        subject,
        selector,
        listed,
    })
}

/// A selector that may be absent: then it selects everything.
fn selector_of(node: &Node<'_>, name: &str) -> Result<Option<LabelSelector>, Fault> {
    let selector = node.field(name);
    selector.map_or(Ok(None), |selector| label_selector(&selector).map(Some))
}

/// The selectors of namespaces and of pods in `spec.subject`; absent ones select everything.
fn subject(spec: &Node<'_>) -> Result<(Option<LabelSelector>, Option<LabelSelector>), Fault> {
    let subject = spec
        .field("subject")
        .ok_or_else(|| spec.missing("subject"))?;
    match subject.field("pods") {
        Some(pods) => Ok((
            selector_of(&pods, "namespaceSelector")?,
            selector_of(&pods, "podSelector")?,
        )),
        None => Ok((selector_of(&subject, "namespaces")?, None)),
    }
}

/// Addresses of the pods for which the controller wrote the object.
fn listed(spec: &Node<'_>) -> Result<BTreeSet<IpAddr>, Fault> {
    let mut found = BTreeSet::new();
    for endpoint in spec.list("podSelectorEndpoints")? {
        let field = endpoint
            .field("podIP")
            .ok_or_else(|| endpoint.missing("podIP"))?;
        found.insert(address(&field)?);
    }
    Ok(found)
}
