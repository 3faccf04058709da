//! When snapshots are taken, and what of the journal they make unnecessary.

use forebay_base::{Offset, PartitionId, Timestamp, planted};
use forebay_log::{Position, Space};

use super::{Effect, Engine, Job};
use crate::recovery::join_snapshot;

/// Snapshots taken to get space back after something was settled: two make the one before them
/// unnecessary, and with it the journal it builds on.
const RELIEF_ROUNDS: u32 = 3;
/// Between two of them, milliseconds.
const RELIEF_MS: u64 = 1_000;

/// What is done while the disk is full: consumers go on, and what they settle may let the journal
/// reuse a file.
#[derive(Default)]
pub(super) struct Relief {
    /// How much was settled when it was last looked at.
    settled: u64,
    rounds: u32,
    next: Timestamp,
}

impl Relief {
    /// Whether it has done what it can, with so much settled.
    pub(super) fn is_over(&self, settled: u64) -> bool {
        self.settled == settled && self.rounds >= RELIEF_ROUNDS
    }

    fn is_due(&mut self, now: Timestamp, settled: u64) -> bool {
        if self.settled != settled {
            (self.settled, self.rounds) = (settled, 0);
        }
        now >= self.next && self.rounds < RELIEF_ROUNDS
    }
}

/// For each partition the lowest offset that must stay readable.
type Needed = Vec<(PartitionId, Offset)>;

/// When the next snapshot is due, and the one that is under way.
pub(super) struct Snapshots {
    last: Position,
    /// The state after the commit that is being written, and what must stay readable by it.
    taken: Option<(Vec<u8>, Needed)>,
    saving: bool,
    /// What must stay readable by the newest snapshot that was begun, and by the newest there is.
    begun: Needed,
    needed: Needed,
    /// The snapshots there are, as far as is known.
    kept: Vec<Position>,
    /// The outcome waits for the one that is being saved.
    closing: bool,
}

impl Snapshots {
    pub(super) fn new(last: Position) -> Self {
        Self {
            last,
            taken: None,
            saving: false,
            begun: Vec::new(),
            needed: Vec::new(),
            kept: Vec::new(),
            closing: false,
        }
    }

    /// The oldest that recovery may start from, as far as is known.
    pub(super) fn oldest(&self) -> Option<&Position> {
        self.kept.first()
    }

    pub(super) fn is_saving(&self) -> bool {
        self.saving
    }
}

impl Engine {
    /// Keeps the state for a snapshot, if one is due and the commit that goes to the journal now
    /// is all the state holds beyond it.
    pub(super) fn take_snapshot(&mut self, now: Timestamp) {
        if self.snapshots.saving || !self.shard.is_even() {
            return;
        }
        let end = self.reader.durable_end();
        let grown = end.0.saturating_sub(self.snapshots.last.0);
        let relief = self.space == Space::Low && self.relief.is_due(now, self.settled());
        if grown >= self.tuning.snapshot_every_bytes || relief {
            if relief {
                self.relief.rounds += 1;
                self.relief.next = now.plus_ms(RELIEF_MS);
            }
            let needed = self.shard.needed().collect();
            self.snapshots.taken = Some((self.shard.state().save(), needed));
        }
    }

    /// The commit is durable, after which the state was kept.
    pub(super) fn snapshot_taken(&mut self, end: Position) {
        if let Some((state, needed)) = self.snapshots.taken.take() {
            self.save_snapshot(end, &state, needed);
        }
    }

    fn save_snapshot(&mut self, position: Position, state: &[u8], needed: Needed) {
        let payload = join_snapshot(state, &self.reader.export_index());
        self.snapshots.last = position;
        self.snapshots.begun = needed;
        self.snapshots.saving = true;
        planted!(JournalDroppedBeforeSnapshot => {
            self.snapshots.kept = vec![position];
            self.drop_journal();
        });
        self.effects
            .push_back(Effect::Job(Job::SaveSnapshot { position, payload }));
    }

    /// A snapshot is safe: the journal before it is needed only for records.
    pub(super) fn snapshot_saved(&mut self, result: Result<Vec<Position>, String>) {
        self.snapshots.saving = false;
        if self.snapshots.closing {
            self.outcome.get_or_insert(result.map(|_| ()));
            return;
        }
        match result {
            Ok(kept) => {
                self.snapshots.kept = kept;
                self.snapshots.needed = std::mem::take(&mut self.snapshots.begun);
                self.drop_journal();
            }
            Err(error) => tracing::warn!(%error, "a snapshot was not saved; the next one is tried"),
        }
    }

    /// Lets the journal reuse files that hold nothing anybody needs: neither a snapshot recovery
    /// could start from, nor a message that is not settled, nor a stream's record.
    pub(super) fn drop_journal(&mut self) {
        let Some(snapshot) = self.snapshots.kept.first() else {
            return;
        };
        // As of the snapshot: what was settled since may not be durable yet.
        let needed = self.snapshots.needed.iter();
        let needed = needed.filter_map(|(id, offset)| self.reader.position_of(*id, *offset));
        let below = needed.fold(*snapshot, Position::min);
        if below > self.promotion.oldest() {
            self.promotion.note_dropping();
            self.effects.push_back(Effect::Job(Job::DropJournal(below)));
        }
    }

    /// While the disk is full, takes snapshots without waiting for the journal to grow.
    pub(super) fn relieve(&mut self, now: Timestamp) {
        let due =
            self.space == Space::Low && self.is_quiet() && self.relief.is_due(now, self.settled());
        if !due {
            return;
        }
        self.relief.next = now.plus_ms(RELIEF_MS);
        let end = self.reader.durable_end();
        if end > self.snapshots.last {
            self.relief.rounds += 1;
            let state = self.shard.state().save();
            let needed = self.shard.needed().collect();
            self.save_snapshot(end, &state, needed);
        } else {
            // A snapshot needs a commit of its own to stand behind.
            self.shard.note_time(now);
        }
    }

    /// The snapshot after which all is over.
    pub(super) fn last_snapshot(&mut self) {
        let end = self.reader.durable_end();
        if end == self.snapshots.last {
            self.outcome = Some(Ok(()));
            return;
        }
        self.snapshots.closing = true;
        let state = self.shard.state().save();
        self.save_snapshot(end, &state, Vec::new());
    }
}
