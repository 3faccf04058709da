//! Queues, exchanges and bindings: shown from the directory, and changed by a connection of our
//! own, in the caller's name.

use std::sync::Arc;

use amq_protocol::protocol::{AMQPClass, exchange, queue};
use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use forebay_access::prefix_of;
use forebay_amqp::{ExchangeFacts, Got, Inside, Message};
use forebay_broker::{Durability, Publish, TopicInfo, WhenFull};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use crate::answer::{Answer, Result, Wrong};
use crate::listing;
use crate::resources;
use crate::routes::Asked;
use crate::table;

/// The name paths have for the default exchange.
const DEFAULT: &str = "amq.default";

/// `queues`, `exchanges` and `bindings`.
pub(crate) async fn answer(asked: &Asked<'_>, method: &Method, path: &[&str]) -> Result {
    match path {
        [what] | [what, _] if method == Method::GET => {
            let vhost = path.get(1).copied();
            if let Some(vhost) = vhost {
                asked.caller.must_see(vhost)?;
            }
            match *what {
                "queues" if vhost == Some("detailed") => {
                    asked.list(resources::queues(asked, None).await?)
                }
                "queues" => asked.list(resources::queues(asked, vhost).await?),
                "exchanges" => asked.list(resources::exchanges(asked, vhost)),
                _ => asked.list(resources::bindings(asked, vhost).await?),
            }
        }
        ["queues", vhost, name, rest @ ..] => queues(asked, method, vhost, name, rest).await,
        ["exchanges", vhost, name, rest @ ..] => {
            let name = if *name == DEFAULT { "" } else { *name };
            exchanges(asked, method, vhost, name, rest).await
        }
        [
            "bindings",
            vhost,
            "e",
            source,
            kind @ ("q" | "e"),
            destination,
            rest @ ..,
        ] => {
            let source = if *source == DEFAULT { "" } else { *source };
            let place = Place {
                vhost,
                source,
                destination,
                to_queue: *kind == "q",
            };
            bindings(asked, method, &place, rest).await
        }
        _ => Err(Wrong::NotFound),
    }
}

fn text<'a>(body: &'a Value, key: &str) -> &'a str {
    body[key].as_str().unwrap_or_default()
}

/// A truth, perhaps written as text.
fn flag(body: &Value, key: &str, missing: bool) -> Result<bool> {
    match &body[key] {
        Value::Null => Ok(missing),
        Value::Bool(value) => Ok(*value),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        other => Err(Wrong::Request(format!(
            "{key} is neither true nor false: {other}"
        ))),
    }
}

fn number(body: &Value, key: &str) -> Option<u64> {
    let value = &body[key];
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

pub(crate) async fn channel(asked: &Asked<'_>, vhost: &str) -> Result<Inside> {
    asked.caller.must_enter(vhost)?;
    let user = (!asked.caller.unlimited).then_some(&*asked.caller.user);
    Ok(Inside::open(&asked.desk.server, user, vhost).await?)
}

/// What one method of AMQP does, in the caller's name.
async fn carry_out(asked: &Asked<'_>, vhost: &str, method: &AMQPClass) -> Result<()> {
    channel(asked, vhost).await?.ask(method).await?;
    Ok(())
}

// ---- queues ------------------------------------------------------------------------------------

fn find(asked: &Asked<'_>, vhost: &str, name: &str) -> Option<Arc<TopicInfo>> {
    let whole = format!("{}{name}", prefix_of(vhost));
    asked.desk.broker.directory().topic(&whole)
}

async fn queues(
    asked: &Asked<'_>,
    method: &Method,
    vhost: &str,
    name: &str,
    rest: &[&str],
) -> Result {
    asked.caller.must_see(vhost)?;
    let found = find(asked, vhost, name);
    match (method, rest) {
        (&Method::PUT, []) => {
            let body = asked.json()?;
            declare_queue(asked, vhost, name, &body).await?;
            Ok(match found {
                Some(_) => Answer::Done,
                None => Answer::Created,
            })
        }
        (_, rest) => {
            let topic = found.ok_or(Wrong::NotFound)?;
            on_queue(asked, method, (vhost, name), &topic, rest).await
        }
    }
}

async fn on_queue(
    asked: &Asked<'_>,
    method: &Method,
    (vhost, name): (&str, &str),
    topic: &TopicInfo,
    rest: &[&str],
) -> Result {
    match (method, rest) {
        (&Method::GET, []) => asked.one(resources::one_queue(asked, topic).await?),
        (&Method::DELETE, []) => {
            let delete = queue::AMQPMethod::Delete(queue::Delete {
                queue: name.into(),
                if_unused: listing::is_asked(asked.query, "if-unused"),
                if_empty: listing::is_asked(asked.query, "if-empty"),
                nowait: false,
            });
            carry_out(asked, vhost, &AMQPClass::Queue(delete)).await?;
            Ok(Answer::Done)
        }
        (&Method::DELETE, ["contents"]) => {
            let purge = queue::AMQPMethod::Purge(queue::Purge {
                queue: name.into(),
                nowait: false,
            });
            carry_out(asked, vhost, &AMQPClass::Queue(purge)).await?;
            Ok(Answer::Done)
        }
        (&Method::GET, ["bindings"]) => {
            let mut all = resources::bindings(asked, Some(vhost)).await?;
            all.retain(|one| one["destination"] == name && one["destination_type"] == "queue");
            asked.list(all)
        }
        (&Method::POST, ["get"]) => get(asked, vhost, name).await,
        (&Method::POST, ["actions"]) => match text(&asked.json()?, "action") {
            "sync" | "cancel_sync" => Ok(Answer::Done),
            other => Err(Wrong::Request(format!("unknown action {other}"))),
        },
        _ => Err(Wrong::NotFound),
    }
}

/// Declares a queue as a client would.
pub(crate) async fn declare_queue(
    asked: &Asked<'_>,
    vhost: &str,
    name: &str,
    body: &Value,
) -> Result<()> {
    if name.is_empty() {
        return Err(Wrong::Request("a queue has a name".into()));
    }
    let default = asked.caller.access.vhosts().get(vhost);
    let default = default.and_then(|vhost| vhost.default_queue_type.clone());
    let mut arguments = body["arguments"].clone();
    let quorum = default.filter(|kind| kind == "quorum" && arguments["x-queue-type"].is_null());
    if let Some(kind) = quorum {
        if !arguments.is_object() {
            arguments = json!({});
        }
        arguments["x-queue-type"] = json!(kind);
    }
    let declare = queue::AMQPMethod::Declare(queue::Declare {
        queue: name.into(),
        passive: false,
        durable: flag(body, "durable", true)?,
        exclusive: false,
        auto_delete: flag(body, "auto_delete", false)?,
        nowait: false,
        arguments: table::of_json(&arguments),
    });
    carry_out(asked, vhost, &AMQPClass::Queue(declare)).await
}

async fn get(asked: &Asked<'_>, vhost: &str, name: &str) -> Result {
    let body = asked.json()?;
    let count = number(&body, "count").ok_or_else(|| Wrong::Request("count is missing".into()))?;
    let ackmode = match text(&body, "ackmode") {
        "" if body["requeue"] == json!(false) => "ack_requeue_false",
        "" => "ack_requeue_true",
        given => given,
    };
    let keeps = match ackmode {
        "ack_requeue_true" | "reject_requeue_true" => true,
        "ack_requeue_false" | "reject_requeue_false" => false,
        other => return Err(Wrong::Request(format!("unknown ackmode {other}"))),
    };
    let as_base64 = text(&body, "encoding") == "base64";
    let truncate = number(&body, "truncate").map_or(usize::MAX, |bytes| bytes as usize);
    let mut channel = channel(asked, vhost).await?;
    let (mut shown, mut tags) = (Vec::new(), Vec::new());
    while (shown.len() as u64) < count {
        let Some(got) = channel.get(name, false).await? else {
            break;
        };
        tags.push(got.tag);
        shown.push(message(&got, as_base64, truncate));
    }
    channel.settle(&tags, !keeps).await?;
    Ok(Answer::Json(Value::Array(shown)))
}

fn message(got: &Got, as_base64: bool, truncate: usize) -> Value {
    let message = &got.message;
    let body = &message.body[..message.body.len().min(truncate)];
    let (payload, encoding) = match std::str::from_utf8(body) {
        Ok(text) if !as_base64 => (text.to_owned(), "string"),
        _ => (STANDARD.encode(body), "base64"),
    };
    let mut properties = Map::new();
    for (name, text) in &message.texts {
        properties.insert(name.clone(), json!(text));
    }
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            properties.insert(name.to_owned(), value);
        }
    };
    put("delivery_mode", message.delivery_mode.map(Value::from));
    put("priority", message.priority.map(Value::from));
    put("timestamp", message.timestamp.map(Value::from));
    put("headers", message.headers.as_ref().map(table::to_json));
    json!({
        "payload": payload,
        "payload_encoding": encoding,
        "payload_bytes": message.body.len(),
        "redelivered": got.redelivered,
        "exchange": got.exchange,
        "routing_key": got.routing_key,
        "message_count": got.left,
        "properties": properties,
    })
}

// ---- exchanges ---------------------------------------------------------------------------------

async fn exchanges(
    asked: &Asked<'_>,
    method: &Method,
    vhost: &str,
    name: &str,
    rest: &[&str],
) -> Result {
    asked.caller.must_see(vhost)?;
    let whole = format!("{}{name}", prefix_of(vhost));
    let known = asked.desk.broker.directory().exchange(&whole);
    match (method, rest) {
        (&Method::PUT, []) => {
            declare_exchange(asked, vhost, name, &asked.json()?).await?;
            return Ok(match known {
                Some(_) => Answer::Done,
                None => Answer::Created,
            });
        }
        _ if known.is_none() && !name.is_empty() => return Err(Wrong::NotFound),
        _ => {}
    }
    match (method, rest) {
        (&Method::GET, []) => asked.one(Some(match known {
            Some(known) => resources::exchange(asked, &ExchangeFacts::of(&known)),
            None => resources::default_exchange(vhost),
        })),
        (&Method::DELETE, []) => {
            let delete = exchange::AMQPMethod::Delete(exchange::Delete {
                exchange: name.into(),
                if_unused: listing::is_asked(asked.query, "if-unused"),
                nowait: false,
            });
            carry_out(asked, vhost, &AMQPClass::Exchange(delete)).await?;
            Ok(Answer::Done)
        }
        (&Method::POST, ["publish"]) => publish(asked, vhost, name).await,
        (&Method::GET, ["bindings", side @ ("source" | "destination")]) => {
            let mut all = resources::bindings(asked, Some(vhost)).await?;
            all.retain(|one| match *side {
                "source" => one["source"] == name,
                _ => one["destination"] == name && one["destination_type"] == "exchange",
            });
            asked.list(all)
        }
        _ => Err(Wrong::NotFound),
    }
}

/// Declares an exchange as a client would.
pub(crate) async fn declare_exchange(
    asked: &Asked<'_>,
    vhost: &str,
    name: &str,
    body: &Value,
) -> Result<()> {
    let kind = match text(body, "type") {
        "" => "direct",
        kind => kind,
    };
    let declare = exchange::AMQPMethod::Declare(exchange::Declare {
        exchange: name.into(),
        kind: kind.into(),
        passive: false,
        durable: flag(body, "durable", true)?,
        auto_delete: flag(body, "auto_delete", false)?,
        internal: flag(body, "internal", false)?,
        nowait: false,
        arguments: table::of_json(&body["arguments"]),
    });
    carry_out(asked, vhost, &AMQPClass::Exchange(declare)).await
}

async fn publish(asked: &Asked<'_>, vhost: &str, exchange: &str) -> Result {
    let body = asked.json()?;
    let payload = body["payload"].as_str();
    let payload = payload.ok_or_else(|| Wrong::Request("payload is missing".into()))?;
    let content = match text(&body, "payload_encoding") {
        "base64" => STANDARD
            .decode(payload)
            .map_err(|error| Wrong::Request(error.to_string()))?,
        _ => payload.as_bytes().to_vec(),
    };
    let mut message = Message {
        body: content,
        ..Message::default()
    };
    for (name, value) in body["properties"].as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("headers", value) => message.headers = Some(table::of_json(value)),
            ("delivery_mode", value) => {
                message.delivery_mode = value.as_u64().and_then(|mode| mode.try_into().ok());
            }
            ("priority", value) => {
                message.priority = value.as_u64().and_then(|mode| mode.try_into().ok());
            }
            ("timestamp", value) => message.timestamp = value.as_u64(),
            (name, Value::String(text)) => message.texts.push((name.into(), text.clone())),
            (name, value) => message.texts.push((name.into(), value.to_string())),
        }
    }
    let key = text(&body, "routing_key");
    let mut channel = channel(asked, vhost).await?;
    let routed = channel.publish(exchange, key, &message).await?;
    // One that need not survive a restart is confirmed before its queue shows it.
    let nothing = Publish {
        messages: Vec::new(),
        durability: Durability::Synced,
        when_full: WhenFull::Refuse,
    };
    asked.desk.broker.publish(nothing).await?;
    Ok(Answer::Json(json!({"routed": routed})))
}

// ---- bindings ----------------------------------------------------------------------------------

struct Place<'a> {
    vhost: &'a str,
    source: &'a str,
    destination: &'a str,
    to_queue: bool,
}

impl Place<'_> {
    fn is_of(&self, binding: &Value) -> bool {
        let kind = if self.to_queue { "queue" } else { "exchange" };
        binding["source"] == self.source
            && binding["destination"] == self.destination
            && binding["destination_type"] == kind
    }
}

async fn bindings(asked: &Asked<'_>, method: &Method, place: &Place<'_>, rest: &[&str]) -> Result {
    asked.caller.must_see(place.vhost)?;
    match (method, rest) {
        (&Method::POST, []) => {
            let body = asked.json()?;
            let key = text(&body, "routing_key");
            bind(asked, place, key, &body["arguments"], true).await?;
            // Clients take the last part for the binding's name.
            let name = resources::properties_key(key, &body["arguments"]);
            let name = utf8_percent_encode(&name, NON_ALPHANUMERIC);
            let destination = utf8_percent_encode(place.destination, NON_ALPHANUMERIC);
            Ok(Answer::CreatedAt(format!("{destination}/{name}")))
        }
        (_, rest) => {
            let mut all = resources::bindings(asked, Some(place.vhost)).await?;
            all.retain(|one| place.is_of(one));
            match (method, rest) {
                (&Method::GET, []) => asked.list(all),
                (_, [properties]) => {
                    let is_meant = |one: &Value| {
                        one["properties_key"] == **properties || encoded(one, properties)
                    };
                    let found = all.into_iter().find(is_meant).ok_or(Wrong::NotFound)?;
                    match *method {
                        Method::GET => Ok(listing::one(found, asked.query)),
                        Method::DELETE => {
                            let key = text(&found, "routing_key");
                            bind(asked, place, key, &found["arguments"], false).await?;
                            Ok(Answer::Done)
                        }
                        _ => Err(Wrong::Method),
                    }
                }
                _ => Err(Wrong::NotFound),
            }
        }
    }
}

/// The path gave the properties key once decoded: compared with the key decoded likewise.
fn encoded(binding: &Value, given: &str) -> bool {
    let own = text(binding, "properties_key");
    let own = percent_encoding::percent_decode_str(own).decode_utf8_lossy();
    own == given
}

async fn bind(
    asked: &Asked<'_>,
    place: &Place<'_>,
    key: &str,
    arguments: &Value,
    adds: bool,
) -> Result<()> {
    use exchange::AMQPMethod as Exchange;
    use queue::AMQPMethod as Queue;
    let arguments = table::of_json(arguments);
    let (source, destination) = (place.source, place.destination);
    let method = match (place.to_queue, adds) {
        (true, true) => AMQPClass::Queue(Queue::Bind(queue::Bind {
            queue: destination.into(),
            exchange: source.into(),
            routing_key: key.into(),
            nowait: false,
            arguments,
        })),
        (true, false) => AMQPClass::Queue(Queue::Unbind(queue::Unbind {
            queue: destination.into(),
            exchange: source.into(),
            routing_key: key.into(),
            arguments,
        })),
        (false, true) => AMQPClass::Exchange(Exchange::Bind(exchange::Bind {
            destination: destination.into(),
            source: source.into(),
            routing_key: key.into(),
            nowait: false,
            arguments,
        })),
        (false, false) => AMQPClass::Exchange(Exchange::Unbind(exchange::Unbind {
            destination: destination.into(),
            source: source.into(),
            routing_key: key.into(),
            nowait: false,
            arguments,
        })),
    };
    carry_out(asked, place.vhost, &method).await
}

/// Makes a binding as a file of definitions has it.
pub(crate) async fn define_binding(asked: &Asked<'_>, vhost: &str, body: &Value) -> Result<()> {
    let place = Place {
        vhost,
        source: text(body, "source"),
        destination: text(body, "destination"),
        to_queue: text(body, "destination_type") != "exchange",
    };
    if place.source.is_empty() {
        return Ok(());
    }
    bind(
        asked,
        &place,
        text(body, "routing_key"),
        &body["arguments"],
        true,
    )
    .await
}
