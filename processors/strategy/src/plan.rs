//! What one strategy is to do, from the configuration or from the registry, with every mistake named.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use rust_decimal::Decimal;
use spark_bus_schema::Venue;
use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::orders::{amount, strategy_name};
use spark_bus_schema::strategies::{Params, StrategyKind, StrategyRegistered};

use crate::config::Spec;
use crate::mean_reversion::Rules;
use crate::rule::SmaCross;

/// Bounds of `interval_ms`: never more than one order a second, at least one decision a day.
const INTERVAL_MS: (u64, u64) = (1_000, 86_400_000);

/// One strategy, checked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Where it trades.
    pub exchange: Venue,
    /// What it trades, Spark's spelling.
    pub symbol: String,
    /// How it decides.
    pub how: How,
}

/// How a strategy decides.
#[derive(Clone, Debug)]
pub enum How {
    /// On quotes.
    MeanReversion {
        /// What it goes by.
        rules: Rules,
        /// Time between two prices, and between two orders at least.
        interval: Duration,
    },
    /// On candles.
    SmaCross {
        /// With its windows, and no bar yet.
        rule: SmaCross,
        /// Of the candles.
        timeframe: TimeFrame,
        /// How much.
        amount: Amount,
        /// Of what is traded, a fraction: what is kept back when all cash is spent.
        commission: Decimal,
    },
}

/// How much a strategy on candles trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Of each buy, base currency.
    Quantity(Decimal),
    /// What it begins with, quote currency; profits and losses of its own fills are added.
    Cash(Decimal),
}

/// Mistakes: key, and value with what is wrong and what would be right.
pub type Problems = Vec<(String, String)>;

/// What a venue takes of a trade, percent, where nothing else is said: the executor's defaults.
fn commission_pct(venue: Venue) -> Decimal {
    match venue {
        Venue::Binance => Decimal::new(1, 1),
        Venue::Btcturk => Decimal::new(24, 2),
        Venue::Bist => Decimal::new(2, 1),
    }
}

impl Plan {
    /// # Errors
    /// Every mistake.
    pub fn of(spec: &Spec) -> Result<Self, Problems> {
        let mut problems = common(spec);
        let how = match spec.kind {
            StrategyKind::MeanReversion => mean_reversion(spec, &mut problems),
            StrategyKind::SmaCross => sma_cross(spec, &mut problems),
            StrategyKind::MlFusion => {
                problems.push(said("kind", "\"ml_fusion\": runs in the process signal under its rollout (spark rollout); mean_reversion or sma_cross would be right"));
                None
            }
            StrategyKind::External => {
                problems
                    .push(said("kind", "\"external\": is a process of one's own; mean_reversion or sma_cross would be right"));
                None
            }
        };
        match how {
            Some(how) if problems.is_empty() => {
                Ok(Self { name: spec.name.clone(), exchange: spec.exchange, symbol: spec.symbol.clone(), how })
            }
            _ => Err(problems),
        }
    }

    /// A registered strategy, whatever its status.
    ///
    /// # Errors
    /// Every mistake in one line.
    pub fn registered(registered: &StrategyRegistered) -> Result<Self, String> {
        let spec = spec(registered)?;
        let words =
            |problems: Problems| problems.into_iter().map(|(key, what)| format!("{key} = {what}")).collect::<Vec<_>>().join("; ");
        Self::of(&spec).map_err(words)
    }
}

/// A registered strategy as the configuration would have it. Parameters that its kind does not have are named.
fn spec(registered: &StrategyRegistered) -> Result<Spec, String> {
    let mut params = Taken { params: registered.params.clone() };
    let mut spec = Spec {
        kind: registered.kind,
        quantity: registered.quantity,
        cash: registered.cash,
        timeframe: registered.timeframe,
        ..Spec::new(&registered.name, registered.exchange, &registered.symbol)
    };
    match registered.kind {
        StrategyKind::SmaCross => (spec.fast, spec.slow) = (params.take("fast")?, params.take("slow")?),
        StrategyKind::MeanReversion => {
            spec.window = params.take("window")?;
            spec.threshold_pct = params.take("threshold_pct")?;
            spec.position_max = params.take("position_max")?;
            spec.interval_ms = params.take("interval_ms")?;
        }
        StrategyKind::MlFusion | StrategyKind::External => return Ok(spec),
    }
    match params.params.keys().next() {
        Some(unknown) => {
            Err(format!("params.{unknown:.64}: {} has no such parameter; it has {}", registered.kind, has(registered.kind)))
        }
        None => Ok(spec),
    }
}

fn has(kind: StrategyKind) -> &'static str {
    match kind {
        StrategyKind::SmaCross => "fast and slow",
        _ => "position_max, window, threshold_pct and interval_ms",
    }
}

struct Taken {
    params: Params,
}

impl Taken {
    fn take<T: FromStr>(&mut self, key: &str) -> Result<Option<T>, String> {
        let Some(text) = self.params.remove(key) else { return Ok(None) };
        text.trim().parse().map(Some).map_err(|_| format!("params.{key} = {text:.64}: not a number, e.g. 10"))
    }
}

fn said(key: &str, what: &str) -> (String, String) {
    (key.to_owned(), what.to_owned())
}

fn common(spec: &Spec) -> Problems {
    let mut problems = Vec::new();
    if let Err(what) = strategy_name(&spec.name) {
        problems.push(("name".to_owned(), format!("\"{}\": {what}; e.g. \"demo-btcusdt\"", spec.name)));
    }
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    if !plain(&spec.symbol) {
        problems.push(("symbol".to_owned(), format!("\"{}\": only A-Z and 0-9 are allowed, e.g. \"BTCUSDT\"", spec.symbol)));
    }
    let given = BTreeMap::from([
        ("position_max", spec.position_max.is_some()),
        ("window", spec.window.is_some()),
        ("threshold_pct", spec.threshold_pct.is_some()),
        ("interval_ms", spec.interval_ms.is_some()),
        ("fast", spec.fast.is_some()),
        ("slow", spec.slow.is_some()),
        ("timeframe", spec.timeframe.is_some()),
        ("cash", spec.cash.is_some()),
        ("commission_pct", spec.commission_pct.is_some()),
    ]);
    let own: &[&str] = match spec.kind {
        StrategyKind::MeanReversion => &["position_max", "window", "threshold_pct", "interval_ms"],
        StrategyKind::SmaCross => &["fast", "slow", "timeframe", "cash", "commission_pct"],
        StrategyKind::MlFusion | StrategyKind::External => return problems,
    };
    for (key, _) in given.iter().filter(|(key, is_given)| **is_given && !own.contains(key)) {
        problems.push(said(key, &format!("given: {} has no such key; it has {}", spec.kind, own.join(", "))));
    }
    problems
}

fn mean_reversion(spec: &Spec, problems: &mut Problems) -> Option<How> {
    let mut needed = |key: &str, value: Option<Decimal>| {
        if value.is_none() {
            problems.push(said(key, "missing; write an amount in base currency, e.g. \"0.001\""));
        }
        value
    };
    let (quantity, position_max) = (needed("quantity", spec.quantity), needed("position_max", spec.position_max));
    let rules = Rules {
        quantity: quantity?,
        position_max: position_max?,
        window: spec.window.unwrap_or(12),
        threshold_pct: spec.threshold_pct.unwrap_or_default(),
    };
    problems.extend(rules.problems().into_iter().map(|(key, what)| (key.to_owned(), what)));
    let interval_ms = spec.interval_ms.unwrap_or(5_000);
    if !(INTERVAL_MS.0..=INTERVAL_MS.1).contains(&interval_ms) {
        problems.push(said("interval_ms", &format!("{interval_ms}: out of range; write {} to {}", INTERVAL_MS.0, INTERVAL_MS.1)));
    }
    Some(How::MeanReversion { rules, interval: Duration::from_millis(interval_ms) })
}

fn sma_cross(spec: &Spec, problems: &mut Problems) -> Option<How> {
    for (key, value) in [("fast", spec.fast), ("slow", spec.slow)] {
        if value.is_none() {
            problems.push(said(key, "missing; write bars, e.g. fast = 10, slow = 30"));
        }
    }
    if spec.timeframe.is_none() {
        problems.push(said("timeframe", "missing; write one of \"1s\", \"1m\", \"5m\", \"15m\", \"1h\", \"4h\", \"1d\""));
    }
    let size = match (spec.quantity, spec.cash) {
        (Some(quantity), None) => Some(("quantity", quantity, Amount::Quantity(quantity))),
        (None, Some(cash)) => Some(("cash", cash, Amount::Cash(cash))),
        (None, None) => {
            problems.push(said(
                "quantity",
                "missing; write quantity = \"0.001\" (base currency of each buy) or cash = \"1000\" (quote currency, all of it)",
            ));
            None
        }
        (Some(_), Some(cash)) => {
            problems.push(said("cash", &format!("\"{cash}\": quantity is given as well; write one of them")));
            None
        }
    };
    if let Some((key, value, _)) = size
        && let Err(what) = amount(key, value)
    {
        problems.push(said(key, &format!("\"{value}\": {what}; e.g. \"0.001\"")));
    }
    let percent = spec.commission_pct.unwrap_or_else(|| commission_pct(spec.exchange));
    if percent < Decimal::ZERO || percent >= Decimal::ONE_HUNDRED {
        problems.push(said("commission_pct", &format!("\"{percent}\": out of range; write \"0\" to below \"100\"")));
    }
    let rule = SmaCross::new(spec.fast?, spec.slow?);
    if let Err(what) = &rule {
        let (key, what) = what.split_once(" = ").unwrap_or(("fast", what));
        problems.push(said(key, what));
    }
    let commission = percent.checked_div(Decimal::ONE_HUNDRED)?;
    Some(How::SmaCross { rule: rule.ok()?, timeframe: spec.timeframe?, amount: size?.2, commission })
}
