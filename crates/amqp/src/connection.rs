//! One connection as a state machine: bytes and broker events go in, bytes and broker commands
//! come out. No socket, no clock and no waiting in here; [`crate::drive`] supplies those.

use std::sync::Arc;

use amq_protocol::protocol::{AMQPClass, basic, channel, connection};
use forebay_base::{SessionId, Timestamp};
use forebay_broker::{
    Command, ConsumerId, Directory, Durability, ExchangeInfo, Placed, Publish, Refusal, Reply,
    RequestId, TopicInfo, WhenFull,
};
use forebay_record::Batch;
use hashbrown::HashMap;

use crate::Options;
use crate::channel::{Channel, Consumer};
use crate::content::{NOWHERE, Outbound};
use crate::control::{Control, Waiting};
use crate::error::{Code, Fault, MethodId, Subject, refused};
use crate::frame::{self, Frame, FrameError, Kind};
use crate::handshake::{self, Limits, Peer};
use crate::limits::PARTIAL_BODIES_MAX;
use crate::method::{self, MethodError, PublishHead, Settlement};
use crate::methods;
use crate::outbox::Outbox;
use crate::publish::{Group, Publisher};
use crate::settle::Settler;

/// The topics and exchanges, as the machine looks them up.
pub(crate) trait Catalogue {
    fn topic(&self, name: &str) -> Option<Arc<TopicInfo>>;
    fn exchange(&self, name: &str) -> Option<Arc<ExchangeInfo>>;
}

impl Catalogue for Directory {
    fn topic(&self, name: &str) -> Option<Arc<TopicInfo>> {
        self.topic(name)
    }

    fn exchange(&self, name: &str) -> Option<Arc<ExchangeInfo>> {
        self.exchange(name)
    }
}

/// What surrounds a step of the machine.
#[derive(Clone, Copy)]
pub(crate) struct World<'a> {
    pub(crate) catalogue: &'a dyn Catalogue,
    pub(crate) now: Timestamp,
}

/// Who waits for the reply to a command.
#[derive(Debug)]
pub(crate) enum Then {
    /// Nobody.
    Nothing,
    /// Publishers: one group for each message of the command.
    Published(Vec<Group>),
    /// The method being carried out.
    Control,
}

/// A command on its way to the broker.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) command: Command,
    pub(crate) then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    ProtocolHeader,
    StartOk,
    TuneOk,
    Open,
    Running,
    /// We sent `connection.close`; only its answer counts.
    Closing,
    Closed,
}

/// The state machine of one connection.
pub(crate) struct Connection {
    options: Arc<Options>,
    pub(crate) session: SessionId,
    phase: Phase,
    peer: Peer,
    pub(crate) limits: Limits,
    /// Encoded frames for the peer.
    pub(crate) out: Vec<u8>,
    pub(crate) channels: HashMap<u16, Channel>,
    pub(crate) consumers: HashMap<ConsumerId, Consumer>,
    pub(crate) outbox: Outbox,
    pub(crate) settler: Settler,
    publisher: Publisher,
    /// It has published: only then is it told that publishing is held up.
    pub(crate) is_publisher: bool,
    /// The next frame comes after the answers to what was published.
    waits_for_answers: bool,
    /// What was published and answered before it was durable, or dead-lettered, may not be seen in
    /// its queue yet.
    pub(crate) has_invisible: bool,
    commands: Vec<Queued>,
    pending: HashMap<RequestId, Then>,
    /// The method that waits for the broker. Nothing is read meanwhile, so there is one at most.
    pub(crate) control: Option<Waiting>,
    /// Channels with confirmations that may be ready.
    confirming: Vec<u16>,
    partial_bodies: usize,
    next_id: u64,
}

impl Connection {
    /// A connection whose message ids begin at `seed`.
    pub(crate) fn new(options: Arc<Options>, session: SessionId, seed: u128) -> Self {
        Self {
            limits: Limits {
                frame_max: options.frame_max as usize,
                channel_max: options.channel_max,
                heartbeat: 0,
            },
            options,
            session,
            phase: Phase::ProtocolHeader,
            peer: Peer::default(),
            out: Vec::new(),
            channels: HashMap::new(),
            consumers: HashMap::new(),
            outbox: Outbox::default(),
            settler: Settler::default(),
            publisher: Publisher::new(seed),
            is_publisher: false,
            waits_for_answers: false,
            has_invisible: false,
            commands: Vec::new(),
            pending: HashMap::new(),
            control: None,
            confirming: Vec::new(),
            partial_bodies: 0,
            next_id: 1,
        }
    }

    /// Whether more input is to be read: not while a method waits for the broker or for the answer
    /// to what was published before it, nor while too much that was published is unanswered.
    pub(crate) fn wants_input(&self) -> bool {
        if self.phase != Phase::Running {
            return self.control.is_none();
        }
        let held_up =
            self.publisher.is_full() || (self.waits_for_answers && self.publisher.is_unanswered());
        self.control.is_none() && !held_up
    }

    /// Whether the handshake is over.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Closing | Phase::Closed)
    }

    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Closed)
    }

    /// Whether nothing more is to come than what is in `out`.
    pub(crate) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// The largest message body accepted, bytes.
    pub(crate) fn max_message_bytes(&self) -> usize {
        self.options.max_message_bytes
    }

    /// An id for a consumer or the opening of a channel, not given before.
    pub(crate) fn fresh_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    // ---- input -----------------------------------------------------------------------------

    /// Takes as much of `input` as there is to do now; returns how many bytes that was.
    pub(crate) fn receive(&mut self, input: &[u8], world: World<'_>) -> usize {
        let mut taken = 0;
        if self.phase == Phase::ProtocolHeader {
            match self.protocol_header(input) {
                0 => return 0,
                count => taken += count,
            }
        }
        while self.wants_input() && self.phase != Phase::Closed {
            let rest = input.get(taken..).unwrap_or_default();
            match frame::take(rest, self.limits.frame_max) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    self.waits_for_answers = self.comes_after_answers(frame);
                    if !self.wants_input() {
                        break;
                    }
                    taken += frame.size();
                    self.on_frame(frame, world);
                }
                Err(error) => {
                    self.on_frame_error(error);
                    taken = input.len();
                }
            }
        }
        self.flush();
        taken
    }

    /// Whether a frame must not be acted on before everything published is answered, so that
    /// returns and errors come in the order in which a client that waits expects them.
    fn comes_after_answers(&mut self, frame: Frame<'_>) -> bool {
        let comes_after = frame.kind == Kind::Method
            && !matches!(method::id(frame.payload), Ok((60, 40 | 80 | 90 | 120)));
        if comes_after {
            self.flush();
        }
        comes_after
    }

    fn protocol_header(&mut self, input: &[u8]) -> usize {
        let expected = handshake::PROTOCOL_HEADER;
        let matching = input
            .iter()
            .zip(&expected)
            .take_while(|(got, wanted)| got == wanted)
            .count();
        if matching == expected.len() {
            self.phase = Phase::StartOk;
            method::put(&mut self.out, 0, &handshake::start());
            return matching;
        }
        if matching < input.len() {
            // What else the peer speaks: tell it what we do (4.2.2).
            self.out.extend_from_slice(&expected);
            self.phase = Phase::Closed;
        }
        0
    }

    fn on_frame_error(&mut self, error: FrameError) {
        let fault = Fault::new(Code::FrameError, error.to_string());
        match self.phase {
            Phase::Running => self.fail(0, (0, 0), fault),
            _ => self.phase = Phase::Closed,
        }
    }

    fn on_frame(&mut self, frame: Frame<'_>, world: World<'_>) {
        if frame.kind == Kind::Heartbeat {
            return;
        }
        match self.phase {
            Phase::Running if frame.channel != 0 => self.on_channel_frame(frame, world),
            Phase::ProtocolHeader | Phase::Closed => {}
            _ => self.on_connection_frame(frame),
        }
    }

    // ---- channel 0 -------------------------------------------------------------------------

    fn on_connection_frame(&mut self, frame: Frame<'_>) {
        if self.phase == Phase::Closing {
            match method::id(frame.payload) {
                Ok((10, 51)) if frame.kind == Kind::Method => self.phase = Phase::Closed,
                Ok((10, 50)) if frame.kind == Kind::Method => self.close_ok(),
                _ => {}
            }
            return;
        }
        if frame.kind != Kind::Method || frame.channel != 0 {
            let fault = Fault::new(Code::UnexpectedFrame, "expected a method on channel 0");
            return self.fail(0, (0, 0), fault);
        }
        let id = method::id(frame.payload).unwrap_or_default();
        let result = match method::parse(frame.payload) {
            Ok(AMQPClass::Connection(method)) => self.on_connection_method(method),
            Ok(_) => Err(Fault::new(
                Code::ChannelError,
                "expected a method of class connection on channel 0",
            )),
            Err(error) => Err(method_fault(error)),
        };
        if let Err(fault) = result {
            self.fail(0, id, fault);
        }
    }

    fn on_connection_method(&mut self, method: connection::AMQPMethod) -> Result<(), Fault> {
        use connection::AMQPMethod as M;
        match (self.phase, method) {
            (Phase::StartOk, M::StartOk(answer)) => self.log_in(&answer),
            (Phase::TuneOk, M::TuneOk(answer)) => {
                self.limits = handshake::agree(&self.options, &answer)?;
                self.phase = Phase::Open;
                Ok(())
            }
            (Phase::Open, M::Open(request)) => {
                let answer = handshake::open(&request)?;
                method::put(&mut self.out, 0, &answer);
                self.phase = Phase::Running;
                Ok(())
            }
            (_, M::Close(_)) => {
                self.close_ok();
                Ok(())
            }
            (Phase::Running, M::CloseOk(_)) => Ok(()),
            (Phase::Running, M::UpdateSecret(_)) => {
                let answer = M::UpdateSecretOk(connection::UpdateSecretOk {});
                method::put(&mut self.out, 0, &AMQPClass::Connection(answer));
                Ok(())
            }
            _ => Err(Fault::new(
                Code::CommandInvalid,
                "method not allowed in this state of the connection",
            )),
        }
    }

    fn log_in(&mut self, answer: &connection::StartOk) -> Result<(), Fault> {
        let (peer, result) = handshake::log_in(&self.options, answer);
        self.peer = peer;
        match result {
            Ok(()) => {
                method::put(&mut self.out, 0, &handshake::tune(&self.options));
                self.phase = Phase::TuneOk;
                Ok(())
            }
            Err(fault) if peer.authentication_failure_close => Err(fault),
            Err(_) => {
                self.phase = Phase::Closed;
                Ok(())
            }
        }
    }

    fn close_ok(&mut self) {
        self.flush();
        let answer = connection::AMQPMethod::CloseOk(connection::CloseOk {});
        method::put(&mut self.out, 0, &AMQPClass::Connection(answer));
        self.phase = Phase::Closed;
    }

    /// Ends the connection because the broker stops.
    pub(crate) fn shut_down(&mut self) {
        match self.phase {
            Phase::Running => {
                let fault = refused(&Refusal::Stopping, Subject::Queue(""));
                self.fail(0, (0, 0), fault);
            }
            Phase::Closing | Phase::Closed => {}
            _ => self.phase = Phase::Closed,
        }
    }

    /// Tells the peer that publishing is held up, or no longer.
    pub(crate) fn pressure(&mut self, blocked: Option<&str>) {
        if self.phase != Phase::Running || !self.peer.connection_blocked {
            return;
        }
        let method = match blocked {
            Some(reason) => connection::AMQPMethod::Blocked(connection::Blocked {
                reason: method::short(reason),
            }),
            None => connection::AMQPMethod::Unblocked(connection::Unblocked {}),
        };
        method::put(&mut self.out, 0, &AMQPClass::Connection(method));
    }

    // ---- other channels --------------------------------------------------------------------

    fn on_channel_frame(&mut self, frame: Frame<'_>, world: World<'_>) {
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

    // ---- publishing ------------------------------------------------------------------------

    fn on_publish(&mut self, number: u16, payload: &[u8]) -> Result<(), Fault> {
        let head = PublishHead::parse(payload).map_err(|error| Fault::syntax(error.to_string()))?;
        if head.immediate {
            return Err(Fault::new(Code::NotImplemented, "immediate=true"));
        }
        self.channel(number)?.incoming.begin(payload);
        Ok(())
    }

    fn on_content_header(
        &mut self,
        number: u16,
        payload: &[u8],
        world: World<'_>,
    ) -> Result<(), Fault> {
        let max = self.options.max_message_bytes;
        let channel = self.channel(number)?;
        if !channel.incoming.expects_header() {
            return Err(unexpected_frame(
                "expected method or content body, got content header frame instead",
            ));
        }
        let (size, properties) = frame::content_header(payload)
            .ok_or_else(|| Fault::syntax("content header is not one of class basic"))?;
        if size > max as u64 {
            return Err(Fault::precondition(format!(
                "message size {size} is larger than configured max size {max}"
            )));
        }
        channel.incoming.header(size, properties);
        if size == 0 {
            self.publish(number, None, world)?;
        }
        Ok(())
    }

    fn on_body(&mut self, number: u16, payload: &[u8], world: World<'_>) -> Result<(), Fault> {
        let channel = self.channel(number)?;
        let Some(missing) = channel.incoming.missing() else {
            return Err(unexpected_frame(
                "expected method or content header, got content body frame instead",
            ));
        };
        let Some(rest) = missing.checked_sub(payload.len() as u64) else {
            return Err(unexpected_frame(
                "content body is larger than its header said",
            ));
        };
        let whole = channel.incoming.body.is_empty() && rest == 0;
        if whole {
            return self.publish(number, Some(payload), world);
        }
        channel.incoming.append(payload, rest);
        self.partial_bodies += payload.len();
        if rest == 0 {
            return self.publish(number, None, world);
        }
        if self.partial_bodies > PARTIAL_BODIES_MAX {
            return Err(Fault::new(
                Code::ResourceError,
                "too many message bodies under way at once",
            ));
        }
        Ok(())
    }

    /// The message of a channel is complete: its body is `body`, or else what was gathered.
    fn publish(&mut self, number: u16, body: Option<&[u8]>, world: World<'_>) -> Result<(), Fault> {
        let channel = self
            .channels
            .get_mut(&number)
            .ok_or_else(Fault::unexpected_answer)?;
        self.is_publisher = true;
        let gathered = channel.incoming.body.len();
        self.partial_bodies = self.partial_bodies.saturating_sub(gathered);
        let began = methods::basic::publish(
            &mut self.publisher,
            (number, channel),
            body,
            &self.options.user,
            world.now,
        );
        channel.incoming.reset();
        if let Some(confirms) = &mut channel.confirms {
            confirms.published(began?);
            return Ok(());
        }
        began.map(|_| ())
    }

    fn on_published(&mut self, groups: Vec<Group>, result: Result<Reply, Refusal>) {
        let results = match result {
            Ok(Reply::Published(results)) => results,
            Ok(_) => Vec::new(),
            Err(refusal) => vec![Err(refusal); groups.len()],
        };
        let mut results = results.into_iter();
        for group in groups {
            self.publisher.answered(&group);
            let result = results.next().unwrap_or(Err(Refusal::Stopping));
            let open = self
                .channels
                .get_mut(&group.channel)
                .filter(|channel| channel.epoch == group.epoch && !channel.closing);
            let Some(channel) = open else { continue };
            let ack = match result {
                Ok(Placed { routed, .. }) => {
                    if let Some(batch) = group.mandatory.as_ref().filter(|_| routed == 0) {
                        give_back(&mut self.out, self.limits.frame_max, &group, batch);
                    }
                    true
                }
                Err(Refusal::StorageFull(_) | Refusal::Stopping) => false,
                Err(refusal) => {
                    let fault = refused(&refusal, Subject::Queue(&group.routing_key));
                    self.fail(group.channel, PublishHead::ID, fault);
                    continue;
                }
            };
            if let (Some(confirms), Some(first)) = (&mut channel.confirms, group.first) {
                confirms.answer(first, ack);
                if self.confirming.last() != Some(&group.channel) {
                    self.confirming.push(group.channel);
                }
            }
        }
    }

    /// Writes the confirmations that have become due.
    pub(crate) fn confirm(&mut self) {
        if self.is_closing() {
            self.confirming.clear();
        }
        for number in self.confirming.drain(..) {
            let Some(channel) = self.channels.get_mut(&number) else {
                continue;
            };
            if channel.closing {
                continue;
            }
            while let Some(due) = channel
                .confirms
                .as_mut()
                .and_then(crate::confirm::Confirms::next_confirmation)
            {
                method::put_confirm(&mut self.out, number, due.tag, due.multiple, due.ack);
            }
        }
    }

    // ---- errors and ends -------------------------------------------------------------------

    /// Tells the peer of a fault and closes what it ends.
    pub(crate) fn fail(&mut self, number: u16, id: MethodId, fault: Fault) {
        if matches!(self.phase, Phase::Closing | Phase::Closed) {
            return;
        }
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
    fn end_channel(&mut self, number: u16) {
        self.flush();
        let Some(channel) = self.channels.get_mut(&number) else {
            return;
        };
        let gathered = channel.incoming.body.len();
        self.partial_bodies = self.partial_bodies.saturating_sub(gathered);
        channel.incoming = Default::default();
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

    // ---- commands and replies --------------------------------------------------------------

    /// Turns what was gathered into commands: what was published first, so that an ack never
    /// takes effect before the publication it belongs to.
    pub(crate) fn flush(&mut self) {
        let commands = &mut self.commands;
        for (publish, groups) in self.publisher.take() {
            self.has_invisible |= publish.durability == Durability::Written;
            commands.push(Queued {
                command: Command::Publish(publish),
                then: Then::Published(groups),
            });
        }
        self.settler.take(|command| {
            commands.push(Queued {
                command,
                then: Then::Nothing,
            });
        });
    }

    /// Sends a command nobody waits for.
    pub(crate) fn tell(&mut self, command: Command) {
        self.commands.push(Queued {
            command,
            then: Then::Nothing,
        });
    }

    /// Sends a command whose reply the method in `waiting` needs; nothing is read until then.
    pub(crate) fn ask(&mut self, waiting: Waiting, command: Command) {
        self.flush();
        self.control = Some(waiting);
        self.commands.push(Queued {
            command,
            then: Then::Control,
        });
    }

    /// The same for a method that looks into a queue: it must see what this connection published
    /// before, which queues show only once it is durable, and which may be answered before that.
    pub(crate) fn ask_after_publishing(&mut self, waiting: Waiting, command: Command) {
        if !std::mem::take(&mut self.has_invisible) {
            return self.ask(waiting, command);
        }
        let barrier = Waiting {
            channel: waiting.channel,
            id: waiting.id,
            nowait: waiting.nowait,
            what: Control::Barrier(Box::new((waiting, command))),
        };
        // Answered when everything before it is durable, because it asks for that.
        let nothing = Publish {
            messages: Vec::new(),
            durability: Durability::Synced,
            when_full: WhenFull::Refuse,
        };
        self.ask(barrier, Command::Publish(nothing));
    }

    /// Writes the answer to a method.
    pub(crate) fn answer(&mut self, number: u16, nowait: bool, method: &AMQPClass) {
        if !nowait {
            method::put(&mut self.out, number, method);
        }
    }

    /// The commands to send, in order.
    pub(crate) fn take_commands(&mut self) -> Vec<Queued> {
        std::mem::take(&mut self.commands)
    }

    /// A command was sent under this id.
    pub(crate) fn submitted(&mut self, request: RequestId, then: Then) {
        self.pending.insert(request, then);
    }

    /// The reply to a command was taken elsewhere.
    pub(crate) fn forget(&mut self, request: RequestId) {
        self.pending.remove(&request);
    }

    /// The reply to a command.
    pub(crate) fn on_reply(&mut self, request: RequestId, result: Result<Reply, Refusal>) {
        match self.pending.remove(&request) {
            Some(then) => self.on_answer(then, result),
            None => tracing::debug!(?request, "reply to nothing"),
        }
    }

    /// What came of a command, sent or not.
    pub(crate) fn on_answer(&mut self, then: Then, result: Result<Reply, Refusal>) {
        match then {
            Then::Nothing => {}
            Then::Published(groups) => self.on_published(groups, result),
            Then::Control => {
                let Some(waiting) = self.control.take() else {
                    return;
                };
                let (number, id) = (waiting.channel, waiting.id);
                if let Err(fault) = methods::resume(self, waiting, result) {
                    self.fail(number, id, fault);
                }
            }
        }
    }
}

fn unexpected_frame(text: &str) -> Fault {
    Fault::new(Code::UnexpectedFrame, text)
}

fn method_fault(error: MethodError) -> Fault {
    let text = error.to_string();
    match error {
        MethodError::Malformed(_) => Fault::syntax(text),
        MethodError::Unknown => Fault::new(Code::NotImplemented, text),
        MethodError::NotForServers => Fault::new(Code::CommandInvalid, text),
    }
}

/// Writes `basic.return` for every message of a batch that no queue took.
fn give_back(out: &mut Vec<u8>, frame_max: usize, group: &Group, batch: &Batch) {
    let Ok(records) = batch.records(usize::MAX) else {
        return;
    };
    for record in records.flatten() {
        let outbound = Outbound::new(&record, &group.routing_key, 1, NOWHERE);
        let address = (group.exchange.as_bytes(), group.routing_key.as_bytes());
        let reason = (Code::NoRoute.number(), Code::NoRoute.name());
        method::put_return(out, group.channel, reason, address);
        let properties = outbound.properties();
        frame::put_content(out, group.channel, frame_max, &properties, outbound.body());
    }
}

#[cfg(test)]
mod tests;
