//! Words that depend on a number.

/// Writes a count with its noun: `1 flow`, `2 flows`, `0 flows`.
#[must_use]
pub fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}
