//! Scores, the rollout and shares through the gateway on the real broker. Signal and rollout are a few lines of this file, with
//! the rights that the processes have.
#![allow(clippy::unwrap_used, reason = "tests may unwrap; clippy sees that only inside test functions")]

mod common;

use common::models::{Acting, calibration, changed, check_problem, in_force, model, publish, score, share, signal};
use common::running::{Running, begin, ready};
use common::{Live, get, roomy, send};
use serde_json::Value;
use spark_bus_schema::Venue;
use spark_bus_schema::rollout::{Phase, RolloutChanged, RolloutCommand, RolloutVerb, Stage};
use spark_bus_schema::subject::{self, LEDGER};
use spark_gateway::Config;
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Follower, Start};

const CANDLE: &str =
    r#"{"feature":{"ts":1700000040000,"symbol":"BTCUSDT","tf":"1m","o":61800,"h":61850.5,"l":61790,"c":"61840.5","v":12.5}}"#;

async fn ask(gateway: &Running, body: &str) -> (u16, Value) {
    let answer = send(gateway.address, "POST /api/ml/score", &[], body).await;
    (answer.status, answer.json())
}

/// No trade can follow: advisory, no score, and why.
fn check_closed(answer: &Value, why: &str) {
    let told = (answer["advisory"].as_bool(), answer["score"].is_null(), answer["side"].is_null(), answer["confid"].is_null());
    assert_eq!(told, (Some(true), true, true, true), "{answer}");
    assert!(answer["reason"].as_str().is_some_and(|reason| reason.contains(why)), "{why}: {answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candle_gets_its_score_without_a_token_and_what_is_no_number_gets_none() {
    let broker = TestBroker::start().await;
    let (gateway, acting) = (ready(&broker, Vec::new()).await, signal(&broker, false).await);
    let (status, told) = ask(&gateway, CANDLE).await;
    assert_eq!((status, told["score"].as_f64(), told["confid"].as_f64()), (200, Some(0.375), Some(0.75)), "{told}");
    assert_eq!((told["ml_bucket"].as_str(), told["ml_signal_parts"]["rsi"].as_f64()), (Some("0.7-0.8"), Some(0.5)), "{told}");
    assert_eq!((told["side"].as_str(), told["advisory"].as_bool()), (Some("buy"), Some(false)), "{told}");
    let versions = (told["featureVersion"].as_str(), told["modelVersion"].as_str(), told["modelHash"].as_str());
    assert_eq!(versions, (Some("v2.0"), Some("ml-fusion-1.2"), Some("ab".repeat(32).as_str())), "{told}");
    assert_eq!((told["symbol"].as_str(), told["tf"].as_str()), (Some("BTCUSDT"), Some("1m")), "{told}");

    let unusable = [
        ("61850.5", "null"),
        ("61850.5", "\"NaN\""),
        ("61850.5", "\"Infinity\""),
        ("61850.5", "\"-inf\""),
        ("61850.5", "\"high\""),
        ("61850.5", "true"),
        ("61850.5", "[61850.5]"),
        (",\"v\":12.5", ""),
        ("1700000040000", "null"),
        ("1700000040000", "\"NaN\""),
    ];
    for (from, to) in unusable {
        assert!(CANDLE.contains(from));
        let (status, told) = ask(&gateway, &CANDLE.replace(from, to)).await;
        assert_eq!(status, 200, "{from} → {to}: {told}");
        check_closed(&told, "no number");
    }
    drop(acting);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_score_follows_from_a_feature_that_is_no_number_whatever_signal_says() {
    let broker = TestBroker::start().await;
    let (gateway, _signal) = (ready(&broker, Vec::new()).await, signal(&broker, true).await);
    assert_eq!(ask(&gateway, CANDLE).await.1["score"], 0.375);
    let (status, told) = ask(&gateway, &CANDLE.replace("61850.5", "\"NaN\"")).await;
    assert_eq!(status, 200);
    check_closed(&told, "not a finite number: h");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_signal_or_broker_a_score_is_closed_and_a_monitor_sees_it() {
    let mut broker = TestBroker::start().await;
    let gateway = ready(&broker, Vec::new()).await;
    let (status, told) = ask(&gateway, CANDLE).await;
    assert_eq!(status, 503, "{told}");
    check_closed(&told, "signal did not answer");
    assert!(told["modelVersion"].is_null(), "nobody has said which model there is: {told}");
    // What is wrong with the question needs no signal to be said.
    let (status, told) = ask(&gateway, &CANDLE.replace("61850.5", "null")).await;
    assert_eq!(status, 200);
    check_closed(&told, "not a finite number: h");
    broker.kill();
    gateway.see("/api/processes", |answer| answer.json()["broker_connected"] == false).await;
    let (status, told) = ask(&gateway, CANDLE).await;
    assert_eq!(status, 503);
    check_closed(&told, "the broker is not connected");
    gateway.stop().await;
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_a_problem_that_says_what_would_be_right() {
    let broker = TestBroker::start().await;
    let gateway = ready(&broker, Vec::new()).await;
    let check = async |body: &str, status: u16, place: &str| {
        let answer = send(gateway.address, "POST /api/ml/score", &[], body).await;
        check_problem(&answer, status, Some(place));
    };
    for malformed in ["", "{", "[]", "{\"feature\":1}", "{}", "{\"feature\":{},\"x\":1}"] {
        check(malformed, 400, "body").await;
    }
    // Not JSON, as Python writes it.
    check(&CANDLE.replace("61850.5", "NaN"), 400, "body").await;
    check(&CANDLE.replace("\"BTCUSDT\"", "\"btc/usdt\""), 422, "body: feature.symbol").await;
    check(&CANDLE.replace("\"BTCUSDT\"", "7"), 422, "body: feature.symbol").await;
    check(&CANDLE.replace("\"symbol\":\"BTCUSDT\",", ""), 422, "body: feature.symbol").await;
    check(&CANDLE.replace("\"1m\"", "\"2m\""), 422, "body: feature.tf").await;
    check(&CANDLE.replace("\"tf\":\"1m\",", ""), 422, "body: feature.tf").await;
    check(&CANDLE.replace("1700000040000", "\"yesterday\""), 422, "body: feature.ts").await;
    check(&CANDLE.replace("\"tf\"", "\"exchange\":\"nyse\",\"tf\""), 422, "body: feature.exchange").await;
    let many: String = (0..70).map(|number| format!("\"f{number}\":1,")).collect();
    check(&CANDLE.replace("\"ts\"", &format!("{many}\"ts\"")), 400, "body: feature").await;
    // Once a venue's symbols are known, others are not asked about.
    publish(&broker.bus("feed").await, &subject::snapshot(Venue::Bist, "THYAO"), &share("THYAO", "308.75", 0)).await;
    gateway.see("/bist/snapshot", |answer| answer.body.contains("THYAO")).await;
    check(&CANDLE.replace("\"tf\"", "\"exchange\":\"bist\",\"tf\""), 422, "body: feature.symbol").await;
    gateway.stop().await;
}

#[tokio::test]
async fn scores_version_and_calibration_are_honest_before_anybody_spoke_and_exact_afterwards() {
    let broker = TestBroker::start().await;
    let gateway = ready(&broker, Vec::new()).await;
    let version = get(gateway.address, "/api/ml/version").await;
    assert_eq!((version.status, version.json()["known"].as_bool()), (200, Some(false)), "{}", version.body);
    assert!(version.json()["modelVersion"].is_null() && version.json()["hash"].is_null());
    let empty = get(gateway.address, "/api/ml/calibration").await.json();
    assert_eq!((empty["overall"]["samples"].as_u64(), empty["overall"]["brier"].is_null()), (Some(0), true), "{empty}");

    let signal = broker.bus("signal").await;
    publish(&signal, subject::MODEL, &in_force()).await;
    for (minute, confid) in [(0, 0.55), (1, 0.75), (2, 0.95)] {
        let score = score("BTCUSDT", minute, confid);
        publish(&signal, &subject::score(score.venue, &score.symbol, score.timeframe), &score).await;
    }
    let other = score("ETHUSDT", 0, 0.65);
    publish(&signal, &subject::score(other.venue, &other.symbol, other.timeframe), &other).await;
    for (symbol, samples, brier) in [("BTCUSDT", 300, 0.2), ("ETHUSDT", 100, 0.4)] {
        let told = calibration(symbol, samples, brier);
        publish(&signal, &subject::calibration(told.venue, symbol, told.timeframe), &told).await;
    }
    let told = gateway.see("/api/ml/calibration", |answer| answer.json()["overall"]["samples"] == 400).await.json();
    assert_eq!((told["overall"]["brier"].as_f64(), told["series"].as_array().unwrap().len()), (Some(0.25), 2), "{told}");
    let row = &told["overall"]["reliability"][0];
    assert_eq!((row["count"].as_u64(), row["hitRate"].as_f64(), row["meanConfid"].as_f64()), (Some(80), Some(0.5), Some(0.75)));
    let version = gateway.see("/api/ml/version", |answer| answer.json()["known"] == true).await.json();
    assert_eq!((version["featureVersion"].as_str(), version["modelVersion"].as_str()), (Some("v2.0"), Some("ml-fusion-1.2")));
    let newest =
        gateway.see("/api/ml/scores?symbol=BTCUSDT&tf=1m&limit=2", |answer| answer.json()["scores"][1].is_object()).await;
    let confids: Vec<f64> =
        newest.json()["scores"].as_array().unwrap().iter().map(|row| row["confid"].as_f64().unwrap()).collect();
    assert_eq!(confids, [0.95, 0.75]);
    let buckets: Vec<u64> =
        newest.json()["buckets"].as_array().unwrap().iter().map(|row| row["count"].as_u64().unwrap()).collect();
    assert_eq!(buckets, [1, 1, 1, 0, 1, 0]);
    let counted = "spark_ml_scores_total{environment=\"demo\",service=\"signal\",ml_bucket=\"0.9-1.0\",advisory=\"false\"} 1\n";
    gateway.see("/metrics", |answer| answer.body.contains(counted)).await;
    for path in [
        "/api/ml/scores?limit=0",
        "/api/ml/scores?tf=2m",
        "/api/ml/scores?exchange=nyse",
        "/api/ml/scores?x=1",
        "/api/ml/version?x=1",
    ] {
        assert_eq!(get(gateway.address, path).await.status, 400, "{path}");
    }
    gateway.stop().await;

    // What was said before a start is there after it, and does not count as news.
    let again = ready(&broker, Vec::new()).await;
    again.see("/api/ml/scores", |answer| answer.json()["scores"].as_array().unwrap().len() == 4).await;
    assert!(get(again.address, "/metrics").await.body.contains(&counted.replace("} 1\n", "} 0\n")));
    again.stop().await;
}

/// Obeys: the next stage with `promote`, a refusal with `abort`; of other commands it says nothing.
async fn rollout(broker: &TestBroker) -> Acting {
    let bus = broker.bus("rollout").await;
    let subjects = vec![subject::ROLLOUT.to_owned()];
    let mut commands = Follower::start(bus.clone(), "rollout", LEDGER, subjects, Start::Beginning);
    Acting::spawn(async move {
        let mut revision = 2;
        while let Some(batch) = commands.next().await {
            for delivery in batch {
                let command: RolloutCommand = delivery.decode().unwrap();
                let refusal = match command.verb {
                    RolloutVerb::Promote => None,
                    RolloutVerb::Abort => Some("it is not running".to_owned()),
                    _ => continue,
                };
                revision += 1;
                let stage = if refusal.is_none() { Stage::Tenth } else { Stage::Preview };
                let told = RolloutChanged {
                    command: Some(delivery.sequence),
                    refusal,
                    actor: command.actor,
                    ..changed(revision, stage, Phase::Running)
                };
                tell(&bus, &told).await;
            }
        }
    })
}

async fn tell(bus: &Bus, told: &RolloutChanged) -> u64 {
    publish(bus, &subject::rollout_changed(&told.model.model_version), told).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_about_the_rollout_is_confirmed_stored_and_answered_by_what_became_of_it() {
    let broker = TestBroker::start().await;
    let gateway = ready(&broker, Vec::new()).await;
    let before = get(gateway.address, "/api/rollout").await;
    assert_eq!((before.status, before.json()["rollout"].is_null()), (200, true), "{}", before.body);
    let start = r#"{"verb":"start","reason":"two good weeks","confirm":true}"#;
    assert_eq!(gateway.post("/api/rollout", start).await.json()["type"], "urn:spark:problem:no-model");

    let (by_hand, signal) = (broker.bus("rollout").await, broker.bus("signal").await);
    publish(&signal, subject::MODEL, &in_force()).await;
    tell(&by_hand, &changed(1, Stage::Preview, Phase::Running)).await;
    let seen = gateway.see("/api/rollout", |answer| answer.json()["rollout"]["revision"] == 1).await.json();
    assert_eq!(
        (seen["rollout"]["stage"].as_str(), seen["rollout"]["phase"].as_str()),
        (Some("preview"), Some("running")),
        "{seen}"
    );
    let gate = &seen["rollout"]["gates"][0];
    assert_eq!(
        (gate["name"].as_str(), gate["state"].as_str(), gate["samplesMin"].as_u64()),
        (Some("hit_rate"), Some("inconclusive"), Some(30))
    );

    let asked = gateway.post("/api/rollout", r#"{"verb":"promote","reason":"good enough","revision":1}"#).await;
    let problem = check_problem(&asked, 428, Some("body: confirm"));
    assert_eq!(
        (problem["effect"]["stage"]["to"].as_str(), problem["effect"]["percent"]["to"].as_u64()),
        (Some("10"), Some(10)),
        "{problem}"
    );
    assert_eq!((problem["revision"].as_u64(), problem["effect"]["gatesNotPassed"][0].as_str()), (Some(1), Some("hit_rate")));
    let silent = gateway.post("/api/rollout", r#"{"verb":"pause","reason":"nobody is there","confirm":true}"#).await;
    assert_eq!((silent.status, silent.json()["status"].as_str()), (202, Some("accepted")), "{}", silent.body);

    // It goes on telling the same, once a minute: what was decided before still holds.
    tell(&by_hand, &changed(2, Stage::Preview, Phase::Running)).await;
    gateway.see("/api/rollout", |answer| answer.json()["rollout"]["revision"] == 2).await;
    let _rollout = rollout(&broker).await;
    let stale = gateway.post("/api/rollout", r#"{"verb":"promote","reason":"x","revision":7,"confirm":true}"#).await;
    check_problem(&stale, 409, Some("body: revision"));
    let done = gateway.post("/api/rollout", r#"{"verb":"promote","reason":"good enough","revision":1,"confirm":true}"#).await;
    let told = done.json();
    assert_eq!(
        (done.status, told["status"].as_str(), told["change"]["stage"].as_str()),
        (200, Some("done"), Some("10")),
        "{told}"
    );
    assert_eq!(told["change"]["command"], told["sequence"]);
    let refused = gateway.post("/api/rollout", r#"{"verb":"abort","reason":"bad","confirm":true}"#).await;
    assert_eq!(check_problem(&refused, 409, None)["detail"], "it is not running");
    let late = gateway.post("/api/rollout", r#"{"verb":"promote","reason":"x","revision":1,"confirm":true}"#).await;
    check_problem(&late, 409, Some("body: revision"));
    tell(&by_hand, &changed(5, Stage::Preview, Phase::Running)).await;
    let told = gateway.see("/api/rollout", |answer| answer.json()["rollout"]["revision"] == 5).await.json();
    let stages: Vec<&str> = told["history"].as_array().unwrap().iter().map(|row| row["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["preview", "10", "preview"], "{told}");
    tell(&by_hand, &changed(6, Stage::Half, Phase::RolledBack)).await;
    let metric = "spark_rollout_stage{environment=\"demo\",service=\"rollout\",model=\"ml-fusion-1.2\",stage=\"50\"} 0\n";
    gateway.see("/metrics", |answer| answer.body.contains(metric)).await;
    let audit = gateway.post("/api/audit/list", r#"{"action":"control.rollout"}"#).await.json();
    assert_eq!(audit["items"].as_array().unwrap().len(), 3, "{audit}");
    assert_eq!(audit["items"][0]["summary"], "abort: bad");
    let history = get(gateway.address, "/api/rollout").await.json()["history"].clone();
    gateway.stop().await;

    let again = ready(&broker, Vec::new()).await;
    assert_eq!(get(again.address, "/api/rollout").await.json()["history"], history, "after a restart");
    again.stop().await;
}

#[tokio::test]
async fn a_word_about_the_rollout_that_cannot_be_is_a_problem() {
    let broker = TestBroker::start().await;
    let gateway = ready(&broker, Vec::new()).await;
    publish(&broker.bus("signal").await, subject::MODEL, &in_force()).await;
    gateway.see("/api/ml/version", |answer| answer.json()["known"] == true).await;
    let check = async |body: &str, place: &str| {
        check_problem(&gateway.post("/api/rollout", body).await, 400, Some(place));
    };
    check("", "body").await;
    check(r#"{"verb":"jump","reason":"x","confirm":true}"#, "body").await;
    check(r#"{"verb":"start","confirm":true}"#, "body").await;
    check(r#"{"verb":"start","reason":" ","confirm":true}"#, "body: reason").await;
    check(r#"{"verb":"start","reason":"x","model":"other-1","confirm":true}"#, "body: model").await;
    let asked = gateway.post("/api/rollout", r#"{"verb":"start","reason":"x","model":"ml-fusion-1.2"}"#).await;
    assert_eq!(check_problem(&asked, 428, Some("body: confirm"))["effect"]["model"], model().model_version);
    gateway.stop().await;
}

#[tokio::test]
async fn shares_are_told_with_their_age_and_nothing_is_not_an_error() {
    let broker = TestBroker::start().await;
    let gateway = begin(&broker, Config { expected: Vec::new(), ..roomy() }).await;
    let empty = get(gateway.address, "/bist/snapshot").await;
    assert_eq!((empty.status, empty.json()["symbols"].as_array().map(Vec::len)), (200, Some(0)), "{}", empty.body);
    assert!(
        empty.json()["lastUpdate"].is_null()
            && !get(gateway.address, "/metrics").await.body.contains("spark_bist_staleness_seconds")
    );
    let mut live = Live::connect(gateway.address, None).await;
    assert_eq!(live.next().await.unwrap().data["signals"]["bist"]["symbols"].as_array().map(Vec::len), Some(0));
    let feed = broker.bus("feed").await;
    for (symbol, last, delay) in [("THYAO", "308.75", 0), ("GARAN", "130.5", 15)] {
        publish(&feed, &subject::snapshot(Venue::Bist, symbol), &share(symbol, last, delay)).await;
    }
    let told = gateway.see("/bist/snapshot", |answer| answer.json()["symbols"][1].is_object()).await.json();
    let (garan, thyao) = (&told["symbols"][0], &told["symbols"][1]);
    assert_eq!((thyao["last"].to_string(), thyao["changePct"].to_string()), ("308.75".into(), "1.23".into()), "{told}");
    assert_eq!((thyao["status"].as_str(), thyao["delayed"].as_bool(), thyao["ask"].is_null()), (Some("good"), Some(false), true));
    assert_eq!(
        (garan["status"].as_str(), garan["delayed"].as_bool(), garan["delayMinutes"].as_u64()),
        (Some("good"), Some(true), Some(15))
    );
    assert!(live.next_of("signals").await.data["bist"]["symbols"][0].is_object());
    let labels = "{environment=\"demo\",service=\"feed\",exchange=\"bist\"} ";
    for name in ["spark_bist_last_update_ts", "spark_bist_staleness_seconds"] {
        gateway.see("/metrics", |answer| answer.body.contains(&format!("\n{name}{labels}"))).await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn garbage_is_counted_and_its_neighbours_are_taken_in() {
    let broker = TestBroker::start().await;
    let gateway = ready(&broker, Vec::new()).await;
    let subjects = [
        subject::snapshot(Venue::Bist, "THYAO"),
        subject::job_progress("a"),
        subject::MODEL.to_owned(),
        subject::score(Venue::Binance, "BTCUSDT", spark_bus_schema::candles::TimeFrame::M1),
        subject::calibration(Venue::Binance, "BTCUSDT", spark_bus_schema::candles::TimeFrame::M1),
        subject::score_answer("a"),
        subject::ROLLOUT.to_owned(),
        subject::rollout_changed("ml-fusion-1.2"),
        subject::registry("cross"),
        subject::job_cancel("a"),
        subject::backtest_done("a"),
    ];
    for on in &subjects {
        common::models::garbage(&broker, on).await;
    }
    let all = subjects.len() as f64;
    gateway
        .see("/metrics", |answer| {
            let lines = answer.body.lines().filter(|line| line.starts_with("spark_gateway_unreadable_total{"));
            lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>() >= all
        })
        .await;
    tell(&broker.bus("rollout").await, &changed(1, Stage::Preview, Phase::Running)).await;
    gateway.see("/api/rollout", |answer| answer.json()["rollout"]["stage"] == "preview").await;
    gateway.stop().await;
}
