//! Steps that change topics, exchanges and bindings.

use std::sync::Arc;

use super::act::{exchange_name, key, topic_name};
use super::decide::Expect;
use super::op::{DeadLetters, Link, Op, Policy};
use super::promise::Promise;
use super::world::World;
use crate::{
    Binding, Command, DeadLetterTarget, Destination, ExchangeConfig, ExchangeInfo, ExchangeKind,
    Expectation, Lifetime, Refusal, Reply, Retention, TopicConfig,
};

fn config(policy: &Policy) -> TopicConfig {
    TopicConfig {
        partitions: policy.partitions,
        delay_ms: policy.delay_ms,
        max_deliveries: policy.max_deliveries,
        dead_letter: match &policy.dead_letter {
            DeadLetters::None => None,
            DeadLetters::Topic(name) => {
                Some(DeadLetterTarget::Topic(topic_name(*name).to_string()))
            }
            DeadLetters::Exchange { exchange, key: to } => Some(DeadLetterTarget::Exchange {
                exchange: exchange_name(*exchange).to_string(),
                routing_key: to.map(|number| key(number).to_string()),
            }),
        },
        retention: match policy.until_settled {
            true => Retention::until_settled(),
            false => Retention::for_ms(1_000),
        },
        max_message_bytes: if policy.small_messages { 150 } else { 1 << 20 },
        lifetime: Lifetime {
            transient: policy.transient,
            auto_delete: policy.auto_delete,
        },
        ..TopicConfig::default()
    }
}

fn binding(link: &Link) -> Binding {
    Binding {
        exchange: exchange_name(link.exchange),
        destination: match link.to_exchange {
            true => Destination::Exchange(exchange_name(link.destination)),
            false => Destination::Topic(topic_name(link.destination)),
        },
        key: key(link.key),
        arguments: String::new(),
    }
}

impl World {
    pub(super) fn act_on_topic(&mut self, op: &Op) {
        match op {
            Op::CreateTopic {
                name,
                session,
                exclusive,
                policy,
            } => {
                let name = topic_name(*name);
                let owner = self.session(*session);
                let mut config = config(policy);
                config.exclusive = (*exclusive && *session > 0).then_some(owner);
                let command = Command::CreateTopic {
                    name: name.clone(),
                    config: config.clone(),
                };
                match self.model.topic_named(&name).cloned() {
                    None => self.ask_for(*session, Expect::Created(name, config), command),
                    Some(topic) => {
                        let refusal = match self.model.may_use(owner, topic.id) {
                            true => Refusal::TopicExists(topic),
                            false => Refusal::TopicLocked,
                        };
                        self.expect_of_catalog(*session, &Err(refusal), command);
                    }
                }
            }
            Op::AlterTopic {
                topic,
                session,
                policy,
            } => {
                let topic = self.some_topic(*topic);
                let mut policy = policy.clone();
                if let Some(known) = self.model.topics.get(&topic) {
                    // What was dropped under another rule would be missed.
                    policy.until_settled = known.config.retention.until_settled;
                }
                let command = Command::AlterTopic {
                    topic,
                    config: config(&policy),
                };
                let result = self.usable(*session, topic).map(|()| {
                    let known = self.model.topics.get_mut(&topic).expect("it is usable");
                    let mut altered = (**known).clone();
                    altered.config = TopicConfig {
                        partitions: known.config.partitions,
                        exclusive: known.config.exclusive,
                        ..config(&policy)
                    };
                    altered.modified = self.now;
                    *known = Arc::new(altered);
                    self.model.catalog_version += 1;
                    Reply::Topic(self.model.topics[&topic].clone())
                });
                self.expect_of_catalog(*session, &result, command);
            }
            Op::GrowTopic {
                topic,
                session,
                partitions,
            } => {
                let topic = self.some_topic(*topic);
                let result = self.usable(*session, topic).and_then(|()| {
                    let there = self.model.topics[&topic].config.partitions;
                    match *partitions > there {
                        true => Ok(Reply::Topic(self.model.grow(self.now, topic, *partitions))),
                        false => Err(Refusal::PartitionCount { there }),
                    }
                });
                let partitions = *partitions;
                let command = Command::GrowTopic { topic, partitions };
                self.expect_of_catalog(*session, &result, command);
            }
            Op::DeleteTopic {
                topic,
                session,
                unused,
                empty,
            } => {
                let topic = self.some_topic(*topic);
                let only_if = Expectation {
                    unused: *unused,
                    empty: *empty,
                };
                let result = self.usable(*session, topic).and_then(|()| {
                    let ready = self.model.ready(topic);
                    let used = self.consumers.values().any(|known| known.topic == topic);
                    if *unused && used {
                        return Err(Refusal::InUse);
                    }
                    if *empty && ready > 0 {
                        return Err(Refusal::NotEmpty);
                    }
                    self.model.remove_topic(topic);
                    Ok(Reply::Count(ready))
                });
                let command = Command::DeleteTopic { topic, only_if };
                // A refusal of this kind rests on what is there now, not on what lasts.
                match result {
                    Err(Refusal::InUse | Refusal::NotEmpty) => {
                        self.expect(*session, &result, Promise::default(), command);
                    }
                    _ => self.expect_of_catalog(*session, &result, command),
                }
            }
            _ => {}
        }
    }

    pub(super) fn act_on_exchange(&mut self, op: &Op) {
        let reserved = |name: &str| name.is_empty() || name.starts_with("amq.");
        match op {
            Op::DeclareExchange {
                name,
                kind,
                durable,
                auto_delete,
                internal,
            } => {
                let name = exchange_name(*name);
                let config = ExchangeConfig {
                    kind: match kind % 3 {
                        0 => ExchangeKind::Direct,
                        1 => ExchangeKind::Fanout,
                        _ => ExchangeKind::Topic,
                    },
                    durable: *durable,
                    auto_delete: *auto_delete,
                    internal: *internal,
                    labels: Default::default(),
                    alternate: match kind / 3 % 3 {
                        0 => None,
                        other => Some(exchange_name(other)),
                    },
                };
                let info = |config: &ExchangeConfig| {
                    let (name, config) = (name.clone(), config.clone());
                    Arc::new(ExchangeInfo { name, config })
                };
                let result = match self.model.exchanges.get(&name) {
                    Some(known) => Err(Refusal::ExchangeExists(info(known))),
                    None if name.is_empty() => Err(Refusal::ExchangeReserved(name.clone())),
                    None => {
                        self.model.exchanges.insert(name.clone(), config.clone());
                        self.model.catalog_version += 1;
                        Ok(Reply::Exchange(info(&config)))
                    }
                };
                let command = Command::DeclareExchange { name, config };
                self.expect_of_catalog(0, &result, command);
            }
            Op::DeleteExchange { name, if_unused } => {
                let (name, if_unused) = (exchange_name(*name), *if_unused);
                let used = self
                    .model
                    .bindings
                    .iter()
                    .any(|known| known.exchange == name);
                let result = if reserved(&name) {
                    Err(Refusal::ExchangeReserved(name.clone()))
                } else if !self.model.exchanges.contains_key(&name) {
                    Err(Refusal::NoSuchExchange(name.clone()))
                } else if if_unused && used {
                    Err(Refusal::InUse)
                } else {
                    self.model.remove_exchange(&name);
                    Ok(Reply::Done)
                };
                let command = Command::DeleteExchange { name, if_unused };
                self.expect_of_catalog(0, &result, command);
            }
            Op::Bind(link) => {
                let binding = binding(link);
                let result = self.can_bind(&binding).map(|()| {
                    if self.model.bindings.insert(binding.clone()) {
                        self.model.catalog_version += 1;
                    }
                    Reply::Done
                });
                self.expect_of_catalog(0, &result, Command::Bind(binding));
            }
            Op::Unbind(link) => {
                let binding = binding(link);
                let result = self.can_bind(&binding).map(|()| {
                    self.model.unbind(&binding);
                    Reply::Done
                });
                self.expect_of_catalog(0, &result, Command::Unbind(binding));
            }
            _ => {}
        }
    }

    pub(super) fn can_bind(&self, binding: &Binding) -> Result<(), Refusal> {
        match &binding.destination {
            Destination::Topic(name) => {
                let topic = self.model.topic_named(name).ok_or(Refusal::NoSuchTopic)?;
                self.usable(0, topic.id)?;
            }
            Destination::Exchange(name) => {
                let known = self.model.exchanges.contains_key(name);
                known
                    .then_some(())
                    .ok_or_else(|| Refusal::NoSuchExchange(name.clone()))?;
            }
        }
        let from = &binding.exchange;
        if from.is_empty() {
            return Err(Refusal::ExchangeReserved(from.clone()));
        }
        let known = self.model.exchanges.contains_key(from);
        known
            .then_some(())
            .ok_or_else(|| Refusal::NoSuchExchange(from.clone()))
    }
}
