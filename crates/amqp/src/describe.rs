//! Queues, exchanges and bindings as whoever declared them said them: the way back from what the
//! broker keeps.

use amq_protocol::types::{AMQPValue, FieldTable};
use forebay_access::{Effective, Subject, place_of};
use forebay_broker::{Conditions, ExchangeInfo, ExchangeKind, FieldValue, TopicInfo};

use crate::arguments::{Arguments, read_canonical};
use crate::methods::exchange::kind_name;
use crate::methods::queue::{QUEUE_TYPE, is_declared};

/// A queue as it was declared.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueFacts {
    /// Its virtual host.
    pub vhost: String,
    /// Its name there.
    pub name: String,
    /// It survives a restart.
    pub durable: bool,
    /// It goes with its last consumer.
    pub auto_delete: bool,
    /// It goes with its connection.
    pub exclusive: bool,
    /// `classic`, `quorum` or `stream`.
    pub kind: &'static str,
    /// Its arguments.
    pub arguments: FieldTable,
    /// A client of this protocol declared it, so policies apply.
    pub declared: bool,
}

impl QueueFacts {
    /// What a topic is to this protocol. One that other protocols made is a durable queue, and one
    /// that keeps records whoever read them is a stream.
    pub fn of(topic: &TopicInfo) -> Self {
        let (vhost, name) = place_of(&topic.name);
        let config = &topic.config;
        let arguments = Arguments::from_labels(&config.labels);
        let kind = match arguments.get(QUEUE_TYPE).and_then(|value| value.text()) {
            Some("quorum") => "quorum",
            Some("stream") => "stream",
            None if !config.retention.until_settled => "stream",
            _ => "classic",
        };
        Self {
            vhost: vhost.into_owned(),
            name: name.to_owned(),
            durable: !config.lifetime.transient,
            auto_delete: config.lifetime.auto_delete,
            exclusive: config.exclusive.is_some(),
            kind,
            arguments: arguments.to_table(),
            declared: is_declared(config),
        }
    }

    /// What policies look at.
    pub fn subject(&self) -> Subject {
        match self.kind {
            "quorum" => Subject::QuorumQueue,
            "stream" => Subject::Stream,
            _ => Subject::ClassicQueue,
        }
    }

    /// What policies make of it.
    pub fn effective(&self, access: &forebay_access::Access) -> Effective {
        match self.declared {
            true => access.effective(&self.vhost, &self.name, self.subject()),
            false => Effective::default(),
        }
    }
}

/// An exchange as it was declared.
#[derive(Clone, Debug, PartialEq)]
pub struct ExchangeFacts {
    /// Its virtual host.
    pub vhost: String,
    /// Its name there.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// It survives a restart.
    pub durable: bool,
    /// It goes with its last binding.
    pub auto_delete: bool,
    /// Clients may not publish to it.
    pub internal: bool,
    /// Its arguments.
    pub arguments: FieldTable,
}

impl ExchangeFacts {
    /// What an exchange is to this protocol.
    pub fn of(exchange: &ExchangeInfo) -> Self {
        let (vhost, name) = place_of(&exchange.name);
        let config = &exchange.config;
        Self {
            vhost: vhost.into_owned(),
            name: name.to_owned(),
            kind: kind_name(config.kind).to_owned(),
            durable: config.durable,
            auto_delete: config.auto_delete,
            internal: config.internal,
            arguments: Arguments::from_labels(&config.labels).to_table(),
        }
    }
}

/// The arguments of a binding, from the text in which the broker keeps them. `source` is the kind
/// of the exchange it leaves.
pub fn binding_arguments(source: Option<ExchangeKind>, text: &str) -> FieldTable {
    match (source, Conditions::read(text)) {
        (Some(ExchangeKind::Fields), Some(conditions)) => conditions_table(&conditions),
        _ => read_canonical(text).to_table(),
    }
}

fn conditions_table(conditions: &Conditions) -> FieldTable {
    let mut table = FieldTable::default();
    let with_x = conditions.list.iter().any(|one| one.name.starts_with("x-"));
    let how = match (conditions.any, with_x) {
        (true, false) => "any",
        (false, false) => "all",
        (true, true) => "any-with-x",
        (false, true) => "all-with-x",
    };
    table.insert("x-match".into(), AMQPValue::LongString(how.into()));
    for one in &conditions.list {
        let value = one.value.as_ref().map_or(AMQPValue::Void, value_of);
        table.insert(one.name.as_str().into(), value);
    }
    table
}

fn value_of(value: &FieldValue) -> AMQPValue {
    let text = || AMQPValue::LongString(value.text.as_str().into());
    match value.class {
        Some('b') => AMQPValue::Boolean(value.text == "true"),
        Some('i') => value
            .text
            .parse()
            .map_or_else(|_| text(), AMQPValue::LongLongInt),
        Some('f') => value
            .text
            .parse()
            .map_or_else(|_| text(), AMQPValue::Double),
        _ => text(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_binding_of_a_headers_exchange_asks_for_comes_back() {
        let mut given = FieldTable::default();
        given.insert("x-match".into(), AMQPValue::LongString("any".into()));
        given.insert("colour".into(), AMQPValue::LongString("red".into()));
        given.insert("size".into(), AMQPValue::LongLongInt(7));
        given.insert("new".into(), AMQPValue::Boolean(true));
        let inside = crate::method::table_bytes(&given);
        let text = crate::route::conditions(&inside).unwrap().to_text();
        assert_eq!(binding_arguments(Some(ExchangeKind::Fields), &text), given);
    }

    #[test]
    fn what_any_other_binding_carries_comes_back() {
        let mut given = FieldTable::default();
        given.insert("a\"b".into(), AMQPValue::LongString("1,2=\"3\"".into()));
        given.insert("n".into(), AMQPValue::LongInt(-7));
        let text = crate::arguments::canonical(&given);
        assert_eq!(binding_arguments(Some(ExchangeKind::Direct), &text), given);
        assert_eq!(binding_arguments(None, ""), FieldTable::default());
    }
}
