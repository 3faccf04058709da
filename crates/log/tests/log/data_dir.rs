//! The guard of the data directory, on the real disk.

use std::fs;
use std::sync::Arc;

use forebay_base::PartitionId;
use forebay_log::{
    Cursor, DataDir, DataDirError, Journal, JournalOptions, RealDisk, SegmentStore, Source,
};

use crate::world::{append, commit_of};

#[test]
fn a_directory_is_made_once_and_keeps_its_identity() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("deep/data");
    let id = DataDir::open(&path).unwrap().journal_id();
    assert_eq!(DataDir::open(&path).unwrap().journal_id(), id);
    let text = fs::read_to_string(path.join("FOREBAY")).unwrap();
    assert_eq!(
        text,
        format!("forebay data directory\nversion 2\njournal {id:016x}\n")
    );
    let other = DataDir::open(&temp.path().join("other")).unwrap();
    assert_ne!(other.journal_id(), id);
}

#[test]
fn a_second_user_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let first = DataDir::open(temp.path()).unwrap();
    let error = DataDir::open(temp.path()).unwrap_err();
    assert!(matches!(error, DataDirError::Locked { .. }), "{error}");
    drop(first);
    DataDir::open(temp.path()).unwrap();
}

#[test]
fn a_foreign_directory_is_refused_and_left_as_it_is() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("thesis.txt"), "years of work").unwrap();
    let error = DataDir::open(temp.path()).unwrap_err();
    assert!(matches!(error, DataDirError::Foreign { .. }), "{error}");
    assert!(error.to_string().contains("thesis.txt"), "{error}");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
}

#[test]
fn the_root_of_a_new_volume_is_not_foreign() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("lost+found")).unwrap();
    DataDir::open(temp.path()).unwrap();
}

#[test]
fn a_later_version_and_a_broken_identity_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let identity = temp.path().join("FOREBAY");
    fs::write(
        &identity,
        "forebay data directory\nversion 3\nsomething new\n",
    )
    .unwrap();
    let error = DataDir::open(temp.path()).unwrap_err();
    assert!(
        matches!(error, DataDirError::Version { found: 3, .. }),
        "{error}"
    );
    for broken in [
        "",
        "another program\n",
        "forebay data directory\nversion 2\njournal 12\n",
    ] {
        fs::write(&identity, broken).unwrap();
        let error = DataDir::open(temp.path()).unwrap_err();
        assert!(matches!(error, DataDirError::Unreadable { .. }), "{error}");
    }
    fs::write(&identity, [0xff, 0xfe]).unwrap();
    assert!(matches!(
        DataDir::open(temp.path()),
        Err(DataDirError::Unreadable { .. })
    ));
}

#[test]
fn an_earlier_version_is_refused_and_left_as_it_is() {
    let temp = tempfile::tempdir().unwrap();
    let identity = temp.path().join("FOREBAY");
    let text = "forebay data directory\nversion 1\njournal 0123456789abcdef\n";
    fs::write(&identity, text).unwrap();
    let error = DataDir::open(temp.path()).unwrap_err();
    assert!(
        matches!(error, DataDirError::Outdated { found: 1, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("a new directory"), "{error}");
    assert_eq!(fs::read_to_string(&identity).unwrap(), text);
}

#[test]
fn a_file_in_the_place_of_the_directory_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("data");
    fs::write(&path, "").unwrap();
    assert!(matches!(DataDir::open(&path), Err(DataDirError::Disk(_))));
}

#[test]
fn the_real_disk_does_what_the_simulated_one_does() {
    let temp = tempfile::tempdir().unwrap();
    let data = DataDir::open(temp.path()).unwrap();
    let options = JournalOptions {
        file_size: 64 << 10,
        cache_bytes: 0,
        retain_bytes: 0,
        min_free_bytes: 0,
        ..JournalOptions::default()
    };
    let open = |replayed: &mut u64| {
        let disk = Arc::new(RealDisk);
        let replay = &mut |_, _: forebay_log::FrameRef<'_>| *replayed += 1;
        let segments = SegmentStore::local(disk.clone(), data.path());
        let id = data.journal_id();
        Journal::open(disk, data.path(), &options, id, segments, None, replay).unwrap()
    };
    let (mut journal, reader) = open(&mut 0);
    for offset in 0..200 {
        journal
            .write(commit_of(&[append(1, offset, 1, &[3; 1000])]))
            .unwrap();
    }
    let read = reader.read(
        PartitionId(1),
        0,
        1 << 20,
        &mut Cursor::default(),
        Source::Disk,
    );
    assert_eq!(read.unwrap().unwrap().len(), 200);
    drop(journal);
    let mut replayed = 0;
    let (mut journal, reader) = open(&mut replayed);
    assert_eq!(replayed, 200);
    reader.trim(PartitionId(1), 200);
    let end = journal.end();
    journal.drop_below(end).unwrap();
    for offset in 200..400 {
        journal
            .write(commit_of(&[append(1, offset, 1, &[3; 1000])]))
            .unwrap();
    }
    let read = reader.read(
        PartitionId(1),
        200,
        1 << 20,
        &mut Cursor::default(),
        Source::Disk,
    );
    assert_eq!(read.unwrap().unwrap().len(), 200);
}
