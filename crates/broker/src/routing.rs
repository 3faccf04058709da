//! Which bindings a routing key matches. Direct exchanges look the key up, topic exchanges walk a
//! trie of words, exchanges of kind fields look each field up, so the cost follows the message and
//! its matches, not the bindings.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::{Binding, Condition, Conditions, Destination, ExchangeConfig, ExchangeKind, Fields};

/// All exchanges' bindings, arranged for matching.
#[derive(Clone, Debug, Default)]
pub(crate) struct Router {
    exchanges: HashMap<Arc<str>, Exchange>,
}

#[derive(Clone, Debug)]
struct Exchange {
    table: Table,
    alternate: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
enum Table {
    Direct(HashMap<Arc<str>, Destinations>),
    Fanout(Destinations),
    Topic(Node),
    Fields(Conditioned),
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
    pub(crate) fn declare(&mut self, exchange: Arc<str>, config: &ExchangeConfig) {
        self.exchanges.entry(exchange).or_insert_with(|| Exchange {
            table: match config.kind {
                ExchangeKind::Direct => Table::Direct(HashMap::new()),
                ExchangeKind::Fanout => Table::Fanout(Vec::new()),
                ExchangeKind::Topic => Table::Topic(Node::default()),
                ExchangeKind::Fields => Table::Fields(Conditioned::default()),
            },
            alternate: config.alternate.clone(),
        });
    }

    /// An exchange that is there follows what was declared of it anew.
    pub(crate) fn set_alternate(&mut self, exchange: &str, config: &ExchangeConfig) {
        if let Some(known) = self.exchanges.get_mut(exchange) {
            known.alternate.clone_from(&config.alternate);
        }
    }

    fn table(&mut self, exchange: &str) -> Option<&mut Table> {
        Some(&mut self.exchanges.get_mut(exchange)?.table)
    }

    pub(crate) fn remove(&mut self, exchange: &str) {
        self.exchanges.remove(exchange);
    }

    pub(crate) fn bind(&mut self, binding: &Binding) {
        match self.table(&binding.exchange) {
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
            Some(Table::Fields(conditioned)) => conditioned.add(binding),
            None => {}
        }
    }

    pub(crate) fn unbind(&mut self, binding: &Binding) {
        match self.table(&binding.exchange) {
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
            Some(Table::Fields(conditioned)) => conditioned.remove(binding),
            None => {}
        }
    }

    /// Calls `found` with the name of every topic that key and fields reach, perhaps more than
    /// once.
    pub(crate) fn route<'a>(
        &'a self,
        exchange: &str,
        key: &str,
        fields: &Fields,
        found: &mut dyn FnMut(&'a str),
    ) {
        let mut path = Vec::new();
        self.follow(exchange, (key, fields), &mut path, found);
    }

    fn follow<'a>(
        &'a self,
        exchange: &str,
        (key, fields): (&str, &Fields),
        path: &mut Vec<&'a str>,
        found: &mut dyn FnMut(&'a str),
    ) {
        let Some((exchange, known)) = self.exchanges.get_key_value(exchange) else {
            return;
        };
        if path.len() >= MAX_DEPTH || path.contains(&&**exchange) {
            return;
        }
        path.push(exchange);
        let mut taken = false;
        let mut reach_one = |destination: &'a Destination| {
            taken = true;
            match destination {
                Destination::Topic(name) => found(name),
                Destination::Exchange(next) => self.follow(next, (key, fields), path, found),
            }
        };
        let mut reach = |destinations: &'a Destinations| {
            for (destination, _) in destinations {
                reach_one(destination);
            }
        };
        match &known.table {
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
            Table::Fields(conditioned) => conditioned.matches(fields, &mut reach_one),
        }
        if let Some(alternate) = known.alternate.as_ref().filter(|_| !taken) {
            self.follow(alternate, (key, fields), path, found);
        }
        path.pop();
    }
}

/// Bindings with conditions on fields. Each stands where a message that meets it is sure to look:
/// under one of its conditions if all must be met, under each of them if one is enough.
#[derive(Clone, Debug, Default)]
struct Conditioned {
    by_name: HashMap<String, OfName>,
    /// Those without conditions.
    always: Vec<Arc<Watched>>,
}

/// Where the conditions on one field stand.
#[derive(Clone, Debug, Default)]
struct OfName {
    by_text: HashMap<String, Vec<Arc<Watched>>>,
    present: Vec<Arc<Watched>>,
}

#[derive(Debug, PartialEq)]
struct Watched {
    conditions: Conditions,
    destination: Destination,
}

impl Watched {
    fn of(binding: &Binding) -> Option<Self> {
        Some(Self {
            conditions: Conditions::read(&binding.arguments)?,
            destination: binding.destination.clone(),
        })
    }

    /// The conditions it stands under; `None` for one that is met always.
    fn places(&self) -> Option<Vec<&Condition>> {
        let list = &self.conditions.list;
        if self.conditions.any {
            return Some(list.iter().collect());
        }
        // A value is met by fewer messages than a mere presence.
        let valued = list.iter().find(|condition| condition.value.is_some());
        Some(vec![valued.or(list.first())?])
    }
}

impl Conditioned {
    fn add(&mut self, binding: &Binding) {
        let Some(watched) = Watched::of(binding).map(Arc::new) else {
            return;
        };
        let Some(places) = watched.places() else {
            return self.always.push(watched);
        };
        for condition in places {
            let of_name = self.by_name.entry_ref(&condition.name).or_default();
            let list = match &condition.value {
                Some(value) => of_name.by_text.entry_ref(&value.text).or_default(),
                None => &mut of_name.present,
            };
            list.push(watched.clone());
        }
    }

    fn remove(&mut self, binding: &Binding) {
        let Some(watched) = Watched::of(binding) else {
            return;
        };
        let Some(places) = watched.places() else {
            return self.always.retain(|other| **other != watched);
        };
        for condition in places {
            let Some(of_name) = self.by_name.get_mut(&condition.name) else {
                continue;
            };
            match &condition.value {
                None => of_name.present.retain(|other| **other != watched),
                Some(value) => {
                    if let Some(list) = of_name.by_text.get_mut(&value.text) {
                        list.retain(|other| **other != watched);
                        if list.is_empty() {
                            of_name.by_text.remove(&value.text);
                        }
                    }
                }
            }
            if of_name.by_text.is_empty() && of_name.present.is_empty() {
                self.by_name.remove(&condition.name);
            }
        }
    }

    fn matches<'a>(&'a self, fields: &Fields, reach: &mut dyn FnMut(&'a Destination)) {
        let looked_up = fields.iter().flat_map(|(name, value)| {
            let of_name = self.by_name.get(name);
            of_name.into_iter().flat_map(|of_name| {
                let of_text = of_name.by_text.get(&value.text);
                of_text.into_iter().flatten().chain(&of_name.present)
            })
        });
        for watched in self.always.iter().chain(looked_up) {
            if watched.conditions.met_by(fields) {
                reach(&watched.destination);
            }
        }
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
    use crate::FieldValue;

    fn binding(exchange: &str, key: &str, topic: &str) -> Binding {
        Binding {
            exchange: exchange.into(),
            destination: Destination::Topic(topic.into()),
            key: key.into(),
            arguments: String::new(),
        }
    }

    fn exchange(kind: ExchangeKind, alternate: Option<&str>) -> ExchangeConfig {
        ExchangeConfig {
            kind,
            durable: true,
            auto_delete: false,
            internal: false,
            labels: Default::default(),
            alternate: alternate.map(Into::into),
        }
    }

    fn routed(router: &Router, exchange: &str, key: &str) -> Vec<String> {
        routed_with(router, exchange, key, &Fields::default())
    }

    fn routed_with(router: &Router, exchange: &str, key: &str, fields: &Fields) -> Vec<String> {
        let mut found = Vec::new();
        router.route(exchange, key, fields, &mut |name| {
            found.push(name.to_owned())
        });
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
            router.declare("x".into(), &exchange(ExchangeKind::Topic, None));
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

    fn value() -> impl Strategy<Value = FieldValue> {
        let class = prop::option::of(prop::sample::select(vec!['i', 's']));
        (class, "[12]").prop_map(|(class, text)| FieldValue { class, text })
    }

    fn conditions() -> impl Strategy<Value = Conditions> {
        let condition = ("[abc]", prop::option::of(value()))
            .prop_map(|(name, value)| Condition { name, value });
        (any::<bool>(), prop::collection::vec(condition, 0..4))
            .prop_map(|(any, list)| Conditions { any, list })
    }

    proptest! {
        #[test]
        fn fields_are_found_as_if_every_binding_were_tried(
            bound in prop::collection::vec(conditions(), 1..8),
            removed in prop::collection::vec(any::<bool>(), 8),
            fields in prop::collection::vec(("[abc]", value()), 0..4),
        ) {
            let mut router = Router::default();
            router.declare("x".into(), &exchange(ExchangeKind::Fields, None));
            let one = |index: usize| Binding {
                arguments: bound[index].to_text(),
                ..binding("x", "", &index.to_string())
            };
            let fields = Fields::of(fields);
            let mut expected = Vec::new();
            for index in 0..bound.len() {
                router.bind(&one(index));
            }
            for (index, conditions) in bound.iter().enumerate() {
                if removed[index] {
                    router.unbind(&one(index));
                } else if conditions.met_by(&fields) {
                    expected.push(index.to_string());
                }
            }
            prop_assert_eq!(routed_with(&router, "x", "any", &fields), expected);
            for index in 0..bound.len() {
                router.unbind(&one(index));
            }
            let Some(Table::Fields(left)) = router.table("x") else { panic!() };
            prop_assert!(left.by_name.is_empty() && left.always.is_empty());
        }
    }

    #[test]
    fn an_alternate_gets_what_no_binding_takes_and_only_that() {
        let mut router = Router::default();
        router.declare("x".into(), &exchange(ExchangeKind::Direct, Some("y")));
        router.declare("y".into(), &exchange(ExchangeKind::Direct, Some("x")));
        router.bind(&binding("x", "one", "a"));
        router.bind(&binding("y", "one", "b"));
        router.bind(&binding("y", "two", "c"));
        assert_eq!(routed(&router, "x", "one"), ["a"]);
        assert_eq!(routed(&router, "x", "two"), ["c"]);
        assert!(routed(&router, "x", "three").is_empty());
    }

    #[test]
    fn exchanges_bound_in_a_circle_are_each_visited_once() {
        let mut router = Router::default();
        for name in ["a", "b"] {
            router.declare(name.into(), &exchange(ExchangeKind::Fanout, None));
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
