//! What can decide, behind one question. Rules are generic in the loop: no bar pays for a call through a table.

use rust_decimal::Decimal;
use spark_bus_schema::market::Side;
use spark_bus_schema::strategies::Params;
use spark_signal::fusion::Fusion;
use spark_signal::model::Model;
use spark_strategy::mean_reversion::{MeanReversion, Rules};
use spark_strategy::rule::{Bar, SmaCross, Want};

/// What a rule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// To hold it or not.
    Want(Want),
    /// An order.
    Trade(Side, Decimal),
}

/// Decides on closed bars.
pub(crate) trait Rule {
    /// Bars of which trades are missing are taken in, and nothing follows from them.
    const IS_CAUTIOUS: bool = false;

    /// Bars before it says anything.
    fn warm_after(&self) -> usize;
    /// Forgets every bar: what comes next does not follow on what was there.
    fn reset(&mut self);
    /// The next bar, and what is held, base currency.
    fn on_bar(&mut self, bar: &Bar, held: Decimal) -> Option<Ask>;
}

impl Rule for SmaCross {
    fn warm_after(&self) -> usize {
        Self::warm_after(self)
    }

    fn reset(&mut self) {
        Self::reset(self);
    }

    #[inline]
    fn on_bar(&mut self, bar: &Bar, _: Decimal) -> Option<Ask> {
        Self::on_bar(self, bar).map(Ask::Want)
    }
}

/// The model: holds while its score says so with enough confidence, whatever the rollout's stage and counter-moves would be.
pub(crate) struct Scored<'a> {
    model: &'a Model,
    fusion: Fusion,
}

impl<'a> Scored<'a> {
    pub fn new(model: &'a Model) -> Self {
        Self { model, fusion: Fusion::new(model) }
    }
}

impl Rule for Scored<'_> {
    /// As live, where such a score is advisory.
    const IS_CAUTIOUS: bool = true;

    fn warm_after(&self) -> usize {
        usize::try_from(self.model.warm_up()).unwrap_or(usize::MAX)
    }

    fn reset(&mut self) {
        self.fusion = Fusion::new(self.model);
    }

    fn on_bar(&mut self, bar: &Bar, _: Decimal) -> Option<Ask> {
        let [open, high, low, close, volume] = [bar.open, bar.high, bar.low, bar.close, bar.volume].map(|value| value.to_f64());
        // No side: it keeps what it has.
        let side = self.fusion.on_bar(open, high, low, close, volume).side?;
        Some(Ask::Want(if side == Side::Buy { Want::Long } else { Want::Flat }))
    }
}

/// Mean reversion on closes, where the live one takes the middle of the book every `interval_ms`.
pub(crate) struct Reverting {
    rules: Rules,
    state: MeanReversion,
}

impl Reverting {
    /// # Errors
    /// The parameter that is missing, unknown or out of range, and what would be right.
    pub fn from_params(params: &Params, quantity: Option<Decimal>) -> Result<Self, String> {
        const KNOWN: [&str; 4] = ["position_max", "window", "threshold_pct", "interval_ms"];
        if let Some(unknown) = params.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(format!("{unknown:.64}: mean_reversion has no such parameter; it has quantity, {}", KNOWN.join(", ")));
        }
        let missing = |key: &str| format!("{key}: is missing; write an amount in base currency, e.g. 0.001");
        let wrong = |key: &str, text: &str| format!("{key} = {text:.64}: not a number, e.g. 12");
        let amount = |key: &str| params.get(key).map(|text| text.parse::<Decimal>().map_err(|_| wrong(key, text))).transpose();
        let window = params.get("window").map(|text| text.parse::<usize>().map_err(|_| wrong("window", text))).transpose()?;
        let rules = Rules {
            quantity: quantity.ok_or_else(|| missing("quantity"))?,
            position_max: amount("position_max")?.ok_or_else(|| missing("position_max"))?,
            window: window.unwrap_or(WINDOW),
            threshold_pct: amount("threshold_pct")?.unwrap_or_default(),
        };
        match rules.problems().into_iter().next() {
            Some((key, what)) => Err(format!("{key} = {what}")),
            None => Ok(Self { rules, state: MeanReversion::default() }),
        }
    }
}

/// Prices of the mean where nothing else is said, as live.
const WINDOW: usize = 12;

impl Rule for Reverting {
    fn warm_after(&self) -> usize {
        self.rules.window
    }

    fn reset(&mut self) {
        self.state = MeanReversion::default();
    }

    fn on_bar(&mut self, bar: &Bar, held: Decimal) -> Option<Ask> {
        let wish = self.state.next(&self.rules, bar.close.to_decimal(), held)?;
        Some(Ask::Trade(wish.side, self.rules.quantity))
    }
}
