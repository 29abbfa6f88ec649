//! The `[type,{…}]` socket and the two REST calls that the feed needs.

use std::sync::{Arc, Mutex};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_tungstenite::tungstenite::Message;

/// .NET ticks of 2023-11-14.
pub const ID: u64 = 638_355_968_000_000_000;
/// The list on joining.
const LIST_MAX: usize = 50;

pub struct BtcTurk {
    pub port: u16,
    ids: Arc<Mutex<Vec<u64>>>,
    frames: broadcast::Sender<Option<String>>,
    joins: Arc<Mutex<Vec<String>>>,
}

fn trade(id: u64) -> String {
    format!(r#""D":"1700000000000","I":"{}","A":"0.5","P":"{}","PS":"BTCTRY","S":{}"#, ID + id * 7, 1_000 + id, id % 2)
}

impl BtcTurk {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (ids, joins) = (Arc::<Mutex<Vec<u64>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (frames, _) = broadcast::channel(10_000);
        let (all_ids, all_joins, all_frames) = (Arc::clone(&ids), Arc::clone(&joins), frames.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&all_ids), Arc::clone(&all_joins), all_frames.clone()));
            }
        });
        Self { port, ids, frames, joins }
    }

    pub fn happen(&self, id: u64) {
        self.ids.lock().unwrap().push(id);
    }

    pub fn trade(&self, id: u64) {
        self.happen(id);
        self.send(format!(r#"[422,{{{},"channel":"trade","event":"BTCTRY","type":422}}]"#, trade(id)));
    }

    pub fn send(&self, frame: String) {
        let _ = self.frames.send(Some(frame));
    }

    pub fn cut(&self) {
        let _ = self.frames.send(None);
    }

    /// A change of the best bid.
    pub fn bid(&self, change_set: u64, price: &str) {
        self.send(format!(
            r#"[432,{{"CS":{change_set},"PS":"BTCTRY","AO":[],"BO":[{{"CP":1,"P":"{price}","A":"1"}}],"channel":"obdiff","event":"BTCTRY","type":432}}]"#
        ));
    }

    pub fn joins(&self, channel: &str) -> usize {
        self.joins.lock().unwrap().iter().filter(|join| join.contains(channel) && join.contains("\"join\":true")).count()
    }
}

async fn serve(
    stream: TcpStream,
    ids: Arc<Mutex<Vec<u64>>>,
    joins: Arc<Mutex<Vec<String>>>,
    frames: broadcast::Sender<Option<String>>,
) {
    let mut start = [0_u8; 64];
    let count = stream.peek(&mut start).await.unwrap_or(0);
    if String::from_utf8_lossy(&start[..count]).starts_with("GET /api") {
        return rest(stream, &ids).await;
    }
    let mut frames = frames.subscribe();
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let greeting = Message::text(r#"[991,{"type":991,"current":"6.0.0","min":"2.3.0"}]"#);
    if socket.send(greeting).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            frame = frames.recv() => match frame {
                Ok(Some(frame)) => if socket.send(Message::text(frame)).await.is_err() { return },
                _ => return,
            },
            command = socket.next() => {
                let Some(Ok(command)) = command else { return };
                let Message::Text(text) = command else { continue };
                for answer in answers(&text, &ids) {
                    if socket.send(Message::text(answer)).await.is_err() { return }
                }
                joins.lock().unwrap().push(text.to_string());
            }
        }
    }
}

fn answers(command: &str, ids: &Mutex<Vec<u64>>) -> Vec<String> {
    let channel = if command.contains("\"obdiff\"") { "obdiff" } else { "trade" };
    if !command.contains("\"join\":true") {
        return vec![format!(r#"[100,{{"type":100,"ok":true,"message":"leave|{channel}:BTCTRY"}}]"#)];
    }
    let data = if channel == "obdiff" {
        r#"[431,{"CS":10,"PS":"BTCTRY","AO":[{"A":"1","P":"200"}],"BO":[{"A":"1","P":"100"}],"channel":"obdiff","event":"BTCTRY","type":431}]"#.to_owned()
    } else {
        let ids = ids.lock().unwrap();
        // Newest first.
        let items: Vec<String> = ids.iter().rev().take(LIST_MAX).map(|&id| format!("{{{}}}", trade(id))).collect();
        format!(r#"[421,{{"symbol":"BTCTRY","items":[{}],"channel":"trade","event":"BTCTRY","type":421}}]"#, items.join(","))
    };
    vec![format!(r#"[100,{{"type":100,"ok":true,"message":"join|{channel}:BTCTRY"}}]"#), data]
}

async fn rest(mut stream: TcpStream, ids: &Mutex<Vec<u64>>) {
    let mut request = Vec::new();
    let mut chunk = [0_u8; 1024];
    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(count) if count > 0 => request.extend_from_slice(&chunk[..count]),
            _ => return,
        }
    }
    let data = if request.starts_with(b"GET /api/v2/trades") {
        let row = |&id: &u64| {
            let (tid, price, side) = (ID + id * 7, 1_000 + id, if id.is_multiple_of(2) { "buy" } else { "sell" });
            format!(r#"{{"pair":"BTCTRY","date":1700000000000,"tid":"{tid}","price":"{price}","amount":"0.5","side":"{side}"}}"#)
        };
        format!("[{}]", ids.lock().unwrap().iter().rev().take(1_000).map(row).collect::<Vec<_>>().join(","))
    } else {
        r#"{"timestamp":1700000000000.0,"bids":[["100","1"]],"asks":[["200","1"]]}"#.to_owned()
    };
    let body = format!(r#"{{"data":{data},"success":true,"message":null,"code":0}}"#);
    let reply = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(reply.as_bytes()).await;
    let _ = stream.shutdown().await;
}
