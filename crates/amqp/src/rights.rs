//! Whether the user of a connection may do what a method asks for
//! (<https://www.rabbitmq.com/docs/access-control>). Looked at before the method is begun.

use std::sync::Arc;

use amq_protocol::protocol::{AMQPClass, basic, exchange, queue};
use amq_protocol::types::{AMQPValue, FieldTable};
use forebay_access::{Access, Right};
use forebay_broker::ExchangeKind;

use crate::connection::{Connection, World};
use crate::direct_reply;
use crate::error::{Code, Fault};
use crate::methods::exchange::strip;

/// The name permissions have for the default exchange.
const DEFAULT_EXCHANGE: &str = "amq.default";

/// Who a connection belongs to, and what was found of the user's rights.
#[derive(Debug, Default)]
pub(crate) struct Rights {
    pub(crate) user: Arc<str>,
    /// Of which version of the settings the rest was found.
    version: Option<u64>,
    /// It belongs to whoever runs the program: nothing is ever asked.
    unlimited: bool,
    /// Nothing has to be asked.
    everything: bool,
    /// The exchange that was published to last, and may be.
    exchange: Option<String>,
}

impl Rights {
    pub(crate) fn of(user: &str) -> Self {
        Self {
            user: user.into(),
            ..Self::default()
        }
    }

    /// The rights of whoever runs the program.
    pub(crate) fn unlimited() -> Self {
        Self {
            unlimited: true,
            ..Self::default()
        }
    }

    fn renew(&mut self, vhost: &str, world: World<'_>) {
        if self.version != Some(world.access_version) {
            self.version = Some(world.access_version);
            self.everything = self.unlimited || world.access.allows_everything(vhost, &self.user);
            self.exchange = None;
        }
    }
}

/// One question about rights.
struct Asked<'a> {
    access: &'a Access,
    vhost: &'a str,
    user: &'a str,
}

impl Asked<'_> {
    fn check(&self, right: Right, sort: &str, name: &str) -> Result<(), Fault> {
        let name = match (sort, name) {
            ("exchange", "") => DEFAULT_EXCHANGE,
            (_, name) => name,
        };
        if self.access.allows(self.vhost, self.user, right, name) {
            return Ok(());
        }
        let (vhost, user) = (self.vhost, self.user);
        Err(Fault::new(
            Code::AccessRefused,
            format!(
                "{} access to {sort} '{name}' in vhost '{vhost}' refused for user '{user}'",
                right.word()
            ),
        ))
    }

    fn queue(&self, right: Right, name: &str) -> Result<(), Fault> {
        self.check(right, "queue", name)
    }

    fn exchange(&self, right: Right, name: &str) -> Result<(), Fault> {
        self.check(right, "exchange", name)
    }

    fn topic(
        &self,
        right: Right,
        exchange: &str,
        key: &str,
        world: World<'_>,
    ) -> Result<(), Fault> {
        let known = world.catalogue.exchange(exchange);
        if known.is_none_or(|known| known.config.kind != ExchangeKind::Topic) {
            return Ok(());
        }
        let (vhost, user) = (self.vhost, self.user);
        if self
            .access
            .allows_topic((vhost, user), right, exchange, key)
        {
            return Ok(());
        }
        Err(Fault::new(
            Code::AccessRefused,
            format!(
                "{} access to topic '{key}' in exchange '{exchange}' in vhost '{vhost}' refused for \
                 user '{user}'",
                right.word()
            ),
        ))
    }
}

/// Whether the method may be carried out on that channel.
pub(crate) fn check(
    link: &mut Connection,
    number: u16,
    method: &AMQPClass,
    world: World<'_>,
) -> Result<(), Fault> {
    link.rights.renew(link.scope.vhost(), world);
    if let AMQPClass::Queue(queue::AMQPMethod::Declare(method)) = method {
        check_count(link, method, world)?;
    }
    if link.rights.everything {
        return Ok(());
    }
    let last = link.channels.get(&number);
    let last = last.and_then(|channel| channel.last_queue.clone());
    let named = |name: &str| match name {
        // Without one the method itself is refused.
        "" => last.as_deref().unwrap_or_default().to_owned(),
        name => strip(name),
    };
    let ask = Asked {
        access: world.access,
        vhost: link.scope.vhost(),
        user: &link.rights.user,
    };
    match method {
        AMQPClass::Queue(method) => check_queue(&ask, method, named, world),
        AMQPClass::Exchange(method) => check_exchange(&ask, method, world),
        AMQPClass::Basic(basic::AMQPMethod::Consume(basic::Consume { queue, .. }))
        | AMQPClass::Basic(basic::AMQPMethod::Get(basic::Get { queue, .. })) => {
            match named(queue.as_str()) {
                answers if direct_reply::is_meant(&answers) => Ok(()),
                queue => ask.queue(Right::Read, &queue),
            }
        }
        _ => Ok(()),
    }
}

fn check_queue(
    ask: &Asked<'_>,
    method: &queue::AMQPMethod,
    named: impl Fn(&str) -> String,
    world: World<'_>,
) -> Result<(), Fault> {
    use queue::AMQPMethod as M;
    match method {
        M::Declare(method) if !method.passive => {
            let name = match method.queue.as_str() {
                // As the server will name it, for what it begins with.
                "" => "amq.gen-".to_owned(),
                name => strip(name),
            };
            ask.queue(Right::Configure, &name)?;
            match text(&method.arguments, "x-dead-letter-exchange") {
                Some(exchange) => {
                    ask.queue(Right::Read, &name)?;
                    ask.exchange(Right::Write, exchange)
                }
                None => Ok(()),
            }
        }
        M::Bind(queue::Bind {
            queue,
            exchange,
            routing_key,
            ..
        })
        | M::Unbind(queue::Unbind {
            queue,
            exchange,
            routing_key,
            ..
        }) => {
            let exchange = strip(exchange.as_str());
            ask.queue(Right::Write, &named(queue.as_str()))?;
            ask.exchange(Right::Read, &exchange)?;
            ask.topic(Right::Read, &exchange, routing_key.as_str(), world)
        }
        M::Purge(method) => ask.queue(Right::Read, &named(method.queue.as_str())),
        M::Delete(method) => ask.queue(Right::Configure, &named(method.queue.as_str())),
        _ => Ok(()),
    }
}

fn check_exchange(
    ask: &Asked<'_>,
    method: &exchange::AMQPMethod,
    world: World<'_>,
) -> Result<(), Fault> {
    use exchange::AMQPMethod as M;
    match method {
        M::Declare(method) if !method.passive => {
            let name = strip(method.exchange.as_str());
            ask.exchange(Right::Configure, &name)?;
            match text(&method.arguments, "alternate-exchange") {
                Some(alternate) => {
                    ask.exchange(Right::Read, &name)?;
                    ask.exchange(Right::Write, alternate)
                }
                None => Ok(()),
            }
        }
        M::Delete(method) => ask.exchange(Right::Configure, &strip(method.exchange.as_str())),
        M::Bind(exchange::Bind {
            destination,
            source,
            routing_key,
            ..
        })
        | M::Unbind(exchange::Unbind {
            destination,
            source,
            routing_key,
            ..
        }) => {
            ask.exchange(Right::Write, &strip(destination.as_str()))?;
            ask.exchange(Right::Read, &strip(source.as_str()))?;
            ask.topic(Right::Read, source.as_str(), routing_key.as_str(), world)
        }
        _ => Ok(()),
    }
}

fn text<'a>(arguments: &'a FieldTable, name: &str) -> Option<&'a str> {
    match arguments.inner().get(name) {
        Some(AMQPValue::LongString(text)) => std::str::from_utf8(text.as_bytes()).ok(),
        _ => None,
    }
}

/// The virtual host may have no more queues than its limit says.
fn check_count(link: &Connection, method: &queue::Declare, world: World<'_>) -> Result<(), Fault> {
    let vhost = link.scope.vhost();
    let Some(limit) = world.access.max_queues(vhost).filter(|_| !method.passive) else {
        return Ok(());
    };
    let name = strip(method.queue.as_str());
    if world.catalogue.topic(&name).is_some() || world.catalogue.count("", limit) < limit {
        return Ok(());
    }
    Err(Fault::precondition(format!(
        "cannot declare queue '{name}': queue limit in vhost '{vhost}' ({limit}) is reached"
    )))
}

/// Whether a message may be published there. Asked once for messages in a row.
pub(crate) fn check_publish(
    link: &mut Connection,
    exchange: &str,
    routing_key: &str,
    world: World<'_>,
) -> Result<(), Fault> {
    link.rights.renew(link.scope.vhost(), world);
    if link.rights.everything || direct_reply::is_meant(routing_key) && exchange.is_empty() {
        return Ok(());
    }
    let ask = Asked {
        access: world.access,
        vhost: link.scope.vhost(),
        user: &link.rights.user,
    };
    if link.rights.exchange.as_deref() != Some(exchange) {
        ask.exchange(Right::Write, exchange)?;
    }
    ask.topic(Right::Write, exchange, routing_key, world)?;
    if link.rights.exchange.as_deref() != Some(exchange) {
        link.rights.exchange = Some(exchange.to_owned());
    }
    Ok(())
}
