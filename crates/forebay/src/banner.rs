//! What the program prints on stdout when it is ready: what runs where, and one line to try each.
//!
//! People read it, and so do tests and scripts: each line is a word, blanks, and a value; a
//! listener's value is its URL (or `off`), and may be followed by blanks and `try: COMMAND`. The
//! last line is `ready`.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

/// Where each listener really is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bound {
    pub(crate) sqs: Option<SocketAddr>,
    pub(crate) amqp: Option<SocketAddr>,
    pub(crate) kafka: Option<SocketAddr>,
    pub(crate) http: Option<SocketAddr>,
}

impl Bound {
    /// Each listener's name, and its URL and a line to try it if it is on.
    fn rows(&self) -> [(&'static str, Option<(String, String)>); 4] {
        [
            ("sqs", self.sqs.map(sqs)),
            ("amqp", self.amqp.map(amqp)),
            ("kafka", self.kafka.map(kafka)),
            ("http", self.http.map(http)),
        ]
    }

    /// The name and URL of each listener that is on.
    pub(crate) fn urls(&self) -> Vec<(String, String)> {
        let on = |(name, row): (&str, Option<(String, String)>)| Some((name.to_owned(), row?.0));
        self.rows().into_iter().filter_map(on).collect()
    }
}

/// The whole banner.
///
/// `segments` is where they lie, if that is not the data directory.
pub(crate) fn banner(data_dir: &Path, segments: Option<&str>, bound: &Bound) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!("forebay {version}\ndata    {}\n", data_dir.display());
    if let Some(place) = segments {
        text.push_str(&format!("segments {place}\n"));
    }
    for (name, row) in bound.rows() {
        // Writing to a string cannot fail.
        let _ = match row {
            Some((url, hint)) => writeln!(text, "{name:<7} {url:<36} try: {hint}"),
            None => writeln!(text, "{name:<7} off"),
        };
    }
    text.push_str("ready\n");
    text
}

fn sqs(at: SocketAddr) -> (String, String) {
    let url = format!("http://{at}");
    let hint = format!("aws --endpoint-url {url} sqs create-queue --queue-name orders");
    (url, hint)
}

fn amqp(at: SocketAddr) -> (String, String) {
    let url = format!("amqp://guest:guest@{at}/");
    let hint = format!("amqp-publish -u {url} -r orders -b hello");
    (url, hint)
}

fn kafka(at: SocketAddr) -> (String, String) {
    (
        at.to_string(),
        format!("kcat -b {at} -C -t orders -o beginning"),
    )
}

fn http(at: SocketAddr) -> (String, String) {
    let url = format!("http://{at}");
    let hint = format!("curl {url}/metrics");
    (url, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_finds_each_listener_by_its_first_two_words() {
        let bound = Bound {
            sqs: Some(([127, 0, 0, 1], 9324).into()),
            kafka: Some(([127, 0, 0, 1], 9092).into()),
            ..Bound::default()
        };
        let text = banner(Path::new("/data"), Some("s3://bucket"), &bound);
        let words: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().take(2).collect())
            .collect();
        assert_eq!(
            words,
            [
                vec!["forebay", env!("CARGO_PKG_VERSION")],
                vec!["data", "/data"],
                vec!["segments", "s3://bucket"],
                vec!["sqs", "http://127.0.0.1:9324"],
                vec!["amqp", "off"],
                vec!["kafka", "127.0.0.1:9092"],
                vec!["http", "off"],
                vec!["ready"],
            ]
        );
    }
}
