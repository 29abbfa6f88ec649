//! Tables of fields, the types that several kinds share, and examples.

use serde_json::Value;

use super::{Definitions, anchor, line};
use crate::catalogue::Entry;

/// Types that fields refer to.
pub struct Shared {
    /// By the heading that they get.
    definitions: Definitions,
    /// Names that mean different things in different kinds.
    ambiguous: Vec<String>,
}

impl Shared {
    /// Of every kind.
    pub fn of(entries: &[Entry]) -> Self {
        let mut definitions = Definitions::new();
        let mut ambiguous = Vec::new();
        let all: Vec<(&str, Value)> = entries.iter().map(|entry| (entry.kind.name, (entry.schema)().to_value())).collect();
        let each = || all.iter().flat_map(|(kind, schema)| named(schema).map(move |(name, value)| (*kind, name, value)));
        for (kind, name, value) in each() {
            match definitions.get(name) {
                Some((_, known)) if known != value => ambiguous.push(name.clone()),
                Some(_) => {}
                None => _ = definitions.insert(name.clone(), (kind.to_owned(), value.clone())),
            }
        }
        for (kind, name, value) in each() {
            if ambiguous.contains(name) {
                definitions.insert(heading(kind, name), (kind.to_owned(), value.clone()));
            }
        }
        definitions.retain(|name, _| !ambiguous.contains(name));
        Self { definitions, ambiguous }
    }

    /// The table of an object's fields: the required ones as they are declared, then the others.
    pub fn fields(&self, kind: &str, schema: &Value, text: &mut String) {
        text.push_str("| field | type | what |\n|---|---|---|\n");
        for name in order(schema) {
            let field = &schema["properties"][name];
            let kind_of = self.type_of(kind, field);
            let what = cell(field.get("description").and_then(Value::as_str).unwrap_or_default());
            let optional = if required(schema).any(|one| one == name) { "" } else { "Optional. " };
            let default = field.get("default").filter(|value| !value.is_null() && !value.is_object());
            let default = default.map_or_else(String::new, |value| format!(" Default `{}`.", compact(value)));
            line(text, &format!("| `{name}` | {kind_of} | {optional}{what}{default} |"));
        }
    }

    /// Every shared type under a heading of its own.
    pub fn write(&self, text: &mut String) {
        text.push_str("## Types\n\nWhat fields above refer to.\n\n");
        for (name, (kind, schema)) in &self.definitions {
            line(text, &format!("### {name}\n"));
            let description = schema.get("description").and_then(Value::as_str).unwrap_or_default();
            line(text, &format!("{}\n", one_line(description)));
            if let Some(Value::Array(choices)) = schema.get("oneOf") {
                text.push_str("| value | what |\n|---|---|\n");
                for choice in choices {
                    let what = choice.get("description").and_then(Value::as_str).unwrap_or_default();
                    line(text, &format!("| {} | {}{} |", choice_of(choice), cell(what), self.inside(kind, choice)));
                }
            } else if schema.get("properties").is_some() {
                self.fields(kind, schema, text);
            } else {
                line(text, &format!("On the wire: {}.", self.type_of(kind, schema)));
            }
            text.push('\n');
        }
    }

    /// What a choice that is a map holds.
    fn inside(&self, kind: &str, choice: &Value) -> String {
        let Some((_, value)) = choice.get("properties").and_then(Value::as_object).and_then(|map| map.iter().next()) else {
            return String::new();
        };
        if value.get("properties").is_none() {
            return format!(" Holds {}.", self.type_of(kind, value));
        }
        let fields = order(value).into_iter().map(|name| {
            let field = &value["properties"][name];
            let what = field.get("description").and_then(Value::as_str).unwrap_or_default();
            format!("`{name}` ({}): {}", self.type_of(kind, field), cell(what))
        });
        format!(" Holds {}", fields.collect::<Vec<String>>().join(" "))
    }

    fn type_of(&self, kind: &str, schema: &Value) -> String {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/")) {
            let heading = if self.ambiguous.iter().any(|one| one == name) { heading(kind, name) } else { name.to_owned() };
            return format!("[{name}](#{})", anchor(&heading));
        }
        if let Some(Value::Array(choices)) = schema.get("anyOf") {
            return choices.iter().map(|choice| self.type_of(kind, choice)).collect::<Vec<String>>().join(" or ");
        }
        match schema.get("type") {
            Some(Value::Array(types)) => types
                .iter()
                .filter_map(Value::as_str)
                .map(|name| self.plain(kind, name, schema))
                .collect::<Vec<String>>()
                .join(" or "),
            Some(Value::String(name)) => self.plain(kind, name, schema),
            _ => "anything".to_owned(),
        }
    }

    fn plain(&self, kind: &str, name: &str, schema: &Value) -> String {
        match name {
            "string" => "text".to_owned(),
            "null" => "nil".to_owned(),
            "number" => "float".to_owned(),
            "integer" => match schema.get("format").and_then(Value::as_str) {
                Some(format) if format.starts_with("uint") => "integer ≥ 0".to_owned(),
                _ => "integer".to_owned(),
            },
            "array" => match schema.get("prefixItems").and_then(Value::as_array) {
                Some(items) => {
                    let items: Vec<String> = items.iter().map(|item| self.type_of(kind, item)).collect();
                    format!("list of exactly {}", items.join(", "))
                }
                None => format!("list of {}", self.type_of(kind, &schema["items"])),
            },
            "object" => {
                let patterns = schema.get("patternProperties").and_then(Value::as_object).and_then(|map| map.values().next());
                match patterns.or_else(|| schema.get("additionalProperties")) {
                    Some(values) => format!("map of {}", self.type_of(kind, values)),
                    None => "map".to_owned(),
                }
            }
            other => other.to_owned(),
        }
    }
}

fn heading(kind: &str, name: &str) -> String {
    format!("{name} of {kind}")
}

fn named(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("$defs").and_then(Value::as_object).into_iter().flatten()
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Fields in the order in which they are declared, as far as that is known: optional ones come last, by name.
fn order(schema: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = required(schema).collect();
    let mut others: Vec<&str> = schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .filter(|name| !names.contains(name))
        .collect();
    others.sort_unstable();
    names.extend(others);
    names
}

fn choice_of(choice: &Value) -> String {
    match choice.get("const") {
        Some(value) => format!("`{}`", value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
        None => match required(choice).next() {
            Some(name) => format!("a map with `{name}`"),
            None => "a map".to_owned(),
        },
    }
}

/// Documentation for Rust as plain Markdown on one line: its first paragraph, links to items as the items' names.
pub fn one_line(text: &str) -> String {
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let joined = paragraph.split_whitespace().collect::<Vec<&str>>().join(" ");
    let mut plain = String::with_capacity(joined.len());
    let mut rest = joined.as_str();
    while let Some((before, after)) = rest.split_once("[`") {
        plain.push_str(before);
        let Some((name, tail)) = after.split_once("`]") else {
            plain.push_str("[`");
            rest = after;
            continue;
        };
        plain.push('`');
        // `Type::method` says little to a reader in another language; the method's name says the same.
        plain.push_str(name.rsplit("::").next().unwrap_or(name));
        plain.push('`');
        // The target of a link, where one is written out.
        rest = tail.strip_prefix('(').and_then(|target| target.split_once(')')).map_or(tail, |pair| pair.1);
    }
    plain.push_str(rest);
    plain
}

/// The same, for a cell of a table.
pub fn cell(text: &str) -> String {
    one_line(text).replace('|', "\\|")
}

/// A message as JSON, a field a line, in the table's order.
pub fn example(schema: &Value, sample: &Value) -> String {
    let lines: Vec<String> =
        order(schema).into_iter().filter_map(|name| Some(format!("  \"{name}\": {}", compact(sample.get(name)?)))).collect();
    format!("{{\n{}\n}}", lines.join(",\n"))
}

/// JSON on one line, keys sorted: the same text whatever the map's own order.
fn compact(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut names: Vec<&String> = map.keys().collect();
            names.sort_unstable();
            let pairs: Vec<String> = names.into_iter().map(|name| format!("\"{name}\": {}", compact(&map[name]))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(compact).collect::<Vec<String>>().join(", ")),
        plain => plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documentation_for_rust_becomes_plain_text() {
        let check = |text: &str, want: &str| assert_eq!(one_line(text), want);
        check("When\nit was.\n\nMore.", "When it was.");
        check("[`OrderId::derive`] of [`Kind`](crate::Kind).", "`derive` of `Kind`.");
        check("a [`b", "a [`b");
        assert_eq!(cell("a | b"), "a \\| b");
    }
}
