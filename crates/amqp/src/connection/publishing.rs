//! Publishing: a method, a header and body frames become a message; its answer comes later.

use forebay_broker::{Placed, Refusal, Reply};
use forebay_record::Batch;

use super::{Connection, World, unexpected_frame};
use crate::channel::Channel;
use crate::content::{NOWHERE, Outbound};
use crate::error::{Code, Fault, Subject, refused};
use crate::frame;
use crate::limits::PARTIAL_BODIES_MAX;
use crate::method::{self, PublishHead};
use crate::methods;
use crate::methods::basic::Taken;
use crate::publish::Group;
use crate::rights;

impl Connection {
    pub(super) fn on_publish(&mut self, number: u16, payload: &[u8]) -> Result<(), Fault> {
        let head = PublishHead::parse(payload).map_err(|error| Fault::syntax(error.to_string()))?;
        if head.immediate {
            return Err(Fault::new(Code::NotImplemented, "immediate=true"));
        }
        self.channel(number)?.incoming.begin(payload);
        Ok(())
    }

    pub(super) fn on_content_header(
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

    pub(super) fn on_body(
        &mut self,
        number: u16,
        payload: &[u8],
        world: World<'_>,
    ) -> Result<(), Fault> {
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

    /// Whether the user may publish what a channel has complete. What may not be is dropped.
    fn may_publish(&mut self, number: u16, world: World<'_>) -> Result<(), Fault> {
        let head = std::mem::take(&mut self.channel(number)?.incoming.head);
        let allowed = PublishHead::parse(&head)
            .map_err(|error| Fault::syntax(error.to_string()))
            .and_then(|head| rights::check_publish(self, head.exchange, head.routing_key, world));
        let channel = self.channel(number)?;
        channel.incoming.head = head;
        if allowed.is_err() {
            let gathered = channel.incoming.body.len();
            channel.incoming.reset();
            self.partial_bodies = self.partial_bodies.saturating_sub(gathered);
        }
        allowed
    }

    /// The message of a channel is complete: its body is `body`, or else what was gathered.
    fn publish(&mut self, number: u16, body: Option<&[u8]>, world: World<'_>) -> Result<(), Fault> {
        self.may_publish(number, world)?;
        let channel = self
            .channels
            .get_mut(&number)
            .ok_or_else(Fault::unexpected_answer)?;
        self.is_publisher = true;
        let gathered = channel.incoming.body.len();
        self.partial_bodies = self.partial_bodies.saturating_sub(gathered);
        let taken = methods::basic::publish(
            &mut self.publisher,
            (number, channel),
            body,
            &self.rights.user,
            world,
        );
        if matches!(taken, Ok(Taken::Lost)) {
            give_back_whole(
                &mut self.out,
                self.limits.frame_max,
                (number, channel),
                body,
            );
        }
        channel.incoming.reset();
        let taken = taken?;
        let Some(confirms) = &mut channel.confirms else {
            return Ok(());
        };
        match taken {
            Taken::InBatch { begins } => confirms.published(begins),
            Taken::Sent | Taken::Lost => {
                let first = confirms.next();
                confirms.published(true);
                confirms.answer(first, true);
                self.confirming.push(number);
            }
        }
        Ok(())
    }

    pub(super) fn on_published(&mut self, groups: Vec<Group>, result: Result<Reply, Refusal>) {
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
                Ok(Placed {
                    routed, refused, ..
                }) => {
                    let nowhere = routed == 0 && refused == 0;
                    if let Some(batch) = group.mandatory.as_ref().filter(|_| nowhere) {
                        give_back(&mut self.out, self.limits.frame_max, &group, batch);
                    }
                    refused == 0
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
}

/// Writes `basic.return` for the message a channel has complete.
fn give_back_whole(
    out: &mut Vec<u8>,
    frame_max: usize,
    (number, channel): (u16, &Channel),
    body: Option<&[u8]>,
) {
    let incoming = &channel.incoming;
    let Ok(head) = PublishHead::parse(&incoming.head) else {
        return;
    };
    let address = (head.exchange.as_bytes(), head.routing_key.as_bytes());
    let reason = (Code::NoRoute.number(), Code::NoRoute.name());
    method::put_return(out, number, reason, address);
    let body = body.unwrap_or(&incoming.body);
    frame::put_content(out, number, frame_max, &incoming.properties, body);
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
