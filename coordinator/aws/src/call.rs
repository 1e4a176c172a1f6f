//! The calls that reachproof makes, each with what belongs to it.

use std::fmt;

/// One action of the AWS APIs that the reader uses; there are no others.
///
/// The list is the permission that reachproof needs: `deploy/iam-policy.json` names exactly these actions and a test
/// compares it with the calls that arrive at a server.
///
/// `GetManagedResourceVisibility` and `GetSecurityGroupsForVpc` are absent on purpose: managed resources are asked for
/// in every call that can hide them, and groups seen on interfaces are fetched by id.
///
/// Source: EC2M, EKSM (H.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// `eks:DescribeCluster`.
    Cluster,
    /// `eks:ListNodegroups`.
    NodegroupNames,
    /// `eks:DescribeNodegroup`.
    Nodegroup,
    /// `eks:ListFargateProfiles`.
    FargateProfileNames,
    /// `eks:DescribeFargateProfile`.
    FargateProfile,
    /// `ec2:DescribeVpcs`.
    Vpcs,
    /// `ec2:DescribeSubnets`.
    Subnets,
    /// `ec2:DescribeNetworkInterfaces`.
    NetworkInterfaces,
    /// `ec2:DescribeSecurityGroups`.
    SecurityGroups,
    /// `ec2:DescribeRouteTables`.
    RouteTables,
    /// `ec2:DescribeNetworkAcls`.
    NetworkAcls,
    /// `ec2:DescribeInstances`.
    Instances,
    /// `ec2:DescribeSecurityGroupRules`.
    SecurityGroupRules,
    /// `ec2:DescribeStaleSecurityGroups`.
    StaleSecurityGroups,
    /// `ec2:DescribeSecurityGroupVpcAssociations`.
    SecurityGroupVpcAssociations,
    /// `ec2:DescribeVpcPeeringConnections`.
    VpcPeeringConnections,
    /// `ec2:DescribeManagedPrefixLists`.
    ManagedPrefixLists,
    /// `ec2:GetManagedPrefixListEntries`.
    ManagedPrefixListEntries,
    /// `ec2:DescribeTransitGateways`.
    TransitGateways,
    /// `ec2:DescribeTransitGatewayVpcAttachments`.
    TransitGatewayVpcAttachments,
    /// `ec2:DescribeTransitGatewayRouteTables`.
    TransitGatewayRouteTables,
    /// `ec2:SearchTransitGatewayRoutes`.
    TransitGatewayRoutes,
    /// `ec2:DescribeDhcpOptions`.
    DhcpOptions,
    /// `ec2:DescribeVpcAttribute`.
    VpcAttribute,
}

/// Page size of the second reading of a list whose items no other answer names. A prime: its pages end elsewhere than those
/// of the first, so that a list without its last page is another one each time.
pub(crate) const SECOND_PAGE_SIZE: i32 = 97;

/// What follows when an answer cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Necessity {
    /// There is no snapshot without it (DESIGN 5, required files).
    Essential,
    /// Its absence is a gap, which makes the flows that it touches unknown.
    Optional,
}

impl Call {
    /// Every action, in the order in which a reading first needs it.
    pub const ALL: [Self; 24] = [
        Self::Cluster,
        Self::NodegroupNames,
        Self::Nodegroup,
        Self::FargateProfileNames,
        Self::FargateProfile,
        Self::Vpcs,
        Self::Subnets,
        Self::NetworkInterfaces,
        Self::SecurityGroups,
        Self::RouteTables,
        Self::NetworkAcls,
        Self::Instances,
        Self::SecurityGroupRules,
        Self::StaleSecurityGroups,
        Self::SecurityGroupVpcAssociations,
        Self::VpcPeeringConnections,
        Self::ManagedPrefixLists,
        Self::ManagedPrefixListEntries,
        Self::TransitGateways,
        Self::TransitGatewayVpcAttachments,
        Self::TransitGatewayRouteTables,
        Self::TransitGatewayRoutes,
        Self::DhcpOptions,
        Self::VpcAttribute,
    ];

    /// The action as an IAM policy spells it, such as `ec2:DescribeSubnets`.
    pub fn action(self) -> &'static str {
        match self {
            Self::Cluster => "eks:DescribeCluster",
            Self::NodegroupNames => "eks:ListNodegroups",
            Self::Nodegroup => "eks:DescribeNodegroup",
            Self::FargateProfileNames => "eks:ListFargateProfiles",
            Self::FargateProfile => "eks:DescribeFargateProfile",
            Self::Vpcs => "ec2:DescribeVpcs",
            Self::Subnets => "ec2:DescribeSubnets",
            Self::NetworkInterfaces => "ec2:DescribeNetworkInterfaces",
            Self::SecurityGroups => "ec2:DescribeSecurityGroups",
            Self::RouteTables => "ec2:DescribeRouteTables",
            Self::NetworkAcls => "ec2:DescribeNetworkAcls",
            Self::Instances => "ec2:DescribeInstances",
            Self::SecurityGroupRules => "ec2:DescribeSecurityGroupRules",
            Self::StaleSecurityGroups => "ec2:DescribeStaleSecurityGroups",
            Self::SecurityGroupVpcAssociations => "ec2:DescribeSecurityGroupVpcAssociations",
            Self::VpcPeeringConnections => "ec2:DescribeVpcPeeringConnections",
            Self::ManagedPrefixLists => "ec2:DescribeManagedPrefixLists",
            Self::ManagedPrefixListEntries => "ec2:GetManagedPrefixListEntries",
            Self::TransitGateways => "ec2:DescribeTransitGateways",
            Self::TransitGatewayVpcAttachments => "ec2:DescribeTransitGatewayVpcAttachments",
            Self::TransitGatewayRouteTables => "ec2:DescribeTransitGatewayRouteTables",
            Self::TransitGatewayRoutes => "ec2:SearchTransitGatewayRoutes",
            Self::DhcpOptions => "ec2:DescribeDhcpOptions",
            Self::VpcAttribute => "ec2:DescribeVpcAttribute",
        }
    }

    /// The `Sid` of the statement in `deploy/iam-policy.json` that allows the action.
    pub fn statement(self) -> &'static str {
        match self {
            Self::Cluster
            | Self::NodegroupNames
            | Self::Nodegroup
            | Self::FargateProfileNames
            | Self::FargateProfile => "ReachproofReadCluster",
            Self::Vpcs
            | Self::Subnets
            | Self::NetworkInterfaces
            | Self::SecurityGroups
            | Self::RouteTables
            | Self::NetworkAcls
            | Self::Instances
            | Self::SecurityGroupRules
            | Self::StaleSecurityGroups
            | Self::SecurityGroupVpcAssociations
            | Self::VpcPeeringConnections
            | Self::ManagedPrefixLists
            | Self::ManagedPrefixListEntries
            | Self::TransitGateways
            | Self::TransitGatewayVpcAttachments
            | Self::TransitGatewayRouteTables
            | Self::TransitGatewayRoutes
            | Self::DhcpOptions
            | Self::VpcAttribute => "ReachproofReadNetwork",
        }
    }

    /// The stem of the snapshot's files that the answer fills; the CLI command of the same name prints their shape.
    ///
    /// Absent for the two lists of names, which only say what to ask next.
    pub fn stem(self) -> Option<&'static str> {
        let command = match self {
            Self::Cluster => "describe-cluster",
            Self::NodegroupNames | Self::FargateProfileNames => return None,
            Self::Nodegroup => "describe-nodegroup",
            Self::FargateProfile => "describe-fargate-profile",
            Self::Vpcs => "describe-vpcs",
            Self::Subnets => "describe-subnets",
            Self::NetworkInterfaces => "describe-network-interfaces",
            Self::SecurityGroups => "describe-security-groups",
            Self::RouteTables => "describe-route-tables",
            Self::NetworkAcls => "describe-network-acls",
            Self::Instances => "describe-instances",
            Self::SecurityGroupRules => "describe-security-group-rules",
            Self::StaleSecurityGroups => "describe-stale-security-groups",
            Self::SecurityGroupVpcAssociations => "describe-security-group-vpc-associations",
            Self::VpcPeeringConnections => "describe-vpc-peering-connections",
            Self::ManagedPrefixLists => "describe-managed-prefix-lists",
            Self::ManagedPrefixListEntries => "get-managed-prefix-list-entries",
            Self::TransitGateways => "describe-transit-gateways",
            Self::TransitGatewayVpcAttachments => "describe-transit-gateway-vpc-attachments",
            Self::TransitGatewayRouteTables => "describe-transit-gateway-route-tables",
            Self::TransitGatewayRoutes => "search-transit-gateway-routes",
            Self::DhcpOptions => "describe-dhcp-options",
            Self::VpcAttribute => "describe-vpc-attribute",
        };
        Some(command)
    }

    /// The largest page that the API allows, in items; `None` for calls without pages [H.1].
    ///
    /// `DescribeInstances` has no bound in the model of the API; 1000 is documented elsewhere.
    pub(crate) fn page_size(self) -> Option<i32> {
        match self {
            Self::Cluster | Self::Nodegroup | Self::FargateProfile | Self::VpcAttribute => None,
            Self::RouteTables
            | Self::ManagedPrefixLists
            | Self::ManagedPrefixListEntries
            | Self::NodegroupNames
            | Self::FargateProfileNames => Some(100),
            Self::StaleSecurityGroups => Some(255),
            Self::Vpcs
            | Self::Subnets
            | Self::NetworkInterfaces
            | Self::SecurityGroups
            | Self::NetworkAcls
            | Self::Instances
            | Self::SecurityGroupRules
            | Self::SecurityGroupVpcAssociations
            | Self::VpcPeeringConnections
            | Self::TransitGateways
            | Self::TransitGatewayVpcAttachments
            | Self::TransitGatewayRouteTables
            | Self::TransitGatewayRoutes
            | Self::DhcpOptions => Some(1000),
        }
    }

    /// Whether a snapshot can do without the answer (DESIGN 5).
    ///
    /// The cluster is essential here, though a snapshot made by hand may lack it: a reading starts from its name.
    pub fn necessity(self) -> Necessity {
        match self {
            Self::Cluster
            | Self::Vpcs
            | Self::Subnets
            | Self::NetworkInterfaces
            | Self::SecurityGroups
            | Self::RouteTables
            | Self::NetworkAcls => Necessity::Essential,
            Self::NodegroupNames
            | Self::Nodegroup
            | Self::FargateProfileNames
            | Self::FargateProfile
            | Self::Instances
            | Self::SecurityGroupRules
            | Self::StaleSecurityGroups
            | Self::SecurityGroupVpcAssociations
            | Self::VpcPeeringConnections
            | Self::ManagedPrefixLists
            | Self::ManagedPrefixListEntries
            | Self::TransitGateways
            | Self::TransitGatewayVpcAttachments
            | Self::TransitGatewayRouteTables
            | Self::TransitGatewayRoutes
            | Self::DhcpOptions
            | Self::VpcAttribute => Necessity::Optional,
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.action())
    }
}
