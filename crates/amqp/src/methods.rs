//! The methods a client may call on a channel, one file for each class.

pub(crate) mod basic;
pub(crate) mod confirm;
pub(crate) mod exchange;
pub(crate) mod queue;

use amq_protocol::protocol::{AMQPClass, access, channel};
use forebay_broker::{Refusal, Reply};

use crate::connection::{Connection, World};
use crate::control::{Control, Waiting};
use crate::error::{Code, Fault, MethodId};
use crate::rights;

/// The channel and method being carried out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) channel: u16,
    pub(crate) id: MethodId,
    pub(crate) nowait: bool,
}

impl Call {
    pub(crate) fn waits_for(self, what: Control) -> Waiting {
        Waiting {
            channel: self.channel,
            id: self.id,
            nowait: self.nowait,
            what,
        }
    }
}

/// Carries out a method, or begins to.
pub(crate) fn dispatch(
    link: &mut Connection,
    number: u16,
    id: MethodId,
    method: AMQPClass,
    world: World<'_>,
) -> Result<(), Fault> {
    let call = Call {
        channel: number,
        id,
        nowait: false,
    };
    rights::check(link, number, &method, world)?;
    match method {
        AMQPClass::Channel(method) => on_channel_method(link, call, method),
        AMQPClass::Access(_) => {
            let answer = access::AMQPMethod::RequestOk(access::RequestOk {});
            link.answer(number, false, &AMQPClass::Access(answer));
            Ok(())
        }
        AMQPClass::Exchange(method) => exchange::dispatch(link, call, method, world),
        AMQPClass::Queue(method) => queue::dispatch(link, call, method, world),
        AMQPClass::Basic(method) => basic::dispatch(link, call, method, world),
        AMQPClass::Confirm(method) => confirm::dispatch(link, call, &method),
        AMQPClass::Tx(_) => Err(Fault::new(
            Code::NotImplemented,
            "transactions are not supported yet",
        )),
        AMQPClass::Connection(_) => Err(Fault::new(
            Code::CommandInvalid,
            "method of class connection on a channel",
        )),
    }
}

fn on_channel_method(
    link: &mut Connection,
    call: Call,
    method: channel::AMQPMethod,
) -> Result<(), Fault> {
    use channel::AMQPMethod as M;
    match method {
        M::Open(_) => Err(Fault::new(Code::ChannelError, "second 'channel.open' seen")),
        M::Flow(channel::Flow { active: true }) => {
            let answer = M::FlowOk(channel::FlowOk { active: true });
            link.answer(call.channel, false, &AMQPClass::Channel(answer));
            Ok(())
        }
        M::Flow(_) => Err(Fault::new(Code::NotImplemented, "active=false")),
        M::FlowOk(_) | M::CloseOk(_) => Ok(()),
        M::Close(_) | M::OpenOk(_) => Err(unimplemented_method()),
    }
}

/// Goes on with a method whose reply has come.
pub(crate) fn resume(
    link: &mut Connection,
    waiting: Waiting,
    result: Result<Reply, Refusal>,
) -> Result<(), Fault> {
    let call = Call {
        channel: waiting.channel,
        id: waiting.id,
        nowait: waiting.nowait,
    };
    if link.channel(call.channel).is_err() {
        // The channel was closed by an error of what was published on it before.
        basic::abandon(link, waiting.what);
        return Ok(());
    }
    match waiting.what {
        Control::Barrier(next) => {
            let (waiting, command) = *next;
            link.ask(waiting, command);
            Ok(())
        }
        Control::DeclareQueue(declaration) => queue::declared(link, call, declaration, result),
        Control::MeasureQueue { queue } => queue::measured(link, call, queue, result),
        Control::DeleteQueue { queue } => queue::deleted(link, call, &queue, result),
        Control::PurgeQueue { queue } => queue::purged(link, call, &queue, result),
        Control::DeclareExchange(declaration) => {
            exchange::declared(link, call, &declaration, result)
        }
        Control::DeleteExchange { exchange } => exchange::deleted(link, call, &exchange, result),
        Control::Bind(binding) => exchange::bound(link, call, &binding, result),
        Control::Consume { consumer, queue } => {
            basic::consuming(link, call, consumer, &queue, result)
        }
        Control::Cancel { consumer, tag } | Control::CancelWhenShown { consumer, tag } => {
            basic::cancelled(link, call, consumer, tag)
        }
        Control::Get { queue, .. } => basic::got_nothing(link, call, &queue, result),
        Control::MeasureGet {
            queue,
            no_ack,
            delivered,
        } => basic::got(link, call, &queue, no_ack, &delivered, result),
    }
}

pub(crate) fn unimplemented_method() -> Fault {
    Fault::new(Code::CommandInvalid, "unimplemented method")
}
