//! Walking over the keys of a batch's records.

use crate::record::Scan;
use crate::{Batch, BatchError};

impl Batch {
    /// Tells `each` of every record's offset, relative to the base offset of the batch, and key.
    /// Nothing is copied unless the batch is compressed.
    ///
    /// # Errors
    /// The records do not decompress to `max_decompressed` bytes or fewer, or break the format;
    /// `each` was told of those before.
    pub fn each_key(
        &self,
        max_decompressed: usize,
        mut each: impl FnMut(u32, Option<&[u8]>),
    ) -> Result<(), BatchError> {
        let body = self.body(max_decompressed)?;
        let mut rest: &[u8] = &body;
        let mut scan = Scan::new(self.header());
        while let Some(record) = scan.next(&mut rest) {
            let record = record?;
            each(record.offset_delta(), record.key());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::{BatchBuilder, Compression};

    #[test]
    fn keys_come_in_order() {
        for compression in [Compression::None, Compression::Zstd] {
            let mut builder = BatchBuilder::new(0).compression(compression);
            let keys = [Some(b"a".as_slice()), None, Some(b"")];
            for key in keys {
                builder
                    .push(0, key, Some(b"value"), std::iter::empty())
                    .unwrap();
            }
            let mut found = Vec::new();
            let batch = builder.finish();
            let each = |delta, key: Option<&[u8]>| found.push((delta, key.map(<[u8]>::to_vec)));
            batch.each_key(1 << 20, each).unwrap();
            let wanted = (0..).zip(keys.map(|key| key.map(<[u8]>::to_vec)));
            assert_eq!(found, wanted.collect::<Vec<_>>());
        }
    }
}
