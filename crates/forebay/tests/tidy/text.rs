//! The documents: what they point to is there, and they keep up with the program.

use std::fs;
use std::path::Path;

use crate::source::{files, root, shown};

/// The targets of `[text](target)` in Markdown.
fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    let documents = files(|path| path.extension().is_some_and(|extension| extension == "md"));
    assert!(
        documents.len() >= 8,
        "the documents have moved: this test looks at nothing"
    );
    let mut wrong = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            if !document
                .parent()
                .unwrap_or(Path::new(""))
                .join(target)
                .exists()
            {
                wrong.push(format!("{}: {link}", shown(&document)));
            }
        }
    }
    assert!(wrong.is_empty(), "dead links:\n{}", wrong.join("\n"));
}

#[test]
fn every_decision_says_why_and_what_it_costs() {
    let decisions = files(|path| path.parent().is_some_and(|p| p.ends_with("docs/decisions")));
    assert!(decisions.len() >= 7);
    for decision in decisions {
        let text = fs::read_to_string(&decision).unwrap();
        for heading in ["\n## Why\n", "\n## What\n", "\n## What it costs\n"] {
            assert!(
                text.contains(heading),
                "{} has no {heading:?}",
                shown(&decision)
            );
        }
    }
}

#[test]
fn the_changelog_begins_with_what_is_not_released() {
    let text = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let headings: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("## "))
        .collect();
    assert_eq!(headings.first(), Some(&"## Unreleased"));
}

#[test]
fn every_option_stands_in_the_operations_document() {
    let text = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let options = fs::read_to_string(root().join("crates/forebay/src/options.rs")).unwrap();
    let names: Vec<&str> = options
        .split("env = \"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(names.len() >= 10);
    for name in names {
        let flag = name
            .trim_start_matches("FOREBAY_")
            .to_lowercase()
            .replace('_', "-");
        assert!(
            text.contains(&format!("`--{flag}`")),
            "docs/operations.md says nothing of {flag}"
        );
    }
}
