//! From a fault to the eye.

use std::time::Duration;

use spark_bus_schema::alerts::{Alert, AlertState};
use spark_bus_schema::{Timestamp, subject};
use spark_nats::Follower;
use spark_tests::browser::Look;
use spark_tests::wait::until;

use crate::stage::{LIMIT, Stage, Visit};

/// What the page promises, ms from the alert's place in the LEDGER to the document.
const DELAY_MS_MAX: f64 = 2_000.0;
/// Markets that fall silent, one after the other. The promise is of the page; a machine that is busy with other tests may be
/// late once, so the best of these counts. Each of them must arrive.
const MARKETS: [&str; 3] = ["ETHUSDT", "SOLUSDT", "BNBUSDT"];
/// Notes when each alert came into the document, by its name and what it says.
const WATCH: &str = "(() => {
    const seen = spark_test.alerts = {};
    const look = () => { for (const one of document.querySelectorAll('#alerts .alert')) seen[`${one.dataset.key} ${one.innerText}`] ??= Date.now(); };
    new MutationObserver(look).observe(document.querySelector('#alerts'), { subtree: true, childList: true, characterData: true, attributes: true });
    look(); })()";

/// A market falls silent; the guardrail says so in the LEDGER; the page shows it within two seconds from there.
pub async fn within_two_seconds(stage: &Stage) {
    let visit = stage.visit(Look::DESK).await;
    visit.evaluate(WATCH).await;
    let mut alerts = stage.ledger("operator-page-alerts", subject::ALERTS);
    until("the ledger is followed", LIMIT, async || if alerts.is_caught_up() { Ok(()) } else { Err("not yet") }).await;
    let mut delays = Vec::new();
    for market in MARKETS {
        stage.fault(&["freeze", "exchange=binance", &format!("symbol={market}")]);
        let stored_at = stored(&mut alerts, market, AlertState::Firing).await;
        delays.push(shown(&visit, market, stored_at).await);
        stage.system.clear_faults().await;
        stored(&mut alerts, market, AlertState::Resolved).await;
        let gone = format!(
            "![...document.querySelectorAll('#alerts .alert')].some((one) => /WSStaleness/.test(one.innerText) && one.innerText.includes('{market}')) || document.querySelector('#alerts').innerText.slice(0, 400)"
        );
        visit.until(&format!("the alert of {market} is gone when it is resolved"), &gone).await;
        if delays.iter().any(|&delay| delay < DELAY_MS_MAX) {
            break;
        }
    }
    println!("  alert in the ledger -> in the document: {delays:.0?} ms");
    assert!(delays.iter().any(|&delay| delay < DELAY_MS_MAX), "later than {DELAY_MS_MAX} ms each time: {delays:?}");
    visit.end().await;
}

/// When the alert of a market was stored in this state.
async fn stored(alerts: &mut Follower, market: &str, state: AlertState) -> Timestamp {
    let found = async {
        loop {
            for delivery in alerts.next().await.expect("a follower does not end by itself") {
                let alert: Alert = delivery.decode().unwrap();
                if alert.name == "WSStaleness" && alert.state == state && alert.scope.values().any(|value| value == market) {
                    return delivery.stored_at;
                }
            }
        }
    };
    tokio::time::timeout(LIMIT, found)
        .await
        .unwrap_or_else(|_| panic!("no {state:?} alert of {market} in the LEDGER within {LIMIT:?}"))
}

/// How long after that it was in the document, ms, by the one clock of this machine.
async fn shown(visit: &Visit<'_>, market: &str, stored_at: Timestamp) -> f64 {
    let found =
        format!("Object.entries(spark_test.alerts).find(([told]) => /WSStaleness/.test(told) && told.includes('{market}'))");
    visit
        .until_within(
            Duration::from_secs(30),
            &format!("the alert of {market} is on the page"),
            &format!("Boolean({found}) || Object.keys(spark_test.alerts).join('\\n').slice(0, 600)"),
        )
        .await;
    let at = visit.evaluate(&format!("{found}[1]")).await.as_f64().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "ms of a short time, for people")]
    let stored_at = stored_at.as_nanos() as f64 / 1e6;
    at - stored_at
}
