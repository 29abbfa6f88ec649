//! The decision: candles and the LEDGER in, scores, orders, outcomes and answers out. No I/O, no clock: the same events
//! give the same acts, byte for byte. Each act has a natural key, so that it is stored once whatever crashes.

mod answer;

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::candles::{Candle, CandleHistory, TimeFrame};
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::{OrderId, OrderIntent, OrderType, TimeInForce};
use spark_bus_schema::signals::{Absence, Calibration, ModelInForce, Outcome, Score, ScoreAnswer};
use spark_bus_schema::{Kind, Message, Timestamp, encode, subject};

use crate::calibration::Sample;
use crate::config::Config;
use crate::event::Event;
use crate::fusion::{Reason, Verdict};
use crate::holdings::{Holdings, STRATEGY, name};
use crate::model::{CANDLE_FEATURES, Model, ModelId};
use crate::series::{Bar, Seen, Series};
use crate::standing::{Place, Standing};

/// Symbols and time frames that are scored; candles of more are not.
pub const SERIES_MAX: usize = 2_000;
const STATE_VERSION: u32 = 1;

/// What is to be stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// What the model says about a candle.
    Score(Box<Score>),
    /// An order, right after the score that it follows from.
    Intent(Box<OrderIntent>),
    /// What the price did after a score.
    Outcome(Box<Outcome>),
    /// How far scores can be believed.
    Calibration(Box<Calibration>, u64),
    /// To somebody who asked.
    Answer(Box<ScoreAnswer>),
}

/// One message, ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Where.
    pub subject: String,
    /// What.
    pub kind: Kind,
    /// The bytes.
    pub payload: Vec<u8>,
    /// Of each subject each revision is stored once, for ever, and they rise.
    pub revision: u64,
}

impl Act {
    /// The message. Scores, outcomes and calibrations are numbered by the first moment of their candle, s since 1970.
    #[must_use]
    pub fn message(&self) -> Stored {
        fn stored<T: Message>(subject: String, message: &T, revision: u64) -> Stored {
            Stored { subject, kind: T::KIND, payload: encode(message), revision }
        }
        match self {
            Self::Score(score) => {
                let subject = subject::score(score.venue, &score.symbol, score.timeframe);
                stored(subject, score.as_ref(), revision(score.open_time))
            }
            Self::Intent(intent) => stored(subject::intent(&intent.order), intent.as_ref(), 1),
            Self::Outcome(outcome) => {
                let subject = subject::outcome(outcome.venue, &outcome.symbol, outcome.timeframe);
                stored(subject, outcome.as_ref(), revision(outcome.open_time))
            }
            Self::Calibration(calibration, revision) => {
                let subject = subject::calibration(calibration.venue, &calibration.symbol, calibration.timeframe);
                stored(subject, calibration.as_ref(), *revision)
            }
            Self::Answer(answer) => stored(subject::score_answer(&answer.id), answer.as_ref(), 1),
        }
    }
}

fn revision(open_time: Timestamp) -> u64 {
    u64::try_from(open_time.as_nanos() / 1_000_000_000).unwrap_or(0)
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    version: u32,
    model: ModelId,
    /// Candles that closed until then are taken in, but not scored: an earlier model has.
    silent_until: Timestamp,
    series: BTreeMap<String, Series>,
    standing: Standing,
    holdings: Holdings,
}

/// Scores candles and trades on them as far as it may.
#[derive(Clone, Debug)]
pub struct Signal {
    config: Config,
    model: Model,
    /// The file is not the one that the configuration pins.
    pinned: Option<String>,
    state: State,
}

impl Signal {
    /// Has seen nothing.
    #[must_use]
    pub fn new(config: Config, model: Model) -> Self {
        let own = model.id().clone();
        let pinned = config
            .model_hash
            .as_ref()
            .filter(|hash| **hash != own.hash)
            .map(|hash| format!("model_hash: the file's is {:.12}, the configuration says {hash:.12}", own.hash));
        let state = State {
            version: STATE_VERSION,
            model: own,
            silent_until: Timestamp::ZERO,
            series: BTreeMap::new(),
            standing: Standing::default(),
            holdings: Holdings::default(),
        };
        Self { config, model, pinned, state }
    }

    /// Candles that closed until then are taken in, but not scored.
    #[must_use]
    pub fn silent_until(mut self, silent_until: Timestamp) -> Self {
        self.state.silent_until = silent_until;
        self
    }

    /// Why this file refuses to trade; none when the configuration has nothing against it.
    #[must_use]
    pub fn pinned(&self) -> Option<&str> {
        self.pinned.as_deref()
    }

    /// The model with the weights and the floor of this moment.
    #[must_use]
    pub fn in_force(&self, at: Timestamp) -> ModelInForce {
        let blend = self.state.standing.blend(&self.model, at);
        ModelInForce {
            model: self.state.model.clone(),
            weights: blend.weights.named().map(|(part, weight)| (part.to_owned(), weight)).into(),
            confid_floor: blend.floor,
            horizon: self.model.horizon(),
            at,
        }
    }

    /// Takes in one event, stored at `at`.
    pub fn apply(&mut self, at: Timestamp, event: Event, acts: &mut Vec<Act>) {
        let state = &mut self.state;
        match event {
            Event::Candle(candle) => self.candle(at, &candle, acts),
            Event::History(history) => self.history(at, &history, acts),
            Event::Request(request) => acts.push(Act::Answer(Box::new(self.answer(at, &request)))),
            Event::Rollout(changed) => state.standing.rollout(&state.model, *changed),
            Event::CounterMove(made) => state.standing.counter_move(at, &made),
            Event::KillSwitch(switch) => state.standing.kill_switch(switch.on),
            Event::Command(command) => state.standing.command(command.run),
            Event::Intent(intent) => state.holdings.asked(&name(intent.exchange, &intent.symbol), &intent.order),
            Event::Verdict(verdict) => state.holdings.verdict(&verdict),
            Event::Order(event) => state.holdings.order(&event),
            Event::Filters(filters) => state.holdings.filters(filters),
        }
    }

    /// An order was not stored after all: its candle is too long ago.
    pub fn given_up(&mut self, order: &OrderId) {
        self.state.holdings.given_up(order);
    }

    fn scores(&self, timeframe: TimeFrame) -> bool {
        self.config.timeframes.is_empty() || self.config.timeframes.contains(&timeframe)
    }

    fn series(&mut self, place: Place) -> Option<&mut Series> {
        let key = format!("{}.{}.{}", place.venue, place.symbol, place.timeframe);
        let (model, known) = (&self.model, &mut self.state.series);
        if known.len() >= SERIES_MAX && !known.contains_key(&key) {
            return None;
        }
        Some(known.entry(key).or_insert_with(|| Series::new(model, place.venue, place.timeframe)))
    }

    fn history(&mut self, at: Timestamp, history: &CandleHistory, acts: &mut Vec<Act>) {
        let place = Place { venue: history.venue, symbol: &history.symbol, timeframe: history.timeframe };
        if !self.scores(place.timeframe) {
            return;
        }
        let (model, mut seen) = (self.model.clone(), Vec::new());
        if let Some(series) = self.series(place) {
            series.history(&model, history, &mut seen);
        }
        self.outcomes(at, place, &seen, acts);
    }

    fn candle(&mut self, at: Timestamp, candle: &Candle, acts: &mut Vec<Act>) {
        let place = Place { venue: candle.venue, symbol: &candle.symbol, timeframe: candle.timeframe };
        // Later revisions correct the figures; nobody could have decided on them.
        if candle.revision != 1 || !self.scores(place.timeframe) {
            return;
        }
        let (model, mut seen) = (self.model.clone(), Vec::new());
        let own = self.series(place).and_then(|series| series.live(&model, Bar::of(candle), &mut seen));
        self.outcomes(at, place, &seen, acts);
        let Some(own) = own.filter(|_| candle.closed_at > self.state.silent_until) else { return };
        let (score, verdict) = self.judge(at, candle, place, own);
        let may_trade = !score.advisory;
        if let Some(series) = self.series(place) {
            series.told(at, &verdict, score.assigned);
        }
        acts.push(Act::Score(Box::new(score)));
        if let Some(side) = verdict.side.filter(|_| may_trade) {
            self.order(candle, side, acts);
        }
    }

    /// What is told about a candle, with the weights and the floor of the moment.
    fn judge(&self, at: Timestamp, candle: &Candle, place: Place, own: Verdict) -> (Score, Verdict) {
        let verdict = own.blended(&self.state.standing.blend(&self.model, at));
        let missing = self.model.features().iter().find(|feature| !CANDLE_FEATURES.contains(&feature.as_str()));
        let no_score = missing.map(|feature| format!("{feature}: candles do not carry it"));
        let in_doubt = (!candle.complete).then(|| "candle: trades of it are missing".to_owned());
        let score = self.score(at, place, verdict, no_score, in_doubt);
        let score = Score { open_time: candle.open_time, close: candle.close, decided_at: candle.closed_at, ..score };
        let verdict = if score.score.is_some() { verdict } else { Verdict { score: None, side: None, parts: None, ..verdict } };
        (self.previewed(score, place, &verdict), verdict)
    }

    /// The score of a verdict; candle and time are still to be filled in. `no_score` is why there shall be none, and
    /// `in_doubt` why nobody may trade on it.
    fn score(&self, at: Timestamp, place: Place, verdict: Verdict, no_score: Option<String>, in_doubt: Option<String>) -> Score {
        let (standing, own) = (&self.state.standing, self.model.id());
        let floor = standing.blend(&self.model, at).floor;
        let off = standing.is_scoring_off().then(|| "counter-move scoring_off: nothing is scored".to_owned());
        let no_score = off.or(no_score).or_else(|| verdict.reason.map(|reason| reason.to_string()));
        let is_scored = no_score.is_none();
        let absence = match verdict.reason {
            _ if standing.is_scoring_off() => Some(Absence::SwitchedOff),
            Some(Reason::Warming { .. }) => Some(Absence::Warming),
            Some(Reason::NoVolume) => Some(Absence::NothingTraded),
            _ => None,
        };
        let refusal = || standing.refusal(own, place, &verdict, floor);
        let reason = no_score.or_else(|| self.pinned.clone()).or(in_doubt).or_else(refusal);
        let parts = verdict.parts.filter(|_| is_scored);
        Score {
            model: own.clone(),
            venue: place.venue,
            symbol: place.symbol.to_owned(),
            timeframe: place.timeframe,
            open_time: Timestamp::ZERO,
            close: Decimal::ONE,
            score: verdict.score.filter(|_| is_scored),
            confid: verdict.confid.filter(|_| is_scored),
            ml_bucket: verdict.bucket().filter(|_| is_scored).map(str::to_owned),
            ml_signal_parts: parts
                .map(|parts| parts.named().map(|(part, value)| (part.to_owned(), value)).into())
                .unwrap_or_default(),
            side: verdict.side.filter(|_| is_scored),
            advisory: reason.is_some(),
            reason,
            confid_floor: floor,
            assigned: standing.assigned(own, place.venue, place.symbol),
            decided_at: at,
            absence,
        }
    }

    /// In the preview, what would be ordered is told in the reason.
    fn previewed(&self, mut score: Score, place: Place, verdict: &Verdict) -> Score {
        let (Some(side), true) = (verdict.side, self.state.standing.previews(self.model.id(), place)) else { return score };
        let known = name(place.venue, place.symbol);
        let would = match self.state.holdings.quantity(&self.config, &known, side, score.close) {
            Ok(Some(quantity)) => format!("would {} {quantity} {}", verb(side), place.symbol),
            Ok(None) => format!("would {} nothing: it holds {}", verb(side), self.state.holdings.position(&known)),
            Err(why) => format!("would {}, but: {why}", verb(side)),
        };
        score.reason = score.reason.map(|reason| format!("{reason}; {would}"));
        score
    }

    fn order(&mut self, candle: &Candle, side: Side, acts: &mut Vec<Act>) {
        let known = name(candle.venue, &candle.symbol);
        // Why there is none is in the next preview; an order that is open, or a step that is not known, comes right by itself.
        let Ok(Some(quantity)) = self.state.holdings.quantity(&self.config, &known, side, candle.close) else { return };
        let key = format!("{known}.{}.{}", candle.timeframe, candle.open_time.as_millis());
        let order = OrderId::derive(STRATEGY, &key);
        self.state.holdings.asked(&known, &order);
        acts.push(Act::Intent(Box::new(OrderIntent {
            order,
            key,
            strategy: STRATEGY.to_owned(),
            actor: "signal".to_owned(),
            exchange: candle.venue,
            symbol: candle.symbol.clone(),
            side,
            order_type: OrderType::Market,
            time_in_force: TimeInForce::Ioc,
            quantity,
            limit_price: None,
            requested_at: candle.closed_at,
            reason: Some(format!(
                "{} scored the {} candle of {}",
                self.model.id().model_version,
                candle.timeframe,
                candle.open_time
            )),
            decided_at: Some(candle.closed_at),
        })));
    }

    fn outcomes(&mut self, at: Timestamp, place: Place, seen: &[Seen], acts: &mut Vec<Act>) {
        let (model, horizon) = (self.state.model.clone(), self.model.horizon());
        let Some(series) = (!seen.is_empty()).then(|| self.series(place)).flatten() else { return };
        let Place { venue, symbol, timeframe } = place;
        for Seen { of, move_bps, hit } in seen {
            series.windows.seen(Sample { confid: of.confid, parts: of.parts, move_bps: *move_bps, hit: *hit });
            acts.push(Act::Outcome(Box::new(Outcome {
                model: model.clone(),
                venue,
                symbol: symbol.to_owned(),
                timeframe,
                open_time: of.open_time,
                score: of.score,
                confid: of.confid,
                ml_signal_parts: of.parts.named().map(|(part, value)| (part.to_owned(), value)).into(),
                assigned: of.assigned,
                horizon,
                move_bps: *move_bps,
                hit: *hit,
                at,
            })));
            acts.push(Act::Calibration(Box::new(calibration(&model, place, series, at)), revision(of.open_time)));
        }
    }

    /// The state, to be continued later.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        rmp_serde::to_vec(&self.state).expect("writing to memory cannot fail and every key is text")
    }

    /// Takes over a saved state. False when it is another model's: the streams are read from their beginning.
    ///
    /// # Errors
    /// What makes it unusable.
    pub fn load(&mut self, bytes: &[u8]) -> Result<bool, String> {
        let state: State = spark_bus_schema::codec::from_saved(bytes).map_err(|error| error.to_string())?;
        if state.version != STATE_VERSION {
            return Err(format!("layout {}, this build reads {STATE_VERSION}", state.version));
        }
        let is_own = state.model == *self.model.id();
        if is_own {
            self.state = state;
        }
        Ok(is_own)
    }
}

fn calibration(model: &ModelId, place: Place, series: &Series, at: Timestamp) -> Calibration {
    let figures = series.windows.figures();
    Calibration {
        model: model.clone(),
        venue: place.venue,
        symbol: place.symbol.to_owned(),
        timeframe: place.timeframe,
        samples: figures.samples,
        reliability: figures.reliability,
        brier: figures.brier,
        correlation: figures.correlation,
        drift_psi: figures.drift_psi,
        confid_median: figures.confid_median,
        low_confidence_since: figures.low_confidence_since,
        at,
    }
}

const fn verb(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    }
}

#[cfg(test)]
mod tests;
