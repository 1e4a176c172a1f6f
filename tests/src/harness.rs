//! A small test harness for tests that must run in namespaces of their own.
//!
//! The usual harness starts threads before a test can isolate itself. This one isolates first, then runs its cases, and
//! prints what the usual one would. It knows the filters and flags that `cargo test` passes on.

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use reachproof_lab::{Isolation, is_isolating, isolate};

/// What a case ends with.
pub type CaseResult = Result<(), Box<dyn Error>>;

/// What must be made before the program is isolated: there is no network and no cache afterwards.
pub type Preparation = fn() -> CaseResult;

/// One test.
#[derive(Clone, Copy)]
pub struct Case {
    /// A sentence about behaviour.
    pub name: &'static str,
    /// Why it only runs when asked for; `None` for an ordinary test.
    pub ignored: Option<&'static str>,
    /// The test.
    pub run: fn() -> CaseResult,
}

/// Which cases the arguments ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Selection {
    filters: Vec<String>,
    exact: bool,
    list: bool,
    ordinary_left_out: bool,
    ignored_included: bool,
}

impl Selection {
    fn read(arguments: impl Iterator<Item = String>) -> Self {
        let mut selection = Selection::default();
        for argument in arguments {
            match argument.as_str() {
                "--exact" => selection.exact = true,
                "--list" => selection.list = true,
                "--include-ignored" => selection.ignored_included = true,
                "--ignored" => {
                    selection.ignored_included = true;
                    selection.ordinary_left_out = true;
                }
                flag if flag.starts_with('-') => {}
                filter => selection.filters.push(filter.to_owned()),
            }
        }
        selection
    }

    /// Whether the filters let a name pass.
    fn names(&self, name: &str) -> bool {
        let fits = |filter: &String| {
            if self.exact {
                filter == name
            } else {
                name.contains(filter)
            }
        };
        self.filters.is_empty() || self.filters.iter().any(fits)
    }

    fn runs(&self, case: &Case) -> bool {
        match case.ignored {
            Some(_) => self.ignored_included,
            None => !self.ordinary_left_out,
        }
    }
}

/// Prepares once, isolates the program, and runs those of `cases` that its arguments ask for, one after the other.
///
/// To be called first thing in `main`. Ends with failure if a case or the preparation fails, or the program cannot be
/// isolated.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a harness says what it runs"
)]
pub fn run_cases(prepare: Preparation, cases: &[Case]) -> ExitCode {
    let selection = Selection::read(std::env::args().skip(1));
    let named: Vec<&Case> = cases
        .iter()
        .filter(|case| selection.names(case.name))
        .collect();
    if selection.list {
        named
            .iter()
            .for_each(|case| println!("{}: test", case.name));
        return ExitCode::SUCCESS;
    }
    let wanted = named.iter().any(|case| selection.runs(case));
    if wanted
        && !is_isolating()
        && let Err(error) = prepare()
    {
        eprintln!("{}", explain(error.as_ref()));
        return ExitCode::FAILURE;
    }
    match isolate() {
        Ok(Isolation::Inside) => {}
        Ok(Isolation::Finished(code)) => return code,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    let failed = run_all(&named, &selection, cases.len() - named.len());
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs the cases and says so; returns how many failed. `filtered` counts those that no filter let pass.
#[expect(clippy::print_stdout, reason = "a harness says what it runs")]
fn run_all(named: &[&Case], selection: &Selection, filtered: usize) -> usize {
    let (mut passed, mut failed, mut ignored) = (0, 0, 0);
    println!("\nrunning {} tests", named.len());
    for case in named {
        if !selection.runs(case) {
            ignored += 1;
            println!(
                "test {} ... ignored, {}",
                case.name,
                case.ignored.unwrap_or("not asked for")
            );
            continue;
        }
        let start = Instant::now();
        match (case.run)() {
            Ok(()) => {
                passed += 1;
                println!(
                    "test {} ... ok <{:.1} s>",
                    case.name,
                    start.elapsed().as_secs_f32()
                );
            }
            Err(error) => {
                failed += 1;
                println!("test {} ... FAILED\n{}", case.name, explain(error.as_ref()));
            }
        }
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; {filtered} filtered out\n"
    );
    failed
}

/// An error with its causes, in one line.
#[must_use]
pub fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(arguments: &[&str]) -> Selection {
        Selection::read(arguments.iter().map(|argument| (*argument).to_owned()))
    }

    fn case(ignored: Option<&'static str>) -> Case {
        Case {
            name: "worlds_agree",
            ignored,
            run: || Ok(()),
        }
    }

    #[test]
    fn ignored_cases_run_only_when_asked_for() {
        let (ordinary, long) = (case(None), case(Some("needs minutes")));
        let runs = |arguments: &[&str]| {
            let selection = selection(arguments);
            (selection.runs(&ordinary), selection.runs(&long))
        };
        assert_eq!(runs(&[]), (true, false));
        assert_eq!(runs(&["--ignored"]), (false, true));
        assert_eq!(runs(&["--include-ignored", "--nocapture"]), (true, true));
    }

    #[test]
    fn filters_are_parts_of_names_unless_they_are_exact() {
        assert!(selection(&["agree"]).names("worlds_agree"));
        assert!(!selection(&["agree", "--exact"]).names("worlds_agree"));
        assert!(!selection(&["other"]).names("worlds_agree"));
        assert!(selection(&[]).names("worlds_agree"));
    }
}
