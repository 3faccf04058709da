//! Direct reply-to (RabbitMQ, "Direct Reply-to"): a client that asks takes its answers without a
//! queue. An answer goes from the connection it is published on to the one that waits, in memory:
//! the broker and its log never see it, and one that nobody waits for, or that comes faster than
//! its connection takes it, is lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use uuid::Uuid;

use crate::connection::Connection;
use crate::frame::put_content;
use crate::limits::{REPLIES_MAX, REPLY_BYTES_MAX};
use crate::method::put_deliver;

/// The queue that stands for it.
pub(crate) const NAME: &str = "amq.rabbitmq.reply-to";

/// Whether a queue or routing key means direct replies.
pub(crate) fn is_meant(name: &str) -> bool {
    name.strip_prefix(NAME)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// An answer on its way.
#[derive(Debug)]
pub(crate) struct Answer {
    address: Arc<str>,
    /// Property flags and list, as they were published.
    properties: Vec<u8>,
    body: Vec<u8>,
    /// Its part of what may be on the way to one connection.
    _room: OwnedSemaphorePermit,
}

/// Who waits for answers, by address.
type Lines = Arc<Mutex<HashMap<Arc<str>, Line>>>;

#[derive(Clone, Debug)]
struct Line {
    answers: mpsc::Sender<Answer>,
    room: Arc<Semaphore>,
}

/// One connection's access to the lines of all.
#[derive(Debug)]
pub(crate) struct Desk {
    lines: Lines,
    own: Line,
}

/// The addresses of all connections of a listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct Switchboard(Lines);

impl Switchboard {
    /// A connection's desk, and where its answers arrive.
    pub(crate) fn desk(&self) -> (Desk, mpsc::Receiver<Answer>) {
        let (answers, arriving) = mpsc::channel(REPLIES_MAX);
        let desk = Desk {
            lines: self.0.clone(),
            own: Line {
                answers,
                room: Arc::new(Semaphore::new(REPLY_BYTES_MAX)),
            },
        };
        (desk, arriving)
    }
}

impl Desk {
    /// Waits for answers under a new address, until what is returned is dropped.
    pub(crate) fn open(&self) -> Address {
        let address: Arc<str> = format!("{NAME}.{}", Uuid::new_v4().simple()).into();
        locked(&self.lines).insert(address.clone(), self.own.clone());
        Address {
            address,
            lines: self.lines.clone(),
        }
    }

    /// Whether anybody waits there. The name itself stands for whoever asks.
    pub(crate) fn is_open(&self, name: &str) -> bool {
        name == NAME || locked(&self.lines).contains_key(name)
    }

    /// Sends an answer. Whether it is on its way.
    pub(crate) fn send(&self, address: &str, properties: &[u8], body: &[u8]) -> bool {
        let found = locked(&self.lines)
            .get_key_value(address)
            .map(|(address, line)| (address.clone(), line.clone()));
        let Some((address, line)) = found else {
            return false;
        };
        let weight = properties
            .len()
            .saturating_add(body.len())
            .clamp(1, REPLY_BYTES_MAX);
        let Ok(room) = u32::try_from(weight)
            .map_err(|_| ())
            .and_then(|weight| line.room.try_acquire_many_owned(weight).map_err(|_| ()))
        else {
            return false;
        };
        let answer = Answer {
            address,
            properties: properties.to_vec(),
            body: body.to_vec(),
            _room: room,
        };
        line.answers.try_send(answer).is_ok()
    }
}

/// An address that answers can be sent to as long as this lives.
#[derive(Debug)]
pub(crate) struct Address {
    address: Arc<str>,
    lines: Lines,
}

impl Address {
    pub(crate) fn as_str(&self) -> &str {
        &self.address
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        locked(&self.lines).remove(&self.address);
    }
}

/// A panic elsewhere leaves a map that is whole.
fn locked<T>(lines: &Mutex<T>) -> MutexGuard<'_, T> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A channel's consumer of answers.
#[derive(Debug)]
pub(crate) struct AnswerConsumer {
    pub(crate) tag: Arc<str>,
    pub(crate) address: Address,
}

/// Writes an answer that has arrived, if its channel still waits for it.
pub(crate) fn on_answer(link: &mut Connection, answer: &Answer) {
    if link.is_closing() {
        return;
    }
    let frame_max = link.limits.frame_max;
    for (number, channel) in &mut link.channels {
        let waits = |consumer: &AnswerConsumer| consumer.address.as_str() == &*answer.address;
        let Some(tag) = channel
            .answers
            .as_ref()
            .filter(|consumer| waits(consumer))
            .map(|consumer| consumer.tag.clone())
        else {
            continue;
        };
        let number = *number;
        let delivery = channel.tag();
        let address = (&b""[..], answer.address.as_bytes());
        put_deliver(&mut link.out, number, &tag, delivery, false, address);
        put_content(
            &mut link.out,
            number,
            frame_max,
            &answer.properties,
            &answer.body,
        );
        return;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reaches_the_connection_that_waits_and_nobody_after_it_has_gone() {
        let board = Switchboard::default();
        let (asking, mut arriving) = board.desk();
        let (answering, _nothing) = board.desk();
        let address = asking.open();
        let name = address.as_str().to_owned();
        assert!(is_meant(&name) && answering.is_open(&name));
        assert!(answering.send(&name, b"properties", b"body"));
        assert_eq!(arriving.try_recv().unwrap().body, b"body");
        drop(address);
        assert!(!answering.is_open(&name));
        assert!(!answering.send(&name, b"", b""));
    }

    #[test]
    fn what_nobody_takes_does_not_pile_up() {
        let board = Switchboard::default();
        let (desk, mut arriving) = board.desk();
        let address = desk.open();
        let body = vec![0; REPLY_BYTES_MAX / 2];
        assert!(desk.send(address.as_str(), b"", &body));
        assert!(desk.send(address.as_str(), b"", &body));
        assert!(!desk.send(address.as_str(), b"", b"one too many"));
        drop(arriving.try_recv().unwrap());
        assert!(desk.send(address.as_str(), b"", b"room again"));
    }

    #[test]
    fn other_queues_are_not_meant() {
        for name in ["amq.rabbitmq.reply-to", "amq.rabbitmq.reply-to.x"] {
            assert!(is_meant(name));
        }
        for name in ["amq.rabbitmq.reply-toX", "amq.rabbitmq", "reply-to", ""] {
            assert!(!is_meant(name));
        }
    }
}
