//! BTCTurk: a login on the public feed's socket; the account's frames then come by themselves. The spelling of their fields is
//! known only from other people's clients, so that fields are found in any case, and only trades are taken at their word.

use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::socket::Socket;
use super::{End, Outlet, UserDataConfig, UserEvent};
use crate::BtcTurk;
use crate::caller::{lock, now};
use crate::error::shorten;
use crate::orders::btcturk_types::TradeRow;

const LOGIN: i64 = 114;
const USER_TRADE: i64 = 423;
const ORDER_MATCH: i64 = 441;
const ORDER_INSERT: i64 = 451;
const ORDER_DELETE: i64 = 452;
const ORDER_UPDATE: i64 = 453;

/// What is signed together with the public key, in the stamp's place; the documentation's own constant.
const NONCE: i64 = 3_000;
/// A refused login is not tried again sooner: connects are limited to 15 a minute.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

/// One connection, from connecting to its end.
pub(super) async fn session(client: &BtcTurk, config: &UserDataConfig, outlet: &mut Outlet) -> End {
    match serve(client, config, outlet).await {
        Ok(never) => match never {},
        Err(end) => end,
    }
}

async fn serve(client: &BtcTurk, config: &UserDataConfig, outlet: &mut Outlet) -> Result<std::convert::Infallible, End> {
    // A stale offset may still do.
    let _read_or_not = client.keep_clock().await;
    let mut socket = Socket::connect(config.url(outlet.venue), config).await?;
    socket.send(login(client)?).await?;
    let by = socket.answer_by();
    while !is_logged_in(&socket.answer(by).await?)? {}
    outlet.connected().await?;
    loop {
        let text = socket.next().await?;
        match serde_json::from_str::<(i64, &RawValue)>(&text) {
            Ok((kind, body)) => tell(client, kind, body.get(), outlet).await?,
            Err(_) => outlet.unreadable(&text).await?,
        }
    }
}

/// The signed login. Holds the key and must not be shown.
fn login(client: &BtcTurk) -> Result<String, End> {
    let key = lock(&client.key).clone().ok_or_else(|| End::new("no API key is configured"))?;
    let signature = key.sign_btcturk(NONCE).map_err(|error| End::new(error.to_string()))?;
    let timestamp = now().as_millis().saturating_add(client.clock_offset_ms());
    let body = json!({
        "type": LOGIN, "publicKey": key.key(), "timestamp": timestamp, "nonce": NONCE, "signature": signature,
    });
    Ok(json!([LOGIN, body]).to_string())
}

/// Whether this frame is the yes to the login. The greeting and the public feed's frames are not.
fn is_logged_in(text: &str) -> Result<bool, End> {
    let Ok((LOGIN, body)) = serde_json::from_str::<(i64, Map<String, Value>)>(text) else { return Ok(false) };
    if field(&body, "ok") == Some(&Value::Bool(true)) {
        return Ok(true);
    }
    let said = field(&body, "message").and_then(Value::as_str).map(shorten).unwrap_or_default();
    Err(End { pause: Some(REFUSED_PAUSE), ..End::new(format!("login refused: {said}")) })
}

async fn tell(client: &BtcTurk, kind: i64, body: &str, outlet: &mut Outlet) -> Result<(), End> {
    match kind {
        USER_TRADE => trade(client, body, outlet).await,
        ORDER_MATCH | ORDER_INSERT | ORDER_DELETE | ORDER_UPDATE => {
            let Ok(body) = serde_json::from_str::<Map<String, Value>>(body) else {
                return outlet.unreadable(body).await;
            };
            // Of a match, `id` may be the match's.
            let exchange_order_id = if kind == ORDER_MATCH { None } else { field(&body, "id").and_then(text) };
            let client_order_id = field(&body, "newOrderClientId")
                .or_else(|| field(&body, "orderClientId"))
                .or_else(|| field(&body, "clientId"))
                .and_then(text);
            outlet.tell(UserEvent::Changed { exchange_order_id, client_order_id }).await?;
            if matches!(kind, ORDER_INSERT | ORDER_DELETE) {
                outlet.tell(UserEvent::BalanceChanged { assets: Vec::new() }).await?;
            }
            Ok(())
        }
        // The public feed's frames, and whatever is new.
        _ => Ok(()),
    }
}

async fn trade(client: &BtcTurk, body: &str, outlet: &mut Outlet) -> Result<(), End> {
    let Ok(row) = read_trade(body) else { return outlet.unreadable(body).await };
    let (base, quote) = row.assets();
    // In which currency its fee was taken is a property of the pair.
    let fill = match client.pair(&format!("{base}{quote}")).await {
        Ok(pair) => row.fill(pair.fee_in_base),
        Err(error) => Err(error.to_string()),
    };
    match fill {
        Ok(fill) => {
            outlet.tell(UserEvent::Fill(fill)).await?;
            outlet.tell(UserEvent::BalanceChanged { assets: vec![base, quote] }).await
        }
        Err(what) => outlet.unreadable(&what).await,
    }
}

/// Field names in the spelling of the REST list, whatever the case they came in.
fn read_trade(body: &str) -> Result<TradeRow, serde_json::Error> {
    const NAMES: [&str; 12] = [
        "id",
        "orderId",
        "orderClientId",
        "timestamp",
        "numeratorSymbol",
        "denominatorSymbol",
        "orderType",
        "price",
        "amount",
        "preciseAmount",
        "fee",
        "tax",
    ];
    let raw: std::collections::HashMap<String, &RawValue> = serde_json::from_str(body)?;
    let spelled =
        |name: String| NAMES.iter().find(|known| known.eq_ignore_ascii_case(&name)).map_or(name, |known| (*known).into());
    let named: std::collections::BTreeMap<String, &RawValue> =
        raw.into_iter().map(|(name, value)| (spelled(name), value)).collect();
    serde_json::from_str(&serde_json::to_string(&named)?)
}

fn field<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    body.get(name).or_else(|| body.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_is_recognised_among_other_frames() {
        let check = |text: &str, want: Result<bool, &str>| match (is_logged_in(text), want) {
            (Ok(got), Ok(want)) => assert_eq!(got, want, "{text}"),
            (Err(end), Err(part)) => assert!(end.reason.contains(part), "{end:?}"),
            (got, want) => panic!("{text}: {got:?}, wanted {want:?}"),
        };
        check(r#"[991,{"type":991,"current":"6.0.0","min":"2.3.0"}]"#, Ok(false));
        check(r#"[114,{"type":114,"ok":true}]"#, Ok(true));
        check(r#"[114,{"type":114,"Ok":true,"message":""}]"#, Ok(true));
        check(r#"[114,{"type":114,"ok":false,"message":"Invalid signature"}]"#, Err("Invalid signature"));
        check(r#"[114,{"type":114}]"#, Err("login refused"));
        check("nonsense", Ok(false));
    }

    #[test]
    fn a_trade_is_read_in_any_case_and_exactly() {
        let fill = read_trade(
            r#"{"ID":1,"OrderId":2,"Timestamp":3,"NumeratorSymbol":"BTC","DenominatorSymbol":"TRY","Amount":12345678901.123456789,
                "Fee":"-0.1","Tax":0,"Price":"9.000000001","OrderType":"Sell","OrderClientId":"spark-a"}"#,
        )
        .unwrap()
        .fill(false)
        .unwrap();
        assert_eq!(
            (fill.fill.quantity.to_string().as_str(), fill.client_order_id.as_deref()),
            ("12345678901.123456789", Some("spark-a"))
        );
    }
}
