//! What goes wrong, as this protocol says it: reply code, text, and the method that caused it
//! (AMQP 0-9-1, 1.2 and 2.2.4; the texts are those clients know from RabbitMQ).

use forebay_broker::Refusal;

/// Class and method of the method at fault; zeros if there was none.
pub(crate) type MethodId = (u16, u16);

/// A reply code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    NoRoute,
    AccessRefused,
    NotFound,
    ResourceLocked,
    PreconditionFailed,
    ConnectionForced,
    FrameError,
    SyntaxError,
    CommandInvalid,
    ChannelError,
    UnexpectedFrame,
    ResourceError,
    NotAllowed,
    NotImplemented,
    InternalError,
}

impl Code {
    pub(crate) fn number(self) -> u16 {
        self.entry().0
    }

    pub(crate) fn name(self) -> &'static str {
        self.entry().1
    }

    /// Whether it ends the whole connection rather than one channel.
    fn is_hard(self) -> bool {
        !matches!(self.number(), 311..=313 | 403..=406)
    }

    fn entry(self) -> (u16, &'static str) {
        match self {
            Self::NoRoute => (312, "NO_ROUTE"),
            Self::AccessRefused => (403, "ACCESS_REFUSED"),
            Self::NotFound => (404, "NOT_FOUND"),
            Self::ResourceLocked => (405, "RESOURCE_LOCKED"),
            Self::PreconditionFailed => (406, "PRECONDITION_FAILED"),
            Self::ConnectionForced => (320, "CONNECTION_FORCED"),
            Self::FrameError => (501, "FRAME_ERROR"),
            Self::SyntaxError => (502, "SYNTAX_ERROR"),
            Self::CommandInvalid => (503, "COMMAND_INVALID"),
            Self::ChannelError => (504, "CHANNEL_ERROR"),
            Self::UnexpectedFrame => (505, "UNEXPECTED_FRAME"),
            Self::ResourceError => (506, "RESOURCE_ERROR"),
            Self::NotAllowed => (530, "NOT_ALLOWED"),
            Self::NotImplemented => (540, "NOT_IMPLEMENTED"),
            Self::InternalError => (541, "INTERNAL_ERROR"),
        }
    }
}

/// An error on its way to the peer. It closes the channel it came up on, or the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} - {text}", .code.name())]
pub(crate) struct Fault {
    pub(crate) code: Code,
    text: String,
    /// A login refusal is a channel code that ends the connection.
    hard: bool,
}

impl Fault {
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            hard: code.is_hard(),
        }
    }

    /// The same, ending the connection whatever its code.
    pub(crate) fn of_connection(mut self) -> Self {
        self.hard = true;
        self
    }

    /// The same with another word in its text.
    pub(crate) fn replaced(mut self, from: &str, to: &str) -> Self {
        self.text = self.text.replace(from, to);
        self
    }

    pub(crate) fn is_hard(&self) -> bool {
        self.hard
    }

    /// The text a peer reads, cut to a short string.
    pub(crate) fn reply_text(&self) -> String {
        let mut text = self.to_string();
        let mut end = text.len().min(usize::from(u8::MAX));
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text
    }

    pub(crate) fn no_queue(name: &str) -> Self {
        Self::new(Code::NotFound, format!("no queue '{name}' in vhost '/'"))
    }

    pub(crate) fn no_exchange(name: &str) -> Self {
        Self::new(Code::NotFound, format!("no exchange '{name}' in vhost '/'"))
    }

    pub(crate) fn locked(name: &str) -> Self {
        Self::new(
            Code::ResourceLocked,
            format!(
                "cannot obtain exclusive access to locked queue '{name}' in vhost '/'. It could be \
                 originally declared on another connection or the exclusive property value does \
                 not match that of the original declaration."
            ),
        )
    }

    pub(crate) fn precondition(text: impl Into<String>) -> Self {
        Self::new(Code::PreconditionFailed, text)
    }

    pub(crate) fn syntax(text: impl Into<String>) -> Self {
        Self::new(Code::SyntaxError, text)
    }

    /// A broker's answer of a kind its command never has.
    pub(crate) fn unexpected_answer() -> Self {
        Self::new(Code::InternalError, "unexpected answer")
    }
}

/// What a command was about, for the text of its refusal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject<'a> {
    Queue(&'a str),
    Exchange(&'a str),
}

impl Subject<'_> {
    fn shown(self) -> String {
        match self {
            Self::Queue(name) => format!("queue '{name}' in vhost '/'"),
            Self::Exchange(name) => format!("exchange '{name}' in vhost '/'"),
        }
    }

    fn name(&self) -> &str {
        match *self {
            Self::Queue(name) | Self::Exchange(name) => name,
        }
    }
}

/// Turns a broker's refusal into this protocol's words.
pub(crate) fn refused(refusal: &Refusal, subject: Subject<'_>) -> Fault {
    let shown = subject.shown();
    match refusal {
        Refusal::NoSuchTopic => Fault::no_queue(subject.name()),
        Refusal::NoSuchExchange(name) => Fault::no_exchange(name),
        Refusal::TopicLocked => Fault::locked(subject.name()),
        Refusal::InUse => Fault::precondition(format!("{shown} in use")),
        Refusal::NotEmpty => Fault::precondition(format!("{shown} not empty")),
        Refusal::ConsumerExclusive => {
            Fault::new(Code::AccessRefused, format!("{shown} in exclusive use"))
        }
        Refusal::ExchangeInternal(name) => Fault::new(
            Code::AccessRefused,
            format!("cannot publish to internal exchange '{name}' in vhost '/'"),
        ),
        Refusal::ExchangeReserved(name) => Fault::new(
            Code::AccessRefused,
            format!("exchange '{name}' in vhost '/' cannot be changed"),
        ),
        Refusal::TooLarge { size, limit } => Fault::precondition(format!(
            "message size {size} is larger than configured max size {limit}"
        )),
        Refusal::TopicExists(_) | Refusal::ExchangeExists(_) => {
            Fault::precondition(format!("{shown} exists already"))
        }
        Refusal::StorageFull(reason) => Fault::new(Code::ResourceError, &**reason),
        Refusal::Stopping => Fault::new(
            Code::ConnectionForced,
            "broker forced connection closure with reason 'shutdown'",
        ),
        Refusal::NoSuchBinding
        | Refusal::NoSuchPartition
        | Refusal::MoveRunning
        | Refusal::TopicFull
        | Refusal::NoSuchMove
        | Refusal::BeyondEnd { .. }
        | Refusal::PartitionCount { .. }
        | Refusal::Producer(_)
        | Refusal::Group(_)
        | Refusal::Transaction(_) => Fault::new(Code::InternalError, refusal.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_codes_are_soft_and_the_others_end_the_connection() {
        assert!(!Fault::no_queue("q").is_hard());
        assert!(!Fault::precondition("x").is_hard());
        assert!(Fault::syntax("x").is_hard());
        assert!(Fault::new(Code::NotImplemented, "x").is_hard());
        assert!(
            Fault::new(Code::AccessRefused, "x")
                .of_connection()
                .is_hard()
        );
    }

    #[test]
    fn the_reply_text_is_cut_to_a_short_string_between_characters() {
        let text = Fault::no_queue(&"ä".repeat(200)).reply_text();
        assert!(text.starts_with("NOT_FOUND - no queue 'ä"));
        assert!((253..=255).contains(&text.len()));
    }

    #[test]
    fn refusals_name_what_they_are_about() {
        let fault = refused(&Refusal::InUse, Subject::Queue("q"));
        assert_eq!(
            fault.reply_text(),
            "PRECONDITION_FAILED - queue 'q' in vhost '/' in use"
        );
        assert_eq!(
            refused(&Refusal::NoSuchExchange("s".into()), Subject::Queue("q")).reply_text(),
            "NOT_FOUND - no exchange 's' in vhost '/'"
        );
    }
}
