//! What the Rust sources may be called, contain, and grow to.

use std::fs;
use std::path::{Path, PathBuf};

/// Names that say nothing of what is inside.
const EMPTY_NAMES: &[&str] = &[
    "common", "core", "util", "utils", "helper", "helpers", "types", "misc", "manager", "impls",
];

/// Words of sessions and wire fields. Below the front ends nobody speaks them, so that the next
/// protocol finds rooms without traces of the last one. (The record format is a public data
/// format, not a protocol: it may be named in documentation.)
const PROTOCOL_WORDS: &[&str] = &[
    "sqs",
    "amqp",
    "kafka",
    "rabbit",
    "visibility",
    "basic",
    "qos",
    "prefetch",
    "vhost",
    "delivery_tag",
    "consumer_tag",
    "receipt_handle",
    "message_group",
    "api_key",
];
const BELOW_THE_FRONT_ENDS: &[&str] = &["base", "record", "log", "queue", "stream", "broker"];
const PURE: &[&str] = &["record", "queue", "stream"];

/// A file is about 500 lines and gets a hard look at 1,000. One that is longer stands here with
/// the length it has; it may shrink, and its number with it, but not grow.
const LONGEST: usize = 1_000;
const LONG_FILES: &[(&str, usize)] = &[];

/// The top of the work tree.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// A path as it is written from the top of the work tree.
pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// Every file of the work tree that `wanted` says yes to, build output aside.
pub(crate) fn files(wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if wanted(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<(PathBuf, String)> {
    files(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}

/// The crate whose `src` the file lies in, if it lies in one and is not a file of tests.
fn room(path: &Path) -> Option<String> {
    let shown = shown(path);
    let (room, rest) = shown.strip_prefix("crates/")?.split_once("/src/")?;
    let tests = rest == "tests.rs" || rest.ends_with("/tests.rs") || rest.contains("tests/");
    (!tests).then(|| room.to_owned())
}

/// The code of a file: no comments, and nothing after its test module begins.
fn code(text: &str) -> String {
    let before_tests = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    let lines = before_tests
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// Looks for `words` in the code of the rooms, line by line; `see` prepares line and word alike.
fn lines_with(rooms: &[&str], words: &[&str], see: impl Fn(&str) -> String) -> Vec<String> {
    let mut found = Vec::new();
    let mut looked_at = 0;
    for (path, text) in sources() {
        if !room(&path).is_some_and(|room| rooms.contains(&room.as_str())) {
            continue;
        }
        looked_at += 1;
        for (number, line) in code(&text).lines().enumerate() {
            let line = see(line);
            for word in words.iter().filter(|word| line.contains(&see(word))) {
                found.push(format!("{}:{}: {word}", shown(&path), number + 1));
            }
        }
    }
    assert!(
        looked_at >= rooms.len(),
        "the rooms have moved: this test looks at nothing"
    );
    found
}

/// The identifiers of a line in one form, so that `KafkaError`, `kafka_error` and `"kafka.error"`
/// are all `_kafka_error_`.
fn identifiers(line: &str) -> String {
    let mut words = String::from("_");
    let mut before = ' ';
    for letter in line.chars() {
        let hump = letter.is_uppercase() && before.is_lowercase();
        if (hump || !letter.is_alphanumeric()) && !words.ends_with('_') {
            words.push('_');
        }
        if letter.is_alphanumeric() {
            words.extend(letter.to_lowercase());
        }
        before = letter;
    }
    if !words.ends_with('_') {
        words.push('_');
    }
    words
}

#[test]
fn no_protocol_word_is_spoken_below_the_front_ends() {
    let wrong = lines_with(BELOW_THE_FRONT_ENDS, PROTOCOL_WORDS, identifiers);
    assert!(
        wrong.is_empty(),
        "translate at the door:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_protocol_word_check_sees_what_it_should() {
    let found = |line: &str, word: &str| identifiers(line).contains(&identifiers(word));
    assert!(found("fn basic_ack()", "basic"));
    assert!(found("struct KafkaError;", "kafka"));
    assert!(found("let visibility = 3;", "visibility"));
    assert!(found("self.deliveryTag", "delivery_tag"));
    assert!(found("\"amqp.properties\"", "amqp"));
    assert!(!found("let basically = 1;", "basic"));
    assert_eq!(code("a // kafka\n#[cfg(test)]\nmod tests {\nkafka"), "a ");
}

#[test]
fn only_the_log_and_the_binary_open_files() {
    let words = [
        "std::fs",
        "tokio::fs",
        "File::open",
        "File::create",
        "OpenOptions",
    ];
    let others = [
        "base",
        "record",
        "queue",
        "stream",
        "broker",
        "access",
        "sqs",
        "amqp",
        "kafka",
        "management",
        "console",
    ];
    let wrong = lines_with(&others, &words, str::to_owned);
    assert!(
        wrong.is_empty(),
        "files are the log's:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_pure_rooms_read_no_clock_and_wait_for_nothing() {
    let words = [
        "async",
        ".await",
        "Instant",
        "SystemTime",
        "std::net",
        "std::thread",
        "std::env",
    ];
    let wrong = lines_with(PURE, &words, str::to_owned);
    assert!(wrong.is_empty(), "pure rooms:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_is_named_for_what_is_in_it() {
    let mut wrong = Vec::new();
    for (path, _) in sources() {
        let shown = shown(&path);
        if shown
            .split('/')
            .any(|part| EMPTY_NAMES.contains(&part.trim_end_matches(".rs")))
        {
            wrong.push(shown);
        }
    }
    assert!(
        wrong.is_empty(),
        "these names say nothing:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn files_stay_short() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let (shown, lines) = (shown(&path), text.lines().count());
        let known = LONG_FILES
            .iter()
            .find(|(name, _)| *name == shown)
            .map(|(_, length)| *length);
        match known {
            None if lines > LONGEST => wrong.push(format!("{shown} has {lines} lines: split it")),
            Some(length) if lines > length => {
                wrong.push(format!("{shown} has grown from {length} to {lines} lines"));
            }
            Some(length) if lines + 50 < length => {
                wrong.push(format!(
                    "{shown} has {lines} lines now: lower its number, {length}"
                ));
            }
            None | Some(_) => {}
        }
    }
    for (name, _) in LONG_FILES {
        if !root().join(name).exists() {
            wrong.push(format!("{name} is gone: take it off the list"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_crate_says_why_it_exists() {
    let roots = files(|path| {
        path.file_name()
            .is_some_and(|name| name == "lib.rs" || name == "main.rs")
            && path.parent().is_some_and(|folder| folder.ends_with("src"))
    });
    assert!(roots.len() >= 11);
    for path in roots {
        let text = fs::read_to_string(&path).unwrap();
        let head = text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .count();
        assert!(
            head >= 3,
            "{} does not begin with a paragraph of //!",
            shown(&path)
        );
    }
}

#[test]
fn what_is_left_to_do_stands_in_an_issue() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) && !line.contains("(issue ") {
                wrong.push(format!("{}:{}: {}", shown(&path), number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
