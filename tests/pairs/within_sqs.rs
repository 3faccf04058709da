//! SQS to SQS loses nothing: types of attributes, ids, checksums.

use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeName, MessageSystemAttributeNameForSends,
    MessageSystemAttributeValue,
};
use forebay_tests::{Forebay, sqs};

fn attribute(data_type: &str, text: &str) -> MessageAttributeValue {
    let built = MessageAttributeValue::builder()
        .data_type(data_type)
        .string_value(text)
        .build();
    built.expect("a data type is given")
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_keep_their_types_and_the_checksums_agree() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let client = sqs::client(forebay.sqs());
    let url = sqs::create(&client, "typed").await;
    let binary = MessageAttributeValue::builder()
        .data_type("Binary.png")
        .binary_value(Blob::new([0xff, 0, 1]));
    let trace = MessageSystemAttributeValue::builder()
        .data_type("String")
        .string_value("Root=1-5759e988");
    let sent = client
        .send_message()
        .queue_url(&url)
        .message_body("body")
        .message_attributes("city", attribute("String", "Zürich"))
        .message_attributes("count", attribute("Number", "42"))
        .message_attributes("price", attribute("Number.decimal", "1.50"))
        .message_attributes("image", binary.build().unwrap())
        .message_system_attributes(
            MessageSystemAttributeNameForSends::AwsTraceHeader,
            trace.build().unwrap(),
        )
        .send()
        .await
        .unwrap();
    assert_eq!(
        sent.md5_of_message_body.as_deref(),
        Some("841a2d689ad86bd1611447453c22c6fc")
    );

    let received = client
        .receive_message()
        .queue_url(&url)
        .wait_time_seconds(10)
        .message_attribute_names("All")
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .send()
        .await
        .unwrap();
    let message = &received.messages()[0];
    assert_eq!(message.message_id, sent.message_id);
    assert_eq!(message.md5_of_body, sent.md5_of_message_body);
    assert_eq!(
        message.md5_of_message_attributes,
        sent.md5_of_message_attributes
    );
    let attributes = message.message_attributes.as_ref().unwrap();
    let types = ["city", "count", "price", "image"].map(|name| attributes[name].data_type.as_str());
    assert_eq!(types, ["String", "Number", "Number.decimal", "Binary.png"]);
    let system = message.attributes.as_ref().unwrap();
    assert_eq!(
        system[&MessageSystemAttributeName::AwsTraceHeader],
        "Root=1-5759e988"
    );
    assert_eq!(
        system[&MessageSystemAttributeName::ApproximateReceiveCount],
        "1"
    );
    let sent_at: u64 = system[&MessageSystemAttributeName::SentTimestamp]
        .parse()
        .unwrap();
    let first: u64 = system[&MessageSystemAttributeName::ApproximateFirstReceiveTimestamp]
        .parse()
        .unwrap();
    assert!(
        sent_at <= first && first < sent_at + 60_000,
        "{sent_at} {first}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_asked_for_is_nothing_given() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let client = sqs::client(forebay.sqs());
    let url = sqs::create(&client, "quiet").await;
    let send = client.send_message().queue_url(&url).message_body("body");
    send.message_attributes("city", attribute("String", "Bern"))
        .send()
        .await
        .unwrap();
    let received = client
        .receive_message()
        .queue_url(&url)
        .wait_time_seconds(10)
        .send()
        .await
        .unwrap();
    let message = &received.messages()[0];
    assert_eq!(message.message_attributes, None);
    assert_eq!(message.attributes, None);
}
