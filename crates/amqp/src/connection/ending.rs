//! Errors and ends: of the connection, of a channel, of a consumer.

use amq_protocol::protocol::{AMQPClass, basic, channel};
use forebay_broker::{Command, ConsumerId};

use super::{Connection, Phase};
use crate::error::{Fault, MethodId};
use crate::{handshake, method};

impl Connection {
    /// Tells the peer of a fault and closes what it ends.
    pub(crate) fn fail(&mut self, number: u16, id: MethodId, fault: Fault) {
        if matches!(self.phase, Phase::Closing | Phase::Closed) {
            return;
        }
        let fault = self.scope.tell(fault);
        tracing::debug!(channel = number, class = id.0, method = id.1, %fault, "refused");
        self.flush();
        if fault.is_hard() || number == 0 {
            method::put(&mut self.out, 0, &handshake::close(&fault, id));
            self.phase = Phase::Closing;
            self.control = None;
            return;
        }
        self.end_channel(number);
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.closing = true;
            let close = channel::AMQPMethod::Close(channel::Close {
                reply_code: fault.code.number(),
                reply_text: method::short(&fault.reply_text()),
                class_id: id.0,
                method_id: id.1,
            });
            method::put(&mut self.out, number, &AMQPClass::Channel(close));
        }
    }

    /// Ends what a channel holds at the broker: its consumers, what they were handed, and its
    /// half-arrived message.
    pub(super) fn end_channel(&mut self, number: u16) {
        self.flush();
        let Some(channel) = self.channels.get_mut(&number) else {
            return;
        };
        let gathered = channel.incoming.body.len();
        self.partial_bodies = self.partial_bodies.saturating_sub(gathered);
        channel.incoming = Default::default();
        channel.answers = None;
        let consumers: Vec<_> = channel.consumers.drain().map(|(_, id)| id).collect();
        for consumer in consumers {
            self.consumers.remove(&consumer);
            self.tell(Command::Unsubscribe { consumer });
        }
        let Some(channel) = self.channels.get_mut(&number) else {
            return;
        };
        let settler = &mut self.settler;
        channel
            .unacked
            .take_all(|one| settler.settle(one.receipt, method::How::Requeue));
        for held in channel.backlog.drain(..) {
            crate::outbox::give_back(settler, held.run);
        }
        self.flush();
    }

    /// The consumer's queue is gone: tell the peer, if it wants to hear that.
    pub(crate) fn on_consumer_cancelled(&mut self, id: ConsumerId) {
        self.settler.forget(id);
        let Some(consumer) = self.consumers.remove(&id) else {
            return;
        };
        if let Some(channel) = self.channels.get_mut(&consumer.channel) {
            channel.consumers.remove(&consumer.tag);
            channel.backlog.retain(|held| held.consumer != id);
        }
        if self.peer.consumer_cancel_notify && self.phase == Phase::Running {
            let cancel = basic::AMQPMethod::Cancel(basic::Cancel {
                consumer_tag: method::short(&consumer.tag),
                nowait: true,
            });
            method::put(&mut self.out, consumer.channel, &AMQPClass::Basic(cancel));
        }
    }
}
