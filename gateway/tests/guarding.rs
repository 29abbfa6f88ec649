//! What is done about alerts and who is told, over real sockets, without a broker: Alertmanager's API, actions, metrics.
#![allow(clippy::unwrap_used, reason = "tests may unwrap; clippy sees that only inside test functions")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Answer, Gateway, gateway, get, roomy, send};
use secrecy::SecretString;
use serde_json::{Value, json};
use spark_bus_schema::actions::{Action, ActionStage, RestartDone, RestartOutcome};
use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::notify::{Delivery, DeliveryOutcome, Matcher, Notification, NotifiedAlert, NotifyReason, Silence};
use spark_bus_schema::smoke::{Smoke, SmokeCheck};
use spark_bus_schema::telemetry::{Heartbeat, ProcessState, WindowValue, Windows};
use spark_bus_schema::{Message, Timestamp, encode};
use spark_gateway::OperatorToken;
use spark_gateway::app::Outgoing;
use spark_gateway::event::Event;
use spark_gateway::record::{Entry, Record};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

async fn start() -> Gateway {
    let token = OperatorToken::new(&SecretString::from(TOKEN), "test").unwrap();
    let gateway = gateway(roomy(), Some(token)).await;
    gateway.app.view_mut().set_connected(true);
    gateway.app.view_mut().trading.set_complete();
    gateway
}

fn entry<T: Message>(sequence: u64, message: &T, record: Record) -> Event {
    Event::Ledger(Box::new(Entry { sequence, kind: T::KIND.to_string(), payload: encode(message).into(), record }))
}

fn put(gateway: &Gateway, event: Event) {
    gateway.app.take_in(vec![(spark_nats::now(), Ok(event))]);
}

fn alert(name: &str, exchange: &str, severity: Severity, at: Timestamp) -> Alert {
    Alert {
        name: name.into(),
        rule: format!("{}_rule", name.to_lowercase()),
        revision: 1,
        scope: BTreeMap::from([("exchange".into(), exchange.into())]),
        state: AlertState::Firing,
        severity: Some(severity),
        value: Some(31.5),
        threshold: Some(30.0),
        direction: "above".into(),
        unit: "s".into(),
        window_ms: 0,
        samples: 1,
        at,
        since: None,
        summary: "31.5 s is more than 30 s".into(),
        cause: "the venue is silent".into(),
        first_action: "look at the feed".into(),
        permanent_fix: String::new(),
        runbook: "docs/runbooks/ws-staleness.md".into(),
    }
}

fn silence(id: &str, name: &str, value: &str, ends_at: Timestamp) -> Silence {
    Silence {
        id: id.into(),
        matchers: vec![Matcher { name: name.into(), value: value.into(), is_regex: false, is_equal: true }],
        starts_at: Timestamp::from_millis(1_000),
        ends_at,
        created_by: "ayse".into(),
        comment: "maintenance".into(),
        at: Timestamp::from_millis(1_000),
    }
}

fn windows(at: Timestamp) -> Windows {
    let value = |exchange: &str| WindowValue {
        rule: "portfolio_refresh_p95".into(),
        metric: "refresh_latency_ms".into(),
        scope: BTreeMap::from([("exchange".into(), exchange.into())]),
        value: Some(212.5),
        samples: 60,
        window_ms: 300_000,
        unit: "ms".into(),
        warning: Some(1_500.0),
        critical: Some(3_000.0),
        state: AlertState::Inactive,
    };
    Windows { at, values: vec![value("binance"), value("btcturk")], trades_counted: BTreeMap::new() }
}

fn beat(service: &str) -> Event {
    let now = spark_nats::now();
    Event::Heartbeat(Heartbeat {
        service: service.into(),
        pid: 7,
        version: "0".into(),
        started_at: now,
        sent_at: now,
        state: ProcessState::Running,
        detail: None,
        resident_bytes: 0,
        counters: BTreeMap::from([("spark_bus_publish_ack_us_total".into(), 1_500_000)]),
    })
}

async fn call(gateway: &Gateway, line: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {TOKEN}");
    send(gateway.address, line, &[("Authorization", &bearer)], &body.to_string()).await
}

/// A call whose command the bus stores at that place; what it was.
async fn stored(gateway: &mut Gateway, line: &str, body: &Value, sequence: u64) -> (Answer, Outgoing) {
    let bearer = format!("Bearer {TOKEN}");
    let (text, headers) = (if body.is_null() { String::new() } else { body.to_string() }, [("Authorization", bearer.as_str())]);
    let address = gateway.address;
    let (answer, command) = tokio::join!(send(address, line, &headers, &text), async {
        let sent = gateway.commands.recv().await.unwrap();
        sent.done.send(Ok(sequence)).unwrap();
        sent.command
    });
    (answer, command)
}

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

#[tokio::test]
async fn reading_actions_need_neither_token_nor_confirmation() {
    let gateway = start().await;
    put(&gateway, Event::Windows(windows(spark_nats::now())));
    let act = async |body: Value| send(gateway.address, "POST /api/actions", &[], &body.to_string()).await;
    let status =
        act(json!({"action": "/tools/get_status", "params": {}, "dryRun": false, "confirm_required": false, "reason": ""})).await;
    let result = &status.json()["result"];
    assert_eq!((status.status, &result["health"], &result["p95"]), (200, &json!("DEGRADED"), &json!(212.5)), "{}", status.body);
    assert_eq!((&result["staleness"], &result["error_rate"], &result["open_orders"]), (&Value::Null, &Value::Null, &json!(0)));

    let metrics = act(json!({"action": "/tools/get_metrics"})).await.json();
    let rows = metrics["result"].as_array().unwrap();
    assert_eq!(rows.len(), 13, "each metric of the contract");
    for row in rows {
        assert!(row["query"].as_str().unwrap().contains(row["metric"].as_str().unwrap()) && row["detail"].is_null(), "{row}");
    }
    let of = |metric: &str| rows.iter().find(|row| row["metric"] == metric).unwrap();
    assert_eq!(of("spark_dlq_size")["value"], 0.0);
    assert_eq!(of("spark_portfolio_refresh_latency_ms")["values"][0]["value"], 212.5);
    assert_eq!(of("spark_risk_block_total")["values"].as_array().unwrap().len(), 11);
    let asked = json!({"action": "/tools/get_metrics", "params": {"queries": ["spark_up{service=\"feed\"}", "rate(x[5m])"]}});
    let asked = act(asked).await.json();
    assert_eq!(asked["result"][0]["value"], 0.0);
    assert!(asked["result"][1]["detail"].as_str().unwrap().contains("Prometheus"));

    put(&gateway, Event::Alert(Box::new(alert("WSStaleness", "btcturk", Severity::Critical, spark_nats::now()))));
    let report = act(json!({"action": "/fusion/risk.report.daily"})).await.json();
    let (report, markdown) = (&report["result"]["report"], report["result"]["markdown"].as_str().unwrap());
    assert_eq!(
        (&report["refused"]["kill_switch"], &report["openOrders"], &report["killSwitch"]),
        (&json!(0), &json!(0), &Value::Null)
    );
    for part in ["# Risk of the day", "kill switch: off", "exposure: 0 USD", "**WSStaleness** firing", "approved: 0"] {
        assert!(markdown.contains(part), "{part} is not in\n{markdown}");
    }
    let wrong = act(json!({"action": "/tools/get_statu"})).await;
    assert!(
        wrong.status == 400 && wrong.body.contains("/tools/get_status") && wrong.body.contains("/guardrail/restart"),
        "{}",
        wrong.body
    );
    assert_eq!(act(json!({"action": "/tools/get_status", "params": {"x": 1}})).await.status, 400);
    assert_eq!(act(json!({"action": "/tools/get_status", "dryrun": true})).await.status, 400, "a typing mistake is no dry run");
}

#[tokio::test]
async fn a_changing_action_shows_its_effect_and_is_done_once_when_the_same_is_sent_with_its_confirmation() {
    let mut gateway = start().await;
    put(&gateway, beat("feed"));
    put(&gateway, Event::Windows(windows(spark_nats::now())));
    let restart =
        json!({"action": "/guardrail/restart", "params": {"service": "feed"}, "confirm_required": false, "reason": "no data"});
    let anybody = send(gateway.address, "POST /api/actions", &[], &restart.to_string()).await;
    assert_eq!(anybody.status, 401, "{}", anybody.body);
    let mut dry = restart.clone();
    dry["dryRun"] = true.into();
    let shown = call(&gateway, "POST /api/actions", &dry).await;
    assert_eq!(
        (shown.status, &shown.json()["effect"]["restart"], &shown.json()["status"]),
        (200, &json!("feed"), &json!("dry_run"))
    );
    let first = call(&gateway, "POST /api/actions", &restart).await;
    let told = first.json();
    assert_eq!(
        (first.status, &told["confirm_required"], &told["effect"]["pid"]),
        (202, &json!(true), &json!(7)),
        "{}",
        first.body
    );
    assert!(Timestamp::parse(told["expires_at"].as_str().unwrap()).unwrap() > spark_nats::now());
    assert!(gateway.commands.try_recv().is_err(), "nothing was sent");

    let mut other = restart.clone();
    (other["confirm"], other["reason"]) = (told["confirm"].clone(), "another one".into());
    let refused = call(&gateway, "POST /api/actions", &other).await;
    assert!(refused.status == 409 && refused.body.contains("another request"), "{}", refused.body);
    let mut second = restart.clone();
    second["confirm"] = told["confirm"].clone();
    assert_eq!(call(&gateway, "POST /api/actions", &second).await.status, 409, "a confirmation that was misused is gone");
    second["confirm"] = call(&gateway, "POST /api/actions", &restart).await.json()["confirm"].clone();
    let (done, command) = stored(&mut gateway, "POST /api/actions", &second, 21).await;
    let Outgoing::Restart(command) = command else { panic!("{command:?}") };
    assert_eq!((command.service.as_str(), command.reason.as_str(), command.actor.as_str()), ("feed", "no data", "operator"));
    assert_eq!((done.status, &done.json()["sequence"]), (200, &json!(21)));
    assert_eq!(call(&gateway, "POST /api/actions", &second).await.status, 409, "once");
    second["dryRun"] = true.into();
    assert_eq!(call(&gateway, "POST /api/actions", &second).await.json()["status"], "dry_run", "whatever it is confirmed with");
    assert!(gateway.commands.try_recv().is_err());
}

#[tokio::test]
async fn thresholds_limits_and_the_kill_switch_tell_what_would_change_from_what() {
    let mut gateway = start().await;
    put(&gateway, Event::Windows(windows(spark_nats::now())));
    let act = json!({
        "action": "/guardrail/set_thresholds", "reason": "quieter",
        "params": {"changes": [{"rule": "portfolio_refresh_p95", "scope": {"exchange": "binance"}, "warning": 1200}]},
    });
    let told = call(&gateway, "POST /api/actions", &act).await.json();
    let effect = json!([{
        "rule": "portfolio_refresh_p95", "scope": {"exchange": "binance"}, "unit": "ms", "value": 212.5,
        "warning": {"from": 1500.0, "to": 1200.0}, "critical": {"from": 3000.0, "to": 3000.0},
    }]);
    assert_eq!(told["effect"]["changes"], effect);
    let mut confirmed = act.clone();
    confirmed["confirm"] = told["confirm"].clone();
    let (_, command) = stored(&mut gateway, "POST /api/actions", &confirmed, 31).await;
    let Outgoing::Thresholds(command) = command else { panic!("{command:?}") };
    assert_eq!((command.changes[0].warning, command.changes[0].critical, command.reset), (Some(1_200.0), None, false));
    put(&gateway, entry(31, command.as_ref(), Record::Thresholds(command.as_ref().clone())));
    let reset = json!({"action": "/guardrail/set_thresholds", "reason": "back", "params": {"reset": true}, "dryRun": true});
    let told = call(&gateway, "POST /api/actions", &reset).await.json();
    assert_eq!(told["effect"]["takenBack"][0]["warning"], 1_200.0);

    for (params, says) in [
        (json!({"changes": [{"rule": "nothing", "warning": 1}]}), "portfolio_refresh_p95"),
        (json!({"changes": [{"rule": "portfolio_refresh_p95"}]}), "neither"),
        (json!({"changes": []}), "changes: empty"),
        (json!({"changes": [{"rule": "portfolio_refresh_p95", "warning": -1}]}), "not a number from 0"),
        (json!({"changes": [{"rule": "portfolio_refresh_p95", "critical": 1000}]}), "the wrong way round"),
        (json!({"changs": []}), "unknown field"),
    ] {
        let answer =
            call(&gateway, "POST /api/actions", &json!({"action": act["action"], "reason": "x", "params": params})).await;
        assert!(answer.status == 400 && answer.body.contains(says), "{says}: {}", answer.body);
    }
    let limits = json!({"action": "/risk/set_limits", "reason": "overnight", "params": {"limits": {"default": {"notional_usd_max": "5000"}}}});
    let told = call(&gateway, "POST /api/actions", &limits).await.json();
    assert_eq!(told["effect"]["changes"], json!([{"key": "default.notional_usd_max", "from": "10000", "to": "5000"}]));
    let same = json!({"action": "/risk/set_limits", "reason": "overnight", "params": {"limits": {}}});
    assert_eq!(call(&gateway, "POST /api/actions", &same).await.json()["status"], "unchanged");

    let switch =
        json!({"action": "/risk/kill_switch", "reason": "prices look wrong", "params": {"on": true, "cancelOpen": true}});
    let told = call(&gateway, "POST /api/actions", &switch).await.json();
    assert_eq!(told["effect"]["killSwitch"], json!({"from": false, "to": true}));
    let no_reason = json!({"action": "/risk/kill_switch", "params": {"on": true}});
    assert_eq!(call(&gateway, "POST /api/actions", &no_reason).await.status, 400);

    let path = "POST /api/processes/feed/restart";
    let asked = call(&gateway, path, &json!({"reason": "stuck"})).await;
    assert_eq!((asked.status, &asked.json()["effect"]["restart"]), (428, &json!("feed")), "{}", asked.body);
    let (answer, command) = stored(&mut gateway, path, &json!({"reason": "stuck", "confirm": true}), 32).await;
    assert!(answer.status == 200 && matches!(command, Outgoing::Restart(_)));
    assert_eq!(call(&gateway, "POST /api/processes/nobody/restart", &json!({"reason": "stuck"})).await.status, 400);
}

#[tokio::test]
async fn what_the_guardrail_did_and_the_last_smoke_check_are_shown() {
    let gateway = start().await;
    assert_eq!(get(gateway.address, "/api/public/smoke-last").await.json()["smoke"], Value::Null);
    let at = spark_nats::now();
    let action = Action {
        episode: "e1".into(),
        revision: 1,
        stage: ActionStage::RestartAsked,
        dry_run: false,
        service: Some("executor".into()),
        summary: "executor is to be restarted".into(),
        evidence: Vec::new(),
        checks: Vec::new(),
        at,
    };
    put(&gateway, entry(1, &action, Record::Action(action.clone())));
    let done = RestartDone {
        service: "executor".into(),
        command: 1,
        episode: Some("e1".into()),
        outcome: RestartOutcome::Failed,
        detail: Some("it did not come back".into()),
        pid: None,
        took_ms: 10_000,
        at,
    };
    put(&gateway, entry(2, &done, Record::Restarted(done.clone())));
    put(&gateway, entry(2, &done, Record::Restarted(done.clone())));
    let check = |name: &str| SmokeCheck { name: name.into(), ok: true, value: None, limit: None, detail: String::new() };
    let smoke = Smoke {
        checks: vec![check("p95")],
        passed: 1,
        pass: false,
        text: "1 of 6".into(),
        uptime: Some(1.0),
        actor: "operator".into(),
        at,
    };
    put(&gateway, entry(3, &smoke, Record::Smoke(smoke.clone())));
    let log = get(gateway.address, "/api/actions/log").await.json();
    let rows: Vec<Value> =
        log["items"].as_array().unwrap().iter().map(|row| json!([row["what"], row["stage"], row["summary"]])).collect();
    assert_eq!(
        json!(rows),
        json!([["restarted", "failed", "it did not come back"], ["action", "restart_asked", "executor is to be restarted"]])
    );
    let last = get(gateway.address, "/api/public/smoke-last").await.json();
    assert_eq!(
        (&last["status"], &last["smoke"]["text"], &last["smoke"]["pass"]),
        (&json!("DEGRADED"), &json!("1 of 6"), &json!(false))
    );
    let metrics = get(gateway.address, "/metrics").await.body;
    for (stage, count) in [("restart_asked", 1), ("rollback_asked", 0)] {
        let line =
            format!("spark_guardrail_actions_total{{environment=\"demo\",service=\"guardrail\",stage=\"{stage}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
    let audit = call(&gateway, "POST /api/audit/list", &json!({"action": "audit.smoke"})).await.json();
    assert_eq!(audit["items"][0]["payload"]["text"], "1 of 6");
}

/// SPEC section 9, before anything has happened: each metric with its type, and a zero wherever a rate is asked.
#[tokio::test]
async fn every_metric_of_the_contract_is_there_from_the_beginning() {
    let gateway = start().await;
    put(&gateway, beat("risk"));
    let metrics = get(gateway.address, "/metrics").await.body;
    for (name, kind) in [
        ("spark_up", "gauge"),
        ("spark_portfolio_refresh_latency_ms", "histogram"),
        ("spark_exchange_api_error_total", "counter"),
        ("spark_portfolio_total_value_usd", "gauge"),
        ("spark_portfolio_asset_count", "gauge"),
        ("spark_portfolio_last_update_timestamp", "gauge"),
        ("spark_last_update_timestamp", "gauge"),
        ("spark_dlq_size", "gauge"),
        ("spark_risk_block_total", "counter"),
        ("spark_risk_killswitch_active", "gauge"),
        ("spark_ws_staleness_seconds", "gauge"),
        ("http_requests_total", "counter"),
        ("http_request_duration_seconds", "histogram"),
        ("spark_notifications_total", "counter"),
        ("spark_guardrail_actions_total", "counter"),
        ("spark_silences_active", "gauge"),
        ("spark_consumer_lag_messages", "gauge"),
        ("spark_stream_messages", "gauge"),
        ("spark_parked_messages", "gauge"),
        ("spark_bus_publish_ack_seconds_total", "counter"),
    ] {
        assert_eq!(metrics.matches(&format!("# TYPE {name} {kind}\n")).count(), 1, "{name} {kind}");
        assert_eq!(metrics.matches(&format!("# HELP {name} ")).count(), 1, "{name}");
    }
    let zero = |line: &str| assert!(metrics.contains(&format!("{line} 0\n")), "{line} 0 is not in\n{metrics}");
    for exchange in ["binance", "btcturk"] {
        for error in ["auth", "ratelimit", "timeout", "network", "server", "parse", "clock"] {
            let labels = format!("environment=\"demo\",service=\"portfolio\",exchange=\"{exchange}\",error_type=\"{error}\"");
            zero(&format!("spark_exchange_api_error_total{{{labels}}}"));
        }
        let labels = format!("environment=\"demo\",service=\"portfolio\",exchange=\"{exchange}\"");
        zero(&format!("spark_portfolio_refresh_latency_ms_count{{{labels}}}"));
    }
    for guard in ["notional", "exposure", "drawdown", "kill_switch", "collar", "rate", "stale_price", "filters", "halt"] {
        zero(&format!("spark_risk_block_total{{environment=\"demo\",service=\"risk\",reason=\"{guard}\"}}"));
    }
    zero("spark_dlq_size{environment=\"demo\",service=\"guardrail\"}");
    zero("spark_notifications_total{environment=\"demo\",service=\"notifier\",receiver=\"file\",outcome=\"delivered\"}");
    zero("http_requests_total{environment=\"demo\",service=\"gateway\",code=\"500\"}");
    zero("spark_parked_messages{environment=\"demo\",service=\"nats\",process=\"guardrail\"}");
    assert!(metrics.contains("spark_bus_publish_ack_seconds_total{environment=\"demo\",service=\"risk\"} 1.5\n"), "{metrics}");
}
