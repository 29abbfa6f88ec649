//! Two hours of an operation that went badly: an outage, slow and failing calls, alerts that overlap, refusals.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::notify::{Delivery, DeliveryOutcome};
use spark_bus_schema::orders::OrderEvent;
use spark_bus_schema::portfolio::Balances;
use spark_bus_schema::risk::{Guard, Verdict};
use spark_bus_schema::signals::{BUCKETS, Calibration, Score};
use spark_bus_schema::smoke::Smoke;
use spark_bus_schema::telemetry::{ApiRequests, Call, Heartbeat, ProcessState, REFRESH, WindowValue, Windows};
use spark_bus_schema::{Decimal, Kind, Timestamp, Venue, subject};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Meta};
use spark_reporter::Window;

use super::{Seeded, sample};

const VENUES: [Venue; 2] = [Venue::Binance, Venue::Btcturk];

/// Alert, exchange, second, state, severity, value.
type Change = (&'static str, &'static str, i64, AlertState, Option<Severity>, f64);

/// Everything that is published, and the last sequence of each stream.
pub struct Run {
    pub window: Window,
}

impl Run {
    /// Two whole hours that ended a minute ago at the latest.
    pub fn new() -> Self {
        let to = Timestamp::from_millis((spark_nats::now().as_millis() / 60_000 - 1) * 60_000);
        Self { window: Window::ending(to, Duration::from_secs(7_200)) }
    }

    fn at(&self, ms: u64) -> Timestamp {
        self.window.from + Duration::from_millis(ms)
    }

    /// Publishes all of it, several at a time, and returns the last sequences of FEED and LEDGER.
    pub async fn publish(&self, broker: &TestBroker) -> (u64, u64) {
        let operator = broker.bus("operator").await;
        let (risk, executor) = (broker.bus("risk").await, broker.bus("executor").await);
        let signal = broker.bus("signal").await;
        let done = tokio::join!(
            self.windows(&operator),
            self.heartbeats(&operator),
            self.calls(&operator),
            self.alerts(&operator),
            self.balances(&operator),
            self.orders(&risk, &executor),
            self.scores(&signal),
        );
        let feed = done.0.max(done.1).max(done.2);
        (feed, done.3.max(done.4).max(done.5).max(done.6))
    }

    async fn windows(&self, bus: &Bus) -> u64 {
        let mut seeded = Seeded(1);
        let mut last = 0;
        for second in (0..7_200_u64).step_by(3) {
            let values = VENUES.iter().map(|venue| WindowValue {
                rule: "portfolio_staleness".to_owned(),
                metric: "portfolio_updates".to_owned(),
                scope: BTreeMap::from([("exchange".to_owned(), venue.to_string())]),
                value: (seeded.below(20) > 0).then(|| seeded.below(9_000) as f64 / 100.0),
                samples: seeded.below(50),
                window_ms: 0,
                unit: "s".to_owned(),
                warning: Some(60.0),
                critical: Some(300.0),
                state: if seeded.below(10) == 0 { AlertState::Firing } else { AlertState::Inactive },
            });
            let windows = Windows { at: self.at(second * 1_000), values: values.collect(), trades_counted: BTreeMap::new() };
            last = bus.publish(subject::WINDOWS, &windows, Meta::default()).await.unwrap();
            if seeded.below(50) == 0 {
                // A guardrail that was killed says its last boundary again.
                last = bus.publish(subject::WINDOWS, &windows, Meta::default()).await.unwrap();
            }
        }
        last
    }

    async fn heartbeats(&self, bus: &Bus) -> u64 {
        let mut seeded = Seeded(2);
        let mut last = 0;
        for (service, away) in [("feed", 0..0), ("portfolio", 1_000..1_600), ("risk", 1_500..1_700)] {
            let mut second = 0;
            while second < 7_200 {
                if !away.contains(&second) {
                    let started = if second < away.start { 0 } else { away.end * 1_000 };
                    let beat = Heartbeat {
                        service: service.to_owned(),
                        pid: 7,
                        version: "0.1.0".to_owned(),
                        started_at: self.at(started),
                        sent_at: self.at(second * 1_000 + seeded.below(1_000)),
                        state: if seeded.below(9) == 0 { ProcessState::Degraded } else { ProcessState::Running },
                        detail: None,
                        resident_bytes: 0,
                        counters: BTreeMap::new(),
                    };
                    last = bus.publish(&subject::heartbeat(service), &beat, Meta::default()).await.unwrap();
                }
                second += 1 + seeded.below(9);
            }
        }
        last
    }

    async fn calls(&self, bus: &Bus) -> u64 {
        let mut seeded = Seeded(3);
        let mut last = 0;
        // Ten minutes before the window already: those must not count.
        for number in 0..1_500_u64 {
            for venue in VENUES {
                let failed = seeded.below(12) == 0;
                let errors = ["timeout", "ratelimit", "auth"];
                let call = Call {
                    exchange: venue,
                    service: "portfolio".to_owned(),
                    operation: if number % 3 == 0 { REFRESH } else { "account" }.to_owned(),
                    started_at: self.at(number * 5_200) - Duration::from_secs(600),
                    latency_us: 20_000 + seeded.below(4_000_000),
                    ok: !failed,
                    error_type: failed.then(|| errors[seeded.below(3) as usize].to_owned()),
                    http_status: None,
                    attempt: 1,
                };
                last = bus.publish(&subject::calls(venue), &call, Meta::default()).await.unwrap();
            }
            if number == 700 {
                let garbage = Bytes::from_static(b"\xc1 no message");
                last = bus
                    .store_kind(&subject::calls(Venue::Binance), Kind { name: "call", version: 1 }, garbage, Meta::default())
                    .await
                    .unwrap();
            }
            if number % 10 == 0 {
                let latencies_us: Vec<u32> = (0..seeded.below(40)).map(|_| seeded.below(300_000) as u32).collect();
                let bad = seeded.below(2);
                let statuses = BTreeMap::from([(200, latencies_us.len() as u64), (503, bad)]);
                let api = ApiRequests { service: "gateway".to_owned(), latencies_us, statuses, at: self.at(number * 4_000) };
                last = bus.publish(&subject::api_requests("gateway"), &api, Meta::default()).await.unwrap();
            }
        }
        last
    }

    async fn alerts(&self, bus: &Bus) -> u64 {
        use AlertState::{Firing, Inactive, Pending, Resolved};
        use Severity::{Critical, Warning};
        let mut last = 0;
        // Seconds from the window's beginning; the first ones are before it, one fires at its end.
        let changes: [Change; 17] = [
            ("WSStaleness", "binance", -500, Firing, Some(Warning), 40.0),
            ("HighLatency", "binance", -400, Firing, Some(Warning), 40.0),
            ("HighLatency", "binance", -300, Resolved, None, 4.0),
            ("WSStaleness", "binance", 250, Resolved, None, 1.0),
            ("PortfolioDataStale", "btcturk", 300, Pending, Some(Warning), 70.0),
            ("PortfolioDataStale", "btcturk", 315, Firing, Some(Warning), 85.0),
            ("ExchangeDown", "binance", 400, Firing, Some(Critical), 2.0),
            ("PortfolioDataStale", "btcturk", 600, Firing, Some(Critical), 310.0),
            ("ExchangeDown", "binance", 650, Resolved, None, 0.0),
            ("PortfolioDataStale", "btcturk", 900, Resolved, None, 2.0),
            ("PortfolioDataStale", "btcturk", 960, Inactive, None, 2.0),
            ("HighErrorRate", "binance", 2_000, Firing, Some(Warning), 0.06),
            ("HighErrorRate", "binance", 6_000, Resolved, None, 0.01),
            ("ExchangeDown", "btcturk", 6_800, Firing, Some(Critical), 1.0),
            ("HighErrorRate", "btcturk", 6_900, Firing, Some(Warning), 0.06),
            ("HighErrorRate", "btcturk", 6_950, Resolved, None, 0.06),
            ("WSStaleness", "btcturk", 7_000, Pending, Some(Warning), 31.0),
        ];
        let mut revisions: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for (name, exchange, second, state, severity, value) in changes {
            let revision = revisions.entry((name, exchange)).or_default();
            *revision += 1;
            let at = Timestamp::from_millis(self.window.from.as_millis() + second * 1_000);
            let scope = BTreeMap::from([("exchange".to_owned(), exchange.to_owned())]);
            let rule = name.to_lowercase();
            let alert = Alert {
                name: name.to_owned(),
                rule,
                revision: *revision,
                state,
                severity,
                value: Some(value),
                at,
                scope: scope.clone(),
                direction: "above".to_owned(),
                ..sample()
            };
            last = bus.publish(&subject::alert(name, &scope), &alert, Meta::default()).await.unwrap();
        }
        for number in 0..40_u64 {
            let outcome =
                [DeliveryOutcome::Delivered, DeliveryOutcome::Retrying, DeliveryOutcome::Parked][(number % 7 % 3) as usize];
            let told = Delivery {
                receiver: format!("r{}", number % 3),
                outcome,
                took_ms: number * 11,
                at: self.at(number * 190_000),
                ..sample()
            };
            bus.publish(&subject::delivery(&told.receiver, "g"), &told, Meta::default()).await.unwrap();
            let smoke = Smoke { at: self.at(number * 185_000), ..sample() };
            last = bus.publish(subject::SMOKE, &smoke, Meta::default()).await.unwrap();
        }
        last
    }

    async fn balances(&self, bus: &Bus) -> u64 {
        let mut seeded = Seeded(5);
        let mut last = 0;
        for number in 0..300_u64 {
            for venue in VENUES {
                // Eleven digits behind the point: floats would not hold them.
                let total_usd = Decimal::new(123_456_789_012_345_678 + i64::try_from(seeded.below(1 << 30)).unwrap(), 11);
                let mut balances: Balances = sample();
                balances.exchange = venue;
                balances.polled_at = self.at(number * 24_500);
                balances.total_usd = total_usd;
                if seeded.below(9) > 0 {
                    (balances.error, balances.stale) = (None, false);
                } else {
                    balances.error =
                        Some(spark_bus_schema::portfolio::PollError { error_type: "timeout".to_owned(), message: String::new() });
                }
                last = bus.publish(&subject::balances(venue), &balances, Meta::default()).await.unwrap();
            }
        }
        last
    }

    async fn orders(&self, risk: &Bus, executor: &Bus) -> u64 {
        let mut seeded = Seeded(6);
        let mut last = 0;
        for number in 0..300_u64 {
            let mut verdict: Verdict = sample();
            verdict.decided_at = self.at(number * 24_900);
            verdict.approved = seeded.below(3) > 0;
            let guards = [Guard::Notional, Guard::Rate, Guard::KillSwitch];
            verdict.guard = (!verdict.approved).then(|| guards[seeded.below(3) as usize]);
            last = risk.publish(&subject::verdict(&verdict.order), &verdict, Meta::default()).await.unwrap();
            if verdict.approved {
                let mut event: OrderEvent = sample();
                event.steps.iter_mut().for_each(|step| step.at = self.at(number * 24_900 + 40));
                last = executor.publish(&subject::order_event(&event.order), &event, Meta::default()).await.unwrap();
            }
        }
        last
    }

    /// A score every 20 s in two series, some without a value, and a calibration every ten minutes that is better than the last.
    async fn scores(&self, bus: &Bus) -> u64 {
        let mut seeded = Seeded(7);
        let mut last = 0;
        for number in 0..360_u64 {
            let mut score: Score = sample();
            score.timeframe = if number % 2 == 0 { TimeFrame::M1 } else { TimeFrame::M5 };
            score.decided_at = self.at(number * 20_000);
            match seeded.below(4) {
                0 => (score.score, score.confid, score.ml_bucket, score.side) = (None, None, None, None),
                1 => score.ml_bucket = None,
                bucket => score.ml_bucket = Some(BUCKETS[bucket as usize].to_owned()),
            }
            let subject = subject::score(score.venue, &score.symbol, score.timeframe);
            last = bus.publish(&subject, &score, Meta::default()).await.unwrap();
            if number % 30 == 0 {
                let mut calibration: Calibration = sample();
                (calibration.timeframe, calibration.at) = (TimeFrame::M1, score.decided_at);
                calibration.brier = Some(0.25 - number as f64 / 4_000.0);
                let subject = subject::calibration(calibration.venue, &calibration.symbol, calibration.timeframe);
                last = bus.publish(&subject, &calibration, Meta::default()).await.unwrap();
            }
        }
        last
    }
}
