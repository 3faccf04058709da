//! The objects of one journal's segments, for callers that block.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::{DiskObjects, SegmentError};
use crate::disk::Disk;

/// Parts on their way to a remote store at a time.
const PARTS_UNDER_WAY: usize = 2;
/// Parts of a segment that is copied, bytes.
const COPY_PART: u64 = 8 << 20;
/// Tries of a read that failed for the moment, the first included. The store has its own policy
/// for the patient kind.
const READ_TRIES: usize = 2;

/// Where segments are kept. Clones share the same store.
///
/// Calls block: they are made from threads that may wait, never from a task of a runtime.
#[derive(Clone)]
pub struct SegmentStore {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    runtime: Option<Handle>,
}

impl fmt::Debug for SegmentStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SegmentStore({}/{})", self.objects, self.prefix)
    }
}

impl SegmentStore {
    /// Segments under `prefix` of `objects`; an empty prefix means its top.
    ///
    /// A store that needs a runtime for its network gets the handle of one. For
    /// [`super::DiskObjects`] it is `None`: everything is then done on the calling thread.
    pub fn new(objects: Arc<dyn ObjectStore>, prefix: &str, runtime: Option<Handle>) -> Self {
        Self {
            objects,
            prefix: Path::from(prefix),
            runtime,
        }
    }

    /// Where segments are by default: the folder `segments` of a data directory.
    pub fn local(disk: Arc<dyn Disk>, data_dir: &std::path::Path) -> Self {
        Self::directory(disk, &data_dir.join("segments"))
    }

    /// Segments in a directory, which is made when the first one is written.
    pub fn directory(disk: Arc<dyn Disk>, dir: &std::path::Path) -> Self {
        let objects = DiskObjects::new(disk, dir.to_owned());
        Self::new(Arc::new(objects), "", None)
    }

    /// Whether a segment of a journal is there.
    ///
    /// # Errors
    /// The store failed.
    pub fn has(&self, journal_id: u64, number: u64) -> Result<bool, SegmentError> {
        match Objects::new(self.clone(), journal_id).size(number) {
            Ok(_) => Ok(true),
            Err(SegmentError::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn wait<F: Future>(&self, future: F) -> F::Output {
        match &self.runtime {
            Some(runtime) => runtime.block_on(future),
            None => pollster::block_on(future),
        }
    }
}

/// The segments of one journal in a store.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    store: SegmentStore,
    pub(crate) journal_id: u64,
}

impl Objects {
    pub(crate) fn new(store: SegmentStore, journal_id: u64) -> Self {
        Self { store, journal_id }
    }

    fn folder(&self) -> Path {
        let id = format!("{:016x}", self.journal_id);
        self.store.prefix.clone().join(id)
    }

    fn location(&self, number: u64) -> Path {
        self.folder().join(format!("{number:016x}.segment"))
    }

    /// The name of a segment's object, for messages.
    pub(crate) fn name(&self, number: u64) -> String {
        self.location(number).to_string()
    }

    /// Begins to write a segment; it has its name, and replaces an earlier one of that name, only
    /// when it is complete.
    pub(crate) fn put(&self, number: u64) -> Upload {
        Upload {
            store: self.store.clone(),
            location: self.location(number),
            parts: None,
            under_way: VecDeque::new(),
        }
    }

    /// Reads a range, or what the object has of it.
    pub(crate) fn read(&self, number: u64, range: Range<u64>) -> Result<Bytes, SegmentError> {
        let location = self.location(number);
        let mut tries = 0;
        loop {
            tries += 1;
            let read = self
                .store
                .wait(self.store.objects.get_range(&location, range.clone()));
            let error = match read {
                Ok(bytes) => return Ok(bytes),
                Err(error) => SegmentError::store("read", location.to_string(), error),
            };
            if !error.is_transient() || tries == READ_TRIES {
                return Err(error);
            }
            // A range that begins behind the end is refused like any other failure.
            if self.size(number)? <= range.start {
                return Ok(Bytes::new());
            }
        }
    }

    /// Copies a segment, as it is, into `folder` beside the journals' own. One that is not there
    /// is not copied.
    pub(crate) fn copy_aside(&self, number: u64, folder: &str) -> Result<(), SegmentError> {
        let size = match self.size(number) {
            Err(SegmentError::Missing { .. }) => return Ok(()),
            size => size?,
        };
        let copies = self.store.prefix.clone().join(folder);
        let name = self.location(number);
        let mut upload = Upload {
            store: self.store.clone(),
            location: copies
                .join(format!("{:016x}", self.journal_id))
                .join(name.filename().unwrap_or_default()),
            parts: None,
            under_way: VecDeque::new(),
        };
        let mut at = 0;
        loop {
            let end = size.min(at + COPY_PART);
            let part = self.read(number, at..end)?;
            at = end;
            if at == size {
                return upload.complete(part);
            }
            upload.part(part)?;
        }
    }

    /// Bytes of a segment's object.
    pub(crate) fn size(&self, number: u64) -> Result<u64, SegmentError> {
        let location = self.location(number);
        match self.store.wait(self.store.objects.head(&location)) {
            Ok(meta) => Ok(meta.size),
            Err(error) => Err(SegmentError::store("measure", location.to_string(), error)),
        }
    }

    /// Deletes a segment's object; one that is not there is no error.
    pub(crate) fn delete(&self, number: u64) -> Result<(), SegmentError> {
        let location = self.location(number);
        match self.store.wait(self.store.objects.delete(&location)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(SegmentError::store("delete", location.to_string(), error)),
        }
    }

    /// The numbers of all segments there are, in no order. Other objects are passed over.
    pub(crate) fn list(&self) -> Result<Vec<u64>, SegmentError> {
        let folder = self.folder();
        self.store.wait(async {
            let mut numbers = Vec::new();
            let mut found = self.store.objects.list(Some(&folder));
            while let Some(meta) = found.next().await {
                let meta =
                    meta.map_err(|error| SegmentError::store("list", folder.to_string(), error))?;
                numbers.extend(meta.location.filename().and_then(parse_name));
            }
            Ok(numbers)
        })
    }
}

/// The number in a segment's name.
fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".segment")?;
    let plain = digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    plain
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
}

/// A segment being written, part by part. Dropped unfinished, it leaves nothing under its name.
pub(crate) struct Upload {
    store: SegmentStore,
    location: Path,
    parts: Option<Box<dyn MultipartUpload>>,
    under_way: VecDeque<JoinHandle<object_store::Result<()>>>,
}

impl Upload {
    /// Adds a part; all but the last have the same size. May return before it is stored.
    pub(crate) fn part(&mut self, bytes: Bytes) -> Result<(), SegmentError> {
        let parts = match &mut self.parts {
            Some(parts) => parts,
            None => {
                let begun = self
                    .store
                    .wait(self.store.objects.put_multipart(&self.location))
                    .map_err(|error| failed(&self.location, error))?;
                self.parts.insert(begun)
            }
        };
        let part = parts.put_part(PutPayload::from_bytes(bytes));
        match &self.store.runtime {
            None => pollster::block_on(part).map_err(|error| failed(&self.location, error)),
            Some(runtime) => {
                self.under_way.push_back(runtime.spawn(part));
                self.settle(PARTS_UNDER_WAY)
            }
        }
    }

    /// Adds the last part and gives the object its name; it is durable then.
    pub(crate) fn complete(mut self, last: Bytes) -> Result<(), SegmentError> {
        if self.parts.is_none() {
            let payload = PutPayload::from_bytes(last);
            let put = self.store.objects.put(&self.location, payload);
            let put = self.store.wait(put);
            return put
                .map(|_| ())
                .map_err(|error| failed(&self.location, error));
        }
        if !last.is_empty() {
            self.part(last)?;
        }
        self.settle(0)?;
        if let Some(parts) = &mut self.parts {
            self.store
                .wait(parts.complete())
                .map_err(|error| failed(&self.location, error))?;
        }
        self.parts = None;
        Ok(())
    }

    /// Waits until no more than `most` parts are under way.
    fn settle(&mut self, most: usize) -> Result<(), SegmentError> {
        while self.under_way.len() > most {
            let Some(part) = self.under_way.pop_front() else {
                break;
            };
            let stored = self.store.wait(part);
            stored
                .unwrap_or_else(|error| Err(error.into()))
                .map_err(|error| failed(&self.location, error))?;
        }
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        for part in &self.under_way {
            part.abort();
        }
        if let Some(parts) = &mut self.parts
            && let Err(error) = self.store.wait(parts.abort())
        {
            tracing::warn!(object = %self.location, %error, "an unfinished segment is left behind");
        }
    }
}

fn failed(location: &Path, error: object_store::Error) -> SegmentError {
    SegmentError::store("write", location.to_string(), error)
}
