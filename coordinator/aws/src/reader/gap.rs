//! What a snapshot lacks.

use std::fmt;

use crate::call::Call;

/// Something that the snapshot lacks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReadGap {
    /// A call was refused for want of a permission.
    Refused {
        /// Which call.
        call: Call,
        /// What it asked for.
        subject: String,
    },
    /// A call asked for something that is not there, or not for this account.
    NotFound {
        /// Which call.
        call: Call,
        /// What it asked for.
        subject: String,
    },
    /// The service holds back a part of a list; all of it is left out.
    Incomplete {
        /// Which call.
        call: Call,
        /// What it asked for.
        subject: String,
    },
    /// A VPC that another account shares does not show everything of this kind; all of it is left out.
    Hidden {
        /// Which call.
        call: Call,
        /// The VPC.
        vpc: String,
    },
    /// VPCs that peerings or transit gateways lead to are left out, with everything in them.
    VpcsLeftOut {
        /// Their ids, comma-separated.
        vpcs: String,
        /// Their Region.
        region: String,
        /// Why, in words.
        reason: String,
    },
}

impl fmt::Display for ReadGap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { call, subject } => write!(
                formatter,
                "{call} was refused for `{subject}`: allow it as in statement `{}` of deploy/iam-policy.json",
                call.statement()
            ),
            Self::NotFound { call, subject } => {
                write!(
                    formatter,
                    "{call} finds no `{subject}`: it is gone, or belongs to another account"
                )
            }
            Self::Incomplete { call, subject } => {
                write!(
                    formatter,
                    "{call} gives only a part of `{subject}`, which is therefore left out"
                )
            }
            Self::Hidden { call, vpc } => {
                write!(
                    formatter,
                    "{call} does not show everything of `{vpc}`, which belongs to another account: what it shows is left \
                     out, read the cluster from the owner's account to have it judged"
                )
            }
            Self::VpcsLeftOut {
                vpcs,
                region,
                reason,
            } => {
                write!(
                    formatter,
                    "`{vpcs}` in `{region}` and what is in it is left out: {reason}"
                )
            }
        }
    }
}
