//! Deliveries and their ends.

use forebay_base::{Offset, PartitionId, SessionId, Timestamp, TopicId};
use forebay_broker::{
    Command, ConsumerMode, Cursor, Deliveries, Outcome, ReadError, Receipt, Settled,
};

use super::hear::Asked;
use super::topics::DEAD_LETTERS;
use super::{Held, World, tell};
use crate::ledger::{Fate, There};
use crate::violation::{Audited, broken};

/// Receipts that clients keep.
const HELD: usize = 150;

impl World {
    pub(super) fn settle(&mut self) {
        let count = self.chance.between(1, 6);
        let mut receipts = Vec::new();
        for _ in 0..count {
            if self.held.is_empty() {
                break;
            }
            let at = usize::try_from(self.chance.below(self.held.len() as u64)).unwrap_or(0);
            let held = match self.chance.one_in(12) {
                true => self.held[at],
                false => self.held.swap_remove(at),
            };
            receipts.push(held);
        }
        if receipts.is_empty() {
            return;
        }
        let outcome = match self.chance.weighted(&[6, 2, 1, 1]) {
            0 if self.chance.one_in(6) => Outcome::AckLeased,
            0 => Outcome::Ack,
            1 => Outcome::Release {
                delay_ms: match self.chance.one_in(2) {
                    true => 0,
                    false => self.chance.between(1, 5_000),
                },
                count: !self.chance.one_in(4),
            },
            2 => Outcome::Extend {
                ms: self.chance.below(30_000),
            },
            _ => Outcome::DeadLetter,
        };
        self.settle_these(&receipts, outcome);
    }

    /// Settles deliveries of different messages; of several of the same only the last.
    pub(super) fn settle_these(&mut self, held: &[Held], outcome: Outcome) {
        let mut seen = std::collections::BTreeSet::new();
        let new = |held: &&Held| seen.insert((held.receipt.partition, held.receipt.offset));
        let held: Vec<Held> = held.iter().rev().filter(new).copied().collect();
        let session = self.some_session();
        let (request, life) = (self.next_request, self.life);
        for held in &held {
            let Receipt {
                partition, offset, ..
            } = held.receipt;
            let Some(place) = self.ledger.place_mut(partition, offset) else {
                continue;
            };
            place.last_request = request;
            place.loose |= held.life != life || place.uncounted;
            match outcome {
                Outcome::Ack | Outcome::AckLeased | Outcome::DeadLetter => place.doubts += 1,
                Outcome::Release { count, .. } => {
                    place.uncounted |= !count;
                    place.let_go();
                }
                Outcome::Extend { .. } => {
                    let holder = place.holder;
                    place.let_go();
                    place.holder = holder;
                }
            }
        }
        let receipts = held.iter().map(|held| held.receipt).collect();
        let asked = Asked::Settle {
            held,
            outcome,
            at: self.now,
        };
        self.submit_as(session, asked, Command::Settle { receipts, outcome });
    }

    /// What became of receipts.
    pub(super) fn settled(
        &mut self,
        request: u64,
        (held, outcome, at): (Vec<Held>, Outcome, Timestamp),
        results: &[Settled],
    ) -> Audited {
        if results.len() != held.len() {
            return broken("one result for each receipt", format!("{results:?}"));
        }
        for (held, result) in held.iter().zip(results) {
            self.settled_one(request, held, outcome, at, *result)?;
        }
        Ok(())
    }

    fn settled_one(
        &mut self,
        request: u64,
        held: &Held,
        outcome: Outcome,
        at: Timestamp,
        result: Settled,
    ) -> Audited {
        let Receipt {
            partition, offset, ..
        } = held.receipt;
        let topic = self.ledger.topic_at(partition);
        let there = topic.is_some_and(|topic| topic.there == There::Yes);
        let target = topic.is_some_and(|topic| topic.config().dead_letter.is_some());
        let here = held.life == self.life;
        let Some(place) = self.ledger.place_mut(partition, offset) else {
            return Ok(());
        };
        if matches!(
            outcome,
            Outcome::Ack | Outcome::AckLeased | Outcome::DeadLetter
        ) {
            place.doubts = place.doubts.saturating_sub(1);
        }
        let took_effect = match result {
            Settled::Held => true,
            Settled::Expired => outcome == Outcome::Ack,
            Settled::Stale | Settled::Gone => false,
        };
        // A dead letter may be seen at its target before whoever rejected it is told.
        let seen = outcome == Outcome::DeadLetter && place.fate == Fate::Settled;
        if seen {
            return Ok(());
        }
        if took_effect && place.fate == Fate::Settled {
            return broken(
                format!("{partition}/{offset} is settled"),
                format!("{outcome:?} of {held:?} says {result:?}"),
            );
        }
        match outcome {
            Outcome::Ack | Outcome::AckLeased if took_effect => {
                place.fate = Fate::Settled;
                self.stats.settled += 1;
            }
            Outcome::DeadLetter if took_effect => {
                place.fate = match target {
                    true => Fate::Moving,
                    false => Fate::Settled,
                };
            }
            Outcome::Release { delay_ms, .. } if took_effect && place.last_request == request => {
                place.not_before = at.plus_ms(delay_ms);
            }
            // What a session held goes when it ends, also if the answer comes after that.
            Outcome::Extend { ms }
                if took_effect
                    && place.last_request == request
                    && self.sessions.contains(&held.session) =>
            {
                place.held_until = at.plus_ms(ms);
                place.holder = Some(held.session);
            }
            _ => {}
        }
        if result == Settled::Gone && there && here && place.is_owed() {
            let excuse = self.ledger.excuse(partition, offset, false);
            if excuse.is_none() {
                return broken(
                    format!("{:?} is not settled", self.ledger.place(partition, offset)),
                    format!("{outcome:?} of {held:?} says {result:?}"),
                );
            }
        }
        Ok(())
    }

    pub(super) fn purge(&mut self) {
        // The dead letters are what others are looked for in.
        let fits = |topic: &crate::ledger::Topic| topic.is_work() && &*topic.name != DEAD_LETTERS;
        let Some(topic) = self.some_topic(fits) else {
            return;
        };
        let leased = self.chance.one_in(3);
        let places = self.ledger.begin_purge(topic);
        let asked = Asked::Purge {
            topic,
            leased,
            places,
        };
        self.submit(0, asked, Command::Purge { topic, leased });
    }

    /// The purge is durable.
    pub(super) fn purged(
        &mut self,
        topic: TopicId,
        leased: bool,
        places: &[(PartitionId, Offset)],
    ) {
        for (partition, offset) in places {
            let Some(place) = self.ledger.place_mut(*partition, *offset) else {
                continue;
            };
            place.doubts = place.doubts.saturating_sub(1);
            if place.sure && (leased || place.deliveries == 0) {
                place.sweep();
            } else {
                place.doubtful = true;
            }
        }
        self.ledger.doubt_the_rest(topic, places);
    }

    /// Messages have come to a client: it reads them.
    pub(super) fn delivered(
        &mut self,
        session: SessionId,
        mode: ConsumerMode,
        deliveries: &Deliveries,
    ) -> Audited {
        if let Some(topic) = self.ledger.topics.get(&deliveries.topic)
            && topic.there == There::No
        {
            return broken(
                format!("{} is deleted", topic.name),
                format!("it hands out {deliveries:?}"),
            );
        }
        let read = self.read_records(mode, deliveries)?;
        for run in &deliveries.runs {
            if self.ledger.topic_of.get(&run.partition) != Some(&deliveries.topic) {
                return broken("deliveries are from their topic", format!("{deliveries:?}"));
            }
            for offset in run.range.offsets() {
                let receipt = Receipt {
                    partition: run.partition,
                    offset,
                    attempt: run.attempt,
                };
                self.deliver(session, mode, receipt)?;
            }
        }
        if !read {
            self.ledger.doubt_unseen(deliveries);
            self.unread.push((session, mode, deliveries.clone()));
        }
        Ok(())
    }

    /// Reads the records of deliveries; false if that fails and may.
    pub(super) fn read_records(
        &mut self,
        mode: ConsumerMode,
        deliveries: &Deliveries,
    ) -> Audited<bool> {
        let mut cursor = Cursor::default();
        let records = match self.broker.records(deliveries, &mut cursor) {
            Ok(records) => records,
            Err(ReadError::Damaged(reason)) if self.troubled => {
                tell!(self, "cannot be read: {reason}");
                self.stats.failed_reads += 1;
                return Ok(false);
            }
            Err(error) => {
                let readable = self.ledger.topics.get(&deliveries.topic);
                if readable.is_none_or(|topic| topic.there != There::Yes) {
                    return Ok(true);
                }
                return broken(format!("{deliveries:?} can be read"), error.to_string());
            }
        };
        let mut missing: std::collections::BTreeSet<_> = deliveries
            .runs
            .iter()
            .flat_map(|run| run.range.offsets().map(|offset| (run.partition, offset)))
            .collect();
        for delivered in &records {
            let Receipt {
                partition, offset, ..
            } = delivered.receipt;
            if !missing.remove(&(partition, offset)) {
                return broken("each record once", format!("{:?}", delivered.receipt));
            }
            if self.ledger.lanes.contains_key(&partition) {
                self.ledger.see(partition, offset, &delivered.record)?;
            }
        }
        for (partition, offset) in missing {
            // At most once: what is settled may be gone before it is read.
            let settled = mode == ConsumerMode::Settled;
            self.stats.vanished += u64::from(settled);
            if !settled && !self.ledger.may_be_dropped(partition, offset) {
                return broken(
                    format!(
                        "{partition}/{offset} is handed out, so it can be read: {:?}",
                        self.ledger.place(partition, offset)
                    ),
                    "it is not there",
                );
            }
        }
        Ok(true)
    }

    /// Messages were handed to somebody who does not listen any more.
    pub(super) fn overheard(&mut self, mode: ConsumerMode, deliveries: &Deliveries) {
        for run in &deliveries.runs {
            for offset in run.range.offsets() {
                self.ledger.handed.insert((run.partition, offset));
                if let Some(place) = self.ledger.place_mut(run.partition, offset) {
                    place.sure = true;
                    place.deliveries += 1;
                    place.let_go();
                    place.doubtful |= mode == ConsumerMode::Settled;
                }
            }
        }
    }

    fn deliver(&mut self, session: SessionId, mode: ConsumerMode, receipt: Receipt) -> Audited {
        self.stats.delivered += 1;
        let Receipt {
            partition,
            offset,
            attempt,
        } = receipt;
        self.ledger.check_delivery(receipt)?;
        self.ledger.handed.insert((partition, offset));
        let Some(place) = self.ledger.place_mut(partition, offset) else {
            return Ok(());
        };
        // Nobody gets what is not durable.
        place.sure = true;
        place.deliveries += 1;
        place.attempt = attempt;
        place.known_here = true;
        place.last_request = 0;
        // It is there after all.
        place.doubtful = false;
        place.holder = Some(session);
        place.held_until = match mode {
            ConsumerMode::LeaseMs(ms) => self.now.plus_ms(ms),
            ConsumerMode::UntilSessionEnds => Timestamp::MAX,
            ConsumerMode::Settled => {
                place.fate = Fate::Settled;
                self.stats.settled += 1;
                return Ok(());
            }
        };
        if let ConsumerMode::LeaseMs(_) = mode {
            place.holder = None;
        }
        if self.held.len() >= HELD && !self.at_the_end {
            let at = usize::try_from(self.chance.below(HELD as u64)).unwrap_or(0);
            self.held.swap_remove(at);
        }
        self.held.push(Held {
            receipt,
            session,
            life: self.life,
        });
        Ok(())
    }
}
