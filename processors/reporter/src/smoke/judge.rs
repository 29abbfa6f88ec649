//! From answers to an outcome: no socket, no clock.

use std::fmt::Write as _;

use serde_json::Value;
use spark_bus_schema::Timestamp;

use super::{Answer, ERROR_RATE_LIMIT, FAMILIES, P95_MS_LIMIT, PASS_AT, STALENESS_S_LIMIT, Seen, Smoke, SmokeCheck};

/// Characters of an answer that is not what it should be, shown in the detail.
const SHOWN_CHARS_MAX: usize = 120;

/// The six checks, and the text.
#[must_use]
pub fn judge(seen: &Seen, base_url: &str, uptime: Option<f64>, actor: &str, at: Timestamp) -> Smoke {
    let figures = json(&seen.figures);
    let checks = vec![
        answers(&seen.portfolio),
        accounts(&seen.portfolio),
        metrics(&seen.metrics),
        figure("p95", &figures, "p95_ms", P95_MS_LIMIT, "ms", "refresh p95"),
        figure("staleness", &figures, "staleness_s", STALENESS_S_LIMIT, "s", "oldest balances"),
        figure("error_rate", &figures, "error_rate", ERROR_RATE_LIMIT, "/s", "failed calls"),
    ];
    let passed = u32::try_from(checks.iter().filter(|check| check.ok).count()).unwrap_or(u32::MAX);
    let pass = passed >= PASS_AT;
    let uptime = uptime.filter(|share| share.is_finite());
    let text = text(&checks, passed, pass, base_url, uptime, at);
    Smoke { checks, passed, pass, text, uptime, actor: actor.to_owned(), at }
}

fn checked(name: &str, ok: bool, value: Option<f64>, limit: Option<f64>, detail: String) -> SmokeCheck {
    SmokeCheck { name: name.to_owned(), ok, value, limit, detail }
}

fn answers(portfolio: &Answer) -> SmokeCheck {
    let (ok, value, detail) = match portfolio {
        Ok((status, _)) => (*status == 200, Some(f64::from(*status)), format!("GET /api/portfolio answers {status}")),
        Err(why) => (false, None, format!("GET /api/portfolio: {why}")),
    };
    checked("portfolio_answers", ok, value, Some(200.0), detail)
}

fn accounts(portfolio: &Answer) -> SmokeCheck {
    let bad = |detail: String| checked("accounts", false, None, Some(0.0), detail);
    let document = match json(portfolio) {
        Ok(document) => document,
        Err(why) => return bad(format!("accounts not known: {why}")),
    };
    let Some(rows) = document.get("accounts").and_then(Value::as_array) else {
        return bad("accounts not known: the answer has no list `accounts`".to_owned());
    };
    // An account that was never read has no time, and says nothing.
    let read = rows.iter().filter(|row| row.get("updatedAt").is_some_and(Value::is_string)).count();
    let total = document.pointer("/totals/totalUsd").and_then(Value::as_f64);
    let shown = total.map_or_else(|| "total not known".to_owned(), |total| format!("total {total:.2} USD"));
    let ok = read >= 1 && total.is_some_and(|total| total > 0.0);
    checked("accounts", ok, total, Some(0.0), format!("{read} of {} accounts read, {shown}", rows.len()))
}

fn metrics(metrics: &Answer) -> SmokeCheck {
    let wanted = f64::from(u32::try_from(FAMILIES.len()).unwrap_or(u32::MAX));
    let body = match good(metrics) {
        Ok(body) => body,
        Err(why) => return checked("metrics", false, None, Some(wanted), format!("GET /metrics: {why}")),
    };
    let missing: Vec<&str> = FAMILIES.into_iter().filter(|family| !has_sample(body, family)).collect();
    let found = wanted - f64::from(u32::try_from(missing.len()).unwrap_or(u32::MAX));
    let detail = if missing.is_empty() {
        format!("all {} spark_portfolio_* metrics are there", FAMILIES.len())
    } else {
        format!("missing in /metrics: {}", missing.join(", "))
    };
    checked("metrics", missing.is_empty(), Some(found), Some(wanted), detail)
}

/// Whether a family has a sample: its name, with a histogram's suffix or without, followed by labels or the value.
fn has_sample(body: &str, family: &str) -> bool {
    body.lines().filter_map(|line| line.strip_prefix(family)).any(|rest| {
        let rest = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| rest.strip_prefix(suffix)).unwrap_or(rest);
        rest.starts_with('{') || rest.starts_with(' ')
    })
}

fn figure(name: &str, figures: &Result<Value, String>, member: &str, limit: f64, unit: &str, what: &str) -> SmokeCheck {
    let value = match figures {
        Ok(document) => document.get(member).and_then(Value::as_f64).filter(|value| value.is_finite()),
        Err(why) => return checked(name, false, None, Some(limit), format!("{what} not known: {why}")),
    };
    let detail = match value {
        Some(value) => format!("{what} {} {unit} (good below {limit} {unit})", short(value)),
        None => format!("{what} not known: the guardrail reports no {member}"),
    };
    checked(name, value.is_some_and(|value| value < limit), value, Some(limit), detail)
}

/// Four digits are enough for a person.
fn short(value: f64) -> String {
    if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{:.4}", value).trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

fn good(answer: &Answer) -> Result<&str, String> {
    match answer {
        Ok((200, body)) => Ok(body),
        Ok((status, _)) => Err(format!("the answer is {status}")),
        Err(why) => Err(why.clone()),
    }
}

fn json(answer: &Answer) -> Result<Value, String> {
    let body = good(answer)?;
    serde_json::from_str(body).map_err(|error| {
        let begins: String = body.chars().take(SHOWN_CHARS_MAX).collect();
        format!("not JSON ({error}): {begins}")
    })
}

fn text(checks: &[SmokeCheck], passed: u32, pass: bool, base_url: &str, uptime: Option<f64>, at: Timestamp) -> String {
    let word = if pass { "PASS" } else { "FAIL" };
    let time = at.to_string();
    let time = time.get(..19).unwrap_or(&time);
    let mut text = format!("Spark smoke: {word} {passed}/{} at {time}Z, {base_url}", checks.len());
    for check in checks {
        let mark = if check.ok { "ok  " } else { "FAIL" };
        // Writing into a String cannot fail.
        let _ = write!(text, "\n{mark} {:17} {}", check.name, check.detail);
    }
    let uptime = uptime.map_or_else(|| "not known".to_owned(), |share| format!("{:.3} %", share * 100.0));
    let _ = write!(text, "\nuptime of the last 24 h: {uptime}");
    text
}
