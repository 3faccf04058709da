//! The catalog: which topics and exchanges there are, by name and id. Part of the shard's state;
//! it changes only by [`Catalog::apply`].

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_base::{PartitionId, Timestamp, TopicId};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::routing::Router;
use crate::{
    Binding, Destination, ExchangeConfig, ExchangeInfo, ExchangeKind, Fields, SettingChange,
    TopicConfig, TopicInfo, namespace,
};

/// What happened to the catalog. A frame of the journal: variants are only ever added at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum CatalogEvent {
    TopicCreated(Arc<TopicInfo>),
    TopicAltered {
        id: TopicId,
        config: Box<TopicConfig>,
        at: Timestamp,
    },
    TopicDeleted {
        id: TopicId,
    },
    ExchangeDeclared(Arc<ExchangeInfo>),
    ExchangeDeleted {
        name: Arc<str>,
    },
    Bound(Binding),
    Unbound(Binding),
    TopicGrown {
        id: TopicId,
        /// The new partitions, which come after those there are.
        partitions: Vec<PartitionId>,
        at: Timestamp,
    },
    /// As `TopicDeleted`, of a topic whose name rests.
    TopicRetired {
        id: TopicId,
        at: Timestamp,
    },
}

/// What an event changed that somebody outside the catalog has to follow.
#[derive(Debug)]
pub(crate) enum CatalogChange {
    TopicPut(Arc<TopicInfo>),
    TopicRemoved(Arc<TopicInfo>),
    /// The topic is gone, and its name rests until then.
    TopicRetired(Arc<TopicInfo>, Timestamp),
    /// The name rests until then, as was found at the start.
    Rests(Arc<str>, Timestamp),
    ExchangePut(Arc<ExchangeInfo>),
    ExchangeRemoved(Arc<str>),
    /// A binding came or went that leads from an exchange to that one.
    Led {
        to: Arc<str>,
        by: i64,
    },
    Settings(Vec<SettingChange>),
    None,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Catalog {
    topics: BTreeMap<TopicId, Arc<TopicInfo>>,
    exchanges: BTreeMap<Arc<str>, Arc<ExchangeInfo>>,
    next_topic: u64,
    next_partition: u64,
    bindings: std::collections::BTreeSet<Binding>,
    /// Names of topics that were deleted lately, and until when they rest. In a snapshot they come
    /// behind the rest.
    #[serde(skip)]
    pub(crate) resting: BTreeMap<Arc<str>, Timestamp>,
    #[serde(skip)]
    names: HashMap<Arc<str>, TopicId>,
    #[serde(skip)]
    router: Router,
}

/// The exchanges that every broker has from its first start, besides the default exchange.
const BUILT_IN: [(&str, ExchangeKind); 5] = [
    ("amq.direct", ExchangeKind::Direct),
    ("amq.fanout", ExchangeKind::Fanout),
    ("amq.headers", ExchangeKind::Fields),
    ("amq.match", ExchangeKind::Fields),
    ("amq.topic", ExchangeKind::Topic),
];

impl Catalog {
    /// A catalog with nothing but the exchanges every broker has.
    pub(crate) fn new() -> Self {
        let mut catalog = Self::default();
        for (name, kind) in BUILT_IN {
            let config = ExchangeConfig {
                kind,
                durable: true,
                auto_delete: false,
                internal: false,
                labels: BTreeMap::new(),
                alternate: None,
            };
            let info = ExchangeInfo {
                name: name.into(),
                config,
            };
            catalog.apply(&CatalogEvent::ExchangeDeclared(Arc::new(info)));
        }
        catalog
    }

    /// Rebuilds what a snapshot leaves out because it follows from the rest.
    pub(crate) fn index(&mut self) {
        self.names = self
            .topics
            .values()
            .map(|topic| (topic.name.clone(), topic.id))
            .collect();
        self.router = Router::default();
        for exchange in self.exchanges.values() {
            self.router.declare(exchange.name.clone(), &exchange.config);
        }
        for binding in &self.bindings {
            self.router.bind(binding);
        }
    }

    pub(crate) fn is_reserved(name: &str) -> bool {
        let (_, name) = namespace::split(name);
        name.is_empty() || BUILT_IN.iter().any(|(built_in, _)| *built_in == name)
    }

    pub(crate) fn topic(&self, id: TopicId) -> Option<&Arc<TopicInfo>> {
        self.topics.get(&id)
    }

    /// Whether no group of the topic's messages is to hold up the others.
    pub(crate) fn is_fair(&self, id: TopicId) -> bool {
        self.topic(id).is_some_and(|topic| topic.config.fair)
    }

    pub(crate) fn topic_named(&self, name: &str) -> Option<&Arc<TopicInfo>> {
        self.topics.get(self.names.get(name)?)
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = &Arc<TopicInfo>> {
        self.topics.values()
    }

    pub(crate) fn topic_count(&self) -> usize {
        self.topics.len()
    }

    pub(crate) fn exchange(&self, name: &str) -> Option<&Arc<ExchangeInfo>> {
        self.exchanges.get(name)
    }

    pub(crate) fn exchanges(&self) -> impl Iterator<Item = &Arc<ExchangeInfo>> {
        self.exchanges.values()
    }

    pub(crate) fn has_binding(&self, binding: &Binding) -> bool {
        self.bindings.contains(binding)
    }

    /// All bindings.
    pub(crate) fn bindings(&self) -> impl Iterator<Item = &Binding> {
        self.bindings.iter()
    }

    /// The bindings that leave an exchange.
    pub(crate) fn bindings_from<'a>(
        &'a self,
        exchange: &'a str,
    ) -> impl Iterator<Item = &'a Binding> {
        self.bindings
            .iter()
            .filter(move |binding| &*binding.exchange == exchange)
    }

    /// The bindings that lead to a destination.
    pub(crate) fn bindings_to<'a>(
        &'a self,
        destination: &'a Destination,
    ) -> impl Iterator<Item = &'a Binding> {
        self.bindings
            .iter()
            .filter(move |binding| binding.destination == *destination)
    }

    /// Adds the topics a message goes to, each once. A default exchange routes by topic name.
    pub(crate) fn route(
        &self,
        exchange: &str,
        routing_key: &str,
        fields: &Fields,
        into: &mut Vec<TopicId>,
    ) {
        let (space, local) = namespace::split(exchange);
        if local.is_empty() {
            let named = match space {
                "" if namespace::split(routing_key).0.is_empty() => self.names.get(routing_key),
                "" => None,
                space => self.names.get(&*format!("{space}{routing_key}")),
            };
            into.extend(named.filter(|id| !into.contains(id)));
            return;
        }
        self.router
            .route(exchange, routing_key, fields, &mut |name| {
                if let Some(id) = self.names.get(name)
                    && !into.contains(id)
                {
                    into.push(*id);
                }
            });
    }

    /// The identity the next topic gets, and the partitions it is made of.
    pub(crate) fn allocate(&self, partitions: u32) -> (TopicId, Vec<PartitionId>) {
        let first = self.next_partition;
        let ids = (first..first.saturating_add(u64::from(partitions)))
            .map(PartitionId)
            .collect();
        (TopicId(self.next_topic), ids)
    }

    /// The names that rest, and until when.
    pub(crate) fn resting(&self) -> impl Iterator<Item = (&Arc<str>, Timestamp)> {
        self.resting.iter().map(|(name, until)| (name, *until))
    }

    fn remove(&mut self, id: TopicId) -> Option<Arc<TopicInfo>> {
        let topic = self.topics.remove(&id)?;
        self.names.remove(&topic.name);
        Some(topic)
    }

    /// Ids that are taken are not given again.
    fn use_up(&mut self, partitions: &[PartitionId]) {
        let next = partitions.iter().map(|id| id.0.saturating_add(1)).max();
        self.next_partition = self.next_partition.max(next.unwrap_or(0));
    }

    pub(crate) fn apply(&mut self, event: &CatalogEvent) -> CatalogChange {
        match event {
            CatalogEvent::TopicCreated(topic) => {
                self.next_topic = self.next_topic.max(topic.id.0.saturating_add(1));
                self.use_up(&topic.partitions);
                self.names.insert(topic.name.clone(), topic.id);
                self.topics.insert(topic.id, topic.clone());
                CatalogChange::TopicPut(topic.clone())
            }
            CatalogEvent::TopicAltered { id, config, at } => {
                let Some(topic) = self.topics.get_mut(id) else {
                    return CatalogChange::None;
                };
                let altered = TopicInfo {
                    config: (**config).clone(),
                    modified: *at,
                    ..(**topic).clone()
                };
                *topic = Arc::new(altered);
                CatalogChange::TopicPut(topic.clone())
            }
            CatalogEvent::TopicGrown { id, partitions, at } => {
                self.use_up(partitions);
                let Some(topic) = self.topics.get_mut(id) else {
                    return CatalogChange::None;
                };
                let mut grown = (**topic).clone();
                grown.partitions.extend(partitions);
                grown.config.partitions = u32::try_from(grown.partitions.len()).unwrap_or(u32::MAX);
                grown.modified = *at;
                *topic = Arc::new(grown);
                CatalogChange::TopicPut(topic.clone())
            }
            CatalogEvent::TopicDeleted { id } => match self.remove(*id) {
                Some(topic) => CatalogChange::TopicRemoved(topic),
                None => CatalogChange::None,
            },
            CatalogEvent::TopicRetired { id, at } => {
                let Some(topic) = self.remove(*id) else {
                    return CatalogChange::None;
                };
                let until = at.plus_ms(topic.config.name_rests_ms);
                if self.resting.len().is_power_of_two() {
                    self.resting.retain(|_, until| *until > *at);
                }
                self.resting.insert(topic.name.clone(), until);
                CatalogChange::TopicRetired(topic, until)
            }
            CatalogEvent::ExchangeDeclared(exchange) => {
                self.router.declare(exchange.name.clone(), &exchange.config);
                self.router.set_alternate(&exchange.name, &exchange.config);
                self.exchanges
                    .insert(exchange.name.clone(), exchange.clone());
                CatalogChange::ExchangePut(exchange.clone())
            }
            CatalogEvent::ExchangeDeleted { name } => {
                self.router.remove(name);
                match self.exchanges.remove(name) {
                    Some(exchange) => CatalogChange::ExchangeRemoved(exchange.name.clone()),
                    None => CatalogChange::None,
                }
            }
            CatalogEvent::Bound(binding) => {
                if !self.bindings.insert(binding.clone()) {
                    return CatalogChange::None;
                }
                self.router.bind(binding);
                led(binding, 1)
            }
            CatalogEvent::Unbound(binding) => {
                if !self.bindings.remove(binding) {
                    return CatalogChange::None;
                }
                self.router.unbind(binding);
                led(binding, -1)
            }
        }
    }
}

/// What a binding means to those who look at exchanges only.
pub(crate) fn led(binding: &Binding, by: i64) -> CatalogChange {
    match &binding.destination {
        Destination::Topic(_) => CatalogChange::None,
        Destination::Exchange(to) => CatalogChange::Led { to: to.clone(), by },
    }
}
