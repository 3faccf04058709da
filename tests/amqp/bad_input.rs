//! What is wrong gets AMQP's own reply code, on the channel if the channel alone is at fault.

use forebay_tests::amqp_wire::{Close, Session, frame, method, shortstr};
use forebay_tests::{Forebay, amqp};

/// basic.publish to the default exchange and a content header that promises `size` bytes.
fn publish(queue: &str, size: u64) -> Vec<u8> {
    let mut arguments = vec![0, 0];
    arguments.extend(shortstr(""));
    arguments.extend(shortstr(queue));
    arguments.push(0);
    let mut bytes = method(1, 60, 40, &arguments);
    let mut header = vec![0, 60, 0, 0];
    header.extend(size.to_be_bytes());
    header.extend([0, 0]);
    bytes.extend(frame(2, 1, &header));
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_greeting_is_answered_with_ours() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    for greeting in [
        &b"AMQP\x00\x01\x00\x00"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"AMQP\x01\x01\x08\x00",
    ] {
        let mut session = Session::raw(forebay.amqp()).await;
        session.put(greeting).await;
        assert_eq!(session.rest().await, b"AMQP\0\0\x09\x01", "{greeting:?}");
    }
    forebay.assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_frames_end_the_connection_with_the_right_code() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let mut unmarked = frame(8, 0, &[]);
    *unmarked.last_mut().unwrap() = 0;
    let mut absurd = vec![1, 0, 1];
    absurd.extend(u32::MAX.to_be_bytes());
    absurd.extend([0; 64]);
    let cases: [(&str, Vec<u8>, &[u16]); 9] = [
        ("no end mark", unmarked, &[501]),
        ("absurd length", absurd, &[501]),
        ("unknown frame type", frame(77, 0, &[]), &[501]),
        ("unknown class", method(1, 999, 1, &[]), &[503, 540]),
        ("unknown method", method(1, 60, 999, &[]), &[503, 540]),
        (
            "arguments cut off",
            method(1, 50, 10, &[0, 0, 40, b'q']),
            &[502],
        ),
        (
            "method shorter than its ids",
            frame(1, 1, &[0]),
            &[501, 502],
        ),
        ("body without header", frame(3, 1, b"body"), &[505]),
        (
            "a channel that is not open",
            method(7, 60, 10, &[0, 0, 0, 0, 0, 0, 0]),
            &[504],
        ),
    ];
    for (what, bytes, codes) in cases {
        let mut session = Session::with_channel(forebay.amqp()).await;
        session.put(&bytes).await;
        let close = session
            .close()
            .await
            .unwrap_or_else(|| panic!("{what}: hung up without a close"));
        println!("{what}: {close:?}");
        assert_eq!(close.channel, 0, "{what}: {close:?}");
        assert!(codes.contains(&close.code), "{what}: {close:?}");
        assert!(
            close.text.contains(" - "),
            "{what}: the text is NAME - text: {close:?}"
        );
        session.confirm_close().await;
    }
    forebay.assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_vanishes_in_the_middle_disturbs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let connection = amqp::connect(forebay.amqp()).await;
    amqp::declare(&connection.create_channel().await.unwrap(), "q").await;
    let whole = publish("q", 10);
    for cut in [1, 5, 8, whole.len() - 1, whole.len()] {
        let mut session = Session::with_channel(forebay.amqp()).await;
        session.put(&whole[..cut]).await;
        session.hang_up().await;
    }
    forebay.assert_healthy().await;
    assert!(connection.status().connected());
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_on_a_channel_close_only_the_channel() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let mut consume = vec![0, 0];
    consume.extend(shortstr("gone"));
    consume.extend(shortstr(""));
    consume.extend([0, 0, 0, 0, 0]);
    let mut to_nowhere = vec![0, 0];
    to_nowhere.extend(shortstr("no-exchange"));
    to_nowhere.extend(shortstr("key"));
    to_nowhere.push(0);
    let mut lost = method(1, 60, 40, &to_nowhere);
    lost.extend(frame(2, 1, &[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]));
    lost.extend(frame(3, 1, b"x"));
    let cases = [
        (
            "ack of an unknown tag",
            method(1, 60, 80, &[0, 0, 0, 0, 0, 0, 0, 99, 0]),
            406,
            "PRECONDITION_FAILED - unknown delivery tag 99",
        ),
        (
            "consume from no queue",
            method(1, 60, 20, &consume),
            404,
            "NOT_FOUND - no queue 'gone' in vhost '/'",
        ),
        (
            "publish to no exchange",
            lost,
            404,
            "NOT_FOUND - no exchange 'no-exchange' in vhost '/'",
        ),
    ];
    for (what, bytes, code, text) in cases {
        let mut session = Session::with_channel(forebay.amqp()).await;
        session.put(&bytes).await;
        let close = session
            .close()
            .await
            .unwrap_or_else(|| panic!("{what}: hung up"));
        assert_eq!(
            close,
            Close {
                channel: 1,
                code,
                text: text.into()
            },
            "{what}"
        );
        session.put(&method(1, 20, 41, &[])).await;
        // The connection goes on, and so may the channel's number.
        session.put(&method(1, 20, 10, &[0])).await;
        session.expect(20, 11).await;
    }
    forebay.assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_before_it_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let connection = amqp::connect(forebay.amqp()).await;
    amqp::declare(&connection.create_channel().await.unwrap(), "q").await;
    for size in [17 << 20, 1 << 40, u64::MAX] {
        let mut session = Session::with_channel(forebay.amqp()).await;
        session.put(&publish("q", size)).await;
        let close = session
            .close()
            .await
            .unwrap_or_else(|| panic!("{size}: hung up without a close"));
        println!("{size}: {close:?}");
        assert!(
            [311, 406, 501, 502].contains(&close.code),
            "{size}: {close:?}"
        );
    }
    forebay.assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_and_an_unknown_vhost_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    for uri in [
        format!("amqp://guest:wrong@{}/%2f", forebay.amqp()),
        format!("amqp://guest:guest@{}/other", forebay.amqp()),
    ] {
        let refused =
            lapin::Connection::connect(&uri, lapin::ConnectionProperties::default()).await;
        let failure = refused.err().unwrap_or_else(|| panic!("{uri} was let in"));
        println!("{uri}: {failure}");
    }
    forebay.assert_healthy().await;
}
