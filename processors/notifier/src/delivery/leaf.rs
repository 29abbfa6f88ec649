//! Speaks to one receiver, once. It says whether trying again can help; it never decides to.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER};
use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use spark_bus_schema::Timestamp;
use spark_bus_schema::notify::Notification;
use tokio::io::AsyncWriteExt;

use crate::config::Hidden;
use crate::payload;
use crate::plan::{ReceiverKind, Target, is_address};

/// Header with a text that is the same for every try of the same notification.
pub const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// No receiver makes us wait longer.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// A file of notifications is moved aside (`….1`) when it gets longer.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// So much of a refusal's text is kept.
const DETAIL_CHARS_MAX: usize = 200;
/// More of an answer is not read.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// Why a receiver did not take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Status of its answer, if there was one.
    pub status: Option<u16>,
    /// For a person; without an address.
    pub detail: String,
    /// Trying again can help, after this long at least. None: it cannot.
    pub retry: Option<Duration>,
}

impl Refused {
    fn later(status: Option<u16>, detail: String, after: Duration) -> Self {
        Self { status, detail, retry: Some(after) }
    }

    fn never(status: Option<u16>, detail: String) -> Self {
        Self { status, detail, retry: None }
    }
}

/// One receiver, ready to be spoken to.
pub struct Leaf {
    name: String,
    kind: ReceiverKind,
    place: Place,
    external_url: String,
    /// For `alertmanager`: what is not sent again for this long is over.
    pub resolve_timeout: Duration,
}

enum Place {
    Http { client: reqwest::Client, url: SecretUrl, host: String, bearer: Option<HeaderValue> },
    Stdout,
    File(PathBuf),
}

/// An address that no error, log or `Debug` shows.
#[derive(Clone)]
struct SecretUrl(Arc<SecretString>);

impl Leaf {
    /// Finds the address and the token.
    ///
    /// # Errors
    /// A file or variable is missing, or holds something else: "key: what is wrong; what would be right".
    pub fn new(target: &Target, external_url: &str, timeout: Duration, data_dir: &std::path::Path) -> Result<Self, String> {
        let written = &target.written;
        let key = format!("receiver `{}`", written.name);
        let place = match target.kind {
            ReceiverKind::Stdout => Place::Stdout,
            ReceiverKind::File => Place::File(data_dir.join(written.path.clone().unwrap_or_default())),
            ReceiverKind::Webhook | ReceiverKind::Slack | ReceiverKind::Alertmanager => {
                let url = secret(&key, "url", written.url.as_ref(), written.url_file.as_ref(), written.url_env.as_ref())?;
                let url = url.ok_or_else(|| format!("{key}: no address; write url, url_file or url_env"))?;
                let mut url = parsed(&key, &url)?;
                if target.kind == ReceiverKind::Alertmanager && !url.path().ends_with("/api/v2/alerts") {
                    let path = format!("{}/api/v2/alerts", url.path().trim_end_matches('/'));
                    url.set_path(&path);
                }
                let bearer = secret(&key, "bearer", None, written.bearer_file.as_ref(), written.bearer_env.as_ref())?;
                let bearer = bearer.map(|token| authorization(&key, &token)).transpose()?;
                let host = url.host_str().unwrap_or_default().to_owned();
                Place::Http { client: client(timeout)?, url: SecretUrl::of(&url), host, bearer }
            }
        };
        let (name, external_url) = (written.name.clone(), external_url.to_owned());
        Ok(Self { name, kind: target.kind, place, external_url, resolve_timeout: target.resolve_timeout })
    }

    /// Whether what fires must be sent again and again.
    #[must_use]
    pub fn needs_repeating(&self) -> bool {
        self.kind == ReceiverKind::Alertmanager
    }

    /// Sends once. `before` is what the receiver believes of this group, where that matters. The status of its answer, 0 where
    /// there is none.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn send(&self, notification: &Notification, before: Option<&Notification>, key: &str) -> Result<u16, Refused> {
        match &self.place {
            Place::Stdout => self.print(notification).await,
            Place::File(path) => self.append(path, notification).await,
            Place::Http { .. } => {
                let body = match self.kind {
                    ReceiverKind::Slack => payload::slack(notification, &self.external_url),
                    ReceiverKind::Alertmanager => {
                        let now = spark_nats::now();
                        payload::alertmanager(notification, before, &self.external_url, now, self.resolve_timeout)
                    }
                    _ => payload::webhook(notification, &self.external_url),
                };
                self.post(&body, key).await
            }
        }
    }

    async fn post(&self, body: &Value, key: &str) -> Result<u16, Refused> {
        let Place::Http { client, url, host, bearer } = &self.place else { return Ok(0) };
        let mut request = client.post(url.0.expose_secret()).header(IDEMPOTENCY_KEY, key).json(body);
        if let Some(bearer) = bearer {
            request = request.header(AUTHORIZATION, bearer.clone());
        }
        let mut response = request.send().await.map_err(|error| {
            // The client's own errors name the whole address.
            let error = error.without_url();
            let what = if error.is_timeout() {
                "no answer in time".to_owned()
            } else if error.is_connect() {
                "cannot be reached".to_owned()
            } else {
                spark_nats::text(&error)
            };
            Refused::later(None, format!("{host}: {what}"), Duration::ZERO)
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(status.as_u16());
        }
        let after = response.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, spark_nats::now()));
        let said = answer(&mut response, url).await;
        let detail = format!("{host} answers {}{said}", status.as_u16());
        if is_worth_retrying(status) {
            Err(Refused::later(Some(status.as_u16()), detail, after.unwrap_or_default().min(RETRY_AFTER_MAX)))
        } else {
            Err(Refused::never(Some(status.as_u16()), detail))
        }
    }

    async fn print(&self, notification: &Notification) -> Result<u16, Refused> {
        let line = payload::line(notification, &self.external_url) + "\n";
        // Whoever reads stdout may be slow: not on a thread of the runtime.
        let written = tokio::task::spawn_blocking(move || {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush())
        });
        let written = written.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        written.map(|()| 0).map_err(|error| Refused::later(None, format!("stdout: {error}"), Duration::ZERO))
    }

    async fn append(&self, path: &std::path::Path, notification: &Notification) -> Result<u16, Refused> {
        let line = payload::line(notification, &self.external_url) + "\n";
        let written = async {
            if tokio::fs::metadata(path).await.is_ok_and(|found| found.len() > FILE_BYTES_MAX) {
                let mut aside = path.as_os_str().to_owned();
                aside.push(".1");
                tokio::fs::rename(path, aside).await?;
            }
            let mut file = tokio::fs::OpenOptions::new().create(true).append(true).open(path).await?;
            file.write_all(line.as_bytes()).await?;
            file.flush().await?;
            file.sync_data().await
        };
        let done: std::io::Result<()> = written.await;
        done.map(|()| 0).map_err(|error| Refused::later(None, format!("{}: {error}", path.display()), Duration::ZERO))
    }
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaf").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl SecretUrl {
    fn of(url: &Url) -> Self {
        Self(Arc::new(SecretString::from(url.as_str())))
    }

    /// Whether a text repeats a part of the address that nobody shall read.
    fn is_in(&self, text: &str) -> bool {
        const SHORTEST: usize = 6;
        let Ok(url) = Url::parse(self.0.expose_secret()) else { return true };
        let rest = [url.username(), url.password().unwrap_or_default(), url.path(), url.query().unwrap_or_default()];
        let mut parts = rest.into_iter().flat_map(|part| part.split(['/', '&', '=']));
        parts.any(|part| part.len() >= SHORTEST && text.contains(part))
    }
}

/// 408, 425, 429 and whatever the other side calls its own fault.
fn is_worth_retrying(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS)
}

/// Whole seconds, or a date.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let form = "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT";
    let form = time::format_description::parse_borrowed::<2>(form).ok()?;
    let date = time::PrimitiveDateTime::parse(text, &form).ok()?.assume_utc();
    let at = Timestamp::from_millis(date.unix_timestamp().saturating_mul(1_000));
    Some(at.saturating_since(now))
}

/// The beginning of a refusal's text, on one line; nothing when it repeats the address.
async fn answer(response: &mut reqwest::Response, url: &SecretUrl) -> String {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            break;
        }
    }
    let text = String::from_utf8_lossy(&body);
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(DETAIL_CHARS_MAX).collect();
    let line = line.trim();
    if line.is_empty() || url.is_in(&text) { String::new() } else { format!(": {line}") }
}

fn client(timeout: Duration) -> Result<reqwest::Client, String> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        // A redirect would carry the notification, and a token in the address, to wherever it points.
        .redirect(reqwest::redirect::Policy::none())
        // Whether to send again is decided in one place.
        .retry(reqwest::retry::never())
        .connect_timeout(timeout / 2)
        .timeout(timeout)
        .tcp_nodelay(true)
        .user_agent(concat!("spark/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| format!("the HTTP client cannot be set up: {}", error.without_url()))
}

fn parsed(key: &str, url: &Hidden) -> Result<Url, String> {
    let wrong = || format!("{key}: its address is not one of the web; write it like https://hooks.example.com/…");
    if is_address(url.expose()) { Url::parse(url.expose()).map_err(|_| wrong()) } else { Err(wrong()) }
}

fn authorization(key: &str, token: &Hidden) -> Result<HeaderValue, String> {
    let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
    let mut value =
        value.map_err(|_| format!("{key}: its token has characters that no header may have; look for a line end in it"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// From the configuration, a file or the environment, without blanks around it.
fn secret(
    key: &str,
    what: &str,
    written: Option<&Hidden>,
    file: Option<&PathBuf>,
    variable: Option<&String>,
) -> Result<Option<Hidden>, String> {
    let text = match (written, file, variable) {
        (Some(written), _, _) => written.expose().to_owned(),
        (_, Some(file), _) => std::fs::read_to_string(file).map_err(|error| {
            format!("{key}.{what}_file = {:?}: {error}; name a file that this process may read", file.display().to_string())
        })?,
        (_, _, Some(name)) => std::env::var(name)
            .map_err(|_| format!("{key}.{what}_env = {name:?}: no such variable in this process's environment; set it"))?,
        (None, None, None) => return Ok(None),
    };
    let text = text.trim();
    if text.is_empty() { Err(format!("{key}: {what} is empty")) } else { Ok(Some(Hidden::new(text))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_whether_another_try_can_help() {
        let check = |status: u16, want: bool| {
            assert_eq!(is_worth_retrying(StatusCode::from_u16(status).unwrap()), want, "{status}");
        };
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            check(status, true);
        }
        for status in [301, 302, 400, 401, 403, 404, 410, 413, 422] {
            check(status, false);
        }
    }

    #[test]
    fn a_receiver_says_how_long_to_wait_in_seconds_or_by_a_date() {
        let now = Timestamp::parse("2026-10-21T07:27:30Z").unwrap();
        let check = |text: &str, want: Option<u64>| assert_eq!(retry_after(text, now), want.map(Duration::from_secs), "{text}");
        check(" 7 ", Some(7));
        check("Wed, 21 Oct 2026 07:28:00 GMT", Some(30));
        check("Wed, 21 Oct 2026 07:27:00 GMT", Some(0));
        check("soon", None);
    }
}
