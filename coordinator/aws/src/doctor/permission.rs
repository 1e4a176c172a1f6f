//! Tries one action at a time.

use aws_sdk_ec2::types::VpcAttributeName;

use crate::call::Call;
use crate::connection::Connection;
use crate::ec2::filter;
use crate::eks::Eks;
use crate::error::Failure;

/// A name that no node group and no Fargate profile has.
const NAME: &str = "reachproof-doctor";

/// An id in the form of EC2 that belongs to nothing; a dry run does not look for it.
const NONE: &str = "00000000000000000";

/// The error code of a dry run that would have been allowed \[EC2M\].
const ALLOWED: &str = "DryRunOperation";

/// Asks one operation of EC2 for a dry run.
macro_rules! dry_run {
    ($client:expr, $operation:ident $(, $setter:ident($value:expr))*) => {
        Box::pin($client.$operation().dry_run(true)$(.$setter($value))*.send()).await.map(drop).map_err(Failure::of)
    };
}

/// Tries `call`; `Ok` and [`Failure::NotFound`] both show that it is allowed.
pub(super) async fn try_call(
    call: Call,
    connection: &Connection,
    eks: &Eks<'_>,
    vpc: Option<&str>,
) -> Result<(), Failure> {
    let outcome = match call {
        Call::Cluster => eks.cluster().await.map(drop).map_err(|error| error.failure),
        Call::NodegroupNames => eks
            .nodegroup_names()
            .await
            .map(drop)
            .map_err(|error| error.failure),
        Call::Nodegroup => eks
            .nodegroup(NAME)
            .await
            .map(drop)
            .map_err(|error| error.failure),
        Call::FargateProfileNames => eks
            .fargate_profile_names()
            .await
            .map(drop)
            .map_err(|error| error.failure),
        Call::FargateProfile => eks
            .fargate_profile(NAME)
            .await
            .map(drop)
            .map_err(|error| error.failure),
        Call::Vpcs
        | Call::Subnets
        | Call::NetworkInterfaces
        | Call::SecurityGroups
        | Call::RouteTables
        | Call::NetworkAcls
        | Call::Instances
        | Call::SecurityGroupRules
        | Call::StaleSecurityGroups
        | Call::SecurityGroupVpcAssociations
        | Call::VpcPeeringConnections
        | Call::ManagedPrefixLists
        | Call::ManagedPrefixListEntries
        | Call::TransitGateways
        | Call::TransitGatewayVpcAttachments
        | Call::TransitGatewayRouteTables
        | Call::TransitGatewayRoutes
        | Call::DhcpOptions
        | Call::VpcAttribute => dry_run(call, connection, vpc).await,
    };
    match outcome {
        Err(Failure::Refused { source }) if source.code() == Some(ALLOWED) => Ok(()),
        outcome => outcome,
    }
}

async fn dry_run(call: Call, connection: &Connection, vpc: Option<&str>) -> Result<(), Failure> {
    let ec2 = connection.ec2(connection.region());
    let vpc = vpc.map_or_else(|| format!("vpc-{NONE}"), str::to_owned);
    let table = format!("tgw-rtb-{NONE}");
    let within = filter("vpc-id", &[&vpc]);
    let active = filter("state", &["active"]);
    match call {
        Call::Vpcs => dry_run!(ec2, describe_vpcs),
        Call::Subnets => dry_run!(ec2, describe_subnets),
        Call::NetworkInterfaces => dry_run!(ec2, describe_network_interfaces, filters(within)),
        Call::SecurityGroups => dry_run!(ec2, describe_security_groups),
        Call::RouteTables => dry_run!(ec2, describe_route_tables),
        Call::NetworkAcls => dry_run!(ec2, describe_network_acls),
        Call::Instances => dry_run!(ec2, describe_instances),
        Call::SecurityGroupRules => dry_run!(ec2, describe_security_group_rules),
        Call::StaleSecurityGroups => dry_run!(ec2, describe_stale_security_groups, vpc_id(vpc)),
        Call::SecurityGroupVpcAssociations => {
            dry_run!(ec2, describe_security_group_vpc_associations)
        }
        Call::VpcPeeringConnections => dry_run!(ec2, describe_vpc_peering_connections),
        Call::ManagedPrefixLists => dry_run!(ec2, describe_managed_prefix_lists),
        Call::ManagedPrefixListEntries => {
            dry_run!(
                ec2,
                get_managed_prefix_list_entries,
                prefix_list_id(format!("pl-{NONE}"))
            )
        }
        Call::TransitGateways => dry_run!(ec2, describe_transit_gateways),
        Call::TransitGatewayVpcAttachments => {
            dry_run!(ec2, describe_transit_gateway_vpc_attachments)
        }
        Call::TransitGatewayRouteTables => dry_run!(ec2, describe_transit_gateway_route_tables),
        Call::TransitGatewayRoutes => {
            dry_run!(
                ec2,
                search_transit_gateway_routes,
                transit_gateway_route_table_id(table),
                filters(active)
            )
        }
        Call::DhcpOptions => dry_run!(ec2, describe_dhcp_options),
        Call::VpcAttribute => {
            dry_run!(
                ec2,
                describe_vpc_attribute,
                vpc_id(vpc),
                attribute(VpcAttributeName::EnableDnsSupport)
            )
        }
        // Actions of EKS have no dry run; they are tried by calling.
        Call::Cluster
        | Call::NodegroupNames
        | Call::Nodegroup
        | Call::FargateProfileNames
        | Call::FargateProfile => Ok(()),
    }
}
