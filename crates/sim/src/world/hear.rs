//! What the broker's answers mean.

use std::sync::Arc;

use forebay_base::{Offset, PartitionId, SessionId, Timestamp, TopicId};
use forebay_broker::simulation::Said;
use forebay_broker::{
    ConsumerId, ConsumerMode, Durability, Event, Outcome, Receive, Refusal, Reply, RequestId,
    TopicConfig,
};

use super::{Held, World};
use crate::ledger::There;
use crate::violation::{Audited, broken};

/// One batch as it was published.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// The topics it is to reach.
    pub(super) topics: Vec<TopicId>,
    pub(super) numbers: Vec<u64>,
    /// Through the fanout exchange.
    pub(super) fan: bool,
}

/// A command that was not answered yet.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// Whose answer says nothing but that it is done.
    Plain,
    Create(Arc<str>),
    Alter(TopicId, TopicConfig),
    Delete(TopicId),
    Publish {
        sent: Vec<Sent>,
        durability: Durability,
    },
    /// A new producer id for this sender.
    Producer(u64),
    /// Of this sender.
    Numbered(u64, Vec<u64>),
    /// A batch that lies there already.
    Repeated((PartitionId, Offset)),
    Receive(SessionId, Receive),
    /// The receiver has left.
    Left(ConsumerMode),
    /// The receiver does not wait any more.
    GivenUp(SessionId, Receive),
    Subscribe(SessionId, ConsumerId),
    Unsubscribe,
    Settle {
        held: Vec<Held>,
        outcome: Outcome,
        at: Timestamp,
    },
    Purge {
        topic: TopicId,
        leased: bool,
        places: Vec<(PartitionId, Offset)>,
    },
    Trim(PartitionId, Offset),
    Commit(String, PartitionId, i64),
    Fetch(String),
    Watch(SessionId),
}

impl World {
    pub(super) fn hear(&mut self, said: Said) -> Audited {
        match said {
            Said::Reply {
                request, result, ..
            } => {
                let Some(asked) = self.asked.remove(&request) else {
                    // Credit has no answer; others may have gone with their session.
                    return Ok(());
                };
                self.answered(request, asked, result)
            }
            Said::Event { session, event } => self.told(session, event),
            Said::Pressure(_) => Ok(()),
        }
    }

    fn told(&mut self, session: SessionId, event: Event) -> Audited {
        match event {
            Event::Reply { request, result } => match self.asked.remove(&request) {
                Some(asked) => self.answered(request, asked, result),
                None => Ok(()),
            },
            Event::Delivery {
                consumer,
                deliveries,
            } => {
                let Some(standing) = self.consumers.get_mut(&(session, consumer)) else {
                    // On their way when it ended; the session still holds them.
                    self.overheard(ConsumerMode::Settled, &deliveries);
                    return Ok(());
                };
                let count = u32::try_from(deliveries.len()).unwrap_or(u32::MAX);
                if count > standing.credit || deliveries.topic != standing.topic {
                    return broken(
                        format!("{session} {consumer:?} has {standing:?}"),
                        format!("it gets {deliveries:?}"),
                    );
                }
                standing.credit -= count;
                let mode = standing.mode;
                self.delivered(session, mode, &deliveries)
            }
            Event::ConsumerCancelled { consumer } => {
                if let Some(standing) = self.consumers.remove(&(session, consumer))
                    && self.ledger.topics[&standing.topic].there == There::Yes
                {
                    return broken(
                        format!("{} is there", standing.topic),
                        format!("{session} {consumer:?} is cancelled"),
                    );
                }
                Ok(())
            }
        }
    }

    fn answered(
        &mut self,
        request: RequestId,
        asked: Asked,
        result: Result<Reply, Refusal>,
    ) -> Audited {
        match (asked, result) {
            (
                Asked::Plain
                | Asked::Watch(_)
                | Asked::Subscribe(..)
                | Asked::GivenUp(..)
                | Asked::Unsubscribe,
                Ok(Reply::Done),
            ) => Ok(()),
            (Asked::Plain, Ok(Reply::Exchange(_))) => Ok(()),
            (Asked::Create(name), Ok(Reply::Topic(info))) => {
                let made = self.creating.remove(&name);
                match made {
                    Some((config, at_most_once)) if info.name == name && info.config == config => {
                        self.ledger.add_topic(&info, at_most_once)
                    }
                    _ => broken(format!("{name} is made as {made:?}"), format!("{info:?}")),
                }
            }
            (Asked::Alter(topic, config), Ok(Reply::Topic(info))) => {
                if info.config != config {
                    return broken(format!("{topic} gets {config:?}"), format!("{info:?}"));
                }
                self.ledger.altered(topic, config);
                Ok(())
            }
            (Asked::Delete(topic), Ok(Reply::Count(_))) => {
                self.ledger.drop_topic(topic);
                self.forget_topics();
                Ok(())
            }
            (Asked::Delete(topic), Err(Refusal::InUse | Refusal::NotEmpty)) => {
                self.ledger.stays(topic);
                Ok(())
            }
            (Asked::Publish { sent, durability }, Ok(Reply::Published(results))) => {
                self.published(sent, durability, results)
            }
            (Asked::Publish { sent, .. }, Err(refusal)) => {
                let results = sent.iter().map(|_| Err(refusal.clone())).collect();
                self.published(sent, Durability::Synced, results)
            }
            (Asked::Producer(sender), Ok(Reply::Producer(id))) => self.named(sender, id),
            (Asked::Numbered(sender, numbers), Ok(Reply::Published(mut results))) => {
                match results.pop() {
                    Some(result) if results.is_empty() => {
                        self.numbered(sender, request, &numbers, result)
                    }
                    _ => broken("one result for one batch", format!("{results:?}")),
                }
            }
            (Asked::Numbered(sender, numbers), Err(refusal)) => {
                self.numbered(sender, request, &numbers, Err(refusal))
            }
            (Asked::Repeated((partition, base)), result) => self.repeated(partition, base, result),
            (Asked::Receive(session, receive), Ok(Reply::Deliveries(deliveries))) => {
                self.received(session, &receive, &deliveries)
            }
            (Asked::Left(mode), Ok(Reply::Deliveries(deliveries))) => {
                self.overheard(mode, &deliveries);
                Ok(())
            }
            (Asked::Left(_), _) => Ok(()),
            (Asked::GivenUp(session, receive), Ok(Reply::Deliveries(deliveries))) => {
                self.came_too_late(session, &receive, deliveries)
            }
            (Asked::Settle { held, outcome, at }, Ok(Reply::Settled(results))) => {
                self.settled(request.0, (held, outcome, at), &results)
            }
            (
                Asked::Purge {
                    topic,
                    leased,
                    places,
                },
                Ok(Reply::Count(_)),
            ) => {
                self.purged(topic, leased, &places);
                Ok(())
            }
            (Asked::Trim(partition, before), Ok(Reply::Start(start))) => {
                if start < before {
                    return broken(
                        format!("{partition} starts at {before}"),
                        format!("at {start}"),
                    );
                }
                self.ledger.trimmed(partition, before);
                Ok(())
            }
            (Asked::Commit(group, partition, offset), Ok(Reply::Done)) => {
                self.ledger.committed(&group, partition, offset);
                Ok(())
            }
            (Asked::Fetch(group), Ok(Reply::Offsets(found))) => {
                self.ledger.check_offsets(&group, &found)
            }
            (asked, Err(refusal)) => self.refusal(&asked, &refusal),
            (asked, Ok(reply)) => broken(format!("an answer to {asked:?}"), format!("{reply:?}")),
        }
    }

    /// Refusals that need a reason.
    fn refusal(&mut self, asked: &Asked, refusal: &Refusal) -> Audited {
        let gone = |topic: &TopicId| {
            let topic = self.ledger.topics.get(topic);
            topic.is_none_or(|topic| topic.there != There::Yes)
        };
        let fits = match (asked, refusal) {
            (_, Refusal::Stopping) => true,
            (
                Asked::Alter(topic, _) | Asked::Delete(topic) | Asked::Purge { topic, .. },
                Refusal::NoSuchTopic,
            ) => gone(topic),
            (Asked::Receive(_, receive) | Asked::GivenUp(_, receive), Refusal::NoSuchTopic) => {
                gone(&receive.topic)
            }
            (Asked::Trim(partition, _), Refusal::NoSuchPartition | Refusal::NoSuchTopic) => {
                self.ledger.topic_of.get(partition).is_none_or(gone)
            }
            (Asked::Plain, _) => true,
            (Asked::Subscribe(session, consumer), Refusal::NoSuchTopic) => {
                let standing = self.consumers.remove(&(*session, *consumer));
                standing
                    .is_none_or(|standing| self.ledger.topics[&standing.topic].there != There::Yes)
            }
            // A consumer of that name is on its way out.
            (Asked::Subscribe(session, consumer), Refusal::ConsumerExclusive) => {
                self.consumers.remove(&(*session, *consumer)).is_some()
            }
            _ => false,
        };
        if fits {
            return Ok(());
        }
        broken(format!("{asked:?}"), format!("refused: {refusal}"))
    }

    fn named(&mut self, sender: u64, id: i64) -> Audited {
        if !self.ledger.producer_ids.insert(id) {
            return broken("a producer's id is new", format!("{id} again"));
        }
        self.name_producer(sender, id);
        Ok(())
    }

    fn repeated(
        &mut self,
        partition: PartitionId,
        base: Offset,
        result: Result<Reply, Refusal>,
    ) -> Audited {
        let there = self.ledger.topic_at(partition);
        if there.is_none_or(|topic| topic.there != There::Yes) {
            return Ok(());
        }
        match result {
            Ok(Reply::Published(results)) => match &results[..] {
                [Ok(placed)] if placed.partition == partition && placed.base_offset == base => {
                    Ok(())
                }
                [Err(Refusal::StorageFull(_))] if self.cramped || self.hurt => Ok(()),
                _ => broken(
                    format!("a repeated batch is known at {partition}/{base}"),
                    format!("{results:?}"),
                ),
            },
            Err(Refusal::StorageFull(_)) if self.cramped || self.hurt => Ok(()),
            Err(Refusal::Stopping) => Ok(()),
            other => broken(
                format!("a repeated batch is known at {partition}/{base}"),
                format!("{other:?}"),
            ),
        }
    }

    fn received(
        &mut self,
        session: SessionId,
        receive: &Receive,
        deliveries: &forebay_broker::Deliveries,
    ) -> Audited {
        if deliveries.len() > receive.max as usize || deliveries.topic != receive.topic {
            return broken(format!("{receive:?}"), format!("{deliveries:?}"));
        }
        if deliveries.is_empty() && receive.until.is_some_and(|until| until > self.now) {
            return broken(format!("{receive:?} waits"), "it ends with nothing");
        }
        if !deliveries.is_empty() && self.chance.one_in(25) {
            return self.came_too_late(session, receive, deliveries.clone());
        }
        self.delivered(session, receive.mode, deliveries)
    }

    /// Whoever asked was gone when the messages came.
    fn came_too_late(
        &mut self,
        session: SessionId,
        receive: &Receive,
        deliveries: forebay_broker::Deliveries,
    ) -> Audited {
        if deliveries.is_empty() {
            return Ok(());
        }
        self.delivered(session, receive.mode, &deliveries)?;
        if self.sessions.contains(&session) {
            self.ledger.given_back(&deliveries);
            self.broker.undelivered(session, deliveries);
        }
        Ok(())
    }

    /// The broker's life has ended before the answer came.
    pub(super) fn never_heard(&mut self, asked: Asked) {
        // What else was asked is in the ledger as such; what came of it will be seen.
        if let Asked::Purge { topic, places, .. } = asked {
            self.ledger.doubt_the_rest(topic, &places);
        }
    }
}
