//! What a snapshot does not say, next to an answer: the gaps that the answer rests on first, equal ones in one line.

use clap::{Args, ValueEnum};
use reachproof_model::prediction::Prediction;
use reachproof_model::relevance::touches;
use reachproof_model::snapshot::{Consequence, FoldedGap, Gap, Snapshot, folded};

/// Which gaps are shown.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct GapArguments {
    /// Gaps of the snapshot to show [default: touching]
    #[arg(long, value_enum, value_name = "WHICH")]
    gaps: Option<Which>,
}

/// Which gaps are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Which {
    /// Every gap, those that the answer rests on first.
    All,
    /// Those that the answer rests on.
    Touching,
    /// None.
    None,
}

impl GapArguments {
    /// The gaps next to the answers to some flows: those that one of them rests on first.
    pub(crate) fn of_flows(
        self,
        snapshot: &Snapshot,
        predictions: &[Prediction],
        gaps: &[Gap],
    ) -> Vec<FoldedGap> {
        let is_touching = |gap: &Gap| {
            predictions
                .iter()
                .any(|prediction| touches(snapshot, prediction, gap))
        };
        self.chosen(gaps, is_touching)
    }

    /// The gaps next to a whole relation: those that can change an answer first.
    pub(crate) fn of_relation(self, gaps: &[Gap]) -> Vec<FoldedGap> {
        self.chosen(gaps, |gap| gap.consequence != Consequence::None)
    }

    /// Whether somebody asked for gaps, so that lists of answers carry them, too.
    pub(crate) fn is_asked(self) -> bool {
        matches!(self.gaps, Some(Which::All | Which::Touching))
    }

    fn chosen(self, gaps: &[Gap], is_touching: impl Fn(&Gap) -> bool) -> Vec<FoldedGap> {
        let (touching, others): (Vec<_>, Vec<_>) = match self.gaps {
            Some(Which::None) => return Vec::new(),
            Some(Which::All | Which::Touching) | None => {
                gaps.iter().partition(|gap| is_touching(gap))
            }
        };
        let mut lines = folded(touching);
        if self.gaps == Some(Which::All) {
            lines.extend(folded(others));
        }
        lines
    }
}

/// Tells gaps on standard error, a line each.
pub(crate) fn tell(gaps: &[FoldedGap]) {
    for gap in gaps {
        eprintln!("gap: {gap}");
    }
}
