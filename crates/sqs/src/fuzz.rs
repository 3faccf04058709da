//! The way in for fuzzing: everything that happens to the bytes of a request without a broker.

use forebay_base::{PartitionId, Timestamp, TopicId};
use forebay_broker::{Delivered, Receipt, TopicConfig, TopicInfo};
use forebay_record::BatchBuilder;

use crate::error::Fault;
use crate::http;
use crate::incoming::{Asked, Incoming};
use crate::limits::DELAY_SECONDS_MAX;
use crate::message_attributes::Filter;
use crate::operations::{
    change_message_visibility, create_queue, delete_message, delete_queue, get_queue_url,
    list_dead_letter_source_queues, list_queues, move_tasks, permissions, purge_queue,
    queue_attributes, queue_tags, receive_message, send_message, send_message_batch,
};
use crate::options::Options;
use crate::query;
use crate::receipt::Handle;

/// Reads `body` as a request of every action, and as a form. A message that is accepted must come out of its
/// record as it went in, and a handle that is accepted must be the one text for what it says.
///
/// # Panics
///
/// If that does not hold.
pub fn fuzz_request(body: &[u8]) {
    type Check = fn(&[u8]) -> Result<(), Fault>;
    let checks: [Check; 23] = [
        there_and_back,
        send_message_batch::check,
        |body| receive_message::Request::read(body)?.wanted().map(drop),
        delete_message::check,
        delete_message::check_batch,
        change_message_visibility::check,
        change_message_visibility::check_batch,
        create_queue::check,
        |body| delete_queue::Request::read(body).map(drop),
        |body| get_queue_url::Request::read(body).map(drop),
        |body| list_queues::Request::read(body)?.page().map(drop),
        |body| queue_attributes::GetRequest::read(body).map(drop),
        queue_attributes::check_set,
        |body| purge_queue::Request::read(body).map(drop),
        |body| {
            list_dead_letter_source_queues::Request::read(body)?
                .page()
                .map(drop)
        },
        |body| queue_tags::TagRequest::read(body).map(drop),
        |body| queue_tags::UntagRequest::read(body).map(drop),
        |body| queue_tags::ListRequest::read(body).map(drop),
        |body| permissions::AddRequest::read(body).map(drop),
        |body| permissions::RemoveRequest::read(body).map(drop),
        move_tasks::check_start,
        move_tasks::check_cancel,
        move_tasks::check_list,
    ];
    for check in checks {
        if let Err(fault) = check(body) {
            http::refusal(&fault);
        }
    }
    if let Ok(Some(call)) = query::Call::read("/", b"", body) {
        assert!(call.body.starts_with(b"{") && call.body.ends_with(b"}"));
    }
    if let Ok(text) = std::str::from_utf8(body)
        && let Some(handle) = Handle::decode(text)
    {
        assert_eq!(handle.encode(), text);
    }
}

/// Sends and receives the message of a `SendMessage`, without a broker between.
fn there_and_back(body: &[u8]) -> Result<(), Fault> {
    const NOW: Timestamp = Timestamp(1_700_000_000_000);
    let (_, message) = send_message::read(body, DELAY_SECONDS_MAX)?;
    let mut batch = BatchBuilder::new(NOW.0);
    let id = message
        .push(&mut batch, NOW)
        .map_err(|error| Fault::Internal(error.to_string()))?;
    let sent = serde_json::to_value(message.sent(None, id)).unwrap_or_default();
    let mut records = batch
        .finish()
        .records(usize::MAX)
        .expect("an uncompressed batch of ours");
    let record = records
        .next()
        .expect("one record")
        .expect("a record of ours");
    let receipt = Receipt {
        partition: PartitionId(1),
        offset: 0,
        attempt: 1,
    };
    let delivered = Delivered { receipt, record };
    let queue = TopicInfo {
        id: TopicId(1),
        name: "q".into(),
        partitions: vec![receipt.partition],
        config: TopicConfig::default(),
        created: NOW,
        modified: NOW,
    };
    let asked = Asked {
        system: Vec::new(),
        attributes: Filter::new(["All"].into_iter()),
    };
    let received = Incoming::new(&delivered, &queue, NOW, &asked, &Options::default());
    let received = serde_json::to_value(&received).unwrap_or_default();
    assert_eq!(received["Body"].as_str(), Some(message.body.as_ref()));
    assert_eq!(received["MessageId"], sent["MessageId"]);
    assert_eq!(received["MD5OfBody"], sent["MD5OfMessageBody"]);
    assert_eq!(
        received["MD5OfMessageAttributes"],
        sent["MD5OfMessageAttributes"]
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_keep_the_promise() {
        let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/requests");
        let mut seen = 0;
        for seed in std::fs::read_dir(seeds).unwrap() {
            fuzz_request(&std::fs::read(seed.unwrap().path()).unwrap());
            seen += 1;
        }
        assert!(seen > 5);
    }
}
