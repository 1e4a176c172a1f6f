//! Predictions in JSON (ARCHITECTURE, "Predictions"; SEMANTICS K.1 "Fields of an answer").

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{Denial, Gate, Place, Prediction, Step, StepOutcome, UnknownReason, Verdict};

impl Serialize for Gate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for Prediction {
    /// Writes `flow`, the fields of the verdict and `steps`, in one object.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("flow", &self.flow)?;
        verdict_entries(&self.verdict, &mut map)?;
        map.serialize_entry("steps", &self.steps)?;
        map.end()
    }
}

impl Serialize for Verdict {
    /// Writes the fields of `expect` in the vectors.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        verdict_entries(self, &mut map)?;
        map.end()
    }
}

fn verdict_entries<M: SerializeMap>(verdict: &Verdict, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry("verdict", verdict.as_str())?;
    if let Some(gate) = verdict.gate() {
        map.serialize_entry("gate", &gate)?;
    }
    match verdict {
        Verdict::Deny(Denial::SecurityGroup { at, .. } | Denial::SourceDestCheck { at }) => {
            map.serialize_entry("at", at)?
        }
        Verdict::Deny(Denial::NetworkAcl {
            at,
            subnet,
            rule_number,
            ..
        }) => {
            map.serialize_entry("at", at)?;
            map.serialize_entry("subnet", subnet)?;
            map.serialize_entry("rule_number", rule_number)?;
        }
        Verdict::Partial { at, subnet, .. } => {
            map.serialize_entry("at", at)?;
            map.serialize_entry("subnet", subnet)?;
        }
        Verdict::Allow { .. }
        | Verdict::Deny(Denial::Route { .. })
        | Verdict::Unknown(_)
        | Verdict::Bypass(_)
        | Verdict::Exempt(_) => {}
    }
    if let Some(reason) = verdict.reason() {
        map.serialize_entry("reason", reason)?;
    }
    let rules = verdict.rules();
    if !rules.is_empty() {
        map.serialize_entry("rules", &rules)?;
    }
    Ok(())
}

impl Serialize for UnknownReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for Step {
    /// Writes `gate`, the place as `at` and `subnet`, `outcome`, what decided, and `detail`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("gate", &self.gate)?;
        place_entries(&self.place, &mut map)?;
        map.serialize_entry("outcome", self.outcome.as_str())?;
        match &self.outcome {
            StepOutcome::Pass { rule: Some(rule) } => map.serialize_entry("rule", rule)?,
            StepOutcome::Partly { open_ports } => map.serialize_entry("open_ports", open_ports)?,
            StepOutcome::Unknown(reason) => map.serialize_entry("reason", reason)?,
            StepOutcome::Pass { rule: None } | StepOutcome::Drop | StepOutcome::Skipped => {}
        }
        map.serialize_entry("detail", &self.detail)?;
        map.end()
    }
}

fn place_entries<M: SerializeMap>(place: &Place, map: &mut M) -> Result<(), M::Error> {
    match place {
        Place::Flow => {}
        Place::NetworkInterface { interface, groups } => {
            map.serialize_entry("at", interface)?;
            map.serialize_entry("groups", groups)?;
        }
        Place::NetworkAcl { subnet, acl } => {
            map.serialize_entry("at", acl)?;
            map.serialize_entry("subnet", subnet)?;
        }
        Place::RouteTable { subnet, table } => {
            map.serialize_entry("at", table)?;
            map.serialize_entry("subnet", subnet)?;
        }
    }
    Ok(())
}
