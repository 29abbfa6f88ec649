//! Binance: a subscription on the WebSocket API, signed per connection; no listen key, nothing to keep alive but pings.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::socket::Socket;
use super::{End, Outlet, UserDataConfig, UserEvent};
use crate::Binance;
use crate::caller::{lock, now};
use crate::error::shorten;
use crate::orders::binance_types::ExecutionReport;

/// Id of the one request that is made.
const SUBSCRIBE: &str = "user-data";
/// "Timestamp for this request is outside of the recvWindow."
const CLOCK: i64 = -1021;

/// `{"id","status","result"|"error"}` or `{"subscriptionId","event"}`.
#[derive(Debug, Deserialize)]
struct Frame<'a> {
    #[serde(default)]
    id: Option<serde_json::Value>,
    #[serde(default)]
    status: Option<u16>,
    #[serde(default)]
    error: Option<Refusal>,
    #[serde(borrow, default)]
    event: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    code: i64,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    data: Option<RefusalData>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RefusalData {
    /// Epoch ms, unlike the REST header.
    #[serde(default)]
    retry_after: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct EventType<'a> {
    #[serde(borrow)]
    e: std::borrow::Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
struct Position {
    #[serde(rename = "B")]
    balances: Vec<Asset>,
}

#[derive(Debug, Deserialize)]
struct Asset {
    a: String,
}

/// One connection, from connecting to its end.
pub(super) async fn session(client: &Binance, config: &UserDataConfig, outlet: &mut Outlet) -> End {
    match serve(client, config, outlet).await {
        Ok(never) => match never {},
        Err(end) => end,
    }
}

async fn serve(client: &Binance, config: &UserDataConfig, outlet: &mut Outlet) -> Result<std::convert::Infallible, End> {
    // A stale offset may still do; if not, the exchange will say so.
    let _read_or_not = client.keep_clock().await;
    let mut socket = Socket::connect(config.url(outlet.venue), config).await?;
    socket.send(subscription(client)?).await?;
    let by = socket.answer_by();
    while !is_subscribed(client, &socket.answer(by).await?)? {}
    outlet.connected().await?;
    loop {
        let text = socket.next().await?;
        let Ok(frame) = serde_json::from_str::<Frame<'_>>(&text) else {
            outlet.unreadable(&text).await?;
            continue;
        };
        if let Some(event) = frame.event {
            tell(event.get(), outlet).await?;
        } else if let Some(refusal) = frame.error {
            // Nothing was asked: the key was revoked, or the session ended.
            return Err(refused(client, &refusal));
        }
    }
}

/// The signed request. Holds the key and must not be shown.
fn subscription(client: &Binance) -> Result<String, End> {
    let key = lock(&client.key).clone().ok_or_else(|| End::new("no API key is configured"))?;
    let timestamp = now().as_millis().saturating_add(client.clock_offset_ms());
    let (stamp_text, window_text) = (timestamp.to_string(), client.recv_window_ms.to_string());
    let signature = key.sign_binance_ws(&[("timestamp", &stamp_text), ("recvWindow", &window_text)]);
    let params = serde_json::json!({
        "apiKey": key.key(), "timestamp": timestamp, "recvWindow": client.recv_window_ms, "signature": signature,
    });
    Ok(serde_json::json!({ "id": SUBSCRIBE, "method": "userDataStream.subscribe.signature", "params": params }).to_string())
}

/// Whether this frame is the yes to the subscription. What comes before it is covered by the reconciliation after it.
fn is_subscribed(client: &Binance, text: &str) -> Result<bool, End> {
    let Ok(frame) = serde_json::from_str::<Frame<'_>>(text) else { return Ok(false) };
    match frame {
        Frame { error: Some(refusal), .. } => Err(refused(client, &refusal)),
        Frame { id: Some(id), status: Some(200), .. } => Ok(id == SUBSCRIBE),
        Frame { id: Some(id), status: Some(status), .. } if id == SUBSCRIBE => {
            Err(End::new(format!("the subscription was answered with status {status}")))
        }
        _ => Ok(false),
    }
}

fn refused(client: &Binance, refusal: &Refusal) -> End {
    if refusal.code == CLOCK {
        client.forget_clock();
    }
    let until = refusal.data.as_ref().and_then(|data| data.retry_after);
    let wait = until.map(|until| until.saturating_sub(now().as_millis().saturating_add(client.clock_offset_ms())));
    let pause = wait.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
    End { pause, ..End::new(format!("refused: {} (code {})", shorten(&refusal.msg), refusal.code)) }
}

async fn tell(event: &str, outlet: &mut Outlet) -> Result<(), End> {
    let Ok(kind) = serde_json::from_str::<EventType<'_>>(event) else { return outlet.unreadable(event).await };
    let asset = || serde_json::from_str::<Asset>(event).map(|row| vec![row.a]);
    let assets = match kind.e.as_ref() {
        "executionReport" => {
            return match serde_json::from_str::<ExecutionReport>(event) {
                Ok(report) => outlet.tell(UserEvent::Order(report.report())).await,
                Err(problem) => outlet.unreadable(&format!("executionReport: {problem}")).await,
            };
        }
        "outboundAccountPosition" => {
            serde_json::from_str::<Position>(event).map(|position| position.balances.into_iter().map(|row| row.a).collect())
        }
        "balanceUpdate" | "externalLockUpdate" => asset(),
        "eventStreamTerminated" => return Err(End::planned("the exchange ended the subscription")),
        "serverShutdown" => return Err(End::planned("the exchange announced its shutdown")),
        // New kinds may appear at any time.
        _ => return Ok(()),
    };
    // Which ones does not matter as much as that they did.
    outlet.tell(UserEvent::BalanceChanged { assets: assets.unwrap_or_default() }).await
}

#[cfg(test)]
mod tests {
    use spark_bus_schema::Venue;
    use tokio::sync::mpsc;

    use super::*;

    /// What is told of an event, or why it ends the connection.
    async fn told(event: &str) -> Result<Vec<UserEvent>, End> {
        let (sender, mut events) = mpsc::channel(8);
        let mut outlet = Outlet { venue: Venue::Binance, sender, up: true, down_told: false };
        tell(event, &mut outlet).await?;
        drop(outlet);
        let mut list = Vec::new();
        while let Some(event) = events.recv().await {
            list.push(event);
        }
        Ok(list)
    }

    #[tokio::test]
    async fn balances_are_told_by_asset_and_what_cannot_be_read_asks_for_a_look() {
        let check = async |event: &str, want: &[UserEvent]| assert_eq!(told(event).await.unwrap(), want, "{event}");
        let changed =
            |assets: &[&str]| UserEvent::BalanceChanged { assets: assets.iter().map(|asset| (*asset).to_owned()).collect() };
        check(
            r#"{"e":"outboundAccountPosition","E":1,"u":1,"B":[{"a":"ETH","f":"1","l":"0"},{"a":"BTC","f":"1","l":"0"}]}"#,
            &[changed(&["ETH", "BTC"])],
        )
        .await;
        check(r#"{"e":"balanceUpdate","E":1,"a":"BTC","d":"-100.0","T":1}"#, &[changed(&["BTC"])]).await;
        check(r#"{"e":"outboundAccountPosition"}"#, &[changed(&[])]).await;
        check(r#"{"e":"listStatus","E":1}"#, &[]).await;
        check(r#"{"e":"somethingNew"}"#, &[]).await;
        let look = UserEvent::Changed { exchange_order_id: None, client_order_id: None };
        check(r#"{"e":"executionReport","s":"BTCUSDT"}"#, std::slice::from_ref(&look)).await;
        check(r#"{"no":"type"}"#, &[look]).await;
    }

    #[tokio::test]
    async fn an_announced_end_is_followed_by_a_new_connection_at_once() {
        for event in [r#"{"e":"eventStreamTerminated","E":1}"#, r#"{"e":"serverShutdown","E":1}"#] {
            let end = told(event).await.unwrap_err();
            assert!(end.planned, "{event}: {end:?}");
        }
    }

    #[test]
    fn only_the_answer_to_our_request_is_a_yes() {
        let client = Binance::new(&crate::ApiConfig::at("http://127.0.0.1:9"), None, std::sync::Arc::new(|_| {})).unwrap();
        let check = |text: &str, want: Result<bool, &str>| match (is_subscribed(&client, text), want) {
            (Ok(got), Ok(want)) => assert_eq!(got, want, "{text}"),
            (Err(end), Err(part)) => assert!(end.reason.contains(part), "{end:?}"),
            (got, want) => panic!("{text}: {got:?}, wanted {want:?}"),
        };
        check(r#"{"id":"user-data","status":200,"result":{"subscriptionId":0},"rateLimits":[]}"#, Ok(true));
        check(r#"{"id":"other","status":200,"result":{}}"#, Ok(false));
        check(r#"{"subscriptionId":0,"event":{"e":"balanceUpdate"}}"#, Ok(false));
        check("garbage", Ok(false));
        check(r#"{"id":"user-data","status":503}"#, Err("503"));
        check(r#"{"id":"user-data","status":400,"error":{"code":-1021,"msg":"Timestamp"}}"#, Err("-1021"));
        let banned = r#"{"id":null,"status":418,"error":{"code":-1003,"msg":"banned","data":{"serverTime":1,"retryAfter":9999999999999}}}"#;
        assert!(is_subscribed(&client, banned).unwrap_err().pause.is_some_and(|pause| pause > PAUSE_LONG));
        let over = r#"{"id":null,"status":429,"error":{"code":-1003,"msg":"x","data":{"retryAfter":1}}}"#;
        assert_eq!(is_subscribed(&client, over).unwrap_err().pause, None, "a time that is past");
    }

    const PAUSE_LONG: Duration = Duration::from_secs(3_600);
}
