//! The arrows between the rooms, as ARCHITECTURE.md draws them.

use std::collections::BTreeMap;
use std::process::Command;

/// What each crate depends on, exactly. Pure rooms have no runtime, no file system and no clock in their
/// list; a new name here is a decision about the house, not a detail of a change.
const ARROWS: &[(&str, &str)] = &[
    ("forebay-base", "serde"),
    (
        "forebay-record",
        "bytes crc32c flate2 lz4_flex snap thiserror zstd",
    ),
    ("forebay-queue", "forebay-base serde thiserror"),
    ("forebay-stream", "forebay-base bytes serde thiserror"),
    (
        "forebay-log",
        "forebay-base async-trait bytes crc32c foldhash futures-util hashbrown object_store \
         parking_lot pollster postcard rustix serde thiserror tokio tracing",
    ),
    (
        "forebay-broker",
        "forebay-base forebay-record forebay-log forebay-queue forebay-stream bytes foldhash \
         hashbrown parking_lot postcard serde siphasher thiserror tokio tracing twox-hash",
    ),
    (
        "forebay-access",
        "forebay-broker base64 fancy-regex md-5 parking_lot serde serde_json sha2 thiserror tokio \
         tracing uuid",
    ),
    (
        "forebay-sqs",
        "forebay-base forebay-record forebay-broker base64 bytes crc32c hmac http-body-util \
         humantime hyper hyper-util md-5 quick-xml serde serde_json sha2 tokio tokio-util tracing uuid",
    ),
    (
        "forebay-amqp",
        "forebay-access forebay-base forebay-record forebay-broker amq-protocol bytes hashbrown \
         parking_lot serde_json thiserror tokio tokio-util tracing uuid",
    ),
    (
        "forebay-kafka",
        "forebay-base forebay-record forebay-broker bytes hashbrown kafka-protocol thiserror \
         tokio tokio-util tracing uuid",
    ),
    (
        "forebay-management",
        "forebay-access forebay-amqp forebay-base forebay-broker amq-protocol axum base64 hashbrown \
         parking_lot percent-encoding serde_json tokio tokio-util",
    ),
    (
        "forebay-console",
        "forebay-base forebay-broker forebay-management axum tokio tokio-util",
    ),
    (
        "forebay-sim",
        "forebay-base forebay-record forebay-log forebay-broker async-trait bytes clap futures-util \
         object_store tracing-subscriber",
    ),
    (
        "forebay",
        "forebay-access forebay-base forebay-broker forebay-sqs forebay-amqp forebay-kafka \
         forebay-management forebay-console \
         bytes bytesize clap futures-util humantime mimalloc object_store reqwest rustix rustls serde \
         serde_json thiserror tokio tokio-util toml tracing tracing-subscriber url",
    ),
];

/// Packages that stand outside the arrows: they use the program from without.
const OUTSIDE: &[&str] = &["forebay-tests", "forebay-examples", "forebay-bench"];

/// Each member's normal dependencies.
fn members() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(crate::source::root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap();
            let normal = dependencies
                .iter()
                .filter(|d| d["kind"].is_null())
                .map(name)
                .collect();
            (name(package), normal)
        })
        .collect()
}

#[test]
fn each_crate_depends_on_what_its_arrows_say() {
    let mut wrong = Vec::new();
    for (name, dependencies) in members() {
        if OUTSIDE.contains(&name.as_str()) {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(member, _)| *member == name) else {
            wrong.push(format!("{name} has no place in the arrows"));
            continue;
        };
        let allowed: Vec<&str> = allowed.split(' ').collect();
        for dependency in &dependencies {
            if !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{name} -> {dependency} is no arrow of the house"));
            }
        }
        for arrow in allowed {
            if !dependencies.iter().any(|dependency| dependency == arrow) {
                wrong.push(format!(
                    "{name} -> {arrow} is not used any more: take it away"
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "see ARCHITECTURE.md:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_arrows_name_no_crate_that_is_gone() {
    let members = members();
    for (name, _) in ARROWS {
        assert!(
            members.contains_key(*name),
            "{name} is in the arrows and not in the workspace"
        );
    }
}
