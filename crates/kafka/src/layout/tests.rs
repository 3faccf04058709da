use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, RequestKind};
use proptest::prelude::*;

use super::*;
use crate::versions::APIS;

/// Writes a request of a layout with arbitrary content.
struct Writer {
    out: Vec<u8>,
    version: i16,
    flexible: bool,
    seed: u64,
}

impl Writer {
    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> usize {
        (self.random() % limit) as usize
    }

    fn varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn structure(&mut self, structure: &Struct) {
        for field in structure.fields {
            if (field.since..=field.until).contains(&self.version) {
                self.part(field.part);
            }
        }
        if self.flexible {
            self.tagged(structure.tagged);
        }
    }

    fn tagged(&mut self, known: &[Tagged]) {
        let known: Vec<&Tagged> = known.iter().filter(|t| self.version >= t.since).collect();
        self.varint(known.len() + 1);
        for field in known {
            let before = std::mem::take(&mut self.out);
            self.part(field.part);
            let content = std::mem::replace(&mut self.out, before);
            self.varint(field.tag as usize);
            self.varint(content.len());
            self.out.extend_from_slice(&content);
        }
        self.varint(77);
        self.varint(3);
        self.out.extend_from_slice(b"xyz");
    }

    fn short_length(&mut self, length: usize) {
        if self.flexible {
            self.varint(length + 1);
        } else {
            self.out.extend_from_slice(&(length as i16).to_be_bytes());
        }
    }

    fn long_length(&mut self, length: usize) {
        if self.flexible {
            self.varint(length + 1);
        } else {
            self.out.extend_from_slice(&(length as i32).to_be_bytes());
        }
    }

    fn letters(&mut self, count: usize) {
        for _ in 0..count {
            let letter = b'a' + self.below(26) as u8;
            self.out.push(letter);
        }
    }

    fn part(&mut self, part: Part) {
        match part {
            Part::Fixed(bytes) => self.letters(bytes),
            Part::Text => {
                let length = self.below(150);
                self.short_length(length);
                self.letters(length);
            }
            Part::Bytes => {
                let length = self.below(150);
                self.long_length(length);
                self.letters(length);
            }
            Part::Struct(structure) => self.structure(structure),
            Part::Numbers(bytes) => {
                let count = self.below(4);
                self.long_length(count);
                self.letters(count * bytes);
            }
            Part::Texts => {
                let count = self.below(4);
                self.long_length(count);
                (0..count).for_each(|_| self.part(Part::Text));
            }
            Part::Structs(structure) => {
                let count = self.below(4);
                self.long_length(count);
                (0..count).for_each(|_| self.structure(structure));
            }
        }
    }
}

fn write(layout: &Layout, version: i16, seed: u64) -> Vec<u8> {
    let mut writer = Writer {
        out: Vec::new(),
        version,
        flexible: version >= layout.flexible_since,
        seed,
    };
    writer.structure(&layout.body);
    writer.out
}

fn decode(key: ApiKey, version: i16, bytes: &[u8]) -> Result<usize, String> {
    let mut rest = Bytes::copy_from_slice(bytes);
    RequestKind::decode(key, &mut rest, version).map_err(|error| error.to_string())?;
    Ok(rest.len())
}

proptest! {
    #[test]
    fn the_decoder_reads_what_the_layout_says(seed: u64) {
        for api in APIS {
            for version in api.min..=api.max {
                let bytes = write(api.layout, version, seed);
                prop_assert_eq!(check(api.layout, version, &bytes), Ok(0));
                let left = decode(api.key, version, &bytes);
                prop_assert!(matches!(left, Ok(0)), "{:?} v{}: {:?}", api.key, version, left);
            }
        }
    }

    #[test]
    fn where_both_accept_damaged_bytes_they_agree_on_the_length(
        seed: u64,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for api in APIS {
            for version in api.min..=api.max {
                let mut bytes = write(api.layout, version, seed);
                for (at, byte) in &damage {
                    if !bytes.is_empty() {
                        let at = at.index(bytes.len());
                        bytes[at] = *byte;
                    }
                }
                if let Ok(left) = check(api.layout, version, &bytes)
                    && let Ok(decoded) = decode(api.key, version, &bytes)
                {
                    prop_assert_eq!(left, decoded, "{:?} v{}", api.key, version);
                }
            }
        }
    }

    #[test]
    fn a_request_cut_short_is_refused(seed: u64, cut in any::<prop::sample::Index>()) {
        for api in APIS {
            for version in api.min..=api.max {
                let bytes = write(api.layout, version, seed);
                if !bytes.is_empty() {
                    let short = &bytes[..cut.index(bytes.len())];
                    prop_assert!(check(api.layout, version, short).is_err());
                }
            }
        }
    }
}

#[test]
fn the_fuzz_entry_reads_a_request_of_every_kind() {
    for api in APIS {
        for version in api.min..=api.max {
            let mut frame = (api.key as i16).to_be_bytes().to_vec();
            frame.extend_from_slice(&version.to_be_bytes());
            frame.extend_from_slice(b"\0\0\0\x07\0\x02me");
            if api.key.request_header_version(version) >= 2 {
                frame.push(0);
            }
            frame.extend_from_slice(&write(api.layout, version, 5));
            crate::fuzz_request(&frame);
        }
    }
}

#[test]
fn an_array_that_claims_more_than_there_is_is_refused() {
    // Metadata v1: an array of 2^31 - 1 names in 4 bytes.
    assert_eq!(
        check(&METADATA, 1, &i32::MAX.to_be_bytes()),
        Err(LayoutError::Short)
    );
    // Metadata v9: the same with a variable length.
    assert_eq!(
        check(&METADATA, 9, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        Err(LayoutError::Short)
    );
}

#[test]
fn the_decoded_form_is_bounded_too() {
    // Empty names of two bytes each, a few more than may be.
    let count = ELEMENTS_MAX + 1;
    let mut body = (count as i32).to_be_bytes().to_vec();
    body.resize(4 + 2 * count, 0);
    assert_eq!(check(&METADATA, 1, &body), Err(LayoutError::TooMany));
}

#[test]
fn a_tag_has_31_bits() {
    // ApiVersions v3 with empty names and one tagged field of no bytes.
    let with_tag = |tag: &[u8]| [&[1, 1, 1][..], tag, &[0]].concat();
    let highest = with_tag(&[0xff, 0xff, 0xff, 0xff, 0x07]);
    assert_eq!(check(&API_VERSIONS, 3, &highest), Ok(0));
    let over = with_tag(&[0x80, 0x80, 0x80, 0x80, 0x08]);
    assert_eq!(check(&API_VERSIONS, 3, &over), Err(LayoutError::Tag));
}

#[test]
fn a_known_tag_may_not_lie_about_its_length() {
    // A Fetch without topics, then tag 0, the cluster's name: one byte of length, one of name.
    let mut body = vec![0; 4 + 4 + 4 + 4 + 1 + 4 + 4];
    body.extend_from_slice(&[1, 1, 1]);
    let mut honest = body.clone();
    honest.extend_from_slice(&[1, 0, 2, 2, b'x']);
    assert_eq!(check(&FETCH, 12, &honest), Ok(0));
    body.extend_from_slice(&[1, 0, 0, 2, b'x']);
    assert_eq!(check(&FETCH, 12, &body), Err(LayoutError::Tag));
}
