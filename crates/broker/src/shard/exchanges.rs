//! Declaring, binding and deleting exchanges.

use std::sync::Arc;

use super::{ReplyTo, Shard, Urgency};
use crate::catalog::{Catalog, CatalogEvent};
use crate::frame::StateFrame;
use crate::{Binding, Destination, ExchangeConfig, ExchangeInfo, Refusal, Reply, namespace};

impl Shard {
    pub(super) fn declare_exchange(&mut self, to: ReplyTo, name: Arc<str>, config: ExchangeConfig) {
        if let Some(exchange) = self.state.catalog.exchange(&name) {
            let refusal = Refusal::ExchangeExists(exchange.clone());
            return self.reply(to, Err(refusal));
        }
        if namespace::split(&name).1.is_empty() {
            return self.reply(to, Err(Refusal::ExchangeReserved(name)));
        }
        let exchange = Arc::new(ExchangeInfo { name, config });
        let event = CatalogEvent::ExchangeDeclared(exchange.clone());
        self.record(Urgency::Now, &StateFrame::Catalog(event));
        self.reply(to, Ok(Reply::Exchange(exchange)));
    }

    pub(super) fn delete_exchange(&mut self, to: ReplyTo, name: &Arc<str>, if_unused: bool) {
        let refusal = if Catalog::is_reserved(name) {
            Some(Refusal::ExchangeReserved(name.clone()))
        } else if self.state.catalog.exchange(name).is_none() {
            Some(Refusal::NoSuchExchange(name.clone()))
        } else if if_unused && self.state.catalog.bindings_from(name).next().is_some() {
            Some(Refusal::InUse)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return self.reply(to, Err(refusal));
        }
        self.remove_exchange(name);
        self.done(to);
    }

    pub(super) fn bind(&mut self, to: ReplyTo, binding: Binding) {
        if let Err(refusal) = self.check_binding(to, &binding) {
            return self.reply(to, Err(refusal));
        }
        if !self.state.catalog.has_binding(&binding) {
            let event = CatalogEvent::Bound(binding);
            self.record(Urgency::Now, &StateFrame::Catalog(event));
        }
        self.done(to);
    }

    pub(super) fn unbind(&mut self, to: ReplyTo, binding: Binding) {
        if let Err(refusal) = self.check_binding(to, &binding) {
            return self.reply(to, Err(refusal));
        }
        if self.state.catalog.has_binding(&binding) {
            self.remove_binding(binding);
        }
        self.done(to);
    }

    fn check_binding(&self, to: ReplyTo, binding: &Binding) -> Result<(), Refusal> {
        let catalog = &self.state.catalog;
        match &binding.destination {
            Destination::Topic(name) => {
                let topic = catalog.topic_named(name).ok_or(Refusal::NoSuchTopic)?;
                self.usable(to.session, topic.id)?;
            }
            Destination::Exchange(name) => {
                if catalog.exchange(name).is_none() {
                    return Err(Refusal::NoSuchExchange(name.clone()));
                }
            }
        }
        let (space, local) = namespace::split(&binding.exchange);
        if local.is_empty() {
            return Err(Refusal::ExchangeReserved(binding.exchange.clone()));
        }
        let (Destination::Topic(to) | Destination::Exchange(to)) = &binding.destination;
        if catalog.exchange(&binding.exchange).is_none() || namespace::split(to).0 != space {
            return Err(Refusal::NoSuchExchange(binding.exchange.clone()));
        }
        Ok(())
    }

    fn remove_binding(&mut self, binding: Binding) {
        let exchange = binding.exchange.clone();
        self.record(
            Urgency::Now,
            &StateFrame::Catalog(CatalogEvent::Unbound(binding)),
        );
        let catalog = &self.state.catalog;
        let ends = catalog
            .exchange(&exchange)
            .is_some_and(|known| known.config.auto_delete);
        if ends && catalog.bindings_from(&exchange).next().is_none() {
            self.remove_exchange(&exchange);
        }
    }

    pub(super) fn remove_bindings_to(&mut self, destination: &Destination) {
        let bindings: Vec<_> = self
            .state
            .catalog
            .bindings_to(destination)
            .cloned()
            .collect();
        for binding in bindings {
            self.remove_binding(binding);
        }
    }

    /// Deletes an exchange with the bindings that leave it and those that lead to it.
    pub(super) fn remove_exchange(&mut self, name: &Arc<str>) {
        let leaving: Vec<_> = self.state.catalog.bindings_from(name).cloned().collect();
        for binding in leaving {
            self.record(
                Urgency::Now,
                &StateFrame::Catalog(CatalogEvent::Unbound(binding)),
            );
        }
        let event = CatalogEvent::ExchangeDeleted { name: name.clone() };
        self.record(Urgency::Now, &StateFrame::Catalog(event));
        self.remove_bindings_to(&Destination::Exchange(name.clone()));
    }
}
