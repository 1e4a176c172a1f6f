//! The calls that reachproof makes, each with what belongs to it.

use std::fmt;

/// Page size of the second reading of a list whose items no other answer names. A prime: its pages end elsewhere than those
/// of the first, so that a list without its last page is another one each time.
pub(crate) const SECOND_PAGE_SIZE: i32 = 97;

/// What follows when an answer cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Necessity {
    /// There is no snapshot without it (ARCHITECTURE, "Snapshot").
    Essential,
    /// Its absence is a gap, which makes the flows that it touches unknown.
    Optional,
}

/// What belongs to a call.
struct Row {
    action: &'static str,
    stem: Option<&'static str>,
    page_size: Option<i32>,
    necessity: Necessity,
    list: Option<(&'static str, &'static [&'static str])>,
}

/// Makes the calls out of one table: variant, action, stem, largest page, necessity, and of a list its key in the file with the
/// keys of an item's id.
macro_rules! calls {
    ($($variant:ident: $action:literal, $stem:expr, $page_size:expr, $necessity:ident, $list:expr;)+) => {
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
            $(#[doc = concat!("`", $action, "`.")] $variant,)+
        }

        impl Call {
            /// Every action, in the order in which a reading first needs it.
            pub const ALL: [Self; [$($action),+].len()] = [$(Self::$variant),+];

            fn row(self) -> Row {
                match self {
                    $(Self::$variant => Row {
                        action: $action,
                        stem: $stem,
                        page_size: $page_size,
                        necessity: Necessity::$necessity,
                        list: $list,
                    },)+
                }
            }
        }
    };
}

calls! {
    Cluster: "eks:DescribeCluster", Some("describe-cluster"), None, Essential, None;
    NodegroupNames: "eks:ListNodegroups", None, Some(100), Optional, None;
    Nodegroup: "eks:DescribeNodegroup", Some("describe-nodegroup"), None, Optional, None;
    FargateProfileNames: "eks:ListFargateProfiles", None, Some(100), Optional, None;
    FargateProfile: "eks:DescribeFargateProfile", Some("describe-fargate-profile"), None, Optional, None;
    Vpcs: "ec2:DescribeVpcs", Some("describe-vpcs"), Some(1000), Essential, Some(("Vpcs", &["VpcId"]));
    Subnets: "ec2:DescribeSubnets", Some("describe-subnets"), Some(1000), Essential, Some(("Subnets", &["SubnetId"]));
    NetworkInterfaces: "ec2:DescribeNetworkInterfaces", Some("describe-network-interfaces"), Some(1000), Essential,
        Some(("NetworkInterfaces", &["NetworkInterfaceId"]));
    SecurityGroups: "ec2:DescribeSecurityGroups", Some("describe-security-groups"), Some(1000), Essential,
        Some(("SecurityGroups", &["GroupId"]));
    RouteTables: "ec2:DescribeRouteTables", Some("describe-route-tables"), Some(100), Essential,
        Some(("RouteTables", &["RouteTableId"]));
    NetworkAcls: "ec2:DescribeNetworkAcls", Some("describe-network-acls"), Some(1000), Essential,
        Some(("NetworkAcls", &["NetworkAclId"]));
    Instances: "ec2:DescribeInstances", Some("describe-instances"), Some(1000), Optional,
        Some(("Reservations", &["ReservationId"]));
    SecurityGroupRules: "ec2:DescribeSecurityGroupRules", Some("describe-security-group-rules"), Some(1000), Optional,
        Some(("SecurityGroupRules", &["SecurityGroupRuleId"]));
    StaleSecurityGroups: "ec2:DescribeStaleSecurityGroups", Some("describe-stale-security-groups"), Some(255), Optional,
        Some(("StaleSecurityGroupSet", &["GroupId", "VpcId"]));
    SecurityGroupVpcAssociations: "ec2:DescribeSecurityGroupVpcAssociations", Some("describe-security-group-vpc-associations"), Some(1000), Optional,
        Some(("SecurityGroupVpcAssociations", &["GroupId", "VpcId"]));
    VpcPeeringConnections: "ec2:DescribeVpcPeeringConnections", Some("describe-vpc-peering-connections"), Some(1000), Optional,
        Some(("VpcPeeringConnections", &["VpcPeeringConnectionId"]));
    ManagedPrefixLists: "ec2:DescribeManagedPrefixLists", Some("describe-managed-prefix-lists"), Some(100), Optional,
        Some(("PrefixLists", &["PrefixListId"]));
    ManagedPrefixListEntries: "ec2:GetManagedPrefixListEntries", Some("get-managed-prefix-list-entries"), Some(100), Optional, None;
    TransitGateways: "ec2:DescribeTransitGateways", Some("describe-transit-gateways"), Some(1000), Optional,
        Some(("TransitGateways", &["TransitGatewayId"]));
    TransitGatewayVpcAttachments: "ec2:DescribeTransitGatewayVpcAttachments", Some("describe-transit-gateway-vpc-attachments"), Some(1000), Optional,
        Some(("TransitGatewayVpcAttachments", &["TransitGatewayAttachmentId"]));
    TransitGatewayRouteTables: "ec2:DescribeTransitGatewayRouteTables", Some("describe-transit-gateway-route-tables"), Some(1000), Optional,
        Some(("TransitGatewayRouteTables", &["TransitGatewayRouteTableId"]));
    TransitGatewayRoutes: "ec2:SearchTransitGatewayRoutes", Some("search-transit-gateway-routes"), Some(1000), Optional, None;
    DhcpOptions: "ec2:DescribeDhcpOptions", Some("describe-dhcp-options"), Some(1000), Optional,
        Some(("DhcpOptions", &["DhcpOptionsId"]));
    VpcAttribute: "ec2:DescribeVpcAttribute", Some("describe-vpc-attribute"), None, Optional, None;
}

impl Call {
    /// The action as an IAM policy spells it, such as `ec2:DescribeSubnets`.
    pub fn action(self) -> &'static str {
        self.row().action
    }

    /// Whether it is a call of EKS; the others are of EC2.
    pub(crate) fn is_of_eks(self) -> bool {
        self.action().starts_with("eks:")
    }

    /// The `Sid` of the statement in `deploy/iam-policy.json` that allows the action.
    pub fn statement(self) -> &'static str {
        if self.is_of_eks() {
            "ReachproofReadCluster"
        } else {
            "ReachproofReadNetwork"
        }
    }

    /// The stem of the snapshot's files that the answer fills; the CLI command of the same name prints their shape.
    ///
    /// Absent for the two lists of names, which only say what to ask next.
    pub fn stem(self) -> Option<&'static str> {
        self.row().stem
    }

    /// The largest page that the API allows, in items; `None` for calls without pages [H.1].
    ///
    /// `DescribeInstances` has no bound in the model of the API; 1000 is documented elsewhere.
    pub(crate) fn page_size(self) -> Option<i32> {
        self.row().page_size
    }

    /// The key of the list in its file, and the keys that make up an item's id; `None` for calls that are no lists.
    pub(crate) fn list(self) -> Option<(&'static str, &'static [&'static str])> {
        self.row().list
    }

    /// Whether a snapshot can do without the answer (ARCHITECTURE, "Snapshot").
    ///
    /// The cluster is essential here, though a snapshot made by hand may lack it: a reading starts from its name.
    pub fn necessity(self) -> Necessity {
        self.row().necessity
    }
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.action())
    }
}
