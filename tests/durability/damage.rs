//! Damaged journals: a torn end is cut, damage anywhere else is named and nothing is served.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use forebay_tests::letter::{collect, make_topic, send};
use forebay_tests::{Forebay, Letter, Protocol};

use crate::alone;

/// The journal file with the most in it that is not zero, and where its last byte that is not zero
/// lies. Files are laid out in advance, so what follows is zeros.
fn journal(data_dir: &Path) -> (PathBuf, u64) {
    let mut files = Vec::new();
    let mut folders = vec![data_dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "journal")
            {
                files.push(path);
            }
        }
    }
    let last_byte = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .unwrap_or_default() as u64
    };
    let found = files.into_iter().map(|path| (last_byte(&path), path)).max();
    let (last, path) = found.expect("a journal file");
    (path, last)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_last_commit_is_cut_with_a_line_in_the_trace() {
    let _alone = alone().await;
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    make_topic(&forebay, Protocol::Kafka, "events").await;
    let letters: Vec<Letter> = (0..20)
        .map(|n| Letter::text(format!("event {n}")))
        .collect();
    send(&forebay, Protocol::Kafka, "events", &letters).await;
    send(
        &forebay,
        Protocol::Kafka,
        "events",
        &[Letter::text("torn ".repeat(2_000))],
    )
    .await;
    let start = forebay.kill().await;

    let (path, last) = journal(dir.path());
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0; 64], last - 63).unwrap();

    let forebay = start.run().await;
    let said = forebay.said();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    assert!(
        said.lines()
            .any(|line| line.contains(&name) && line.contains("cut")),
        "no word of the cut in:\n{said}"
    );
    assert_eq!(
        collect(&forebay, Protocol::Kafka, "events", letters.len()).await,
        letters
    );
    assert_eq!(
        forebay_tests::kafka::record_count(forebay.kafka(), "events").await,
        20
    );
    forebay.assert_healthy().await;
    // And the next start finds nothing to cut.
    let forebay = forebay.kill_and_restart().await;
    assert!(
        !forebay.said().contains("torn commit"),
        "{}",
        forebay.said()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_the_middle_refuses_to_start_and_names_file_and_position() {
    let _alone = alone().await;
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    make_topic(&forebay, Protocol::Kafka, "events").await;
    for n in 0..20 {
        send(
            &forebay,
            Protocol::Kafka,
            "events",
            &[Letter::text(format!("event {n} ").repeat(100))],
        )
        .await;
    }
    let start = forebay.kill().await;

    let (path, last) = journal(dir.path());
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let flip = |at: u64| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
    };
    flip(last / 2);
    let (status, said) = start.refused().await;
    println!("{said}");
    assert!(!status.success());
    assert!(!said.contains("panicked"), "{said}");
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let sentence = said
        .lines()
        .find(|line| line.starts_with("forebay: "))
        .unwrap_or_default();
    assert!(sentence.contains(&name), "the file is not named: {said}");
    let numbers = sentence
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|word| word.parse::<u64>().ok());
    // The position is where the damaged commit starts, some way before the byte.
    assert!(
        numbers
            .into_iter()
            .any(|number| number > 0 && number <= last / 2 && number + 8_192 > last / 2),
        "no position near {} in: {sentence}",
        last / 2,
    );
    // Refusing has changed nothing: with the byte put right, all is there.
    flip(last / 2);
    let forebay = start.run().await;
    assert_eq!(
        forebay_tests::kafka::record_count(forebay.kafka(), "events").await,
        20
    );
}
