//! From the answer of the JSON protocol to the XML of the query protocol.

use std::borrow::Cow;
use std::io;

use quick_xml::Writer;
use quick_xml::escape::escape;
use quick_xml::events::{BytesDecl, BytesText, Event};
use serde_json::Value;
use uuid::Uuid;

use crate::error::Fault;
use crate::text;

const NAMESPACE: (&str, &str) = ("xmlns", "http://queue.amazonaws.com/doc/2012-11-05/");
/// Actions whose answers tell nothing and have no result element.
const WITHOUT_RESULT: [&str; 9] = [
    "AddPermission",
    "ChangeMessageVisibility",
    "DeleteMessage",
    "DeleteQueue",
    "PurgeQueue",
    "RemovePermission",
    "SetQueueAttributes",
    "TagQueue",
    "UntagQueue",
];

type Xml = Writer<Vec<u8>>;

/// The answer to `action` that says what `json` says.
pub(crate) fn answer(action: &str, json: &[u8], id: Uuid) -> Result<Vec<u8>, Fault> {
    let answer: Value = serde_json::from_slice(json).map_err(internal)?;
    document(&format!("{action}Response"), |xml| {
        if !WITHOUT_RESULT.contains(&action) {
            nested(xml, &format!("{action}Result"), |xml| {
                members(xml, action, &answer)
            })?;
        }
        nested(xml, "ResponseMetadata", |xml| {
            leaf(xml, "RequestId", &id.to_string())
        })
    })
    .map_err(internal)
}

/// A fault as the query protocol has it.
pub(crate) fn refusal(fault: &Fault, id: Uuid) -> Vec<u8> {
    let written = document("ErrorResponse", |xml| {
        nested(xml, "Error", |xml| {
            let blame = if fault.is_senders() {
                "Sender"
            } else {
                "Receiver"
            };
            leaf(xml, "Type", blame)?;
            leaf(xml, "Code", fault.wire().code)?;
            leaf(xml, "Message", &message(fault))?;
            leaf(xml, "Detail", "")
        })?;
        leaf(xml, "RequestId", &id.to_string())
    });
    // Writing to memory does not fail.
    written.unwrap_or_default()
}

/// The one text that differs between the protocols.
fn message(fault: &Fault) -> Cow<'_, str> {
    match fault {
        Fault::QueueDoesNotExist => {
            "The specified queue does not exist for this wsdl version.".into()
        }
        _ => fault.message(),
    }
}

fn internal(error: impl ToString) -> Fault {
    Fault::Internal(error.to_string())
}

fn document(root: &str, content: impl FnOnce(&mut Xml) -> io::Result<()>) -> io::Result<Vec<u8>> {
    let mut xml = Writer::new(Vec::new());
    xml.write_event(Event::Decl(BytesDecl::new("1.0", None, None)))?;
    xml.create_element(root)
        .with_attribute(NAMESPACE)
        .write_inner_content(content)?;
    Ok(xml.into_inner())
}

fn nested(
    xml: &mut Xml,
    name: &str,
    content: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> io::Result<()> {
    xml.create_element(name).write_inner_content(content)?;
    Ok(())
}

fn leaf(xml: &mut Xml, name: &str, value: &str) -> io::Result<()> {
    xml.create_element(name)
        .write_text_content(BytesText::from_escaped(escaped(value)))?;
    Ok(())
}

/// A text as it stands between tags. A parser would read a bare carriage return as a line feed;
/// characters XML has no way to write become U+FFFD (they stand in echoes of wrong values only).
fn escaped(value: &str) -> Cow<'_, str> {
    let legal = match text::is_legal(value) {
        true => Cow::Borrowed(value),
        false => value
            .chars()
            .map(|c| match text::is_legal(c.encode_utf8(&mut [0; 4])) {
                true => c,
                false => char::REPLACEMENT_CHARACTER,
            })
            .collect::<String>()
            .into(),
    };
    let escaped = escape(legal.as_ref());
    match escaped.contains('\r') {
        true => escaped.replace('\r', "&#13;").into(),
        false => escaped.into_owned().into(),
    }
}

/// The members of a structure, each under its name in the query protocol; lists and maps are
/// flattened.
fn members(xml: &mut Xml, action: &str, structure: &Value) -> io::Result<()> {
    let Value::Object(structure) = structure else {
        return Ok(());
    };
    for (name, value) in structure {
        match name.as_str() {
            "QueueUrls" | "queueUrls" => list(xml, action, "QueueUrl", value)?,
            "Messages" => list(xml, action, "Message", value)?,
            "Successful" | "Results" => {
                list(xml, action, &format!("{action}ResultEntry"), value)?;
            }
            "Failed" => list(xml, action, "BatchResultErrorEntry", value)?,
            "Attributes" => map(xml, action, "Attribute", "Name", value)?,
            "MessageAttributes" => map(xml, action, "MessageAttribute", "Name", value)?,
            "Tags" => map(xml, action, "Tag", "Key", value)?,
            _ => element(xml, action, name, value)?,
        }
    }
    Ok(())
}

fn element(xml: &mut Xml, action: &str, name: &str, value: &Value) -> io::Result<()> {
    match value {
        Value::String(text) => leaf(xml, name, text),
        Value::Object(_) => nested(xml, name, |xml| members(xml, action, value)),
        Value::Null => Ok(()),
        _ => leaf(xml, name, &value.to_string()),
    }
}

fn list(xml: &mut Xml, action: &str, name: &str, value: &Value) -> io::Result<()> {
    let elements = value.as_array().map_or(&[][..], Vec::as_slice);
    elements
        .iter()
        .try_for_each(|value| element(xml, action, name, value))
}

fn map(xml: &mut Xml, action: &str, name: &str, key_name: &str, value: &Value) -> io::Result<()> {
    let entries = value.as_object().into_iter().flatten();
    entries.into_iter().try_for_each(|(key, value)| {
        nested(xml, name, |xml| {
            leaf(xml, key_name, key)?;
            element(xml, action, "Value", value)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(action: &str, json: &str) -> String {
        String::from_utf8(answer(action, json.as_bytes(), Uuid::nil()).unwrap()).unwrap()
    }

    #[test]
    fn structures_are_flattened() {
        let xml = written(
            "ReceiveMessage",
            r#"{"Messages":[{"Body":"<b>\r\n&","Attributes":{"A":"1"},"MessageAttributes":{"n":{"DataType":"String","StringValue":"v"}}},{"Body":""}]}"#,
        );
        assert!(xml.starts_with("<?xml version=\"1.0\"?><ReceiveMessageResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\"><ReceiveMessageResult><Message>"), "{xml}");
        for part in [
            "<Body>&lt;b&gt;&#13;\n&amp;</Body>",
            "<Attribute><Name>A</Name><Value>1</Value></Attribute>",
            "<MessageAttribute><Name>n</Name><Value><DataType>String</DataType><StringValue>v</StringValue></Value></MessageAttribute>",
            "<Message><Body></Body></Message></ReceiveMessageResult><ResponseMetadata><RequestId>00000000-",
        ] {
            assert!(xml.contains(part), "{part} in {xml}");
        }
        let xml = written(
            "SendMessageBatch",
            r#"{"Successful":[{"Id":"a"}],"Failed":[{"Id":"b","SenderFault":true}]}"#,
        );
        assert!(
            xml.contains("<SendMessageBatchResultEntry><Id>a</Id></SendMessageBatchResultEntry>")
        );
        assert!(xml.contains("<BatchResultErrorEntry><Id>b</Id><SenderFault>true</SenderFault></BatchResultErrorEntry>"));
    }

    #[test]
    fn only_actions_that_tell_something_have_a_result() {
        assert!(written("ReceiveMessage", "{}").contains("<ReceiveMessageResult>"));
        assert!(!written("DeleteQueue", "{}").contains("Result"));
    }

    #[test]
    fn refusals_hold_nothing_xml_cannot() {
        let fault = Fault::InvalidParameterValue("<\u{1}>".to_owned());
        let xml = String::from_utf8(refusal(&fault, Uuid::nil())).unwrap();
        assert!(xml.contains("<Type>Sender</Type><Code>InvalidParameterValue</Code><Message>&lt;\u{fffd}&gt;</Message>"), "{xml}");
        let xml = refusal(&Fault::QueueDoesNotExist, Uuid::nil());
        let text = "does not exist for this wsdl version.</Message>";
        assert!(String::from_utf8(xml).unwrap().contains(text));
    }
}
