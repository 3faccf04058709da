//! A server that knows credentials lets nobody else in.

use forebay_sqs::{Credentials, Options};

use crate::world::World;

async fn with_credentials() -> World {
    let credentials: Credentials = [("AKIDEXAMPLE".to_owned(), "secret".to_owned())]
        .into_iter()
        .collect();
    World::with(Options {
        credentials,
        ..Options::default()
    })
    .await
}

/// What is not signed rightly, with the code it is answered and the status.
const CASES: [(&str, &str, u16); 4] = [
    ("", "MissingAuthenticationToken", 403),
    (
        "Authorization: AWS4-HMAC-SHA256 x\r\n",
        "IncompleteSignature",
        400,
    ),
    (
        "X-Amz-Date: 20150830T123600Z\r\nAuthorization: AWS4-HMAC-SHA256 Credential=OTHER/20150830/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=00\r\n",
        "InvalidClientTokenId",
        403,
    ),
    (
        "X-Amz-Date: 20150830T123600Z\r\nAuthorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=00\r\n",
        "SignatureDoesNotMatch",
        403,
    ),
];

#[tokio::test]
async fn both_protocols_refuse_in_their_own_form() {
    let world = with_credentials().await;
    let mut client = world.client().await;
    for (headers, code, status) in CASES {
        let json = format!(
            "X-Amz-Target: AmazonSQS.ListQueues\r\nContent-Type: application/x-amz-json-1.0\r\n{headers}"
        );
        let answer = client.request("POST / HTTP/1.1", &json, b"{}").await;
        assert_eq!(answer.status, status, "{answer:?}");
        let error = answer.header("x-amzn-query-error").unwrap();
        assert_eq!(error, format!("{code};Sender"));
        let form = format!("Content-Type: application/x-www-form-urlencoded\r\n{headers}");
        let body = b"Action=ListQueues&Version=2012-11-05";
        let answer = client.request("POST / HTTP/1.1", &form, body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(
            answer.body.contains(&format!("<Code>{code}</Code>")),
            "{answer:?}"
        );
    }
    world.end().await;
}

#[tokio::test]
async fn probes_need_no_signature() {
    let world = with_credentials().await;
    let mut client = world.client().await;
    for path in ["/", "/health", "/healthz", "/ready"] {
        let line = format!("GET {path} HTTP/1.1");
        assert_eq!(client.request(&line, "", b"").await.status, 200, "{path}");
    }
    world.end().await;
}
