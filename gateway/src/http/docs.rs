//! The API's document to browse, at `/docs`: Swagger UI out of the binary, with nothing from elsewhere.
//!
//! A crate carries its release as a zip archive. What is in a zip is deflated, and that is what gzip holds too: a file goes out
//! as it lies in the archive, with gzip's own head and tail around it, and is never unpacked here.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};

use super::{OwnPolicy, shown};

/// Only itself. Pictures in the style sheet are `data:`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// One file of the browsable document.
pub(super) struct File {
    pub path: &'static str,
    content_type: &'static str,
    content: Content,
}

enum Content {
    /// Our own.
    Plain(&'static str),
    /// Of the archive, by the end of its name.
    Packed(&'static LazyLock<Bytes>),
}

static BUNDLE: LazyLock<Bytes> = LazyLock::new(|| packed("/dist/swagger-ui-bundle.js"));
static STYLE: LazyLock<Bytes> = LazyLock::new(|| packed("/dist/swagger-ui.css"));

/// Every file.
pub(super) static FILES: &[File] = &[
    File { path: "/docs", content_type: HTML, content: Content::Plain(PAGE) },
    File { path: "/docs/start.js", content_type: SCRIPT, content: Content::Plain(START) },
    File { path: "/docs/docs.css", content_type: CSS, content: Content::Plain(OWN_STYLE) },
    File { path: "/docs/swagger-ui-bundle.js", content_type: SCRIPT, content: Content::Packed(&BUNDLE) },
    File { path: "/docs/swagger-ui.css", content_type: CSS, content: Content::Packed(&STYLE) },
];

const PAGE: &str = r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Spark API</title>
<link rel="icon" href="/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="stylesheet" href="/docs/docs.css">
</head>
<body>
<nav aria-label="Spark"><a href="/">Spark</a> <a href="/api/openapi.json">openapi.json</a></nav>
<main id="docs"><noscript>This page needs its script; <a href="/api/openapi.json">the document itself</a> does not.</noscript></main>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"##;

/// The validator of swagger.io is switched off: it would send the document's address there. A token lives as long as the tab.
const START: &str = r#"'use strict';
window.ui = SwaggerUIBundle({
  url: '/api/openapi.json',
  dom_id: '#docs',
  deepLinking: true,
  validatorUrl: null,
  docExpansion: 'none',
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  filter: true,
  tryItOutEnabled: true,
  persistAuthorization: false,
});
"#;

const OWN_STYLE: &str = "body { margin: 0; } nav { padding: .5rem 1rem; font: 14px system-ui, sans-serif; background: #111; } \
nav a { color: #fff; margin-right: 1rem; } :focus-visible { outline: 2px solid #1a6fd6; outline-offset: 2px; }\n";

/// A file, or that it has not changed.
pub(super) fn answer(file: &'static File, headers: &HeaderMap) -> Response {
    // Of this build: Swagger UI changes with the crate, and that changes with it.
    const TAG: HeaderValue = HeaderValue::from_static(concat!("\"docs-", env!("CARGO_PKG_VERSION"), "-5.32.6-1\""));
    let mut response = shown::fixed(&Method::GET, headers, &TAG, || {
        let content_type = (header::CONTENT_TYPE, file.content_type);
        match &file.content {
            Content::Plain(text) => ([content_type], *text).into_response(),
            Content::Packed(bytes) => ([content_type, (header::CONTENT_ENCODING, "gzip")], Bytes::clone(bytes)).into_response(),
        }
    });
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response.extensions_mut().insert(OwnPolicy);
    response
}

/// A file of the archive as gzip; empty when it is not there, which a test would have told.
fn packed(name: &str) -> Bytes {
    gzip(utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED, name).map(Bytes::from).unwrap_or_default()
}

/// The file of a zip archive whose name ends so, in gzip's wrapping. None: it is not there, or not deflated.
fn gzip(archive: &[u8], name: &str) -> Option<Vec<u8>> {
    const DIRECTORY_END: &[u8] = b"PK\x05\x06";
    const ENTRY: &[u8] = b"PK\x01\x02";
    const DEFLATED: usize = 8;
    let number = |at: usize, bytes: usize| -> Option<usize> {
        let field = archive.get(at..at.checked_add(bytes)?)?;
        Some(field.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    let end = archive.windows(DIRECTORY_END.len()).rposition(|window| window == DIRECTORY_END)?;
    let (mut at, entries) = (number(end + 16, 4)?, number(end + 10, 2)?);
    for _ in 0..entries {
        if archive.get(at..at + 4)? != ENTRY {
            return None;
        }
        let (name_bytes, extra, comment) = (number(at + 28, 2)?, number(at + 30, 2)?, number(at + 32, 2)?);
        if !archive.get(at + 46..at + 46 + name_bytes)?.ends_with(name.as_bytes()) {
            at += 46 + name_bytes + extra + comment;
            continue;
        }
        if number(at + 10, 2)? != DEFLATED {
            return None;
        }
        let (sum, packed, whole) = (archive.get(at + 16..at + 20)?, number(at + 20, 4)?, archive.get(at + 24..at + 28)?);
        let local = number(at + 42, 4)?;
        let begin = local + 30 + number(local + 26, 2)? + number(local + 28, 2)?;
        let deflated = archive.get(begin..begin.checked_add(packed)?)?;
        // Deflated, no name, no time, of an unknown system; then the sum and the length, as zip has them too.
        let head: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
        return Some([head, deflated, sum, whole].concat());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_holds_what_the_page_asks_for() {
        for (path, bytes) in [("bundle", &*BUNDLE), ("style", &*STYLE)] {
            assert!(bytes.len() > 10_000 && bytes.starts_with(&[0x1f, 0x8b]), "{path}: {} bytes", bytes.len());
        }
        assert!(gzip(utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED, "/no-such-file").is_none());
        assert!(gzip(b"no archive", "x").is_none());
        for file in FILES {
            assert!(file.path == "/docs" || PAGE.contains(file.path), "{} is not asked for", file.path);
        }
        for elsewhere in ["http://", "https://", "//cdn"] {
            assert!(!PAGE.contains(elsewhere) && !START.contains(elsewhere), "{elsewhere}");
        }
    }
}
