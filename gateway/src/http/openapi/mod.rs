//! The API's document, OpenAPI 3.1, made from the table of routes and from the types that its handlers read and write.

mod operation;
mod schemas;

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{shown, table};
use schemas::Schemas;

/// The tags, in the order of the document, with what begins like them.
const TAGS: [(&str, &str, &[&str]); 8] = [
    (
        "Public",
        "Open to everybody, whatever is down.",
        &["/health", "/api/healthz", "/api/public/", "/api/openapi.json", "/api/whoami"],
    ),
    ("Picture", "What the system looks like now.", &["/api/portfolio", "/api/prices", "/api/processes", "/api/alerts", "/bist/"]),
    ("Live", "What changes, as it changes.", &["/api/stream", "/api/ws"]),
    ("Figures", "Metrics, series, circuit breakers.", &["/metrics", "/api/chart", "/api/tools/"]),
    ("Trading", "Orders, positions, limits, what may trade; the audit.", &["/api/exec/", "/api/audit/"]),
    ("Operating", "What was done about alerts, and what orchestrators may do.", &["/api/actions", "/api/notifications"]),
    ("Alertmanager", "As Prometheus Alertmanager's API v2. Errors are JSON texts, as its clients want them.", &["/api/v2/"]),
    ("Models", "Scores, rollout, strategies, backtests.", &["/api/ml/", "/api/rollout", "/api/strategies", "/api/backtest"]),
];

const ABOUT: &str = "\
Everything that the page and the command line do goes over this API.

**Tokens.** `Authorization: Bearer <token>`; `spark token create NAME --role viewer|operator|admin` makes one. The role that an \
operation takes is in `x-spark-role`. Reading is open to everybody when the gateway listens on loopback, unless \
`gateway.reading` says otherwise. `X-Spark-Actor` says on whose behalf a command is given; it goes into the audit.

**Errors** are problem documents (RFC 9457, `application/problem+json`): `type` is the word for programs, `where` the parameter \
or field that is meant, `detail` what is wrong with it, `fix` what would be right.

**Bodies** are JSON. `Content-Type` may be left out; one that is not JSON is answered with 415. Unknown members and unknown \
parameters are errors. Numbers of money are exact decimals.

**Lists** that can be long are paged by `limit` with `before` or `offset`; `Link: <…>; rel=\"next\"` leads to the next page.

**Conditional requests.** Views carry an `ETag` that changes when what they show does; ages and the gateway's clock do not count. \
With `If-None-Match` the answer is 304 while nothing has changed. Caches are told not to keep answers: the client does.

**Limits** are in the answers: 429 with `Retry-After`, 413, 408, 504; 421 where it is called by another name than its own.";

/// The document itself, as an answer.
pub(super) struct Document;

impl JsonSchema for Document {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OpenApiDocument".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "description": "An OpenAPI 3.1 document.", "required": ["openapi", "info", "paths"]})
    }
}

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for route in table::routes() {
        let operation = operation::operation(&route, &mut schemas);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Spark",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "The gateway's API",
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": TAGS.iter().map(|(name, about, _)| json!({"name": name, "description": about})).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of `spark token create`, or the first administrator's, which `spark up` writes to `keys/admin.token`.",
                },
            },
            "schemas": schemas.finish(),
        },
    })
}

/// The tag of a path.
fn tag(path: &str) -> &'static str {
    let begins = |(_, _, starts): &&(&str, &str, &[&str])| starts.iter().any(|start| path.starts_with(start));
    let tag = TAGS.iter().find(begins).map_or("Operating", |(name, _, _)| name);
    if path.ends_with("/restart") { "Operating" } else { tag }
}

/// Rendered once: it is the same as long as the binary is.
static RENDERED: LazyLock<(Bytes, HeaderValue)> = LazyLock::new(|| {
    let bytes = Bytes::from(serde_json::to_vec(&document()).unwrap_or_default());
    let digest = hex::encode(&Sha256::digest(&bytes)[..8]);
    // Hexadecimal digits always fit into a header.
    let tag = HeaderValue::from_str(&format!("\"{digest}\"")).unwrap_or(HeaderValue::from_static("\"\""));
    (bytes, tag)
});

/// `GET /api/openapi.json`.
pub(super) async fn answer(method: Method, headers: HeaderMap) -> Response {
    let (bytes, tag) = &*RENDERED;
    shown::fixed(&method, &headers, tag, || {
        let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
        (headers, bytes.clone()).into_response()
    })
}
