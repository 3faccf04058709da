//! `TagQueue`, `UntagQueue`, `ListQueueTags`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::json::{self, List, Pairs, Text};
use crate::server::Server;
use crate::{queue_name, tags};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TagRequest<'a> {
    #[serde(borrow, default)]
    queue_url: Option<Text<'a>>,
    #[serde(borrow, default)]
    tags: Pairs<'a, Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UntagRequest<'a> {
    #[serde(borrow, default)]
    queue_url: Option<Text<'a>>,
    #[serde(borrow, default)]
    tag_keys: List<Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListRequest<'a> {
    #[serde(borrow, default)]
    queue_url: Option<Text<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<&'a str, &'a str>,
}

impl<'a> TagRequest<'a> {
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, Fault> {
        let request: Self = json::read(body)?;
        queue_name::from_url(&request.queue_url)?;
        if request.tags.count == 0 {
            return Err(Fault::missing("Tags"));
        }
        Ok(request)
    }
}

impl<'a> UntagRequest<'a> {
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, Fault> {
        let request: Self = json::read(body)?;
        queue_name::from_url(&request.queue_url)?;
        if request.tag_keys.count == 0 {
            return Err(Fault::missing("TagKeys"));
        }
        if request.tag_keys.count > request.tag_keys.kept.len() {
            return Err(Fault::InvalidParameterValue(
                "Too many tag keys in one request.".to_owned(),
            ));
        }
        Ok(request)
    }
}

impl<'a> ListRequest<'a> {
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, Fault> {
        let request: Self = json::read(body)?;
        queue_name::from_url(&request.queue_url)?;
        Ok(request)
    }
}

pub(crate) async fn tag(server: &Server, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let request = TagRequest::read(body)?;
    let tags = &request.tags.kept;
    server
        .alter(&request.queue_url, |queue, config| {
            let tags = tags
                .iter()
                .map(|(key, value)| (key.as_ref(), value.as_str()));
            tags::set(config, &queue.name, tags)
        })
        .await?;
    Ok(json::EMPTY.to_vec())
}

pub(crate) async fn untag(server: &Server, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let request = UntagRequest::read(body)?;
    let keys = &request.tag_keys.kept;
    server
        .alter(&request.queue_url, |_, config| {
            tags::remove(config, keys.iter().map(Text::as_str))
        })
        .await?;
    Ok(json::EMPTY.to_vec())
}

pub(crate) fn list(server: &Server, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let request = ListRequest::read(body)?;
    let queue = server.queue(&request.queue_url)?;
    json::write(&Answer {
        tags: tags::all(&queue.config).collect(),
    })
}
