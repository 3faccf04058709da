//! Class queue: queues are topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use amq_protocol::protocol::{AMQPClass, queue};
use forebay_access::{Effective, Subject as Governed};
use forebay_base::SessionId;
use forebay_broker::{
    Command, DeadLetterTarget, Destination, Expectation, Lifetime, TopicConfig, TopicInfo,
};
use forebay_broker::{Refusal, Reply};
use uuid::Uuid;

use crate::arguments::{Argument, Arguments, check_field};
use crate::connection::{Connection, World};
use crate::control::Control;
use crate::direct_reply;
use crate::error::{Code, Fault, Subject, refused};
use crate::method::short;
use crate::methods::exchange::{
    Binding, RESERVED_PREFIX, bind, identity, refuse_unsupported, strip,
};
use crate::methods::{Call, unimplemented_method};
use crate::queue_arguments;

/// Room for headers and properties beside the largest body, bytes.
const OVERHEAD: u32 = 1 << 20;
/// What RabbitMQ's quorum queues do when nothing is said.
const QUORUM_DELIVERY_LIMIT: i64 = 20;

pub(crate) const QUEUE_TYPE: &str = "x-queue-type";
const DEAD_LETTER_EXCHANGE: &str = "x-dead-letter-exchange";
const DEAD_LETTER_ROUTING_KEY: &str = "x-dead-letter-routing-key";
const DELIVERY_LIMIT: &str = "x-delivery-limit";

/// Arguments that have an effect, and so must be the same when a queue is declared again.
const SUPPORTED: [&str; 10] = [
    QUEUE_TYPE,
    DEAD_LETTER_EXCHANGE,
    DEAD_LETTER_ROUTING_KEY,
    DELIVERY_LIMIT,
    queue_arguments::MESSAGE_TTL,
    queue_arguments::EXPIRES,
    queue_arguments::MAX_LENGTH,
    queue_arguments::OVERFLOW,
    queue_arguments::SINGLE_ACTIVE,
    queue_arguments::STRATEGY,
];

/// Arguments that mean something to RabbitMQ and nothing yet here.
const UNSUPPORTED: [&str; 12] = [
    "x-max-length-bytes",
    "x-max-priority",
    "x-consumer-timeout",
    "x-consumer-disconnected-timeout",
    "x-delayed-retry-type",
    "x-delayed-retry-min",
    "x-delayed-retry-max",
    "x-max-age",
    "x-stream-max-segment-size-bytes",
    "x-stream-filter-size-bytes",
    "x-initial-cluster-size",
    "x-queue-mode",
];

/// A queue as the client wants it.
/// What a declaration stands in, beside its method.
pub(crate) struct Wanted<'a> {
    /// The largest message body, bytes.
    pub(crate) max_message_bytes: usize,
    /// The session an exclusive queue belongs to.
    pub(crate) exclusive: Option<SessionId>,
    pub(crate) effective: &'a Effective,
}

#[derive(Debug)]
pub(crate) struct Declaration {
    name: Arc<str>,
    pub(crate) config: TopicConfig,
    arguments: Arguments,
}

pub(crate) fn dispatch(
    link: &mut Connection,
    mut call: Call,
    method: queue::AMQPMethod,
    world: World<'_>,
) -> Result<(), Fault> {
    use queue::AMQPMethod as M;
    match method {
        M::Declare(method) => {
            call.nowait = method.nowait;
            declare(link, call, &method, world)
        }
        M::Bind(method) => {
            call.nowait = method.nowait;
            let answer = AMQPClass::Queue(M::BindOk(queue::BindOk {}));
            let names = (method.queue.as_str(), method.exchange.as_str());
            let key = method.routing_key.as_str();
            let arguments = identity(&method.arguments, names.1, world)?;
            bind_queue(link, call, names, key, arguments, (answer, false), world)
        }
        M::Unbind(method) => {
            let answer = AMQPClass::Queue(M::UnbindOk(queue::UnbindOk {}));
            let names = (method.queue.as_str(), method.exchange.as_str());
            let key = method.routing_key.as_str();
            let arguments = identity(&method.arguments, names.1, world)?;
            bind_queue(link, call, names, key, arguments, (answer, true), world)
        }
        M::Purge(method) => {
            call.nowait = method.nowait;
            purge(link, call, method.queue.as_str(), world)
        }
        M::Delete(method) => {
            call.nowait = method.nowait;
            delete(link, call, &method, world)
        }
        M::DeclareOk(_) | M::BindOk(_) | M::PurgeOk(_) | M::DeleteOk(_) | M::UnbindOk(_) => {
            Err(unimplemented_method())
        }
    }
}

/// The queue a method names: the empty name is the one declared last on the channel.
pub(crate) fn named(link: &mut Connection, call: Call, name: &str) -> Result<Arc<str>, Fault> {
    if !name.is_empty() {
        return Ok(strip(name).into());
    }
    link.channel(call.channel)?
        .last_queue
        .clone()
        .ok_or_else(|| Fault::new(Code::NotFound, "no previously declared queue"))
}

/// The topic of that name, if this connection may use it.
pub(crate) fn find(
    link: &Connection,
    name: &str,
    world: World<'_>,
) -> Result<Arc<TopicInfo>, Fault> {
    let topic = world
        .catalogue
        .topic(name)
        .ok_or_else(|| Fault::no_queue(name))?;
    match topic.config.exclusive {
        Some(owner) if owner != link.session => Err(Fault::locked(name)),
        _ => Ok(topic),
    }
}

// ---- declare -------------------------------------------------------------------------------

fn declare(
    link: &mut Connection,
    call: Call,
    method: &queue::Declare,
    world: World<'_>,
) -> Result<(), Fault> {
    let name = strip(method.queue.as_str());
    if direct_reply::is_meant(&name) {
        // It is there as long as somebody waits for answers, and has that one consumer.
        if !world.desk.is_open(&name) {
            return Err(Fault::no_queue(&name));
        }
        let answer = queue::AMQPMethod::DeclareOk(queue::DeclareOk {
            queue: short(&name),
            message_count: 0,
            consumer_count: 1,
        });
        link.answer(call.channel, call.nowait, &AMQPClass::Queue(answer));
        return Ok(());
    }
    if method.passive {
        let topic = find(link, &name, world)?;
        return measure(link, call, &topic);
    }
    let named_by_server = name.is_empty();
    let name = match &*name {
        "" => format!("amq.gen-{}", Uuid::new_v4().simple()),
        taken if taken.starts_with(RESERVED_PREFIX) => {
            return Err(Fault::new(
                Code::AccessRefused,
                format!("queue name '{taken}' contains reserved prefix 'amq.*'"),
            ));
        }
        other => other.to_owned(),
    };
    let arguments = Arguments::of(&method.arguments);
    let subject = match is_quorum(&arguments) {
        true => Governed::QuorumQueue,
        false => Governed::ClassicQueue,
    };
    let vhost = link.scope.vhost();
    let effective = world.access.effective(vhost, &name, subject);
    let who = Wanted {
        max_message_bytes: link.max_message_bytes(),
        exclusive: method.exclusive.then_some(link.session),
        effective: &effective,
    };
    let declaration = wanted(who, &name, method)?;
    if named_by_server && is_quorum(&declaration.arguments) {
        return Err(Fault::precondition(
            "Cannot declare a server-named queue for type rabbit_quorum_queue",
        ));
    }
    let command = Command::CreateTopic {
        name: declaration.name.clone(),
        config: declaration.config.clone(),
    };
    link.ask(call.waits_for(Control::DeclareQueue(declaration)), command);
    Ok(())
}

fn is_quorum(arguments: &Arguments) -> bool {
    arguments.get(QUEUE_TYPE).and_then(Argument::text) == Some("quorum")
}

/// The topic a declaration asks for, with what policies set beside it.
pub(crate) fn wanted(
    who: Wanted<'_>,
    name: &str,
    method: &queue::Declare,
) -> Result<Declaration, Fault> {
    let declared = Arguments::of(&method.arguments);
    refuse_unsupported(&declared, &UNSUPPORTED)?;
    let arguments = declared.with_policy(&who.effective.definition, &SUPPORTED);
    let invalid = |argument: &str, why: String| {
        Fault::precondition(format!(
            "invalid arg '{argument}' for queue '{name}' in vhost '/': {why}"
        ))
    };
    let text = |argument| match arguments.get(argument) {
        None => Ok(None),
        Some(value) => value
            .text()
            .map(|text| Some(text.to_owned()))
            .ok_or_else(|| invalid(argument, format!("{{unacceptable_type,{}}}", value.kind()))),
    };
    match text(QUEUE_TYPE)?.as_deref() {
        None | Some("classic") => {}
        Some("quorum") => {
            let property = match method {
                queue::Declare { durable: false, .. } => Some("non-durable"),
                queue::Declare {
                    exclusive: true, ..
                } => Some("exclusive"),
                queue::Declare {
                    auto_delete: true, ..
                } => Some("auto-delete"),
                _ => None,
            };
            if let Some(property) = property {
                return Err(Fault::precondition(format!(
                    "invalid property '{property}' for queue '{name}' in vhost '/'"
                )));
            }
        }
        Some("stream") => {
            return Err(Fault::precondition(format!(
                "argument '{QUEUE_TYPE}' is not supported yet with value 'stream'"
            )));
        }
        Some(other) => {
            return Err(Fault::precondition(format!(
                "invalid arg '{QUEUE_TYPE}' for queue '{name}' in vhost '/': unsupported queue \
                 type '{other}'"
            )));
        }
    }
    let routing_key = text(DEAD_LETTER_ROUTING_KEY)?;
    let dead_letter = match (text(DEAD_LETTER_EXCHANGE)?, routing_key) {
        (Some(exchange), routing_key) => Some(DeadLetterTarget::Exchange {
            exchange,
            routing_key,
        }),
        (None, None) => None,
        (None, Some(_)) => {
            return Err(invalid(
                DEAD_LETTER_ROUTING_KEY,
                "routing_key_but_no_dlx_defined".into(),
            ));
        }
    };
    let limit = match arguments.get(DELIVERY_LIMIT) {
        None if is_quorum(&arguments) => QUORUM_DELIVERY_LIMIT,
        None => -1,
        Some(value) => value.integer().ok_or_else(|| {
            invalid(
                DELIVERY_LIMIT,
                format!("{{unacceptable_type,{}}}", value.kind()),
            )
        })?,
    };
    // A limit counts how often a message may come back, so it is delivered once more than that.
    let max_deliveries = u32::try_from(limit)
        .ok()
        .map(|limit| limit.saturating_add(1));
    let max_message_bytes = u32::try_from(who.max_message_bytes)
        .unwrap_or(u32::MAX)
        .saturating_add(OVERHEAD);
    let mut declaration = Declaration {
        name: name.into(),
        config: TopicConfig {
            max_deliveries,
            dead_letter,
            max_message_bytes,
            lifetime: Lifetime {
                transient: !method.durable,
                auto_delete: method.auto_delete,
            },
            exclusive: who.exclusive,
            labels: labels(&declared),
            ..TopicConfig::default()
        },
        arguments: declared,
    };
    queue_arguments::apply(&arguments, &mut declaration.config)
        .map_err(|(argument, why)| invalid(argument, why))?;
    Ok(declaration)
}

/// The label of a queue that was declared by this protocol.
const DECLARED: &str = "amqp.declared";

fn labels(arguments: &Arguments) -> BTreeMap<String, String> {
    let mut labels = arguments.to_labels();
    labels.insert(DECLARED.into(), "true".into());
    labels
}

/// Whether a queue was declared by this protocol, not made by another one.
pub(crate) fn is_declared(config: &TopicConfig) -> bool {
    config.labels.contains_key(DECLARED)
}

fn check_same(there: &TopicInfo, wanted: &Declaration) -> Result<(), Fault> {
    let (current, new) = (&there.config, &wanted.config);
    if current.exclusive != new.exclusive {
        return Err(Fault::locked(&wanted.name));
    }
    let shown = format!("queue '{}' in vhost '/'", wanted.name);
    let durable = |config: &TopicConfig| !config.lifetime.transient;
    check_field("durable", &shown, durable(new), durable(current))?;
    check_field(
        "auto_delete",
        &shown,
        new.lifetime.auto_delete,
        current.lifetime.auto_delete,
    )?;
    Arguments::from_labels(&current.labels).check_same(&wanted.arguments, &SUPPORTED, &shown)
}

pub(crate) fn declared(
    link: &mut Connection,
    call: Call,
    wanted: Declaration,
    result: Result<Reply, Refusal>,
) -> Result<(), Fault> {
    match result {
        Ok(Reply::Topic(_)) => answer_declare(link, call, wanted.name, (0, 0)),
        Ok(_) => Err(Fault::unexpected_answer()),
        Err(Refusal::TopicExists(there)) => {
            check_same(&there, &wanted)?;
            measure(link, call, &there)
        }
        Err(refusal) => Err(refused(&refusal, Subject::Queue(&wanted.name))),
    }
}

/// Asks how full the queue is, and then answers the declaration.
fn measure(link: &mut Connection, call: Call, topic: &TopicInfo) -> Result<(), Fault> {
    let queue = topic.name.clone();
    if call.nowait {
        return answer_declare(link, call, queue, (0, 0));
    }
    let command = Command::Stats { topic: topic.id };
    link.ask_after_publishing(call.waits_for(Control::MeasureQueue { queue }), command);
    Ok(())
}

pub(crate) fn measured(
    link: &mut Connection,
    call: Call,
    queue: Arc<str>,
    result: Result<Reply, Refusal>,
) -> Result<(), Fault> {
    match result {
        Ok(Reply::Stats(stats)) => {
            answer_declare(link, call, queue, (count(stats.ready), stats.consumers))
        }
        Ok(_) => Err(Fault::unexpected_answer()),
        Err(refusal) => Err(refused(&refusal, Subject::Queue(&queue))),
    }
}

fn answer_declare(
    link: &mut Connection,
    call: Call,
    queue: Arc<str>,
    (message_count, consumer_count): (u32, u32),
) -> Result<(), Fault> {
    let answer = queue::AMQPMethod::DeclareOk(queue::DeclareOk {
        queue: short(&queue),
        message_count,
        consumer_count,
    });
    link.channel(call.channel)?.last_queue = Some(queue);
    link.answer(call.channel, call.nowait, &AMQPClass::Queue(answer));
    Ok(())
}

/// A number of messages in the width this protocol has for it.
pub(crate) fn count(messages: u64) -> u32 {
    u32::try_from(messages).unwrap_or(u32::MAX)
}

// ---- bind, purge, delete -------------------------------------------------------------------

fn bind_queue(
    link: &mut Connection,
    call: Call,
    (queue, exchange): (&str, &str),
    key: &str,
    arguments: String,
    (answer, removes): (AMQPClass, bool),
    world: World<'_>,
) -> Result<(), Fault> {
    let name = named(link, call, queue)?;
    // Neither queue nor key given: the queue declared last, under its own name.
    let key = if queue.is_empty() && key.is_empty() {
        name.clone()
    } else {
        key.into()
    };
    if !exchange.is_empty() {
        match find(link, &name, world) {
            Ok(_) => {}
            Err(fault) if removes && fault.code == Code::NotFound => {}
            Err(fault) => return Err(fault),
        }
    }
    let binding = Binding {
        binding: forebay_broker::Binding {
            exchange: strip(exchange).into(),
            destination: Destination::Topic(name),
            key,
            arguments,
        },
        answer,
        removes,
    };
    bind(link, call, binding)
}

fn purge(link: &mut Connection, call: Call, queue: &str, world: World<'_>) -> Result<(), Fault> {
    let queue = named(link, call, queue)?;
    let command = Command::Purge {
        topic: find(link, &queue, world)?.id,
        leased: false,
    };
    link.ask_after_publishing(call.waits_for(Control::PurgeQueue { queue }), command);
    Ok(())
}

pub(crate) fn purged(
    link: &mut Connection,
    call: Call,
    queue: &str,
    result: Result<Reply, Refusal>,
) -> Result<(), Fault> {
    let messages = match result {
        Ok(Reply::Count(messages)) => messages,
        Ok(_) => return Err(Fault::unexpected_answer()),
        Err(refusal) => return Err(refused(&refusal, Subject::Queue(queue))),
    };
    let answer = queue::AMQPMethod::PurgeOk(queue::PurgeOk {
        message_count: count(messages),
    });
    link.answer(call.channel, call.nowait, &AMQPClass::Queue(answer));
    Ok(())
}

fn delete(
    link: &mut Connection,
    call: Call,
    method: &queue::Delete,
    world: World<'_>,
) -> Result<(), Fault> {
    let queue = named(link, call, method.queue.as_str())?;
    let topic = match find(link, &queue, world) {
        Ok(topic) => topic.id,
        // Deleting what is not there is no error.
        Err(fault) if fault.code == Code::NotFound => return answer_delete(link, call, 0),
        Err(fault) => return Err(fault),
    };
    let command = Command::DeleteTopic {
        topic,
        only_if: Expectation {
            unused: method.if_unused,
            empty: method.if_empty,
        },
    };
    link.ask_after_publishing(call.waits_for(Control::DeleteQueue { queue }), command);
    Ok(())
}

fn answer_delete(link: &mut Connection, call: Call, messages: u64) -> Result<(), Fault> {
    let answer = queue::AMQPMethod::DeleteOk(queue::DeleteOk {
        message_count: count(messages),
    });
    link.answer(call.channel, call.nowait, &AMQPClass::Queue(answer));
    Ok(())
}

pub(crate) fn deleted(
    link: &mut Connection,
    call: Call,
    queue: &str,
    result: Result<Reply, Refusal>,
) -> Result<(), Fault> {
    match result {
        Ok(Reply::Count(messages)) => answer_delete(link, call, messages),
        Err(Refusal::NoSuchTopic) => answer_delete(link, call, 0),
        Ok(_) => Err(Fault::unexpected_answer()),
        Err(refusal) => Err(refused(&refusal, Subject::Queue(queue))),
    }
}
