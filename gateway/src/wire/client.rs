//! One WebSocket client: its subscriptions, its queue, and when it has to go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures_util::SinkExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::frames::{self, Wish};
use super::pattern::{self, Refused};
use super::{Outlet, PATTERNS_MAX, follow};
use crate::app::App;
use crate::auth::{Identity, Role};
use crate::http::limit::{Place, Refusal};

/// Bytes of what a client sends at once.
pub(crate) const FRAME_BYTES_MAX: usize = 4 * 1024;
/// Room for what a client sends, and for what it gets, bytes.
pub(crate) const READ_BUFFER_BYTES: usize = 4 * 1024;
/// As above, towards the client: so much is written at once.
pub(crate) const WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// What a client may say in one second.
const WISHES_A_SECOND_MAX: u32 = 50;
/// It is looked this often whether the client may stay.
const LOOK: Duration = Duration::from_millis(500);
/// A client that said nothing for so long is asked whether it is there.
const PING_AFTER: Duration = Duration::from_secs(20);
/// A client that said nothing for so long, not even that it is there, is gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long the last words may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// Messages written with the first one before the socket is looked at again.
const WRITTEN_MAX: usize = 64;

const GOING_AWAY: (u16, &str) = (1001, "the gateway stops");
const UNSUPPORTED: (u16, &str) = (1003, "text frames only");
const TOKEN_ENDED: (u16, &str) = (1008, "the token was revoked or is too old");
const TOO_MANY: (u16, &str) = (1008, "too many frames in one second");
const TOO_LARGE: (u16, &str) = (1009, "a frame may have 4096 bytes");
const TOO_SLOW: (u16, &str) = (1013, "too slow: the queue of 1024 messages or 4 MiB was full");

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Who is at the other end, and what it may see.
pub(crate) struct Session {
    pub app: Arc<App>,
    pub role: Role,
    pub identity: Option<Identity>,
    pub shutdown: CancellationToken,
    /// Given back when it ends.
    pub place: Option<Place>,
}

/// Why it ends.
enum End {
    /// It is gone.
    Gone,
    /// It is told why.
    Close((u16, &'static str)),
}

struct Client {
    session: Session,
    outlet: Arc<Outlet>,
    patterns: Vec<String>,
    heard: Instant,
    pinged: bool,
    wishes: u32,
    looks: u32,
}

/// Serves one client until one of both ends it.
pub(crate) async fn serve(mut socket: WebSocket, mut session: Session) {
    let place = session.place.take();
    let (outlet, mut queue) = Outlet::new(NEXT_ID.fetch_add(1, Ordering::Relaxed));
    session.app.wire.enter();
    let mut client = Client { session, outlet, patterns: Vec::new(), heard: Instant::now(), pinged: false, wishes: 0, looks: 0 };
    let end = client.run(&mut socket, &mut queue).await;
    for pattern in &client.patterns {
        client.session.app.wire.unsubscribe(pattern, &client.outlet);
    }
    if let End::Close(close) = end {
        if close == TOO_SLOW {
            client.session.app.refusals.count(Refusal::Slow);
        }
        // A client that takes nothing does not hear it either.
        let _ = timeout(CLOSE_LIMIT, say_goodbye(&mut socket, close)).await;
    }
    client.session.app.wire.leave();
    drop(place);
}

async fn say_goodbye(socket: &mut WebSocket, (code, reason): (u16, &'static str)) {
    let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
    if socket.send(Message::Close(Some(frame))).await.is_ok() {
        // Its answer: a socket that is closed before loses the last words.
        while let Some(Ok(_)) = socket.recv().await {}
    }
}

impl Client {
    async fn run(&mut self, socket: &mut WebSocket, queue: &mut mpsc::Receiver<Message>) -> End {
        let outlet = Arc::clone(&self.outlet);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let end = tokio::select! {
                () = outlet.too_slow() => Some(End::Close(TOO_SLOW)),
                received = socket.recv() => match received {
                    Some(Ok(message)) => self.hear(message),
                    Some(Err(error)) => Some(broken(&error)),
                    None => Some(End::Gone),
                },
                Some(message) = queue.recv() => tokio::select! {
                    written = write(socket, queue, message, &outlet) => written.err().map(|_| End::Gone),
                    () = outlet.too_slow() => Some(End::Close(TOO_SLOW)),
                },
                _ = looks.tick() => self.look(),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Whether it may stay.
    fn look(&mut self) -> Option<End> {
        let Session { app, identity, shutdown, .. } = &self.session;
        if shutdown.is_cancelled() {
            return Some(End::Close(GOING_AWAY));
        }
        self.looks += 1;
        if self.looks.is_multiple_of(2) {
            self.wishes = 0;
        }
        if identity.as_ref().is_some_and(|identity| !app.authority.still_holds(identity, spark_nats::now())) {
            return Some(End::Close(TOKEN_ENDED));
        }
        let silent = self.heard.elapsed();
        if silent >= SILENCE_MAX {
            return Some(End::Gone);
        }
        if silent >= PING_AFTER && !self.pinged {
            self.pinged = true;
            self.outlet.ping();
        }
        None
    }

    fn hear(&mut self, message: Message) -> Option<End> {
        self.heard = Instant::now();
        self.pinged = false;
        let text = match message {
            Message::Text(text) => text,
            // Pings are answered below us.
            Message::Ping(_) | Message::Pong(_) => return None,
            Message::Binary(_) => return Some(End::Close(UNSUPPORTED)),
            Message::Close(_) => return Some(End::Gone),
        };
        self.wishes += 1;
        if self.wishes > WISHES_A_SECOND_MAX {
            return Some(End::Close(TOO_MANY));
        }
        let answer = match frames::read(&text) {
            Ok(Wish::Subscribe { pattern, last }) => self.subscribe(pattern, last),
            Ok(Wish::Unsubscribe(pattern)) => self.unsubscribe(&pattern),
            Ok(Wish::Ping) => frames::pong(),
            Err(refused) => frames::error(&refused, None),
        };
        self.outlet.put(answer);
        None
    }

    fn subscribe(&mut self, pattern: String, last: bool) -> Utf8Bytes {
        let check = || {
            pattern::check(&pattern, self.session.role)?;
            let many = || Refused {
                code: "too-many",
                detail: format!("{PATTERNS_MAX} patterns are subscribed to"),
                fix: "unsubscribe from some, or use wildcards".to_owned(),
            };
            if self.patterns.len() >= PATTERNS_MAX && !self.patterns.contains(&pattern) { Err(many()) } else { Ok(()) }
        };
        if let Err(refused) = check() {
            return frames::error(&refused, Some(&pattern));
        }
        if last && let Err(refused) = follow::newest(&self.session.app, &pattern, &self.outlet) {
            return frames::error(&refused, Some(&pattern));
        }
        let answer = frames::subscribed(&pattern);
        if !self.patterns.contains(&pattern) {
            self.session.app.wire.subscribe(&pattern, &self.outlet);
            self.patterns.push(pattern);
        }
        answer
    }

    fn unsubscribe(&mut self, pattern: &str) -> Utf8Bytes {
        let Some(at) = self.patterns.iter().position(|known| known == pattern) else {
            let refused = Refused {
                code: "not-subscribed",
                detail: "there is no such subscription".to_owned(),
                fix: "send the pattern exactly as it was subscribed to".to_owned(),
            };
            return frames::error(&refused, Some(pattern));
        };
        let pattern = self.patterns.swap_remove(at);
        self.session.app.wire.unsubscribe(&pattern, &self.outlet);
        frames::unsubscribed(&pattern)
    }
}

/// Writes what waits, a bounded number of messages, and sends them off together.
async fn write(
    socket: &mut WebSocket,
    queue: &mut mpsc::Receiver<Message>,
    first: Message,
    outlet: &Outlet,
) -> Result<(), axum::Error> {
    let rest = std::iter::from_fn(|| queue.try_recv().ok()).take(WRITTEN_MAX);
    for message in std::iter::once(first).chain(rest) {
        outlet.taken(&message);
        socket.feed(message).await?;
    }
    socket.flush().await
}

/// What a failed read means: a frame that is too large gets an answer, everything else is gone.
fn broken(error: &axum::Error) -> End {
    if error.to_string().contains("too long") || error.to_string().contains("too large") {
        return End::Close(TOO_LARGE);
    }
    End::Gone
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{QUEUE_BYTES_MAX, QUEUE_MAX};

    #[test]
    fn last_words_tell_the_limits_that_hold() {
        assert!(TOO_LARGE.1.contains(&FRAME_BYTES_MAX.to_string()));
        assert!(TOO_SLOW.1.contains(&QUEUE_MAX.to_string()));
        assert!(TOO_SLOW.1.contains(&format!("{} MiB", QUEUE_BYTES_MAX / 1024 / 1024)));
    }
}
