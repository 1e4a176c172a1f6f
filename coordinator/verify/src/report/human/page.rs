//! Text that keeps to a width.

use reachproof_model::expectation::ExpectationState;
use reachproof_model::finding::FindingKind;

use super::{Colour, Ink, Terminal};

/// Narrowest page: less would leave no room beside the indent.
const WIDTH_MIN: usize = 60;

/// Lines under headings, wrapped at the terminal's width.
pub(super) struct Page {
    text: String,
    width: usize,
    colour: Colour,
}

impl Page {
    pub(super) fn new(terminal: Terminal) -> Self {
        Self {
            text: String::new(),
            width: usize::from(terminal.width).max(WIDTH_MIN),
            colour: terminal.colour,
        }
    }

    /// Width in columns.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// A heading with an empty line before it.
    pub(super) fn heading(&mut self, heading: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        let inked = self.colour.inked(heading, Ink::Bold);
        self.raw(&inked);
    }

    /// Text that is wrapped and indented; a continued line is indented by two more.
    pub(super) fn text(&mut self, indent: usize, text: &str) {
        for line in wrapped(text, indent, self.width) {
            self.raw(&line);
        }
    }

    /// Text with the colour of an expectation's state.
    pub(super) fn mark(&mut self, state: ExpectationState, text: &str) {
        let ink = match state {
            ExpectationState::Met => Ink::Green,
            ExpectationState::Predicted | ExpectationState::Unverified => Ink::Yellow,
            ExpectationState::Broken => Ink::Red,
        };
        self.coloured(2, text, ink);
    }

    /// Text with the colour of a finding's kind.
    pub(super) fn kind(&mut self, kind: FindingKind, text: &str) {
        let ink = match kind {
            FindingKind::ContradictionOpen | FindingKind::ContradictionClosed => Ink::Red,
            FindingKind::Inconclusive | FindingKind::NotObserved => Ink::Yellow,
            FindingKind::ConfirmedAllow
            | FindingKind::ConfirmedDeny
            | FindingKind::ConfirmedPartial
            | FindingKind::Bypass => Ink::Green,
        };
        self.coloured(2, text, ink);
    }

    /// An empty line.
    pub(super) fn blank(&mut self) {
        self.text.push('\n');
    }

    /// A word at the left edge with text behind it, in a colour, and `end` at the right edge of the last line, or below it.
    pub(super) fn ends(&mut self, word: &str, text: &str, end: &str, ink: Ink) {
        let indent = word.chars().count() + 2;
        let lines = wrapped(text, indent, self.width);
        let last = lines.len().saturating_sub(1);
        for (place, line) in lines.iter().enumerate() {
            let used = line.chars().count();
            let line = match place {
                0 => format!("{word}  {}", line.trim_start()),
                _ => line.clone(),
            };
            let inked = self.colour.inked(&line, ink);
            let room = self.width.saturating_sub(used + end.chars().count());
            if place == last && room > 1 {
                self.raw(&format!("{inked}{}{end}", " ".repeat(room)));
            } else {
                self.raw(&inked);
                if place == last {
                    self.text(indent, end);
                }
            }
        }
    }

    /// A line as it is.
    pub(super) fn raw(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// The whole.
    pub(super) fn finish(self) -> String {
        self.text
    }

    /// Wrapped text in a colour.
    fn coloured(&mut self, indent: usize, text: &str, ink: Ink) {
        for line in wrapped(text, indent, self.width) {
            let inked = self.colour.inked(&line, ink);
            self.raw(&inked);
        }
    }
}

/// Breaks `text` at blanks, each line `indent` columns in and all but the first two more. A word longer than a line stands alone and is not broken: ids stay whole.
#[must_use]
pub fn wrapped(text: &str, indent: usize, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = " ".repeat(indent);
    let mut empty = true;
    for word in text.split_whitespace() {
        let longer = line.chars().count() + 1 + word.chars().count();
        if !empty && longer > width {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent + 2)));
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_at_blanks_and_ids_stay_whole() {
        let id = "x".repeat(30);
        let text = format!("one two {id} three");
        assert_eq!(
            wrapped(&text, 2, 20),
            [
                "  one two".to_owned(),
                format!("    {id}"),
                "    three".to_owned()
            ]
        );
    }
}
