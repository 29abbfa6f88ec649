//! The page's own files, embedded: nothing is read from disk and nothing is fetched from elsewhere.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// One file of the page.
pub(super) struct File {
    pub path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! file {
    ($path:literal, $content_type:expr, $file:literal) => {
        File { path: $path, content_type: $content_type, bytes: include_bytes!(concat!("../../web/", $file)) }
    };
}

/// Every file.
pub(super) static FILES: &[File] = &[
    file!("/", HTML, "index.html"),
    file!("/app.css", CSS, "app.css"),
    file!("/icon.svg", SVG, "icon.svg"),
    file!("/app.js", SCRIPT, "app.js"),
    file!("/live.js", SCRIPT, "live.js"),
    file!("/dom.js", SCRIPT, "dom.js"),
    file!("/format.js", SCRIPT, "format.js"),
    file!("/chart.js", SCRIPT, "chart.js"),
    file!("/charts.js", SCRIPT, "charts.js"),
    file!("/portfolio.js", SCRIPT, "portfolio.js"),
    file!("/prices.js", SCRIPT, "prices.js"),
    file!("/alerts.js", SCRIPT, "alerts.js"),
    file!("/system.js", SCRIPT, "system.js"),
    file!("/orders.js", SCRIPT, "orders.js"),
    file!("/guard.js", SCRIPT, "guard.js"),
    file!("/operator.js", SCRIPT, "operator.js"),
    file!("/rollout.js", SCRIPT, "rollout.js"),
    file!("/shapes.js", SCRIPT, "shapes.js"),
    file!("/backtests.js", SCRIPT, "backtests.js"),
    file!("/bist.js", SCRIPT, "bist.js"),
];

/// A file. Browsers ask again each time: a new build shows at once, and from this machine it costs nothing.
pub(super) fn answer(file: &'static File) -> Response {
    ([(header::CONTENT_TYPE, file.content_type), (header::CACHE_CONTROL, "no-cache")], file.bytes).into_response()
}
