//! One finding for people: a line, or a block with gates and evidence.

use std::net::IpAddr;
use std::time::Duration;

use reachproof_model::finding::{
    Basis, Condition, ConditionName, ConditionState, Finding, FindingKind, Margin, Note,
};
use reachproof_model::id::{RuleId, SecurityGroupId};
use reachproof_model::net::Printable;
use reachproof_model::observation::{
    Attempt, CertificateFault, Identification, Outcome, QueryFailure,
};
use reachproof_model::prediction::{Gate, Place, Step, StepOutcome};
use reachproof_model::words::counted;

use super::called;
use super::page::Page;
use crate::report::Report;

/// One line: the flow, the model's word, the network's word.
pub(in crate::report) fn line(report: &Report, finding: &Finding) -> String {
    let verdict = finding.prediction.verdict.to_string();
    format!(
        "{}: model {}; network {}",
        flow(report, finding),
        Printable(&verdict),
        seen(finding)
    )
}

/// What the gate that drops the flow says, where one does.
pub(super) fn dropped(finding: &Finding) -> Option<String> {
    dropping(finding).map(gate)
}

/// The gate that drops the flow, where one does.
fn dropping(finding: &Finding) -> Option<&Step> {
    let mut steps = finding.prediction.steps.iter();
    steps.find(|step| match step.outcome {
        StepOutcome::Drop | StepOutcome::Partly { .. } => true,
        StepOutcome::Pass { .. } | StepOutcome::Unknown(_) | StepOutcome::Skipped => false,
    })
}

/// What flows share that the same groups drop: the gate, with the groups of the interface there.
pub(super) fn dropped_by(finding: &Finding) -> Option<(Gate, &[SecurityGroupId])> {
    let step = dropping(finding)?;
    let groups = match &step.place {
        Place::NetworkInterface { groups, .. } => groups.as_slice(),
        Place::Flow | Place::NetworkAcl { .. } | Place::RouteTable { .. } => &[],
    };
    Some((step.gate, groups))
}

/// The rule that admits the flow at its destination, with what the gate says.
pub(super) fn admitted(finding: &Finding) -> Option<(&RuleId, String)> {
    let mut steps = finding.prediction.steps.iter();
    let step = steps.find(|step| step.gate == Gate::SgIngress)?;
    match &step.outcome {
        StepOutcome::Pass { rule: Some(rule) } => Some((rule, gate(step))),
        StepOutcome::Pass { rule: None }
        | StepOutcome::Drop
        | StepOutcome::Partly { .. }
        | StepOutcome::Unknown(_)
        | StepOutcome::Skipped => None,
    }
}

/// The source address under which the target met the flow, where that is another than its sender's.
pub(super) fn met_as(finding: &Finding) -> Option<IpAddr> {
    finding.notes.iter().find_map(|note| match note {
        Note::Translated { observed } => Some(observed.ip()),
        Note::Lossy { .. } | Note::SilentPorts { .. } | Note::RelayedPossible { .. } => None,
    })
}

/// A block: what contradicts what, gate by gate and attempt by attempt.
pub(super) fn block(report: &Report, finding: &Finding, page: &mut Page) {
    let what = match finding.kind {
        FindingKind::ContradictionOpen => "OPEN though the model says closed",
        FindingKind::ContradictionClosed => "CLOSED though the model says open",
        FindingKind::Inconclusive
        | FindingKind::ConfirmedDeny
        | FindingKind::ConfirmedPartial
        | FindingKind::ConfirmedAllow
        | FindingKind::Bypass
        | FindingKind::NotObserved => finding.kind.as_str(),
    };
    page.kind(finding.kind, &format!("{what}: {}", flow(report, finding)));
    let verdict = finding.prediction.verdict.to_string();
    page.text(4, &format!("model    {}", Printable(&verdict)));
    for step in &finding.prediction.steps {
        page.text(13, &gate(step));
    }
    page.text(4, &format!("network  {}", seen(finding)));
    for attempt in &finding.observation.attempts {
        page.text(13, &attempted(attempt));
    }
    for note in &finding.notes {
        page.text(13, &noted(note));
    }
    if let Some(silence) = silence(finding) {
        page.text(4, &format!("silence  {silence}"));
    }
    for condition in &finding.conditions {
        page.text(4, &format!("because  {}", conditioned(condition)));
    }
}

/// Why silence counted or did not, in one line; absent where none was judged.
pub(super) fn silence(finding: &Finding) -> Option<String> {
    let of = |name| finding.conditions.iter().find(move |one| one.name == name);
    let failed = finding.conditions.iter().find(|one| !one.holds());
    if let Some(failed) = failed {
        return Some(format!("does not count: {}", conditioned(failed)));
    }
    let names = [
        ConditionName::Repeated,
        ConditionName::SourceHeard,
        ConditionName::TargetHeard,
    ];
    let counted: Vec<String> = names.into_iter().filter_map(of).map(conditioned).collect();
    (!counted.is_empty()).then(|| format!("counts: {}", counted.join("; ")))
}

/// `name (address) -> name (address) tcp/port`.
fn flow(report: &Report, finding: &Finding) -> String {
    format!(
        "{} -> {} {}",
        called(report, finding.flow.source),
        called(report, finding.flow.destination),
        finding.flow.protocol
    )
}

/// What the network said, in a few words.
fn seen(finding: &Finding) -> String {
    let attempts = &finding.observation.attempts;
    let Some(last) = attempts.last() else {
        return match &finding.reason {
            Some(reason) => format!("not observed ({})", reason.as_str()),
            None => "not observed".to_owned(),
        };
    };
    let answered = attempts.iter().find(|attempt| {
        matches!(
            attempt.outcome,
            Outcome::Connected { .. } | Outcome::Refused { .. }
        )
    });
    match answered {
        Some(attempt) => outcome(&attempt.outcome),
        None => format!(
            "{} ({})",
            outcome(&last.outcome),
            counted(attempts.len(), "attempt", "attempts")
        ),
    }
}

/// One outcome in words.
fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Connected { handshake } => format!("connected after {}", short(*handshake)),
        Outcome::Refused { after } => format!("refused after {}", short(*after)),
        Outcome::TimedOut { after } => format!("silent for {}", short(*after)),
        Outcome::Unreachable { errno, icmp: None } => format!("unreachable (errno {errno})"),
        Outcome::Unreachable {
            icmp: Some(icmp), ..
        } => {
            let from = icmp
                .from
                .map_or_else(String::new, |from| format!(" from {from}"));
            format!(
                "unreachable (ICMP type {}, code {}{from})",
                icmp.icmp_type, icmp.code
            )
        }
        Outcome::LocalError { errno } => format!("could not try (errno {errno})"),
        Outcome::Starved => "agent ran late".to_owned(),
        Outcome::RefusedByPolicy => "refused by the agent's own policy".to_owned(),
        Outcome::NotDialled { failure } => {
            format!("nothing is known of a dial ({})", failure.as_str())
        }
    }
}

/// One attempt in words.
pub(in crate::report) fn attempted(attempt: &Attempt) -> String {
    let from = attempt
        .local
        .map_or_else(String::new, |local| format!(" from port {}", local.port()));
    let who = match attempt.identification {
        Identification::NotAsked => String::new(),
        Identification::Verified { observed } => format!(", peer verified, it saw {observed}"),
        Identification::Mismatch => ", somebody else answered".to_owned(),
        Identification::Certified => ", the API server proved its certificate".to_owned(),
        Identification::Uncertified { fault } => {
            format!(", no proof of the API server: {}", uncertified(fault))
        }
        Identification::Kubelet => ", in a kubelet's words".to_owned(),
        Identification::Failed { code } => format!(", identification failed (code {code})"),
        Identification::Resolver { code } => format!(", a resolver answered (code {code})"),
        Identification::NoResolver { failure } => match failure {
            QueryFailure::Silent => ", the query got no answer".to_owned(),
            QueryFailure::Closed => ", the query was answered by a close".to_owned(),
            QueryFailure::Malformed => ", the query was answered by no resolver".to_owned(),
        },
    };
    let number = attempt.number + 1;
    format!("attempt {number}{from}: {}{who}", outcome(&attempt.outcome))
}

/// What a TLS session lacks, in words.
fn uncertified(fault: CertificateFault) -> &'static str {
    match fault {
        CertificateFault::Silent => "the handshake got no answer",
        CertificateFault::Closed => "the handshake was answered by a close",
        CertificateFault::Malformed => "what answered is no TLS 1.3",
        CertificateFault::Key => "the key of its certificate was not proved",
        CertificateFault::Chain => "its certificates could not be read",
        CertificateFault::Authority => "its certificate is not of the cluster's CA",
        CertificateFault::Name => "its certificate has another name",
        CertificateFault::Expired => "its certificate is not valid now",
        CertificateFault::NoAuthority => "the snapshot has no CA of the cluster",
    }
}

/// One note in words.
fn noted(note: &Note) -> String {
    match note {
        Note::Lossy { silent } => format!("lossy: {silent} attempts were silent before the answer"),
        Note::SilentPorts { first, last } => {
            format!("silent from every source port that was tried between {first} and {last}")
        }
        Note::RelayedPossible { address } => {
            format!("a service mesh at {address} may have answered for the target")
        }
        Note::Translated { observed } => format!("source translated to {observed}, as predicted"),
    }
}

/// One gate in words: what it is, where, what it says.
pub(in crate::report) fn gate(step: &Step) -> String {
    let place = match &step.place {
        Place::Flow => String::new(),
        Place::NetworkInterface { interface, .. } => format!(" at {interface}"),
        Place::NetworkAcl { subnet, acl } => match acl {
            Some(acl) => format!(" at {acl} of {subnet}"),
            None => format!(" of {subnet}"),
        },
        Place::RouteTable { subnet, table } => match table {
            Some(table) => format!(" in {table} of {subnet}"),
            None => format!(" of {subnet}"),
        },
    };
    let text = format!(
        "{}{place}: {}: {}",
        step.gate,
        step.outcome.as_str(),
        step.detail
    );
    Printable(&text).to_string()
}

/// One condition in words.
fn conditioned(condition: &Condition) -> String {
    let name = match condition.name {
        ConditionName::Address => "address",
        ConditionName::Clock => "clock",
        ConditionName::SourceHeard => "source heard",
        ConditionName::TargetHeard => "target heard",
        ConditionName::SourceOnTime => "source on time",
        ConditionName::TargetOnTime => "target on time",
        ConditionName::Unseen => "unseen",
        ConditionName::AcceptQueue => "accept queue",
        ConditionName::Known => "known",
        ConditionName::NoPolicy => "no policy",
        ConditionName::Repeated => "repeated",
    };
    let weakly = match condition.state {
        ConditionState::Met => "",
        ConditionState::MetWeakly => " (weaker)",
        ConditionState::Failed => " FAILED",
    };
    format!("{name}{weakly}: {}", basis(&condition.basis))
}

/// How a condition was met, in words.
fn basis(basis: &Basis) -> String {
    match basis {
        Basis::StreamFrom { address } => format!("the agent's stream comes from {address}"),
        Basis::SeenByPeer { address } => format!("peers saw {address}"),
        Basis::AddressUnshown { address } => {
            format!("nothing shows that {address} is the agent's")
        }
        Basis::ClockKnown { uncertainty_us } => {
            format!("known to {}", short(Duration::from_micros(*uncertainty_us)))
        }
        Basis::ClockUnknown { agent } => format!("that of {agent} is not known"),
        Basis::Answered { before, after } => format!(
            "{} answered {} before and {} answered {} after",
            before.target, before.source, after.target, after.source
        ),
        Basis::Stream { agent, .. } => {
            format!("signs of life of {agent} came over that interface before and after")
        }
        Basis::Unheard { margin } => match margin {
            Margin::Before => "not in the 5 s before it".to_owned(),
            Margin::After => "not in the 5 s after it".to_owned(),
            Margin::Both => "neither in the 5 s before nor in the 5 s after it".to_owned(),
        },
        Basis::NeverHeard => "not once in this run".to_owned(),
        Basis::DialLimit { after_ms } => {
            format!("the API server ended the dial by its own limit after {after_ms} ms")
        }
        Basis::OnTime { late_max_ms } => format!("late by {late_max_ms} ms at most"),
        Basis::Late { late_max_ms } => format!("late by {late_max_ms} ms"),
        Basis::LatenessUnknown => "not measured".to_owned(),
        Basis::NoTargetAgent => "the target has no agent".to_owned(),
        Basis::NoAccept { agent } => format!("{agent} accepted no such connection"),
        Basis::Accepted { agent, peer } => format!("{agent} accepted a connection from {peer}"),
        Basis::ReportIncomplete { agent } => format!("{agent} did not report everything"),
        Basis::NoDrops { .. } => "nothing was dropped for want of room".to_owned(),
        Basis::QueueFull { agent, drops, .. } => format!(
            "the kernel of {agent} dropped {drops} connections, a queue of accepted ones was full"
        ),
        Basis::DropsUnknown { agent } => {
            format!("what the kernel of {agent} dropped is not known")
        }
        Basis::EveryGateKnown => "the model knows every gate".to_owned(),
        Basis::GateUnknown { gate } => format!("{gate} is unknown"),
        Basis::NoPolicySelects => "no NetworkPolicy selects either end".to_owned(),
        Basis::PolicySelects { address } => format!("a NetworkPolicy selects {address}"),
        Basis::PoliciesUnread => "the policies that may select a pod are not known".to_owned(),
        Basis::SilentAttempts {
            attempts,
            spread_ms,
        } => format!(
            "{attempts} silent attempts count, over {} s",
            spread_ms / 1_000
        ),
        Basis::TooFewAttempts {
            attempts,
            spread_ms,
        } => format!(
            "only {attempts} silent attempts count, over {} s",
            spread_ms / 1_000
        ),
    }
}

/// A duration in seconds or milliseconds with one decimal, or in whole microseconds.
fn short(duration: Duration) -> String {
    if duration >= Duration::from_secs(1) {
        return format!("{:.1} s", duration.as_secs_f64());
    }
    if duration >= Duration::from_millis(1) {
        return format!("{:.1} ms", duration.as_secs_f64() * 1_000.0);
    }
    format!("{} us", duration.as_micros())
}
