//! Predictions read back from their JSON form, as a report holds them.
//!
//! What the form leaves out stays out: the rules that an unknown step could not resolve.

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::{
    BypassReason, Denial, ExemptReason, Gate, Place, Prediction, RouteReason, Step, StepOutcome,
    UnknownReason, Verdict,
};
use crate::flow::Flow;
use crate::id::RuleId;
use crate::net::PortRange;
use crate::words::{named, read};

impl<'de> Deserialize<'de> for Gate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(&Self::ALL, |gate| gate.as_str(), deserializer)
    }
}

/// A verdict as the object of a prediction holds it.
#[derive(Deserialize)]
struct VerdictForm {
    verdict: String,
    gate: Option<Gate>,
    at: Option<String>,
    subnet: Option<String>,
    rule_number: Option<u32>,
    reason: Option<String>,
    #[serde(default)]
    rules: Vec<RuleId>,
}

/// A prediction as it is written.
#[derive(Deserialize)]
struct PredictionForm {
    flow: Flow,
    #[serde(flatten)]
    verdict: VerdictForm,
    steps: Vec<Step>,
}

impl<'de> Deserialize<'de> for Prediction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = PredictionForm::deserialize(deserializer)?;
        // The ports that a partial verdict leaves open stand with the gate that says so.
        let open_ports = form.steps.iter().find_map(|step| match &step.outcome {
            StepOutcome::Partly { open_ports } => Some(open_ports.clone()),
            StepOutcome::Pass { .. }
            | StepOutcome::Drop
            | StepOutcome::Unknown(_)
            | StepOutcome::Skipped => None,
        });
        let verdict = verdict(form.verdict, open_ports.unwrap_or_default())
            .ok_or_else(|| D::Error::custom("the verdict of a prediction lacks what decides it"))?;
        Ok(Self {
            flow: form.flow,
            verdict,
            steps: form.steps,
        })
    }
}

/// The verdict of a form; absent where a field is missing or a word unknown.
fn verdict(form: VerdictForm, open_ports: Vec<PortRange>) -> Option<Verdict> {
    let reason = form.reason.as_deref();
    Some(match form.verdict.as_str() {
        "allow" => {
            let mut rules = form.rules.into_iter();
            Verdict::Allow {
                egress: rules.next()?,
                ingress: rules.next()?,
            }
        }
        "deny" => Verdict::Deny(denial(form)?),
        "partial" => Verdict::Partial {
            gate: form.gate?,
            at: form.at?.into(),
            subnet: form.subnet?.into(),
            open_ports,
        },
        "unknown" => Verdict::Unknown(unknown(reason?, form.rules)?),
        "bypass" => Verdict::Bypass(named(&BypassReason::ALL, |it| it.as_str(), reason?)?),
        "exempt" => Verdict::Exempt(named(&ExemptReason::ALL, |it| it.as_str(), reason?)?),
        _ => return None,
    })
}

/// What denies, by the gate that does.
fn denial(form: VerdictForm) -> Option<Denial> {
    let gate = form.gate?;
    Some(match gate {
        Gate::SgEgress | Gate::SgIngress => Denial::SecurityGroup {
            gate,
            at: form.at?.into(),
        },
        Gate::SourceDestCheck => Denial::SourceDestCheck {
            at: form.at?.into(),
        },
        Gate::NaclOut | Gate::NaclIn | Gate::NaclReturnOut | Gate::NaclReturnIn => {
            Denial::NetworkAcl {
                gate,
                at: form.at?.into(),
                subnet: form.subnet?.into(),
                rule_number: form.rule_number?,
            }
        }
        Gate::Route | Gate::ReturnRoute => Denial::Route {
            gate,
            reason: named(&RouteReason::ALL, |it| it.as_str(), form.reason.as_deref()?)?,
        },
        Gate::Endpoints | Gate::NetworkPolicy => return None,
    })
}

/// Why the model cannot tell, by its word.
pub(crate) fn unknown(word: &str, rules: Vec<RuleId>) -> Option<UnknownReason> {
    let unresolved = UnknownReason::UnresolvedRule { rules };
    if unresolved.as_str() == word {
        return Some(unresolved);
    }
    named(&UnknownReason::ALL, UnknownReason::as_str, word)
}

/// A step as it is written.
#[derive(Deserialize)]
struct StepForm {
    gate: Gate,
    at: Option<String>,
    subnet: Option<String>,
    groups: Option<Vec<crate::id::SecurityGroupId>>,
    outcome: String,
    rule: Option<RuleId>,
    #[serde(default)]
    open_ports: Vec<PortRange>,
    reason: Option<String>,
    detail: String,
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = StepForm::deserialize(deserializer)?;
        let (rule, open_ports, reason) = (form.rule, form.open_ports, form.reason);
        let outcome = match form.outcome.as_str() {
            "pass" => Some(StepOutcome::Pass { rule }),
            "drop" => Some(StepOutcome::Drop),
            "partly" => Some(StepOutcome::Partly { open_ports }),
            "unknown" => reason
                .and_then(|word| unknown(&word, Vec::new()))
                .map(StepOutcome::Unknown),
            "skipped" => Some(StepOutcome::Skipped),
            _ => None,
        };
        let outcome = outcome
            .ok_or_else(|| D::Error::custom(format!("unknown outcome of gate `{}`", form.gate)))?;
        let place = match (form.groups, form.at, form.subnet) {
            (Some(groups), Some(interface), _) => Place::NetworkInterface {
                interface: interface.into(),
                groups,
            },
            (_, at, Some(subnet)) if matches!(form.gate, Gate::Route | Gate::ReturnRoute) => {
                Place::RouteTable {
                    subnet: subnet.into(),
                    table: at.map(Into::into),
                }
            }
            (_, at, Some(subnet)) => Place::NetworkAcl {
                subnet: subnet.into(),
                acl: at.map(Into::into),
            },
            (_, _, None) => Place::Flow,
        };
        Ok(Self {
            gate: form.gate,
            place,
            outcome,
            detail: form.detail,
        })
    }
}
