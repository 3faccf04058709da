//! What the simulated disk does to those who trust it too far.

use std::path::Path;

use forebay_log::{Disk, Operation, SimDisk, Trouble};

const FILE: &str = "/d/file";

fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir(Path::new("/d")).unwrap();
    let file = disk.create(Path::new(FILE)).unwrap();
    file.write_at(0, b"old").unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    disk
}

fn trouble(operation: Operation, dir: &str, after: u64, times: u64) -> Trouble {
    Trouble {
        operation,
        dir: dir.into(),
        after,
        times,
    }
}

#[test]
fn what_a_failed_sync_gave_up_is_lost_though_a_later_one_succeeds() {
    let disk = disk();
    let file = disk.open(Path::new(FILE)).unwrap();
    disk.trouble(trouble(Operation::Sync, "/d", 0, 1));
    file.write_at(0, b"new").unwrap();
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert_eq!(disk.content(Path::new(FILE)).unwrap(), b"new");
    disk.crash(None);
    assert_eq!(disk.content(Path::new(FILE)).unwrap(), b"old");
}

#[test]
fn what_is_written_again_after_a_failed_sync_lasts() {
    let disk = disk();
    let file = disk.open(Path::new(FILE)).unwrap();
    disk.trouble(trouble(Operation::Sync, "/d", 0, 1));
    file.write_at(0, b"new").unwrap();
    file.sync_data().unwrap_err();
    file.write_at(0, b"new").unwrap();
    file.sync_data().unwrap();
    disk.crash(None);
    assert_eq!(disk.content(Path::new(FILE)).unwrap(), b"new");
}

#[test]
fn a_killed_process_loses_its_handles_and_nothing_else() {
    let disk = disk();
    let file = disk.open(Path::new(FILE)).unwrap();
    file.write_at(0, b"new").unwrap();
    disk.kill();
    file.write_at(0, b"bad").unwrap_err();
    assert_eq!(disk.content(Path::new(FILE)).unwrap(), b"new");
    disk.crash(None);
    assert_eq!(disk.content(Path::new(FILE)).unwrap(), b"old");
}

#[test]
fn trouble_strikes_its_operation_in_its_directory_for_its_time() {
    let disk = disk();
    disk.trouble(trouble(Operation::Read, "/elsewhere", 0, u64::MAX));
    disk.trouble(trouble(Operation::Read, "/d", 1, 2));
    let file = disk.open(Path::new(FILE)).unwrap();
    let read = || file.read_at(0, &mut [0; 3]).is_ok();
    assert_eq!([read(), read(), read(), read()], [true, false, false, true]);
    disk.trouble(trouble(Operation::Open, "/d", 0, u64::MAX));
    assert!(disk.open(Path::new(FILE)).is_err());
    disk.calm();
    assert!(disk.open(Path::new(FILE)).is_ok());
}

#[test]
fn equal_use_has_an_equal_digest() {
    let (one, other) = (disk(), disk());
    assert_eq!(one.digest(), other.digest());
    let file = one.open(Path::new(FILE)).unwrap();
    assert_ne!(one.digest(), other.digest());
    other.open(Path::new(FILE)).unwrap();
    file.write_at(0, b"more").unwrap();
    let before = one.digest();
    file.read_at(0, &mut [0; 1]).unwrap();
    assert_ne!(one.digest(), before, "reads count");
}
