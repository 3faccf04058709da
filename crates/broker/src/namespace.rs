//! Names within names: topics and exchanges of a namespace.
//!
//! A name that begins with `//` is `//SPACE/NAME`; every other name belongs to the root. A binding
//! never leads from one namespace into another, and the exchange `//SPACE/` routes to the topics of
//! its namespace by their names, as the default exchange, the empty one, does at the root.

use std::borrow::Cow;

/// What the names of a namespace begin with. A `/` in the namespace's own name is written `%2F`, a
/// `%` as `%25`. The empty namespace is the root, and begins with nothing.
pub fn prefix(space: &str) -> String {
    match space {
        "" => String::new(),
        space => format!("//{}/", space.replace('%', "%25").replace('/', "%2F")),
    }
}

/// Splits a name into what its namespace's names begin with, which is empty for the root, and the
/// name there.
pub fn split(name: &str) -> (&str, &str) {
    let end = name
        .strip_prefix("//")
        .and_then(|rest| rest.find('/'))
        .map_or(0, |end| end + 3);
    name.split_at(end)
}

/// The namespace's own name, by what its names begin with.
pub fn space(prefix: &str) -> Cow<'_, str> {
    let space = prefix.trim_matches('/');
    match space.contains('%') {
        true => space.replace("%2F", "/").replace("%25", "%").into(),
        false => space.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_the_root_are_as_they_are() {
        for name in ["q", "a/b", "/q", "amq.topic", "//unfinished", ""] {
            assert_eq!(split(name), ("", name));
        }
        assert_eq!(prefix(""), "");
    }

    proptest! {
        #[test]
        fn a_name_in_a_namespace_is_found_again(space_name in ".{1,20}", name in ".{0,20}") {
            let begin = prefix(&space_name);
            let whole = format!("{begin}{name}");
            prop_assert_eq!(split(&whole), (&*begin, &*name));
            prop_assert_eq!(&*space(&begin), &*space_name);
        }
    }
}
