//! The program under test as a process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::ports::free_port;
use crate::raw;

/// The `forebay` program of the same profile as the running test, built now if it is not up to
/// date. `FOREBAY_BIN` names another one.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(named) = std::env::var_os("FOREBAY_BIN") {
            return named.into();
        }
        let executable = std::env::current_exe().expect("this process has an executable");
        // target/PROFILE/deps/TEST or target/PROFILE/PROGRAM
        let profile_dir = executable
            .ancestors()
            .skip(1)
            .find(|dir| !dir.ends_with("deps") && !dir.ends_with("examples"))
            .expect("an executable built by cargo lies in target/PROFILE");
        let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(name) => name,
        };
        let target_dir = profile_dir
            .parent()
            .expect("the profile's folder lies in the target folder");
        // The whole workspace, so that features are those of `cargo test --workspace` and nothing
        // is compiled twice.
        let status = std::process::Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--workspace",
                "--bin",
                "forebay",
                "--profile",
                profile,
                "--target-dir",
            ])
            .arg(target_dir)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs");
        assert!(status.success(), "cargo could not build forebay");
        profile_dir.join("forebay")
    })
}

/// How to start the program.
#[derive(Clone, Debug)]
pub struct Start {
    data_dir: PathBuf,
    ports: [u16; 4],
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

const LISTENERS: [&str; 4] = ["sqs", "amqp", "kafka", "http"];

impl Start {
    /// On `data_dir`, with four free ports that stay the same at every start.
    pub fn on(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            ports: std::array::from_fn(|_| free_port()),
            arguments: Vec::new(),
            // Small files start fast; a variable, so that a test's own argument wins.
            environment: vec![("FOREBAY_JOURNAL_FILE".into(), "16MiB".into())],
        }
    }

    /// With the ports `sqs`, `amqp`, `kafka`, `http`; 0 lets the program pick.
    pub fn ports(mut self, ports: [u16; 4]) -> Self {
        self.ports = ports;
        self
    }

    /// One more argument.
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// One more environment variable.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command.arg("--data-dir").arg(&self.data_dir);
        for (listener, port) in LISTENERS.iter().zip(self.ports) {
            command
                .arg(format!("--{listener}"))
                .arg(format!("127.0.0.1:{port}"));
        }
        command
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Starts it and waits until every listener is open.
    pub async fn run(&self) -> Forebay {
        let begun = Instant::now();
        let mut child = self.command().spawn().expect("the program starts");
        let said = Said::listen_to(&mut child);
        let mut lines = said.count.subscribe();
        let addresses = loop {
            lines.borrow_and_update();
            if let Some(found) = said.banner() {
                break found;
            }
            let waited = tokio::time::timeout(Duration::from_secs(60), lines.changed()).await;
            let exit = child.try_wait().expect("a child can be waited for");
            assert!(
                matches!(waited, Ok(Ok(()))) && exit.is_none() || said.banner().is_some(),
                "the program did not come up ({exit:?}); it said:\n{}",
                said.text()
            );
        };
        Forebay {
            start: self.clone(),
            child,
            said,
            addresses,
            started_in: begun.elapsed(),
        }
    }

    /// Starts it expecting that it refuses: gives its exit status and all that it said.
    pub async fn refused(&self) -> (ExitStatus, String) {
        let mut child = self.command().spawn().expect("the program starts");
        let said = Said::listen_to(&mut child);
        let status = tokio::time::timeout(Duration::from_secs(60), child.wait()).await;
        let status =
            status.unwrap_or_else(|_| panic!("it did not refuse; it said:\n{}", said.text()));
        said.finished().await;
        (status.expect("a child can be waited for"), said.text())
    }
}

/// What the program printed, both streams, as it came.
#[derive(Clone)]
struct Said {
    lines: Arc<Mutex<Vec<String>>>,
    count: watch::Sender<usize>,
}

impl Said {
    fn listen_to(child: &mut Child) -> Self {
        let said = Self {
            lines: Arc::default(),
            count: watch::Sender::new(0),
        };
        said.follow(child.stdout.take().expect("stdout is piped"));
        said.follow(child.stderr.take().expect("stderr is piped"));
        said
    }

    fn follow(&self, stream: impl tokio::io::AsyncRead + Unpin + Send + 'static) {
        let said = self.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                said.lines.lock().unwrap().push(line);
                said.count.send_modify(|count| *count += 1);
            }
            said.count.send_modify(|count| *count += 1);
        });
    }

    /// Waits until both streams have ended: only this handle is left.
    async fn finished(&self) {
        let lines = self.lines.clone();
        crate::until("the program's streams to end", || {
            let left = Arc::strong_count(&lines);
            async move { (left <= 2).then_some(()) }
        })
        .await;
    }

    fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// The listeners' addresses once all are printed: `sqs  http://127.0.0.1:9324  ...`.
    fn banner(&self) -> Option<[SocketAddr; 4]> {
        let mut found = BTreeMap::new();
        for line in self.lines.lock().unwrap().iter() {
            let mut words = line.split_whitespace();
            let (Some(name), Some(place)) = (words.next(), words.next()) else {
                continue;
            };
            let Some(index) = LISTENERS.iter().position(|listener| *listener == name) else {
                continue;
            };
            let place = place
                .rsplit('/')
                .find(|part| part.contains(':'))
                .unwrap_or(place);
            let place = place.rsplit('@').next().unwrap_or(place);
            if let Ok(address) = place.parse::<SocketAddr>() {
                found.insert(index, address);
            }
        }
        let addresses: Vec<SocketAddr> = found.into_values().collect();
        addresses.try_into().ok()
    }
}

/// A running program. Dropping it kills it.
pub struct Forebay {
    start: Start,
    child: Child,
    said: Said,
    addresses: [SocketAddr; 4],
    started_in: Duration,
}

impl Forebay {
    /// Starts one on `data_dir`.
    pub async fn on(data_dir: impl Into<PathBuf>) -> Self {
        Start::on(data_dir).run().await
    }

    /// Where SQS clients go.
    pub fn sqs(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Where AMQP clients go.
    pub fn amqp(&self) -> SocketAddr {
        self.addresses[1]
    }

    /// Where Kafka clients go.
    pub fn kafka(&self) -> SocketAddr {
        self.addresses[2]
    }

    /// Where health and metrics are.
    pub fn http(&self) -> SocketAddr {
        self.addresses[3]
    }

    /// From the start of the process until every listener was open.
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// All it has printed so far.
    pub fn said(&self) -> String {
        self.said.text()
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        let id = self
            .child
            .id()
            .expect("the program has not been waited for");
        Pid::from_raw(id.cast_signed()).expect("a process id is not 0")
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("a child can be waited for")
            .is_none()
    }

    /// `kill -9`: no chance to write anything more.
    pub async fn kill(mut self) -> Start {
        self.child
            .kill()
            .await
            .expect("a running program can be killed");
        self.start.clone()
    }

    /// `kill -9` and a new start on the same data and ports.
    pub async fn kill_and_restart(self) -> Self {
        self.kill().await.run().await
    }

    /// SIGTERM; gives the exit status, and how to start it again.
    pub async fn terminate(mut self) -> (ExitStatus, Start) {
        kill_process(self.pid(), Signal::TERM).expect("the program runs");
        let status = tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await;
        let status =
            status.unwrap_or_else(|_| panic!("it did not stop; it said:\n{}", self.said.text()));
        (
            status.expect("a child can be waited for"),
            self.start.clone(),
        )
    }

    /// Memory it has resident, bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_nonzero()))
                .expect("the program runs");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("a process has VmRSS");
        let kib: u64 = line
            .split_whitespace()
            .nth(1)
            .and_then(|word| word.parse().ok())
            .expect("a number of kB");
        kib * 1024
    }

    /// What `/metrics` says: name with labels, as printed, to value.
    pub async fn metrics(&self) -> BTreeMap<String, f64> {
        let (status, text) = raw::http_get(self.http(), "/metrics").await;
        assert_eq!(status, 200, "/metrics: {text}");
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect()
    }

    /// Panics unless all three protocols still carry a message to and fro.
    pub async fn assert_healthy(&self) {
        let (status, text) = raw::http_get(self.http(), "/healthz").await;
        assert_eq!(status, 200, "/healthz: {text}");
        for protocol in crate::Protocol::ALL {
            let topic = format!("healthy-{protocol:?}-{}", free_name());
            let letter = crate::Letter::text("still here");
            crate::letter::make_topic(self, protocol, &topic).await;
            crate::letter::send(self, protocol, &topic, std::slice::from_ref(&letter)).await;
            let got = crate::letter::collect(self, protocol, &topic, 1).await;
            assert_eq!(got, [letter], "{protocol:?} after bad input");
        }
    }
}

impl Drop for Forebay {
    /// When a test fails, what the program said last is the first thing one wants to know.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.said();
            let lines: Vec<&str> = said.lines().collect();
            let last = &lines[lines.len().saturating_sub(20)..];
            println!("the program's last words:\n{}", last.join("\n"));
        }
    }
}

/// A number not given before in this process, for names.
pub fn free_name() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
