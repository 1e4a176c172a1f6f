//! The calls of EKS; no answer is judged here.

use aws_sdk_eks::Client;
use serde_json::Value;

use crate::call::Call;
use crate::error::{CallError, Failure};
use crate::session::{Page, Session};
use crate::shape;

/// EKS in the cluster's Region, asked about one cluster within one session.
pub(crate) struct Eks<'s> {
    client: Client,
    cluster: &'s str,
    session: &'s Session<'s>,
}

impl<'s> Eks<'s> {
    /// Asks `client` about `cluster` within `session`.
    pub(crate) fn new(client: Client, cluster: &'s str, session: &'s Session<'s>) -> Self {
        Self {
            client,
            cluster,
            session,
        }
    }

    /// Reads the cluster; `None` when the answer has none in it.
    pub(crate) async fn cluster(&self) -> Result<Option<Value>, CallError> {
        let answer = self
            .session
            .once(Call::Cluster, self.cluster, || {
                let request = self.client.describe_cluster().name(self.cluster);
                async move { request.send().await.map_err(Failure::of) }
            })
            .await?;
        Ok(answer.cluster.as_ref().map(shape::cluster::cluster))
    }

    /// Reads the names of the managed node groups.
    pub(crate) async fn nodegroup_names(&self) -> Result<Vec<String>, CallError> {
        self.session
            .pages(Call::NodegroupNames, self.cluster, |token| {
                let request = self
                    .client
                    .list_nodegroups()
                    .cluster_name(self.cluster)
                    .set_max_results(Call::NodegroupNames.page_size())
                    .set_next_token(token);
                async move {
                    let answer = request.send().await.map_err(Failure::of)?;
                    Ok(Page {
                        items: answer.nodegroups.unwrap_or_default(),
                        next: answer.next_token,
                    })
                }
            })
            .await
    }

    /// Reads one managed node group; `None` when the answer has none in it.
    pub(crate) async fn nodegroup(&self, name: &str) -> Result<Option<Value>, CallError> {
        let answer = self
            .session
            .once(Call::Nodegroup, name, || {
                let request = self
                    .client
                    .describe_nodegroup()
                    .cluster_name(self.cluster)
                    .nodegroup_name(name);
                async move { request.send().await.map_err(Failure::of) }
            })
            .await?;
        Ok(answer.nodegroup.as_ref().map(shape::cluster::nodegroup))
    }

    /// Reads the names of the Fargate profiles.
    pub(crate) async fn fargate_profile_names(&self) -> Result<Vec<String>, CallError> {
        self.session
            .pages(Call::FargateProfileNames, self.cluster, |token| {
                let request = self
                    .client
                    .list_fargate_profiles()
                    .cluster_name(self.cluster)
                    .set_max_results(Call::FargateProfileNames.page_size())
                    .set_next_token(token);
                async move {
                    let answer = request.send().await.map_err(Failure::of)?;
                    Ok(Page {
                        items: answer.fargate_profile_names.unwrap_or_default(),
                        next: answer.next_token,
                    })
                }
            })
            .await
    }

    /// Reads one Fargate profile; `None` when the answer has none in it.
    pub(crate) async fn fargate_profile(&self, name: &str) -> Result<Option<Value>, CallError> {
        let answer = self
            .session
            .once(Call::FargateProfile, name, || {
                let request = self
                    .client
                    .describe_fargate_profile()
                    .cluster_name(self.cluster)
                    .fargate_profile_name(name);
                async move { request.send().await.map_err(Failure::of) }
            })
            .await?;
        Ok(answer
            .fargate_profile
            .as_ref()
            .map(shape::cluster::fargate_profile))
    }
}
