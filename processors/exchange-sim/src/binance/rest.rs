//! REST: which call, what it weighs, who may make it.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::answers::Call;
use super::auth::{self, Permission};
use super::errors::ApiError;
use super::params::Params;
use crate::limits::Weighed;
use crate::wire::Peer;
use crate::world::{World, clock_ms};

/// One of the calls that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Ping,
    Time,
    ExchangeInfo,
    Depth,
    Trades,
    HistoricalTrades,
    AggTrades,
    Klines,
    AvgPrice,
    TickerPrice,
    BookTicker,
    Ticker24h,
    Account,
    ApiRestrictions,
    /// Switched off in 2026.
    ListenKey,
    PlaceOrder,
    TestOrder,
    CancelOrder,
    CancelOpenOrders,
    Order,
    OpenOrders,
    AllOrders,
    MyTrades,
    OrderLimits,
}

impl Endpoint {
    /// Finds a call. `Err` is the answer to one that does not exist.
    fn find(method: &Method, path: &str) -> Result<Self, StatusCode> {
        let get = |endpoint| if method == Method::GET { Ok(endpoint) } else { Err(StatusCode::METHOD_NOT_ALLOWED) };
        match path {
            "/api/v3/ping" => get(Self::Ping),
            "/api/v3/time" => get(Self::Time),
            "/api/v3/exchangeInfo" => get(Self::ExchangeInfo),
            "/api/v3/depth" => get(Self::Depth),
            "/api/v3/trades" => get(Self::Trades),
            "/api/v3/historicalTrades" => get(Self::HistoricalTrades),
            "/api/v3/aggTrades" => get(Self::AggTrades),
            "/api/v3/klines" | "/api/v3/uiKlines" => get(Self::Klines),
            "/api/v3/avgPrice" => get(Self::AvgPrice),
            "/api/v3/ticker/price" => get(Self::TickerPrice),
            "/api/v3/ticker/bookTicker" => get(Self::BookTicker),
            "/api/v3/ticker/24hr" => get(Self::Ticker24h),
            "/api/v3/account" => get(Self::Account),
            "/sapi/v1/account/apiRestrictions" => get(Self::ApiRestrictions),
            "/api/v3/userDataStream" | "/api/v1/userDataStream" => Ok(Self::ListenKey),
            "/api/v3/order" => match *method {
                Method::POST => Ok(Self::PlaceOrder),
                Method::DELETE => Ok(Self::CancelOrder),
                _ => get(Self::Order),
            },
            "/api/v3/order/test" if method == Method::POST => Ok(Self::TestOrder),
            "/api/v3/order/test" => Err(StatusCode::METHOD_NOT_ALLOWED),
            "/api/v3/openOrders" if method == Method::DELETE => Ok(Self::CancelOpenOrders),
            "/api/v3/openOrders" => get(Self::OpenOrders),
            "/api/v3/allOrders" => get(Self::AllOrders),
            "/api/v3/myTrades" => get(Self::MyTrades),
            "/api/v3/rateLimit/order" => get(Self::OrderLimits),
            _ => Err(StatusCode::NOT_FOUND),
        }
    }

    /// Costs nothing when it succeeds.
    fn is_free(self) -> bool {
        matches!(self, Self::PlaceOrder | Self::CancelOrder | Self::CancelOpenOrders)
    }

    fn weight(self, query: &str) -> u32 {
        let has = |name: &str| query.split('&').any(|pair| pair.starts_with(name));
        let limit = || query.split('&').find_map(|pair| pair.strip_prefix("limit=")).and_then(|limit| limit.parse::<u32>().ok());
        match self {
            Self::Ping | Self::Time | Self::ApiRestrictions => 1,
            Self::TestOrder if query.contains("computeCommissionRates=true") => 20,
            Self::PlaceOrder | Self::TestOrder | Self::CancelOrder | Self::CancelOpenOrders => 1,
            Self::Order => 4,
            Self::OpenOrders => {
                if has("symbol=") {
                    6
                } else {
                    80
                }
            }
            Self::MyTrades if has("orderId=") => 5,
            Self::OrderLimits => 40,
            Self::ListenKey => 2,
            Self::ExchangeInfo | Self::Account | Self::AllOrders | Self::MyTrades => 20,
            Self::Depth => match limit().unwrap_or(100) {
                0..=100 => 5,
                101..=500 => 25,
                501..=1_000 => 50,
                _ => 250,
            },
            Self::Trades | Self::HistoricalTrades => 25,
            Self::AggTrades => 4,
            Self::Klines | Self::AvgPrice => 2,
            Self::TickerPrice | Self::BookTicker => {
                if has("symbol=") {
                    2
                } else {
                    4
                }
            }
            Self::Ticker24h => {
                let symbols = query
                    .split('&')
                    .find_map(|pair| pair.strip_prefix("symbols="))
                    .map(|list| list.matches("%2C").count() + list.matches(',').count() + 1);
                match (has("symbol="), symbols) {
                    (true, _) | (_, Some(1..=20)) => 2,
                    (_, Some(21..=100)) => 40,
                    _ => 80,
                }
            }
        }
    }
}

/// Any request that is not a stream.
pub(crate) async fn serve(
    State(world): State<Arc<World>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let query = uri.query().unwrap_or_default();
    let endpoint = match Endpoint::find(&method, uri.path()) {
        Ok(endpoint) => endpoint,
        Err(status) => return status.into_response(),
    };
    // Limits run on the machine's clock: a skewed exchange clock must not free an address.
    let weighed = world.weights.weigh(peer.ip, endpoint.weight(query), clock_ms());
    let (mut used, refused) = match weighed {
        Weighed::Fine { used } => (used, None),
        Weighed::Over { used, retry_after_s } => {
            (used, Some(ApiError::over_weight(world.config.binance_weight_per_min, retry_after_s)))
        }
        Weighed::Banned { used, until_ms, retry_after_s } => (used, Some(ApiError::banned(until_ms, retry_after_s))),
    };
    let answer = match refused {
        Some(error) => Err(error),
        None => answer(&world, endpoint, query, &headers, &body),
    };
    if answer.is_ok() && endpoint.is_free() {
        used = world.weights.refund(peer.ip, endpoint.weight(query));
    }
    let counts = (endpoint == Endpoint::PlaceOrder && answer.as_ref().err().is_none_or(|error| error.code == -1015))
        .then(|| world.order_counts.used(clock_ms()));
    let mut response = match answer {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json;charset=UTF-8")], text).into_response(),
        Err(error) => failure(&error),
    };
    for name in ["x-mbx-used-weight", "x-mbx-used-weight-1m"] {
        response.headers_mut().insert(name, used.into());
    }
    for (name, count) in ["x-mbx-order-count-10s", "x-mbx-order-count-1d"].into_iter().zip(counts.into_iter().flatten()) {
        response.headers_mut().insert(name, count.into());
    }
    response
}

fn failure(error: &ApiError) -> Response {
    let body = json!({ "code": error.code, "msg": error.text });
    let mut response =
        (error.status, [(header::CONTENT_TYPE, "application/json;charset=UTF-8")], body.to_string()).into_response();
    if let Some(seconds) = error.retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn answer(world: &World, endpoint: Endpoint, query: &str, headers: &HeaderMap, body: &[u8]) -> Result<String, ApiError> {
    let body = std::str::from_utf8(body).map_err(|_| ApiError::bad(-1100, "Illegal characters found in a parameter."))?;
    let params = Params::parse(query, body)?;
    let unit = match headers.get("x-mbx-time-unit").map(|unit| unit.as_bytes().to_ascii_uppercase()).as_deref() {
        None | Some(b"MILLISECOND") => 1,
        Some(b"MICROSECOND") => 1_000,
        Some(_) => return Err(ApiError::bad(-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")),
    };
    let call = Call { world, params: &params, unit };
    let authorize = |permission| auth::authorize(world, headers, query, body, &params, permission);
    let reading = || authorize(Permission::UserData);
    let trading = || authorize(Permission::Trade);
    let bare = |value: Value| params.finish().map(|()| value);
    let value = match endpoint {
        Endpoint::Ping => bare(json!({})),
        Endpoint::Time => bare(json!({ "serverTime": call.time_now() })),
        Endpoint::ExchangeInfo => call.exchange_info(),
        Endpoint::Depth => return call.depth(),
        Endpoint::Trades => call.trades(false),
        Endpoint::HistoricalTrades => call.trades(true),
        Endpoint::AggTrades => call.aggregates(),
        Endpoint::Klines => call.klines(),
        Endpoint::AvgPrice => call.average_price(),
        Endpoint::TickerPrice => call.ticker_price(),
        Endpoint::BookTicker => call.book_ticker(),
        Endpoint::Ticker24h => call.day(),
        Endpoint::Account => call.account(reading()?.can_trade),
        Endpoint::ApiRestrictions => call.restrictions(reading()?.can_trade),
        Endpoint::ListenKey => Err(ApiError::gone()),
        Endpoint::PlaceOrder => match trading() {
            Ok(_) => call.place_order(),
            Err(error) => {
                call.log_refused(&error);
                Err(error)
            }
        },
        Endpoint::TestOrder => trading().and_then(|_| call.test_order()),
        Endpoint::CancelOrder => trading().and_then(|_| call.cancel_order()),
        Endpoint::CancelOpenOrders => trading().and_then(|_| call.cancel_open_orders()),
        Endpoint::Order => reading().and_then(|_| call.order()),
        Endpoint::OpenOrders => reading().and_then(|_| call.open_orders()),
        Endpoint::AllOrders => reading().and_then(|_| call.all_orders()),
        Endpoint::MyTrades => reading().and_then(|_| call.my_trades()),
        Endpoint::OrderLimits => reading().and_then(|_| call.order_limits()),
    }?;
    Ok(value.to_string())
}
