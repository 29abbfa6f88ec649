//! `spark strategy`: the registry of strategies, and the switch of each. Straight to the LEDGER; two people who change the
//! same strategy at the same moment do not both succeed.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use spark_bus_schema::backtests::BacktestDone;
use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::control::StrategyCommand;
use spark_bus_schema::orders::strategy_name;
use spark_bus_schema::strategies::{Params, Step, StrategyKind, StrategyRegistered, StrategyStatus};
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{Decimal, Message, Venue, encode};
use spark_nats::{AppendError, Bus, Meta, SubjectWriter};
use spark_strategy::plan::Plan;

use super::commands::{publish, reason, said};
use super::notify::newest;
use super::orders::actor;
use crate::args::Global;
use crate::args::trading::{StrategyCommand as Asked, StrategyCreateArgs, StrategyPromoteArgs, StrategyTellArgs};
use crate::config::Config;
use crate::exit::{Failure, chain};
use crate::output::{self, visible};
use crate::system;

/// Registers, lists, promotes, starts, stops.
///
/// # Errors
/// Exit 1: not now; 64: what cannot be; 69: no broker.
pub fn run(command: &Asked, global: &Global) -> Result<(), Failure> {
    match command {
        Asked::Create(arguments) => create(arguments, global),
        Asked::Ls => with_bus(global, async |bus| list(&bus, global).await),
        Asked::Show { name } => {
            strategy_name(name).map_err(Failure::usage)?;
            with_bus(global, async |bus| show(&registered(&bus, name).await?, global))
        }
        Asked::Promote(arguments) => promote(arguments, global),
        Asked::Start(arguments) => tell(true, arguments, global),
        Asked::Stop(arguments) => tell(false, arguments, global),
    }
}

fn with_bus(global: &Global, act: impl AsyncFnOnce(Bus) -> Result<(), Failure>) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    system::block_on(async {
        let bus = system::operator(global, &config).await?;
        act(bus).await
    })
}

/// What the arguments say, as a first revision.
fn wanted(arguments: &StrategyCreateArgs) -> Result<StrategyRegistered, Failure> {
    let decimal = |flag: &str, text: &Option<String>| {
        let read = |text: &String| {
            text.parse::<Decimal>().map_err(|_| Failure::usage(format!("{flag} {text:.64}: not an amount; write e.g. 0.001")))
        };
        text.as_ref().map(read).transpose()
    };
    let mut params = Params::new();
    for pair in &arguments.params {
        let Some((key, value)) = pair.split_once('=').filter(|(key, value)| !key.is_empty() && !value.is_empty()) else {
            return Err(Failure::usage(format!("--param {pair:.64}: write KEY=VALUE, e.g. fast=10")));
        };
        if params.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Failure::usage(format!("--param {key:.64}: is given twice")));
        }
    }
    let venues = || Venue::ALL.map(|venue| venue.as_str()).join(", ");
    let exchange = &arguments.exchange;
    let strategy = StrategyRegistered {
        name: arguments.name.clone(),
        revision: 1,
        kind: arguments.kind.parse::<StrategyKind>().map_err(|what| Failure::usage(format!("--kind: {what}")))?,
        params,
        exchange: exchange
            .parse()
            .map_err(|_| Failure::usage(format!("--exchange {exchange:.64}: unknown; known are {}", venues())))?,
        symbol: arguments.symbol.clone(),
        timeframe: arguments
            .timeframe
            .as_deref()
            .map(str::parse::<TimeFrame>)
            .transpose()
            .map_err(|what| Failure::usage(format!("--timeframe: {what}")))?,
        quantity: decimal("--quantity", &arguments.quantity)?,
        cash: decimal("--cash", &arguments.cash)?,
        status: StrategyStatus::Draft,
        backtest: None,
        actor: actor(),
        reason: reason(&arguments.reason)?,
        at: spark_nats::now(),
    };
    strategy.validate().map_err(Failure::usage)?;
    if matches!(strategy.kind, StrategyKind::MeanReversion | StrategyKind::SmaCross) {
        Plan::registered(&strategy).map_err(|what| Failure::usage(format!("{what}\nsee spark strategy create --help")))?;
    }
    Ok(strategy)
}

fn create(arguments: &StrategyCreateArgs, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    let mut wanted = wanted(arguments)?;
    let row = config.instruments.resolve(wanted.exchange, &wanted.symbol);
    wanted.symbol.clone_from(&row.map_err(|unknown| Failure::usage(format!("--symbol: {unknown}")))?.symbol);
    system::block_on(async {
        let bus = system::operator(global, &config).await?;
        let (writer, before) = open(&bus, &wanted.name).await?;
        let strategy = wanted.over(before.as_ref()).map_err(|refused| Failure::no(refused.to_string()))?;
        let sequence = store(writer, &strategy).await?;
        told(global, &strategy, sequence)
    })
}

async fn list(bus: &Bus, global: &Global) -> Result<(), Failure> {
    let mut strategies = BTreeMap::new();
    for delivery in newest(bus, "strategies", vec![subject::REGISTRY.to_owned()]).await? {
        match delivery.decode::<StrategyRegistered>() {
            Ok(strategy) => _ = strategies.insert(strategy.name.clone(), strategy),
            Err(error) => output::note(&format!("LEDGER:{}: {}", delivery.sequence, chain(&error))),
        }
    }
    if global.json {
        return output::line(&json!({"strategies": strategies.values().collect::<Vec<_>>()}).to_string());
    }
    if strategies.is_empty() {
        return output::line("no strategy is registered; spark strategy create registers one");
    }
    let mut rows =
        vec![["NAME", "STATUS", "KIND", "PARAMS", "EXCHANGE", "SYMBOL", "FRAME", "SIZE", "REVISION"].map(str::to_owned).to_vec()];
    rows.extend(strategies.values().map(|it| {
        vec![
            visible(&it.name),
            it.status.to_string(),
            it.kind.to_string(),
            visible(&params(it)),
            it.exchange.to_string(),
            visible(&it.symbol),
            it.timeframe.map_or_else(|| "–".to_owned(), |frame| frame.to_string()),
            size(it),
            it.revision.to_string(),
        ]
    }));
    output::table(&rows).iter().try_for_each(|line| output::line(line))
}

fn params(strategy: &StrategyRegistered) -> String {
    strategy.params.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

fn size(strategy: &StrategyRegistered) -> String {
    match (strategy.quantity, strategy.cash) {
        (Some(quantity), _) => format!("{quantity} each"),
        (None, Some(cash)) => format!("all of {cash}"),
        (None, None) => "–".to_owned(),
    }
}

fn show(strategy: &StrategyRegistered, global: &Global) -> Result<(), Failure> {
    if global.json {
        return output::line(&json!(strategy).to_string());
    }
    let frame = strategy.timeframe.map_or_else(String::new, |frame| format!(", {frame} candles"));
    for (name, value) in [
        ("name", visible(&strategy.name)),
        ("status", strategy.status.to_string()),
        ("decides", format!("{} {}", strategy.kind, visible(&params(strategy)))),
        ("trades", format!("{} on {}{frame}, {}", visible(&strategy.symbol), strategy.exchange, size(strategy))),
        ("backtest", strategy.backtest.as_deref().map_or_else(|| "–".to_owned(), visible)),
        (
            "revision",
            format!("{} of {} by {}: {}", strategy.revision, strategy.at, visible(&strategy.actor), visible(&strategy.reason)),
        ),
    ] {
        output::line(&format!("{name:<10}{value}"))?;
    }
    Ok(())
}

fn promote(arguments: &StrategyPromoteArgs, global: &Global) -> Result<(), Failure> {
    strategy_name(&arguments.name).map_err(Failure::usage)?;
    let why = reason(&arguments.reason)?;
    with_bus(global, async |bus| {
        let (writer, before) = open(&bus, &arguments.name).await?;
        let before = before.ok_or_else(|| unknown(&arguments.name))?;
        let backtest = match before.status {
            StrategyStatus::Draft => evidence(&bus, &before, arguments.backtest.as_deref()).await?,
            _ => None,
        };
        let next = before.take(Step::Promote, backtest.as_ref(), arguments.confirm);
        let next = next.map_err(|refused| Failure::no(format!("{refused}{}", hint(&before))))?;
        moved(&bus, writer, next, why, global).await
    })
}

fn hint(before: &StrategyRegistered) -> &'static str {
    if before.status == StrategyStatus::Paper { " with --confirm" } else { "" }
}

/// The backtest that is named, or the newest one that shows just this strategy, or else the newest that is about it.
async fn evidence(bus: &Bus, strategy: &StrategyRegistered, id: Option<&str>) -> Result<Option<BacktestDone>, Failure> {
    if let Some(id) = id {
        let found = bus.last(LEDGER, &subject::backtest_done(id)).await?;
        let done = found.and_then(|found| found.decode::<BacktestDone>().ok());
        return done
            .map(Some)
            .ok_or_else(|| Failure::no(format!("no backtest {id:.64} has ended; spark backtest ls lists results")));
    }
    let all = newest(bus, "backtests", vec![subject::BACKTESTS_DONE.to_owned()]).await?;
    let mut own: Vec<BacktestDone> = all.iter().filter_map(|delivery| delivery.decode().ok()).collect();
    own.retain(|done| done.strategy.as_deref() == Some(strategy.name.as_str()));
    let fits = own.iter().rposition(|done| strategy.is_shown_by(done).is_ok());
    Ok(fits.or(own.len().checked_sub(1)).map(|at| own.swap_remove(at)))
}

/// Starts or stops: the switch that risk and every strategy obeys, and the status of a registered one.
fn tell(run: bool, arguments: &StrategyTellArgs, global: &Global) -> Result<(), Failure> {
    let StrategyTellArgs { name, reason: why, symbols } = arguments;
    strategy_name(name).map_err(Failure::usage)?;
    let why = reason(why)?;
    let known =
        |symbol: &str| symbol.split_once('.').is_some_and(|(venue, rest)| venue.parse::<Venue>().is_ok() && !rest.is_empty());
    if let Some(wrong) = symbols.iter().find(|symbol| !known(symbol)) {
        return Err(Failure::usage(format!("--symbols {wrong}: write <exchange>.<symbol>, e.g. binance.BTCUSDT")));
    }
    with_bus(global, async |bus| {
        let (writer, before) = open(&bus, name).await?;
        if !run {
            // First what stops it at once.
            let sequence = switch(&bus, name, run, symbols, &why).await?;
            if let Some(next) = before.and_then(|before| before.take(Step::Stop, None, false).ok()) {
                return moved(&bus, writer, next, why, global).await;
            }
            return switched(global, name, run, sequence);
        }
        match before {
            Some(before) if !matches!(before.status, StrategyStatus::Paper | StrategyStatus::Live) => {
                let next = before.take(Step::Start, None, false).map_err(|refused| Failure::no(refused.to_string()))?;
                moved(&bus, writer, next, why, global).await
            }
            _ => {
                let sequence = switch(&bus, name, run, symbols, &why).await?;
                switched(global, name, run, sequence)
            }
        }
    })
}

fn switched(global: &Global, name: &str, run: bool, sequence: u64) -> Result<(), Failure> {
    let verb = if run { "may trade" } else { "is stopped: its new orders are refused" };
    let text = format!("strategy {name} {verb} (LEDGER:{sequence})");
    said(global, &text, &json!({"strategy": name, "run": run, "sequence": sequence}))
}

/// `control.strategy.<name>`, with the symbols that it was told before where none are given.
async fn switch(bus: &Bus, name: &str, run: bool, symbols: &[String], reason: &str) -> Result<u64, Failure> {
    let on = subject::strategy(name);
    let symbols = if symbols.is_empty() {
        let before = bus.last(LEDGER, &on).await?.and_then(|found| found.decode::<StrategyCommand>().ok());
        before.map(|command| command.symbols).unwrap_or_default()
    } else {
        symbols.to_vec()
    };
    let (strategy, reason) = (name.to_owned(), reason.to_owned());
    publish(bus, &on, &StrategyCommand { strategy, run, symbols, actor: actor(), reason, at: spark_nats::now() }).await
}

/// Stores the next revision; one that trades from now on is switched on, so that risk lets it pass and its marks are made.
async fn moved(bus: &Bus, writer: SubjectWriter, next: StrategyRegistered, why: String, global: &Global) -> Result<(), Failure> {
    let next = StrategyRegistered { actor: actor(), reason: why, at: spark_nats::now(), ..next };
    let sequence = store(writer, &next).await?;
    if matches!(next.status, StrategyStatus::Paper | StrategyStatus::Live) {
        let symbols = [format!("{}.{}", next.exchange, next.symbol)];
        switch(bus, &next.name, true, &symbols, &next.reason).await?;
    }
    told(global, &next, sequence)
}

fn told(global: &Global, strategy: &StrategyRegistered, sequence: u64) -> Result<(), Failure> {
    let (name, status, revision) = (&strategy.name, strategy.status, strategy.revision);
    let next = match status {
        StrategyStatus::Draft => "; backtest it, then promote it",
        StrategyStatus::Backtested => "; promote it once more and it trades on paper",
        StrategyStatus::Paper => "; it trades on paper, and never where an exchange is live",
        StrategyStatus::Live | StrategyStatus::Stopped => "",
    };
    let text = format!("strategy {name} is {status}, revision {revision} (LEDGER:{sequence}){next}");
    let document: Value = json!({"strategy": strategy, "sequence": sequence});
    said(global, &text, &document)
}

fn unknown(name: &str) -> Failure {
    Failure::no(format!("no strategy `{name}` is registered; spark strategy ls lists them, spark strategy create registers one"))
}

async fn registered(bus: &Bus, name: &str) -> Result<StrategyRegistered, Failure> {
    open(bus, name).await?.1.ok_or_else(|| unknown(name))
}

/// What is registered under a name, and whoever writes the next revision of just that.
async fn open(bus: &Bus, name: &str) -> Result<(SubjectWriter, Option<StrategyRegistered>), Failure> {
    let (writer, last) = SubjectWriter::open(bus.clone(), LEDGER, subject::registry(name)).await?;
    let read = |delivery: &spark_nats::Delivery| {
        let unreadable =
            |error| Failure::no(format!("LEDGER:{}: {}; register it under another name", delivery.sequence, chain(&error)));
        delivery.decode::<StrategyRegistered>().map_err(unreadable)
    };
    let strategy = last.as_ref().map(read).transpose()?;
    Ok((writer, strategy))
}

async fn store(mut writer: SubjectWriter, strategy: &StrategyRegistered) -> Result<u64, Failure> {
    // Of this attempt alone, so that nobody else's change passes for it.
    let msg_id = format!("operator:{}:{}:{}", writer.subject(), strategy.revision, strategy.at.as_nanos());
    let meta = Meta { msg_id: Some(msg_id), cause: None };
    let stored = writer.append_with(StrategyRegistered::KIND, encode(strategy).into(), &meta, &[]);
    match tokio::time::timeout(system::CONNECT_LIMIT, stored).await {
        Ok(Ok(sequence)) => Ok(sequence),
        Ok(Err(AppendError::Conflict)) => {
            Err(Failure::no(format!("somebody else changed {} at this moment; look at it and decide again", strategy.name)))
        }
        Ok(Err(AppendError::Refused(error))) => Err(Failure::unavailable(format!("store the strategy: {}", chain(&error)))),
        Err(_) => Err(Failure::unavailable("the broker went away; look with spark strategy show, nothing is certain")),
    }
}
