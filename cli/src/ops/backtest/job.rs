//! A job from what was typed.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use spark_backtest::Live;
use spark_bus_schema::backtests::{BacktestJob, COMBINATIONS_MAX, DataSource, FillAt, WalkForward};
use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::risk::Limits;
use spark_bus_schema::strategies::{Params, StrategyKind};
use spark_bus_schema::{Decimal, Message, Venue};
use spark_nats::now;

use crate::args::backtests::{Fill, RunArgs};
use crate::exit::Failure;
use crate::ops::commands::reason;
use crate::ops::orders::actor;
use crate::ops::whatif::moment;

/// The job; `bars` is the file, if any, `limits` are those that `--limits` means, `live` what the processes are told.
///
/// # Errors
/// Exit 64: what was typed, and what would be right.
pub fn job(arguments: &RunArgs, bars: Option<&Path>, limits: Option<Limits>, live: &Live) -> Result<BacktestJob, Failure> {
    let sweep = sweep(&arguments.sweep)?;
    let params = params(arguments)?;
    let venue = arguments.exchange.parse::<Venue>().map_err(|error| Failure::usage(format!("--exchange: {error}")))?;
    let commission = arguments.commission.as_deref().map(|text| amount("--commission", text));
    let job = BacktestJob {
        id: new_id()?,
        strategy: arguments.name.clone(),
        kind: arguments.strategy.parse::<StrategyKind>().map_err(|error| Failure::usage(format!("--strategy {error}")))?,
        params,
        sweep,
        walk_forward: arguments.walk_forward.as_deref().map(walk_forward).transpose()?,
        venue,
        symbol: arguments.symbol.clone(),
        timeframe: timeframe(arguments, bars)?,
        data: data(arguments, bars)?,
        cash: amount("--cash", &arguments.cash)?,
        commission_pct: commission.transpose()?.unwrap_or_else(|| live.commission_pct(venue)),
        fill_at: match arguments.fill {
            Fill::Close => FillAt::Close,
            Fill::NextOpen => FillAt::NextOpen,
        },
        limits: limits.map(Box::new),
        actor: actor(),
        reason: reason(&arguments.reason)?,
        at: now(),
    };
    job.validate().map_err(Failure::usage)?;
    Ok(job)
}

/// `20261121T094500Z-3fa2c1`: by time, and by chance where two begin in one second.
fn new_id() -> Result<String, Failure> {
    const BYTES: usize = 3;
    let mut bytes = [0; BYTES];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| Failure::temporary(format!("read /dev/urandom for an id: {error}")))?;
    let time: String = spark_backtest::report::iso(now()).chars().filter(|c| !matches!(c, '-' | ':')).collect();
    Ok(format!("{time}-{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}

fn params(arguments: &RunArgs) -> Result<Params, Failure> {
    let mut params = Params::new();
    let shortcuts = [("fast", &arguments.fast), ("slow", &arguments.slow)];
    let given = shortcuts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)));
    let typed = arguments.param.iter().map(|text| pair("--param", text, "fast=10"));
    for pair in given.map(Ok).chain(typed) {
        let (key, value) = pair?;
        if params.insert(key.clone(), value).is_some() {
            return Err(Failure::usage(format!("--param {key}: given twice")));
        }
    }
    Ok(params)
}

fn pair(flag: &str, text: &str, example: &str) -> Result<(String, String), Failure> {
    let pair = text.split_once('=').filter(|(key, value)| !key.is_empty() && !value.is_empty());
    let (key, value) = pair.ok_or_else(|| Failure::usage(format!("{flag} {text}: write it as KEY=VALUE, e.g. {example}")))?;
    Ok((key.to_owned(), value.to_owned()))
}

fn sweep(given: &[String]) -> Result<BTreeMap<String, Vec<String>>, Failure> {
    let mut sweep = BTreeMap::new();
    for text in given {
        let (key, values) = pair("--sweep", text, "fast=5..20")?;
        let values = self::values(&values).map_err(|wrong| Failure::usage(format!("--sweep {text}: {wrong}")))?;
        if sweep.insert(key.clone(), values).is_some() {
            return Err(Failure::usage(format!("--sweep {key}: given twice")));
        }
    }
    Ok(sweep)
}

/// `5..20` (both ends are in it), `20..100:10`, `5,10,20`.
fn values(text: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("`{text}` is no list of values; write 5..20, 20..100:10 or 5,10,20");
    let Some((from, rest)) = text.split_once("..") else {
        let values: Vec<String> = text.split(',').map(|value| value.trim().to_owned()).collect();
        return if values.iter().any(String::is_empty) { Err(wrong()) } else { Ok(values) };
    };
    let (to, step) = rest.split_once(':').unwrap_or((rest, "1"));
    let number = |text: &str| text.parse::<Decimal>().map_err(|_| wrong());
    let (from, to, step) = (number(from)?, number(to)?, number(step)?);
    if step <= Decimal::ZERO || from > to {
        return Err(format!("`{text}` has no value in it; write the smaller end first, and a step above 0"));
    }
    let mut values = Vec::new();
    let mut value = from;
    while value <= to {
        if values.len() >= COMBINATIONS_MAX {
            return Err(format!("`{text}` has more than {COMBINATIONS_MAX} values"));
        }
        values.push(value.normalize().to_string());
        value += step;
    }
    Ok(values)
}

fn walk_forward(text: &str) -> Result<WalkForward, Failure> {
    let wrong = || Failure::usage(format!("--walk-forward {text}: write two numbers of bars, e.g. 10000:2000"));
    let (train, test) = text.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| text.parse().map_err(|_| wrong());
    Ok(WalkForward { train_bars: number(train)?, test_bars: number(test)? })
}

fn timeframe(arguments: &RunArgs, bars: Option<&Path>) -> Result<Option<TimeFrame>, Failure> {
    let given = arguments
        .timeframe
        .as_deref()
        .map(|text| text.parse::<TimeFrame>().map_err(|error| Failure::usage(format!("--timeframe: {error}"))));
    let default = if arguments.feed { Some(TimeFrame::M1) } else { bars.is_none().then_some(TimeFrame::H1) };
    Ok(given.transpose()?.or(default))
}

fn data(arguments: &RunArgs, bars: Option<&Path>) -> Result<DataSource, Failure> {
    if let Some(path) = bars {
        if arguments.feed || arguments.from.is_some() || arguments.to.is_some() {
            return Err(Failure::usage(format!(
                "{}: a file is read whole; --feed, --from and --to are for what was recorded and for the exchange's candles",
                path.display()
            )));
        }
        return Ok(DataSource::Csv { path: absolute(path)? });
    }
    let (from, to) = (moment("--from", arguments.from.as_deref())?, moment("--to", arguments.to.as_deref())?);
    match (arguments.feed, from, to) {
        (true, from, to) => Ok(DataSource::Feed { from, to }),
        (false, Some(from), to) => Ok(DataSource::Exchange { from, to: to.unwrap_or_else(now) }),
        (false, None, _) => Err(Failure::usage(
            "no data: give a file of bars with --data FILE, --feed for what was recorded, or --from TIME for the exchange's own candles",
        )),
    }
}

fn absolute(path: &Path) -> Result<String, Failure> {
    let absolute = std::path::absolute(path).map_err(|error| Failure::usage(format!("--data {}: {error}", path.display())))?;
    let text = absolute.into_os_string().into_string();
    text.map_err(|path| Failure::usage(format!("--data {}: not UTF-8; give the file another name", path.display())))
}

fn amount(flag: &str, text: &str) -> Result<Decimal, Failure> {
    text.parse().map_err(|_| Failure::usage(format!("{flag} {text}: not a number; e.g. 10000 or 0.1")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_sweep_are_spelt_out_and_mistakes_say_what_would_be_right() {
        let check = |text: &str, want: &[&str]| assert_eq!(values(text).unwrap(), want, "{text}");
        check("5..8", &["5", "6", "7", "8"]);
        check("20..45:10", &["20", "30", "40"]);
        check("0.5..1:0.25", &["0.5", "0.75", "1"]);
        check("5,10, 20", &["5", "10", "20"]);
        for wrong in ["8..5", "1..2:0", "1..2:-1", "..", "1..x", "5,,6", "1..9999999"] {
            assert!(values(wrong).is_err(), "{wrong}");
        }
        assert!(walk_forward("10:5").is_ok() && walk_forward("10").is_err() && walk_forward("a:5").is_err());
    }
}
