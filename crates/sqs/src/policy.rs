//! A queue's policy: what may be one, and the statements `AddPermission` and `RemovePermission`
//! write into it. It is kept and given back, and not yet enforced.

mod check;

use serde_json::{Map, Value, json};

use crate::error::{Fault, shown};
use crate::limits::{POLICY_ACTIONS_MAX, POLICY_BYTES_MAX, POLICY_STATEMENTS_MAX};
use crate::redrive;

pub(crate) use check::check;

const STATEMENT: &str = "Statement";
const SID: &str = "Sid";
/// What may be granted; everything else is for the queue's owner alone (API reference of
/// `AddPermission`).
const GRANTED: [&str; 12] = [
    "*",
    "ChangeMessageVisibility",
    "ChangeMessageVisibilityBatch",
    "DeleteMessage",
    "DeleteMessageBatch",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ListDeadLetterSourceQueues",
    "PurgeQueue",
    "ReceiveMessage",
    "SendMessage",
    "SendMessageBatch",
];

/// A permission to grant: who may do what.
#[derive(Debug)]
pub(crate) struct Permission<'a> {
    pub(crate) label: &'a str,
    pub(crate) accounts: Vec<&'a str>,
    pub(crate) actions: Vec<&'a str>,
}

impl Permission<'_> {
    /// Judges what can be judged without the policy there is.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let count = self.actions.len();
        if count > POLICY_ACTIONS_MAX {
            return Err(Fault::OverLimit(format!(
                "{count} Actions were found, maximum allowed is {POLICY_ACTIONS_MAX}."
            )));
        }
        match self.actions.iter().find(|action| !GRANTED.contains(action)) {
            None => Ok(()),
            Some(action) => Err(Fault::invalid(
                format_args!("SQS:{}", shown(action)),
                "ActionName",
                "Only the queue owner is allowed to invoke this action.",
            )),
        }
    }

    fn statement(&self, arn: &str) -> Value {
        let accounts = self.accounts.iter();
        let principals = accounts.map(|account| format!("arn:aws:iam::{account}:root"));
        let actions = self.actions.iter().map(|action| format!("SQS:{action}"));
        json!({
            "Sid": self.label,
            "Effect": "Allow",
            "Principal": {"AWS": one_or_all(principals)},
            "Action": one_or_all(actions),
            "Resource": arn,
        })
    }
}

/// AWS writes a list of one as its element.
fn one_or_all(texts: impl Iterator<Item = String>) -> Value {
    let mut texts: Vec<String> = texts.collect();
    match texts.len() {
        1 => texts.pop().into(),
        _ => texts.into(),
    }
}

/// The policy with the permission added. `arn` is that of the queue.
pub(crate) fn add(
    policy: Option<&str>,
    permission: &Permission<'_>,
    arn: &str,
) -> Result<String, Fault> {
    let mut policy = read(policy).unwrap_or_else(|| {
        let id = format!("{arn}/SQSDefaultPolicy");
        [("Version", "2008-10-17".into()), ("Id", id.into())]
            .map(|(name, value): (&str, Value)| (name.to_owned(), value))
            .into_iter()
            .collect()
    });
    let mut statements = statements(&mut policy);
    if statements
        .iter()
        .any(|statement| has_label(statement, permission.label))
    {
        return Err(Fault::invalid(permission.label, "Label", "Already exists."));
    }
    statements.push(permission.statement(arn));
    if statements.len() > POLICY_STATEMENTS_MAX {
        return Err(Fault::OverLimit(format!(
            "A policy can have at most {POLICY_STATEMENTS_MAX} statements."
        )));
    }
    let text = written(policy, statements);
    if text.len() > POLICY_BYTES_MAX {
        return Err(Fault::OverLimit(format!(
            "A policy can have at most {POLICY_BYTES_MAX} bytes."
        )));
    }
    Ok(text)
}

/// The policy without the statement of that label; empty if that was the last.
pub(crate) fn remove(policy: Option<&str>, label: &str) -> Result<String, Fault> {
    let mut policy = read(policy).unwrap_or_default();
    let mut statements = statements(&mut policy);
    let before = statements.len();
    statements.retain(|statement| !has_label(statement, label));
    if statements.len() == before {
        return Err(Fault::invalid(label, "Label", "can't find label."));
    }
    if statements.is_empty() {
        return Ok(String::new());
    }
    Ok(written(policy, statements))
}

fn read(policy: Option<&str>) -> Option<Map<String, Value>> {
    policy.and_then(redrive::object)
}

/// Takes the statements out of a policy. A single one need not stand in a list.
fn statements(policy: &mut Map<String, Value>) -> Vec<Value> {
    match policy.remove(STATEMENT) {
        Some(Value::Array(statements)) => statements,
        Some(statement) => vec![statement],
        None => Vec::new(),
    }
}

fn written(mut policy: Map<String, Value>, statements: Vec<Value>) -> String {
    policy.insert(STATEMENT.to_owned(), statements.into());
    Value::Object(policy).to_string()
}

fn has_label(statement: &Value, label: &str) -> bool {
    statement.get(SID).and_then(Value::as_str) == Some(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:sqs:us-east-1:000000000000:q";

    fn permission<'a>(label: &'a str, actions: &[&'a str]) -> Permission<'a> {
        Permission {
            label,
            accounts: vec!["111122223333"],
            actions: actions.to_vec(),
        }
    }

    fn parsed(policy: &str) -> Value {
        serde_json::from_str(policy).unwrap()
    }

    #[test]
    fn a_first_permission_makes_the_policy_and_the_last_takes_it_away() {
        let policy = add(None, &permission("l", &["SendMessage"]), ARN).unwrap();
        assert_eq!(
            parsed(&policy),
            json!({"Version": "2008-10-17", "Id": format!("{ARN}/SQSDefaultPolicy"), "Statement": [{
                "Sid": "l", "Effect": "Allow",
                "Principal": {"AWS": "arn:aws:iam::111122223333:root"},
                "Action": "SQS:SendMessage", "Resource": ARN}]})
        );
        assert_eq!(remove(Some(&policy), "l").as_deref(), Ok(""));
    }

    #[test]
    fn statements_of_the_users_own_stay() {
        let own = r#"{"Version":"2012-10-17","Statement":{"Sid":"own","Effect":"Deny"}}"#;
        let both = add(Some(own), &permission("l", &["*", "PurgeQueue"]), ARN).unwrap();
        assert_eq!(parsed(&both)["Version"], "2012-10-17");
        assert_eq!(
            parsed(&both)["Statement"][1]["Action"],
            json!(["SQS:*", "SQS:PurgeQueue"])
        );
        let left = remove(Some(&both), "l").unwrap();
        assert_eq!(
            parsed(&left)["Statement"],
            json!([{"Sid": "own", "Effect": "Deny"}])
        );
    }

    #[test]
    fn labels_and_limits_are_kept() {
        let policy = add(None, &permission("l", &["SendMessage"]), ARN).unwrap();
        let again = add(Some(&policy), &permission("l", &["SendMessage"]), ARN).unwrap_err();
        assert_eq!(
            again.message(),
            "Value l for parameter Label is invalid. Reason: Already exists."
        );
        for policy in [None, Some(policy.as_str())] {
            let none = remove(policy, "x").unwrap_err();
            assert!(none.message().ends_with("Reason: can't find label."));
        }
        let mut full = String::new();
        for n in 0..POLICY_STATEMENTS_MAX {
            let label = n.to_string();
            let policy = Some(full.as_str()).filter(|policy| !policy.is_empty());
            full = add(policy, &permission(&label, &["*"]), ARN).unwrap();
        }
        let over = add(Some(&full), &permission("l", &["*"]), ARN);
        assert!(matches!(over, Err(Fault::OverLimit(_))));
        assert!(permission("l", &["DeleteQueue"]).check().is_err());
        let many = permission("l", &["SendMessage"; 8]).check().unwrap_err();
        assert_eq!(
            many.message(),
            "8 Actions were found, maximum allowed is 7."
        );
        assert!(permission("l", &GRANTED[..7]).check().is_ok());
    }
}
