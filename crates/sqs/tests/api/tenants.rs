//! Fair queues: a message group of a standard queue is a tenant.

use serde_json::{Value, json};

use crate::world::{Client, World};

async fn send(client: &mut Client, url: &str, group: &str, count: usize) {
    for _ in 0..count.div_ceil(10) {
        let entry = |id: usize| json!({"Id": id.to_string(), "MessageBody": group, "MessageGroupId": group});
        let entries: Vec<Value> = (0..count.min(10)).map(entry).collect();
        client
            .ok(
                "SendMessageBatch",
                json!({"QueueUrl": url, "Entries": entries}),
            )
            .await;
    }
}

async fn receive(client: &mut Client, url: &str) -> Vec<String> {
    let request = json!({"QueueUrl": url, "MaxNumberOfMessages": 10});
    let received = client.ok("ReceiveMessage", request).await;
    let bodies = received["Messages"].as_array().unwrap().iter();
    bodies
        .map(|message| message["Body"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_noisy_neighbour_does_not_hold_up_the_others() {
    let (world, mut client, url) = World::with_queue().await;
    send(&mut client, &url, "noisy", 200).await;
    for _ in 0..4 {
        receive(&mut client, &url).await;
    }
    send(&mut client, &url, "quiet", 3).await;
    let world = world.restarted().await;
    let mut client = world.client().await;
    let next = receive(&mut client, &url).await;
    let quiet = next.iter().filter(|body| *body == "quiet").count();
    assert_eq!((quiet, next.len()), (3, 10));
    world.end().await;
}
