//! Starting, refusing to start, and stopping in order.

use forebay_tests::letter::{collect, make_topic, send};
use forebay_tests::{Forebay, Letter, Protocol, Start};

use crate::alone;

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_stops_in_order_and_everything_is_there_again() {
    let _alone = alone().await;
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let letters: Vec<Letter> = (0..50).map(|n| Letter::text(n.to_string())).collect();
    for protocol in Protocol::ALL {
        let topic = format!("{protocol:?}");
        make_topic(&forebay, protocol, &topic).await;
        send(&forebay, protocol, &topic, &letters).await;
    }
    let (status, start) = forebay.terminate().await;
    assert!(status.success(), "{status}");
    let forebay = start.run().await;
    for protocol in Protocol::ALL {
        assert_eq!(
            collect(&forebay, protocol, &format!("{protocol:?}"), letters.len()).await,
            letters
        );
    }
    forebay.assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_is_obeyed_with_clients_connected() {
    let _alone = alone().await;
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let connection = forebay_tests::amqp::connect(forebay.amqp()).await;
    let client = forebay_tests::sqs::client(forebay.sqs());
    let url = forebay_tests::sqs::create(&client, "q").await;
    let polling = tokio::spawn(
        client
            .receive_message()
            .queue_url(url)
            .wait_time_seconds(20)
            .send(),
    );
    make_topic(&forebay, Protocol::Kafka, "events").await;
    let reader = forebay_tests::kafka::reader(forebay.kafka(), "events");
    let reading = tokio::spawn(async move { reader.recv().await.map(|_| ()) });
    let (status, _) = forebay.terminate().await;
    assert!(status.success(), "{status}");
    reading.abort();
    let _ = polling.await;
    drop(connection);
}

#[tokio::test(flavor = "multi_thread")]
async fn port_0_picks_a_free_port_and_prints_it() {
    let _alone = alone().await;
    let dir = tempfile::tempdir().unwrap();
    let forebay = Start::on(dir.path()).ports([0; 4]).run().await;
    assert!(
        [
            forebay.sqs(),
            forebay.amqp(),
            forebay.kafka(),
            forebay.http()
        ]
        .iter()
        .all(|at| at.port() != 0)
    );
    forebay.assert_healthy().await;
}

/// It ends with a failure, after one sentence that has all of `words`.
async fn assert_refused(start: Start, words: &[&str]) {
    let (status, said) = start.refused().await;
    println!("{said}");
    assert!(!status.success(), "{status}: {said}");
    let sentence = said
        .lines()
        .find(|line| line.starts_with("forebay: "))
        .unwrap_or_default();
    for word in words {
        assert!(
            sentence.contains(word),
            "no {word:?} in what it said:\n{said}"
        );
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_dir_has_one_process() {
    let _alone = alone().await;
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let place = dir.path().display().to_string();
    assert_refused(Start::on(dir.path()), &[&place]).await;
    forebay.assert_healthy().await;
    // The lock goes with the process, however it ends.
    forebay.kill_and_restart().await.assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let _alone = alone().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    for listener in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let mut ports = [0; 4];
        ports[listener] = at.port();
        assert_refused(Start::on(dir.path()).ports(ports), &[&at.to_string()]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_something_else_is_left_alone() {
    let _alone = alone().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("thesis.txt");
    std::fs::write(&file, "ten years of work").unwrap();
    let place = dir.path().display().to_string();
    assert_refused(Start::on(dir.path()), &[&place]).await;
    let names: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["thesis.txt"], "nothing was added");
    // A place where no folder can be made.
    assert_refused(Start::on(&file), &[&file.display().to_string()]).await;
    assert_refused(
        Start::on(file.join("below")),
        &[&file.display().to_string()],
    )
    .await;
}
