//! What `spark top` knows: the newest picture of the gateway, and rates that follow from the ones before.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Samples that a rate is taken over: about so many seconds.
const SAMPLES_MAX: usize = 6;
/// Sequences that have not moved for so long stand still: longer than the gateway takes to look again.
const REPEATED_MS: i64 = 12_000;
/// Orders that are kept.
const ORDERS_MAX: usize = 200;

/// A process.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Process {
    pub name: String,
    pub expected: bool,
    pub presence: String,
    pub state: Option<String>,
    pub detail: Option<String>,
    pub pid: Option<u32>,
    pub age_ms: Option<i64>,
    pub resident_bytes: Option<u64>,
    pub restarts: Option<u64>,
}

/// A connection to a venue.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Feed {
    pub venue: String,
    pub state: String,
    pub symbols: Vec<String>,
    pub age_ms: Option<i64>,
    pub reconnects: u64,
    pub trades_missing: u64,
    pub trades_filled: u64,
    pub frames_rejected: u64,
    pub detail: Option<String>,
}

/// What could not be handled.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Parked {
    /// None before the gateway has looked.
    pub count: Option<u64>,
}

/// Everything about the processes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct System {
    pub now_ms: i64,
    pub status: String,
    pub broker_connected: bool,
    pub version: String,
    pub processes: Vec<Process>,
    pub feeds: Vec<Feed>,
    pub parked: Parked,
}

/// One of the guardrail's windows.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Window {
    pub rule: String,
    pub scope: BTreeMap<String, String>,
    pub value: Option<f64>,
    pub samples: u64,
    pub unit: String,
    pub warning: Option<f64>,
    pub critical: Option<f64>,
    pub state: String,
}

/// All of them.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Windows {
    /// ns since the epoch.
    pub at: i64,
    pub values: Vec<Window>,
    pub trades_counted: BTreeMap<String, u64>,
}

/// An alert that fires or is pending.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Alert {
    pub name: String,
    pub scope: BTreeMap<String, String>,
    pub state: String,
    pub severity: Option<String>,
    /// ns since the epoch.
    pub since: Option<i64>,
    pub summary: String,
    pub first_action: String,
    #[serde(rename = "silencedBy")]
    pub silenced_by: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Alerts {
    active: Vec<Alert>,
}

/// An order. Numbers are kept as they came, digit for digit.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Order {
    pub order: String,
    pub at: String,
    pub strategy: String,
    pub exchange: String,
    pub symbol: String,
    pub side: String,
    pub quantity: Option<Box<RawValue>>,
    pub price: Option<Box<RawValue>>,
    pub filled: Option<Box<RawValue>>,
    pub average_price: Option<Box<RawValue>>,
    pub state: String,
    pub open: bool,
    pub reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Orders {
    orders: Vec<Order>,
    open_count: Option<u64>,
}

/// What may trade.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Guard {
    pub kill_switch: Option<serde_json::Value>,
    pub halts: Vec<serde_json::Value>,
}

impl Guard {
    /// Whether the kill switch is on: it tells who threw it, or says so.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.kill_switch.as_ref().is_some_and(|switch| switch.get("on") != Some(&false.into()))
    }
}

/// A price.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Price {
    pub venue: String,
    pub symbol: String,
    pub last: Option<Box<RawValue>>,
    pub bid: Option<Box<RawValue>>,
    pub ask: Option<Box<RawValue>>,
    pub age_ms: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Prices {
    prices: Vec<Price>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Snapshot {
    system: System,
    prices: Vec<Price>,
    alerts: Alerts,
    windows: Option<Windows>,
    orders: Orders,
    guard: Guard,
}

/// A stream of the broker, by the gateway's metrics.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Stream {
    pub messages: u64,
    pub bytes: u64,
    pub last_sequence: u64,
}

/// The connection to the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "reason")]
pub enum Link {
    /// Nothing was received yet.
    #[default]
    Connecting,
    /// Events come.
    Live,
    /// None come, and why; it is tried again.
    Lost(String),
}

/// Everything.
#[derive(Debug, Default, Serialize)]
pub struct State {
    pub address: String,
    pub link: Link,
    /// When the newest event came, ms since the epoch by this machine's clock.
    pub heard_ms: Option<i64>,
    pub system: System,
    pub guard: Guard,
    pub alerts: Vec<Alert>,
    pub windows: Vec<Window>,
    /// Newest first.
    pub orders: Vec<Order>,
    pub open_orders: u64,
    #[serde(serialize_with = "values")]
    pub prices: BTreeMap<(String, String), Price>,
    pub streams: BTreeMap<String, Stream>,
    /// Messages a second of each stream.
    pub stream_rates: BTreeMap<String, f64>,
    /// Trades a second of each symbol, `venue.symbol`.
    pub trade_rates: BTreeMap<String, f64>,
    /// Messages that each reader has not been given yet, `stream consumer`.
    pub lag: BTreeMap<String, u64>,
    /// Events that could not be read: the gateway is of another version.
    pub unreadable: u64,
    #[serde(skip)]
    counted: VecDeque<(i64, BTreeMap<String, u64>)>,
    #[serde(skip)]
    sequences: VecDeque<(i64, BTreeMap<String, u64>)>,
}

fn values<S: serde::Serializer>(prices: &BTreeMap<(String, String), Price>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(prices.values())
}

impl State {
    /// Nothing known yet of the gateway at this address.
    #[must_use]
    pub fn of(address: &str) -> Self {
        Self { address: address.to_owned(), ..Self::default() }
    }

    /// Takes in an event of the live stream. What it does not know changes nothing, what it cannot read is counted.
    pub fn apply(&mut self, event: &str, data: &str, now_ms: i64) {
        self.heard_ms = Some(now_ms);
        self.link = Link::Live;
        let read = match event {
            "snapshot" | "resync" => self.whole(data),
            "processes" => take(data, |system| self.system = system),
            "windows" => take(data, |windows| self.windows(windows)),
            "alerts" => take(data, |alerts: Alerts| self.alerts = alerts.active),
            "order" => take(data, |orders| self.orders(orders)),
            "guard" | "kill_switch" => take(data, |guard| self.guard = guard),
            "prices" => take(data, |prices: Prices| self.prices(prices.prices)),
            _ => true,
        };
        self.unreadable += u64::from(!read);
    }

    fn whole(&mut self, data: &str) -> bool {
        take(data, |all: Snapshot| {
            self.system = all.system;
            self.guard = all.guard;
            self.alerts = all.alerts.active;
            self.orders.clear();
            self.orders(all.orders);
            self.prices.clear();
            self.prices(all.prices);
            if let Some(windows) = all.windows {
                self.windows(windows);
            }
        })
    }

    fn windows(&mut self, windows: Windows) {
        self.windows = windows.values;
        self.trade_rates = sample(&mut self.counted, windows.at / 1_000_000, windows.trades_counted);
    }

    fn orders(&mut self, orders: Orders) {
        for order in orders.orders.into_iter().rev() {
            self.orders.retain(|known| known.order != order.order);
            self.orders.insert(0, order);
        }
        // Times are of one form (RFC 3339, UTC): as text they are in order.
        self.orders.sort_by(|a, b| b.at.cmp(&a.at));
        self.orders.truncate(ORDERS_MAX);
        let open = self.orders.iter().filter(|order| order.open).count();
        self.open_orders = orders.open_count.unwrap_or(u64::try_from(open).unwrap_or(u64::MAX));
    }

    fn prices(&mut self, prices: Vec<Price>) {
        for price in prices {
            self.prices.insert((price.venue.clone(), price.symbol.clone()), price);
        }
    }

    /// Takes in the gateway's `/metrics`: streams and readers.
    pub fn apply_metrics(&mut self, text: &str, now_ms: i64) {
        let (mut streams, mut lag) = (BTreeMap::<String, Stream>::new(), BTreeMap::new());
        for line in text.lines().filter(|line| line.starts_with("spark_stream_") || line.starts_with("spark_consumer_lag")) {
            let Some((name, stream, consumer, value)) = metric(line) else { continue };
            match name {
                "spark_stream_messages" => streams.entry(stream).or_default().messages = value,
                "spark_stream_bytes" => streams.entry(stream).or_default().bytes = value,
                "spark_stream_last_sequence" => streams.entry(stream).or_default().last_sequence = value,
                "spark_consumer_lag_messages" => {
                    lag.insert(format!("{stream} {consumer}"), value);
                }
                _ => {}
            }
        }
        let sequences: BTreeMap<String, u64> =
            streams.iter().map(|(name, stream)| (name.clone(), stream.last_sequence)).collect();
        // The gateway looks itself only every few seconds: what it repeats in between is no new sample.
        let repeated = |(at, before): &(i64, BTreeMap<String, u64>)| *before == sequences && now_ms - at < REPEATED_MS;
        if !self.sequences.back().is_some_and(repeated) {
            self.stream_rates = sample(&mut self.sequences, now_ms, sequences);
        }
        (self.streams, self.lag) = (streams, lag);
    }

    /// The connection is gone; what is known stays, and is old.
    pub fn lost(&mut self, reason: String) {
        self.link = Link::Lost(reason);
        // Rates over a gap would be wrong.
        self.counted.clear();
        self.sequences.clear();
    }
}

/// Whether it could be read.
fn take<'a, T: Deserialize<'a>>(data: &'a str, then: impl FnOnce(T)) -> bool {
    serde_json::from_str(data).map(then).is_ok()
}

/// `name{stream="LEDGER",consumer="risk"} 12`; the value as a count.
fn metric(line: &str) -> Option<(&str, String, String, u64)> {
    let (name, rest) = line.split_once('{')?;
    let (labels, value) = rest.rsplit_once("} ")?;
    let label = |key: &str| {
        let found = labels.split(',').find_map(|pair| pair.strip_prefix(key)?.strip_prefix("=\"")?.strip_suffix('"'));
        found.unwrap_or_default().to_owned()
    };
    let value: f64 = value.trim().parse().ok()?;
    // Counts; what is not a number, or below zero, is none.
    Some((name, label("stream"), label("consumer"), value.max(0.0) as u64))
}

/// Adds a sample and gives the rates a second over all that are kept.
fn sample(kept: &mut VecDeque<(i64, BTreeMap<String, u64>)>, at_ms: i64, counts: BTreeMap<String, u64>) -> BTreeMap<String, f64> {
    match kept.back() {
        // Another run of what counts: it began anew.
        Some((last, _)) if *last > at_ms => kept.clear(),
        // The same sample once more.
        Some((last, _)) if *last == at_ms => {
            kept.pop_back();
        }
        _ => {}
    }
    if kept.back().is_some_and(|(_, before)| before.iter().any(|(name, count)| counts.get(name).is_some_and(|now| now < count))) {
        kept.clear();
    }
    kept.push_back((at_ms, counts));
    while kept.len() > SAMPLES_MAX {
        kept.pop_front();
    }
    let (Some((from, first)), Some((to, last))) = (kept.front(), kept.back()) else { return BTreeMap::new() };
    let seconds = (to - from) as f64 / 1_000.0;
    if seconds <= 0.0 {
        return BTreeMap::new();
    }
    let rate = |name: &String, count: u64| (count - first.get(name).copied().unwrap_or(count).min(count)) as f64 / seconds;
    last.iter().map(|(name, count)| (name.clone(), rate(name, *count))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_change_what_they_are_about_and_rubbish_changes_nothing() {
        let mut state = State::default();
        state.apply(
            "snapshot",
            r#"{"system":{"status":"DEMO","processes":[{"name":"feed","presence":"up"}],"parked":{"count":3}},
            "alerts":{"active":[{"name":"A","state":"firing"}]},"orders":{"orders":[{"order":"a","at":"1","open":true,"quantity":0.00100}],"openCount":1},
            "guard":{"killSwitch":null,"halts":[]},"prices":[{"venue":"binance","symbol":"BTCUSDT","last":1.50}]}"#,
            7,
        );
        assert_eq!(
            (state.system.parked.count, state.alerts.len(), state.open_orders, state.link.clone()),
            (Some(3), 1, 1, Link::Live)
        );
        assert_eq!(state.orders[0].quantity.as_ref().unwrap().get(), "0.00100");
        state.apply("order", r#"{"orders":[{"order":"b","at":"2"},{"order":"a","at":"1","open":false,"state":"filled"}]}"#, 8);
        assert_eq!(state.orders.iter().map(|order| order.order.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(state.open_orders, 0);
        state.apply("kill_switch", r#"{"killSwitch":{"reason":"x"},"halts":[]}"#, 9);
        assert!(state.guard.is_killed());
        state.apply("alerts", "{\"active\":[]}", 10);
        state.apply("processes", "{broken", 11);
        state.apply("something new", "{}", 12);
        assert_eq!(
            (state.alerts.len(), state.system.status.as_str(), state.heard_ms, state.unreadable),
            (0, "DEMO", Some(12), 1)
        );
        // Nothing is known of a process that was never heard of.
        let never = r#"{"parked":{"count":null},"processes":[{"name":"feed","presence":"never_seen","resident_bytes":null,"restarts":null,"age_ms":null}]}"#;
        state.apply("processes", never, 13);
        assert_eq!((state.system.processes.len(), state.unreadable), (1, 1));
    }

    #[test]
    fn rates_follow_from_what_was_counted_and_begin_anew_with_another_run() {
        let mut state = State::default();
        let windows =
            |at_s: i64, count: u64| format!("{{\"at\":{},\"trades_counted\":{{\"b.X\":{count}}}}}", at_s * 1_000_000_000);
        for (at, count) in [(1, 100), (2, 150), (3, 200)] {
            state.apply("windows", &windows(at, count), 0);
        }
        assert_eq!(state.trade_rates["b.X"], 50.0);
        state.apply("windows", &windows(4, 7), 0);
        assert!(state.trade_rates.is_empty(), "a count that went back is of another run");
        let metrics = |sequence: u64| {
            format!(
                "# HELP x\nspark_stream_last_sequence{{environment=\"demo\",stream=\"FEED\"}} {sequence}\n\
                spark_consumer_lag_messages{{stream=\"FEED\",consumer=\"guardrail\"}} 4\nspark_stream_messages{{stream=\"FEED\"}} NaN\n"
            )
        };
        state.apply_metrics(&metrics(10), 1_000);
        state.apply_metrics(&metrics(30), 3_000);
        assert_eq!((state.stream_rates["FEED"], state.lag["FEED guardrail"], state.streams["FEED"].messages), (10.0, 4, 0));
        state.apply_metrics(&metrics(30), 5_000);
        assert_eq!(state.stream_rates["FEED"], 10.0, "the gateway has not looked again");
        state.apply_metrics(&metrics(30), 16_000);
        assert!(state.stream_rates["FEED"] < 2.0, "nothing comes any more");
        state.lost("gone".into());
        state.apply_metrics(&metrics(31), 19_000);
        assert!(state.stream_rates.is_empty(), "not over a gap");
    }
}
