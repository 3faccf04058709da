//! Which characters SQS allows in bodies and attribute values.

/// Whether all characters are `#x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD |
/// #x10000 to #x10FFFF` (API reference of `SendMessage`).
pub(crate) fn is_legal(text: &str) -> bool {
    let bytes = text.as_bytes();
    // The only other characters left out that UTF-8 can hold are U+FFFE and U+FFFF: EF BF BE/BF.
    !bytes.iter().any(|&byte| is_illegal_control(byte) || byte == 0xEF)
        || text
            .chars()
            .all(|c| !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}'))
}

fn is_illegal_control(byte: u8) -> bool {
    byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r')
}

/// `bytes` as a string if SQS could carry it as one.
pub(crate) fn legal(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes)
        .ok()
        .filter(|text| is_legal(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_is_judged_as_the_api_reference_says() {
        for c in (0..=0x10FFFF).filter_map(char::from_u32) {
            let allowed = matches!(u32::from(c), 0x9 | 0xA | 0xD | 0x20..=0xD7FF | 0xE000..=0xFFFD | 0x10000..=0x10FFFF);
            assert_eq!(is_legal(c.encode_utf8(&mut [0; 4])), allowed, "{c:?}");
        }
    }

    #[test]
    fn one_bad_character_spoils_the_text() {
        assert!(is_legal("plain \u{ff5e} text\n"));
        assert!(!is_legal("plain \u{ffff} text"));
        assert!(!is_legal("plain \u{ff5e}\u{1} text"));
        assert_eq!(legal(b"\xff"), None);
    }
}
