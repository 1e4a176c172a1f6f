//! Which API server is meant.

use std::path::PathBuf;

use clap::Args;
use reachproof_kube::Entry;

/// Names a kubeconfig.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct KubeconfigArguments {
    /// Kubeconfig that leads to the cluster [default: KUBECONFIG, the pod's own account, or ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

impl KubeconfigArguments {
    /// The API server that they lead to.
    pub(crate) fn entry(&self) -> Entry {
        entry(self.kubeconfig.as_ref(), self.context.as_ref())
    }
}

/// The API server of a kubeconfig, which may be named; in a pod without one that of the pod's own account.
pub(crate) fn entry(kubeconfig: Option<&PathBuf>, context: Option<&String>) -> Entry {
    let is_set = |name: &str| std::env::var_os(name).is_some();
    let is_named = kubeconfig.is_some() || context.is_some() || is_set("KUBECONFIG");
    if is_set("KUBERNETES_SERVICE_HOST") && !is_named {
        return Entry::Pod;
    }
    Entry::Kubeconfig {
        path: kubeconfig.cloned(),
        context: context.cloned(),
    }
}
