//! `ListQueues`: queues in order of name, by pages. Without `MaxResults` up to 1,000 and no token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::json::{self, Integer, Text};
use crate::limits::LIST_QUEUES_MAX;
use crate::queue_name;
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
        let request: Self = json::read(body)?;
        request.limit()?;
        request.after()?;
        Ok(request)
    }

    fn limit(&self) -> Result<usize, Fault> {
        let Some(Integer(asked)) = self.max_results else {
            return Ok(LIST_QUEUES_MAX);
        };
        usize::try_from(asked).ok().filter(|asked| (1..=LIST_QUEUES_MAX).contains(asked)).ok_or_else(|| {
            Fault::InvalidParameterValue(format!(
                "Value for parameter MaxResults is invalid. Reason: MaxResults must be an integer between 1 and {LIST_QUEUES_MAX}."
            ))
        })
    }

    /// The name after which to go on. A token is the last name of the page before.
    fn after(&self) -> Result<Option<String>, Fault> {
        let Some(token) = self
            .next_token
            .as_ref()
            .map(Text::as_str)
            .filter(|token| !token.is_empty())
        else {
            return Ok(None);
        };
        let name = URL_SAFE_NO_PAD
            .decode(token)
            .ok()
            .and_then(|name| String::from_utf8(name).ok());
        let name = name.filter(|name| queue_name::is_legal(name));
        let invalid = || Fault::InvalidParameterValue("Invalid or expired next token.".to_owned());
        Ok(Some(name.ok_or_else(invalid)?))
    }
}

pub(crate) fn run(server: &Server, host: &str, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let request = Request::read(body)?;
    let prefix = request.queue_name_prefix.as_ref().map_or("", Text::as_str);
    let limit = request.limit()?;
    let mut after = request.after()?;
    let mut names = Vec::new();
    // Topics whose names SQS does not know are passed over, so a page may take several looks. One
    // more than the page holds tells whether there is a next one.
    while names.len() <= limit {
        let look = limit + 1 - names.len();
        let topics = server
            .broker
            .directory()
            .topics(prefix, after.as_deref(), look);
        let Some(last) = topics.last() else { break };
        after = Some(last.name.to_string());
        let is_queue = |name: &str| queue_name::is_legal(name);
        names.extend(
            topics
                .iter()
                .filter(|topic| is_queue(&topic.name))
                .map(|topic| topic.name.clone()),
        );
        if topics.len() < look {
            break;
        }
    }
    let has_more = names.len() > limit;
    names.truncate(limit);
    let token = names
        .last()
        .filter(|_| has_more && request.max_results.is_some());
    json::write(&Answer {
        next_token: token.map(|name| URL_SAFE_NO_PAD.encode(name.as_bytes())),
        queue_urls: names
            .iter()
            .map(|name| server.options.url(host, name))
            .collect(),
    })
}
