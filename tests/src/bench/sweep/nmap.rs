//! `nmap`, tuned and as it comes.

use std::{collections::BTreeMap, path::Path, process::Command};

use super::super::farm;

/// Whether there is one.
pub(super) fn is_there() -> bool {
    farm::run("nmap", &["--version"], "").is_ok()
}

/// As fast as it goes while it waits as long as we do, and as often.
///
/// `-T5`, 900 to 1,000 at once and 20,000 a second (ARCHITECTURE, "The instrument"), and groups of hosts that are large
/// enough for that from the first on, without which it takes nearly twice as long. A timeout that adapts would end
/// before ours: only a fixed one compares (trap 6).
pub(super) fn tuned(list: &Path) -> Command {
    let mut command = Command::new("nmap");
    command
        .args(["-sT", "-n", "-Pn", "-p", "80", "-T5", "--max-retries", "1"])
        .args(["--min-parallelism", "900", "--max-parallelism", "1000"])
        .args(["--min-hostgroup", "1000"])
        .args(["--initial-rtt-timeout", "1000ms"])
        .args(["--min-rtt-timeout", "1000ms"])
        .args(["--max-rtt-timeout", "1000ms"])
        .args(["--min-rate", "20000", "-oG", "-", "-iL"])
        .arg(list);
    command
}

/// The word for each address in what `nmap -oG` prints.
pub(super) fn words(text: &str) -> BTreeMap<String, &'static str> {
    let line = |line: &str| {
        let address = line.strip_prefix("Host: ")?.split(' ').next()?;
        let word = match line.split("Ports: 80/").nth(1)?.split('/').next()? {
            "closed" => "refused",
            "filtered" => "timeout",
            "open" => "open",
            _ => "error",
        };
        Some((address.to_owned(), word))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nmap_prints_is_read_in_our_words() {
        let text = "# Nmap\nHost: 10.64.0.1 ()\tPorts: 80/open/tcp//http///\nHost: 10.64.0.2 ()\tPorts: 80/closed/tcp//http///\nHost: 10.64.0.3 ()\tPorts: 80/filtered/tcp//http///\n";
        let words: Vec<&str> = words(text).into_values().collect();
        assert_eq!(words, ["open", "refused", "timeout"]);
    }
}
