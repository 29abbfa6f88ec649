//! Turns one section into a process's own configuration type and collects every problem on the way, not just the first.

use figment::error::{Actual, Kind};
use figment::value::{Dict, Value};
use serde::de::DeserializeOwned;

use super::problem::{Problem, is_secret, unknown};
use super::sources::Sources;

/// More problems than this are not reported one by one.
pub const PROBLEMS_MAX: usize = 50;

/// The section as `T`; what is wrong is added to `problems` and left out, so that the rest is checked too.
/// None when nothing useful can be made of it.
pub fn extract<T: DeserializeOwned>(sources: &Sources, name: &str, problems: &mut Vec<Problem>) -> Option<T> {
    let mut value = sources.values().get(name).cloned().unwrap_or_else(|| Value::from(Dict::new()));
    for _ in 0..PROBLEMS_MAX {
        let error = match value.deserialize::<T>() {
            Ok(section) => return Some(section),
            Err(error) => error,
        };
        let mut inner = error.path.clone();
        if let Kind::UnknownField(field, _) = &error.kind
            && inner.last() != Some(field)
        {
            inner.push(field.clone());
        }
        let keys: Vec<String> = std::iter::once(name.to_owned()).chain(inner.iter().cloned()).collect();
        if let (Kind::InvalidType(..), Some(raw)) = (&error.kind, sources.raw(&keys))
            && retry_as_text(&mut value, &inner, raw)
        {
            continue;
        }
        problems.push(describe(sources, &keys, &value, &inner, &error.kind));
        if !remove(&mut value, &inner) {
            return None;
        }
    }
    None
}

/// An environment variable such as `…__API_KEY=12345` reads as a number; where text is wanted it was text.
fn retry_as_text(value: &mut Value, keys: &[String], raw: &str) -> bool {
    match slot(value, keys) {
        Some(found) if !matches!(found, Value::String(..)) => {
            *found = Value::from(raw.to_owned());
            true
        }
        _ => false,
    }
}

fn describe(sources: &Sources, keys: &[String], value: &Value, inner: &[String], kind: &Kind) -> Problem {
    let key = keys.join(".");
    let given = peek(value, inner).map(|value| show(&key, value));
    let (value, what) = match kind {
        Kind::UnknownField(field, known) => (given, unknown("key", field, known)),
        Kind::UnknownVariant(word, known) => (given, unknown("value", word, known)),
        Kind::MissingField(field) => (None, format!("the key `{field}` is missing; add it")),
        Kind::InvalidType(actual, want) => (given, format!("is {}, expected {}", kind_of(actual), wanted(&want.to_string()))),
        Kind::InvalidValue(_, want) => (given, format!("is not possible, expected {want}")),
        Kind::InvalidLength(length, want) => (given, format!("has {length} entries, expected {want}")),
        Kind::DuplicateField(field) => (given, format!("`{field}` is there twice; keep one")),
        Kind::Message(text) if text.contains("socket address") => {
            (given, format!("{text}; write address and port, e.g. \"127.0.0.1:4001\""))
        }
        Kind::Message(text) => (given, text.clone()),
        other => (given, other.to_string()),
    };
    Problem { place: sources.place(keys), key: Some(key), value, what }
}

/// A type of Rust in words of TOML.
fn wanted(name: &str) -> &str {
    match name {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "bool" | "a boolean" => "true or false",
        other => other,
    }
}

fn kind_of(actual: &Actual) -> &'static str {
    match actual {
        Actual::Bool(_) => "a truth value",
        Actual::Unsigned(_) | Actual::Signed(_) => "a whole number",
        Actual::Float(_) => "a number with a fraction",
        Actual::Char(_) | Actual::Str(_) => "text",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "of another type",
    }
}

/// A value as it would be written in TOML; secrets are hidden, long ones cut.
pub fn show(key: &str, value: &Value) -> String {
    const LENGTH_MAX: usize = 80;
    if is_secret(key) {
        return "(hidden)".to_owned();
    }
    let text = without_addresses(&serde_json::to_string(value).unwrap_or_else(|_| "?".to_owned()));
    if text.chars().count() > LENGTH_MAX { text.chars().take(LENGTH_MAX).chain(['…']).collect() } else { text }
}

/// What follows the host of an address can be a token (webhooks have theirs there), what stands before it a password.
fn without_addresses(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        let end = after.find(['"', ' ', ',']).unwrap_or(after.len());
        let (address, tail) = after.split_at(end);
        let (host, path) = address.split_at(address.find(['/', '?', '#']).unwrap_or(address.len()));
        let host = host.rsplit('@').next().unwrap_or(host);
        shown.extend([before, host, if path.len() > 1 { "/…" } else { path }]);
        rest = tail;
    }
    shown + rest
}

pub fn peek<'a>(value: &'a Value, keys: &[String]) -> Option<&'a Value> {
    keys.iter().try_fold(value, |value, key| match value {
        Value::Dict(_, dict) => dict.get(key),
        Value::Array(_, items) => items.get(key.parse::<usize>().ok()?),
        _ => None,
    })
}

fn slot<'a>(value: &'a mut Value, keys: &[String]) -> Option<&'a mut Value> {
    keys.iter().try_fold(value, |value, key| match value {
        Value::Dict(_, dict) => dict.get_mut(key),
        Value::Array(_, items) => items.get_mut(key.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Takes a key out. An array goes as a whole: taking one element out would renumber the others, and lines with them.
fn remove(value: &mut Value, keys: &[String]) -> bool {
    let Some((last, parents)) = keys.split_last() else { return false };
    match slot(value, parents) {
        Some(Value::Dict(_, dict)) => dict.remove(last).is_some(),
        Some(_) => remove(value, parents),
        None => false,
    }
}
