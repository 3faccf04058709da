//! One channel: what it has open, declared last, published, been handed and not yet acked.

use std::collections::VecDeque;
use std::sync::Arc;

use forebay_base::{Timestamp, TopicId};
use forebay_broker::{ConsumerId, Run};
use hashbrown::HashMap;

use crate::confirm::Confirms;
use crate::credit::Credit;
use crate::direct_reply::AnswerConsumer;
use crate::limits::BODY_KEEP;
use crate::unacked::UnackedDeliveries;

/// Where the content of a `basic.publish` stands. The buffers are used again for each message.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    expects: Expects,
    /// Payload of the method frame.
    pub(crate) head: Vec<u8>,
    /// Flags and property list.
    pub(crate) properties: Vec<u8>,
    /// What has come of a body that came in more than one frame.
    pub(crate) body: Vec<u8>,
}

/// What the next frame of a channel must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expects {
    #[default]
    Method,
    Header,
    /// Body frames; so many bytes are missing.
    Body {
        missing: u64,
    },
}

impl Incoming {
    pub(crate) fn expects_method(&self) -> bool {
        self.expects == Expects::Method
    }

    pub(crate) fn expects_header(&self) -> bool {
        self.expects == Expects::Header
    }

    /// The body bytes that have not come; `None` if no body is expected.
    pub(crate) fn missing(&self) -> Option<u64> {
        match self.expects {
            Expects::Body { missing } => Some(missing),
            Expects::Method | Expects::Header => None,
        }
    }

    pub(crate) fn begin(&mut self, head: &[u8]) {
        self.head.clear();
        self.head.extend_from_slice(head);
        self.expects = Expects::Header;
    }

    pub(crate) fn header(&mut self, size: u64, properties: &[u8]) {
        self.properties.clear();
        self.properties.extend_from_slice(properties);
        self.expects = Expects::Body { missing: size };
    }

    pub(crate) fn append(&mut self, piece: &[u8], missing: u64) {
        self.body.extend_from_slice(piece);
        self.expects = Expects::Body { missing };
    }

    /// The message is done with.
    pub(crate) fn reset(&mut self) {
        self.expects = Expects::Method;
        self.body.clear();
        self.body.shrink_to(BODY_KEEP);
    }
}

/// Deliveries that came and were not yet written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) consumer: ConsumerId,
    pub(crate) topic: TopicId,
    pub(crate) run: Run,
    /// When it was handed out.
    pub(crate) at: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Channel {
    /// Which opening of its number: answers to an earlier one are not for this.
    pub(crate) epoch: u64,
    /// We sent `channel.close` and wait for the answer; all else is ignored.
    pub(crate) closing: bool,
    pub(crate) confirms: Option<Confirms>,
    pub(crate) incoming: Incoming,
    /// The queue declared last, which the empty name stands for.
    pub(crate) last_queue: Option<Arc<str>>,
    /// Prefetch of consumers to come; 0 sets no limit.
    pub(crate) prefetch: u32,
    /// Unacked deliveries all its consumers together may have.
    pub(crate) shared_prefetch: Option<u32>,
    pub(crate) consumers: HashMap<Arc<str>, ConsumerId>,
    /// Its consumer of direct replies.
    pub(crate) answers: Option<AnswerConsumer>,
    pub(crate) unacked: UnackedDeliveries,
    pub(crate) backlog: VecDeque<Held>,
    next_tag: u64,
}

impl Channel {
    pub(crate) fn new(epoch: u64) -> Self {
        Self {
            epoch,
            closing: false,
            confirms: None,
            incoming: Incoming::default(),
            last_queue: None,
            prefetch: 0,
            shared_prefetch: None,
            consumers: HashMap::new(),
            answers: None,
            unacked: UnackedDeliveries::default(),
            backlog: VecDeque::new(),
            next_tag: 1,
        }
    }

    /// Numbers the next delivery.
    pub(crate) fn tag(&mut self) -> u64 {
        let tag = self.next_tag;
        self.next_tag += 1;
        tag
    }

    /// How many more deliveries may be written before an ack.
    pub(crate) fn room(&self) -> u32 {
        match self.shared_prefetch {
            None => u32::MAX,
            Some(limit) => {
                limit.saturating_sub(u32::try_from(self.unacked.len()).unwrap_or(u32::MAX))
            }
        }
    }
}

/// A standing consumer of the connection.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) channel: u16,
    pub(crate) tag: Arc<str>,
    pub(crate) queue: Arc<str>,
    pub(crate) no_ack: bool,
    pub(crate) credit: Credit,
    pub(crate) prefetch: u32,
    pub(crate) exclusive: bool,
    pub(crate) priority: i32,
}
