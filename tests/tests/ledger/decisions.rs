//! Every decision follows from the LEDGER alone: again, byte for byte, and under other limits.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use serde_json::Value;
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::{OrderIntent, OrderType, TimeInForce};
use spark_bus_schema::risk::{Guard, Verdict};
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{Decimal, Message, OrderId, Timestamp, Venue, encode};
use spark_nats::{Bus, SubjectWriter};
use spark_tests::orders::{is, ledger};
use spark_tests::system::System;
use spark_tests::wait::until;

use crate::setting::{LIMIT, QUIET, desk, pin, ready, turn};

/// Orders of the recorded run, besides those of the demo's own strategies.
const ORDERS: u32 = 1_200;
const STRATEGIES: u32 = 6;
const IN_FLIGHT: usize = 20;
/// Orders that the real command explains: it reads the LEDGER anew for each. The others are decided again by the same code,
/// all of them in one reading.
const EXPLAINED: usize = 40;
/// About what one BTC costs, USD; no order is worth so close to a limit that a part in ten thousand matters.
const PRICE: u32 = 60_005;

const CONFIG: &str = r#"
[executor.binance]
balances = { USDT = "100000000", BTC = "10000" }
[risk.default]
capital_usd = "10000000"
orders_per_minute_max = 1000000
exposure_usd_max = "10000000"
notional_usd_max = "10000"
"#;

/// Limits as a file.
fn limits(notional: u32) -> String {
    format!(
        "[default]\ncapital_usd = \"10000000\"\norders_per_minute_max = 1000000\nexposure_usd_max = \"10000000\"\n\
         notional_usd_max = \"{notional}\"\n"
    )
}

/// Thousandths of a BTC: 3 000 to 10 800 USD.
fn size(number: u32) -> u32 {
    50 + number * 7_919 % 131
}

fn intent(number: u32) -> OrderIntent {
    let (strategy, key) = (format!("s{}", number % STRATEGIES), number.to_string());
    OrderIntent {
        order: OrderId::derive(&strategy, &key),
        key,
        strategy,
        actor: "test".to_owned(),
        exchange: Venue::Binance,
        symbol: "BTCUSDT".to_owned(),
        side: if number.is_multiple_of(2) { Side::Buy } else { Side::Sell },
        order_type: OrderType::Market,
        time_in_force: TimeInForce::Ioc,
        quantity: Decimal::new(size(number).into(), 3),
        limit_price: None,
        requested_at: Timestamp::from_millis(1),
        reason: None,
        decided_at: None,
    }
}

async fn place(bus: &Bus, numbers: std::ops::Range<u32>) {
    stream::iter(numbers.map(intent))
        .for_each_concurrent(IN_FLIGHT, async |intent| {
            let target = subject::intent(&intent.order);
            let mut writer = SubjectWriter::at(bus.clone(), LEDGER, target.clone(), 0);
            writer.append(OrderIntent::KIND, Bytes::from(encode(&intent)), &target).await.expect("stored once");
        })
        .await;
}

/// Everything that a day brings: limits that change, a kill switch, a strategy that is stopped, a risk that dies.
async fn day(system: &System) {
    let bus = system.bus("strategy").await;
    let path = system.data().join("limits.toml");
    place(&bus, 0..300).await;
    std::fs::write(&path, limits(8_000)).unwrap();
    let (code, printed) = system.spark(&["limits", "set", path.to_str().unwrap(), "--reason", "test", "--confirm"]);
    assert_eq!(code, 0, "{printed}");
    place(&bus, 300..600).await;
    desk(system).kill_switch(true, false).await;
    place(&bus, 600..700).await;
    desk(system).kill_switch(false, false).await;
    tokio::join!(place(&bus, 700..900), system.kill("risk"));
    let (code, printed) = system.spark(&["strategy", "stop", "s3", "--reason", "test"]);
    assert_eq!(code, 0, "{printed}");
    place(&bus, 900..ORDERS).await;
}

/// Orders that have another answer when nothing above `notional` is allowed: whoever got past that guard and is larger.
fn expected(recorded: &BTreeMap<OrderId, Verdict>, notional: u32) -> BTreeSet<String> {
    let is_earlier =
        |guard| matches!(guard, Guard::Halt | Guard::StalePrice | Guard::Filters | Guard::Notional | Guard::Arithmetic);
    let sizes: BTreeMap<OrderId, u32> = (0..ORDERS).map(|number| (intent(number).order, size(number))).collect();
    let changes = recorded.iter().filter(|(order, verdict)| {
        let value = sizes.get(*order).map_or(0, |size| size * PRICE / 1_000);
        value > notional && !verdict.guard.is_some_and(is_earlier)
    });
    changes.map(|(order, _)| order.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorded_day_gives_the_same_verdicts_again_is_explained_and_tells_what_other_limits_would_have_done() {
    let _turn = turn().await;
    let demo = QUIET.replace("enabled = false", "enabled = true");
    let system = System::start(env!("CARGO_BIN_EXE_spark-under-test"), &format!("{demo}{CONFIG}"), &[]).await;
    ready(&system).await;
    pin(&system, "binance", "BTCUSDT", "60000.00", "60010.00").await;
    day(&system).await;
    let operator = system.bus("operator").await;
    let record = until("every order has its verdict", LIMIT, async || {
        let record = ledger(&operator).await;
        let count = |pattern| record.iter().filter(|delivery| is(delivery, pattern)).count();
        let (asked, decided) = (count(subject::INTENTS), count(subject::VERDICTS));
        let is_done = asked == decided && asked >= usize::try_from(ORDERS).unwrap();
        if is_done { Ok(record) } else { Err(format!("{asked} asked, {decided} decided")) }
    })
    .await;

    // The same bytes, twice, and they are the recorded ones.
    let verdicts = record.iter().filter(|delivery| is(delivery, subject::VERDICTS));
    let bytes: BTreeMap<OrderId, Vec<u8>> =
        verdicts.clone().map(|delivery| (delivery.decode::<Verdict>().unwrap().order, delivery.payload.to_vec())).collect();
    let recorded: BTreeMap<OrderId, Verdict> =
        verdicts.map(|delivery| delivery.decode::<Verdict>().unwrap()).map(|verdict| (verdict.order.clone(), verdict)).collect();
    let again = || -> Vec<(OrderId, Vec<u8>)> {
        spark_risk::replay(record.iter(), None).iter().map(|verdict| (verdict.order.clone(), encode(verdict))).collect()
    };
    let (first, second) = (again(), again());
    assert_eq!(first, second);
    assert_eq!(first.len(), recorded.len());
    let different: Vec<String> = first
        .iter()
        .filter(|(order, made)| bytes.get(order) != Some(made))
        .map(|(order, _)| format!("{:?}", recorded.get(order)))
        .collect();
    assert_eq!(different, Vec::<String>::new());
    let guards = recorded.values().fold(BTreeMap::new(), |mut guards: BTreeMap<_, usize>, verdict| {
        *guards.entry(verdict.guard).or_default() += 1;
        guards
    });
    for guard in [None, Some(Guard::Notional), Some(Guard::KillSwitch), Some(Guard::Strategy)] {
        assert!(guards.get(&guard).is_some_and(|count| *count >= 10), "{guard:?} was hardly tested: {guards:?}");
    }

    // The command tells of each what is recorded, and comes to it by itself.
    for (order, verdict) in recorded.iter().step_by(recorded.len() / EXPLAINED) {
        let (code, printed) = system.spark(&["explain", order.as_str(), "--json"]);
        assert_eq!(code, 0, "{printed}");
        let story: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(story["recomputed"]["result"], "identical", "{printed}");
        assert_eq!(story["verdict"]["message"], serde_json::to_value(verdict).unwrap());
        assert_eq!(story["intent"]["sequence"], verdict.intent_sequence, "{printed}");
    }

    // Tighter limits change exactly what an independent count says.
    let path = system.data().join("tighter.toml");
    for notional in [5_000, 7_000] {
        std::fs::write(&path, limits(notional)).unwrap();
        let (code, printed) = system.spark(&["whatif", "--limits", path.to_str().unwrap(), "--json"]);
        assert_eq!(code, 0, "{printed}");
        let told: Value = serde_json::from_str(&printed).unwrap();
        let rows = told["orders"].as_array().unwrap();
        let changed: BTreeSet<String> = rows.iter().map(|row| row["order"].as_str().unwrap().to_owned()).collect();
        let wanted = expected(&recorded, notional);
        assert!(wanted.len() > 100, "{}", wanted.len());
        let missing: Vec<_> = wanted.difference(&changed).map(|order| &recorded[&OrderId::parse(order).unwrap()]).collect();
        let surplus: Vec<_> = rows.iter().filter(|row| !wanted.contains(row["order"].as_str().unwrap())).collect();
        assert!(missing.is_empty() && surplus.is_empty(), "{notional}: missing {missing:?}, surplus {surplus:?}");
    }
}
