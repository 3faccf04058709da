//! The Kafka protocol by hand, blocking, with as little work for each byte as can be: what is
//! measured is the broker, not a client library.
//!
//! Produce version 3 and Fetch version 4: the oldest with record batches, and the simplest.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, Record,
    RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

/// Bytes of a batch before its records.
const BATCH_HEAD: usize = 61;
const LAST_OFFSET_DELTA: usize = 23;

/// A batch of `records` records with these values, timestamped `now_ms`.
pub(crate) fn batch(now_ms: i64, values: impl Iterator<Item = Bytes>) -> Vec<u8> {
    let records: Vec<Record> = (0_i32..)
        .zip(values)
        .map(|(n, value)| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            timestamp_type: TimestampType::Creation,
            offset: n.into(),
            sequence: n,
            timestamp: now_ms,
            key: None,
            value: Some(value),
            headers: Default::default(),
        })
        .collect();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, &records, &options).expect("legal records");
    bytes.to_vec()
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

/// Bytes that no file system or disk can make smaller.
pub(crate) fn noise(size: usize, seed: u64) -> Bytes {
    let mut state = seed | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(size).collect()
}

/// One partition's part of a produce request.
pub(crate) struct Part<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) batch: &'a [u8],
}

/// What a fetch gave of one partition.
pub(crate) struct Fetched<'a> {
    /// The error code; 0 is none.
    pub(crate) error: i16,
    /// The end of what can be read.
    pub(crate) end: i64,
    /// Whole batches.
    pub(crate) batches: &'a [u8],
}

impl Fetched<'_> {
    /// The offset after the last whole batch and the records seen, if there is a batch.
    pub(crate) fn next(&self) -> Option<i64> {
        self.heads().last().map(|(base, delta, _)| base + delta + 1)
    }

    /// Base offset, last offset delta and bytes of each whole batch.
    fn heads(&self) -> impl Iterator<Item = (i64, i64, &[u8])> {
        let mut rest = self.batches;
        std::iter::from_fn(move || {
            let mut head = rest.get(..BATCH_HEAD)?;
            let (base, length) = (head.get_i64(), head.get_i32());
            let (batch, after) = rest.split_at_checked(usize::try_from(length).ok()? + 12)?;
            rest = after;
            let delta = (&batch[LAST_OFFSET_DELTA..]).get_i32();
            Some((base, delta.into(), batch))
        })
    }

    /// The values of all records from `from` on, with their offsets.
    pub(crate) fn values(&self, from: i64) -> impl Iterator<Item = (i64, &[u8])> {
        let all = self.heads().flat_map(|(base, delta, batch)| {
            let mut records = &batch[BATCH_HEAD..];
            (base..=base + delta).map_while(move |offset| Some((offset, value(&mut records)?)))
        });
        all.skip_while(move |(offset, _)| *offset < from)
    }
}

/// Cuts the first record off and gives its value.
fn value<'a>(records: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint(records)?).ok()?;
    let (mut record, rest) = records.split_at_checked(length)?;
    *records = rest;
    record = record.get(1..)?;
    varint(&mut record)?;
    varint(&mut record)?;
    let key = usize::try_from(varint(&mut record)?).unwrap_or(0);
    record = record.get(key..)?;
    let value = usize::try_from(varint(&mut record)?).ok()?;
    record.get(..value)
}

fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
        shift += 7;
    }
}

/// A connection.
pub(crate) struct Wire {
    stream: TcpStream,
    out: Vec<u8>,
    answer: Vec<u8>,
}

impl Wire {
    pub(crate) fn to(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            out: Vec::new(),
            answer: Vec::new(),
        })
    }

    /// Two handles of one connection: one to send with, one to take the answers.
    pub(crate) fn halves(self) -> std::io::Result<(Self, Self)> {
        let other = Self {
            stream: self.stream.try_clone()?,
            out: Vec::new(),
            answer: Vec::new(),
        };
        Ok((self, other))
    }

    /// Sends nothing more; the broker answers what it has and closes.
    pub(crate) fn finish(self) {
        // A peer that has gone already is no failure here.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    fn begin(&mut self, key: i16, version: i16) {
        self.out.clear();
        self.out.extend([0; 4]);
        self.out.extend(key.to_be_bytes());
        self.out.extend(version.to_be_bytes());
        self.out.extend(0_i32.to_be_bytes());
        self.name("bench");
    }

    fn int(&mut self, value: i32) {
        self.out.extend(value.to_be_bytes());
    }

    fn name(&mut self, name: &str) {
        let length = i16::try_from(name.len()).expect("a short name");
        self.out.extend(length.to_be_bytes());
        self.out.extend(name.as_bytes());
    }

    fn send(&mut self) -> std::io::Result<()> {
        let length = i32::try_from(self.out.len() - 4).expect("a request below 2 GiB");
        self.out[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&self.out)
    }

    fn receive(&mut self) -> std::io::Result<&[u8]> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).expect("a length");
        if self.answer.len() < length {
            self.answer.resize(length, 0);
        }
        self.stream.read_exact(&mut self.answer[..length])?;
        Ok(&self.answer[4..length])
    }

    /// Sends a produce request with `acks=all`; [`Self::produced`] reads the answer.
    pub(crate) fn produce(&mut self, parts: &[Part<'_>]) -> std::io::Result<()> {
        self.begin(0, 3);
        self.out.extend((-1_i16).to_be_bytes());
        self.out.extend((-1_i16).to_be_bytes());
        self.int(60_000);
        self.int(parts.len() as i32);
        for part in parts {
            self.name(part.topic);
            self.int(1);
            self.int(part.partition);
            self.int(part.batch.len() as i32);
            self.out.extend(part.batch);
        }
        self.send()
    }

    /// The answer to the oldest produce request without one; the first error code in it, or 0.
    pub(crate) fn produced(&mut self) -> std::io::Result<i16> {
        let mut answer = self.receive()?;
        let mut error = 0;
        for _ in 0..answer.get_i32() {
            let name = usize::from(answer.get_u16());
            answer.advance(name);
            for _ in 0..answer.get_i32() {
                answer.advance(4);
                let code = answer.get_i16();
                answer.advance(16);
                if error == 0 {
                    error = code;
                }
            }
        }
        Ok(error)
    }

    /// Fetches from one partition.
    pub(crate) fn fetch(
        &mut self,
        (topic, partition): (&str, i32),
        offset: i64,
        wait_ms: i32,
        max_bytes: i32,
    ) -> std::io::Result<Fetched<'_>> {
        self.begin(1, 4);
        self.int(-1);
        self.int(wait_ms);
        self.int(1);
        self.int(max_bytes);
        self.out.push(0);
        self.int(1);
        self.name(topic);
        self.int(1);
        self.int(partition);
        self.out.extend(offset.to_be_bytes());
        self.int(max_bytes);
        self.send()?;
        let mut answer = self.receive()?;
        answer.advance(4);
        assert_eq!(answer.get_i32(), 1, "one topic was asked for");
        let name = usize::from(answer.get_u16());
        answer.advance(name + 4 + 4);
        let (error, end) = (answer.get_i16(), answer.get_i64());
        answer.advance(8);
        let aborted = usize::try_from(answer.get_i32()).unwrap_or(0);
        answer.advance(aborted * 16);
        let bytes = usize::try_from(answer.get_i32()).unwrap_or(0);
        Ok(Fetched {
            error,
            end,
            batches: &answer[..bytes],
        })
    }
}
