//! The shop: one route. It writes the order, publishes the event, and returns.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Connection};
use rusqlite::params;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::topology::{self, EXCHANGE, ORDER_CREATED};

/// Every so many-th event is published twice, as after a confirm that was lost on the way.
const TWICE_EVERY: usize = 10;

/// What the customer sends.
#[derive(Deserialize)]
struct NewOrder {
    email: String,
    item: String,
    cents: u64,
}

/// What happened, for whoever wants to know.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct OrderCreated {
    pub(crate) order: String,
    pub(crate) email: String,
    pub(crate) item: String,
    pub(crate) cents: u64,
}

struct Counter {
    database: Mutex<rusqlite::Connection>,
    channel: Channel,
    // The channel lives as long as its connection.
    _connection: Connection,
    orders: AtomicUsize,
    twice: AtomicUsize,
    revenue: AtomicU64,
}

/// The open shop.
pub(crate) struct Shop {
    address: SocketAddr,
    counter: Arc<Counter>,
}

impl Shop {
    /// Where it takes orders.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many events were published twice.
    pub(crate) fn published_twice(&self) -> usize {
        self.counter.twice.load(Ordering::Relaxed)
    }

    /// What all orders are worth, in cents.
    pub(crate) fn revenue(&self) -> u64 {
        self.counter.revenue.load(Ordering::Relaxed)
    }
}

/// Opens the shop on a free port.
pub(crate) async fn open(amqp: &str, dir: &Path) -> Shop {
    let database = rusqlite::Connection::open(dir.join("orders.sqlite")).expect("a database file");
    let schema = "PRAGMA journal_mode = WAL;
         CREATE TABLE orders (id TEXT PRIMARY KEY, email TEXT, item TEXT, cents INTEGER, published INTEGER DEFAULT 0);";
    database.execute_batch(schema).expect("a new database");
    let connection = topology::connect(amqp).await.expect("Forebay runs");
    let channel = connection.create_channel().await.expect("a channel");
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .expect("confirms");
    let counter = Arc::new(Counter {
        database: Mutex::new(database),
        channel,
        _connection: connection,
        orders: AtomicUsize::new(0),
        twice: AtomicUsize::new(0),
        revenue: AtomicU64::new(0),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let routes = Router::new()
        .route("/orders", post(take_order))
        .with_state(counter.clone());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Shop { address, counter }
}

async fn take_order(
    State(counter): State<Arc<Counter>>,
    Json(new): Json<NewOrder>,
) -> (StatusCode, Json<OrderCreated>) {
    let event = OrderCreated {
        order: Uuid::now_v7().to_string(),
        email: new.email,
        item: new.item,
        cents: new.cents,
    };
    let insert = "INSERT INTO orders (id, email, item, cents) VALUES (?1, ?2, ?3, ?4)";
    {
        let database = counter.database.lock().await;
        let row = params![
            event.order,
            event.email,
            event.item,
            event.cents.cast_signed()
        ];
        database.execute(insert, row).expect("the order is written");
    }
    counter.revenue.fetch_add(event.cents, Ordering::Relaxed);

    // From here on the order stands. What is not marked as published would be published at the next
    // start of the shop, perhaps a second time: consumers must bear that, and do.
    publish(&counter.channel, &event).await;
    if counter.orders.fetch_add(1, Ordering::Relaxed) % TWICE_EVERY == 3 {
        publish(&counter.channel, &event).await;
        counter.twice.fetch_add(1, Ordering::Relaxed);
    }
    let mark = "UPDATE orders SET published = 1 WHERE id = ?1";
    counter
        .database
        .lock()
        .await
        .execute(mark, [&event.order])
        .expect("the order is marked");
    (StatusCode::ACCEPTED, Json(event))
}

async fn publish(channel: &Channel, event: &OrderCreated) {
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(2)
        // The same event has the same id, however often it is published.
        .with_message_id(event.order.as_str().into())
        .with_type("OrderCreated".into());
    let body = serde_json::to_vec(event).expect("an event is JSON");
    let options = BasicPublishOptions {
        mandatory: true,
        ..Default::default()
    };
    let confirm = channel.basic_publish(
        EXCHANGE.into(),
        ORDER_CREATED.into(),
        options,
        &body,
        properties,
    );
    let confirmed = confirm
        .await
        .expect("basic.publish")
        .await
        .expect("a confirm");
    assert!(
        confirmed.is_ack() && confirmed.take_message().is_none(),
        "the event is stored and routed"
    );
}
