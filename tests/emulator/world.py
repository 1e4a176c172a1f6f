"""Builds the cluster `demo` in an emulator of EC2 and EKS.

    world.py ENDPOINT
"""

import sys

import boto3
from botocore.config import Config

ZONES = ["eu-central-1a", "eu-central-1b", "eu-central-1a", "eu-central-1b"]

settings = {
    "endpoint_url": sys.argv[1],
    "region_name": "eu-central-1",
    "aws_access_key_id": "testing",
    "aws_secret_access_key": "testing",
    "config": Config(retries={"max_attempts": 1}, connect_timeout=5, read_timeout=60),
}
ec2, eks, iam = (boto3.client(service, **settings) for service in ("ec2", "eks", "iam"))


def group(name, vpc):
    return ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"]


def allow(group_id, protocol, first, last, **peers):
    permission = {"IpProtocol": protocol, "FromPort": first, "ToPort": last, **peers}
    ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=[permission])


def interface(subnet, groups, description, **settings):
    created = ec2.create_network_interface(SubnetId=subnet, Groups=groups, Description=description, **settings)
    return created["NetworkInterface"]["NetworkInterfaceId"]


# A VPC with a second CIDR and four subnets.
vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="100.64.0.0/16")
subnets = [
    ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"]
    for number, zone in enumerate(ZONES)
]

# Groups with every kind of peer.
additional, node = group("demo-additional", vpc), group("demo-node", vpc)
entries = [{"Cidr": "192.168.0.0/16", "Description": "office"}, {"Cidr": "172.16.0.0/12"}]
prefix_list = ec2.create_managed_prefix_list(
    PrefixListName="corp", MaxEntries=10, AddressFamily="IPv4", Entries=entries
)["PrefixList"]["PrefixListId"]
allow(node, "tcp", 10250, 10250, UserIdGroupPairs=[{"GroupId": additional, "Description": "kubelet"}])
allow(additional, "tcp", 443, 443, PrefixListIds=[{"PrefixListId": prefix_list}])
allow(additional, "58", -1, -1, Ipv6Ranges=[{"CidrIpv6": "::/0"}])

# A network ACL, routes to the internet, to a peered VPC and to a prefix list, a transit gateway.
ec2.create_network_acl(VpcId=vpc)
table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
ec2.attach_internet_gateway(VpcId=vpc, InternetGatewayId=gateway)
ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
ec2.associate_route_table(RouteTableId=table, SubnetId=subnets[0])
far = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
requested = ec2.create_vpc_peering_connection(VpcId=vpc, PeerVpcId=far)
peering = requested["VpcPeeringConnection"]["VpcPeeringConnectionId"]
ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=peering)
ec2.create_route(RouteTableId=table, DestinationCidrBlock="10.9.0.0/16", VpcPeeringConnectionId=peering)
ec2.create_route(RouteTableId=table, DestinationPrefixListId=prefix_list, VpcPeeringConnectionId=peering)
referencing = {"SecurityGroupReferencingSupport": "enable"}
transit = ec2.create_transit_gateway(Description="hub", Options=referencing)["TransitGateway"]["TransitGatewayId"]
ec2.create_transit_gateway_vpc_attachment(
    TransitGatewayId=transit, VpcId=vpc, SubnetIds=subnets[:2], Options=referencing
)

# The cluster with a node group and a Fargate profile.
role = iam.create_role(RoleName="demo", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
config = {
    "subnetIds": subnets[:2],
    "securityGroupIds": [additional],
    "endpointPublicAccess": True,
    "endpointPrivateAccess": True,
    "publicAccessCidrs": ["203.0.113.0/24"],
}
cluster = eks.create_cluster(name="demo", roleArn=role, version="1.33", resourcesVpcConfig=config)["cluster"]
own = cluster["resourcesVpcConfig"]["clusterSecurityGroupId"]
scaling = {"minSize": 1, "maxSize": 2, "desiredSize": 2}
eks.create_nodegroup(
    clusterName="demo", nodegroupName="ng", subnets=subnets[:2], nodeRole=role, scalingConfig=scaling
)
eks.create_fargate_profile(
    clusterName="demo",
    fargateProfileName="fp",
    podExecutionRoleArn=role,
    subnets=subnets[2:],
    selectors=[{"namespace": "fp", "labels": {"a": "b"}}],
)

# Nine interfaces: two of the control plane, two instances with two each, one with a prefix, two of Fargate.
for number in (0, 1):
    interface(subnets[number], [own, additional], "Amazon EKS demo", PrivateIpAddress=f"10.0.{number}.50")
instances = ec2.run_instances(
    ImageId="ami-12345678",
    MinCount=2,
    MaxCount=2,
    InstanceType="m5.large",
    SubnetId=subnets[0],
    SecurityGroupIds=[own, node],
)["Instances"]
secondary = []
for number, instance in enumerate(instances):
    first = 100 + 20 * number
    addresses = [{"PrivateIpAddress": f"10.0.0.{first + step}", "Primary": step == 0} for step in range(5)]
    created = interface(subnets[0], [own, node], "aws-K8S-" + instance["InstanceId"], PrivateIpAddresses=addresses)
    ec2.attach_network_interface(NetworkInterfaceId=created, InstanceId=instance["InstanceId"], DeviceIndex=1)
    secondary.append(created)
ec2.assign_private_ip_addresses(
    NetworkInterfaceId=secondary[0], PrivateIpAddresses=["10.0.0.200", "10.0.0.201"]
)
ec2.assign_private_ip_addresses(NetworkInterfaceId=secondary[1], Ipv4Prefixes=["10.0.0.240/28"])
interface(subnets[1], [own], "prefixes", Ipv4Prefixes=[{"Ipv4Prefix": "10.0.1.64/28"}])
for number in (2, 3):
    interface(subnets[number], [own], "fargate-0a1b")
ec2.modify_network_interface_attribute(NetworkInterfaceId=secondary[0], SourceDestCheck={"Value": False})
