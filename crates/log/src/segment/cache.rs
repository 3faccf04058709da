//! What was lately read from segments and found whole.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;

/// Bytes of memory an entry takes beside its content.
const OVERHEAD: usize = 96;
/// Of the budget, the part that is for block indexes: 1/8.
const INDEX_SHARE: usize = 8;

type Map = hashbrown::HashMap<(u64, u64), Bytes, foldhash::fast::RandomState>;

/// Blocks, shared payloads and block indexes, each within its budget of bytes, first in, first
/// out. Segments never change, so what is here stays true.
#[derive(Debug)]
pub(crate) struct Cache {
    blocks: Mutex<Fifo>,
    indexes: Mutex<Fifo>,
}

#[derive(Debug)]
struct Fifo {
    /// By segment and byte.
    entries: Map,
    order: VecDeque<(u64, u64)>,
    bytes: usize,
    budget: usize,
}

impl Cache {
    pub(crate) fn new(budget: usize) -> Self {
        let indexes = budget / INDEX_SHARE;
        Self {
            blocks: Mutex::new(Fifo::new(budget - indexes)),
            indexes: Mutex::new(Fifo::new(indexes)),
        }
    }

    pub(crate) fn block(&self, segment: u64, at: u64) -> Option<Bytes> {
        self.blocks.lock().entries.get(&(segment, at)).cloned()
    }

    /// Takes in neighbours of one segment.
    pub(crate) fn put_blocks(&self, segment: u64, blocks: impl IntoIterator<Item = (u64, Bytes)>) {
        let mut fifo = self.blocks.lock();
        for (at, bytes) in blocks {
            fifo.put((segment, at), bytes);
        }
    }

    pub(crate) fn index(&self, segment: u64, at: u64) -> Option<Bytes> {
        self.indexes.lock().entries.get(&(segment, at)).cloned()
    }

    pub(crate) fn put_index(&self, segment: u64, at: u64, part: Bytes) {
        self.indexes.lock().put((segment, at), part);
    }

    /// Drops what is of a segment that is gone. Visits everything.
    pub(crate) fn forget(&self, segment: u64) {
        self.blocks.lock().forget(segment);
        self.indexes.lock().forget(segment);
    }
}

impl Fifo {
    fn new(budget: usize) -> Self {
        Self {
            entries: Map::default(),
            order: VecDeque::new(),
            bytes: 0,
            budget,
        }
    }

    fn put(&mut self, key: (u64, u64), bytes: Bytes) {
        let cost = bytes.len() + OVERHEAD;
        if self.entries.insert(key, bytes).is_some() {
            return;
        }
        self.order.push_back(key);
        self.bytes += cost;
        while self.bytes > self.budget && self.order.len() > 1 {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.take(oldest);
        }
    }

    fn take(&mut self, key: (u64, u64)) {
        if let Some(gone) = self.entries.remove(&key) {
            self.bytes -= gone.len() + OVERHEAD;
        }
    }

    fn forget(&mut self, segment: u64) {
        let (gone, kept): (VecDeque<_>, _) = self.order.iter().partition(|(of, _)| *of == segment);
        self.order = kept;
        for key in gone {
            self.take(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_holds_and_the_oldest_go_first() {
        let cache = Cache::new(8000);
        let blocks = (0..100).map(|at| (at, Bytes::from(vec![0; 1000 - OVERHEAD])));
        cache.put_blocks(1, blocks);
        let held: Vec<u64> = (0..100)
            .filter(|at| cache.block(1, *at).is_some())
            .collect();
        assert_eq!(held, (93..100).collect::<Vec<_>>());
        cache.put_blocks(2, [(5, Bytes::from_static(b"other"))]);
        cache.forget(1);
        assert!((0..100).all(|at| cache.block(1, at).is_none()));
        assert_eq!(cache.block(2, 5).as_deref(), Some(&b"other"[..]));
        assert_eq!(cache.blocks.lock().bytes, 5 + OVERHEAD);
    }
}
