//! `reachproof manifests`: what one run needs on a cluster, as YAML for `kubectl apply -f -`.
//!
//! * `argument`: the forms that arguments have
//! * `namespace`: where agents run, and what each such place has beside them
//! * `agent`: the agents themselves
//! * `restricted`: what both are allowed on their node
//! * `schedule`: a CronJob that does runs
//!
//! Nothing here talks to a cluster, but for reading its world. The objects are plain JSON values: what an API server
//! makes of them is tested against a real one.

mod agent;
mod argument;
mod labels;
mod namespace;
mod restricted;
mod schedule;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use reachproof_model::observation::{AgentName, InvalidAgentName};
use reachproof_model::plan::AgentKind;
use reachproof_model::snapshot::{Decoded, FargateProfile, Platform, Snapshot, folded};
use reachproof_proto::endpoint::EndpointName;
use reachproof_verify::audience::Audience;
use reachproof_verify::credentials::{CredentialsError, TOKEN_LIFE, TokenHolder};
use reachproof_verify::token::TokenError;
use reachproof_verify::{Credentials, SystemRandomness};
use serde_json::Value;
use thiserror::Error;

use self::agent::{Agent, Place};
use self::argument::{CoordinatorAddress, FargatePods, image};
use self::namespace::Contents;
use self::schedule::{Schedule, ScheduleArguments, service_address};
use super::exit_code::ExitCode;
use super::{CREDENTIALS_DIRECTORY, CliError, decode, gaps};
use crate::source::NamedSource;

/// What stands above the objects.
const HEADER: &str = "\
# Agents of one run of reachproof; `kubectl apply -f -` takes this, `kubectl delete -f -` takes them away.
";

/// What stands above them if tokens are among them.
const HEADER_SIGNED: &str = "\
# Holds a token for each node, valid for 24 h: whoever has one can pretend to be the agent of that node, and nothing else.
";

/// What `manifests` is told.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: NamedSource,
    /// Image of the agent, as the nodes pull it
    #[arg(long, value_name = "IMAGE", value_parser = image)]
    image: String,
    /// Where agents reach `reachproof verify --listen`, like 10.0.1.5:7443 [default: the Service of --schedule, by its name; an
    /// address in the range of services becomes that of the Service]
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "schedule")]
    coordinator: Option<CoordinatorAddress>,
    /// An agent in the host network of each node as well, in the namespace reachproof-host; --schedule brings them, too
    #[arg(long)]
    host_network: bool,
    /// A pod on Fargate, by what a Fargate profile selects; one for each profile. The namespace must exist, unless it
    /// is reachproof
    #[arg(long, value_name = "NAMESPACE/LABEL=VALUE", num_args = 1..)]
    fargate: Vec<FargatePods>,
    /// Who vouches for the agents: the API server that reviews their projected tokens, or a token for each node, signed by
    /// the key in --credentials, for agents in the host network alone [default: reviewed with --cluster, else signed]
    #[arg(long, value_enum)]
    tokens: Option<TokensArgument>,
    /// Directory with ca.crt, ca.key and token.key, the same as for verify; made if there is none
    #[arg(long, value_name = "DIRECTORY", default_value = CREDENTIALS_DIRECTORY)]
    credentials: PathBuf,
    #[command(flatten)]
    schedule: ScheduleArguments,
}

/// Who vouches for the agents (security.md, "Identity").
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TokensArgument {
    /// The API server, which reviews the tokens that it projects into the pods
    Reviewed,
    /// The key in --credentials, which signs a token for each node
    Signed,
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
    /// Nobody knows the addresses of a pod before it starts, so no token can name them.
    #[error(
        "a pod on Fargate needs an API server that reviews its token: pass --tokens reviewed, or leave --fargate out"
    )]
    FargateSigned,
    /// No node could get a token.
    #[error(
        "the snapshot has no node with an address, so no token can be signed: add nodes, or pass --tokens reviewed"
    )]
    NoNodes,
    /// The audience of the tokens has the name of the cluster in it.
    #[error(
        "the snapshot does not name its cluster, which tokens are reviewed for: add describe-cluster, or pass --tokens signed"
    )]
    Unnamed,
    /// A run on a schedule has an API server, and this one would not ask it.
    #[error("runs on a schedule have tokens reviewed: leave --tokens signed out")]
    ScheduleSigned,
    /// The arguments behind `--` are none of `verify`.
    #[error("the arguments behind -- are none of `verify`: {0}")]
    Verify(String),
    /// The token of a node could not be signed.
    #[error("cannot sign the token of the node `{node}`")]
    Token {
        /// Name of the node.
        node: String,
        /// Cause.
        #[source]
        source: TokenError,
    },
    /// The name of a node is not one of an agent.
    #[error("the node has no usable name")]
    NodeName(#[from] InvalidAgentName),
    /// The keys could not be read or made.
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
    let Decoded { snapshot, gaps } = decode(&arguments.source.described()?, &arguments.source)?;
    gaps::tell(&folded(&gaps));
    let text = text(arguments, &snapshot, SystemTime::now())?;
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::Answered)
}

/// The whole answer, at `now`.
fn text(
    arguments: &Arguments,
    snapshot: &Snapshot,
    now: SystemTime,
) -> Result<String, ManifestsError> {
    let tokens = tokens(arguments);
    let audience = match tokens {
        TokensArgument::Reviewed => Some(audience(snapshot)?),
        TokensArgument::Signed => None,
    };
    let schedule = Schedule::of(arguments, snapshot)?;
    if schedule.is_some() && audience.is_none() {
        return Err(ManifestsError::ScheduleSigned);
    }
    let agents = agents(arguments, snapshot, audience.as_ref());
    check_tokens(arguments, tokens)?;
    check_profiles(snapshot, &agents)?;
    if snapshot.fargate_profiles().is_empty() && !arguments.fargate.is_empty() {
        eprintln!(
            "gap: the snapshot has no Fargate profile, so nothing says that one takes these pods"
        );
    }
    let policy = policy(snapshot)?;
    let credentials =
        Credentials::in_directory(&arguments.credentials, &SystemRandomness::default())?;
    let (header, tokens) = match tokens {
        TokensArgument::Reviewed => ("", None),
        TokensArgument::Signed => (HEADER_SIGNED, Some(signed(snapshot, &credentials, now)?)),
    };
    let contents = Contents {
        ca_certificate: credentials.ca_certificate,
        policy: yaml_serde::to_string(&policy)?,
        tokens,
    };
    let further = schedule.as_ref();
    let further_header = further.map(|it| it.header(&arguments.credentials));
    let mut text = format!("{HEADER}{header}{}", further_header.unwrap_or_default());
    let mut objects = objects(&agents, &contents);
    if let Some(schedule) = further {
        objects.extend(schedule.objects()?);
    }
    for object in objects {
        text.push_str("---\n");
        text.push_str(&yaml_serde::to_string(&object)?);
    }
    Ok(text)
}

/// Who vouches for the agents.
fn tokens(arguments: &Arguments) -> TokensArgument {
    arguments.tokens.unwrap_or({
        let is_scheduled = arguments.schedule.is_asked();
        if is_scheduled || arguments.source.api_server().is_some() {
            TokensArgument::Reviewed
        } else {
            TokensArgument::Signed
        }
    })
}

/// Refuses what signed tokens cannot do, and tells what they leave out.
fn check_tokens(arguments: &Arguments, tokens: TokensArgument) -> Result<(), ManifestsError> {
    match tokens {
        TokensArgument::Reviewed => Ok(()),
        TokensArgument::Signed if !arguments.fargate.is_empty() => {
            Err(ManifestsError::FargateSigned)
        }
        TokensArgument::Signed => {
            eprintln!(
                "gap: without an API server that reviews tokens there are agents in the host network only: \
                 nobody knows the addresses of a pod before it starts"
            );
            Ok(())
        }
    }
}

/// The audience of the agents' tokens.
fn audience(snapshot: &Snapshot) -> Result<Audience, ManifestsError> {
    let cluster = snapshot.cluster().map(|cluster| cluster.name.as_str());
    match cluster {
        Some(name) if !name.is_empty() => Ok(Audience::of_cluster(name)),
        Some(_) | None => Err(ManifestsError::Unnamed),
    }
}

/// A token for the agent of each EC2 node, by the name of the node.
fn signed(
    snapshot: &Snapshot,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<BTreeMap<String, String>, ManifestsError> {
    let nodes = snapshot.nodes().iter();
    let nodes = nodes.filter(|node| node.platform == Platform::Ec2 && !node.addresses.is_empty());
    let mut tokens = BTreeMap::new();
    for node in nodes {
        let holder = TokenHolder {
            name: &AgentName::try_from(node.name.as_str())?,
            kind: AgentKind::Node,
            addresses: &node.addresses,
        };
        let token = credentials.token(holder, now, TOKEN_LIFE);
        let token = token.map_err(|source| ManifestsError::Token {
            node: node.name.to_string(),
            source,
        })?;
        tokens.insert(node.name.to_string(), token);
    }
    if tokens.is_empty() {
        return Err(ManifestsError::NoNodes);
    }
    Ok(tokens)
}

/// The agents that are asked for.
fn agents(arguments: &Arguments, snapshot: &Snapshot, audience: Option<&Audience>) -> Vec<Agent> {
    let coordinator = arguments.coordinator.clone();
    let coordinator = coordinator.unwrap_or_else(service_address);
    let endpoint = snapshot.cluster().and_then(|cluster| cluster.endpoint());
    // An agent refuses any other name, and must start without.
    let endpoint = endpoint.and_then(|name| name.parse::<EndpointName>().ok());
    let agents = places(arguments, audience.is_some()).map(|place| Agent {
        place,
        image: arguments.image.clone(),
        coordinator: coordinator.clone(),
        cluster_endpoint: endpoint.clone(),
        audience: audience.cloned(),
    });
    agents.collect()
}

/// Where agents run; without reviews in the host network alone.
fn places(arguments: &Arguments, are_reviewed: bool) -> impl Iterator<Item = Place> {
    let pod = are_reviewed.then_some(Place::Pod);
    let host = arguments.host_network || arguments.schedule.is_asked() || !are_reviewed;
    let host = host.then_some(Place::Host);
    let fargate = arguments.fargate.iter().enumerate();
    let fargate = fargate.map(|(place, pods)| Place::Fargate {
        number: place + 1,
        pods: pods.clone(),
    });
    pod.into_iter().chain(host).chain(fargate)
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

/// What the agents may connect to (security.md, "What an agent may connect to"): the ranges of the snapshot's VPCs, but
/// for the range of services.
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
