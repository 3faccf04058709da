//! What was lately read from segments and found whole.

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;

/// Bytes of memory an entry takes beside its content.
const OVERHEAD: usize = 96;
/// Of the budget, the part that is for block indexes: 1/8.
const INDEX_SHARE: usize = 8;

type Map = hashbrown::HashMap<(u64, u64), Entry, foldhash::fast::RandomState>;

/// When an entry goes: blocks that a reader has gone through first, then by age.
type Turn = (bool, u64);

#[derive(Debug)]
struct Entry {
    bytes: Bytes,
    turn: Turn,
    /// A block that nobody has gone through yet.
    ahead: bool,
}

/// Blocks, shared payloads and block indexes, each within its budget of bytes. What a reader has
/// gone through goes first, so that readers of different places do not evict what the others are
/// about to need. Segments never change, so what is here stays true.
#[derive(Debug)]
pub(crate) struct Cache {
    blocks: Mutex<Store>,
    indexes: Mutex<Store>,
}

#[derive(Debug)]
struct Store {
    /// By segment and byte.
    entries: Map,
    order: BTreeMap<Turn, (u64, u64)>,
    count: u64,
    bytes: usize,
    ahead: usize,
    budget: usize,
}

impl Cache {
    pub(crate) fn new(budget: usize) -> Self {
        let indexes = budget / INDEX_SHARE;
        Self {
            blocks: Mutex::new(Store::new(budget - indexes)),
            indexes: Mutex::new(Store::new(indexes)),
        }
    }

    /// A block or a shared payload.
    pub(crate) fn block(&self, segment: u64, at: u64) -> Option<Bytes> {
        self.blocks.lock().get((segment, at))
    }

    /// Takes in neighbouring blocks of one segment.
    pub(crate) fn put_blocks(&self, segment: u64, blocks: impl IntoIterator<Item = (u64, Bytes)>) {
        let mut store = self.blocks.lock();
        for (at, bytes) in blocks {
            store.put((segment, at), bytes, true);
        }
    }

    /// Takes in payloads that blocks refer to.
    pub(crate) fn put_payloads(&self, segment: u64, payloads: Vec<(u64, Bytes)>) {
        let mut store = self.blocks.lock();
        for (at, bytes) in payloads {
            store.put((segment, at), bytes, false);
        }
    }

    /// A reader has gone through a block.
    pub(crate) fn set_done(&self, segment: u64, at: u64) {
        self.blocks.lock().set_done((segment, at));
    }

    /// Bytes that may be read ahead for one more reader, such that they are still there when they
    /// are wanted: less, the more is read ahead for others.
    pub(crate) fn room_ahead(&self) -> usize {
        let store = self.blocks.lock();
        store.budget.saturating_sub(store.ahead) / 4
    }

    pub(crate) fn index(&self, segment: u64, at: u64) -> Option<Bytes> {
        self.indexes.lock().get((segment, at))
    }

    pub(crate) fn put_index(&self, segment: u64, at: u64, part: Bytes) {
        self.indexes.lock().put((segment, at), part, false);
    }

    /// Drops what is of a segment that is gone. Visits everything.
    pub(crate) fn forget(&self, segment: u64) {
        self.blocks.lock().forget(segment);
        self.indexes.lock().forget(segment);
    }
}

impl Store {
    fn new(budget: usize) -> Self {
        Self {
            entries: Map::default(),
            order: BTreeMap::new(),
            count: 0,
            bytes: 0,
            ahead: 0,
            budget,
        }
    }

    fn get(&self, key: (u64, u64)) -> Option<Bytes> {
        self.entries.get(&key).map(|entry| entry.bytes.clone())
    }

    fn put(&mut self, key: (u64, u64), bytes: Bytes, ahead: bool) {
        self.take(key);
        self.count += 1;
        let turn = (true, self.count);
        self.bytes += bytes.len() + OVERHEAD;
        if ahead {
            self.ahead += bytes.len() + OVERHEAD;
        }
        self.entries.insert(key, Entry { bytes, turn, ahead });
        self.order.insert(turn, key);
        while self.bytes > self.budget && self.order.len() > 1 {
            let Some((_, next)) = self.order.pop_first() else {
                break;
            };
            self.take(next);
        }
    }

    fn set_done(&mut self, key: (u64, u64)) {
        let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.ahead) else {
            return;
        };
        entry.ahead = false;
        self.ahead -= entry.bytes.len() + OVERHEAD;
        self.order.remove(&entry.turn);
        entry.turn.0 = false;
        self.order.insert(entry.turn, key);
    }

    fn take(&mut self, key: (u64, u64)) {
        if let Some(gone) = self.entries.remove(&key) {
            self.order.remove(&gone.turn);
            self.bytes -= gone.bytes.len() + OVERHEAD;
            if gone.ahead {
                self.ahead -= gone.bytes.len() + OVERHEAD;
            }
        }
    }

    fn forget(&mut self, segment: u64) {
        let keys = self.entries.keys().copied();
        let gone: Vec<_> = keys.filter(|(of, _)| *of == segment).collect();
        for key in gone {
            self.take(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_gone_through_goes_before_what_is_still_wanted() {
        let cache = Cache::new(8000);
        let block = |at: u64| (at, Bytes::from(vec![0; 1000 - OVERHEAD]));
        cache.put_blocks(1, (0..7).map(block));
        let room = cache.room_ahead();
        for at in 3..6 {
            cache.set_done(1, at);
            cache.set_done(1, at);
        }
        assert_eq!(cache.room_ahead(), room + 3000 / 4);
        cache.put_blocks(2, (0..3).map(block));
        assert!((0..3).all(|at| cache.block(1, at).is_some()));
        assert!((3..6).all(|at| cache.block(1, at).is_none()));
        assert_eq!(cache.room_ahead(), room);
    }

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
