//! A connection of our own: whoever serves another interface carries out this protocol's methods
//! by it, with the same checks, limits and words as a client's. It goes through no socket.

use amq_protocol::protocol::{AMQPClass, basic, channel, parse_class};
use amq_protocol::types::FieldTable;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::drive::drive_inside;
use crate::frame::{self, Kind};
use crate::method::{self, short};
use crate::properties::Properties;
use crate::serve::Server;

/// Bytes between the two ends.
const PIPE: usize = 256 << 10;
const CHANNEL: u16 = 1;

/// An error as a client would be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Said {
    /// The reply code.
    pub code: u16,
    /// The reply text, with its name before it.
    pub text: String,
}

impl Said {
    fn lost() -> Self {
        Self {
            code: 320,
            text: "CONNECTION_FORCED - the broker is stopping".into(),
        }
    }
}

/// The properties of a message, of which only those that are said go along.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// Texts by the names of `basic` properties, such as `content_type`; the names are those of
    /// the specification with underscores. `type` and `app_id` are among them.
    pub texts: Vec<(String, String)>,
    /// The header table.
    pub headers: Option<FieldTable>,
    /// 1 or 2.
    pub delivery_mode: Option<u8>,
    /// 0 to 255.
    pub priority: Option<u8>,
    /// Seconds since 1970.
    pub timestamp: Option<u64>,
    /// The body.
    pub body: Vec<u8>,
}

/// The names of properties that are texts.
const TEXTS: [&str; 10] = [
    "content_type",
    "content_encoding",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
];

impl Message {
    fn text(&self, name: &str) -> Option<&[u8]> {
        let found = self.texts.iter().find(|(known, _)| known == name);
        found.map(|(_, text)| {
            let text = text.as_bytes();
            &text[..text.len().min(usize::from(u8::MAX))]
        })
    }

    fn encode(&self) -> Vec<u8> {
        let headers = self.headers.as_ref().map(method::table_bytes);
        let mut raw = Vec::new();
        Properties {
            content_type: self.text("content_type"),
            content_encoding: self.text("content_encoding"),
            headers: headers.as_deref(),
            delivery_mode: self.delivery_mode,
            priority: self.priority,
            correlation_id: self.text("correlation_id"),
            reply_to: self.text("reply_to"),
            expiration: self.text("expiration"),
            message_id: self.text("message_id"),
            timestamp: self.timestamp,
            kind: self.text("type"),
            user_id: self.text("user_id"),
            app_id: self.text("app_id"),
            cluster_id: self.text("cluster_id"),
        }
        .encode(&mut raw);
        raw
    }

    fn decode(raw: &[u8], body: Vec<u8>) -> Self {
        let Ok(properties) = Properties::parse(raw) else {
            return Self {
                body,
                ..Self::default()
            };
        };
        let values = [
            properties.content_type,
            properties.content_encoding,
            properties.correlation_id,
            properties.reply_to,
            properties.expiration,
            properties.message_id,
            properties.kind,
            properties.user_id,
            properties.app_id,
            properties.cluster_id,
        ];
        let texts = TEXTS.iter().zip(values).filter_map(|(name, value)| {
            let value = String::from_utf8_lossy(value?).into_owned();
            Some(((*name).to_owned(), value))
        });
        Self {
            texts: texts.collect(),
            headers: properties.headers.map(method::table_of),
            delivery_mode: properties.delivery_mode,
            priority: properties.priority,
            timestamp: properties.timestamp,
            body,
        }
    }
}

/// A message that was got.
#[derive(Clone, Debug, PartialEq)]
pub struct Got {
    /// To settle it with.
    pub tag: u64,
    /// Not for the first time.
    pub redelivered: bool,
    /// The exchange it was published to.
    pub exchange: String,
    /// The routing key it was published with.
    pub routing_key: String,
    /// How many are left.
    pub left: u32,
    /// What was published.
    pub message: Message,
}

/// One channel of a connection of our own. An error closes it: then another is needed.
pub struct Inside {
    stream: DuplexStream,
    input: BytesMut,
    _stop: DropGuard,
}

impl Inside {
    /// Opens one for a user in a virtual host; neither is looked at here, but every method is
    /// checked against the user's permissions. Without a user it is for whoever runs the program,
    /// who may do everything.
    ///
    /// # Errors
    /// If the broker stops.
    pub async fn open(server: &Server, user: Option<&str>, vhost: &str) -> Result<Self, Said> {
        let (stream, other) = tokio::io::duplex(PIPE);
        let stop = CancellationToken::new();
        let who = (user.map(str::to_owned), vhost.to_owned());
        tokio::spawn(drive_inside(other, server.hall.clone(), who, stop.clone()));
        let mut inside = Self {
            stream,
            input: BytesMut::new(),
            _stop: stop.drop_guard(),
        };
        let open = channel::AMQPMethod::Open(channel::Open {});
        inside.ask(&AMQPClass::Channel(open)).await?;
        Ok(inside)
    }

    /// Carries out a method that has an answer.
    ///
    /// # Errors
    /// What a client would be told; the channel is closed then.
    pub async fn ask(&mut self, method: &AMQPClass) -> Result<AMQPClass, Said> {
        let mut bytes = Vec::new();
        method::put(&mut bytes, CHANNEL, method);
        self.send(&bytes).await?;
        self.answer().await
    }

    /// Publishes a message and waits until it is safe. Whether a queue took it.
    ///
    /// # Errors
    /// What a client would be told; the channel is closed then.
    pub async fn publish(
        &mut self,
        exchange: &str,
        routing_key: &str,
        message: &Message,
    ) -> Result<bool, Said> {
        let select = amq_protocol::protocol::confirm::AMQPMethod::Select(Default::default());
        self.ask(&AMQPClass::Confirm(select)).await?;
        let publish = basic::AMQPMethod::Publish(basic::Publish {
            exchange: short(exchange),
            routing_key: short(routing_key),
            mandatory: true,
            immediate: false,
        });
        let mut bytes = Vec::new();
        method::put(&mut bytes, CHANNEL, &AMQPClass::Basic(publish));
        let frame_max = crate::limits::FRAME_MAX as usize;
        let properties = message.encode();
        frame::put_content(&mut bytes, CHANNEL, frame_max, &properties, &message.body);
        self.send(&bytes).await?;
        let mut routed = true;
        loop {
            match self.answer().await? {
                AMQPClass::Basic(basic::AMQPMethod::Return(_)) => routed = false,
                AMQPClass::Basic(basic::AMQPMethod::Nack(_)) => return Err(Said::lost()),
                _ => return Ok(routed),
            }
        }
    }

    /// Gets a message, if there is one.
    ///
    /// # Errors
    /// What a client would be told; the channel is closed then.
    pub async fn get(&mut self, queue: &str, no_ack: bool) -> Result<Option<Got>, Said> {
        let get = basic::AMQPMethod::Get(basic::Get {
            queue: short(queue),
            no_ack,
        });
        let AMQPClass::Basic(basic::AMQPMethod::GetOk(ok)) =
            self.ask(&AMQPClass::Basic(get)).await?
        else {
            return Ok(None);
        };
        let (kind, header) = self.frame().await?;
        let size = header.get(4..12).and_then(|size| size.try_into().ok());
        let (Kind::Header, Some(size)) = (kind, size) else {
            return Err(Said::lost());
        };
        let size = usize::try_from(u64::from_be_bytes(size)).unwrap_or(usize::MAX);
        let mut body = Vec::new();
        while body.len() < size {
            body.extend_from_slice(&self.frame().await?.1);
        }
        let message = Message::decode(header.get(12..).unwrap_or_default(), body);
        Ok(Some(Got {
            tag: ok.delivery_tag,
            redelivered: ok.redelivered,
            exchange: ok.exchange.to_string(),
            routing_key: ok.routing_key.to_string(),
            left: ok.message_count,
            message,
        }))
    }

    /// Settles what was got: acks it, or gives it back.
    ///
    /// # Errors
    /// If the broker stops.
    pub async fn settle(&mut self, tags: &[u64], ack: bool) -> Result<(), Said> {
        let mut bytes = Vec::new();
        for tag in tags {
            let method = match ack {
                true => basic::AMQPMethod::Ack(basic::Ack {
                    delivery_tag: *tag,
                    multiple: false,
                }),
                false => basic::AMQPMethod::Nack(basic::Nack {
                    delivery_tag: *tag,
                    multiple: false,
                    requeue: true,
                }),
            };
            method::put(&mut bytes, CHANNEL, &AMQPClass::Basic(method));
        }
        self.send(&bytes).await?;
        // Answered when what came before is carried out.
        let qos = basic::AMQPMethod::Qos(basic::Qos::default());
        self.ask(&AMQPClass::Basic(qos)).await.map(|_| ())
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Said> {
        // Both ends are ours, and what is written is read at once: nothing is waited for long.
        let sent = self.stream.write_all(bytes).await;
        sent.map_err(|_| Said::lost())
    }

    /// The next method. What closes the channel is the error.
    async fn answer(&mut self) -> Result<AMQPClass, Said> {
        loop {
            let (kind, payload) = self.frame().await?;
            if kind != Kind::Method {
                // The content of what was returned.
                continue;
            }
            let (code, text) = match parse_class(&payload[..]) {
                Ok((_, AMQPClass::Channel(channel::AMQPMethod::Close(close)))) => {
                    (close.reply_code, close.reply_text.to_string())
                }
                Ok((
                    _,
                    AMQPClass::Connection(amq_protocol::protocol::connection::AMQPMethod::Close(
                        close,
                    )),
                )) => (close.reply_code, close.reply_text.to_string()),
                Ok((_, method)) => return Ok(method),
                Err(_) => return Err(Said::lost()),
            };
            return Err(Said { code, text });
        }
    }

    async fn frame(&mut self) -> Result<(Kind, Vec<u8>), Said> {
        loop {
            let taken = frame::take(&self.input, crate::limits::FRAME_MAX as usize);
            if let Ok(Some(frame)) = taken {
                let (kind, payload, size) = (frame.kind, frame.payload.to_vec(), frame.size());
                bytes::Buf::advance(&mut self.input, size);
                return Ok((kind, payload));
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return Err(Said::lost()),
                Ok(_) => {}
            }
        }
    }
}
