//! A full disk.

use std::sync::mpsc;

use forebay_base::PartitionId;
use forebay_log::{JournalNews, JournalThread, Space, WriteError};

use crate::world::{Frame, World, append, commit_of};

const FILE: u64 = 16 << 10;

#[test]
fn a_full_disk_is_told_early_refuses_without_harm_and_recovers() {
    let world = World::new(FILE);
    world.disk.set_capacity(Some(2 * FILE + 100));
    let mut opened = world.open();
    let space = opened.journal.space();
    let mut written = 0;
    let refused = loop {
        match opened.write(&[append(1, written, 1, &[7; 900])]) {
            Ok(committed) => {
                written += 1;
                if committed.position.0 / FILE == 2 {
                    assert_eq!(
                        space.get(),
                        Space::Low,
                        "told as soon as the last file is begun"
                    );
                }
            }
            Err(WriteError::NoSpace { commit }) => break commit,
            Err(other) => panic!("{other}"),
        }
    };
    assert!(written > 30);
    opened.reader.trim(PartitionId(1), written);
    opened.journal.drop_below(opened.journal.end()).unwrap();
    assert_eq!(space.get(), Space::Ok, "a dropped file is room enough");
    opened.journal.write(refused).unwrap();
    assert_eq!(
        opened.reader.bounds(PartitionId(1)).unwrap().end,
        written + 1
    );
    world.disk.crash(None);
    assert!(world.disk.content(&World::file(3)).is_some());
}

#[test]
fn space_that_returns_is_noticed_at_the_next_write() {
    let world = World::new(FILE);
    world.disk.set_capacity(Some(FILE));
    let mut opened = world.open();
    let big = [Frame::State(vec![1; 12 << 10])];
    opened.write(&big).unwrap();
    assert_eq!(opened.journal.space().get(), Space::Low);
    let Err(WriteError::NoSpace { commit }) = opened.write(&big) else {
        panic!()
    };
    world.disk.set_capacity(None);
    opened.journal.write(commit).unwrap();
    assert_eq!(opened.journal.space().get(), Space::Ok);
    assert_eq!(world.open().replayed.len(), 2);
}

#[test]
fn a_commit_that_fits_no_file_is_handed_back() {
    let world = World::new(FILE);
    let mut opened = world.open();
    let limit = usize::try_from(opened.journal.max_commit_bytes()).unwrap();
    let fits = [Frame::State(vec![0; limit - 40 - 8])];
    assert_eq!(opened.write(&fits).unwrap().bytes, limit as u64);
    let large = [Frame::State(vec![0; limit - 40 - 7])];
    match opened.write(&large) {
        Err(WriteError::TooLarge {
            bytes,
            limit,
            commit,
        }) => {
            assert!(bytes > limit);
            assert!(!commit.is_empty());
        }
        other => panic!("{other:?}"),
    }
    opened.write(&fits).unwrap();
}

#[test]
fn the_threads_write_in_order_and_recover_from_a_full_disk() {
    let world = World::new(FILE);
    world.disk.set_capacity(Some(3 * FILE));
    let opened = world.open();
    let (tell, told) = mpsc::channel();
    let thread = JournalThread::spawn(
        opened.journal,
        Box::new(move |done| tell.send(done).unwrap()),
    )
    .unwrap();
    let mut offset = 0;
    let mut refusals = 0;
    while offset < 200 {
        let mut commit = commit_of(&[append(1, offset, 1, &[7; 900])]);
        loop {
            thread.submit(commit);
            let written = loop {
                if let JournalNews::Written(written) = told.recv().unwrap() {
                    break written;
                }
            };
            match written {
                Ok(_) => break,
                Err(WriteError::NoSpace { commit: refused }) => {
                    refusals += 1;
                    assert_eq!(thread.space().get(), Space::Low);
                    opened.reader.trim(PartitionId(1), offset);
                    thread.drop_below(opened.reader.durable_end());
                    commit = refused;
                }
                Err(other) => panic!("{other}"),
            }
        }
        offset += 1;
    }
    drop(thread);
    assert!(refusals > 0);
    let bounds = opened.reader.bounds(PartitionId(1)).unwrap();
    assert_eq!(bounds.end, 200);
}
