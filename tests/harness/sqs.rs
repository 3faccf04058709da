//! The SQS client: `aws-sdk-sqs` as it comes, without TLS.

use std::net::SocketAddr;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::config::{Credentials, Region};

/// A client that neither retries nor waits longer than `timeout` for an answer.
pub fn client_with_timeout(address: SocketAddr, timeout: Duration) -> Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version_latest()
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
        .endpoint_url(format!("http://{address}"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().operation_timeout(timeout).build())
        .build();
    Client::from_conf(config)
}

/// A client for everything but crashes.
pub fn client(address: SocketAddr) -> Client {
    client_with_timeout(address, Duration::from_secs(60))
}

/// Makes a queue and gives its URL.
pub async fn create(client: &Client, name: &str) -> String {
    let made = client
        .create_queue()
        .queue_name(name)
        .send()
        .await
        .expect("CreateQueue");
    made.queue_url.expect("CreateQueue answers with the URL")
}

/// The URL of a topic that exists.
pub async fn url(client: &Client, name: &str) -> String {
    let found = client
        .get_queue_url()
        .queue_name(name)
        .send()
        .await
        .expect("GetQueueUrl");
    found.queue_url.expect("GetQueueUrl answers with the URL")
}
