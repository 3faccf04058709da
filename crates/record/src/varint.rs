//! Zigzag variable-length integers as records use them: seven bits a byte, lowest first.

use crate::BatchError;

const OVERLONG: BatchError = BatchError::Malformed("overlong variable-length integer");

fn zigzag32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)).cast_unsigned()
}

fn zigzag64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Bytes `value` takes as a 32-bit varint: 1 to 5.
pub(crate) fn len32(value: i32) -> usize {
    len64(i64::from(value))
}

/// Bytes `value` takes as a 64-bit varint: 1 to 10.
pub(crate) fn len64(value: i64) -> usize {
    let bits = 64 - (zigzag64(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

pub(crate) fn put32(out: &mut Vec<u8>, value: i32) {
    put(out, u64::from(zigzag32(value)));
}

pub(crate) fn put64(out: &mut Vec<u8>, value: i64) {
    put(out, zigzag64(value));
}

fn put(out: &mut Vec<u8>, mut rest: u64) {
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Takes a 32-bit varint from the front of `input`.
pub(crate) fn take32(input: &mut &[u8]) -> Result<i32, BatchError> {
    let raw = take(input, 5)?;
    let raw = u32::try_from(raw).map_err(|_| OVERLONG)?;
    Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

/// Takes a 64-bit varint from the front of `input`.
pub(crate) fn take64(input: &mut &[u8]) -> Result<i64, BatchError> {
    let raw = take(input, 10)?;
    Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

fn take(input: &mut &[u8], longest: usize) -> Result<u64, BatchError> {
    // Nearly all fields of small messages fit one byte.
    if let Some((&first, rest)) = input.split_first()
        && first < 0x80
    {
        *input = rest;
        return Ok(u64::from(first));
    }
    let mut value = 0u64;
    for (at, &byte) in input.iter().take(longest).enumerate() {
        // The tenth byte has room for one bit.
        if at == 9 && byte > 1 {
            return Err(OVERLONG);
        }
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            *input = input.get(at + 1..).unwrap_or_default();
            return Ok(value);
        }
    }
    if input.len() < longest {
        Err(BatchError::Malformed("a record ends inside an integer"))
    } else {
        Err(OVERLONG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_taken_and_has_the_length_foretold(small: i32, large: i64) {
            let mut out = Vec::new();
            put32(&mut out, small);
            prop_assert_eq!(out.len(), len32(small));
            put64(&mut out, large);
            prop_assert_eq!(out.len(), len32(small) + len64(large));
            let mut rest = out.as_slice();
            prop_assert_eq!(take32(&mut rest), Ok(small));
            prop_assert_eq!(take64(&mut rest), Ok(large));
            prop_assert!(rest.is_empty());
        }
    }

    #[test]
    fn lengths_change_where_seven_bits_end() {
        for (value, length) in [
            (0, 1),
            (-1, 1),
            (63, 1),
            (-64, 1),
            (64, 2),
            (-65, 2),
            (8191, 2),
            (8192, 3),
            (i64::from(i32::MAX), 5),
            (i64::from(i32::MIN), 5),
            (i64::MAX, 10),
            (i64::MIN, 10),
        ] {
            assert_eq!(len64(value), length, "{value}");
        }
    }

    #[test]
    fn an_integer_that_does_not_end_or_does_not_fit_is_refused() {
        assert!(take32(&mut [0x80, 0x80].as_slice()).is_err());
        assert_eq!(take32(&mut [0xff; 6].as_slice()), Err(OVERLONG));
        assert_eq!(
            take32(&mut [0xff, 0xff, 0xff, 0xff, 0x1f].as_slice()),
            Err(OVERLONG)
        );
        let mut tenth = [0xff; 10];
        tenth[9] = 2;
        assert_eq!(take64(&mut tenth.as_slice()), Err(OVERLONG));
    }
}
