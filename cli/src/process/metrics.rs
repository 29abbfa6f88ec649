//! A process's own `/metrics`, for Prometheus.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;

use super::help;
use crate::exit::Failure;

/// Upper bounds of latency histograms, ms.
const BUCKETS_MS: &[f64] = &[5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 1_500.0, 2_500.0, 3_000.0, 5_000.0, 10_000.0];
/// Upper bounds of latency histograms, s.
const BUCKETS_S: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0];
/// Media type of the text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// How often samples of histograms are folded into their buckets when nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// Records from now on and answers `GET /metrics` on `address`.
///
/// # Errors
/// Exit 75 when the address cannot be taken.
pub async fn serve(service: &str, address: SocketAddr) -> Result<(), Failure> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| Failure::temporary(format!("metrics on {address}: {error}; name a free port with --metrics")))?;
    let handle = record(service).map_err(|error| Failure::internal(format!("record metrics: {error}")))?;
    help::describe();
    metrics::gauge!("spark_up").set(1.0);
    let rendered = handle.clone();
    let pages = Router::new()
        .route("/metrics", get(async move || ([(CONTENT_TYPE, TEXT)], rendered.render())))
        .route("/health", get(async || "OK"));
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            handle.run_upkeep();
        }
    });
    tokio::spawn(async move { axum::serve(listener, pages).await });
    Ok(())
}

fn record(service: &str) -> Result<PrometheusHandle, BuildError> {
    let environment = std::env::var("SPARK_ENVIRONMENT").unwrap_or_else(|_| "demo".to_owned());
    PrometheusBuilder::new()
        .add_global_label("service", service)
        .add_global_label("environment", environment)
        .set_buckets_for_metric(Matcher::Suffix("_ms".to_owned()), BUCKETS_MS)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), BUCKETS_S)?
        .install_recorder()
}
