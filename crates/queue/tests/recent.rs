//! The window of sent messages against a plain list.

use forebay_base::{PartitionId, Timestamp};
use forebay_queue::{Recent, Sent};
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    /// A key is found from when it was sent until its window is over, to the millisecond, with
    /// what was told of the message that was sent first; also after being stored.
    #[test]
    fn a_key_is_remembered_for_its_window(
        steps in vec((0..12_u128, 0..40_i64, 1..100_u64, any::<bool>()), 1..200),
    ) {
        let mut recent = Recent::default();
        let mut list: Vec<Sent> = Vec::new();
        let mut now = Timestamp(1_000);
        for (step, (key, passes, window_ms, restart)) in (0..).zip(steps) {
            now.0 += passes;
            // Keys that differ in their upper half only are one for the index and two here.
            let key = key * 0x1_0000_0001;
            let wanted = list.iter().rev().find(|sent| sent.key == key && now < sent.until);
            prop_assert_eq!(recent.find(key, now), wanted);
            if wanted.is_none() {
                let until = now.plus_ms(window_ms);
                let sent = Sent { key, id: step.into(), partition: PartitionId(7),
                    offset: step, until };
                recent.add(sent, now);
                list.push(sent);
            }
            if restart {
                let bytes = postcard::to_stdvec(&recent).unwrap();
                recent = postcard::from_bytes(&bytes).unwrap();
            }
        }
        recent.forget(Timestamp::MAX);
        prop_assert!(recent.is_empty());
    }
}

/// A window that goes on costs what it holds, not what it held.
#[test]
fn what_is_over_is_forgotten() {
    let mut recent = Recent::default();
    for at in 0..10_000_i64 {
        let now = Timestamp(at);
        let key = u128::from(at.unsigned_abs()) << 3;
        let sent = Sent {
            key,
            id: key,
            partition: PartitionId(7),
            offset: 0,
            until: now.plus_ms(100),
        };
        recent.add(sent, now);
        assert!(recent.len() <= 100);
    }
}
