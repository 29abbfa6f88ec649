//! Asking the gateway.

use std::time::Duration;

use super::Error;

/// How long one answer is waited for.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// More of an answer is not read.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What came back: the status and the body, or why nothing did.
pub type Answer = Result<(u16, String), String>;

/// The three answers that the checks are made from.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `GET /api/portfolio`.
    pub portfolio: Answer,
    /// `GET /metrics`.
    pub metrics: Answer,
    /// `GET /api/tools/get_metrics`.
    pub figures: Answer,
}

/// Asks.
///
/// # Errors
/// Nothing listens at `base_url`.
pub async fn look(client: &reqwest::Client, base_url: &str) -> Result<Seen, Error> {
    let portfolio = match get(client, base_url, "/api/portfolio").await {
        Err(source) if source.is_connect() => return Err(Error::NoGateway { base_url: base_url.to_owned(), source }),
        answer => answer.unwrap_or_else(|error| Err(told(&error))),
    };
    let mut others = Vec::new();
    for path in ["/metrics", "/api/tools/get_metrics"] {
        others.push(get(client, base_url, path).await.unwrap_or_else(|error| Err(told(&error))));
    }
    let mut others = others.into_iter();
    let mut next = || others.next().unwrap_or_else(|| Err("not asked".to_owned()));
    Ok(Seen { portfolio, metrics: next(), figures: next() })
}

async fn get(client: &reqwest::Client, base_url: &str, path: &str) -> Result<Answer, reqwest::Error> {
    let mut response = client.get(format!("{base_url}{path}")).timeout(ANSWER_LIMIT).send().await?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Ok(Err(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8(body).map(|text| (status, text)).map_err(|_| "the answer is not text".to_owned()))
}

/// Why there is no answer. The address is known to the reader, and is left out.
fn told(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", ANSWER_LIMIT.as_secs());
    }
    let mut text = String::from("no answer");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
