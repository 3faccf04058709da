//! The bytes of one simulated file, and which of them are durable.

use std::collections::BTreeMap;

pub(super) const PAGE: u64 = 4096;
pub(super) const SECTOR: u64 = 512;

#[derive(Clone, Default)]
pub(super) struct Inode {
    pages: BTreeMap<u64, Box<[u8]>>,
    pub(super) size: u64,
    durable_size: u64,
    /// What unsynced sectors held when they were last durable.
    before: BTreeMap<u64, [u8; SECTOR as usize]>,
    /// The same for sectors whose sync has failed: the system takes them for written, a later
    /// sync does not write them again, and the power takes them away.
    given_up: BTreeMap<u64, [u8; SECTOR as usize]>,
}

impl Inode {
    pub(super) fn read(&self, at: u64, buffer: &mut [u8]) {
        let mut done = 0;
        while done < buffer.len() {
            let place = at + done as u64;
            let inside = (place % PAGE) as usize;
            let step = (PAGE as usize - inside).min(buffer.len() - done);
            match self.pages.get(&(place / PAGE)) {
                Some(page) => {
                    buffer[done..done + step].copy_from_slice(&page[inside..inside + step]);
                }
                None => buffer[done..done + step].fill(0),
            }
            done += step;
        }
    }

    pub(super) fn put(&mut self, at: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let place = at + done as u64;
            let inside = (place % PAGE) as usize;
            let step = (PAGE as usize - inside).min(bytes.len() - done);
            let page = self
                .pages
                .entry(place / PAGE)
                .or_insert_with(|| vec![0; PAGE as usize].into_boxed_slice());
            page[inside..inside + step].copy_from_slice(&bytes[done..done + step]);
            done += step;
        }
    }

    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) {
        let end = at + bytes.len() as u64;
        // A page is written back whole, with what was given up of it.
        let pages = (at / PAGE * PAGE / SECTOR)..(end.next_multiple_of(PAGE) / SECTOR);
        let again = self.given_up.extract_if(pages, |_, _| true);
        self.before.extend(again);
        for sector in at / SECTOR..end.div_ceil(SECTOR) {
            if !self.before.contains_key(&sector) {
                let mut old = [0; SECTOR as usize];
                self.read(sector * SECTOR, &mut old);
                self.before.insert(sector, old);
            }
        }
        self.put(at, bytes);
        self.size = self.size.max(end);
    }

    pub(super) fn sync(&mut self) {
        self.before.clear();
        self.durable_size = self.size;
    }

    /// A sync that failed: see [`Inode::given_up`].
    pub(super) fn fail_sync(&mut self) {
        for (sector, old) in std::mem::take(&mut self.before) {
            self.given_up.entry(sector).or_insert(old);
        }
    }

    pub(super) fn lose_power(&mut self, chance: &mut Option<Chance>) {
        for (sector, old) in std::mem::take(&mut self.given_up) {
            self.put(sector * SECTOR, &old);
        }
        for (sector, old) in std::mem::take(&mut self.before) {
            if !chance.as_mut().is_some_and(Chance::coin) {
                self.put(sector * SECTOR, &old);
            }
        }
        if !chance.as_mut().is_some_and(Chance::coin) {
            self.size = self.durable_size;
        }
        self.durable_size = self.size;
        let whole = self.size.div_ceil(PAGE);
        self.pages.split_off(&whole);
        let inside = (self.size % PAGE) as usize;
        if let (true, Some(page)) = (inside > 0, self.pages.get_mut(&(self.size / PAGE))) {
            page[inside..].fill(0);
        }
    }
}

/// SplitMix64: a small stream of numbers that a seed decides.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}
