use std::time::{Duration, Instant};

use forebay_kafka::Options;
use kafka_protocol::messages::ApiVersionsRequest;

use crate::server::Server;
use crate::wire::fetch_request;

#[tokio::test]
async fn a_waiting_client_does_not_keep_the_server_from_stopping() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    let request = fetch_request(&[("t", 0, 0)], 1000).with_max_wait_ms(600_000);
    client.send(11, &request).await;
    let mut idle = server.client().await;
    idle.call(3, &ApiVersionsRequest::default()).await;
    let begun = Instant::now();
    server.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(4));
    client.expect_closed().await;
    idle.expect_closed().await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_let_go() {
    let options = Options {
        idle_ms: 50,
        ..Options::default()
    };
    let server = Server::with(options).await;
    let mut silent = server.client().await;
    silent.expect_closed().await;
    let mut client = server.client().await;
    client.call(3, &ApiVersionsRequest::default()).await;
    server.stop().await;
}

#[tokio::test]
async fn a_client_too_many_waits_until_another_goes() {
    let options = Options {
        max_connections: 1,
        ..Options::default()
    };
    let server = Server::with(options).await;
    let mut first = server.client().await;
    first.call(3, &ApiVersionsRequest::default()).await;
    let mut second = server.client().await;
    second.send(3, &ApiVersionsRequest::default()).await;
    first.call(3, &ApiVersionsRequest::default()).await;
    first.finish().await;
    first.expect_closed().await;
    second.receive::<ApiVersionsRequest>(3).await;
    server.stop().await;
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused() {
    let server = Server::start().await;
    for options in [
        Options {
            cluster_id: String::new(),
            ..Options::default()
        },
        Options {
            default_partitions: 0,
            ..Options::default()
        },
        Options {
            max_connections: 0,
            ..Options::default()
        },
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stop = tokio_util::sync::CancellationToken::new();
        let served = forebay_kafka::serve(listener, server.broker.clone(), options, stop).await;
        assert!(served.is_err());
    }
    server.stop().await;
}
