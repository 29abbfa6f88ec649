//! `GET /metrics`: the whole system in Prometheus' text format, from the view.
//!
//! A counter that somebody takes the rate of is there with a zero from the beginning: a panel shows 0, not 'no data'.

mod bus;
mod edge;
mod people;
mod signals;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use spark_bus_schema::alerts::AlertState;
use spark_bus_schema::risk::Guard;
use spark_bus_schema::telemetry::FeedState;
use spark_bus_schema::{Timestamp, Venue};

use crate::app::App;
use crate::view::View;
use crate::view::calls::{ERROR_TYPES, Histogram, REFRESH_BUCKETS_MS};
use crate::view::processes::Presence;
use text::Text;

const GATEWAY: &str = "gateway";
/// Every guard that may refuse an order.
pub(crate) const GUARDS: [Guard; 11] = [
    Guard::Halt,
    Guard::StalePrice,
    Guard::Filters,
    Guard::Notional,
    Guard::Exposure,
    Guard::Drawdown,
    Guard::KillSwitch,
    Guard::Collar,
    Guard::Rate,
    Guard::Strategy,
    Guard::Arithmetic,
];

/// Everything at `now`.
#[must_use]
pub fn render(app: &App, now: Timestamp) -> String {
    let mut text = Text::new(&app.config.environment);
    {
        let view = app.view();
        processes(&mut text, &view, now);
        portfolio(&mut text, &view, &app.config.exchanges);
        market(&mut text, &view, now);
        alerts(&mut text, &view);
        people::write(&mut text, &view, &app.config.receivers, now);
        trading(&mut text, &view);
        bus::write(&mut text, &view);
        signals::write(&mut text, &view, now);
        gateway(&mut text, &view, now);
        edge::write(&mut text, app);
        counters(&mut text, &view);
    }
    tick_latency(&mut text, app);
    text.family("http_requests_total", "counter", "HTTP requests answered by the gateway.");
    for (code, count) in app.http.statuses() {
        text.sample("", &[("service", GATEWAY), ("code", &code.to_string())], count as f64);
    }
    text.family("http_request_duration_seconds", "histogram", "Time to the head of the answer.");
    text.histogram(&[("service", GATEWAY)], &app.http.durations());
    text.out
}

fn tick_latency(text: &mut Text, app: &App) {
    const SERVICE: (&str, &str) = ("service", GATEWAY);
    let totals = app.tick_latency.totals();
    let help = "From a batch's newest trade read at the feed's socket to the batch visible in this gateway, by wall clock.";
    text.family("spark_tick_to_view_latency_seconds", "histogram", help);
    text.histogram(&[SERVICE], &totals.seconds);
    let help = "Latencies that were negative, because two machines' clocks differ, and were taken as zero.";
    text.family("spark_tick_to_view_latency_negative_total", "counter", help);
    text.sample("", &[SERVICE], totals.negative as f64);
}

fn processes(text: &mut Text, view: &View, now: Timestamp) {
    let rows = view.processes.rows(now, view.is_connected(), &view.limits().expected);
    text.family("spark_up", "gauge", "Whether a process is heard of: 1 up or late, 0 down, missing or unknown.");
    for row in &rows {
        let up = matches!(row.presence, Presence::Up | Presence::Late);
        text.sample("", &[("service", &row.name)], f64::from(u8::from(up)));
    }
    text.family("spark_process_resident_bytes", "gauge", "Resident memory by the process's own heartbeat.");
    for row in &rows {
        if let Some(bytes) = row.resident_bytes {
            text.sample("", &[("service", &row.name)], bytes as f64);
        }
    }
    text.family("spark_process_restarts_total", "counter", "New runs of a process seen since the gateway started.");
    for row in &rows {
        text.sample("", &[("service", &row.name)], row.restarts as f64);
    }
}

fn portfolio(text: &mut Text, view: &View, configured: &[Venue]) {
    const SERVICE: (&str, &str) = ("service", "portfolio");
    // What is configured, and whatever else was called.
    let mut exchanges: BTreeSet<Venue> = configured.iter().copied().collect();
    exchanges.extend(view.calls.calls.keys());
    exchanges.extend(view.calls.refresh_ms.keys());
    let none = Histogram::new(&REFRESH_BUCKETS_MS);
    text.family("spark_portfolio_refresh_latency_ms", "histogram", "Duration of one whole refresh of one exchange.");
    for exchange in &exchanges {
        let histogram = view.calls.refresh_ms.get(exchange).unwrap_or(&none);
        text.histogram(&[SERVICE, ("exchange", exchange.as_str())], histogram);
    }
    text.family("spark_exchange_api_error_total", "counter", "Failed calls to an exchange.");
    let zeros = exchanges.iter().flat_map(|exchange| ERROR_TYPES.map(|error| ((*exchange, error), 0)));
    let mut errors: BTreeMap<(Venue, &str), u64> = zeros.collect();
    errors.extend(view.calls.errors.iter().map(|(key, count)| (*key, *count)));
    for ((exchange, error), count) in &errors {
        text.sample("", &[SERVICE, ("exchange", exchange.as_str()), ("error_type", error)], *count as f64);
    }
    text.family("spark_exchange_api_calls_total", "counter", "Calls to an exchange.");
    for exchange in &exchanges {
        let count = view.calls.calls.get(exchange).copied().unwrap_or(0);
        text.sample("", &[SERVICE, ("exchange", exchange.as_str())], count as f64);
    }
    let accounts: Vec<_> = view.portfolio.accounts().filter(|account| account.updated_at.is_some()).collect();
    text.family("spark_portfolio_total_value_usd", "gauge", "Sum of the known values of an account.");
    for account in &accounts {
        // Statistics: the exact value is in /api/portfolio.
        let labels = [SERVICE, ("exchange", account.exchange.as_str())];
        text.sample_text("", &labels, &account.total_usd.normalize().to_string());
    }
    text.family("spark_portfolio_asset_count", "gauge", "Assets with a balance.");
    for account in &accounts {
        text.sample("", &[SERVICE, ("exchange", account.exchange.as_str())], account.balances.len() as f64);
    }
    text.family("spark_portfolio_last_update_timestamp", "gauge", "When balances were last read, s since the epoch.");
    for account in &accounts {
        let at = account.updated_at.map_or(0.0, Timestamp::as_secs_f64);
        text.sample("", &[SERVICE, ("exchange", account.exchange.as_str())], at);
    }
}

fn market(text: &mut Text, view: &View, now: Timestamp) {
    const SERVICE: (&str, &str) = ("service", "feed");
    text.family("spark_ws_staleness_seconds", "gauge", "Age of a venue's newest market data.");
    for feed in view.feeds().keys() {
        if let Some(age_ms) = view.prices.venue_age_ms(*feed, now) {
            text.sample("", &[SERVICE, ("exchange", feed.as_str())], age_ms as f64 / 1_000.0);
        }
    }
    text.family("spark_ws_symbol_staleness_seconds", "gauge", "Age of a symbol's newest market data.");
    for ((venue, symbol), age_ms) in view.prices.ages_ms(now) {
        text.sample("", &[SERVICE, ("exchange", venue.as_str()), ("symbol", symbol)], age_ms as f64 / 1_000.0);
    }
    text.family("spark_feed_live", "gauge", "Whether the connection to a venue is live or filling a gap.");
    for (venue, feed) in view.feeds() {
        let live = matches!(feed.state, FeedState::Live | FeedState::Filling);
        text.sample("", &[SERVICE, ("exchange", venue.as_str())], f64::from(u8::from(live)));
    }
    type Total = (&'static str, &'static str, fn(&spark_bus_schema::telemetry::FeedStatus) -> u64);
    let totals: [Total; 4] = [
        ("spark_feed_reconnects_total", "Reconnects to a venue.", |feed| feed.reconnects),
        ("spark_feed_trades_missing_total", "Trade ids found missing.", |feed| feed.trades_missing),
        ("spark_feed_trades_filled_total", "Missing trades fetched over REST.", |feed| feed.trades_filled),
        ("spark_feed_frames_rejected_total", "Frames that could not be read.", |feed| feed.frames_rejected),
    ];
    for (name, help, value) in totals {
        text.family(name, "counter", help);
        for (venue, feed) in view.feeds() {
            text.sample("", &[SERVICE, ("exchange", venue.as_str())], value(feed) as f64);
        }
    }
}

fn alerts(text: &mut Text, view: &View) {
    const SERVICE: (&str, &str) = ("service", "guardrail");
    text.family("spark_alert_active", "gauge", "Alerts: 1 firing, 0.5 pending, 0 otherwise.");
    for alert in view.alerts.current() {
        let value = match alert.state {
            AlertState::Firing => 1.0,
            AlertState::Pending => 0.5,
            AlertState::Inactive | AlertState::Resolved | AlertState::NoData => 0.0,
        };
        let exchange = alert.scope.get("exchange").or_else(|| alert.scope.get("venue")).map_or("", String::as_str);
        let scope = alert.scope.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
        text.sample("", &[SERVICE, ("alertname", &alert.name), ("exchange", exchange), ("scope", &scope)], value);
    }
    if let Some(windows) = view.windows.latest() {
        text.family("spark_trades_counted_total", "counter", "Trades that the guardrail counted, each id once.");
        for (key, count) in &windows.trades_counted {
            let (venue, symbol) = key.split_once('.').unwrap_or((key, ""));
            text.sample("", &[SERVICE, ("exchange", venue), ("symbol", symbol)], *count as f64);
        }
    }
    text.family("spark_dlq_size", "gauge", "Parked messages; 0 before the broker has said how many.");
    text.sample("", &[SERVICE], view.parked_count().unwrap_or(0) as f64);
}

fn trading(text: &mut Text, view: &View) {
    const RISK: (&str, &str) = ("service", "risk");
    const EXECUTOR: (&str, &str) = ("service", "executor");
    let trading = &view.trading;
    text.family("spark_risk_killswitch_active", "gauge", "Whether the kill switch is on.");
    text.sample("", &[RISK], f64::from(u8::from(trading.is_killed())));
    text.family("spark_risk_block_total", "counter", "Orders refused, by guard.");
    for guard in GUARDS {
        let count = trading.blocks().get(guard.as_str()).copied().unwrap_or(0);
        text.sample("", &[RISK, ("reason", guard.as_str())], count as f64);
    }
    text.family("spark_risk_approved_total", "counter", "Orders approved.");
    text.sample("", &[RISK], trading.approved() as f64);
    text.family("spark_orders_open", "gauge", "Orders approved and not final.");
    text.sample("", &[EXECUTOR], trading.open_count() as f64);
    text.family("spark_order_events_total", "counter", "Order events, by the state that they led to.");
    for (state, count) in trading.transitions() {
        text.sample("", &[EXECUTOR, ("state", state)], *count as f64);
    }
    text.family("spark_order_events_illegal_total", "counter", "Messages that contradict the order book, by reason.");
    for (reason, count) in trading.illegal() {
        text.sample("", &[EXECUTOR, ("reason", reason)], *count as f64);
    }
    text.family("spark_trading_halted", "gauge", "Scopes in which trading is halted until an operator resumes it.");
    for halt in trading.halts() {
        text.sample("", &[EXECUTOR, ("scope", &halt.scope)], 1.0);
    }
}

fn gateway(text: &mut Text, view: &View, now: Timestamp) {
    const SERVICE: (&str, &str) = ("service", GATEWAY);
    if view.newest() > Timestamp::ZERO {
        text.family("spark_last_update_timestamp", "gauge", "When the newest message was stored, s since the epoch.");
        text.sample("", &[SERVICE], view.newest().as_secs_f64());
    }
    text.family("spark_status", "gauge", "1 for the word that holds: DEMO, DEGRADED or LIVE.");
    text.sample("", &[SERVICE, ("status", view.status(now).status.as_str())], 1.0);
    text.family("spark_broker_connected", "gauge", "Whether the gateway is connected to the broker.");
    text.sample("", &[SERVICE], f64::from(u8::from(view.is_connected())));
    text.family("spark_gateway_unreadable_total", "counter", "Messages that the gateway could not read.");
    for (reason, count) in view.unreadable() {
        text.sample("", &[SERVICE, ("reason", reason)], *count as f64);
    }
    text.family("spark_gateway_view_overflow_total", "counter", "Messages left out because a bound of the view was reached.");
    text.sample("", &[SERVICE], view.overflow() as f64);
}

/// Totals from heartbeats. A process cannot redefine a metric that the gateway itself writes.
fn counters(text: &mut Text, view: &View) {
    let mut by_name: BTreeMap<String, Vec<(&str, u64)>> = BTreeMap::new();
    for beat in view.processes.beats() {
        for (name, &value) in &beat.counters {
            let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if plain && name.starts_with("spark_") && name.ends_with("_total") {
                by_name.entry(name.clone()).or_default().push((&beat.service, value));
            }
        }
    }
    for (name, samples) in by_name {
        // Prometheus' base unit is the second; a heartbeat carries whole numbers.
        let (told, unit) = match name.strip_suffix("_us_total") {
            Some(stem) => (format!("{stem}_seconds_total"), 1e6),
            None => (name, 1.0),
        };
        if text.has(&told) || told == "http_requests_total" {
            continue;
        }
        text.family(&told, "counter", "Total from the processes' heartbeats.");
        for (service, value) in samples {
            text.sample("", &[("service", service)], value as f64 / unit);
        }
    }
}
