//! The gateway's HTTP API from the command line: where it is, the operator's token, and what its answers mean.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::args::Global;
use crate::config::Config;
use crate::exit::Failure;
use crate::output::visible;
use crate::system;
use crate::up::run_file::RunFile;

/// How long one request may take: longer than the gateway lets an order wait.
const REQUEST_LIMIT: Duration = Duration::from_secs(12);
/// How long connecting to the live stream may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A live stream that says nothing at all for so long is dead: processes are told once a second.
const STREAM_SILENCE_MAX: Duration = Duration::from_secs(10);
/// Where the gateway is, when it is not the one that `spark up` runs here.
const ADDRESS_VARIABLE: &str = "SPARK_GATEWAY_URL";
/// The operator's token; it wins over files.
const TOKEN_VARIABLE: &str = "SPARK_TOKEN";

/// The gateway.
pub struct Gateway {
    client: reqwest::Client,
    base: String,
    token: Option<SecretString>,
    token_file: String,
    /// The token is the one that lies in the data folder, not one that somebody named.
    token_is_found: bool,
}

/// An answer that is not a refusal.
pub struct Answer {
    /// 200, or 202 when something is still missing.
    pub status: StatusCode,
    /// The body, as it came: numbers in it keep every digit.
    pub text: String,
}

/// The members of a JSON object, unread.
pub type Fields = BTreeMap<String, Box<RawValue>>;

impl Answer {
    /// The body's members.
    ///
    /// # Errors
    /// Exit 70: it is not a JSON object.
    pub fn fields(&self) -> Result<Fields, Failure> {
        read(&self.text)
    }
}

/// JSON as `T`.
///
/// # Errors
/// Exit 70.
pub fn read<T: DeserializeOwned>(json: &str) -> Result<T, Failure> {
    serde_json::from_str(json).map_err(|error| Failure::internal(format!("the gateway's answer cannot be read: {error}")))
}

/// The objects in a list.
///
/// # Errors
/// Exit 70: it is not a list of objects.
pub fn list(fields: &Fields, member: &str) -> Result<Vec<Fields>, Failure> {
    fields.get(member).map_or_else(|| Ok(Vec::new()), |raw| read(raw.get()))
}

/// A member as text: numbers digit for digit, `–` for nothing; control characters cannot act.
#[must_use]
pub fn text(fields: &Fields, member: &str) -> String {
    let raw = fields.get(member).map_or("null", |raw| raw.get());
    match raw {
        "null" => "–".to_owned(),
        quoted if quoted.starts_with('"') => visible(&serde_json::from_str::<String>(quoted).unwrap_or_default()),
        other => other.to_owned(),
    }
}

/// Whether a member is `true`, `false` or neither.
#[must_use]
pub fn flag(fields: &Fields, member: &str) -> Option<bool> {
    serde_json::from_str(fields.get(member)?.get()).ok()
}

/// Whether a member is there and not null.
#[must_use]
pub fn is_given(fields: &Fields, member: &str) -> bool {
    fields.get(member).is_some_and(|raw| raw.get() != "null")
}

impl Gateway {
    /// Finds it: `SPARK_GATEWAY_URL`, else what `spark up` runs on the data folder, else `[gateway] listen`.
    ///
    /// # Errors
    /// Exit 70: TLS cannot be set up.
    pub fn find(global: &Global, config: &Config) -> Result<Self, Failure> {
        let named = std::env::var(ADDRESS_VARIABLE).ok().filter(|text| !text.is_empty());
        let running = || RunFile::read(&global.data).map(|run| run.address);
        let base = named.or_else(running).unwrap_or_else(|| {
            format!("{}://{}", if config.gateway.is_secure() { "https" } else { "http" }, config.gateway.listen)
        });
        let kept = global.data.join("keys").join("admin.token");
        let file = config.gateway.admin_token_file.clone().unwrap_or(kept);
        let given = std::env::var(TOKEN_VARIABLE).ok().filter(|text| !text.trim().is_empty());
        let token_is_found = given.is_none();
        let token = given.or_else(|| std::fs::read_to_string(&file).ok());
        let token = token.map(|text| SecretString::from(text.trim().to_owned()));
        Ok(Self {
            client: system::http()?,
            base: base.trim_end_matches('/').to_owned(),
            token,
            token_file: file.display().to_string(),
            token_is_found,
        })
    }

    /// Where it is, without a slash at the end.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.base
    }

    /// Reads, with a token when there is one: reading may need a viewer's.
    ///
    /// # Errors
    /// See [`Gateway::send`].
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Answer, Failure> {
        let request = || self.client.request(Method::GET, format!("{}{path}", self.base)).query(query);
        let (status, text) = self.ask(self.authorised(request())).await?;
        // What lies in the data folder may be of another system; where reading is open nobody needs it.
        if status == StatusCode::UNAUTHORIZED && self.token_is_found && self.token.is_some() {
            let (status, text) = self.ask(request()).await?;
            return self.judged(status, text);
        }
        self.judged(status, text)
    }

    /// Reads without an end: the live stream.
    ///
    /// # Errors
    /// As [`Gateway::get`].
    pub async fn stream(&self, path: &str, last_event_id: Option<&str>) -> Result<reqwest::Response, Failure> {
        let client = system::trusting(reqwest::Client::builder())?;
        let client = client.connect_timeout(CONNECT_LIMIT).read_timeout(STREAM_SILENCE_MAX).no_proxy().build();
        let client = client.map_err(|error| Failure::internal(format!("make an HTTP client: {error}")))?;
        let mut request = self.authorised(client.get(format!("{}{path}", self.base)).header("accept", "text/event-stream"));
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let answer = request.send().await.map_err(|error| self.away(error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let text = answer.text().await.map_err(|error| self.away(error))?;
        Err(self.judged(status, text).err().unwrap_or_else(|| Failure::internal("an answer without a stream")))
    }

    fn authorised(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }

    /// Commands, with the operator's token.
    ///
    /// # Errors
    /// See [`Gateway::send`]; exit 64 without a token.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Result<Answer, Failure> {
        let token = self.token.as_ref().ok_or_else(|| {
            Failure::usage(format!(
                "no token: {TOKEN_VARIABLE} is not set and {} cannot be read; `spark up` makes one, --data names its folder, \
                 `spark token create NAME --role operator` makes another",
                self.token_file
            ))
        })?;
        let mut request = self.client.request(Method::POST, format!("{}{path}", self.base)).json(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.bearer_auth(token.expose_secret())).await
    }

    /// # Errors
    /// Exit 69: no answer, or the gateway says 5xx or 429. Exit 1: what was asked for is not there, or is in conflict with
    /// what is. Exit 64: everything else that it refuses.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, Failure> {
        let (status, text) = self.ask(request).await?;
        self.judged(status, text)
    }

    fn away(&self, error: reqwest::Error) -> Failure {
        Failure::unavailable(format!(
            "no gateway answers at {}: {}; start it with `spark up`, or name it with --data DIR or {ADDRESS_VARIABLE}",
            self.base,
            error.without_url()
        ))
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Result<(StatusCode, String), Failure> {
        let answer = request.timeout(REQUEST_LIMIT).send().await.map_err(|error| self.away(error))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| self.away(error))?;
        Ok((status, text))
    }

    fn judged(&self, status: StatusCode, text: String) -> Result<Answer, Failure> {
        if status.is_success() {
            return Ok(Answer { status, text });
        }
        let body: Value = serde_json::from_str(&text).unwrap_or_else(|_| Value::from(text));
        let message = problem(status, &body);
        Err(match status {
            StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => Failure::no(message),
            StatusCode::TOO_MANY_REQUESTS => Failure::temporary(message),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::usage(format!("{message}\n{}", self.token_advice())),
            status if status.is_server_error() => Failure::unavailable(message),
            _ => Failure::usage(message),
        })
    }
}

impl Gateway {
    /// What somebody does whose token is missing, unknown or too small.
    fn token_advice(&self) -> String {
        let used = match (&self.token, self.token_is_found) {
            (None, _) => "no token was sent".to_owned(),
            (Some(_), true) => format!("the token in {} was sent", self.token_file),
            (Some(_), false) => format!("the token in {TOKEN_VARIABLE} was sent"),
        };
        format!("{used}; {TOKEN_VARIABLE} names another, and `spark token create` makes one where the gateway runs")
    }
}

/// A problem document for a person: what, where, and how to put it right.
fn problem(status: StatusCode, body: &Value) -> String {
    let member = |name: &str| body.get(name).and_then(Value::as_str).map(visible);
    let title = member("title").unwrap_or_else(|| format!("the gateway answers {status}"));
    let place = member("where").map(|place| format!(" ({place})")).unwrap_or_default();
    let rest = [member("detail"), member("fix")].into_iter().flatten().collect::<Vec<_>>().join("; ");
    if rest.is_empty() { format!("{title}{place}") } else { format!("{title}{place}: {rest}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_every_digit() {
        let fields: Fields =
            read("{\"a\":-0.000000123456789012345678,\"b\":\"x\\u001b\",\"c\":null,\"d\":true,\"e\":[{\"f\":1}]}").unwrap();
        assert_eq!(text(&fields, "a"), "-0.000000123456789012345678");
        assert_eq!((text(&fields, "b"), text(&fields, "c"), text(&fields, "g")), ("x\u{fffd}".into(), "–".into(), "–".into()));
        assert_eq!((flag(&fields, "d"), flag(&fields, "a"), is_given(&fields, "c")), (Some(true), None, false));
        assert_eq!(text(&list(&fields, "e").unwrap()[0], "f"), "1");
    }

    #[test]
    fn a_problem_says_what_where_and_how_to_put_it_right() {
        let body =
            serde_json::json!({"title": "A value cannot be used", "where": "body: symbol", "detail": "d\u{1b}", "fix": "f"});
        assert_eq!(problem(StatusCode::BAD_REQUEST, &body), "A value cannot be used (body: symbol): d\u{fffd}; f");
        assert_eq!(problem(StatusCode::BAD_GATEWAY, &Value::Null), "the gateway answers 502 Bad Gateway");
    }
}
