//! Everything that a rule can look at.

/// What kind of samples a metric gives, and so which aggregations make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Measured values: latencies.
    Values,
    /// Things that happen.
    Events,
    /// Things that succeed or fail.
    Outcomes,
    /// Signs of life.
    Signs,
    /// Measured shares of one: confidences.
    Shares,
    /// A level that is read now and then.
    Level,
    /// An age that is read now and then, s.
    Age,
}

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name in rules.
    pub name: &'static str,
    /// What it gives.
    pub kind: MetricKind,
    /// Labels that each sample carries, and that a rule may use as scope or filter.
    pub labels: &'static [&'static str],
    /// What it is and where it comes from.
    pub about: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $name:literal, $kind:ident, [$($label:literal),*], $about:literal;)*) => {
        $(#[doc = $about] pub const $constant: Metric =
            Metric { name: $name, kind: MetricKind::$kind, labels: &[$($label),*], about: $about };)*
        /// Every metric.
        pub const METRICS: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    REFRESH_LATENCY = "refresh_latency_ms", Values, ["exchange"], "duration of whole portfolio refreshes (telemetry.calls, operation refresh)";
    CALL_LATENCY = "call_latency_ms", Values, ["exchange", "service", "operation"], "duration of single exchange calls (telemetry.calls)";
    CALLS = "calls", Outcomes, ["exchange", "service", "operation"], "single exchange calls, failed or not (telemetry.calls)";
    CALL_ERRORS = "call_errors", Events, ["exchange", "service", "operation", "error_type"], "failed exchange calls (telemetry.calls)";
    API_LATENCY = "api_latency_ms", Values, ["service"], "duration of answered HTTP requests (telemetry.api)";
    API_REQUESTS = "api_requests", Outcomes, ["service"], "answered HTTP requests, failed with a status from 500 (telemetry.api)";
    MARKET_DATA = "market_data", Signs, ["venue", "symbol"], "a trade or a quote was stored (market.ticks, market.quotes); not of bist";
    BIST_DATA = "bist_data", Signs, ["venue", "symbol"], "a vendor confirmed a share's price (market.snapshots.bist); promised in the session alone (telemetry.feed.bist)";
    TRADES = "trades", Events, ["venue", "symbol"], "trades, each id once (market.ticks)";
    TRADE_DELAY = "trade_delay_ms", Values, ["venue", "symbol"], "from a trade's frame at the feed to its storage in the broker (market.ticks)";
    HEARTBEATS = "heartbeats", Signs, ["service"], "a process said that it is there (telemetry.heartbeat)";
    LEDGER_DAMAGE = "ledger_damage", Level, ["service"], "1 while the auditor holds the LEDGER for damaged, 0 while not (telemetry.heartbeat of the auditor)";
    TRADING_HALTS = "trading_halts", Level, ["service"], "exchanges on which trading is halted (telemetry.heartbeat of the executor)";
    PORTFOLIO_UPDATES = "portfolio_updates", Signs, ["exchange"], "balances were read successfully (portfolio.balances)";
    PORTFOLIO_ASSETS = "portfolio_assets", Level, ["exchange"], "assets with a balance (portfolio.balances)";
    HELD_PRICES = "held_prices", Level, ["exchange"], "prices held back because they moved too far (portfolio.anomaly)";
    EXCHANGE_PATHS_DOWN = "exchange_paths_down", Level, ["exchange"], "of market-data connection and REST calls, how many do not work (telemetry.feed, telemetry.calls)";
    SCORE_LATENCY = "score_latency_ms", Values, ["venue", "symbol", "timeframe"], "from a candle's end to its stored score (signals.score)";
    SCORE_OVERDUE = "score_overdue_s", Age, [], "for how long the oldest candle has waited for its score, where scores came before (market.candles, signals.score)";
    SCORES = "scores", Events, ["venue", "symbol", "timeframe"], "scores, also those that say why there is none (signals.score)";
    SCORE_FAILURES = "score_failures", Outcomes, ["venue", "symbol", "timeframe"], "scores, failed where there should be one and is none; not those of indicators that warm up, of candles without a trade, or while scoring is switched off (signals.score)";
    SCORE_CONFIDENCE = "score_confidence", Shares, ["venue", "symbol", "timeframe"], "confidence of the scores, 0 to 1 (signals.score)";
    PARKED_MESSAGES = "parked_messages", Events, ["process", "reason", "stream"], "messages that a process could not handle (parked)";
}

impl Metric {
    /// Finds a metric by name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        METRICS.iter().find(|metric| metric.name == name).copied()
    }

    /// Raw units of the samples in one unit of the rule: latencies are recorded in µs and judged in ms, shares in thousandths.
    #[must_use]
    pub const fn raw_per_unit(&self) -> f64 {
        if matches!(self.kind, MetricKind::Values | MetricKind::Shares) { 1_000.0 } else { 1.0 }
    }

    /// Names of the aggregations that make sense.
    #[must_use]
    pub const fn aggregations(&self) -> &'static [&'static str] {
        match self.kind {
            MetricKind::Values | MetricKind::Shares => &["quantile", "median", "count", "rate"],
            MetricKind::Events => &["count", "rate"],
            MetricKind::Outcomes => &["ratio", "burn_rate", "count", "rate"],
            MetricKind::Signs => &["staleness", "count", "rate"],
            MetricKind::Level | MetricKind::Age => &["gauge"],
        }
    }
}
