//! What may be the policy of a queue ("Amazon SQS policy quotas", and the grammar of IAM policies as
//! far as it is about form).

use serde_json::{Map, Value};

use super::{SID, STATEMENT};
use crate::error::Fault;
use crate::limits::{
    POLICY_ACTIONS_MAX, POLICY_BYTES_MAX, POLICY_CONDITIONS_MAX, POLICY_PRINCIPALS_MAX,
    POLICY_STATEMENTS_MAX,
};
use crate::redrive;

const VERSIONS: [&str; 2] = ["2012-10-17", "2008-10-17"];
const ACTION_PREFIX: &str = "sqs:";

/// Judges a policy document that is not empty.
pub(crate) fn check(document: &str) -> Result<(), Fault> {
    let whole = (document.len() <= POLICY_BYTES_MAX)
        .then(|| redrive::object(document))
        .flatten();
    let statements = whole.as_ref().and_then(statements).ok_or_else(invalid)?;
    at_most(statements.len(), "Statements", POLICY_STATEMENTS_MAX)?;
    let mut principals = 0;
    let mut conditions = 0;
    for statement in statements {
        let statement = statement.as_object().ok_or_else(invalid)?;
        let actions = actions(statement).ok_or_else(invalid)?;
        at_most(actions, "Actions", POLICY_ACTIONS_MAX)?;
        principals += principals_of(statement).ok_or_else(invalid)?;
        conditions += conditions_of(statement).ok_or_else(invalid)?;
    }
    at_most(principals, "Principals", POLICY_PRINCIPALS_MAX)?;
    at_most(conditions, "Conditions", POLICY_CONDITIONS_MAX)
}

fn invalid() -> Fault {
    Fault::invalid_attribute("Policy")
}

fn at_most(count: usize, what: &str, most: usize) -> Result<(), Fault> {
    if count <= most {
        return Ok(());
    }
    Err(Fault::OverLimit(format!(
        "{count} {what} were found, maximum allowed is {most}."
    )))
}

/// The statements of a policy that has nothing else but a version and an id.
fn statements(policy: &Map<String, Value>) -> Option<Vec<&Value>> {
    let known = |name: &String| matches!(name.as_str(), "Version" | "Id" | STATEMENT);
    let version = policy.get("Version").map(Value::as_str);
    let version_is_good =
        version.is_none_or(|version| version.is_some_and(|text| VERSIONS.contains(&text)));
    let id_is_good = policy.get("Id").is_none_or(Value::is_string);
    if !policy.keys().all(known) || !version_is_good || !id_is_good {
        return None;
    }
    let statements = one_or_more(policy.get(STATEMENT)?);
    (!statements.is_empty()).then_some(statements)
}

/// How many actions a statement is about; `None` if it is no statement of a queue's policy.
fn actions(statement: &Map<String, Value>) -> Option<usize> {
    const MEMBERS: [&str; 9] = [
        SID,
        "Effect",
        "Principal",
        "NotPrincipal",
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Condition",
    ];
    let is_good = statement
        .keys()
        .all(|name| MEMBERS.contains(&name.as_str()))
        && statement.get(SID).is_none_or(Value::is_string)
        && matches!(statement.get("Effect")?.as_str(), Some("Allow" | "Deny"));
    let resources = statement
        .get("Resource")
        .or_else(|| statement.get("NotResource"));
    if !is_good || resources.is_some_and(|resources| texts(resources).is_none()) {
        return None;
    }
    let actions = texts(either(statement, "Action", "NotAction")?)?;
    let is_ours = |action: &&str| {
        let prefix = action.get(..ACTION_PREFIX.len());
        **action == *"*" || prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(ACTION_PREFIX))
    };
    actions.iter().all(is_ours).then_some(actions.len())
}

/// How many principals a statement names.
fn principals_of(statement: &Map<String, Value>) -> Option<usize> {
    match either(statement, "Principal", "NotPrincipal")? {
        Value::String(all) => (all == "*").then_some(1),
        Value::Object(kinds) => {
            let known = |kind: &String| {
                matches!(
                    kind.as_str(),
                    "AWS" | "Service" | "Federated" | "CanonicalUser"
                )
            };
            if kinds.is_empty() || !kinds.keys().all(known) {
                return None;
            }
            kinds.values().map(|names| Some(texts(names)?.len())).sum()
        }
        _ => None,
    }
}

/// How many conditions a statement has.
fn conditions_of(statement: &Map<String, Value>) -> Option<usize> {
    let Some(operators) = statement.get("Condition") else {
        return Some(0);
    };
    let operators = operators.as_object()?.values();
    operators.map(|keys| Some(keys.as_object()?.len())).sum()
}

/// The one of two members that is there.
fn either<'a>(statement: &'a Map<String, Value>, one: &str, other: &str) -> Option<&'a Value> {
    match (statement.get(one), statement.get(other)) {
        (Some(value), None) | (None, Some(value)) => Some(value),
        _ => None,
    }
}

fn one_or_more(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(values) => values.iter().collect(),
        value => vec![value],
    }
}

/// One text or a list of at least one.
fn texts(value: &Value) -> Option<Vec<&str>> {
    let texts: Option<Vec<&str>> = one_or_more(value).into_iter().map(Value::as_str).collect();
    texts.filter(|texts| !texts.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn statement() -> Value {
        json!({
            "Sid": "s", "Effect": "Allow", "Principal": {"AWS": ["111122223333", "*"], "Service": "sns.amazonaws.com"},
            "Action": ["sqs:SendMessage", "SQS:Receive*"], "Resource": "arn:aws:sqs:us-east-1:000000000000:q",
            "Condition": {"ArnEquals": {"aws:SourceArn": "arn:aws:sns:us-east-1:000000000000:t"}},
        })
    }

    fn judged(statements: Value) -> Result<(), Fault> {
        check(&json!({"Version": "2012-10-17", "Id": "i", "Statement": statements}).to_string())
    }

    fn with(name: &str, value: Value) -> Result<(), Fault> {
        let mut changed = statement();
        match value {
            Value::Null => drop(changed.as_object_mut().unwrap().remove(name)),
            value => changed[name] = value,
        }
        judged(json!([changed]))
    }

    #[test]
    fn what_people_write_is_taken() {
        assert_eq!(judged(json!([statement(), statement()])), Ok(()));
        assert_eq!(judged(statement()), Ok(()));
        for (name, value) in [
            ("Sid", Value::Null),
            ("Resource", Value::Null),
            ("Principal", json!("*")),
            ("Action", json!("*")),
            ("Condition", json!({})),
        ] {
            assert_eq!(with(name, value), Ok(()), "{name}");
        }
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for document in [
            "x",
            "[]",
            "{}",
            r#"{"Version":"2012-10-17"}"#,
            r#"{"Statement":[]}"#,
        ] {
            assert_eq!(check(document), Err(invalid()), "{document}");
        }
        for (name, value) in [
            ("Effect", Value::Null),
            ("Effect", json!("allow")),
            ("Principal", Value::Null),
            ("Principal", json!("me")),
            ("Principal", json!({"Aws": "1"})),
            ("NotPrincipal", json!("*")),
            ("Action", json!([])),
            ("Action", json!("s3:GetObject")),
            ("Condition", json!("x")),
            ("Other", json!("x")),
        ] {
            assert_eq!(with(name, value), Err(invalid()), "{name}");
        }
        let long = json!("x".repeat(8_192));
        assert_eq!(with("Sid", long), Err(invalid()));
    }

    #[test]
    fn the_quotas_are_kept() {
        let many = |count: usize, text: &str| Value::from(vec![text; count]);
        let refused = |judged: Result<(), Fault>| judged.unwrap_err().message().into_owned();
        assert_eq!(with("Action", many(7, "sqs:SendMessage")), Ok(()));
        assert_eq!(
            refused(with("Action", many(8, "sqs:SendMessage"))),
            "8 Actions were found, maximum allowed is 7."
        );
        assert_eq!(
            refused(with("Principal", json!({"AWS": many(51, "1")}))),
            "51 Principals were found, maximum allowed is 50."
        );
        let small = json!({"Effect": "Deny", "Principal": "*", "Action": "*"});
        assert_eq!(judged(vec![small.clone(); 20].into()), Ok(()));
        assert_eq!(
            refused(judged(vec![small; 21].into())),
            "21 Statements were found, maximum allowed is 20."
        );
        let keys: Map<String, Value> = (0..11).map(|n| (n.to_string(), json!("v"))).collect();
        assert_eq!(
            refused(with("Condition", json!({"StringEquals": keys}))),
            "11 Conditions were found, maximum allowed is 10."
        );
    }
}
