//! How the cluster and the VPC CNI are set.

use serde_json::Value;

use super::super::members::NO_CLUSTER;
use super::super::{Look, World};
use crate::snapshot::EnforcingMode;

/// A setting that must be so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingCheck {
    /// Its name, one of [`SETTINGS`].
    pub name: &'static str,
    /// What it must be.
    pub wanted: SettingValue,
}

/// What a setting must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingValue {
    /// There, and neither empty nor null.
    Present,
    /// One of these words.
    OneOf(Vec<String>),
}

/// Where the VPC CNI's settings stand in place of an answer.
const CNI: &str = "aws-node";

/// A setting: where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its name in claims.
    pub name: &'static str,
    /// The answer.
    stem: &'static str,
    /// The place in it, as a JSON pointer.
    place: &'static str,
    /// What it is where the answer does not say; absent where nobody says that.
    default: Option<&'static str>,
}

const fn setting(
    name: &'static str,
    stem: &'static str,
    place: &'static str,
    default: Option<&'static str>,
) -> Setting {
    Setting {
        name,
        stem,
        place,
        default,
    }
}

/// Settings that claims may name (D.5 to D.7; of the VPC CNI: E.4).
pub const SETTINGS: [Setting; 12] = [
    setting("version", CLUSTER, "/cluster/version", None),
    setting(
        "additional groups",
        CLUSTER,
        "/cluster/resourcesVpcConfig/securityGroupIds",
        None,
    ),
    setting(
        "private endpoint",
        CLUSTER,
        "/cluster/resourcesVpcConfig/endpointPrivateAccess",
        Some("false"),
    ),
    setting(
        "public endpoint",
        CLUSTER,
        "/cluster/resourcesVpcConfig/endpointPublicAccess",
        Some("true"),
    ),
    setting(
        "public access networks",
        CLUSTER,
        "/cluster/resourcesVpcConfig/publicAccessCidrs",
        None,
    ),
    setting(
        "control plane egress",
        CLUSTER,
        "/cluster/resourcesVpcConfig/controlPlaneEgressMode",
        Some("AWS_MANAGED"),
    ),
    setting(
        "IP family",
        CLUSTER,
        "/cluster/kubernetesNetworkConfig/ipFamily",
        Some("ipv4"),
    ),
    setting(
        "remote node networks",
        CLUSTER,
        "/cluster/remoteNetworkConfig/remoteNodeNetworks",
        None,
    ),
    setting(
        "DNS support",
        "describe-vpc-attribute",
        "/EnableDnsSupport/Value",
        None,
    ),
    setting(
        "DNS host names",
        "describe-vpc-attribute",
        "/EnableDnsHostnames/Value",
        None,
    ),
    setting("pod group enforcing mode", CNI, "", None),
    setting(
        "transit gateway references",
        "describe-transit-gateways",
        "/TransitGateways/0/Options/SecurityGroupReferencingSupport",
        None,
    ),
];

const CLUSTER: &str = "describe-cluster";

impl SettingCheck {
    /// Looks the setting up.
    pub(super) fn look(&self, world: &World<'_>) -> Look {
        let found = match self.value(world) {
            Ok(found) => found,
            Err(why) => return Look::unsure(why),
        };
        let name = self.name;
        match (&self.wanted, found) {
            (SettingValue::Present, None) => Look::sure(false, format!("{name}: none")),
            (SettingValue::Present, Some(text)) => Look::sure(true, format!("{name}: {text}")),
            (SettingValue::OneOf(_), None) => Look::unsure(format!("{name} is not said")),
            (SettingValue::OneOf(words), Some(text)) => {
                Look::sure(words.contains(&text), format!("{name}: {text}"))
            }
        }
    }

    /// What the setting is; absent where it is empty.
    fn value(&self, world: &World<'_>) -> Result<Option<String>, String> {
        let Some(row) = SETTINGS.iter().find(|row| row.name == self.name) else {
            return Err(format!("there is no setting `{}`", self.name));
        };
        if row.stem == CNI {
            return enforcing_mode(world);
        }
        let mut answers = world.described.family(row.stem).peekable();
        if answers.peek().is_none() {
            let why = if row.stem == CLUSTER {
                NO_CLUSTER.to_owned()
            } else {
                format!("`{}` is not in the snapshot", row.stem)
            };
            return Err(why);
        }
        let mut values = answers.filter_map(|answer| answer.value().pointer(row.place));
        let said = values.next().and_then(text);
        Ok(said.or(row.default.map(str::to_owned)))
    }
}

/// A value as a word; absent where there is nothing in it.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Array(items) if items.is_empty() => None,
        Value::Array(items) => {
            let items = items.iter().map(|item| text(item).unwrap_or_default());
            Some(items.collect::<Vec<_>>().join(", "))
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => Some(value.to_string()),
    }
}

fn enforcing_mode(world: &World<'_>) -> Result<Option<String>, String> {
    if world.described.family(CNI).next().is_none() {
        return Err("`aws-node` is not in the snapshot".to_owned());
    }
    match world.snapshot.cni().enforcing_mode {
        EnforcingMode::Strict => Ok(Some("strict".to_owned())),
        EnforcingMode::Standard => Ok(Some("standard".to_owned())),
        EnforcingMode::Unread => Err("the enforcing mode could not be read".to_owned()),
    }
}
