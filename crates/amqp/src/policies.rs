//! Policies at work: what they set beside what was declared, and how queues and exchanges that are
//! there already follow them.

use std::sync::Arc;

use amq_protocol::protocol::queue;
use forebay_access::{Access, Effective, Subject, prefix_of};
use forebay_broker::{Broker, Command, ExchangeInfo, Refusal, TopicConfig, TopicInfo};

use crate::describe::{ExchangeFacts, QueueFacts};
use crate::method::short;
use crate::methods::queue::{Wanted, wanted};
use crate::names::Scope;

/// The key of a policy that names an exchange's alternate.
const ALTERNATE: &str = "alternate-exchange";

/// Lets every queue and exchange of a virtual host have what policies say now. To be called when
/// they have changed, and at the start, since the program may have ended in between.
///
/// # Errors
/// [`Refusal::Stopping`] only: what is gone meanwhile needs no policy.
pub async fn apply_policies(
    broker: &Broker,
    access: &Access,
    vhost: &str,
    max_message_bytes: usize,
) -> Result<(), Refusal> {
    let prefix = prefix_of(vhost);
    let topics = broker.directory().topics(&prefix, None, usize::MAX);
    for topic in topics {
        let facts = QueueFacts::of(&topic);
        if facts.vhost != vhost || !facts.declared {
            continue;
        }
        let effective = facts.effective(access);
        let Some(config) = follow(&topic, &facts, effective, max_message_bytes) else {
            continue;
        };
        let command = Command::AlterTopic {
            topic: topic.id,
            config,
        };
        stop_only(broker.call(command).await)?;
    }
    for exchange in broker.directory().exchanges() {
        let facts = ExchangeFacts::of(&exchange);
        if facts.vhost != vhost {
            continue;
        }
        if let Some(command) = follow_exchange(&exchange, &facts, access, &prefix) {
            stop_only(broker.call(command).await)?;
        }
    }
    Ok(())
}

fn stop_only<T>(result: Result<T, Refusal>) -> Result<(), Refusal> {
    match result {
        Err(Refusal::Stopping) => Err(Refusal::Stopping),
        _ => Ok(()),
    }
}

/// The queue's configuration as it would be declared now; `None` if it is that already.
fn follow(
    topic: &TopicInfo,
    facts: &QueueFacts,
    effective: Effective,
    max_message_bytes: usize,
) -> Option<TopicConfig> {
    let method = queue::Declare {
        queue: short(&facts.name),
        passive: false,
        durable: facts.durable,
        exclusive: facts.exclusive,
        auto_delete: facts.auto_delete,
        nowait: false,
        arguments: facts.arguments.clone(),
    };
    let who = Wanted {
        max_message_bytes,
        exclusive: topic.config.exclusive,
        effective: &effective,
    };
    let mut config = wanted(who, &facts.name, &method).ok()?.config;
    Scope::of(&facts.vhost).config_inside(&mut config);
    config.labels.clone_from(&topic.config.labels);
    config.partitions = topic.config.partitions;
    (config != topic.config).then_some(config)
}

fn follow_exchange(
    exchange: &ExchangeInfo,
    facts: &ExchangeFacts,
    access: &Access,
    prefix: &str,
) -> Option<Command> {
    use amq_protocol::types::AMQPValue;
    let own = match facts.arguments.inner().get(ALTERNATE) {
        Some(AMQPValue::LongString(text)) => Some(text.to_string()),
        _ => None,
    };
    let alternate = own.or_else(|| alternate(access, &facts.vhost, &facts.name));
    let alternate: Option<Arc<str>> = alternate.map(|name| format!("{prefix}{name}").into());
    (alternate != exchange.config.alternate).then(|| {
        let mut config = exchange.config.clone();
        config.alternate = alternate;
        Command::AlterExchange {
            name: exchange.name.clone(),
            config,
        }
    })
}

/// The alternate exchange that policies give to an exchange.
pub(crate) fn alternate(access: &Access, vhost: &str, name: &str) -> Option<String> {
    let effective = access.effective(vhost, name, Subject::Exchange);
    let value = effective.definition.get(ALTERNATE)?;
    value.as_str().map(str::to_owned)
}
