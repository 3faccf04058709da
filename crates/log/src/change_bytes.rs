//! A change of segments as bytes: the payload of a frame of kind 3.
//!
//! The byte 1, its version, and then in [postcard](https://postcard.jamesmunns.com/wire-format)
//! format the fields of [`SegmentChange`] in order. `docs/format.md` lists them.

use crate::segment::SegmentChange;

const VERSION: u8 = 1;

impl SegmentChange {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let bytes = postcard::to_extend(self, vec![VERSION]);
        bytes.expect("a change is plain numbers in lists, and memory takes any of them")
    }

    /// The change a frame tells of, as [`crate::FrameRef::Segments`] gives it; `None` if it makes
    /// no sense.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        if *version != VERSION {
            return None;
        }
        match postcard::take_from_bytes(rest) {
            Ok((change, [])) => Some(change),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay_base::PartitionId;
    use proptest::prelude::*;

    use super::*;
    use crate::position::Position;
    use crate::segment::{NewSegment, PartitionChange, Run};

    fn sample() -> SegmentChange {
        let run = Run {
            segment: 3,
            first: 10,
            end: 20,
            at: 64,
            bytes: 1000,
            shared_bytes: 7,
            index_at: 0,
            blocks: 1,
            records: 9,
            latest: -1,
            cleaned_at: 0,
        };
        SegmentChange {
            below: Position(1 << 30),
            segments: vec![NewSegment {
                number: 3,
                bytes: 1200,
            }],
            partitions: vec![PartitionChange {
                partition: PartitionId(5),
                journal_from: Some(20),
                replaces: Some(0..20),
                runs: vec![
                    run,
                    Run {
                        first: 20,
                        end: 30,
                        ..run
                    },
                ],
            }],
        }
    }

    #[test]
    fn what_is_encoded_is_decoded_and_nothing_else_is() {
        let bytes = sample().encode();
        assert_eq!(SegmentChange::decode(&bytes), Some(sample()));
        for length in 0..bytes.len() {
            assert_eq!(SegmentChange::decode(&bytes[..length]), None, "{length}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(SegmentChange::decode(&longer), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(at in any::<prop::sample::Index>(), value in any::<u8>()) {
            let mut bytes = sample().encode();
            let at = at.index(bytes.len());
            bytes[at] = value;
            let _any_answer = SegmentChange::decode(&bytes);
        }
    }
}
