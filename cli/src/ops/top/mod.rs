//! `spark top`: the running system, live. [`state`] is what is known, [`render`] how it looks, [`source`] where it comes from,
//! [`terminal`] where it goes.

mod render;
mod source;
mod sse;
mod state;
mod terminal;

use std::io::IsTerminal as _;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::duration;
use super::gateway::Gateway;
use crate::args::Global;
use crate::args::look::TopArgs;
use crate::config::Config;
use crate::exit::Failure;
use crate::output::{self, paint};
use crate::system;
use render::{SECTIONS, View};
use source::News;
use state::State;
use terminal::{Key, Terminal};

/// At most so often is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// Ages go on although nothing comes.
const TICK: Duration = Duration::from_secs(1);
/// How long one picture waits for a second look at what is counted: rates need two, and the gateway looks every five seconds.
const SECOND_LOOK: Duration = Duration::from_secs(8);

/// Shows it until told to stop, or once.
///
/// # Errors
/// Exit 69: no gateway answers within `--wait`. Exit 64: it wants another token.
pub fn run(arguments: &TopArgs, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    let gateway = Gateway::find(global, &config)?;
    let wait = duration(&arguments.wait).map_err(|what| Failure::usage(format!("--wait: {what}")))?;
    let live = !arguments.once && !global.json && std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    system::block_on(async {
        let (sender, mut news) = mpsc::channel(source::NEWS_MAX);
        let sources = async {
            tokio::join!(source::follow(&gateway, &sender), source::metrics(&gateway, &sender));
        };
        let mut state = State::of(gateway.address());
        let shown = async {
            first(&mut state, &mut news, Instant::now() + wait).await?;
            if live {
                return watch(state, news, View { section: arguments.section, ..View::default() }).await;
            }
            second(&mut state, &mut news).await;
            print(&state, global)
        };
        tokio::select! {
            shown = shown => shown,
            () = sources => Err(Failure::internal("the sources of news have ended")),
        }
    })
}

fn now_ms() -> i64 {
    spark_nats::now().as_millis()
}

fn take(state: &mut State, news: News) {
    match news {
        News::Event(event) => state.apply(&event.name, &event.data, now_ms()),
        News::Metrics(text) => state.apply_metrics(&text, now_ms()),
        News::Lost(failure) => state.lost(failure.message.lines().next().unwrap_or_default().to_owned()),
    }
}

/// Waits for the first picture.
async fn first(state: &mut State, news: &mut mpsc::Receiver<News>, deadline: Instant) -> Result<(), Failure> {
    let mut last = Failure::unavailable(format!("{} says nothing; is it Spark's gateway?", state.address));
    while state.heard_ms.is_none() {
        match tokio::time::timeout_at(deadline, news.recv()).await {
            Ok(Some(News::Lost(failure))) if source::is_final(&failure) => return Err(failure),
            Ok(Some(News::Lost(failure))) => last = failure,
            Ok(Some(other)) => take(state, other),
            Ok(None) | Err(_) => return Err(last),
        }
    }
    Ok(())
}

/// Waits for what makes one picture whole: rates, and how far readers are behind.
async fn second(state: &mut State, news: &mut mpsc::Receiver<News>) {
    let deadline = Instant::now() + SECOND_LOOK;
    while state.stream_rates.is_empty() || state.trade_rates.is_empty() {
        match tokio::time::timeout_at(deadline, news.recv()).await {
            Ok(Some(one)) => take(state, one),
            Ok(None) | Err(_) => return,
        }
    }
}

fn print(state: &State, global: &Global) -> Result<(), Failure> {
    if global.json {
        let text = serde_json::to_string_pretty(state);
        return output::line(&text.map_err(|error| Failure::internal(format!("write the picture: {error}")))?);
    }
    for line in render::page(state, now_ms()) {
        let pieces = line.0.iter().map(|(text, style)| style.map_or_else(|| text.clone(), |style| paint(text, style)));
        output::line(pieces.collect::<String>().trim_end())?;
    }
    Ok(())
}

/// The screen, until q, Ctrl-C, or the terminal is gone.
async fn watch(mut state: State, mut news: mpsc::Receiver<News>, mut view: View) -> Result<(), Failure> {
    let wrong = |error: std::io::Error| Failure::internal(format!("listen to signals: {error}"));
    let mut resized = signal(SignalKind::window_change()).map_err(wrong)?;
    let mut stop = signal(SignalKind::terminate()).map_err(wrong)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(wrong)?;
    let terminal = Terminal::take()?;
    let mut keys = terminal::keys();
    let mut tick = tokio::time::interval(TICK);
    let mut drawn: Option<Instant> = None;
    let mut dirty = true;
    // While it stands still, the news go on into the picture that is shown next.
    let mut still: Option<(Vec<render::Line>, (usize, usize))> = None;
    loop {
        if dirty && drawn.is_none_or(|drawn| drawn.elapsed() >= DRAW_EVERY) {
            let size = terminal.size();
            match &still {
                Some((lines, of)) if *of == size => terminal.draw(lines)?,
                _ => {
                    let lines = render::screen(&state, view, now_ms(), size.0, size.1);
                    terminal.draw(&lines)?;
                    still = view.paused.then_some((lines, size));
                }
            }
            (drawn, dirty) = (Some(Instant::now()), false);
        }
        let next = drawn.map_or_else(Instant::now, |drawn| drawn + DRAW_EVERY);
        tokio::select! {
            one = news.recv() => match one {
                Some(one) => { take(&mut state, one); dirty = true; }
                None => return Err(Failure::internal("the sources of news have ended")),
            },
            key = keys.recv() => {
                let Some(key) = key.filter(|key| *key != Key::Quit) else { return Ok(()) };
                press(&state, &mut view, key, terminal.size().1);
                // What a person does is seen at once.
                (still, drawn, dirty) = (None, None, true);
            }
            _ = resized.recv() => (drawn, dirty) = (None, true),
            _ = tick.tick() => dirty = true,
            _ = stop.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
            () = tokio::time::sleep_until(next), if dirty => {}
        }
    }
}

fn press(state: &State, view: &mut View, key: Key, height: usize) {
    let at = SECTIONS.iter().position(|(section, _)| *section == view.section).unwrap_or(0);
    let end = render::scroll_max(state, *view, now_ms(), height);
    let page = isize::try_from(height.saturating_sub(6)).unwrap_or(1);
    let mut choose = |at: usize| {
        view.section = SECTIONS[at % SECTIONS.len()].0;
        view.scroll = 0;
    };
    match key {
        Key::Next => choose(at + 1),
        Key::Previous => choose(at + SECTIONS.len() - 1),
        Key::Number(number) if (1..=SECTIONS.len()).contains(&number) => choose(number - 1),
        Key::Number(_) | Key::Quit => {}
        Key::Pause => view.paused = !view.paused,
        Key::Scroll(lines) => view.scroll = view.scroll.saturating_add_signed(lines).min(end),
        Key::Page(pages) => view.scroll = view.scroll.saturating_add_signed(pages * page).min(end),
        Key::Home => view.scroll = 0,
        Key::End => view.scroll = end,
    }
}
