//! The program as its operator meets it: options, banner, refusals, signals.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on may say so by panicking"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// The program, with no variable of the tester's own environment, on `data_dir`.
fn forebay(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command
        .env_clear()
        .arg("--data-dir")
        .arg(data_dir)
        .stdin(Stdio::null());
    command
}

/// With all listeners off but `/healthz`, on a free port.
fn quiet(data_dir: &Path) -> Command {
    let mut command = forebay(data_dir);
    command.args([
        "--sqs=off",
        "--amqp=off",
        "--kafka=off",
        "--http=127.0.0.1:0",
    ]);
    command
}

/// Runs a program that is to end by itself.
fn output(command: &mut Command) -> Output {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    receiver
        .recv_timeout(Duration::from_secs(30))
        .map(Result::unwrap)
        .unwrap_or_else(|_| {
            kill_process(pid, Signal::KILL).unwrap();
            panic!("it runs instead of refusing");
        })
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A program that has said `ready`.
struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    banner: Vec<String>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut banner = Vec::new();
        while banner.last().is_none_or(|line| line != "ready") {
            let mut line = String::new();
            let read = stdout.read_line(&mut line).unwrap();
            assert!(read > 0, "it ended after {banner:?}");
            banner.push(line.trim_end().to_owned());
        }
        Self {
            child,
            stdout,
            banner,
        }
    }

    /// The value of a line of the banner.
    fn value(&self, name: &str) -> &str {
        let mut rows = self.banner.iter().map(|line| line.split_whitespace());
        rows.find_map(|mut words| (words.next() == Some(name)).then(|| words.next()).flatten())
            .unwrap()
    }

    fn get(&self, path: &str) -> String {
        let address = self.value("http").strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the end; gives the exit code and what was said on stderr and stdout since.
    fn end(mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        self.stdout.read_to_string(&mut text).unwrap();
        (self.child.wait().unwrap().code(), text)
    }
}

#[test]
fn help_goes_to_stdout_and_teaches_the_first_step() {
    let dir = tempfile::tempdir().unwrap();
    let output = output(forebay(dir.path()).arg("--help"));
    let help = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    for word in [
        "--data-dir",
        "--insecure-bind",
        "FOREBAY_SQS",
        "create-queue",
        "SIGTERM",
    ] {
        assert!(help.contains(word), "no {word:?} in:\n{help}");
    }
}

#[test]
fn a_wrong_flag_is_exit_code_2_and_names_the_flag() {
    let dir = tempfile::tempdir().unwrap();
    let output = output(forebay(dir.path()).arg("--sqs=9324"));
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("--sqs <ADDR:PORT|off>"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_flag_beats_the_environment_and_the_environment_beats_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("forebay.toml");
    std::fs::write(
        &file,
        "sqs = \"off\"\namqp = \"off\"\nkafka = \"off\"\nhttp = \"off\"\n",
    )
    .unwrap();
    let data_dir = dir.path().join("data");
    let mut command = forebay(&data_dir);
    command
        .env("FOREBAY_CONFIG", &file)
        .env("FOREBAY_HTTP", "127.0.0.1:0");
    command.env("FOREBAY_AMQP", "localhost:0").arg("--amqp=off");
    let running = Running::start(command);
    assert_eq!(running.value("data"), data_dir.to_str().unwrap());
    assert_eq!(running.value("sqs"), "off", "from the file");
    assert_eq!(running.value("amqp"), "off", "from the flag");
    assert_ne!(running.value("http"), "off", "from the environment");
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn what_is_wrong_with_the_file_is_said_with_its_name_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("forebay.toml");
    let run = || output(quiet(dir.path()).arg("--config").arg(&file));
    let missing = run();
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        said(&missing).contains(file.to_str().unwrap()),
        "{}",
        said(&missing)
    );
    std::fs::write(&file, "log = \"info\"\nsqss = \"off\"\n").unwrap();
    let misspelt = said(&run());
    assert!(
        misspelt.starts_with("forebay: the configuration file "),
        "{misspelt}"
    );
    assert!(
        misspelt.contains("line 2") && misspelt.contains("sqss"),
        "{misspelt}"
    );
}

#[test]
fn an_address_of_the_network_is_refused_until_it_is_asked_for_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let mut command = forebay(&data_dir);
    let refused = output(command.args(["--sqs", "0.0.0.0:0"]));
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said(&refused).contains("--insecure-bind"),
        "{}",
        said(&refused)
    );
    assert!(!data_dir.exists(), "refusing leaves no trace");
    let mut command = quiet(&data_dir);
    command.env("FOREBAY_INSECURE_BIND", "yes");
    let running = Running::start(command);
    running.signal(Signal::INT);
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn a_port_in_use_is_one_sentence_and_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = forebay(&data_dir);
    command.args(["--sqs=off", "--amqp=off", "--http=off", "--kafka", &address]);
    let refused = output(&mut command);
    assert_eq!(refused.status.code(), Some(1));
    let sentence = said(&refused);
    let start =
        format!("forebay: cannot listen on {address}: another program listens there already");
    assert!(sentence.starts_with(&start), "{sentence}");
    assert_eq!(sentence.lines().count(), 1, "{sentence}");
    assert!(!data_dir.exists());
}

#[test]
fn a_data_directory_serves_one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = Running::start(quiet(dir.path()));
    let second = output(&mut quiet(dir.path()));
    assert_eq!(second.status.code(), Some(1));
    let sentence = said(&second);
    assert!(
        sentence.contains(dir.path().to_str().unwrap()),
        "{sentence}"
    );
    assert!(sentence.contains("in use by another process"), "{sentence}");
    assert!(
        first.get("/healthz").starts_with("HTTP/1.1 200"),
        "the first is undisturbed"
    );
    first.signal(Signal::TERM);
    assert_eq!(first.end().0, Some(0));
    let third = Running::start(quiet(dir.path()));
    third.signal(Signal::TERM);
    assert_eq!(third.end().0, Some(0));
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.txt"), "ten years of work").unwrap();
    let refused = output(&mut quiet(dir.path()));
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("thesis.txt"), "{}", said(&refused));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn health_and_metrics_are_told_over_http() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(quiet(dir.path()));
    assert!(running.get("/healthz").ends_with("\r\n\r\nok\n"));
    let metrics = running.get("/metrics");
    assert!(
        metrics.contains("content-type: text/plain; version=0.0.4"),
        "{metrics}"
    );
    assert!(
        metrics.contains("\n# TYPE forebay_topics gauge\nforebay_topics 0\n"),
        "{metrics}"
    );
    assert!(metrics.contains("\nforebay_settled_total 0\n"), "{metrics}");
    assert!(running.get("/").contains("<h1>Forebay "));
    assert!(running.get("/elsewhere").starts_with("HTTP/1.1 404"));
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn check_reads_a_stopped_brokers_journal_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let refused = output(quiet(&missing).arg("check"));
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said(&refused).contains("is not a Forebay data directory"),
        "{}",
        said(&refused)
    );
    assert!(!missing.exists());

    let running = Running::start(quiet(dir.path()));
    let busy = output(quiet(dir.path()).arg("check"));
    assert_eq!(busy.status.code(), Some(1));
    assert!(
        said(&busy).contains("in use by another process"),
        "{}",
        said(&busy)
    );
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
    let checked = output(quiet(dir.path()).arg("check"));
    assert_eq!(checked.status.code(), Some(0), "{}", said(&checked));
    let told = String::from_utf8(checked.stdout).unwrap();
    assert!(
        told.contains("All is whole.") && !told.contains("DAMAGED"),
        "{told}"
    );
}
