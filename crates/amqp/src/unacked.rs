//! The deliveries of one channel that wait for an ack, by delivery tag.

use std::collections::VecDeque;

use forebay_broker::{ConsumerId, Receipt};

/// One delivery handed to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unacked {
    pub(crate) tag: u64,
    pub(crate) receipt: Receipt,
    /// Who took it; `None` for `basic.get`.
    pub(crate) consumer: Option<ConsumerId>,
}

/// Tags ascend, so the entries are sorted. One settled out of the middle leaves a gap that is
/// closed when gaps outnumber what is left.
#[derive(Debug, Default)]
pub(crate) struct UnackedDeliveries {
    entries: VecDeque<(Unacked, bool)>,
    live: usize,
}

/// No delivery waits under this tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnknownTag(pub(crate) u64);

impl UnackedDeliveries {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// Adds one, whose tag is higher than all before.
    pub(crate) fn push(&mut self, delivery: Unacked) {
        self.entries.push_back((delivery, true));
        self.live += 1;
    }

    /// Takes the delivery of `tag`; with `multiple` also all before it, and tag 0 then means all.
    pub(crate) fn take(
        &mut self,
        tag: u64,
        multiple: bool,
        mut taken: impl FnMut(Unacked),
    ) -> Result<(), UnknownTag> {
        if multiple && tag == 0 {
            self.take_all(taken);
            return Ok(());
        }
        let at = self
            .entries
            .binary_search_by_key(&tag, |(delivery, _)| delivery.tag)
            .ok()
            .filter(|at| self.entries[*at].1)
            .ok_or(UnknownTag(tag))?;
        if multiple {
            for (delivery, waits) in self.entries.drain(..=at) {
                if waits {
                    self.live -= 1;
                    taken(delivery);
                }
            }
        } else {
            self.entries[at].1 = false;
            self.live -= 1;
            taken(self.entries[at].0);
        }
        self.close_gaps();
        Ok(())
    }

    /// Takes everything, lowest tag first.
    pub(crate) fn take_all(&mut self, mut taken: impl FnMut(Unacked)) {
        for (delivery, waits) in self.entries.drain(..) {
            if waits {
                taken(delivery);
            }
        }
        self.live = 0;
    }

    fn close_gaps(&mut self) {
        while self.entries.pop_front_if(|(_, waits)| !*waits).is_some() {}
        while self.entries.pop_back_if(|(_, waits)| !*waits).is_some() {}
        const WORTH_IT: usize = 1_000;
        if self.entries.len() > 2 * self.live + WORTH_IT {
            self.entries.retain(|(_, waits)| *waits);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use forebay_base::PartitionId;
    use proptest::prelude::*;

    use super::*;

    fn delivery(tag: u64) -> Unacked {
        Unacked {
            tag,
            receipt: Receipt {
                partition: PartitionId(1),
                offset: tag,
                attempt: 1,
            },
            consumer: None,
        }
    }

    #[test]
    fn a_tag_is_settled_once() {
        let mut unacked = UnackedDeliveries::default();
        (1..=3).for_each(|tag| unacked.push(delivery(tag)));
        assert_eq!(unacked.take(2, false, |_| {}), Ok(()));
        assert_eq!(unacked.take(2, false, |_| {}), Err(UnknownTag(2)));
        assert_eq!(unacked.take(2, true, |_| {}), Err(UnknownTag(2)));
        assert_eq!(unacked.take(0, false, |_| {}), Err(UnknownTag(0)));
        let mut taken = Vec::new();
        assert_eq!(unacked.take(3, true, |one| taken.push(one.tag)), Ok(()));
        assert_eq!(taken, [1, 3]);
        assert_eq!(unacked.len(), 0);
        assert_eq!(unacked.take(0, true, |_| {}), Ok(()));
    }

    #[test]
    fn gaps_do_not_pile_up_behind_one_that_never_is_acked() {
        let mut unacked = UnackedDeliveries::default();
        unacked.push(delivery(1));
        for tag in 2..100_000 {
            unacked.push(delivery(tag));
            unacked.push(delivery(tag + 1_000_000));
            unacked.take(tag + 1_000_000, false, |_| {}).unwrap();
            unacked.take(tag, false, |_| {}).unwrap();
        }
        assert!(unacked.entries.len() < 2_000);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set(
            steps in proptest::collection::vec((0..3u8, 0..40u64), 0..200),
        ) {
            let mut unacked = UnackedDeliveries::default();
            let mut model = BTreeSet::new();
            let mut next = 1;
            for (step, tag) in steps {
                if step == 0 {
                    unacked.push(delivery(next));
                    model.insert(next);
                    next += 1;
                    continue;
                }
                let multiple = step == 2;
                let mut taken = Vec::new();
                let result = unacked.take(tag, multiple, |one| taken.push(one.tag));
                let expected: Vec<_> = match (multiple, tag) {
                    (true, 0) => std::mem::take(&mut model).into_iter().collect(),
                    _ if !model.contains(&tag) => {
                        prop_assert_eq!(result, Err(UnknownTag(tag)));
                        continue;
                    }
                    (true, _) => {
                        let rest = model.split_off(&(tag + 1));
                        std::mem::replace(&mut model, rest).into_iter().collect()
                    }
                    (false, _) => model.take(&tag).into_iter().collect(),
                };
                prop_assert_eq!(result, Ok(()));
                prop_assert_eq!(taken, expected);
                prop_assert_eq!(unacked.len(), model.len());
            }
        }
    }
}
