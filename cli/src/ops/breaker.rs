//! `spark breaker`: a circuit breaker by hand.

use spark_bus_schema::control::{BreakerCommand, BreakerMode};
use spark_bus_schema::{Venue, subject};
use spark_nats::Meta;

use crate::args::{BreakerArgs, Global, Mode};
use crate::config::Config;
use crate::exit::{Failure, chain};
use crate::output;
use crate::system;

/// Publishes the command; the latest one decides.
///
/// # Errors
/// Exit 64 for an exchange without a breaker or an empty reason; 69 without a broker.
pub fn run(arguments: &BreakerArgs, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    let exchange = match arguments.exchange.parse::<Venue>() {
        Ok(exchange @ (Venue::Binance | Venue::Btcturk)) => exchange,
        _ => return Err(Failure::usage(format!("no breaker for `{}`; known are binance and btcturk", arguments.exchange))),
    };
    if arguments.reason.trim().is_empty() {
        return Err(Failure::usage("--reason is empty; say why, it is kept with the command"));
    }
    let mode = match arguments.mode {
        Mode::Open => BreakerMode::Open,
        Mode::Closed => BreakerMode::Closed,
        Mode::Auto => BreakerMode::Auto,
    };
    let at = spark_nats::now();
    let command = BreakerCommand { exchange, mode, actor: "operator".to_owned(), reason: arguments.reason.trim().to_owned(), at };
    system::block_on(async {
        let bus = system::operator(global, &config).await?;
        let meta = Meta { msg_id: Some(format!("operator:breaker:{exchange}:{}", at.as_nanos())), cause: None };
        let sent = tokio::time::timeout(system::CONNECT_LIMIT, bus.publish(&subject::breaker(exchange), &command, meta)).await;
        let sent = sent.map_err(|_| Failure::unavailable("the broker went away; nothing is certain, try again"))?;
        let sequence = sent.map_err(|error| Failure::unavailable(format!("set the breaker of {exchange}: {}", chain(&error))))?;
        let word = format!("{mode:?}").to_lowercase();
        if global.json {
            return output::line(&serde_json::json!({"exchange": exchange, "mode": word, "sequence": sequence}).to_string());
        }
        output::line(&format!("breaker of {exchange} is told `{word}` (LEDGER:{sequence})"))
    })
}
