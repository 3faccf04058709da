use serde_json::json;

use super::*;

fn read(path: &str, form: &str) -> (String, Value) {
    let call = Call::read(path, b"", form.as_bytes()).unwrap().unwrap();
    (call.action, serde_json::from_slice(&call.body).unwrap())
}

#[test]
fn flattened_lists_and_maps_become_whole() {
    let (action, body) = read(
        "/",
        "Action=SendMessageBatch&Version=2012-11-05&QueueUrl=http%3A%2F%2Fh%2F0%2Fq\
         &SendMessageBatchRequestEntry.2.Id=b&SendMessageBatchRequestEntry.2.MessageBody=x+y\
         &SendMessageBatchRequestEntry.1.Id=a&SendMessageBatchRequestEntry.1.DelaySeconds=5\
         &SendMessageBatchRequestEntry.1.MessageAttribute.1.Name=n\
         &SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.StringValue=%C3%A9%2B\
         &SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.DataType=String\
         &DeleteMessageBatchRequestEntry.1.Id=none&Signature=s",
    );
    assert_eq!(action, "SendMessageBatch");
    assert_eq!(
        body,
        json!({"QueueUrl": "http://h/0/q", "Entries": [
            {"Id": "a", "DelaySeconds": 5, "MessageAttributes":
                {"n": {"StringValue": "\u{e9}+", "DataType": "String"}}},
            {"Id": "b", "MessageBody": "x y"},
        ]})
    );
}

#[test]
fn elements_are_in_order_of_their_numbers() {
    let names: Vec<String> = (1..=12)
        .rev()
        .map(|n| format!("AttributeName.{n}={n}"))
        .collect();
    let (_, body) = read("/", &format!("Action=X&{}", names.join("&")));
    let expected: Vec<String> = (1..=12).map(|n| n.to_string()).collect();
    assert_eq!(body, json!({"AttributeNames": expected}));
}

#[test]
fn one_element_needs_no_number_and_an_empty_list_has_none() {
    let (_, body) = read(
        "/",
        "Action=X&AttributeName=All&TagKey=&Attribute.Name=a&Attribute.Value=b",
    );
    assert_eq!(
        body,
        json!({"AttributeNames": ["All"], "TagKeys": [], "Attributes": {"a": "b"}})
    );
}

#[test]
fn percent_signs_and_plus_signs_are_resolved() {
    for (encoded, text) in [
        ("a+b%2B%2b", "a b++"),
        ("%f0%9F%98%80", "\u{1f600}"),
        ("100%", "100%"),
        ("%4", "%4"),
        ("%zz%25", "%zz%"),
        ("%+1", "% 1"),
        ("a=b=c", "a=b=c"),
    ] {
        let (_, body) = read("/", &format!("Action=X&MessageBody={encoded}"));
        assert_eq!(body, json!({"MessageBody": text}), "{encoded}");
    }
}

#[test]
fn the_path_names_the_queue_if_nothing_else_does() {
    let (_, body) = read("/0/q", "Action=DeleteQueue");
    assert_eq!(body, json!({"QueueUrl": "/0/q"}));
    let (_, body) = read("/0/q", "Action=DeleteQueue&QueueUrl=r");
    assert_eq!(body, json!({"QueueUrl": "r"}));
    let (_, body) = read("/", "Action=DeleteQueue");
    assert_eq!(body, json!({}));
}

#[test]
fn what_is_malformed_is_refused_and_what_is_unknown_passed_over() {
    let refused = |form: &str| Call::read("/", b"", form.as_bytes()).unwrap_err();
    assert!(matches!(refused("Action=%ff"), Fault::Serialization(_)));
    assert!(matches!(
        refused("Action=X&DelaySeconds=soon"),
        Fault::InvalidParameterValue(_)
    ));
    assert_eq!(
        refused("Action=X&Attribute.1.Value=v"),
        Fault::missing("Attribute.1.Name")
    );
    assert!(matches!(
        refused(&"a=b&".repeat(QUERY_PARAMETERS_MAX + 1)),
        Fault::Serialization(_)
    ));
    assert_eq!(Call::read("/", b"", b"Version=1"), Ok(None));
    let deep = format!("Action=X&{}=1&Label.4294967296=2", "Label.".repeat(1_000));
    assert_eq!(read("/", &deep).1, json!({}));
}
