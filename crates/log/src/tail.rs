//! The tail cache: the newest commits, as they were written.

use std::collections::VecDeque;

use crate::commit::Commit;
use crate::position::Position;

/// What a cached commit costs besides its bytes.
const OVERHEAD: usize = 128;

struct Cached {
    /// The end of the commit before it. A seal may lie between there and the commit.
    after: Position,
    commit: Commit,
    cost: usize,
}

/// The newest commits in order, within a budget of bytes.
pub(crate) struct Tail {
    commits: VecDeque<Cached>,
    cost: usize,
    budget: usize,
}

impl Tail {
    pub(crate) fn new(budget: usize) -> Self {
        Self {
            commits: VecDeque::new(),
            cost: 0,
            budget,
        }
    }

    /// Takes in the commit that follows what ended at `after`. `held` is what its buffer holds
    /// in memory.
    pub(crate) fn push(&mut self, after: Position, commit: Commit, held: usize) {
        let cost = held + OVERHEAD;
        self.cost += cost;
        self.commits.push_back(Cached {
            after,
            commit,
            cost,
        });
        while self.cost > self.budget {
            let Some(oldest) = self.commits.pop_front() else {
                break;
            };
            self.cost -= oldest.cost;
        }
    }

    /// The commit at `at`, or the one that follows if `at` is where a file was sealed.
    pub(crate) fn get(&self, at: Position) -> Option<&Commit> {
        let place = self
            .commits
            .partition_point(|cached| cached.commit.position < at);
        let cached = self.commits.get(place)?;
        (cached.after <= at).then_some(&cached.commit)
    }
}
