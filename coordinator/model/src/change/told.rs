//! Changes in words: who, to whom, which packets, and what is responsible.

use super::{AnswerChange, Comparison, Concern, Difference, Party};
use crate::class::ClassId;
use crate::flow::SourceKind;
use crate::matrix::{Matrix, VerdictKind};
use crate::net::Printable;

/// Who is meant by a change, safe for a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartyLabel {
    /// What a line of its own says.
    pub whole: String,
    /// What lines that are alike have in common.
    pub kind: String,
    /// Who shows it.
    pub example: String,
}

/// A changed answer of the model in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldChange {
    /// What became of it: `gained`, `lost`, `changed`, or towards outside `widened`, `narrowed`.
    pub word: &'static str,
    /// Whether the cluster needs it.
    pub concern: Concern,
    /// Who sends.
    pub source: PartyLabel,
    /// Who receives.
    pub destination: PartyLabel,
    /// Protocol and ports.
    pub packets: String,
    /// The verdict before and after.
    pub verdict: String,
    /// Names of rules, `ACL#ENTRY`, or the word of a gate; separated by commas.
    pub because: String,
}

/// Returns whether flows were won or lost.
#[must_use]
pub fn change_word(kinds: (VerdictKind, VerdictKind)) -> &'static str {
    match kinds {
        (_, VerdictKind::Allow) => "gained",
        (VerdictKind::Allow, _) => "lost",
        (
            VerdictKind::Deny
            | VerdictKind::Partial
            | VerdictKind::Unknown
            | VerdictKind::Bypass
            | VerdictKind::Exempt,
            _,
        ) => "changed",
    }
}

/// Returns what became of packets towards or from outside, of which only this end is known.
#[must_use]
pub fn outside_word(change: &AnswerChange) -> &'static str {
    match change.kinds() {
        (VerdictKind::Deny, _) => "widened",
        (_, VerdictKind::Deny) => "narrowed",
        kinds => change_word(kinds),
    }
}

impl Comparison<'_> {
    /// Returns what changed between endpoints of the snapshots, in words, what the cluster needs first.
    #[must_use]
    pub fn told(&self, difference: &Difference) -> Vec<ToldChange> {
        let after = self.after();
        let relation = difference.flows.iter().map(|flow| ToldChange {
            word: change_word((flow.before, flow.after)),
            concern: flow.concern,
            source: of_class(after, flow.source.after),
            destination: of_class(after, flow.destination.after),
            packets: format!("tcp/{}", flow.ports),
            verdict: format!("{} -> {}", flow.before.as_str(), flow.after.as_str()),
            because: flow.responsible.join(", "),
        });
        let answers = difference.answers.iter();
        let answers = answers.map(|change| answer(after, change, change_word(change.kinds())));
        relation.chain(answers).collect()
    }

    /// Returns what changed towards and from addresses that no interface owns, in words.
    #[must_use]
    pub fn told_outside(&self, difference: &Difference) -> Vec<ToldChange> {
        let outside = difference.outside.iter();
        outside
            .map(|change| answer(self.after(), change, outside_word(change)))
            .collect()
    }
}

/// The endpoints of a class.
fn of_class(matrix: &Matrix<'_>, id: ClassId) -> PartyLabel {
    let class = matrix.classes().class(id);
    let kind = class.name_anywhere(matrix.snapshot());
    PartyLabel {
        whole: matrix.class_name(id),
        kind: Printable(&kind).to_string(),
        example: class.example.to_string(),
    }
}

/// An end of a changed answer.
fn party(matrix: &Matrix<'_>, party: &Party) -> PartyLabel {
    match party {
        Party::Inside { before, after, .. } => {
            let example = if before == after {
                after.to_string()
            } else {
                format!("{after} (replaces {before})")
            };
            match matrix.classes().of(*after) {
                Some(class) => {
                    let label = of_class(matrix, class);
                    PartyLabel {
                        whole: format!("{} {example}", label.whole),
                        example,
                        ..label
                    }
                }
                None => {
                    let known = matrix.snapshot().called(*after);
                    let whole = if before == after {
                        known.clone()
                    } else {
                        format!("{known} (replaces {before})")
                    };
                    PartyLabel {
                        whole: whole.clone(),
                        kind: known,
                        example: whole,
                    }
                }
            }
        }
        Party::Outside { network, example } => {
            let network = network.map_or_else(|| example.to_string(), |it| it.to_string());
            PartyLabel {
                whole: format!("{network} (e.g. {example})"),
                kind: "outside".to_owned(),
                example: network,
            }
        }
    }
}

fn answer(matrix: &Matrix<'_>, change: &AnswerChange, word: &'static str) -> ToldChange {
    let kind = match (change.source_kind, change.on_one_host) {
        (SourceKind::Host, false) => "",
        (SourceKind::Pod, false) => " as a pod",
        (SourceKind::Host, true) => " on the same host",
        (SourceKind::Pod, true) => " as a pod on the same host",
    };
    let emitter = change.emitter.as_ref();
    let emitter = emitter.map_or_else(String::new, |id| format!(" emitted by {id}"));
    let (before, after) = change.kinds();
    let mut source = party(matrix, &change.source);
    source.whole.push_str(&format!("{kind}{emitter}"));
    source.kind.push_str(kind);
    ToldChange {
        word,
        concern: change.concern,
        source,
        destination: party(matrix, &change.destination),
        packets: change.packets.to_string(),
        verdict: format!("{} -> {}", before.as_str(), after.as_str()),
        because: change.responsible.join(", "),
    }
}
