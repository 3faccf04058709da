//! Power cuts at every moment, with torn writes.

use forebay_base::PartitionId;
use forebay_log::{Fault, Position, ReplayFrom, WriteError};
use proptest::prelude::*;

use crate::world::{Frame, World, append};

/// What the world must remember: commits that were acknowledged, and one that may be there.
struct Ledger {
    world: World,
    /// Payload numbers in order.
    acknowledged: Vec<u64>,
    unsure: Option<u64>,
    next: u64,
    snapshot: Option<(Position, Vec<u8>, u64)>,
}

fn frames(number: u64, length: usize) -> Vec<Frame> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(8 + length, u8::try_from(number % 255).unwrap());
    vec![append(1, number, 1, &payload), Frame::State(payload)]
}

impl Ledger {
    /// One life: open, write until the power goes or the work is done, then lose power.
    fn live(&mut self, cut_after: u64, lengths: &[usize], tear: Option<u64>) {
        self.world.disk.fail_at(cut_after, Fault::PowerCut);
        self.work(lengths);
        self.world.disk.crash(tear);
    }

    fn work(&mut self, lengths: &[usize]) {
        let from = self.snapshot.clone();
        let from = from.as_ref().map(|(position, index, _)| ReplayFrom {
            position: *position,
            index,
        });
        let Ok(mut opened) = self.world.try_open(from) else {
            return;
        };
        self.check(&opened.replayed);
        for &length in lengths {
            let number = self.next;
            let mut written = opened.write(&frames(number, length));
            if matches!(written, Err(WriteError::NoSpace { .. })) {
                // The next file could not be made, which harms nothing that is there.
                written = opened.write(&frames(number, length));
            }
            match written {
                Ok(committed) => {
                    self.acknowledged.push(number);
                    self.next += 1;
                    if number % 7 == 6 {
                        let index = opened.reader.export_index();
                        self.snapshot = Some((committed.end, index, number + 1));
                        opened.reader.trim(PartitionId(1), number + 1);
                        if opened.journal.drop_below(committed.end).is_err() {
                            return;
                        }
                    }
                }
                Err(WriteError::Stopped(_)) => {
                    self.unsure = Some(number);
                    self.next += 1;
                    return;
                }
                Err(WriteError::NoSpace { .. }) => return,
                Err(other) => panic!("{other}"),
            }
        }
    }

    /// Everything acknowledged after the snapshot is there, and nothing else but perhaps the
    /// last unacknowledged commit as a whole.
    fn check(&mut self, replayed: &[(Position, Frame)]) {
        let known = self.snapshot.as_ref().map_or(0, |(_, _, next)| *next);
        let found: Vec<u64> = replayed
            .chunks(2)
            .map(|pair| match &pair[0].1 {
                Frame::Append {
                    entries, payload, ..
                } => {
                    let number = u64::from_le_bytes(*payload.first_chunk().unwrap());
                    assert_eq!(entries[..], [(PartitionId(1), number)]);
                    assert_eq!(pair[1].1, Frame::State(payload.clone()));
                    number
                }
                other => panic!("{other:?}"),
            })
            .collect();
        let mut expected: Vec<u64> = self
            .acknowledged
            .iter()
            .copied()
            .filter(|number| *number >= known)
            .collect();
        if found != expected {
            expected.extend(self.unsure);
            assert_eq!(found, expected);
            self.acknowledged.extend(self.unsure);
        }
        self.unsure = None;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_survives_and_nothing_else_appears(
        lives in prop::collection::vec(
            (
                1..80u64,
                prop::collection::vec(prop_oneof![0..100usize, 0..3000usize], 0..40),
                prop::option::weighted(0.9, any::<u64>()),
            ),
            1..8,
        ),
    ) {
        let mut ledger = Ledger {
            world: World::new(8 << 10),
            acknowledged: Vec::new(),
            unsure: None,
            next: 0,
            snapshot: None,
        };
        for (cut_after, lengths, tear) in &lives {
            ledger.live(*cut_after, lengths, *tear);
        }
        // A last life in peace: the journal opens whatever happened before.
        let from = ledger.snapshot.clone();
        let from = from
            .as_ref()
            .map(|(position, index, _)| ReplayFrom { position: *position, index });
        let opened = ledger.world.try_open(from).unwrap();
        ledger.check(&opened.replayed);
    }

    #[test]
    fn an_error_of_the_disk_at_any_operation_loses_nothing_acknowledged(
        at in 1..120u64,
        lengths in prop::collection::vec(0..3000usize, 1..40),
        tear in prop::option::of(any::<u64>()),
    ) {
        let mut ledger = Ledger {
            world: World::new(8 << 10),
            acknowledged: Vec::new(),
            unsure: None,
            next: 0,
            snapshot: None,
        };
        ledger.world.disk.fail_at(at, Fault::Eio);
        ledger.work(&lengths);
        ledger.world.disk.crash(tear);
        ledger.live(u64::MAX >> 1, &lengths, tear);
        ledger.work(&[]);
    }
}
