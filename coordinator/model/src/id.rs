//! Identifiers, as the APIs write them.
//!
//! Every identifier is text that nobody but its owner interprets: it is compared and printed, never taken apart.
//! Cloning is cheap. Text from a snapshot is somebody else's: whoever prints an identifier for people strips control
//! characters (see [`crate::net::Printable`]).

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! identifier {
    ($($(#[doc = $doc:expr])+ $name:ident;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Borrows the text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Arc::from(text))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Arc::from(text))
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, formatter)
            }
        }
    )+};
}

identifier! {
    /// Id of an AWS account: twelve digits, or the stand-in of a redacted snapshot.
    AccountId;
    /// Id of a VPC (`vpc-…`).
    VpcId;
    /// Id of a subnet (`subnet-…`).
    SubnetId;
    /// Id of a network interface (`eni-…`).
    NetworkInterfaceId;
    /// Id of an EC2 instance (`i-…`).
    InstanceId;
    /// Id of a security group (`sg-…`).
    SecurityGroupId;
    /// Name of one security group rule: `sgr-…`, or `sg-ID.in[i]` and `sg-ID.out[i]` where the snapshot has no rule
    /// ids, or the id of a group whose rules are not in the snapshot (K.1 "Naming rules").
    RuleId;
    /// Id of a network ACL (`acl-…`).
    NetworkAclId;
    /// Id of a route table (`rtb-…`).
    RouteTableId;
    /// Id of a managed prefix list (`pl-…`).
    PrefixListId;
    /// Id of a VPC peering connection (`pcx-…`).
    PeeringId;
    /// Id of a transit gateway (`tgw-…`).
    TransitGatewayId;
    /// Id of a transit gateway attachment (`tgw-attach-…`).
    AttachmentId;
    /// Id of a transit gateway route table (`tgw-rtb-…`).
    TransitGatewayRouteTableId;
    /// Name of a Kubernetes node.
    NodeName;
    /// Name of an availability zone (`us-east-1a`).
    ZoneName;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_padded_like_text() {
        assert_eq!(format!("[{:<8}]", VpcId::from("vpc-1")), "[vpc-1   ]");
    }

    #[test]
    fn identifiers_serialise_as_plain_text() {
        assert_eq!(
            serde_json::to_string(&VpcId::from("vpc-1")).ok(),
            Some("\"vpc-1\"".to_owned())
        );
    }
}
