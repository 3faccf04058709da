//! Class basic: publishing, consuming, getting, settling.

use std::sync::Arc;

use amq_protocol::protocol::{AMQPClass, basic};
use forebay_broker::{
    Command, ConsumerId, ConsumerMode, Delivered, Receive, Refusal, Reply, Subscribe,
};
use uuid::Uuid;

use crate::arguments::Arguments;
use crate::channel::{Channel, Consumer};
use crate::connection::{Connection, World};
use crate::content::{self, Address, Outbound};
use crate::control::{Control, Waiting};
use crate::credit::Credit;
use crate::direct_reply::{self, AnswerConsumer};
use crate::error::{Code, Fault, Subject, refused};
use crate::method::{How, PublishHead, Settlement, put_get_ok, short};
use crate::methods::queue::{count, find, named};
use crate::methods::{Call, unimplemented_method};
use crate::outbox;
use crate::properties::Properties;
use crate::publish::{Message, Publisher};
use crate::route::{self, Route};
use crate::unacked::{Unacked, UnknownTag};

pub(crate) fn dispatch(
    link: &mut Connection,
    mut call: Call,
    method: basic::AMQPMethod,
    world: World<'_>,
) -> Result<(), Fault> {
    use basic::AMQPMethod as M;
    match method {
        M::Qos(method) => qos(link, call, &method),
        M::Consume(method) => {
            call.nowait = method.nowait;
            consume(link, call, &method, world)
        }
        M::Cancel(method) => {
            call.nowait = method.nowait;
            cancel(link, call, method.consumer_tag.as_str())
        }
        M::CancelOk(_) => Ok(()),
        M::Get(method) => get(link, call, &method, world),
        M::Recover(method) => {
            recover(link, call, method.requeue)?;
            let answer = M::RecoverOk(basic::RecoverOk {});
            link.answer(call.channel, false, &AMQPClass::Basic(answer));
            Ok(())
        }
        M::RecoverAsync(method) => recover(link, call, method.requeue),
        _ => Err(unimplemented_method()),
    }
}

// ---- publish -------------------------------------------------------------------------------

/// What became of a published message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is in a batch for the broker, as its first or not.
    InBatch { begins: bool },
    /// It was a direct reply, and has gone.
    Sent,
    /// It was a direct reply that nobody waits for, and is wanted back.
    Lost,
}

/// The message of a channel is complete; `body` is its body unless that was gathered.
pub(crate) fn publish(
    publisher: &mut Publisher,
    (number, channel): (u16, &Channel),
    body: Option<&[u8]>,
    user: &str,
    world: World<'_>,
) -> Result<Taken, Fault> {
    let incoming = &channel.incoming;
    let syntax = |error: crate::table::Malformed| Fault::syntax(error.to_string());
    let head = PublishHead::parse(&incoming.head).map_err(syntax)?;
    let mut properties = Properties::parse(&incoming.properties).map_err(syntax)?;
    check_user(&properties, user)?;
    check_expiration(&properties)?;
    let headers = properties.headers.unwrap_or_default();
    let by_fields = !headers.is_empty()
        && !head.exchange.is_empty()
        && world.catalogue.routes_by_fields(head.exchange);
    let route = Route::of(headers, by_fields)?;
    let (mut rewritten, mut shown) = (Vec::new(), Vec::new());
    if route::has_hidden(headers) {
        content::put_entries_but(headers, route::is_hidden, &mut shown);
        properties.headers = Some(&shown);
        properties.encode(&mut rewritten);
    }
    if properties.reply_to == Some(direct_reply::NAME.as_bytes()) {
        let consumer = channel
            .answers
            .as_ref()
            .ok_or_else(|| Fault::precondition("fast reply consumer does not exist"))?;
        properties.reply_to = Some(consumer.address.as_str().as_bytes());
        rewritten.clear();
        properties.encode(&mut rewritten);
    }
    let raw_properties = match &*rewritten {
        [] => &*incoming.properties,
        rewritten => rewritten,
    };
    if head.exchange.is_empty() && direct_reply::is_meant(head.routing_key) {
        publisher.interrupt();
        let body = body.unwrap_or(&incoming.body);
        let sent = world.desk.send(head.routing_key, raw_properties, body);
        return Ok(if sent || !head.mandatory {
            Taken::Sent
        } else {
            Taken::Lost
        });
    }
    let message = Message {
        channel: number,
        epoch: channel.epoch,
        head: &incoming.head,
        address: Address {
            exchange: head.exchange,
            routing_key: head.routing_key,
        },
        route: &route,
        mandatory: head.mandatory,
        raw_properties,
        properties: &properties,
        body: body.unwrap_or(&incoming.body),
        number: channel
            .confirms
            .as_ref()
            .map(crate::confirm::Confirms::next),
    };
    if world.catalogue.refuses_messages() {
        // One that a full queue refuses takes no other with it.
        publisher.interrupt();
    }
    match publisher.add(message, world.now) {
        Ok(begins) => Ok(Taken::InBatch { begins }),
        Err(error) => Err(Fault::precondition(error.to_string())),
    }
}

fn check_user(properties: &Properties<'_>, user: &str) -> Result<(), Fault> {
    match properties.user_id {
        Some(claimed) if claimed != user.as_bytes() => Err(Fault::precondition(format!(
            "user_id property set to '{}' but authenticated user was '{user}'",
            String::from_utf8_lossy(claimed)
        ))),
        _ => Ok(()),
    }
}

/// RabbitMQ takes milliseconds in decimal, of 32 bits.
fn check_expiration(properties: &Properties<'_>) -> Result<(), Fault> {
    let Some(expiration) = properties.expiration else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(expiration);
    match text.parse::<u32>() {
        Ok(_) => Ok(()),
        Err(_) => Err(Fault::precondition(format!("invalid expiration '{text}'"))),
    }
}

// ---- settle --------------------------------------------------------------------------------

/// `basic.ack`, `basic.nack`, `basic.reject`.
pub(crate) fn settle(
    link: &mut Connection,
    number: u16,
    settlement: Settlement,
) -> Result<(), Fault> {
    let Settlement { tag, multiple, how } = settlement;
    let channel = link
        .channels
        .get_mut(&number)
        .ok_or_else(Fault::unexpected_answer)?;
    let (settler, consumers) = (&mut link.settler, &link.consumers);
    let result = channel.unacked.take(tag, multiple, |one| {
        settler.settle(one.receipt, how);
        give_credit(settler, consumers, one);
    });
    if let Err(UnknownTag(tag)) = result {
        return Err(Fault::precondition(format!("unknown delivery tag {tag}")));
    }
    link.has_invisible |= how == How::Discard;
    outbox::on_settled(link, number);
    Ok(())
}

fn give_credit(
    settler: &mut crate::settle::Settler,
    consumers: &hashbrown::HashMap<ConsumerId, Consumer>,
    one: Unacked,
) {
    let Some(id) = one.consumer else { return };
    if let Some(consumer) = consumers.get(&id) {
        settler.grant(id, consumer.credit.settled(1));
    }
}

fn recover(link: &mut Connection, call: Call, requeue: bool) -> Result<(), Fault> {
    if !requeue {
        return Err(Fault::new(Code::NotImplemented, "requeue=false"));
    }
    let everything = Settlement {
        tag: 0,
        multiple: true,
        how: How::Requeue,
    };
    settle(link, call.channel, everything)?;
    link.flush();
    Ok(())
}

fn qos(link: &mut Connection, call: Call, method: &basic::Qos) -> Result<(), Fault> {
    let channel = link.channel(call.channel)?;
    let limit = u32::from(method.prefetch_count);
    if method.global {
        channel.shared_prefetch = (limit > 0).then_some(limit);
    } else {
        channel.prefetch = limit;
    }
    outbox::on_settled(link, call.channel);
    let answer = basic::AMQPMethod::QosOk(basic::QosOk {});
    link.answer(call.channel, false, &AMQPClass::Basic(answer));
    Ok(())
}

// ---- consume -------------------------------------------------------------------------------

fn consume(
    link: &mut Connection,
    call: Call,
    method: &basic::Consume,
    world: World<'_>,
) -> Result<(), Fault> {
    let queue = named(link, call, method.queue.as_str())?;
    let tag: Arc<str> = match method.consumer_tag.as_str() {
        "" => format!("amq.ctag-{}", Uuid::new_v4().simple()).into(),
        given => given.into(),
    };
    let channel = link.channel(call.channel)?;
    let answers = channel.answers.as_ref();
    if channel.consumers.contains_key(&tag) || answers.is_some_and(|one| one.tag == tag) {
        return Err(Fault::new(
            Code::NotAllowed,
            format!("attempt to reuse consumer tag '{tag}'"),
        ));
    }
    if &*queue == direct_reply::NAME {
        if !method.no_ack {
            return Err(Fault::precondition("reply consumer cannot acknowledge"));
        }
        if answers.is_some() {
            return Err(Fault::precondition("reply consumer already set"));
        }
        channel.answers = Some(AnswerConsumer {
            tag: tag.clone(),
            address: world.desk.open(),
        });
        answer_consume(link, call, &tag);
        return Ok(());
    }
    let prefetch = match channel.shared_prefetch {
        // More than all together may have is of no use to one.
        Some(shared) if channel.prefetch == 0 => shared,
        Some(shared) => shared.min(channel.prefetch),
        None => channel.prefetch,
    };
    let priority = priority(&Arguments::of(&method.arguments), &queue)?;
    let topic = find(link, &queue, world)?.id;
    let consumer = ConsumerId(link.fresh_id());
    let credit = Credit::new(prefetch, method.no_ack);
    link.channel(call.channel)?
        .consumers
        .insert(tag.clone(), consumer);
    link.consumers.insert(
        consumer,
        Consumer {
            channel: call.channel,
            tag,
            queue: queue.clone(),
            no_ack: method.no_ack,
            credit,
            prefetch,
            exclusive: method.exclusive,
            priority,
        },
    );
    let command = Command::Subscribe(Subscribe {
        topic,
        consumer,
        credit: credit.initial(),
        mode: mode(method.no_ack),
        exclusive: method.exclusive,
        priority,
    });
    link.ask(
        call.waits_for(Control::Consume { consumer, queue }),
        command,
    );
    Ok(())
}

/// The consumer's priority (RabbitMQ, "Consumer Priorities"): 0 unless it says another.
fn priority(arguments: &Arguments, queue: &str) -> Result<i32, Fault> {
    const PRIORITY: &str = "x-priority";
    let Some(given) = arguments.get(PRIORITY) else {
        return Ok(0);
    };
    match given.integer() {
        Some(priority) => {
            Ok(i32::try_from(priority).unwrap_or(if priority < 0 { i32::MIN } else { i32::MAX }))
        }
        None => Err(Fault::precondition(format!(
            "invalid arg '{PRIORITY}' for queue '{queue}' in vhost '/': {{unacceptable_type,{}}}",
            given.kind()
        ))),
    }
}

fn mode(no_ack: bool) -> ConsumerMode {
    if no_ack {
        ConsumerMode::Settled
    } else {
        ConsumerMode::UntilSessionEnds
    }
}

pub(crate) fn consuming(
    link: &mut Connection,
    call: Call,
    id: ConsumerId,
    queue: &str,
    result: Result<Reply, Refusal>,
) -> Result<(), Fault> {
    if let Err(refusal) = result {
        if let Some(consumer) = link.consumers.remove(&id) {
            link.channel(call.channel)?.consumers.remove(&consumer.tag);
        }
        return Err(refused(&refusal, Subject::Queue(queue)));
    }
    // The queue may be gone again already.
    let Some(consumer) = link.consumers.get(&id) else {
        return Err(Fault::no_queue(queue));
    };
    let tag = consumer.tag.clone();
    answer_consume(link, call, &tag);
    Ok(())
}

fn answer_consume(link: &mut Connection, call: Call, tag: &str) {
    let answer = basic::AMQPMethod::ConsumeOk(basic::ConsumeOk {
        consumer_tag: short(tag),
    });
    link.answer(call.channel, call.nowait, &AMQPClass::Basic(answer));
}

fn cancel(link: &mut Connection, call: Call, tag: &str) -> Result<(), Fault> {
    let channel = link.channel(call.channel)?;
    let found = channel.consumers.get(tag).copied();
    channel.answers.take_if(|one| &*one.tag == tag);
    let tag: Arc<str> = tag.into();
    let Some(consumer) = found else {
        answer_cancel(link, call, &tag);
        return Ok(());
    };
    let command = Command::Unsubscribe { consumer };
    link.ask(call.waits_for(Control::Cancel { consumer, tag }), command);
    Ok(())
}

/// The consumer has ended at the broker. What it was handed and the peer has not seen goes back,
/// or is still shown if it counts as settled.
pub(crate) fn cancelled(
    link: &mut Connection,
    call: Call,
    consumer: ConsumerId,
    tag: Arc<str>,
) -> Result<(), Fault> {
    link.settler.forget(consumer);
    let no_ack = link
        .consumers
        .get(&consumer)
        .is_some_and(|known| known.no_ack);
    let settler = &mut link.settler;
    let channel = link
        .channels
        .get_mut(&call.channel)
        .ok_or_else(Fault::unexpected_answer)?;
    if no_ack && channel.backlog.iter().any(|held| held.consumer == consumer) {
        link.control = Some(call.waits_for(Control::CancelWhenShown { consumer, tag }));
        return Ok(());
    }
    channel.consumers.remove(&tag);
    channel.backlog.retain(|held| {
        let keep = held.consumer != consumer;
        if !keep {
            outbox::give_back(settler, held.run);
        }
        keep
    });
    link.consumers.remove(&consumer);
    link.flush();
    answer_cancel(link, call, &tag);
    Ok(())
}

/// Deliveries were written: a cancellation that waited for that may be over.
pub(crate) fn shown(link: &mut Connection) {
    match link.control.take() {
        Some(Waiting {
            channel,
            id,
            nowait,
            what: Control::CancelWhenShown { consumer, tag },
        }) => {
            let call = Call {
                channel,
                id,
                nowait,
            };
            if let Err(fault) = cancelled(link, call, consumer, tag) {
                link.fail(channel, id, fault);
            }
        }
        other => link.control = other,
    }
}

fn answer_cancel(link: &mut Connection, call: Call, tag: &str) {
    let answer = basic::AMQPMethod::CancelOk(basic::CancelOk {
        consumer_tag: short(tag),
    });
    link.answer(call.channel, call.nowait, &AMQPClass::Basic(answer));
}

// ---- get -----------------------------------------------------------------------------------

fn get(
    link: &mut Connection,
    call: Call,
    method: &basic::Get,
    world: World<'_>,
) -> Result<(), Fault> {
    let queue = named(link, call, method.queue.as_str())?;
    let topic = find(link, &queue, world)?.id;
    let command = Command::Receive(Receive {
        topic,
        max: 1,
        until: None,
        mode: mode(method.no_ack),
        attempt: None,
    });
    let what = Control::Get {
        queue,
        topic,
        no_ack: method.no_ack,
    };
    link.ask_after_publishing(call.waits_for(what), command);
    Ok(())
}

/// The reply to a get that brought no message.
pub(crate) fn got_nothing(
    link: &mut Connection,
    call: Call,
    queue: &str,
    result: Result<Reply, Refusal>,
) -> Result<(), Fault> {
    match result {
        Ok(Reply::Deliveries(_)) => {
            let answer = basic::AMQPMethod::GetEmpty(basic::GetEmpty {});
            link.answer(call.channel, false, &AMQPClass::Basic(answer));
            Ok(())
        }
        Ok(_) => Err(Fault::unexpected_answer()),
        Err(refusal) => Err(refused(&refusal, Subject::Queue(queue))),
    }
}

/// The message of a get was read: how many are left is still wanted.
pub(crate) fn read(link: &mut Connection, delivered: Delivered) {
    let Some(waiting) = link.control.take() else {
        return;
    };
    let Control::Get {
        queue,
        topic,
        no_ack,
    } = waiting.what
    else {
        return;
    };
    let call = Call {
        channel: waiting.channel,
        id: waiting.id,
        nowait: false,
    };
    let what = Control::MeasureGet {
        queue,
        no_ack,
        delivered: Box::new(delivered),
    };
    link.ask(call.waits_for(what), Command::Stats { topic });
}

pub(crate) fn got(
    link: &mut Connection,
    call: Call,
    queue: &str,
    no_ack: bool,
    delivered: &Delivered,
    result: Result<Reply, Refusal>,
) -> Result<(), Fault> {
    let left = match result {
        Ok(Reply::Stats(stats)) => stats.ready,
        _ => 0,
    };
    let Delivered { receipt, record } = delivered;
    let tag = link.channel(call.channel)?.tag();
    let place = (receipt.partition, receipt.offset);
    let outbound = Outbound::new(record, queue, receipt.attempt, place);
    let address = (outbound.exchange(), outbound.routing_key());
    let redelivered = receipt.attempt > 1;
    let frame_max = link.limits.frame_max;
    put_get_ok(
        &mut link.out,
        call.channel,
        tag,
        redelivered,
        address,
        count(left),
    );
    outbox::put_message(&mut link.out, call.channel, frame_max, &outbound);
    if !no_ack {
        link.channel(call.channel)?.unacked.push(Unacked {
            tag,
            receipt: *receipt,
            consumer: None,
        });
    }
    Ok(())
}

/// The channel is gone while a method on it waited: nothing may be left behind.
pub(crate) fn abandon(link: &mut Connection, what: Control) {
    if let Control::MeasureGet {
        no_ack: false,
        delivered,
        ..
    } = what
    {
        link.settler.give_back(delivered.receipt);
        link.flush();
    }
}
