use forebay_broker::{DeadLetterTarget, Retention};

use super::*;

fn applied(asked: &[(&str, &str)]) -> Result<TopicConfig, Fault> {
    let mut config = TopicConfig::default();
    apply(
        &mut config,
        asked.iter().copied(),
        caps(),
        |name| match name {
            "dead" => DeadLetterQueue::Allowed,
            _ => DeadLetterQueue::Missing,
        },
    )?;
    Ok(config)
}

fn caps() -> Caps {
    crate::Options::default().caps()
}

fn value(config: &TopicConfig, attribute: QueueAttribute) -> Option<String> {
    attribute.value(config).map(Cow::into_owned)
}

#[test]
fn a_new_queue_has_the_defaults_of_sqs() {
    let config = applied(&[]).unwrap();
    let all: Vec<(&str, String)> = QueueAttribute::ALL
        .into_iter()
        .filter_map(|a| Some((a.name(), value(&config, a)?)))
        .collect();
    let expected = [
        ("VisibilityTimeout", "30"),
        ("DelaySeconds", "0"),
        ("MaximumMessageSize", "1048576"),
        ("MessageRetentionPeriod", "345600"),
        ("ReceiveMessageWaitTimeSeconds", "0"),
        ("SqsManagedSseEnabled", "true"),
    ];
    assert_eq!(all, expected.map(|(name, value)| (name, value.to_owned())));
}

#[test]
fn what_is_set_is_given_back() {
    let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead","maxReceiveCount":"3"}"#;
    let asked = [
        ("VisibilityTimeout", "69"),
        ("DelaySeconds", "420"),
        ("MaximumMessageSize", "2048"),
        ("MessageRetentionPeriod", "604800"),
        ("ReceiveMessageWaitTimeSeconds", "10"),
        (
            "Policy",
            r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"sqs:*"}}"#,
        ),
        (
            "ForebayRetryBackoff",
            r#"{"initialSeconds":1,"maxSeconds":60}"#,
        ),
        ("RedrivePolicy", policy),
        ("RedriveAllowPolicy", r#"{"redrivePermission":"denyAll"}"#),
        ("KmsMasterKeyId", "testKeyId"),
        ("KmsDataKeyReusePeriodSeconds", "6000"),
    ];
    let config = applied(&asked).unwrap();
    for (name, expected) in asked {
        let attribute = QueueAttribute::named(name).unwrap();
        assert_eq!(
            value(&config, attribute).as_deref(),
            Some(expected),
            "{name}"
        );
    }
    assert_eq!((config.lease_ms, config.delay_ms), (69_000, 420_000));
    assert_eq!(config.max_deliveries, Some(3));
    assert_eq!(
        config.dead_letter,
        Some(DeadLetterTarget::Topic("dead".to_owned()))
    );
    assert_eq!(
        value(&config, Q::SqsManagedSseEnabled).as_deref(),
        Some("false")
    );
    assert_eq!(message_bytes_max(&config), 2048);
    assert_eq!(wait_seconds(&config), 10);
}

#[test]
fn empty_documents_remove_what_was_set() {
    let mut config = applied(&[
        (
            "RedrivePolicy",
            r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:0:dead","maxReceiveCount":1}"#,
        ),
        (
            "Policy",
            r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"sqs:*"}}"#,
        ),
        (
            "ForebayRetryBackoff",
            r#"{"initialSeconds":1,"maxSeconds":60}"#,
        ),
    ])
    .unwrap();
    apply(
        &mut config,
        [
            ("RedrivePolicy", ""),
            ("Policy", ""),
            ("ForebayRetryBackoff", ""),
        ]
        .into_iter(),
        caps(),
        |_| DeadLetterQueue::Missing,
    )
    .unwrap();
    assert_eq!(config, TopicConfig::default());
}

#[test]
fn numbers_out_of_range_or_shape_are_refused() {
    for (name, values) in [
        ("VisibilityTimeout", ["-1", "43201", "", " 2"]),
        ("DelaySeconds", ["-45", "901", "544.43", "true"]),
        ("MaximumMessageSize", ["1000", "1048577", "+2000", " 2000"]),
        ("MessageRetentionPeriod", ["59", "1209601", "65.2", "1e3"]),
        (
            "ReceiveMessageWaitTimeSeconds",
            ["21", "-1", "x", "99999999999999999999"],
        ),
        ("KmsDataKeyReusePeriodSeconds", ["59", "86401", "", "x"]),
        ("SqsManagedSseEnabled", ["", "yes", "True", "1"]),
        ("Policy", [" ", "x", "[]", "1"]),
    ] {
        for bad in values {
            let expected =
                Fault::InvalidAttributeValue(format!("Invalid value for the parameter {name}."));
            assert_eq!(applied(&[(name, bad)]), Err(expected), "{name}={bad:?}");
        }
    }
}

#[test]
fn names_no_standard_queue_can_set_are_refused() {
    for name in [
        "",
        "Foo",
        "QueueArn",
        "CreatedTimestamp",
        "ApproximateNumberOfMessages",
        "ContentBasedDeduplication",
    ] {
        let expected = Fault::InvalidAttributeName(format!("Unknown Attribute {name}."));
        assert_eq!(applied(&[(name, "1")]), Err(expected));
    }
    assert_eq!(
        applied(&[("FifoQueue", "false")]),
        Err(Fault::unknown_attribute("FifoQueue"))
    );
    assert_eq!(
        applied(&[("FifoQueue", "true")]),
        Err(Fault::unknown_attribute("FifoQueue"))
    );
    for name in ["DeduplicationScope", "FifoThroughputLimit"] {
        let text = format!("You can specify the {name} only when FifoQueue is set to true.");
        assert_eq!(
            applied(&[(name, "queue")]),
            Err(Fault::InvalidAttributeName(text))
        );
    }
}

#[test]
fn a_queue_is_encrypted_in_one_way() {
    let both = applied(&[("SqsManagedSseEnabled", "true"), ("KmsMasterKeyId", "k")]);
    assert!(
        matches!(both, Err(Fault::InvalidAttributeName(text)) if text.starts_with("You can use one type"))
    );
    let mut config = applied(&[
        ("KmsMasterKeyId", "k"),
        ("KmsDataKeyReusePeriodSeconds", "6000"),
    ])
    .unwrap();
    let defaults = [
        ("KmsMasterKeyId", ""),
        ("KmsDataKeyReusePeriodSeconds", "300"),
    ];
    apply(&mut config, defaults.into_iter(), caps(), |_| {
        DeadLetterQueue::Missing
    })
    .unwrap();
    assert_eq!(value(&config, Q::KmsMasterKeyId), None);
    assert_eq!(value(&config, Q::KmsDataKeyReusePeriodSeconds), None);
    assert_eq!(
        value(&config, Q::SqsManagedSseEnabled).as_deref(),
        Some("false")
    );
}

#[test]
fn a_topic_kept_for_a_time_says_so() {
    let config = TopicConfig {
        retention: Retention::for_ms(7_200_000),
        ..TopicConfig::default()
    };
    assert_eq!(
        value(&config, Q::MessageRetentionPeriod).as_deref(),
        Some("7200")
    );
}
