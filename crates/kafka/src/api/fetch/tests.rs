use bytes::{Buf, Bytes};
use forebay_record::BatchBuilder;
use kafka_protocol::messages::FetchResponse;
use kafka_protocol::protocol::{Decodable, StrBytes};

use super::*;

fn batch(size: usize) -> Bytes {
    let mut builder = BatchBuilder::new(5);
    let value = vec![b'x'; size];
    builder
        .push(5, None, Some(&value), std::iter::empty())
        .unwrap();
    builder.finish().bytes().clone()
}

fn part(
    index: i32,
    id: Result<u64, ResponseError>,
    batches: Vec<(Offset, Bytes)>,
) -> PartitionPart {
    PartitionPart {
        index,
        id: id.map(PartitionId),
        next: 0,
        limit: 0,
        bytes: 0,
        batches,
        start: 3,
        end: 900,
        decided: 700,
        aborted: vec![(7, 300), (8, 1)],
    }
}

#[test]
fn the_codec_reads_the_response_in_every_version() {
    let uuid = topic::uuid_of(forebay_base::TopicId(4));
    let topics = vec![TopicPart {
        name: TopicName(StrBytes::from_static_str("orders")),
        uuid,
        partitions: vec![
            part(0, Ok(1), vec![(300, batch(10)), (301, batch(10_000))]),
            part(1, Ok(2), vec![]),
            part(2, Err(ResponseError::OffsetOutOfRange), vec![]),
        ],
    }];
    for version in 4..=18 {
        for committed in [false, true] {
            let mut body = response::encode(version, 0, committed, &topics);
            body.seal();
            let mut bytes = body.copy_to_bytes(body.remaining());
            let response = FetchResponse::decode(&mut bytes, version).unwrap();
            assert!(bytes.is_empty(), "v{version}");
            assert_eq!((response.error_code, response.session_id), (0, 0));
            let topic = &response.responses[0];
            if version >= 13 {
                assert_eq!(topic.topic_id, uuid);
            } else {
                assert_eq!(&**topic.topic, "orders");
            }
            let partitions = &topic.partitions;
            let codes: Vec<i16> = partitions.iter().map(|part| part.error_code).collect();
            assert_eq!(codes, [0, 0, 1]);
            assert_eq!(partitions[0].high_watermark, 900);
            assert_eq!(partitions[0].last_stable_offset, 700);
            let start = if version >= 5 { 3 } else { -1 };
            assert_eq!(partitions[0].log_start_offset, start);
            assert_eq!(partitions[0].preferred_read_replica.0, -1);
            let told = partitions[0].aborted_transactions.as_ref();
            let told = told.map(|all| {
                let pairs = all.iter().map(|one| (one.producer_id.0, one.first_offset));
                pairs.collect::<Vec<_>>()
            });
            assert_eq!(told, committed.then(|| vec![(7, 300), (8, 1)]));
            assert_eq!(
                partitions[1].records,
                Some(Bytes::new()),
                "zero bytes, not null"
            );
            let mut records = partitions[0].records.clone().unwrap();
            for (offset, size) in [(300, 10), (301, 10_000)] {
                let batch = Batch::take(&mut records, usize::MAX).unwrap();
                assert_eq!(batch.header().base_offset, offset);
                assert_eq!(batch.header().partition_leader_epoch, 0);
                let record = batch.records(usize::MAX).unwrap().next().unwrap().unwrap();
                assert_eq!(record.value.map(|value| value.len()), Some(size));
            }
            assert!(records.is_empty());
        }
    }
}

use forebay_record::Batch;

#[test]
fn a_session_that_was_never_given_is_not_found() {
    let request = FetchRequest::default().with_session_id(5);
    assert_eq!(
        check_session(&request),
        Err(ResponseError::FetchSessionIdNotFound)
    );
    assert_eq!(check_session(&FetchRequest::default()), Ok(()));
}

#[test]
fn what_is_wholly_below_the_start_is_left_out() {
    let batches = || vec![(300, batch(1)), (303, batch(1)), (305, batch(1))];
    for (start, left) in [
        (0, 3),
        (302, 3),
        (303, 2),
        (304, 2),
        (305, 1),
        (309, 1),
        (310, 0),
    ] {
        let mut part = part(0, Ok(1), batches());
        part.next = 310;
        part.drop_below(start);
        assert_eq!(part.batches.len(), left, "{start}");
    }
}
