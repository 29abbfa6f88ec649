//! The API's document says of every route what it takes and gives, and the gateway does what it says: entity tags, pages,
//! problems. What a fuzzer makes of it is in tests/tests/fuzz.rs.
#![allow(clippy::unwrap_used, reason = "tests may unwrap; clippy sees that only inside test functions")]

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::guarding::{self, TOKEN, put};
use common::history::History;
use common::{Answer, Gateway, get, request, send};
use serde_json::Value;
use spark_bus_schema::alerts::Severity;
use spark_bus_schema::notify::{Notification, NotifyReason};
use spark_bus_schema::portfolio::Balances;
use spark_bus_schema::telemetry::{Heartbeat, ProcessState};
use spark_bus_schema::{Decimal, Timestamp, Venue};
use spark_gateway::event::Event;
use spark_gateway::http::{self, openapi};
use spark_gateway::record::Record;

fn balances(updated_at: i64, polled_at: i64) -> Event {
    Event::Balances(Balances {
        exchange: Venue::Binance,
        currency: "USD".into(),
        polled_at: Timestamp::from_millis(polled_at),
        updated_at: Some(Timestamp::from_millis(updated_at)),
        stale: false,
        error: None,
        balances: Vec::new(),
        total_usd: Decimal::ZERO,
        unpriced: Vec::new(),
        refresh_us: 1,
    })
}

fn heartbeat(resident_bytes: u64) -> Event {
    Event::Heartbeat(Heartbeat {
        service: "feed".into(),
        pid: 7,
        version: "1".into(),
        started_at: Timestamp::from_millis(1_000),
        sent_at: spark_nats::now(),
        state: ProcessState::Running,
        detail: None,
        resident_bytes,
        counters: Default::default(),
    })
}

/// The answer to a request with the tag of an earlier one.
async fn again(gateway: &Gateway, path: &str, tag: &str) -> Answer {
    request(gateway.address, &format!("GET {path}"), &[("If-None-Match", tag)]).await
}

async fn tag(gateway: &Gateway, path: &str) -> String {
    let answer = get(gateway.address, path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.header("etag").unwrap_or_else(|| panic!("{path} has no tag")).to_owned()
}

#[test]
fn every_route_is_documented_with_each_status_that_its_access_brings() {
    let document = openapi::document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    let mut documented = 0;
    for (method, path, access) in http::table() {
        let operation = &document["paths"][path][method.as_str().to_lowercase()];
        let name = format!("{method} {path}");
        documented += 1;
        assert!(ids.insert(operation["operationId"].as_str().unwrap_or_else(|| panic!("{name}")).to_owned()), "{name}");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{name}");
        assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{name}");
        let responses = operation["responses"].as_object().unwrap();
        let needs_token = !matches!(access, http::access::Access::Open);
        assert_eq!(responses.contains_key("401"), needs_token, "{name}");
        assert!(responses.contains_key("429"), "{name}");
        assert_eq!(responses.contains_key("415"), operation.get("requestBody").is_some(), "{name}");
        for (status, response) in responses {
            assert!(!response["description"].as_str().unwrap().is_empty(), "{name} {status}");
            if status.starts_with('4') && !path.starts_with("/api/v2/") {
                assert!(response["content"]["application/problem+json"].is_object(), "{name} {status}");
            }
        }
        if let Some(body) = operation.get("requestBody") {
            assert!(body["content"]["application/json"]["example"].is_object(), "{name}");
        }
        let role = match access {
            http::access::Access::Role(role) => Value::from(role.as_str()),
            http::access::Access::Read => "viewer".into(),
            _ => Value::Null,
        };
        assert_eq!(operation["x-spark-role"], role, "{name}");
    }
    let all: usize = document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
    assert_eq!(all, documented);
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    fn walk<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| walk(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
            _ => {}
        }
    }
    let document = openapi::document();
    let mut found = BTreeSet::new();
    walk(&document, &mut found);
    assert!(found.len() > 50, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads out of the document"));
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

/// The words in `Problem::new(…, "word", …)` of this crate's sources.
fn slugs(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            slugs(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for after in text.split("Problem::new(").skip(1).chain(text.split("Self::new(StatusCode").skip(1)) {
                let word = after.split('"').nth(1).unwrap_or_default();
                if after.split('"').next().is_some_and(|before| before.len() < 80) {
                    found.insert(word.to_owned());
                }
            }
        }
    }
}

#[test]
fn every_kind_of_problem_is_documented_where_it_can_come_from() {
    let document = openapi::document();
    let listed: BTreeSet<String> = document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kind| kind.as_str().unwrap().strip_prefix("urn:spark:problem:").unwrap().to_owned())
        .collect();
    let mut made = BTreeSet::new();
    slugs(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut made);
    made.retain(|word| !word.is_empty());
    assert!(made.is_subset(&listed), "not listed: {:?}", made.difference(&listed));
    assert!(listed.is_subset(&made), "never made: {:?}", listed.difference(&made));
    let text = document["paths"].to_string();
    for kind in listed {
        // These two are about paths and methods that are not documented.
        let anywhere = matches!(kind.as_str(), "unknown-route" | "wrong-method");
        assert!(anywhere || text.contains(&format!("`{kind}`")), "{kind} is documented at no operation");
    }
}

#[tokio::test]
async fn a_view_has_another_tag_exactly_when_it_shows_something_else() {
    let gateway = guarding::start().await;
    put(&gateway, balances(1_000, 1_000));
    let path = "/api/portfolio";
    let first = tag(&gateway, path).await;
    let same = again(&gateway, path, &first).await;
    assert_eq!((same.status, same.body.as_str(), same.header("etag")), (304, "", Some(first.as_str())));
    // The same balances, read once more.
    put(&gateway, balances(1_000, 2_000));
    assert_eq!(again(&gateway, path, &first).await.status, 304);
    // Something else: prices do not concern it, other balances do.
    put(&gateway, guarding_windows());
    assert_eq!(again(&gateway, path, &first).await.status, 304);
    put(&gateway, balances(3_000, 3_000));
    let changed = again(&gateway, path, &first).await;
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), Some(first.as_str()));
    // The word that says how far to trust it is in it too.
    let before = tag(&gateway, path).await;
    gateway.app.view_mut().set_connected(false);
    gateway.app.take_in(vec![(spark_nats::now(), Ok(balances(3_000, 4_000)))]);
    assert_eq!(again(&gateway, path, &before).await.status, 200);
}

fn guarding_windows() -> Event {
    Event::Windows(spark_bus_schema::telemetry::Windows {
        at: spark_nats::now(),
        values: Vec::new(),
        trades_counted: Default::default(),
    })
}

#[tokio::test]
async fn tags_follow_from_the_parts_that_a_view_shows_and_from_what_was_asked_for() {
    let gateway = guarding::start().await;
    put(&gateway, heartbeat(1));
    let (alerts, processes) = (tag(&gateway, "/api/alerts").await, tag(&gateway, "/api/processes").await);
    assert_eq!(again(&gateway, "/api/alerts", &alerts).await.status, 304);
    assert_eq!(again(&gateway, "/api/alerts?limit=1", &alerts).await.status, 200, "another question");
    put(&gateway, heartbeat(1));
    assert_eq!(again(&gateway, "/api/processes", &processes).await.status, 304, "only its age is another one");
    put(&gateway, heartbeat(2));
    assert_eq!(again(&gateway, "/api/processes", &processes).await.status, 200);
    assert_eq!(again(&gateway, "/api/alerts", &alerts).await.status, 304);
    let alert = guarding::alert("WSStaleness", "binance", Severity::Critical, spark_nats::now());
    put(&gateway, Event::Alert(Box::new(alert.clone())));
    let now = again(&gateway, "/api/alerts", &alerts).await;
    assert_eq!(now.status, 200);
    let alerts = now.header("etag").unwrap().to_owned();
    put(&gateway, Event::Alert(Box::new(alert)));
    assert_eq!(again(&gateway, "/api/alerts", &alerts).await.status, 304, "told twice is told once");
}

#[tokio::test]
async fn every_tagged_view_is_answered_304_while_nothing_is_heard() {
    let gateway = guarding::start().await;
    let document = openapi::document();
    let mut checked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        if operations["get"]["responses"]["304"].is_null() {
            assert!(operations["get"].is_null() || path.contains('{') || get_tag(&gateway, path).await.is_none(), "{path}");
            continue;
        }
        let tag = tag(&gateway, path).await;
        let same = again(&gateway, path, &tag).await;
        assert_eq!((same.status, same.body.as_str()), (304, ""), "{path}");
        checked += 1;
    }
    assert!(checked >= 20, "{checked}");
}

async fn get_tag(gateway: &Gateway, path: &str) -> Option<String> {
    if matches!(path, "/api/stream" | "/api/ws") {
        return None;
    }
    get(gateway.address, path).await.header("etag").map(str::to_owned)
}

/// Follows `Link` to the end; the rows of all pages.
async fn walk(gateway: &Gateway, path: &str, member: &str) -> Vec<Value> {
    let (mut next, mut rows) = (Some(path.to_owned()), Vec::new());
    for _ in 0..1_000 {
        let Some(path) = next else { return rows };
        let answer = get(gateway.address, &path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        rows.extend(answer.json()[member].as_array().unwrap().iter().cloned());
        next = answer.header("link").map(|link| {
            let link = link.strip_suffix(">; rel=\"next\"").unwrap_or_else(|| panic!("{link}"));
            link.strip_prefix('<').unwrap().to_owned()
        });
    }
    panic!("{path} has no end");
}

/// A page by page walk finds what one large page has, each row once and in the same order.
async fn pages_are_the_whole(gateway: &Gateway, path: &str, member: &str, max: usize, at_least: usize) {
    let whole = get(gateway.address, &format!("{path}?limit={max}")).await.json()[member].as_array().unwrap().clone();
    assert!(whole.len() >= at_least, "{path}: {} rows", whole.len());
    for limit in [1, 3, whole.len() - 1, whole.len()] {
        assert_eq!(walk(gateway, &format!("{path}?limit={limit}"), member).await, whole, "{path} limit {limit}");
    }
}

#[tokio::test]
async fn pages_of_every_list_hold_each_row_once() {
    let gateway = guarding::start().await;
    let mut history = History::new(7);
    for _ in 0..400 {
        let told = history.next();
        let event = told.event(history.sequence());
        gateway.app.take_in(vec![(spark_nats::now(), event)]);
    }
    for number in 0..9 {
        let at = Timestamp::from_millis(1_000_000 + number);
        put(&gateway, Event::Alert(Box::new(guarding::alert(&format!("Alert{number}"), "binance", Severity::Warning, at))));
    }
    for number in 0..7 {
        let told = notification(number);
        put(&gateway, guarding::entry(10_000 + number, &told, Record::Notification(told.clone())));
    }
    pages_are_the_whole(&gateway, "/api/exec/orders", "orders", 2_000, 10).await;
    pages_are_the_whole(&gateway, "/api/alerts", "recent", 200, 9).await;
    pages_are_the_whole(&gateway, "/api/actions/log", "items", 200, 3).await;
    pages_are_the_whole(&gateway, "/api/notifications", "items", 200, 3).await;
    // The query of the first page goes on with the next one.
    let orders = get(gateway.address, "/api/exec/orders?limit=2000").await.json();
    let strategy = orders["orders"][0]["strategy"].as_str().unwrap();
    for row in walk(&gateway, &format!("/api/exec/orders?limit=2&strategy={strategy}"), "orders").await {
        assert_eq!(row["strategy"], strategy);
    }
    audit_pages(&gateway).await;
}

fn notification(revision: u64) -> Notification {
    Notification {
        receiver: "log".into(),
        group_key: "{}:{alertname=\"WSStaleness\"}".into(),
        group_labels: Default::default(),
        revision,
        reason: NotifyReason::New,
        alerts: Vec::new(),
        truncated: 0,
        at: Timestamp::from_millis(1_000),
    }
}

/// As [`walk`], by the body.
async fn audit_pages(gateway: &Gateway) {
    let bearer = format!("Bearer {TOKEN}");
    let ask = async |body: String| {
        let answer = send(gateway.address, "POST /api/audit/list", &[("Authorization", &bearer)], &body).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.body);
        answer.json()
    };
    let sequences = |page: &Value| -> Vec<u64> {
        page["items"].as_array().unwrap().iter().map(|item| item["sequence"].as_u64().unwrap()).collect()
    };
    let whole = sequences(&ask(r#"{"limit":500}"#.to_owned()).await);
    assert!(whole.len() > 100);
    let (mut newest, mut page) = (Vec::new(), ask(r#"{"limit":37}"#.to_owned()).await);
    loop {
        newest.extend(sequences(&page));
        let Some(before) = page["nextBefore"].as_u64() else { break };
        page = ask(format!(r#"{{"limit":37,"before":{before}}}"#)).await;
    }
    assert_eq!(newest, whole);
    let (mut oldest, mut page) = (Vec::new(), ask(r#"{"limit":37,"from":1}"#.to_owned()).await);
    loop {
        oldest.extend(sequences(&page));
        let Some(from) = page["nextFrom"].as_u64() else { break };
        page = ask(format!(r#"{{"limit":37,"from":{from}}}"#)).await;
    }
    oldest.reverse();
    assert_eq!(oldest, whole);
}

#[tokio::test]
async fn what_a_path_does_not_take_is_a_problem_that_says_what_it_takes() {
    let gateway = guarding::start().await;
    let problem = |answer: &Answer, status: u16, kind: &str| {
        assert_eq!((answer.status, answer.header("content-type")), (status, Some("application/problem+json")), "{}", answer.body);
        assert_eq!(answer.json()["type"], format!("urn:spark:problem:{kind}"));
        assert!(answer.json()["fix"].is_string(), "{}", answer.body);
    };
    let bearer = format!("Bearer {TOKEN}");
    let token = ("Authorization", bearer.as_str());
    let wrong = request(gateway.address, "DELETE /api/exec/limits", &[]).await;
    problem(&wrong, 405, "wrong-method");
    assert_eq!(wrong.header("allow"), Some("HEAD,GET,POST"));
    let page = send(gateway.address, "POST /app.css", &[], "x").await;
    problem(&page, 405, "wrong-method");
    assert_eq!(page.header("allow"), Some("GET,HEAD"));
    problem(&get(gateway.address, "/api/nothing").await, 404, "unknown-route");
    problem(&get(gateway.address, "/api/exec/orders/%ff").await, 400, "bad-value");
    problem(&get(gateway.address, "/api/alerts?limit=0").await, 400, "bad-value");
    problem(&get(gateway.address, "/api/exec/orders?before=+1").await, 400, "bad-value");
    // A wrong question is one, whatever the client has already.
    problem(&again(&gateway, "/api/alerts?limit=x", "*").await, 400, "bad-value");
    assert_eq!(again(&gateway, "/api/alerts?limit=1", "*").await.status, 304);
    let (path, body) = ("POST /api/exec/start", r#"{"strategy":"a","reason":"why"}"#);
    problem(&send(gateway.address, path, &[token, ("Content-Type", "text/plain")], body).await, 415, "media-type");
    problem(&send(gateway.address, path, &[token, ("Content-Type", "application/json")], "{").await, 400, "bad-value");
    // Without a word about what it is, it is taken for JSON: as far as the broker, which is not there.
    problem(&send(gateway.address, path, &[token], body).await, 503, "not-confirmed");
}

#[tokio::test]
async fn the_document_and_its_page_come_out_of_the_binary() {
    let gateway = guarding::start().await;
    let first = get(gateway.address, "/api/openapi.json").await;
    assert_eq!((first.status, first.json()), (200, openapi::document()));
    let tag = first.header("etag").unwrap();
    assert_eq!(again(&gateway, "/api/openapi.json", tag).await.status, 304);
    let page = get(gateway.address, "/docs").await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("script-src 'self';") && !policy.contains("http"), "{policy}");
    assert_eq!(again(&gateway, "/docs", page.header("etag").unwrap()).await.status, 304);
}
