//! What kind of world a seed makes.

use forebay_broker::{Compaction, DeadLetterTarget, Retention, TopicConfig};

use crate::chance::Chance;

/// The sizes and chances of one world.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) steps: u64,
    pub(crate) file_bytes: u64,
    pub(crate) retain_files: u64,
    pub(crate) snapshot_every: u64,
    pub(crate) promote_files: u64,
    pub(crate) promote_batches: usize,
    pub(crate) clean_every_ms: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) block_bytes: usize,
    pub(crate) part_bytes: usize,
    pub(crate) cache_bytes: usize,
    /// Per mille of the steps.
    pub(crate) crashes: u64,
    pub(crate) faults: u64,
    /// The disk is short of room now and then.
    pub(crate) cramped: bool,
    /// Bytes decay now and then.
    pub(crate) rot: bool,
    /// Messages are up to so long.
    pub(crate) longest: u64,
    /// How likely a step is a client's, in percent, against the broker's own progress.
    pub(crate) haste: u64,
}

impl Profile {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let file_bytes = [16, 16, 24, 32, 64][chance.weighted(&[3, 3, 2, 2, 1])] << 10;
        let steps = match chance.below(10) {
            0..5 => chance.between(150, 500),
            5..9 => chance.between(500, 1500),
            _ => chance.between(1500, 4000),
        };
        let calm = chance.one_in(6);
        Self {
            steps,
            file_bytes,
            retain_files: chance.below(3),
            snapshot_every: file_bytes * chance.between(1, 4) / 2,
            promote_files: chance.between(0, 3),
            promote_batches: [1, 20, 1000][chance.weighted(&[1, 1, 1])],
            clean_every_ms: [0, 1_000, 10_000][chance.weighted(&[1, 1, 1])],
            segment_bytes: file_bytes * chance.between(1, 8) / 2,
            block_bytes: 1 << chance.between(8, 13),
            part_bytes: 1 << chance.between(11, 16),
            cache_bytes: 1 << chance.between(10, 17),
            crashes: if calm { 0 } else { chance.between(1, 20) },
            faults: if calm { 0 } else { chance.between(0, 20) },
            cramped: chance.one_in(5),
            rot: !calm && chance.one_in(3),
            longest: [80, 600, 3000][chance.weighted(&[2, 3, 2])],
            haste: chance.between(25, 65),
        }
    }
}

/// Kinds of topics that differ in what their clients may expect.
pub(crate) fn config(chance: &mut Chance, dead_letters: &str) -> TopicConfig {
    let mut config = TopicConfig {
        partitions: [1, 2, 3][chance.weighted(&[4, 1, 1])],
        ..TopicConfig::default()
    };
    match chance.weighted(&[6, 3, 2]) {
        0 => work(chance, &mut config, dead_letters),
        1 => config.retention = stream(chance),
        _ => {
            config.retention = Retention {
                until_settled: false,
                ms: None,
                bytes: None,
            };
            config.compaction = Some(Compaction {
                min_lag_ms: [0, 0, 500, 20_000][chance.weighted(&[1, 1, 1, 1])],
                max_lag_ms: [u64::MAX, 60_000][chance.weighted(&[2, 1])],
                delete_retention_ms: [0, 5_000, 86_400_000][chance.weighted(&[1, 1, 1])],
                min_dirty_ratio: [1, 300, 500][chance.weighted(&[3, 1, 1])],
            });
        }
    }
    config
}

fn work(chance: &mut Chance, config: &mut TopicConfig, dead_letters: &str) {
    if chance.one_in(4) {
        config.delay_ms = chance.between(1, 3_000);
    }
    if chance.one_in(2) {
        config.max_deliveries = Some(u32::try_from(chance.between(1, 4)).unwrap_or(1));
        if !chance.one_in(3) {
            config.dead_letter = Some(DeadLetterTarget::Topic(dead_letters.to_owned()));
        }
    } else if chance.one_in(3) {
        config.dead_letter = Some(DeadLetterTarget::Topic(dead_letters.to_owned()));
    }
    if chance.one_in(8) {
        config.retention.ms = Some(chance.between(30_000, 600_000));
    }
}

fn stream(chance: &mut Chance) -> Retention {
    Retention {
        until_settled: false,
        ms: chance.one_in(3).then(|| chance.between(10_000, 600_000)),
        bytes: chance.one_in(3).then(|| chance.between(2_000, 250_000)),
    }
}
