//! A feed that publishes at a steady rate until it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use spark_bus_schema::market::{Quote, QuoteBatch, Side, TickBatch, Trade};
use spark_bus_schema::{Fixed, Timestamp, Venue, subject};
use spark_nats::{Bus, Meta, now};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::Delays;

/// Pause between two numbered quotes: 50 a second.
const PAUSE: Duration = Duration::from_millis(20);
/// Trades that go with each quote, in one batch: 1 000 a second.
const TRADES: u64 = 20;
/// Numbers that there is room for.
const NUMBERS: usize = 100_000;
/// The symbol whose quotes are numbered.
pub(super) const SYMBOL: &str = "LOADUSDT";
/// Symbols of everything else.
const OTHERS: [&str; 4] = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "AVAXUSDT"];

/// What was published, and when.
pub struct Feed {
    /// When number `n` was about to be published, ns, at `n`.
    sent_at: Vec<AtomicI64>,
    newest: AtomicU64,
    stop: AtomicBool,
}

impl Feed {
    /// Begins to publish as the feed does: each time one numbered quote, a quote of another symbol, and 20 trades; 50 times a
    /// second.
    ///
    /// # Panics
    /// The broker refuses.
    #[must_use]
    pub fn start(bus: Bus) -> (Arc<Self>, JoinHandle<()>) {
        let sent_at = (0..NUMBERS).map(|_| AtomicI64::new(0)).collect();
        let feed = Arc::new(Self { sent_at, newest: AtomicU64::new(0), stop: AtomicBool::new(false) });
        let publishing = Arc::clone(&feed);
        let task = tokio::spawn(async move {
            let mut ticks = interval(PAUSE);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut number = 0;
            while !publishing.stop.load(Ordering::Acquire) {
                ticks.tick().await;
                number += 1;
                publishing.publish(&bus, number).await;
            }
        });
        (feed, task)
    }

    async fn publish(&self, bus: &Bus, number: u64) {
        let other = OTHERS[usize::try_from(number).expect("small") % OTHERS.len()];
        let on = [SYMBOL, other].map(|symbol| subject::quotes(Venue::Binance, symbol));
        let quotes = [SYMBOL, other].map(|symbol| quote(symbol, number));
        let (trades_on, trades) = (subject::ticks(Venue::Binance, other), trades(other, number));
        self.sent_at[usize::try_from(number).expect("small")].store(now().as_nanos(), Ordering::Release);
        self.newest.store(number, Ordering::Release);
        let (a, b, c) = tokio::join!(
            bus.publish(&on[0], &quotes[0], Meta::default()),
            bus.publish(&on[1], &quotes[1], Meta::default()),
            bus.publish(&trades_on, &trades, Meta::default())
        );
        a.and(b).and(c).expect("the broker stores it");
    }

    /// Stops it.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// The newest number.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }

    /// Notes the delays of the numbers after `before`, up to and with `number`, which is seen now.
    pub fn seen(&self, before: u64, number: u64, delays: &Delays) {
        let at = now();
        for number in before + 1..=number {
            let sent = self.sent_at.get(usize::try_from(number).unwrap_or(usize::MAX)).map_or(0, |at| at.load(Ordering::Acquire));
            delays.push(at.saturating_since(Timestamp::from_nanos(sent)));
        }
    }
}

fn quote(symbol: &str, number: u64) -> QuoteBatch {
    let value = Fixed::parse(&number.to_string()).expect("a number");
    let mut batch = QuoteBatch::new(Venue::Binance, symbol);
    let quote = Quote {
        update_id: number,
        received_at: now(),
        bid_price: value,
        bid_quantity: value,
        ask_price: value,
        ask_quantity: value,
    };
    batch.push(&quote).expect("one row fits");
    batch
}

fn trades(symbol: &str, number: u64) -> TickBatch {
    let value = Fixed::parse("61837.63").expect("a number");
    let mut batch = TickBatch::new(Venue::Binance, symbol);
    for index in 0..TRADES {
        let at = now();
        let trade = Trade {
            trade_id: number * TRADES + index,
            occurred_at: at,
            received_at: at,
            price: value,
            quantity: value,
            side: Side::Buy,
        };
        batch.push(&trade).expect("few rows fit");
    }
    batch
}
