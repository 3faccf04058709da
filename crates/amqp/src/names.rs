//! The names of a virtual host's queues and exchanges, here and in the broker.
//!
//! The virtual host `/` has the names that all protocols see. What another one has is in a
//! namespace of its own (`forebay_broker::namespace`). Everything in this crate speaks of plain
//! names; they are translated where commands leave and replies come in.

use std::sync::Arc;

use forebay_access::{ROOT, prefix_of};
use forebay_broker::{
    Command, DeadLetterTarget, Destination, ExchangeInfo, Refusal, Reply, Target, TopicConfig,
    TopicInfo, namespace,
};

use crate::connection::Catalogue;
use crate::error::Fault;

/// The virtual host of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    vhost: Arc<str>,
    /// What its names begin with in the broker; `None` for `/`.
    prefix: Option<Arc<str>>,
}

impl Default for Scope {
    fn default() -> Self {
        Self::of(ROOT)
    }
}

impl Scope {
    pub(crate) fn of(vhost: &str) -> Self {
        let prefix = prefix_of(vhost);
        Self {
            vhost: vhost.into(),
            prefix: (!prefix.is_empty()).then(|| prefix.into()),
        }
    }

    pub(crate) fn vhost(&self) -> &Arc<str> {
        &self.vhost
    }

    /// What its names begin with; `None` for `/`, so that a copy costs nothing there.
    pub(crate) fn prefix(&self) -> Option<Arc<str>> {
        self.prefix.clone()
    }

    /// Puts the broker's names into a command.
    pub(crate) fn enter(&self, command: &mut Command) {
        match command {
            Command::Publish(publish) => {
                for message in &mut publish.messages {
                    if let Target::Exchange { exchange, .. } | Target::Routes { exchange, .. } =
                        &mut message.target
                    {
                        self.inside(exchange);
                    }
                }
            }
            Command::CreateTopic { name, config } => {
                self.inside(name);
                self.config_inside(config);
            }
            Command::AlterTopic { config, .. } => self.config_inside(config),
            Command::DeclareExchange { name, config } | Command::AlterExchange { name, config } => {
                self.inside(name);
                if let Some(alternate) = &mut config.alternate {
                    self.inside(alternate);
                }
            }
            Command::DeleteExchange { name, .. } => self.inside(name),
            Command::Bind(binding) | Command::Unbind(binding) => {
                self.inside(&mut binding.exchange);
                let (Destination::Topic(name) | Destination::Exchange(name)) =
                    &mut binding.destination;
                self.inside(name);
            }
            _ => {}
        }
    }

    pub(crate) fn config_inside(&self, config: &mut TopicConfig) {
        if let Some(DeadLetterTarget::Exchange { exchange, .. }) = &mut config.dead_letter {
            let mut name: Arc<str> = exchange.as_str().into();
            self.inside(&mut name);
            *exchange = name.to_string();
        }
    }

    fn inside(&self, name: &mut Arc<str>) {
        match &self.prefix {
            Some(prefix) => *name = format!("{prefix}{name}").into(),
            // A name that would lead into another virtual host becomes one that nothing has:
            // line breaks are taken out of whatever is declared.
            None if !namespace::split(name).0.is_empty() => *name = format!("\n{name}").into(),
            None => {}
        }
    }

    /// Puts plain names into what the broker answers.
    pub(crate) fn leave(&self, result: Result<Reply, Refusal>) -> Result<Reply, Refusal> {
        let plain = |name: Arc<str>| self.plain(&name).unwrap_or(name);
        match result {
            Ok(Reply::Topic(topic)) => Ok(Reply::Topic(self.plain_topic(topic))),
            Ok(Reply::Exchange(exchange)) => Ok(Reply::Exchange(self.plain_exchange(exchange))),
            Err(Refusal::TopicExists(topic)) => Err(Refusal::TopicExists(self.plain_topic(topic))),
            Err(Refusal::ExchangeExists(exchange)) => {
                Err(Refusal::ExchangeExists(self.plain_exchange(exchange)))
            }
            Err(Refusal::NoSuchExchange(name)) => Err(Refusal::NoSuchExchange(plain(name))),
            Err(Refusal::ExchangeInternal(name)) => Err(Refusal::ExchangeInternal(plain(name))),
            Err(Refusal::ExchangeReserved(name)) => Err(Refusal::ExchangeReserved(plain(name))),
            other => other,
        }
    }

    /// The plain name, if it is another one.
    fn plain(&self, name: &str) -> Option<Arc<str>> {
        match &self.prefix {
            Some(prefix) => name.strip_prefix(&**prefix).map(Arc::from),
            None => name.strip_prefix('\n').map(Arc::from),
        }
    }

    fn plain_topic(&self, topic: Arc<TopicInfo>) -> Arc<TopicInfo> {
        match self.plain(&topic.name) {
            Some(name) => Arc::new(TopicInfo {
                name,
                ..(*topic).clone()
            }),
            None => topic,
        }
    }

    fn plain_exchange(&self, exchange: Arc<ExchangeInfo>) -> Arc<ExchangeInfo> {
        match self.plain(&exchange.name) {
            Some(name) => {
                let config = exchange.config.clone();
                Arc::new(ExchangeInfo { name, config })
            }
            None => exchange,
        }
    }

    /// Texts are written for `/`; here they get the virtual host they are about.
    pub(crate) fn tell(&self, fault: Fault) -> Fault {
        match &self.prefix {
            Some(_) => fault.replaced("in vhost '/'", &format!("in vhost '{}'", self.vhost)),
            None => fault,
        }
    }
}

/// The broker's topics and exchanges, seen from within a virtual host.
pub(crate) struct Scoped<'a> {
    pub(crate) inner: &'a dyn Catalogue,
    pub(crate) prefix: Option<&'a str>,
}

impl Scoped<'_> {
    /// The broker's name for a plain one, if there can be one.
    fn whole(&self, name: &str) -> Option<String> {
        match self.prefix {
            Some(prefix) => Some(format!("{prefix}{name}")),
            None => namespace::split(name).0.is_empty().then(|| name.to_owned()),
        }
    }
}

impl Catalogue for Scoped<'_> {
    fn topic(&self, name: &str) -> Option<Arc<TopicInfo>> {
        let found = self.inner.topic(&self.whole(name)?)?;
        Some(match self.prefix {
            Some(_) => Arc::new(TopicInfo {
                name: name.into(),
                ..(*found).clone()
            }),
            None => found,
        })
    }

    fn exchange(&self, name: &str) -> Option<Arc<ExchangeInfo>> {
        let found = self.inner.exchange(&self.whole(name)?)?;
        Some(match self.prefix {
            Some(_) => Arc::new(ExchangeInfo {
                name: name.into(),
                config: found.config.clone(),
            }),
            None => found,
        })
    }

    fn routes_by_fields(&self, exchange: &str) -> bool {
        match self.prefix {
            // Asked for every message: no copy of the name.
            None => self.inner.routes_by_fields(exchange),
            Some(prefix) => self.inner.routes_by_fields(&format!("{prefix}{exchange}")),
        }
    }

    fn refuses_messages(&self) -> bool {
        self.inner.refuses_messages()
    }

    fn count(&self, _prefix: &str, at_most: usize) -> usize {
        self.inner.count(self.prefix.unwrap_or_default(), at_most)
    }
}

#[cfg(test)]
mod tests {
    use forebay_broker::Binding;

    use super::*;

    fn binding(exchange: &str, queue: &str) -> Command {
        Command::Bind(Binding {
            exchange: exchange.into(),
            destination: Destination::Topic(queue.into()),
            key: "k".into(),
            arguments: String::new(),
        })
    }

    fn entered(vhost: &str, exchange: &str) -> (String, String) {
        let mut command = binding(exchange, "q");
        Scope::of(vhost).enter(&mut command);
        match command {
            Command::Bind(Binding {
                exchange,
                destination: Destination::Topic(queue),
                ..
            }) => (exchange.to_string(), queue.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_of_the_root_are_as_they_are_and_the_others_have_theirs_before_them() {
        assert_eq!(entered("/", "e"), ("e".into(), "q".into()));
        assert_eq!(entered("v", "e"), ("//v/e".into(), "//v/q".into()));
        assert_eq!(
            entered("a/b", "e"),
            ("//a%2Fb/e".into(), "//a%2Fb/q".into())
        );
    }

    #[test]
    fn no_name_leads_from_one_virtual_host_into_another() {
        assert_eq!(entered("/", "//v/e").0, "\n//v/e");
        assert_eq!(entered("v", "//w/e").0, "//v///w/e");
    }

    #[test]
    fn what_comes_back_has_plain_names() {
        let refused = |vhost: &str, name: &str| {
            let refusal = Refusal::NoSuchExchange(name.into());
            Scope::of(vhost).leave(Err(refusal)).unwrap_err()
        };
        assert_eq!(refused("v", "//v/e"), Refusal::NoSuchExchange("e".into()));
        assert_eq!(refused("/", "e"), Refusal::NoSuchExchange("e".into()));
        assert_eq!(
            refused("/", "\n//v/e"),
            Refusal::NoSuchExchange("//v/e".into())
        );
    }

    #[test]
    fn texts_name_the_virtual_host() {
        let fault = Scope::of("v").tell(Fault::no_queue("q"));
        assert_eq!(fault.reply_text(), "NOT_FOUND - no queue 'q' in vhost 'v'");
    }
}
