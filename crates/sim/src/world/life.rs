//! Ends and beginnings of the broker's lives.

use forebay_base::SessionId;
use forebay_broker::simulation::Simulated;

use super::{World, tell};
use crate::violation::{Audited, broken};

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The power goes; with a seed, what was not synced is torn.
    PowerCut(Option<u64>),
    /// The process ends, the system lives on.
    Kill,
    /// Everything is brought to its end.
    Stop,
}

impl World {
    pub(super) fn end_a_life(&mut self) -> Audited {
        let end = match self.chance.weighted(&[6, 3, 1]) {
            0 => End::PowerCut(self.chance.percent(85).then(|| self.chance.next())),
            1 => End::Kill,
            _ => End::Stop,
        };
        if end == End::Stop {
            return self.stop();
        }
        self.reopen(end)
    }

    /// An orderly stop: nothing decided is lost.
    pub(super) fn stop(&mut self) -> Audited {
        tell!(self, "an orderly stop");
        self.broker.stop();
        for _ in 0..2_000 {
            self.broker.turn(self.now);
            for said in self.broker.said() {
                self.note(&said);
                self.hear(said)?;
            }
            if let Some(outcome) = self.broker.stopped().cloned() {
                match outcome {
                    Ok(()) => self.stats.stops += 1,
                    Err(_) if self.hurt || self.cramped || self.disturbed => {
                        self.stats.stopped += 1
                    }
                    Err(reason) => return broken("an orderly stop", reason),
                }
                return self.reopen(End::Kill);
            }
            for worker in self.broker.busy() {
                self.step_of(worker);
            }
            self.advance(50);
        }
        if self.hurt || self.disturbed || self.cramped {
            return self.reopen(End::Kill);
        }
        broken("a stop comes to its end", "it goes on after 100 seconds")
    }

    /// The shard may stop by itself only if its disk has failed.
    pub(super) fn check_alive(&mut self) -> Audited {
        if self.disk.is_down() {
            let tear = self.chance.next();
            return self.reopen(End::PowerCut(Some(tear)));
        }
        match self.broker.stopped().cloned() {
            None => Ok(()),
            Some(outcome) if self.hurt => {
                tell!(self, "the shard has stopped: {outcome:?}");
                self.stats.stopped += 1;
                let end = match self.chance.one_in(2) {
                    true => End::Kill,
                    false => End::PowerCut(Some(self.chance.next())),
                };
                self.reopen(end)
            }
            Some(outcome) => broken(
                "the shard goes on while its disk does",
                format!("it has stopped: {outcome:?}"),
            ),
        }
    }

    /// The life ends, and another begins.
    pub(super) fn reopen(&mut self, end: End) -> Audited {
        tell!(self, "{end:?}");
        self.stats.commits += self.broker.counters().commits;
        self.finish_disk(end);
        self.forget_the_living();
        let mut again = 0;
        if self.profile.crashes > 0 && self.chance.one_in(8) {
            // The start meets trouble, too.
            again = 1;
            self.hurt_the_start();
        }
        loop {
            match Simulated::open(&self.setup, self.now) {
                Ok(broker) => {
                    self.broker = broker;
                    break;
                }
                Err(error) if again > 0 => {
                    tell!(self, "the start fails: {error}");
                    again -= 1;
                    self.stats.refused_starts += 1;
                    let end = match self.chance.one_in(2) {
                        true => End::Kill,
                        false => End::PowerCut(Some(self.chance.next())),
                    };
                    self.finish_disk(end);
                }
                Err(error) => {
                    return broken("what was durable opens again", error.to_string());
                }
            }
        }
        self.begin_life(again > 0)
    }

    fn begin_life(&mut self, hurt: bool) -> Audited {
        self.life += 1;
        self.stats.lives += 1;
        self.hurt = hurt;
        self.troubled = hurt;
        self.disturbed = hurt;
        let recovered = self.broker.recovered();
        tell!(self, "life {} begins: {recovered:?}", self.life);
        let topics = self.broker.topics();
        let creating = std::mem::take(&mut self.creating);
        self.ledger.check_topics(&topics, &creating)?;
        self.forget_topics();
        for said in self.broker.said() {
            self.note(&said);
            self.hear(said)?;
        }
        self.sessions = vec![SessionId(0)];
        for _ in 0..self.chance.between(1, 3) {
            self.open_session();
        }
        self.turn()?;
        if self.chance.one_in(3) {
            self.audit_everything()?;
        }
        Ok(())
    }

    pub(super) fn open_session(&mut self) {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        self.broker.open_session(session);
        self.sessions.push(session);
    }

    fn finish_disk(&mut self, end: End) {
        match end {
            End::PowerCut(tear) => {
                self.stats.power_cuts += 1;
                self.disk.crash(tear);
            }
            End::Kill | End::Stop => {
                self.stats.kills += 1;
                self.disk.kill();
            }
        }
        self.disk.calm();
        self.objects.calm();
        self.troubled = false;
    }

    /// What does not outlive the broker.
    fn forget_the_living(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        for asked in asked.into_values() {
            self.never_heard(asked);
        }
        self.ledger.outlive();
        self.consumers.clear();
        self.unread.clear();
        self.held.retain(|_| self.chance.one_in(2));
        for producer in &mut self.producers {
            producer.lose_requests();
        }
        for reader in &mut self.readers {
            reader.cursor = forebay_broker::Cursor::default();
        }
    }
}
