//! How long the parts of a request are, checked before the request is decoded.
//!
//! The decoder of the `kafka-protocol` crate reserves memory for as many elements as an array's
//! length field says, before it looks at the elements. A request of twenty bytes could so ask for
//! hundreds of gigabytes, which aborts the program. [`check`] walks over a request first, without
//! reserving anything, and refuses it if an array claims more elements than there are bytes, or
//! the request has more elements in all than [`ELEMENTS_MAX`], which bounds what the decoded form
//! takes.
//!
//! The layouts are those of the message definitions of Apache Kafka 4.1, for the requests that
//! [`crate::versions`] lists. They say only what has a length and what follows it.

mod requests;
#[cfg(test)]
mod tests;

pub(crate) use requests::*;

/// Array elements and tagged fields a request may have, in all. A decoded element takes about a
/// hundred bytes.
pub(crate) const ELEMENTS_MAX: usize = 200_000;

/// The highest number of a tagged field: Kafka counts them in 31 bits.
const TAG_MAX: usize = i32::MAX as usize;

/// Why a request cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LayoutError {
    /// The bytes end before the request does.
    #[error("the request is cut short")]
    Short,
    /// A length is negative where none may be.
    #[error("a negative length")]
    Negative,
    /// An array claims more elements than there can be.
    #[error("more elements than a request may have")]
    TooMany,
    /// A tagged field is not as long as it says, or has a number that none can have.
    #[error("a tagged field of the wrong length or number")]
    Tag,
}

/// The layout of one kind of request in all its versions.
#[derive(Debug)]
pub(crate) struct Layout {
    /// From this version on, lengths are variable and there are tagged fields (KIP-482).
    pub(crate) flexible_since: i16,
    /// The request itself.
    pub(crate) body: Struct,
}

/// Fields one after the other.
#[derive(Debug)]
pub(crate) struct Struct {
    /// In their order.
    pub(crate) fields: &'static [Field],
    /// The tagged fields that the decoder looks into.
    pub(crate) tagged: &'static [Tagged],
}

/// A field, and the versions that have it.
#[derive(Debug)]
pub(crate) struct Field {
    since: i16,
    until: i16,
    part: Part,
}

/// A tagged field, and the first version that has it.
#[derive(Debug)]
pub(crate) struct Tagged {
    tag: u32,
    since: i16,
    part: Part,
}

/// What a field is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// So many bytes.
    Fixed(usize),
    /// A string, or none.
    Text,
    /// Bytes, or none.
    Bytes,
    /// Fields of their own.
    Struct(&'static Struct),
    /// An array of elements of so many bytes each, or none.
    Numbers(usize),
    /// An array of strings, or none.
    Texts,
    /// An array, or none.
    Structs(&'static Struct),
}

/// A field of every version.
const fn always(part: Part) -> Field {
    between(0, i16::MAX, part)
}

/// A field of this version and later ones.
const fn since(version: i16, part: Part) -> Field {
    between(version, i16::MAX, part)
}

/// A field of this version and earlier ones.
const fn until(version: i16, part: Part) -> Field {
    between(0, version, part)
}

/// A field of some versions.
const fn between(since: i16, until: i16, part: Part) -> Field {
    Field { since, until, part }
}

/// Fields without tagged ones that the decoder looks into.
const fn plain(fields: &'static [Field]) -> Struct {
    Struct {
        fields,
        tagged: &[],
    }
}

/// Checks the lengths in `body`, a request of this layout without its header. Bytes after the
/// request are allowed, as Kafka allows them; gives how many there are.
pub(crate) fn check(layout: &Layout, version: i16, body: &[u8]) -> Result<usize, LayoutError> {
    let mut walk = Walk {
        rest: body,
        version,
        flexible: version >= layout.flexible_since,
        elements: 0,
    };
    walk.structure(&layout.body)?;
    Ok(walk.rest.len())
}

/// Checks the tagged fields at the front of `bytes` and gives what follows them.
pub(crate) fn skip_tagged(bytes: &[u8]) -> Result<&[u8], LayoutError> {
    let mut walk = Walk {
        rest: bytes,
        version: 0,
        flexible: true,
        elements: 0,
    };
    walk.tagged(&[])?;
    Ok(walk.rest)
}

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    elements: usize,
}

impl<'a> Walk<'a> {
    fn structure(&mut self, structure: &Struct) -> Result<(), LayoutError> {
        for field in structure.fields {
            if (field.since..=field.until).contains(&self.version) {
                self.part(field.part)?;
            }
        }
        if self.flexible {
            self.tagged(structure.tagged)?;
        }
        Ok(())
    }

    fn part(&mut self, part: Part) -> Result<(), LayoutError> {
        match part {
            Part::Fixed(bytes) => self.skip(bytes),
            Part::Text => self.text(),
            Part::Bytes => {
                let length = self.long_length()?;
                self.skip(length)
            }
            Part::Struct(structure) => self.structure(structure),
            Part::Numbers(bytes) => {
                let count = self.count()?;
                self.skip(count.saturating_mul(bytes))
            }
            Part::Texts => {
                for _ in 0..self.count()? {
                    self.text()?;
                }
                Ok(())
            }
            Part::Structs(structure) => {
                for _ in 0..self.count()? {
                    self.structure(structure)?;
                }
                Ok(())
            }
        }
    }

    /// The decoder reads known tagged fields without regard to the length they give, so a wrong
    /// one would have it read on where this walk does not.
    fn tagged(&mut self, known: &[Tagged]) -> Result<(), LayoutError> {
        let count = self.varint()?;
        self.claim(count)?;
        for _ in 0..count {
            let tag = self.varint()?;
            if tag > TAG_MAX {
                return Err(LayoutError::Tag);
            }
            let length = self.varint()?;
            let before = self.rest.len();
            let field = known
                .iter()
                .find(|field| field.tag as usize == tag && self.version >= field.since);
            match field {
                None => self.skip(length)?,
                Some(field) => {
                    self.part(field.part)?;
                    if before - self.rest.len() != length {
                        return Err(LayoutError::Tag);
                    }
                }
            }
        }
        Ok(())
    }

    fn text(&mut self) -> Result<(), LayoutError> {
        let length = if self.flexible {
            self.varint()?.saturating_sub(1)
        } else {
            match i16::from_be_bytes(self.take()?) {
                -1 => 0,
                length => usize::try_from(length).map_err(|_| LayoutError::Negative)?,
            }
        };
        self.skip(length)
    }

    /// The length of bytes or of an array; 0 if there are none.
    fn long_length(&mut self) -> Result<usize, LayoutError> {
        if self.flexible {
            return Ok(self.varint()?.saturating_sub(1));
        }
        match i32::from_be_bytes(self.take()?) {
            -1 => Ok(0),
            length => usize::try_from(length).map_err(|_| LayoutError::Negative),
        }
    }

    fn count(&mut self) -> Result<usize, LayoutError> {
        let count = self.long_length()?;
        self.claim(count)?;
        Ok(count)
    }

    /// Every element and every tagged field takes at least a byte.
    fn claim(&mut self, count: usize) -> Result<(), LayoutError> {
        if count > self.rest.len() {
            return Err(LayoutError::Short);
        }
        self.elements = self.elements.saturating_add(count);
        if self.elements > ELEMENTS_MAX {
            return Err(LayoutError::TooMany);
        }
        Ok(())
    }

    /// As the decoder reads them: five bytes at most, bits over 32 dropped.
    fn varint(&mut self) -> Result<usize, LayoutError> {
        let mut value = 0u32;
        for index in 0..5 {
            let [byte] = self.take()?;
            value |= u32::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                break;
            }
        }
        Ok(value as usize)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], LayoutError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(LayoutError::Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn skip(&mut self, bytes: usize) -> Result<(), LayoutError> {
        self.rest = self.rest.get(bytes..).ok_or(LayoutError::Short)?;
        Ok(())
    }
}
