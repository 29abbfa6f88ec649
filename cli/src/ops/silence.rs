//! `spark silence`: who is not told what, and for how long.

use std::time::Duration;

use serde_json::{Value, json};
use spark_alerting::{Matchers, SilenceState, matcher, silence};
use spark_bus_schema::notify::Silence;
use spark_bus_schema::{Message, Timestamp, subject};
use spark_nats::{Bus, Meta};

use super::notify::newest;
use crate::args::Global;
use crate::args::notify::{SilenceArgs, SilenceCommand};
use crate::config::Config;
use crate::exit::{Failure, chain};
use crate::output::{self, Style, paint, visible};
use crate::system;

/// Adds, lists, ends.
///
/// # Errors
/// Exit 64 for matchers and times that cannot be; 1 when there is no such silence; 69 without a broker.
pub fn run(command: &SilenceCommand, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    let now = spark_nats::now();
    match command {
        SilenceCommand::Add(arguments) => {
            let silence = made(arguments, now)?;
            system::block_on(async {
                let bus = system::operator(global, &config).await?;
                let sequence = publish(&bus, &silence).await?;
                let text = format!("silence {} until {} (LEDGER:{sequence})", silence.id, silence.ends_at);
                said(global, &text, &document(&silence, now))
            })
        }
        SilenceCommand::Ls { all } => system::block_on(async {
            let bus = system::operator(global, &config).await?;
            list(global, &silences(&bus).await?, *all, now)
        }),
        SilenceCommand::Expire { id } => system::block_on(async {
            let bus = system::operator(global, &config).await?;
            let mut silence = one(silences(&bus).await?, id)?;
            if silence::state(&silence, now) == SilenceState::Expired {
                return Err(Failure::no(format!("silence {} is over already, since {}", silence.id, silence.ends_at)));
            }
            silence.starts_at = silence.starts_at.min(now);
            (silence.ends_at, silence.at) = (now, now);
            let sequence = publish(&bus, &silence).await?;
            said(global, &format!("silence {} has ended (LEDGER:{sequence})", silence.id), &document(&silence, now))
        }),
    }
}

fn made(arguments: &SilenceArgs, now: Timestamp) -> Result<Silence, Failure> {
    let matchers = Matchers::parse_all(&arguments.matchers).map_err(|error| Failure::usage(error.to_string()))?;
    let length = super::duration(&arguments.length).map_err(|what| Failure::usage(format!("--for {what}")))?;
    if length == Duration::ZERO {
        return Err(Failure::usage("--for 0: it would never be active; write e.g. 2h"));
    }
    let starts_at = arguments.starts.as_ref().map_or(Ok(now), |text| {
        Timestamp::parse(text).map_err(|what| Failure::usage(format!("--starts {what}; write it like 2026-11-22T06:00:00Z")))
    })?;
    let silence = Silence {
        id: fresh_id(&matchers.to_string(), now),
        matchers: matchers.iter().cloned().collect(),
        starts_at,
        ends_at: starts_at + length,
        created_by: arguments.by.clone(),
        comment: arguments.comment.trim().to_owned(),
        at: now,
    };
    silence.validate().map_err(Failure::usage)?;
    if silence.ends_at <= now {
        return Err(Failure::usage(format!("it would end at {}, which is over; move --starts or --for", silence.ends_at)));
    }
    Ok(silence)
}

/// A UUID of the caller's own making (version 8): time, process and content make it differ from every other.
fn fresh_id(content: &str, now: Timestamp) -> String {
    let part = |salt: &str| {
        let seed = format!("{salt} {} {} {content}", now.as_nanos(), std::process::id());
        spark_alerting::fingerprint(&spark_alerting::Labels::from([("id".to_owned(), seed)]))
    };
    let (one, two) = (part("a"), part("b"));
    format!("{}-{}-8{}-8{}-{}", &one[..8], &one[8..12], &one[13..16], &two[1..4], &two[4..16])
}

async fn publish(bus: &Bus, silence: &Silence) -> Result<u64, Failure> {
    let on = subject::silence(&silence.id);
    let meta = Meta { msg_id: Some(format!("operator:{on}:{}", silence.at.as_nanos())), cause: None };
    let sent = tokio::time::timeout(system::CONNECT_LIMIT, bus.publish(&on, silence, meta)).await;
    let sent = sent.map_err(|_| Failure::unavailable("the broker went away; nothing is certain, try again"))?;
    sent.map_err(|error| Failure::unavailable(format!("publish {on}: {}", chain(&error))))
}

/// The latest word on each, the one that ends next first.
async fn silences(bus: &Bus) -> Result<Vec<Silence>, Failure> {
    let stored = newest(bus, "silences", vec![subject::SILENCES.to_owned()]).await?;
    let mut all: Vec<Silence> = stored.iter().filter_map(|delivery| delivery.decode().ok()).collect();
    all.sort_by_key(|silence| silence.ends_at);
    Ok(all)
}

fn one(all: Vec<Silence>, id: &str) -> Result<Silence, Failure> {
    let mut found: Vec<Silence> = all.into_iter().filter(|silence| !id.is_empty() && silence.id.starts_with(id)).collect();
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(Failure::no(format!("no silence has the id `{}`; see `spark silence ls --all`", visible(id)))),
        count => Err(Failure::usage(format!("{count} silences begin with `{}`; write more of the id", visible(id)))),
    }
}

fn list(global: &Global, all: &[Silence], with_expired: bool, now: Timestamp) -> Result<(), Failure> {
    let shown = all.iter().filter(|silence| with_expired || silence::state(silence, now) != SilenceState::Expired);
    if global.json {
        let documents: Vec<Value> = shown.map(|silence| document(silence, now)).collect();
        return output::line(&json!({ "silences": documents }).to_string());
    }
    let mut rows = vec![["id", "state", "matchers", "ends", "by", "comment"].map(str::to_owned).to_vec()];
    rows.extend(shown.map(|silence| {
        let row = [
            silence.id.clone(),
            silence::state(silence, now).name().to_owned(),
            matchers_text(silence),
            silence.ends_at.to_string(),
            silence.created_by.clone(),
            silence.comment.clone(),
        ];
        row.map(|cell| visible(&cell)).to_vec()
    }));
    if rows.len() == 1 {
        return output::line("no silence");
    }
    for (index, line) in output::table(&rows).iter().enumerate() {
        output::line(&if index == 0 { paint(line, Style::Bold) } else { line.clone() })?;
    }
    Ok(())
}

fn matchers_text(silence: &Silence) -> String {
    silence.matchers.iter().map(matcher::show).collect::<Vec<_>>().join(",")
}

fn document(silence: &Silence, now: Timestamp) -> Value {
    json!({
        "id": silence.id,
        "state": silence::state(silence, now).name(),
        "matchers": silence.matchers,
        "startsAt": silence.starts_at.to_string(),
        "endsAt": silence.ends_at.to_string(),
        "createdBy": silence.created_by,
        "comment": silence.comment,
    })
}

fn said(global: &Global, text: &str, document: &Value) -> Result<(), Failure> {
    if global.json { output::line(&document.to_string()) } else { output::line(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(matcher: &str, length: &str, starts: Option<&str>) -> SilenceArgs {
        SilenceArgs {
            matchers: vec![matcher.to_owned()],
            length: length.to_owned(),
            comment: "maintenance".to_owned(),
            starts: starts.map(str::to_owned),
            by: "ayse".to_owned(),
        }
    }

    #[test]
    fn a_silence_is_what_was_typed_and_mistakes_are_named() {
        let now = Timestamp::parse("2026-11-21T10:00:00Z").unwrap();
        let silence = made(&arguments("venue=btcturk,severity!=critical", "2h", None), now).unwrap();
        assert_eq!((silence.starts_at, silence.ends_at), (now, now + Duration::from_secs(7_200)));
        assert_eq!(matchers_text(&silence), "venue=\"btcturk\",severity!=\"critical\"");
        let later = made(&arguments("a=b", "1h", Some("2026-11-22T06:00:00Z")), now).unwrap();
        assert_eq!(later.ends_at.to_string(), "2026-11-22T07:00:00Z");
        assert_ne!(silence.id, later.id);
        assert_eq!(silence.id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        for (wrong, part) in [
            (arguments("venue>1", "2h", None), "=~"),
            (arguments("venue=\"\"", "2h", None), "every value is empty"),
            (arguments("a=b", "2", None), "5m"),
            (arguments("a=b", "0s", None), "2h"),
            (arguments("a=b", "1h", Some("tomorrow")), "2026-11-22T06:00:00Z"),
            (arguments("a=b", "1h", Some("2026-11-20T06:00:00Z")), "is over"),
            (SilenceArgs { comment: " ".into(), ..arguments("a=b", "1h", None) }, "comment"),
        ] {
            let said = made(&wrong, now).unwrap_err();
            assert!(said.message.contains(part), "{wrong:?}: {}", said.message);
        }
    }
}
