//! Alertmanager's API over real sockets, without a broker: alerts, groups, silences in its own shapes.
#![allow(clippy::unwrap_used, reason = "tests may unwrap; clippy sees that only inside test functions")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::guarding::{alert, call, entry, put, silence, start, stored};
use common::{get, send};
use serde_json::{Value, json};
use spark_bus_schema::Timestamp;
use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::notify::{Delivery, DeliveryOutcome, Notification, NotifiedAlert, NotifyReason};
use spark_gateway::app::Outgoing;
use spark_gateway::event::Event;
use spark_gateway::record::Record;

#[tokio::test]
async fn a_firing_alert_has_alertmanagers_shape_and_says_what_keeps_it_from_being_told() {
    let gateway = start().await;
    let at = Timestamp::from_millis(1_800_000_000_000);
    for one in [
        alert("WSStaleness", "btcturk", Severity::Critical, at),
        alert("HighLatency", "binance", Severity::Warning, at),
        Alert { state: AlertState::Pending, ..alert("HighErrorRate", "binance", Severity::Warning, at) },
        Alert { state: AlertState::Resolved, severity: None, ..alert("ExchangeDown", "binance", Severity::Warning, at) },
    ] {
        put(&gateway, Event::Alert(Box::new(one)));
    }
    let now = spark_nats::now();
    let held = silence("0a-1", "exchange", "btcturk", now + Duration::from_secs(60));
    let mut live = common::Live::connect(gateway.address, None).await;
    put(&gateway, entry(1, &held, Record::Silence(held.clone())));
    let told = live.next_of("alerts").await.data;
    let muted =
        |name: &str| told["active"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap()["silencedBy"].clone();
    assert_eq!((muted("WSStaleness"), muted("HighLatency")), (json!(["0a-1"]), json!([])), "pages are told at once");
    let all = get(gateway.address, "/api/v2/alerts").await.json();
    let names = |all: &Value| -> Vec<String> {
        let mut names: Vec<_> = all.as_array().unwrap().iter().map(|one| one["labels"]["alertname"].to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&all), ["\"HighLatency\"", "\"WSStaleness\""], "what fires, and nothing else");
    let one = all.as_array().unwrap().iter().find(|one| one["labels"]["alertname"] == "WSStaleness").unwrap();
    let (fingerprint, ends_at) = (one["fingerprint"].as_str().unwrap(), one["endsAt"].as_str().unwrap());
    assert!(fingerprint.len() == 16 && Timestamp::parse(ends_at).unwrap() > now);
    assert_eq!(
        *one,
        json!({
            "annotations": {
                "summary": "31.5 s is more than 30 s", "cause": "the venue is silent", "first_action": "look at the feed",
                "runbook": "docs/runbooks/ws-staleness.md", "value": "31.5", "threshold": "30", "unit": "s",
            },
            "endsAt": ends_at,
            "fingerprint": fingerprint,
            "receivers": [{"name": "spark"}],
            "startsAt": "2027-01-15T08:00:00Z",
            "status": {"inhibitedBy": [], "mutedBy": [], "silencedBy": ["0a-1"], "state": "suppressed"},
            "updatedAt": "2027-01-15T08:00:00Z",
            "generatorURL": "http://127.0.0.1:4001/api/chart?rule=wsstaleness_rule",
            "labels": {"alertname": "WSStaleness", "exchange": "btcturk", "rule": "wsstaleness_rule", "severity": "critical"},
        })
    );
    for (query, want) in [
        ("silenced=false", &["\"HighLatency\""][..]),
        ("active=false", &["\"WSStaleness\""][..]),
        ("filter=severity%3D%22critical%22", &["\"WSStaleness\""][..]),
        ("filter=severity%3D~%22critical%7Cwarning%22&filter=alertname!%3DWSStaleness", &["\"HighLatency\""][..]),
        ("receiver=sp.*", &["\"HighLatency\"", "\"WSStaleness\""][..]),
        ("receiver=slack", &[][..]),
        ("active=true&silenced=true&inhibited=true&unprocessed=true", &["\"HighLatency\"", "\"WSStaleness\""][..]),
    ] {
        assert_eq!(names(&get(gateway.address, &format!("/api/v2/alerts?{query}")).await.json()), want, "{query}");
    }
    for wrong in ["filter=a%3E", "silenced=yes", "receiver=(", "colour=red"] {
        let answer = get(gateway.address, &format!("/api/v2/alerts?{wrong}")).await;
        assert_eq!((answer.status, answer.header("content-type")), (400, Some("application/json")), "{wrong}");
        assert!(
            answer.json().as_str().unwrap().contains("A value cannot be used; "),
            "a text, as amtool wants it: {}",
            answer.body
        );
    }
    let shown = get(gateway.address, "/api/alerts").await.json();
    let row = shown["active"].as_array().unwrap().iter().find(|row| row["name"] == "WSStaleness").unwrap().clone();
    assert_eq!((row["silencedBy"][0].as_str(), row["fingerprint"].as_str()), (Some("0a-1"), Some(fingerprint)));
    let metrics = get(gateway.address, "/metrics").await.body;
    assert!(metrics.contains("spark_silences_active{environment=\"demo\",service=\"notifier\"} 1\n"), "{metrics}");
    assert!(metrics.contains("spark_alerts_suppressed{environment=\"demo\",service=\"notifier\",by=\"silence\"} 1\n"));
}

#[tokio::test]
async fn what_only_follows_from_a_dead_feed_is_inhibited_by_it() {
    let gateway = start().await;
    let at = Timestamp::from_millis(1_000);
    let venue = BTreeMap::from([("venue".to_owned(), "btcturk".to_owned())]);
    let mut symbol = venue.clone();
    symbol.insert("symbol".into(), "BTCTRY".into());
    for scope in [venue, symbol] {
        put(&gateway, Event::Alert(Box::new(Alert { scope, ..alert("WSStaleness", "", Severity::Critical, at) })));
    }
    let all = get(gateway.address, "/api/v2/alerts").await.json();
    let of = |symbol: Value| all.as_array().unwrap().iter().find(|one| one["labels"]["symbol"] == symbol).unwrap();
    let (feed, follows) = (of(Value::Null), of("BTCTRY".into()));
    assert_eq!((&feed["status"]["state"], &follows["status"]["state"]), (&json!("active"), &json!("suppressed")));
    assert_eq!(follows["status"]["inhibitedBy"], json!([feed["fingerprint"]]));
    let told = get(gateway.address, "/api/v2/alerts?inhibited=false").await.json();
    assert_eq!((told.as_array().unwrap().len(), &told[0]["fingerprint"]), (1, &feed["fingerprint"]));
}

#[tokio::test]
async fn groups_are_those_that_receivers_were_told_of() {
    let gateway = start().await;
    let at = Timestamp::from_millis(1_000);
    let (told, untold) =
        (alert("WSStaleness", "btcturk", Severity::Critical, at), alert("HighLatency", "binance", Severity::Warning, at));
    for one in [&told, &untold] {
        put(&gateway, Event::Alert(Box::new(one.clone())));
    }
    let labels = spark_alerting::labels_of(&told);
    let notification = Notification {
        receiver: "pager".into(),
        group_key: "{}:{exchange=\"btcturk\"}".into(),
        group_labels: BTreeMap::from([("exchange".into(), "btcturk".into())]),
        revision: 1,
        reason: NotifyReason::New,
        alerts: vec![NotifiedAlert {
            fingerprint: spark_alerting::fingerprint(&labels),
            labels,
            annotations: BTreeMap::new(),
            firing: true,
            starts_at: at,
            ends_at: None,
        }],
        truncated: 0,
        at,
    };
    put(&gateway, entry(7, &notification, Record::Notification(notification.clone())));
    let groups = get(gateway.address, "/api/v2/alerts/groups").await.json();
    let short: Vec<Value> = groups
        .as_array()
        .unwrap()
        .iter()
        .map(|group| {
            json!([
                group["receiver"],
                group["labels"],
                group["alerts"][0]["labels"]["alertname"],
                group["alerts"][0]["receivers"]
            ])
        })
        .collect();
    assert_eq!(
        json!(short),
        json!([
            [{"name": "pager"}, {"exchange": "btcturk"}, "WSStaleness", [{"name": "pager"}]],
            [{"name": "spark"}, {"alertname": "HighLatency"}, "HighLatency", [{"name": "spark"}]],
        ])
    );
    assert_eq!(get(gateway.address, "/api/v2/receivers").await.body, r#"[{"name":"spark"},{"name":"pager"}]"#);
    let mut delivery = Delivery {
        receiver: "pager".into(),
        group_key: notification.group_key.clone(),
        revision: 1,
        notification: 7,
        outcome: DeliveryOutcome::Retrying,
        attempts: 1,
        http_status: Some(503),
        detail: Some("503 Service Unavailable".into()),
        took_ms: 12,
        at,
    };
    put(&gateway, entry(8, &delivery, Record::Delivery(delivery.clone())));
    (delivery.outcome, delivery.attempts) = (DeliveryOutcome::Delivered, 3);
    put(&gateway, entry(9, &delivery, Record::Delivery(delivery.clone())));
    let rows = get(gateway.address, "/api/notifications").await.json();
    let row = &rows["items"][0];
    assert_eq!(
        (row["receiver"].as_str(), row["names"][0].as_str(), row["firing"].as_u64()),
        (Some("pager"), Some("WSStaleness"), Some(1))
    );
    assert_eq!((row["delivery"]["outcome"].as_str(), row["delivery"]["attempts"].as_u64()), (Some("delivered"), Some(3)));
    let metrics = get(gateway.address, "/metrics").await.body;
    for (outcome, count) in [("delivered", 1), ("retrying", 1), ("parked", 0)] {
        let line = format!(
            "spark_notifications_total{{environment=\"demo\",service=\"notifier\",receiver=\"pager\",outcome=\"{outcome}\"}} {count}\n"
        );
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
    let resolved = Notification { revision: 2, reason: NotifyReason::Resolved, ..notification };
    put(&gateway, entry(10, &resolved, Record::Notification(resolved.clone())));
    let groups = get(gateway.address, "/api/v2/alerts/groups").await.json();
    assert!(groups.as_array().unwrap().iter().all(|group| group["receiver"]["name"] == "spark"), "{groups}");
}

#[tokio::test]
async fn a_silence_is_made_changed_and_taken_back_with_the_operators_token() {
    let mut gateway = start().await;
    let now = spark_nats::now();
    let posted = json!({
        "matchers": [{"name": "alertname", "value": "WS.*", "isRegex": true, "isEqual": true}],
        "startsAt": (now - Duration::from_secs(5)).to_string(), "endsAt": (now + Duration::from_secs(3_600)).to_string(),
        "createdBy": "ayse", "comment": "maintenance",
    });
    let anybody = send(gateway.address, "POST /api/v2/silences", &[], &posted.to_string()).await;
    assert_eq!(anybody.status, 401, "{}", anybody.body);
    let (answer, command) = stored(&mut gateway, "POST /api/v2/silences", &posted, 11).await;
    let Outgoing::Silence(silence) = command else { panic!("{command:?}") };
    assert_eq!(answer.body, format!("{{\"silenceID\":\"{}\"}}", silence.id));
    assert!(silence.id.len() == 36 && silence.id.as_bytes()[14] == b'4', "{}", silence.id);
    let path = format!("/api/v2/silence/{}", silence.id);
    let one = get(gateway.address, &path).await.json();
    assert_eq!(
        one,
        json!({
            "id": silence.id, "status": {"state": "active"}, "updatedAt": silence.at.to_string(), "comment": "maintenance",
            "createdBy": "ayse", "endsAt": posted["endsAt"], "startsAt": silence.starts_at.to_string(),
            "matchers": posted["matchers"],
        }),
        "found at once, whatever the ledger's reader does"
    );

    let mut longer = posted.clone();
    (longer["id"], longer["endsAt"]) = (silence.id.clone().into(), (now + Duration::from_secs(7_200)).to_string().into());
    let (answer, command) = stored(&mut gateway, "POST /api/v2/silences", &longer, 12).await;
    let Outgoing::Silence(changed) = command else { panic!("{command:?}") };
    assert_eq!((answer.status, &changed.id, changed.starts_at), (200, &silence.id, silence.starts_at), "the same one, longer");

    let listed = get(gateway.address, "/api/v2/silences?filter=alertname%3D~%22WS.%2B%22").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(get(gateway.address, "/api/v2/silences?filter=alertname%3D%22Other%22").await.body, "[]");

    let (answer, command) = stored(&mut gateway, &format!("DELETE {path}"), &Value::Null, 13).await;
    let Outgoing::Silence(ended) = command else { panic!("{command:?}") };
    assert!(answer.status == 200 && ended.ends_at <= spark_nats::now(), "{}", answer.body);
    assert_eq!(get(gateway.address, &path).await.json()["status"]["state"], "expired");
    assert_eq!(call(&gateway, &format!("DELETE {path}"), &json!({})).await.status, 409);
    assert_eq!(get(gateway.address, "/api/v2/silence/nobody").await.status, 404);

    for (change, says) in [
        (json!({"endsAt": now.to_string()}), "endsAt"),
        (json!({"startsAt": "yesterday"}), "startsAt"),
        (json!({"matchers": []}), "matchers"),
        (json!({"matchers": [{"name": "a", "value": "(", "isRegex": true}]}), "regular expression"),
        (json!({"comment": " "}), "comment"),
        (json!({"createdBy": ""}), "created_by"),
    ] {
        let mut wrong = posted.clone();
        wrong.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = call(&gateway, "POST /api/v2/silences", &wrong).await;
        assert!(answer.status == 400 && answer.body.contains(says), "{says}: {}", answer.body);
    }
    let mut nobody = posted.clone();
    nobody["id"] = "x".into();
    assert_eq!(call(&gateway, "POST /api/v2/silences", &nobody).await.status, 404);
}

#[tokio::test]
async fn the_status_has_alertmanagers_shape() {
    let gateway = start().await;
    let status = get(gateway.address, "/api/v2/status").await.json();
    assert_eq!(status["cluster"], json!({"status": "disabled", "peers": []}));
    assert!(status["config"]["original"].as_str().unwrap().contains("receivers:\n- name: \"spark\"\n"), "{status}");
    assert!(Timestamp::parse(status["uptime"].as_str().unwrap()).is_ok());
    for key in ["branch", "buildDate", "buildUser", "goVersion", "revision", "version"] {
        assert!(status["versionInfo"][key].is_string(), "{key}");
    }
}
