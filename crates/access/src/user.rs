//! Users.

use serde::{Deserialize, Deserializer, Serialize};

use crate::password::{Hashing, PasswordHash};

/// What a tag lets a user do in the management API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    /// See and change what the user's own permissions reach.
    Management,
    /// And policies there.
    Policymaker,
    /// See everything.
    Monitoring,
    /// See and change everything.
    Administrator,
}

/// A user as settings and definition files have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Salt and digest in base 64.
    #[serde(default)]
    pub password_hash: String,
    /// How the digest was made.
    #[serde(default)]
    pub hashing_algorithm: Hashing,
    /// Tags; those of RabbitMQ have a meaning, others are kept.
    #[serde(default, deserialize_with = "tags")]
    pub tags: Vec<String>,
}

impl User {
    /// A user with this password.
    pub fn new(password: &str, tags: &[&str]) -> Self {
        let hash = PasswordHash::of(password, Hashing::default());
        Self {
            password_hash: hash.text,
            hashing_algorithm: hash.hashing,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        }
    }

    /// What is known of the password.
    pub fn password(&self) -> PasswordHash {
        PasswordHash {
            text: self.password_hash.clone(),
            hashing: self.hashing_algorithm,
        }
    }

    /// Whether the user's tags allow at least that.
    pub fn has(&self, tag: Tag) -> bool {
        self.tags.iter().any(|own| {
            matches!(
                (own.as_str(), tag),
                ("administrator", _)
                    | ("monitoring", Tag::Monitoring | Tag::Management)
                    | ("policymaker", Tag::Policymaker | Tag::Management)
                    | ("management", Tag::Management)
            )
        })
    }
}

/// Tags are a list, or as in older files a text with commas between them.
fn tags<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        List(Vec<String>),
        Text(String),
    }
    Ok(match Either::deserialize(from)? {
        Either::List(list) => list,
        Either::Text(text) => split_tags(&text),
    })
}

pub(crate) fn split_tags(text: &str) -> Vec<String> {
    let tags = text.split(',').map(str::trim);
    tags.filter(|tag| !tag.is_empty()).map(Into::into).collect()
}

/// Limits of a user; a negative number sets none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserLimits {
    /// Connections open at once.
    #[serde(rename = "max-connections", skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<i64>,
    /// Channels open at once on all of them.
    #[serde(rename = "max-channels", skip_serializing_if = "Option::is_none")]
    pub max_channels: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_as_list_and_as_text() {
        let of = |json: &str| serde_json::from_str::<User>(json).unwrap().tags;
        assert_eq!(of(r#"{"tags":["a","b"]}"#), ["a", "b"]);
        assert_eq!(of(r#"{"tags":"a, b"}"#), ["a", "b"]);
        assert!(of(r#"{"tags":""}"#).is_empty() && of("{}").is_empty());
    }

    #[test]
    fn an_administrator_may_everything_and_a_stranger_nothing() {
        let may = |tag: &str, wanted| User::new("x", &[tag]).has(wanted);
        let all = [
            Tag::Management,
            Tag::Policymaker,
            Tag::Monitoring,
            Tag::Administrator,
        ];
        assert!(all.iter().all(|tag| may("administrator", *tag)));
        assert!(!all.iter().any(|tag| may("impersonator", *tag)));
        assert!(may("monitoring", Tag::Management) && !may("monitoring", Tag::Policymaker));
    }
}
