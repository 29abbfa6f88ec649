//! What an orchestrator reads and does, what the guardrail did, and the metrics of both, over real sockets, without a broker.
#![allow(clippy::unwrap_used, reason = "tests may unwrap; clippy sees that only inside test functions")]

mod common;

use common::guarding::{alert, beat, call, entry, put, start, stored, windows};
use common::{get, send};
use serde_json::{Value, json};
use spark_bus_schema::Timestamp;
use spark_bus_schema::actions::{Action, ActionStage, RestartDone, RestartOutcome};
use spark_bus_schema::alerts::Severity;
use spark_bus_schema::smoke::{Smoke, SmokeCheck};
use spark_gateway::app::Outgoing;
use spark_gateway::event::Event;
use spark_gateway::record::Record;

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
        refusal: None,
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
