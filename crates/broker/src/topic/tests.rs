use forebay_base::SessionId;

use super::*;
use crate::{ExchangeConfig, ExchangeKind};

fn config() -> TopicConfig {
    TopicConfig {
        partitions: 3,
        lease_ms: 1,
        delay_ms: 2,
        max_deliveries: Some(4),
        dead_letter: Some(DeadLetterTarget::Topic("dead".to_owned())),
        retention: Retention {
            until_settled: true,
            ms: Some(5),
            bytes: Some(6),
        },
        compaction: Some(Compaction {
            min_lag_ms: 7,
            max_lag_ms: 8,
            delete_retention_ms: 9,
            min_dirty_ratio: 10,
        }),
        max_message_bytes: 11,
        lifetime: Lifetime {
            transient: true,
            auto_delete: true,
        },
        exclusive: Some(SessionId(12)),
        labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        ordered: true,
        dedup_ms: 13,
        max_leased: Some(14),
        fair: true,
        backoff: Some(Backoff {
            first_ms: 15,
            most_ms: 16,
            growth_percent: 17,
            spread_percent: 18,
        }),
        name_rests_ms: 19,
        message_ms: Some(15),
        max_length: Some(16),
        overflow: Overflow::RefuseAndDeadLetter,
        idle_ms: Some(17),
        single_active: true,
    }
}

/// The fields with a length in front of them, as they lie in a frame.
fn stored(fields: &[u8]) -> Vec<u8> {
    postcard::to_stdvec(fields).unwrap()
}

#[test]
fn a_config_comes_back_as_it_was_stored() {
    for config in [config(), TopicConfig::default()] {
        let bytes = postcard::to_stdvec(&config).unwrap();
        assert_eq!(postcard::from_bytes::<TopicConfig>(&bytes).unwrap(), config);
    }
}

#[test]
fn every_byte_of_a_stored_config_is_pinned() {
    let fields = [
        [3, 1, 2, 1, 4, 1, 0, 4].as_slice(),
        b"dead",
        &[1, 1, 5, 1, 6, 11, 1, 1, 1, 12],
        &[1, 1, b'a', 1, b'b'],
        &[1, 7, 8, 9, 10],
        &[1, 13, 1, 14],
        &[1, 1, 15, 16, 17, 18, 19],
        &[1, 15, 1, 16, 2, 1, 17, 1],
    ];
    let bytes = postcard::to_stdvec(&config()).unwrap();
    assert_eq!(bytes, stored(&fields.concat()));
}

/// A version without the last fields wrote it, or one that has more.
#[test]
fn fields_that_are_missing_are_the_defaults_and_further_ones_are_passed_over() {
    let bytes = postcard::to_stdvec(&config()).unwrap();
    let fields: Vec<u8> = postcard::from_bytes(&bytes).unwrap();
    let without_last = &fields[..fields.len() - 1];
    let read: TopicConfig = postcard::from_bytes(&stored(without_last)).unwrap();
    let single_active = false;
    assert_eq!(
        read,
        TopicConfig {
            single_active,
            ..config()
        }
    );
    let read: TopicConfig = postcard::from_bytes(&stored(&[])).unwrap();
    assert_eq!(read, TopicConfig::default());
    let with_more = [fields.as_slice(), b"what is yet to come"].concat();
    let read: TopicConfig = postcard::from_bytes(&stored(&with_more)).unwrap();
    assert_eq!(read, config());
    let cut = &fields[..fields.len() - 2];
    assert!(postcard::from_bytes::<TopicConfig>(&stored(cut)).is_err());
}

#[test]
fn an_exchange_can_get_further_fields_too() {
    let config = ExchangeConfig {
        kind: ExchangeKind::Topic,
        durable: true,
        auto_delete: false,
        internal: true,
        labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        alternate: Some("x".into()),
    };
    let fields = [2, 1, 0, 1, 1, 1, b'a', 1, b'b', 1, 1, b'x'];
    assert_eq!(postcard::to_stdvec(&config).unwrap(), stored(&fields));
    let with_more = [fields.as_slice(), b"what is yet to come"].concat();
    let read: ExchangeConfig = postcard::from_bytes(&stored(&with_more)).unwrap();
    assert_eq!(read, config);
    let without_kind = postcard::from_bytes::<ExchangeConfig>(&stored(&[]));
    assert_eq!(without_kind.unwrap().kind, ExchangeKind::Direct);
}
