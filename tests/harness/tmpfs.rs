//! A small file system of its own, to be filled up.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A tmpfs that is unmounted when dropped.
pub struct Tmpfs {
    dir: TempDir,
}

impl Tmpfs {
    /// Mounts one of that size. `Err` says why it cannot be done here (it needs root).
    pub fn of_mib(size: u64) -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|failure| failure.to_string())?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}m"), "tmpfs"])
            .arg(dir.path())
            .output()
            .map_err(|failure| failure.to_string())?;
        if mounted.status.success() {
            Ok(Self { dir })
        } else {
            Err(String::from_utf8_lossy(&mounted.stderr).trim().to_owned())
        }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.dir.path())
            .status();
    }
}
