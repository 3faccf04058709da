//! Every planted bug is found, and it is said how many worlds that took.

use std::panic;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use forebay_base::planted::{Bug, plant};
use forebay_sim::run_caught;

/// Worlds in which a bug may hide.
const SEEDS: u64 = 400;

#[test]
fn every_planted_bug_is_found() {
    // Some bugs end in a panic of the broker, which is as good as any other end.
    panic::set_hook(Box::new(|_| ()));
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(bug) = Bug::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let by = hunt(*bug);
                    found.lock().unwrap().push((*bug, by));
                }
            });
        }
    });
    let _ = panic::take_hook();
    let mut found = found.into_inner().unwrap();
    found.sort();
    for (bug, by) in &found {
        let by = by.as_ref().map(|(seed, how)| (seed + 1, how.as_str()));
        let (worlds, how) = by.unwrap_or((0, "not found"));
        println!("| {} | {worlds} | {how} |", bug.words());
    }
    let missed: Vec<_> = found.iter().filter(|(_, by)| by.is_none()).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

/// The first seed whose world shows the bug, and what it promised in vain.
fn hunt(bug: Bug) -> Option<(u64, String)> {
    plant(Some(bug));
    let mut seeds = 0..SEEDS;
    let found = seeds.find_map(|seed| Some((seed, run_caught(seed, None).broken?)));
    plant(None);
    found.map(|(seed, (_, violation))| {
        let mut promised = violation.promised;
        promised.truncate(promised.floor_char_boundary(70));
        (seed, promised)
    })
}
