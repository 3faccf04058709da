//! The fetch response, encoded by hand: the `kafka-protocol` crate wants the records of a
//! partition in one piece and copies them once more, while here stored batches go to the socket as
//! they are, behind sixteen bytes that carry their offset.

use bytes::{BufMut, BytesMut};
use forebay_record::Batch;

use super::{PartitionPart, TopicPart};
use crate::outgoing::Outgoing;

/// Bytes at the front of a batch that are not stored as clients are to see them.
const PREFIX: usize = 16;
/// The first version with variable lengths and tagged fields (KIP-482).
const FLEXIBLE: i16 = 12;

/// The body of a response. `committed` is whether to tell of aborted transactions.
pub(super) fn encode(
    version: i16,
    error_code: i16,
    committed: bool,
    topics: &[TopicPart],
) -> Outgoing {
    let mut encoder = Encoder {
        out: Outgoing::default(),
        version,
        committed,
    };
    let head = encoder.out.tail();
    // Throttle time.
    head.put_i32(0);
    if version >= 7 {
        head.put_i16(error_code);
        // Session id.
        head.put_i32(0);
    }
    encoder.count(topics.len());
    for topic in topics {
        encoder.topic(topic);
    }
    encoder.no_tags();
    encoder.out
}

struct Encoder {
    out: Outgoing,
    version: i16,
    committed: bool,
}

impl Encoder {
    fn topic(&mut self, topic: &TopicPart) {
        if self.version >= 13 {
            self.out.tail().put_slice(topic.uuid.as_bytes());
        } else {
            let name = topic.name.as_bytes();
            if self.version >= FLEXIBLE {
                put_varint(self.out.tail(), name.len() + 1);
            } else {
                // The name came in a request with a length field of the same size.
                self.out.tail().put_u16(name.len() as u16);
            }
            self.out.tail().put_slice(name);
        }
        self.count(topic.partitions.len());
        for partition in &topic.partitions {
            self.partition(partition);
        }
        self.no_tags();
    }

    fn partition(&mut self, part: &PartitionPart) {
        let version = self.version;
        let out = self.out.tail();
        out.put_i32(part.index);
        out.put_i16(part.id.map_or_else(|error| error.code(), |_| 0));
        out.put_i64(part.end);
        // Last stable offset.
        out.put_i64(part.decided);
        if version >= 5 {
            out.put_i64(part.start);
        }
        match (self.committed, version >= FLEXIBLE) {
            (false, true) => out.put_u8(0),
            (false, false) => out.put_i32(-1),
            (true, flexible) => put_aborted(out, flexible, &part.aborted),
        }
        if version >= 11 {
            // Preferred read replica: this broker.
            out.put_i32(-1);
        }
        let batches: &[_] = match part.id {
            Ok(_) => &part.batches,
            Err(_) => &[],
        };
        let bytes: usize = batches.iter().map(|(_, batch)| batch.len()).sum();
        if version >= FLEXIBLE {
            put_varint(out, bytes + 1);
        } else {
            // Far below 2 GiB: the options limit a fetch, and a batch has to fit a request.
            out.put_u32(bytes as u32);
        }
        for (base_offset, batch) in batches {
            let mut prefix = [0; PREFIX];
            if let Some(stored) = batch.first_chunk() {
                prefix = *stored;
            }
            Batch::patch_base_offset(&mut prefix, *base_offset);
            self.out.tail().put_slice(&prefix);
            self.out.push(batch.slice(PREFIX.min(batch.len())..));
        }
        self.no_tags();
    }

    /// The length of an array.
    fn count(&mut self, count: usize) {
        if self.version >= FLEXIBLE {
            put_varint(self.out.tail(), count + 1);
        } else {
            // There are as many as the request had.
            self.out.tail().put_u32(count as u32);
        }
    }

    fn no_tags(&mut self) {
        if self.version >= FLEXIBLE {
            self.out.tail().put_u8(0);
        }
    }
}

fn put_aborted(out: &mut BytesMut, flexible: bool, aborted: &[(i64, i64)]) {
    if flexible {
        put_varint(out, aborted.len() + 1);
    } else {
        // Each has records or a marker of its own in the partition: far fewer than 2^32.
        out.put_u32(aborted.len() as u32);
    }
    for (producer, first) in aborted {
        out.put_i64(*producer);
        out.put_i64(*first);
        if flexible {
            out.put_u8(0);
        }
    }
}

fn put_varint(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}
