//! The page's own files and the runbooks that alerts name, embedded: nothing is read from disk and nothing is fetched from elsewhere.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// One file of the page.
pub(super) struct File {
    pub path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
    /// Of the bytes: another build has another one exactly where the file differs.
    digest: u64,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const MARKDOWN: &str = "text/markdown; charset=utf-8";

macro_rules! embed {
    ($path:expr, $content_type:expr, $file:expr) => {
        File {
            path: $path,
            content_type: $content_type,
            bytes: include_bytes!(concat!("../../", $file)),
            digest: digest(include_bytes!(concat!("../../", $file))),
        }
    };
}

macro_rules! file {
    ($path:literal, $content_type:expr, $file:literal) => {
        embed!($path, $content_type, concat!("web/", $file))
    };
}

macro_rules! script {
    ($name:literal) => {
        embed!(concat!("/", $name, ".js"), SCRIPT, concat!("web/", $name, ".js"))
    };
}

macro_rules! runbook {
    ($name:literal) => {
        embed!(concat!("/runbooks/", $name, ".md"), MARKDOWN, concat!("../docs/runbooks/", $name, ".md"))
    };
}

/// Every file.
pub(super) static FILES: &[File] = &[
    file!("/", HTML, "index.html"),
    file!("/app.css", CSS, "app.css"),
    file!("/icon.svg", SVG, "icon.svg"),
    script!("account"),
    script!("alerts"),
    script!("api"),
    script!("app"),
    script!("backtests"),
    script!("chart"),
    script!("choice"),
    script!("command"),
    script!("dialogs"),
    script!("dom"),
    script!("donut"),
    script!("format"),
    script!("guard"),
    script!("keys"),
    script!("limits"),
    script!("live"),
    script!("markdown"),
    script!("orders"),
    script!("portfolio"),
    script!("prices"),
    script!("reports"),
    script!("rollout"),
    script!("sections"),
    script!("settings"),
    script!("shapes"),
    script!("silences"),
    script!("store"),
    script!("system"),
    script!("table"),
    script!("theme"),
    runbook!("api-errors"),
    runbook!("api-latency"),
    runbook!("backtest-jobs"),
    runbook!("bist-degraded"),
    runbook!("broker-failover"),
    runbook!("error-budget"),
    runbook!("exchange-errors"),
    runbook!("exchange-outage"),
    runbook!("ledger-damage"),
    runbook!("model"),
    runbook!("no-assets"),
    runbook!("parked"),
    runbook!("portfolio-latency"),
    runbook!("portfolio-stale"),
    runbook!("process-missing"),
    runbook!("rollback"),
    runbook!("rollout"),
    runbook!("trading-halted"),
    runbook!("value-anomaly"),
    runbook!("ws-staleness"),
];

/// FNV-1a, for telling builds apart; nobody gains anything by making two files alike.
const fn digest(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}

/// A file. Browsers ask again each time: a new build shows at once, and what has not changed is not sent again.
pub(super) fn answer(file: &'static File, headers: &HeaderMap) -> Response {
    let tag = format!("\"{:016x}\"", file.digest);
    let held = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let known = held.flat_map(|value| value.split(',')).any(|one| {
        let one = one.trim();
        one == "*" || one.trim_start_matches("W/") == tag
    });
    let etag = HeaderValue::try_from(tag).expect("hexadecimal digits in quotes are a header's value");
    let common = [(header::ETAG, etag), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    if known {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(header::CONTENT_TYPE, file.content_type)], file.bytes).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn names(folder: &str) -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let entries = std::fs::read_dir(folder).expect("the folder is in the repository");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }

    fn text(path: &str) -> &'static str {
        let file = FILES.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path} is not served"));
        std::str::from_utf8(file.bytes).expect("UTF-8")
    }

    /// The names between `before` and `after`.
    fn between<'a>(text: &'a str, before: &str, after: char) -> BTreeSet<&'a str> {
        text.split(before).skip(1).filter_map(|rest| rest.split(after).next()).collect()
    }

    #[test]
    fn every_file_of_the_folders_is_served_and_no_other() {
        let mut there = names("web");
        assert!(there.remove("index.html") && there.insert(String::new()), "index.html is /");
        let mut wanted: BTreeSet<String> = there.into_iter().map(|name| format!("/{name}")).collect();
        wanted.extend(names("../docs/runbooks").into_iter().map(|name| format!("/runbooks/{name}")));
        assert_eq!(FILES.iter().map(|file| file.path.to_owned()).collect::<BTreeSet<_>>(), wanted);
    }

    #[test]
    fn every_module_is_fetched_with_the_page_and_imports_only_what_is_served() {
        let page = text("/");
        let mut fetched = between(page, "<link rel=\"modulepreload\" fetchpriority=\"low\" href=\"", '"');
        fetched.insert("/app.js");
        let mut modules: BTreeSet<&str> = FILES.iter().map(|file| file.path).filter(|path| path.ends_with(".js")).collect();
        assert!(modules.remove("/theme.js"), "it is no module");
        assert_eq!(fetched, modules);
        for module in modules {
            for import in between(text(module), " from './", '\'') {
                text(&format!("/{import}"));
            }
        }
    }

    #[test]
    fn nothing_of_the_page_is_markup_from_elsewhere_or_styled_in_place() {
        for file in FILES.iter().filter(|file| !file.path.starts_with("/runbooks/")) {
            let text = text(file.path);
            for forbidden in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", " style=\"", "eval(", "new Function"]
            {
                assert!(!text.contains(forbidden), "{} has {forbidden}", file.path);
            }
        }
    }

    #[test]
    fn a_file_that_is_held_is_not_sent_again() {
        let file = &FILES[0];
        let first = answer(file, &HeaderMap::new());
        let tag = first.headers()[header::ETAG].clone();
        assert_eq!(first.status(), StatusCode::OK);
        for held in
            [tag.to_str().expect("ASCII").to_owned(), format!("\"other\", W/{}", tag.to_str().expect("ASCII")), "*".to_owned()]
        {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::try_from(held.clone()).expect("a value"))]);
            assert_eq!(answer(file, &headers).status(), StatusCode::NOT_MODIFIED, "{held}");
        }
        let other = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static("\"0000000000000000\""))]);
        assert_eq!(answer(file, &other).status(), StatusCode::OK);
    }
}
