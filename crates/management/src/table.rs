//! Between JSON and the tables of arguments and headers, as RabbitMQ's API translates them.

use amq_protocol::types::{AMQPValue, FieldArray, FieldTable};
use serde_json::{Map, Number, Value, json};

/// A table as JSON.
pub(crate) fn to_json(table: &FieldTable) -> Value {
    let entries = table.into_iter();
    let entries = entries.map(|(name, value)| (name.to_string(), value_to_json(value)));
    Value::Object(entries.collect::<Map<_, _>>())
}

fn value_to_json(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => json!(value),
        AMQPValue::ShortShortInt(value) => json!(value),
        AMQPValue::ShortShortUInt(value) => json!(value),
        AMQPValue::ShortInt(value) => json!(value),
        AMQPValue::ShortUInt(value) => json!(value),
        AMQPValue::LongInt(value) => json!(value),
        AMQPValue::LongUInt(value) => json!(value),
        AMQPValue::LongLongInt(value) => json!(value),
        AMQPValue::Float(value) => json!(value),
        AMQPValue::Double(value) => json!(value),
        AMQPValue::DecimalValue(value) => json!(format!("{}e-{}", value.value, value.scale)),
        AMQPValue::ShortString(value) => json!(value.to_string()),
        AMQPValue::LongString(value) => json!(String::from_utf8_lossy(value.as_bytes())),
        AMQPValue::Timestamp(value) => json!(value),
        AMQPValue::ByteArray(value) => json!(String::from_utf8_lossy(value.as_slice())),
        AMQPValue::FieldArray(value) => value.as_slice().iter().map(value_to_json).collect(),
        AMQPValue::FieldTable(value) => to_json(value),
        AMQPValue::Void => Value::Null,
    }
}

/// A JSON object as a table; anything else as an empty one.
pub(crate) fn of_json(value: &Value) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in value.as_object().into_iter().flatten() {
        table.insert(name.as_str().into(), value_of_json(value));
    }
    table
}

fn value_of_json(value: &Value) -> AMQPValue {
    match value {
        Value::Null => AMQPValue::Void,
        Value::Bool(value) => AMQPValue::Boolean(*value),
        Value::Number(number) => number_of(number),
        Value::String(text) => AMQPValue::LongString(text.as_str().into()),
        Value::Array(items) => {
            let mut array = FieldArray::default();
            for item in items {
                array.push(value_of_json(item));
            }
            AMQPValue::FieldArray(array)
        }
        Value::Object(_) => AMQPValue::FieldTable(of_json(value)),
    }
}

fn number_of(number: &Number) -> AMQPValue {
    match number.as_i64() {
        Some(number) => AMQPValue::LongLongInt(number),
        None => AMQPValue::Double(number.as_f64().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_says_comes_back() {
        let given = json!({
            "x-max-length": 5, "text": "t", "yes": true, "none": null,
            "list": [1, "two"], "inside": {"deep": -1},
        });
        assert_eq!(to_json(&of_json(&given)), given);
        assert_eq!(to_json(&of_json(&json!([]))), json!({}));
    }
}
