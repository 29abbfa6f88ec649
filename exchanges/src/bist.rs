//! A vendor of Borsa Istanbul's prices: `GET {base}/quotes?symbols=…` with a bearer key, one row a share.
//!
//! Vendors differ in little things, so rows are read leniently (numbers as text or numbers, times as RFC 3339 or ms) and each on its
//! own: what one row has wrong costs its neighbours nothing. Whether prices make sense is judged by who asks.

use std::sync::Mutex;

use futures_util::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::Value;
use serde_json::value::RawValue;
use spark_bus_schema::{Decimal, Timestamp, Venue};

use crate::caller::{Ask, Caller, Effort, Observer, get, lock};
use crate::config::ApiConfig;
use crate::decimal;
use crate::error::{Error, ErrorType, shorten};
use crate::http::Reply;

/// What is asked, in call reports.
pub const OPERATION: &str = "quotes";
/// Rows of one answer that are looked at.
const ROWS_MAX: usize = 1_000;

/// What a vendor says about one share.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quote {
    /// In any of the usual spellings: `THYAO`, `THYAO.E`, `THYAO.IS`, `BIST:THYAO`.
    pub symbol: String,
    /// Last price, lira.
    #[serde(deserialize_with = "decimal::non_negative")]
    pub last: Decimal,
    /// Best bid.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub bid: Option<Decimal>,
    /// Best ask.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub ask: Option<Decimal>,
    /// Shares at the best bid; few vendors tell.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub bid_size: Option<Decimal>,
    /// Shares at the best ask.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub ask_size: Option<Decimal>,
    /// First price of the day.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub open: Option<Decimal>,
    /// Highest price of the day.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub high: Option<Decimal>,
    /// Lowest price of the day.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub low: Option<Decimal>,
    /// Last price of the session before.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub prev_close: Option<Decimal>,
    /// Shares of the day so far.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub volume: Option<Decimal>,
    /// Lira of the day so far.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub turnover: Option<Decimal>,
    /// When it was so.
    #[serde(deserialize_with = "time")]
    pub time: Timestamp,
    /// Session phase in the vendor's word.
    #[serde(default)]
    pub status: String,
}

/// RFC 3339 with any offset, or milliseconds since 1970.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?.get();
    if let Ok(ms) = raw.parse::<i64>() {
        return Ok(Timestamp::from_millis(ms));
    }
    let text: &str = serde_json::from_str(raw).map_err(|_| D::Error::custom("time is neither RFC 3339 nor milliseconds"))?;
    Timestamp::parse(text).map_err(|_| D::Error::custom(format!("time {:?} is not RFC 3339", shorten(text))))
}

/// One row of an answer: a quote, or what is wrong with it (and whose it is, when that much can be read).
pub type Row = Result<Quote, (Option<String>, String)>;

/// A vendor's client: connections, allowance, breaker. One per process.
#[derive(Debug)]
pub struct Bist {
    caller: Caller,
    base_url: String,
    token: Mutex<Option<SecretString>>,
}

impl Bist {
    /// A client; nothing is sent yet. The base address may have a path.
    ///
    /// # Errors
    /// TLS or the HTTP client cannot be set up.
    pub fn new(config: &ApiConfig, token: Option<SecretString>, observer: Observer) -> Result<Self, Error> {
        let base_url = config.base_url(Venue::Bist).to_owned();
        Ok(Self { caller: Caller::new(Venue::Bist, config, observer)?, base_url, token: Mutex::new(token) })
    }

    /// Replaces the key, as after a rotation.
    pub fn set_token(&self, token: Option<SecretString>) {
        *lock(&self.token) = token;
    }

    /// Asks once about these symbols (letters and digits). Rows come in the vendor's order.
    ///
    /// # Errors
    /// [`Error`]: no answer, a refusal, or an answer that is not a list of rows (bare, or under `quotes` or `data`).
    pub fn quotes<'a>(&'a self, symbols: &'a [String]) -> BoxFuture<'a, Result<Vec<Row>, Error>> {
        Box::pin(async move {
            let ask = Ask { operation: OPERATION, weight: 1, effort: Effort::Once };
            let url = format!("{}/quotes?symbols={}", self.base_url, symbols.join(","));
            let build = || {
                let mut request = get(Venue::Bist, OPERATION, &url)?;
                if let Some(token) = &*lock(&self.token) {
                    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
                        .map_err(|_| failure(ErrorType::Auth, "the key holds characters that a header cannot"))?;
                    value.set_sensitive(true);
                    request.headers_mut().insert(AUTHORIZATION, value);
                }
                Ok(request)
            };
            self.caller.call(ask, build, read).await
        })
    }
}

fn failure(error_type: ErrorType, what: impl Into<String>) -> Error {
    Error::new(Venue::Bist, OPERATION, error_type, what)
}

fn read(reply: &Reply) -> Result<Vec<Row>, Error> {
    #[derive(Deserialize)]
    struct Wrapped<'a> {
        #[serde(borrow, alias = "data")]
        quotes: Vec<&'a RawValue>,
    }
    if !reply.is_success() {
        return Err(refusal(reply));
    }
    let rows = match serde_json::from_slice::<Vec<&RawValue>>(&reply.body) {
        Ok(rows) => rows,
        Err(problem) => match serde_json::from_slice::<Wrapped<'_>>(&reply.body) {
            Ok(wrapped) => wrapped.quotes,
            Err(_) => return Err(failure(ErrorType::Parse, format!("unreadable answer: {}", shorten(&problem.to_string())))),
        },
    };
    if rows.len() > ROWS_MAX {
        return Err(failure(ErrorType::Parse, format!("{} rows, more than {ROWS_MAX}", rows.len())));
    }
    Ok(rows.into_iter().map(|raw| serde_json::from_str(raw.get()).map_err(|problem| unreadable(raw, &problem))).collect())
}

fn unreadable(raw: &RawValue, problem: &serde_json::Error) -> (Option<String>, String) {
    let value: Value = serde_json::from_str(raw.get()).unwrap_or(Value::Null);
    (value["symbol"].as_str().map(shorten), shorten(&problem.to_string()))
}

fn refusal(reply: &Reply) -> Error {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    let said = ["error", "message", "detail"].iter().find_map(|name| body[*name].as_str()).map(shorten);
    let error_type = match reply.status {
        401 | 403 => ErrorType::Auth,
        408 => ErrorType::Timeout,
        429 => ErrorType::RateLimit,
        _ => ErrorType::Server,
    };
    let mut error = failure(error_type, said.unwrap_or_else(|| "an error without a message".to_owned()));
    error.http_status = Some(reply.status);
    error
}

/// What is wrong with a vendor's address; a path is allowed.
///
/// # Errors
/// A sentence with what would be right.
pub fn check_base_url(url: &str) -> Result<(), &'static str> {
    let parsed = reqwest::Url::parse(url);
    let mut root =
        parsed.map_err(|_| "not an address; write it like \"https://vendor.example/v1\" or \"http://127.0.0.1:9101\"")?;
    root.set_path("/");
    crate::config::url_problem(root.as_str()).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::*;

    fn reply(status: u16, body: &'static str) -> Reply {
        Reply { status, headers: HeaderMap::new(), body: body.as_bytes().into() }
    }

    #[test]
    fn rows_are_read_each_on_its_own_in_either_spelling_of_numbers_and_times() {
        let body = r#"[{"symbol":"THYAO","last":291.25,"bid":"291.25","ask":null,"volume":"18230411","time":"2026-11-20T17:59:58+03:00","status":"continuous","extra":1},
            {"symbol":"AKBNK","last":"NaN","time":1},{"last":1},7,{"symbol":"GARAN","last":"138.1","time":1795186798000}]"#;
        let rows = read(&reply(200, body)).unwrap();
        let first = rows[0].as_ref().unwrap();
        assert_eq!((first.last.to_string().as_str(), first.bid, first.ask), ("291.25", Some(first.last), None));
        assert_eq!(first.time, Timestamp::parse("2026-11-20T14:59:58Z").unwrap());
        let (symbol, what) = rows[1].as_ref().unwrap_err();
        assert!(symbol.as_deref() == Some("AKBNK") && what.contains("NaN"), "{what}");
        assert!(rows[2].as_ref().unwrap_err().1.contains("symbol") && rows[3].is_err());
        assert_eq!(rows[4].as_ref().unwrap().time, Timestamp::from_millis(1_795_186_798_000));
        for wrapped in [r#"{"quotes":[{"symbol":"X","last":1,"time":1}]}"#, r#"{"data":[{"symbol":"X","last":1,"time":1}]}"#] {
            assert_eq!(read(&reply(200, wrapped)).unwrap().len(), 1);
        }
    }

    #[test]
    fn refusals_have_their_class_and_the_vendors_words() {
        let check = |status, body, class, part: &str| {
            let error = read(&reply(status, body)).unwrap_err();
            assert!(error.error_type == class && error.to_string().contains(part), "{error}");
        };
        check(401, r#"{"error":"invalid key"}"#, ErrorType::Auth, "invalid key (HTTP 401)");
        check(403, "<html>", ErrorType::Auth, "without a message");
        check(429, r#"{"message":"slow down"}"#, ErrorType::RateLimit, "slow down");
        check(503, "", ErrorType::Server, "HTTP 503");
        check(200, "[{\"symbol\":", ErrorType::Parse, "unreadable answer");
        check(200, "{}", ErrorType::Parse, "unreadable answer");
    }

    #[test]
    fn an_address_may_have_a_path_but_neither_a_password_nor_clear_text_over_a_network() {
        for fine in ["https://vendor.example/api/v1", "https://vendor.example", "http://127.0.0.1:9/x"] {
            assert_eq!(check_base_url(fine), Ok(()), "{fine}");
        }
        for (url, part) in [
            ("vendor.example", "not an address"),
            ("http://vendor.example/v1", "clear text"),
            ("https://a:b@vendor.example", "password"),
            ("https://vendor.example/?key=1", "without a path"),
        ] {
            assert!(check_base_url(url).unwrap_err().contains(part), "{url}");
        }
    }
}
