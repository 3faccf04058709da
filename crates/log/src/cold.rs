//! Stretches of the journal read back from the disk.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::commit::{Commit, Head, head};
use crate::position::Position;

/// The most that is read from the disk at a time for a reader that goes through commits one
/// after the other, bytes.
pub(crate) const AHEAD_MOST: usize = 1 << 20;
/// What is read for a reader that jumps, and the least for one that does not, bytes.
pub(crate) const AHEAD_LEAST: usize = 64 << 10;

/// Whole commits that lie one behind the other and were checked.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    /// What was asked for: the first commit, or a seal that lies before it.
    asked: Position,
    first: Position,
    /// Where the last commit ends.
    pub(crate) end: Position,
    bytes: Bytes,
}

impl Chunk {
    /// `bytes` hold whole commits from `first` on, and nothing else.
    pub(crate) fn new(asked: Position, first: Position, bytes: Bytes) -> Self {
        Self {
            asked,
            first,
            end: Position(first.0 + bytes.len() as u64),
            bytes,
        }
    }

    /// The commit at `at`, or the one behind the seal there.
    pub(crate) fn get(&self, at: Position, journal_id: u64) -> Option<Commit> {
        let at = if at == self.asked { self.first } else { at };
        let skip = usize::try_from(at.0.checked_sub(self.first.0)?).ok()?;
        let rest = self.bytes.get(skip..)?;
        let Head::Commit { length } = head(rest, at, journal_id) else {
            return None;
        };
        let commit = rest.get(..usize::try_from(length).ok()?)?;
        Some(Commit::new(at, self.bytes.slice_ref(commit)))
    }
}

/// When a chunk goes: those that a reader is done with first, then by age.
type Turn = (bool, u64);

struct Kept {
    chunk: Chunk,
    turn: Turn,
}

impl Kept {
    fn waits(&self) -> bool {
        self.turn.0
    }
}

/// Chunks that were read lately, within a budget of bytes. It is apart from the tail cache so
/// that reading history does not evict the present. What a reader has gone through goes first,
/// so that readers of different places do not evict what the others are about to need.
pub(crate) struct Cold {
    /// By what was asked for.
    chunks: BTreeMap<Position, Kept>,
    order: BTreeMap<Turn, Position>,
    count: u64,
    bytes: usize,
    /// Bytes that nobody has gone through yet.
    ahead: usize,
    budget: usize,
}

impl Cold {
    pub(crate) fn new(budget: usize) -> Self {
        Self {
            chunks: BTreeMap::new(),
            order: BTreeMap::new(),
            count: 0,
            bytes: 0,
            ahead: 0,
            budget,
        }
    }

    pub(crate) fn get(&self, at: Position) -> Option<&Chunk> {
        let (_, kept) = self.chunks.range(..=at).next_back()?;
        let chunk = &kept.chunk;
        (at == chunk.asked || (chunk.first <= at && at < chunk.end)).then_some(chunk)
    }

    /// How many bytes to read at a time for a reader in sequence: less, the more of them there
    /// are.
    pub(crate) fn read_ahead(&self) -> usize {
        let left = self.budget.saturating_sub(self.ahead);
        (left / 4).clamp(AHEAD_LEAST, AHEAD_MOST)
    }

    pub(crate) fn put(&mut self, chunk: Chunk) {
        let (asked, bytes) = (chunk.asked, chunk.bytes.len());
        self.remove(asked);
        self.count += 1;
        let turn = (true, self.count);
        self.bytes += bytes;
        self.ahead += bytes;
        self.chunks.insert(asked, Kept { chunk, turn });
        self.order.insert(turn, asked);
        while self.bytes > self.budget && self.order.len() > 1 {
            let Some((_, oldest)) = self.order.pop_first() else {
                break;
            };
            self.remove(oldest);
        }
    }

    /// A reader has gone through all of `chunk`.
    pub(crate) fn set_done(&mut self, chunk: &Chunk) {
        if let Some(kept) = self.chunks.get_mut(&chunk.asked)
            && kept.waits()
        {
            self.order.remove(&kept.turn);
            kept.turn.0 = false;
            self.order.insert(kept.turn, chunk.asked);
            self.ahead -= kept.chunk.bytes.len();
        }
    }

    fn remove(&mut self, asked: Position) {
        if let Some(kept) = self.chunks.remove(&asked) {
            self.order.remove(&kept.turn);
            self.bytes -= kept.chunk.bytes.len();
            if kept.waits() {
                self.ahead -= kept.chunk.bytes.len();
            }
        }
    }
}
