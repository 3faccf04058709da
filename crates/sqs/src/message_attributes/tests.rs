use super::*;

fn accepted(json: &str) -> Result<Vec<Attribute<'_>>, Fault> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        a: RequestAttributes<'a>,
    }
    accept(crate::json::read::<Body<'_>>(json.as_bytes())?.a)
}

fn refused(json: &str) -> String {
    accepted(json)
        .map(|attributes| format!("{attributes:?}"))
        .unwrap_err()
        .message()
        .into_owned()
}

fn refused_name(name: &str) -> String {
    refused(&format!(
        r#"{{"a":{{"{name}":{{"DataType":"String","StringValue":"v"}}}}}}"#
    ))
}

fn refused_value(value: &str) -> String {
    refused(&format!(r#"{{"a":{{"Hello":{value}}}}}"#))
}

#[test]
fn legal_attributes_are_accepted() {
    let json = r#"{"a":{"attr.1øßä":{"DataType":"String","StringValue":"v"},"n-_":{"DataType":"Number.big","StringValue":"-1.5e10"},"b":{"DataType":"Binary.png","BinaryValue":"AAE=","StringListValues":[]}}}"#;
    let attributes = accepted(json).unwrap();
    let values: Vec<&[u8]> = attributes.iter().map(Attribute::bytes).collect();
    assert_eq!(values, [b"v".as_slice(), b"-1.5e10", b"\0\x01"]);
}

#[test]
fn bad_names_are_refused() {
    assert_eq!(
        refused_name(""),
        "The request must contain non-empty message (user) attribute names."
    );
    assert_eq!(
        refused_name(&"a".repeat(257)),
        "Message (user) attribute name must be shorter than 256 bytes."
    );
    for name in ["AWS.Hello", "aWs.x", "amazon.Hello", "AMAZON."] {
        assert!(
            refused_name(name).starts_with("You can't use message attribute names beginning with"),
            "{name}"
        );
    }
    for name in [".a", "a.", "a..b"] {
        assert!(
            refused_name(name).contains("cannot start or end with '.'"),
            "{name}"
        );
    }
    for name in ["a!", "§", "a b", "(", "?"] {
        assert!(
            refused_name(name).contains("Invalid characters found"),
            "{name}"
        );
    }
    for name in [
        "sqs.types",
        "amqp.properties",
        "forebay.id",
        "AWSTraceHeader",
    ] {
        assert!(
            refused_name(name).contains("reserved by this server"),
            "{name}"
        );
    }
}

#[test]
fn bad_values_are_refused() {
    assert_eq!(
        refused_value("{}"),
        "The message (user) attribute 'Hello' must contain a non-empty message attribute value."
    );
    assert_eq!(
        refused_value(r#"{"StringValue":"x"}"#),
        "The message (user) attribute 'Hello' must contain a non-empty message attribute type."
    );
    for (kind, member) in [
        ("String", "StringValue"),
        ("Number", "StringValue"),
        ("Binary", "BinaryValue"),
    ] {
        let expected = format!(
            "Message (user) attribute 'Hello' must contain a non-empty value of type '{kind}'."
        );
        assert_eq!(
            refused_value(&format!(r#"{{"DataType":"{kind}","{member}":""}}"#)),
            expected
        );
        assert_eq!(
            refused_value(&format!(r#"{{"DataType":"{kind}"}}"#)),
            expected
        );
    }
    for kind in ["Strings", "string", "InvalidType", ".String"] {
        assert_eq!(
            refused_value(&format!(r#"{{"DataType":"{kind}","StringValue":"x"}}"#)),
            "The type of message (user) attribute 'Hello' is invalid. You must use only the following supported type prefixes: Binary, Number, String."
        );
    }
    assert_eq!(
        refused_value(r#"{"DataType":"Number","StringValue":"world"}"#),
        "Can't cast the value of message (user) attribute 'Hello' to a number."
    );
    let long = format!(
        r#"{{"DataType":"String.{}","StringValue":"x"}}"#,
        "a".repeat(250)
    );
    assert_eq!(
        refused_value(&long),
        "Message (user) attribute type must be shorter than 256 bytes."
    );
    assert!(
        refused_value(r#"{"DataType":"String","StringValue":"a\u0008"}"#)
            .starts_with("Invalid characters found.")
    );
    assert_eq!(
        refused_value(r#"{"DataType":"StringList","StringListValues":["World"]}"#),
        "Message attribute list values in SendMessage operation are not supported."
    );
    assert_eq!(
        refused_value(r#"{"DataType":"Binary","BinaryValue":"*"}"#),
        "The binary value is not valid base64."
    );
}

#[test]
fn more_than_ten_are_counted_and_refused() {
    let many: Vec<String> = (0..5_000)
        .map(|i| format!(r#""a{i}":{{"DataType":"String","StringValue":"v"}}"#))
        .collect();
    for (count, is_legal) in [(10, true), (11, false), (5_000, false)] {
        let json = format!(r#"{{"a":{{{}}}}}"#, many[..count].join(","));
        match accepted(&json) {
            Ok(attributes) => assert!(is_legal && attributes.len() == count),
            Err(fault) => assert_eq!(
                fault.message(),
                format!("Number of message attributes [{count}] exceeds the allowed maximum [10].")
            ),
        }
    }
}

#[test]
fn numbers_are_told_from_other_text() {
    for text in [
        "0",
        "-1",
        "+1.50",
        ".5",
        "5.",
        "1e128",
        "1E-10",
        "12345678901234567890123456789012345678",
    ] {
        assert!(is_number(text), "{text}");
    }
    for text in [
        "",
        "-",
        ".",
        "e1",
        "1e",
        "1e129",
        "0x1",
        "1 ",
        "NaN",
        "inf",
        "--1",
        "1.2.3",
        "123456789012345678901234567890123456789",
    ] {
        assert!(!is_number(text), "{text}");
    }
}

#[test]
fn filters_choose_by_name_and_prefix() {
    let names = ["General", "Hello", "Help.Me"];
    let chosen = |asked: &[&str]| -> Vec<&str> {
        let filter = Filter::new(asked.iter().copied());
        names
            .into_iter()
            .filter(|name| filter.wants(name))
            .collect()
    };
    assert!(Filter::new([].into_iter()).is_empty() && chosen(&[]).is_empty());
    for all in ["All", ".*", "*"] {
        assert_eq!(chosen(&[all]), names);
    }
    assert_eq!(chosen(&["Hel.*"]), ["Hello", "Help.Me"]);
    assert_eq!(chosen(&["Foo", "Hello"]), ["Hello"]);
    assert_eq!(chosen(&["AWS."]), [""; 0]);
    assert_eq!(chosen(&["..foo"]), [""; 0]);
}
