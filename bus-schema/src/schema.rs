//! Documents for other languages: JSON Schema of every kind, one `AsyncAPI` 3 document, and [`markdown`] for people.

pub mod markdown;

use serde_json::{Map, Value, json};

use crate::catalogue::{Entry, entries};

/// JSON Schema (draft 2020-12) of every kind, keyed `tick_batch.v1`.
#[must_use]
pub fn json_schemas() -> Value {
    let schemas: Map<String, Value> =
        entries().iter().map(|entry| (entry.kind.to_string(), (entry.schema)().to_value())).collect();
    Value::Object(schemas)
}

/// One `AsyncAPI` 3.0 document: a channel a subject family, a message a kind, an operation a publisher.
#[must_use]
pub fn asyncapi() -> Value {
    let mut channels = Map::new();
    let mut messages = Map::new();
    let mut operations = Map::new();
    for entry in entries() {
        let name = entry.kind.name;
        channels.insert(name.to_owned(), channel(&entry));
        messages.insert(name.to_owned(), message(&entry));
        for publisher in entry.publishers {
            let who = if *publisher == "*" { "every_process" } else { publisher };
            operations.insert(
                format!("{who}_publishes_{name}"),
                json!({
                    "action": "send",
                    "channel": {"$ref": format!("#/channels/{name}")},
                    "messages": [{"$ref": format!("#/channels/{name}/messages/{name}")}],
                }),
            );
        }
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Spark",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Messages between Spark's processes on NATS JetStream. Payloads are MessagePack maps with the field names shown here.",
        },
        "defaultContentType": "application/msgpack",
        "servers": {"local": {"host": "127.0.0.1:4222", "protocol": "nats"}},
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    })
}

fn channel(entry: &Entry) -> Value {
    let name = entry.kind.name;
    let parameters: Map<String, Value> = entry
        .address
        .split('.')
        .filter_map(|token| token.strip_prefix('{')?.strip_suffix('}'))
        .map(|parameter| (parameter.to_owned(), json!({"description": format!("the {parameter}, one subject token")})))
        .collect();
    json!({
        "address": entry.address,
        "description": format!("{} Stored in the stream {}.", entry.summary, entry.stream),
        "parameters": parameters,
        "messages": {name: {"$ref": format!("#/components/messages/{name}")}},
    })
}

fn message(entry: &Entry) -> Value {
    let mut schema = (entry.schema)().to_value();
    inline_definitions(&mut schema);
    json!({
        "name": entry.kind.to_string(),
        "summary": entry.summary,
        "contentType": "application/msgpack",
        "headers": {
            "type": "object",
            "properties": {
                "Spark-Kind": {"type": "string", "const": entry.kind.to_string()},
                "Nats-Msg-Id": {"type": "string"},
                "Spark-Cause": {"type": "string"},
                "traceparent": {"type": "string"},
            },
            "required": ["Spark-Kind"],
        },
        "payload": schema,
    })
}

/// Replaces `#/$defs/X` by the definition itself: inside a larger document such a reference would point nowhere.
/// Spark's message types are trees, so this ends.
fn inline_definitions(schema: &mut Value) {
    let definitions = schema.as_object_mut().and_then(|object| object.remove("$defs")).unwrap_or(Value::Null);
    resolve(schema, &definitions);
}

fn resolve(value: &mut Value, definitions: &Value) {
    if let Some(name) = value.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/")) {
        *value = definitions.get(name).cloned().unwrap_or(Value::Null);
    }
    match value {
        Value::Object(object) => object.values_mut().for_each(|child| resolve(child, definitions)),
        Value::Array(items) => items.iter_mut().for_each(|child| resolve(child, definitions)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_in_the_asyncapi_document_leads_somewhere() {
        let document = asyncapi();
        let mut references = Vec::new();
        collect(&document, &mut references);
        assert!(references.len() > entries().len());
        for reference in references {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }

    fn collect(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref") {
                    into.push(reference.clone());
                }
                object.values().for_each(|child| collect(child, into));
            }
            Value::Array(items) => items.iter().for_each(|child| collect(child, into)),
            _ => {}
        }
    }
}
