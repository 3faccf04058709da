//! Settings, and what can be asked about all topics and bindings at once.

use std::sync::Arc;

use forebay_base::TopicId;

use super::consume::Consumers;
use super::{ReplyTo, Shard, Urgency};
use crate::catalog::{Catalog, CatalogEvent};
use crate::frame::StateFrame;
use crate::{ExchangeConfig, ExchangeInfo, Refusal, Reply, SettingChange, TopicStats, TopicWork};

/// So many changes are written as one frame.
const CHANGES_AT_ONCE: usize = 256;

impl Shard {
    pub(super) fn set(&mut self, to: ReplyTo, changes: &[SettingChange]) {
        for some in changes.chunks(CHANGES_AT_ONCE) {
            self.record(Urgency::Now, &StateFrame::Settings(some.to_vec()));
        }
        self.done(to);
    }

    pub(super) fn alter_exchange(&mut self, to: ReplyTo, name: &Arc<str>, config: ExchangeConfig) {
        let Some(known) = self.state.catalog.exchange(name).cloned() else {
            return self.reply(to, Err(Refusal::NoSuchExchange(name.clone())));
        };
        if Catalog::is_reserved(name) && known.config.durable != config.durable {
            return self.reply(to, Err(Refusal::ExchangeReserved(name.clone())));
        }
        let kind = known.config.kind;
        let exchange = Arc::new(ExchangeInfo {
            name: known.name.clone(),
            config: ExchangeConfig { kind, ..config },
        });
        let event = CatalogEvent::ExchangeDeclared(exchange.clone());
        self.record(Urgency::Now, &StateFrame::Catalog(event));
        self.reply(to, Ok(Reply::Exchange(exchange)));
    }

    pub(super) fn list_bindings(&mut self, to: ReplyTo) {
        let bindings = self.state.catalog.bindings().cloned().collect();
        self.reply(to, Ok(Reply::Bindings(bindings)));
    }

    pub(super) fn stats_of(&mut self, to: ReplyTo, topics: &[TopicId]) {
        let both = |topic: &TopicId| Some((self.measure(*topic)?, self.work_of(*topic)));
        let stats = topics.iter().map(both).collect();
        self.reply_now(to, Ok(Reply::StatsOf(stats)));
    }

    /// Measures of a topic, if it is there.
    pub(super) fn measure(&self, topic: TopicId) -> Option<TopicStats> {
        self.state.catalog.topic(topic)?;
        let depth = self.depth(topic);
        let consumers = self.consumers.get(&topic);
        let consumers = consumers.map_or(0, Consumers::standing_count);
        Some(TopicStats {
            ready: depth.ready,
            leased: depth.leased,
            delayed: depth.delayed,
            consumers: u32::try_from(consumers).unwrap_or(u32::MAX),
        })
    }

    fn work_of(&self, topic: TopicId) -> TopicWork {
        let info = self.state.catalog.topic(topic);
        let partitions = info.into_iter().flat_map(|info| &info.partitions);
        let ends = partitions.filter_map(|id| Some(self.state.partitions.get(id)?.next));
        TopicWork {
            appended: ends.sum(),
            ..self.worked.get(&topic).copied().unwrap_or_default()
        }
    }
}
