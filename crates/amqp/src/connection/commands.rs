//! Commands to the broker and its replies.

use amq_protocol::protocol::AMQPClass;
use forebay_broker::{Command, Durability, Publish, Refusal, Reply, RequestId, WhenFull};

use super::{Connection, Queued, Then};
use crate::control::{Control, Waiting};
use crate::method;
use crate::methods;

impl Connection {
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
        let mut commands = std::mem::take(&mut self.commands);
        for queued in &mut commands {
            self.scope.enter(&mut queued.command);
        }
        commands
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
        let result = self.scope.leave(result);
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
