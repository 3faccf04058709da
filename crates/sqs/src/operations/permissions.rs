//! `AddPermission` and `RemovePermission`: statements of the queue's policy, by their labels.

use serde::Deserialize;

use crate::attributes::{self, QueueAttribute};
use crate::error::{Fault, shown};
use crate::json::{self, List, Text};
use crate::limits::POLICY_PRINCIPALS_MAX;
use crate::policy::{self, Permission};
use crate::queue_name;
use crate::server::Server;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AddRequest<'a> {
    #[serde(borrow, default)]
    queue_url: Option<Text<'a>>,
    #[serde(borrow, default)]
    label: Option<Text<'a>>,
    #[serde(borrow, default, rename = "AWSAccountIds")]
    accounts: List<Text<'a>>,
    #[serde(borrow, default)]
    actions: List<Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RemoveRequest<'a> {
    #[serde(borrow, default)]
    queue_url: Option<Text<'a>>,
    #[serde(borrow, default)]
    label: Option<Text<'a>>,
}

impl<'a> AddRequest<'a> {
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, Fault> {
        let request: Self = json::read(body)?;
        queue_name::from_url(&request.queue_url)?;
        request.permission()?.check()?;
        Ok(request)
    }

    fn permission(&self) -> Result<Permission<'_>, Fault> {
        let label = label(&self.label)?;
        if self.accounts.count == 0 {
            return Err(Fault::missing("AWSAccountIds"));
        }
        if self.accounts.count > POLICY_PRINCIPALS_MAX {
            return Err(Fault::OverLimit(format!(
                "A policy can have at most {POLICY_PRINCIPALS_MAX} principals."
            )));
        }
        if self.actions.count == 0 {
            return Err(Fault::missing("Actions"));
        }
        Ok(Permission {
            label,
            accounts: self.accounts.kept.iter().map(Text::as_str).collect(),
            actions: self.actions.kept.iter().map(Text::as_str).collect(),
        })
    }
}

impl<'a> RemoveRequest<'a> {
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, Fault> {
        let request: Self = json::read(body)?;
        queue_name::from_url(&request.queue_url)?;
        label(&request.label)?;
        Ok(request)
    }
}

/// A label: 1 to 80 characters of those a queue name may have.
fn label<'a>(label: &'a Option<Text<'_>>) -> Result<&'a str, Fault> {
    let label = label.as_ref().map(Text::as_str);
    let label = label.filter(|label| !label.is_empty());
    let label = label.ok_or_else(|| Fault::missing("Label"))?;
    if queue_name::is_label(label) {
        return Ok(label);
    }
    Err(Fault::invalid(
        shown(label),
        "Label",
        "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
    ))
}

pub(crate) async fn add(server: &Server, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let request = AddRequest::read(body)?;
    let permission = request.permission()?;
    server
        .alter(&request.queue_url, |queue, config| {
            let arn = server.options.arn(&queue.name);
            let there = QueueAttribute::Policy.value(&queue.config);
            let policy = policy::add(there.as_deref(), &permission, &arn)?;
            attributes::set_policy(config, &policy)
        })
        .await?;
    Ok(json::EMPTY.to_vec())
}

pub(crate) async fn remove(server: &Server, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let request = RemoveRequest::read(body)?;
    let label = label(&request.label)?;
    server
        .alter(&request.queue_url, |queue, config| {
            let there = QueueAttribute::Policy.value(&queue.config);
            let policy = policy::remove(there.as_deref(), label)?;
            attributes::set_policy(config, &policy)
        })
        .await?;
    Ok(json::EMPTY.to_vec())
}
