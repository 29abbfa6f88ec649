//! The vendor of Borsa Istanbul's prices as a poller meets it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use serde_json::{Value, json};
use spark_exchange_sim::{BistConfig, CalendarKind, Config, DEMO_BIST_TOKEN, Sim};
use support::*;

/// A Friday, 14:00 in Istanbul, ms since 1970.
const FRIDAY: i64 = 1_795_172_400_000;
const HOUR: i64 = 3_600_000;

async fn vendor(bist_vendor: BistConfig) -> Sim {
    start(Config { bist_vendor, ..config() }).await
}

async fn quotes(sim: &Sim, symbols: &str) -> Answer {
    let request = client().get(format!("http://{}/quotes?symbols={symbols}", sim.bist_addr)).bearer_auth(DEMO_BIST_TOKEN);
    send(request).await
}

async fn hand(sim: &Sim, body: Value) -> Answer {
    send(client().post(format!("http://{}/sim/bist", sim.admin_addr)).body(body.to_string())).await
}

/// Without the clock's own moment.
fn prices(row: &Value) -> Vec<Value> {
    ["last", "bid", "ask", "open", "high", "low", "volume", "turnover"].map(|name| row[name].clone()).to_vec()
}

#[tokio::test]
async fn a_key_a_list_and_a_quota() {
    let sim = vendor(BistConfig { per_minute: 3, ..BistConfig::default() }).await;
    assert_eq!(get(sim.bist_addr, "/quotes?symbols=THYAO").await.status, 401);
    let wrong = client().get(format!("http://{}/quotes?symbols=THYAO", sim.bist_addr)).bearer_auth("guess");
    assert_eq!(send(wrong).await.status, 401);
    let rows = quotes(&sim, "THYAO.E%2Cakbnk,NOSUCH").await.json();
    let names: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["symbol"].clone()).collect();
    assert_eq!(names, ["THYAO", "AKBNK"], "unknown ones are left out");
    for name in ["last", "prevClose", "volume", "turnover"] {
        assert!(rows[0][name].is_number(), "{name} in {rows}");
    }
    assert!(rows[0]["time"].as_str().unwrap().ends_with("+03:00") && rows[0]["status"] == "continuous", "{rows}");
    let nothing = quotes(&sim, "").await;
    assert!(nothing.status == 400 && nothing.text.contains("symbols=THYAO"), "{nothing:?}");
    quotes(&sim, "THYAO").await;
    let refused = quotes(&sim, "THYAO").await;
    assert!(refused.status == 429 && refused.header("retry-after").is_some(), "{refused:?}");
}

#[tokio::test]
async fn prices_stand_outside_the_session_and_on_holidays_and_move_in_it() {
    let sim = vendor(BistConfig { calendar: CalendarKind::Exchange, ..BistConfig::default() }).await;
    let at = async |ms: i64| {
        let shown = hand(&sim, json!({ "shift_ms": ms - now_ms() })).await.json();
        (shown["phase"].as_str().unwrap().to_owned(), quotes(&sim, "THYAO").await.json()[0].clone())
    };
    let (phase, noon) = at(FRIDAY).await;
    assert_eq!((phase.as_str(), noon["status"].as_str()), ("continuous", Some("continuous")));
    let (_, later) = at(FRIDAY + HOUR).await;
    assert!(later["volume"].as_u64() > noon["volume"].as_u64(), "{noon} {later}");
    let (phase, evening) = at(FRIDAY + 6 * HOUR).await;
    assert_eq!(phase, "closed");
    let (phase, saturday) = at(FRIDAY + 24 * HOUR).await;
    assert_eq!((phase.as_str(), prices(&saturday)), ("closed", prices(&evening)));
    assert_eq!(saturday["time"], evening["time"], "a price that stands keeps its time");
    let (phase, monday) = at(FRIDAY + 72 * HOUR).await;
    assert_eq!((phase.as_str(), &monday["prevClose"]), ("continuous", &evening["last"]));
}

#[tokio::test]
async fn delay_renaming_made_up_rows_and_faults() {
    let sim = vendor(BistConfig { delay_minutes: 15, ..BistConfig::default() }).await;
    assert_eq!(get(sim.admin_addr, "/sim/bist").await.json()["delay_minutes"], 15);
    hand(
        &sim,
        json!({ "rename": { "from": "TRALT", "to": "KOZAL" }, "hold": { "symbol": "THYAO", "row": { "last": "1.234" } } }),
    )
    .await;
    let rows = quotes(&sim, "THYAO,TRALT,KOZAL").await.json();
    assert_eq!(
        (rows[0]["last"].clone(), rows[1]["symbol"].clone(), rows.as_array().unwrap().len()),
        (json!("1.234"), json!("KOZAL"), 2)
    );
    hand(&sim, json!({ "release": "THYAO" })).await;
    assert!(quotes(&sim, "THYAO").await.json()[0]["last"].is_number());
    for (body, part) in [(json!({ "rename": { "from": "X", "to": "Y" } }), "no `X`"), (json!({ "delay": 1 }), "delay_minutes")] {
        let answer = hand(&sim, body).await;
        assert!(answer.status == 400 && answer.text.contains(part), "{answer:?}");
    }
    fault(&sim, json!({ "exchange": "bist", "kind": "skip", "symbol": "AKBNK" })).await;
    assert_eq!(quotes(&sim, "AKBNK,THYAO").await.json().as_array().unwrap().len(), 1);
    fault(&sim, json!({ "exchange": "bist", "kind": "status", "code": 503, "n": 1 })).await;
    assert_eq!(quotes(&sim, "THYAO").await.status, 503);
    fault(&sim, json!({ "exchange": "bist", "kind": "revoke_key", "n": 1 })).await;
    assert_eq!(quotes(&sim, "THYAO").await.status, 401);
    fault(&sim, json!({ "exchange": "bist", "kind": "freeze" })).await;
    let frozen = quotes(&sim, "THYAO").await.json();
    hand(&sim, json!({ "shift_ms": HOUR })).await;
    assert_eq!(quotes(&sim, "THYAO").await.json(), frozen);
    clear_faults(&sim).await;
    assert_ne!(quotes(&sim, "THYAO").await.json(), frozen);
    assert_eq!(get(sim.admin_addr, "/sim/state").await.json()["exchanges"]["bist"]["requests"]["503"], 1);
}
