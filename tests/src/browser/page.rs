//! One page of the browser.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Key, Link, locked};

/// Whatever is waited for on a page comes within this time, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);
/// How often a state is looked at.
const PAUSE: Duration = Duration::from_millis(20);
const AT_START: &str = include_str!("start.js");

/// Light or dark, as the system of the visitor prefers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `prefers-color-scheme: dark`.
    Dark,
    /// `prefers-color-scheme: light`.
    Light,
}

impl Scheme {
    fn word(self) -> &'static str {
        match self {
            Self::Dark => "dark",
            Self::Light => "light",
        }
    }
}

/// Size of the window in CSS pixels, and the preferred scheme.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Width, CSS pixels.
    pub width: u32,
    /// Height, CSS pixels.
    pub height: u32,
    /// Preferred scheme.
    pub scheme: Scheme,
}

impl Look {
    /// 1440 × 900, dark.
    pub const DESK: Self = Self { width: 1440, height: 900, scheme: Scheme::Dark };
    /// 360 × 800, dark.
    pub const PHONE: Self = Self { width: 360, height: 800, scheme: Scheme::Dark };
    /// 3840 × 2160, dark.
    pub const WIDE: Self = Self { width: 3840, height: 2160, scheme: Scheme::Dark };

    /// The same in light.
    #[must_use]
    pub const fn light(self) -> Self {
        Self { scheme: Scheme::Light, ..self }
    }
}

/// One request that the page made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// HTTP method, `WS` for a WebSocket.
    pub method: String,
    /// Where to.
    pub url: String,
}

/// A page. Dropping it leaves it open until the browser ends; [`Page::close`] closes it.
pub struct Page {
    link: Arc<Link>,
    session: String,
    target: String,
    context: String,
}

impl Page {
    pub(super) async fn open(link: Arc<Link>, look: Look) -> Self {
        let must = |answer: Result<Value, String>| answer.unwrap_or_else(|error| panic!("{error}"));
        let word = |answer: &Value, key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        let context = must(link.command(None, "Target.createBrowserContext", json!({})).await);
        let context = word(&context, "browserContextId");
        let target = json!({ "url": "about:blank", "browserContextId": context });
        let target = word(&must(link.command(None, "Target.createTarget", target).await), "targetId");
        let attach = json!({ "targetId": target, "flatten": true });
        let session = word(&must(link.command(None, "Target.attachToTarget", attach).await), "sessionId");
        let page = Self { link, session, target, context };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.command(&format!("{domain}.enable"), json!({})).await;
        }
        page.command("Page.addScriptToEvaluateOnNewDocument", json!({ "source": AT_START })).await;
        // Several pages are open at once; each behaves as the one in front.
        page.command("Emulation.setFocusEmulationEnabled", json!({ "enabled": true })).await;
        page.look(look).await;
        page
    }

    /// A command of the DevTools protocol.
    ///
    /// # Panics
    /// It is refused.
    pub async fn command(&self, method: &str, parameters: Value) -> Value {
        let answer = self.link.command(Some(&self.session), method, parameters).await;
        answer.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Another size or scheme.
    ///
    /// # Panics
    /// It is refused.
    pub async fn look(&self, look: Look) {
        let size = json!({ "width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": false });
        self.command("Emulation.setDeviceMetricsOverride", size).await;
        let features = json!([{ "name": "prefers-color-scheme", "value": look.scheme.word() }]);
        self.command("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Opens an address and waits until the document and its scripts are there.
    ///
    /// # Panics
    /// Nothing answers there.
    pub async fn go(&self, url: &str) {
        let answer = self.command("Page.navigate", json!({ "url": url })).await;
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        self.until("the document is loaded", "document.readyState === 'complete' || document.readyState").await;
    }

    /// Loads the page again, as F5 does.
    ///
    /// # Panics
    /// It does not load.
    pub async fn reload(&self) {
        self.evaluate("window.spark_before = true").await;
        self.command("Page.reload", json!({})).await;
        self.until(
            "the document is loaded again",
            "(!window.spark_before && document.readyState === 'complete') || document.readyState",
        )
        .await;
    }

    /// The value of a JavaScript expression; promises are awaited.
    ///
    /// # Panics
    /// It throws.
    pub async fn evaluate(&self, expression: &str) -> Value {
        self.try_evaluate(expression).await.unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    async fn try_evaluate(&self, expression: &str) -> Result<Value, String> {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.link.command(Some(&self.session), "Runtime.evaluate", parameters).await?;
        let thrown = &answer["exceptionDetails"];
        if thrown.is_null() {
            return Ok(answer["result"]["value"].take());
        }
        let text = thrown["exception"]["description"].as_str().or_else(|| thrown["text"].as_str());
        Err(text.unwrap_or("it throws").to_owned())
    }

    /// Waits until an expression is `true`; whatever else it is tells the state that was seen last.
    ///
    /// # Panics
    /// It does not become true in time; the message has what it was last.
    pub async fn until(&self, what: &str, expression: &str) {
        self.until_within(LIMIT, what, expression).await;
    }

    /// As [`Page::until`] with a limit of one's own.
    ///
    /// # Panics
    /// As [`Page::until`].
    pub async fn until_within(&self, limit: Duration, what: &str, expression: &str) {
        let start = Instant::now();
        loop {
            // While a document is replaced, there may be none to ask.
            let seen = self.try_evaluate(expression).await;
            if seen == Ok(Value::Bool(true)) {
                return;
            }
            assert!(start.elapsed() < limit, "{what}: not within {limit:?}; last seen: {seen:?}, from {expression}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Clicks with the mouse at the middle of an element that can be seen there.
    ///
    /// # Panics
    /// There is no such element within some seconds, or another one covers it.
    pub async fn click(&self, selector: &str) {
        let place = format!(
            "(() => {{ const one = document.querySelector({selector});
              if (!one) return 'there is none';
              one.scrollIntoView({{ block: 'center', inline: 'center', behavior: 'instant' }});
              const box = one.getBoundingClientRect();
              const x = box.x + box.width / 2, y = box.y + box.height / 2;
              const top = document.elementFromPoint(x, y);
              if (one.disabled) return 'it is disabled';
              if (!top || !(one.contains(top) || top.contains(one))) return `it is covered by ${{top?.outerHTML.slice(0, 200)}}`;
              return [x, y]; }})()",
            selector = Value::from(selector)
        );
        let ready = format!("(() => {{ const found = {place}; return Array.isArray(found) || found; }})()");
        self.until(&format!("{selector} can be clicked"), &ready).await;
        let at = self.evaluate(&place).await;
        let event = |kind: &str, buttons: u32| json!({ "type": kind, "x": at[0], "y": at[1], "button": "left", "buttons": buttons, "clickCount": 1 });
        self.command("Input.dispatchMouseEvent", json!({ "type": "mouseMoved", "x": at[0], "y": at[1] })).await;
        self.command("Input.dispatchMouseEvent", event("mousePressed", 1)).await;
        self.command("Input.dispatchMouseEvent", event("mouseReleased", 0)).await;
    }

    /// Presses a key.
    ///
    /// # Panics
    /// It is refused.
    pub async fn press(&self, key: Key) {
        for event in key.events() {
            self.command("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Types a text into what is focused.
    ///
    /// # Panics
    /// It is refused.
    pub async fn write(&self, text: &str) {
        self.command("Input.insertText", json!({ "text": text })).await;
    }

    /// The text that an element shows; empty when there is none.
    ///
    /// # Panics
    /// The selector is not one.
    pub async fn text(&self, selector: &str) -> String {
        let found = self.evaluate(&format!("document.querySelector({})?.innerText ?? ''", Value::from(selector))).await;
        found.as_str().unwrap_or_default().to_owned()
    }

    /// What the console has said that nobody should have to read: errors, warnings, exceptions that nobody caught, and what the
    /// browser itself complained of.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let said = |event: &Value| {
            let given = &event["params"];
            match event["method"].as_str()? {
                "Runtime.consoleAPICalled" => {
                    let kind = given["type"].as_str()?;
                    let arguments = given["args"].as_array()?;
                    let words =
                        arguments.iter().map(|word| word["value"].as_str().or(word["description"].as_str()).unwrap_or("?"));
                    matches!(kind, "error" | "warning" | "assert")
                        .then(|| format!("{kind}: {}", words.collect::<Vec<_>>().join(" ")))
                }
                "Runtime.exceptionThrown" => {
                    let details = &given["exceptionDetails"];
                    let text = details["exception"]["description"].as_str().or_else(|| details["text"].as_str());
                    Some(format!("exception: {}", text.unwrap_or("?")))
                }
                "Log.entryAdded" => {
                    let entry = &given["entry"];
                    let level = entry["level"].as_str().filter(|level| matches!(*level, "error" | "warning"))?;
                    Some(format!("{} {level}: {} {}", entry["source"], entry["text"], entry["url"]))
                }
                _ => None,
            }
        };
        self.events(said)
    }

    /// Every request that the page made, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.events(|event| {
            let given = &event["params"];
            let (method, url) = match event["method"].as_str()? {
                "Network.requestWillBeSent" => (given["request"]["method"].as_str()?, &given["request"]["url"]),
                "Network.webSocketCreated" => ("WS", &given["url"]),
                _ => return None,
            };
            Some(Request { method: method.to_owned(), url: url.as_str()?.to_owned() })
        })
    }

    fn events<T>(&self, pick: impl Fn(&Value) -> Option<T>) -> Vec<T> {
        let state = locked(&self.link.state);
        state.events.get(&self.session).into_iter().flatten().filter_map(pick).collect()
    }

    /// Forgets what the console has said so far: it was expected.
    pub fn forgive(&self) {
        if let Some(events) = locked(&self.link.state).events.get_mut(&self.session) {
            events.retain(|event| event["method"].as_str().is_some_and(|method| method.starts_with("Network.")));
        }
    }

    /// Sum of the layout shifts that no input caused since a moment of the page's clock (`performance.now()`), and what moved.
    ///
    /// # Panics
    /// The page is gone.
    pub async fn shifts(&self, since: f64) -> (f64, String) {
        let found = self.evaluate(&format!("spark_test.shifts.filter((shift) => shift.at >= {since})")).await;
        let rows = found.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut text = String::new();
        for row in rows {
            let _ = write!(
                text,
                "\n  {:.5} at {:.0} ms: {}",
                row["value"].as_f64().unwrap_or(0.0),
                row["at"].as_f64().unwrap_or(0.0),
                row["nodes"]
            );
        }
        (rows.iter().filter_map(|row| row["value"].as_f64()).fold(0.0, |sum, value| sum + value), text)
    }

    /// A picture of what can be seen, as PNG.
    ///
    /// # Panics
    /// It cannot be taken or written.
    pub async fn picture(&self, path: &Path) {
        let answer = self.command("Page.captureScreenshot", json!({ "format": "png" })).await;
        let bytes = STANDARD.decode(answer["data"].as_str().unwrap_or_default()).expect("base64");
        std::fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Closes it.
    ///
    /// # Panics
    /// The browser has ended.
    pub async fn close(self) {
        // Already closed by the page itself: as wanted.
        let _ = self.link.command(None, "Target.closeTarget", json!({ "targetId": self.target })).await;
        let _ = self.link.command(None, "Target.disposeBrowserContext", json!({ "browserContextId": self.context })).await;
        locked(&self.link.state).events.remove(&self.session);
    }
}
