//! Figures of the gateway's own edge: who is connected, and what was refused.

use super::GATEWAY;
use super::text::Text;
use crate::app::App;

pub(super) fn write(text: &mut Text, app: &App) {
    const SERVICE: (&str, &str) = ("service", GATEWAY);
    text.family("spark_gateway_connections", "gauge", "Open connections.");
    text.sample("", &[SERVICE], app.connections.taken() as f64);
    text.family("spark_gateway_stream_clients", "gauge", "Clients of the live stream.");
    text.sample("", &[SERVICE], app.hub.clients() as f64);
    text.family("spark_gateway_websocket_clients", "gauge", "WebSocket clients.");
    text.sample("", &[SERVICE], app.wire.clients() as f64);
    let (resumed, resyncs) = app.hub.resumed_and_resyncs();
    text.family("spark_gateway_stream_resumed_total", "counter", "Clients that went on where they had been.");
    text.sample("", &[SERVICE], resumed as f64);
    text.family("spark_gateway_stream_resync_total", "counter", "Clients that fell too far behind and got the whole picture.");
    text.sample("", &[SERVICE], resyncs as f64);
    text.family("spark_gateway_websocket_sent_total", "counter", "Messages handed to WebSocket clients.");
    text.sample("", &[SERVICE], app.wire.sent() as f64);
    text.family("spark_gateway_refused_total", "counter", "What was refused or cut off at the edge, by the limit.");
    for (reason, count) in app.refusals.all() {
        text.sample("", &[SERVICE, ("reason", reason)], count as f64);
    }
}
