//! The writer on a thread of its own: the shell around [`Journal`].

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use parking_lot::{Condvar, Mutex};

use crate::commit::CommitBuilder;
use crate::journal::{Committed, Journal, WriteError};
use crate::position::Position;
use crate::space::SpaceGauge;
use crate::supply::Supply;

/// What the journal's thread has done.
#[derive(Debug)]
pub enum JournalNews {
    /// The outcome of a commit.
    Written(Result<Committed, WriteError>),
    /// Files were dropped, or could not be; the oldest that is left starts here.
    Dropped(Position),
}

/// Called on the journal's thread with what it has done, in order.
pub type Completion = Box<dyn FnMut(JournalNews) + Send>;

/// Writes commits on its own thread, while a second thread makes the next journal file.
///
/// There is no timer: a submitted commit is written at once, and what gathers meanwhile is the
/// next one. Dropping it writes what was submitted, then ends both threads.
pub struct JournalThread {
    bell: Arc<Bell>,
    supply: Arc<Supply>,
    space: SpaceGauge,
    writer: Option<JoinHandle<()>>,
    maker: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Bell {
    slot: Mutex<Slot>,
    rung: Condvar,
}

#[derive(Default)]
struct Slot {
    commit: Option<CommitBuilder>,
    drop_below: Option<Position>,
    stop: bool,
}

impl JournalThread {
    /// Starts the threads.
    pub fn spawn(journal: Journal, completion: Completion) -> io::Result<Self> {
        let bell = Arc::new(Bell::default());
        let supply = Arc::clone(&journal.supply);
        let space = journal.space();
        let maker = {
            let supply = Arc::clone(&supply);
            Builder::new()
                .name("journal-files".into())
                .spawn(move || supply.run())?
        };
        supply.start();
        let mut thread = Self {
            bell: Arc::clone(&bell),
            supply,
            space,
            writer: None,
            maker: Some(maker),
        };
        let writer = Builder::new()
            .name("journal".into())
            .spawn(move || write_all(journal, &bell, completion))?;
        thread.writer = Some(writer);
        Ok(thread)
    }

    /// Hands over a commit. The next one may follow when the completion of this one was called;
    /// before that the call waits until the thread has taken this one up.
    pub fn submit(&self, commit: CommitBuilder) {
        let mut slot = self.bell.slot.lock();
        while slot.commit.is_some() {
            self.bell.rung.wait(&mut slot);
        }
        slot.commit = Some(commit);
        self.bell.rung.notify_all();
    }

    /// [`Journal::drop_below`], soon. Several calls may be answered by one completion.
    pub fn drop_below(&self, position: Position) {
        let mut slot = self.bell.slot.lock();
        slot.drop_below = slot.drop_below.max(Some(position));
        self.bell.rung.notify_all();
    }

    /// Whether there is room for a next file.
    pub fn space(&self) -> SpaceGauge {
        self.space.clone()
    }
}

impl Drop for JournalThread {
    fn drop(&mut self) {
        self.bell.slot.lock().stop = true;
        self.bell.rung.notify_all();
        if let Some(writer) = self.writer.take() {
            // A panic there was reported there.
            let _ended = writer.join();
        }
        self.supply.stop();
        if let Some(maker) = self.maker.take() {
            let _ended = maker.join();
        }
    }
}

fn write_all(mut journal: Journal, bell: &Bell, mut completion: Completion) {
    loop {
        let (commit, drop_below) = {
            let mut slot = bell.slot.lock();
            while slot.commit.is_none() && slot.drop_below.is_none() {
                if slot.stop {
                    return;
                }
                bell.rung.wait(&mut slot);
            }
            (slot.commit.take(), slot.drop_below.take())
        };
        bell.rung.notify_all();
        if let Some(position) = drop_below {
            if let Err(error) = journal.drop_below(position) {
                tracing::warn!(%error, "a journal file that is no longer needed was not dropped");
            }
            completion(JournalNews::Dropped(journal.oldest()));
        }
        if let Some(commit) = commit {
            completion(JournalNews::Written(journal.write(commit)));
        }
    }
}
