//! Which bindings a routing key matches. Direct exchanges look the key up, topic exchanges walk a
//! trie of words, so the cost follows the key's length and the matches, not the bindings.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::{Binding, Destination, ExchangeKind};

/// All exchanges' bindings, arranged for matching.
#[derive(Clone, Debug, Default)]
pub(crate) struct Router {
    tables: HashMap<Arc<str>, Table>,
}

#[derive(Clone, Debug)]
enum Table {
    Direct(HashMap<Arc<str>, Destinations>),
    Fanout(Destinations),
    Topic(Node),
}

/// Destinations with the number of bindings that lead to each: two bindings may differ only in
/// their arguments.
type Destinations = Vec<(Destination, u32)>;

#[derive(Clone, Debug, Default)]
struct Node {
    words: HashMap<String, Node>,
    any_word: Option<Box<Node>>,
    any_words: Option<Box<Node>>,
    here: Destinations,
}

/// Exchanges bound to exchanges are followed at most so deep; beyond lies a cycle or an accident.
const MAX_DEPTH: usize = 32;

impl Router {
    pub(crate) fn declare(&mut self, exchange: Arc<str>, kind: ExchangeKind) {
        self.tables.entry(exchange).or_insert_with(|| match kind {
            ExchangeKind::Direct => Table::Direct(HashMap::new()),
            ExchangeKind::Fanout => Table::Fanout(Vec::new()),
            ExchangeKind::Topic => Table::Topic(Node::default()),
        });
    }

    pub(crate) fn remove(&mut self, exchange: &str) {
        self.tables.remove(exchange);
    }

    pub(crate) fn bind(&mut self, binding: &Binding) {
        match self.tables.get_mut(&binding.exchange) {
            Some(Table::Direct(keys)) => {
                add(
                    keys.entry(binding.key.clone()).or_default(),
                    &binding.destination,
                );
            }
            Some(Table::Fanout(all)) => add(all, &binding.destination),
            Some(Table::Topic(root)) => {
                let node = binding
                    .key
                    .split('.')
                    .fold(root, |node, word| node.child(word));
                add(&mut node.here, &binding.destination);
            }
            None => {}
        }
    }

    pub(crate) fn unbind(&mut self, binding: &Binding) {
        match self.tables.get_mut(&binding.exchange) {
            Some(Table::Direct(keys)) => {
                if let Some(destinations) = keys.get_mut(&binding.key) {
                    subtract(destinations, &binding.destination);
                    if destinations.is_empty() {
                        keys.remove(&binding.key);
                    }
                }
            }
            Some(Table::Fanout(all)) => subtract(all, &binding.destination),
            Some(Table::Topic(root)) => {
                let words: Vec<&str> = binding.key.split('.').collect();
                root.remove(&words, &binding.destination);
            }
            None => {}
        }
    }

    /// Calls `found` with the name of every topic the key reaches, perhaps more than once.
    pub(crate) fn route<'a>(&'a self, exchange: &str, key: &str, found: &mut dyn FnMut(&'a str)) {
        let mut path = Vec::new();
        self.follow(exchange, key, &mut path, found);
    }

    fn follow<'a>(
        &'a self,
        exchange: &str,
        key: &str,
        path: &mut Vec<&'a str>,
        found: &mut dyn FnMut(&'a str),
    ) {
        let Some((exchange, table)) = self.tables.get_key_value(exchange) else {
            return;
        };
        if path.len() >= MAX_DEPTH || path.contains(&&**exchange) {
            return;
        }
        path.push(exchange);
        let mut reach = |destinations: &'a Destinations| {
            for (destination, _) in destinations {
                match destination {
                    Destination::Topic(name) => found(name),
                    Destination::Exchange(next) => self.follow(next, key, path, found),
                }
            }
        };
        match table {
            Table::Direct(keys) => {
                if let Some(destinations) = keys.get(key) {
                    reach(destinations);
                }
            }
            Table::Fanout(all) => reach(all),
            Table::Topic(root) => {
                let words: Vec<&str> = key.split('.').collect();
                root.matches(&words, &mut reach);
            }
        }
        path.pop();
    }
}

impl Node {
    fn child(&mut self, word: &str) -> &mut Node {
        match word {
            "*" => self.any_word.get_or_insert_default(),
            "#" => self.any_words.get_or_insert_default(),
            word => self.words.entry_ref(word).or_default(),
        }
    }

    fn matches<'a>(&'a self, words: &[&str], reach: &mut dyn FnMut(&'a Destinations)) {
        if let Some(node) = &self.any_words {
            for skipped in 0..=words.len() {
                node.matches(&words[skipped..], reach);
            }
        }
        match words {
            [] => reach(&self.here),
            [word, rest @ ..] => {
                if let Some(node) = self.words.get(*word) {
                    node.matches(rest, reach);
                }
                if let Some(node) = &self.any_word {
                    node.matches(rest, reach);
                }
            }
        }
    }

    fn remove(&mut self, words: &[&str], destination: &Destination) {
        let [word, rest @ ..] = words else {
            subtract(&mut self.here, destination);
            return;
        };
        match *word {
            "*" => {
                if let Some(node) = &mut self.any_word {
                    node.remove(rest, destination);
                }
                self.any_word.take_if(|node| node.is_empty());
            }
            "#" => {
                if let Some(node) = &mut self.any_words {
                    node.remove(rest, destination);
                }
                self.any_words.take_if(|node| node.is_empty());
            }
            word => {
                if let Some(node) = self.words.get_mut(word) {
                    node.remove(rest, destination);
                    if node.is_empty() {
                        self.words.remove(word);
                    }
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.here.is_empty()
            && self.words.is_empty()
            && self.any_word.is_none()
            && self.any_words.is_none()
    }
}

fn add(destinations: &mut Destinations, destination: &Destination) {
    match destinations
        .iter_mut()
        .find(|(known, _)| known == destination)
    {
        Some((_, count)) => *count += 1,
        None => destinations.push((destination.clone(), 1)),
    }
}

fn subtract(destinations: &mut Destinations, destination: &Destination) {
    if let Some(at) = destinations
        .iter()
        .position(|(known, _)| known == destination)
    {
        destinations[at].1 -= 1;
        if destinations[at].1 == 0 {
            destinations.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binding(exchange: &str, key: &str, topic: &str) -> Binding {
        Binding {
            exchange: exchange.into(),
            destination: Destination::Topic(topic.into()),
            key: key.into(),
            arguments: String::new(),
        }
    }

    fn routed(router: &Router, exchange: &str, key: &str) -> Vec<String> {
        let mut found = Vec::new();
        router.route(exchange, key, &mut |name| found.push(name.to_owned()));
        found.sort();
        found.dedup();
        found
    }

    /// The rule as the specification words it.
    fn naive(pattern: &[&str], words: &[&str]) -> bool {
        match (pattern, words) {
            ([], []) => true,
            (["#", rest @ ..], _) => {
                naive(rest, words) || (!words.is_empty() && naive(pattern, &words[1..]))
            }
            (["*", rest @ ..], [_, words @ ..]) => naive(rest, words),
            ([literal, rest @ ..], [word, words @ ..]) => literal == word && naive(rest, words),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn the_trie_matches_what_the_rule_says(
            patterns in prop::collection::vec("(a|b|\\*|#)(\\.(a|b|\\*|#)){0,3}", 1..8),
            removed in prop::collection::vec(any::<bool>(), 8),
            key in "(a|b|c)?(\\.(a|b|c)){0,4}",
        ) {
            let mut router = Router::default();
            router.declare("x".into(), ExchangeKind::Topic);
            for (index, pattern) in patterns.iter().enumerate() {
                router.bind(&binding("x", pattern, &format!("{index}")));
            }
            let mut expected = Vec::new();
            for (index, pattern) in patterns.iter().enumerate() {
                let words: Vec<&str> = key.split('.').collect();
                let pattern_words: Vec<&str> = pattern.split('.').collect();
                if removed[index] {
                    router.unbind(&binding("x", pattern, &format!("{index}")));
                } else if naive(&pattern_words, &words) {
                    expected.push(format!("{index}"));
                }
            }
            prop_assert_eq!(routed(&router, "x", &key), expected);
        }
    }

    #[test]
    fn exchanges_bound_in_a_circle_are_each_visited_once() {
        let mut router = Router::default();
        for name in ["a", "b"] {
            router.declare(name.into(), ExchangeKind::Fanout);
        }
        for (from, to) in [("a", "b"), ("b", "a")] {
            router.bind(&Binding {
                exchange: from.into(),
                destination: Destination::Exchange(to.into()),
                key: "".into(),
                arguments: String::new(),
            });
        }
        router.bind(&binding("b", "", "q"));
        assert_eq!(routed(&router, "a", "any"), ["q"]);
    }
}
