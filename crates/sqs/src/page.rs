//! Lists of queues in order of name, by pages. Without `MaxResults` up to 1,000 and no token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use forebay_broker::TopicInfo;

use crate::error::Fault;
use crate::json::{Integer, Text};
use crate::limits::LIST_QUEUES_MAX;
use crate::origin::Origin;
use crate::queue_name;
use crate::server::{Server, is_queue};

/// Topics looked at in one go at least; few of them may be wanted.
const LOOK: usize = 64;

/// Which page is asked for.
#[derive(Debug)]
pub(crate) struct Page {
    limit: usize,
    /// Whether the client asked for pages at all.
    is_limited: bool,
    /// The name after which to go on. A token is the last name of the page before.
    after: Option<String>,
}

impl Page {
    pub(crate) fn new(
        max_results: Option<Integer>,
        next_token: &Option<Text<'_>>,
    ) -> Result<Self, Fault> {
        Ok(Self {
            limit: max_results.map_or(Ok(LIST_QUEUES_MAX), limit)?,
            is_limited: max_results.is_some(),
            after: after(next_token)?,
        })
    }

    /// The URLs of the queues that are wanted, and the token of the next page.
    pub(crate) fn of(
        mut self,
        server: &Server,
        origin: Origin<'_>,
        prefix: &str,
        wanted: impl Fn(&TopicInfo) -> bool,
    ) -> (Vec<String>, Option<String>) {
        let mut names = Vec::new();
        // Topics whose names SQS does not know are passed over too, so a page may take several
        // looks. One more than the page holds tells whether there is a next one.
        while names.len() <= self.limit {
            let look = (self.limit + 1 - names.len()).max(LOOK);
            let directory = server.broker.directory();
            let topics = directory.topics(prefix, self.after.as_deref(), look);
            let Some(last) = topics.last() else { break };
            self.after = Some(last.name.to_string());
            let found = topics
                .iter()
                .filter(|topic| is_queue(topic) && wanted(topic));
            names.extend(found.map(|topic| topic.name.clone()));
            if topics.len() < look {
                break;
            }
        }
        let has_more = names.len() > self.limit;
        names.truncate(self.limit);
        let token = names.last().filter(|_| has_more && self.is_limited);
        let token = token.map(|name| URL_SAFE_NO_PAD.encode(name.as_bytes()));
        let urls = names.iter().map(|name| server.options.url(origin, name));
        (urls.collect(), token)
    }
}

fn limit(Integer(asked): Integer) -> Result<usize, Fault> {
    let limit = usize::try_from(asked).ok();
    let limit = limit.filter(|limit| (1..=LIST_QUEUES_MAX).contains(limit));
    limit.ok_or_else(|| {
        Fault::InvalidParameterValue(format!(
            "Value for parameter MaxResults is invalid. Reason: MaxResults must be an integer between 1 and {LIST_QUEUES_MAX}."
        ))
    })
}

fn after(token: &Option<Text<'_>>) -> Result<Option<String>, Fault> {
    let token = token.as_ref().map(Text::as_str);
    let Some(token) = token.filter(|token| !token.is_empty()) else {
        return Ok(None);
    };
    let name = URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|name| String::from_utf8(name).ok())
        .filter(|name| queue_name::is_legal(name));
    let invalid = || Fault::InvalidParameterValue("Invalid or expired next token.".to_owned());
    Ok(Some(name.ok_or_else(invalid)?))
}
