//! Trouble at any operation of the disk: a segment is there whole, or it is not there.

use super::*;
use crate::disk::Fault;

fn wanted() -> (SegmentOptions, Vec<Wanted>) {
    let options = SegmentOptions {
        target_bytes: 6000,
        block_bytes: 500,
        part_bytes: 1500,
        ..SegmentOptions::default()
    };
    let batches = (0..120).map(|base| (batch(base, 1, 0, &[base as u8; 100]), None));
    let wanted = Wanted {
        partition: PartitionId(1),
        first: 0,
        end: 120,
        batches: batches.collect(),
    };
    (options, vec![wanted])
}

fn contents(disk: &SimDisk) -> Vec<Vec<u8>> {
    (1..=3)
        .map_while(|number| disk.content(&path(number)))
        .collect()
}

#[test]
fn a_crash_leaves_whole_segments_or_none() {
    let (options, wanted) = wanted();
    let calm = SimDisk::new();
    let whole = write(&objects(&calm), &options, &wanted).unwrap();
    let expected = contents(&calm);
    assert_eq!((whole.segments.len(), expected.len()), (3, 3));
    let operations = calm.operations();
    assert!(operations > 15);

    for (nth, tear) in
        (1..=operations).flat_map(|nth| [None, Some(nth), Some(!nth)].map(|t| (nth, t)))
    {
        let disk = SimDisk::new();
        disk.fail_at(nth, Fault::PowerCut);
        let result = write(&objects(&disk), &options, &wanted);
        assert!(result.is_err());
        disk.crash(tear);
        let found = contents(&disk);
        assert_eq!(found, expected[..found.len()], "operation {nth}, {tear:?}");
        let listed = objects(&disk).list().unwrap();
        assert_eq!(listed.len(), found.len());

        // The numbers are used again, whatever was left.
        assert_eq!(write(&objects(&disk), &options, &wanted).unwrap(), whole);
        disk.crash(None);
        assert_eq!(contents(&disk), expected);
    }
}

#[test]
fn a_failing_disk_is_an_error_and_leaves_nothing_half_done() {
    let (options, wanted) = wanted();
    let calm = SimDisk::new();
    write(&objects(&calm), &options, &wanted).unwrap();
    for nth in 1..=calm.operations() {
        let disk = SimDisk::new();
        disk.fail_at(nth, Fault::Eio);
        let error = write(&objects(&disk), &options, &wanted).unwrap_err();
        assert!(error.is_transient(), "{error}");
        let found = contents(&disk);
        assert_eq!(found, contents(&calm)[..found.len()]);
        let left = disk.list(path(1).parent().unwrap()).unwrap_or_default();
        assert!(left.len() <= found.len() + 1, "{left:?}");
        write(&objects(&disk), &options, &wanted).unwrap();
        assert_eq!(contents(&disk), contents(&calm));
    }
}

#[test]
fn what_was_deleted_stays_deleted() {
    let (options, wanted) = wanted();
    let disk = SimDisk::new();
    let objects = objects(&disk);
    write(&objects, &options, &wanted).unwrap();
    objects.delete(2).unwrap();
    disk.crash(None);
    let mut listed = objects.list().unwrap();
    listed.sort_unstable();
    assert_eq!(listed, [1, 3]);
}
