//! The example strategy in Python asks for orders and reads what becomes of them. Needs `python3` and a package index, so it
//! is behind the feature `python`, which .ci/run switches on.

#![cfg(feature = "python")]
#![allow(clippy::unwrap_used, reason = "a test that cannot prepare has failed, and its helpers with it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Duration;

use spark_bus_schema::catalogue::find;
use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::market::{Quote, QuoteBatch};
use spark_bus_schema::orders::{OrderEvent, OrderId, OrderIntent};
use spark_bus_schema::risk::{Guard, Verdict};
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{Fixed, Message, Venue};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Follower, Meta, Start, now};
use spark_tests::system::System;

const LIMIT: Duration = Duration::from_secs(60);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/python")
}

/// A Python with what `requirements.txt` names, made once a test run and removed with the build folder.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("venv-{}", std::process::id()));
        succeed(Command::new("python3").arg("-m").arg("venv").arg(&venv));
        let python = venv.join("bin/python");
        let requirements = folder().join("requirements.txt");
        succeed(
            Command::new(&python)
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
                .arg(requirements),
        );
        python
    })
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", text(&output));
}

fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs the example beside everything else.
async fn example(url: &str, seed: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(python());
    command.arg(folder().join("strategy.py")).args(["--url", url, "--seed"]).arg(seed).args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    (output.status.code(), text(&output))
}

fn sample<T: Message>() -> T {
    decode_payload(&(find(&T::KIND.to_string()).unwrap().sample)()).unwrap()
}

/// A fresh quote every moment.
async fn market(feed: Bus) {
    loop {
        let mut batch = QuoteBatch::new(Venue::Binance, "BTCUSDT");
        let fixed = |text| Fixed::parse(text).unwrap();
        let (bid_price, ask_price, one) = (fixed("61700.01"), fixed("61700.02"), fixed("1"));
        batch
            .push(&Quote { update_id: 0, received_at: now(), bid_price, bid_quantity: one, ask_price, ask_quantity: one })
            .unwrap();
        feed.publish(&subject::quotes(Venue::Binance, "BTCUSDT"), &batch, Meta::default()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Answers every intent as told.
async fn answer(operator: Bus, risk: Bus, executor: Bus, approved: bool) {
    let intents = vec![subject::INTENTS.to_owned()];
    let mut intents = Follower::start(operator, "operator-intents", LEDGER, intents, Start::Beginning);
    while let Some(batch) = intents.next().await {
        for delivery in batch {
            let intent: OrderIntent = delivery.decode().expect("the example's bytes are what the kind says");
            let guard = (!approved).then_some(Guard::KillSwitch);
            let verdict = Verdict { approved, guard, order: intent.order.clone(), intent: intent.clone(), ..sample() };
            risk.publish(&subject::verdict(&intent.order), &verdict, Meta::default()).await.unwrap();
            if approved {
                let event = OrderEvent { order: intent.order.clone(), ..sample() };
                executor.publish(&subject::order_event(&intent.order), &event, Meta::default()).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn the_example_speaks_the_protocol_and_its_errors_say_what_to_do() {
    let broker = TestBroker::start().await;
    let quotes = tokio::spawn(market(broker.bus("feed").await));
    let hands = [broker.bus("operator").await, broker.bus("risk").await, broker.bus("executor").await];
    let [operator, risk, executor] = hands.clone();
    let answers = tokio::spawn(answer(operator, risk, executor, true));
    let (url, seed) = (broker.url(), broker.seed_file("strategy"));
    let (code, said) = example(&url, &seed, &["--key", "one"]).await;
    assert_eq!(code, Some(0), "{said}");
    let order = OrderId::derive("example", "one");
    for part in [
        "bid 61700.01",
        order.as_str(),
        "stored as LEDGER:",
        "verdict   approved",
        "order     pending",
        "order     filled",
        "done",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    let (code, said) = example(&url, &seed, &["--key", "one", "--side", "sell"]).await;
    assert!(code == Some(0) && said.contains("the key was used before"), "{said}");
    answers.abort();
    let [operator, risk, executor] = hands;
    let answers = tokio::spawn(answer(operator, risk, executor, false));
    let (code, said) = example(&url, &seed, &["--key", "two"]).await;
    assert!(code == Some(1) && said.contains("refused by kill_switch"), "{said}");
    answers.abort();
    let check = async |url: &str, seed: &Path, arguments: &[&str], want: (i32, &str)| {
        let (code, said) = example(url, seed, arguments).await;
        assert!(code == Some(want.0) && said.contains(want.1) && !said.contains("Traceback"), "{arguments:?}: {code:?} {said}");
    };
    check(&url, &seed, &["--help"], (0, "idempotency key")).await;
    check(&url, &seed, &["--symbol", "BTCUSDT"], (2, "is not <venue>.<symbol>")).await;
    check(&url, &seed, &["--quantity", "-1"], (2, "is not a quantity above 0")).await;
    check(&url, Path::new("/nowhere.nk"), &[], (2, "/nowhere.nk is not there")).await;
    check("nats://127.0.0.1:1", &seed, &[], (69, "is `spark up` running")).await;
    check(&url, &seed, &["--symbol", "binance.ETHUSDT", "--timeout", "2"], (69, "no fresh quote")).await;
    check(&url, &seed, &["--key", "three", "--timeout", "3"], (69, "is `risk` running?")).await;
    check(&url, &broker.seed_file("feed"), &[], (69, "")).await;
    quotes.abort();
}

#[tokio::test]
async fn an_order_of_the_example_is_filled_in_the_demo() {
    let system = System::start(env!("CARGO_BIN_EXE_spark-under-test"), "[strategy]\nenabled = false\n", &[]).await;
    let url = system.run()["nats_url"].as_str().unwrap().to_owned();
    let seed = system.data().join("keys/strategy.nk");
    let mut said = String::new();
    let asked = tokio::time::timeout(LIMIT, async {
        for exchange in ["binance.BTCUSDT", "btcturk.BTCTRY"] {
            let (code, words) = example(&url, &seed, &["--symbol", exchange, "--quantity", "0.001", "--timeout", "30"]).await;
            said.push_str(&words);
            assert!(code == Some(0) && words.contains("order     filled"), "{words}\n{}", system.printed());
        }
    });
    assert!(asked.await.is_ok(), "not within {LIMIT:?}: {said}");
}
