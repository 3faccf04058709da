//! Publisher confirms of one channel (RabbitMQ's extension `confirm`): numbers what is published
//! and tells, in order, what the broker took.

use std::collections::VecDeque;

/// Messages published together and what became of them.
#[derive(Clone, Copy, Debug)]
struct Group {
    first: u64,
    count: u32,
    answer: Option<bool>,
}

/// A confirmation to send: everything up to `tag` that was not confirmed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Confirmation {
    pub(crate) tag: u64,
    /// More messages than the one.
    pub(crate) multiple: bool,
    pub(crate) ack: bool,
}

/// Confirmations go out in the order of publishing, so a run of them is one `multiple`.
#[derive(Debug)]
pub(crate) struct Confirms {
    next: u64,
    open: VecDeque<Group>,
}

impl Confirms {
    pub(crate) fn new() -> Self {
        Self {
            next: 1,
            open: VecDeque::new(),
        }
    }

    /// The number of the next message.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// How many messages are not confirmed.
    pub(crate) fn waiting(&self) -> u64 {
        self.open.iter().map(|group| u64::from(group.count)).sum()
    }

    /// A message was published; it begins a group that is answered as one, or joins the last.
    pub(crate) fn published(&mut self, begins: bool) {
        match self.open.back_mut() {
            Some(group) if !begins => group.count += 1,
            _ => self.open.push_back(Group {
                first: self.next,
                count: 1,
                answer: None,
            }),
        }
        self.next += 1;
    }

    /// The answer for the messages that begin with `first`.
    pub(crate) fn answer(&mut self, first: u64, ack: bool) {
        if let Ok(at) = self.open.binary_search_by_key(&first, |group| group.first) {
            self.open[at].answer = Some(ack);
        }
    }

    /// The next confirmation that can be sent.
    pub(crate) fn next_confirmation(&mut self) -> Option<Confirmation> {
        let front = self.open.front()?;
        let ack = front.answer?;
        let mut confirmation = Confirmation {
            tag: 0,
            multiple: false,
            ack,
        };
        let mut confirmed = 0u64;
        while let Some(group) = self.open.pop_front_if(|group| group.answer == Some(ack)) {
            confirmed += u64::from(group.count);
            confirmation.tag = group.first + u64::from(group.count) - 1;
        }
        confirmation.multiple = confirmed > 1;
        Some(confirmation)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn publish(confirms: &mut Confirms, count: u32) -> u64 {
        let first = confirms.next();
        for at in 0..count {
            confirms.published(at == 0);
        }
        first
    }

    #[test]
    fn answers_that_overtake_wait_and_then_go_out_as_one() {
        let mut confirms = Confirms::new();
        let firsts: Vec<_> = [3, 1, 2].map(|count| publish(&mut confirms, count)).into();
        assert_eq!(firsts, [1, 4, 5]);
        confirms.answer(4, true);
        assert_eq!(confirms.next_confirmation(), None);
        confirms.answer(1, true);
        assert_eq!(
            confirms.next_confirmation(),
            Some(Confirmation {
                tag: 4,
                multiple: true,
                ack: true
            })
        );
        confirms.answer(5, false);
        assert_eq!(
            confirms.next_confirmation(),
            Some(Confirmation {
                tag: 6,
                multiple: true,
                ack: false
            })
        );
        assert_eq!(confirms.next_confirmation(), None);
    }

    proptest! {
        #[test]
        fn every_message_is_confirmed_once_with_its_own_answer(
            groups in proptest::collection::vec((1..5u32, any::<bool>()), 1..30),
            order in any::<u64>(),
        ) {
            let mut confirms = Confirms::new();
            let mut expected = Vec::new();
            let mut firsts = Vec::new();
            for (count, ack) in groups {
                firsts.push((publish(&mut confirms, count), ack));
                expected.extend(std::iter::repeat_n(ack, count as usize));
            }
            let mut got = Vec::new();
            let mut seed = order;
            while !firsts.is_empty() {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (first, ack) = firsts.swap_remove((seed >> 33) as usize % firsts.len());
                confirms.answer(first, ack);
                while let Some(confirmation) = confirms.next_confirmation() {
                    let already = got.len() as u64;
                    prop_assert!(confirmation.tag > already);
                    prop_assert_eq!(confirmation.multiple, confirmation.tag - already > 1);
                    got.resize(confirmation.tag as usize, confirmation.ack);
                }
            }
            prop_assert_eq!(got, expected);
        }
    }
}
