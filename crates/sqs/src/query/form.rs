//! From the parameters of a query request to the body of the JSON request of the same meaning.
//!
//! Lists and maps are flattened: `AttributeName.1`, `Attribute.1.Name` with `Attribute.1.Value`,
//! `SendMessageBatchRequestEntry.1.MessageAttribute.2.Value.StringValue`. The number may be left
//! out where there is one element. Parameters no action has are passed over.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::Fault;
use crate::limits::{QUERY_DEPTH_MAX, QUERY_PARAMETERS_MAX};

/// A call as the JSON protocol has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) action: String,
    pub(crate) body: Vec<u8>,
}

/// What a parameter stands for.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    Integer,
    Texts,
    /// Texts by name; the member that holds the name.
    TextMap(&'static str),
    AttributeMap,
    Entries,
}

use Kind as K;

/// Parameter, member of the JSON protocol, kind. Source: the locations of the SQS API's members,
/// version 2012-11-05. No name means different things to different actions.
const MEMBERS: [(&str, &str, Kind); 37] = [
    ("QueueUrl", "QueueUrl", K::Text),
    ("QueueName", "QueueName", K::Text),
    ("QueueOwnerAWSAccountId", "QueueOwnerAWSAccountId", K::Text),
    ("QueueNamePrefix", "QueueNamePrefix", K::Text),
    ("NextToken", "NextToken", K::Text),
    ("Id", "Id", K::Text),
    ("MessageBody", "MessageBody", K::Text),
    ("MessageDeduplicationId", "MessageDeduplicationId", K::Text),
    ("MessageGroupId", "MessageGroupId", K::Text),
    ("ReceiptHandle", "ReceiptHandle", K::Text),
    (
        "ReceiveRequestAttemptId",
        "ReceiveRequestAttemptId",
        K::Text,
    ),
    ("DataType", "DataType", K::Text),
    ("StringValue", "StringValue", K::Text),
    ("BinaryValue", "BinaryValue", K::Text),
    ("Label", "Label", K::Text),
    ("SourceArn", "SourceArn", K::Text),
    ("DestinationArn", "DestinationArn", K::Text),
    ("TaskHandle", "TaskHandle", K::Text),
    ("DelaySeconds", "DelaySeconds", K::Integer),
    ("VisibilityTimeout", "VisibilityTimeout", K::Integer),
    ("WaitTimeSeconds", "WaitTimeSeconds", K::Integer),
    ("MaxNumberOfMessages", "MaxNumberOfMessages", K::Integer),
    (
        "MaxNumberOfMessagesPerSecond",
        "MaxNumberOfMessagesPerSecond",
        K::Integer,
    ),
    ("MaxResults", "MaxResults", K::Integer),
    ("AttributeName", "AttributeNames", K::Texts),
    ("MessageAttributeName", "MessageAttributeNames", K::Texts),
    (
        "MessageSystemAttributeName",
        "MessageSystemAttributeNames",
        K::Texts,
    ),
    ("TagKey", "TagKeys", K::Texts),
    ("ActionName", "Actions", K::Texts),
    ("AWSAccountId", "AWSAccountIds", K::Texts),
    ("StringListValue", "StringListValues", K::Texts),
    ("BinaryListValue", "BinaryListValues", K::Texts),
    ("Attribute", "Attributes", K::TextMap("Name")),
    ("Tag", "Tags", K::TextMap("Key")),
    ("MessageAttribute", "MessageAttributes", K::AttributeMap),
    (
        "MessageSystemAttribute",
        "MessageSystemAttributes",
        K::AttributeMap,
    ),
    ("Entry", "Entries", K::Entries),
];

impl Call {
    /// Reads the parameters of `url_query` and `form`. A request to the path of a queue that names
    /// no other is about that queue. `None` if no action is named.
    pub(crate) fn read(path: &str, url_query: &[u8], form: &[u8]) -> Result<Option<Self>, Fault> {
        let mut root = Node::default();
        let pairs = [url_query, form]
            .into_iter()
            .flat_map(|part| part.split(|byte| *byte == b'&'))
            .filter(|pair| !pair.is_empty());
        for (index, pair) in pairs.enumerate() {
            if index == QUERY_PARAMETERS_MAX {
                return Err(Fault::Serialization(format!(
                    "The request has more than {QUERY_PARAMETERS_MAX} parameters."
                )));
            }
            let mut sides = pair.splitn(2, |byte| *byte == b'=');
            let name = decoded(sides.next().unwrap_or_default())?;
            root.put(&name, decoded(sides.next().unwrap_or_default())?);
        }
        let Some(action) = root.members.remove("Action").and_then(|node| node.text) else {
            return Ok(None);
        };
        // Each batch call has its own name for its entries; those of another are not its own.
        if let Some(entries) = root.members.remove(&format!("{action}RequestEntry")) {
            root.members.insert("Entry".to_owned(), entries);
        }
        let mut request = structure(&root)?;
        if path.len() > 1 && !request.contains_key("QueueUrl") {
            request.insert("QueueUrl".to_owned(), path.into());
        }
        match serde_json::to_vec(&request) {
            Ok(body) => Ok(Some(Self { action, body })),
            Err(error) => Err(Fault::Internal(error.to_string())),
        }
    }
}

/// A name or a value of a form, as text. A percent sign without two digits after it stands for
/// itself.
fn decoded(encoded: &[u8]) -> Result<String, Fault> {
    String::from_utf8(percent_decoded(encoded))
        .map_err(|_| Fault::Serialization("The parameters are not UTF-8.".to_owned()))
}

/// The bytes that a name or a value of a form stands for.
pub(crate) fn percent_decoded(encoded: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            _ => bytes.push(*first),
        }
    }
    bytes
}

fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

/// Parameters by the parts of their names.
#[derive(Debug, Default)]
struct Node {
    text: Option<String>,
    members: BTreeMap<String, Node>,
}

impl Node {
    fn put(&mut self, path: &str, text: String) {
        if path.split('.').count() > QUERY_DEPTH_MAX {
            return;
        }
        let mut node = self;
        for name in path.split('.') {
            node = node.members.entry(name.to_owned()).or_default();
        }
        node.text = Some(text);
    }

    fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    fn member(&self, name: &str) -> &str {
        self.members.get(name).map_or("", Node::text)
    }

    /// The elements of a list, by number. SDKs write an empty list as an empty text.
    fn elements(&self) -> Vec<&Self> {
        let numbered = |(name, node)| Some((str::parse::<u32>(name).ok()?, node));
        let mut elements: Vec<(u32, &Self)> = self
            .members
            .iter()
            .map(|(name, node)| (name.as_str(), node))
            .filter_map(numbered)
            .collect();
        elements.sort_by_key(|(number, _)| *number);
        if elements.is_empty() && !(self.text().is_empty() && self.members.is_empty()) {
            return vec![self];
        }
        elements.into_iter().map(|(_, node)| node).collect()
    }
}

fn structure(node: &Node) -> Result<Map<String, Value>, Fault> {
    let mut object = Map::new();
    for (parameter, member, kind) in MEMBERS {
        let Some(node) = node.members.get(parameter) else {
            continue;
        };
        if let Some(value) = value(parameter, kind, node)? {
            object.insert(member.to_owned(), value);
        }
    }
    Ok(object)
}

fn value(parameter: &str, kind: Kind, node: &Node) -> Result<Option<Value>, Fault> {
    let elements = || node.elements().into_iter();
    Ok(Some(match kind {
        K::Text => match &node.text {
            Some(text) => text.as_str().into(),
            None => return Ok(None),
        },
        K::Integer => match node.text() {
            "" => return Ok(None),
            text => integer(parameter, text)?.into(),
        },
        K::Texts => elements().map(Node::text).collect(),
        K::TextMap(name) => map(parameter, name, node, |node| {
            Ok(node.member("Value").into())
        })?,
        K::AttributeMap => map(parameter, "Name", node, |node| {
            let value = node.members.get("Value").map(structure);
            Ok(value.transpose()?.unwrap_or_default().into())
        })?,
        K::Entries => {
            let entries = elements().map(|entry| Ok(structure(entry)?.into()));
            Value::Array(entries.collect::<Result<_, Fault>>()?)
        }
    }))
}

fn map(
    parameter: &str,
    name: &str,
    node: &Node,
    value: impl Fn(&Node) -> Result<Value, Fault>,
) -> Result<Value, Fault> {
    let mut object = Map::new();
    for (index, element) in node.elements().into_iter().enumerate() {
        let Some(key) = element.members.get(name) else {
            return Err(Fault::missing(&format!("{parameter}.{}.{name}", index + 1)));
        };
        object.insert(key.text().to_owned(), value(element)?);
    }
    Ok(object.into())
}

fn integer(parameter: &str, text: &str) -> Result<i64, Fault> {
    text.parse()
        .map_err(|_| Fault::invalid(text, parameter, "Must be an integer."))
}

#[cfg(test)]
mod tests;
