//! Commits read back from the disk.

use std::collections::{HashMap, VecDeque};

use crate::commit::Commit;
use crate::position::Position;

/// Commits that were read from the disk lately, first in, first out, within a budget of bytes.
/// It is apart from the tail cache so that reading history does not evict the present.
pub(crate) struct Cold {
    /// By the position that was asked for: the commit there, or the one behind a seal there.
    commits: HashMap<Position, Commit>,
    order: VecDeque<Position>,
    bytes: usize,
    budget: usize,
}

impl Cold {
    pub(crate) fn new(budget: usize) -> Self {
        Self {
            commits: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            budget,
        }
    }

    pub(crate) fn get(&self, at: Position) -> Option<&Commit> {
        self.commits.get(&at)
    }

    pub(crate) fn put(&mut self, at: Position, commit: Commit) {
        let cost = commit.bytes.len();
        if self.commits.insert(at, commit).is_some() {
            return;
        }
        self.order.push_back(at);
        self.bytes += cost;
        while self.bytes > self.budget && self.order.len() > 1 {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            if let Some(gone) = self.commits.remove(&oldest) {
                self.bytes -= gone.bytes.len();
            }
        }
    }
}
