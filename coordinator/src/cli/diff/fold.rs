//! Rows that say the same of endpoints that are alike, as one line with their number and an example.

use std::collections::{BTreeMap, BTreeSet};

use reachproof_model::change::{Concern, PartyLabel, ToldChange};
use reachproof_model::words::counted;

/// Most rows that are alike and stand one by one; more of them are one line.
const ALIKE_MAX: usize = 3;

fn columns(row: &ToldChange) -> [String; 6] {
    let needed = match row.concern {
        Concern::Expectation => " (the cluster needs it)",
        Concern::Other => "",
    };
    [
        format!("{}{needed}", row.word),
        row.source.whole.clone(),
        row.destination.whole.clone(),
        row.packets.clone(),
        row.verdict.clone(),
        row.because.clone(),
    ]
}

/// What alike rows have in common.
fn key(row: &ToldChange) -> [&str; 5] {
    [
        row.word,
        &row.source.kind,
        &row.destination.kind,
        &row.verdict,
        &row.because,
    ]
}

/// Rows as they are.
pub(super) fn plain(rows: &[ToldChange]) -> Vec<[String; 6]> {
    let mut cells: Vec<_> = rows.iter().map(columns).collect();
    cells.dedup();
    cells
}

/// Rows in their order; those of which more than a few are alike are one line, where the first of them stood.
pub(super) fn folded(rows: &[ToldChange]) -> Vec<[String; 6]> {
    let mut alike: BTreeMap<[&str; 5], Vec<&ToldChange>> = BTreeMap::new();
    for row in rows {
        alike.entry(key(row)).or_default().push(row);
    }
    let mut told = BTreeSet::new();
    let mut cells = Vec::new();
    for row in rows {
        match alike.get(&key(row)) {
            Some(all) if all.len() > ALIKE_MAX => {
                if told.insert(key(row)) {
                    cells.push(together(row, all));
                }
            }
            Some(_) | None => cells.push(columns(row)),
        }
    }
    cells.dedup();
    cells
}

/// Alike rows as one line, of which the first is the example.
fn together(first: &ToldChange, all: &[&ToldChange]) -> [String; 6] {
    let needed = all.iter().any(|row| row.concern == Concern::Expectation);
    let needed = if needed {
        " (the cluster needs some)"
    } else {
        ""
    };
    let packets: BTreeSet<&str> = all.iter().map(|row| row.packets.as_str()).collect();
    let others = match packets.len() {
        0 | 1 => String::new(),
        count => format!(" and {}", counted(count - 1, "more kind", "more kinds")),
    };
    let end = |label: &PartyLabel| format!("{}, e.g. {}", label.kind, label.example);
    [
        format!("{}{needed}: {} alike", first.word, all.len()),
        end(&first.source),
        end(&first.destination),
        format!("{}{others}", first.packets),
        first.verdict.clone(),
        first.because.clone(),
    ]
}

/// Ids of which one thing is said, a line each, or the first few and how many more.
pub(super) fn lines(what: &str, ids: &[String], about: &str, is_all: bool) -> Vec<String> {
    let line = |id: &String| format!("{what} {id}{about}");
    if is_all || ids.len() <= ALIKE_MAX {
        return ids.iter().map(line).collect();
    }
    let shown: Vec<&str> = ids.iter().take(ALIKE_MAX).map(String::as_str).collect();
    let more = ids.len().saturating_sub(ALIKE_MAX);
    vec![format!(
        "{} times: {what} {} and {more} more{about}",
        ids.len(),
        shown.join(", ")
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(packets: &str, place: &str) -> ToldChange {
        let label = |whole: &str| PartyLabel {
            whole: format!("nodes in {whole}"),
            kind: "nodes".to_owned(),
            example: whole.to_owned(),
        };
        ToldChange {
            word: "lost",
            concern: Concern::Other,
            source: label(place),
            destination: label("b"),
            packets: packets.to_owned(),
            verdict: "allow -> deny".to_owned(),
            because: "sgr-1".to_owned(),
        }
    }

    #[test]
    fn a_few_rows_stand_one_by_one_and_many_alike_are_one_line() {
        let few = [row("tcp/1", "a"), row("udp/1", "a"), row("udp/2", "c")];
        assert_eq!(folded(&few), plain(&few));
        let mut many = few.to_vec();
        many.push(ToldChange {
            concern: Concern::Expectation,
            ..row("tcp/1", "d")
        });
        many.push(ToldChange {
            because: "sgr-2".to_owned(),
            ..row("tcp/1", "d")
        });
        let cells = folded(&many);
        assert_eq!(
            cells
                .first()
                .map(|cells| cells.each_ref().map(String::as_str)),
            Some([
                "lost (the cluster needs some): 4 alike",
                "nodes, e.g. a",
                "nodes, e.g. b",
                "tcp/1 and 2 more kinds",
                "allow -> deny",
                "sgr-1"
            ])
        );
        assert_eq!(cells.len(), 2);
        assert_eq!(plain(&many).len(), 5);
    }

    #[test]
    fn many_ids_are_one_line_unless_all_are_wanted() {
        let ids: Vec<String> = (1..=5).map(|number| format!("eni-{number}")).collect();
        assert_eq!(
            lines("gone interface", &ids, ", replaced", false),
            ["5 times: gone interface eni-1, eni-2, eni-3 and 2 more, replaced"]
        );
        assert_eq!(lines("gone interface", &ids, "", true).len(), 5);
    }
}
