//! `reachproof manifests`: what one run needs on a cluster, as YAML for `kubectl apply -f -`.
//!
//! * `argument`: the forms that arguments have
//! * `namespace`: where agents run, and what each such place has beside them
//! * `agent`: the agents themselves
//!
//! Nothing here talks to a cluster, but for reading its world. The objects are plain JSON values: what an API server
//! makes of them is tested against a real one.

mod agent;
mod argument;
mod namespace;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use ipnet::IpNet;
use reachproof_model::snapshot::{FargateProfile, Snapshot};
use reachproof_verify::credentials::CredentialsError;
use reachproof_verify::{Credentials, SystemRandomness};
use serde_json::Value;
use thiserror::Error;

use self::agent::{Agent, Place};
use self::argument::{CoordinatorAddress, FargatePods, image};
use self::namespace::Contents;
use super::exit_code::ExitCode;
use super::{CREDENTIALS_DIRECTORY, CliError, decoded};
use crate::source::SourceArguments;

/// What stands above the objects.
const HEADER: &str = "\
# Agents of one run of reachproof; `kubectl apply -f -` takes this, `kubectl delete -f -` takes them away.
# Holds the token of the run: whoever has it can pretend to be one of these agents, and nothing else.
";

/// What `manifests` is told.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: SourceArguments,
    /// Image of the agent, as the nodes pull it
    #[arg(long, value_name = "IMAGE", value_parser = image)]
    image: String,
    /// Where agents reach `reachproof verify --listen`, like 10.0.1.5:7443
    #[arg(long, value_name = "HOST:PORT")]
    coordinator: CoordinatorAddress,
    /// An agent in the host network of each node as well, in the namespace reachproof-host
    #[arg(long)]
    host_network: bool,
    /// A pod on Fargate, by what a Fargate profile selects; one for each profile. The namespace must exist, unless it
    /// is reachproof
    #[arg(long, value_name = "NAMESPACE/LABEL=VALUE", num_args = 1..)]
    fargate: Vec<FargatePods>,
    /// Directory with ca.crt, ca.key and token, the same as for verify; made if there is none
    #[arg(long, value_name = "DIRECTORY", default_value = CREDENTIALS_DIRECTORY)]
    credentials: PathBuf,
}

/// The manifests could not be made.
#[derive(Debug, Error)]
pub(crate) enum ManifestsError {
    /// The agents could not be told what they may connect to.
    #[error(
        "the snapshot has no readable range of a VPC, without which agents may connect to nothing: add describe-vpcs"
    )]
    NoRange,
    /// Pods that no Fargate profile takes would start on EC2 nodes.
    #[error(
        "no Fargate profile of the snapshot selects `{pods}`: make one that does, then read the cluster again"
    )]
    NotSelected {
        /// What was to be selected.
        pods: FargatePods,
    },
    /// A Fargate profile would take the pods of a DaemonSet, and Fargate runs none.
    #[error(
        "the Fargate profile `{profile}` selects the pods of the DaemonSet in the namespace `{namespace}`: give its selector a label"
    )]
    Selected {
        /// Name of the profile.
        profile: String,
        /// Namespace of the DaemonSet.
        namespace: String,
    },
    /// CA and token could not be read or made.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The objects could not be written as YAML.
    #[error("cannot write the manifests as YAML")]
    Yaml(#[from] yaml_serde::Error),
}

/// Prints the manifests; gaps of the snapshot go to standard error.
///
/// # Errors
/// [`CliError`] when the world, the credentials or the answer cannot be had. Nothing is printed then.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let snapshot = decoded(&arguments.source)?;
    let text = text(arguments, &snapshot)?;
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::Answered)
}

/// The whole answer.
fn text(arguments: &Arguments, snapshot: &Snapshot) -> Result<String, ManifestsError> {
    let agents = agents(arguments);
    check_profiles(snapshot, &agents)?;
    if snapshot.fargate_profiles().is_empty() && !arguments.fargate.is_empty() {
        eprintln!(
            "gap: the snapshot has no Fargate profile, so nothing says that one takes these pods"
        );
    }
    let policy = policy(snapshot)?;
    let credentials =
        Credentials::in_directory(&arguments.credentials, &SystemRandomness::default())?;
    let contents = Contents {
        ca_certificate: credentials.ca_certificate,
        token: credentials.token,
        policy: yaml_serde::to_string(&policy)?,
    };
    let mut text = HEADER.to_owned();
    for object in objects(&agents, &contents) {
        text.push_str("---\n");
        text.push_str(&yaml_serde::to_string(&object)?);
    }
    Ok(text)
}

/// The agents that are asked for.
fn agents(arguments: &Arguments) -> Vec<Agent> {
    let host = arguments.host_network.then_some(Place::Host);
    let fargate = arguments.fargate.iter().enumerate();
    let fargate = fargate.map(|(place, pods)| Place::Fargate {
        number: place + 1,
        pods: pods.clone(),
    });
    let places = [Place::Pod].into_iter().chain(host).chain(fargate);
    places
        .map(|place| Agent {
            place,
            image: arguments.image.clone(),
            coordinator: arguments.coordinator.clone(),
        })
        .collect()
}

/// Refuses what Fargate profiles would put elsewhere. Profiles that the snapshot does not have are not judged.
fn check_profiles(snapshot: &Snapshot, agents: &[Agent]) -> Result<(), ManifestsError> {
    let profiles = snapshot.fargate_profiles();
    for agent in agents {
        let mut selecting = profiles.iter().filter(|profile: &&FargateProfile| {
            profile.selects(agent.namespace(), &agent.labels())
        });
        match (&agent.place, selecting.next()) {
            (Place::Pod | Place::Host, Some(profile)) => {
                return Err(ManifestsError::Selected {
                    profile: profile.name.clone(),
                    namespace: agent.namespace().to_owned(),
                });
            }
            (Place::Fargate { pods, .. }, None) if !profiles.is_empty() => {
                return Err(ManifestsError::NotSelected { pods: pods.clone() });
            }
            (Place::Pod | Place::Host, None) | (Place::Fargate { .. }, Some(_) | None) => {}
        }
    }
    Ok(())
}

/// What the agents may connect to (SECURITY D.2): the ranges of the snapshot's VPCs, but for the range of services.
///
/// # Errors
/// [`ManifestsError::NoRange`].
fn policy(snapshot: &Snapshot) -> Result<Value, ManifestsError> {
    let mut allow: Vec<IpNet> = snapshot
        .vpcs()
        .flat_map(|vpc| vpc.networks.iter().copied())
        .collect();
    allow.sort_unstable();
    allow.dedup();
    if allow.is_empty() {
        return Err(ManifestsError::NoRange);
    }
    let services = snapshot
        .cluster()
        .map(|cluster| cluster.service_networks.as_slice());
    let services = services.unwrap_or_default();
    if services.is_empty() {
        eprintln!(
            "gap: the snapshot does not say which range services have, so the policy does not deny it"
        );
    }
    Ok(serde_json::json!({ "allow": allow, "deny": services }))
}

/// All objects, in the order in which they can be created.
fn objects(agents: &[Agent], contents: &Contents) -> Vec<Value> {
    let mut objects = Vec::new();
    let mut known: Vec<&str> = Vec::new();
    for agent in agents {
        let namespace = agent.namespace();
        if !known.contains(&namespace) {
            known.push(namespace);
            objects.extend(namespace::objects(namespace, contents));
        }
    }
    objects.extend(agents.iter().map(Agent::object));
    objects
}

#[cfg(test)]
mod tests;
