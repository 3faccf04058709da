use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::Decodable;

use crate::server::Server;

#[tokio::test]
async fn the_table_of_versions_comes_in_every_version() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for version in 0..=4 {
        let response = client.call(version, &ApiVersionsRequest::default()).await;
        assert_eq!(response.error_code, 0);
        let range = |key: ApiKey| {
            let keys = &response.api_keys;
            let found = keys.iter().find(|one| one.api_key == key as i16).unwrap();
            (found.min_version, found.max_version)
        };
        // librdkafka compresses only if Produce 0 is there.
        assert_eq!(range(ApiKey::Produce), (0, 13));
        assert_eq!(range(ApiKey::Fetch), (4, 18));
        assert!(response.finalized_features.is_empty());
    }
    server.stop().await;
}

#[tokio::test]
async fn a_version_of_the_future_is_answered_in_version_0() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.send_frame(b"\0\x12\0\x63\0\0\0\x07whatever").await;
    let mut frame = client.receive_frame().await.unwrap();
    assert_eq!(frame.split_to(4)[..], [0, 0, 0, 7]);
    let response = ApiVersionsResponse::decode(&mut frame, 0).unwrap();
    assert_eq!(response.error_code, 35);
    assert!(response.api_keys.len() > 15);
    // And the client goes on in a version both know.
    let mut client = server.client().await;
    client.call(3, &ApiVersionsRequest::default()).await;
    server.stop().await;
}
