//! `spark kill`, `spark limits`, `spark resume`: straight to the LEDGER. They need the broker and
//! nothing else: a gateway that hangs does not keep anybody from stopping everything.

use std::path::Path;

use serde_json::{Value, json};
use spark_bus_schema::control::{HaltScope, KillSwitch, LimitsCommand, LimitsSource, ResumeCommand};
use spark_bus_schema::risk::Limits;
use spark_bus_schema::{Message, Venue, subject};
use spark_nats::{Bus, Meta};

use super::orders::actor;
use crate::args::Global;
use crate::args::trading::{KillArgs, LimitsCommand as LimitsArgs, LimitsSetArgs, OnOff, ResumeArgs};
use crate::config::Config;
use crate::exit::{Failure, chain};
use crate::output::{self, Style, paint, visible};
use crate::system;

/// Characters of a reason.
const REASON_CHARS_MAX: usize = 200;
/// The only limits that are whole numbers; everything else is an exact decimal, written as text.
const WHOLE: [&str; 2] = ["orders_per_minute_max", "mark_age_ms_max"];

/// A reason that says something.
///
/// # Errors
/// Exit 64.
pub fn reason(text: &str) -> Result<String, Failure> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Failure::usage("--reason is empty; say why, it is kept with the command"));
    }
    if text.chars().count() > REASON_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(Failure::usage(format!("--reason: at most {REASON_CHARS_MAX} printable characters")));
    }
    Ok(text.to_owned())
}

/// The kill switch.
///
/// # Errors
/// Exit 64: no reason, or `off` with --cancel-open; 69: no broker.
pub fn kill(arguments: &KillArgs, global: &Global) -> Result<(), Failure> {
    let on = arguments.state == OnOff::On;
    if !on && arguments.cancel_open {
        return Err(Failure::usage("--cancel-open goes with `on`: switching off cancels nothing"));
    }
    let (reason, at) = (reason(&arguments.reason)?, spark_nats::now());
    let command = KillSwitch { on, cancel_open: arguments.cancel_open, actor: actor(), reason, at };
    tell(global, subject::KILL_SWITCH, &command, |sequence| {
        let said = match (on, arguments.cancel_open) {
            (true, true) => "the kill switch is on: no new order is sent, open ones are cancelled",
            (true, false) => "the kill switch is on: no new order is sent",
            (false, _) => "the kill switch is off: orders may pass",
        };
        (format!("{said} (LEDGER:{sequence})"), json!({"on": on, "cancelOpen": arguments.cancel_open, "sequence": sequence}))
    })
}

/// Lifts a halt.
///
/// # Errors
/// Exit 64: no such scope, or no reason; 69: no broker.
pub fn resume(arguments: &ResumeArgs, global: &Global) -> Result<(), Failure> {
    let scope = match arguments.scope.as_str() {
        "ledger" => HaltScope::Ledger,
        "binance" => HaltScope::Exchange(Venue::Binance),
        "btcturk" => HaltScope::Exchange(Venue::Btcturk),
        other => return Err(Failure::usage(format!("nothing halts `{other}`; ledger, binance or btcturk would be right"))),
    };
    let reason = reason(&arguments.reason)?;
    let command = ResumeCommand { scope, actor: actor(), reason, at: spark_nats::now() };
    let name = &arguments.scope;
    tell(global, subject::RESUME, &command, |sequence| {
        (format!("trading may go on ({name}) (LEDGER:{sequence})"), json!({"scope": name, "sequence": sequence}))
    })
}

/// Shows or sets the limits.
///
/// # Errors
/// Exit 1: not confirmed; 64: a file that cannot be; 69: no broker.
pub fn limits(command: Option<&LimitsArgs>, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    match command {
        None | Some(LimitsArgs::Show) => system::block_on(async {
            let bus = system::operator(global, &config).await?;
            show(&in_force(&bus).await?, global)
        }),
        Some(LimitsArgs::Set(arguments)) => {
            // Read before anything is asked for.
            let (limits, why) = (read_limits(&arguments.file)?, reason(&arguments.reason)?);
            system::block_on(async {
                let bus = system::operator(global, &config).await?;
                set(&bus, limits, why, arguments, global).await
            })
        }
    }
}

/// The limits in force: the last ones told, or the built-in ones.
///
/// # Errors
/// Exit 69: no broker.
pub async fn limits_in_force(bus: &Bus) -> Result<Limits, Failure> {
    Ok(in_force(bus).await?.map(|(_, command)| command.limits).unwrap_or_default())
}

/// The last word about limits and its sequence.
async fn in_force(bus: &Bus) -> Result<Option<(u64, LimitsCommand)>, Failure> {
    let Some(found) = bus.last(subject::LEDGER, subject::LIMITS).await? else { return Ok(None) };
    let command = found.decode().map_err(|error| Failure::internal(format!("LEDGER:{}: {}", found.sequence, chain(&error))))?;
    Ok(Some((found.sequence, command)))
}

fn show(told: &Option<(u64, LimitsCommand)>, global: &Global) -> Result<(), Failure> {
    let limits = told.as_ref().map(|(_, command)| command.limits.clone()).unwrap_or_default();
    if global.json {
        let document = match told {
            Some((sequence, command)) => json!({"sequence": sequence, "command": command}),
            None => json!({"sequence": 0, "command": {"limits": limits}}),
        };
        return output::line(&document.to_string());
    }
    let from = told.as_ref().map_or_else(
        || "# the built-in limits: nobody has told others".to_owned(),
        |(sequence, command)| {
            let (at, actor, why) = (command.at, visible(&command.actor), visible(&command.reason));
            format!("# LEDGER:{sequence} of {at}, by {actor}: {why}")
        },
    );
    output::line(&paint(&from, Style::Dim))?;
    let text = toml_edit::ser::to_string_pretty(&limits).map_err(|error| Failure::internal(format!("write limits: {error}")))?;
    output::line(text.trim_end())
}

/// Limits from a TOML file.
///
/// # Errors
/// Exit 64: file, and what would be right.
pub fn read_limits(file: &Path) -> Result<Limits, Failure> {
    let wrong =
        |what: String| Failure::usage(format!("{}: {what}\n`spark limits show` prints limits as such a file", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let mut value: Value = toml_edit::de::from_str(&text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
    as_text(&mut value);
    let limits: Limits = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
    limits.check().map_err(wrong)?;
    Ok(limits)
}

/// A person may write `notional_usd_max = 5000`; on the bus money is text.
fn as_text(value: &mut Value) {
    let Value::Object(members) = value else { return };
    for (name, member) in members {
        if member.is_number() && !WHOLE.contains(&name.as_str()) {
            *member = Value::from(member.to_string());
        }
        as_text(member);
    }
}

async fn set(bus: &Bus, limits: Limits, reason: String, arguments: &LimitsSetArgs, global: &Global) -> Result<(), Failure> {
    let before = in_force(bus).await?.map(|(_, command)| command.limits).unwrap_or_default();
    let changes = spark_gateway::changes::between(&before, &limits);
    if changes.is_empty() {
        return said(global, "these are the limits in force; nothing changes", &json!({"status": "unchanged", "changes": []}));
    }
    if !global.json {
        let mut rows = vec![["LIMIT", "IN FORCE", "NEW"].map(ToOwned::to_owned).to_vec()];
        let cell = |value: &Option<Value>| match value {
            None => "–".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        rows.extend(changes.iter().map(|change| vec![visible(&change.key), cell(&change.from), cell(&change.to)]));
        output::table(&rows).iter().try_for_each(|line| output::line(line))?;
    }
    if !arguments.confirm {
        if global.json {
            output::line(&json!({"status": "confirmation_required", "changes": changes}).to_string())?;
        }
        return Err(Failure::no("nothing was changed; add --confirm to mean it"));
    }
    let command = LimitsCommand { limits, source: LimitsSource::Command, actor: actor(), reason, at: spark_nats::now() };
    let sequence = publish(bus, subject::LIMITS, &command).await?;
    let text = format!("{} limits are changed (LEDGER:{sequence})", changes.len());
    said(global, &text, &json!({"status": "accepted", "changes": changes, "sequence": sequence}))
}

fn tell<T: Message>(global: &Global, on: &str, command: &T, told: impl FnOnce(u64) -> (String, Value)) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    system::block_on(async {
        let bus = system::operator(global, &config).await?;
        let (text, document) = told(publish(&bus, on, command).await?);
        said(global, &text, &document)
    })
}

pub(super) async fn publish<T: Message>(bus: &Bus, on: &str, command: &T) -> Result<u64, Failure> {
    let meta = Meta { msg_id: Some(format!("operator:{on}:{}", spark_nats::now().as_nanos())), cause: None };
    let sent = tokio::time::timeout(system::CONNECT_LIMIT, bus.publish(on, command, meta)).await;
    let sent = sent.map_err(|_| Failure::unavailable("the broker went away; nothing is certain, try again"))?;
    sent.map_err(|error| Failure::unavailable(format!("publish {on}: {}", chain(&error))))
}

pub(super) fn said(global: &Global, text: &str, document: &Value) -> Result<(), Failure> {
    if global.json { output::line(&document.to_string()) } else { output::line(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_set_and_mistakes_are_named_with_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("limits.toml");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read_limits(&file).map_err(|failure| failure.message)
        };
        let mut limits = Limits::default();
        limits.symbol.insert(
            "binance.BTCUSDT".into(),
            spark_bus_schema::risk::LimitOverride {
                exposure_usd_max: Some("1234.50".parse().unwrap()),
                orders_per_minute_max: Some(3),
                ..Default::default()
            },
        );
        assert_eq!(read(&toml_edit::ser::to_string_pretty(&limits).unwrap()).unwrap(), limits);
        let numbers = read("[default]\nnotional_usd_max = 5000\ncollar_pct_max = 2.5\norders_per_minute_max = 10\n").unwrap();
        assert_eq!(numbers.default.notional_usd_max.to_string(), "5000");
        assert_eq!((numbers.default.collar_pct_max.to_string(), numbers.default.orders_per_minute_max), ("2.5".into(), 10));
        for (wrong, part) in [
            ("[default]\nnotional = 1\n", "notional_usd_max"),
            ("[default]\nnotional_usd_max = 0\n", "above 0"),
            ("[default\n", "line 1"),
            ("[symbol.BTCUSDT]\n", "binance.BTCUSDT"),
        ] {
            let said = read(wrong).unwrap_err();
            assert!(said.contains(part) && said.contains("limits.toml") && said.contains("spark limits show"), "{said}");
        }
    }
}
