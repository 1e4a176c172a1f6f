//! A port of the coordinator's pod, through the API server and the pod's kubelet: what `kubectl port-forward` does, without a
//! port on this machine.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::time::timeout;

use crate::access::{Right, Scope};
use crate::connect::ApiServer;
use crate::installed::{CoordinatorPod, FindError, Installed};
use crate::request::message;
use crate::storage::ObjectName;

/// Port of kubelets (D.4).
const KUBELET_PORT: u16 = 10_250;

/// How long the API server may take: it waits 30 s itself for a kubelet that is silent (k8s.io/kubernetes,
/// `pkg/kubelet/client`), and tells then.
const OPEN_WAIT: Duration = Duration::from_secs(45);

/// What a port-forward to pods of a namespace needs: asking by WebSocket is a `get`, which since Kubernetes 1.35 takes
/// `create` as well.
#[must_use]
pub fn forward_right(namespace: &str) -> Right {
    Right {
        group: "",
        resource: "pods/portforward",
        verbs: &["create", "get"],
        scope: Scope::Namespace(namespace.to_owned()),
    }
}

/// The way to an installed coordinator.
#[derive(Debug, Clone)]
pub struct Forward {
    server: ApiServer,
    installed: Installed,
}

/// There is no way to the coordinator's pod at present.
#[derive(Debug, Error)]
pub enum ForwardError {
    /// Its pod cannot be looked for.
    #[error(transparent)]
    Find(#[from] FindError),
    /// 403.
    #[error("access denied: {message}; grant {}", forward_right(.namespace).rule())]
    Denied {
        /// Namespace of the pod.
        namespace: String,
        /// What the server said.
        message: String,
    },
    /// There is no pod.
    #[error("the Service {service} has no pod")]
    NoPod {
        /// The coordinator's Service.
        service: ObjectName,
    },
    /// Its pod takes no requests.
    #[error("the pod {pod} is not ready: {why}")]
    NotReady {
        /// The pod.
        pod: ObjectName,
        /// Its node; empty as long as it has none.
        node: String,
        /// What it says of itself.
        why: String,
    },
    /// The API server does not come through to the kubelet.
    #[error(
        "control plane to kubelet of {node} tcp/{KUBELET_PORT}: the port-forward failed: {why}"
    )]
    Kubelet {
        /// The pod.
        pod: ObjectName,
        /// Its node.
        node: String,
        /// What the API server said, or that it said nothing.
        why: String,
    },
    /// The kubelet does not come through to the pod's port.
    #[error("kubelet of {node} to the pod {pod}: {why}")]
    Pod {
        /// The pod.
        pod: ObjectName,
        /// Its node.
        node: String,
        /// What the kubelet said.
        why: String,
    },
    /// The API server itself does not answer.
    #[error("no answer from the API server")]
    Api(#[source] Box<kube::Error>),
}

/// What a closed way means, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// What is wrong.
    pub cause: String,
    /// What to do next.
    pub remedy: String,
}

impl ForwardError {
    /// What it says of the cluster; absent where the way was never tried: for want of a right, or of the API server.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        let (cause, remedy) = match self {
            Self::Find(_) | Self::Denied { .. } | Self::Api(_) => return None,
            Self::NoPod { service } => (
                "the API server answers, and the coordinator does not run".to_owned(),
                format!(
                    "kubectl --namespace {} get deployments,pods",
                    service.namespace
                ),
            ),
            Self::NotReady { pod, .. } => (
                "the API server answers, and the coordinator takes no requests".to_owned(),
                format!(
                    "kubectl --namespace {} describe pod {}",
                    pod.namespace, pod.name
                ),
            ),
            Self::Kubelet { node, .. } => (
                format!(
                    "the API server answers and does not come through to the kubelet of {node}: logs, exec and port-forward of its pods go the same way"
                ),
                format!(
                    "let the control plane's groups reach tcp/{KUBELET_PORT} of the node: `reachproof check --cluster NAME 'control plane' {node} {KUBELET_PORT}` names the rule"
                ),
            ),
            Self::Pod { pod, .. } => (
                "the kubelet answers, and nobody listens in the pod".to_owned(),
                format!("kubectl --namespace {} logs {}", pod.namespace, pod.name),
            ),
        };
        Some(Advice { cause, remedy })
    }
}

impl Forward {
    /// The way to `installed` through `server`.
    #[must_use]
    pub const fn new(server: ApiServer, installed: Installed) -> Self {
        Self { server, installed }
    }

    /// Connects to the page's port of the pod that is there now.
    ///
    /// # Errors
    /// [`ForwardError`].
    pub async fn open(&self) -> Result<Forwarded, ForwardError> {
        let pod = self.installed.pod(&self.server).await?;
        let pod = pod.ok_or_else(|| ForwardError::NoPod {
            service: self.installed.service.clone(),
        })?;
        if let Some(why) = &pod.unready {
            return Err(ForwardError::NotReady {
                pod: pod.name.clone(),
                node: pod.node.clone(),
                why: why.clone(),
            });
        }
        let pods: Api<Pod> = Api::namespaced(self.server.client().clone(), &pod.name.namespace);
        let ports = [pod.port];
        let opened = timeout(OPEN_WAIT, pods.portforward(&pod.name.name, &ports)).await;
        let mut opened = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Err(failure(&pod, error)),
            Err(_) => {
                let why = format!("the API server says nothing for {} s", OPEN_WAIT.as_secs());
                return Err(pod.kubelet_failure(why));
            }
        };
        let stream = opened.take_stream(pod.port);
        let stream = stream.ok_or_else(|| pod.kubelet_failure("it has no stream".to_owned()))?;
        let said = opened.take_error(pod.port);
        Ok(Forwarded {
            stream,
            said: said.map(|said| -> Said { Box::pin(said) }),
            pod,
        })
    }
}

impl CoordinatorPod {
    fn kubelet_failure(&self, why: String) -> ForwardError {
        ForwardError::Kubelet {
            pod: self.name.clone(),
            node: self.node.clone(),
            why,
        }
    }
}

/// What an error of the client means: the API server answers with the status and the words of whatever is behind it.
fn failure(pod: &CoordinatorPod, error: kube::Error) -> ForwardError {
    if let kube::Error::Api(status) = &error {
        let said = message(status.message.as_bytes());
        if status.code == StatusCode::FORBIDDEN.as_u16() {
            return ForwardError::Denied {
                namespace: pod.name.namespace.clone(),
                message: said,
            };
        }
        return pod.kubelet_failure(said);
    }
    if let kube::Error::UpgradeConnection(error) = &error {
        return pod.kubelet_failure(error.to_string());
    }
    ForwardError::Api(Box::new(error))
}

/// What the kubelet says of a connection that came to nothing.
type Said = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// A connection to the pod.
pub struct Forwarded {
    stream: DuplexStream,
    /// Absent once it was heard.
    said: Option<Said>,
    pod: CoordinatorPod,
}

impl std::fmt::Debug for Forwarded {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Forwarded")
            .field("pod", &self.pod)
            .finish_non_exhaustive()
    }
}

impl AsyncRead for Forwarded {
    /// A stream that ends because the kubelet did not come through ends with [`ForwardError::Pod`].
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before || buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        // What the kubelet says comes before the end. The client holds its place open as long as this side writes.
        let said = self.said.take();
        match said.map(|mut said| said.as_mut().poll(context)) {
            Some(Poll::Ready(Some(why))) => Poll::Ready(Err(io::Error::other(ForwardError::Pod {
                pod: self.pod.name.clone(),
                node: self.pod.node.clone(),
                why: message(why.as_bytes()),
            }))),
            Some(Poll::Ready(None) | Poll::Pending) | None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Forwarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The failure of a port-forward that lies beneath `error`, if one does.
#[must_use]
pub fn beneath<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a ForwardError> {
    let mut cause: Option<&'a (dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // One that wraps another gives that one's source as its own.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> CoordinatorPod {
        CoordinatorPod {
            name: ObjectName {
                namespace: "network".to_owned(),
                name: "x-1".to_owned(),
            },
            node: "node-1".to_owned(),
            port: 7080,
            unready: None,
        }
    }

    #[test]
    fn a_failed_port_forward_names_node_and_port_and_what_the_api_server_said() {
        let error = pod().kubelet_failure("dial tcp 10.0.1.20:10250: i/o timeout".to_owned());
        let wanted = "control plane to kubelet of node-1 tcp/10250: the port-forward failed: dial tcp 10.0.1.20:10250: i/o timeout";
        assert_eq!(error.to_string(), wanted);
        let wrapped = io::Error::other(io::Error::other(error));
        assert_eq!(
            beneath(&wrapped).map(ToString::to_string).as_deref(),
            Some(wanted)
        );
        assert!(beneath(&io::Error::other("else")).is_none());
    }

    #[tokio::test]
    async fn a_stream_that_the_kubelet_ends_says_why_and_waits_for_nobody() {
        use tokio::io::AsyncReadExt as _;
        let refused = || std::future::ready(Some("connection refused".to_owned()));
        let said: [(Said, bool); 3] = [
            (Box::pin(refused()), true),
            (Box::pin(std::future::ready(None)), false),
            (Box::pin(std::future::pending()), false),
        ];
        for (said, is_failure) in said {
            let (stream, other) = tokio::io::duplex(16);
            drop(other);
            let mut forwarded = Forwarded {
                stream,
                said: Some(said),
                pod: pod(),
            };
            let read = forwarded.read(&mut [0; 4]).await;
            if is_failure {
                let text = read.unwrap_err().to_string();
                let wanted = "kubelet of node-1 to the pod network/x-1: connection refused";
                assert_eq!(text, wanted);
            } else {
                assert_eq!(read.unwrap(), 0);
            }
        }
    }
}
