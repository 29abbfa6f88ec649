//! Registered strategies and backtests through the gateway on the real broker. The worker is a few lines of this file, with the
//! rights that the process has.
#![allow(clippy::unwrap_used, reason = "tests may unwrap; clippy sees that only inside test functions")]

mod common;

use std::sync::Arc;

use common::models::{check_problem, ended, progress, publish};
use common::running::{Running, TOKEN, ready};
use common::{Answer, bounded, gateway, get, roomy, send};
use futures_util::future::join_all;
use secrecy::SecretString;
use serde_json::{Value, json};
use spark_bus_schema::backtests::{BacktestJob, DataSource, JobCancel, JobState};
use spark_bus_schema::control::StrategyCommand;
use spark_bus_schema::strategies::StrategyRegistered;
use spark_bus_schema::subject::{self, JOBS, LEDGER};
use spark_gateway::{AdminToken, Config, Files};
use spark_nats::testing::TestBroker;
use tokio::net::TcpListener;

const STRATEGY: &str = r#"{"name":"cross","kind":"sma_cross","params":{"fast":10,"slow":"30"},"exchange":"binance","symbol":"BTCUSDT","timeframe":"1m","cash":"1000","reason":"first try"}"#;
const JOB: &str = r#"{"kind":"sma_cross","params":{"fast":"10","slow":"30"},"symbol":"BTCUSDT","timeframe":"1h","data":{"csv":{"path":"/data/btcusdt.csv"}},"cash":10000,"commissionPct":"0.1","reason":"first look"}"#;

fn statuses(answers: &[Answer]) -> Vec<u16> {
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    statuses
}

async fn step(gateway: &Running, verb: &str, body: &str) -> Answer {
    gateway.post(&format!("/api/strategies/cross/{verb}"), body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strategy_goes_through_its_life_in_order_and_live_is_confirmed() {
    let broker = TestBroker::start().await;
    let gateway = ready(&broker, Vec::new()).await;
    let worker = broker.bus("backtest").await;
    let created = gateway.post("/api/strategies", STRATEGY).await;
    let told = created.json();
    assert_eq!(
        (created.status, told["strategy"]["status"].as_str(), told["strategy"]["revision"].as_u64()),
        (201, Some("draft"), Some(1)),
        "{told}"
    );
    assert_eq!((told["strategy"]["params"]["fast"].as_str(), told["strategy"]["cash"].to_string()), (Some("10"), "1000".into()));
    check_problem(&gateway.post("/api/strategies", STRATEGY).await, 409, Some("body: revision"));

    // A draft needs a backtest of itself, with its own parameters.
    check_problem(&step(&gateway, "promote", r#"{"reason":"x"}"#).await, 400, Some("body: backtest"));
    check_problem(&step(&gateway, "start", r#"{"reason":"x"}"#).await, 409, None);
    let mut other = ended("bt-other", Some("cross"), JobState::Done);
    other.params.insert("fast".into(), "11".into());
    for done in [
        &other,
        &ended("bt-failed", Some("cross"), JobState::Failed),
        &ended("bt-nobody", None, JobState::Done),
        &ended("bt-good", Some("cross"), JobState::Done),
    ] {
        publish(&worker, &subject::backtest_done(&done.id), done).await;
    }
    gateway.see("/api/backtest", |answer| answer.json()["total"] == 4).await;
    for wrong in ["bt-other", "bt-failed", "bt-nobody", "bt-never"] {
        let answer = step(&gateway, "promote", &json!({"reason": "x", "backtest": wrong}).to_string()).await;
        check_problem(&answer, 400, Some("body: backtest"));
    }
    let answer = step(&gateway, "promote", r#"{"reason":"12 % a month","backtest":"bt-good"}"#).await;
    assert_eq!((answer.status, answer.json()["strategy"]["status"].as_str()), (200, Some("backtested")), "{}", answer.body);
    assert_eq!(answer.json()["strategy"]["backtest"], "bt-good");

    // Of many at the same moment one moves it.
    let together = join_all((0..10).map(|_| step(&gateway, "promote", r#"{"reason":"to paper","revision":2}"#))).await;
    assert_eq!(statuses(&together), [200, 409, 409, 409, 409, 409, 409, 409, 409, 409]);
    check_problem(
        &gateway.post("/api/strategies", &STRATEGY.replace("\"reason\"", "\"revision\":3,\"reason\"")).await,
        409,
        None,
    );
    let asked = step(&gateway, "promote", r#"{"reason":"a good week"}"#).await;
    let problem = check_problem(&asked, 428, Some("body: confirm"));
    assert_eq!((problem["strategy"]["status"].as_str(), problem["revision"].as_u64()), (Some("paper"), Some(3)), "{problem}");
    let live = step(&gateway, "promote", r#"{"reason":"a good week","revision":3,"confirm":true}"#).await;
    assert_eq!(live.json()["strategy"]["status"], "live", "{}", live.body);
    let switch = async || {
        let last = worker.last(LEDGER, &subject::strategy("cross")).await.unwrap().unwrap();
        let command: StrategyCommand = last.decode().unwrap();
        (command.run, command.symbols)
    };
    let symbols = vec!["binance.BTCUSDT".to_owned()];
    assert_eq!(switch().await, (true, symbols.clone()), "risk lets it pass, and marks are made");
    let stopped = step(&gateway, "stop", r#"{"reason":"maintenance"}"#).await;
    assert_eq!(switch().await, (false, symbols));
    assert_eq!((stopped.json()["from"].as_str(), stopped.json()["strategy"]["status"].as_str()), (Some("live"), Some("stopped")));
    assert_eq!(step(&gateway, "start", r#"{"reason":"over"}"#).await.json()["strategy"]["status"], "paper");
    step(&gateway, "stop", r#"{"reason":"again"}"#).await;
    // Other parameters are another strategy: it begins again.
    let changed = STRATEGY.replace("\"fast\":10", "\"fast\":12").replace("\"reason\"", "\"revision\":7,\"reason\"");
    let again = gateway.post("/api/strategies", &changed).await;
    assert_eq!((again.status, again.json()["strategy"]["status"].as_str()), (200, Some("draft")), "{}", again.body);
    let stored = worker.last(LEDGER, &subject::registry("cross")).await.unwrap().unwrap().decode::<StrategyRegistered>().unwrap();
    assert_eq!((stored.revision, stored.backtest, stored.actor.as_str()), (8, None, "operator"));
    let list =
        gateway.see("/api/strategies", |answer| answer.json()["strategies"][0]["revision"] == 8).await.json()["strategies"]
            .clone();
    gateway.stop().await;
    let after = ready(&broker, Vec::new()).await;
    assert_eq!(get(after.address, "/api/strategies").await.json()["strategies"], list, "after a restart");
    after.stop().await;
}

#[tokio::test]
async fn a_strategy_that_cannot_be_is_a_problem_that_says_what_would_be_right() {
    let broker = TestBroker::start().await;
    let gateway = ready(&broker, Vec::new()).await;
    let check = async |from: &str, to: &str| {
        assert!(STRATEGY.contains(from));
        let problem =
            check_problem(&gateway.post("/api/strategies", &STRATEGY.replace(from, to)).await, 400, None.or(Some("body")));
        assert!(problem["fix"].as_str().unwrap().contains("sma_cross"), "{from} → {to}: {problem}");
    };
    check("sma_cross", "magic").await;
    check("\"cross\"", "\"a b\"").await;
    check("BTCUSDT", "btc.usdt").await;
    check("\"1m\"", "\"2m\"").await;
    check("\"1000\"", "\"-1\"").await;
    check("\"1000\"", "1e3").await;
    check("\"fast\":10", "\"fast\":null").await;
    check("\"reason\":\"first try\"", "\"reasons\":1").await;
    check_problem(&step(&gateway, "promote", r#"{"reason":"x"}"#).await, 404, Some("path: name"));
    check_problem(&gateway.post("/api/strategies/a%20b/stop", r#"{"reason":"x"}"#).await, 400, Some("path: name"));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_is_one_job_however_often_it_is_asked_for_and_after_a_restart() {
    let broker = TestBroker::start().await;
    let gateway = ready(&broker, Vec::new()).await;
    let worker = broker.bus("backtest").await;
    let answers = join_all((0..30).map(|_| gateway.post_as("/api/backtest", "key-1", JOB))).await;
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (202, &answers[0].body));
    }
    let id = answers[0].json()["id"].as_str().unwrap().to_owned();
    assert_eq!(answers[0].header("location"), Some(format!("/api/backtest/{id}").as_str()));
    assert_eq!(worker.message_count(JOBS).await.unwrap(), 1);
    let found = worker.last(JOBS, &subject::backtest(&id)).await.unwrap().unwrap();
    let job = found.decode::<BacktestJob>().unwrap();
    assert_eq!((job.id.as_str(), job.actor.as_str(), job.reason.as_str()), (id.as_str(), "operator", "first look"));
    assert_eq!((job.data, job.cash.to_string()), (DataSource::Csv { path: "/data/btcusdt.csv".into() }, "10000".into()));
    let check_used = async |gateway: &Running| {
        let other = gateway.post_as("/api/backtest", "key-1", &JOB.replace("\"30\"", "\"40\"")).await;
        assert_eq!(check_problem(&other, 422, Some("body: params"))["type"], "urn:spark:problem:key-used");
    };
    check_used(&gateway).await;
    assert_eq!(get(gateway.address, &format!("/api/backtest/{id}")).await.json()["state"], "queued");
    gateway.stop().await;

    let again = ready(&broker, Vec::new()).await;
    assert_eq!(again.post_as("/api/backtest", "key-1", JOB).await.body, answers[0].body, "the queue knows it");
    check_used(&again).await;
    // It ends: gone from the queue, and known to the LEDGER.
    publish(&worker, &subject::backtest_done(&id), &ended(&id, None, JobState::Done)).await;
    broker.bus("operator").await.delete(JOBS, found.sequence).await.unwrap();
    again.see(&format!("/api/backtest/{id}"), |answer| answer.json()["state"] == "done").await;
    again.stop().await;
    let after = ready(&broker, Vec::new()).await;
    assert_eq!(after.post_as("/api/backtest", "key-1", JOB).await.body, answers[0].body, "the LEDGER knows it");
    check_used(&after).await;
    assert_eq!(worker.message_count(JOBS).await.unwrap(), 0, "it is not run again");
    assert_ne!(
        after.post("/api/backtest", JOB).await.json()["id"],
        after.post("/api/backtest", JOB).await.json()["id"],
        "no key"
    );
    after.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backtest_is_followed_from_the_queue_to_its_figures_and_compared() {
    let broker = TestBroker::start().await;
    let gateway = ready(&broker, Vec::new()).await;
    let worker = broker.bus("backtest").await;
    let mut ids = Vec::new();
    for key in ["a", "b", "c"] {
        ids.push(gateway.post_as("/api/backtest", key, JOB).await.json()["id"].as_str().unwrap().to_owned());
    }
    let one = |id: &str| format!("/api/backtest/{id}");
    publish(&worker, &subject::job_progress(&ids[0]), &progress(&ids[0], 250)).await;
    let told = gateway.see(&one(&ids[0]), |answer| answer.json()["state"] == "running").await.json();
    assert_eq!(
        (told["progress"]["done"].as_u64(), told["progress"]["total"].as_u64(), told["result"].is_null()),
        (Some(250), Some(1_000), true)
    );
    assert_eq!((told["job"]["symbol"].as_str(), told["job"]["cash"].to_string()), (Some("BTCUSDT"), "10000".into()));
    gateway
        .see("/metrics", |answer| answer.body.contains("\nspark_backtests_open{environment=\"demo\",service=\"backtest\"} 3\n"))
        .await;
    let early = get(gateway.address, &format!("/api/backtest/{}/report", ids[0])).await;
    assert_eq!(check_problem(&early, 404, Some("path: id"))["type"], "urn:spark:problem:no-report");

    let cancelled = gateway.post(&format!("{}/cancel", one(&ids[1])), r#"{"reason":"the wrong file"}"#).await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.body);
    let command = worker.last(LEDGER, &subject::job_cancel(&ids[1])).await.unwrap().unwrap();
    assert_eq!(command.decode::<JobCancel>().unwrap().reason, "the wrong file");
    gateway.see(&one(&ids[1]), |answer| answer.json()["cancelAsked"] == true).await;
    for (id, state) in [(&ids[0], JobState::Done), (&ids[1], JobState::Cancelled), (&ids[2], JobState::Done)] {
        publish(&worker, &subject::backtest_done(id), &ended(id, None, state)).await;
    }
    // Its last word on the way comes late.
    publish(&worker, &subject::job_progress(&ids[0]), &progress(&ids[0], 900)).await;
    gateway.see("/api/backtest?state=done", |answer| answer.json()["total"] == 2).await;
    let told = get(gateway.address, &one(&ids[0])).await.json();
    let metrics = &told["result"]["metrics"];
    assert_eq!(
        (told["state"].as_str(), metrics["totalReturnPct"].as_f64(), metrics["finalEquity"].to_string()),
        (Some("done"), Some(12.5), "11250.5".into())
    );
    assert!(metrics["winRatePct"].is_null() && told["progress"].is_null() && told["details"].is_null(), "{told}");
    let over = gateway.post(&format!("{}/cancel", one(&ids[0])), r#"{"reason":"x"}"#).await;
    check_problem(&over, 409, Some("path: id"));
    let compared = get(gateway.address, &format!("/api/backtest/compare?ids={},{}", ids[0], ids[2])).await.json();
    assert_eq!((compared["sameData"].as_bool(), compared["sameTrades"].as_bool()), (Some(true), Some(true)), "{compared}");
    let open = get(gateway.address, &format!("/api/backtest/compare?ids={},{}", ids[0], ids[1])).await.json();
    assert!(open["sameData"].is_null(), "one of them has none: {open}");

    let page = get(gateway.address, "/api/backtest?limit=2").await.json();
    assert_eq!(
        (page["items"].as_array().unwrap().len(), page["total"].as_u64(), page["nextOffset"].as_u64()),
        (2, Some(3), Some(2))
    );
    let rest = get(gateway.address, "/api/backtest?limit=2&offset=2").await.json();
    assert_eq!((rest["items"][0]["id"].as_str(), rest["nextOffset"].is_null()), (Some(ids[0].as_str()), true), "{rest}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_backtest_that_cannot_be_is_a_problem_that_says_what_would_be_right() {
    let broker = TestBroker::start().await;
    let gateway = ready(&broker, Vec::new()).await;
    let check = async |from: &str, to: &str, place: &str| {
        assert!(JOB.contains(from), "{from}");
        check_problem(&gateway.post("/api/backtest", &JOB.replace(from, to)).await, 400, Some(place));
    };
    check(JOB, "", "body").await;
    check("sma_cross", "magic", "body").await;
    check("\"kind\":\"sma_cross\",", "", "body: kind").await;
    check("\"symbol\":\"BTCUSDT\",", "", "body: symbol").await;
    check("BTCUSDT", "BTC/USDT", "body").await;
    check("\"1h\"", "\"7h\"", "body").await;
    check("/data/btcusdt.csv", "../btcusdt.csv", "body: data.csv.path").await;
    check("{\"csv\":{\"path\":\"/data/btcusdt.csv\"}}", "{\"ftp\":{}}", "body").await;
    check("{\"csv\":{\"path\":\"/data/btcusdt.csv\"}}", r#"{"exchange":{"from":"yesterday","to":5}}"#, "body").await;
    check(
        "{\"csv\":{\"path\":\"/data/btcusdt.csv\"}}",
        r#"{"exchange":{"from":"2026-11-01T00:00:00Z","to":"2026-10-01T00:00:00Z"}}"#,
        "body: data",
    )
    .await;
    check("10000", "0", "body").await;
    check("10000", "\"NaN\"", "body").await;
    check("\"0.1\"", "\"100\"", "body").await;
    check("\"fast\":\"10\"", "\"fast\":[10]", "body: params").await;
    check("\"reason\"", "\"sweep\":{\"fast\":[]},\"reason\"", "body").await;
    check("\"reason\"", "\"walkForward\":{\"trainBars\":0,\"testBars\":1},\"reason\"", "body").await;
    check("\"reason\"", "\"strategy\":\"nobody\",\"reason\"", "body: strategy").await;
    check("first look", " ", "body: reason").await;
    for path in [
        "/api/backtest?limit=0",
        "/api/backtest?limit=201",
        "/api/backtest?state=lost",
        "/api/backtest?x=1",
        "/api/backtest/compare?ids=a",
        "/api/backtest/a%2Fb",
    ] {
        assert_eq!(get(gateway.address, path).await.status, 400, "{path}");
    }
    for path in ["/api/backtest/bt-0", "/api/backtest/bt-0/report", "/api/backtest/compare?ids=bt-0,bt-1"] {
        check_problem(&get(gateway.address, path).await, 404, Some("path: id"));
    }
    check_problem(&gateway.post_as("/api/backtest", " ", JOB).await, 400, Some("header: X-Idempotency-Key"));
    gateway.stop().await;
}

#[tokio::test]
async fn details_and_report_come_from_files_of_this_machine_and_the_report_reaches_nothing() {
    let broker = TestBroker::start().await;
    let file = broker.dir().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let service = broker.service("gateway").await;
    let stop = service.shutdown.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let details = |id: &str| (id == "bt-1").then(|| json!({"equity": [[1, 10_000.0]], "trades": []}));
    let report = |id: &str| (id == "bt-1").then(|| "<!doctype html><style>p{color:red}</style><p>12.5 %".to_owned());
    let files = Files { backtest: Some(Arc::new(details)), report: Some(Arc::new(report)), ..Files::default() };
    let config = Config { admin_token_file: Some(file), expected: Vec::new(), ..roomy() };
    let task = tokio::spawn(spark_gateway::serve_with(listener, service, config, files));
    let gateway = Running { address, stop, task };
    let worker = broker.bus("backtest").await;
    for id in ["bt-1", "bt-2"] {
        publish(&worker, &subject::backtest_done(id), &ended(id, None, JobState::Done)).await;
    }
    let told = gateway.see("/api/backtest/bt-1", |answer| answer.status == 200).await.json();
    assert_eq!(told["details"]["equity"][0], json!([1, 10_000.0]), "{told}");
    assert!(get(address, "/api/backtest/bt-2").await.json()["details"].is_null());
    let report = get(address, "/api/backtest/bt-1/report").await;
    assert_eq!((report.status, report.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = report.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'") && policy.contains("sandbox") && !policy.contains("same-origin"),
        "{policy}"
    );
    assert_eq!(report.header("x-content-type-options"), Some("nosniff"));
    let missing = get(address, "/api/backtest/bt-2/report").await;
    assert!(check_problem(&missing, 404, Some("path: id"))["detail"].as_str().unwrap().contains("not on the gateway's machine"));
    gateway.stop().await;
}

/// Everything that changes something or spends the machine's time.
const CHANGING: [(&str, &str); 7] = [
    ("/api/rollout", r#"{"verb":"abort","reason":"x","confirm":true}"#),
    ("/api/strategies", STRATEGY),
    ("/api/strategies/cross/promote", r#"{"reason":"x","confirm":true}"#),
    ("/api/strategies/cross/start", r#"{"reason":"x"}"#),
    ("/api/strategies/cross/stop", r#"{"reason":"x"}"#),
    ("/api/backtest", JOB),
    ("/api/backtest/bt-1/cancel", r#"{"reason":"x"}"#),
];

#[tokio::test]
async fn what_changes_something_needs_the_token_and_is_switched_off_without_one_configured() {
    let closed = gateway(roomy(), None).await;
    let open = gateway(roomy(), Some(AdminToken::new(&SecretString::from(TOKEN), "test").unwrap())).await;
    for (path, body) in CHANGING {
        let line = format!("POST {path}");
        let bearer = format!("Bearer {TOKEN}");
        assert_eq!(send(closed.address, &line, &[("Authorization", &bearer)], body).await.status, 403, "{path}");
        for headers in [&[][..], &[("Authorization", "Bearer 0123456789abcdef0123456789abcdeX")], &[("Authorization", TOKEN)]] {
            let answer = send(open.address, &line, headers, body).await;
            assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer realm=\"spark\"")), "{path}");
            assert!(!answer.body.contains(TOKEN));
        }
    }
}

#[tokio::test]
async fn with_the_broker_away_nothing_is_stored_and_what_is_known_is_answered() {
    let mut broker = TestBroker::start().await;
    let gateway = ready(&broker, Vec::new()).await;
    let id = gateway.post_as("/api/backtest", "before", JOB).await.json()["id"].as_str().unwrap().to_owned();
    broker.kill();
    gateway.see("/api/processes", |answer| answer.json()["broker_connected"] == false).await;
    for (path, body) in CHANGING.into_iter().filter(|(path, _)| !path.contains("bt-1")) {
        let answer = gateway.post(path, body).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.body);
    }
    assert_eq!(get(gateway.address, "/api/backtest/bt-unknown").await.status, 503);
    for path in [
        "/api/rollout",
        "/api/strategies",
        "/api/backtest",
        "/api/ml/scores",
        "/api/ml/version",
        "/api/ml/calibration",
        "/bist/snapshot",
    ] {
        assert_eq!(get(gateway.address, path).await.status, 200, "{path}");
    }
    assert_eq!(get(gateway.address, &format!("/api/backtest/{id}")).await.json()["state"], "queued");
    assert_eq!(gateway.post_as("/api/backtest", "before", JOB).await.status, 202, "what is known is answered");
    let away: Value = gateway.post_as("/api/backtest", "key", JOB).await.json();
    assert!(away["fix"].as_str().unwrap().contains("same X-Idempotency-Key"), "{away}");
    broker.restart().await;
    gateway.see("/api/processes", |answer| answer.json()["broker_connected"] == true).await;
    assert_eq!(bounded("the key", gateway.post_as("/api/backtest", "key", JOB)).await.status, 202);
    assert_eq!(broker.bus("operator").await.message_count(JOBS).await.unwrap(), 2);
    gateway.stop().await;
}
