//! The registry of strategies: what they are called, how they decide, how far they have come.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backtests::{BacktestDone, JobState};
use crate::candles::TimeFrame;
use crate::codec::{Kind, Message};
use crate::control::reasoned;
use crate::instrument::Venue;
use crate::orders::{amount, name, strategy_name, symbol};
use crate::time::Timestamp;

/// Parameters of a strategy by name, as text: `fast = "10"`.
pub type Params = BTreeMap<String, String>;

/// Parameters of one strategy.
const PARAMS_MAX: usize = 32;

/// How a strategy decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StrategyKind {
    /// Sells above the mean of the last prices, buys below it.
    #[default]
    MeanReversion,
    /// Holds while the mean of the last `fast` closes is above that of the last `slow`.
    SmaCross,
    /// Holds while the model's score says so (`spark rollout`).
    MlFusion,
    /// A process of one's own on the bus.
    External,
}

impl StrategyKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::MeanReversion, Self::SmaCross, Self::MlFusion, Self::External];

    /// The spelling everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MeanReversion => "mean_reversion",
            Self::SmaCross => "sma_cross",
            Self::MlFusion => "ml_fusion",
            Self::External => "external",
        }
    }
}

impl fmt::Display for StrategyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for StrategyKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::as_str).join(", ");
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("unknown kind of strategy `{text:.64}`; known are {}", known()))
    }
}

/// How far a strategy has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StrategyStatus {
    /// Registered.
    #[default]
    Draft,
    /// A backtest with these parameters is done.
    Backtested,
    /// It trades on paper.
    Paper,
    /// It trades.
    Live,
    /// Somebody stopped it.
    Stopped,
}

impl StrategyStatus {
    /// The spelling everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Backtested => "backtested",
            Self::Paper => "paper",
            Self::Live => "live",
            Self::Stopped => "stopped",
        }
    }

    /// Whether a strategy may go from here to there.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Draft, Self::Backtested)
                | (Self::Backtested | Self::Stopped, Self::Paper)
                | (Self::Paper, Self::Live)
                | (Self::Paper | Self::Live, Self::Stopped)
                // Other parameters are another strategy: it begins again.
                | (_, Self::Draft)
        )
    }
}

impl fmt::Display for StrategyStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One strategy as it is now. Subject `control.registry.<strategy>`; each revision once, the newest decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StrategyRegistered {
    /// Its name: letters, digits, `-`, `_`.
    pub name: String,
    /// Rises by one with each change; starts at 1.
    pub revision: u64,
    /// How it decides.
    pub kind: StrategyKind,
    /// With which parameters.
    pub params: Params,
    /// Where it trades.
    pub exchange: Venue,
    /// What it trades.
    pub symbol: String,
    /// Of the candles; none for kinds that look at quotes.
    pub timeframe: Option<TimeFrame>,
    /// Of each order, base currency; none: all of `cash`.
    #[schemars(with = "Option<String>")]
    pub quantity: Option<Decimal>,
    /// What it trades with, quote currency, where `quantity` is none.
    #[schemars(with = "Option<String>")]
    pub cash: Option<Decimal>,
    /// How far it has come.
    pub status: StrategyStatus,
    /// The backtest that it was last promoted on.
    pub backtest: Option<String>,
    /// Who.
    pub actor: String,
    /// Why; not empty.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl Message for StrategyRegistered {
    const KIND: Kind = Kind { name: "strategy_registered", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        strategy_name(&self.name)?;
        symbol(&self.symbol)?;
        check_params(&self.params)?;
        if self.revision == 0 {
            return Err("revision: starts at 1".to_owned());
        }
        for (field, value) in [("quantity", self.quantity), ("cash", self.cash)] {
            value.map_or(Ok(()), |value| amount(field, value))?;
        }
        reasoned(&self.actor, &self.reason)
    }
}

/// A step in a strategy's life that somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To the next status: a draft to backtested (on a backtest), that to paper, paper to live (confirmed).
    Promote,
    /// On paper, after a backtest or a stop.
    Start,
    /// Ends trading.
    Stop,
}

/// Why a change of the registry is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It trades: other parameters do not slip into a running strategy.
    #[error("{name} is {status}: it trades; stop it first")]
    Trades {
        /// Whose.
        name: String,
        /// Its status.
        status: StrategyStatus,
    },
    /// The same is registered.
    #[error("{0} is registered just so; nothing changes")]
    Unchanged(String),
    /// There is no such step.
    #[error("{name} is {status}: {what}")]
    NoStep {
        /// Whose.
        name: String,
        /// Its status.
        status: StrategyStatus,
        /// What would be right.
        what: &'static str,
    },
    /// A draft is promoted on a backtest.
    #[error("{name} is a draft: it becomes backtested on a backtest of it that is done; {what}")]
    NoBacktest {
        /// Whose.
        name: String,
        /// What is wrong with the one that was named.
        what: String,
    },
    /// Money would move.
    #[error("{0} would trade with real orders where its exchange is live; confirm it")]
    NotConfirmed(String),
}

impl StrategyRegistered {
    /// The revision that registers `self` over what is there: a draft. Figures, actor, reason and time are those of `self`.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn over(mut self, before: Option<&Self>) -> Result<Self, Refused> {
        (self.revision, self.status, self.backtest) = (1, StrategyStatus::Draft, None);
        let Some(before) = before else { return Ok(self) };
        if matches!(before.status, StrategyStatus::Paper | StrategyStatus::Live) {
            return Err(Refused::Trades { name: self.name, status: before.status });
        }
        if self.decides_as(before) {
            return Err(Refused::Unchanged(self.name));
        }
        self.revision = before.revision + 1;
        Ok(self)
    }

    /// Whether both decide the same, of the same past.
    #[must_use]
    pub fn decides_as(&self, other: &Self) -> bool {
        let terms = |it: &Self| (it.kind, it.exchange, it.symbol.clone(), it.timeframe, it.quantity, it.cash);
        self.params == other.params && terms(self) == terms(other)
    }

    /// The next revision of a strategy that takes a step. `backtest` is what a draft is promoted on; a process of one's own
    /// ([`StrategyKind::External`]) cannot be backtested here, and goes on somebody's word.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn take(&self, step: Step, backtest: Option<&BacktestDone>, is_confirmed: bool) -> Result<Self, Refused> {
        use StrategyStatus::{Backtested, Draft, Live, Paper, Stopped};
        let no_step = |what| Err(Refused::NoStep { name: self.name.clone(), status: self.status, what });
        let status = match (step, self.status) {
            (Step::Promote, Draft) => Backtested,
            (Step::Promote | Step::Start, Backtested | Stopped) => Paper,
            (Step::Promote, Paper) if is_confirmed => Live,
            (Step::Promote, Paper) => return Err(Refused::NotConfirmed(self.name.clone())),
            (Step::Stop, Paper | Live) => Stopped,
            (Step::Promote, Live) => return no_step("that is the last step"),
            (Step::Start, Paper | Live) => return no_step("it trades already"),
            (Step::Start, Draft) => return no_step("promote it on a backtest first"),
            (Step::Stop, Draft | Backtested | Stopped) => return no_step("it does not trade"),
        };
        let mut next = Self { revision: self.revision + 1, status, ..self.clone() };
        if status == Backtested && self.kind != StrategyKind::External {
            let no = |what: String| Refused::NoBacktest { name: self.name.clone(), what };
            let done = backtest.ok_or_else(|| no(format!("none is known; spark backtest run --queue --name {}", self.name)))?;
            self.is_shown_by(done).map_err(no)?;
            next.backtest = Some(done.id.clone());
        }
        Ok(next)
    }

    /// Whether a backtest shows what this strategy does. Its size (`quantity`) may be another.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn is_shown_by(&self, done: &BacktestDone) -> Result<(), String> {
        let plain = |params: &Params| {
            let mut params = params.clone();
            params.remove("quantity");
            params
        };
        if done.state != JobState::Done {
            Err(format!("backtest {} has no result", done.id))
        } else if done.strategy.as_deref() != Some(self.name.as_str()) {
            Err(format!("backtest {} is about {}", done.id, done.strategy.as_deref().unwrap_or("no registered strategy")))
        } else if done.kind != self.kind || plain(&done.params) != plain(&self.params) {
            Err(format!(
                "backtest {} had {} with {:?} instead of {} with {:?}",
                done.id, done.kind, done.params, self.kind, self.params
            ))
        } else {
            Ok(())
        }
    }
}

pub(crate) fn check_params(params: &Params) -> Result<(), String> {
    if params.len() > PARAMS_MAX {
        return Err(format!("params: {} of them, {PARAMS_MAX} are allowed", params.len()));
    }
    params.iter().try_for_each(|(key, value)| name(&format!("params.{key:.64}"), value).and_then(|()| name("params", key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strategy_goes_through_its_life_in_order_and_begins_again_with_other_parameters() {
        use StrategyStatus::{Backtested, Draft, Live, Paper, Stopped};
        let check = |from: StrategyStatus, to: &[StrategyStatus]| {
            for next in [Draft, Backtested, Paper, Live, Stopped] {
                assert_eq!(from.may_become(next), to.contains(&next), "{from} → {next}");
            }
        };
        check(Draft, &[Draft, Backtested]);
        check(Backtested, &[Draft, Paper]);
        check(Paper, &[Draft, Live, Stopped]);
        check(Live, &[Draft, Stopped]);
        check(Stopped, &[Draft, Paper]);
    }

    fn sample<T: Message>() -> T {
        let entry = crate::catalogue::find(&T::KIND.to_string()).unwrap();
        crate::codec::decode_payload(&(entry.sample)()).unwrap()
    }

    #[test]
    fn each_step_leads_where_it_should_and_nowhere_else() {
        use StrategyStatus::{Backtested, Draft, Live, Paper, Stopped};
        let check = |from: StrategyStatus, step: Step, want: Option<StrategyStatus>| {
            let before = StrategyRegistered { status: from, revision: 7, ..sample() };
            let done = done(&before);
            let got = before.take(step, Some(&done), true);
            assert_eq!(got.as_ref().ok().map(|next| next.status), want, "{from} {step:?}");
            if let Ok(next) = got {
                assert!(next.revision == 8 && from.may_become(next.status));
            }
        };
        for (from, promote, start, stop) in [
            (Draft, Some(Backtested), None, None),
            (Backtested, Some(Paper), Some(Paper), None),
            (Paper, Some(Live), None, Some(Stopped)),
            (Live, None, None, Some(Stopped)),
            (Stopped, Some(Paper), Some(Paper), None),
        ] {
            check(from, Step::Promote, promote);
            check(from, Step::Start, start);
            check(from, Step::Stop, stop);
        }
        let paper = StrategyRegistered { status: Paper, ..sample() };
        assert_eq!(paper.take(Step::Promote, None, false), Err(Refused::NotConfirmed(paper.name.clone())));
    }

    fn done(strategy: &StrategyRegistered) -> BacktestDone {
        BacktestDone {
            id: "b1".into(),
            state: JobState::Done,
            strategy: Some(strategy.name.clone()),
            kind: strategy.kind,
            params: strategy.params.clone(),
            ..sample()
        }
    }

    #[test]
    fn a_draft_is_promoted_on_a_finished_backtest_of_itself_alone() {
        let draft = StrategyRegistered { status: StrategyStatus::Draft, kind: StrategyKind::SmaCross, ..sample() };
        let next = draft.take(Step::Promote, Some(&done(&draft)), false).unwrap();
        assert_eq!((next.status, next.backtest.as_deref()), (StrategyStatus::Backtested, Some("b1")));
        let check = |change: fn(&mut BacktestDone), want: &str| {
            let mut done = done(&draft);
            change(&mut done);
            let refused = draft.take(Step::Promote, Some(&done), true).unwrap_err().to_string();
            assert!(refused.contains(want), "{refused}");
        };
        check(|done| done.state = JobState::Failed, "b1 has no result");
        check(|done| done.strategy = None, "about no registered strategy");
        check(|done| done.strategy = Some("other".into()), "about other");
        check(|done| done.kind = StrategyKind::MlFusion, "had ml_fusion");
        check(|done| _ = done.params.insert("fast".into(), "11".into()), "instead of");
        assert!(draft.take(Step::Promote, None, true).unwrap_err().to_string().contains("none is known"));
        let own = StrategyRegistered { kind: StrategyKind::External, ..draft.clone() };
        assert_eq!(own.take(Step::Promote, None, false).unwrap().status, StrategyStatus::Backtested);
        let mut sized = done(&draft);
        sized.params.insert("quantity".into(), "0.5".into());
        assert!(draft.take(Step::Promote, Some(&sized), false).is_ok());
    }

    #[test]
    fn other_parameters_begin_as_a_draft_and_never_slip_into_one_that_trades() {
        use StrategyStatus::{Backtested, Draft, Live, Paper, Stopped};
        let wish: StrategyRegistered = sample();
        let first = wish.clone().over(None).unwrap();
        assert_eq!((first.revision, first.status, first.backtest.clone()), (1, Draft, None));
        for status in [Draft, Backtested, Paper, Live, Stopped] {
            let before = StrategyRegistered { status, revision: 4, ..first.clone() };
            let mut other = wish.clone();
            other.params.insert("slow".into(), "99".into());
            let over = other.over(Some(&before));
            if matches!(status, Paper | Live) {
                assert_eq!(over, Err(Refused::Trades { name: before.name.clone(), status }));
            } else {
                let over = over.unwrap();
                assert_eq!((over.revision, over.status), (5, Draft));
                assert_eq!(wish.clone().over(Some(&before)), Err(Refused::Unchanged(before.name.clone())));
            }
        }
    }
}
