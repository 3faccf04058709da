//! A disk in memory: deterministic, and as unkind as a real one is allowed to be.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile};

const PAGE: u64 = 4096;
const SECTOR: u64 = 512;

/// What an operation chosen by [`SimDisk::fail_at`] does instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails with an input/output error and changes nothing; later operations work.
    Eio,
    /// The power goes while it runs: it may have happened in part, and every later operation
    /// fails until [`SimDisk::crash`].
    PowerCut,
}

/// A disk in memory. Clones share the same files.
///
/// Unsynced writes and names are lost at [`SimDisk::crash`]; with a seed, single 512-byte sectors
/// of unsynced writes survive and others do not, and the oldest few unsynced names survive.
/// An operation is one that changes the disk or makes it durable; reads are not counted.
#[derive(Clone, Default)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
}

#[derive(Default)]
struct World {
    names: BTreeMap<PathBuf, Arc<Mutex<Inode>>>,
    durable_names: BTreeMap<PathBuf, Arc<Mutex<Inode>>>,
    changes: Vec<NameChange>,
    dirs: BTreeSet<PathBuf>,
    operations: u64,
    fault: Option<(u64, Fault)>,
    down: bool,
    epoch: u64,
    capacity: Option<u64>,
}

struct NameChange {
    dir: PathBuf,
    gone: Option<PathBuf>,
    came: Option<(PathBuf, Arc<Mutex<Inode>>)>,
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Arc<Mutex<Inode>>>) {
        if let Some(path) = &self.gone {
            names.remove(path);
        }
        if let Some((path, inode)) = &self.came {
            names.insert(path.clone(), Arc::clone(inode));
        }
    }
}

#[derive(Default)]
struct Inode {
    pages: BTreeMap<u64, Box<[u8]>>,
    size: u64,
    durable_size: u64,
    /// What unsynced sectors held when they were last durable.
    before: BTreeMap<u64, [u8; SECTOR as usize]>,
}

impl Inode {
    fn read(&self, at: u64, buffer: &mut [u8]) {
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

    fn put(&mut self, at: u64, bytes: &[u8]) {
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

    fn write(&mut self, at: u64, bytes: &[u8]) {
        let end = at + bytes.len() as u64;
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

    fn sync(&mut self) {
        self.before.clear();
        self.durable_size = self.size;
    }

    fn lose_power(&mut self, chance: &mut Option<Chance>) {
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
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
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

impl World {
    /// Counts an operation. `Ok(true)` means: do it, then fail with [`power_cut`].
    fn begin(&mut self) -> io::Result<bool> {
        if self.down {
            return Err(power_cut());
        }
        self.operations += 1;
        match self.fault {
            Some((at, fault)) if at == self.operations => {
                self.fault = None;
                match fault {
                    Fault::Eio => Err(io::Error::from_raw_os_error(5)),
                    Fault::PowerCut => {
                        self.down = true;
                        Ok(true)
                    }
                }
            }
            _ => Ok(false),
        }
    }

    fn used(&self) -> u64 {
        self.names.values().map(|inode| inode.lock().size).sum()
    }

    fn require_room(&self, more: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if self.used().saturating_add(more) > capacity => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    fn inode(&self, path: &Path) -> io::Result<Arc<Mutex<Inode>>> {
        self.names
            .get(path)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn power_cut() -> io::Error {
    io::Error::other("the power is cut")
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

fn finish(cut: bool) -> io::Result<()> {
    if cut { Err(power_cut()) } else { Ok(()) }
}

impl SimDisk {
    /// An empty disk of unlimited capacity.
    pub fn new() -> Self {
        Self::default()
    }

    /// The power goes and comes back. Unsynced writes and names are lost; with `tear`, the seed
    /// chooses which unsynced sectors, sizes and names survive. Open files must be opened again.
    pub fn crash(&self, tear: Option<u64>) {
        let mut chance = tear.map(Chance);
        let mut world = self.world.lock();
        let changes = std::mem::take(&mut world.changes);
        let kept = match &mut chance {
            Some(chance) => (chance.next() % (changes.len() as u64 + 1)) as usize,
            None => 0,
        };
        let mut names = std::mem::take(&mut world.durable_names);
        for change in &changes[..kept] {
            change.apply(&mut names);
        }
        for inode in names.values() {
            inode.lock().lose_power(&mut chance);
        }
        world.names = names.clone();
        world.durable_names = names;
        world.down = false;
        world.fault = None;
        world.epoch += 1;
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.world.lock().operations
    }

    /// The `nth` operation from now on (1 is the next one) meets `fault`.
    pub fn fail_at(&self, nth: u64, fault: Fault) {
        let mut world = self.world.lock();
        world.fault = Some((world.operations + nth, fault));
    }

    /// Limits the sum of all file sizes; `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.world.lock().capacity = bytes;
    }

    /// Turns one bit of a file over, durably, as decay would. False if there is no such byte.
    pub fn flip_bit(&self, path: &Path, byte: u64, bit: u8) -> bool {
        let world = self.world.lock();
        let Some(inode) = world.names.get(path) else {
            return false;
        };
        let mut inode = inode.lock();
        if byte >= inode.size {
            return false;
        }
        let mut value = [0];
        inode.read(byte, &mut value);
        value[0] ^= 1 << (bit % 8);
        inode.put(byte, &value);
        true
    }

    /// The content of a file as a reader would see it now.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let inode = self.world.lock().inode(path).ok()?;
        let inode = inode.lock();
        let mut bytes = vec![0; usize::try_from(inode.size).ok()?];
        inode.read(0, &mut bytes);
        Some(bytes)
    }

    fn handle(&self, world: &World, inode: Arc<Mutex<Inode>>) -> Arc<dyn DiskFile> {
        Arc::new(SimFile {
            world: Arc::clone(&self.world),
            inode,
            epoch: world.epoch,
        })
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let world = self.world.lock();
        if world.down {
            return Err(power_cut());
        }
        let inode = world.inode(path)?;
        Ok(self.handle(&world, inode))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world.lock();
        let cut = world.begin()?;
        if !world.dirs.contains(&parent(path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inode = Arc::new(Mutex::new(Inode::default()));
        world.change(NameChange {
            dir: parent(path),
            gone: None,
            came: Some((path.to_owned(), Arc::clone(&inode))),
        });
        finish(cut)?;
        Ok(self.handle(&world, inode))
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        if world.down {
            return Err(power_cut());
        }
        for above in dir.ancestors() {
            world.dirs.insert(above.to_owned());
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let world = self.world.lock();
        if world.down {
            return Err(power_cut());
        }
        if !world.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = world.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let cut = world.begin()?;
        let inode = world.inode(from)?;
        world.change(NameChange {
            dir: parent(to),
            gone: Some(from.to_owned()),
            came: Some((to.to_owned(), inode)),
        });
        finish(cut)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let cut = world.begin()?;
        world.inode(path)?;
        world.change(NameChange {
            dir: parent(path),
            gone: Some(path.to_owned()),
            came: None,
        });
        finish(cut)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        finish(world.begin()?)?;
        let changes = std::mem::take(&mut world.changes);
        for change in changes {
            if change.dir == dir {
                change.apply(&mut world.durable_names);
            } else {
                world.changes.push(change);
            }
        }
        Ok(())
    }

    fn free_space(&self, _dir: &Path) -> io::Result<u64> {
        let world = self.world.lock();
        if world.down {
            return Err(power_cut());
        }
        Ok(world
            .capacity
            .map_or(u64::MAX, |capacity| capacity.saturating_sub(world.used())))
    }
}

struct SimFile {
    world: Arc<Mutex<World>>,
    inode: Arc<Mutex<Inode>>,
    epoch: u64,
}

impl SimFile {
    fn require_power(&self, world: &World) -> io::Result<()> {
        if world.down || world.epoch != self.epoch {
            Err(power_cut())
        } else {
            Ok(())
        }
    }
}

impl DiskFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        self.require_power(&self.world.lock())?;
        Ok(self.inode.lock().size)
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        let mut world = self.world.lock();
        self.require_power(&world)?;
        let cut = world.begin()?;
        let now = self.inode.lock().size;
        world.require_room(size.saturating_sub(now))?;
        self.inode.lock().size = now.max(size);
        finish(cut)
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.require_power(&self.world.lock())?;
        let inode = self.inode.lock();
        if at.saturating_add(buffer.len() as u64) > inode.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        inode.read(at, buffer);
        Ok(())
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.world.lock();
        self.require_power(&world)?;
        let cut = world.begin()?;
        let size = self.inode.lock().size;
        world.require_room((at + bytes.len() as u64).saturating_sub(size))?;
        self.inode.lock().write(at, bytes);
        finish(cut)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.world.lock();
        self.require_power(&world)?;
        finish(world.begin()?)?;
        self.inode.lock().sync();
        Ok(())
    }
}
