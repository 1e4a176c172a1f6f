//! The program as a plugin of kubectl: `kubectl reachproof` starts `kubectl-reachproof` \[kubectl, Plugins\].

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Name under which kubectl starts the program.
const FILE: &str = "kubectl-reachproof";

/// What a user types then.
const TYPED: &str = "kubectl reachproof";

/// Commands that ask the coordinator of the cluster unless another source is named: kubectl is about one.
#[cfg(feature = "serve")]
const OF_CLUSTER: [&str; 2] = ["agents", "verify"];

/// Arguments that name another source, or that one.
#[cfg(feature = "serve")]
const NAMED: [&str; 5] = [
    "--cluster",
    "--coordinator",
    "--kubernetes",
    "--listen",
    "--snapshot",
];

/// How the program was called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    /// What help and usage call it; absent for its own name.
    pub(super) name: Option<&'static str>,
    /// The name under which it was started, and the arguments.
    pub(super) words: Vec<OsString>,
}

impl Call {
    /// Reads the words of a process.
    pub(super) fn of(words: impl IntoIterator<Item = OsString>) -> Self {
        let words: Vec<OsString> = words.into_iter().collect();
        let file = words.first().and_then(|word| Path::new(word).file_stem());
        if file != Some(OsStr::new(FILE)) {
            return Self { name: None, words };
        }
        Self {
            name: Some(TYPED),
            words: completed(words),
        }
    }
}

/// Adds `--kubernetes` where nothing else is named.
#[cfg(feature = "serve")]
fn completed(mut words: Vec<OsString>) -> Vec<OsString> {
    let is_named = |word: &OsString| {
        let word = word.to_string_lossy();
        let word = word.split_once('=').map_or(&*word, |(name, _)| name);
        NAMED.contains(&word)
    };
    let command = command(&words);
    let is_meant = |place: &usize| {
        let word = words.get(*place).and_then(|word| word.to_str());
        word.is_some_and(|word| OF_CLUSTER.contains(&word)) && !words.iter().any(is_named)
    };
    if let Some(place) = command.filter(is_meant) {
        words.insert(place + 1, "--kubernetes".into());
    }
    words
}

/// Where the command stands: behind flags of all commands alike, of which one has a value.
#[cfg(feature = "serve")]
fn command(words: &[OsString]) -> Option<usize> {
    let mut places = words.iter().enumerate().skip(1);
    loop {
        let (place, word) = places.next()?;
        if word == "--color" {
            places.next()?;
        } else if !word.to_string_lossy().starts_with('-') {
            return Some(place);
        }
    }
}

#[cfg(not(feature = "serve"))]
fn completed(words: Vec<OsString>) -> Vec<OsString> {
    words
}

#[cfg(all(test, feature = "serve"))]
mod tests {
    use super::*;

    /// The words that a call stands for, and its name.
    fn called(line: &str) -> (Option<&'static str>, String) {
        let call = Call::of(line.split(' ').map(OsString::from));
        let words = call.words.iter().map(|word| word.to_string_lossy());
        (call.name, words.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_plugin_asks_the_coordinator_of_the_cluster_unless_told_otherwise() {
        for (line, wanted) in [
            ("verify -n a", "verify --kubernetes -n a"),
            (
                "--color never -q agents",
                "--color never -q agents --kubernetes",
            ),
            ("verify --kubernetes", "verify --kubernetes"),
            (
                "verify --cluster=demo --listen 7443",
                "verify --cluster=demo --listen 7443",
            ),
            ("man verify", "man verify"),
            ("history", "history"),
            ("--help", "--help"),
        ] {
            let (name, words) = called(&format!("/usr/bin/kubectl-reachproof {line}"));
            assert_eq!(words, format!("/usr/bin/kubectl-reachproof {wanted}"));
            assert_eq!(name, Some(TYPED));
            let own = format!("reachproof {line}");
            assert_eq!(called(&own), (None, own));
        }
    }
}
