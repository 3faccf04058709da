//! `GetQueueUrl`: the URL of a queue by its name. The owner's account is not looked at.

use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::json::{self, Text};
use crate::origin::Origin;
use crate::server::Server;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Request<'a> {
    #[serde(borrow, default)]
    queue_name: Option<Text<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    queue_url: String,
}

impl<'a> Request<'a> {
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, Fault> {
        json::read(body)
    }
}

pub(crate) fn run(server: &Server, origin: Origin<'_>, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let request = Request::read(body)?;
    let name = request.queue_name.as_ref().map(Text::as_str);
    let name = name
        .filter(|name| !name.is_empty())
        .ok_or_else(|| Fault::missing("QueueName"))?;
    let queue = server.queue_named(name).ok_or(Fault::QueueDoesNotExist)?;
    json::write(&Answer {
        queue_url: server.options.url(origin, &queue.name),
    })
}
