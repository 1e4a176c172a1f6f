//! The findings that somebody names: by words of their lines, and by names of their ends.

use std::collections::BTreeSet;

use reachproof_model::finding::Finding;
use reachproof_model::near::near;
use reachproof_model::net::Printable;
use reachproof_model::selector::Selector;

use super::finding::{block, line};
use super::page::Page;
use crate::report::Report;

/// One of the things that a finding must have.
struct Term<'w> {
    text: &'w str,
    /// Who is meant, if it is an end.
    selector: Option<Selector>,
}

impl<'w> Term<'w> {
    fn new(text: &'w str) -> Self {
        Self {
            text,
            selector: text.parse().ok(),
        }
    }

    /// Whether an end of any finding is meant.
    fn is_end(&self, report: &Report) -> bool {
        let mut ends = report.endpoints.iter();
        let selector = self.selector.as_ref();
        selector.is_some_and(|selector| {
            ends.any(|(address, label)| selector.means(*address, &label.names))
        })
    }

    /// Whether a finding has it: in its line, or as a name of one of its ends.
    fn fits(&self, report: &Report, finding: &Finding, line: &str) -> bool {
        let ends = [finding.flow.source, finding.flow.destination];
        let is_meant = |selector: &Selector| {
            ends.into_iter().any(|address| {
                let label = report.endpoints.get(&address);
                let names = label.map_or(&[][..], |label| &label.names);
                selector.means(address, names)
            })
        };
        line.contains(self.text) || self.selector.as_ref().is_some_and(is_meant)
    }
}

/// What `words` ask for: names of ends with blanks in them whole, everything else word by word.
fn terms<'w>(report: &Report, words: &'w str) -> Vec<Term<'w>> {
    let parts = words.split("->").map(str::trim);
    let parts = parts.filter(|part| !part.is_empty());
    parts
        .flat_map(|part| {
            let whole = Term::new(part);
            if whole.is_end(report) {
                vec![whole]
            } else {
                part.split_whitespace().map(Term::new).collect()
            }
        })
        .collect()
}

/// Every finding that has all that `words` ask for, with its whole evidence.
pub(super) fn matching(report: &Report, words: &str, page: &mut Page) {
    let terms = terms(report, words);
    let found: Vec<&Finding> = report
        .findings
        .iter()
        .filter(|finding| {
            let line = line(report, finding);
            terms.iter().all(|term| term.fits(report, finding, &line))
        })
        .collect();
    let asked: Vec<&str> = terms.iter().map(|term| term.text).collect();
    page.heading(&format!("Flows with {} ({})", asked.join(" "), found.len()));
    for finding in &found {
        block(report, finding, page);
    }
    if found.is_empty() {
        nothing(report, &terms, page);
    }
}

/// Says why nothing was found, and what comes near.
fn nothing(report: &Report, terms: &[Term<'_>], page: &mut Page) {
    page.text(
        2,
        "no flow of this run: give words of a line of the report, like an address and tcp/443, or names of ends",
    );
    for term in terms {
        let mut findings = report.findings.iter();
        if findings.any(|finding| term.fits(report, finding, &line(report, finding))) {
            continue;
        }
        let names = report.endpoints.values().flat_map(|label| &label.names);
        let names: BTreeSet<&str> = names.map(|own| own.name.as_str()).collect();
        let near = near(term.text, names).join("`, `");
        let near = match near.as_str() {
            "" => String::new(),
            near => format!("; near it: `{near}`"),
        };
        let line = format!("nothing is called `{}`{near}", term.text);
        page.text(2, &Printable(&line).to_string());
    }
}
