//! One connection as a state machine: bytes and broker events go in, bytes and broker commands
//! come out. No socket, no clock and no waiting in here; [`crate::drive`] supplies those.

mod channels;
mod commands;
mod ending;
mod input;
mod publishing;
mod report;
mod zero;

use std::sync::Arc;

use forebay_access::Access;
use forebay_base::{SessionId, Timestamp};
use forebay_broker::{
    Command, ConsumerId, Directory, ExchangeInfo, RequestId, TopicInfo, namespace,
};
use hashbrown::HashMap;

use crate::Options;
use crate::channel::{Channel, Consumer};
use crate::control::Waiting;
use crate::direct_reply::Desk;
use crate::error::{Code, Fault};
use crate::handshake::{Limits, Peer};
use crate::method::MethodError;
use crate::names::Scope;
use crate::outbox::Outbox;
use crate::publish::{Group, Publisher};
use crate::rights::Rights;
use crate::roster::{Place, Roster};
use crate::settle::Settler;

/// The topics and exchanges, as the machine looks them up.
pub(crate) trait Catalogue {
    fn topic(&self, name: &str) -> Option<Arc<TopicInfo>>;
    fn exchange(&self, name: &str) -> Option<Arc<ExchangeInfo>>;
    fn routes_by_fields(&self, exchange: &str) -> bool;
    fn refuses_messages(&self) -> bool;
    /// How many topics have names that begin so and are of no further namespace, counted no
    /// further than `at_most`.
    fn count(&self, prefix: &str, at_most: usize) -> usize;
}

impl Catalogue for Directory {
    fn topic(&self, name: &str) -> Option<Arc<TopicInfo>> {
        self.topic(name)
    }

    fn exchange(&self, name: &str) -> Option<Arc<ExchangeInfo>> {
        self.exchange(name)
    }

    fn refuses_messages(&self) -> bool {
        self.refuses_messages()
    }

    fn routes_by_fields(&self, exchange: &str) -> bool {
        self.routes_by_fields(exchange)
    }

    fn count(&self, prefix: &str, at_most: usize) -> usize {
        let names = self.topics(prefix, None, usize::MAX);
        let here = names
            .iter()
            .filter(|topic| namespace::split(&topic.name).0 == prefix);
        here.take(at_most).count()
    }
}

/// What surrounds a step of the machine.
#[derive(Clone, Copy)]
pub(crate) struct World<'a> {
    pub(crate) catalogue: &'a dyn Catalogue,
    pub(crate) desk: &'a Desk,
    pub(crate) now: Timestamp,
    pub(crate) access: &'a Access,
    /// Another number than before if `access` is another.
    pub(crate) access_version: u64,
    pub(crate) roster: &'a Roster,
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
    pub(crate) peer: Peer,
    /// The peer is on the same machine.
    loopback: bool,
    pub(crate) scope: Scope,
    pub(crate) rights: Rights,
    /// Among the open connections; none before it is open, and none for one of our own.
    pub(crate) place: Option<Place>,
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
    pub(crate) fn new(
        options: Arc<Options>,
        session: SessionId,
        seed: u128,
        loopback: bool,
    ) -> Self {
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
            loopback,
            scope: Scope::default(),
            rights: Rights::default(),
            place: None,
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

    /// A connection of our own, open from the first, for a user who was recognised elsewhere, or
    /// for whoever runs the program.
    pub(crate) fn inside(
        options: Arc<Options>,
        session: SessionId,
        seed: u128,
        (user, vhost): (Option<&str>, &str),
    ) -> Self {
        Self {
            phase: Phase::Running,
            scope: Scope::of(vhost),
            rights: user.map_or_else(Rights::unlimited, Rights::of),
            ..Self::new(options, session, seed, true)
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

#[cfg(test)]
mod tests;
