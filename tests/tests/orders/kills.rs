//! Two hundred kill -9 of risk, executor, gateway and broker while orders flow to the simulated exchanges, with a duplicate
//! window of one second: what was acknowledged is there, what was sent was sent once, and both records agree.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use spark_bus_schema::{OrderId, Venue};
use spark_tests::checker::{exchange_problems, ledger_problems, stories, unfinished};
use spark_tests::orders::{Answer, Desk, limit, market, record};
use spark_tests::system::System;
use spark_tests::wait::until;

use crate::setting::{LIMIT, LIVE, desk, pin, system, turn};

const KILLS: usize = 200;
/// Requests on their way at once.
const CLIENTS: usize = 4;
/// After each order a client rests a little: the exchanges' own limits on orders are not what is tested here.
const REST: Duration = Duration::from_millis(120);

const CONFIG: &str = r#"
[nats]
duplicate_window_ms = 1000
[supervisor]
restart_pause_ms = 20
restart_pause_max_ms = 60
[risk.default]
capital_usd = "1000000"
orders_per_minute_max = 1000000
exposure_usd_max = "1000000"
[exchange-sim]
binance_weight_per_min = 10000000
binance_connects_per_5_min = 0
binance_orders_per_10_s = 100000
btcturk_quota_factor = 1000
btcturk_connects_per_min = 0
[executor]
ask_ms = 100
ask_ms_max = 500
retry_ms = 50
retry_ms_max = 500
poll_ms = 500
"#;

/// A pseudo-random row that is the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// Orders of every sort on both venues; nobody's position grows.
fn order(number: usize) -> Value {
    let side = if number.is_multiple_of(2) { "buy" } else { "sell" };
    match number % 6 {
        0 | 1 => market("binance", "BTCUSDT", side, "0.001"),
        2 => limit("binance", "BTCUSDT", side, "0.001", "60010.00", "ioc"),
        3 => limit("binance", "BTCUSDT", side, "0.001", "60500.00", "gtc"),
        4 => limit("binance", "BTCUSDT", side, "0.001", "59500.00", "gtc"),
        _ => market("btcturk", "BTCTRY", side, "0.001"),
    }
}

/// Places orders until told to stop, each with its own key and again and again until it is answered.
async fn client(desk: &Desk, numbers: &AtomicUsize, stop: &AtomicBool) -> BTreeMap<usize, Answer> {
    let mut answered = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let answer = until("the order is answered", LIMIT, async || {
            let answer = desk.order(&format!("kill-{number}"), &order(number)).await?;
            // 202: stored, no verdict yet; 503: not known to be stored. Both say: ask again with the same key.
            if answer.status == 200 { Ok(answer) } else { Err(format!("{answer:?}")) }
        })
        .await;
        answered.insert(number, answer);
        tokio::time::sleep(REST).await;
    }
    answered
}

async fn kill_again_and_again(system: &System) {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..KILLS {
        let victim = match dice.roll(10) {
            0..=2 => "risk",
            3..=5 => "executor",
            6..=8 => "gateway",
            _ => "nats-server",
        };
        system.kill(victim).await;
        tokio::time::sleep(Duration::from_millis(dice.roll(400))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_kills_lose_nothing_and_double_nothing() {
    let _turn = turn().await;
    let system = system(&format!("{}{CONFIG}", LIVE.replace("\"live\"", "\"live\"\nper_minute = 1000000"))).await;
    pin(&system, "binance", "BTCUSDT", "60000.00", "60010.00").await;
    pin(&system, "btcturk", "BTCTRY", "2400000", "2400400").await;
    pin(&system, "btcturk", "USDTTRY", "40.000", "40.010").await;
    let desk = desk(&system);
    let (numbers, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let clients = join_all((0..CLIENTS).map(|_| client(&desk, &numbers, &stop)));
    let kills = async {
        kill_again_and_again(&system).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (answered, ()) = tokio::join!(clients, kills);
    let answered: BTreeMap<usize, Answer> = answered.into_iter().flatten().collect();

    // What rests is taken back; then everything has to come to an end.
    desk.kill_switch(true, true).await;
    let bus = system.bus("operator").await;
    let record = until("every order has come to an end", LIMIT * 2, async || {
        let record = record(&bus).await;
        let open = unfinished(&stories(&record));
        tokio::time::sleep(Duration::from_millis(200)).await;
        if open.is_empty() { Ok(record) } else { Err(format!("{} open: {:.600}", open.len(), open.join("; "))) }
    })
    .await;
    let stories = stories(&record);
    let mut problems = ledger_problems(&stories);
    for venue in [Venue::Binance, Venue::Btcturk] {
        let log = system.simulator(reqwest::Method::GET, &format!("/sim/orders?exchange={venue}"), None).await;
        problems.extend(exchange_problems(&stories, venue, &log));
    }
    for (number, answer) in &answered {
        let id = OrderId::derive("manual", &format!("kill-{number}"));
        let Some(verdict) = stories.get(&id).and_then(|story| story.verdicts.first()) else {
            problems.push(format!("{id} was acknowledged and is not in the ledger: {answer:?}"));
            continue;
        };
        if answer.json()["intentSequence"] != verdict.intent_sequence || answer.json()["approved"] != verdict.approved {
            problems.push(format!("{id}: acknowledged as {answer:?}, recorded as {verdict:?}"));
        }
    }
    assert_eq!(problems, Vec::<String>::new());
    let approved = stories.values().filter(|story| story.verdicts[0].approved).count();
    let filled = stories.values().filter(|story| !story.filled().is_zero()).count();
    let told = format!("{} orders, {approved} approved, {filled} filled", stories.len());
    assert!(answered.len() >= KILLS && approved > KILLS / 2 && filled > KILLS / 4, "{told}");
    let halts = system.json("/api/exec/reconciliation").await.unwrap();
    println!("{told}; {halts}");
}
