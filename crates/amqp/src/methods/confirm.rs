//! Class confirm (RabbitMQ's extension).

use amq_protocol::protocol::{AMQPClass, confirm};

use crate::confirm::Confirms;
use crate::connection::Connection;
use crate::error::Fault;
use crate::methods::{Call, unimplemented_method};

pub(crate) fn dispatch(
    link: &mut Connection,
    call: Call,
    method: &confirm::AMQPMethod,
) -> Result<(), Fault> {
    let confirm::AMQPMethod::Select(select) = method else {
        return Err(unimplemented_method());
    };
    // What was published before is not numbered.
    link.flush();
    let channel = link.channel(call.channel)?;
    channel.confirms.get_or_insert_with(Confirms::new);
    let answer = confirm::AMQPMethod::SelectOk(confirm::SelectOk {});
    link.answer(call.channel, select.nowait, &AMQPClass::Confirm(answer));
    Ok(())
}
