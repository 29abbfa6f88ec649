//! The edge of the gateway: what is refused, how, and that everybody else is served meanwhile; streams that go on; TLS.
#![allow(clippy::unwrap_used, reason = "tests may unwrap; clippy sees that only inside test functions")]

mod common;

use std::net::SocketAddr;

use common::{Answer, Live, bounded, gateway, get, request, roomy, send, until};
use spark_gateway::Config;
use spark_gateway::http::edge::BODY_LIMIT;
use spark_gateway::http::limit::REFUSED_BURSTS_MAX;
use spark_gateway::http::server::{HEAD_BYTES_MAX, HEAD_LIMIT};
use spark_gateway::stream::ring::EVENTS_MAX;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends bytes as they are and reads until the other side closes.
async fn raw(address: SocketAddr, bytes: &[u8]) -> Answer {
    bounded("an answer", async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        // A server that has heard enough closes; its answer is there all the same.
        let _ = socket.write_all(bytes).await;
        read(socket).await
    })
    .await
}

async fn read(mut socket: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let _ = socket.read_to_end(&mut bytes).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

async fn refused(address: SocketAddr, reason: &str) -> u64 {
    let metrics = get(address, "/metrics").await.body;
    let line =
        metrics.lines().find(|line| line.starts_with("spark_gateway_refused_total") && line.contains(&format!("\"{reason}\"")));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_client_that_comes_back_gets_exactly_what_it_missed() {
    let gateway = gateway(roomy(), None).await;
    let mut live = Live::connect(gateway.address, None).await;
    assert_eq!(live.next().await.unwrap().event, "snapshot");
    gateway.app.hub.send("test", &1);
    let seen = live.next_of("test").await;
    drop(live);
    for number in 2..=5 {
        gateway.app.hub.send("test", &number);
    }
    let mut live = Live::resume(gateway.address, &seen.whole_id).await;
    let mut last = seen.id;
    for number in 2..=5 {
        let event = live.next().await.unwrap();
        assert!(event.event != "snapshot" && event.event != "resync", "{event:?}");
        if event.event == "test" {
            assert_eq!(event.data, number);
        }
        assert_eq!(event.id, last + 1, "nothing is missing, nothing comes twice");
        last = event.id;
        if event.event != "test" {
            continue;
        }
    }
    let path = format!("/api/stream?lastEventId={}&events=alert,prices", seen.whole_id);
    let mut filtered = Live::ask(gateway.address, None, &path, "").await;
    gateway.app.hub.send("processes", &0);
    gateway.app.hub.send("alert", &"wanted");
    assert_eq!(filtered.next().await.unwrap().data, "wanted", "only what was asked for");
}

#[tokio::test]
async fn a_client_that_was_away_too_long_or_in_another_run_gets_the_whole_picture() {
    let gateway = gateway(roomy(), None).await;
    let mut live = Live::connect(gateway.address, None).await;
    let first = live.next().await.unwrap();
    for number in 0..=EVENTS_MAX {
        gateway.app.hub.send("test", &number);
    }
    drop(live);
    for id in [first.whole_id.as_str(), "0123abcd-3", "nonsense"] {
        let mut live = Live::resume(gateway.address, id).await;
        assert_eq!(live.next().await.unwrap().event, "resync", "{id}");
    }
    let wrong = get(gateway.address, "/api/stream?events=prices,weather").await;
    assert!(wrong.status == 400 && wrong.body.contains("weather") && wrong.body.contains("kill_switch"), "{}", wrong.body);
}

#[tokio::test]
async fn heads_and_bodies_that_are_too_large_are_refused_with_their_own_status() {
    let gateway = gateway(roomy(), None).await;
    let huge = format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX-Large: {}\r\n\r\n", "x".repeat(2 * HEAD_BYTES_MAX));
    assert_eq!(raw(gateway.address, huge.as_bytes()).await.status, 431);
    let many = format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "a: b\r\n".repeat(200));
    assert_eq!(raw(gateway.address, many.as_bytes()).await.status, 431);
    let told = "POST /api/exec/order HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10485760\r\n\r\n".to_owned();
    assert_eq!(raw(gateway.address, (told + &"x".repeat(1 << 20)).as_bytes()).await.status, 413);
    let mut chunks = "POST /api/exec/order HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    for _ in 0..20 {
        chunks += &format!("2000\r\n{}\r\n", "x".repeat(0x2000));
    }
    let answer = raw(gateway.address, chunks.as_bytes()).await;
    assert_eq!((answer.status, answer.json()["type"].as_str()), (413, Some("urn:spark:problem:too-large")));
    assert_eq!(refused(gateway.address, "body_bytes").await, 2);
    until("the heads are counted", async || match refused(gateway.address, "head_bytes").await {
        2 => Ok(()),
        count => Err(count.to_string()),
    })
    .await;
}

#[tokio::test]
async fn whoever_sends_slowly_is_cut_off_and_others_are_served_meanwhile() {
    let gateway = gateway(roomy(), None).await;
    let mut head = TcpStream::connect(gateway.address).await.unwrap();
    head.write_all(b"GET /health HTTP/1.1\r\nX-Slow: ").await.unwrap();
    let mut body = TcpStream::connect(gateway.address).await.unwrap();
    body.write_all(b"POST /api/exec/order HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{").await.unwrap();
    assert_eq!(get(gateway.address, "/health").await.status, 200);
    let begun = tokio::time::Instant::now();
    assert_eq!(bounded("an answer to half a body", read(body)).await.status, 408);
    assert!(begun.elapsed() < 2 * BODY_LIMIT);
    let mut drops = 0;
    let cut = tokio::time::timeout(2 * HEAD_LIMIT, async {
        // One byte a second: each is in time, the head is not.
        while head.write_all(b"x").await.is_ok() {
            drops += 1;
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    });
    assert!(cut.await.is_ok(), "still connected after {drops} bytes");
    assert_eq!((refused(gateway.address, "head_time").await, refused(gateway.address, "body_time").await), (1, 1));
}

#[tokio::test]
async fn a_flood_is_answered_with_429_then_its_connection_is_closed_and_other_clients_are_served() {
    let limits = Config { rate_per_second: 1, rate_burst: 4, ..Config::default() };
    let gateway = gateway(limits, None).await;
    let one = "GET /api/prices HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = raw(gateway.address, one.repeat(1_000).as_bytes()).await;
    let all = answer.head + &answer.body;
    let (ok, many) = (all.matches("HTTP/1.1 200").count(), all.matches("HTTP/1.1 429").count());
    let most = 4 * REFUSED_BURSTS_MAX as usize;
    assert!((4..=6).contains(&ok) && (most..=most + 8).contains(&many), "{ok} answers, {many} refusals");
    assert!(all.contains("retry-after: 1") && all.contains("connection: close"));
    assert_eq!(refused(gateway.address, "flood").await, 1);
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(gateway.address).await.unwrap();
    other.write_all(one.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    assert_eq!(bounded("another client", read(other)).await.status, 200);
}

#[tokio::test]
async fn connections_and_streams_are_bounded_for_each_client() {
    let limits = Config { connections_per_client_max: 3, streams_per_client_max: 2, ..roomy() };
    let gateway = gateway(limits, None).await;
    let _streams = [Live::connect(gateway.address, None).await, Live::connect(gateway.address, None).await];
    let third = get(gateway.address, "/api/stream").await;
    assert_eq!((third.status, third.header("retry-after")), (429, Some("5")), "{}", third.body);
    let _idle = until("the third connection is free again", async || {
        let idle = TcpStream::connect(gateway.address).await.unwrap();
        if gateway.app.refusals.all().any(|told| told == ("client_connections", 0)) { Ok(idle) } else { Err("taken".to_owned()) }
    })
    .await;
    let full = raw(gateway.address, b"").await;
    assert_eq!(full.status, 503, "{}", full.head);
    assert!(full.body.contains("gateway.connections_per_client_max"), "{}", full.body);
}

#[tokio::test]
async fn other_peoples_pages_may_read_only_where_they_are_named() {
    let origin = [("Origin", "https://desk.example")];
    let closed = gateway(roomy(), None).await;
    let answer = request(closed.address, "GET /api/prices", &origin).await;
    assert_eq!((answer.header("access-control-allow-origin"), answer.header("vary")), (None, None));
    let named = gateway(Config { cors_origins: vec!["https://desk.example".into()], ..roomy() }, None).await;
    let answer = request(named.address, "GET /api/prices", &origin).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://desk.example"));
    let asked = [origin[0], ("Access-Control-Request-Method", "POST")];
    let answer = request(named.address, "OPTIONS /api/exec/order", &asked).await;
    assert!(answer.status == 204 && answer.header("access-control-allow-methods").unwrap().contains("POST"), "{}", answer.head);
    let other = request(named.address, "GET /api/prices", &[("Origin", "https://other.example")]).await;
    assert_eq!((other.status, other.header("access-control-allow-origin")), (200, None));
    assert_eq!(send(named.address, "OPTIONS /api/prices", &[], "").await.status, 405);
}

#[tokio::test]
async fn a_page_whose_name_was_made_to_point_here_reads_nothing() {
    let gateway = gateway(Config { hosts: vec!["desk.example".into()], ..roomy() }, None).await;
    for path in ["/", "/api/portfolio", "/api/stream", "/metrics"] {
        let called = |name: &str| format!("GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        let answer = raw(gateway.address, called("evil.example:4001").as_bytes()).await;
        assert_eq!(answer.status, 421, "{path} {}", answer.head);
        assert!(answer.body.contains("urn:spark:problem:host") && answer.body.contains("gateway.hosts"), "{}", answer.body);
    }
    for name in ["localhost:4001", "desk.example"] {
        let called = format!("GET /api/portfolio HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        assert_eq!(raw(gateway.address, called.as_bytes()).await.status, 200, "{name}");
    }
}
