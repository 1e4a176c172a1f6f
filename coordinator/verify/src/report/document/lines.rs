//! A report as it is written ([`json`](crate::report::json)): each finding in a line of its own. So read, no more than one
//! finding is held as text, and none is read byte by byte.

use std::io::{self, BufRead, Read};

use reachproof_model::finding::Finding;

use crate::report::Report;

/// The line that begins the findings, and how the one begins that ends them.
const BEGIN: &[u8] = b"  \"findings\": [";
const END: &[u8] = b"  ]";

/// Longest line, in bytes: a text without lines is not taken into memory here.
const LINE_MAX: u64 = 64 << 20;

/// Reads a report that is laid out so; nothing where `text` is laid out otherwise, or is no such report.
///
/// # Errors
/// [`io::Error`] for what cannot be read.
pub(super) fn read(text: &mut impl BufRead) -> io::Result<Option<Report>> {
    let (mut around, mut findings, mut line) = (Vec::new(), Vec::new(), Vec::new());
    let mut place = Place::Before;
    while line_of(text, &mut line)? > 0 {
        let Some(content) = line.strip_suffix(b"\n") else {
            return Ok(None);
        };
        if place == Place::Within {
            let item = content.strip_suffix(b",");
            let Ok(finding) = serde_json::from_slice(item.unwrap_or(content)) else {
                return Ok(None);
            };
            findings.push(finding);
            place = item.map_or(Place::Last, |_| Place::Within);
            continue;
        }
        place = match place {
            Place::Before if content == BEGIN => Place::Within,
            Place::Last if content.starts_with(END) => Place::After,
            Place::Last => return Ok(None),
            Place::Before | Place::Within | Place::After => place,
        };
        around.extend_from_slice(&line);
    }
    Ok(whole(&around, findings))
}

/// Where a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Before,
    /// Among the findings; one follows.
    Within,
    /// After the last of them.
    Last,
    After,
}

/// Reads a line with its end, in place of the one before; its length.
fn line_of(text: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    line.clear();
    text.take(LINE_MAX).read_until(b'\n', line)
}

/// The report of `findings` and what stands around them.
fn whole(around: &[u8], findings: Vec<Finding>) -> Option<Report> {
    let report: Report = serde_json::from_slice(around).ok()?;
    // A report without findings has no line for them.
    (report.findings.is_empty() && !findings.is_empty()).then_some(Report { findings, ..report })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::path::Path;

    use super::*;
    use crate::report::json;

    fn written() -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/old/report.json.gz");
        json::render(&Report::open(&path).unwrap()).unwrap()
    }

    fn read(text: &str) -> Option<String> {
        let report = super::read(&mut text.as_bytes()).unwrap();
        report.map(|report| json::render(&report).unwrap())
    }

    #[test]
    fn a_report_is_read_line_by_line_as_it_was_written() {
        let written = written();
        assert!(written.contains("\n  \"findings\": [\n    {"));
        assert_eq!(read(&written).as_ref(), Some(&written));
    }

    #[test]
    fn a_text_that_is_laid_out_otherwise_or_is_no_json_is_left_to_others() {
        let written = written();
        let value: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(read(&value.to_string()), None, "in one line");
        assert_eq!(read(&format!("{value:#}\n")), None, "over many lines");
        let comma = written.replacen("},\n    {\"kind\":", "}\n    {\"kind\":", 1);
        assert_ne!(comma, written);
        assert_eq!(read(&comma), None, "a comma is missing");
        let findings = written.find("\n  \"findings\": [").unwrap();
        let end = findings + written[findings..].find("\n  ]").unwrap();
        let (begun, ended) = written.split_at(end);
        assert_eq!(read(&format!("{begun}\n")), None, "cut off");
        let twice = format!("{begun}\n  ],\n  \"findings\": [{ended}");
        assert_eq!(read(&twice), None, "findings twice");
        assert_eq!(read("{}\n"), None);
        assert_eq!(read(""), None);
    }
}
