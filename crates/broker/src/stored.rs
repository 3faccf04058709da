//! Settings as they lie on the disk: their fields in order, behind the length of them all.
//!
//! A later version adds fields at the end. An older one passes over what it does not know, and a
//! newer one takes the default of what is not there, so neither breaks the other's data.

use serde::{Deserialize, Serialize};

/// The fields, each in postcard's format.
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Stored(Vec<u8>);

impl Stored {
    /// Adds the next field.
    pub(crate) fn with(mut self, field: &impl Serialize) -> Self {
        postcard::to_io(field, &mut self.0)
            .expect("writing to memory cannot fail and every field has a known length");
        self
    }

    /// The fields, to be taken in order.
    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields(&self.0)
    }
}

/// Fields that are not read yet.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The next field, or `missing` if whoever wrote this did not know it.
    pub(crate) fn next<T: Deserialize<'a>>(&mut self, missing: T) -> Result<T, postcard::Error> {
        if self.0.is_empty() {
            return Ok(missing);
        }
        let (field, rest) = postcard::take_from_bytes(self.0)?;
        self.0 = rest;
        Ok(field)
    }
}
