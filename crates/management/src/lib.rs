//! RabbitMQ's management HTTP API, so that its tools (`rabbitmqadmin`, the Terraform provider,
//! KEDA's scaler, the client libraries) find what they look for.
//!
//! It knows nothing of its own: what there is comes from the broker's directory, the settings and
//! the connections, and what is to be done is carried out by a connection of our own
//! (`forebay_amqp::Inside`), with the caller's permissions and in the caller's name, or is a change
//! of settings. Absent from here: the listener, which the console has, and files.

mod answer;
mod caller;
mod definitions;
mod desk;
mod health;
mod listing;
mod metrics;
mod operate;
mod overview;
mod rates;
mod resources;
mod routes;
mod settings;
mod table;

pub use definitions::{ImportError, import};
pub use desk::{Management, Options};
pub use routes::routes;
