//! The digests SDKs verify: a wrong one makes them throw the message away.

use ::md5::{Digest, Md5};

use crate::message_attributes::{Attribute, Value};

/// MD5 of a body, in lower-case hexadecimal.
pub(crate) fn of_body(body: &str) -> String {
    hex(Md5::digest(body.as_bytes()).into())
}

/// MD5 of attributes, in lower-case hexadecimal: in order of their names, for each the name, the
/// data type and the value, each behind its length as a big-endian u32; before the value stands 1
/// if it is a string, 2 if it is binary ("Calculating the MD5 message digest for message
/// attributes" in the SQS developer guide).
pub(crate) fn of_attributes(attributes: &[Attribute<'_>]) -> String {
    let mut sorted: Vec<&Attribute<'_>> = attributes.iter().collect();
    sorted.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let mut digest = Md5::new();
    for attribute in sorted {
        put(&mut digest, attribute.name.as_bytes());
        put(&mut digest, attribute.data_type.as_bytes());
        match &attribute.value {
            Value::Text(text) => {
                digest.update([1]);
                put(&mut digest, text.as_bytes());
            }
            Value::Binary(bytes) => {
                digest.update([2]);
                put(&mut digest, bytes);
            }
        }
    }
    hex(digest.finalize().into())
}

fn put(digest: &mut Md5, bytes: &[u8]) {
    // A request is far smaller than 4 GiB, so the length always fits.
    digest.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    digest.update(bytes);
}

fn hex(digest: [u8; 16]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let mut text = String::with_capacity(32);
    for byte in digest {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 0xf)]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(name: &'a str, data_type: &'a str, value: &'a str) -> Attribute<'a> {
        Attribute {
            name: name.into(),
            data_type: data_type.into(),
            value: Value::Text(value.into()),
        }
    }

    #[test]
    fn bodies_have_the_digests_aws_gives() {
        assert_eq!(of_body("message"), "78e731027d8fd50ed642340b7c9a63b3");
        assert_eq!(of_body("test"), "098f6bcd4621d373cade4e832627b4f6");
    }

    #[test]
    fn attributes_have_the_digests_aws_gives() {
        let general = [
            text("Help.Me", "String", "Me"),
            text("Hello", "String", "There"),
            text("General", "String", "Kenobi"),
        ];
        assert_eq!(of_attributes(&general), "4c360f3fdafd970e05fae2f149d997f5");
        assert_eq!(
            of_attributes(&general[1..]),
            "fca026605781cb4126a1e9044df24232"
        );
        assert_eq!(
            of_attributes(&[text("Foo", "String", "Bar")]),
            "ae7155c6026991b6d54b11589678bf9c"
        );
        assert_eq!(
            of_attributes(&[text("UserId", "Number.bigint", "1234567890123456789012")]),
            "797ab158d73dcb5242dedc4412c8e855"
        );
        let binary = Attribute {
            name: "attr1".into(),
            data_type: "Binary".into(),
            value: Value::Binary(
                b"traceparent\x1e00-774062d6c37081a5a0b9b5b88e30627c-2d2482211f6489da-01"
                    .as_slice()
                    .into(),
            ),
        };
        assert_eq!(of_attributes(&[binary]), "8cbe4db156db8a94db8b801b7addb984");
    }
}
