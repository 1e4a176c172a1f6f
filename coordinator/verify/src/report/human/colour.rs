//! Colours, and the one rule that says where they are shown.

use std::io::IsTerminal;
use std::str::FromStr;

use reachproof_model::diagnosis::Conclusion;

/// Whether escape sequences for colours may be printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Colours, on a terminal.
    Shown,
    /// None: a file, a pipe, `NO_COLOR`.
    Plain,
}

/// Escape sequences (ECMA-48 SGR): none of them carries the meaning alone, words do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Something is wrong.
    Red,
    /// Something is not known.
    Yellow,
    /// As expected.
    Green,
    /// A heading.
    Bold,
}

/// When colours are shown, as `--color` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColourWhen {
    /// On a terminal, unless `NO_COLOR` is set and not empty (no-color.org).
    #[default]
    Auto,
    /// Wherever the text goes, whatever the environment says.
    Always,
    /// Nowhere.
    Never,
}

/// The text says no time at which colours are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write auto, always or never")]
pub struct InvalidColourWhen;

impl Colour {
    /// `text` in `ink`, where colours are shown.
    #[must_use]
    pub fn inked(self, text: &str, ink: Ink) -> String {
        let code = match ink {
            Ink::Red => "31",
            Ink::Yellow => "33",
            Ink::Green => "32",
            Ink::Bold => "1",
        };
        match self {
            Self::Shown => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

impl Ink {
    /// The ink of a verdict.
    #[must_use]
    pub fn of(conclusion: Conclusion) -> Self {
        match conclusion {
            Conclusion::Pass => Self::Green,
            Conclusion::Fail => Self::Red,
            Conclusion::Unsure => Self::Yellow,
        }
    }
}

impl ColourWhen {
    /// Whether `stream` gets colours: the one rule of all commands.
    pub fn on(self, stream: &impl IsTerminal) -> Colour {
        let shown = match self {
            Self::Auto => {
                let no_colour = std::env::var_os("NO_COLOR");
                stream.is_terminal() && no_colour.is_none_or(|value| value.is_empty())
            }
            Self::Always => true,
            Self::Never => false,
        };
        if shown { Colour::Shown } else { Colour::Plain }
    }
}

impl FromStr for ColourWhen {
    type Err = InvalidColourWhen;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err(InvalidColourWhen),
        }
    }
}
