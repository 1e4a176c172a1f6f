//! Where a flow is tried from.

use std::net::IpAddr;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::observation::AgentName;

/// Who tries a flow (ARCHITECTURE, "Vantage points").
///
/// JSON: `source_agent` (null where there is none) and, for an API server, `source_control_plane` with the address of its
/// interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vantage {
    /// An agent, from its own sockets.
    Agent(AgentName),
    /// The API server behind the control-plane interface of this address, when somebody asks it to (G.1).
    ApiServer(IpAddr),
    /// Nobody: what the model says is all there is.
    Model,
}

impl Vantage {
    /// Returns the agent that tries.
    #[must_use]
    pub fn agent(&self) -> Option<&AgentName> {
        match self {
            Self::Agent(name) => Some(name),
            Self::ApiServer(_) | Self::Model => None,
        }
    }

    /// Returns the address of the control-plane interface from which an API server tries.
    #[must_use]
    pub fn control_plane(&self) -> Option<IpAddr> {
        match self {
            Self::ApiServer(address) => Some(*address),
            Self::Agent(_) | Self::Model => None,
        }
    }
}

impl From<AgentName> for Vantage {
    fn from(name: AgentName) -> Self {
        Self::Agent(name)
    }
}

impl Serialize for Vantage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let own = self.control_plane();
        let mut fields = serializer.serialize_struct("Vantage", 1 + usize::from(own.is_some()))?;
        fields.serialize_field("source_agent", &self.agent())?;
        match own {
            Some(address) => fields.serialize_field("source_control_plane", &address)?,
            None => fields.skip_field("source_control_plane")?,
        }
        fields.end()
    }
}

impl<'de> Deserialize<'de> for Vantage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// As it is written.
        #[derive(Deserialize)]
        struct Written {
            source_agent: Option<AgentName>,
            #[serde(default)]
            source_control_plane: Option<IpAddr>,
        }
        let written = Written::deserialize(deserializer)?;
        Ok(match (written.source_agent, written.source_control_plane) {
            (_, Some(address)) => Self::ApiServer(address),
            (Some(agent), None) => Self::Agent(agent),
            (None, None) => Self::Model,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_vantage_says_who_tries_and_nothing_where_nobody_does() {
        let agent = Vantage::from(AgentName::try_from("a").unwrap());
        let server = Vantage::ApiServer("10.0.1.10".parse().unwrap());
        let written = |vantage: &Vantage| serde_json::to_value(vantage).unwrap();
        for vantage in [&agent, &server, &Vantage::Model] {
            let read: Vantage = serde_json::from_value(written(vantage)).unwrap();
            assert_eq!(read, *vantage);
        }
        assert_eq!(written(&agent), json!({"source_agent": "a"}));
        assert_eq!(
            written(&server),
            json!({"source_agent": null, "source_control_plane": "10.0.1.10"})
        );
        assert_eq!(written(&Vantage::Model), json!({"source_agent": null}));
        assert_eq!((agent.control_plane(), server.agent()), (None, None));
    }
}
