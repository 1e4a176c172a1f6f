#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::collections::BTreeSet;

use super::*;

#[test]
fn the_catalogue_is_read_and_names_every_claim_once() {
    let claims = catalogue().unwrap();
    let ids: BTreeSet<&str> = claims.iter().map(|claim| claim.id.as_str()).collect();
    assert_eq!(ids.len(), claims.len());
    for (prefix, last) in [("S", 21), ("DOC", 42)] {
        for number in 1..=last {
            let id = format!("{prefix}{number:02}");
            assert!(ids.contains(id.as_str()), "{id}");
        }
    }
    for id in ["P-01", "P-02", "P-03", "P-20", "P-25", "P-30", "P-33"] {
        assert!(ids.contains(id), "{id}");
    }
}

/// A file with one claim, whose parts are `parts`.
fn file(parts: &str) -> String {
    format!(
        "apiVersion: reachproof/v1\nkind: Claims\nclaims:\n  - id: X1\n    says: something\n    source: me\n    \
         date: \"2026\"\n{parts}"
    )
}

#[test]
fn a_wrong_file_is_refused_at_its_line() {
    let flow = |what: &str| {
        file(&format!(
            "    flows:\n      - {{from: nodes, to: control plane, {what}}}\n"
        ))
    };
    let check = |what: &str| file(&format!("    check:\n      - {what}\n"));
    let wrong: [(String, &str); 17] = [
        (
            "kind: Claims\nclaims: []".to_owned(),
            "1:1: key `apiVersion` is missing",
        ),
        (
            "apiVersion: v2\nclaims: []".to_owned(),
            "1:13: `apiVersion` must be `reachproof/v1`",
        ),
        (
            "apiVersion: reachproof/v1\nkind: Expectations\nclaims: []".to_owned(),
            "2:7: `kind` must be `Claims`",
        ),
        (
            "apiVersion: reachproof/v1\nkind: Claims".to_owned(),
            "1:1: key `claims` is missing",
        ),
        (
            file("    chek: []\n"),
            "8:5: unknown key `chek`, did you mean `check`?",
        ),
        (
            file(""),
            "4:5: nothing tests this claim: give it `check`, `flows`, or `by-hand` with what to do",
        ),
        (
            check("same-groups: {of: nodes}\n    by-hand: look"),
            "4:5: `by-hand` is for a claim that nothing here tests: leave out `check` and `flows`, or `by-hand`",
        ),
        (
            check("group: {of: nodes}"),
            "9:9: unknown key `group`, did you mean `groups`?",
        ),
        (
            check("groups: {of: nodes, include: the cluster group, are: additional groups}"),
            "9:17: `groups` has one of include, exclude, within, are",
        ),
        (
            check("rule: {of: the cluster group, ingress: all, to: itself}"),
            "9:15: key `from` is missing",
        ),
        (
            check("rule: {of: the cluster group, from: itself}"),
            "9:15: `rule` has `ingress` with `from`, or `egress` with `to`",
        ),
        (
            check("count: {of: nodes, least: many}"),
            "9:35: `least` must be a whole number",
        ),
        (
            check("setting: {name: private endpont, is: true}"),
            "9:25: there is no setting `private endpont`, did you mean `private endpoint`?",
        ),
        (
            check("network-acl: allows"),
            "9:22: `network-acl` must be one of `filters`, found `allows`",
        ),
        (
            flow("ports: 443, expect: shut"),
            "9:62: `expect` must be one of `open`, `closed`, `by the groups`, `as predicted`, `silent`, `from the interface`, found `shut`",
        ),
        (
            flow("ports: 70000, expect: open"),
            "9:49: `70000` is no port",
        ),
        (flow("expect: open"), "9:9: key `ports` is missing"),
    ];
    for (text, said) in &wrong {
        let fault = parse(text)
            .map(|_| String::new())
            .unwrap_or_else(|fault| fault.to_string());
        assert!(fault.starts_with(said), "{fault}\nwanted {said}\n{text}");
    }
}

#[test]
fn two_claims_of_one_id_are_refused() {
    let one = "  - {id: A, says: b, source: c, date: d, by-hand: e}\n";
    let text = format!("apiVersion: reachproof/v1\nclaims:\n{one}{one}");
    let fault = parse(&text).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "4:5: `A` stands twice: give each claim an id of its own"
    );
}
