//! The other channels: opening and closing them, and the methods on them.

use amq_protocol::protocol::{AMQPClass, channel};

use super::{Connection, World, method_fault, unexpected_frame};
use crate::channel::Channel;
use crate::error::{Code, Fault, MethodId};
use crate::frame::{Frame, Kind};
use crate::method::{self, PublishHead, Settlement};
use crate::methods;

impl Connection {
    pub(super) fn on_channel_frame(&mut self, frame: Frame<'_>, world: World<'_>) {
        let number = frame.channel;
        let id = match frame.kind {
            Kind::Method => method::id(frame.payload).unwrap_or_default(),
            _ => PublishHead::ID,
        };
        let result = match self.channels.get(&number) {
            None => self.on_closed_channel(frame, id),
            Some(channel) if channel.closing => {
                self.on_closing_channel(frame, id);
                Ok(())
            }
            Some(_) => match frame.kind {
                Kind::Method => self.on_method(number, id, frame.payload, world),
                Kind::Header => self.on_content_header(number, frame.payload, world),
                Kind::Body => self.on_body(number, frame.payload, world),
                Kind::Heartbeat => Ok(()),
            },
        };
        if let Err(fault) = result {
            self.fail(number, id, fault);
        }
    }

    fn on_closed_channel(&mut self, frame: Frame<'_>, id: MethodId) -> Result<(), Fault> {
        if frame.kind != Kind::Method || id != (20, 10) {
            return Err(Fault::new(Code::ChannelError, "expected 'channel.open'").of_connection());
        }
        method::parse(frame.payload).map_err(method_fault)?;
        if frame.channel > self.limits.channel_max {
            return Err(Fault::new(
                Code::NotAllowed,
                format!(
                    "channel number {} is above the negotiated channel_max ({})",
                    frame.channel, self.limits.channel_max
                ),
            ));
        }
        let epoch = self.fresh_id();
        self.channels.insert(frame.channel, Channel::new(epoch));
        let answer = channel::AMQPMethod::OpenOk(channel::OpenOk {});
        method::put(&mut self.out, frame.channel, &AMQPClass::Channel(answer));
        Ok(())
    }

    fn on_closing_channel(&mut self, frame: Frame<'_>, id: MethodId) {
        if frame.kind != Kind::Method {
            return;
        }
        match id {
            (20, 41) => {
                self.channels.remove(&frame.channel);
            }
            (20, 40) => self.channel_close_ok(frame.channel),
            _ => {}
        }
    }

    fn channel_close_ok(&mut self, number: u16) {
        let answer = channel::AMQPMethod::CloseOk(channel::CloseOk {});
        method::put(&mut self.out, number, &AMQPClass::Channel(answer));
    }

    fn on_method(
        &mut self,
        number: u16,
        id: MethodId,
        payload: &[u8],
        world: World<'_>,
    ) -> Result<(), Fault> {
        let channel = self.channel(number)?;
        if !channel.incoming.expects_method() {
            return Err(unexpected_frame(
                "expected content header or body, got method frame instead",
            ));
        }
        if id == PublishHead::ID {
            return self.on_publish(number, payload);
        }
        if let Some(settlement) = Settlement::parse(id, payload) {
            let settlement = settlement.map_err(|error| Fault::syntax(error.to_string()))?;
            return methods::basic::settle(self, number, settlement);
        }
        let prefetch_size = (id == (60, 10)).then(|| payload.get(4..8)).flatten();
        if prefetch_size.is_some_and(|size| size != [0; 4]) {
            return Err(Fault::new(Code::NotImplemented, "prefetch_size!=0"));
        }
        let method = method::parse(payload).map_err(method_fault)?;
        match method {
            AMQPClass::Channel(channel::AMQPMethod::Close(_)) => {
                self.end_channel(number);
                self.flush();
                self.channels.remove(&number);
                self.channel_close_ok(number);
                Ok(())
            }
            other => methods::dispatch(self, number, id, other, world),
        }
    }

    /// The open channel of that number.
    pub(crate) fn channel(&mut self, number: u16) -> Result<&mut Channel, Fault> {
        self.channels
            .get_mut(&number)
            .filter(|channel| !channel.closing)
            .ok_or_else(|| Fault::new(Code::ChannelError, "expected 'channel.open'"))
    }
}
