//! Making, changing and deleting topics.

use std::sync::Arc;

use forebay_base::TopicId;
use forebay_broker::simulation::Simulated;
use forebay_broker::{
    Binding, Command, Destination, ExchangeConfig, ExchangeKind, Expectation, TopicConfig,
};

use super::World;
use super::hear::Asked;
use crate::ledger::There;
use crate::profile;
use crate::violation::{Audited, broken};

/// Where dead letters go.
pub(super) const DEAD_LETTERS: &str = "dead";
/// The fanout exchange.
pub(super) const FAN: &str = "fan";

impl World {
    /// What every world has: a dead-letter topic, some others, a fanout exchange.
    pub(super) fn begin(&mut self) -> Audited {
        for _ in 0..self.chance.between(1, 3) {
            self.open_session();
        }
        self.create(DEAD_LETTERS.into(), TopicConfig::default(), false);
        self.settle_down()?;
        for _ in 0..self.chance.between(2, 6) {
            self.create_some_topic();
        }
        self.settle_down()?;
        let config = ExchangeConfig {
            kind: ExchangeKind::Fanout,
            durable: true,
            auto_delete: false,
            internal: false,
            labels: Default::default(),
            alternate: None,
        };
        self.submit_plain(Command::DeclareExchange {
            name: FAN.into(),
            config,
        });
        let others = self.ledger.topics.values();
        let others = others.filter(|topic| &*topic.name != DEAD_LETTERS);
        let others: Vec<_> = others.map(|topic| (topic.id, topic.name.clone())).collect();
        for (id, name) in others {
            if self.chance.one_in(3) {
                continue;
            }
            self.fan.push(id);
            self.submit_plain(Command::Bind(Binding {
                exchange: FAN.into(),
                destination: Destination::Topic(name),
                key: "".into(),
                arguments: String::new(),
            }));
        }
        self.settle_down()
    }

    /// Lets the broker do all it has to do now.
    pub(super) fn settle_down(&mut self) -> Audited {
        self.turn()?;
        for _ in 0..200 {
            let busy = self.broker.busy();
            for worker in busy {
                self.step_of(worker);
            }
            self.turn()?;
            if self.asked.is_empty() && Simulated::is_durable(&self.broker) {
                return Ok(());
            }
        }
        if self.hurt || self.troubled || self.cramped {
            return Ok(());
        }
        broken(
            "commands are answered when the broker has nothing else to do",
            format!("still waiting: {:?}", self.asked.values().next()),
        )
    }

    pub(super) fn create_some_topic(&mut self) {
        self.next_topic += 1;
        let name = format!("t{}", self.next_topic).into();
        let config = profile::config(&mut self.chance, DEAD_LETTERS);
        let at_most_once = config.retention.until_settled && self.chance.one_in(6);
        self.create(name, config, at_most_once);
    }

    fn create(&mut self, name: Arc<str>, config: TopicConfig, at_most_once: bool) {
        self.creating
            .insert(name.clone(), (config.clone(), at_most_once));
        let asked = Asked::Create(name.clone());
        self.submit(0, asked, Command::CreateTopic { name, config });
    }

    /// Changes what can be changed without making promises unclear.
    pub(super) fn alter_some_topic(&mut self) {
        let Some(id) = self.some_topic(|topic| &*topic.name != DEAD_LETTERS) else {
            return;
        };
        let Some(topic) = self.ledger.topics.get_mut(&id) else {
            return;
        };
        let mut config = topic.asked.last().unwrap_or(topic.config()).clone();
        match self.chance.below(3) {
            0 if config.retention.until_settled => config.delay_ms = self.chance.below(2_000),
            1 if config.max_deliveries.is_some() => {
                config.max_deliveries = Some(u32::try_from(self.chance.between(1, 5)).unwrap_or(1));
            }
            _ if !config.retention.until_settled && config.compaction.is_none() => {
                config.retention.bytes = Some(self.chance.between(2_000, 60_000));
            }
            _ => config.lease_ms = self.chance.between(1_000, 60_000),
        }
        topic.asked.push(config.clone());
        let asked = Asked::Alter(id, config.clone());
        self.submit(0, asked, Command::AlterTopic { topic: id, config });
    }

    pub(super) fn delete_some_topic(&mut self) {
        let Some(id) = self.some_topic(|topic| &*topic.name != DEAD_LETTERS) else {
            return;
        };
        if let Some(topic) = self.ledger.topics.get_mut(&id) {
            topic.there = There::Leaving;
        }
        let only_if = Expectation {
            unused: self.chance.one_in(4),
            empty: self.chance.one_in(4),
        };
        self.submit(
            0,
            Asked::Delete(id),
            Command::DeleteTopic { topic: id, only_if },
        );
    }

    /// Clients forget what they know of topics that are gone.
    pub(super) fn forget_topics(&mut self) {
        let ledger = &self.ledger;
        let there = |id: &TopicId| {
            ledger
                .topics
                .get(id)
                .is_some_and(|topic| topic.there != There::No)
        };
        self.fan.retain(there);
        self.consumers.retain(|_, standing| there(&standing.topic));
        let lane = |id| ledger.lanes.contains_key(&id);
        self.held.retain(|held| lane(held.receipt.partition));
        self.readers.retain(|reader| lane(reader.partition));
        self.producers.retain(|producer| lane(producer.partition));
        self.unread
            .retain(|(_, _, deliveries)| there(&deliveries.topic));
    }

    /// A topic that is there and fits.
    pub(super) fn some_topic(
        &mut self,
        fits: impl Fn(&crate::ledger::Topic) -> bool,
    ) -> Option<TopicId> {
        let topics = self.ledger.topics.values();
        let fitting: Vec<_> = topics
            .filter(|topic| topic.there == There::Yes && fits(topic))
            .map(|topic| topic.id)
            .collect();
        self.chance.pick(&fitting).copied()
    }

    fn submit_plain(&mut self, command: Command) {
        self.submit(0, Asked::Plain, command);
    }
}
