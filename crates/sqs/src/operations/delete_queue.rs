//! `DeleteQueue`: deletes the queue with its messages. Its name cannot be given again for
//! a minute.

use forebay_broker::Expectation;
use serde::Deserialize;

use crate::error::Fault;
use crate::json::{self, Text};
use crate::queue_name;
use crate::server::Server;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Request<'a> {
    #[serde(borrow, default)]
    queue_url: Option<Text<'a>>,
}

impl<'a> Request<'a> {
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, Fault> {
        let request: Self = json::read(body)?;
        queue_name::from_url(&request.queue_url)?;
        Ok(request)
    }
}

pub(crate) async fn run(server: &Server, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let request = Request::read(body)?;
    let queue = server.queue(&request.queue_url)?;
    server
        .broker
        .delete_topic(queue.id, Expectation::default())
        .await?;
    Ok(json::EMPTY.to_vec())
}
