//! What clients settle, gathered: one command for each outcome and one grant of credit for each
//! consumer, however many acks came together.

use forebay_broker::{Command, ConsumerId, Outcome, Receipt};

use crate::method::How;

/// The settlements of a connection that are not yet sent.
#[derive(Debug, Default)]
pub(crate) struct Settler {
    acked: Vec<Receipt>,
    requeued: Vec<Receipt>,
    discarded: Vec<Receipt>,
    untouched: Vec<Receipt>,
    credit: Vec<(ConsumerId, u32)>,
}

impl Settler {
    pub(crate) fn settle(&mut self, receipt: Receipt, how: How) {
        match how {
            How::Ack => self.acked.push(receipt),
            How::Requeue => self.requeued.push(receipt),
            How::Discard => self.discarded.push(receipt),
        }
    }

    /// Gives back a delivery the client never saw: it does not count as one.
    pub(crate) fn give_back(&mut self, receipt: Receipt) {
        self.untouched.push(receipt);
    }

    pub(crate) fn grant(&mut self, consumer: ConsumerId, add: u32) {
        if add == 0 {
            return;
        }
        match self
            .credit
            .iter_mut()
            .rev()
            .find(|(known, _)| *known == consumer)
        {
            Some((_, sum)) => *sum = sum.saturating_add(add),
            None => self.credit.push((consumer, add)),
        }
    }

    /// A consumer is gone: credit for it is void.
    pub(crate) fn forget(&mut self, consumer: ConsumerId) {
        self.credit.retain(|(known, _)| *known != consumer);
    }

    /// Everything gathered, as commands nobody waits for.
    pub(crate) fn take(&mut self, mut send: impl FnMut(Command)) {
        let outcomes = [
            (&mut self.acked, Outcome::Ack),
            (&mut self.discarded, Outcome::DeadLetter),
            (
                &mut self.requeued,
                Outcome::Release {
                    delay_ms: 0,
                    count: true,
                },
            ),
            (
                &mut self.untouched,
                Outcome::Release {
                    delay_ms: 0,
                    count: false,
                },
            ),
        ];
        for (receipts, outcome) in outcomes {
            if !receipts.is_empty() {
                send(Command::Settle {
                    receipts: std::mem::take(receipts),
                    outcome,
                });
            }
        }
        for (consumer, add) in self.credit.drain(..) {
            send(Command::Credit { consumer, add });
        }
    }
}
