//! Methods that wait for the broker: what is left to do when its reply comes.

use std::sync::Arc;

use forebay_base::TopicId;
use forebay_broker::{Command, ConsumerId, Delivered};

use crate::error::MethodId;
use crate::methods::{exchange, queue};

/// A method under way.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) channel: u16,
    pub(crate) id: MethodId,
    /// The peer wants no answer.
    pub(crate) nowait: bool,
    pub(crate) what: Control,
}

#[derive(Debug)]
pub(crate) enum Control {
    /// What the connection published before becomes visible; then this method goes on.
    Barrier(Box<(Waiting, Command)>),
    DeclareQueue(queue::Declaration),
    /// The queue is there; its measures are wanted for the answer.
    MeasureQueue {
        queue: Arc<str>,
    },
    DeleteQueue {
        queue: Arc<str>,
    },
    PurgeQueue {
        queue: Arc<str>,
    },
    DeclareExchange(exchange::Declaration),
    DeleteExchange {
        exchange: Arc<str>,
    },
    Bind(exchange::Binding),
    Consume {
        consumer: ConsumerId,
        queue: Arc<str>,
    },
    Cancel {
        consumer: ConsumerId,
        tag: Arc<str>,
    },
    /// The consumer has ended; what it was handed is still to be written.
    CancelWhenShown {
        consumer: ConsumerId,
        tag: Arc<str>,
    },
    Get {
        queue: Arc<str>,
        topic: TopicId,
        no_ack: bool,
    },
    /// A message was got; how many are left is wanted for the answer.
    MeasureGet {
        queue: Arc<str>,
        no_ack: bool,
        delivered: Box<Delivered>,
    },
}
