//! The markers that end a transaction (KIP-98): control records, which readers of messages never
//! see.

use crate::{Batch, BatchBuilder, BatchError};

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// Its records count for nothing.
    Abort,
    /// Its records count.
    Commit,
}

/// The version of the key and of the value, which is the only one there is.
const VERSION: i16 = 0;
/// The epoch of the transaction coordinator: there was one only.
const COORDINATOR_EPOCH: i32 = 0;

impl Marker {
    /// The control batch that ends the transaction of a producer with this marker. It has one
    /// record, with the time `timestamp` (ms since 1970).
    pub fn batch(self, producer_id: i64, producer_epoch: i16, timestamp: i64) -> Batch {
        let [a, b] = VERSION.to_be_bytes();
        let [c, d] = self.number().to_be_bytes();
        let [e, f, g, h] = COORDINATOR_EPOCH.to_be_bytes();
        let mut builder = BatchBuilder::new(timestamp)
            .producer(producer_id, producer_epoch, -1)
            .transactional()
            .control();
        builder
            .push(
                timestamp,
                Some(&[a, b, c, d]),
                Some(&[a, b, e, f, g, h]),
                std::iter::empty(),
            )
            .expect("a few bytes are fewer than 2 GiB");
        builder.finish()
    }

    fn number(self) -> i16 {
        match self {
            Self::Abort => 0,
            Self::Commit => 1,
        }
    }
}

impl Batch {
    /// The marker that a control batch holds; `None` if it holds none, or one of another kind.
    ///
    /// # Errors
    /// The records break the format.
    pub fn marker(&self) -> Result<Option<Marker>, BatchError> {
        if !self.header().is_control() {
            return Ok(None);
        }
        let Some(record) = self.records(self.bytes().len())?.next().transpose()? else {
            return Ok(None);
        };
        Ok(match record.key.as_deref() {
            Some([_, _, 0, 0, ..]) => Some(Marker::Abort),
            Some([_, _, 0, 1, ..]) => Some(Marker::Commit),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_has_the_bytes_that_kafka_gives_it() {
        let batch = Marker::Commit.batch(0x0102, 3, 1000);
        let bytes = batch.bytes();
        assert_eq!(bytes.len(), 78);
        assert_eq!(bytes[21..23], [0, 0x30], "transactional and control");
        assert_eq!(bytes[43..51], [0, 0, 0, 0, 0, 0, 1, 2], "the producer");
        assert_eq!(bytes[51..53], [0, 3], "its epoch");
        assert_eq!(bytes[53..57], [0xff; 4], "no sequence");
        let record = [32, 0, 0, 0, 8, 0, 0, 0, 1, 12, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(bytes[61..], record);
        batch.verify_crc().unwrap();
        assert_eq!(batch.marker(), Ok(Some(Marker::Commit)));
        let aborted = Marker::Abort.batch(7, 0, 0);
        assert_eq!(aborted.marker(), Ok(Some(Marker::Abort)));
        assert!(
            aborted.validate_records(100).is_err(),
            "no producer sends it"
        );
        assert_eq!(BatchBuilder::new(0).finish().marker(), Ok(None));
    }
}
