//! `ListDeadLetterSourceQueues`: the queues whose redrive policy names this one, by pages.

use forebay_broker::DeadLetterTarget;
use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::json::{self, Integer, Text};
use crate::origin::Origin;
use crate::page::Page;
use crate::queue_name;
use crate::server::Server;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Request<'a> {
    #[serde(borrow, default)]
    queue_url: Option<Text<'a>>,
    #[serde(default)]
    max_results: Option<Integer>,
    #[serde(borrow, default)]
    next_token: Option<Text<'a>>,
}

#[derive(Serialize)]
struct Answer {
    // The API spells this member with a small letter, and its clients ask for it to be there.
    #[serde(rename = "queueUrls")]
    queue_urls: Vec<String>,
    #[serde(rename = "NextToken", skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

impl<'a> Request<'a> {
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, Fault> {
        let request: Self = json::read(body)?;
        queue_name::from_url(&request.queue_url)?;
        Ok(request)
    }

    pub(crate) fn page(&self) -> Result<Page, Fault> {
        Page::new(self.max_results, &self.next_token)
    }
}

pub(crate) fn run(server: &Server, origin: Origin<'_>, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let request = Request::read(body)?;
    let page = request.page()?;
    let queue = server.queue(&request.queue_url)?;
    let (queue_urls, next_token) = page.of(server, origin, "", |source| {
        let target = source.config.dead_letter.as_ref();
        matches!(target, Some(DeadLetterTarget::Topic(name)) if **name == *queue.name)
    });
    json::write(&Answer {
        queue_urls,
        next_token,
    })
}
