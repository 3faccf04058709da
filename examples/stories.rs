//! Each story, run to its end against a program of its own. A story checks itself.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::process::Command;

use forebay_tests::Forebay;

#[tokio::test(flavor = "multi_thread")]
async fn the_checkout_story_holds() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let (amqp, sqs) = (forebay.amqp().to_string(), forebay.sqs().to_string());
    let running = tokio::task::spawn_blocking(move || {
        let mut story = Command::new(env!("CARGO_BIN_EXE_checkout"));
        story
            .args(["--orders", "200", "--amqp", &amqp, "--sqs", &sqs])
            .output()
            .unwrap()
    });
    let output = running.await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(told.contains("all checks hold"));
}
