//! Field tables as they lie on the wire (AMQP 0-9-1, 4.2.5.5, with RabbitMQ's type letters).
//!
//! Message headers are walked in place: what a client published is kept byte for byte, so the walk
//! only has to name the entries. It bounds how deep tables and arrays may lie in each other, and
//! it goes first over the tables of methods too, whose parser knows no such bound.

use std::borrow::Cow;

use crate::limits::TABLE_DEPTH;

/// Bytes that are no field table, property list or method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Takes fixed and counted fields off the front of a slice.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(Malformed("field: it passes the end"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(Malformed("field: it passes the end"))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn octet(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn short(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn long(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn longlong(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn short_string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.octet()?;
        self.bytes(usize::from(length))
    }

    /// A long string, or the inside of a table or array.
    pub(crate) fn long_string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.long()?;
        self.bytes(length as usize)
    }

    fn value(&mut self) -> Result<Value<'a>, Malformed> {
        Ok(match self.octet()? {
            b't' => Value::Bool(self.octet()? != 0),
            b'b' => Value::Int(i64::from(i8::from_be_bytes(self.array()?))),
            b'B' => Value::Int(i64::from(self.octet()?)),
            b's' | b'U' => Value::Int(i64::from(i16::from_be_bytes(self.array()?))),
            b'u' => Value::Int(i64::from(self.short()?)),
            b'I' => Value::Int(i64::from(i32::from_be_bytes(self.array()?))),
            b'i' => Value::Int(i64::from(self.long()?)),
            b'l' | b'L' => Value::Int(i64::from_be_bytes(self.array()?)),
            b'f' => Value::Float(f64::from(f32::from_be_bytes(self.array()?))),
            b'd' => Value::Float(f64::from_be_bytes(self.array()?)),
            b'D' => Value::Decimal {
                scale: self.octet()?,
                value: i32::from_be_bytes(self.array()?),
            },
            b'S' => Value::Text(self.long_string()?),
            b'x' => Value::Bytes(self.long_string()?),
            b'T' => Value::Time(self.longlong()?),
            b'F' => Value::Table(self.long_string()?),
            b'A' => Value::Array(self.long_string()?),
            b'V' => Value::Void,
            _ => return Err(Malformed("table: an unknown type of field")),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Bool(bool),
    Int(i64),
    Float(f64),
    Decimal {
        scale: u8,
        value: i32,
    },
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    /// Seconds since 1970.
    Time(u64),
    Table(&'a [u8]),
    Array(&'a [u8]),
    Void,
}

impl<'a> Value<'a> {
    /// Its type as RabbitMQ words it, numbers by their class.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::Int(_) => "long",
            Self::Float(_) => "double",
            Self::Decimal { .. } => "decimal",
            Self::Text(_) => "longstr",
            Self::Bytes(_) => "binary",
            Self::Time(_) => "timestamp",
            Self::Table(_) => "table",
            Self::Array(_) => "array",
            Self::Void => "void",
        }
    }

    /// As other protocols see it: text and bytes as they are, numbers in decimal. `None` for what
    /// only this protocol has.
    pub(crate) fn plain(&self) -> Option<Cow<'a, [u8]>> {
        Some(match *self {
            Self::Bool(true) => Cow::Borrowed(b"true"),
            Self::Bool(false) => Cow::Borrowed(b"false"),
            Self::Int(value) => Cow::Owned(value.to_string().into_bytes()),
            Self::Float(value) => Cow::Owned(value.to_string().into_bytes()),
            Self::Decimal { scale, value } => Cow::Owned(decimal(scale, value).into_bytes()),
            Self::Text(bytes) | Self::Bytes(bytes) => Cow::Borrowed(bytes),
            Self::Time(seconds) => Cow::Owned(seconds.to_string().into_bytes()),
            Self::Table(_) | Self::Array(_) | Self::Void => return None,
        })
    }
}

fn decimal(scale: u8, value: i32) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let scale = usize::from(scale);
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, part) = digits.split_at(digits.len() - scale);
    let dot = if part.is_empty() { "" } else { "." };
    format!("{sign}{whole}{dot}{part}")
}

/// Entries of a table, given without its length field.
pub(crate) struct Entries<'a>(Reader<'a>);

impl<'a> Entries<'a> {
    pub(crate) fn new(table: &'a [u8]) -> Self {
        Self(Reader::new(table))
    }

    /// Bytes not walked yet.
    pub(crate) fn rest_len(&self) -> usize {
        self.0.rest.len()
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(&'a [u8], Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = (|| Ok((self.0.short_string()?, self.0.value()?)))();
        if entry.is_err() {
            self.0 = Reader::new(&[]);
        }
        Some(entry)
    }
}

/// Items of an array, given without its length field, up to the first that is malformed.
pub(crate) fn array_items(array: &[u8]) -> impl Iterator<Item = Value<'_>> {
    let mut items = Reader::new(array);
    std::iter::from_fn(move || (!items.is_empty()).then(|| items.value().ok())?)
}

/// Checks a table, given without its length field, with all that lies in it.
pub(crate) fn check(table: &[u8]) -> Result<(), Malformed> {
    check_table(table, TABLE_DEPTH)
}

fn check_table(table: &[u8], depth: usize) -> Result<(), Malformed> {
    for entry in Entries::new(table) {
        check_value(entry?.1, depth)?;
    }
    Ok(())
}

fn check_value(value: Value<'_>, depth: usize) -> Result<(), Malformed> {
    let deeper = || {
        depth
            .checked_sub(1)
            .ok_or(Malformed("table: nested too deep"))
    };
    match value {
        Value::Table(table) => check_table(table, deeper()?),
        Value::Array(array) => {
            let depth = deeper()?;
            let mut items = Reader::new(array);
            while !items.is_empty() {
                check_value(items.value()?, depth)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Appends entries to a table that is being written.
pub(crate) struct TableWriter<'a>(pub(crate) &'a mut Vec<u8>);

impl TableWriter<'_> {
    /// Writes the name and the type letter. Names longer than a short string can be are cut.
    fn name(&mut self, name: &[u8], letter: u8) {
        put_short_string(self.0, name);
        self.0.push(letter);
    }

    pub(crate) fn text(&mut self, name: &[u8], text: &[u8]) {
        self.name(name, b'S');
        put_long_string(self.0, text);
    }

    pub(crate) fn bytes(&mut self, name: &[u8], bytes: &[u8]) {
        self.name(name, b'x');
        put_long_string(self.0, bytes);
    }

    pub(crate) fn void(&mut self, name: &[u8]) {
        self.name(name, b'V');
    }

    pub(crate) fn int(&mut self, name: &[u8], value: i64) {
        self.name(name, b'l');
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn time(&mut self, name: &[u8], seconds: u64) {
        self.name(name, b'T');
        self.0.extend_from_slice(&seconds.to_be_bytes());
    }

    /// An array whose items, each with its type letter, `fill` appends.
    pub(crate) fn array(&mut self, name: &[u8], fill: impl FnOnce(&mut Vec<u8>)) {
        self.name(name, b'A');
        put_counted(self.0, fill);
    }
}

/// Appends an array item that is a table.
pub(crate) fn put_table_item(out: &mut Vec<u8>, fill: impl FnOnce(TableWriter<'_>)) {
    out.push(b'F');
    put_counted(out, |out| fill(TableWriter(out)));
}

/// Appends an array item that is text.
pub(crate) fn put_text_item(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'S');
    put_long_string(out, text);
}

/// Appends what `fill` writes behind its length of four bytes.
pub(crate) fn put_counted(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a short string, cut to what its length octet can tell.
pub(crate) fn put_short_string(out: &mut Vec<u8>, text: &[u8]) {
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    out.push(length);
    out.extend_from_slice(&text[..usize::from(length)]);
}

fn put_long_string(out: &mut Vec<u8>, text: &[u8]) {
    put_counted(out, |out| out.extend_from_slice(text));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let mut out = Vec::new();
        let mut table = TableWriter(&mut out);
        table.text(b"t", b"text");
        table.int(b"i", -5);
        table.time(b"s", 7);
        table.void(b"v");
        table.array(b"a", |out| {
            put_table_item(out, |mut inner| inner.bytes(b"x", &[0xff]))
        });
        check(&out).unwrap();
        let plain: Vec<_> = Entries::new(&out)
            .map(|entry| {
                let (name, value) = entry.unwrap();
                (name.to_vec(), value.plain().map(|bytes| bytes.into_owned()))
            })
            .collect();
        assert_eq!(
            plain,
            [
                (b"t".to_vec(), Some(b"text".to_vec())),
                (b"i".to_vec(), Some(b"-5".to_vec())),
                (b"s".to_vec(), Some(b"7".to_vec())),
                (b"v".to_vec(), None),
                (b"a".to_vec(), None),
            ]
        );
    }

    #[test]
    fn decimals_are_written_with_their_scale() {
        assert_eq!(decimal(2, -5), "-0.05");
        assert_eq!(decimal(0, 5), "5");
        assert_eq!(decimal(1, 125), "12.5");
    }

    #[test]
    fn nesting_beyond_the_limit_is_refused() {
        let nested = |levels: usize| {
            let mut inside = Vec::new();
            for _ in 0..levels {
                let mut array = vec![b'A'];
                put_long_string(&mut array, &inside);
                inside = array;
            }
            let mut table = vec![1, b'n'];
            table.extend_from_slice(&inside);
            table
        };
        assert_eq!(check(&nested(TABLE_DEPTH)), Ok(()));
        assert_eq!(
            check(&nested(TABLE_DEPTH + 1)),
            Err(Malformed("table: nested too deep"))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_without_panic(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&input);
            for (_, value) in Entries::new(&input).flatten() {
                let _ = value.plain();
            }
        }
    }
}
