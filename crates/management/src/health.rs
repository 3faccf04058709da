//! Checks of health (<https://www.rabbitmq.com/docs/monitoring#health-checks>).

use std::net::SocketAddr;

use amq_protocol::protocol::{AMQPClass, queue};
use forebay_amqp::Message;
use forebay_broker::Pressure;
use serde_json::json;

use crate::answer::{Answer, Result, Wrong};
use crate::operate;
use crate::routes::Asked;

/// The queue of the aliveness test.
const ALIVE: &str = "aliveness-test";

pub(crate) async fn answer(asked: &Asked<'_>, path: &[&str]) -> Result {
    let ok = || Ok(Answer::Json(json!({"status": "ok"})));
    match path {
        ["aliveness-test", vhost] => aliveness(asked, vhost).await,
        ["healthchecks", ..] => ok(),
        ["health", "checks", check, rest @ ..] => match (*check, rest) {
            ("alarms" | "local-alarms", _) => match &*asked.desk.broker.pressure().borrow() {
                Pressure::None => ok(),
                Pressure::StorageFull(why) => Err(Wrong::Unavailable(why.to_string())),
            },
            ("port-listener", [port]) => {
                let listens = |at: &SocketAddr| at.port().to_string() == *port;
                match asked
                    .desk
                    .options
                    .listeners
                    .iter()
                    .any(|(_, at)| listens(at))
                {
                    true => ok(),
                    false => Err(Wrong::Unavailable("No active listener".into())),
                }
            }
            ("protocol-listener", [protocol]) => {
                let meant = match *protocol {
                    "amqp091" | "amqp" => "amqp",
                    other => other,
                };
                match asked
                    .desk
                    .options
                    .listeners
                    .iter()
                    .any(|(name, _)| name == meant)
                {
                    true => ok(),
                    false => Err(Wrong::Unavailable("No active listener".into())),
                }
            }
            _ => ok(),
        },
        _ => Err(Wrong::NotFound),
    }
}

/// Publishes a message and takes it out again.
async fn aliveness(asked: &Asked<'_>, vhost: &str) -> Result {
    let mut channel = operate::channel(asked, vhost).await?;
    let declare = queue::AMQPMethod::Declare(queue::Declare {
        queue: ALIVE.into(),
        ..queue::Declare::default()
    });
    channel.ask(&AMQPClass::Queue(declare)).await?;
    let message = Message {
        body: b"test_message".to_vec(),
        ..Message::default()
    };
    channel.publish("", ALIVE, &message).await?;
    match channel.get(ALIVE, true).await? {
        Some(_) => Ok(Answer::Json(json!({"status": "ok"}))),
        None => Err(Wrong::Unavailable("the message did not come back".into())),
    }
}
