//! Names that come near a word that nobody has: what somebody may have meant.

use strsim::osa_distance;

/// Most names that are listed.
pub const NEAR_MAX: usize = 5;

/// Shortest text that is looked for inside another one: shorter ones are in everything.
const PART_MIN: usize = 3;

/// Returns the names that come near a word, nearest first, each once: those that hold it or that it holds, and those that are
/// a few slips of the pen away from it. Capital letters do not matter.
#[must_use]
pub fn near<T: AsRef<str> + Ord>(word: &str, names: impl IntoIterator<Item = T>) -> Vec<T> {
    let word = word.to_lowercase();
    let mut found: Vec<(usize, T)> = names
        .into_iter()
        .filter_map(|name| Some((distance(&word, name.as_ref())?, name)))
        .collect();
    found.sort();
    found.dedup_by(|one, other| one.1 == other.1);
    found.truncate(NEAR_MAX);
    found.into_iter().map(|(_, name)| name).collect()
}

/// How far a name is from a word; absent where they have little in common.
fn distance(word: &str, name: &str) -> Option<usize> {
    let name = name.to_lowercase();
    let slips_max = word.chars().count().div_ceil(3);
    let is_part = |part: &str, whole: &str| part.len() >= PART_MIN && whole.contains(part);
    let length = name.chars().count();
    let may_be_slip = length.abs_diff(word.chars().count()) <= slips_max;
    let slips = may_be_slip.then(|| osa_distance(word, &name));
    let slips = slips.filter(|slips| *slips <= slips_max);
    let is_part = is_part(word, &name) || is_part(&name, word);
    slips.or_else(|| is_part.then(|| slips_max + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_come_before_names_that_hold_the_word() {
        let names = ["kube-system/coredns-1", "coredns", "other", "coredsn"];
        assert_eq!(
            near("CoreDNS", names),
            ["coredns", "coredsn", "kube-system/coredns-1"]
        );
    }

    #[test]
    fn short_words_are_no_part_of_everything() {
        assert_eq!(near("a", ["banana", "b"]), ["b"]);
        assert!(near("xyz", ["banana"]).is_empty());
    }

    #[test]
    fn a_long_list_is_cut() {
        let names: Vec<String> = (0..20).map(|number| format!("node-{number}")).collect();
        assert_eq!(near("node", &names).len(), NEAR_MAX);
    }
}
