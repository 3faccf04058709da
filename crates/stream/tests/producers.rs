//! Idempotent producers: the rules, and that no retry pattern doubles or loses a batch.

use forebay_base::{PartitionId, Timestamp};
use forebay_stream::{
    Fresh, PRODUCER_IDLE_MS, ProducerBatch, ProducerRefusal, Producers, StreamEvent,
};
use proptest::collection::vec;
use proptest::prelude::*;

const HERE: PartitionId = PartitionId(7);

fn batch(epoch: i16, base_sequence: i32, count: u32) -> ProducerBatch {
    ProducerBatch {
        id: 1,
        epoch,
        base_sequence,
        count,
    }
}

fn append(producers: &mut Producers, batch: ProducerBatch, base_offset: u64) {
    assert_eq!(producers.check(HERE, batch), Ok(Fresh::Accept));
    producers.record(HERE, batch, base_offset, Timestamp(0));
}

fn gap(expected: i32, found: i32) -> Result<Fresh, ProducerRefusal> {
    Err(ProducerRefusal::OutOfOrderSequence { expected, found })
}

#[test]
fn sequences_follow_each_other() {
    let mut producers = Producers::default();
    append(&mut producers, batch(0, 0, 10), 100);
    append(&mut producers, batch(0, 10, 1), 110);
    assert_eq!(producers.check(HERE, batch(0, 12, 1)), gap(11, 12));
    let elsewhere = PartitionId(8);
    assert_eq!(
        producers.check(elsewhere, batch(0, 0, 1)),
        Ok(Fresh::Accept),
        "each has its own"
    );
}

#[test]
fn an_unknown_producer_may_start_anywhere() {
    assert_eq!(
        Producers::default().check(HERE, batch(4, 77, 3)),
        Ok(Fresh::Accept)
    );
}

#[test]
fn the_last_five_batches_are_recognised() {
    let mut producers = Producers::default();
    for number in 0..7 {
        append(&mut producers, batch(0, number * 2, 2), 50 + number as u64);
    }
    for number in 2..7 {
        let base_offset = 50 + number as u64;
        let repeated = producers.check(HERE, batch(0, number * 2, 2));
        assert_eq!(repeated, Ok(Fresh::Duplicate { base_offset }));
    }
    assert_eq!(
        producers.check(HERE, batch(0, 2, 2)),
        gap(14, 2),
        "too long ago"
    );
    assert_eq!(
        producers.check(HERE, batch(0, 12, 1)),
        gap(14, 12),
        "another batch, same start"
    );
}

#[test]
fn a_new_epoch_starts_at_zero_and_ends_the_old() {
    let mut producers = Producers::default();
    append(&mut producers, batch(3, 0, 5), 0);
    assert_eq!(producers.check(HERE, batch(4, 5, 1)), gap(0, 5));
    append(&mut producers, batch(4, 0, 5), 5);
    let stale = Err(ProducerRefusal::StaleEpoch {
        current: 4,
        found: 3,
    });
    assert_eq!(producers.check(HERE, batch(3, 5, 1)), stale);
    assert_eq!(
        producers.check(HERE, batch(4, 0, 5)),
        Ok(Fresh::Duplicate { base_offset: 5 })
    );
}

#[test]
fn after_the_highest_sequence_comes_zero() {
    let mut producers = Producers::default();
    append(&mut producers, batch(0, i32::MAX - 1, 2), 0);
    append(&mut producers, batch(0, 0, 1), 2);
    let mut producers = Producers::default();
    append(&mut producers, batch(0, i32::MAX, 3), 0);
    assert_eq!(
        producers.check(HERE, batch(0, i32::MAX, 3)),
        Ok(Fresh::Duplicate { base_offset: 0 })
    );
    append(&mut producers, batch(0, 2, 1), 3);
}

#[test]
fn nonsense_is_refused() {
    let producers = Producers::default();
    let good = batch(0, 0, 1);
    for bad in [
        ProducerBatch { id: -1, ..good },
        ProducerBatch { epoch: -1, ..good },
        ProducerBatch {
            base_sequence: -1,
            ..good
        },
        ProducerBatch { count: 0, ..good },
    ] {
        assert_eq!(producers.check(HERE, bad), Err(ProducerRefusal::Malformed));
    }
    let long = ProducerBatch {
        base_sequence: i32::MAX,
        count: u32::MAX,
        ..good
    };
    assert_eq!(producers.check(HERE, long), Ok(Fresh::Accept));
}

#[test]
fn idle_producers_and_removed_partitions_are_forgotten() {
    let mut producers = Producers::default();
    producers.record(HERE, batch(0, 0, 1), 0, Timestamp(1_000));
    producers.record(PartitionId(8), batch(0, 0, 1), 0, Timestamp(500));
    producers.record(HERE, batch(0, 1, 1), 1, Timestamp(2_000));
    assert_eq!(
        producers.next_deadline(),
        Some(Timestamp(500).plus_ms(PRODUCER_IDLE_MS))
    );
    producers.expire(Timestamp(1_999).plus_ms(PRODUCER_IDLE_MS));
    assert_eq!(
        producers.next_deadline(),
        Some(Timestamp(2_000).plus_ms(PRODUCER_IDLE_MS))
    );
    assert_eq!(producers.check(HERE, batch(0, 5, 1)), gap(2, 5));
    producers.apply(&StreamEvent::PartitionsRemoved {
        partitions: vec![HERE],
    });
    assert_eq!(producers, Producers::default());
}

#[test]
fn ids_are_given_out_once() {
    let mut producers = Producers::default();
    producers.apply(&StreamEvent::ProducerAllocated { next: 5 });
    producers.apply(&StreamEvent::ProducerAllocated { next: 3 });
    assert_eq!(producers.next_id(), 5);
    let bytes = postcard::to_stdvec(&producers).unwrap();
    assert_eq!(
        postcard::from_bytes::<Producers>(&bytes).unwrap().next_id(),
        5
    );
}

proptest! {
    /// A producer that keeps at most five batches under way over a line that loses requests,
    /// loses replies and repeats, ends with every batch in the log once and in order.
    #[test]
    fn every_batch_is_written_once_and_in_order(
        start in prop_oneof![Just(0), Just(i32::MAX - 9)],
        counts in vec(1..6_u32, 1..40),
        line in vec((0..5_usize, any::<bool>()), 0..400),
        forget in any::<bool>(),
    ) {
        let mut producers = Producers::default();
        let mut sequence = start;
        let batches: Vec<_> = counts.iter().map(|&count| {
            let this = batch(0, sequence, count);
            sequence = i32::try_from((i64::from(sequence) + i64::from(count)) % (1 << 31)).unwrap();
            this
        }).collect();
        let mut log: Vec<ProducerBatch> = Vec::new();
        let mut offset = 0;
        let mut offsets = Vec::new();
        let mut answered = 0;
        // After the unreliable part, the producer repeats in order until all is answered.
        let patient = (0..batches.len() + 1).map(|_| (0, true));
        for (ahead, reply_arrives) in line.into_iter().chain(patient) {
            let Some(&sent) = batches.get(answered + ahead) else { continue };
            let number = answered + ahead;
            let fits = match producers.check(HERE, sent) {
                Ok(Fresh::Accept) if number > log.len() => {
                    prop_assert!(log.is_empty(), "only the very first may skip");
                    false
                }
                Ok(Fresh::Accept) => {
                    producers.record(HERE, sent, offset, Timestamp(0));
                    log.push(sent);
                    offsets.push(offset);
                    offset += u64::from(sent.count);
                    true
                }
                Ok(Fresh::Duplicate { base_offset }) => {
                    prop_assert_eq!(base_offset, offsets[number], "answered as the first time");
                    true
                }
                Err(_) => false,
            };
            if fits && reply_arrives && ahead == 0 {
                answered += 1;
            }
            if forget {
                let bytes = postcard::to_stdvec(&producers).unwrap();
                let stored: Producers = postcard::from_bytes(&bytes).unwrap();
                prop_assert_eq!(&stored, &producers);
                producers = stored;
            }
        }
        prop_assert_eq!(log, batches);
    }
}
