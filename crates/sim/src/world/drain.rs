//! The end of a world: everything works, and everything that is owed must come.

use forebay_base::TopicId;
use forebay_broker::simulation::Worker;
use forebay_broker::{Command, ConsumerMode, Outcome, Receive};

use super::hear::Asked;
use super::life::End;
use super::{Held, World, tell};
use crate::ledger::{Fate, There};
use crate::violation::{Audited, broken};

/// Rounds of receiving until nothing may come any more.
const ROUNDS: u64 = 400;
/// Rounds in which nothing comes before a topic counts as empty.
const QUIET: u64 = 4;

impl World {
    pub(super) fn drain(&mut self) -> Audited {
        self.calm();
        self.at_the_end = true;
        self.check_alive()?;
        // Dead letters that could not be read wait for the next start.
        if self.disturbed || self.chance.one_in(2) {
            self.reopen_in_peace(End::Kill)?;
        }
        // What stopped before the peace began may still be told.
        self.hurt = true;
        self.turn()?;
        self.hurt = false;
        for session in self.sessions.split_off(1) {
            self.end_this_session(session);
        }
        self.answer_everything()?;
        self.cramped = false;
        self.read_again()?;
        self.audit_everything()?;
        self.empty_all_topics()?;
        self.check_nothing_is_owed()?;
        for group in 0..3 {
            let group = format!("g{group}");
            let asked = Asked::Fetch(group.clone());
            let command = Command::FetchOffsets {
                group,
                partitions: None,
            };
            self.submit(0, asked, command);
        }
        self.answer_everything()?;
        self.audit_everything()?;
        self.shrink()?;
        self.reopen_in_peace(End::PowerCut(None))?;
        self.audit_everything()
    }

    fn reopen_in_peace(&mut self, end: End) -> Audited {
        let (crashes, faults) = (self.profile.crashes, self.profile.faults);
        (self.profile.crashes, self.profile.faults) = (0, 0);
        let result = self.reopen(end);
        (self.profile.crashes, self.profile.faults) = (crashes, faults);
        self.hurt = false;
        self.troubled = false;
        result
    }

    /// Every command that was sent is answered, the latest when its time is over.
    ///
    /// However many they are: only a hundred seconds in which none is answered are too long.
    fn answer_everything(&mut self) -> Audited {
        let (mut fewest, mut patience) = (usize::MAX, 100);
        while patience > 0 {
            patience -= 1;
            self.turn()?;
            for worker in self.broker.busy() {
                self.step_of(worker);
            }
            self.step_of(Worker::Retention);
            self.turn()?;
            let waits = |asked: &Asked| !matches!(asked, Asked::GivenUp(..) | Asked::Left(_));
            if !self.asked.values().any(waits) && self.broker.is_durable() {
                self.asked.clear();
                return Ok(());
            }
            if self.asked.len() < fewest {
                (fewest, patience) = (self.asked.len(), 100);
            }
            self.advance(1_000);
        }
        broken(
            "every command is answered",
            format!(
                "no answer to {:?} (durable: {})",
                self.asked,
                self.broker.is_durable()
            ),
        )
    }

    /// Works off every topic, dead letters last.
    fn empty_all_topics(&mut self) -> Audited {
        let mut quiet = 0;
        for _ in 0..ROUNDS {
            let before = (self.stats.delivered, self.moving());
            for topic in self.ledger.present() {
                if self.ledger.topics[&topic].is_work() {
                    self.ask_for_work(topic);
                }
            }
            self.settle_what_came()?;
            match before == (self.stats.delivered, self.moving()) {
                true => quiet += 1,
                false => quiet = 0,
            }
            if quiet == QUIET {
                return Ok(());
            }
            // Leases and delays of the time before run out.
            self.advance(if quiet == 0 { 100 } else { 31_000 });
        }
        broken("topics become empty", "messages keep coming")
    }

    fn ask_for_work(&mut self, topic: TopicId) {
        let receive = Receive {
            topic,
            attempt: None,
            max: 100,
            until: None,
            mode: ConsumerMode::LeaseMs(600_000),
        };
        let asked = Asked::Receive(self.sessions[0], receive.clone());
        self.submit(0, asked, Command::Receive(receive));
    }

    fn settle_what_came(&mut self) -> Audited {
        self.answer_everything()?;
        let held: Vec<Held> = std::mem::take(&mut self.held);
        for some in held.chunks(50) {
            self.settle_these(some, Outcome::Ack);
        }
        self.answer_everything()
    }

    fn moving(&self) -> usize {
        let lanes = self.ledger.lanes.values();
        let places = lanes.flat_map(|lane| lane.places.values());
        places.filter(|place| place.fate == Fate::Moving).count()
    }

    /// Whatever was confirmed has come, unless there is a reason.
    fn check_nothing_is_owed(&mut self) -> Audited {
        for (partition, lane) in &self.ledger.lanes {
            let Some(topic) = self.ledger.topic_at(*partition) else {
                continue;
            };
            if topic.there != There::Yes || !topic.is_work() {
                continue;
            }
            for (offset, place) in &lane.places {
                let lost = match place.fate {
                    Fate::Settled => false,
                    Fate::Moving => {
                        !place.doubtful && !self.ledger.may_be_dropped(*partition, *offset)
                    }
                    Fate::Live => {
                        place.sure && self.ledger.excuse(*partition, *offset, true).is_none()
                    }
                };
                if lost {
                    return broken(
                        format!(
                            "{partition}/{offset} in {} is still to come: {place:?}",
                            topic.name
                        ),
                        "nothing comes any more",
                    );
                }
            }
        }
        for (topic, number) in &self.ledger.wanted {
            let known = &self.ledger.topics[topic];
            let dropped = known
                .any_config()
                .any(|config| config.retention.ms.is_some() || config.retention.bytes.is_some());
            let compacted = known.any_config().any(|config| config.compaction.is_some());
            let trimmed = known.partitions.iter().any(|partition| {
                let lane = self.ledger.lanes.get(partition);
                lane.is_none_or(|lane| lane.trim_asked > 0)
            });
            if known.there == There::Yes && !dropped && !compacted && !trimmed {
                return broken(
                    format!("message {number} went to {topic} ({})", known.name),
                    "it is nowhere in it",
                );
            }
        }
        Ok(())
    }

    /// With nothing left to keep, the journal becomes as short as it is meant to be.
    fn shrink(&mut self) -> Audited {
        let Some(topic) = self.some_topic(|topic| &*topic.name == super::topics::DEAD_LETTERS)
        else {
            return Ok(());
        };
        let wanted = self.longest_journal();
        let mut length = 0;
        for round in 0..200 {
            self.fill_and_empty(topic)?;
            let journal = self.broker.journal();
            length = journal.end.0 - journal.oldest.0;
            if round > 20 && length <= wanted {
                return Ok(());
            }
        }
        tell!(self, "{:?}", self.broker.snapshots());
        broken(
            format!("the journal shrinks to {wanted} bytes"),
            format!("it has {length}: {:?}", self.broker.journal()),
        )
    }

    /// What is kept on purpose, what two snapshots need, what waits for promotion, and the file
    /// in use.
    fn longest_journal(&self) -> u64 {
        let profile = &self.profile;
        let files = profile.retain_files + profile.promote_files + 5;
        files * profile.file_bytes + 3 * profile.snapshot_every
    }

    fn fill_and_empty(&mut self, topic: TopicId) -> Audited {
        self.publish_filler(topic);
        self.answer_everything()?;
        self.ask_for_work(topic);
        self.settle_what_came()?;
        self.advance(1_000);
        self.answer_everything()
    }
}
