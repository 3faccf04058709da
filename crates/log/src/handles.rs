//! The journal files a reader may open: which there are, and handles for a few of them.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{At, Disk, DiskError, DiskFile};
use crate::supply::journal_path;

/// How many files are kept open for reading. A deep backlog has thousands of files, and readers
/// of history go through them in order.
const OPEN_MAX: usize = 32;

pub(crate) struct Handles {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: BTreeSet<u64>,
    /// Oldest first.
    open: VecDeque<(u64, Arc<dyn DiskFile>)>,
}

impl Handles {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self {
            disk,
            dir,
            state: Mutex::default(),
        }
    }

    pub(crate) fn add(&self, number: u64) {
        self.state.lock().known.insert(number);
    }

    pub(crate) fn remove(&self, number: u64) {
        let mut state = self.state.lock();
        state.known.remove(&number);
        state.open.retain(|(open, _)| *open != number);
    }

    pub(crate) fn knows(&self, number: u64) -> bool {
        self.state.lock().known.contains(&number)
    }

    /// The number of the oldest file.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.state.lock().known.first().copied()
    }

    pub(crate) fn path(&self, number: u64) -> PathBuf {
        journal_path(&self.dir, number)
    }

    /// A handle for reading; `None` if the file was dropped.
    pub(crate) fn get(&self, number: u64) -> Result<Option<Arc<dyn DiskFile>>, DiskError> {
        let opened = {
            let state = self.state.lock();
            if !state.known.contains(&number) {
                return Ok(None);
            }
            state
                .open
                .iter()
                .find(|(open, _)| *open == number)
                .map(|(_, file)| Arc::clone(file))
        };
        if opened.is_some() {
            return Ok(opened);
        }
        let path = self.path(number);
        let file = match self.disk.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.knows(number) => {
                return Ok(None);
            }
            opened => opened.at("open", &path)?,
        };
        let mut state = self.state.lock();
        // Dropped meanwhile: what was opened may be another file by now.
        if !state.known.contains(&number) {
            return Ok(None);
        }
        state.open.push_back((number, Arc::clone(&file)));
        if state.open.len() > OPEN_MAX {
            state.open.pop_front();
        }
        Ok(Some(file))
    }
}
