//! The way of deliveries to the peer: what the broker handed out waits by reference until the
//! socket has taken what is before it, is then read in pieces of bounded size, and encoded.

use std::collections::VecDeque;

use forebay_base::OffsetRange;
use forebay_broker::{ConsumerId, Delivered, Deliveries, Receipt, Run};

use crate::channel::Held;
use crate::connection::Connection;
use crate::content::Outbound;
use crate::frame::{header_fits, put_content};
use crate::limits::{READ_BYTES, READ_MESSAGES};
use crate::method::put_deliver;
use crate::methods::basic;
use crate::settle::Settler;
use crate::unacked::Unacked;

/// What a message is taken to weigh before one was seen, bytes.
const FIRST_GUESS: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct Outbox {
    /// Channels that hold deliveries not yet written, each once.
    ready: VecDeque<u16>,
    /// What a message weighs at most, by those written lately, bytes.
    weight: usize,
    /// A consumer's window is half empty.
    thirsty: bool,
    /// A window could not be filled because its channel has too much unacked.
    starved: bool,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            weight: FIRST_GUESS,
            thirsty: false,
            starved: false,
        }
    }
}

impl Outbox {
    fn wake(&mut self, channel: u16) {
        if !self.ready.contains(&channel) {
            self.ready.push_back(channel);
        }
    }

    /// How many messages to read at once.
    fn piece(&self) -> u32 {
        let fitting = READ_BYTES / self.weight.max(1);
        u32::try_from(fitting)
            .unwrap_or(u32::MAX)
            .clamp(1, READ_MESSAGES)
    }

    /// Follows heavier messages at once and lighter ones slowly.
    fn weigh(&mut self, heaviest: usize) {
        self.weight = heaviest.max(self.weight - self.weight / 8);
    }
}

/// Deliveries to read from the broker and hand to [`write`].
#[derive(Debug)]
pub(crate) struct Piece {
    channel: u16,
    pub(crate) consumer: ConsumerId,
    pub(crate) deliveries: Deliveries,
}

/// The broker handed out messages.
pub(crate) fn on_delivery(link: &mut Connection, consumer: ConsumerId, deliveries: Deliveries) {
    let owner = link.consumers.get_mut(&consumer);
    let Some((owner, channel)) = owner.and_then(|owner| {
        let channel = link.channels.get_mut(&owner.channel)?;
        Some((owner, channel))
    }) else {
        for run in deliveries.runs {
            give_back(&mut link.settler, run);
        }
        return;
    };
    let count = u32::try_from(deliveries.len()).unwrap_or(u32::MAX);
    if owner.credit.delivered(count) {
        link.outbox.thirsty = true;
    }
    let (topic, at) = (deliveries.topic, deliveries.at);
    channel
        .backlog
        .extend(deliveries.runs.into_iter().map(|run| Held {
            consumer,
            topic,
            at,
            run,
        }));
    link.outbox.wake(owner.channel);
}

/// The next deliveries to read; `None` if none may be written now.
pub(crate) fn next_piece(link: &mut Connection) -> Option<Piece> {
    if link.is_closing() {
        return None;
    }
    while let Some(&number) = link.outbox.ready.front() {
        let piece = link.outbox.piece();
        let Some(channel) = link.channels.get_mut(&number) else {
            link.outbox.ready.pop_front();
            continue;
        };
        let room = channel.room();
        let no_ack = |held: &Held| {
            let owner = link.consumers.get(&held.consumer);
            owner.is_some_and(|owner| owner.no_ack)
        };
        let first = channel
            .backlog
            .iter()
            .position(|held| room > 0 || no_ack(held));
        let Some(first) = first.and_then(|at| channel.backlog.remove(at)) else {
            link.outbox.ready.pop_front();
            continue;
        };
        let mut left = if no_ack(&first) {
            piece
        } else {
            piece.min(room)
        };
        channel.backlog.push_front(first);
        let mut runs = Vec::new();
        while let Some(held) = channel.backlog.front_mut() {
            if left == 0 || held.consumer != first.consumer {
                break;
            }
            let (taken, rest) = split(held.run, left);
            left -= taken.range.count;
            runs.push(taken);
            match rest {
                Some(rest) => held.run = rest,
                None => {
                    channel.backlog.pop_front();
                }
            }
        }
        return Some(Piece {
            channel: number,
            consumer: first.consumer,
            deliveries: Deliveries {
                topic: first.topic,
                runs,
                at: first.at,
            },
        });
    }
    None
}

/// The first `count` messages of a run, and the others.
fn split(run: Run, count: u32) -> (Run, Option<Run>) {
    let Some(after) = run
        .range
        .count
        .checked_sub(count)
        .filter(|after| *after > 0)
    else {
        return (run, None);
    };
    let part = |first, count| Run {
        range: OffsetRange { first, count },
        ..run
    };
    let first = run.range.first;
    (
        part(first, count),
        Some(part(first.saturating_add(u64::from(count)), after)),
    )
}

/// Puts the rest of a piece back to the front of what waits: it was too much at once.
pub(crate) fn put_back(link: &mut Connection, piece: &Piece, rest: Deliveries) {
    let (topic, at, consumer) = (rest.topic, rest.at, piece.consumer);
    let Some(channel) = link.channels.get_mut(&piece.channel) else {
        for run in rest.runs {
            give_back(&mut link.settler, run);
        }
        return;
    };
    for run in rest.runs.into_iter().rev() {
        channel.backlog.push_front(Held {
            consumer,
            topic,
            at,
            run,
        });
    }
    link.outbox.wake(piece.channel);
}

/// Writes what was read of a piece. What retention has dropped meanwhile gives its credit back.
pub(crate) fn write(link: &mut Connection, piece: &Piece, read: &[Delivered]) {
    let frame_max = link.limits.frame_max;
    let owner = link.consumers.get(&piece.consumer);
    let Some((owner, channel)) = owner.and_then(|owner| {
        let channel = link.channels.get_mut(&piece.channel)?;
        Some((owner, channel))
    }) else {
        for run in &piece.deliveries.runs {
            give_back(&mut link.settler, *run);
        }
        return;
    };
    let mut heaviest = 0;
    for Delivered { receipt, record } in read {
        let before = link.out.len();
        let tag = channel.tag();
        let place = (receipt.partition, receipt.offset);
        let outbound = Outbound::new(record, &owner.queue, receipt.attempt, place);
        let address = (outbound.exchange(), outbound.routing_key());
        put_deliver(
            &mut link.out,
            piece.channel,
            &owner.tag,
            tag,
            receipt.attempt > 1,
            address,
        );
        put_message(&mut link.out, piece.channel, frame_max, &outbound);
        heaviest = heaviest.max(link.out.len() - before);
        if !owner.no_ack {
            channel.unacked.push(Unacked {
                tag,
                receipt: *receipt,
                consumer: Some(piece.consumer),
            });
        }
    }
    if !read.is_empty() {
        link.outbox.weigh(heaviest);
    }
    let missing = piece.deliveries.len().saturating_sub(read.len());
    if missing > 0 {
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        link.settler
            .grant(piece.consumer, owner.credit.settled(missing));
    }
    basic::shown(link);
}

/// Writes content header and body.
pub(crate) fn put_message(
    out: &mut Vec<u8>,
    channel: u16,
    frame_max: usize,
    outbound: &Outbound<'_>,
) {
    let properties = outbound.properties();
    if header_fits(properties.len(), frame_max) {
        put_content(out, channel, frame_max, &properties, outbound.body());
    } else {
        let properties = outbound.properties_without_headers();
        put_content(out, channel, frame_max, &properties, outbound.body());
    }
}

/// Deliveries of a channel were settled: what was held back may go now.
pub(crate) fn on_settled(link: &mut Connection, channel: u16) {
    if link
        .channels
        .get(&channel)
        .is_some_and(|channel| !channel.backlog.is_empty())
    {
        link.outbox.wake(channel);
    }
    link.outbox.thirsty |= std::mem::take(&mut link.outbox.starved);
}

/// The socket has taken what was written: windows move on.
pub(crate) fn on_written(link: &mut Connection) {
    if !std::mem::take(&mut link.outbox.thirsty) {
        return;
    }
    for (id, consumer) in &mut link.consumers {
        let Some(channel) = link.channels.get(&consumer.channel) else {
            continue;
        };
        let waiting: u64 = channel
            .backlog
            .iter()
            .map(|held| u64::from(held.run.range.count))
            .sum();
        let outstanding = channel
            .unacked
            .len()
            .saturating_add(usize::try_from(waiting).unwrap_or(usize::MAX));
        link.settler.grant(*id, consumer.credit.refill(outstanding));
        link.outbox.starved |= consumer.credit.is_low();
    }
    link.flush();
}

/// Gives back messages the peer never saw.
pub(crate) fn give_back(settler: &mut Settler, run: Run) {
    for offset in run.range.offsets() {
        settler.give_back(Receipt {
            partition: run.partition,
            offset,
            attempt: run.attempt,
        });
    }
}
