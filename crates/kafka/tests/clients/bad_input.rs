use kafka_protocol::messages::ApiVersionsRequest;

use crate::server::Server;
use crate::wire::{batch, produce_request};

/// Each of these ends the connection it came by, and no other.
#[tokio::test]
async fn what_is_no_request_closes_the_connection() {
    let server = Server::start().await;
    let mut bystander = server.client().await;
    let frames: &[(&str, &[u8])] = &[
        ("an empty frame", b""),
        ("half a header", b"\0\x03\0"),
        ("an unknown key", b"\x7f\x00\0\0\0\0\0\x01\xff\xff"),
        ("a key of the brokers' own", b"\0\x04\0\0\0\0\0\x01\xff\xff"),
        ("an unknown version", b"\0\x03\0\x63\0\0\0\x01\xff\xff"),
        ("a negative version", b"\0\x03\xff\xff\0\0\0\x01\xff\xff"),
        (
            "a client id that is cut short",
            b"\0\x03\0\x01\0\0\0\x01\0\x50x",
        ),
        (
            "2^31 - 1 topics",
            b"\0\x03\0\x01\0\0\0\x01\xff\xff\x7f\xff\xff\xff",
        ),
        (
            "2^32 - 2 topics",
            b"\0\x03\0\x09\0\0\0\x01\xff\xff\0\xff\xff\xff\xff\x0f",
        ),
        (
            "a negative count",
            b"\0\x03\0\x01\0\0\0\x01\xff\xff\xff\xff\xff\xf0",
        ),
        (
            "a name that is not UTF-8",
            b"\0\x03\0\x01\0\0\0\x01\xff\xff\0\0\0\x01\0\x01\xff",
        ),
        (
            "an old Produce that is cut short",
            b"\0\0\0\0\0\0\0\x01\xff\xff\0\x01",
        ),
    ];
    for (what, frame) in frames {
        let mut client = server.client().await;
        client.send_frame(frame).await;
        client.expect_closed().await;
        let response = bystander.call(3, &ApiVersionsRequest::default()).await;
        assert_eq!(response.error_code, 0, "{what}");
    }
    for bytes in [
        &b"\xff\xff\xff\xff"[..],
        b"\x7f\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01",
    ] {
        let mut client = server.client().await;
        client.send_bytes(bytes).await;
        client.expect_closed().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn what_came_before_is_answered_first() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    let request = produce_request(-1, "t", 0, batch(&["x"]));
    client.send(9, &request).await;
    client.send_frame(b"\0\x04\0\0\0\0\0\x01\xff\xff").await;
    let response = client
        .receive::<kafka_protocol::messages::ProduceRequest>(9)
        .await;
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    client.expect_closed().await;
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_never_ends_does_no_harm() {
    let server = Server::start().await;
    let mut half = server.client().await;
    half.send_bytes(b"\0\0\x10\0\0\x03").await;
    let mut client = server.client().await;
    client.call(3, &ApiVersionsRequest::default()).await;
    half.finish().await;
    half.expect_closed().await;
    server.stop().await;
}
