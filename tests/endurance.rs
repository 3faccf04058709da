//! Crashes, damage, full disks and large numbers. These tests are heavy and run one at a time.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod durability;
mod scale;

use tokio::sync::{Mutex, MutexGuard};

/// Holds off the other tests of this program: their load would be measured too.
async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}
