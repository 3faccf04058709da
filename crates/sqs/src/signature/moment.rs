//! Moments as signatures write them: `20250830T123600Z`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use forebay_base::Timestamp;

/// The moment; `None` if it is not written as it should be.
pub(crate) fn read(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let is_digit = |(at, byte): (usize, &u8)| match at {
        8 => *byte == b'T',
        15 => *byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    if bytes.len() != 16 || !bytes.iter().enumerate().all(is_digit) {
        return None;
    }
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let separated = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(9, 11),
        part(11, 13),
        part(13, 15)
    );
    let time = humantime::parse_rfc3339(&separated).ok()?;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp(i64::try_from(since.as_millis()).ok()?))
}

/// The moment, to the second.
pub(crate) fn shown(moment: Timestamp) -> String {
    let ms = u64::try_from(moment.0).unwrap_or(0);
    let time: SystemTime = UNIX_EPOCH + Duration::from_millis(ms);
    humantime::format_rfc3339_seconds(time)
        .to_string()
        .replace(['-', ':'], "")
}

pub(crate) fn minus_ms(moment: Timestamp, ms: u64) -> Timestamp {
    Timestamp(moment.0.saturating_sub_unsigned(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_shown_alike() {
        let moment = read("20150830T123600Z").unwrap();
        assert_eq!(moment, Timestamp(1_440_938_160_000));
        assert_eq!(shown(moment), "20150830T123600Z");
        assert_eq!(shown(minus_ms(moment, 60_000)), "20150830T123500Z");
        for wrong in [
            "",
            "20150830T123600",
            "2015-08-30T12:36:00Z",
            "20151330T123600Z",
            "\u{e9}0150830T12360Z",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
