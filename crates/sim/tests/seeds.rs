//! Worlds from seeds: none breaks a promise, and equal seeds give equal worlds.

use forebay_sim::{run_all, run_caught};

/// More on a machine of one's own: `forebay-sim --seeds 0..100000 --jobs 8`.
const SEEDS: u64 = 300;

#[test]
fn no_world_breaks_a_promise() {
    let summary = run_all(0..SEEDS, 2, &|_, _| true);
    let broken: Vec<String> = summary.failures.iter().map(ToString::to_string).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let stats = summary.stats;
    println!("{stats}");
    // A simulation in which nothing happens proves nothing.
    for (what, seen, wanted) in [
        ("messages", stats.published, 10_000),
        ("dead letters", stats.dead_letters, 500),
        ("power cuts", stats.power_cuts, 500),
        ("killed processes", stats.kills, 500),
        ("shards stopped by the disk", stats.stopped, 50),
        ("snapshots", stats.snapshots, 1_000),
        ("segments", stats.segments, 1_000),
        ("journal files dropped", stats.dropped, 1_000),
        ("objects deleted", stats.deleted, 500),
        ("damage found", stats.found_rotten, 20),
    ] {
        assert!(seen > wanted, "only {seen} {what}");
    }
}

#[test]
fn equal_seeds_give_equal_worlds() {
    for seed in (0..SEEDS).step_by(23) {
        let (one, other) = (run_caught(seed, None), run_caught(seed, None));
        assert_eq!(one, other, "seed {seed}");
    }
}
