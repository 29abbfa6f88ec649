//! Binance: combined streams, one per symbol for trades and one for the best bid/ask.

mod parser;
mod scan;

use std::time::Duration;

use spark_bus_schema::Timestamp;

pub use parser::{Frame, Parser};

use crate::frame::{FrameError, SymbolIndex};
use crate::venue::{Channel, Protocol, Reaction, Sink};

/// Binance closes a connection that sends more than five messages a second, pongs included.
const COMMAND_PAUSE: Duration = Duration::from_millis(300);

/// Speaks Binance's stream protocol.
pub(crate) struct Streams {
    base: String,
    parser: Parser,
    commands: u64,
}

impl Streams {
    pub fn new(base: &str, symbols: &[String]) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), parser: Parser::new(symbols), commands: 0 }
    }
}

impl Protocol for Streams {
    fn url(&self) -> String {
        format!("{}/stream?streams={}", self.base, self.parser.streams().collect::<Vec<_>>().join("/"))
    }

    fn subscribe(&mut self) -> Vec<String> {
        // The address names the streams already.
        Vec::new()
    }

    fn resubscribe(&mut self, symbol: SymbolIndex, channel: Channel) -> Vec<String> {
        self.commands += 1;
        let stream = self.parser.streams().nth(symbol * 2 + channel as usize).unwrap_or_default();
        vec![format!(r#"{{"method":"SUBSCRIBE","params":["{stream}"],"id":{}}}"#, self.commands)]
    }

    fn command_pause(&self) -> Duration {
        COMMAND_PAUSE
    }

    fn frame(&mut self, frame: &[u8], received_at: Timestamp, sink: &mut Sink) -> Result<Reaction, FrameError> {
        match self.parser.parse(frame, received_at)? {
            Frame::Update(symbol, update) => sink.push(symbol, update),
            Frame::ServerShutdown => return Ok(Reaction::Reconnect),
            Frame::Answer { ok: false } => {
                tracing::warn!(answer = crate::frame::cut(&String::from_utf8_lossy(frame)), "Binance refuses a command");
            }
            Frame::Answer { ok: true } | Frame::Other => {}
        }
        Ok(Reaction::None)
    }
}

#[cfg(test)]
mod tests;
