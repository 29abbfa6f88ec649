//! `spark order`, `spark orders`, `spark positions`: over the gateway, with the operator's token.

use std::io::Read;

use reqwest::StatusCode;
use serde_json::{Map, Value, json};
use spark_bus_schema::{Decimal, OrderId};

use super::commands::reason;
use super::gateway::{Fields, Gateway, flag, is_given, list as rows_of, text};
use crate::args::Global;
use crate::args::trading::{OrderCommand, OrdersArgs, PlaceArgs, Tif, Wait};
use crate::config::Config;
use crate::exit::Failure;
use crate::output::{self, Style, paint};
use crate::system;

/// Longest actor that the gateway takes.
const ACTOR_CHARS_MAX: usize = 64;

/// Places, shows or cancels an order.
///
/// # Errors
/// Exit 1: risk refuses it, or there is no such order; 64: it cannot be; 69: no gateway, or no verdict in time.
pub fn run(command: &OrderCommand, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    let gateway = Gateway::find(global, &config)?;
    system::block_on(async {
        match command {
            OrderCommand::Buy(arguments) => place(&gateway, "buy", arguments, global).await,
            OrderCommand::Sell(arguments) => place(&gateway, "sell", arguments, global).await,
            OrderCommand::Show(arguments) => show(&gateway, &order_id(&arguments.order)?, global).await,
            OrderCommand::Cancel(arguments) => {
                let (order, why) = (order_id(&arguments.order)?, reason(&arguments.reason)?);
                let path = format!("/api/exec/orders/{order}/cancel");
                let answer = gateway.post(&path, &[("X-Spark-Actor", &actor())], &json!({"reason": why})).await?;
                if global.json {
                    return output::line(&answer.text);
                }
                output::line(&format!("order {order} is to be cancelled (LEDGER:{})", text(&answer.fields()?, "sequence")))
            }
        }
    })
}

/// An order id, or a client order id.
///
/// # Errors
/// Exit 64: it is neither.
pub fn order_id(text: &str) -> Result<OrderId, Failure> {
    let parsed = OrderId::from_client_id(text).map_or_else(|| OrderId::parse(text), Ok);
    parsed.map_err(|what| Failure::usage(format!("{what}; `spark orders` lists them")))
}

/// Who sits at the keyboard, for the record.
#[must_use]
pub fn actor() -> String {
    let name = std::env::var("USER").unwrap_or_default();
    let plain: String = name.chars().filter(|c| c.is_ascii_graphic()).take(ACTOR_CHARS_MAX).collect();
    if plain.is_empty() { "operator".to_owned() } else { format!("operator:{plain}") }
}

fn new_key() -> Result<String, Failure> {
    const BYTES: usize = 16;
    let mut bytes = [0; BYTES];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| Failure::temporary(format!("read /dev/urandom for a key: {error}; give one with --key")))?;
    Ok(format!("cli-{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}

async fn place(gateway: &Gateway, side: &str, arguments: &PlaceArgs, global: &Global) -> Result<(), Failure> {
    let key = arguments.key.clone().map_or_else(new_key, Ok)?;
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
    put("exchange", arguments.exchange.clone().into());
    put("symbol", arguments.symbol.clone().into());
    put("side", side.into());
    put("type", if arguments.limit.is_some() { "limit" } else { "market" }.into());
    put("quantity", arguments.quantity.clone().into());
    if let Some(price) = &arguments.limit {
        put("price", price.clone().into());
    }
    if let Some(tif) = arguments.tif {
        let tif = match tif {
            Tif::Gtc => "gtc",
            Tif::Ioc => "ioc",
            Tif::Fok => "fok",
        };
        put("timeInForce", tif.into());
    }
    if let Some(why) = &arguments.reason {
        put("reason", reason(why)?.into());
    }
    let wait = match arguments.wait {
        Wait::Verdict => "verdict",
        Wait::Accepted => "accepted",
        Wait::Final => "final",
    };
    let headers = [("X-Idempotency-Key", key.as_str()), ("X-Spark-Actor", &actor())];
    let sent = gateway.post(&format!("/api/exec/order?wait={wait}"), &headers, &Value::Object(body)).await;
    let answer = sent.map_err(|failure| match failure.exit {
        crate::exit::Exit::Unavailable => Failure {
            message: format!("{}\nthe same order again, placed once whatever became of this: add --key {key}", failure.message),
            ..failure
        },
        _ => failure,
    })?;
    let fields = answer.fields()?;
    output::line(&if global.json { answer.text.clone() } else { placed(&fields) })?;
    let ask = format!("ask with: spark order show {}", text(&fields, "order"));
    match flag(&fields, "approved") {
        Some(true) => {
            if answer.status == StatusCode::ACCEPTED && !global.json {
                output::note(&format!("it goes on; {ask}"));
            }
            Ok(())
        }
        Some(false) => Err(Failure::no("")),
        None => Err(Failure::unavailable(format!("no verdict yet; {ask}"))),
    }
}

fn placed(answer: &Fields) -> String {
    let what = format!("{} {} {}", text(answer, "side"), text(answer, "quantity"), text(answer, "symbol"));
    let order = text(answer, "order");
    let state = is_given(answer, "state").then(|| text(answer, "state"));
    match (flag(answer, "approved"), state) {
        (Some(true), Some(state)) => {
            let filled = if text(answer, "filled") != "0" {
                format!(", {} filled at {}", text(answer, "filled"), text(answer, "averagePrice"))
            } else {
                String::new()
            };
            format!("{what}: {}{filled}  {}", paint(&state, style(&state)), paint(&order, Style::Dim))
        }
        (Some(true), None) => format!("{what}: {}  {}", paint("approved", Style::Green), paint(&order, Style::Dim)),
        (Some(false), _) => {
            let why = format!("{}: {}", text(answer, "guard"), text(answer, "reason"));
            format!("{what}: {} by {why}  {}", paint("refused", Style::Red), paint(&order, Style::Dim))
        }
        (None, _) => format!("order {order}: {}", text(answer, "detail")),
    }
}

fn style(state: &str) -> Style {
    match state {
        "filled" | "settled" => Style::Green,
        "refused" | "rejected" | "unknown" => Style::Red,
        "submitted" | "partially_filled" => Style::Cyan,
        "cancelled" | "expired" | "waiting" => Style::Dim,
        _ => Style::Yellow,
    }
}

async fn show(gateway: &Gateway, order: &OrderId, global: &Global) -> Result<(), Failure> {
    let answer = gateway.get(&format!("/api/exec/orders/{order}"), &[]).await?;
    if global.json {
        return output::line(&answer.text);
    }
    let fields = answer.fields()?;
    let line = |name: &str, value: String| output::line(&format!("{} {value}", paint(&format!("{name:>10}"), Style::Bold)));
    let of = |member: &str| text(&fields, member);
    line("order", of("order"))?;
    line("asked", format!("{} by {} ({})", of("at"), of("actor"), of("strategy")))?;
    let (what, price) = (format!("{} {} {}", of("side"), of("quantity"), of("symbol")), price(&fields));
    line("what", format!("{what} at {price} on {}, {}", of("exchange"), of("timeInForce")))?;
    line("state", paint(&of("state"), style(&of("state"))))?;
    if is_given(&fields, "reason") {
        let guard = if is_given(&fields, "guard") { format!("{}: ", of("guard")) } else { String::new() };
        line("because", format!("{guard}{}", of("reason")))?;
    }
    line("filled", format!("{} at {}", of("filled"), of("averagePrice")))?;
    for step in rows_of(&fields, "steps")? {
        let fill = match step.get("fill").filter(|_| is_given(&step, "fill")) {
            Some(fill) => {
                let fill: Fields = super::gateway::read(fill.get())?;
                format!(", {} at {}", text(&fill, "quantity"), text(&fill, "price"))
            }
            None => String::new(),
        };
        line("step", format!("{} {} ({}){fill}", text(&step, "at"), text(&step, "state"), text(&step, "evidence")))?;
    }
    output::line(&paint(&format!("the whole story: spark explain {order}"), Style::Dim))
}

fn price(order: &Fields) -> String {
    if is_given(order, "price") { text(order, "price") } else { "market".to_owned() }
}

/// Dollars and cents, as they are read; `--json` has every digit.
fn cents(fields: &Fields, member: &str) -> String {
    let text = text(fields, member);
    text.parse::<Decimal>().map_or(text, |usd| format!("{:.2}", usd.round_dp(2)))
}

/// Lists the newest orders.
///
/// # Errors
/// Exit 64: a filter that cannot be; 69: no gateway.
pub fn list(arguments: &OrdersArgs, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    let gateway = Gateway::find(global, &config)?;
    let mut query = vec![("limit", arguments.limit.to_string())];
    let state = if arguments.open { Some("open".to_owned()) } else { arguments.state.clone() };
    for (name, value) in [("state", state), ("strategy", arguments.strategy.clone()), ("symbol", arguments.symbol.clone())] {
        query.extend(value.map(|value| (name, value)));
    }
    let answer = system::block_on(gateway.get("/api/exec/orders", &query))?;
    if global.json {
        return output::line(&answer.text);
    }
    let answer = answer.fields()?;
    let orders = rows_of(&answer, "orders")?;
    if orders.is_empty() {
        output::line("no orders")?;
    } else {
        let heads = ["TIME", "ORDER", "STRATEGY", "EXCHANGE", "SYMBOL", "SIDE", "QUANTITY", "PRICE", "FILLED", "AT", "STATE"];
        let mut rows = vec![heads.map(ToOwned::to_owned).to_vec()];
        rows.extend(orders.iter().map(row));
        output::table(&rows).iter().try_for_each(|line| output::line(line))?;
    }
    if flag(&answer, "complete") == Some(false) {
        output::note("the gateway still reads the ledger: the list is not complete");
    }
    Ok(())
}

fn row(order: &Fields) -> Vec<String> {
    let state = text(order, "state");
    let why = match state.as_str() {
        "refused" => format!(" {}: {}", text(order, "guard"), text(order, "reason")),
        _ if !is_given(order, "reason") || flag(order, "open") == Some(true) => String::new(),
        _ => format!(" {}", text(order, "reason")),
    };
    let time = text(order, "at");
    vec![
        time.get(..19).unwrap_or(&time).to_owned(),
        text(order, "order"),
        text(order, "strategy"),
        text(order, "exchange"),
        text(order, "symbol"),
        text(order, "side"),
        text(order, "quantity"),
        price(order),
        text(order, "filled"),
        text(order, "averagePrice"),
        // The last column is not padded, so colours do no harm.
        format!("{}{why}", paint(&state, style(&state))),
    ]
}

/// Lists positions.
///
/// # Errors
/// Exit 69: no gateway.
pub fn positions(global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    let gateway = Gateway::find(global, &config)?;
    let answer = system::block_on(gateway.get("/api/exec/positions", &[]))?;
    if global.json {
        return output::line(&answer.text);
    }
    let answer = answer.fields()?;
    let positions = rows_of(&answer, "positions")?;
    if positions.is_empty() {
        return output::line("nothing is held");
    }
    let heads = ["SYMBOL", "EXCHANGE", "STRATEGY", "QUANTITY", "AVERAGE", "MARK", "VALUE USD", "UNREALIZED USD", "REALIZED"];
    let mut rows = vec![heads.map(ToOwned::to_owned).to_vec()];
    rows.extend(positions.iter().map(|position| {
        let exact = ["symbol", "exchange", "strategy", "quantity", "averagePrice", "mark"].map(|member| text(position, member));
        let usd = ["valueUsd", "unrealizedUsd"].map(|member| cents(position, member));
        exact.into_iter().chain(usd).chain([text(position, "realized")]).collect()
    }));
    output::table(&rows).iter().try_for_each(|line| output::line(line))?;
    output::line(&format!("exposure with open orders: {} USD", cents(&answer, "exposureUsd")))
}
