//! From events to samples.

use spark_bus_schema::actions::ThresholdsCommand;
use spark_bus_schema::market::{QuoteBatch, TickBatch};
use spark_bus_schema::parked::Parked;
use spark_bus_schema::portfolio::Balances;
use spark_bus_schema::signals::Score;
use spark_bus_schema::telemetry::{ApiRequests, Call, FeedState, FeedStatus, Heartbeat, ProcessState, REFRESH};
use spark_bus_schema::{Timestamp, Venue};
use spark_nats::{Effects, Reject};

use super::event::Event;
use super::markets::MARKETS_MAX;
use super::tracker::Labels;
use super::{Guardrail, refusal};
use crate::rule::Metric;
use crate::rule::metric as m;
use crate::window::Sample;

/// Longest label value that becomes a scope, bytes.
const LABEL_BYTES_MAX: usize = 64;

/// Levels that processes tell in their heartbeats.
const LEVELS: [(Metric, &str); 2] =
    [(m::LEDGER_DAMAGE, "spark_audit_damage"), (m::TRADING_HALTS, "spark_trading_halted_exchanges")];

/// Signs of life of a venue's data: shares have sessions, and alerts of their own.
const fn signs(venue: Venue) -> Metric {
    if matches!(venue, Venue::Bist) { m::BIST_DATA } else { m::MARKET_DATA }
}

impl Guardrail {
    pub(super) fn take_in(&mut self, at: Timestamp, event: Event, out: &mut Effects) -> Result<(), Reject> {
        match event {
            Event::Ticks(batch) => self.ticks(at, &batch, out),
            Event::Quotes(batch) => self.quotes(at, &batch, out),
            Event::Snapshot(snapshot) => self.seen(at, snapshot.venue, &snapshot.symbol, out),
            Event::Call(call) => self.call(at, &call, out)?,
            Event::Heartbeat(beat) => self.heartbeat(at, &beat, out)?,
            Event::Feed(status) => self.feed(at, &status, out)?,
            Event::Balances(balances) => self.balances(at, &balances, out),
            Event::Anomaly(anomaly) => {
                if anomaly.asset.len() > LABEL_BYTES_MAX {
                    return Err(too_long("asset", &anomaly.asset));
                }
                let exchange = self.exchanges.entry(anomaly.exchange).or_default();
                exchange.price(&anomaly);
                let held = exchange.prices_held();
                self.level(at, m::HELD_PRICES, anomaly.exchange, held, out);
            }
            Event::Candle(candle) => self.scores.candle(at, &candle),
            Event::Score(score) => self.score(at, &score, out),
            Event::Api(api) => self.api(at, &api, out)?,
            Event::Thresholds(sequence, command) => self.change_thresholds(sequence, &command)?,
            Event::Parked(parked) => self.parked(at, &parked, out)?,
            Event::Told(told) => {
                if let Some(actions) = &mut self.actions {
                    actions.learn(at, &told, out);
                    self.act(at, out);
                }
            }
        }
        Ok(())
    }

    fn ticks(&mut self, at: Timestamp, batch: &TickBatch, out: &mut Effects) {
        let Some(market) = self.markets.entry(batch.venue, &batch.symbol) else {
            self.refused += 1;
            return;
        };
        let first_new = market.count(batch);
        let labels = [("venue", batch.venue.as_str()), ("symbol", batch.symbol.as_str())];
        self.seen(at, batch.venue, &batch.symbol, out);
        let arrivals = batch.received_at.get(first_new..).unwrap_or_default();
        if arrivals.is_empty() {
            return;
        }
        self.one(at, m::TRADES, &labels, Sample::Events(arrivals.len() as u64), out);
        // Clocks of two machines differ: a delay may be negative, and a wild stamp is clamped by the window.
        let delay = |received: &Timestamp| Sample::Value(at.as_nanos().saturating_sub(received.as_nanos()) / 1_000);
        self.sample(at, m::TRADE_DELAY, &labels, arrivals.iter().map(delay), out);
    }

    fn quotes(&mut self, at: Timestamp, batch: &QuoteBatch, out: &mut Effects) {
        self.seen(at, batch.venue, &batch.symbol, out);
    }

    /// There is data of a symbol. Of a share it counts only while the feed promises some: what comes outside of the session (the
    /// closing price, say) begins no age.
    fn seen(&mut self, at: Timestamp, venue: Venue, symbol: &str, out: &mut Effects) {
        let Some(market) = self.markets.entry(venue, symbol) else {
            self.refused += 1;
            return;
        };
        if venue == Venue::Bist && market.staleness.age(at).is_none() {
            return;
        }
        market.staleness.saw(at);
        self.one(at, signs(venue), &[("venue", venue.as_str()), ("symbol", symbol)], Sample::Events(1), out);
    }

    fn call(&mut self, at: Timestamp, call: &Call, out: &mut Effects) -> Result<(), Reject> {
        let error_type = call.error_type.as_deref().unwrap_or_default();
        for (field, value) in [("service", call.service.as_str()), ("operation", &call.operation), ("error_type", error_type)] {
            check_label(field, value)?;
        }
        let exchange = call.exchange.as_str();
        let latency = Sample::Value(i64::try_from(call.latency_us).unwrap_or(i64::MAX));
        if call.operation == REFRESH {
            self.one(at, m::REFRESH_LATENCY, &[("exchange", exchange)], latency, out);
            return Ok(());
        }
        let labels =
            [("exchange", exchange), ("service", &call.service), ("operation", &call.operation), ("error_type", error_type)];
        let without_error = &labels[..3];
        self.one(at, m::CALL_LATENCY, without_error, latency, out);
        self.one(at, m::CALLS, without_error, Sample::Outcome { failed: !call.ok }, out);
        if call.ok {
            // No error is a sample too: without it the rate of an exchange that never failed would not be shown.
            self.one(at, m::CALL_ERRORS, without_error, Sample::Events(0), out);
        } else {
            self.one(at, m::CALL_ERRORS, &labels, Sample::Events(1), out);
        }
        let state = self.exchanges.entry(call.exchange).or_default();
        state.called(call);
        let down = state.paths_down();
        self.level(at, m::EXCHANGE_PATHS_DOWN, call.exchange, down, out);
        Ok(())
    }

    fn heartbeat(&mut self, at: Timestamp, beat: &Heartbeat, out: &mut Effects) -> Result<(), Reject> {
        check_label("service", &beat.service)?;
        let goes = beat.state == ProcessState::Stopping;
        if let Some(actions) = &mut self.actions {
            // A clock that is ahead must not make an old run look like a new one.
            let began_at = beat.started_at - beat.sent_at.saturating_since(at);
            actions.heard(at, &beat.service, began_at, goes);
        }
        if goes {
            // It was told to stop, so it is not missing, unless a rule expects it to be there.
            let gone = |scope: &std::collections::BTreeMap<String, String>| scope.get("service") == Some(&beat.service);
            self.forget(at, m::HEARTBEATS, gone, out);
        } else {
            self.one(at, m::HEARTBEATS, &[("service", &beat.service)], Sample::Events(1), out);
            for (metric, counter) in LEVELS {
                if let Some(&level) = beat.counters.get(counter) {
                    #[expect(clippy::cast_precision_loss, reason = "a handful")]
                    self.one(at, metric, &[("service", &beat.service)], Sample::Level(level as f64), out);
                }
            }
        }
        Ok(())
    }

    fn feed(&mut self, at: Timestamp, status: &FeedStatus, out: &mut Effects) -> Result<(), Reject> {
        if status.symbols.len() > MARKETS_MAX {
            return Err(refusal(format!("symbols: {} of them, above the limit of {MARKETS_MAX}", status.symbols.len())));
        }
        let plain = |symbol: &String| symbol.len() <= 32 && symbol.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        if let Some(symbol) = status.symbols.iter().find(|symbol| symbol.is_empty() || !plain(symbol)) {
            return Err(refusal(format!("symbols: {symbol:.64?} is not made of A-Z and 0-9")));
        }
        let venue = status.venue;
        let exchange = self.exchanges.entry(venue).or_default();
        exchange.connection(status.state);
        let down = exchange.paths_down();
        self.level(at, m::EXCHANGE_PATHS_DOWN, venue, down, out);
        // A subscription is a promise of data. While there is none, the promise of before stands; but a feed that promises no shares
        // says that their session is over, whether the vendor answers or not.
        if !status.symbols.is_empty() || status.state == FeedState::Live || venue == Venue::Bist {
            for symbol in &status.symbols {
                self.promise(at, venue, symbol, out);
            }
            let unsubscribed = |symbol: &str| !status.symbols.iter().any(|kept| kept == symbol);
            self.markets.silence(venue, unsubscribed);
            let gone = |scope: &std::collections::BTreeMap<String, String>| {
                scope.get("venue").is_none_or(|name| name == venue.as_str())
                    && scope.get("symbol").is_some_and(|symbol| unsubscribed(symbol))
            };
            self.forget(at, signs(venue), gone, out);
            if status.symbols.is_empty() && venue == Venue::Bist {
                let whole = |scope: &std::collections::BTreeMap<String, String>| !scope.contains_key("symbol");
                self.forget(at, m::BIST_DATA, whole, out);
            }
        }
        Ok(())
    }

    fn promise(&mut self, at: Timestamp, venue: Venue, symbol: &str, out: &mut Effects) {
        let Some(market) = self.markets.entry(venue, symbol) else {
            self.refused += 1;
            return;
        };
        market.staleness.expect(at);
        self.one(at, signs(venue), &[("venue", venue.as_str()), ("symbol", symbol)], Sample::Expected, out);
    }

    fn balances(&mut self, at: Timestamp, balances: &Balances, out: &mut Effects) {
        let exchange = balances.exchange;
        let labels = [("exchange", exchange.as_str())];
        if !balances.stale && balances.error.is_none() {
            self.one(at, m::PORTFOLIO_UPDATES, &labels, Sample::Events(1), out);
            let state = self.exchanges.entry(exchange).or_default();
            state.polled(balances);
            let held = state.prices_held();
            self.level(at, m::HELD_PRICES, exchange, held, out);
        } else {
            // A failed poll makes nothing younger. When none ever succeeded here, age counts from the last good one that
            // the message knows of, or from now.
            let since = balances.updated_at.map_or(at, |updated| updated.min(at));
            self.sample_since(since, at, m::PORTFOLIO_UPDATES, &labels, std::iter::once(Sample::Expected), out);
        }
        let assets = u32::try_from(balances.balances.len()).map_or(f64::MAX, f64::from);
        self.level(at, m::PORTFOLIO_ASSETS, exchange, assets, out);
    }

    fn api(&mut self, at: Timestamp, api: &ApiRequests, out: &mut Effects) -> Result<(), Reject> {
        check_label("service", &api.service)?;
        let labels = [("service", api.service.as_str())];
        let latencies = api.latencies_us.iter().map(|latency| Sample::Value(i64::from(*latency)));
        self.sample(at, m::API_LATENCY, &labels, latencies, out);
        let all = api.statuses.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
        let failed = api.statuses.range(500..).fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        self.one(at, m::API_REQUESTS, &labels, Sample::Outcomes { all, failed }, out);
        Ok(())
    }

    fn score(&mut self, at: Timestamp, score: &Score, out: &mut Effects) {
        self.scores.score(score);
        let labels =
            [("venue", score.venue.as_str()), ("symbol", score.symbol.as_str()), ("timeframe", score.timeframe.as_str())];
        let latency = at.as_nanos().saturating_sub(score.decided_at.as_nanos()) / 1_000;
        self.one(at, m::SCORE_LATENCY, &labels, Sample::Value(latency), out);
        self.one(at, m::SCORES, &labels, Sample::Events(1), out);
        // What cannot have a score yet is neither well nor ill.
        if score.absence.is_none() {
            self.one(at, m::SCORE_FAILURES, &labels, Sample::Outcome { failed: score.is_failure() }, out);
        }
        if let Some(confid) = score.confid {
            #[expect(clippy::cast_possible_truncation, reason = "0 to 1, in thousandths")]
            self.one(at, m::SCORE_CONFIDENCE, &labels, Sample::Value((confid * 1_000.0).round() as i64), out);
        }
    }

    fn change_thresholds(&mut self, sequence: u64, command: &ThresholdsCommand) -> Result<(), Reject> {
        if self.thresholds.knows(sequence, command) {
            return Ok(());
        }
        self.take_thresholds(command).map_err(refusal)?;
        self.put_thresholds_in_force();
        Ok(())
    }

    fn take_thresholds(&mut self, command: &ThresholdsCommand) -> Result<(), String> {
        let trackers = &self.trackers;
        let known: Vec<&str> = trackers.iter().map(|tracker| tracker.rule.id.as_str()).collect();
        let rule = |id: &str| trackers.iter().map(|tracker| &tracker.rule).find(|rule| rule.id == id);
        self.thresholds.command(command, rule, &known)
    }

    pub(super) fn put_thresholds_in_force(&mut self) {
        for tracker in &mut self.trackers {
            tracker.put_in_force(self.thresholds.of(&tracker.rule.id));
        }
    }

    /// Takes in commands that were stored before this run reads its inputs, oldest first, each with its sequence in
    /// LEDGER, when the own state is lost. What cannot be was parked then and is passed over now.
    pub fn seed_thresholds(&mut self, commands: impl IntoIterator<Item = (u64, ThresholdsCommand)>) {
        for (sequence, command) in commands {
            let _parked_before = self.take_thresholds(&command);
            self.thresholds.seeded_through(sequence, command.at);
        }
        self.put_thresholds_in_force();
    }

    /// One sentence for each threshold that was changed at run time: what is in force, and what the file says.
    #[must_use]
    pub fn thresholds_told(&self) -> Vec<String> {
        let rules = || self.trackers.iter().map(|tracker| &tracker.rule);
        self.thresholds.told(|id| rules().find(|rule| rule.id == id))
    }

    /// Takes in one sample of a metric, as if a message had brought it. For rules that are tested without messages.
    pub fn observe(&mut self, at: Timestamp, metric: Metric, labels: Labels<'_>, sample: Sample, out: &mut Effects) {
        let at = self.hear(at, out);
        self.one(at, metric, labels, sample, out);
    }

    /// Time goes on and messages come, though none that a rule looks at.
    pub fn hear(&mut self, at: Timestamp, out: &mut Effects) -> Timestamp {
        let at = self.advance(at, out);
        self.heard_at = at;
        at
    }

    fn parked(&mut self, at: Timestamp, parked: &Parked, out: &mut Effects) -> Result<(), Reject> {
        for (field, value) in [("process", &parked.process), ("reason", &parked.reason), ("stream", &parked.stream)] {
            check_label(field, value)?;
        }
        let labels = [("process", parked.process.as_str()), ("reason", &parked.reason), ("stream", &parked.stream)];
        self.one(at, m::PARKED_MESSAGES, &labels, Sample::Events(1), out);
        Ok(())
    }

    fn level(&mut self, at: Timestamp, metric: Metric, exchange: Venue, level: f64, out: &mut Effects) {
        self.one(at, metric, &[("exchange", exchange.as_str())], Sample::Level(level), out);
    }

    pub(super) fn one(&mut self, at: Timestamp, metric: Metric, labels: Labels<'_>, sample: Sample, out: &mut Effects) {
        self.sample(at, metric, labels, std::iter::once(sample), out);
    }

    fn sample(
        &mut self,
        at: Timestamp,
        metric: Metric,
        labels: Labels<'_>,
        samples: impl Iterator<Item = Sample> + Clone,
        out: &mut Effects,
    ) {
        self.sample_since(at, at, metric, labels, samples, out);
    }

    fn sample_since(
        &mut self,
        since: Timestamp,
        at: Timestamp,
        metric: Metric,
        labels: Labels<'_>,
        samples: impl Iterator<Item = Sample> + Clone,
        out: &mut Effects,
    ) {
        for tracker in self.trackers.iter_mut().filter(|tracker| tracker.rule.metric == metric) {
            if !tracker.record(since, labels, samples.clone(), at, &mut self.book, out) {
                self.refused += 1;
            }
        }
    }

    fn forget(
        &mut self,
        at: Timestamp,
        metric: Metric,
        gone: impl Fn(&std::collections::BTreeMap<String, String>) -> bool,
        out: &mut Effects,
    ) {
        for tracker in self.trackers.iter_mut().filter(|tracker| tracker.rule.metric == metric) {
            tracker.forget(at, &gone, &mut self.book, out);
        }
    }
}

fn check_label(field: &'static str, value: &str) -> Result<(), Reject> {
    if value.len() > LABEL_BYTES_MAX {
        return Err(too_long(field, value));
    }
    if value.chars().any(char::is_control) {
        return Err(refusal(format!("{field}: {value:?} has control characters")));
    }
    Ok(())
}

fn too_long(field: &'static str, value: &str) -> Reject {
    refusal(format!("{field}: {} bytes, above the limit of {LABEL_BYTES_MAX}", value.len()))
}
