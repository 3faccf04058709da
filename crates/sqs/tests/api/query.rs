//! The query protocol does what the JSON protocol does.

use serde_json::json;

use crate::world::{Answer, Client, World};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n";

async fn posted(client: &mut Client, path: &str, form: &str) -> Answer {
    let line = format!("POST {path} HTTP/1.1");
    client.request(&line, FORM, form.as_bytes()).await
}

/// Posts a call that is expected to succeed; gives the XML.
async fn ok(client: &mut Client, path: &str, form: &str) -> String {
    let answer = posted(client, path, form).await;
    assert_eq!(answer.status, 200, "{form} {answer:?}");
    assert_eq!(answer.header("content-type"), Some("text/xml"));
    let id = answer.header("x-amzn-requestid").unwrap();
    assert!(
        answer
            .body
            .contains(&format!("<RequestId>{id}</RequestId>"))
    );
    answer.body
}

/// The text of the first element of that name.
fn text<'a>(xml: &'a str, name: &str) -> &'a str {
    let (_, rest) = xml
        .split_once(&format!("<{name}>"))
        .unwrap_or_else(|| panic!("{name}: {xml}"));
    rest.split_once(&format!("</{name}>")).unwrap().0
}

#[tokio::test]
async fn a_message_goes_there_and_back() {
    let world = World::new().await;
    let mut client = world.client().await;
    let made = ok(
        &mut client,
        "/",
        "Action=CreateQueue&Version=2012-11-05&QueueName=q&Attribute.1.Name=DelaySeconds&Attribute.1.Value=0",
    )
    .await;
    let url = text(&made, "QueueUrl").to_owned();
    assert_eq!(url, format!("http://{}/000000000000/q", world.address));
    let sent = ok(
        &mut client,
        "/000000000000/q",
        "Action=SendMessage&MessageBody=a+%3Cb%3E%0D%26&MessageAttribute.1.Name=n&MessageAttribute.1.Value.DataType=Binary&MessageAttribute.1.Value.BinaryValue=AAE%3D",
    )
    .await;
    let got = ok(
        &mut client,
        "/000000000000/q",
        "Action=ReceiveMessage&AttributeName.1=ApproximateReceiveCount&MessageAttributeName.1=All",
    )
    .await;
    assert_eq!(text(&got, "Body"), "a &lt;b&gt;&#13;&amp;");
    assert_eq!(text(&got, "MessageId"), text(&sent, "MessageId"));
    assert_eq!(text(&got, "MD5OfBody"), text(&sent, "MD5OfMessageBody"));
    assert_eq!(
        text(&got, "MD5OfMessageAttributes"),
        text(&sent, "MD5OfMessageAttributes")
    );
    assert_eq!(
        text(&got, "Attribute"),
        "<Name>ApproximateReceiveCount</Name><Value>1</Value>"
    );
    assert_eq!(text(&got, "BinaryValue"), "AAE=");
    let handle = text(&got, "ReceiptHandle").to_owned();
    for call in [
        format!("Action=ChangeMessageVisibility&VisibilityTimeout=60&ReceiptHandle={handle}"),
        format!(
            "Action=DeleteMessageBatch&DeleteMessageBatchRequestEntry.1.Id=x&DeleteMessageBatchRequestEntry.1.ReceiptHandle={handle}"
        ),
    ] {
        ok(&mut client, "/000000000000/q", &call).await;
    }
    let left = client
        .attribute(&url, "ApproximateNumberOfMessagesNotVisible")
        .await;
    assert_eq!(left, "0");
    world.end().await;
}

#[tokio::test]
async fn a_get_calls_too() {
    let (world, mut client, url) = World::with_queue().await;
    let answer = client
        .request(
            "GET /000000000000/q?Action=SendMessage&MessageBody=by%20url HTTP/1.1",
            "",
            b"",
        )
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let got = client.ok("ReceiveMessage", json!({"QueueUrl": url})).await;
    assert_eq!(got["Messages"][0]["Body"], "by url");
    let listed = client
        .request("GET /?Action=ListQueues HTTP/1.1", "", b"")
        .await;
    assert_eq!(text(&listed.body, "QueueUrl"), url);
    world.end().await;
}

#[tokio::test]
async fn a_batch_tells_the_fate_of_each_entry() {
    let (world, mut client, _) = World::with_queue().await;
    let entry = |n: u32, rest: &str| {
        format!(
            "&SendMessageBatchRequestEntry.{n}.Id=id{n}&SendMessageBatchRequestEntry.{n}.{rest}"
        )
    };
    let form = format!(
        "Action=SendMessageBatch{}{}",
        entry(1, "MessageBody=x"),
        entry(2, "MessageBody=%01")
    );
    let xml = ok(&mut client, "/000000000000/q", &form).await;
    assert_eq!(text(text(&xml, "SendMessageBatchResultEntry"), "Id"), "id1");
    let failed = text(&xml, "BatchResultErrorEntry");
    assert_eq!(text(failed, "Id"), "id2");
    assert_eq!(text(failed, "SenderFault"), "true");
    assert_eq!(text(failed, "Code"), "InvalidMessageContents");
    let many: String = (1..=20).map(|n| entry(n, "MessageBody=x")).collect();
    let refused = posted(
        &mut client,
        "/000000000000/q",
        &format!("Action=SendMessageBatch{many}"),
    )
    .await;
    assert_eq!(
        text(&refused.body, "Message"),
        "Maximum number of entries per request are 10. You have sent 20."
    );
    world.end().await;
}

#[tokio::test]
async fn refusals_are_xml_with_the_code_of_the_query_protocol() {
    let (world, mut client, _) = World::with_queue().await;
    for (path, form, code, message) in [
        (
            "/000000000000/none",
            "Action=ReceiveMessage",
            "AWS.SimpleQueueService.NonExistentQueue",
            "The specified queue does not exist for this wsdl version.",
        ),
        (
            "/",
            "Action=GetQueueUrl&QueueName=none",
            "AWS.SimpleQueueService.NonExistentQueue",
            "The specified queue does not exist for this wsdl version.",
        ),
        (
            "/",
            "Action=Dance",
            "InvalidAction",
            "The action Dance is not valid for this endpoint.",
        ),
        (
            "/000000000000/q",
            "Action=ReceiveMessage&MaxNumberOfMessages=11",
            "InvalidParameterValue",
            "Value 11 for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.",
        ),
        (
            "/000000000000/q",
            "Action=SendMessage",
            "MissingParameter",
            "The request must contain the parameter MessageBody.",
        ),
    ] {
        let answer = posted(&mut client, path, form).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("text/xml"));
        assert_eq!(text(&answer.body, "Type"), "Sender");
        assert_eq!(text(&answer.body, "Code"), code);
        assert_eq!(text(&answer.body, "Message"), message);
    }
    world.end().await;
}
