//! The topics, exchanges and settings as they durably are, for reading without asking the shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use forebay_base::{PartitionId, Timestamp, TopicId};
use hashbrown::HashMap;
use parking_lot::RwLock;

use crate::catalog::CatalogChange;
use crate::settings::{self, Settings};
use crate::{ExchangeInfo, ExchangeKind, Overflow, TopicInfo};

/// A shared view of the catalog. It shows only what is durable, and a session that got the reply
/// to a change finds the change here.
#[derive(Debug, Default)]
pub struct Directory {
    tables: RwLock<Tables>,
    settings: RwLock<Arc<Settings>>,
    /// Goes up with every change of the settings.
    settings_version: AtomicU64,
    /// How many topics refuse messages when they hold too many.
    refusing: AtomicUsize,
}

#[derive(Debug, Default)]
struct Tables {
    by_name: std::collections::BTreeMap<Arc<str>, Arc<TopicInfo>>,
    by_id: HashMap<TopicId, Arc<TopicInfo>>,
    by_partition: HashMap<PartitionId, TopicId>,
    exchanges: HashMap<Arc<str>, Arc<ExchangeInfo>>,
    /// Names of topics that were deleted lately, and until when they rest.
    resting: HashMap<Arc<str>, Timestamp>,
    /// How many bindings lead from an exchange to that one.
    led_to: HashMap<Arc<str>, i64>,
    /// An exchange that routes by fields comes behind another.
    fields_behind: bool,
}

impl Directory {
    /// The topic of that name.
    pub fn topic(&self, name: &str) -> Option<Arc<TopicInfo>> {
        self.tables.read().by_name.get(name).cloned()
    }

    /// The topic of that id.
    pub fn topic_by_id(&self, id: TopicId) -> Option<Arc<TopicInfo>> {
        self.tables.read().by_id.get(&id).cloned()
    }

    /// The topic a partition belongs to.
    pub fn topic_of(&self, partition: PartitionId) -> Option<Arc<TopicInfo>> {
        let tables = self.tables.read();
        let id = tables.by_partition.get(&partition)?;
        tables.by_id.get(id).cloned()
    }

    /// Up to `limit` topics whose names start with `prefix`, in order of name, after the name
    /// `after` if one is given.
    pub fn topics(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<Arc<TopicInfo>> {
        use std::ops::Bound;
        let tables = self.tables.read();
        let from = match after {
            Some(name) if name >= prefix => Bound::Excluded(name),
            _ => Bound::Included(prefix),
        };
        tables
            .by_name
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(prefix))
            .take(limit)
            .map(|(_, topic)| topic.clone())
            .collect()
    }

    /// Whether a topic of that name was deleted so lately that the name still rests at `now`, as
    /// the topic's policy wanted. It can be given to a new topic all the same: whether to wait is
    /// for the front end to say.
    pub fn resting(&self, name: &str, now: Timestamp) -> bool {
        let until = self.tables.read().resting.get(name).copied();
        until.is_some_and(|until| now < until)
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.tables.read().by_id.len()
    }

    /// The exchange of that name.
    pub fn exchange(&self, name: &str) -> Option<Arc<ExchangeInfo>> {
        self.tables.read().exchanges.get(name).cloned()
    }

    /// Whether what is published to that exchange may be routed by its fields, there or further on.
    pub fn routes_by_fields(&self, exchange: &str) -> bool {
        let tables = self.tables.read();
        let known = tables.exchanges.get(exchange);
        known.is_some_and(|known| tables.fields_behind || known.config.kind == ExchangeKind::Fields)
    }

    /// Whether any topic refuses messages when it holds too many.
    pub fn refuses_messages(&self) -> bool {
        self.refusing.load(Ordering::Relaxed) > 0
    }

    /// The settings, as they are now.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.read().clone()
    }

    /// Another number than before if the settings have changed since, for those who keep what they
    /// made of them. Read before the settings, it is never newer than they are.
    pub fn settings_version(&self) -> u64 {
        self.settings_version.load(Ordering::Acquire)
    }

    /// All exchanges, by name. The default exchange is not among them.
    pub fn exchanges(&self) -> Vec<Arc<ExchangeInfo>> {
        let mut exchanges: Vec<_> = self.tables.read().exchanges.values().cloned().collect();
        exchanges.sort_by(|one, other| one.name.cmp(&other.name));
        exchanges
    }

    /// Follows a change that is durable.
    pub(crate) fn follow(&self, change: CatalogChange) {
        match change {
            CatalogChange::TopicPut(topic) => self.put_topic(topic),
            CatalogChange::TopicRemoved(topic) => self.remove_topic(topic.id),
            CatalogChange::TopicRetired(topic, until) => {
                self.remove_topic(topic.id);
                let rested_ms = topic.config.name_rests_ms;
                let over = until.0.saturating_sub_unsigned(rested_ms);
                self.forget_rested(Timestamp(over));
                self.rest(topic.name.clone(), until);
            }
            CatalogChange::Rests(name, until) => self.rest(name, until),
            CatalogChange::ExchangePut(exchange) => self.put_exchange(exchange),
            CatalogChange::ExchangeRemoved(name) => self.remove_exchange(&name),
            CatalogChange::Led { to, by } => {
                let mut tables = self.tables.write();
                *tables.led_to.entry_ref(&to).or_default() += by;
                tables.led_to.retain(|_, count| *count != 0);
                tables.look_behind();
            }
            CatalogChange::Settings(changes) => {
                settings::apply(Arc::make_mut(&mut self.settings.write()), &changes);
                self.settings_version.fetch_add(1, Ordering::Release);
            }
            CatalogChange::None => {}
        }
    }

    fn put_topic(&self, topic: Arc<TopicInfo>) {
        let mut tables = self.tables.write();
        for partition in &topic.partitions {
            tables.by_partition.insert(*partition, topic.id);
        }
        tables.by_name.insert(topic.name.clone(), topic.clone());
        let more = refuses(&topic);
        let before = tables.by_id.insert(topic.id, topic);
        let less = before.is_some_and(|before| refuses(&before));
        self.count_refusing(more, less);
    }

    fn count_refusing(&self, more: bool, less: bool) {
        match (more, less) {
            (true, false) => self.refusing.fetch_add(1, Ordering::Relaxed),
            (false, true) => self.refusing.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
    }

    fn remove_topic(&self, id: TopicId) {
        let mut tables = self.tables.write();
        let Some(topic) = tables.by_id.remove(&id) else {
            return;
        };
        self.count_refusing(false, refuses(&topic));
        for partition in &topic.partitions {
            tables.by_partition.remove(partition);
        }
        if tables
            .by_name
            .get(&topic.name)
            .is_some_and(|named| named.id == id)
        {
            tables.by_name.remove(&topic.name);
        }
    }

    /// Forgets names that rest no more, now and then.
    fn forget_rested(&self, now: Timestamp) {
        let mut tables = self.tables.write();
        if tables.resting.len().is_power_of_two() {
            tables.resting.retain(|_, until| *until > now);
        }
    }

    fn rest(&self, name: Arc<str>, until: Timestamp) {
        self.tables.write().resting.insert(name, until);
    }

    fn put_exchange(&self, exchange: Arc<ExchangeInfo>) {
        let mut tables = self.tables.write();
        tables.exchanges.insert(exchange.name.clone(), exchange);
        tables.look_behind();
    }

    fn remove_exchange(&self, name: &str) {
        let mut tables = self.tables.write();
        tables.exchanges.remove(name);
        tables.look_behind();
    }
}

/// Whether a topic refuses messages when it holds too many.
fn refuses(topic: &TopicInfo) -> bool {
    topic.config.max_length.is_some() && topic.config.overflow != Overflow::DropOldest
}

impl Tables {
    fn look_behind(&mut self) {
        let behind = |name: &Arc<str>| {
            let alternate =
                |other: &Arc<ExchangeInfo>| other.config.alternate.as_ref() == Some(name);
            self.led_to.contains_key(name) || self.exchanges.values().any(alternate)
        };
        self.fields_behind = self
            .exchanges
            .values()
            .any(|exchange| exchange.config.kind == ExchangeKind::Fields && behind(&exchange.name));
    }
}
