//! Queue names, and the URLs and ARNs made of them.

use crate::error::{Fault, shown};
use crate::json::Text;
use crate::limits::{GROUP_ID_CHARS_MAX, QUEUE_NAME_CHARS_MAX};

/// What the names of FIFO queues end with.
pub(crate) const FIFO_SUFFIX: &str = ".fifo";

/// Whether a queue may have this name: 1 to 80 of `[A-Za-z0-9_-]`, of which a FIFO queue needs five
/// for its suffix.
pub(crate) fn is_legal(name: &str) -> bool {
    let stem = name.strip_suffix(FIFO_SUFFIX).unwrap_or(name);
    !stem.is_empty() && name.len() <= QUEUE_NAME_CHARS_MAX && is_plain(stem)
}

/// Whether a queue of this name is a FIFO queue.
pub(crate) fn is_fifo(name: &str) -> bool {
    name.ends_with(FIFO_SUFFIX)
}

/// Whether this may be the label of a permission: 1 to 80 of `[A-Za-z0-9_-]`.
pub(crate) fn is_label(label: &str) -> bool {
    (1..=QUEUE_NAME_CHARS_MAX).contains(&label.len()) && is_plain(label)
}

fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Whether this may be the id of a message group, of a message's deduplication, or of an attempt to
/// receive: 1 to 128 alphanumeric or punctuation characters.
pub(crate) fn is_group_id(id: &[u8]) -> bool {
    (1..=GROUP_ID_CHARS_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// The queue a `QueueUrl` names: its last path segment. Host, region and account are not looked
/// at, so a client that reaches this server under another name than the one that made the queue
/// finds it all the same. A bare name is taken too.
pub(crate) fn from_url<'a>(url: &'a Option<Text<'_>>) -> Result<&'a str, Fault> {
    let url = url.as_ref().map(Text::as_str).filter(|url| !url.is_empty());
    let url = url.ok_or_else(|| Fault::missing("QueueUrl"))?;
    let trimmed = url.strip_suffix('/').unwrap_or(url);
    let after_scheme = trimmed.split_once("://").map(|(_, rest)| rest);
    let (path, is_url) = (after_scheme.unwrap_or(trimmed), after_scheme.is_some());
    match path.rsplit_once('/') {
        Some((_, name)) if !name.is_empty() => Ok(name),
        None if !is_url && !path.is_empty() => Ok(path),
        _ => Err(Fault::InvalidAddress {
            url: shown(url).to_owned(),
        }),
    }
}

/// The queue an ARN names, or the reason it names none, as AWS words it.
pub(crate) fn from_arn(arn: &str) -> Result<&str, &'static str> {
    let mut parts = arn.splitn(6, ':');
    let (scheme, _partition, service) = (parts.next(), parts.next(), parts.next());
    let (_region, _account, name) = (parts.next(), parts.next(), parts.next());
    match (scheme, service, name) {
        (Some("arn"), Some("sqs"), Some(name)) if !name.is_empty() => Ok(name),
        (Some("arn"), Some(service), _) if service != "sqs" => {
            Err("Only SQS queues are valid resources for deadLetterTargetArn.")
        }
        _ => Err("Invalid value for deadLetterTargetArn."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(url: &str) -> Result<String, Fault> {
        from_url(&Some(Text(url.into()))).map(str::to_owned)
    }

    #[test]
    fn names_keep_to_the_rule() {
        assert!(is_legal("a") && is_legal("A-z_09") && is_legal(&"q".repeat(80)));
        assert!(!is_legal("") && !is_legal("a.b") && !is_legal("é") && !is_legal(&"q".repeat(81)));
        let fifo = |stem: usize| "q".repeat(stem) + FIFO_SUFFIX;
        assert!(is_legal("a.fifo") && is_legal(&fifo(75)) && is_fifo("a.fifo"));
        assert!(!is_legal(".fifo") && !is_legal(&fifo(76)) && !is_legal("a.fifo.fifo"));
        assert!(is_label("a-1") && !is_label("a.fifo") && !is_label(""));
    }

    #[test]
    fn a_queue_is_found_by_every_url_clients_use() {
        for url in [
            "http://localhost:9324/000000000000/orders",
            "https://sqs.eu-west-1.amazonaws.com/123456789012/orders/",
            "http://localhost:9324/queue/orders",
            "http://localhost:4566/queue/us-east-1/000000000000/orders",
            "/000000000000/orders",
            "orders",
        ] {
            assert_eq!(name_of(url).as_deref(), Ok("orders"), "{url}");
        }
    }

    #[test]
    fn urls_without_a_queue_are_invalid_addresses() {
        for url in [
            "http://localhost:9324",
            "http://",
            "/",
            "http://localhost//",
        ] {
            assert!(
                matches!(name_of(url), Err(Fault::InvalidAddress { .. })),
                "{url}"
            );
        }
        assert_eq!(from_url(&None), Err(Fault::missing("QueueUrl")));
        assert_eq!(name_of(""), Err(Fault::missing("QueueUrl")));
    }

    #[test]
    fn arns_are_taken_apart() {
        assert_eq!(
            from_arn("arn:aws:sqs:us-east-1:000000000000:dead"),
            Ok("dead")
        );
        assert!(
            from_arn("arn:aws:sns:us-east-1:000000000000:dead")
                .unwrap_err()
                .starts_with("Only SQS")
        );
        for arn in [
            "",
            "dead",
            "arn:aws:sqs",
            "arn:aws:sqs:us-east-1:000000000000:",
        ] {
            assert_eq!(
                from_arn(arn),
                Err("Invalid value for deadLetterTargetArn."),
                "{arn}"
            );
        }
    }

    #[test]
    fn group_ids_are_visible_ascii() {
        assert!(is_group_id(b"tenant-1!~") && is_group_id(&[b'x'; 128]));
        assert!(
            !is_group_id(b"")
                && !is_group_id(b"a b")
                && !is_group_id(&[b'x'; 129])
                && !is_group_id("é".as_bytes())
        );
    }
}
