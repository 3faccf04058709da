//! The supply of journal files: the next one stands ready before the current one is full.
//!
//! A file comes into being under another name and gets its own, `NUMBER.journal`, only when it is
//! complete and synced. A dropped file is kept as `NUMBER.spare` and becomes a later file with a
//! new header, because overwriting blocks that exist is several times faster than allocating.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::disk::{At, Disk, DiskError, DiskFile};
use crate::file_header::{FILE_HEADER, FileHeader};
use crate::position::Geometry;
use crate::space::{Space, SpaceGauge};

/// How long to wait before asking a full disk again.
const RETRY: Duration = Duration::from_millis(200);
const ZEROS: usize = 1 << 20;
/// Dropped files kept for reuse while space is low.
const LOW_SPARES: usize = 2;
/// Writes end on a multiple of this, the page size of the operating system's cache.
pub(crate) const PAGE: usize = 4096;

pub(crate) fn journal_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.journal"))
}

pub(crate) fn spare_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.spare"))
}

fn unfinished_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.new"))
}

/// An open journal file.
#[derive(Clone)]
pub(crate) struct JournalFile {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
}

/// Why there is no next file.
#[derive(Debug)]
pub(crate) enum SupplyError {
    NoSpace,
    /// The disk failed while the file was made. The next try may succeed.
    Failed(Arc<DiskError>),
}

pub(crate) struct SupplyOptions {
    pub(crate) min_free_bytes: u64,
    pub(crate) spare_files: usize,
}

/// Makes journal files, one ahead of need.
pub(crate) struct Supply {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    geometry: Geometry,
    journal_id: u64,
    options: SupplyOptions,
    gauge: SpaceGauge,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    ready: Option<JournalFile>,
    /// The number of the file after `ready`, or of `ready`'s successor-to-be.
    next: u64,
    spares: Vec<PathBuf>,
    /// A thread makes the files; otherwise whoever needs one does.
    background: bool,
    /// The last try found no space.
    blocked: bool,
    stopping: bool,
}

impl Supply {
    /// `ready` is a file that stands ready already; the next one to make has number `next`.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        geometry: Geometry,
        journal_id: u64,
        options: SupplyOptions,
        stock: Stock,
    ) -> Self {
        let gauge = SpaceGauge::default();
        gauge.set_ready(stock.ready.is_some());
        let state = State {
            ready: stock.ready,
            next: stock.next,
            spares: stock.spares,
            background: false,
            blocked: false,
            stopping: false,
        };
        Self {
            disk,
            dir,
            geometry,
            journal_id,
            options,
            gauge,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn gauge(&self) -> SpaceGauge {
        self.gauge.clone()
    }

    /// The next file. With a background thread, waits for the one it is making.
    pub(crate) fn take(&self) -> Result<JournalFile, SupplyError> {
        let mut state = self.state.lock();
        loop {
            if let Some(file) = state.ready.take() {
                self.gauge.set_ready(false);
                self.changed.notify_all();
                return Ok(file);
            }
            if !state.background {
                drop(state);
                self.make_one(false)?;
                state = self.state.lock();
            } else if state.blocked || state.stopping {
                return Err(SupplyError::NoSpace);
            } else {
                self.changed.wait(&mut state);
            }
        }
    }

    /// Without a background thread, makes the next file if it is missing.
    pub(crate) fn top_up(&self) {
        let missing = {
            let state = self.state.lock();
            !state.background && state.ready.is_none()
        };
        if missing {
            // What went wrong is remembered, and told when the file is needed.
            let _told_later = self.make_one(false);
        }
    }

    /// Takes back a file that is no longer needed; it must not be open for reading any more.
    pub(crate) fn give_back(&self, number: u64) -> Result<(), DiskError> {
        let path = journal_path(&self.dir, number);
        let most = match self.gauge.get() {
            Space::Ok => self.options.spare_files,
            // Segments need the room too.
            Space::Low => self.options.spare_files.min(LOW_SPARES),
        };
        let keep = self.state.lock().spares.len() < most;
        if keep {
            let spare = spare_path(&self.dir, number);
            self.disk.rename(&path, &spare).at("set aside", &path)?;
            self.disk.sync_dir(&self.dir).at("sync", &self.dir)?;
            let mut state = self.state.lock();
            state.spares.push(spare);
            state.blocked = false;
        } else {
            self.disk.remove(&path).at("remove", &path)?;
            self.disk.sync_dir(&self.dir).at("sync", &self.dir)?;
            self.state.lock().blocked = false;
        }
        self.changed.notify_all();
        Ok(())
    }

    /// The work of the background thread: returns after [`Supply::stop`].
    pub(crate) fn run(&self) {
        loop {
            {
                let mut state = self.state.lock();
                while !state.stopping && state.ready.is_some() {
                    self.changed.wait(&mut state);
                }
                if state.stopping {
                    return;
                }
            }
            if self.make_one(true).is_err() {
                let mut state = self.state.lock();
                if !state.stopping && state.spares.is_empty() {
                    self.changed.wait_for(&mut state, RETRY);
                }
            }
        }
    }

    pub(crate) fn start(&self) {
        self.state.lock().background = true;
    }

    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopping = true;
        self.changed.notify_all();
    }

    /// Makes one file and puts it in `ready`. Only one thread does this at a time: the background
    /// thread, or without one the writer.
    fn make_one(&self, zero_fill: bool) -> Result<(), SupplyError> {
        let (number, spare) = {
            let mut state = self.state.lock();
            (state.next, state.spares.pop())
        };
        let made = self.make(number, spare.clone(), zero_fill);
        let mut state = self.state.lock();
        let result = match made {
            Ok(file) => {
                state.ready = Some(file);
                self.gauge.set_ready(true);
                state.next = number + 1;
                Ok(())
            }
            Err(error) if error.is_no_space() => {
                state.spares.extend(spare);
                Err(SupplyError::NoSpace)
            }
            Err(_) if state.stopping => return Err(SupplyError::NoSpace),
            Err(error) => {
                // The log itself is whole: another file may well succeed where this one did not.
                tracing::error!(%error, "a further journal file cannot be made; it is tried again");
                Err(SupplyError::Failed(Arc::new(error)))
            }
        };
        state.blocked = result.is_err();
        self.show(if result.is_ok() {
            Space::Ok
        } else {
            Space::Low
        });
        self.changed.notify_all();
        result
    }

    fn show(&self, space: Space) {
        if !self.gauge.set(space) {
            return;
        }
        match space {
            Space::Low => tracing::warn!(
                dir = %self.dir.display(),
                file_size = self.geometry.file_size,
                min_free_bytes = self.options.min_free_bytes,
                "no room for another journal file: new records should be held back"
            ),
            Space::Ok => tracing::info!(dir = %self.dir.display(), "room for journal files again"),
        }
    }

    fn make(
        &self,
        number: u64,
        spare: Option<PathBuf>,
        zero_fill: bool,
    ) -> Result<JournalFile, DiskError> {
        let path = journal_path(&self.dir, number);
        let (from, file) = match spare {
            Some(spare) => {
                let file = self.disk.open(&spare).at("open", &spare)?;
                (spare, file)
            }
            None => self.make_body(number, zero_fill)?,
        };
        let header = FileHeader {
            number,
            file_size: self.geometry.file_size,
            journal_id: self.journal_id,
        };
        // A whole page: recovery relies on zeros between the last commit and the end of its page.
        let mut page = [0; PAGE];
        page[..FILE_HEADER as usize].copy_from_slice(&header.encode());
        file.write_at(0, &page).at("write", &from)?;
        file.sync_data().at("sync", &from)?;
        self.disk.rename(&from, &path).at("put in place", &path)?;
        self.disk.sync_dir(&self.dir).at("sync", &self.dir)?;
        Ok(JournalFile { number, path, file })
    }

    /// A new file of full size.
    fn make_body(
        &self,
        number: u64,
        zero_fill: bool,
    ) -> Result<(PathBuf, Arc<dyn DiskFile>), DiskError> {
        let size = self.geometry.file_size;
        let path = unfinished_path(&self.dir, number);
        let free = self.disk.free_space(&self.dir).at("measure", &self.dir)?;
        if free < size.saturating_add(self.options.min_free_bytes) {
            let full = Err(std::io::ErrorKind::StorageFull.into());
            return full.at("allocate", &path);
        }
        let file = self.disk.create(&path).at("create", &path)?;
        let filled = file
            .allocate(size)
            .at("allocate", &path)
            .and_then(|()| match zero_fill {
                true => self.fill(&*file).at("fill", &path),
                false => Ok(()),
            });
        if let Err(error) = filled {
            // Best effort: an unfinished file is removed at the next start, too.
            let _gone = self.disk.remove(&path);
            return Err(error);
        }
        Ok((path, file))
    }

    /// Writes real zeros, so that later commits overwrite blocks instead of converting them, which
    /// would cost a metadata write each. In steps, so that commits to the current file never wait
    /// for a whole file of zeros, and that a stop need not wait either.
    fn fill(&self, file: &dyn DiskFile) -> std::io::Result<()> {
        let size = self.geometry.file_size;
        let zeros = vec![0u8; ZEROS];
        let mut at = 0;
        while at < size {
            if self.state.lock().stopping {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            let step = ZEROS.min(usize::try_from(size - at).unwrap_or(ZEROS));
            file.write_at(at, &zeros[..step])?;
            file.sync_data()?;
            at += step as u64;
        }
        Ok(())
    }
}

/// What recovery found in the directory.
#[derive(Default)]
pub(crate) struct Stock {
    pub(crate) ready: Option<JournalFile>,
    /// The number of the next file to make.
    pub(crate) next: u64,
    pub(crate) spares: Vec<PathBuf>,
}
