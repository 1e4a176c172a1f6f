//! What makes and holds an interface on behalf of its account, by the words that AWS writes into descriptions.

use std::fmt;

use super::{InterfaceType, NetworkInterface};

/// A service that makes interfaces in somebody's VPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Manager {
    /// An application, network or classic load balancer.
    LoadBalancer,
    /// A database of RDS.
    Rds,
    /// A function of Lambda.
    Lambda,
    /// A pod on Fargate.
    FargatePod,
    /// A task of ECS.
    EcsTask,
    /// A NAT gateway.
    NatGateway,
    /// An interface endpoint.
    Endpoint,
    /// A mount target of EFS.
    Efs,
    /// A transit gateway attachment.
    TransitGateway,
}

/// Starts of descriptions. INFERRED from recorded answers of `describe-network-interfaces`: AWS promises none of them;
/// that command, sorted by description, settles it for an account.
const DESCRIPTIONS: [(&str, Manager); 10] = [
    ("ELB ", Manager::LoadBalancer),
    ("RDSNetworkInterface", Manager::Rds),
    ("AWS Lambda VPC ENI", Manager::Lambda),
    ("aws-k8s-fargate", Manager::FargatePod),
    ("fargate", Manager::FargatePod),
    ("Interface for NAT Gateway", Manager::NatGateway),
    ("VPC Endpoint Interface", Manager::Endpoint),
    ("EFS mount target", Manager::Efs),
    (
        "Network Interface for Transit Gateway",
        Manager::TransitGateway,
    ),
    ("arn:aws:ecs", Manager::EcsTask),
];

/// Kinds of interfaces as the API names them \[EC2, `InterfaceType`\].
const KINDS: [(&str, Manager); 7] = [
    ("nat_gateway", Manager::NatGateway),
    ("regional_nat_gateway", Manager::NatGateway),
    ("network_load_balancer", Manager::LoadBalancer),
    ("gateway_load_balancer", Manager::LoadBalancer),
    ("lambda", Manager::Lambda),
    ("vpc_endpoint", Manager::Endpoint),
    ("transit_gateway", Manager::TransitGateway),
];

impl fmt::Display for Manager {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::LoadBalancer => "load balancer",
            Self::Rds => "RDS",
            Self::Lambda => "Lambda",
            Self::FargatePod => "Fargate pod",
            Self::EcsTask => "ECS task",
            Self::NatGateway => "NAT gateway",
            Self::Endpoint => "interface endpoint",
            Self::Efs => "EFS mount target",
            Self::TransitGateway => "transit gateway attachment",
        })
    }
}

impl NetworkInterface {
    /// Returns what holds the interface, where its kind or description says that a service of AWS does.
    #[must_use]
    pub fn manager(&self) -> Option<Manager> {
        let kind = match &self.interface_type {
            InterfaceType::Other(word) => KINDS.iter().find(|(name, _)| name == word),
            InterfaceType::Interface | InterfaceType::Trunk | InterfaceType::Branch => None,
        };
        let described = DESCRIPTIONS
            .iter()
            .find(|(start, _)| self.description.starts_with(start));
        kind.or(described).map(|(_, manager)| *manager)
    }
}
