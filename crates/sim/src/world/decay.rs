//! Bytes that decay: in a copy of the world, which must find out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay_broker::Cursor;
use forebay_broker::simulation::{JournalView, Simulated};

use super::{SEGMENTS, World, setup, tell};
use crate::objects::FaultyObjects;
use crate::violation::{Audited, broken};

impl World {
    /// Turns over one bit in a copy of what lies on the disk, starts a broker there, and reads
    /// everything: what comes is what was sent, or an error.
    pub(super) fn decay(&mut self) -> Audited {
        if self.disk.is_down() {
            return Ok(());
        }
        let disk = self.disk.fork();
        let Some((path, byte)) = self.some_byte(&disk.files()) else {
            return Ok(());
        };
        let bit = u8::try_from(self.chance.below(8)).unwrap_or(0);
        tell!(
            self,
            "in a copy, bit {bit} of byte {byte} of {path:?} turns over"
        );
        disk.flip_bit(&path, byte, bit);
        self.stats.rotten += 1;
        let objects = Arc::new(FaultyObjects::new(disk.clone(), SEGMENTS.into()));
        let setup = setup(&self.profile, &disk, &objects);
        let copy = match Simulated::open(&setup, self.now) {
            Ok(copy) => copy,
            Err(error) => {
                tell!(self, "the copy refuses to start: {error}");
                self.stats.found_rotten += 1;
                return Ok(());
            }
        };
        let whole = self.broker.journal();
        if cut_there(
            &path,
            byte,
            &whole,
            &copy.journal(),
            self.profile.file_bytes,
        ) {
            // The last commit cannot be told from one that was torn.
            return Ok(());
        }
        self.read_copy(copy, &path, byte)
    }

    fn some_byte(&mut self, files: &[(PathBuf, u64)]) -> Option<(PathBuf, u64)> {
        let segments = self.chance.one_in(2);
        let fits =
            |(path, size): &&(PathBuf, u64)| *size > 0 && (!segments || path.starts_with(SEGMENTS));
        let filled: Vec<_> = files.iter().filter(fits).collect();
        let (path, size) = self.chance.pick(&filled)?;
        Some((path.clone(), self.chance.below(*size)))
    }

    /// Reads all partitions of the copy as if it were the world.
    fn read_copy(&mut self, copy: Simulated, path: &Path, byte: u64) -> Audited {
        let broker = std::mem::replace(&mut self.broker, copy);
        let ledger = self.ledger.clone();
        let (troubled, failed) = (self.troubled, self.stats.failed_reads);
        self.troubled = true;
        self.ledger.outlive();
        let result = self.read_everything();
        self.broker = broker;
        self.ledger = ledger;
        self.troubled = troubled;
        self.stats.found_rotten += u64::from(self.stats.failed_reads > failed);
        self.stats.failed_reads = failed;
        match result {
            Ok(()) => Ok(()),
            Err(violation) => broken(
                format!(
                    "damage at byte {byte} of {} is found: {}",
                    path.display(),
                    violation.promised
                ),
                violation.seen,
            ),
        }
    }

    fn read_everything(&mut self) -> Audited {
        for topic in self.ledger.present() {
            for partition in self.ledger.topics[&topic].partitions.clone() {
                let mut next = self.broker.bounds(partition).start;
                let mut cursor = Cursor::default();
                while let Some(further) = self.read_on(partition, next, 3_000, &mut cursor)?
                    && further > next
                {
                    next = further;
                }
            }
        }
        Ok(())
    }
}

/// Whether the damage lies in what was cut off the end of the journal.
fn cut_there(
    path: &Path,
    byte: u64,
    whole: &JournalView,
    copy: &JournalView,
    file_bytes: u64,
) -> bool {
    let name = path.file_stem().and_then(|name| name.to_str());
    let number = name.and_then(|name| u64::from_str_radix(name, 16).ok());
    let journal = path
        .extension()
        .is_some_and(|extension| extension == "journal");
    let Some(number) = number.filter(|_| journal) else {
        return false;
    };
    // The files lie in the journal one behind the other.
    let place = number * file_bytes + byte;
    copy.end < whole.end && (copy.end.0..whole.end.0).contains(&place)
}
