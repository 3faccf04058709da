//! What repair leaves: a journal that opens and holds all that was whole.

use std::path::Path;

use forebay_log::{DamageKind, Disk, JournalEnd, JournalRepair, Position, Seen, inspect};
use proptest::prelude::*;

use crate::world::{Frame, ID, World};

const SIZE: u64 = 16 << 10;

/// One harm done to the files.
#[derive(Clone, Debug)]
enum Harm {
    /// A bit flips in this byte of the journal.
    Bit(u32),
    /// So many bytes from there on are overwritten.
    Bytes(u32, u16),
    /// A file is gone.
    File(u8),
    /// A file is cut short.
    Short(u8, u16),
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        4 => any::<u32>().prop_map(Harm::Bit),
        3 => (any::<u32>(), 1..9000u16).prop_map(|(at, length)| Harm::Bytes(at, length)),
        1 => any::<u8>().prop_map(Harm::File),
        1 => (any::<u8>(), any::<u16>()).prop_map(|(file, length)| Harm::Short(file, length)),
    ]
}

fn do_harm(world: &World, files: u64, harm: &Harm) {
    let place = |at: u32| {
        let at = u64::from(at) % (files * SIZE);
        (World::file(1 + at / SIZE), at % SIZE)
    };
    let one = |number: u8| World::file(1 + u64::from(number) % files);
    match harm {
        Harm::Bit(at) => {
            let (path, byte) = place(*at);
            world.disk.flip_bit(&path, byte, 3);
        }
        Harm::Bytes(at, length) => {
            let (path, byte) = place(*at);
            let length = u64::from(*length).min(SIZE - byte);
            if let Ok(file) = world.disk.open(&path) {
                let _ = file.write_at(byte, &vec![0xa5; usize::try_from(length).unwrap()]);
            }
        }
        Harm::File(number) => {
            let _ = world.disk.remove(&one(*number));
        }
        Harm::Short(number, length) => {
            let path = one(*number);
            if let Some(content) = world.disk.content(&path) {
                let length = usize::from(*length) % content.len();
                world.disk.remove(&path).unwrap();
                let file = world.disk.create(&path).unwrap();
                file.write_at(0, &content[..length]).unwrap();
            }
        }
    }
}

/// Everything a walk comes by: the frames that are whole, the damage, and the end.
fn walk(world: &World) -> (Vec<(Position, Frame)>, Vec<forebay_log::Damage>, JournalEnd) {
    let (mut frames, mut damage) = (Vec::new(), Vec::new());
    let end = inspect(&world.disk, World::dir(), ID, Position(0), &mut |seen| {
        match seen {
            Seen::Commit(commit) => {
                let position = commit.position();
                frames.extend(commit.frames().map(|frame| (position, frame.into())));
            }
            Seen::Damage(found) => damage.push(found),
            Seen::File { .. } | Seen::Seal(_) => {}
        }
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    (frames, damage, end)
}

fn filled(commits: u64) -> (World, Vec<(Position, u64)>) {
    let world = World::new(SIZE);
    let mut opened = world.open();
    let written = (0..commits)
        .map(|number| {
            let length = usize::try_from(number * 997 % 2500).unwrap();
            let frame = Frame::State(vec![u8::try_from(number % 250).unwrap(); length]);
            let committed = opened.write(&[frame]).unwrap();
            (committed.position, committed.bytes)
        })
        .collect();
    (world, written)
}

fn repair(world: &World, end: &JournalEnd, damage: &[forebay_log::Damage], until: Position) {
    JournalRepair {
        end,
        damage,
        places: &[until],
        from: Position(SIZE + 64),
        until,
        aside: Path::new("/data/damaged"),
    }
    .run(&world.disk, World::dir(), ID)
    .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn what_was_whole_is_there_after_a_repair_and_nothing_else(
        harms in prop::collection::vec(harm(), 1..5),
        commits in 1..60u64,
        until in any::<prop::sample::Index>(),
    ) {
        let (world, written) = filled(commits);
        let files = written.last().unwrap().0.0 / SIZE;
        // A snapshot stands at one of the commits.
        let until = written[until.index(written.len())].0;
        for harm in &harms {
            do_harm(&world, files, harm);
        }
        let (whole, damage, end) = walk(&world);
        repair(&world, &end, &damage, until);
        let (after, left, end) = walk(&world);
        prop_assert_eq!(&left, &[]);
        prop_assert!(end.end >= until);
        prop_assert_eq!(&after, &whole);
        let opened = world.open();
        prop_assert_eq!(opened.replayed, whole);
    }
}

#[test]
fn a_damaged_file_is_kept_as_it_was() {
    let (world, written) = filled(30);
    let path = World::file(1);
    assert!(world.disk.flip_bit(&path, written[2].0.0 - SIZE + 60, 0));
    let before = world.disk.content(&path).unwrap();
    let (_, damage, end) = walk(&world);
    assert_eq!(damage.len(), 1);
    assert_eq!(damage[0].kind, DamageKind::Commits);
    assert_eq!((damage[0].held.commits, damage[0].held.states), (1, 1));
    repair(&world, &end, &damage, Position(0));
    let aside = Path::new("/data/damaged/journal").join(path.file_name().unwrap());
    assert_eq!(world.disk.content(&aside).unwrap(), before);
    assert_ne!(world.disk.content(&path).unwrap(), before);
}

#[test]
fn a_place_that_a_snapshot_knows_stays_a_place_to_start_from() {
    let (world, written) = filled(30);
    let (first, last) = (written[3].0, written[6].0);
    let file = world.disk.open(&World::file(1)).unwrap();
    let length = usize::try_from(last.0 - first.0).unwrap();
    file.write_at(first.0 - SIZE, &vec![7; length]).unwrap();
    let (_, damage, end) = walk(&world);
    let places = [written[4].0, written[5].0];
    JournalRepair {
        end: &end,
        damage: &damage,
        places: &places,
        from: Position(0),
        until: Position(0),
        aside: Path::new("/data/damaged"),
    }
    .run(&world.disk, World::dir(), ID)
    .unwrap();
    let mut voids = Vec::new();
    inspect(&world.disk, World::dir(), ID, Position(0), &mut |seen| {
        if let Seen::Commit(commit) = seen
            && commit.is_void()
        {
            voids.push(commit.position());
        }
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(voids, [first, places[0], places[1]]);
}
