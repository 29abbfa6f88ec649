//! A Binance, and a BtcTurk in [`btcturk`], that does exactly what a test says: real sockets, REST over the trades that happened, frames as told. The
//! simulator plays markets; this one plays single frames.

pub mod btcturk;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use spark_bus_schema::{Fixed, Timestamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub id: u64,
    pub price: Fixed,
    pub quantity: Fixed,
    pub millis: i64,
    pub seller_is_aggressor: bool,
}

impl Row {
    pub fn plain(id: u64) -> Self {
        let millis = 1_723_161_255_000 + i64::try_from(id).unwrap();
        let mantissa = i64::try_from(id).unwrap();
        Self {
            id,
            price: Fixed { mantissa, scale: 0 },
            quantity: Fixed { mantissa: 25, scale: 2 },
            millis,
            seller_is_aggressor: id.is_multiple_of(2),
        }
    }

    pub fn frame(&self) -> String {
        let Self { id, price, quantity, millis, seller_is_aggressor } = self;
        format!(
            r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{millis},"s":"BTCUSDT","t":{id},"p":"{price}","q":"{quantity}","T":{millis},"m":{seller_is_aggressor},"M":true}}}}"#
        )
    }

    fn json(&self) -> String {
        let Self { id, price, quantity, millis, seller_is_aggressor } = self;
        format!(
            r#"{{"id":{id},"price":"{price}","qty":"{quantity}","quoteQty":"1","time":{millis},"isBuyerMaker":{seller_is_aggressor},"isBestMatch":true}}"#
        )
    }
}

#[derive(Clone)]
enum Order {
    Frame(Message),
    Cut,
}

#[derive(Default)]
struct State {
    trades: Vec<Row>,
    rest_fails: bool,
    rest_calls: u64,
}

pub struct Exchange {
    pub port: u16,
    state: Arc<Mutex<State>>,
    orders: broadcast::Sender<Order>,
    connections: watch::Receiver<u64>,
    stop: CancellationToken,
}

impl Exchange {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let (orders, _) = broadcast::channel(200_000);
        let (made, connections) = watch::channel(0);
        let stop = CancellationToken::new();
        let accept = {
            let (state, orders) = (Arc::clone(&state), orders.clone());
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&state), orders.clone(), made.clone()));
                }
            }
        };
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = accept => {}
            }
        });
        Self { port, state, orders, connections, stop }
    }

    /// It happens; nobody is told.
    pub fn happen(&self, row: Row) {
        self.state.lock().unwrap().trades.push(row);
    }

    /// It happens and everybody is told.
    pub fn trade(&self, row: Row) {
        self.happen(row);
        self.send(row.frame());
    }

    pub fn send(&self, text: impl Into<String>) {
        let _ = self.orders.send(Order::Frame(Message::text(text.into())));
    }

    /// Ends every WebSocket without a goodbye.
    pub fn cut(&self) {
        let _ = self.orders.send(Order::Cut);
    }

    pub fn rest_fails(&self, fails: bool) {
        self.state.lock().unwrap().rest_fails = fails;
    }

    pub fn rest_calls(&self) -> u64 {
        self.state.lock().unwrap().rest_calls
    }

    /// Waits for the n-th WebSocket.
    pub async fn connected(&mut self, count: u64) {
        let waited = tokio::time::timeout(Duration::from_secs(20), self.connections.wait_for(|made| *made >= count)).await;
        drop(waited.unwrap_or_else(|_| panic!("connection {count} was not made in 20 s")).unwrap());
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.stop.cancel();
        self.cut();
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>, orders: broadcast::Sender<Order>, made: watch::Sender<u64>) {
    let mut start = [0_u8; 1024];
    let count = stream.peek(&mut start).await.unwrap_or(0);
    let head = String::from_utf8_lossy(&start[..count]).into_owned();
    if !head.starts_with("GET /stream?streams=") {
        return rest(stream, &state).await;
    }
    let mut orders = orders.subscribe();
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
    made.send_modify(|made| *made += 1);
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Ok(Order::Frame(frame)) => if socket.send(frame).await.is_err() { return },
                Ok(Order::Cut) | Err(_) => return,
            },
            frame = socket.next() => if !matches!(frame, Some(Ok(_))) { return },
        }
    }
}

async fn rest(mut stream: TcpStream, state: &Mutex<State>) {
    let mut request = Vec::new();
    let mut chunk = [0_u8; 1024];
    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(count) if count > 0 => request.extend_from_slice(&chunk[..count]),
            _ => return,
        }
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    let target = text.split(' ').nth(1).unwrap_or_default().to_owned();
    let (status, body) = answer(&target, state);
    let reply = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(reply.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn answer(target: &str, state: &Mutex<State>) -> (&'static str, String) {
    let mut state = state.lock().unwrap();
    state.rest_calls += 1;
    if state.rest_fails {
        return ("400 Bad Request", r#"{"code":-1121,"msg":"told to fail"}"#.to_owned());
    }
    let number = |name: &str| {
        let query = target.split_once('?').map(|(_, query)| query).unwrap_or_default();
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse::<u64>().ok())
    };
    let limit = usize::try_from(number("limit").unwrap_or(500)).unwrap();
    let list = |rows: &[Row]| format!("[{}]", rows.iter().map(Row::json).collect::<Vec<_>>().join(","));
    let path = target.split('?').next().unwrap_or_default();
    match (path, number("fromId")) {
        ("/api/v3/historicalTrades", Some(from)) => {
            let rows: Vec<Row> = state.trades.iter().filter(|row| row.id >= from).take(limit).copied().collect();
            ("200 OK", list(&rows))
        }
        ("/api/v3/historicalTrades" | "/api/v3/trades", _) => {
            let start = state.trades.len().saturating_sub(limit);
            ("200 OK", list(&state.trades[start..]))
        }
        ("/api/v3/ticker/bookTicker", _) => (
            "200 OK",
            r#"{"symbol":"BTCUSDT","bidPrice":"1.50000000","bidQty":"2.00000000","askPrice":"1.60000000","askQty":"3.00000000"}"#
                .to_owned(),
        ),
        _ => ("404 Not Found", "{}".to_owned()),
    }
}

/// A time for rows that must be later than others.
pub fn later(row: Row, millis: i64) -> Row {
    Row { millis: Timestamp::from_millis(row.millis + millis).as_millis(), ..row }
}
