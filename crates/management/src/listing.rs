//! Lists: filtered, sorted, cut into pages and columns
//! (<https://www.rabbitmq.com/docs/management#http-api-pagination>).

use std::cmp::Ordering;
use std::collections::HashMap;

use forebay_access::Pattern;
use serde_json::{Map, Value, json};

use crate::answer::{Answer, Result, Wrong};

/// What a request asks for beside its path.
pub(crate) type Query = HashMap<String, String>;

const PAGE_SIZE: usize = 100;
const LARGEST_PAGE: usize = 500;

/// Whether the query says `name=true`.
pub(crate) fn is_asked(query: &Query, name: &str) -> bool {
    query.get(name).is_some_and(|text| text == "true")
}

/// The list as it was asked for.
pub(crate) fn list(mut items: Vec<Value>, query: &Query) -> Result {
    if let Some(path) = query.get("sort") {
        items.sort_by(|one, other| compare(find(one, path), find(other, path)));
        if is_asked(query, "sort_reverse") {
            items.reverse();
        }
    }
    let Some(page) = query.get("page") else {
        columns(&mut items, query);
        return Ok(Answer::Json(Value::Array(items)));
    };
    let number = |name: &str, text: &str| {
        let number = text.parse::<usize>().ok().filter(|number| *number > 0);
        number.ok_or_else(|| Wrong::Request(format!("invalid value {text:?} of {name}")))
    };
    let page = number("page", page)?;
    let size = query.get("page_size").map(|text| number("page_size", text));
    let size = size.transpose()?.unwrap_or(PAGE_SIZE);
    if size > LARGEST_PAGE {
        let text = format!("page_size is at most {LARGEST_PAGE}");
        return Err(Wrong::Request(text));
    }
    let total = items.len();
    if let Some(name) = query.get("name").filter(|name| !name.is_empty()) {
        let by_pattern = is_asked(query, "use_regex");
        let pattern = match by_pattern {
            true => Some(Pattern::new(name).map_err(|error| Wrong::Request(error.to_string()))?),
            false => None,
        };
        items.retain(|item| {
            let own = item["name"].as_str().unwrap_or_default();
            match &pattern {
                Some(pattern) => pattern.matches(own),
                None => own.to_lowercase().contains(&name.to_lowercase()),
            }
        });
    }
    let filtered = items.len();
    let pages = filtered.div_ceil(size).max(1);
    if page > pages {
        let text = format!("page {page} is out of range: there are {pages}");
        return Err(Wrong::Request(text));
    }
    let mut items: Vec<Value> = items
        .into_iter()
        .skip((page - 1) * size)
        .take(size)
        .collect();
    columns(&mut items, query);
    Ok(Answer::Json(json!({
        "total_count": total,
        "filtered_count": filtered,
        "item_count": items.len(),
        "page": page,
        "page_size": size,
        "page_count": pages,
        "items": items,
    })))
}

/// Leaves of one thing the columns that were asked for.
pub(crate) fn one(item: Value, query: &Query) -> Answer {
    let mut items = [item];
    columns(&mut items, query);
    let [item] = items;
    Answer::Json(item)
}

fn columns(items: &mut [Value], query: &Query) {
    let Some(wanted) = query.get("columns").filter(|text| !text.is_empty()) else {
        return;
    };
    let wanted: Vec<&str> = wanted.split(',').collect();
    for item in items {
        let mut kept = Value::Object(Map::new());
        for path in &wanted {
            let found = find(item, path);
            if found.is_null() {
                continue;
            }
            let mut place = &mut kept;
            for name in path.split('.') {
                place = &mut place[name];
            }
            *place = found.clone();
        }
        *item = kept;
    }
}

fn find<'a>(item: &'a Value, path: &str) -> &'a Value {
    // A name may have dots itself.
    match item.get(path) {
        Some(found) => found,
        None => path.split('.').fold(item, |value, name| &value[name]),
    }
}

fn compare(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_f64(), other.as_f64());
            one.partial_cmp(&other).unwrap_or(Ordering::Equal)
        }
        (Value::String(one), Value::String(other)) => one.cmp(other),
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        (one, other) => rank(one).cmp(&rank(other)),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &[(&str, &str)]) -> Result<Value> {
        let items = [("b", 1), ("a", 3), ("c", 2), ("ab", 9)];
        let items = items
            .iter()
            .map(|(name, n)| json!({"name": name, "stats": {"n": n}}));
        let query = query.iter().map(|(a, b)| ((*a).into(), (*b).into()));
        match list(items.collect(), &query.collect())? {
            Answer::Json(value) => Ok(value),
            other => panic!("{other:?}"),
        }
    }

    fn names(value: &Value) -> Vec<&str> {
        let items = value.as_array().unwrap().iter();
        items.map(|item| item["name"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_list_is_sorted_by_a_path() {
        assert_eq!(
            names(&ask(&[("sort", "name")]).unwrap()),
            ["a", "ab", "b", "c"]
        );
        let by_count = [("sort", "stats.n"), ("sort_reverse", "true")];
        assert_eq!(names(&ask(&by_count).unwrap()), ["ab", "a", "c", "b"]);
    }

    #[test]
    fn a_page_tells_what_it_is_of() {
        let query = [
            ("page", "2"),
            ("page_size", "1"),
            ("name", "A"),
            ("sort", "name"),
        ];
        let page = ask(&query).unwrap();
        assert_eq!(names(&page["items"]), ["ab"]);
        assert_eq!(page["total_count"], 4);
        assert_eq!(page["filtered_count"], 2);
        assert_eq!(page["page_count"], 2);
        let by_pattern = [("page", "1"), ("name", "^a$"), ("use_regex", "true")];
        assert_eq!(names(&ask(&by_pattern).unwrap()["items"]), ["a"]);
        for wrong in [("page", "0"), ("page", "9"), ("page", "x")] {
            assert!(ask(&[wrong]).is_err(), "{wrong:?}");
        }
        assert!(ask(&[("page", "1"), ("page_size", "501")]).is_err());
    }

    #[test]
    fn columns_leave_the_rest_out() {
        let list = ask(&[("columns", "stats.n"), ("sort", "name")]).unwrap();
        assert_eq!(list[0], json!({"stats": {"n": 3}}));
    }
}
