//! Queues are made, found, listed and deleted.

use forebay_broker::TopicConfig;
use serde_json::json;

use crate::world::{Client, World};

#[tokio::test]
async fn a_queue_is_made_found_and_deleted() {
    let world = World::new().await;
    let mut client = world.client().await;
    let url = client.create("orders", json!({})).await;
    assert_eq!(url, format!("http://{}/000000000000/orders", world.address));
    assert_eq!(client.create("orders", json!({})).await, url);
    let found = client
        .ok(
            "GetQueueUrl",
            json!({"QueueName": "orders", "QueueOwnerAWSAccountId": "1"}),
        )
        .await;
    assert_eq!(found, json!({"QueueUrl": url}));
    assert_eq!(
        client.ok("DeleteQueue", json!({"QueueUrl": url})).await,
        json!({})
    );
    let gone = (
        "QueueDoesNotExist".to_owned(),
        "AWS.SimpleQueueService.NonExistentQueue".to_owned(),
        "The specified queue does not exist.".to_owned(),
    );
    assert_eq!(
        client
            .refused("GetQueueUrl", json!({"QueueName": "orders"}))
            .await,
        gone
    );
    assert_eq!(
        client
            .refused("DeleteQueue", json!({"QueueUrl": url}))
            .await,
        gone
    );
    let lately = (
        "QueueDeletedRecently".to_owned(),
        "AWS.SimpleQueueService.QueueDeletedRecently".to_owned(),
        "You must wait 60 seconds after deleting a queue before you can create another with the same name.".to_owned(),
    );
    let again = json!({"QueueName": "orders"});
    assert_eq!(client.refused("CreateQueue", again.clone()).await, lately);
    let world = world.restarted().await;
    let mut client = world.client().await;
    assert_eq!(client.refused("CreateQueue", again).await, lately);
    client.create("other", json!({})).await;
    world.end().await;
}

#[tokio::test]
async fn an_operator_may_want_names_free_at_once() {
    let options = forebay_sqs::Options {
        deleted_seconds: 0,
        ..forebay_sqs::Options::default()
    };
    let world = World::with(options).await;
    let mut client = world.client().await;
    let url = client.create("orders", json!({})).await;
    client.ok("DeleteQueue", json!({"QueueUrl": url})).await;
    assert_eq!(client.create("orders", json!({})).await, url);
    world.end().await;
}

#[tokio::test]
async fn the_url_follows_the_name_the_client_used() {
    let world = World::new().await;
    let mut client = world.client().await;
    let headers = "X-Amz-Target: AmazonSQS.CreateQueue\r\nContent-Type: application/x-amz-json-1.0; charset=utf-8\r\n";
    client
        .put(
            format!("POST /any/path HTTP/1.1\r\nHost: queues.example:81\r\n{headers}Content-Length: 17\r\n\r\n{{\"QueueName\":\"q\"}}")
                .as_bytes(),
        )
        .await;
    let answer = client.answer().await.unwrap();
    assert_eq!(
        answer.json(),
        json!({"QueueUrl": "http://queues.example:81/000000000000/q"})
    );
    world.end().await;
}

#[tokio::test]
async fn the_same_name_with_another_value_is_refused() {
    let world = World::new().await;
    let mut client = world.client().await;
    let url = client
        .create(
            "q",
            json!({"DelaySeconds": "1", "ReceiveMessageWaitTimeSeconds": "1"}),
        )
        .await;
    assert_eq!(client.create("q", json!({})).await, url);
    assert_eq!(client.create("q", json!({"DelaySeconds": "1"})).await, url);
    let other = json!({"QueueName": "q", "Attributes": {"ReceiveMessageWaitTimeSeconds": "1", "DelaySeconds": "2"}});
    let (shape, code, text) = client.refused("CreateQueue", other.clone()).await;
    assert_eq!(
        (shape.as_str(), code.as_str()),
        ("QueueNameExists", "QueueAlreadyExists")
    );
    assert_eq!(
        text,
        "A queue already exists with the same name and a different value for attribute DelaySeconds"
    );
    client
        .ok(
            "SetQueueAttributes",
            json!({"QueueUrl": url, "Attributes": {"DelaySeconds": "2"}}),
        )
        .await;
    client.ok("CreateQueue", other).await;
    world.end().await;
}

async fn page(client: &mut Client, body: serde_json::Value) -> (Vec<String>, Option<String>) {
    let answer = client.ok("ListQueues", body).await;
    let name =
        |url: &serde_json::Value| url.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let names = answer["QueueUrls"]
        .as_array()
        .map_or_else(Vec::new, |urls| urls.iter().map(name).collect());
    (names, answer["NextToken"].as_str().map(str::to_owned))
}

#[tokio::test]
async fn queues_are_listed_by_pages() {
    let world = World::new().await;
    let mut client = world.client().await;
    assert_eq!(client.ok("ListQueues", json!({})).await, json!({}));
    for n in 0..5 {
        client.create(&format!("a-{n}"), json!({})).await;
        // Topics of other protocols whose names are none of SQS's are passed over.
        world
            .broker
            .create_topic(&format!("a-{n}.stream"), TopicConfig::default())
            .await
            .unwrap();
    }
    client.create("b", json!({})).await;
    let (all, token) = page(&mut client, json!({})).await;
    assert_eq!((all.len(), token), (6, None));
    let mut seen = Vec::new();
    let mut token = None;
    loop {
        let (names, next) = page(
            &mut client,
            json!({"QueueNamePrefix": "a", "MaxResults": 2, "NextToken": token}),
        )
        .await;
        assert!(names.len() <= 2);
        seen.extend(names);
        token = next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["a-0", "a-1", "a-2", "a-3", "a-4"]);
    for bad in [0, 1001] {
        let (_, code, text) = client
            .refused("ListQueues", json!({"MaxResults": bad}))
            .await;
        assert_eq!(code, "InvalidParameterValue");
        assert!(text.contains("between 1 and 1000"), "{text}");
    }
    client
        .refused("ListQueues", json!({"MaxResults": 1, "NextToken": "?"}))
        .await;
    world.end().await;
}

#[tokio::test]
async fn a_purge_takes_what_is_in_flight_too() {
    let (world, mut client, url) = World::with_queue().await;
    for _ in 0..3 {
        client
            .ok("SendMessage", json!({"QueueUrl": url, "MessageBody": "x"}))
            .await;
    }
    client.ok("ReceiveMessage", json!({"QueueUrl": url})).await;
    assert_eq!(
        client.ok("PurgeQueue", json!({"QueueUrl": url})).await,
        json!({})
    );
    for name in [
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
    ] {
        assert_eq!(client.attribute(&url, name).await, "0", "{name}");
    }
    let again = client
        .call("PurgeQueue", &json!({"QueueUrl": url}).to_string())
        .await;
    assert_eq!(again.status, 403, "{again:?}");
    assert_eq!(
        again.header("x-amzn-query-error"),
        Some("AWS.SimpleQueueService.PurgeQueueInProgress;Sender")
    );
    assert_eq!(
        again.json()["message"],
        "Only one PurgeQueue operation on q is allowed every 60 seconds."
    );
    world.end().await;
}

#[tokio::test]
async fn tags_are_set_listed_and_taken_away() {
    let world = World::new().await;
    let mut client = world.client().await;
    let made = json!({"QueueName": "q", "tags": {"team": "a"}});
    let url = client.ok("CreateQueue", made).await["QueueUrl"].clone();
    let tags = json!({"team": "b", "cost": ""});
    client
        .ok("TagQueue", json!({"QueueUrl": url, "Tags": tags}))
        .await;
    let asked = json!({"QueueUrl": url});
    let listed = client.ok("ListQueueTags", asked.clone()).await;
    assert_eq!(listed, json!({"Tags": tags}));
    client
        .ok(
            "UntagQueue",
            json!({"QueueUrl": url, "TagKeys": ["team", "cost", "none"]}),
        )
        .await;
    assert_eq!(client.ok("ListQueueTags", asked).await, json!({}));
    for (action, body, code) in [
        ("TagQueue", json!({"QueueUrl": url}), "MissingParameter"),
        ("UntagQueue", json!({"QueueUrl": url}), "MissingParameter"),
        (
            "TagQueue",
            json!({"QueueUrl": url, "Tags": {"aws:x": "y"}}),
            "InvalidParameterValue",
        ),
        (
            "CreateQueue",
            json!({"QueueName": "r", "tags": {"": "y"}}),
            "InvalidParameterValue",
        ),
        (
            "ListQueueTags",
            json!({"QueueUrl": "none"}),
            "AWS.SimpleQueueService.NonExistentQueue",
        ),
    ] {
        assert_eq!(client.refused(action, body).await.1, code, "{action}");
    }
    world.end().await;
}

#[tokio::test]
async fn the_sources_of_a_dead_letter_queue_are_listed_by_pages() {
    let (world, mut client, dead) = World::with_queue().await;
    let arn = client.attribute(&dead, "QueueArn").await;
    let policy = json!({"deadLetterTargetArn": arn, "maxReceiveCount": 2}).to_string();
    let mut sources = Vec::new();
    for n in 0..5 {
        client.create(&format!("other-{n}"), json!({})).await;
        let attributes = json!({"RedrivePolicy": policy});
        sources.push(client.create(&format!("source-{n}"), attributes).await);
    }
    let all = client
        .ok("ListDeadLetterSourceQueues", json!({"QueueUrl": dead}))
        .await;
    assert_eq!(all, json!({"queueUrls": sources}));
    let mut seen = Vec::new();
    let mut token = json!(null);
    loop {
        let asked = json!({"QueueUrl": dead, "MaxResults": 2, "NextToken": token});
        let answer = client.ok("ListDeadLetterSourceQueues", asked).await;
        seen.extend(answer["queueUrls"].as_array().unwrap().clone());
        token = answer["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(json!(seen), json!(sources));
    let none = json!({"QueueUrl": sources[0]});
    let none = client.ok("ListDeadLetterSourceQueues", none).await;
    assert_eq!(none, json!({"queueUrls": []}));
    world.end().await;
}
