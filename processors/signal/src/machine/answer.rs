//! Answers to those who ask for the score of a candle of their own. Asking changes nothing.

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;
use spark_bus_schema::Timestamp;
use spark_bus_schema::orders::{AMOUNT_SCALE_MAX, amount};
use spark_bus_schema::signals::{Score, ScoreAnswer, ScoreRequest};

use super::Signal;
use crate::fusion::{Fusion, Verdict};
use crate::model::CANDLE_FEATURES;
use crate::series::{Bar, Series};
use crate::standing::Place;

/// `close` of an answer where nobody knows a price: the least that a price can be. Its reason says that there is none.
const NO_PRICE: Decimal = Decimal::from_parts(1, 0, 0, false, AMOUNT_SCALE_MAX);

impl Signal {
    /// What the model would say about the candle of a request.
    pub(super) fn answer(&self, at: Timestamp, request: &ScoreRequest) -> ScoreAnswer {
        let place = Place { venue: request.venue, symbol: &request.symbol, timeframe: request.timeframe };
        let series = self.state.series.get(&format!("{}.{}.{}", place.venue, place.symbol, place.timeframe));
        let value = |feature: &str| request.features.get(feature).copied().flatten().filter(|value| value.is_finite());
        let bar = Bar {
            open_time: request.open_time,
            values: CANDLE_FEATURES.map(|feature| self.value_or_default(feature, value(feature))),
        };
        let missing = self.model.features().iter().find(|feature| value(feature).is_none());
        let asked = match missing {
            Some(feature) => Err(format!("{feature}: missing, null, NaN or infinite")),
            None => self.asked(at, place, series, &bar),
        };
        let (verdict, no_score) = match asked {
            Ok(verdict) => (verdict, None),
            Err(why) => (Verdict { score: None, confid: None, parts: None, side: None, reason: None }, Some(why)),
        };
        let close = price(value("c")).or_else(|| price(series.and_then(Series::close)));
        let no_price = close.is_none().then(|| "c: no price of this symbol is known".to_owned());
        let score = self.score(at, place, verdict, no_score.or(no_price), None);
        let score = Score { open_time: request.open_time, close: close.unwrap_or(NO_PRICE), ..score };
        ScoreAnswer { id: request.id.clone(), score: self.previewed(score, place, &verdict) }
    }

    /// A volume that the model does not ask for need not be there.
    fn value_or_default(&self, feature: &str, value: Option<f64>) -> f64 {
        let is_needed = self.model.features().iter().any(|needed| needed == feature);
        value.unwrap_or(if is_needed { f64::NAN } else { 1.0 })
    }

    fn asked(&self, at: Timestamp, place: Place, series: Option<&Series>, bar: &Bar) -> Result<Verdict, String> {
        if !self.scores(place.timeframe) {
            return Err(format!("tf: {} is not among [signal] timeframes", place.timeframe));
        }
        let blend = self.state.standing.blend(&self.model, at);
        let Some(series) = series else {
            let [open, high, low, close, volume] = bar.values;
            return Ok(Fusion::new(&self.model).on_bar(open, high, low, close, volume));
        };
        series.ask(bar, &blend)
    }
}

/// A price as an order could have it; none of what is not one.
fn price(value: Option<f64>) -> Option<Decimal> {
    let exact = Decimal::from_f64(value?)?.round_dp(AMOUNT_SCALE_MAX);
    amount("close", exact).is_ok().then_some(exact)
}
