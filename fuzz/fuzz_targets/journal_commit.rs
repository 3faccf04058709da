//! A journal file whose content is the fuzzer's: opening it must not panic or take memory that the
//! file does not warrant; and a journal that opens goes on, and opens again with what was written.

#![no_main]

use std::path::Path;
use std::sync::Arc;

use forebay_base::PartitionId;
use forebay_log::{
    CommitBuilder, Cursor, Disk, FrameRef, Journal, JournalOptions, LogReader, RecoverError,
    SegmentStore, SimDisk, Source,
};
use libfuzzer_sys::fuzz_target;

const ID: u64 = 7;
const FILE: u64 = 16 << 10;
const FILE_HEADER: u64 = 64;
const COMMIT_HEADER: usize = 40;

fuzz_target!(|data: &[u8]| {
    open_with(data);
    // The fuzzer cannot guess positions and checksums.
    open_with(&sealed(data));
});

/// Whole commits, each of a body that the input gives behind its length and number of frames.
fn sealed(mut data: &[u8]) -> Vec<u8> {
    let mut log = Vec::new();
    while let Some((&[low, high, frames, kind], rest)) = data.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let (body, rest) = rest.split_at(length);
        data = rest;
        let position = FILE + FILE_HEADER + log.len() as u64;
        let start = log.len();
        log.extend_from_slice(b"FBCM");
        log.extend_from_slice(&[1, kind & 1, 0, 0]);
        log.extend_from_slice(&position.to_le_bytes());
        log.extend_from_slice(&ID.to_le_bytes());
        log.extend_from_slice(&(body.len() as u32).to_le_bytes());
        log.extend_from_slice(&u32::from(frames).to_le_bytes());
        log.extend_from_slice(&[0; 8]);
        log.extend_from_slice(body);
        log.resize(log.len().next_multiple_of(8), 0);
        let commit = &mut log[start..];
        let crc = crc32c::crc32c(&commit[..36]);
        let crc = crc32c::crc32c_append(crc, &commit[COMMIT_HEADER..]);
        commit[36..COMMIT_HEADER].copy_from_slice(&crc.to_le_bytes());
    }
    log
}

type Frames = Vec<Vec<u8>>;

fn open(disk: &SimDisk) -> Result<(Journal, Arc<LogReader>, Frames), RecoverError> {
    let options = JournalOptions {
        file_size: FILE,
        min_free_bytes: 0,
        ..JournalOptions::default()
    };
    let mut frames = Vec::new();
    let mut replay = |_, frame: FrameRef<'_>| {
        frames.push(match frame {
            FrameRef::Append(append) => {
                assert!(append.entries().count() <= FILE as usize);
                append.payload.to_vec()
            }
            FrameRef::State(payload) | FrameRef::Segments(payload) => payload.to_vec(),
        });
    };
    let disk = Arc::new(disk.clone());
    let dir = Path::new("/data");
    let segments = SegmentStore::local(disk.clone(), dir);
    let (journal, reader) =
        Journal::open(disk, dir, &options, ID, segments, None, &mut replay)?;
    Ok((journal, reader, frames))
}

fn open_with(content: &[u8]) {
    let disk = SimDisk::new();
    drop(open(&disk).expect("an empty disk"));
    let path = Path::new("/data/journal/0000000000000001.journal");
    let file = disk.open(path).expect("the first file");
    let room = (FILE - FILE_HEADER) as usize;
    let content = &content[..content.len().min(room)];
    file.write_at(FILE_HEADER, content)
        .expect("it is long enough");
    file.sync_data().expect("a sound disk");
    let _ = forebay_log::check(&disk, Path::new("/data"), ID);
    let Ok((mut journal, reader, before)) = open(&disk) else {
        return;
    };
    for partition in (0..4).map(PartitionId) {
        if let Some(bounds) = reader.bounds(partition) {
            let mut cursor = Cursor::default();
            let _ = reader.read(partition, bounds.start, 1 << 20, &mut cursor, Source::Disk);
            let _ = reader.offset_for_time(partition, 0);
        }
    }
    let mut commit = CommitBuilder::new();
    commit.push_state(b"and on");
    journal.write(commit).expect("there is room");
    let (_, _, after) = open(&disk).expect("what opened once opens again");
    assert_eq!(after.split_last(), Some((&b"and on".to_vec(), &before[..])));
}
