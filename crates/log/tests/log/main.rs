//! The promises of the log, each told as a story on a simulated disk, and a few on a real one.

#![expect(clippy::unwrap_used, reason = "everything here is a test")]

mod ahead;
mod check;
mod crash;
mod data_dir;
mod generations;
mod golden;
mod promotion;
mod reading;
mod recovery;
mod repair;
mod rot;
mod sim_disk;
mod snapshot;
mod space;
mod threads;
mod world;
