//! Objects on a plain disk keep to what the trait asks.

use object_store::path::Path as Location;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use super::*;
use crate::disk::RealDisk;

fn wait<F: Future>(future: F) -> F::Output {
    pollster::block_on(future)
}

#[test]
fn ranges_are_as_the_trait_describes_them() {
    let store = DiskObjects::new(Arc::new(SimDisk::new()), PathBuf::from("/o"));
    let place = Location::from("a/b");
    wait(store.put(&place, b"0123456789".as_slice().into())).unwrap();
    let get = |range| {
        let options = GetOptions::new().with_range(range);
        wait(async { store.get_opts(&place, options).await?.bytes().await })
    };
    assert_eq!(get(None::<GetRange>).unwrap(), "0123456789");
    assert_eq!(get(Some(GetRange::Bounded(2..5))).unwrap(), "234");
    assert_eq!(get(Some(GetRange::Bounded(8..99))).unwrap(), "89");
    assert_eq!(get(Some(GetRange::Offset(7))).unwrap(), "789");
    assert_eq!(get(Some(GetRange::Suffix(3))).unwrap(), "789");
    assert!(get(Some(GetRange::Bounded(10..11))).is_err());
    assert_eq!(wait(store.head(&place)).unwrap().size, 10);
    wait(store.put(&place, b"anew".as_slice().into())).unwrap();
    assert_eq!(get(None::<GetRange>).unwrap(), "anew");
}

#[test]
fn what_a_plain_disk_cannot_do_is_refused() {
    let store = DiskObjects::new(Arc::new(SimDisk::new()), PathBuf::from("/o"));
    let place = Location::from("a");
    let create = PutOptions {
        mode: PutMode::Create,
        ..PutOptions::default()
    };
    let refused = [
        wait(store.put_opts(&place, b"x".as_slice().into(), create)).unwrap_err(),
        wait(store.copy(&place, &Location::from("b"))).unwrap_err(),
        wait(store.list_with_delimiter(None)).unwrap_err(),
    ];
    for error in refused {
        assert!(matches!(error, Error::NotSupported { .. }), "{error}");
    }
    let missing = wait(store.get(&place)).unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing}");
    let missing = wait(store.delete(&place)).unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing}");
}

#[test]
fn an_upload_with_a_missing_part_is_not_completed() {
    let store = DiskObjects::new(Arc::new(SimDisk::new()), PathBuf::from("/o"));
    let place = Location::from("a");
    let mut upload = wait(store.put_multipart(&place)).unwrap();
    drop(upload.put_part(b"never polled".as_slice().into()));
    assert!(wait(upload.complete()).is_err());
    wait(upload.abort()).unwrap();
    assert!(wait(store.get(&place)).is_err());
}

/// The same on a real disk, with and without a runtime, and in another store.
#[test]
fn segments_are_the_same_in_every_store() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let disk = || DiskObjects::new(Arc::new(RealDisk), folder.path().join("segments"));
    let stores = [
        SegmentStore::new(Arc::new(disk()), "", None),
        SegmentStore::new(
            Arc::new(disk()),
            "some/where",
            Some(runtime.handle().clone()),
        ),
        SegmentStore::new(
            Arc::new(object_store::memory::InMemory::new()),
            "some/where",
            Some(runtime.handle().clone()),
        ),
    ];
    let options = SegmentOptions {
        target_bytes: 400_000,
        block_bytes: 10_000,
        part_bytes: 64_000,
        ..SegmentOptions::default()
    };
    let batches: Vec<Given> = (0..1000)
        .map(|base| (batch(base, 1, 0, &[base as u8; 1000]), None))
        .collect();
    let wanted = Wanted {
        partition: PartitionId(1),
        first: 0,
        end: 1000,
        batches: batches.clone(),
    };
    for store in stores {
        let objects = Objects::new(store, ID);
        assert_eq!(objects.list().unwrap(), [0; 0]);
        let written = write(&objects, &options, std::slice::from_ref(&wanted)).unwrap();
        let reader = SegmentReader::new(objects.clone(), &options);
        let (partition, runs) = &written.runs[0];
        let found = read(&reader, *partition, runs, 0, 17).unwrap();
        assert!(found.iter().eq(batches.iter().map(|(batch, _)| batch)));
        let mut listed = objects.list().unwrap();
        listed.sort_unstable();
        assert_eq!(listed, [1, 2, 3]);
        objects.delete(2).unwrap();
        assert!(objects.size(2).unwrap_err().is_missing());
        let past_the_end = written.segments[0].bytes + 5;
        assert!(
            objects
                .read(1, past_the_end..past_the_end + 9)
                .unwrap()
                .is_empty()
        );
    }
}
