//! What an opened journal says of the past.

use forebay_base::PartitionId;
use forebay_log::{Position, RecoverError, ReplayFrom};

use crate::world::{Frame, Opened, World, append};

/// Commits of about a kilobyte, so that a file of 16 KiB is full after a few.
fn filler(number: u64) -> Vec<Frame> {
    vec![
        append(1, number, 1, &[u8::try_from(number % 251).unwrap(); 900]),
        Frame::State(number.to_le_bytes().to_vec()),
    ]
}

fn write_fillers(opened: &mut Opened, numbers: std::ops::Range<u64>) {
    for number in numbers {
        opened.write(&filler(number)).unwrap();
    }
}

#[test]
fn what_was_written_is_replayed_in_order_across_files() {
    let world = World::new(16 << 10);
    let mut opened = world.open();
    let mut expected = Vec::new();
    for number in 0..100 {
        let committed = opened.write(&filler(number)).unwrap();
        expected.extend(
            filler(number)
                .into_iter()
                .map(|frame| (committed.position, frame)),
        );
    }
    let end = opened.journal.end();
    world.disk.crash(None);
    let opened = world.open();
    assert_eq!(opened.replayed, expected);
    assert_eq!(opened.journal.end(), end);
    let bounds = opened.reader.bounds(PartitionId(1)).unwrap();
    assert_eq!((bounds.start, bounds.end), (0, 100));
}

#[test]
fn a_flipped_bit_in_the_middle_refuses_and_names_file_and_position() {
    let world = World::new(16 << 10);
    let mut opened = world.open();
    let committed: Vec<_> = (0..40).map(|n| opened.write(&filler(n)).unwrap()).collect();
    let hurt = committed[20];
    let (number, byte) = (hurt.position.0 >> 14, hurt.position.0 & 0x3fff);
    for at in 0..hurt.bytes {
        let bit = u8::try_from(at % 8).unwrap();
        assert!(world.disk.flip_bit(&World::file(number), byte + at, bit));
        match world.try_open(None) {
            Err(error @ RecoverError::Corrupt { .. }) => {
                let told = error.to_string();
                assert!(told.contains(&format!("{number:016x}.journal")), "{told}");
                assert!(
                    told.contains(&format!("position {}", hurt.position)),
                    "{told}"
                );
                assert!(told.contains("nothing was dropped"), "{told}");
                assert!(told.contains("forebay check"), "{told}");
            }
            Err(other) => panic!("byte {at}: {other}"),
            Ok(_) => panic!("byte {at}: opened"),
        }
        world.disk.flip_bit(&World::file(number), byte + at, bit);
    }
    assert_eq!(world.open().replayed.len(), 80);
}

#[test]
fn a_damaged_seal_refuses_once_the_next_file_is_in_use() {
    let world = World::new(16 << 10);
    let mut opened = world.open();
    let mut last = opened.write(&filler(0)).unwrap();
    let mut seal = None;
    for number in 1..40 {
        let committed = opened.write(&filler(number)).unwrap();
        if seal.is_none() && committed.position != last.end {
            seal = Some(last.end);
        }
        last = committed;
    }
    let seal = seal.unwrap();
    world
        .disk
        .flip_bit(&World::file(seal.0 >> 14), seal.0 & 0x3fff, 0);
    match world.try_open(None) {
        Err(RecoverError::Corrupt { position, .. }) => assert_eq!(position, seal),
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn a_torn_last_commit_is_cut_and_the_log_goes_on() {
    let world = World::new(16 << 10);
    let mut opened = world.open();
    opened.write(&filler(0)).unwrap();
    let torn = opened.write(&filler(1)).unwrap();
    world
        .disk
        .flip_bit(&World::file(1), (torn.position.0 & 0x3fff) + 500, 3);
    let mut opened = world.open();
    assert_eq!(opened.replayed.len(), 2);
    assert_eq!(opened.journal.end(), torn.position);
    let content = world.disk.content(&World::file(1)).unwrap();
    let start = usize::try_from(torn.position.0 & 0x3fff).unwrap();
    assert!(content[start..].iter().all(|byte| *byte == 0));
    opened.write(&[append(1, 1, 1, b"again")]).unwrap();
    let opened = world.open();
    assert_eq!(opened.replayed.len(), 3);
    assert_eq!(opened.replayed[2].1, append(1, 1, 1, b"again"));
}

#[test]
fn a_missing_file_in_the_middle_refuses() {
    use forebay_log::Disk;
    let world = World::new(16 << 10);
    let mut opened = world.open();
    write_fillers(&mut opened, 0..60);
    world.disk.remove(&World::file(2)).unwrap();
    match world.try_open(None) {
        Err(RecoverError::Corrupt { file, position, .. }) => {
            assert_eq!(file, World::file(2));
            assert_eq!(position, Position(2 << 14));
        }
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn a_missing_last_file_refuses_when_the_one_before_was_sealed() {
    use forebay_log::Disk;
    let world = World::new(16 << 10);
    let mut opened = world.open();
    write_fillers(&mut opened, 0..60);
    let current = opened.journal.end().0 >> 14;
    world.disk.remove(&World::file(current + 1)).unwrap();
    world.disk.remove(&World::file(current)).unwrap();
    match world.try_open(None) {
        Err(RecoverError::Corrupt { file, .. }) => assert_eq!(file, World::file(current)),
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn another_directorys_file_is_refused() {
    use forebay_log::Disk;
    let world = World::new(16 << 10);
    world.open();
    let other = World {
        disk: world.disk.clone(),
        ..World::new(16 << 10)
    };
    let path = World::file(1);
    let mut bytes = other.disk.content(&path).unwrap();
    bytes[32] ^= 1;
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    world.disk.open(&path).unwrap().write_at(0, &bytes).unwrap();
    assert!(matches!(
        world.try_open(None),
        Err(RecoverError::Foreign { .. })
    ));
}

#[test]
fn an_unknown_frame_kind_refuses() {
    use forebay_log::Disk;
    let world = World::new(16 << 10);
    let mut opened = world.open();
    let committed = opened.write(&[Frame::State(b"x".to_vec())]).unwrap();
    let path = World::file(1);
    let at = usize::try_from(committed.position.0 & 0x3fff).unwrap();
    let mut bytes = world.disk.content(&path).unwrap();
    bytes[at + 40] = 9;
    let end = at + usize::try_from(committed.bytes).unwrap();
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[at..at + 36]), &bytes[at + 40..end]);
    bytes[at + 36..at + 40].copy_from_slice(&crc.to_le_bytes());
    world.disk.open(&path).unwrap().write_at(0, &bytes).unwrap();
    let told = world.try_open(None).err().unwrap().to_string();
    assert!(told.contains("unknown kind 9"), "{told}");
}

#[test]
fn replay_starts_at_the_snapshot_and_the_index_covers_what_is_before() {
    let world = World::new(16 << 10);
    let mut opened = world.open();
    let committed: Vec<_> = (0..60).map(|n| opened.write(&filler(n)).unwrap()).collect();
    // The index is exported later than the state it goes with, and earlier.
    let late = opened.reader.export_index();
    for (position, index) in [(committed[29].end, &late), (committed[59].end, &late)] {
        let opened = world
            .try_open(Some(ReplayFrom { position, index }))
            .unwrap();
        let first = opened.replayed.first().map(|(_, frame)| frame.clone());
        let expected = (position == committed[29].end).then(|| filler(30)[0].clone());
        assert_eq!(first, expected);
        assert_eq!(opened.reader.export_index(), late);
    }
    let early = late;
    write_fillers(&mut opened, 60..70);
    let position = opened.journal.end();
    let index = opened.reader.export_index();
    let opened = world
        .try_open(Some(ReplayFrom {
            position,
            index: &early,
        }))
        .unwrap();
    assert_eq!(opened.replayed, []);
    assert_eq!(opened.reader.export_index(), index);
}

#[test]
fn a_log_that_ends_before_the_snapshot_refuses() {
    let world = World::new(16 << 10);
    let mut opened = world.open();
    opened.write(&filler(0)).unwrap();
    let index = opened.reader.export_index();
    let position = Position(opened.journal.end().0 + 800);
    let from = Some(ReplayFrom {
        position,
        index: &index,
    });
    assert!(matches!(
        world.try_open(from),
        Err(RecoverError::Corrupt { .. })
    ));
}

#[test]
fn dropped_files_are_reused_and_their_old_content_is_ignored() {
    let world = World::new(16 << 10);
    let mut opened = world.open();
    let mut dropped_to = Position(0);
    let mut last = Vec::new();
    for number in 0..200 {
        let committed = opened.write(&filler(number)).unwrap();
        if number % 20 == 19 {
            dropped_to = committed.position;
            opened.reader.trim(PartitionId(1), number);
            opened.journal.drop_below(dropped_to).unwrap();
            last.clear();
        }
        last.push((committed.position, number));
    }
    let index = opened.reader.export_index();
    assert!(opened.journal.oldest() > Position(10 << 14));
    world.disk.crash(None);
    assert!(matches!(
        world.try_open(None),
        Err(RecoverError::Corrupt { .. })
    ));
    let from = ReplayFrom {
        position: dropped_to,
        index: &index,
    };
    let opened = world.try_open(Some(from)).unwrap();
    let expected: Vec<_> = last
        .iter()
        .flat_map(|(position, number)| filler(*number).into_iter().map(|f| (*position, f)))
        .collect();
    assert_eq!(opened.replayed, expected);
}

#[test]
fn an_existing_journal_keeps_its_file_size() {
    let world = World::new(16 << 10);
    let mut opened = world.open();
    write_fillers(&mut opened, 0..30);
    let other = World {
        disk: world.disk.clone(),
        ..World::new(64 << 10)
    };
    let mut opened = other.open();
    assert_eq!(opened.replayed.len(), 60);
    write_fillers(&mut opened, 30..60);
    assert_eq!(world.open().replayed.len(), 120);
}

#[test]
fn a_failed_sync_stops_the_journal_for_good() {
    use forebay_log::{Fault, WriteError};
    let world = World::new(16 << 10);
    let mut opened = world.open();
    opened.write(&filler(0)).unwrap();
    world.disk.fail_at(2, Fault::Eio);
    assert!(matches!(
        opened.write(&filler(1)),
        Err(WriteError::Stopped(_))
    ));
    assert!(matches!(
        opened.write(&filler(1)),
        Err(WriteError::Stopped(_))
    ));
    let end = opened.reader.bounds(PartitionId(1)).unwrap().end;
    assert_eq!(end, 1, "what was not synced is not shown");
}

#[test]
fn what_recovery_has_shown_survives_a_power_cut_right_after() {
    use forebay_log::Fault;
    let world = World::new(16 << 10);
    let mut opened = world.open();
    // The process dies between write and sync; the operating system lives on.
    world.disk.fail_at(2, Fault::Eio);
    opened.write(&filler(0)).unwrap_err();
    assert_eq!(world.open().replayed.len(), 2);
    world.disk.crash(None);
    assert_eq!(world.open().replayed.len(), 2);
}
