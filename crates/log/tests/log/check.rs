//! `check` finds all damage and nothing else.

use forebay_log::check;

use crate::world::{Frame, ID, World};

#[test]
fn all_damage_is_found_and_the_end_of_the_log_is_none() {
    let world = World::new(16 << 10);
    let mut opened = world.open();
    let commits: Vec<_> = (0..60)
        .map(|_| opened.write(&[Frame::State(vec![1; 900])]).unwrap())
        .collect();
    let report = check(&world.disk, World::dir(), ID).unwrap();
    assert_eq!((report.commits, report.damage.len()), (60, 0));
    assert_eq!(
        report.bytes,
        commits.iter().map(|commit| commit.bytes).sum::<u64>()
    );

    let hurt = [3, 4, 20, 50];
    for number in hurt {
        let position = commits[number].position.0;
        world
            .disk
            .flip_bit(&World::file(position >> 14), (position & 0x3fff) + 100, 0);
    }
    let report = check(&world.disk, World::dir(), ID).unwrap();
    assert_eq!(report.commits, 56);
    let found: Vec<_> = report.damage.iter().map(|damage| damage.position).collect();
    // Neighbours are one stretch.
    assert_eq!(found, [3, 20, 50].map(|number| commits[number].position));
    assert_eq!(report.damage[0].bytes, 2 * commits[3].bytes);
}
