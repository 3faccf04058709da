//! `ListQueues`: the queues whose names start with a prefix, by pages.

use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::json::{self, Integer, Text};
use crate::origin::Origin;
use crate::page::Page;
use crate::server::Server;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Request<'a> {
    #[serde(borrow, default)]
    queue_name_prefix: Option<Text<'a>>,
    #[serde(default)]
    max_results: Option<Integer>,
    #[serde(borrow, default)]
    next_token: Option<Text<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    queue_urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

impl<'a> Request<'a> {
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, Fault> {
        json::read(body)
    }

    pub(crate) fn page(&self) -> Result<Page, Fault> {
        Page::new(self.max_results, &self.next_token)
    }
}

pub(crate) fn run(server: &Server, origin: Origin<'_>, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let request = Request::read(body)?;
    let prefix = request.queue_name_prefix.as_ref().map_or("", Text::as_str);
    let (queue_urls, next_token) = request.page()?.of(server, origin, prefix, |_| true);
    json::write(&Answer {
        queue_urls,
        next_token,
    })
}
