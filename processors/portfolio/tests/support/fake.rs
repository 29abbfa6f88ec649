//! A Binance that lies. The simulator breaks answers too (not JSON, cut off, NaN, negative, fields missing), but what it
//! says is otherwise true: an account that lists an asset twice, amounts that no number holds and `null` come from here, and
//! nothing else does.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use tokio::task::JoinHandle;

/// Answers the calls of a poll, whoever signs them; the account's balances are whatever it was told last.
pub struct LyingBinance {
    pub url: String,
    balances: Arc<Mutex<&'static str>>,
    server: JoinHandle<()>,
}

impl Drop for LyingBinance {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl LyingBinance {
    pub async fn start(balances: &'static str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let balances = Arc::new(Mutex::new(balances));
        let told = Arc::clone(&balances);
        let app = Router::new().fallback(move |request: Request| {
            let balances = *told.lock().unwrap();
            async move { answer(request.uri().path(), balances) }
        });
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, balances, server }
    }

    pub fn says(&self, balances: &'static str) {
        *self.balances.lock().unwrap() = balances;
    }
}

fn answer(path: &str, balances: &str) -> Response {
    match path {
        "/api/v3/time" => format!(r#"{{"serverTime":{}}}"#, spark_nats::now().as_millis()),
        "/api/v3/ticker/price" => r#"[{"symbol":"BTCUSDT","price":"60000"}]"#.to_owned(),
        "/sapi/v1/account/apiRestrictions" => {
            r#"{"enableReading":true,"enableSpotAndMarginTrading":false,"enableWithdrawals":false}"#.to_owned()
        }
        "/api/v3/account" => format!(r#"{{"canTrade":true,"balances":{balances}}}"#),
        _ => return axum::http::StatusCode::NOT_FOUND.into_response(),
    }
    .into_response()
}
