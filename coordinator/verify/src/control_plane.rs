//! API servers as a vantage point: whoever starts a run may bring a way to ask them (ARCHITECTURE, "Vantage points").
//!
//! This crate knows no Kubernetes: it says which pod an API server shall connect to, and gets the answer as it came.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use reachproof_model::dial::DialFailure;

/// What is asked of an API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialRequest {
    /// Whether it lives.
    Alive,
    /// To ask a pod over plain HTTP.
    Pod {
        /// Namespace of the pod.
        namespace: String,
        /// Name of the pod.
        name: String,
        /// Port.
        port: u16,
        /// Path with query, beginning with `/`.
        path: String,
    },
    /// To read the last lines of the log of a pod, which the kubelet of its node has, until a word came or nothing more; the
    /// connection to the kubelet ends with the question.
    Log {
        /// Namespace of the pod.
        namespace: String,
        /// Name of the pod.
        name: String,
        /// The word, not empty.
        word: String,
    },
}

/// How an API server is asked to connect, as a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialWay {
    /// To pods: [`DialRequest::Pod`].
    Proxy,
    /// To their nodes' kubelets: [`DialRequest::Log`].
    Log,
}

/// An answer as it came, whoever gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialAnswer {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
}

/// A pod of the cluster by its first address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodAtAddress {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its first address.
    pub address: IpAddr,
    /// Whose network namespace it uses.
    pub network: PodNetwork,
}

/// Whose network namespace a pod uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodNetwork {
    /// Its own: nobody else has its address.
    Own,
    /// Its node's: others may have it, too.
    Node,
}

/// An answer that is awaited.
pub type Awaited<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The API servers of a cluster.
pub trait ControlPlane: Send + Sync {
    /// Lists the running pods; an error says in words why nobody can.
    fn pods(&self) -> Awaited<'_, Result<Vec<PodAtAddress>, String>>;

    /// Returns what the account lacks to ask for connections through the pods of a namespace, as a line that says what to
    /// grant; nothing where it may.
    fn lacks<'a>(&'a self, namespace: &'a str, way: DialWay) -> Awaited<'a, Option<String>>;

    /// Asks the API server behind the interface at `server` once, for at most `limit`: the failure says why there is no
    /// answer.
    fn ask<'a>(
        &'a self,
        server: IpAddr,
        request: &'a DialRequest,
        limit: Duration,
    ) -> Awaited<'a, Result<DialAnswer, DialFailure>>;
}
