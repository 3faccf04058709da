//! The page at `/`: what runs here, and where to go on.

use std::fmt::Write;

use crate::Options;

const HEAD: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>Forebay</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem }
td { padding: .2rem 1.5rem .2rem 0 }
</style>
"#;

/// The page. What it shows comes from this process's own options, and is escaped all the same.
pub(crate) fn page(options: &Options, topics: u64) -> String {
    let mut text = HEAD.to_owned();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "<h1>Forebay {}</h1>\n<p>One durable log, spoken to by SQS, RabbitMQ and Kafka clients. \
         There are {topics} topics.</p>\n<table>\n",
        escaped(&options.version),
    );
    for (name, url) in &options.listeners {
        let _ = writeln!(
            text,
            "<tr><td>{}<td><code>{}</code>",
            escaped(name),
            escaped(url)
        );
    }
    text.push_str(
        "</table>\n<p><a href=\"/healthz\">/healthz</a> · <a href=\"/metrics\">/metrics</a></p>\n",
    );
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_is_taken_for_markup() {
        let options = Options {
            version: "1".to_owned(),
            listeners: vec![("sqs".to_owned(), "<script>\"&".to_owned())],
        };
        let page = page(&options, 7);
        assert!(page.contains("&lt;script>&quot;&amp;"), "{page}");
        assert!(page.contains("There are 7 topics"), "{page}");
    }
}
