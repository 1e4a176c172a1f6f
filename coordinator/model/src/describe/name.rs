//! What the name of a file promises.

use super::Answer;

/// Endings that say nothing about the answer.
const ENDINGS: [&str; 8] = [
    ".gz", ".json", ".jsonl", ".ndjson", ".txt", ".yaml", ".yml", ".out",
];
/// Endings of what an editor or a download leaves behind.
const LEFTOVERS: [&str; 7] = ["~", ".bak", ".orig", ".old", ".tmp", ".swp", ".part"];
/// Endings of files that are meant to be read.
const JSON: [&str; 4] = [".json", ".jsonl", ".ndjson", ".gz"];

/// Name of what is read from standard input: it promises nothing.
pub const STDIN: &str = "standard input";

/// What the name of a file promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// Name without its endings, the key in a snapshot.
    pub(super) key: String,
    /// The answer.
    pub(super) answer: Option<&'static Answer>,
    /// What stands behind the stem.
    pub(super) id: Option<String>,
}

/// What is to be done with a file of a directory, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidacy {
    /// It promises an answer or is JSON: it must be readable.
    Answer,
    /// It is taken only if it holds an answer.
    Perhaps,
    /// It is left out: a dot file, or what an editor left behind.
    Never,
}

/// Says what is to be done with a file of a directory, by its name.
#[must_use]
pub fn candidacy(file: &str) -> Candidacy {
    let lower = file.to_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| lower.ends_with(ending));
    if file.starts_with('.') || ends(&LEFTOVERS) {
        Candidacy::Never
    } else if ends(&JSON) || claim(file).answer.is_some() {
        Candidacy::Answer
    } else {
        Candidacy::Perhaps
    }
}

/// Reads the name of a file, or the key of a member: `dir/describe-nodegroup.a.json.gz` is `describe-nodegroup` with id
/// `a`. Upper case and underscores count as the lower case and hyphens of the commands.
pub(super) fn claim(file: &str) -> Claim {
    let mut key = file.rsplit(['/', '\\', ' ']).next().unwrap_or(file);
    while let Some(shorter) = ENDINGS.iter().find_map(|ending| {
        let start = key.len().checked_sub(ending.len())?;
        let (rest, end) = key.split_at_checked(start)?;
        end.eq_ignore_ascii_case(ending).then_some(rest)
    }) {
        key = shorter;
    }
    let (command, id) = match key.split_once('.') {
        Some((command, id)) => (command, Some(id.to_owned())),
        None => (key, None),
    };
    let command = command.to_lowercase().replace('_', "-");
    Claim {
        key: key.to_owned(),
        answer: Answer::of_stem(&command),
        id,
    }
}

/// The id of that beginning anywhere in a name: `pl-0123` in `entries-of-pl-0123.json`.
pub(super) fn id_in(file: &str, prefix: &str) -> Option<String> {
    let start = file.find(prefix)?;
    let rest = file.get(start..)?;
    let (head, tail) = rest.split_at_checked(prefix.len())?;
    let end: String = tail
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    (!end.is_empty()).then(|| format!("{head}{end}"))
}

/// Whether an id is the number of a page: `2`, `page-2`, `part2`.
pub(super) fn is_page(id: &str) -> bool {
    let number = ["page", "part", "p"]
        .into_iter()
        .find_map(|word| id.strip_prefix(word))
        .unwrap_or(id)
        .trim_start_matches(['-', '_']);
    !number.is_empty() && number.chars().all(|character| character.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_without_its_endings() {
        let read = claim("world/Describe_Nodegroup.a.b.JSON.gz");
        assert_eq!(
            read.answer.map(|answer| answer.stem),
            Some("describe-nodegroup")
        );
        assert_eq!(read.id.as_deref(), Some("a.b"));
        assert_eq!(claim("notes.txt").answer, None);
    }

    #[test]
    fn dot_files_and_leftovers_are_never_read() {
        for name in [
            "._describe-vpcs.json",
            ".git",
            "describe-vpcs.json~",
            "describe-vpcs.json.bak",
        ] {
            assert_eq!(candidacy(name), Candidacy::Never, "{name}");
        }
        for name in ["describe-vpcs", "describe-vpcs.txt", "x.json", "x.json.gz"] {
            assert_eq!(candidacy(name), Candidacy::Answer, "{name}");
        }
        assert_eq!(candidacy("README.md"), Candidacy::Perhaps);
    }

    #[test]
    fn an_id_is_found_anywhere_in_a_name() {
        assert_eq!(
            id_in("entries-of-pl-0123.json", "pl-").as_deref(),
            Some("pl-0123")
        );
        assert_eq!(id_in("entries.json", "pl-"), None);
    }
}
