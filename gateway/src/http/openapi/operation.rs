//! One operation: its parameters, its body, and every answer that it can give.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use spark_bus_schema::orders::NAME_CHARS_MAX;

use super::super::ALERTMANAGER;
use super::super::access::Access;
use super::super::doc::{Answer, Content, Parameter, Place};
use super::super::problem::{KINDS, Problem};
use super::super::table::Route;
use super::schemas::Schemas;
use crate::auth::Role;

/// Statuses that bring `Retry-After`.
const LATER: [u16; 1] = [429];

/// The operation of a route.
pub(super) fn operation(route: &Route, schemas: &mut Schemas) -> Value {
    let doc = &route.doc;
    let mut operation = json!({
        "operationId": id(&route.method, route.path),
        "summary": route.summary,
        "tags": [super::tag(route.path)],
        "parameters": parameters(route),
        "responses": responses(route, schemas),
    });
    if let Some(about) = doc.about {
        operation["description"] = about.into();
    }
    if let Some(body) = &doc.body {
        let mut media = json!({"schema": schemas.request(body.shape)});
        // A constant of this program; a test reads each as its type.
        if let Ok(example) = serde_json::from_str::<Value>(body.example.split(", or ").next().unwrap_or_default()) {
            media["example"] = example;
        }
        operation["requestBody"] = json!({"required": true, "content": {"application/json": media}});
    }
    let (security, role) = match route.access {
        Access::Open => (json!([]), None),
        // A token may be sent: reading may be open to everybody.
        Access::Anyone => (json!([{}, {"bearer": []}]), None),
        Access::Read => (json!([{}, {"bearer": []}]), Some(Role::Viewer)),
        Access::Role(role) => (json!([{"bearer": []}]), Some(role)),
    };
    operation["security"] = security;
    operation["x-spark-role"] = role.map_or(Value::Null, |role| role.as_str().into());
    operation
}

/// `get_exec_orders_id` of `GET /api/exec/orders/{id}`.
fn id(method: &Method, path: &str) -> String {
    let path = path.strip_prefix("/api").unwrap_or(path);
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method.as_str().to_ascii_lowercase().as_str()).chain(words).collect::<Vec<_>>().join("_")
}

fn parameters(route: &Route) -> Vec<Value> {
    let of_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut all: Vec<Value> = of_path
        .map(|name| {
            json!({
                "name": name,
                "in": "path",
                "required": true,
                "description": path_about(route.path, name),
                "schema": {"type": "string", "minLength": 1},
            })
        })
        .collect();
    all.extend(route.doc.parameters.iter().map(parameter));
    if !route.doc.shows.is_empty() || route.doc.tags_itself {
        let about = "entity tags that the client has: 304 when the answer would have one of them";
        all.push(json!({"name": "If-None-Match", "in": "header", "description": about, "schema": {"type": "string"}}));
    }
    if matches!(route.access, Access::Role(_)) || route.doc.body.is_some() {
        let about = "on whose behalf: it goes into the audit beside the token's name";
        let schema = json!({"type": "string", "minLength": 1, "maxLength": NAME_CHARS_MAX, "pattern": "^[!-~]([ -~]*[!-~])?$", "examples": ["ayse"]});
        all.push(json!({"name": "X-Spark-Actor", "in": "header", "description": about, "schema": schema}));
    }
    all
}

fn path_about(path: &str, name: &str) -> &'static str {
    match name {
        "service" => "the process, as `GET /api/processes` names it",
        "name" => "the strategy, as `GET /api/strategies` names it",
        _ if path.starts_with("/api/exec/") => "the order, as `GET /api/exec/orders` names it",
        _ if path.starts_with("/api/backtest/") => "the backtest, as `GET /api/backtest` names it",
        _ => "the silence, as `GET /api/v2/silences` names it",
    }
}

fn parameter(parameter: &Parameter) -> Value {
    let mut schema = parameter.schema.clone();
    // Its place in the document is that of a schema's examples.
    if let Some(example) = schema.as_object_mut().and_then(|schema| schema.remove("example")) {
        schema["examples"] = json!([example]);
    }
    if let Some(example) = parameter.example {
        schema["examples"] = json!([example]);
    }
    let mut told = json!({
        "name": parameter.name,
        "in": match parameter.place {
            Place::Query => "query",
            Place::Header => "header",
        },
        "description": parameter.about,
        "required": parameter.required,
    });
    if parameter.repeats {
        told["schema"] = json!({"type": "array", "items": schema, "maxItems": 16});
        told["style"] = "form".into();
        told["explode"] = true.into();
    } else {
        told["schema"] = schema;
    }
    told
}

fn responses(route: &Route, schemas: &mut Schemas) -> Map<String, Value> {
    let doc = &route.doc;
    let mut all = Map::new();
    for answer in &doc.answers {
        all.insert(answer.status.to_string(), success(route, answer, schemas));
    }
    if !doc.shows.is_empty() || doc.tags_itself {
        let about = "nothing has changed since the answer with that entity tag";
        all.insert("304".to_owned(), json!({"description": about, "headers": {"ETag": tag()}}));
    }
    for (status, kinds) in problems(route) {
        let told = problem(route, status, &kinds, schemas);
        match all.get_mut(&status.to_string()) {
            // An answer and a problem with one status: both may come.
            Some(answer) => {
                if let (Some(content), Some(problem)) = (answer["content"].as_object_mut(), told["content"].as_object()) {
                    content.extend(problem.clone());
                }
            }
            None => _ = all.insert(status.to_string(), told),
        }
    }
    all
}

fn tag() -> Value {
    json!({"description": "changes when what is shown does", "schema": {"type": "string"}})
}

fn success(route: &Route, answer: &Answer, schemas: &mut Schemas) -> Value {
    let doc = &route.doc;
    let mut told = json!({"description": answer.about});
    match answer.content {
        Content::Json(shape) => told["content"] = json!({"application/json": {"schema": schemas.answer(shape)}}),
        Content::Text(media_type) => told["content"] = json!({media_type: {"schema": {"type": "string"}}}),
        Content::Nothing => {}
    }
    let mut headers = Map::new();
    for (name, about) in &answer.headers {
        headers.insert((*name).to_owned(), json!({"description": about, "schema": {"type": "string"}, "required": true}));
    }
    if answer.status == 200 && (!doc.shows.is_empty() || doc.tags_itself) {
        headers.insert("ETag".to_owned(), tag());
    }
    if answer.status == 200 && doc.is_paged {
        let about = "`<…>; rel=\"next\"`: the next page; left out on the last one";
        headers.insert("Link".to_owned(), json!({"description": about, "schema": {"type": "string"}}));
    }
    if !headers.is_empty() {
        told["headers"] = Value::Object(headers);
    }
    told
}

/// Kinds of problems by status: those of the route, and those that follow from what it is.
fn problems(route: &Route) -> BTreeMap<u16, BTreeSet<&'static str>> {
    let mut all: BTreeMap<u16, BTreeSet<&'static str>> = BTreeMap::new();
    let mut add = |status: u16, kind: &'static str| _ = all.entry(status).or_default().insert(kind);
    for (status, kind) in &route.doc.problems {
        add(*status, kind);
    }
    for (status, kind) in
        [(400, "bad-value"), (413, "too-large"), (408, "body-time"), (421, "host"), (429, "rate-limit"), (500, "render")]
    {
        add(status, kind);
    }
    if !route.doc.is_endless {
        add(504, "timeout");
    }
    if route.doc.body.is_some() {
        add(415, "media-type");
    }
    match route.access {
        Access::Open => {}
        Access::Anyone => {
            add(401, "unauthorized");
            add(403, "no-token");
            add(429, "wrong-tokens");
        }
        Access::Read | Access::Role(_) => {
            add(401, "unauthorized");
            add(403, "no-token");
            add(403, "role");
            add(429, "wrong-tokens");
        }
    }
    all
}

fn problem(route: &Route, status: u16, kinds: &BTreeSet<&'static str>, schemas: &mut Schemas) -> Value {
    let about = |kind: &&str| {
        KINDS.iter().find(|(known, _)| known == kind).map_or(String::new(), |(_, about)| format!("`{kind}`: {about}"))
    };
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
    let description = format!("{reason}. {}.", kinds.iter().map(about).collect::<Vec<_>>().join("; "));
    // Alertmanager's clients take nothing but a text.
    let content = if route.path.starts_with(ALERTMANAGER) {
        json!({"application/json": {"schema": {"type": "string"}}})
    } else {
        json!({"application/problem+json": {"schema": schemas.of::<Problem>()}})
    };
    let mut told = json!({"description": description, "content": content});
    let mut headers = Map::new();
    if LATER.contains(&status) {
        headers.insert(
            "Retry-After".to_owned(),
            json!({"description": "seconds until the next one is welcome", "schema": {"type": "string"}}),
        );
    }
    if status == 401 {
        headers.insert("WWW-Authenticate".to_owned(), json!({"description": "the scheme: Bearer", "schema": {"type": "string"}}));
    }
    if !headers.is_empty() {
        told["headers"] = Value::Object(headers);
    }
    told
}
