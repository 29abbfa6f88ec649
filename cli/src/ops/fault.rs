//! `spark sim fault`: tells the simulated exchanges to misbehave, over their own HTTP API.

use serde_json::{Map, Value};

use crate::args::{FaultArgs, FaultCommand, Global};
use crate::exit::Failure;
use crate::output;
use crate::system;

const FAULTS: &str = "/sim/faults";
/// Parameters that are text whatever they look like.
const TEXTS: [&str; 7] = ["exchange", "key", "path", "stream", "symbol", "variant", "place"];

/// Adds, lists or removes faults.
///
/// # Errors
/// Exit 64 when the simulator does not take the fault, 69 when none runs.
pub fn run(command: &FaultCommand, global: &Global) -> Result<(), Failure> {
    let running = system::running(global)?;
    let base = running.simulator.ok_or_else(|| {
        Failure::unavailable("the running system uses the real exchanges; faults need the simulator (`spark up` without --live)")
    })?;
    let client = system::http()?;
    let all = format!("{base}{FAULTS}");
    let request = match command {
        FaultCommand::Add(arguments) => client.post(&all).json(&body(arguments)?),
        FaultCommand::Ls => client.get(&all),
        FaultCommand::Rm { id } => client.delete(format!("{all}/{id}")),
        FaultCommand::Clear => client.delete(&all),
    };
    system::block_on(async {
        let answer = request.send().await.map_err(|error| Failure::unavailable(format!("simulator at {base}: {error}")))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| Failure::unavailable(format!("simulator at {base}: {error}")))?;
        if status.is_client_error() {
            return Err(Failure::usage(format!("the simulator refuses ({status}): {}", explanation(&text))));
        }
        if !status.is_success() {
            return Err(Failure::unavailable(format!("the simulator fails ({status}): {}", explanation(&text))));
        }
        show(&text, global.json)
    })
}

fn body(arguments: &FaultArgs) -> Result<Value, Failure> {
    let mut body = Map::new();
    body.insert("kind".to_owned(), Value::from(arguments.kind.clone()));
    for parameter in &arguments.parameters {
        let (key, value) = parameter
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| Failure::usage(format!("`{parameter}` is not KEY=VALUE; write e.g. exchange=binance")))?;
        // Numbers and JSON as such, everything else is text; names are text even when they are made of digits.
        let parsed = serde_json::from_str(value).ok().filter(|_| !TEXTS.contains(&key));
        let value = parsed.unwrap_or_else(|| Value::from(value));
        if body.insert(key.to_owned(), value).is_some() {
            return Err(Failure::usage(format!("`{key}` is given twice; keep one")));
        }
    }
    Ok(Value::Object(body))
}

fn explanation(text: &str) -> String {
    let json: Option<Value> = serde_json::from_str(text).ok();
    let told =
        json.as_ref().and_then(|json| ["error", "detail", "msg", "message"].into_iter().find_map(|key| json.get(key)?.as_str()));
    output::visible(told.unwrap_or(text))
}

fn show(text: &str, as_json: bool) -> Result<(), Failure> {
    let parsed: Option<Value> = serde_json::from_str(text).ok();
    let items = match &parsed {
        Some(Value::Array(items)) => Some(items),
        Some(Value::Object(object)) => object.get("faults").and_then(Value::as_array),
        _ => None,
    };
    match (items, as_json) {
        (Some(items), false) if items.is_empty() => output::line("no faults"),
        (Some(items), false) => items.iter().try_for_each(|item| output::line(&one(item))),
        (None, false) if text.trim().is_empty() => output::line("done"),
        (None, false) => output::line(&parsed.as_ref().map_or_else(|| output::visible(text), one)),
        (_, true) => output::line(text.trim()),
    }
}

fn one(item: &Value) -> String {
    let Value::Object(fields) = item else { return item.to_string() };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let show = |(key, value): (&String, &Value)| match value {
        // The fault itself, within what the simulator knows about it.
        Value::Object(_) => one(value),
        _ => format!("{key}={}", output::visible(&text(value))),
    };
    let shown: Vec<String> = fields.iter().filter(|(_, value)| !value.is_null()).map(show).collect();
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_a_document_and_mistakes_are_named() {
        let arguments = |parameters: &[&str]| FaultArgs {
            kind: "delay".into(),
            parameters: parameters.iter().map(|text| (*text).to_owned()).collect(),
        };
        let body = |parameters: &[&str]| super::body(&arguments(parameters));
        let want = serde_json::json!({"kind": "delay", "exchange": "binance", "ms": 4000, "key": "77"});
        assert_eq!(body(&["exchange=binance", "ms=4000", "key=77"]).unwrap(), want);
        for wrong in [&["ms"][..], &["=1"], &["ms=1", "ms=2"]] {
            assert!(body(wrong).is_err(), "{wrong:?}");
        }
    }
}
