//! A file of which something may be unreadable.

use std::io;
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::supply::PAGE;

/// Reads what the disk gives, and zeros where it gives an error or the file ends too early: a
/// checksum then says that something is wrong there. Writes nothing.
pub(crate) struct Forgiving(pub(crate) Arc<dyn DiskFile>);

impl DiskFile for Forgiving {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn allocate(&self, _size: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        if self.0.read_at(at, buffer).is_ok() {
            return Ok(());
        }
        let size = self.0.size()?;
        for (number, page) in buffer.chunks_mut(PAGE).enumerate() {
            let at = at.saturating_add((number * PAGE) as u64);
            let there = usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX);
            let (there, beyond) = page.split_at_mut(there.min(page.len()));
            beyond.fill(0);
            if self.0.read_at(at, there).is_err() {
                there.fill(0);
            }
        }
        Ok(())
    }

    fn write_at(&self, _at: u64, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}
