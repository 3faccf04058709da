//! Regular expressions over names, as RabbitMQ's operators write them.

use fancy_regex::Regex;

/// A pattern that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no regular expression: {reason}")]
pub struct BadPattern {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A regular expression. It matches a name if it matches any part of it; the empty one matches the
/// empty name only.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Everything,
    Empty,
    Regex(Regex),
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Pattern {
    /// The pattern `text` says. Look-around is understood, and a match that takes too many steps
    /// counts as none.
    ///
    /// # Errors
    /// If it says none.
    pub fn new(text: &str) -> Result<Self, BadPattern> {
        let test = match text {
            "" => Test::Empty,
            ".*" | "^.*" | "^.*$" | ".*$" => Test::Everything,
            text => Test::Regex(Regex::new(text).map_err(|error| BadPattern {
                text: text.to_owned(),
                reason: error.to_string(),
            })?),
        };
        Ok(Self {
            text: text.to_owned(),
            test,
        })
    }

    /// Whether it matches.
    pub fn matches(&self, name: &str) -> bool {
        match &self.test {
            Test::Everything => true,
            Test::Empty => name.is_empty(),
            Test::Regex(regex) => regex.is_match(name).unwrap_or(false),
        }
    }

    /// Whether it matches every name.
    pub fn is_everything(&self) -> bool {
        matches!(self.test, Test::Everything)
    }

    /// As it was given.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_anywhere_and_the_empty_one_only_nothing() {
        let matches = |pattern: &str, name| Pattern::new(pattern).unwrap().matches(name);
        assert!(matches("b", "abc") && !matches("^b", "abc"));
        assert!(matches(".*", "") && matches(".*", "q"));
        assert!(matches("", "") && !matches("", "q"));
        assert!(matches(r"^(?!amq\.).*", "orders") && !matches(r"^(?!amq\.).*", "amq.gen-1"));
        assert!(Pattern::new("(").is_err());
    }
}
