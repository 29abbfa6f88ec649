//! The HTTP API for people: Markdown from the gateway's own OpenAPI document.

use std::fmt::Write;

use serde_json::{Map, Value};
use spark_bus_schema::schema::markdown::anchor;

/// How the document is written again.
const COMMAND: &str = "spark schema --api-markdown > docs/api.md";
/// Objects inside of objects are told down to this depth; what is deeper is an `object`.
const DEPTH_MAX: usize = 4;
const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

/// Every path with role, parameters, body and answers, then the types.
pub fn markdown(document: &Value) -> String {
    let mut text = format!(
        "# The HTTP API\n\n<!-- Written by `{COMMAND}`: change gateway/src/http, not this file. -->\n\n{}\n\n\
        For programs: `GET /api/openapi.json` or `spark schema --openapi`; to browse: `/docs` at the gateway. With curl: \
        [cookbook](cookbook.md#the-http-api-with-curl). Who may what: [security](security.md#roles).\n\n",
        document["info"]["description"].as_str().unwrap_or_default()
    );
    for tag in document["tags"].as_array().into_iter().flatten() {
        let name = tag["name"].as_str().unwrap_or_default();
        let about = tag["description"].as_str().unwrap_or_default();
        line(&mut text, &format!("## {name}\n\n{about}\n\n| | role | what |\n|---|---|---|"));
        let operations: Vec<(String, &Value)> = of_tag(document, name).collect();
        for (heading, operation) in &operations {
            let summary = cell(operation["summary"].as_str().unwrap_or_default());
            line(&mut text, &format!("| [`{heading}`](#{}) | {} | {summary} |", anchor(heading), role(operation)));
        }
        text.push('\n');
        for (heading, told) in &operations {
            operation(heading, told, &mut text);
        }
    }
    types(document, &mut text);
    text
}

/// Operations with a tag, each with its heading.
fn of_tag<'a>(document: &'a Value, tag: &'a str) -> impl Iterator<Item = (String, &'a Value)> {
    document["paths"].as_object().into_iter().flatten().flat_map(move |(path, item)| {
        let of_path = METHODS.iter().filter_map(|method| Some((*method, item.get(*method)?)));
        of_path
            .filter(move |(_, operation)| operation["tags"][0] == tag)
            .map(move |(method, operation)| (format!("{} {path}", method.to_uppercase()), operation))
    })
}

fn role(operation: &Value) -> &str {
    operation["x-spark-role"].as_str().unwrap_or("–")
}

fn operation(heading: &str, told: &Value, text: &mut String) {
    line(text, &format!("### `{heading}`\n\n{}. Role: {}.", told["summary"].as_str().unwrap_or_default(), role(told)));
    if let Some(about) = told["description"].as_str() {
        line(text, &format!("\n{about}"));
    }
    let parameters: Vec<&Value> = told["parameters"].as_array().into_iter().flatten().collect();
    if !parameters.is_empty() {
        text.push_str("\n| parameter | in | type | what |\n|---|---|---|---|\n");
    }
    for parameter in parameters {
        let name = parameter["name"].as_str().unwrap_or_default();
        let place = parameter["in"].as_str().unwrap_or_default();
        let needed = if parameter["required"] == true { "Needed. " } else { "" };
        let about = cell(parameter["description"].as_str().unwrap_or_default());
        line(text, &format!("| `{name}` | {place} | {} | {needed}{about} |", type_of(&parameter["schema"])));
    }
    let body = &told["requestBody"]["content"]["application/json"];
    if !body.is_null() {
        line(text, &format!("\nBody: {}.", type_of(&body["schema"])));
        if let Some(example) = body.get("example") {
            line(text, &format!("\n```json\n{}\n```", sorted(example)));
        }
    }
    answers(told, text);
}

fn answers(told: &Value, text: &mut String) {
    let all: Vec<(&String, &Value)> = told["responses"].as_object().into_iter().flatten().collect();
    let is_error = |status: &str| status.starts_with(['4', '5']);
    text.push_str("\n| answer | what | body |\n|---|---|---|\n");
    for (status, answer) in all.iter().filter(|(status, _)| !is_error(status)) {
        let about = cell(answer["description"].as_str().unwrap_or_default());
        line(text, &format!("| {status} | {about} | {} |", body_of(answer)));
    }
    let errors: Vec<&str> = all.iter().map(|(status, _)| status.as_str()).filter(|status| is_error(status)).collect();
    if errors.is_empty() {
        text.push('\n');
    } else {
        line(text, &format!("\nErrors: {}.\n", errors.join(", ")));
    }
}

fn body_of(answer: &Value) -> String {
    let contents = answer["content"].as_object().into_iter().flatten();
    let told: Vec<String> = contents
        .filter(|(media, _)| media.as_str() != "application/problem+json")
        .map(|(media, content)| if media == "application/json" { type_of(&content["schema"]) } else { format!("`{media}`") })
        .collect();
    if told.is_empty() { "–".to_owned() } else { told.join(" or ") }
}

fn types(document: &Value, text: &mut String) {
    text.push_str("## Types\n\n");
    let schemas: Vec<(&String, &Value)> = document["components"]["schemas"].as_object().into_iter().flatten().collect();
    for (name, schema) in schemas {
        line(text, &format!("### {}\n", type_heading(name)));
        if let Some(about) = schema["description"].as_str() {
            line(text, &format!("{}\n", plain(about)));
        }
        if let Some(choices) =
            schema.get("oneOf").and_then(Value::as_array).filter(|all| all.iter().all(|one| one.get("const").is_some()))
        {
            text.push_str("| value | what |\n|---|---|\n");
            for choice in choices {
                let about = cell(choice["description"].as_str().unwrap_or_default());
                line(text, &format!("| `{}` | {about} |", sorted(&choice["const"]).trim_matches('"')));
            }
        } else if schema.get("properties").is_some() {
            text.push_str("| member | type | what |\n|---|---|---|\n");
            members("", schema, 0, text);
        } else {
            line(text, &format!("{}.", type_of(schema)));
        }
        text.push('\n');
    }
}

/// A type may have the name of a group of routes.
fn type_heading(name: &str) -> String {
    format!("Type {name}")
}

/// A row for each member, and for each member of an object that has no name of its own.
fn members(before: &str, schema: &Value, depth: usize, text: &mut String) {
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{before}{name}");
        let needed = schema["required"].as_array().into_iter().flatten().any(|one| one == name);
        let optional = if needed { "" } else { "Optional. " };
        let about = cell(member["description"].as_str().unwrap_or_default());
        line(text, &format!("| `{path}` | {} | {optional}{about} |", type_of(member)));
        if depth < DEPTH_MAX {
            if member.get("properties").is_some() {
                members(&format!("{path}."), member, depth + 1, text);
            } else if member["items"].get("properties").is_some() {
                members(&format!("{path}[]."), &member["items"], depth + 1, text);
            }
        }
    }
}

fn type_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("[{name}](#{})", anchor(&type_heading(name)));
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(choices) = schema[key].as_array() {
            let mut told: Vec<String> = choices.iter().map(type_of).collect();
            told.dedup();
            return told.join(if key == "allOf" { " and " } else { " or " });
        }
    }
    if let Some(value) = schema.get("const") {
        return format!("`{}`", sorted(value).replace('|', "\\|"));
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| format!("`{}`", sorted(value).trim_matches('"'))).collect::<Vec<String>>().join(" or ");
    }
    match &schema["type"] {
        Value::Array(types) => {
            types.iter().filter_map(Value::as_str).map(|name| named(name, schema)).collect::<Vec<String>>().join(" or ")
        }
        Value::String(name) => named(name, schema),
        _ => "anything".to_owned(),
    }
}

fn named(name: &str, schema: &Value) -> String {
    match name {
        "string" => match schema["format"].as_str() {
            Some("date-time") => "time (RFC 3339)".to_owned(),
            _ => "text".to_owned(),
        },
        "array" => format!("list of {}", type_of(&schema["items"])),
        "object" => match schema.get("additionalProperties").filter(|values| values.is_object()) {
            Some(values) if schema.get("properties").is_none() => format!("map of {}", type_of(values)),
            _ => "object".to_owned(),
        },
        other => other.to_owned(),
    }
}

/// JSON on one line, keys sorted: the same text whatever the map's own order.
fn sorted(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let pairs = sorted_keys(map).into_iter().map(|name| format!("\"{name}\": {}", sorted(&map[name])));
            format!("{{{}}}", pairs.collect::<Vec<String>>().join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(sorted).collect::<Vec<String>>().join(", ")),
        plain => plain.to_string(),
    }
}

fn sorted_keys(map: &Map<String, Value>) -> Vec<&String> {
    let mut keys: Vec<&String> = map.keys().collect();
    keys.sort_unstable();
    keys
}

/// The first paragraph on one line, links to Rust items as their names.
fn plain(text: &str) -> String {
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    paragraph.split_whitespace().collect::<Vec<&str>>().join(" ").replace("[`", "`").replace("`]", "`")
}

fn cell(text: &str) -> String {
    plain(text).replace('|', "\\|")
}

fn line(text: &mut String, line: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_and_every_type_is_told_and_every_link_leads_to_a_heading() {
        let document = spark_gateway::http::openapi::document();
        let text = markdown(&document);
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys().filter(|key| METHODS.contains(&key.as_str())) {
                let heading = format!("\n### `{} {path}`\n", method.to_uppercase());
                assert_eq!(text.matches(&heading).count(), 1, "{heading}");
            }
        }
        let headings: Vec<String> =
            text.lines().filter_map(|line| Some(anchor(line.trim_start_matches('#').strip_prefix(' ')?))).collect();
        for link in text.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert_eq!(headings.iter().filter(|heading| *heading == link).count(), 1, "#{link}");
        }
    }
}
