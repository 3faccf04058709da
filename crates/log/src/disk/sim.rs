//! A disk in memory: deterministic, and as unkind as a real one is allowed to be.

mod inode;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use inode::{Chance, Inode};
use trouble::Digest;
pub use trouble::{Operation, Trouble};

use super::{Disk, DiskFile};

const EIO: i32 = 5;

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
    troubles: Vec<Trouble>,
    digest: Digest,
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

impl World {
    /// Takes note of an operation, and fails it if something says so.
    fn meet(&mut self, operation: Operation, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        if self.down {
            return Err(power_cut());
        }
        self.digest.add(operation, path, at, bytes);
        let strikes = |trouble: &mut Trouble| trouble.strikes(operation, path);
        if self.troubles.iter_mut().any(strikes) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        Ok(())
    }

    /// As [`World::meet`], for one that counts. `Ok(true)` means: do it, then fail with
    /// [`power_cut`].
    fn begin(
        &mut self,
        operation: Operation,
        path: &Path,
        at: u64,
        bytes: &[u8],
    ) -> io::Result<bool> {
        self.meet(operation, path, at, bytes)?;
        self.operations += 1;
        match self.fault {
            Some((at, fault)) if at == self.operations => {
                self.fault = None;
                match fault {
                    Fault::Eio => Err(io::Error::from_raw_os_error(EIO)),
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
            Some(capacity) if more > 0 && self.used().saturating_add(more) > capacity => {
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
        world.troubles.clear();
        world.epoch += 1;
    }

    /// The process ends and another begins: open files must be opened again, and nothing is lost
    /// that was written, though it may still be lost when the power goes.
    pub fn kill(&self) {
        let mut world = self.world.lock();
        world.down = false;
        world.fault = None;
        world.epoch += 1;
    }

    /// A disk of its own with the same content, whose process has just ended.
    pub fn fork(&self) -> Self {
        let world = self.world.lock();
        let mut copies = BTreeMap::new();
        let mut copy = |inode: &Arc<Mutex<Inode>>| {
            let copied = copies
                .entry(Arc::as_ptr(inode).addr())
                .or_insert_with(|| Arc::new(Mutex::new(inode.lock().clone())));
            Arc::clone(copied)
        };
        let mut named = |(path, inode): (&PathBuf, &Arc<Mutex<Inode>>)| (path.clone(), copy(inode));
        let names = world.names.iter().map(&mut named).collect();
        let durable_names = world.durable_names.iter().map(&mut named).collect();
        let changes = world.changes.iter().map(|change| NameChange {
            dir: change.dir.clone(),
            gone: change.gone.clone(),
            came: change
                .came
                .as_ref()
                .map(|(path, inode)| named((path, inode))),
        });
        let fork = World {
            names,
            durable_names,
            changes: changes.collect(),
            dirs: world.dirs.clone(),
            ..World::default()
        };
        Self {
            world: Arc::new(Mutex::new(fork)),
        }
    }

    /// From now on some operations fail.
    pub fn trouble(&self, trouble: Trouble) {
        self.world.lock().troubles.push(trouble);
    }

    /// No operation fails any more for [`SimDisk::trouble`] or [`SimDisk::fail_at`].
    pub fn calm(&self) {
        let mut world = self.world.lock();
        world.troubles.clear();
        world.fault = None;
    }

    /// A checksum of every operation so far, reads included, with all bytes written: two disks
    /// that were used in the same way have the same.
    pub fn digest(&self) -> u64 {
        self.world.lock().digest.value
    }

    /// Whether the power is gone: nothing works until [`SimDisk::crash`].
    pub fn is_down(&self) -> bool {
        self.world.lock().down
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

    /// The files there are, in order, with their sizes.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let world = self.world.lock();
        let sized =
            |(path, inode): (&PathBuf, &Arc<Mutex<Inode>>)| (path.clone(), inode.lock().size);
        world.names.iter().map(sized).collect()
    }

    /// The content of a file as a reader would see it now.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let inode = self.world.lock().inode(path).ok()?;
        let inode = inode.lock();
        let mut bytes = vec![0; usize::try_from(inode.size).ok()?];
        inode.read(0, &mut bytes);
        Some(bytes)
    }

    fn handle(&self, world: &World, path: &Path, inode: Arc<Mutex<Inode>>) -> Arc<dyn DiskFile> {
        Arc::new(SimFile {
            path: path.to_owned(),
            world: Arc::clone(&self.world),
            inode,
            epoch: world.epoch,
        })
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world.lock();
        world.meet(Operation::Open, path, 0, &[])?;
        let inode = world.inode(path)?;
        Ok(self.handle(&world, path, inode))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world.lock();
        let cut = world.begin(Operation::Create, path, 0, &[])?;
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
        Ok(self.handle(&world, path, inode))
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
        let mut world = self.world.lock();
        world.meet(Operation::List, dir, 0, &[])?;
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
        let cut = world.begin(Operation::Rename, to, 0, &[])?;
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
        let cut = world.begin(Operation::Remove, path, 0, &[])?;
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
        finish(world.begin(Operation::SyncDir, dir, 0, &[])?)?;
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
    /// The name it was opened by.
    path: PathBuf,
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
        let cut = world.begin(Operation::Allocate, &self.path, size, &[])?;
        let now = self.inode.lock().size;
        world.require_room(size.saturating_sub(now))?;
        self.inode.lock().size = now.max(size);
        finish(cut)
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut world = self.world.lock();
        self.require_power(&world)?;
        world.meet(Operation::Read, &self.path, at, &[])?;
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
        let cut = world.begin(Operation::Write, &self.path, at, bytes)?;
        let size = self.inode.lock().size;
        world.require_room((at + bytes.len() as u64).saturating_sub(size))?;
        self.inode.lock().write(at, bytes);
        finish(cut)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.world.lock();
        self.require_power(&world)?;
        let begun = world.begin(Operation::Sync, &self.path, 0, &[]);
        let mut inode = self.inode.lock();
        match begun {
            Ok(false) => inode.sync(),
            Ok(true) => return Err(power_cut()),
            Err(error) => {
                inode.fail_sync();
                return Err(error);
            }
        }
        Ok(())
    }
}
