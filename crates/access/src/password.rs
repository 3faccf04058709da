//! Passwords as RabbitMQ keeps them: base 64 of a salt of four bytes and the digest of salt and
//! password, so that users can be taken over with their hashes
//! (<https://www.rabbitmq.com/docs/passwords>).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::Digest;
use uuid::Uuid;

const SALT: usize = 4;

/// How a password is digested, by RabbitMQ's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hashing {
    /// SHA-256, the usual one.
    #[default]
    #[serde(rename = "rabbit_password_hashing_sha256")]
    Sha256,
    /// SHA-512.
    #[serde(rename = "rabbit_password_hashing_sha512")]
    Sha512,
    /// MD5, as very old files have it.
    #[serde(rename = "rabbit_password_hashing_md5")]
    Md5,
}

impl Hashing {
    fn digest(self, salt: &[u8], password: &[u8]) -> Vec<u8> {
        fn of<D: Digest>(salt: &[u8], password: &[u8]) -> Vec<u8> {
            D::new()
                .chain_update(salt)
                .chain_update(password)
                .finalize()
                .to_vec()
        }
        match self {
            Self::Sha256 => of::<sha2::Sha256>(salt, password),
            Self::Sha512 => of::<sha2::Sha512>(salt, password),
            Self::Md5 => of::<md5::Md5>(salt, password),
        }
    }
}

/// A password that can be recognised and not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PasswordHash {
    /// Base 64 of salt and digest; empty if no password is right.
    pub text: String,
    /// How it was made.
    pub hashing: Hashing,
}

impl PasswordHash {
    /// The hash of a password, salted anew. No password is right for the empty one.
    pub fn of(password: &str, hashing: Hashing) -> Self {
        if password.is_empty() {
            return Self {
                text: String::new(),
                hashing,
            };
        }
        let salt = Uuid::new_v4().into_bytes();
        let salt = &salt[..SALT];
        let digest = hashing.digest(salt, password.as_bytes());
        Self {
            text: STANDARD.encode([salt, &digest].concat()),
            hashing,
        }
    }

    /// Whether that is the password. The time it takes does not tell how much of it is right.
    pub fn is(&self, password: &[u8]) -> bool {
        let Ok(known) = STANDARD.decode(&self.text) else {
            return false;
        };
        let Some((salt, digest)) = known.split_at_checked(SALT) else {
            return false;
        };
        let given = self.hashing.digest(salt, password);
        let differences = given
            .iter()
            .zip(digest)
            .fold(0, |sum, (given, known)| sum | (given ^ known));
        given.len() == digest.len() && differences == 0
    }

    /// Whether the text is base 64 of a salt and a digest of this kind.
    pub fn is_well_formed(&self) -> bool {
        let length = SALT + self.hashing.digest(b"", b"").len();
        self.text.is_empty()
            || STANDARD
                .decode(&self.text)
                .is_ok_and(|known| known.len() == length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_that_rabbitmqs_documentation_gives_is_understood() {
        // Its example: salt 908DC60A, password "test12".
        let hash = PasswordHash {
            text: "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR".into(),
            hashing: Hashing::Sha256,
        };
        assert!(hash.is_well_formed());
        assert!(hash.is(b"test12"));
        assert!(!hash.is(b"test1") && !hash.is(b"test123") && !hash.is(b""));
    }

    #[test]
    fn a_password_is_recognised_by_its_hash_and_no_other_is() {
        for hashing in [Hashing::Sha256, Hashing::Sha512, Hashing::Md5] {
            let hash = PasswordHash::of("swordfish", hashing);
            assert!(hash.is_well_formed());
            assert!(hash.is(b"swordfish") && !hash.is(b"Swordfish"));
            assert_ne!(hash, PasswordHash::of("swordfish", hashing), "salted");
        }
        assert!(!PasswordHash::of("", Hashing::Sha256).is(b""));
        assert!(!PasswordHash::default().is(b""));
    }
}
